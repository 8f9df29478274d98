// SPDX-License-Identifier: GPL-2.0-only
/*
 * Anchors: what the mapping records of one chunk have in common.
 *
 * Pages of one VMA share its anon_vma, and their indexes there follow their
 * addresses. So a mapping record need not have either: it names an anchor by a number,
 * and its slot says the rest. Both together are a ksm_ref_t, which leads back to the
 * record by way of the chunk: so a record knows the one before it by 4 bytes, not 8.
 * That leaves 24 bytes of it.
 *
 * A record gets its anchor when the page table entry has been changed already, where
 * nothing may fail. So each record that is made has one anchor laid by for it.
 */
#include <linux/rmap.h>
#include <linux/slab.h>
#include <linux/xarray.h>

#include "anchor.h"
#include "domain.h"

/* Id -> anchor. It is read without ksm_scan_mutex by the rmap walk. */
static DEFINE_XARRAY_ALLOC1(anchors);
static struct kmem_cache *anchor_cache;

/* Laid by: never fewer than records that may still ask for one. Under ksm_scan_mutex */
static HLIST_HEAD(spare);
static unsigned int nr_spare;
static unsigned int nr_reserved;

/**
 * ksm_anchor_init - make the cache
 *
 * Return: 0 or -ENOMEM.
 */
int __init ksm_anchor_init(void)
{
	BUILD_BUG_ON(sizeof(struct ksm_mapping) > 3 * sizeof(u64));
	anchor_cache = KMEM_CACHE(ksm_anchor, 0);
	return anchor_cache ? 0 : -ENOMEM;
}

/** ksm_anchor_exit - free the cache, if there is one */
void ksm_anchor_exit(void)
{
	kmem_cache_destroy(anchor_cache);
}

static bool lay_by(void)
{
	struct ksm_anchor *anchor = kmem_cache_zalloc(anchor_cache, KSM_GFP);

	if (!anchor)
		return false;
	if (xa_alloc(&anchors, &anchor->id, anchor,
		     XA_LIMIT(1, KSM_CHUNK_ID_MAX), KSM_GFP)) {
		kmem_cache_free(anchor_cache, anchor);
		return false;
	}
	hlist_add_head(&anchor->in_chunk, &spare);
	nr_spare++;
	return true;
}

/**
 * ksm_anchor_reserve - make sure of an anchor for a new mapping record
 *
 * Context: ksm_scan_mutex held. May sleep.
 * Return: false without memory; else ksm_anchor_get() or ksm_anchor_unreserve() must
 * follow.
 */
bool ksm_anchor_reserve(void)
{
	lockdep_assert_held(&ksm_scan_mutex);
	if (nr_spare == nr_reserved && !lay_by())
		return false;
	nr_reserved++;
	return true;
}

/**
 * ksm_anchor_unreserve - the record will not need one
 *
 * Context: ksm_scan_mutex held.
 */
void ksm_anchor_unreserve(void)
{
	lockdep_assert_held(&ksm_scan_mutex);
	nr_reserved--;
}

/**
 * ksm_anchor_get - find or make the anchor of a page that is now merged
 * @mc: its chunk
 * @anon_vma: where reverse mapping finds the page; a reference is taken with the first
 *	record
 * @pgoff: index there of the first page of @mc, by that of this page
 *
 * Context: ksm_scan_mutex held, and what keeps @anon_vma; after ksm_anchor_reserve(),
 * whose reservation ends. Cannot fail.
 * Return: the anchor, to be given back by ksm_anchor_put().
 */
struct ksm_anchor *ksm_anchor_get(struct ksm_mm_chunk *mc,
				  struct anon_vma *anon_vma, unsigned long pgoff)
{
	struct ksm_domain *domain = mc->owner->domain;
	struct ksm_anchor *anchor;

	ksm_anchor_unreserve();
	hlist_for_each_entry(anchor, &mc->anchors, in_chunk) {
		if (anchor->anon_vma == anon_vma && anchor->pgoff == pgoff) {
			anchor->users++;
			return anchor;
		}
	}
	anchor = hlist_entry(spare.first, struct ksm_anchor, in_chunk);
	hlist_del(&anchor->in_chunk);
	nr_spare--;
	get_anon_vma(anon_vma);
	anchor->anon_vma = anon_vma;
	anchor->pgoff = pgoff;
	anchor->chunk = mc;
	anchor->users = 1;
	hlist_add_head(&anchor->in_chunk, &mc->anchors);
	WRITE_ONCE(domain->nr_anchors, domain->nr_anchors + 1);
	return anchor;
}

/**
 * ksm_anchor_put - a mapping record shares its page no more
 * @anchor: its anchor
 *
 * Context: ksm_scan_mutex held; the record is on no list that the rmap walk can come
 * by. May sleep.
 */
void ksm_anchor_put(struct ksm_anchor *anchor)
{
	struct ksm_domain *domain = anchor->chunk->owner->domain;

	lockdep_assert_held(&ksm_scan_mutex);
	if (--anchor->users)
		return;
	hlist_del(&anchor->in_chunk);
	put_anon_vma(anchor->anon_vma);
	xa_erase(&anchors, anchor->id);
	kmem_cache_free(anchor_cache, anchor);
	WRITE_ONCE(domain->nr_anchors, domain->nr_anchors - 1);
}

/**
 * ksm_anchor_of - find the anchor of a mapping record
 * @mapping: the record, which shares a page
 *
 * Context: ksm_scan_mutex or the KSM page's lock held, either of which keeps it.
 * Return: the anchor.
 */
struct ksm_anchor *ksm_anchor_of(const struct ksm_mapping *mapping)
{
	return xa_load(&anchors, ksm_ref_chunk(mapping->place));
}

/**
 * ksm_anchor_mapping - find a mapping record by its place
 * @place: that of a record that shares a page
 *
 * Context: ksm_scan_mutex held.
 * Return: the record.
 */
struct ksm_mapping *ksm_anchor_mapping(ksm_ref_t place)
{
	const struct ksm_anchor *anchor;

	lockdep_assert_held(&ksm_scan_mutex);
	anchor = xa_load(&anchors, ksm_ref_chunk(place));
	return ksm_chunk_mapping(&anchor->chunk->c, ksm_ref_slot(place));
}
