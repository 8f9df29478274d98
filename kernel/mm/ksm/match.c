// SPDX-License-Identifier: GPL-2.0-only
/*
 * From a scanned page to a merge: hash it and find its like.
 *
 * Two-touch rule: a page is offered to others (made a candidate) and merged with
 * other candidates only if it has not changed since the pass before. Only a page
 * that is seen for the first time and equals a KSM page is merged at once.
 *
 * An index only proposes. Equal hashes are followed by a full comparison under
 * write-protection (merge.c) before anything is shared.
 */
#include <linux/mm.h>

#include "../internal.h"
#include "huge.h"
#include "join.h"
#include "kpage.h"
#include "match.h"
#include "merge.h"
#include "node.h"
#include "offer.h"
#include "pair.h"

/*
 * So many KSM pages are compared with one page at most. Contents with equal
 * hashes do not happen, and a content's copy that turns out to be gone is removed.
 */
#define COMPARE_MAX	8

/**
 * struct stable_match - what the stable index has for a page
 * @node: a node with room and with the page's bytes, or NULL
 * @kpage: its page, referenced
 * @full: a content that equals the page but whose copies are all full, or NULL
 */
struct stable_match {
	struct ksm_stable_node *node;
	struct page *kpage;
	struct ksm_copy *full;
};

static void refused(struct ksm_domain *domain, struct ksm_scanned *s,
		    enum ksm_refusal why)
{
	ksm_domain_refused(domain, ksm_chunk_mm(s->mc), why, 1);
}

enum comparison { SAME_BYTES, OTHER_BYTES, GONE };

/*
 * Compare with a copy's page, which is returned with a reference if it is equal.
 * This saves the page's owner a write-protection for nothing; the comparison that
 * counts comes later.
 */
static enum comparison compare(struct ksm_stable_node *node, struct page *page,
			       struct page **kpage)
{
	*kpage = ksm_kpage_get(node, KSM_KPAGE_NOLOCK);
	if (IS_ERR(*kpage))
		return GONE;
	if (!PageHWPoison(*kpage) && pages_identical(page, *kpage))
		return SAME_BYTES;
	put_page(*kpage);
	return OTHER_BYTES;
}

/*
 * Look through the contents of one hash. Returns false if a node was removed, so
 * that the search must start again.
 */
static bool search_contents(struct ksm_domain *domain, struct page *page,
			    struct ksm_index_node *in, struct stable_match *match,
			    unsigned int *budget)
{
	for (; in && *budget; in = ksm_index_next(in), --*budget) {
		struct ksm_copy *lead = container_of(in, struct ksm_copy, in);
		struct ksm_copy *copy = ksm_chain_choose(lead,
						domain->limits.max_page_sharing);
		struct ksm_stable_node *node = ksm_copy_node(copy ? copy : lead);
		enum comparison result = compare(node, page, &match->kpage);

		if (result == GONE) {
			ksm_node_remove_stale(node);
			--*budget;
			return false;
		}
		if (result == OTHER_BYTES)
			continue;
		if (copy) {
			match->node = node;
			return true;
		}
		put_page(match->kpage);
		match->full = lead;
	}
	return true;
}

static void find_stable(struct ksm_domain *domain, struct page *page, u64 hash,
			struct stable_match *match)
{
	struct ksm_index *index = &domain->node[ksm_domain_nid(domain, page)].stable;
	unsigned int budget = COMPARE_MAX;
	bool done;

	do {
		memset(match, 0, sizeof(*match));
		done = search_contents(domain, page, ksm_index_first(index, hash),
				       match, &budget);
		cond_resched();
	} while (!done && budget);
}

/*
 * Find a KSM page for the scanned page to share, with room for it once all that
 * waits in the batch is done.
 */
static void find_stable_with_room(struct ksm_batch *batch, struct page *page,
				  u64 hash, struct stable_match *match)
{
	find_stable(batch->domain, page, hash, match);
	if (!match->node || ksm_batch_has_room(batch, match->node))
		return;
	put_page(match->kpage);
	ksm_batch_flush(batch);
	find_stable(batch->domain, page, hash, match);
}

/* Returns true if the page needs no further attention. */
static bool merge_with_stable(struct ksm_batch *batch, struct ksm_scanned *s,
			      u64 hash, struct ksm_copy **full)
{
	struct stable_match found;
	enum ksm_refusal why;

	find_stable_with_room(batch, s->page, hash, &found);
	*full = found.full;
	if (!found.node)
		return false;
	why = ksm_join_prepare(batch->domain, s);
	if (!why) {
		ksm_batch_join(batch, s, hash, found.node, found.kpage);
		return true;
	}
	put_page(found.kpage);
	refused(batch->domain, s, why);
	return true;
}

static bool is_mergeable_zero(const struct ksm_domain *domain, u64 hash)
{
	return READ_ONCE(domain->limits.use_zero_pages) &&
	       hash == domain->zero_hash;
}

/* Returns true if the page is merged. */
static bool merge_with_zero(struct ksm_domain *domain, struct ksm_scanned *s,
			    u64 hash)
{
	enum ksm_refusal why;

	if (!is_mergeable_zero(domain, hash))
		return false;
	why = ksm_join_prepare(domain, s);
	if (!why)
		why = ksm_join_zero(s);
	if (!why)
		ksm_huge_merged(domain, s->mc, s->slot);
	refused(domain, s, why);
	return !why;
}

