// SPDX-License-Identifier: GPL-2.0-only
/*
 * Write-protect, compare, replace: the three page-table steps of a merge.
 *
 * What makes a merge safe is the order. The PTE is cleared and the TLBs are
 * flushed before references are counted, so that nobody can gain access
 * unnoticed; it comes back read-only, and only then are the bytes compared, so
 * that they cannot change between the comparison and the replacement. A writer
 * that comes in between copies the page and changes the PTE, which the
 * replacement sees.
 *
 * Lock order: mmap_lock -> page lock -> (mmu notifier) -> PTE lock.
 */
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/huge_mm.h>
#include <linux/ksm.h>
#include <linux/mmu_notifier.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/swap.h>
#include <asm/tlbflush.h>

#include "../internal.h"
#include "kpage.h"
#include "merge.h"

/* Zero pages that merges placed and that are mapped now, of all mms. */
atomic_long_t ksm_zero_pages;

/**
 * ksm_page_is_pinned - does anybody hold the page whom no page table explains?
 * @page: a small page
 * @own_refs: references that the caller itself holds
 *
 * Without the page lock and with a writable PTE the answer is a hint: good for
 * refusing a page before it is write-protected, not for merging it.
 */
bool ksm_page_is_pinned(struct page *page, unsigned int own_refs)
{
	int expected = page_mapcount(page) + own_refs + !!PageSwapCache(page);

	return page_count(page) != expected;
}

/**
 * ksm_split_page - make a page small
 * @page: a page on which the caller holds the only reference besides the PTEs'
 *
 * Context: Process context, no page lock held. May sleep.
 * Return: KSM_REFUSED_NONE if the page is now small; the reference is now one on
 * @page alone, and none on the other pages of what was split.
 */
enum ksm_refusal ksm_split_page(struct page *page)
{
	enum ksm_refusal why = KSM_REFUSED_NONE;

	if (!PageTransCompound(page))
		return why;
	if (!trylock_page(page))
		return KSM_REFUSED_LOCKED;
	if (PageTransCompound(page) && split_huge_page(page))
		why = KSM_REFUSED_HUGE;
	unlock_page(page);
	return why;
}

/* Find and lock the PTE at @addr if it is a small one; NULL if there is none. */
static pte_t *merge_lock_pte(struct mm_struct *mm, unsigned long addr,
			     spinlock_t **ptl)
{
	pmd_t *pmd = mm_find_pmd(mm, addr);
	pmd_t pmdval;

	if (!pmd)
		return NULL;
	/* A huge PMD may be cleared and set without a lock that we hold. */
	pmdval = pmd_read_atomic(pmd);
	barrier();
	if (!pmd_present(pmdval) || pmd_trans_huge(pmdval) || pmd_bad(pmdval))
		return NULL;
	return pte_offset_map_lock(mm, pmd, addr, ptl);
}

static bool pte_maps(pte_t pte, struct page *page)
{
	return pte_present(pte) && pte_pfn(pte) == page_to_pfn(page);
}

/* Could anyone still write to the page through this PTE or a TLB entry of it? */
static bool pte_needs_protection(struct mm_struct *mm, pte_t pte,
				 struct page *page)
{
	if (pte_write(pte) || pte_dirty(pte) || PageAnonExclusive(page))
		return true;
	if (pte_protnone(pte) && pte_savedwrite(pte))
		return true;
	return mm_tlb_flush_pending(mm);
}

/*
 * Take write access away and prove that nobody else has any. Called with the PTE
 * lock held. On refusal the PTE is as it was.
 */
static enum ksm_refusal protect_pte(struct vm_area_struct *vma,
				    unsigned long addr, pte_t *ptep,
				    struct page *page)
{
	struct mm_struct *mm = vma->vm_mm;
	bool exclusive = PageAnonExclusive(page);
	pte_t pte;

	flush_cache_page(vma, addr, page_to_pfn(page));
	/*
	 * get_user_pages_fast() takes a reference and then looks at the PTE
	 * again: with the PTE cleared first and the references counted second,
	 * either it sees the change or we see its reference.
	 */
	pte = ptep_clear_flush(vma, addr, ptep);
	if (ksm_page_is_pinned(page, 1) ||
	    (exclusive && page_try_share_anon_rmap(page))) {
		set_pte_at(mm, addr, ptep, pte);
		return KSM_REFUSED_PINNED;
	}
	/* Unmapping a clean PTE would lose what it knew of the page. */
	if (pte_dirty(pte))
		set_page_dirty(page);
	pte = pte_protnone(pte) ? pte_clear_savedwrite(pte) : pte_wrprotect(pte);
	set_pte_at_notify(mm, addr, ptep, pte_mkclean(pte));
	return KSM_REFUSED_NONE;
}

/*
 * Write-protect @page at @addr and give the PTE that then maps it.
 * Called with the page locked and one reference held by the caller.
 */
