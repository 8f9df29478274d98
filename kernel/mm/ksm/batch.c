// SPDX-License-Identifier: GPL-2.0-only
/*
 * Merges that are put off until there are several of them, so that many pages cost
 * one notifier range, one TLB flush and one interruption of the guest's CPUs.
 *
 * Two steps. First the candidates become KSM pages, a chunk at a time: each is
 * write-protected and gets its node. Then the scanned pages, all of one chunk, come
 * to share these KSM pages and older ones. A promotion whose sharers all failed is
 * undone, so that no page stays write-protected for nothing.
 *
 * While a merge waits, the batch holds a reference on the scanned page and on an
 * older KSM page, whose node stays for as long: it would go only if the page did.
 * No lock is held while anything waits.
 *
 * A KSM page stays locked from before it is mapped until the record is on its list,
 * so that reverse mapping never misses an address. mmap_lock is taken before page
 * locks, and these are only tried.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/sort.h>
#include <trace/events/ksm.h>

#include "../internal.h"
#include "batch.h"
#include "huge.h"
#include "kpage.h"
#include "node.h"
#include "offer.h"
#include "walk.h"

/**
 * ksm_batch_begin - start to collect the merges of one chunk
 * @batch: an empty batch
 * @domain: the domain of the chunk's mm
 * @mc: the chunk
 * @held_until: up to where in the mm the scan has taken references
 *
 * Context: ksm_scan_mutex held. The chunk must stay until ksm_batch_flush().
 */
void ksm_batch_begin(struct ksm_batch *batch, struct ksm_domain *domain,
		     struct ksm_mm_chunk *mc, unsigned long held_until)
{
	lockdep_assert_held(&ksm_scan_mutex);
	WARN_ON_ONCE(batch->nr || batch->nr_promotions);
	batch->domain = domain;
	batch->mc = mc;
	batch->held_until = held_until;
	bitmap_zero(batch->slots, KSM_CHUNK_PAGES);
}

static struct ksm_joining *add(struct ksm_batch *batch, struct ksm_scanned *s,
			       u64 hash)
{
	struct ksm_joining *j = &batch->joining[batch->nr++];

	*j = (struct ksm_joining) {
		.slot = s->slot,
		.page = s->page,
		.hash = hash,
	};
	s->is_kept = true;
	__set_bit(s->slot, batch->slots);
	return j;
}

/**
 * ksm_batch_join - let a page share a KSM page, when the batch is flushed
 * @batch: the batch; a walk's pages always fit
 * @s: the scanned page, prepared; its reference is now the batch's
 * @hash: its content hash
 * @node: the KSM page's node, with room: see ksm_batch_has_room()
 * @kpage: the KSM page; the reference is now the batch's
 *
 * Context: ksm_scan_mutex held.
 */
void ksm_batch_join(struct ksm_batch *batch, struct ksm_scanned *s, u64 hash,
		    struct ksm_stable_node *node, struct page *kpage)
{
	struct ksm_joining *j = add(batch, s, hash);

	j->node = node;
	j->kpage = kpage;
}

/**
 * ksm_batch_wait - let a page share what will be a KSM page
 * @batch: the batch
 * @s: the scanned page, prepared; its reference is now the batch's
 * @hash: its content hash
 * @promotion: one of the batch, with room: see ksm_batch_promotion_has_room()
 *
 * Context: ksm_scan_mutex held.
 */
void ksm_batch_wait(struct ksm_batch *batch, struct ksm_scanned *s, u64 hash,
		    struct ksm_promotion *promotion)
{
	add(batch, s, hash)->promotion = promotion;
	promotion->waiting++;
}

/**
 * ksm_batch_promote - let a candidate become a KSM page, and a page share it
 * @batch: the batch
 * @s: the scanned page, prepared; its reference is now the batch's
 * @hash: the content hash of both
 * @mc: the candidate's chunk
 * @slot: its slot
 * @full: a content equal to it whose copies are all full, or NULL; if there is one
 *	flush the batch before anything else is looked up, since it may go
 *
 * Context: ksm_scan_mutex held.
 */
