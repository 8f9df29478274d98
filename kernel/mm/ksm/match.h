/* SPDX-License-Identifier: GPL-2.0-only */
/* What becomes of one scanned page. See match.c. */
#ifndef _MM_KSM_MATCH_H
#define _MM_KSM_MATCH_H

#include "batch.h"

void ksm_match_page(struct ksm_batch *batch, struct ksm_scanned *scanned);

#endif /* _MM_KSM_MATCH_H */
