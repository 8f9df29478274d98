// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reading page tables. Nothing here changes a PTE or knows an index.
 *
 * A walk visits one page-table page under one lock and takes references on the
 * anonymous pages it finds. Holes cost nothing: the generic walker skips what
 * has no page tables.
 */
#include <linux/mm.h>
#include <linux/huge_mm.h>
#include <linux/pagewalk.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include "mapping.h"
#include "walk.h"

/*
 * So many page tables are visited under one hold of mmap_lock, even if they have
 * nothing to show: 2 GiB of address space, some milliseconds.
 */
#define WALK_TABLES	1024

/* A page that has gone bad must not be read. */
static bool page_is_bad(struct page *page)
{
	return page && PageHWPoison(page);
}

static bool page_is_scannable(struct page *page)
{
	return page && PageAnon(page) && !is_zone_device_page(page) &&
	       !page_is_bad(page);
}

/* Is the page in the same folio as the one before it? */
static bool shares_ref(const struct ksm_walk *walk, struct page *page)
{
	struct page *before = walk->nr ? walk->item[walk->nr - 1].page : NULL;

	return before && page_folio(before) == page_folio(page);
}

static bool pte_is_migrating(pte_t pte)
{
	return !pte_none(pte) && !pte_present(pte) &&
	       is_migration_entry(pte_to_swp_entry(pte));
}

static void walk_add(struct ksm_walk *walk, struct vm_area_struct *vma,
		     struct page *page, unsigned long addr)
{
	struct ksm_walk_item *item = &walk->item[walk->nr];

	item->page = page;
	item->slot = (addr >> PAGE_SHIFT) & (KSM_CHUNK_PAGES - 1);
	item->is_kpage = page && PageKsm(page);
	item->owns_ref = page && !item->is_kpage && !shares_ref(walk, page);
	if (item->owns_ref)
		get_page(page);
	if (!walk->nr)
		walk->start = addr & ~(KSM_CHUNK_BYTES - 1);
	walk->nr++;
	if (page) {
		flush_anon_page(vma, page, addr);
		flush_dcache_page(page);
	}
}

static unsigned long walk_huge(struct ksm_walk *walk, struct vm_area_struct *vma,
			       pmd_t pmd, unsigned long addr, unsigned long end)
{
	struct page *page;

	if (!pmd_present(pmd))
		return end;
	page = vm_normal_page_pmd(vma, addr & PMD_MASK, pmd);
	if (!page_is_scannable(page))
		return end;
	page += (addr & ~PMD_MASK) >> PAGE_SHIFT;
	for (; addr < end && walk->nr < walk->max; addr += PAGE_SIZE, page++)
		walk_add(walk, vma, page_is_bad(page) ? NULL : page, addr);
	return addr;
}

static unsigned long walk_table(struct ksm_walk *walk, struct vm_area_struct *vma,
				pmd_t *pmd, unsigned long addr, unsigned long end)
{
	spinlock_t *ptl;
	pte_t *first, *ptep;

	first = ptep = pte_offset_map_lock(vma->vm_mm, pmd, addr, &ptl);
	for (; addr < end && walk->nr < walk->max; addr += PAGE_SIZE, ptep++) {
		struct page *page;

		if (pte_is_migrating(*ptep))
			walk_add(walk, vma, NULL, addr);
		if (!pte_present(*ptep))
			continue;
		page = vm_normal_page(vma, addr, *ptep);
		if (page_is_scannable(page))
			walk_add(walk, vma, page, addr);
		else if (page_is_bad(page))
			walk_add(walk, vma, NULL, addr);
	}
	pte_unmap_unlock(first, ptl);
	return addr;
}

/* Has it all it may hold, or all that is in its chunk? */
static bool walk_is_full(const struct ksm_walk *walk)
{
	return walk->nr == walk->max ||
	       (walk->nr && walk->next >= walk->start + KSM_CHUNK_BYTES);
}

static int scan_pmd_entry(pmd_t *pmd, unsigned long addr, unsigned long end,
			  struct mm_walk *mm_walk)
{
	struct ksm_walk *walk = mm_walk->private;
	struct vm_area_struct *vma = mm_walk->vma;
	spinlock_t *ptl;

	cond_resched();
	ptl = pmd_trans_huge_lock(pmd, vma);
	if (ptl) {
		walk->next = walk_huge(walk, vma, *pmd, addr, end);
		spin_unlock(ptl);
	} else if (pmd_trans_unstable(pmd)) {
		walk->next = end;
	} else {
		walk->next = walk_table(walk, vma, pmd, addr, end);
	}
	return walk_is_full(walk) || !--walk->budget ||
	       ksm_mm_is_exiting(vma->vm_mm);
}

static const struct mm_walk_ops scan_ops = {
	.pmd_entry = scan_pmd_entry,
};

