// SPDX-License-Identifier: GPL-2.0-only
/*
 * Merging two pages that nobody shares yet: find a candidate that equals the
 * scanned page, make its page a KSM page, and let the scanned page join it.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <trace/events/ksm.h>

#include "../internal.h"
#include "join.h"
#include "kpage.h"
#include "merge.h"
#include "node.h"
#include "pair.h"
#include "walk.h"

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

/**
 * struct promotion - what it takes to make a candidate a KSM page
 * @node: the new stable node
 * @mapping: the candidate's mapping record
 * @full: the content it becomes a copy of, or NULL
 * @hash: its content hash
 * @s: the scanned page, which it should equal
 */
struct promotion {
	struct ksm_stable_node *node;
	struct ksm_mapping *mapping;
	struct ksm_copy *full;
	u64 hash;
	struct ksm_scanned *s;
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

/* Does the page have the bytes it is promoted for? They can no longer change. */
static bool content_fits(const struct promotion *p, struct page *page)
{
	struct page *kpage;
	bool same;

	if (ksm_domain_hash(p->node->domain, page) != p->hash)
		return false;
	if (!p->full)
		return true;
	kpage = ksm_kpage_get(ksm_copy_node(p->full), KSM_KPAGE_NOLOCK);
	if (IS_ERR(kpage))
		return false;
	same = !PageHWPoison(kpage) && pages_identical(page, kpage);
	put_page(kpage);
	return same;
}

/* With the candidate's page locked and its mm's mmap_lock held. */
static enum ksm_refusal promote_locked(struct vm_area_struct *vma,
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
	why = ksm_merge_protect(vma, c->addr, page);
	if (!why && !content_fits(p, page))
		why = KSM_REFUSED_DIFFERENT;
	if (why)
		return why;
	ksm_kpage_adopt(page, p->node);
	ksm_node_insert(p->node, ksm_domain_nid(p->node->domain, page), p->hash,
			p->full);
	ksm_mapping_attach(p->mapping, p->node, anon_vma, pgoff);
	return KSM_REFUSED_NONE;
}

/* Before anything is split or protected: is there something to gain at all? */
static enum ksm_refusal compare(struct promotion *p, struct page *page)
{
	struct ksm_domain *domain = p->node->domain;
	struct page *like = p->s->page;

	/* A forked pair maps one page already. */
	if (page == like || PageKsm(page))
		return KSM_REFUSED_RACED;
	if (ksm_domain_nid(domain, page) != ksm_domain_nid(domain, like))
		return KSM_REFUSED_NODE;
	return pages_identical(page, like) ? KSM_REFUSED_NONE :
					     KSM_REFUSED_DIFFERENT;
}

/*
 * Get the candidate's page and compare it. The scanned page is prepared without
 * that reference: if both are parts of one huge page it would keep it from being
 * split. Called with the candidate's mmap_lock held.
 */
static enum ksm_refusal get_equal_page(struct vm_area_struct *vma,
				       const struct candidate *c,
				       struct promotion *p, struct page **page)
{
	enum ksm_refusal why;

	*page = ksm_walk_get_page(vma, c->addr);
	if (!*page)
		return KSM_REFUSED_RACED;
	why = compare(p, *page);
	put_page(*page);
	if (!why)
		why = ksm_join_prepare(p->s);
	if (why)
		return why;
	*page = ksm_walk_get_page(vma, c->addr);
	return *page ? KSM_REFUSED_NONE : KSM_REFUSED_RACED;
}

/*
 * Make the candidate's page a KSM page if it is what it was, and equal to the
 * scanned page. On success it is returned in @kpage with a reference.
 */
static enum ksm_refusal promote(const struct candidate *c, struct promotion *p,
				struct page **kpage)
{
	struct vm_area_struct *vma = ksm_find_vma(ksm_chunk_mm(c->mc), c->addr);
	enum ksm_refusal why;
	struct page *page;

	if (!vma)
		return KSM_REFUSED_RACED;
	why = get_equal_page(vma, c, p, &page);
	if (why)
		return why;
	why = ksm_split_page(page);
	if (!why && !trylock_page(page))
		why = KSM_REFUSED_LOCKED;
	if (!why) {
		why = promote_locked(vma, c, page, p);
		unlock_page(page);
		trace_ksm_merge_with_ksm_page(NULL, page_to_pfn(page), p->mapping,
					      vma->vm_mm, why ? -EFAULT : 0);
	}
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
static enum ksm_refusal merge_pair(const struct candidate *c, struct promotion *p)
{
	struct mm_struct *mm = ksm_chunk_mm(c->mc);
	enum ksm_refusal why;
	struct page *kpage;

