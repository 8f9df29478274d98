// SPDX-License-Identifier: GPL-2.0-only
/*
 * All pages hash alike (a switch in debugfs): the comparison of their bytes is
 * all that is left between them, and it must be enough.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "ksm_util.h"

#define COLLIDE "/sys/kernel/debug/ksm/collide"

static void set_collide(const char *on)
{
	int err = file_write(COLLIDE, on);

	if (err == -ENOENT)
		skip("this kernel cannot make hashes collide");
	must(!err, "writing %s to " COLLIDE ": %s", on, strerror(-err));
}

/* Passes must go on coming, however long the lists of equal hashes get. */
static void passes_end(unsigned int n)
{
	uint64_t begun = now_ms();

	ksm_set("run", 1);
	ksm_wait_scans(n);
	ksm_note("collide: %u passes took %llu ms", n,
		 (unsigned long long)(now_ms() - begun));
}

/* Page i of @p has content @seed + i / 4. */
static void check_fours(const char *p, size_t pages, uint64_t seed,
			const char *when)
{
	size_t i;

	for (i = 0; i < pages; i++)
		page_check(page_at(p, i), seed + i / 4, when);
}

static char *fours(size_t pages, uint64_t seed)
{
	char *p = area_new(pages);
	size_t i;

	for (i = 0; i < pages; i++)
		page_fill(page_at(p, i), seed + i / 4);
	area_advise(p, pages, MADV_MERGEABLE);
	return p;
}

/* Nothing that differs may share a frame. */
static void check_frames(const char *p, size_t pages, const char *when)
{
	size_t i, j;

	for (i = 0; i < pages; i += 4) {
		uint64_t pfn = page_pfn(page_at(p, i));

		for (j = i + 4; j < pages; j++)
			must(pfn != page_pfn(page_at(p, j)),
			     "%s: pages %zu and %zu differ and share a frame",
			     when, i, j);
	}
}

static void test_contents(void)
{
	char *p;

	set_collide("1");
	p = fours(400, 1);
	passes_end(6);
	check_fours(p, 400, 1, "that hash alike");
	ksm_set("run", 0);
	check_frames(p, 400, "all hash alike");
	ksm_note("collide: %ld of 400 pages merged", proc_merging_pages(0));
	area_fill_each(p, 100, 5000);
	check_fours(page_at(p, 100), 300, 26, "not written");
	area_check_each(p, 100, 5000, "written");
	passes_end(4);
	area_check_each(p, 100, 5000, "written, later");
	check_fours(page_at(p, 100), 300, 26, "not written, later");
}

/* A few contents are few enough to be told apart and merged. */
static void test_equal_merge(void)
{
	char *p;

	set_collide("1");
	p = area_same(20, 1);
	ksm_settle();
	ksm_expect("20 copies that hash alike", 1, 19, 0, 0);
	area_check_same(p, 20, 1, "merged");
	area_fill_same(p, 10, 2);
	ksm_settle();
	ksm_expect("10 of one, 10 of another", 2, 18, 0, 0);
	area_check_same(p, 10, 2, "merged");
	area_check_same(page_at(p, 10), 10, 1, "merged");
	must(page_pfn(p) != page_pfn(page_at(p, 10)),
	     "different contents share a frame");
}

static void test_zero_pages(void)
{
	char *p, *q;

	ksm_set("use_zero_pages", 1);
	set_collide("1");
	p = area_each(20, 1);
	q = area_zeros(20);
	passes_end(6);
	must_eq("pages with contents in the zero page", area_count_zero(p, 20),
		0);
	area_check_each(p, 20, 1, "that hash as zeros do");
	area_check_zero(q, 20, "zeros");
}

static void rewrite(void *arg)
{
	uint64_t limit = now_ms() + 1500;
	char *p = fours(80, 1);
	unsigned int n = 0;

	(void)arg;
	while (now_ms() < limit) {
		size_t i = n++ * 7 % 80;

		page_check(page_at(p, i), 1 + i / 4, "rewritten in collisions");
		page_fill(page_at(p, i), 900 + n);
		page_check(page_at(p, i), 900 + n, "written in collisions");
		page_fill(page_at(p, i), 1 + i / 4);
	}
	check_fours(p, 80, 1, "at the end");
}

/* Several processes write all the while; ksmd runs as fast as it can. */
static void test_under_writes(void)
{
	pid_t pid[3];
	int i;

	set_collide("1");
	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	for (i = 0; i < 3; i++)
		pid[i] = child(rewrite, NULL);
	for (i = 0; i < 3; i++)
		join(pid[i]);
}

/* Back to real hashes: what was merged or missed in between comes right. */
static void test_switch_back(void)
{
	char *p;

	set_collide("1");
	p = fours(200, 1);
	passes_end(5);
	set_collide("0");
	ksm_settle();
	ksm_expect("50 x 4 copies, hashes differ again", -1, -1, 0, 0);
	must_eq("merged pages", area_count_ksm(p, 200), 200);
	ksm_set("run", 2);
	ksm_settle();
	ksm_expect("50 x 4 copies, merged anew", 50, 150, 0, 0);
	check_fours(p, 200, 1, "merged anew");
	ksm_set("run", 0);
	check_frames(p, 200, "merged anew");
}

static const struct ksm_case cases[] = {
	{ "contents", test_contents },
	{ "equal_merge", test_equal_merge },
	{ "zero_pages", test_zero_pages },
	{ "under_writes", test_under_writes },
	{ "switch_back", test_switch_back },
	{ }
};

const struct ksm_topic topic_collide = { "collide", cases };
