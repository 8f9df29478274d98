// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which memory may be merged: madvise() for a range, prctl() for a process.
 *
 * VM_MERGEABLE is set on what an owner allows, and cleared only when no merged
 * page is left in the range.
 */
#include <linux/dax.h>
#include <linux/ksm.h>
#include <linux/mm.h>
#include <linux/mman.h>

#include "control.h"
#include "domain.h"
#include "merge.h"

/* Memory that is not the owner's alone, or not ordinary memory. */
#define VM_NOT_OWN	(VM_SHARED | VM_MAYSHARE)
#define VM_NOT_ORDINARY	(VM_PFNMAP | VM_IO | VM_DONTEXPAND | VM_MIXEDMAP)

/* Why a mapping can never be merged; @vma is NULL for a new anonymous one. */
static enum ksm_refusal why_never(struct vm_area_struct *vma,
				  unsigned long vm_flags)
{
	unsigned long special = VM_NOT_ORDINARY;

#ifdef VM_SAO
	special |= VM_SAO;
#endif
#ifdef VM_SPARC_ADI
	special |= VM_SPARC_ADI;
#endif
	if (vm_flags & VM_HUGETLB)
		return KSM_REFUSED_HUGETLB;
	if (vm_flags & VM_NOT_OWN)
		return KSM_REFUSED_SHARED;
	if ((vm_flags & special) || (vma && vma_is_dax(vma)))
		return KSM_REFUSED_SPECIAL;
	return KSM_REFUSED_NONE;
}

static int enter(struct mm_struct *mm)
{
	return test_bit(MMF_VM_MERGEABLE, &mm->flags) ? 0 : __ksm_enter(mm);
}

static int make_mergeable(struct vm_area_struct *vma, unsigned long start,
			  unsigned long end, unsigned long *vm_flags)
{
	struct mm_struct *mm = vma->vm_mm;
	enum ksm_refusal why = why_never(vma, *vm_flags);
	int err;

	if (*vm_flags & VM_MERGEABLE)
		return 0;
	if (why) {
		/* Advice that does not fit is ignored, as it always was. */
		ksm_domain_refused(&ksm_default_domain, mm, why,
				   (end - start) >> PAGE_SHIFT);
		return 0;
	}
	err = enter(mm);
	if (err)
		return err;
	*vm_flags |= VM_MERGEABLE;
	ksm_pace_advised();
	return 0;
}

static int make_unmergeable(struct vm_area_struct *vma, unsigned long start,
			    unsigned long end, unsigned long *vm_flags)
{
	int err;

	if (!(*vm_flags & VM_MERGEABLE))
		return 0;
	if (vma->anon_vma) {
		err = ksm_unmerge_range(vma, start, end, true);
		if (err)
			return err;
	}
	/* Only now is there no KSM page left in the range. */
	*vm_flags &= ~VM_MERGEABLE;
	return 0;
}

/**
 * ksm_madvise - MADV_MERGEABLE and MADV_UNMERGEABLE
 * @vma: the VMA
 * @start: first address, within @vma
 * @end: end address, within @vma
 * @advice: which of the two; others are ignored
 * @vm_flags: the flags that the range will have; VM_MERGEABLE is set or cleared
 *
 * Context: mmap_lock held for writing. May sleep.
 * Return: 0, also where the advice is ignored; -ENOMEM; -ERESTARTSYS.
 */
int ksm_madvise(struct vm_area_struct *vma, unsigned long start,
		unsigned long end, int advice, unsigned long *vm_flags)
{
	if (advice == MADV_MERGEABLE)
		return make_mergeable(vma, start, end, vm_flags);
	if (advice == MADV_UNMERGEABLE)
		return make_unmergeable(vma, start, end, vm_flags);
	return 0;
}
EXPORT_SYMBOL_GPL(ksm_madvise);

/**
 * ksm_vma_flags - flags of a new mapping
 * @mm: where it is made
 * @vma: the mapping, or NULL for an anonymous one that does not exist yet
 * @vm_flags: the flags so far
 *
 * Registering the mm, if that is needed, is best effort: a mapping must not fail
 * for it.
 *
 * Context: mmap_lock of @mm held for writing. May sleep.
 * Return: @vm_flags, with VM_MERGEABLE if the whole process is to be merged.
 */
unsigned long ksm_vma_flags(struct mm_struct *mm, struct vm_area_struct *vma,
			    unsigned long vm_flags)
{
	if (!test_bit(MMF_VM_MERGE_ANY, &mm->flags) ||
	    (vm_flags & VM_MERGEABLE) || why_never(vma, vm_flags) || enter(mm))
		return vm_flags;
	return vm_flags | VM_MERGEABLE;
}

static void make_all_mergeable(struct mm_struct *mm)
{
	VMA_ITERATOR(vmi, mm, 0);
	struct vm_area_struct *vma;

	for_each_vma(vmi, vma)
		if (!why_never(vma, vma->vm_flags))
			vma->vm_flags |= VM_MERGEABLE;
}

static int make_all_unmergeable(struct mm_struct *mm)
{
	VMA_ITERATOR(vmi, mm, 0);
	struct vm_area_struct *vma;
	int err = 0;

	for_each_vma(vmi, vma) {
		err = make_unmergeable(vma, vma->vm_start, vma->vm_end,
				       &vma->vm_flags);
		if (err)
			break;
	}
	return err;
}

static int set_merge_any(struct mm_struct *mm, bool on)
{
	int err;

	mmap_assert_write_locked(mm);
	if (test_bit(MMF_VM_MERGE_ANY, &mm->flags) == on)
		return 0;
	if (!on) {
		err = make_all_unmergeable(mm);
		if (err)
			make_all_mergeable(mm);
		else
			clear_bit(MMF_VM_MERGE_ANY, &mm->flags);
		return err;
	}
	err = enter(mm);
	if (err)
		return err;
	set_bit(MMF_VM_MERGE_ANY, &mm->flags);
	make_all_mergeable(mm);
	ksm_pace_advised();
	return 0;
}

/**
 * ksm_set_merge_any - PR_SET_MEMORY_MERGE: all memory of a process, or none
 * @mm: the caller's mm
 * @on: not 0: all that can be merged, now and in future; 0: unmerge everything
 *
 * If unmerging fails all stays as it was, up to pages that were already unmerged.
 *
 * Context: Takes mmap_lock. May sleep.
 * Return: 0; -EINTR; -ENOMEM; -ERESTARTSYS.
 */
int ksm_set_merge_any(struct mm_struct *mm, unsigned long on)
{
	int err;

	if (mmap_write_lock_killable(mm))
		return -EINTR;
	err = set_merge_any(mm, on);
	mmap_write_unlock(mm);
	return err;
}

/**
 * ksm_get_merge_any - PR_GET_MEMORY_MERGE
 * @mm: the caller's mm
 *
 * Return: 1 if all memory of the process is to be merged, else 0.
 */
int ksm_get_merge_any(struct mm_struct *mm)
{
	return test_bit(MMF_VM_MERGE_ANY, &mm->flags);
}
