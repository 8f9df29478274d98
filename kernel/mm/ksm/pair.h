/* SPDX-License-Identifier: GPL-2.0-only */
/* Merging two pages that nobody shares yet. See pair.c. */
#ifndef _MM_KSM_PAIR_H
#define _MM_KSM_PAIR_H

#include "join.h"

bool ksm_pair_merge(struct ksm_domain *domain, struct ksm_scanned *s, u64 hash,
		    struct ksm_copy *full);
void ksm_pair_offer(struct ksm_domain *domain, struct ksm_scanned *s, u64 hash);
void ksm_pair_sweep(struct ksm_domain *domain, unsigned int nr_pages);

#endif /* _MM_KSM_PAIR_H */