void ksm_batch_promote(struct ksm_batch *batch, struct ksm_scanned *s, u64 hash,
		       struct ksm_mm_chunk *mc, unsigned int slot,
		       struct ksm_copy *full)
{
	struct ksm_promotion *p = &batch->promotion[batch->nr_promotions++];

	*p = (struct ksm_promotion) {
		.mc = mc,
		.slot = slot,
		.hash = hash,
		.like = s->page,
		.full = full,
	};
	ksm_batch_wait(batch, s, hash, p);
}

/**
 * ksm_batch_has_room - may one more page come to share a KSM page?
 * @batch: the batch
 * @node: the KSM page's node
 *
 * Return: false if max_page_sharing would be exceeded if all that waits succeeds.
 */
bool ksm_batch_has_room(const struct ksm_batch *batch,
			const struct ksm_stable_node *node)
{
	unsigned int sharers = node->copy.sharers, i;

	for (i = 0; i < batch->nr; i++)
		sharers += batch->joining[i].node == node;
	return sharers < batch->domain->limits.max_page_sharing;
}

/**
 * ksm_batch_promotion_has_room - ditto, for what will be a KSM page
 * @batch: the batch
 * @promotion: one of the batch
 */
bool ksm_batch_promotion_has_room(const struct ksm_batch *batch,
				  const struct ksm_promotion *promotion)
{
	return 1 + promotion->waiting < batch->domain->limits.max_page_sharing;
}

/**
 * ksm_batch_find - is a page's equal to become a KSM page?
 * @batch: the batch
 * @page: the page
 * @hash: its content hash
 *
 * Return: the equal's promotion, or NULL.
 */
struct ksm_promotion *ksm_batch_find(struct ksm_batch *batch, struct page *page,
				     u64 hash)
{
	unsigned int i;

	for (i = 0; i < batch->nr_promotions; i++) {
		struct ksm_promotion *p = &batch->promotion[i];

		if (p->hash == hash && pages_identical(page, p->like))
			return p;
	}
	return NULL;
}

/**
 * ksm_batch_holds - does a scanned page wait, with a reference that pins it?
 * @batch: the batch
 * @mc: the page's chunk
 * @slot: its slot
 */
bool ksm_batch_holds(const struct ksm_batch *batch, const struct ksm_mm_chunk *mc,
		     unsigned int slot)
{
	return mc == batch->mc && test_bit(slot, batch->slots);
}

static unsigned long promotion_address(const struct ksm_promotion *p)
{
	return ksm_chunk_address(p->mc, p->slot);
}

/* By chunk, and by address in a chunk. */
static int promotion_cmp(const void *a, const void *b)
{
	const struct ksm_promotion *const *left = a, *const *right = b;

	if ((*left)->mc != (*right)->mc)
		return (*left)->mc < (*right)->mc ? -1 : 1;
	return (int)(*left)->slot - (int)(*right)->slot;
}

/* Does the page have the bytes it is promoted for? They can no longer change. */
static bool content_fits(struct ksm_domain *domain, const struct ksm_promotion *p,
			 struct page *page)
{
	struct page *kpage;
	bool same;

	if (ksm_domain_hash(domain, page) != p->hash)
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

/*
 * Has a KSM page come to have these bytes since there was none? That of another
 * promotion, if the page that both are for was written to in between.
 */
static bool is_shared_already(struct ksm_domain *domain, struct page *page, u64 hash)
{
	struct ksm_index *index = &domain->node[ksm_domain_nid(domain, page)].stable;
	struct ksm_index_node *in;
	struct page *kpage;
	bool same = false;

	for (in = ksm_index_first(index, hash); in && !same; in = ksm_index_next(in)) {
		struct ksm_copy *lead = container_of(in, struct ksm_copy, in);

		kpage = ksm_kpage_get(ksm_copy_node(lead), KSM_KPAGE_NOLOCK);
		if (IS_ERR(kpage))
			continue;
		same = !PageHWPoison(kpage) && pages_identical(page, kpage);
		put_page(kpage);
	}
	return same;
}

/* Make a page a KSM page: it is locked and write-protected, and so it stays. */
static enum ksm_refusal promote_page(struct ksm_batch *batch,
				     struct ksm_promotion *p, struct page *page)
{
	struct ksm_domain *domain = batch->domain;
	/*
	 * The page's own anon_vma and index find all who map it, forked mms
	 * included; those of the VMA may cover fewer.
	 */
	struct anon_vma *anon_vma = folio_anon_vma(page_folio(page));
	unsigned long pgoff = page_to_pgoff(page);

