// SPDX-License-Identifier: GPL-2.0-only
/*
 * Merged pages that are swapped out and in again: contents for every sharer,
 * merging again afterwards, and swapoff while they are out.
 */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "ksm_util.h"

#define SWAP_BYTES	(64ul << 20)
#define PAGES		200

struct pair {
	struct gate *to_child, *to_parent;
	char *p;
};

static void run_sharer(void *arg)
{
	struct pair *s = arg;
	char *p = area_same(PAGES, 1);

	gate_open(s->to_parent, 1);
	gate_wait(s->to_child, 1);
	area_check_same(p, PAGES, 1, "in the other process, swapped in");
	area_fill_each(p, PAGES / 2, 5000);
	gate_open(s->to_parent, 2);
	gate_wait(s->to_child, 2);
	area_check_each(p, PAGES / 2, 5000, "in the other process, written");
	area_check_same(page_at(p, PAGES / 2), PAGES / 2, 1,
			"in the other process, at the end");
}

static void test_out_and_in(void)
{
	struct pair s = { gate_new(), gate_new(), NULL };
	pid_t pid;

	memcg_enter();
	swap_on(SWAP_BYTES);
	pid = child(run_sharer, &s);
	gate_wait(s.to_parent, 1);
	s.p = area_same(PAGES, 1);
	ksm_settle();
	ksm_expect("2 x 200 copies", 2, 2 * PAGES - 2, 0, 0);
	ksm_set("run", 0);
	memcg_push_out(s.p, PAGES);
	gate_open(s.to_child, 1);
	gate_wait(s.to_parent, 2);
	area_check_same(s.p, PAGES, 1, "swapped in");
	ksm_settle();
	ksm_expect("swapped in and merged again", -1, -1, PAGES / 2, -1);
	must_eq("shared + sharing",
		ksm_read("pages_shared") + ksm_read("pages_sharing"),
		PAGES + PAGES / 2);
	gate_open(s.to_child, 2);
	join(pid);
	area_check_same(s.p, PAGES, 1, "at the end");
}

static void reads_twice(void *arg)
{
	struct pair *s = arg;
	char *p = area_same(PAGES, 1);
	int n;

	gate_open(s->to_parent, 1);
	for (n = 1; n <= 2; n++) {
		gate_wait(s->to_child, n);
		area_check_same(p, PAGES, 1, "in the other process, in again");
		gate_open(s->to_parent, n + 1);
	}
}

/*
 * Out, in by two processes, out and in again, with ksmd stopped.  What the
 * second process got from swap must be known to be its own: a page mapped
 * where the kernel does not look for it could never go out again.
 */
static void test_twice(void)
{
	struct pair s = { gate_new(), gate_new(), NULL };
	long copies = vmstat_of("ksm_swpin_copy");
	pid_t pid;
	int n;

	memcg_enter();
	swap_on(SWAP_BYTES);
	pid = child(reads_twice, &s);
	gate_wait(s.to_parent, 1);
	s.p = area_same(PAGES, 1);
	ksm_settle();
	ksm_expect("2 x 200 copies", 2, 2 * PAGES - 2, 0, 0);
	ksm_set("run", 0);
	for (n = 1; n <= 2; n++) {
		memcg_push_out(s.p, PAGES);
		area_check_same(s.p, PAGES, 1, "in again");
		gate_open(s.to_child, n);
		gate_wait(s.to_parent, n + 1);
	}
	must(vmstat_of("ksm_swpin_copy") > copies,
	     "two processes took 200 pages from swap, ksm_swpin_copy is still %ld",
	     copies);
	join(pid);
	area_check_same(s.p, PAGES, 1, "at the end");
	ksm_settle();
	must_eq("shared + sharing",
		ksm_read("pages_shared") + ksm_read("pages_sharing"), PAGES);
}

