// SPDX-License-Identifier: GPL-2.0-only
/*
 * mremap() and munmap() of merged memory: contents, the mapping's advice, and
 * that moved memory can merge and be given back like any other.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "ksm_util.h"

static char *move(char *p, size_t pages)
{
	return area_move(p, area_new(pages), pages);
}

static void test_moved(void)
{
	char *p = area_same(40, 1), *q;

	ksm_settle();
	ksm_expect("40 copies", 1, 39, 0, 0);
	q = move(p, 40);
	area_check_same(q, 40, 1, "moved");
	must(vma_has_flag(q, "mg"), "moving took the mapping's mg flag");
	ksm_settle();
	ksm_expect("moved and merged again", 1, 39, 0, 0);
	area_check_same(q, 40, 1, "merged again");
	area_fill_each(q, 20, 50);
	ksm_settle();
	ksm_expect("half of it written", 1, 19, 20, 0);
	area_check_each(q, 20, 50, "written");
	area_advise(q, 40, MADV_UNMERGEABLE);
	must_eq("merged pages", area_count_ksm(q, 40), 0);
	area_check_same(page_at(q, 20), 20, 1, "given back");
}

/* Memory that was moved before it ever merged sits at a foreign offset. */
static void test_moved_before(void)
{
	char *p = move(area_same(40, 1), 40);
	char *q = area_same(10, 1);

	ksm_settle();
	ksm_expect("moved memory and other", 1, 49, 0, 0);
	must_eq("mapcount of the merged page", pfn_mapcount(page_pfn(p)), 50);
	area_check_same(p, 40, 1, "moved");
	area_check_same(q, 10, 1, "not moved");
	area_free(q, 10);
	p = move(p, 40);
	area_check_same(p, 40, 1, "moved twice");
}

static void test_moved_part(void)
{
	char *p = area_same(30, 1), *q;

	ksm_settle();
	ksm_expect("30 copies", 1, 29, 0, 0);
	q = move(page_at(p, 10), 10);
	area_check_same(p, 10, 1, "left part");
	area_check_same(q, 10, 1, "moved part");
	area_check_same(page_at(p, 20), 10, 1, "right part");
	ksm_settle();
	ksm_expect("merged again", 1, 29, 0, 0);
	area_fill_each(q, 10, 60);
	area_check_same(p, 10, 1, "left part, later");
	area_check_same(page_at(p, 20), 10, 1, "right part, later");
}

static void test_resized(void)
{
	char *p = area_same(30, 1), *q;

	ksm_settle();
	ksm_expect("30 copies", 1, 29, 0, 0);
	q = mremap(p, 30 * page_size, 10 * page_size, 0);
	must(q == p, "shrinking: %m");
	ksm_forget();
	ksm_expect("shrunk to 10", 1, 9, 0, 0);
	area_check_same(q, 10, 1, "shrunk");
	q = mremap(p, 10 * page_size, 50 * page_size, MREMAP_MAYMOVE);
	must(q != MAP_FAILED, "growing: %m");
	area_check_same(q, 10, 1, "grown");
	area_fill_same(page_at(q, 10), 40, 1);
	ksm_settle();
	ksm_expect("grown to 50", 1, 49, 0, 0);
	area_check_same(q, 50, 1, "merged");
}

static void test_dontunmap(void)
{
	char *p = area_same(20, 1), *to = area_new(20), *q;

	ksm_settle();
	ksm_expect("20 copies", 1, 19, 0, 0);
	q = mremap(p, 20 * page_size, 20 * page_size,
		   MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to);
	if (q == MAP_FAILED)
		skip("MREMAP_DONTUNMAP: %m");
	area_check_same(q, 20, 1, "moved");
	area_check_zero(p, 20, "left behind");
	ksm_settle();
	must_eq("merged pages", area_count_ksm(q, 20), 20);
	area_check_same(q, 20, 1, "merged again");
}

static void test_moved_under_scan(void)
{
	char *p = area_same(32, 1);
	int n;

	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	for (n = 0; n < 60; n++) {
		p = move(p, 32);
		area_check_same(p, 32, 1, "moved under scan");
		if (n % 4 == 0)
			nap_ms(2);
	}
	ksm_settle();
	ksm_expect("at the end", 1, 31, 0, 0);
}

static void test_unmapped_part(void)
{
	char *p = area_same(30, 1);

	ksm_settle();
	ksm_expect("30 copies", 1, 29, 0, 0);
	area_free(page_at(p, 10), 10);
	ksm_forget();
	ksm_expect("10 unmapped", 1, 19, 0, 0);
	area_check_same(p, 10, 1, "left");
	area_check_same(page_at(p, 20), 10, 1, "right");
	/* Something else at the same place must not be taken for the old. */
	must(mmap(page_at(p, 10), 10 * page_size, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
	     MAP_FAILED, "mmap: %m");
	area_fill_each(page_at(p, 10), 10, 90);
	ksm_settle();
	ksm_expect("others in the hole, not advised", 1, 19, 0, 0);
	area_check_each(page_at(p, 10), 10, 90, "in the hole");
}

static void test_unmapped_under_scan(void)
{
	int n;

	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	for (n = 0; n < 100; n++) {
		char *p = area_same(16, 1);

		if (n % 2)
			nap_ms(1);
		area_check_same(p, 16, 1, "before munmap");
		area_free(page_at(p, 4), 8);
		area_check_same(p, 4, 1, "left");
		area_check_same(page_at(p, 12), 4, 1, "right");
		area_free(p, 4);
		area_free(page_at(p, 12), 4);
	}
	area_each(1, 5);
	ksm_forget();
	ksm_settle();
	ksm_expect("all unmapped", 0, 0, 1, 0);
}

static const struct ksm_case cases[] = {
	{ "moved", test_moved },
	{ "moved_before", test_moved_before },
	{ "moved_part", test_moved_part },
	{ "resized", test_resized },
	{ "dontunmap", test_dontunmap },
	{ "moved_under_scan", test_moved_under_scan },
	{ "unmapped_part", test_unmapped_part },
	{ "unmapped_under_scan", test_unmapped_under_scan },
	{ }
};

const struct ksm_topic topic_remap = { "remap", cases };