static enum ksm_refusal write_protect(struct vm_area_struct *vma,
				      unsigned long addr, struct page *page,
				      pte_t *protected)
{
	enum ksm_refusal why = KSM_REFUSED_RACED;
	struct mmu_notifier_range range;
	spinlock_t *ptl;
	pte_t *ptep;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, vma, vma->vm_mm,
				addr, addr + PAGE_SIZE);
	mmu_notifier_invalidate_range_start(&range);
	ptep = merge_lock_pte(vma->vm_mm, addr, &ptl);
	if (!ptep)
		goto out;
	if (pte_maps(*ptep, page)) {
		why = KSM_REFUSED_NONE;
		if (pte_needs_protection(vma->vm_mm, *ptep, page))
			why = protect_pte(vma, addr, ptep, page);
		else if (ksm_page_is_pinned(page, 1))
			why = KSM_REFUSED_PINNED;
		*protected = *ptep;
	}
	pte_unmap_unlock(ptep, ptl);
out:
	mmu_notifier_invalidate_range_end(&range);
	return why;
}

/* What the PTE says of the address, not of the page, outlives the page. */
static pte_t pte_inherit(pte_t new, pte_t old)
{
	new = pte_young(old) ? pte_mkyoung(new) : pte_mkold(new);
	new = pte_soft_dirty(old) ? pte_mksoft_dirty(new) :
				    pte_clear_soft_dirty(new);
	if (pte_uffd_wp(old))
		new = pte_mkuffd_wp(new);
	return new;
}

/* The hardware may set the accessed bit at any time: that is not a race. */
static bool pte_unchanged(pte_t now, pte_t before)
{
	return pte_same(pte_mkold(now), pte_mkold(before));
}

static pte_t make_kpage_pte(struct vm_area_struct *vma, unsigned long addr,
		       struct page *kpage)
{
	if (is_zero_pfn(page_to_pfn(kpage))) {
		/* The zero page is no anonymous page and is not counted as one. */
		dec_mm_counter(vma->vm_mm, MM_ANONPAGES);
		ksm_zero_pte_placed(vma->vm_mm);
		return ksm_zero_pte(addr, vma->vm_page_prot);
	}
	VM_BUG_ON_PAGE(PageAnonExclusive(kpage), kpage);
	get_page(kpage);
	page_add_anon_rmap(kpage, vma, addr, RMAP_NONE);
	return mk_pte(kpage, vma->vm_page_prot);
}

static void drop_replaced(struct vm_area_struct *vma, struct page *page)
{
	struct folio *folio = page_folio(page);

	page_remove_rmap(page, vma, false);
	if (!folio_mapped(folio))
		folio_free_swap(folio);
	folio_put(folio);
}

/* Map @kpage where @page is mapped now by @protected. Called with @page locked. */
static enum ksm_refusal replace(struct vm_area_struct *vma, unsigned long addr,
				struct page *page, struct page *kpage,
				pte_t protected)
{
	enum ksm_refusal why = KSM_REFUSED_RACED;
	struct mm_struct *mm = vma->vm_mm;
	struct mmu_notifier_range range;
	pte_t *ptep, old, new;
	spinlock_t *ptl;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, vma, mm, addr,
				addr + PAGE_SIZE);
	mmu_notifier_invalidate_range_start(&range);
	ptep = merge_lock_pte(mm, addr, &ptl);
	if (!ptep)
		goto out;
	if (pte_unchanged(*ptep, protected)) {
		VM_BUG_ON_PAGE(PageAnonExclusive(page), page);
		flush_cache_page(vma, addr, page_to_pfn(page));
		old = ptep_clear_flush(vma, addr, ptep);
		new = pte_inherit(make_kpage_pte(vma, addr, kpage), old);
		set_pte_at_notify(mm, addr, ptep, new);
		drop_replaced(vma, page);
		why = KSM_REFUSED_NONE;
	}
	pte_unmap_unlock(ptep, ptl);
out:
	mmu_notifier_invalidate_range_end(&range);
	return why;
}

/*
 * The checks that cost the owner of the page nothing, made with the page locked.
 * Everything they refuse would be refused later, after a TLB flush.
 */
static enum ksm_refusal merge_precheck(struct page *page)
{
	if (!PageAnon(page) || PageKsm(page) || PageHWPoison(page))
		return KSM_REFUSED_RACED;
	if (PageTransCompound(page))
		return KSM_REFUSED_HUGE;
	if (ksm_page_is_pinned(page, 1))
		return KSM_REFUSED_PINNED;
	return KSM_REFUSED_NONE;
}

