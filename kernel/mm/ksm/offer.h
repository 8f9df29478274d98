/* SPDX-License-Identifier: GPL-2.0-only */
/* Pages that others may find: the domain's candidates. See offer.c. */
#ifndef _MM_KSM_OFFER_H
#define _MM_KSM_OFFER_H

#include "domain.h"

/**
 * struct ksm_offer - a candidate that was found
 * @mc: its chunk
 * @slot: its slot
 */
struct ksm_offer {
	struct ksm_mm_chunk *mc;
	unsigned int slot;
};

void ksm_offer_add(struct ksm_domain *domain, struct ksm_mm_chunk *mc,
		   unsigned int slot, struct page *page, u64 hash);
unsigned int ksm_offer_find(struct ksm_domain *domain, unsigned int nid, u64 hash,
			    struct ksm_offer *offer);

#endif /* _MM_KSM_OFFER_H */