	if (!anon_vma)
		return KSM_REFUSED_RACED;
	if (!content_fits(domain, p, page))
		return KSM_REFUSED_DIFFERENT;
	if (!p->full && is_shared_already(domain, page, p->hash))
		return KSM_REFUSED_RACED;
	ksm_kpage_adopt(page, p->node);
	ksm_node_insert(p->node, ksm_domain_nid(domain, page), p->hash, p->full);
	ksm_mapping_attach(p->mapping, p->mc, p->slot, p->node, anon_vma, pgoff);
	p->page = page;
	return KSM_REFUSED_NONE;
}

/* Promote what is in one run: @p of it, in the order of the run's items. */
static void promote_run(struct ksm_batch *batch, struct ksm_merge_run *run,
			struct ksm_promotion **p)
{
	unsigned int i;

	if (!run->nr)
		return;
	ksm_merge_protect(run);
	for (i = 0; i < run->nr; i++) {
		struct ksm_merge_item *item = &run->item[i];

		if (!item->why)
			item->why = promote_page(batch, p[i], item->page);
		p[i]->why = item->why;
	}
	ksm_merge_unlock(run);
	for (i = 0; i < run->nr; i++) {
		trace_ksm_merge_with_ksm_page(NULL, page_to_pfn(run->item[i].page),
					      p[i]->mapping, run->vma->vm_mm,
					      p[i]->why ? -EFAULT : 0);
		if (p[i]->why)
			put_page(run->item[i].page);
	}
	run->nr = 0;
}

static enum ksm_refusal split_candidate(struct ksm_batch *batch,
					const struct ksm_promotion *p,
					struct page *page)
{
	bool is_huge = PageTransCompound(page);
	enum ksm_refusal why = ksm_split_page(page);

	if (is_huge && !why)
		ksm_huge_was_split(batch->domain, p->mc);
	return why;
}

/*
 * Get a candidate's page, made small. A huge page can be split since no other page
 * of it is held: the first one that the batch wants splits it.
 */
static enum ksm_refusal get_candidate(struct ksm_batch *batch,
				      struct vm_area_struct *vma,
				      const struct ksm_promotion *p,
				      struct page **page)
{
	enum ksm_refusal why;

