/* SPDX-License-Identifier: GPL-2.0-only */
/* The page-table steps of a merge, and their undoing. See merge.c, unmerge.c. */
#ifndef _MM_KSM_MERGE_H
#define _MM_KSM_MERGE_H

#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include "types.h"

/**
 * struct ksm_merge_item - one page of a run
 * @page: the small page that is expected at @addr; the caller holds one reference
 * @kpage: the page to map instead
 * @addr: its address
 * @why: set to why it was refused, or KSM_REFUSED_NONE
 * @locked: private: @page is locked by us
 * @pte: private: what maps it once it is write-protected
 */
struct ksm_merge_item {
	struct page *page;
	struct page *kpage;
	unsigned long addr;
	enum ksm_refusal why;
	bool locked;
	pte_t pte;
};

/**
 * struct ksm_merge_run - pages that are merged together: all of one page table
 * @vma: the mergeable VMA they are in
 * @item: the pages, by rising address
 * @change: room for as many PTEs
 * @nr: how many, at least 1
 */
struct ksm_merge_run {
	struct vm_area_struct *vma;
	struct ksm_merge_item *item;
	struct mmu_notifier_pte *change;
	unsigned int nr;
};

bool ksm_page_is_pinned(struct page *page, unsigned int own_refs);
enum ksm_refusal ksm_split_page(struct page *page);
void ksm_merge_protect(struct ksm_merge_run *run);
void ksm_merge_unlock(struct ksm_merge_run *run);
void ksm_merge_pages(struct ksm_merge_run *run);
enum ksm_refusal ksm_merge_repoint(struct vm_area_struct *vma,
				   unsigned long addr, struct page *from,
				   struct page *to);
bool ksm_merge_disown_zero(struct vm_area_struct *vma, unsigned long addr);

struct vm_area_struct *ksm_find_vma(struct mm_struct *mm, unsigned long addr);
int ksm_unmerge_range(struct vm_area_struct *vma, unsigned long start,
		      unsigned long end, bool interruptible);
void ksm_unmerge_address(struct mm_struct *mm, unsigned long addr);

#endif /* _MM_KSM_MERGE_H */
