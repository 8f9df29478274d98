// SPDX-License-Identifier: GPL-2.0-only
/*
 * From a scanned page to a merge: hash it, find its like, merge the two.
 *
 * Two-touch rule: a page is offered to others (made a candidate) and merged with
 * other candidates only if it has not changed since the pass before. Only a page
 * that is seen for the first time and equals a KSM page is merged at once.
 *
 * An index only proposes. Equal hashes are followed by a full comparison under
 * write-protection (merge.c) before anything is shared.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>

#include "../internal.h"
#include "kpage.h"
#include "match.h"
#include "merge.h"
#include "node.h"
#include "walk.h"

static struct mm_struct *chunk_mm(const struct ksm_mm_chunk *mc)
{
	return mc->owner->slot.mm;
}

static unsigned long scanned_address(const struct ksm_scanned *s)
{
	return ksm_chunk_address(s->mc, s->slot);
}

/*
 * Make the scanned page small if need be. The reference of the walk is the only
 * one we hold, as a split demands.
 */
static enum ksm_refusal make_small(struct ksm_scanned *s)
{
	enum ksm_refusal why;

	if (!PageTransCompound(s->page))
		return KSM_REFUSED_NONE;
	why = ksm_split_page(s->page);
	if (!why)
		s->was_split = true;
	return why;
}

/* What can be refused of the scanned page at no cost to its owner. */
static enum ksm_refusal prepare(struct ksm_scanned *s)
{
	enum ksm_refusal why = make_small(s);

	if (!why && ksm_page_is_pinned(s->page, 1))
		why = KSM_REFUSED_PINNED;
	return why;
}

/* With mmap_lock and @kpage's lock held. */
static enum ksm_refusal merge_locked(struct vm_area_struct *vma,
				     struct ksm_scanned *s,
				     struct ksm_mapping *mapping,
				     struct ksm_stable_node *node,
				     struct page *kpage)
{
	unsigned long addr = scanned_address(s);
	enum ksm_refusal why;

	/* With the lock the keyhole test is final. */
	if (ksm_kpage_node(kpage) != node)
		return KSM_REFUSED_RACED;
	why = ksm_merge_page(vma, addr, s->page, kpage);
	if (!why)
		ksm_mapping_attach(mapping, node, vma->anon_vma,
				   linear_page_index(vma, addr));
	return why;
}

/*
 * Map @kpage, the KSM page of @node, in the place of the scanned page, and record
 * it. The KSM page stays locked from before it is mapped until the record is on
 * its list, so that reverse mapping never misses an address.
 */
static enum ksm_refusal merge_into(struct ksm_scanned *s,
				   struct ksm_stable_node *node,
				   struct page *kpage)
{
	struct mm_struct *mm = chunk_mm(s->mc);
	struct ksm_mapping *mapping;
	struct vm_area_struct *vma;
	enum ksm_refusal why;

	if (ksm_domain_nid(node->domain, kpage) !=
	    ksm_domain_nid(node->domain, s->page))
		return KSM_REFUSED_NODE;
	mapping = ksm_mapping_new(s->mc, s->slot);
	if (!mapping)
		return KSM_REFUSED_NOMEM;
	mmap_read_lock(mm);
	vma = ksm_find_vma(mm, scanned_address(s));
	why = KSM_REFUSED_LOCKED;
	if (!vma) {
		why = KSM_REFUSED_RACED;
	} else if (trylock_page(kpage)) {
		why = merge_locked(vma, s, mapping, node, kpage);
		unlock_page(kpage);
	}
	mmap_read_unlock(mm);
	if (why)
		ksm_mapping_free(mapping);
	return why;
}

/**
 * struct stable_match - what the stable index has for a page
 * @copy: a copy with room and with the page's bytes, or NULL
 * @kpage: its page, referenced
 * @full: a content that equals the page but whose copies are all full, or NULL
 */