	if (vma && !p->mapping)
		return KSM_REFUSED_NOMEM;
	/* It may have made room for another candidate meanwhile, and is none then. */
	if (!vma || !ksm_chunk_same_hash(&p->mc->c, p->slot, p->hash))
		return KSM_REFUSED_RACED;
	*page = ksm_walk_get_page(vma, promotion_address(p));
	if (!*page)
		return KSM_REFUSED_RACED;
	if (*page == p->like || PageKsm(*page))
		why = KSM_REFUSED_RACED;
	else if (ksm_domain_nid(batch->domain, *page) !=
		 ksm_domain_nid(batch->domain, p->like))
		why = KSM_REFUSED_NODE;
	else
		why = split_candidate(batch, p, *page);
	if (why)
		put_page(*page);
	return why;
}

/* Promote the candidates of one chunk. Returns how many of @p were in it. */
static unsigned int promote_chunk(struct ksm_batch *batch, struct ksm_promotion **p,
				  unsigned int nr)
{
	struct mm_struct *mm = ksm_chunk_mm(p[0]->mc);
	struct ksm_promotion *chosen[KSM_BATCH_PAGES];
	struct ksm_merge_run run = {
		.item = batch->item,
		.change = batch->change,
	};
	unsigned int i;

	mmap_read_lock(mm);
	for (i = 0; i < nr && p[i]->mc == p[0]->mc; i++) {
		unsigned long addr = promotion_address(p[i]);
		struct vm_area_struct *vma = ksm_find_vma(mm, addr);
		struct page *page;

		p[i]->why = get_candidate(batch, vma, p[i], &page);
		if (p[i]->why)
			continue;
		if (vma != run.vma)
			promote_run(batch, &run, chosen);
		run.vma = vma;
		chosen[run.nr] = p[i];
		run.item[run.nr++] = (struct ksm_merge_item) {
			.page = page,
			.addr = addr,
		};
	}
	promote_run(batch, &run, chosen);
	mmap_read_unlock(mm);
	return i;
}

static void promote_all(struct ksm_batch *batch)
{
	struct ksm_promotion *order[KSM_BATCH_PAGES];
	unsigned int nr = batch->nr_promotions, i;

	for (i = 0; i < nr; i++)
		order[i] = &batch->promotion[i];
	sort(order, nr, sizeof(order[0]), promotion_cmp, NULL);
	for (i = 0; i < nr; i += promote_chunk(batch, order + i, nr - i))
		cond_resched();
}

/* Is the KSM page locked by a page that joins it, too? */
static bool is_locked(const struct ksm_batch *batch, const struct ksm_joining *j)
{
	const struct ksm_joining *before = j;

	while (before-- > batch->joining)
		if (before->kpage == j->kpage && before->owns_lock)
			return true;
	return false;
}

/* With mmap_lock held: all that must be so before the page tables are looked at. */
static enum ksm_refusal join_begin(struct ksm_batch *batch, struct ksm_joining *j,
				   struct vm_area_struct *vma)
{
	if (!vma)
		return KSM_REFUSED_RACED;
	if (!j->mapping)
		return KSM_REFUSED_NOMEM;
	if (ksm_domain_nid(batch->domain, j->kpage) !=
	    ksm_domain_nid(batch->domain, j->page))
		return KSM_REFUSED_NODE;
	if (!is_locked(batch, j)) {
		j->owns_lock = trylock_page(j->kpage);
		if (!j->owns_lock)
			return KSM_REFUSED_LOCKED;
	}
	/*
	 * With the lock the keyhole test is final. A page that goes bad later will
	 * be unmapped under the lock, where it is mapped now, too.
	 */
	if (ksm_kpage_node(j->kpage) != j->node || PageHWPoison(j->kpage))
		return KSM_REFUSED_RACED;
	ksm_kpage_keep(j->kpage);
	return KSM_REFUSED_NONE;
}

/* Merge one run: @j of it, in the order of the run's items. */
static void join_run(struct ksm_batch *batch, struct ksm_merge_run *run,
		     struct ksm_joining **j)
{
	unsigned int i;

