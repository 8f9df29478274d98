// SPDX-License-Identifier: GPL-2.0-only
/*
 * Write-protect, compare, replace: the three page-table steps of a merge.
 *
 * What makes a merge safe is the order. The PTE is cleared before references are
 * counted, so that nobody can gain access unnoticed; it comes back read-only, the
 * TLBs are flushed, and only then are the bytes compared, so that they cannot
 * change between the comparison and the replacement. A writer that comes in between
 * copies the page and changes the PTE, which the replacement sees.
 *
 * Each step does a whole run of pages of one page table: one notifier range, one
 * hold of the PTE lock, one TLB flush, one call to secondary MMUs. Those keep their
 * mappings and change them in place (MMU_NOTIFY_CHANGE).
 *
 * Lock order: mmap_lock -> page lock -> (mmu notifier) -> PTE lock.
 */
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/huge_mm.h>
#include <linux/hugetlb.h>
#include <linux/ksm.h>
#include <linux/mmu_notifier.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/sched/clock.h>
#include <linux/swap.h>
#include <asm/tlbflush.h>
#include <trace/events/ksm.h>

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
 * Take write access away and prove that nobody else has any, as far as one PTE goes:
 * TLB entries of it may still be there. Called with the PTE lock held. On refusal
 * the PTE is as it was.
 */
static enum ksm_refusal protect_pte(struct vm_area_struct *vma, pte_t *ptep,
				    pte_t pte, struct ksm_merge_item *item)
{
	struct mm_struct *mm = vma->vm_mm;
	struct page *page = item->page;
	bool exclusive = PageAnonExclusive(page);

	/*
	 * get_user_pages_fast() takes a reference and then looks at the PTE
	 * again: with the PTE cleared first and the references counted second,
	 * either it sees the change or we see its reference.
	 */
	if (ksm_page_is_pinned(page, 1) ||
	    (exclusive && page_try_share_anon_rmap(page))) {
		set_pte_at(mm, item->addr, ptep, pte);
		return KSM_REFUSED_PINNED;
	}
	/* Unmapping a clean PTE would lose what it knew of the page. */
	if (pte_dirty(pte))
		set_page_dirty(page);
	pte = pte_protnone(pte) ? pte_clear_savedwrite(pte) : pte_wrprotect(pte);
	set_pte_at(mm, item->addr, ptep, pte_mkclean(pte));
	return KSM_REFUSED_NONE;
}

/**
 * struct window - a notifier range over a run, and what changes in it
 * @run: the run
 * @range: the range
 * @first: PTE of the run's first address; NULL if there is no page table
 * @ptl: its lock
 * @nr_changes: how many of the run's changes are to be told of
 * @flush: the TLBs may still hold what was there before
 * @opened: local_clock() when it was opened, if anybody wants to know; or 0
 */
struct window {
	struct ksm_merge_run *run;
	struct mmu_notifier_range range;
	pte_t *first;
	spinlock_t *ptl;
	unsigned int nr_changes;
	bool flush;
	u64 opened;
};

static unsigned long run_start(const struct ksm_merge_run *run)
{
	return run->item[0].addr;
}

static unsigned long run_end(const struct ksm_merge_run *run)
{
	return run->item[run->nr - 1].addr + PAGE_SIZE;
}

/* Keep secondary MMUs from mapping the run anew, and lock its page table. */
static void window_open(struct window *w, struct ksm_merge_run *run)
{
	struct mm_struct *mm = run->vma->vm_mm;

	w->run = run;
	w->nr_changes = 0;
	w->flush = false;
	w->opened = trace_ksm_window_enabled() ? local_clock() : 0;
	mmu_notifier_range_init(&w->range, MMU_NOTIFY_CHANGE, 0, run->vma, mm,
				run_start(run), run_end(run));
	mmu_notifier_invalidate_range_start(&w->range);
	w->first = merge_lock_pte(mm, run_start(run), &w->ptl);
	/* Reclaim may have left a flush for later. */
	if (w->first)
		flush_tlb_batched_pending(mm);
}

static pte_t *window_pte(const struct window *w, const struct ksm_merge_item *item)
{
	return w->first + ((item->addr - run_start(w->run)) >> PAGE_SHIFT);
}

