// SPDX-License-Identifier: GPL-2.0-only
/*
 * How one scanned page comes to share a page: the locks around merge.c, and the
 * record that goes with each merge.
 *
 * A KSM page stays locked from before it is mapped until the record is on its
 * list, so that reverse mapping never misses an address. mmap_lock is taken before
 * page locks, and of two page locks the second is only tried.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>

#include "join.h"
#include "kpage.h"
#include "merge.h"
#include "node.h"

/**
 * ksm_join_prepare - find out what can be refused at no cost to the page's owner
 * @s: the scanned page; made small if it is part of a huge page
 *
 * Context: No page lock or mmap_lock held by the caller is needed. May sleep.
 * Return: KSM_REFUSED_NONE, or why it cannot be merged.
 */
enum ksm_refusal ksm_join_prepare(struct ksm_scanned *s)
{
	enum ksm_refusal why;

	if (PageTransCompound(s->page)) {
		why = ksm_split_page(s->page);
		if (why)
			return why;
		s->was_split = true;
	}
	return ksm_page_is_pinned(s->page, 1) ? KSM_REFUSED_PINNED :
						KSM_REFUSED_NONE;
}

/* With mmap_lock and @kpage's lock held. */
static enum ksm_refusal join_locked(struct vm_area_struct *vma,
				    struct ksm_scanned *s,
				    struct ksm_mapping *mapping,
				    struct ksm_stable_node *node,
				    struct page *kpage)
{
	unsigned long addr = ksm_scanned_address(s);
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

/**
 * ksm_join_node - map a KSM page in the place of the scanned page
 * @s: the scanned page, prepared
 * @node: the KSM page's node
 * @kpage: the KSM page; the caller holds a reference
 *
 * Context: ksm_scan_mutex held. Takes mmap_lock. May sleep.
 * Return: KSM_REFUSED_NONE if it was merged and recorded, or why not.
 */
enum ksm_refusal ksm_join_node(struct ksm_scanned *s,
			       struct ksm_stable_node *node, struct page *kpage)
{
	struct mm_struct *mm = ksm_chunk_mm(s->mc);
	struct ksm_mapping *mapping;
	struct vm_area_struct *vma;
	enum ksm_refusal why;

	lockdep_assert_held(&ksm_scan_mutex);
	if (ksm_domain_nid(node->domain, kpage) !=
	    ksm_domain_nid(node->domain, s->page))
		return KSM_REFUSED_NODE;
	mapping = ksm_mapping_new(s->mc, s->slot);
	if (!mapping)
		return KSM_REFUSED_NOMEM;
	mmap_read_lock(mm);
	vma = ksm_find_vma(mm, ksm_scanned_address(s));
	why = vma ? KSM_REFUSED_LOCKED : KSM_REFUSED_RACED;
	if (vma && trylock_page(kpage)) {
		why = join_locked(vma, s, mapping, node, kpage);
		unlock_page(kpage);
	}
	mmap_read_unlock(mm);
	if (why)
		ksm_mapping_free(mapping);
	return why;
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
	struct vm_area_struct *vma;

	lockdep_assert_held(&ksm_scan_mutex);
	mmap_read_lock(mm);
	vma = ksm_find_vma(mm, addr);
	if (vma)
		why = ksm_merge_page(vma, addr, s->page, ZERO_PAGE(addr));
	mmap_read_unlock(mm);
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

	lockdep_assert_held(&ksm_scan_mutex);
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

/* With mmap_lock and both pages' locks held. */
static enum ksm_refusal other_locked(struct vm_area_struct *vma,
				     struct ksm_scanned *s,
				     struct ksm_mapping *mapping,
				     struct ksm_stable_node *node,
				     struct page *kpage)
{
	enum ksm_refusal why;

	if (ksm_kpage_node(s->page) != mapping->node ||
	    ksm_kpage_node(kpage) != node)
		return KSM_REFUSED_RACED;
	why = ksm_merge_repoint(vma, ksm_scanned_address(s), s->page, kpage);
	if (!why)
		ksm_mapping_move(mapping, node);
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
	struct page *kpage = ksm_kpage_get(node, KSM_KPAGE_NOLOCK);
	struct mm_struct *mm = ksm_chunk_mm(s->mc);
	enum ksm_refusal why = KSM_REFUSED_LOCKED;
	struct vm_area_struct *vma;

	lockdep_assert_held(&ksm_scan_mutex);
	if (IS_ERR(kpage))
		return KSM_REFUSED_RACED;
	mmap_read_lock(mm);
	vma = ksm_find_vma(mm, ksm_scanned_address(s));
	if (vma && trylock_page(s->page)) {
		if (trylock_page(kpage)) {
			why = other_locked(vma, s, mapping, node, kpage);
			unlock_page(kpage);
		}
		unlock_page(s->page);
	}
	mmap_read_unlock(mm);
	put_page(kpage);
	return why;
}
