// SPDX-License-Identifier: GPL-2.0-only
/*
 * madvise() that throws memory away or out: MADV_DONTNEED, FREE, COLD,
 * PAGEOUT and COLLAPSE over merged pages.  The other sharers keep theirs.
 */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "ksm_util.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* Two areas of 20 that share one page; the second is never touched. */
static char *two_areas(char **other)
{
	char *p = area_same(20, 1);

	*other = area_same(20, 1);
	ksm_settle();
	ksm_expect("2 x 20 copies", 1, 39, 0, 0);
	return p;
}

static void test_dontneed(void)
{
	char *q, *p = two_areas(&q);

	area_advise(p, 20, MADV_DONTNEED);
	area_check_same(q, 20, 1, "the others");
	ksm_forget();
	ksm_expect("half discarded", 1, 19, 0, 0);
	area_check_zero(p, 20, "discarded");
	area_check_same(q, 20, 1, "the others, later");
	area_fill_same(p, 20, 1);
	ksm_settle();
	ksm_expect("filled again", 1, 39, 0, 0);
	area_check_same(p, 20, 1, "filled again");
}

static void test_dontneed_all(void)
{
	char *q, *p = two_areas(&q);

	area_advise(p, 20, MADV_DONTNEED);
	area_advise(q, 20, MADV_DONTNEED);
	ksm_forget();
	ksm_expect("all discarded", 0, 0, 0, 0);
	must_eq("/proc/self/ksm_merging_pages", proc_merging_pages(0), 0);
	area_check_zero(p, 20, "discarded");
	/* A discarded range is nobody's: giving it back finds nothing. */
	area_advise(q, 20, MADV_UNMERGEABLE);
	area_check_zero(q, 20, "discarded and given back");
}

/* MADV_FREE may discard or keep, page by page; never anything else. */
static void test_freed(void)
{
	char *q, *p = two_areas(&q);
	size_t i;

	area_advise(p, 20, MADV_FREE);
	for (i = 0; i < 20; i++) {
		if (*page_at(p, i))
			page_check(page_at(p, i), 1, "freed, kept");
		else if (page_differs(page_at(p, i), 1))
			area_check_zero(page_at(p, i), 1, "freed, discarded");
	}
	area_check_same(q, 20, 1, "the others");
	area_fill_each(p, 20, 30);
	ksm_settle();
	ksm_expect("freed and written", 1, 19, 20, 0);
	area_check_each(p, 20, 30, "freed and written");
	area_check_same(q, 20, 1, "the others, later");
}

/* Lazily freed first, advised and scanned afterwards. */
static void test_freed_before(void)
{
	char *p = area_new(20), *q = area_same(20, 1);
	size_t i;

	area_fill_same(p, 20, 1);
	area_advise(p, 20, MADV_FREE);
	area_advise(p, 20, MADV_MERGEABLE);
	ksm_settle();
	ksm_wait_scans(2);
	for (i = 0; i < 20; i++)
		if (page_differs(page_at(p, i), 1))
			area_check_zero(page_at(p, i), 1, "freed before");
	area_check_same(q, 20, 1, "the others");
	area_fill_each(p, 20, 30);
	area_check_each(p, 20, 30, "written");
}

#define FREED 64

/* Old content or zero; nothing else, and no content of another page. */
static void check_freed(char *p, size_t pages, uint64_t seed, const char *when)
{
	size_t i;

	for (i = 0; i < pages; i++)
		if (page_differs(page_at(p, i), seed + i))
			area_check_zero(page_at(p, i), 1, when);
}

/*
 * FREED merged pages with one sharer each, which frees them lazily: such pages
 * may be thrown away instead of being swapped out.
 */
static char *freed_by_the_last(void)
{
	char *p = area_each(FREED, 100), *q = area_each(FREED, 100);

	ksm_settle();
	ksm_expect("64 x 2 copies", FREED, FREED, 0, 0);
	area_fill_each(q, FREED, 5000);
	ksm_set("run", 0);
	must_eq("merged pages with one sharer", area_count_ksm(p, FREED),
		FREED);
	area_advise(p, FREED, MADV_FREE);
	area_check_each(q, FREED, 5000, "written");
	return p;
}

