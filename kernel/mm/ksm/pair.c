// SPDX-License-Identifier: GPL-2.0-only
/*
 * Finding a partner for a scanned page among pages that nobody shares yet: an equal
 * candidate, which then becomes a KSM page (batch.c).
 */
#include <linux/mm.h>

#include "../internal.h"
#include "huge.h"
#include "offer.h"
#include "pair.h"
#include "walk.h"

/*
 * Has a candidate that has other bytes the same hash nevertheless? If it was written to
 * since it became one, it might be as it was when the scan comes by, and take itself
 * for settled: let it look again.
 */
static bool hashes_like(struct ksm_domain *domain, const struct ksm_offer *o,
			struct page *page, const struct ksm_scanned *s)
{
	u64 hash = ksm_domain_hash(domain, page);

	if (!ksm_chunk_same_hash(&o->mc->c, o->slot, hash))
		__set_bit(o->slot, o->mc->has_like);
	return hash == s->hash;
}

/*
 * Is there something to gain at all? Asked before anything is split or protected. A
 * candidate that agrees by chance, since its record has only a part of the hash, or that
 * was written to, is no like: nothing was refused, and @why stays as it is.
 */
static bool compare(struct ksm_domain *domain, const struct ksm_offer *o,
		    struct page *page, const struct ksm_scanned *s,
		    enum ksm_refusal *why)
{
	bool same;

	/* A forked pair maps one page already. */
	if (page == s->page || PageKsm(page)) {
		*why = KSM_REFUSED_RACED;
		return false;
	}
	same = pages_identical(page, s->page);
	if (!same && !hashes_like(domain, o, page, s))
		return false;
	if (!same)
		*why = KSM_REFUSED_DIFFERENT;
	else if (ksm_domain_nid(domain, page) != ksm_domain_nid(domain, s->page))
		*why = KSM_REFUSED_NODE;
	else if (!PageTransCompound(page) && ksm_page_is_pinned(page, 1))
		*why = KSM_REFUSED_PINNED;
	else
		*why = KSM_REFUSED_NONE;
	return !*why;
}

/* What one of two huge pages gains the other gains, too: neither is asked alone. */
static bool both_pay(struct ksm_domain *domain, const struct ksm_offer *o,
		     struct page *page, const struct ksm_scanned *s)
{
	bool other_pays = ksm_huge_pays(domain, o->mc, o->slot, page);

	return ksm_huge_pays(domain, s->mc, s->slot, s->page) && other_pays;
}

/*
 * May the candidate's page be merged with the scanned one? No reference on it is left.
 * If not, @why is set unless it was no like.
 */
static bool offer_fits(struct ksm_domain *domain, const struct ksm_offer *o,
		       const struct ksm_scanned *s, enum ksm_refusal *why)
{
	unsigned long addr = ksm_chunk_address(o->mc, o->slot);
	struct mm_struct *mm = ksm_chunk_mm(o->mc);
	struct vm_area_struct *vma;
	struct page *page;
	bool fits = false;

	mmap_read_lock(mm);
	vma = ksm_find_vma(mm, addr);
	page = vma ? ksm_walk_get_page(vma, addr) : NULL;
	if (page) {
		fits = compare(domain, o, page, s, why);
		if (fits && !both_pay(domain, o, page, s)) {
			*why = KSM_REFUSED_HUGE;
			fits = false;
		}
		put_page(page);
	} else {
		*why = KSM_REFUSED_RACED;
	}
	mmap_read_unlock(mm);
	return fits;
}

/*
 * The scan holds references on later pages, and the batch on earlier ones, which makes
 * them look pinned. When its turn comes, or in the next pass, it will find this one.
 */
static bool is_held(const struct ksm_batch *batch, const struct ksm_scanned *s,
		    const struct ksm_offer *o)
{
	unsigned long addr = ksm_chunk_address(o->mc, o->slot);

	if (o->mc->owner == s->mc->owner && addr >= ksm_scanned_address(s) &&
	    addr < batch->held_until)
		return true;
	return ksm_batch_holds(batch, o->mc, o->slot);
}