/* Clear a PTE in order to change it. */
static pte_t window_clear(struct window *w, pte_t *ptep,
			  const struct ksm_merge_item *item)
{
	struct mm_struct *mm = w->run->vma->vm_mm;
	pte_t pte;

	flush_cache_page(w->run->vma, item->addr, page_to_pfn(item->page));
	pte = ptep_get_and_clear(mm, item->addr, ptep);
	if (pte_accessible(mm, pte))
		w->flush = true;
	return pte;
}

/* The PTE was changed: secondary MMUs must follow. */
static void window_tell(struct window *w, const struct ksm_merge_item *item, pte_t pte)
{
	struct mmu_notifier_pte *change = &w->run->change[w->nr_changes++];

	change->address = item->addr;
	change->pte = pte;
}

/*
 * When this is done nobody has access to what was there before. It is done under
 * the PTE lock: a fault that finds a read-only PTE copies the page, and that must
 * not happen while another CPU, or a guest, can still write to it.
 */
static void window_flush(struct window *w)
{
	struct ksm_merge_run *run = w->run;

	if (!w->first)
		return;
	if (w->flush)
		flush_tlb_range(run->vma, run_start(run), run_end(run));
	mmu_notifier_change_ptes(run->vma->vm_mm, run->change, w->nr_changes);
}

static void window_close(struct window *w)
{
	if (w->first)
		pte_unmap_unlock(w->first, w->ptl);
	mmu_notifier_invalidate_range_end(&w->range);
	if (w->opened)
		trace_ksm_window(w->run->vma->vm_mm, w->range.start,
				 (w->range.end - w->range.start) >> PAGE_SHIFT,
				 w->nr_changes, local_clock() - w->opened);
}

static void protect_item(struct window *w, struct ksm_merge_item *item)
{
	struct vm_area_struct *vma = w->run->vma;
	pte_t *ptep;

	item->why = KSM_REFUSED_RACED;
	if (!w->first)
		return;
	ptep = window_pte(w, item);
	if (!pte_maps(*ptep, item->page))
		return;
	item->why = KSM_REFUSED_NONE;
	if (pte_needs_protection(vma->vm_mm, *ptep, item->page)) {
		item->why = protect_pte(vma, ptep, window_clear(w, ptep, item),
					item);
		if (!item->why)
			window_tell(w, item, *ptep);
	} else if (ksm_page_is_pinned(item->page, 1)) {
		item->why = KSM_REFUSED_PINNED;
	}
}

