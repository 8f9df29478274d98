// SPDX-License-Identifier: GPL-2.0-only
/*
 * How one scanned page comes to share a page, or is found to share one: the locks
 * around merge.c, and the records. Pages that can wait for others to be merged with
 * them are batch.c's.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <trace/events/ksm.h>

#include "huge.h"
#include "join.h"
#include "kpage.h"
#include "merge.h"
#include "node.h"
#include "walk.h"

/**
 * ksm_join_prepare - find out what can be refused at no cost to the page's owner
 * @domain: the domain
 * @s: the scanned page, which has a like; made small if it is part of a huge page
 *
 * Context: No page lock or mmap_lock held by the caller is needed. May sleep.
 * Return: KSM_REFUSED_NONE, or why it cannot be merged.
 */
enum ksm_refusal ksm_join_prepare(struct ksm_domain *domain,
				  struct ksm_scanned *s)
{
	enum ksm_refusal why;

	if (PageTransCompound(s->page)) {
		if (!ksm_huge_pays(domain, s->mc, s->slot, s->page))
			return KSM_REFUSED_HUGE;
		why = ksm_split_page(s->page);
		if (why)
			return why;
		ksm_huge_was_split(domain, s->mc);
		s->was_split = true;
	}
	return ksm_page_is_pinned(s->page, 1) ? KSM_REFUSED_PINNED :
						KSM_REFUSED_NONE;
}

/**
 * ksm_join_zero - map the zero page in the place of the scanned page
 * @s: the scanned page, prepared; its record is dropped
 *
 * Context: ksm_scan_mutex held. Takes mmap_lock. May sleep.
 * Return: KSM_REFUSED_NONE if it was merged, or why not.
 */
enum ksm_refusal ksm_join_zero(struct ksm_scanned *s)
{
	struct mm_struct *mm = ksm_chunk_mm(s->mc);
	unsigned long addr = ksm_scanned_address(s);
	enum ksm_refusal why = KSM_REFUSED_RACED;
	struct ksm_merge_item item = {
		.page = s->page,
		.kpage = ZERO_PAGE(addr),
		.addr = addr,
	};
	struct mmu_notifier_pte change;
	struct ksm_merge_run run = { .item = &item, .change = &change, .nr = 1 };

	lockdep_assert_held(&ksm_scan_mutex);
	mmap_read_lock(mm);
	run.vma = ksm_find_vma(mm, addr);
	if (run.vma) {
		ksm_merge_pages(&run);
		why = item.why;
	}
	mmap_read_unlock(mm);
	trace_ksm_merge_one_page(page_to_pfn(s->page), NULL, mm,
				 why ? -EFAULT : 0);
	if (!why)
		ksm_record_drop(s->mc, s->slot);
	return why;
}

/**
 * ksm_join_adopt - record an address that maps a KSM page without our doing
 * @s: the scanned page: a KSM page, mapped by a fork or a swap-in
 *
 * The page is shared already, so max_page_sharing does not come into it.
 *
 * Context: ksm_scan_mutex held. Takes mmap_lock. May sleep.
 * Return: KSM_REFUSED_NONE if it was recorded, or why not.
 */
enum ksm_refusal ksm_join_adopt(struct ksm_scanned *s)
{
	enum ksm_refusal why = KSM_REFUSED_RACED;
	unsigned long addr = ksm_scanned_address(s);
	struct mm_struct *mm = ksm_chunk_mm(s->mc);
	struct ksm_stable_node *node;
	struct ksm_mapping *mapping;
	struct vm_area_struct *vma;
	bool orphan = false;
	struct page *page;

