// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages full of zeros, with use_zero_pages off (they merge like any others)
 * and on (they become the kernel's zero page and leave the counters).
 */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "ksm_util.h"

static void test_off(void)
{
	char *p = area_zeros(20);

	ksm_settle();
	ksm_expect("20 zeroed pages", 1, 19, 0, 0);
	must_eq("frames of the zero page", area_count_zero(p, 20), 0);
	area_check_zero(p, 20, "merged");
	page_fill(page_at(p, 3), 4);
	area_check_zero(p, 3, "before the written one");
	page_check(page_at(p, 3), 4, "the written one");
	area_check_zero(page_at(p, 4), 16, "behind the written one");
}

static char *zeroed_on(size_t pages)
{
	char *p;

	ksm_set("use_zero_pages", 1);
	p = area_zeros(pages);
	ksm_settle();
	ksm_expect("zeroed pages, use_zero_pages=1", 0, 0, 0, 0);
	must_eq("frames of the zero page", area_count_zero(p, pages), pages);
	return p;
}

static void test_on(void)
{
	char *p = zeroed_on(20);

	must_eq("/proc/self/ksm_merging_pages", proc_merging_pages(0), 0);
	area_check_zero(p, 20, "placed zero pages");
	must_eq("frames of the zero page after reads",
		area_count_zero(p, 20), 20);
}

static void test_on_then_write(void)
{
	char *p = zeroed_on(20);

	ksm_set("run", 0);
	page_fill(page_at(p, 3), 4);
	page_at(p, 4)[17] = 1;
	page_check(page_at(p, 3), 4, "the written one");
	must_eq("frames of the zero page", area_count_zero(p, 20), 18);
	must_eq("the written byte", page_at(p, 4)[17], 1);
	page_at(p, 4)[17] = 0;
	area_check_zero(p, 3, "before the written ones");
	area_check_zero(page_at(p, 4), 16, "behind");
	ksm_settle();
	must_eq("frames of the zero page, one zeroed again",
		area_count_zero(p, 20), 19);
	ksm_expect("19 zero, 1 unique", 0, 0, 1, 0);
	area_check_zero(page_at(p, 4), 16, "zeroed again");
}

/* Almost zero is not zero. */
static void test_on_nearly(void)
{
	char *p;

	ksm_set("use_zero_pages", 1);
	p = area_zeros(4);
	page_at(p, 1)[page_size - 1] = 1;
	page_at(p, 2)[0] = 1;
	ksm_settle();
	ksm_expect("2 zero, 2 nearly", 0, 0, 2, 0);
	must_eq("frames of the zero page", area_count_zero(p, 4), 2);
	must_eq("last byte of page 1", page_at(p, 1)[page_size - 1], 1);
	must_eq("first byte of page 2", page_at(p, 2)[0], 1);
}

/* Pages that merged with each other before use_zero_pages was set. */
static void test_switched_on_later(void)
{
	char *p = area_zeros(10), *q;

	ksm_settle();
	ksm_expect("off", 1, 9, 0, 0);
	ksm_set("use_zero_pages", 1);
	q = area_zeros(10);
	ksm_settle();
	area_check_zero(p, 10, "merged while off");
	area_check_zero(q, 10, "merged while on");
	page_fill(p, 1);
	page_fill(q, 2);
	page_check(p, 1, "written");
	page_check(q, 2, "written");
	area_check_zero(page_at(p, 1), 9, "others");
	area_check_zero(page_at(q, 1), 9, "others");
}

static void child_writes(void *arg)
{
	char *p = arg;

	area_check_zero(p, 10, "in the child");
	area_fill_each(p, 10, 30);
	area_check_each(p, 10, 30, "in the child, written");
}

static void test_on_fork(void)
{
	char *p = zeroed_on(10);

	join(child(child_writes, p));
	area_check_zero(p, 10, "in the parent");
	must_eq("frames of the zero page", area_count_zero(p, 10), 10);
}

static void test_unmergeable_gives_back(void)
{
	char *p = zeroed_on(10);

	area_advise(p, 10, MADV_UNMERGEABLE);
	area_check_zero(p, 10, "given back");
	must_eq("frames of the zero page after MADV_UNMERGEABLE",
		area_count_zero(p, 10), 0);
}

static void test_run_2_gives_back(void)
{
	char *p = zeroed_on(10);

	ksm_set("run", 2);
	area_check_zero(p, 10, "given back");
	must_eq("frames of the zero page after run=2",
		area_count_zero(p, 10), 0);
}

/* Zero pages that the engine did not place stay what they are. */
static void test_untouched_zero_page(void)
{
	char *p = area_new(10);
	size_t i;

	for (i = 0; i < 10; i++)
		must_eq("a fresh byte", byte_read(page_at(p, i)), 0);
	must_eq("frames of the zero page", area_count_zero(p, 10), 10);
	area_advise(p, 10, MADV_MERGEABLE);
	area_same(1, 1);
	ksm_settle();
	ksm_expect("10 pages that were only read", 0, 0, 1, 0);
	area_advise(p, 10, MADV_UNMERGEABLE);
	must_eq("frames of the zero page after MADV_UNMERGEABLE",
		area_count_zero(p, 10), 10);
	area_check_zero(p, 10, "only read");
}

static const struct ksm_case cases[] = {
	{ "off", test_off },
	{ "on", test_on },
	{ "on_then_write", test_on_then_write },
	{ "on_nearly", test_on_nearly },
	{ "switched_on_later", test_switched_on_later },
	{ "on_fork", test_on_fork },
	{ "unmergeable_gives_back", test_unmergeable_gives_back, 0,
	  "MADV_UNMERGEABLE leaves placed zero pages" },
	{ "run_2_gives_back", test_run_2_gives_back, 0,
	  "run=2 leaves placed zero pages" },
	{ "untouched_zero_page", test_untouched_zero_page },
	{ }
};

const struct ksm_topic topic_zero = { "zero", cases };
