/* SPDX-License-Identifier: GPL-2.0-only */
/* When a huge page is worth splitting. See huge.c. */
#ifndef _MM_KSM_HUGE_H
#define _MM_KSM_HUGE_H

#include "domain.h"

bool ksm_huge_pays(struct ksm_domain *domain, struct ksm_mm_chunk *mc,
		   unsigned int slot, struct page *page);
void ksm_huge_was_split(struct ksm_domain *domain, struct ksm_mm_chunk *mc);
void ksm_huge_merged(struct ksm_domain *domain, struct ksm_mm_chunk *mc,
		     unsigned int slot);

#endif /* _MM_KSM_HUGE_H */