struct stable_match {
	struct ksm_copy *copy;
	struct page *kpage;
	struct ksm_copy *full;
};

/*
 * Get the page of a copy and compare. The comparison saves the page's owner a
 * write-protection for nothing; the one that counts comes later. A copy whose
 * page is gone is left for the prune: it has nothing to give.
 */
static struct page *copy_equals(struct ksm_copy *copy, struct page *page)
{
	struct page *kpage = ksm_kpage_get(ksm_copy_node(copy),
					   KSM_KPAGE_NOLOCK);

	if (IS_ERR(kpage))
		return NULL;
	if (pages_identical(page, kpage))
		return kpage;
	put_page(kpage);
	return NULL;
}

static void find_stable(struct ksm_domain *domain, struct page *page, u64 hash,
			struct stable_match *match)
{
	struct ksm_index *index = &domain->node[ksm_domain_nid(domain, page)].stable;
	struct ksm_index_node *in;

	memset(match, 0, sizeof(*match));
	for (in = ksm_index_first(index, hash); in; in = ksm_index_next(in)) {
		struct ksm_copy *lead = container_of(in, struct ksm_copy, in);
		struct ksm_copy *copy;

		copy = ksm_chain_choose(lead, domain->limits.max_page_sharing);
		match->kpage = copy_equals(copy ? copy : lead, page);
		if (!match->kpage)
			continue;
		if (copy) {
			match->copy = copy;
			return;
		}
		put_page(match->kpage);
		match->kpage = NULL;
		match->full = lead;
	}
}

/* Returns true if the page needs no further attention. */
static bool merge_with_stable(struct ksm_domain *domain, struct ksm_scanned *s,
			      u64 hash, struct ksm_copy **full)
{
	struct stable_match found;
	enum ksm_refusal why;

	find_stable(domain, s->page, hash, &found);
	*full = found.full;
	if (!found.copy)
		return false;
	why = prepare(s);
	if (!why)
		why = merge_into(s, ksm_copy_node(found.copy), found.kpage);
	put_page(found.kpage);
	ksm_stats_refused(&domain->stats, why);
	return true;
}

static bool merge_with_zero(struct ksm_domain *domain, struct ksm_scanned *s,
			    u64 hash)
{
	struct mm_struct *mm = chunk_mm(s->mc);
	unsigned long addr = scanned_address(s);
	struct vm_area_struct *vma;
	enum ksm_refusal why;

	if (!domain->limits.use_zero_pages || hash != domain->zero_hash)
		return false;
	why = prepare(s);
	if (!why) {
		mmap_read_lock(mm);
		vma = ksm_find_vma(mm, addr);
		why = vma ? ksm_merge_page(vma, addr, s->page, ZERO_PAGE(addr)) :
			    KSM_REFUSED_RACED;
		mmap_read_unlock(mm);
	}
	ksm_stats_refused(&domain->stats, why);
	if (!why)
		ksm_record_drop(s->mc, s->slot);
	return !why;
}

/**
 * struct candidate - the page that a candidate entry names, if it still does
 * @mc: its chunk
 * @slot: its slot
 * @addr: its address
 */
struct candidate {
	struct ksm_mm_chunk *mc;
	unsigned int slot;
	unsigned long addr;
};

/* Returns false if the entry is stale. */
static bool resolve(struct ksm_domain *domain, ksm_ref_t ref, u64 hash,
		    struct candidate *c)
{
	c->mc = xa_load(&domain->chunks, ksm_ref_chunk(ref));
	if (!c->mc)
		return false;
	c->slot = ksm_ref_slot(ref);
	c->addr = ksm_chunk_address(c->mc, c->slot);
	return ksm_chunk_state(&c->mc->c, c->slot) == KSM_PAGE_CANDIDATE &&
	       ksm_chunk_same_hash(&c->mc->c, c->slot, hash);
}

