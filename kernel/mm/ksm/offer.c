// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages that others may find: candidates, by the hash of their content.
 *
 * An entry of the table names a page and no more: what it says is checked against
 * the page's record, and by the callers against the page and its bytes.
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
 * @hash: its content hash
 *
 * Context: ksm_scan_mutex held.
 */
void ksm_offer_add(struct ksm_domain *domain, struct ksm_mm_chunk *mc,
		   unsigned int slot, struct page *page, u64 hash)
{
	lockdep_assert_held(&ksm_scan_mutex);
	ksm_chunk_set_candidate(&mc->c, slot, hash);
	if (ksm_candidates_add(table_of(domain, page), hash,
			       ksm_ref(mc->c.id, slot)))
		ksm_domain_refused(domain, mc->owner->slot.mm,
				   KSM_REFUSED_NOMEM, 1);
}

/**
 * ksm_offer_del - a page is no candidate any more, or never was
 * @domain: the domain
 * @mc: the page's chunk
 * @slot: its slot
 * @page: a page on the NUMA node on which it was offered
 * @hash: its content hash
 *
 * Context: ksm_scan_mutex held.
 */
void ksm_offer_del(struct ksm_domain *domain, struct ksm_mm_chunk *mc,
		   unsigned int slot, struct page *page, u64 hash)
{
	lockdep_assert_held(&ksm_scan_mutex);
	ksm_candidates_del(table_of(domain, page), hash, ksm_ref(mc->c.id, slot));
}

/* Returns false if the entry is stale. */
static bool resolve(struct ksm_domain *domain, ksm_ref_t ref, u64 hash,
		    struct ksm_offer *offer)
{
	offer->mc = xa_load(&domain->chunks, ksm_ref_chunk(ref));
	if (!offer->mc)
		return false;
	offer->slot = ksm_ref_slot(ref);
	return ksm_chunk_state(&offer->mc->c, offer->slot) == KSM_PAGE_CANDIDATE &&
	       ksm_chunk_same_hash(&offer->mc->c, offer->slot, hash);
}

/**
 * ksm_offer_find - find candidates that may equal a page
 * @domain: the domain
 * @page: the page
 * @hash: its content hash
 * @offer: set to what was found; room for KSM_CANDIDATE_TWINS. The page itself may
 *	be among them.
 *
 * Entries that are stale are removed.
 *
 * Context: ksm_scan_mutex held.
 * Return: how many were found.
 */
unsigned int ksm_offer_find(struct ksm_domain *domain, struct page *page, u64 hash,
			    struct ksm_offer *offer)
{
	struct ksm_candidates *table = table_of(domain, page);
	ksm_ref_t ref, twin[KSM_CANDIDATE_TWINS];
	struct ksm_candidate_iter iter;
	unsigned int nr = 0, i, found = 0;

	lockdep_assert_held(&ksm_scan_mutex);
	for (ref = ksm_candidates_first(table, hash, &iter);
	     ref && nr < KSM_CANDIDATE_TWINS; ref = ksm_candidates_next(&iter))
		twin[nr++] = ref;
	/* Only now, since this changes the table. */
	for (i = 0; i < nr; i++) {
		if (resolve(domain, twin[i], hash, &offer[found]))
			found++;
		else
			ksm_candidates_del(table, hash, twin[i]);
	}
	return found;
}

/* An entry whose page is a candidate again with other bytes may stay a while. */
static bool entry_is_stale(ksm_ref_t ref, void *arg)
{
	struct ksm_domain *domain = arg;
	struct ksm_mm_chunk *mc = xa_load(&domain->chunks, ksm_ref_chunk(ref));

	return !mc || ksm_chunk_state(&mc->c, ksm_ref_slot(ref)) !=
		      KSM_PAGE_CANDIDATE;
}

/**
 * ksm_offer_sweep - drop candidate entries whose page is no candidate any more
 * @domain: the domain
 * @nr_pages: how many pages were scanned since the last sweep
 *
 * Twice as many entries are looked at as pages were scanned, so that stale ones
 * never outnumber the others for long.
 *
 * Context: ksm_scan_mutex held.
 */
void ksm_offer_sweep(struct ksm_domain *domain, unsigned int nr_pages)
{
	unsigned int nid;

	lockdep_assert_held(&ksm_scan_mutex);
	for (nid = 0; nid < domain->nr_nodes; nid++)
		ksm_candidates_sweep(&domain->node[nid].candidates,
				     2 * nr_pages + 1, entry_is_stale, domain);
}
