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

static void hasten_khugepaged(void)
{
	khugepaged_knob("scan_sleep_millisecs", "0");
	khugepaged_knob("alloc_sleep_millisecs", "0");
	khugepaged_knob("pages_to_scan", "4096");
}

/* khugepaged makes huge what ksmd splits and merges, both at full speed. */
static void test_khugepaged_fights(void)
{
	uint64_t limit = now_ms() + 3000;
	size_t pages = huge_pages(), i;
	char *p = huge_new(2);
	unsigned int n = 0;

	hasten_khugepaged();
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

/*
 * Ranges of 512 pages, and how many of them equal one page each of a further
 * area.  The last one has two pages that equal the same.
 */
static const size_t alike[] = { 1, 255, 256, 257, 511, 2 };

#define RANGES	ARRAY_SIZE(alike)
#define TWICE	(RANGES - 1)
#define ALIKE	(1 + 255 + 256 + 257 + 511 + 2)
#define TWINS	511

static char *range_at(char *p, size_t n)
{
	return p + n * HUGE_BYTES;
}

static uint64_t range_seed(size_t n, size_t i)
{
	if (i >= alike[n])
		return 1000 * (n + 1) + i;
	return n == TWICE ? 1 : 1 + i;
}

static char *ranges_new(void)
{
	char *p = huge_new(RANGES);
	size_t n, i;

	for (n = 0; n < RANGES; n++)
		for (i = 0; i < huge_pages(); i++)
			page_fill(page_at(range_at(p, n), i), range_seed(n, i));
	area_advise(p, RANGES * huge_pages(), MADV_MERGEABLE);
	return p;
}

static void ranges_check(char *p, const char *when)
{
	size_t n, i;

	for (n = 0; n < RANGES; n++)
		for (i = 0; i < huge_pages(); i++)
			page_check(page_at(range_at(p, n), i), range_seed(n, i),
				   when);
}

static bool range_is_huge(char *p, size_t n)
{
	return pfn_has_flag(page_pfn(range_at(p, n)), KPF_THP_PAGE);
}

/* ksmd merges all it can, and splits every range for that. */
static void ranges_merge(char *p)
{
	size_t n;

	ksm_settle();
	ksm_expect("511 contents in 6 ranges", TWINS, ALIKE,
		   RANGES * huge_pages() - ALIKE, 0);
	for (n = 0; n < RANGES; n++)
		must(!range_is_huge(p, n), "%zu of 512 are merged, and it is huge",
		     alike[n]);
}

/* Two whole rounds of khugepaged from now on. */
static void wait_khugepaged(void)
{
	const char *path =
		"/sys/kernel/mm/transparent_hugepage/khugepaged/full_scans";
	uint64_t limit = now_ms() + ksm_wait_limit * 1000ull;
	long start = file_number(path);

	while (file_number(path) < start + 3) {
		must(now_ms() < limit, "khugepaged's full_scans stays at %ld",
		     file_number(path));
		nap_ms(5);
	}
}

/*
 * Those are made huge in which so few are merged, but not the one with two pages
 * alike, since khugepaged cannot lock their page twice.
 */
static bool gets_huge(size_t n, size_t max_shared)
{
	return alike[n] <= max_shared && n != TWICE;
}

/* A page may be held for a moment: that is looked at again. */
static void ranges_inflate(char *p, size_t max_shared)
{
	size_t n;
	int more;

	for (n = 0; n < RANGES; n++)
		for (more = 9; more && gets_huge(n, max_shared) &&
		     !range_is_huge(p, n); more--)
			wait_khugepaged();
	wait_khugepaged();
	for (n = 0; n < RANGES; n++)
		must(range_is_huge(p, n) == gets_huge(n, max_shared),
		     "max_ptes_shared is %zu, %zu of 512 are merged, and it is %s",
		     max_shared, alike[n], range_is_huge(p, n) ? "huge" : "not huge");
}

/* What khugepaged makes huge while ksmd is stopped, and what that gives up. */
static void reinflate(char *p, size_t max_shared)
{
	size_t n, huge = 0, lost = 0;
	char text[16];

	snprintf(text, sizeof(text), "%zu", max_shared);
	khugepaged_knob("max_ptes_shared", text);
	ranges_inflate(p, max_shared);
	for (n = 0; n < RANGES; n++) {
		huge += gets_huge(n, max_shared);
		lost += gets_huge(n, max_shared) ? alike[n] : 0;
	}
	ksm_note("thp.khugepaged_reinflates: max_ptes_shared=%zu: %zu of %zu ranges huge, %zu of %d merged pages given up",
		 max_shared, huge, RANGES, lost, ALIKE);
	must_eq("merged pages", area_count_ksm(p, RANGES * huge_pages()),
		ALIKE - lost);
	ranges_check(p, "khugepaged went over it");
}

/*
 * From all merged on, both at work, ksmd at its default speed and khugepaged far
 * above its own: how much is still merged, on the average?
 */
static size_t measure_fight(char *p, const char *max_shared)
{
	uint64_t end;
	size_t sum = 0, n = 0;

	khugepaged_knob("max_ptes_shared", "0");
	ranges_merge(p);
	ksm_set("pages_to_scan", 100);
	ksm_set("sleep_millisecs", 20);
	khugepaged_knob("max_ptes_shared", max_shared);
	for (end = now_ms() + 2000; now_ms() < end; n++) {
		sum += area_count_ksm(p, RANGES * huge_pages());
		nap_ms(50);
	}
	ksm_note("thp.khugepaged_reinflates: max_ptes_shared=%s: against ksmd %zu of %d pages are merged on the average",
		 max_shared, sum / n, ALIKE);
	ksm_set("pages_to_scan", 100000);
	ksm_set("sleep_millisecs", 1);
	return sum / n;
}

/*
 * khugepaged makes ranges huge in which pages are merged, and gives up what was
 * saved there, up to max_ptes_shared.  With 0 nothing is given up, and what was
 * comes back.
 */
static void test_khugepaged_reinflates(void)
{
	char *p, *twins;

	hasten_khugepaged();
	khugepaged_knob("max_ptes_shared", "0");
	twins = area_each(TWINS, 1);
	p = ranges_new();
	ranges_merge(p);
	ksm_set("run", 0);
	reinflate(p, 0);
	reinflate(p, 256);
	reinflate(p, 511);
	measure_fight(p, "511");
	measure_fight(p, "256");
	must_eq("merged pages on the average, max_ptes_shared=0",
		measure_fight(p, "0"), ALIKE);
	ranges_merge(p);
	ranges_check(p, "merged again");
	area_check_each(twins, TWINS, 1, "merged all the time");
}

static void test_split_min_values(void)
{
	static const char *const bad[] = { "0", "513", "-1", "x", "4294967297" };
	size_t i;

	ksm_need("huge_split_min");
	ksm_set("huge_split_min", 512);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		must_eq("errno of a bad huge_split_min",
			-ksm_write("huge_split_min", bad[i]), EINVAL);
		must_eq("huge_split_min", ksm_read("huge_split_min"), 512);
	}
	ksm_set("huge_split_min", 1);
	must(ksm_write("huge_splits", "0") < 0, "huge_splits is writable");
	must(ksm_write("huge_split_merged", "0") < 0,
	     "huge_split_merged is writable");
}