/* Under pressure they go, or stay; nothing else may come of it. */
static void test_freed_reclaimed(void)
{
	char *p;

	memcg_enter();
	p = freed_by_the_last();
	memcg_reclaim(16 * FREED * page_size);
	check_freed(p, FREED, 100, "freed and reclaimed");
	area_fill_each(p, FREED, 900);
	area_check_each(p, FREED, 900, "filled again");
}

/*
 * New equal pages merge with pages that were freed lazily: from then on these
 * hold somebody's data and must not be thrown away.
 */
static void test_freed_then_joined(void)
{
	char *p, *q;

	/* Seen on 6.18: the new pages' data is gone, and reads as zeros. */
	if (!ksm_is_samepage())
		skip("mainline throws such pages away with the data of who joined them");
	memcg_enter();
	p = freed_by_the_last();
	q = area_each(FREED, 100);
	ksm_settle();
	ksm_set("run", 0);
	must_eq("merged among the new ones", area_count_ksm(q, FREED), FREED);
	memcg_reclaim(16 * FREED * page_size);
	area_check_each(q, FREED, 100, "joined a page that was freed lazily");
	check_freed(p, FREED, 100, "freed lazily");
	area_fill_each(p, FREED, 900);
	area_check_each(q, FREED, 100, "joined, the other wrote");
}

/* Lazily freed under scan: what is written again counts, the rest may go. */
static void test_freed_under_scan(void)
{
	char *p = area_same(16, 1), *q = area_same(16, 1);
	int n;

	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	for (n = 0; n < 200; n++) {
		char *page = page_at(p, n % 16);

		area_advise(page, 1, MADV_FREE);
		if (page_differs(page, 1))
			area_check_zero(page, 1, "freed under scan");
		page_fill(page, 1);
		page_check(page, 1, "written");
		if (n % 8 == 0)
			nap_ms(1);
	}
	area_check_same(p, 16, 1, "at the end");
	area_check_same(q, 16, 1, "the others");
	ksm_settle();
	ksm_expect("at the end", 1, 31, 0, 0);
}

static void test_cold_and_pageout(void)
{
	char *q, *p = two_areas(&q);

	area_advise(p, 20, MADV_COLD);
	area_check_same(p, 20, 1, "cold");
	area_advise(p, 20, MADV_PAGEOUT);
	area_check_same(p, 20, 1, "paged out, or not");
	area_check_same(q, 20, 1, "the others");
	ksm_settle();
	ksm_expect("later", 1, 39, 0, 0);
}

static void test_dontneed_under_scan(void)
{
	char *p = area_same(16, 1), *q = area_same(16, 1);
	int n;

	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	for (n = 0; n < 200; n++) {
		size_t i = n % 16;

		area_advise(page_at(p, i), 1, MADV_DONTNEED);
		must(!byte_read(page_at(p, i)),
		     "a discarded page is not zero");
		page_fill(page_at(p, i), 1);
		page_check(page_at(p, i), 1, "written");
		if (n % 8 == 0)
			nap_ms(1);
	}
	area_check_same(p, 16, 1, "at the end");
	area_check_same(q, 16, 1, "the others");
	ksm_settle();
	ksm_expect("at the end", 1, 31, 0, 0);
}

/* A range with merged pages is made huge again: contents only. */
static void test_collapse(void)
{
	size_t pages = (2048 << 10) / page_size;
	char *raw = area_new(2 * pages);
	char *p = (char *)(((uintptr_t)raw + pages * page_size - 1) &
			   ~(pages * page_size - 1));

	area_fill_same(p, pages, 1);
	page_fill(page_at(p, 5), 6);
	area_advise(p, pages, MADV_MERGEABLE);
	ksm_settle();
	ksm_expect("511 copies, 1 unique", 2, pages - 3, 1, 0);
	if (madvise(p, pages * page_size, MADV_HUGEPAGE))
		skip("no transparent huge pages: %m");
	ksm_set("run", 0);
	if (madvise(p, pages * page_size, MADV_COLLAPSE))
		ksm_note("MADV_COLLAPSE is refused: %m");
	area_check_same(p, 5, 1, "before the unique page");
	page_check(page_at(p, 5), 6, "the unique page");
	area_check_same(page_at(p, 6), pages - 6, 1, "behind it");
	area_fill_each(p, 5, 7);
	area_check_each(p, 5, 7, "written");
	area_check_same(page_at(p, 6), pages - 6, 1, "not written");
	ksm_settle();
	area_check_same(page_at(p, 6), pages - 6, 1, "scanned again");
}