/**
 * ksm_merge_protect - write-protect the page at an address, and nobody has it pinned
 * @vma: a mergeable VMA
 * @addr: page-aligned address in @vma
 * @page: the small page that is expected there; the caller holds one reference
 *	and the page lock
 *
 * Its bytes stay as they are for as long as the caller holds both: a writer gets a
 * copy. Leaving it at that costs the owner a fault and nothing else.
 *
 * Context: mmap_lock held for reading, @page locked. May sleep.
 * Return: KSM_REFUSED_NONE if @page can now be made a KSM page, or why not.
 */
enum ksm_refusal ksm_merge_protect(struct vm_area_struct *vma,
				   unsigned long addr, struct page *page)
{
	enum ksm_refusal why;
	pte_t protected;

	mmap_assert_locked(vma->vm_mm);
	VM_BUG_ON_PAGE(!PageLocked(page), page);

	why = merge_precheck(page);
	if (!why)
		why = write_protect(vma, addr, page, &protected);
	return why;
}

/**
 * ksm_merge_page - map a KSM page or the zero page in the place of an equal page
 * @vma: a mergeable VMA
 * @addr: page-aligned address in @vma
 * @page: the small page that is expected there; the caller holds one reference
 * @kpage: the KSM page, locked by the caller, or the zero page
 *
 * Context: mmap_lock held for reading. May sleep. Both pages' locks are only
 * tried, never waited for, so that holding both cannot deadlock.
 * Return: KSM_REFUSED_NONE if @addr now maps @kpage, or why not.
 */
enum ksm_refusal ksm_merge_page(struct vm_area_struct *vma, unsigned long addr,
				struct page *page, struct page *kpage)
{
	enum ksm_refusal why;
	pte_t protected;

	mmap_assert_locked(vma->vm_mm);
	if (!trylock_page(page))
		return KSM_REFUSED_LOCKED;
	why = merge_precheck(page);
	if (!why)
		why = write_protect(vma, addr, page, &protected);
	if (!why && !pages_identical(page, kpage))
		why = KSM_REFUSED_DIFFERENT;
	/* The zero page could not be unmerged again without asking userspace. */
	if (!why && pte_uffd_wp(protected) && is_zero_pfn(page_to_pfn(kpage)))
		why = KSM_REFUSED_UFFD_WP;
	if (!why)
		why = replace(vma, addr, page, kpage, protected);
	unlock_page(page);
	return why;
}

/**
 * ksm_merge_repoint - map one KSM page in the place of another, equal one
 * @vma: a mergeable VMA
 * @addr: page-aligned address in @vma
 * @from: the KSM page that is expected there, locked and referenced by the caller
 * @to: the KSM page to map instead; ditto
 *
 * Both are read-only everywhere, so nothing needs protecting, and there is no
 * allocation that could fail.
 *
 * Context: mmap_lock held for reading. May sleep.
 * Return: KSM_REFUSED_NONE if @addr now maps @to, or why not.
 */
enum ksm_refusal ksm_merge_repoint(struct vm_area_struct *vma,
				   unsigned long addr, struct page *from,
				   struct page *to)
{
	spinlock_t *ptl;
	pte_t *ptep, pte;

	mmap_assert_locked(vma->vm_mm);
	VM_BUG_ON_PAGE(!PageLocked(from) || !PageKsm(from), from);
	VM_BUG_ON_PAGE(!PageLocked(to) || !PageKsm(to), to);

	if (PageHWPoison(from) || PageHWPoison(to))
		return KSM_REFUSED_RACED;
	if (!pages_identical(from, to))
		return KSM_REFUSED_DIFFERENT;
	ptep = merge_lock_pte(vma->vm_mm, addr, &ptl);
	if (!ptep)
		return KSM_REFUSED_RACED;
	pte = *ptep;
	pte_unmap_unlock(ptep, ptl);
	if (!pte_maps(pte, from))
		return KSM_REFUSED_RACED;
	return replace(vma, addr, from, to, pte);
}

/**
 * ksm_merge_disown_zero - leave a zero page that a merge placed where it is
 * @vma: a VMA
 * @addr: page-aligned address in @vma
 *
 * Under userfaultfd write-protection no page can be put in its place without asking
 * userspace. It stays, as a read of untouched memory would map it, and counts no
 * longer as merged.
 *
 * Context: mmap_lock held.
 * Return: true if @addr maps such a page, and write-protected.
 */
bool ksm_merge_disown_zero(struct vm_area_struct *vma, unsigned long addr)
{
	struct mm_struct *mm = vma->vm_mm;
	pte_t *ptep, pte;
	spinlock_t *ptl;
	bool found;

	mmap_assert_locked(mm);
	ptep = merge_lock_pte(mm, addr, &ptl);
	if (!ptep)
		return false;
	pte = *ptep;
	found = pte_present(pte) && is_ksm_zero_pte(pte) && pte_uffd_wp(pte);
	if (found) {
		ksm_zero_pte_gone(mm, pte);
		set_pte_at(mm, addr, ptep, pte_mkclean(pte));
	}
	pte_unmap_unlock(ptep, ptl);
	return found;
}
