// SPDX-License-Identifier: GPL-2.0-only
/*
 * KSM pages and their stable nodes: the only reader and writer of page->mapping
 * for KSM pages.
 *
 * A stable node knows its page by pfn and holds no reference on it: a reference
 * would keep a page that everybody has unmapped until ksmd comes round again.
 * It looks through the keyhole instead: as long as page->mapping still points to
 * the node, the page is the node's page and its content is what it was. This
 * rests on two things. An anonymous page keeps its mapping until it is freed,
 * and freeing clears it. And nobody else ever stores our tagged pointer there.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/swap.h>

#include "kpage.h"

static void *kpage_key(const struct ksm_stable_node *node)
{
	return (void *)((unsigned long)node | PAGE_MAPPING_KSM);
}

static bool kpage_fits(struct page *page, const struct ksm_stable_node *node)
{
	return READ_ONCE(page->mapping) == kpage_key(node);
}

/*
 * Take a reference on a page that still points to its node. Returns false if the
 * page is gone.
 *
 * A count of zero means that the page is being freed, or that migration has
 * frozen the count for a moment: then it is in the swap cache, and the node
 * must not be given up.
 */
static bool kpage_try_ref(struct page *page, const struct ksm_stable_node *node)
{
	if (!kpage_fits(page, node))
		return false;
	while (!get_page_unless_zero(page)) {
		if (!PageSwapCache(page))
			return false;
		cpu_relax();
	}
	if (kpage_fits(page, node))
		return true;
	put_page(page);
	return false;
}

/**
 * ksm_kpage_get - get a node's page, if it still is one
 * @node: the stable node
 * @lock: what to do about the page lock
 *
 * Context: Process context, under ksm_scan_mutex, so that the node stays. May
 * sleep with KSM_KPAGE_LOCK.
 * Return: the page with a reference held, locked as @lock says; ERR_PTR(-ESTALE)
 * if the page is gone and the node should go, too.
 */
struct page *ksm_kpage_get(struct ksm_stable_node *node,
			   enum ksm_kpage_lock lock)
{
	unsigned long kpfn;
	struct page *page;

	for (;;) {
		kpfn = READ_ONCE(node->kpfn);
		page = pfn_to_page(kpfn);
		if (kpage_try_ref(page, node)) {
			if (lock == KSM_KPAGE_NOLOCK)
				return page;
			lock_page(page);
			if (kpage_fits(page, node))
				return page;
			ksm_kpage_unlock_put(page);
		}
		/* Pairs with smp_wmb() in ksm_kpage_moved(). */
		smp_rmb();
		if (READ_ONCE(node->kpfn) == kpfn)
			return ERR_PTR(-ESTALE);
	}
}

/**
 * ksm_kpage_node - which stable node a page belongs to
 * @page: any page
 *
 * Context: The node stays only while the page is locked and, if it has sharers
 * to look at, under that lock.
 * Return: the node; NULL for pages that are no KSM pages and for KSM pages that
 * were disowned.
 */
struct ksm_stable_node *ksm_kpage_node(struct page *page)
{
	unsigned long mapping = (unsigned long)READ_ONCE(page->mapping);

	if ((mapping & PAGE_MAPPING_FLAGS) != PAGE_MAPPING_KSM)
		return NULL;
	return (void *)(mapping & ~PAGE_MAPPING_FLAGS);
}

/**
 * ksm_kpage_adopt - make an anonymous page a node's KSM page
 * @page: a locked, write-protected, small anonymous page that is nobody's
 *	exclusive page
 * @node: the node; not yet anybody else's
 *
 * A page whose PTEs were just cleaned looks clean: see ksm_kpage_keep().
 *
 * Context: The page lock is held.
 */
void ksm_kpage_adopt(struct page *page, struct ksm_stable_node *node)
{
	VM_BUG_ON_PAGE(!PageLocked(page), page);
	VM_BUG_ON_PAGE(!PageAnon(page) || PageCompound(page), page);
	VM_BUG_ON_PAGE(PageAnonExclusive(page), page);

	node->kpfn = page_to_pfn(page);
	WRITE_ONCE(page->mapping, kpage_key(node));
	ksm_kpage_keep(page);
	mark_page_accessed(page);
}

/**
 * ksm_kpage_keep - a page is about to hold the data of one more address
 * @page: a locked KSM page
 *
 * Reclaim frees clean pages without writing them, so a clean one must become dirty.
 * A KSM page can be clean when its one sharer has freed it lazily (MADV_FREE):
 * reclaim may throw it away, and with it what others have come to share since.
 * MADV_FREE looks at a page under its lock, and leaves it alone once it is mapped
 * twice.
 *
 * Context: The page lock is held from here until the address maps the page.
 */
void ksm_kpage_keep(struct page *page)
{
	VM_BUG_ON_PAGE(!PageLocked(page) || !PageKsm(page), page);
	if (!PageDirty(page))
		SetPageDirty(page);
}

/**
 * ksm_kpage_disown - let a KSM page live on without a node
 * @page: a locked KSM page
 *
 * It stays write-protected where it is mapped; reverse mapping no longer finds
 * it, so it cannot be moved or swapped until it is unshared.
 *
 * Context: The page lock is held. Afterwards the node may be freed.
 */
void ksm_kpage_disown(struct page *page)
{
	VM_BUG_ON_PAGE(!PageLocked(page) || !PageKsm(page), page);
	WRITE_ONCE(page->mapping, (void *)PAGE_MAPPING_KSM);
}

/**
 * ksm_kpage_moved - follow a migration
 * @newfolio: where the content is now; its mapping is already set
 * @folio: where it was
 *
 * Context: Both folios are locked. Called for every folio that migrates.
 */
void ksm_kpage_moved(struct folio *newfolio, struct folio *folio)
{
	struct ksm_stable_node *node = ksm_kpage_node(&folio->page);

	if (!node)
		return;
	VM_BUG_ON_FOLIO(node->kpfn != folio_pfn(folio), folio);
	WRITE_ONCE(node->kpfn, folio_pfn(newfolio));
	/*
	 * A lookup that finds the old page's mapping changed, or its swap cache
	 * flag gone, must find the new pfn. Pairs with smp_rmb() in
	 * ksm_kpage_get().
	 */
	smp_wmb();
	ksm_kpage_disown(&folio->page);
}

static bool unmerging;

/**
 * ksm_kpage_set_unmerging - say whether KSM pages may come back from swap as such
 * @on: from now on give each address a copy
 */
void ksm_kpage_set_unmerging(bool on)
{
	WRITE_ONCE(unmerging, on);
}

/** ksm_kpage_is_unmerging - see ksm_kpage_set_unmerging() */
bool ksm_kpage_is_unmerging(void)
{
	return READ_ONCE(unmerging);
}
