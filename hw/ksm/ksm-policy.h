/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The "ksm-policy" object: what of a machine is merged, and when
 *
 * It narrows what the machine's mem-merge and the backends' merge allow, and
 * never touches memory itself: ksm-ram.c gives the advice.
 */
#ifndef HW_KSM_KSM_POLICY_H
#define HW_KSM_KSM_POLICY_H

#include "qapi/qapi-types-ksm-policy.h"

#define TYPE_KSM_POLICY "ksm-policy"

/* The sharing domain of everybody who was not put into another one */
#define KSM_POLICY_DOMAIN "default"

/**
 * ksm_policy_info:
 *
 * Context: big QEMU lock held.
 *
 * Returns: what query-ksm-stats tells about the policy, to be freed by the
 * caller; NULL if there is none.
 */
KsmPolicyInfo *ksm_policy_info(void);

#endif