/**
 * ksm_walk_mm - find the next anonymous pages of an mm's mergeable VMAs
 * @mm: the mm
 * @addr: where to start
 * @max: how many pages to find at most (1 to KSM_WALK_PAGES)
 * @walk: filled in; put it with ksm_walk_put()
 *
 * Stops at the end of the chunk in which it found something, however many VMAs that
 * is in, and now and then in long stretches of nothing: then @walk->nr is 0 and
 * @walk->mm_done false.
 *
 * Context: mmap_lock held for reading. May reschedule.
 */
void ksm_walk_mm(struct mm_struct *mm, unsigned long addr, unsigned int max,
		 struct ksm_walk *walk)
{
	struct vm_area_struct *vma;
	struct vma_iterator vmi;

	mmap_assert_locked(mm);
	walk->nr = 0;
	walk->max = max;
	walk->budget = WALK_TABLES;
	walk->next = addr;
	walk->mm_done = false;
	walk->saw_vma = false;
	walk->ahead = NULL;

	vma_iter_init(&vmi, mm, addr);
	for_each_vma(vmi, vma) {
		unsigned long end = vma->vm_end;

		if (walk->nr) {
			/* The chunk may go on in this VMA, but not beyond it. */
			end = min(end, walk->start + KSM_CHUNK_BYTES);
			if (vma->vm_start >= end)
				return;
		}
		if (!(vma->vm_flags & VM_MERGEABLE))
			continue;
		walk->saw_vma = true;
		if (!vma->anon_vma)
			continue;
		walk->next = max(addr, vma->vm_start);
		if (walk_page_range_vma(vma, walk->next, end, &scan_ops, walk))
			return;
		walk->next = end;
		if (walk_is_full(walk))
			return;
	}
	walk->mm_done = true;
}

static void item_put(struct ksm_walk_item *item)
{
	if (item->owns_ref)
		put_page(item->page);
	item->owns_ref = false;
}

/**
 * ksm_walk_share - two walks, one after the other, hold one reference on a huge page
 * @walk: the first
 * @ahead: the second; it went on where the first ended
 *
 * Two references would keep a huge page from being split that both are in. The
 * second walk gets the first one's when that has no more use for it.
 */
void ksm_walk_share(struct ksm_walk *walk, struct ksm_walk *ahead)
{
	if (!walk->nr || !ahead->nr || !ahead->item[0].owns_ref ||
	    walk->item[walk->nr - 1].is_kpage ||
	    !shares_ref(walk, ahead->item[0].page))
		return;
	item_put(&ahead->item[0]);
	walk->ahead = ahead;
}

/* The last item's reference goes to the walk ahead, if that shares it. */
static void last_put(struct ksm_walk *walk, struct ksm_walk_item *owner)
{
	if (walk->ahead && owner->owns_ref) {
		owner->owns_ref = false;
		walk->ahead->item[0].owns_ref = true;
		walk->ahead = NULL;
	}
	item_put(owner);
}

/**
 * ksm_walk_put_item - an item will not be looked at again
 * @walk: the walk
 * @index: the item; those before it are done with, too
 *
 * Drops the reference on its folio, unless the next item shares it. A page that
 * was seen to must not look pinned when a later one wants to merge with it.
 */
void ksm_walk_put_item(struct ksm_walk *walk, unsigned int index)
{
	bool last = index + 1 == walk->nr;

	if (!last && !walk->item[index + 1].owns_ref)
		return;
	while (!walk->item[index].owns_ref && index)
		index--;
	if (last)
		last_put(walk, &walk->item[index]);
	else
		item_put(&walk->item[index]);
}

/**
 * ksm_walk_give_item - an item's reference is now somebody else's to drop
 * @walk: the walk
 * @index: the item: a small page, or one just made small
 */
void ksm_walk_give_item(struct ksm_walk *walk, unsigned int index)
{
	WARN_ON_ONCE(!walk->item[index].owns_ref);
	walk->item[index].owns_ref = false;
}

/**
 * ksm_walk_put - drop the references that a walk still holds
 * @walk: the walk; empty afterwards
 */
void ksm_walk_put(struct ksm_walk *walk)
{
	unsigned int i;

	/* If the last item's reference is still there it is the last one of all. */
	for (i = walk->nr; i-- && !walk->item[i].owns_ref; )
		;
	if (walk->nr && i < walk->nr)
		last_put(walk, &walk->item[i]);
	for (i = 0; i < walk->nr; i++)
		item_put(&walk->item[i]);
	walk->nr = 0;
	walk->ahead = NULL;
}

/**
 * ksm_walk_was_split - a huge page of the walk is now small pages
 * @walk: the walk
 * @index: the item whose page was given to ksm_split_page()
 *
 * The shared reference is now that page's alone. The items after it must not be
 * used any more: they are dropped, and the walk's end moves back to them.
 */