	lockdep_assert_held(&ksm_scan_mutex);
	mapping = ksm_mapping_new();
	if (!mapping)
		return KSM_REFUSED_NOMEM;
	mmap_read_lock(mm);
	vma = ksm_find_vma(mm, addr);
	page = vma ? ksm_walk_get_page(vma, addr) : NULL;
	if (page) {
		lock_page(page);
		node = ksm_kpage_node(page);
		orphan = !node && PageKsm(page);
		if (node) {
			ksm_mapping_attach(mapping, s->mc, s->slot, node,
					   vma->anon_vma,
					   linear_page_index(vma, addr));
			why = KSM_REFUSED_NONE;
		}
		ksm_kpage_unlock_put(page);
	}
	/* A page that lost its node is nobody's: give this address its own. */
	if (orphan)
		ksm_unmerge_range(vma, addr, addr + PAGE_SIZE, false);
	mmap_read_unlock(mm);
	if (why)
		ksm_mapping_free(mapping);
	return why;
}

/**
 * ksm_join_holds - does an address still map the KSM page of its record?
 * @s: the scanned page
 * @mapping: its record
 *
 * The page that the walk found may have been migrated or freed since.
 *
 * Context: ksm_scan_mutex held. Takes mmap_lock. May sleep.
 * Return: true if so, or if the page is on its way.
 */
bool ksm_join_holds(struct ksm_scanned *s, const struct ksm_mapping *mapping)
{
	unsigned long addr = ksm_scanned_address(s);
	struct mm_struct *mm = ksm_chunk_mm(s->mc);
	struct vm_area_struct *vma;
	struct page *page;
	bool holds = true;

	lockdep_assert_held(&ksm_scan_mutex);
	mmap_read_lock(mm);
	vma = ksm_find_vma(mm, addr);
	page = vma ? ksm_walk_get_page(vma, addr) : NULL;
	if (page) {
		holds = ksm_kpage_node(page) == mapping->node;
		put_page(page);
	}
	mmap_read_unlock(mm);
	return holds;
}

/* With mmap_lock and both pages' locks held. */
static enum ksm_refusal other_locked(struct ksm_scanned *s,
				     struct ksm_mapping *mapping,
				     struct page *from,
				     struct ksm_stable_node *node,
				     struct page *to)
{
	unsigned long addr = ksm_scanned_address(s);
	struct vm_area_struct *vma = ksm_find_vma(ksm_chunk_mm(s->mc), addr);
	enum ksm_refusal why;

	if (!vma || ksm_kpage_node(from) != mapping->node ||
	    ksm_kpage_node(to) != node)
		return KSM_REFUSED_RACED;
	ksm_kpage_keep(to);
	why = ksm_merge_repoint(vma, addr, from, to);
	if (!why)
		ksm_mapping_move(mapping, node);
	return why;
}

/* Lock both pages, without waiting, and move the address over. */
static enum ksm_refusal other_lock(struct ksm_scanned *s,
				   struct ksm_mapping *mapping,
				   struct page *from,
				   struct ksm_stable_node *node, struct page *to)
{
	struct mm_struct *mm = ksm_chunk_mm(s->mc);
	enum ksm_refusal why = KSM_REFUSED_LOCKED;

	mmap_read_lock(mm);
	if (trylock_page(from)) {
		if (trylock_page(to)) {
			why = other_locked(s, mapping, from, node, to);
			unlock_page(to);
		}
		unlock_page(from);
	}
	mmap_read_unlock(mm);
	return why;
}

/**
 * ksm_join_other - map another KSM page of the same content
 * @s: the scanned page: a KSM page
 * @mapping: its record
 * @node: the node of the KSM page to map instead
 *
 * Context: ksm_scan_mutex held. Takes mmap_lock. May sleep.
 * Return: KSM_REFUSED_NONE if it was done, or why not.
 */
enum ksm_refusal ksm_join_other(struct ksm_scanned *s,
				struct ksm_mapping *mapping,
				struct ksm_stable_node *node)
{
	enum ksm_refusal why = KSM_REFUSED_RACED;
	struct page *from, *to;

	lockdep_assert_held(&ksm_scan_mutex);
	from = ksm_kpage_get(mapping->node, KSM_KPAGE_NOLOCK);
	if (IS_ERR(from))
		return why;
	to = ksm_kpage_get(node, KSM_KPAGE_NOLOCK);
	if (!IS_ERR(to)) {
		why = other_lock(s, mapping, from, node, to);
		put_page(to);
	}
	put_page(from);
	return why;
}
