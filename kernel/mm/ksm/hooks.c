// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the rest of the kernel calls to register and unregister memory; see
 * include/linux/ksm.h. rmap.c has what it asks about KSM pages.
 */
#include <linux/dax.h>
#include <linux/init.h>
#include <linux/ksm.h>
#include <linux/mm.h>
#include <linux/mman.h>

#include "control.h"
#include "merge.h"
#include "node.h"
#include "registry.h"

/* Memory that is not the owner's alone, or not ordinary memory. */
#define VM_NEVER_MERGEABLE	(VM_SHARED | VM_MAYSHARE | VM_PFNMAP | VM_IO | \
				 VM_DONTEXPAND | VM_HUGETLB | VM_MIXEDMAP)

static bool may_be_mergeable(struct vm_area_struct *vma, unsigned long vm_flags)
{
	unsigned long never = VM_NEVER_MERGEABLE;

#ifdef VM_SAO
	never |= VM_SAO;
#endif
#ifdef VM_SPARC_ADI
	never |= VM_SPARC_ADI;
#endif
	return !(vm_flags & never) && !vma_is_dax(vma);
}

static int make_mergeable(struct vm_area_struct *vma, unsigned long *vm_flags)
{
	struct mm_struct *mm = vma->vm_mm;
	int err;

	/* Advice that does not fit is ignored, as it always was. */
	if ((*vm_flags & VM_MERGEABLE) || !may_be_mergeable(vma, *vm_flags))
		return 0;
	if (!test_bit(MMF_VM_MERGEABLE, &mm->flags)) {
		err = __ksm_enter(mm);
		if (err)
			return err;
	}
	*vm_flags |= VM_MERGEABLE;
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
		return make_mergeable(vma, vm_flags);
	if (advice == MADV_UNMERGEABLE)
		return make_unmergeable(vma, start, end, vm_flags);
	return 0;
}
EXPORT_SYMBOL_GPL(ksm_madvise);

/**
 * __ksm_enter - register an mm
 * @mm: an mm without MMF_VM_MERGEABLE
 *
 * Context: mmap_lock of @mm held for writing. May sleep.
 * Return: 0 or -ENOMEM.
 */
int __ksm_enter(struct mm_struct *mm)
{
	bool first;
	int err;

	err = ksm_registry_add(mm, &ksm_default_domain, &first);
	if (!err && first)
		ksm_scan_wake();
	return err;
}

/**
 * __ksm_exit - an mm is going away
 * @mm: an mm that nobody uses any more (mm_users is 0)
 *
 * Context: No locks held. May sleep. After it nobody is in @mm's page tables.
 */
void __ksm_exit(struct mm_struct *mm)
{
	if (!ksm_registry_remove(mm))
		return;
	/* Whoever came before us leaves; whoever comes later sees mm_users. */
	mmap_write_lock(mm);
	mmap_write_unlock(mm);
	ksm_scan_wake();
}

static int __init ksm_init(void)
{
	int err;

	err = ksm_node_init();
	if (err)
		goto fail;
	err = ksm_registry_init();
	if (err)
		goto free_nodes;
	err = ksm_domain_init(&ksm_default_domain);
	if (err)
		goto free_registry;
	err = ksm_scan_start();
	if (err)
		goto free_domain;
	err = ksm_sysfs_init();
	if (err)
		goto stop_scan;
	ksm_hotplug_init();
	return 0;

stop_scan:
	ksm_scan_stop();
free_domain:
	ksm_domain_destroy(&ksm_default_domain);
free_registry:
	ksm_registry_exit();
free_nodes:
	ksm_node_exit();
fail:
	pr_err("ksm: cannot start: error %d\n", err);
	return err;
}
subsys_initcall(ksm_init);