/**
 * struct promotion - what it takes to make a candidate a KSM page
 * @node: the new stable node
 * @mapping: the candidate's mapping record
 * @full: the content it becomes a copy of, or NULL
 * @hash: its content hash
 * @like: the page it should equal
 */
struct promotion {
	struct ksm_stable_node *node;
	struct ksm_mapping *mapping;
	struct ksm_copy *full;
	u64 hash;
	struct page *like;
};

/* With the candidate's page locked and its mm's mmap_lock held. */
static enum ksm_refusal upgrade_locked(struct vm_area_struct *vma,
				       const struct candidate *c,
				       struct page *page, struct promotion *p)
{
	/*
	 * The page's own anon_vma and index find all who map it, forked mms
	 * included; those of @vma may cover fewer.
	 */
	struct anon_vma *anon_vma = folio_anon_vma(page_folio(page));
	unsigned long pgoff = page_to_pgoff(page);
	enum ksm_refusal why;

	if (!anon_vma)
		return KSM_REFUSED_RACED;
	why = ksm_merge_upgrade(vma, c->addr, page, p->node);
	if (why)
		return why;
	ksm_node_insert(p->node, ksm_domain_nid(p->node->domain, page), p->hash,
			p->full);
	ksm_mapping_attach(p->mapping, p->node, anon_vma, pgoff);
	return KSM_REFUSED_NONE;
}

/*
 * Make the candidate's page a KSM page if it is what it was, and equal to the
 * page that asks for it. Called with its mm's mmap_lock held. On success the
 * page is returned in @kpage with a reference.
 */
static enum ksm_refusal upgrade(const struct candidate *c, struct promotion *p,
				struct page **kpage)
{
	struct vm_area_struct *vma = ksm_find_vma(chunk_mm(c->mc), c->addr);
	struct page *page = vma ? ksm_walk_get_page(vma, c->addr) : NULL;
	enum ksm_refusal why = KSM_REFUSED_RACED;

	if (!page)
		return why;
	/* A forked pair maps one page already: nothing to gain. */
	if (page == p->like || PageKsm(page))
		goto out;
	why = KSM_REFUSED_NODE;
	if (ksm_domain_nid(p->node->domain, page) !=
	    ksm_domain_nid(p->node->domain, p->like))
		goto out;
	why = KSM_REFUSED_DIFFERENT;
	if (!pages_identical(page, p->like))
		goto out;
	why = ksm_split_page(page);
	if (why)
		goto out;
	why = KSM_REFUSED_LOCKED;
	if (trylock_page(page)) {
		why = upgrade_locked(vma, c, page, p);
		unlock_page(page);
	}
out:
	if (why)
		put_page(page);
	else
		*kpage = page;
	return why;
}

/*
 * Promote the candidate and merge the scanned page into it. If the second step
 * fails the first is undone, so that no page stays write-protected for nothing.
 */
static enum ksm_refusal merge_pair(struct ksm_scanned *s,
				   const struct candidate *c,
				   struct promotion *p)
{
	struct mm_struct *mm = chunk_mm(c->mc);
	struct page *kpage;
	enum ksm_refusal why;

	mmap_read_lock(mm);
	why = upgrade(c, p, &kpage);
	mmap_read_unlock(mm);
	if (why) {
		ksm_mapping_free(p->mapping);
		ksm_node_free(p->node);
		return why;
	}
	why = merge_into(s, p->node, kpage);
	put_page(kpage);
	if (why) {
		ksm_unmerge_address(mm, c->addr);
		ksm_record_drop(c->mc, c->slot);
	}
	return why;
}

static enum ksm_refusal try_candidate(struct ksm_domain *domain,
				      struct ksm_scanned *s,
				      const struct candidate *c, u64 hash,
				      struct ksm_copy *full)
{
	struct promotion p = {
		.full = full,
		.hash = hash,
		.like = s->page,
	};

