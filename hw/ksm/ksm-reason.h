/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reasons why memory is not merged, for people
 */
#ifndef HW_KSM_KSM_REASON_H
#define HW_KSM_KSM_REASON_H

#include "qapi/qapi-types-ksm.h"

/* Completes "guest RAM cannot be merged: ..." */
const char *ksm_reason_text(KsmRefusal reason);

/* What to do about it, as a command; NULL if nothing can or need be done */
const char *ksm_reason_remedy(KsmRefusal reason);

/* Is it the ksm-policy object that does not want it (now)? */
bool ksm_reason_is_policy(KsmRefusal reason);

#endif