/* Write-protect the pages of a run that are not refused yet: all are locked. */
static void protect_run(struct ksm_merge_run *run)
{
	struct window w;
	unsigned int i;

	for (i = 0; i < run->nr && run->item[i].why; i++)
		;
	if (i == run->nr)
		return;
	window_open(&w, run);
	for (; i < run->nr; i++)
		if (!run->item[i].why)
			protect_item(&w, &run->item[i]);
	window_flush(&w);
	/* Now, as on some machines (UML) a flush leaves its mark in the PTE. */
	for (i = 0; i < run->nr; i++)
		if (!run->item[i].why)
			run->item[i].pte = *window_pte(&w, &run->item[i]);
	window_close(&w);
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

static void replace_item(struct window *w, struct ksm_merge_item *item)
{
	struct vm_area_struct *vma = w->run->vma;
	pte_t *ptep, old, new;

	item->why = KSM_REFUSED_RACED;
	if (!w->first)
		return;
	ptep = window_pte(w, item);
	if (!pte_unchanged(*ptep, item->pte))
		return;
	VM_BUG_ON_PAGE(PageAnonExclusive(item->page), item->page);
	old = window_clear(w, ptep, item);
	new = pte_inherit(make_kpage_pte(vma, item->addr, item->kpage), old);
	set_pte_at(vma->vm_mm, item->addr, ptep, new);
	window_tell(w, item, new);
	page_remove_rmap(item->page, vma, false);
	item->why = KSM_REFUSED_NONE;
}

/* A page was replaced: let go of it, now that nobody can reach it any more. */
static void drop_replaced(struct page *page)
{
	struct folio *folio = page_folio(page);

	if (!folio_mapped(folio))
		folio_free_swap(folio);
	folio_put(folio);
}

/*
 * Map the KSM pages where the pages of a run are mapped now, if the PTEs are still
 * what they were. Those not refused are locked.
 */
static void replace_run(struct ksm_merge_run *run)
{
	struct window w;
	unsigned int i;

	window_open(&w, run);
	for (i = 0; i < run->nr; i++)
		if (!run->item[i].why)
			replace_item(&w, &run->item[i]);
	window_flush(&w);
	window_close(&w);
	for (i = 0; i < run->nr; i++)
		if (!run->item[i].why)
			drop_replaced(run->item[i].page);
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

static bool run_is_sane(const struct ksm_merge_run *run)
{
	return run->nr && run_start(run) >= run->vma->vm_start &&
	       run_end(run) <= run->vma->vm_end &&
	       ((run_start(run) ^ (run_end(run) - 1)) & PMD_MASK) == 0;
}

/* Lock those that can be merged; the others are refused. */
static void lock_run(struct ksm_merge_run *run)
{
	unsigned int i;

	for (i = 0; i < run->nr; i++) {
		struct ksm_merge_item *item = &run->item[i];

		item->locked = trylock_page(item->page);
		item->why = item->locked ? merge_precheck(item->page) :
					   KSM_REFUSED_LOCKED;
	}
}

/**
 * ksm_merge_protect - write-protect pages, and prove that nobody has them pinned
 * @run: the pages; they are locked as far as possible: see ksm_merge_unlock()
 *
 * The bytes of those that are not refused stay as they are for as long as they are
 * locked: a writer gets a copy. Leaving it at that costs the owner a fault and
 * nothing else.
 *
 * Context: mmap_lock held for reading. May sleep. Page locks are only tried, never
 * waited for, so that holding many cannot deadlock.
 */
void ksm_merge_protect(struct ksm_merge_run *run)
{
	mmap_assert_locked(run->vma->vm_mm);
	VM_BUG_ON_VMA(!run_is_sane(run), run->vma);
	lock_run(run);
	protect_run(run);
}

/**
 * ksm_merge_unlock - unlock what ksm_merge_protect() has locked
 * @run: the run
 */
void ksm_merge_unlock(struct ksm_merge_run *run)
{
	unsigned int i;

	for (i = 0; i < run->nr; i++)
		if (run->item[i].locked)
			unlock_page(run->item[i].page);
}

/* The comparison that counts: nobody can write to either page. */
static enum ksm_refusal compare_item(const struct ksm_merge_item *item)
{
	if (!pages_identical(item->page, item->kpage))
		return KSM_REFUSED_DIFFERENT;
	/* The zero page could not be unmerged again without asking userspace. */
	if (pte_uffd_wp(item->pte) && is_zero_pfn(page_to_pfn(item->kpage)))
		return KSM_REFUSED_UFFD_WP;
	return KSM_REFUSED_NONE;
}

/**
 * ksm_merge_pages - map KSM pages or the zero page in the place of equal pages
 * @run: the pages and, locked by the caller, the KSM pages; each item's @why says
 *	what became of it: KSM_REFUSED_NONE if its address now maps its KSM page
 *
 * Context: mmap_lock held for reading. May sleep. The pages' locks are only tried,
 * never waited for, so that holding many cannot deadlock.
 */
void ksm_merge_pages(struct ksm_merge_run *run)
{
	unsigned int i, equal = 0;

	ksm_merge_protect(run);
	for (i = 0; i < run->nr; i++) {
		struct ksm_merge_item *item = &run->item[i];

		if (!item->why)
			item->why = compare_item(item);
		equal += !item->why;
	}
	if (equal)
		replace_run(run);
	ksm_merge_unlock(run);
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
	struct ksm_merge_item item = { .page = from, .kpage = to, .addr = addr };
	struct mmu_notifier_pte change;
	struct ksm_merge_run run = {
		.vma = vma, .item = &item, .change = &change, .nr = 1,
	};
	spinlock_t *ptl;
	pte_t *ptep;

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
	item.pte = *ptep;
	pte_unmap_unlock(ptep, ptl);
	if (!pte_maps(item.pte, from))
		return KSM_REFUSED_RACED;
	replace_run(&run);
	return item.why;
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