void ksm_walk_was_split(struct ksm_walk *walk, unsigned int index)
{
	unsigned int owner = index;

	while (!walk->item[owner].owns_ref)
		owner--;
	walk->item[owner].owns_ref = false;
	walk->item[index].owns_ref = true;

	for (owner = index + 1; owner < walk->nr; owner++)
		item_put(&walk->item[owner]);
	walk->nr = index + 1;
	/* It is given up, too, and has no reference on what was split. */
	walk->ahead = NULL;
	walk->next = walk->start +
		((walk->item[index].slot + 1UL) << PAGE_SHIFT);
	walk->mm_done = false;
}

static int get_pmd_entry(pmd_t *pmd, unsigned long addr, unsigned long end,
			 struct mm_walk *mm_walk)
{
	struct page **found = mm_walk->private;
	struct vm_area_struct *vma = mm_walk->vma;
	struct page *page = NULL;
	spinlock_t *ptl;
	pte_t *ptep;

	ptl = pmd_trans_huge_lock(pmd, vma);
	if (ptl) {
		if (pmd_present(*pmd))
			page = vm_normal_page_pmd(vma, addr & PMD_MASK, *pmd);
		if (page)
			page += (addr & ~PMD_MASK) >> PAGE_SHIFT;
		if (page_is_scannable(page))
			get_page(*found = page);
		spin_unlock(ptl);
		return 0;
	}
	if (pmd_trans_unstable(pmd))
		return 0;
	ptep = pte_offset_map_lock(vma->vm_mm, pmd, addr, &ptl);
	if (pte_present(*ptep))
		page = vm_normal_page(vma, addr, *ptep);
	if (page_is_scannable(page))
		get_page(*found = page);
	pte_unmap_unlock(ptep, ptl);
	return 0;
}

static const struct mm_walk_ops get_ops = {
	.pmd_entry = get_pmd_entry,
};

/**
 * ksm_walk_get_page - the anonymous page at an address, if there is one
 * @vma: a VMA
 * @addr: page-aligned address in @vma
 *
 * Context: mmap_lock held for reading.
 * Return: the page with a reference held, or NULL.
 */
struct page *ksm_walk_get_page(struct vm_area_struct *vma, unsigned long addr)
{
	struct page *page = NULL;

	mmap_assert_locked(vma->vm_mm);
	walk_page_range_vma(vma, addr, addr + PAGE_SIZE, &get_ops, &page);
	return page;
}

struct kpage_search {
	unsigned long addr;
	bool zero;
};

/* Does the PTE map a KSM page, or the zero page that a merge put there? */
static bool pte_is_merged(struct vm_area_struct *vma, unsigned long addr,
			  pte_t pte, bool *zero)
{
	struct page *page = NULL;
	swp_entry_t entry;

	*zero = pte_present(pte) && is_ksm_zero_pte(pte);
	if (*zero)
		return true;
	if (pte_present(pte)) {
		page = vm_normal_page(vma, addr, pte);
	} else if (!pte_none(pte)) {
		entry = pte_to_swp_entry(pte);
		if (is_migration_entry(entry))
			page = pfn_swap_entry_to_page(entry);
	}
	return page && PageKsm(page);
}

static int kpage_pmd_entry(pmd_t *pmd, unsigned long addr, unsigned long end,
			   struct mm_walk *mm_walk)
{
	struct kpage_search *search = mm_walk->private;
	struct vm_area_struct *vma = mm_walk->vma;
	pte_t *first, *ptep;
	spinlock_t *ptl;
	int found = 0;

	cond_resched();
	/* A huge page is no KSM page. */
	if (pmd_trans_unstable(pmd))
		return 0;
	first = ptep = pte_offset_map_lock(vma->vm_mm, pmd, addr, &ptl);
	for (; addr < end && !found; addr += PAGE_SIZE, ptep++) {
		found = pte_is_merged(vma, addr, *ptep, &search->zero);
		search->addr = addr;
	}
	pte_unmap_unlock(first, ptl);
	return found;
}

static const struct mm_walk_ops kpage_ops = {
	.pmd_entry = kpage_pmd_entry,
};

/**
 * ksm_walk_find_merged - find the first merged page in a range
 * @vma: a VMA
 * @start: first address, page aligned, in @vma
 * @end: where to stop, at most @vma's end
 * @addr: set to the address of the page if there is one
 * @zero: set to whether it is the zero page
 *
 * A KSM page under migration counts, too.
 *
 * Context: mmap_lock held. May reschedule.
 * Return: true if @addr and @zero were set.
 */
bool ksm_walk_find_merged(struct vm_area_struct *vma, unsigned long start,
			  unsigned long end, unsigned long *addr, bool *zero)
{
	struct kpage_search search;

	mmap_assert_locked(vma->vm_mm);
	if (!walk_page_range_vma(vma, start, end, &kpage_ops, &search))
		return false;
	*addr = search.addr;
	*zero = search.zero;
	return true;
}
