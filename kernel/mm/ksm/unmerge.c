// SPDX-License-Identifier: GPL-2.0-only
/*
 * Breaking COW on purpose: give an address a page of its own again.
 *
 * It never touches an index or a record: what the scan finds changed it forgets.
 * FAULT_FLAG_UNSHARE copies without asking for write access, so that read-only
 * VMAs and PTEs under userfaultfd write-protection are served as well, and the
 * soft-dirty and uffd-wp bits stay. The zero page cannot be unshared so: it is
 * written to, or disowned where that would have to be asked for.
 */
#include <linux/mm.h>
#include <linux/migrate.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include "../internal.h"
#include "merge.h"
#include "walk.h"

/* Wait until the page at @addr is not on its way to another place. */
static void wait_for_migration(struct vm_area_struct *vma, unsigned long addr)
{
	pmd_t *pmd = mm_find_pmd(vma->vm_mm, addr);

	if (pmd && !pmd_trans_unstable(pmd))
		migration_entry_wait(vma->vm_mm, pmd, addr);
}

/*
 * Returns 0 if it makes sense to look again, -ENOMEM if there was no memory for
 * a copy. SIGBUS and SIGSEGV mean that the page went away under us.
 */
static int break_cow_once(struct vm_area_struct *vma, unsigned long addr,
			  bool zero)
{
	unsigned int flags = FAULT_FLAG_REMOTE;
	vm_fault_t fault;

	/*
	 * Unsharing is done for anonymous pages only, which the zero page is not,
	 * and not at all where nothing could ever be written.
	 */
	flags |= zero || !is_cow_mapping(vma->vm_flags) ? FAULT_FLAG_WRITE :
							  FAULT_FLAG_UNSHARE;
	wait_for_migration(vma, addr);
	if (zero && ksm_merge_disown_zero(vma, addr))
		return 0;
	fault = handle_mm_fault(vma, addr, flags, NULL);
	if (fault & VM_FAULT_OOM)
		return -ENOMEM;
	if (fault & (VM_FAULT_SIGBUS | VM_FAULT_SIGSEGV | VM_FAULT_HWPOISON))
		/* The protection may have come just now. */
		return zero && ksm_merge_disown_zero(vma, addr) ? 0 : -EFAULT;
	return 0;
}

/**
 * ksm_unmerge_range - give every merged page in a range back
 * @vma: the VMA
 * @start: first address, page aligned, in @vma
 * @end: where to stop, at most @vma's end
 * @interruptible: stop on a signal
 *
 * Looks until there is no merged page left: a fault may back out without having
 * done anything. A page whose fault fails for good (poisoned, truncated) is
 * skipped: it is not readable either.
 *
 * Context: mmap_lock held. May sleep. Takes no engine lock.
 * Return: 0 if no KSM page is left in the range; -ENOMEM; -ERESTARTSYS.
 */
int ksm_unmerge_range(struct vm_area_struct *vma, unsigned long start,
		      unsigned long end, bool interruptible)
{
	unsigned long addr;
	bool zero;
	int err;

	mmap_assert_locked(vma->vm_mm);
	while (start < end &&
	       ksm_walk_find_merged(vma, start, end, &addr, &zero)) {
		if (ksm_mm_is_exiting(vma->vm_mm))
			return 0;
		if (interruptible && signal_pending(current))
			return -ERESTARTSYS;
		err = break_cow_once(vma, addr, zero);
		if (err == -ENOMEM)
			return err;
		start = err ? addr + PAGE_SIZE : addr;
		cond_resched();
	}
	return 0;
}

/**
 * ksm_find_vma - the mergeable VMA at an address
 * @mm: an mm that the caller holds by mm_count at least
 * @addr: the address
 *
 * Context: mmap_lock held.
 * Return: the VMA; NULL if there is none, if it is not mergeable, if it has no
 * anonymous pages or if the mm is exiting.
 */
struct vm_area_struct *ksm_find_vma(struct mm_struct *mm, unsigned long addr)
{
	struct vm_area_struct *vma;

	mmap_assert_locked(mm);
	if (ksm_mm_is_exiting(mm))
		return NULL;
	vma = vma_lookup(mm, addr);
	return vma && ksm_vma_is_mergeable(vma) ? vma : NULL;
}

/**
 * ksm_unmerge_address - undo one merge
 * @mm: an mm that the caller holds by mm_count at least
 * @addr: page-aligned address
 *
 * If there is no memory the page stays shared, which is safe: it is found again
 * by the next pass.
 *
 * Context: Takes mmap_lock for reading. May sleep.
 */
void ksm_unmerge_address(struct mm_struct *mm, unsigned long addr)
{
	struct vm_area_struct *vma;

	mmap_read_lock(mm);
	vma = ksm_find_vma(mm, addr);
	if (vma)
		ksm_unmerge_range(vma, addr, addr + PAGE_SIZE, false);
	mmap_read_unlock(mm);
}
