/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __LINUX_KSM_H
#define __LINUX_KSM_H
/*
 * Kernel Samepage Merging: what the rest of the kernel calls.
 *
 * The same interface serves both engines of CONFIG_KSM_ENGINE. KSM pages are
 * anonymous pages whose mapping field belongs to the engine; see
 * folio_test_ksm(). What is said here of one function holds for its stub.
 */
#include <linux/bitops.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/sched.h>
#include <linux/sched/coredump.h>
#include <linux/seq_file.h>

#ifdef CONFIG_KSM_ENGINE_SAMEPAGE
extern atomic_long_t ksm_zero_pages;

unsigned long ksm_vma_flags(struct mm_struct *mm, struct vm_area_struct *vma,
			    unsigned long vm_flags);
int ksm_set_merge_any(struct mm_struct *mm, unsigned long on);
int ksm_get_merge_any(struct mm_struct *mm);
int ksm_show_stat(struct seq_file *m, struct mm_struct *mm);

/*
 * The zero page where a merge put it. A fault maps it clean; the dirty bit, which
 * has no other meaning for a page that is never written, tells ours from those.
 */
static inline bool is_ksm_zero_pte(pte_t pte)
{
	return is_zero_pfn(pte_pfn(pte)) && pte_dirty(pte);
}

/**
 * ksm_zero_pte_placed - a merge maps the zero page
 * @mm: where
 *
 * Context: PTE lock held.
 */
static inline void ksm_zero_pte_placed(struct mm_struct *mm)
{
	atomic_long_inc(&ksm_zero_pages);
	atomic_long_inc(&mm->ksm_zero_pages);
}

/**
 * ksm_zero_pte_copied - a PTE without a struct page was copied to another mm
 * @mm: the other mm
 * @pte: the PTE
 *
 * Context: PTE lock held.
 */
static inline void ksm_zero_pte_copied(struct mm_struct *mm, pte_t pte)
{
	if (is_ksm_zero_pte(pte))
		ksm_zero_pte_placed(mm);
}

/**
 * ksm_zero_pte_gone - a PTE without a struct page was cleared or replaced
 * @mm: where
 * @pte: what the PTE was
 */
static inline void ksm_zero_pte_gone(struct mm_struct *mm, pte_t pte)
{
	if (is_ksm_zero_pte(pte)) {
		atomic_long_dec(&ksm_zero_pages);
		atomic_long_dec(&mm->ksm_zero_pages);
	}
}

#else /* mainline's engine, as 6.1 has it, or none */

static inline unsigned long ksm_vma_flags(struct mm_struct *mm,
					  struct vm_area_struct *vma,
					  unsigned long vm_flags)
{
	return vm_flags;
}

static inline int ksm_set_merge_any(struct mm_struct *mm, unsigned long on)
{
	return -EINVAL;
}

static inline int ksm_get_merge_any(struct mm_struct *mm)
{
	return -EINVAL;
}

static inline void ksm_zero_pte_copied(struct mm_struct *mm, pte_t pte)
{
}

static inline void ksm_zero_pte_gone(struct mm_struct *mm, pte_t pte)
{
}

#endif /* CONFIG_KSM_ENGINE_SAMEPAGE */

#ifdef CONFIG_KSM

struct page *ksm_might_need_to_copy(struct page *page,
				    struct vm_area_struct *vma,
				    unsigned long address);
void rmap_walk_ksm(struct folio *folio, struct rmap_walk_control *rwc);
void folio_migrate_ksm(struct folio *newfolio, struct folio *folio);

int ksm_madvise(struct vm_area_struct *vma, unsigned long start,
		unsigned long end, int advice, unsigned long *vm_flags);
int __ksm_enter(struct mm_struct *mm);
void __ksm_exit(struct mm_struct *mm);

#ifndef CONFIG_KSM_ENGINE_SAMEPAGE
static inline int ksm_show_stat(struct seq_file *m, struct mm_struct *mm)
{
	seq_printf(m, "ksm_cow_breaks %ld\n",
		   atomic_long_read(&mm->ksm_cow_breaks));
	return 0;
}
#endif

/**
 * ksm_exit - the last user of an mm is gone
 * @mm: the mm; its page tables are about to be torn down
 */
static inline void ksm_exit(struct mm_struct *mm)
{
	if (test_bit(MMF_VM_MERGEABLE, &mm->flags))
		__ksm_exit(mm);
}

/**
 * ksm_fork - a new mm is being made from an old one
 * @mm: the new mm; its mmap_lock is held for writing
 * @oldmm: the mm it is a copy of; ditto
 *
 * The new mm was copied whole, counters included: they start again from zero.
 *
 * Return: 0 or -ENOMEM, which fails the fork.
 */
static inline int ksm_fork(struct mm_struct *mm, struct mm_struct *oldmm)
{
	int reason;

	atomic_long_set(&mm->ksm_cow_breaks, 0);
	/* Those of the new mm are counted as its page tables are filled. */
	atomic_long_set(&mm->ksm_zero_pages, 0);
	for (reason = 0; reason < KSM_MM_REFUSALS; reason++)
		atomic_long_set(&mm->ksm_refused[reason], 0);
	if (IS_ENABLED(CONFIG_KSM_ENGINE_SAMEPAGE)) {
		mm->ksm_merging_pages = 0;
		mm->ksm_rmap_items = 0;
	}
	return test_bit(MMF_VM_MERGEABLE, &oldmm->flags) ? __ksm_enter(mm) : 0;
}

/**
 * ksm_count_cow - a KSM page is about to be copied for an mm
 * @mm: the mm
 */
static inline void ksm_count_cow(struct mm_struct *mm)
{
	count_vm_event(COW_KSM);
	atomic_long_inc(&mm->ksm_cow_breaks);
}

#else /* !CONFIG_KSM */

static inline int ksm_fork(struct mm_struct *mm, struct mm_struct *oldmm)
{
	return 0;
}

static inline void ksm_exit(struct mm_struct *mm)
{
}

static inline void ksm_count_cow(struct mm_struct *mm)
{
}

#ifdef CONFIG_MMU
static inline int ksm_madvise(struct vm_area_struct *vma, unsigned long start,
			      unsigned long end, int advice,
			      unsigned long *vm_flags)
{
	return 0;
}

static inline struct page *ksm_might_need_to_copy(struct page *page,
						  struct vm_area_struct *vma,
						  unsigned long address)
{
	return page;
}

static inline void rmap_walk_ksm(struct folio *folio,
				 struct rmap_walk_control *rwc)
{
}

static inline void folio_migrate_ksm(struct folio *newfolio,
				     struct folio *folio)
{
}
#endif /* CONFIG_MMU */

#endif /* !CONFIG_KSM */

#endif /* __LINUX_KSM_H */
