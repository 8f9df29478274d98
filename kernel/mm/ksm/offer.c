// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages that others may find: candidates, by the hash of their content.
 *
 * That a page is a candidate says no more than what its content was when the scan last
 * came by: what is found is checked by the callers against the page and its bytes.
 */
#include <linux/mm.h>

#include "offer.h"

static struct ksm_candidates *table_of(struct ksm_domain *domain,
				       struct page *page)
{
	return &domain->node[ksm_domain_nid(domain, page)].candidates;
}

/**
 * ksm_offer_add - make a page a candidate
 * @domain: the domain
 * @mc: the page's chunk
 * @slot: its slot
 * @page: the page, unchanged since the last pass
 * @hash: its content hash, which its record has, too
 *
 * Context: ksm_scan_mutex held.
 */
void ksm_offer_add(struct ksm_domain *domain, struct ksm_mm_chunk *mc,
		   unsigned int slot, struct page *page, u64 hash)
{
	lockdep_assert_held(&ksm_scan_mutex);
	/* One that may have moved to another node is offered anew there. */
	if (ksm_chunk_state(&mc->c, slot) == KSM_PAGE_CANDIDATE &&
	    domain->limits.merge_across_nodes)
		return;
	ksm_domain_withdraw(domain, mc, slot);
	if (ksm_candidates_add(table_of(domain, page), &mc->c, slot, hash))
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
	ksm_ref_t ref[KSM_CANDIDATE_TWINS];
	unsigned int nr, i;

	lockdep_assert_held(&ksm_scan_mutex);
	nr = ksm_candidates_find(&domain->node[nid].candidates, hash, ref);
	for (i = 0; i < nr; i++) {
		offer[i].mc = xa_load(&domain->chunks, ksm_ref_chunk(ref[i]));
		offer[i].slot = ksm_ref_slot(ref[i]);
	}
	return nr;
}