	if (!run->nr)
		return;
	ksm_merge_pages(run);
	for (i = 0; i < run->nr; i++) {
		j[i]->why = run->item[i].why;
		if (!j[i]->why)
			ksm_mapping_attach(j[i]->mapping, batch->mc, j[i]->slot,
					   j[i]->node, run->vma->anon_vma,
					   linear_page_index(run->vma,
							     run->item[i].addr));
	}
	run->nr = 0;
}

static void join_all(struct ksm_batch *batch)
{
	struct mm_struct *mm = ksm_chunk_mm(batch->mc);
	struct ksm_joining *chosen[KSM_BATCH_PAGES];
	struct ksm_merge_run run = {
		.item = batch->item,
		.change = batch->change,
	};
	unsigned int i;

	mmap_read_lock(mm);
	for (i = 0; i < batch->nr; i++) {
		struct ksm_joining *j = &batch->joining[i];
		unsigned long addr = ksm_chunk_address(batch->mc, j->slot);
		struct vm_area_struct *vma = ksm_find_vma(mm, addr);

		if (!j->why)
			j->why = join_begin(batch, j, vma);
		if (j->why)
			continue;
		if (vma != run.vma)
			join_run(batch, &run, chosen);
		run.vma = vma;
		chosen[run.nr] = j;
		run.item[run.nr++] = (struct ksm_merge_item) {
			.page = j->page,
			.kpage = j->kpage,
			.addr = addr,
		};
	}
	join_run(batch, &run, chosen);
	for (i = 0; i < batch->nr; i++)
		if (batch->joining[i].owns_lock)
			unlock_page(batch->joining[i].kpage);
	mmap_read_unlock(mm);
}

/* Make the records. Without memory for one its page is not merged. */
static void make_records(struct ksm_batch *batch)
{
	unsigned int i;

	for (i = 0; i < batch->nr_promotions; i++) {
		struct ksm_promotion *p = &batch->promotion[i];

		p->node = ksm_node_new(batch->domain);
		if (p->node)
			p->mapping = ksm_mapping_new();
	}
	for (i = 0; i < batch->nr; i++)
		batch->joining[i].mapping = ksm_mapping_new();
}

/* Tell those who wait for a candidate what became of it. */
static void hand_over(struct ksm_batch *batch)
{
	unsigned int i;

	for (i = 0; i < batch->nr; i++) {
		struct ksm_joining *j = &batch->joining[i];

		if (!j->promotion)
			continue;
		j->why = j->promotion->why;
		if (j->why)
			continue;
		j->node = j->promotion->node;
		j->kpage = j->promotion->page;
		get_page(j->kpage);
	}
}

static void settle_joining(struct ksm_batch *batch, struct ksm_joining *j)
{
	struct mm_struct *mm = ksm_chunk_mm(batch->mc);
	struct ksm_promotion *p = j->promotion;

	if (j->kpage)
		trace_ksm_merge_with_ksm_page(j->kpage, page_to_pfn(j->kpage),
					      j->mapping, mm,
					      j->why ? -EFAULT : 0);
	ksm_domain_refused(batch->domain, mm, j->why, 1);
	if (j->why)
		ksm_mapping_free(j->mapping);
	else
		ksm_huge_merged(batch->domain, batch->mc, j->slot);
	if (p && j->why) {
		ksm_offer_add(batch->domain, batch->mc, j->slot, j->page, j->hash);
		__set_bit(j->slot, batch->mc->has_like);
	}
	if (p && !j->why)
		p->sharing++;
	if (j->kpage)
		put_page(j->kpage);
	put_page(j->page);
}

static void settle_promotion(struct ksm_batch *batch, struct ksm_promotion *p)
{
	if (p->why) {
		ksm_mapping_free(p->mapping);
		ksm_node_free(p->node);
		return;
	}
	if (p->sharing) {
		ksm_huge_merged(batch->domain, p->mc, p->slot);
	} else {
		ksm_unmerge_address(ksm_chunk_mm(p->mc), promotion_address(p));
		ksm_record_drop(p->mc, p->slot);
	}
	put_page(p->page);
}

/**
 * ksm_batch_flush - do all that waits
 * @batch: the batch; empty afterwards, and may be added to again
 *
 * A refusal is counted for each page that was not merged.
 *
 * Context: ksm_scan_mutex held. Takes mmap_lock and page locks. May sleep.
 */
void ksm_batch_flush(struct ksm_batch *batch)
{
	unsigned int i;

	lockdep_assert_held(&ksm_scan_mutex);
	if (!batch->nr)
		return;
	make_records(batch);
	promote_all(batch);
	hand_over(batch);
	join_all(batch);
	for (i = 0; i < batch->nr; i++)
		settle_joining(batch, &batch->joining[i]);
	for (i = 0; i < batch->nr_promotions; i++)
		settle_promotion(batch, &batch->promotion[i]);
	batch->nr = 0;
	batch->nr_promotions = 0;
	bitmap_zero(batch->slots, KSM_CHUNK_PAGES);
}
