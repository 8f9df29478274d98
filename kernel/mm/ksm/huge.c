// SPDX-License-Identifier: GPL-2.0-only
/*
 * When a huge page is worth splitting: when so many of its pages have a like that
 * merging them makes up for what a huge page saves its owner.
 *
 * How many have is found as the scan comes by them. Until there are enough each is
 * refused and noted; from then on each is merged, and those before in the next pass.
 * What is noted of a page is what was so when it was last looked at: a guess, good
 * enough to decide what is fast. A huge page that lies across two chunks is judged by
 * what each knows of its part.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>

#include "huge.h"

/**
 * ksm_huge_pays - may a page be merged, as far as the huge page around it goes?
 * @domain: the domain
 * @mc: the page's chunk
 * @slot: its slot
 * @page: the page: it has a like
 *
 * Context: ksm_scan_mutex held.
 * Return: true if it is a small page, or if the huge page may be split for it.
 */
bool ksm_huge_pays(struct ksm_domain *domain, struct ksm_mm_chunk *mc,
		   unsigned int slot, struct page *page)
{
	unsigned int min = READ_ONCE(domain->limits.huge_split_min);

	lockdep_assert_held(&ksm_scan_mutex);
	if (!PageTransCompound(page))
		return true;
	__set_bit(slot, mc->has_like);
	return min == 1 || bitmap_weight(mc->has_like, KSM_CHUNK_PAGES) >= min;
}

/**
 * ksm_huge_was_split - count a huge page that was split to merge some of it
 * @domain: the domain
 * @mc: the chunk of the page for which it was
 *
 * Context: ksm_scan_mutex held.
 */
void ksm_huge_was_split(struct ksm_domain *domain, struct ksm_mm_chunk *mc)
{
	lockdep_assert_held(&ksm_scan_mutex);
	bitmap_fill(mc->was_huge, KSM_CHUNK_PAGES);
	WRITE_ONCE(domain->huge_splits, domain->huge_splits + 1);
}

/**
 * ksm_huge_merged - count a page that was merged, if a huge page was split for that
 * @domain: the domain
 * @mc: its chunk
 * @slot: its slot
 *
 * Context: ksm_scan_mutex held.
 */
void ksm_huge_merged(struct ksm_domain *domain, struct ksm_mm_chunk *mc,
		     unsigned int slot)
{
	lockdep_assert_held(&ksm_scan_mutex);
	if (__test_and_clear_bit(slot, mc->was_huge))
		WRITE_ONCE(domain->huge_merged, domain->huge_merged + 1);
}