	mmap_read_lock(mm);
	why = promote(c, p, &kpage);
	mmap_read_unlock(mm);
	if (why) {
		ksm_mapping_free(p->mapping);
		ksm_node_free(p->node);
		return why;
	}
	why = ksm_join_node(p->s, p->node, kpage);
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
		.s = s,
	};

	p.node = ksm_node_new(domain);
	p.mapping = p.node ? ksm_mapping_new(c->mc, c->slot) : NULL;
	if (!p.mapping) {
		ksm_node_free(p.node);
		return KSM_REFUSED_NOMEM;
	}
	return merge_pair(c, &p);
}

/*
 * The walk may hold a reference on a later page of the same chunk, which makes it
 * look pinned. When its turn comes it will find this one.
 */
static bool comes_later(const struct ksm_scanned *s, const struct candidate *c)
{
	return c->mc == s->mc && c->slot > s->slot;
}

static struct ksm_candidates *table_of(struct ksm_domain *domain,
				       struct page *page)
{
	return &domain->node[ksm_domain_nid(domain, page)].candidates;
}

/* Note what the table proposes for a page: trying one may change the table. */
static unsigned int proposals(const struct ksm_candidates *table, u64 hash,
			      ksm_ref_t self, ksm_ref_t *twin)
{
	struct ksm_candidate_iter iter;
	unsigned int nr = 0;
	ksm_ref_t ref;

	for (ref = ksm_candidates_first(table, hash, &iter);
	     ref && nr < KSM_CANDIDATE_TWINS; ref = ksm_candidates_next(&iter))
		if (ref != self)
			twin[nr++] = ref;
	return nr;
}

/**
 * ksm_pair_merge - merge the scanned page with a candidate
 * @domain: the domain
 * @s: the scanned page, unchanged since the last pass
 * @hash: its content hash
 * @full: a content equal to the page whose copies are all full, or NULL
 *
 * Context: ksm_scan_mutex held. Takes mmap_lock. May sleep.
 * Return: true if it was merged. A refusal is counted once for the page.
 */
bool ksm_pair_merge(struct ksm_domain *domain, struct ksm_scanned *s, u64 hash,
		    struct ksm_copy *full)
{
	struct ksm_candidates *table = table_of(domain, s->page);
	ksm_ref_t self = ksm_ref(s->mc->c.id, s->slot);
	enum ksm_refusal why = full ? KSM_REFUSED_LIMIT : KSM_REFUSED_NONE;
	ksm_ref_t twin[KSM_CANDIDATE_TWINS];
	unsigned int nr, i;

	lockdep_assert_held(&ksm_scan_mutex);
	nr = proposals(table, hash, self, twin);
	for (i = 0; i < nr; i++) {
		struct candidate c;

		if (!resolve(domain, twin[i], hash, &c)) {
			ksm_candidates_del(table, hash, twin[i]);
			continue;
		}
		if (comes_later(s, &c))
			continue;
		why = try_candidate(domain, s, &c, hash, full);
		if (!why) {
			ksm_candidates_del(table, hash, twin[i]);
			ksm_candidates_del(table, hash, self);
			return true;
		}
	}
	ksm_domain_refused(domain, ksm_chunk_mm(s->mc), why, 1);
	return false;
}

/**
 * ksm_pair_offer - make the scanned page a candidate
 * @domain: the domain
 * @s: the scanned page, unchanged since the last pass
 * @hash: its content hash
 *
 * Context: ksm_scan_mutex held.
 */
void ksm_pair_offer(struct ksm_domain *domain, struct ksm_scanned *s, u64 hash)
{
	lockdep_assert_held(&ksm_scan_mutex);
	ksm_chunk_set_candidate(&s->mc->c, s->slot, hash);
	if (ksm_candidates_add(table_of(domain, s->page), hash,
			       ksm_ref(s->mc->c.id, s->slot)))
		ksm_domain_refused(domain, ksm_chunk_mm(s->mc),
				   KSM_REFUSED_NOMEM, 1);
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
 * ksm_pair_sweep - drop candidate entries whose page is no candidate any more
 * @domain: the domain
 * @nr_pages: how many pages were scanned since the last sweep
 *
 * Twice as many entries are looked at as pages were scanned, so that stale ones
 * never outnumber the others for long.
 *
 * Context: ksm_scan_mutex held.
 */
void ksm_pair_sweep(struct ksm_domain *domain, unsigned int nr_pages)
{
	unsigned int nid;

	lockdep_assert_held(&ksm_scan_mutex);
	for (nid = 0; nid < domain->nr_nodes; nid++)
		ksm_candidates_sweep(&domain->node[nid].candidates,
				     2 * nr_pages + 1, entry_is_stale, domain);
}
