// SPDX-License-Identifier: GPL-2.0-only
/*
 * What mm core asks about KSM pages: who maps one, where one went, and whether
 * one that comes back from swap may be mapped as it is.
 */
#include <linux/ksm.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/vmstat.h>

#include "../internal.h"
#include "anchor.h"
#include "kpage.h"

static bool walk_lock(struct anon_vma *anon_vma, struct rmap_walk_control *rwc)
{
	if (anon_vma_trylock_read(anon_vma))
		return true;
	if (rwc->try_lock) {
		rwc->contended = true;
		return false;
	}
	anon_vma_lock_read(anon_vma);
	return true;
}

/*
 * Visit the VMAs that can map the page through one record: those that cover its
 * index, in the owner's mm and in every mm forked from it since. Returns false
 * if the walk is over.
 */
static bool walk_mapping(struct folio *folio, struct ksm_mapping *mapping,
			 struct rmap_walk_control *rwc)
{
	const struct ksm_anchor *anchor = ksm_anchor_of(mapping);
	unsigned long pgoff = anchor->pgoff + ksm_mapping_slot(mapping);
	struct anon_vma *anon_vma = anchor->anon_vma;
	struct anon_vma_chain *avc;
	bool more = true;

	if (!walk_lock(anon_vma, rwc))
		return false;
	anon_vma_interval_tree_foreach(avc, &anon_vma->rb_root, pgoff, pgoff) {
		struct vm_area_struct *vma = avc->vma;
		unsigned long addr;

		cond_resched();
		addr = vma->vm_start + ((pgoff - vma->vm_pgoff) << PAGE_SHIFT);
		if (rwc->invalid_vma && rwc->invalid_vma(vma, rwc->arg))
			continue;
		more = rwc->rmap_one(folio, vma, addr, rwc->arg) &&
			!(rwc->done && rwc->done(folio));
		if (!more)
			break;
	}
	anon_vma_unlock_read(anon_vma);
	return more;
}

/**
 * rmap_walk_ksm - visit every mapping of a KSM page
 * @folio: a locked KSM page
 * @rwc: what to do there
 *
 * An address may be visited twice, where a forked mm has a record of its own;
 * rmap_one() looks at the PTE and finds nothing new. A record may be stale:
 * again the PTE tells.
 *
 * Context: @folio is locked, which keeps the list of records as it is.
 */
void rmap_walk_ksm(struct folio *folio, struct rmap_walk_control *rwc)
{
	struct ksm_stable_node *node;
	struct ksm_mapping *mapping;

	VM_BUG_ON_FOLIO(!folio_test_locked(folio), folio);
	VM_BUG_ON_FOLIO(!folio_test_ksm(folio), folio);

	node = ksm_kpage_node(&folio->page);
	if (!node)
		return;
	for (mapping = node->sharers; mapping; mapping = mapping->next) {
		cond_resched();
		if (!walk_mapping(folio, mapping, rwc))
			return;
	}
}

#ifdef CONFIG_MIGRATION
/**
 * folio_migrate_ksm - a folio was migrated
 * @newfolio: where it is now
 * @folio: where it was; any folio, not only a KSM page
 *
 * Context: Both folios are locked.
 */
void folio_migrate_ksm(struct folio *newfolio, struct folio *folio)
{
	VM_BUG_ON_FOLIO(!folio_test_locked(folio), folio);
	VM_BUG_ON_FOLIO(!folio_test_locked(newfolio), newfolio);
	ksm_kpage_moved(newfolio, folio);
}
#endif

/*
 * Is the VMA in the anon_vma's tree? Only pointers are compared: a page that is
 * nowhere mapped does not keep its anon_vma, and its mappers may all have gone.
 */
static bool vma_is_in(struct vm_area_struct *vma, const struct anon_vma *anon_vma)
{
	struct anon_vma_chain *avc;

	list_for_each_entry(avc, &vma->anon_vma_chain, same_vma)
		if (avc->anon_vma == anon_vma)
			return true;
	return false;
}

/* May the swap cache page be mapped at this address without a new record? */
static bool swapin_fits(struct page *page, struct vm_area_struct *vma,
			unsigned long addr)
{
	struct anon_vma *anon_vma;

	if (PageKsm(page))
		return ksm_kpage_node(page) && !ksm_kpage_is_unmerging();
	anon_vma = folio_anon_vma(page_folio(page));
	if (!anon_vma)
		return true;
	return page->index == linear_page_index(vma, addr) &&
	       vma_is_in(vma, anon_vma);
}

static struct page *swapin_copy(struct page *page, struct vm_area_struct *vma,
				unsigned long addr)
{
	struct page *copy = alloc_page_vma(GFP_HIGHUSER_MOVABLE, vma, addr);

	if (!copy)
		return NULL;
	if (mem_cgroup_charge(page_folio(copy), vma->vm_mm, GFP_KERNEL)) {
		put_page(copy);
		return NULL;
	}
	copy_user_highpage(copy, page, addr, vma);
	SetPageDirty(copy);
	__SetPageUptodate(copy);
	__SetPageLocked(copy);
#ifdef CONFIG_SWAP
	count_vm_event(KSM_SWPIN_COPY);
#endif
	return copy;
}

/**
 * ksm_might_need_to_copy - what to map when a page comes back from swap
 * @page: the locked page in the swap cache
 * @vma: where it was faulted
 * @address: the address
 *
 * A page that was a KSM page when it was swapped out may be asked for by a VMA
 * whose anon_vma or index does not fit. Reverse mapping would not find it there:
 * such a VMA gets a copy.
 *
 * Context: mmap_lock held, @page locked. May sleep.
 * Return: @page if it can be mapped, or a locked copy, or NULL without memory.
 */
struct page *ksm_might_need_to_copy(struct page *page,
				    struct vm_area_struct *vma,
				    unsigned long address)
{
	/* A page that could not be read is the caller's to report. */
	if (swapin_fits(page, vma, address) || !PageUptodate(page))
		return page;
	return swapin_copy(page, vma, address);
}
