/* SPDX-License-Identifier: GPL-2.0-only */
/* The page-table steps of a merge, and their undoing. See merge.c, unmerge.c. */
#ifndef _MM_KSM_MERGE_H
#define _MM_KSM_MERGE_H

#include <linux/mm.h>
#include <linux/pgtable.h>
#include "types.h"

struct ksm_stable_node;

/*
 * The zero page where a merge put it. A fault maps it clean; the dirty bit, which
 * has no other meaning for a page that is never written, tells ours from those.
 */
static inline pte_t ksm_zero_pte(unsigned long addr, pgprot_t prot)
{
	return pte_mkdirty(pte_mkspecial(pfn_pte(my_zero_pfn(addr), prot)));
}

static inline bool ksm_pte_is_zero(pte_t pte)
{
	return is_zero_pfn(pte_pfn(pte)) && pte_dirty(pte);
}

bool ksm_page_is_pinned(struct page *page, unsigned int own_refs);
enum ksm_refusal ksm_split_page(struct page *page);
enum ksm_refusal ksm_merge_upgrade(struct vm_area_struct *vma,
				   unsigned long addr, struct page *page,
				   struct ksm_stable_node *node);
enum ksm_refusal ksm_merge_page(struct vm_area_struct *vma, unsigned long addr,
				struct page *page, struct page *kpage);

struct vm_area_struct *ksm_find_vma(struct mm_struct *mm, unsigned long addr);
int ksm_unmerge_range(struct vm_area_struct *vma, unsigned long start,
		      unsigned long end, bool interruptible);
void ksm_unmerge_address(struct mm_struct *mm, unsigned long addr);

#endif /* _MM_KSM_MERGE_H */