/* Out while ksmd runs; in by writing. */
static void test_under_scan(void)
{
	char *p;
	int n;

	memcg_enter();
	swap_on(SWAP_BYTES);
	p = area_same(PAGES, 1);
	ksm_set("run", 1);
	for (n = 0; n < 6; n++) {
		ksm_wait_scans(2);
		memcg_reclaim(PAGES * page_size * 2);
		area_fill_each(p, PAGES / 4, 1000 * n + 100);
		area_check_each(p, PAGES / 4, 1000 * n + 100, "written");
		area_check_same(page_at(p, PAGES / 4), PAGES - PAGES / 4, 1,
				"swapped under scan");
		area_fill_same(p, PAGES / 4, 1);
	}
	area_check_same(p, PAGES, 1, "at the end");
	ksm_settle();
	must_eq("shared + sharing",
		ksm_read("pages_shared") + ksm_read("pages_sharing"), PAGES);
}

static void test_off_while_out(void)
{
	const char *dev;
	char *p;

	memcg_enter();
	dev = swap_on(SWAP_BYTES);
	p = area_same(PAGES, 1);
	ksm_settle();
	ksm_expect("200 copies", 1, PAGES - 1, 0, 0);
	memcg_push_out(p, PAGES);
	swap_off(dev);
	must_eq("swapped pages after swapoff", area_count_swapped(p, PAGES), 0);
	area_check_same(p, PAGES, 1, "after swapoff");
	area_fill_each(p, 10, 4000);
	ksm_settle();
	area_check_each(p, 10, 4000, "written");
	area_check_same(page_at(p, 10), PAGES - 10, 1, "merged again");
}

/* Giving back pages that are out, and run=2 while pages are out. */
static void test_unmerge_while_out(void)
{
	char *p;

	memcg_enter();
	swap_on(SWAP_BYTES);
	p = area_same(PAGES, 1);
	ksm_settle();
	ksm_expect("200 copies", 1, PAGES - 1, 0, 0);
	memcg_push_out(p, PAGES);
	area_advise(p, PAGES / 2, MADV_UNMERGEABLE);
	ksm_set("run", 2);
	ksm_expect("run=2", 0, 0, 0, 0);
	area_check_same(p, PAGES, 1, "swapped in");
	must_eq("merged pages", area_count_ksm(p, PAGES), 0);
	area_fill_each(p, PAGES, 10);
	area_check_each(p, PAGES, 10, "written");
}

/*
 * Neighbours that change places: where reverse mapping finds a page no longer follows
 * from its address as for the one beside it.  One mapping that it does not find keeps
 * all of them in memory.
 */
static void test_places_changed(void)
{
	char *p, *between = area_new(1);
	size_t i, in;

	memcg_enter();
	swap_on(SWAP_BYTES);
	p = area_same(PAGES, 1);
	for (i = 0; i < PAGES; i += 4) {
		area_move(page_at(p, i), between, 1);
		area_move(page_at(p, i + 1), page_at(p, i), 1);
		area_move(between, page_at(p, i + 1), 1);
	}
	ksm_settle();
	ksm_expect("200 copies", 1, PAGES - 1, 0, 0);
	ksm_set("run", 0);
	memcg_push_out(p, PAGES);
	in = PAGES - area_count_swapped(p, PAGES);
	must(!in, "%zu of %d pages are not found by reverse mapping", in, PAGES);
	area_check_same(p, PAGES, 1, "swapped in");
	ksm_settle();
	area_fill_each(p, PAGES / 2, 5000);
	area_check_each(p, PAGES / 2, 5000, "written");
	area_check_same(page_at(p, PAGES / 2), PAGES / 2, 1, "not written");
}

static const struct ksm_case cases[] = {
	{ "out_and_in", test_out_and_in, KSM_EXCLUSIVE },
	{ "places_changed", test_places_changed, KSM_EXCLUSIVE },
	{ "twice", test_twice, KSM_EXCLUSIVE },
	{ "under_scan", test_under_scan, KSM_EXCLUSIVE },
	{ "off_while_out", test_off_while_out, KSM_EXCLUSIVE },
	{ "unmerge_while_out", test_unmerge_while_out, KSM_EXCLUSIVE },
	{ }
};

const struct ksm_topic topic_swap = { "swap", cases };
