/* SPDX-License-Identifier: GPL-2.0-only */
/* Reading page tables: which pages are there to look at. See walk.c. */
#ifndef _MM_KSM_WALK_H
#define _MM_KSM_WALK_H

#include <linux/mm.h>
#include "types.h"

/**
 * struct ksm_walk_item - one anonymous page that was found
 * @page: the page; NULL where one is just being migrated, or has gone bad: leave
 *	alone what is known of it, since whoever unmaps it needs the record
 * @slot: its slot in the chunk
 * @is_kpage: it was a KSM page; no reference is held on those, since one for each
 *	mapping would keep it from being migrated while a batch is looked at
 * @owns_ref: the reference on the page's folio is this item's. Neighbours in one
 *	folio share a reference: two would keep a huge page from being split.
 */
struct ksm_walk_item {
	struct page *page;
	u16 slot;
	bool is_kpage;
	bool owns_ref;
};

/* For as long as a walk is looked at its pages can be neither moved nor pinned. */
#define KSM_WALK_PAGES	64U

/**
 * struct ksm_walk - the pages found by one walk: all in one chunk
 * @item: the pages, by rising address
 * @nr: how many
 * @max: stop after so many (1 to KSM_WALK_PAGES)
 * @budget: private: page tables still to visit before the walk lets go
 * @start: address of the chunk, if @nr is not 0
 * @next: where the next walk should go on
 * @mm_done: nothing is left above @next
 * @saw_vma: there was a mergeable VMA in what was walked
 * @ahead: the walk that goes on in the middle of a huge page, without a reference of
 *	its own on that: see ksm_walk_share(); or NULL
 */
struct ksm_walk {
	struct ksm_walk_item item[KSM_WALK_PAGES];
	unsigned int nr;
	unsigned int max;
	unsigned int budget;
	unsigned long start;
	unsigned long next;
	bool mm_done;
	bool saw_vma;
	struct ksm_walk *ahead;
};

void ksm_walk_mm(struct mm_struct *mm, unsigned long addr, unsigned int max,
		 struct ksm_walk *walk);
void ksm_walk_share(struct ksm_walk *walk, struct ksm_walk *ahead);
void ksm_walk_put_item(struct ksm_walk *walk, unsigned int index);
void ksm_walk_give_item(struct ksm_walk *walk, unsigned int index);
void ksm_walk_put(struct ksm_walk *walk);
void ksm_walk_was_split(struct ksm_walk *walk, unsigned int index);
struct page *ksm_walk_get_page(struct vm_area_struct *vma, unsigned long addr);
bool ksm_walk_find_merged(struct vm_area_struct *vma, unsigned long start,
			  unsigned long end, unsigned long *addr, bool *zero);

static inline bool ksm_mm_is_exiting(struct mm_struct *mm)
{
	return atomic_read(&mm->mm_users) == 0;
}

static inline bool ksm_vma_is_mergeable(struct vm_area_struct *vma)
{
	return (vma->vm_flags & VM_MERGEABLE) && vma->anon_vma;
}

#endif /* _MM_KSM_WALK_H */