	p.node = ksm_node_new(domain);
	p.mapping = p.node ? ksm_mapping_new(c->mc, c->slot) : NULL;
	if (!p.mapping) {
		ksm_node_free(p.node);
		return KSM_REFUSED_NOMEM;
	}
	return merge_pair(s, c, &p);
}

/*
 * The walk may hold a reference on a later page of the same chunk, which makes it
 * look pinned. When its turn comes it will find this one.
 */
static bool comes_later(const struct ksm_scanned *s, const struct candidate *c)
{
	return c->mc == s->mc && c->slot > s->slot;
}

static bool merge_with_candidate(struct ksm_domain *domain,
				 struct ksm_scanned *s, u64 hash,
				 struct ksm_copy *full)
{
	int nid = ksm_domain_nid(domain, s->page);
	struct ksm_candidates *table = &domain->node[nid].candidates;
	ksm_ref_t self = ksm_ref(s->mc->c.id, s->slot);
	ksm_ref_t twin[KSM_CANDIDATE_TWINS];
	struct ksm_candidate_iter iter;
	unsigned int nr = 0, i;
	ksm_ref_t ref;

	/* Trying one may change the table: take what it proposes first. */
	for (ref = ksm_candidates_first(table, hash, &iter);
	     ref && nr < KSM_CANDIDATE_TWINS; ref = ksm_candidates_next(&iter))
		if (ref != self)
			twin[nr++] = ref;

	for (i = 0; i < nr; i++) {
		enum ksm_refusal why;
		struct candidate c;

		if (!resolve(domain, twin[i], hash, &c)) {
			ksm_candidates_del(table, hash, twin[i]);
			continue;
		}
		if (comes_later(s, &c))
			continue;
		why = prepare(s);
		if (!why)
			why = try_candidate(domain, s, &c, hash, full);
		ksm_stats_refused(&domain->stats, why);
		if (!why) {
			ksm_candidates_del(table, hash, twin[i]);
			ksm_candidates_del(table, hash, self);
			return true;
		}
	}
	return false;
}

static void offer(struct ksm_domain *domain, struct ksm_scanned *s, u64 hash)
{
	int nid = ksm_domain_nid(domain, s->page);

	ksm_chunk_set_candidate(&s->mc->c, s->slot, hash);
	if (ksm_candidates_add(&domain->node[nid].candidates, hash,
			       ksm_ref(s->mc->c.id, s->slot)))
		ksm_stats_refused(&domain->stats, KSM_REFUSED_NOMEM);
}

static void match_anon_page(struct ksm_domain *domain, struct ksm_scanned *s)
{
	struct ksm_chunk *chunk = &s->mc->c;
	bool is_new = ksm_chunk_state(chunk, s->slot) == KSM_PAGE_EMPTY;
	u64 hash = ksm_domain_hash(domain, s->page);
	struct ksm_copy *full;

	if (!ksm_chunk_same_hash(chunk, s->slot, hash)) {
		ksm_chunk_set_volatile(chunk, s->slot, hash);
		if (!is_new)
			return;
	}
	if (is_new && domain->limits.use_zero_pages && hash == domain->zero_hash)
		return;
	if (!is_new && merge_with_zero(domain, s, hash))
		return;
	if (merge_with_stable(domain, s, hash, &full))
		return;
	if (!is_new && !merge_with_candidate(domain, s, hash, full))
		offer(domain, s, hash);
}

/*
 * Record an address that maps a KSM page without our doing: a fork, or a swap-in.
 * The page is shared already, so max_page_sharing does not come into it.
 */
static enum ksm_refusal adopt_sharer(struct ksm_scanned *s)
{
	enum ksm_refusal why = KSM_REFUSED_RACED;
	unsigned long addr = scanned_address(s);
	struct mm_struct *mm = chunk_mm(s->mc);
	struct ksm_stable_node *node;
	struct ksm_mapping *mapping;
	struct vm_area_struct *vma;