/* An equal page is to become a KSM page already: let the page share it, too. */
static enum ksm_pairing wait_for(struct ksm_batch *batch, struct ksm_scanned *s,
				 u64 hash, struct ksm_promotion *p,
				 enum ksm_refusal *why)
{
	if (!ksm_batch_promotion_has_room(batch, p)) {
		ksm_batch_flush(batch);
		return KSM_PAIR_FLUSHED;
	}
	*why = ksm_join_prepare(batch->domain, s);
	if (*why)
		return KSM_PAIR_NONE;
	ksm_batch_wait(batch, s, hash, p);
	return KSM_PAIR_FOUND;
}

static enum ksm_pairing try_offer(struct ksm_batch *batch, struct ksm_scanned *s,
				  u64 hash, struct ksm_copy *full,
				  const struct ksm_offer *o, enum ksm_refusal *why)
{
	if (!offer_fits(batch->domain, o, s, why))
		return KSM_PAIR_NONE;
	/* Prepared without a reference on the other: they may be of one huge page. */
	*why = ksm_join_prepare(batch->domain, s);
	if (*why)
		return KSM_PAIR_NONE;
	ksm_batch_promote(batch, s, hash, o->mc, o->slot, full);
	/* Nothing keeps the full content's copies from going. */
	if (full)
		ksm_batch_flush(batch);
	return KSM_PAIR_FOUND;
}

/**
 * ksm_pair_find - find a candidate to share a page with
 * @batch: where the pair goes
 * @s: the scanned page, unchanged since the last pass
 * @hash: its content hash
 * @full: a content equal to the page whose copies are all full, or NULL
 *
 * Context: ksm_scan_mutex held. Takes mmap_lock. May sleep.
 * Return: what became of it. If there was none, a refusal is counted once.
 */
enum ksm_pairing ksm_pair_find(struct ksm_batch *batch, struct ksm_scanned *s,
			       u64 hash, struct ksm_copy *full)
{
	enum ksm_refusal why = full ? KSM_REFUSED_LIMIT : KSM_REFUSED_NONE;
	struct ksm_offer offer[KSM_CANDIDATE_TWINS];
	enum ksm_pairing result = KSM_PAIR_NONE;
	struct ksm_promotion *p;
	bool has_like = false;
	unsigned int nr, i;

	lockdep_assert_held(&ksm_scan_mutex);
	p = ksm_batch_find(batch, s->page, hash);
	if (p) {
		result = wait_for(batch, s, hash, p, &why);
		goto out;
	}
	nr = ksm_offer_find(batch->domain, ksm_domain_nid(batch->domain, s->page), hash,
			    offer);
	for (i = 0; i < nr; i++) {
		if (is_held(batch, s, &offer[i])) {
			/* So that it looks for this one, too. */
			__set_bit(offer[i].slot, offer[i].mc->has_like);
			has_like = true;
			continue;
		}
		result = try_offer(batch, s, hash, full, &offer[i], &why);
		if (result != KSM_PAIR_NONE)
			break;
	}
out:
	if (result == KSM_PAIR_NONE)
		ksm_domain_refused(batch->domain, ksm_chunk_mm(s->mc), why, 1);
	/* It will be looked for again: a page that was refused may not be for ever. */
	if (result == KSM_PAIR_NONE && (has_like || why))
		__set_bit(s->slot, s->mc->has_like);
	return result;
}

/**
 * ksm_pair_is_on_node - does a candidate of another NUMA node equal a page?
 * @domain: the domain, with merge_across_nodes off
 * @s: the scanned page
 * @nid: the other node
 *
 * Context: ksm_scan_mutex held. Takes mmap_lock. May sleep.
 */
bool ksm_pair_is_on_node(struct ksm_domain *domain, const struct ksm_scanned *s,
			 unsigned int nid)
{
	struct ksm_offer offer[KSM_CANDIDATE_TWINS];
	unsigned int nr, i;

	lockdep_assert_held(&ksm_scan_mutex);
	nr = ksm_offer_find(domain, nid, s->hash, offer);
	for (i = 0; i < nr; i++) {
		enum ksm_refusal why = KSM_REFUSED_NONE;

		offer_fits(domain, &offer[i], s, &why);
		if (why == KSM_REFUSED_NODE)
			return true;
	}
	return false;
}
