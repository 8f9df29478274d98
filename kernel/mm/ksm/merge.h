/* SPDX-License-Identifier: GPL-2.0-only */
/* The page-table steps of a merge, and their undoing. See merge.c, unmerge.c. */
#ifndef _MM_KSM_MERGE_H
#define _MM_KSM_MERGE_H

#include <linux/mm.h>
#include "types.h"

bool ksm_page_is_pinned(struct page *page, unsigned int own_refs);
enum ksm_refusal ksm_split_page(struct page *page);
enum ksm_refusal ksm_merge_protect(struct vm_area_struct *vma,
				   unsigned long addr, struct page *page);
enum ksm_refusal ksm_merge_page(struct vm_area_struct *vma, unsigned long addr,
				struct page *page, struct page *kpage);
enum ksm_refusal ksm_merge_repoint(struct vm_area_struct *vma,
				   unsigned long addr, struct page *from,
				   struct page *to);
bool ksm_merge_disown_zero(struct vm_area_struct *vma, unsigned long addr);

struct vm_area_struct *ksm_find_vma(struct mm_struct *mm, unsigned long addr);
int ksm_unmerge_range(struct vm_area_struct *vma, unsigned long start,
		      unsigned long end, bool interruptible);
void ksm_unmerge_address(struct mm_struct *mm, unsigned long addr);

#endif /* _MM_KSM_MERGE_H */
