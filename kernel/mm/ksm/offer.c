// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages that others may find: candidates, by the hash of their content.
 *
 * What is found is a candidate for certain, but agrees in 26 bits of the hash as it was
 * when it was last looked at: the callers check the page and its bytes.
 */
#include <linux/mm.h>

#include "offer.h"

/**
 * ksm_offer_add - make a page a candidate
 * @domain: the domain
 * @mc: the page's chunk
 * @slot: its slot
 * @page: the page, unchanged since the last pass
 * @hash: its content hash
 *
 * It is one until its record says that it is something else.
 *
 * Context: ksm_scan_mutex held.
 */
void ksm_offer_add(struct ksm_domain *domain, struct ksm_mm_chunk *mc,
		   unsigned int slot, struct page *page, u64 hash)
{
	unsigned int nid = ksm_domain_nid(domain, page);

	lockdep_assert_held(&ksm_scan_mutex);
	if (ksm_chunk_set_candidate(&mc->c, slot, ksm_domain_record_hash(hash, nid)))
		ksm_domain_refused(domain, mc->owner->slot.mm,
				   KSM_REFUSED_NOMEM, 1);
}

/**
 * ksm_offer_find - find candidates that may equal a page
 * @domain: the domain
 * @nid: the node on which to look, from ksm_domain_nid()
 * @hash: the page's content hash
 * @offer: set to what was found; room for KSM_CANDIDATE_TWINS. The page itself may
 *	be among them.
 *
 * Context: ksm_scan_mutex held.
 * Return: how many were found.
 */
unsigned int ksm_offer_find(struct ksm_domain *domain, unsigned int nid, u64 hash,
			    struct ksm_offer *offer)
{
	struct ksm_candidates *candidates = &domain->candidates;
	struct ksm_candidate_iter iter;
	unsigned int nr = 0;
	ksm_ref_t ref;

	lockdep_assert_held(&ksm_scan_mutex);
	for (ref = ksm_candidates_first(candidates, ksm_domain_record_hash(hash, nid),
					&iter);
	     ref && nr < KSM_CANDIDATE_TWINS; ref = ksm_candidates_next(&iter)) {
		offer[nr].mc = xa_load(&domain->chunks, ksm_ref_chunk(ref));
		offer[nr].slot = ksm_ref_slot(ref);
		if (!WARN_ON_ONCE(!offer[nr].mc))
			nr++;
	}
	return nr;
}