/* Is there a page on another node that it would be merged with, were it here? */
static bool is_elsewhere(struct ksm_domain *domain, const struct ksm_scanned *s)
{
	unsigned int here = ksm_domain_nid(domain, s->page), nid;

	if (domain->limits.merge_across_nodes)
		return false;
	for (nid = 0; nid < domain->nr_nodes; nid++)
		if (nid != here &&
		    (ksm_index_first(&domain->node[nid].stable, s->hash) ||
		     ksm_pair_is_on_node(domain, s, nid)))
			return true;
	return false;
}

/*
 * Merge a page with what is there, or make it a candidate. What is there changes when
 * the batch is flushed: then it is looked up again. With @others_will only KSM pages
 * are looked at.
 */
static void find_partner(struct ksm_batch *batch, struct ksm_scanned *s, u64 hash,
			 bool others_will)
{
	enum ksm_pairing pairing = KSM_PAIR_NONE;
	struct ksm_copy *full;

	do {
		if (merge_with_stable(batch, s, hash, &full) || others_will)
			return;
		pairing = ksm_pair_find(batch, s, hash, full);
	} while (pairing == KSM_PAIR_FLUSHED);
	if (pairing == KSM_PAIR_FOUND)
		return;
	ksm_offer_add(batch->domain, s->mc, s->slot, s->page, hash);
	if (is_elsewhere(batch->domain, s))
		refused(batch->domain, s, KSM_REFUSED_NODE);
}

/*
 * Is the page a candidate that had no like when it was last looked at? What has become
 * its like since has found it. On NUMA nodes that are kept apart it may have moved.
 */
static bool is_settled(const struct ksm_domain *domain, const struct ksm_scanned *s)
{
	return ksm_chunk_state(&s->mc->c, s->slot) == KSM_PAGE_CANDIDATE &&
	       !test_bit(s->slot, s->mc->has_like) &&
	       domain->limits.merge_across_nodes;
}

static void match_anon_page(struct ksm_batch *batch, struct ksm_scanned *s)
{
	struct ksm_domain *domain = batch->domain;
	struct ksm_chunk *chunk = &s->mc->c;
	bool is_new = ksm_chunk_state(chunk, s->slot) == KSM_PAGE_EMPTY;
	bool settled = is_settled(domain, s);
	u64 hash = s->hash;

	__clear_bit(s->slot, s->mc->has_like);
	if (!ksm_chunk_same_hash(chunk, s->slot, hash)) {
		ksm_domain_withdraw(domain, s->mc, s->slot);
		ksm_chunk_set_volatile(chunk, s->slot, hash);
		if (!is_new)
			refused(domain, s, KSM_REFUSED_VOLATILE);
		if (!is_new || is_mergeable_zero(domain, hash))
			return;
	}
	if (!is_new && merge_with_zero(domain, s, hash))
		return;
	find_partner(batch, s, hash, is_new || settled);
}

/*
 * A page that maps the KSM page that its record names. Where COW has left two
 * copies of a content that fit into one, the sharers of the spare one move over.
 */
static void keep_sharing(struct ksm_domain *domain, struct ksm_scanned *s,
			 struct ksm_mapping *mapping)
{
	unsigned int limit = domain->limits.max_page_sharing;
	struct ksm_stable_node *node = mapping->node;
	int nid = ksm_domain_nid(domain, s->page);
	struct ksm_copy *target;

	if (node->nid != nid) {
		ksm_node_move(node, nid);
	} else if (ksm_chain_is_spare(&node->copy, limit)) {
		target = ksm_chain_choose(node->copy.lead, limit);
		refused(domain, s,
			ksm_join_other(s, mapping, ksm_copy_node(target)));
	}
}

static void match_ksm_page(struct ksm_domain *domain, struct ksm_scanned *s)
{
	struct ksm_mapping *mapping;

	if (ksm_chunk_state(&s->mc->c, s->slot) == KSM_PAGE_STABLE) {
		mapping = ksm_chunk_mapping(&s->mc->c, s->slot);
		/* No reference is held on it: compare numbers. */
		if (READ_ONCE(mapping->node->kpfn) == page_to_pfn(s->page)) {
			keep_sharing(domain, s, mapping);
			return;
		}
		if (ksm_join_holds(s, mapping))
			return;
		/* COW was broken and the address maps another KSM page now. */
		ksm_record_drop(s->mc, s->slot);
	}
	refused(domain, s, ksm_join_adopt(s));
}

/**
 * ksm_match_page - look at one scanned page
 * @batch: where merges wait
 * @scanned: the page
 *
 * Context: ksm_scan_mutex held. Takes mmap_lock and page locks. May sleep.
 */
void ksm_match_page(struct ksm_batch *batch, struct ksm_scanned *scanned)
{
	lockdep_assert_held(&ksm_scan_mutex);
	if (scanned->is_kpage || PageKsm(scanned->page)) {
		match_ksm_page(batch->domain, scanned);
		return;
	}
	if (ksm_chunk_state(&scanned->mc->c, scanned->slot) == KSM_PAGE_STABLE)
		ksm_record_drop(scanned->mc, scanned->slot);
	match_anon_page(batch, scanned);
}
