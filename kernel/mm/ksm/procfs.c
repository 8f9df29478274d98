// SPDX-License-Identifier: GPL-2.0-only
/*
 * /proc/PID/ksm_stat: what merging does for one process, and to it. The first line
 * is fs/proc/base.c's.
 */
#include <linux/ksm.h>
#include <linux/mm.h>
#include <linux/seq_file.h>

#include "control.h"

/* Its share of a bucket of the candidate index: see candidates.c. */
#define CANDIDATE_BYTES	2
/* What the engine keeps for a page, which will mostly be a candidate. */
#define RECORD_BYTES	(DIV_ROUND_UP(sizeof(struct ksm_mm_chunk) + KSM_RECORDS_BYTES, \
				      KSM_CHUNK_PAGES) + \
			 CANDIDATE_BYTES)
/* And for a merged one, besides. */
#define MAPPING_BYTES	sizeof(struct ksm_mapping)

/* As mainline counts it: all that is merged, the first of its kind included. */
static long process_profit(struct mm_struct *mm)
{
	unsigned long merging = READ_ONCE(mm->ksm_merging_pages);
	long saved = merging + atomic_long_read(&mm->ksm_zero_pages);

	return saved * (long)PAGE_SIZE -
	       (long)(READ_ONCE(mm->ksm_rmap_items) * RECORD_BYTES +
		      merging * MAPPING_BYTES);
}

static bool has_mergeable_vma(struct mm_struct *mm)
{
	VMA_ITERATOR(vmi, mm, 0);
	struct vm_area_struct *vma;

	mmap_assert_locked(mm);
	for_each_vma(vmi, vma)
		if (vma->vm_flags & VM_MERGEABLE)
			return true;
	return false;
}

static const char *yes_no(bool yes)
{
	return yes ? "yes" : "no";
}

/**
 * ksm_show_stat - print the engine's lines of /proc/PID/ksm_stat
 * @m: where to
 * @mm: the process' mm; the caller holds mm_users
 *
 * Context: Takes mmap_lock. May sleep.
 * Return: 0 or -EINTR.
 */
int ksm_show_stat(struct seq_file *m, struct mm_struct *mm)
{
	bool mergeable;
	int why;

	if (mmap_read_lock_killable(mm))
		return -EINTR;
	mergeable = has_mergeable_vma(mm);
	mmap_read_unlock(mm);

	seq_printf(m, "ksm_zero_pages %ld\n", atomic_long_read(&mm->ksm_zero_pages));
	seq_printf(m, "ksm_merging_pages %lu\n", READ_ONCE(mm->ksm_merging_pages));
	seq_printf(m, "ksm_process_profit %ld\n", process_profit(mm));
	seq_printf(m, "ksm_merge_any: %s\n", yes_no(ksm_get_merge_any(mm)));
	seq_printf(m, "ksm_mergeable: %s\n", yes_no(mergeable));
	seq_printf(m, "ksm_cow_breaks %ld\n", atomic_long_read(&mm->ksm_cow_breaks));
	for (why = KSM_REFUSED_NONE + 1; why < KSM_NR_REFUSALS; why++)
		seq_printf(m, "ksm_%s %ld\n", ksm_refusal_names[why],
			   atomic_long_read(&mm->ksm_refused[why]));
	return 0;
}
