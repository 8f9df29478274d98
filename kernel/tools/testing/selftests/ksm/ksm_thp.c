// SPDX-License-Identifier: GPL-2.0-only
/*
 * Transparent huge pages: equal parts of them merge, which splits them; what
 * is unique in them keeps its contents.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "ksm_util.h"

#define HUGE_BYTES	(2ul << 20)

static size_t huge_pages(void)
{
	return HUGE_BYTES / page_size;
}

char *huge_new(size_t n)
{
	size_t bytes = (n + 1) * HUGE_BYTES;
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t i;

	must(p != MAP_FAILED, "mmap: %m");
	p = (char *)(((uintptr_t)p + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1));
	if (madvise(p, n * HUGE_BYTES, MADV_HUGEPAGE))
		skip("no transparent huge pages: %m");
	for (i = 0; i < n; i++)
		*(p + i * HUGE_BYTES) = 1;
	for (i = 0; i < n; i++)
		if (!pfn_has_flag(page_pfn(p + i * HUGE_BYTES), KPF_THP_PAGE))
			skip("the kernel gave no huge page");
	return p;
}

static void test_all_equal(void)
{
	size_t pages = huge_pages();
	char *p = huge_new(1);
	long shared, sharing;

	area_fill_same(p, pages, 1);
	area_advise(p, pages, MADV_MERGEABLE);
	ksm_partition(pages, 256, &shared, &sharing);
	ksm_settle();
	ksm_expect("a huge page of equal pages", shared, sharing, 0, 0);
	must_eq("AnonHugePages, kB", vma_smaps_kb(p, "AnonHugePages"), 0);
	area_check_same(p, pages, 1, "split and merged");
	area_fill_each(p, pages, 10);
	area_check_each(p, pages, 10, "written");
}

static void test_two_equal(void)
{
	size_t pages = huge_pages();
	char *p = huge_new(2);

	area_fill_each(p, pages, 10);
	area_fill_each(page_at(p, pages), pages, 10);
	area_advise(p, 2 * pages, MADV_MERGEABLE);
	ksm_settle();
	ksm_expect("two equal huge pages", pages, pages, 0, 0);
	area_check_each(p, pages, 10, "first");
	area_check_each(page_at(p, pages), pages, 10, "second");
	must_eq("different frames", area_count_frames(p, 2 * pages), pages);
}

/* One page in it equals one elsewhere. */
static void test_one_in_it(void)
{
	size_t pages = huge_pages();
	char *p = huge_new(1), *q;

	area_fill_each(p, pages, 10);
	area_advise(p, pages, MADV_MERGEABLE);
	q = area_same(1, 10 + 77);
	ksm_settle();
	ksm_expect("one of 512 equals another page", 1, 1, pages - 1, 0);
	area_check_each(p, pages, 10, "around it");
	page_check(q, 87, "the other page");
	page_fill(q, 5);
	area_check_each(p, pages, 10, "the other was written");
}

static void test_unique(void)
{
	size_t pages = huge_pages();
	char *p = huge_new(1);

	area_fill_each(p, pages, 10);
	area_advise(p, pages, MADV_MERGEABLE);
	ksm_settle();
	ksm_expect("a huge page of unique pages", 0, 0, pages, 0);
	must(pfn_has_flag(page_pfn(p), KPF_THP_PAGE),
	     "a huge page of unique pages was split");
	area_check_each(p, pages, 10, "not merged");
}

static void test_unmerge_and_discard(void)
{
	size_t pages = huge_pages();
	char *p = huge_new(1);

	area_fill_same(p, pages, 1);
	area_advise(p, pages, MADV_MERGEABLE);
	ksm_settle();
	ksm_expect("a huge page of equal pages", 2, pages - 2, 0, 0);
	area_advise(p, pages / 2, MADV_UNMERGEABLE);
	area_advise(page_at(p, pages / 2), pages / 2, MADV_DONTNEED);
	area_check_same(p, pages / 2, 1, "given back");
	area_check_zero(page_at(p, pages / 2), pages / 2, "discarded");
	must_eq("merged pages", area_count_ksm(p, pages / 2), 0);
}

static void khugepaged_knob(const char *name, const char *value)
{
	char path[128];
	int err;

	snprintf(path, sizeof(path),
		 "/sys/kernel/mm/transparent_hugepage/khugepaged/%s", name);
	err = file_write(path, value);
	if (err == -ENOENT)
		skip("no %s", path);
	must(!err, "writing %s to %s: %s", value, path, strerror(-err));
}

/* khugepaged makes huge what ksmd splits and merges, both at full speed. */
static void test_khugepaged_fights(void)
{
	uint64_t limit = now_ms() + 3000;
	size_t pages = huge_pages(), i;
	char *p = huge_new(2);
	unsigned int n = 0;

	khugepaged_knob("scan_sleep_millisecs", "0");
	khugepaged_knob("alloc_sleep_millisecs", "0");
	khugepaged_knob("pages_to_scan", "4096");
	khugepaged_knob("max_ptes_shared", "511");
	ksm_set("sleep_millisecs", 0);
	for (i = 0; i < 2 * pages; i++)
		page_fill(page_at(p, i), i % 8);
	area_advise(p, 2 * pages, MADV_MERGEABLE);
	ksm_set("run", 1);
	while (now_ms() < limit) {
		i = n++ * 37 % (2 * pages);
		page_check(page_at(p, i), i % 8, "khugepaged against ksmd");
		page_fill(page_at(p, i), i % 8 + 100);
		page_check(page_at(p, i), i % 8 + 100, "written");
		page_fill(page_at(p, i), i % 8);
	}
	for (i = 0; i < 2 * pages; i++)
		page_check(page_at(p, i), i % 8, "at the end");
	must(madvise(p, 2 * HUGE_BYTES, MADV_UNMERGEABLE) == 0,
	     "MADV_UNMERGEABLE: %m");
	must_eq("merged pages", area_count_ksm(p, 2 * pages), 0);
	for (i = 0; i < 2 * pages; i++)
		page_check(page_at(p, i), i % 8, "given back");
}

static const struct ksm_case cases[] = {
	{ "all_equal", test_all_equal },
	{ "two_equal", test_two_equal },
	{ "one_in_it", test_one_in_it },
	{ "unique", test_unique },
	{ "unmerge_and_discard", test_unmerge_and_discard },
	{ "khugepaged_fights", test_khugepaged_fights, KSM_EXCLUSIVE },
	{ }
};

const struct ksm_topic topic_thp = { "thp", cases };