	mapping = ksm_mapping_new(s->mc, s->slot);
	if (!mapping)
		return KSM_REFUSED_NOMEM;
	mmap_read_lock(mm);
	vma = ksm_find_vma(mm, addr);
	lock_page(s->page);
	node = ksm_kpage_node(s->page);
	if (vma && node) {
		ksm_mapping_attach(mapping, node, vma->anon_vma,
				   linear_page_index(vma, addr));
		why = KSM_REFUSED_NONE;
	}
	unlock_page(s->page);
	mmap_read_unlock(mm);
	if (why)
		ksm_mapping_free(mapping);
	return why;
}

/*
 * A page that maps the KSM page that its record names. Where COW has left two
 * copies of a content that fit into one, this sharer of the spare one gets its
 * own page: as a new page it will find the other copy in the next pass.
 */
static void keep_sharing(struct ksm_domain *domain, struct ksm_scanned *s,
			 struct ksm_stable_node *node)
{
	int nid = ksm_domain_nid(domain, s->page);

	if (node->nid != nid) {
		ksm_node_move(node, nid);
	} else if (ksm_chain_is_spare(&node->copy,
				      domain->limits.max_page_sharing)) {
		ksm_unmerge_address(chunk_mm(s->mc), scanned_address(s));
		ksm_record_drop(s->mc, s->slot);
	}
}

static void match_ksm_page(struct ksm_domain *domain, struct ksm_scanned *s)
{
	struct ksm_mapping *mapping;

	if (ksm_chunk_state(&s->mc->c, s->slot) == KSM_PAGE_STABLE) {
		mapping = ksm_chunk_mapping(&s->mc->c, s->slot);
		if (ksm_kpage_node(s->page) == mapping->node) {
			keep_sharing(domain, s, mapping->node);
			return;
		}
		/* COW was broken and the address maps another KSM page now. */
		ksm_record_drop(s->mc, s->slot);
	}
	/* A page that lost its node is nobody's: give this address its own. */
	if (!ksm_kpage_node(s->page))
		ksm_unmerge_address(chunk_mm(s->mc), scanned_address(s));
	else
		ksm_stats_refused(&domain->stats, adopt_sharer(s));
}

/**
 * ksm_match_page - look at one scanned page
 * @domain: the domain of its mm
 * @scanned: the page
 *
 * Context: ksm_scan_mutex held. Takes mmap_lock and page locks. May sleep.
 */
void ksm_match_page(struct ksm_domain *domain, struct ksm_scanned *scanned)
{
	lockdep_assert_held(&ksm_scan_mutex);
	if (PageKsm(scanned->page)) {
		match_ksm_page(domain, scanned);
		return;
	}
	if (ksm_chunk_state(&scanned->mc->c, scanned->slot) == KSM_PAGE_STABLE)
		ksm_record_drop(scanned->mc, scanned->slot);
	match_anon_page(domain, scanned);
}

static bool candidate_is_stale(ksm_ref_t ref, void *arg)
{
	struct ksm_domain *domain = arg;
	struct ksm_mm_chunk *mc = xa_load(&domain->chunks, ksm_ref_chunk(ref));

	return !mc || ksm_chunk_state(&mc->c, ksm_ref_slot(ref)) !=
		      KSM_PAGE_CANDIDATE;
}

/**
 * ksm_match_sweep - drop candidate entries whose page is no candidate any more
 * @domain: the domain
 * @nr_pages: how many pages were scanned since the last sweep
 *
 * Twice as many entries are looked at as pages were scanned, so that stale ones
 * never outnumber the others for long.
 *
 * Context: ksm_scan_mutex held.
 */
void ksm_match_sweep(struct ksm_domain *domain, unsigned int nr_pages)
{
	unsigned int nid;

	lockdep_assert_held(&ksm_scan_mutex);
	for (nid = 0; nid < domain->nr_nodes; nid++)
		ksm_candidates_sweep(&domain->node[nid].candidates,
				     2 * nr_pages + 1, candidate_is_stale,
				     domain);
}