#define SPLIT_MIN	8

struct splits {
	long splits, merged, refused;
};

static struct splits splits_now(void)
{
	return (struct splits) {
		.splits = ksm_read("huge_splits"),
		.merged = ksm_read("huge_split_merged"),
		.refused = ksm_read("refused_huge"),
	};
}

/* What has grown since: refusals while they were refused. */
static void splits_expect(const struct splits *since, long splits, long merged)
{
	struct splits now = splits_now();

	must_eq("growth of huge_splits", now.splits - since->splits, splits);
	must_eq("growth of huge_split_merged", now.merged - since->merged, merged);
}

static void stays_huge(char *p, size_t alike, const struct splits *since)
{
	must(pfn_has_flag(page_pfn(p), KPF_THP_PAGE),
	     "%zu pages of a huge page have a like, and it was split", alike);
	must_eq("merged pages of a huge page", area_count_ksm(p, huge_pages()), 0);
	must(splits_now().refused > since->refused, "refused_huge has not grown");
	splits_expect(since, 0, 0);
}

/* Huge pages that khugepaged does not make again once they are split. */
static char *huge_once(size_t n)
{
	char *p = huge_new(n);

	area_advise(p, n * huge_pages(), MADV_NOHUGEPAGE);
	return p;
}

/* Pages of one huge page have a like among merged pages. */
static void test_split_min(void)
{
	size_t pages = huge_pages(), i;
	struct splits was;
	char *p, *q;

	ksm_need("huge_split_min");
	ksm_set("huge_split_min", SPLIT_MIN);
	q = area_same(4, 9000);
	ksm_settle();
	was = splits_now();
	p = huge_once(1);
	area_fill_each(p, pages, 10);
	for (i = 0; i < SPLIT_MIN - 1; i++)
		page_fill(page_at(p, 5 * i), 9000);
	area_advise(p, pages, MADV_MERGEABLE);
	ksm_settle();
	ksm_expect("one less than huge_split_min", 1, 3, -1, -1);
	stays_huge(p, SPLIT_MIN - 1, &was);
	/* What is no longer alike does not count. */
	page_fill(page_at(p, 0), 8000);
	page_fill(page_at(p, 500), 9000);
	ksm_settle();
	stays_huge(p, SPLIT_MIN - 1, &was);
	page_fill(page_at(p, 0), 9000);
	ksm_expect("as many as huge_split_min", 1, 3 + SPLIT_MIN,
		   pages - SPLIT_MIN, 0);
	must(!pfn_has_flag(page_pfn(p), KPF_THP_PAGE), "not split");
	splits_expect(&was, 1, SPLIT_MIN);
	page_check(page_at(p, 500), 9000, "merged");
	page_check(page_at(p, 499), 10 + 499, "beside it");
	area_check_same(q, 4, 9000, "merged before");
}