/*
 * Each page of the range is merged with another one elsewhere, but for the first:
 * without one that can be written to the kernel does not make it huge.
 */
static void test_collapse_merged(void)
{
	size_t pages = (2048 << 10) / page_size, tries = 0;
	char *raw = area_new(2 * pages), *q;
	char *p = (char *)(((uintptr_t)raw + pages * page_size - 1) &
			   ~(pages * page_size - 1));

	area_fill_each(p, pages, 1);
	area_advise(p, pages, MADV_MERGEABLE);
	q = area_each(pages - 1, 2);
	ksm_settle();
	ksm_expect("511 x 2 copies, 1 unique", pages - 1, pages - 1, 1, 0);
	if (madvise(p, pages * page_size, MADV_HUGEPAGE))
		skip("no transparent huge pages: %m");
	ksm_set("run", 0);
	page_fill(p, 1);
	/* A page that somebody looks at just now keeps it from being done. */
	while (madvise(p, pages * page_size, MADV_COLLAPSE)) {
		must(++tries < 20, "MADV_COLLAPSE of merged pages: %m");
		nap_ms(10);
	}
	must(pfn_has_flag(page_pfn(p), KPF_THP_PAGE), "the range is not huge");
	must_eq("merged pages in the range", area_count_ksm(p, pages), 0);
	must_eq("merged pages elsewhere", area_count_ksm(q, pages - 1),
		pages - 1);
	area_check_each(p, pages, 1, "made huge");
	area_check_each(q, pages - 1, 2, "elsewhere");
	area_fill_each(p, 5, 7000);
	area_check_each(q, pages - 1, 2, "elsewhere, the huge page was written");
	area_fill_each(p, 5, 1);
	ksm_settle();
	ksm_expect("merged again", pages - 1, pages - 1, 1, 0);
	area_check_each(p, pages, 1, "merged again");
}

/*
 * MADV_PAGEOUT may leave pages alone that are mapped twice. It takes merged ones
 * whose other sharers have gone.
 */
static void test_paged_out(void)
{
	const size_t pages = 64;
	char *p, *q;
	size_t out;
	int n;

	memcg_enter();
	swap_on(64ul << 20);
	p = area_each(pages, 100);
	q = area_each(pages, 100);
	ksm_settle();
	ksm_expect("64 x 2 copies", pages, pages, 0, 0);
	ksm_set("run", 0);
	area_fill_each(q, pages, 5000);
	must_eq("merged pages with one sharer", area_count_ksm(p, pages), pages);
	for (n = 0, out = 0; n < 20 && out < pages / 2; n++) {
		area_advise(p, pages, MADV_PAGEOUT);
		out = area_count_swapped(p, pages);
	}
	must(out >= pages / 2, "MADV_PAGEOUT put out %zu of %zu merged pages",
	     out, pages);
	area_check_each(p, pages, 100, "in again");
	area_check_each(q, pages, 5000, "written");
	ksm_settle();
	area_check_each(p, pages, 100, "scanned again");
}

static const struct ksm_case cases[] = {
	{ "dontneed", test_dontneed },
	{ "dontneed_all", test_dontneed_all },
	{ "freed", test_freed },
	{ "freed_before", test_freed_before },
	{ "freed_reclaimed", test_freed_reclaimed, KSM_EXCLUSIVE },
	{ "freed_then_joined", test_freed_then_joined, KSM_EXCLUSIVE },
	{ "freed_under_scan", test_freed_under_scan },
	{ "cold_and_pageout", test_cold_and_pageout },
	{ "dontneed_under_scan", test_dontneed_under_scan },
	{ "paged_out", test_paged_out, KSM_EXCLUSIVE },
	{ "collapse", test_collapse },
	{ "collapse_merged", test_collapse_merged },
	{ }
};

const struct ksm_topic topic_discard = { "discard", cases };