/* Pages of two huge pages have a like in the other one, and nowhere else. */
static void test_split_min_pairs(void)
{
	size_t pages = huge_pages();
	struct splits was;
	char *p, *q;

	ksm_need("huge_split_min");
	ksm_set("huge_split_min", SPLIT_MIN);
	was = splits_now();
	p = huge_once(1);
	q = huge_once(1);
	area_fill_each(p, pages, 1000);
	area_fill_each(q, pages, 2000);
	area_fill_each(page_at(q, 100), SPLIT_MIN - 1, 1200);
	area_advise(p, pages, MADV_MERGEABLE);
	area_advise(q, pages, MADV_MERGEABLE);
	ksm_settle();
	ksm_settle();
	stays_huge(p, SPLIT_MIN - 1, &was);
	stays_huge(q, SPLIT_MIN - 1, &was);
	area_fill_each(page_at(q, 100), SPLIT_MIN, 1200);
	ksm_expect("as many as huge_split_min", SPLIT_MIN, SPLIT_MIN,
		   2 * (pages - SPLIT_MIN), 0);
	splits_expect(&was, 2, 2 * SPLIT_MIN);
	area_check_each(p, pages, 1000, "first");
	area_check_each(page_at(q, 100), SPLIT_MIN, 1200, "second");
	area_check_each(page_at(q, 200), pages - 200, 2200, "second");
}

/* The zero page is a like as any other. */
static void test_split_min_zero(void)
{
	size_t pages = huge_pages();
	struct splits was;
	char *p;

	ksm_need("huge_split_min");
	ksm_set("huge_split_min", SPLIT_MIN);
	ksm_set("use_zero_pages", 1);
	was = splits_now();
	p = huge_once(1);
	area_fill_each(p, pages, 10);
	memset(page_at(p, 64), 0, (SPLIT_MIN - 1) * page_size);
	area_advise(p, pages, MADV_MERGEABLE);
	ksm_settle();
	stays_huge(p, SPLIT_MIN - 1, &was);
	memset(page_at(p, 64), 0, SPLIT_MIN * page_size);
	ksm_settle();
	ksm_settle();
	must_eq("zero pages", area_count_zero(p, pages), SPLIT_MIN);
	splits_expect(&was, 1, SPLIT_MIN);
	area_check_zero(page_at(p, 64), SPLIT_MIN, "zero");
	area_check_each(page_at(p, 64 + SPLIT_MIN), 100, 10 + 64 + SPLIT_MIN,
			"beside them");
}

static const struct ksm_case cases[] = {
	{ "all_equal", test_all_equal },
	{ "two_equal", test_two_equal },
	{ "one_in_it", test_one_in_it },
	{ "unique", test_unique },
	{ "split_min_values", test_split_min_values },
	{ "split_min", test_split_min },
	{ "split_min_pairs", test_split_min_pairs },
	{ "split_min_zero", test_split_min_zero },
	{ "unmerge_and_discard", test_unmerge_and_discard },
	{ "khugepaged_fights", test_khugepaged_fights, KSM_EXCLUSIVE },
	{ "khugepaged_reinflates", test_khugepaged_reinflates, KSM_EXCLUSIVE },
	{ }
};

const struct ksm_topic topic_thp = { "thp", cases };
