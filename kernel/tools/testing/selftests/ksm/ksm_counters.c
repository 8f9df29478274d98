// SPDX-License-Identifier: GPL-2.0-only
/*
 * The counters: exact numbers for known memory, with and without
 * max_page_sharing, and when a page may call itself unshared or volatile.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "ksm_util.h"

/* @copies equal pages under max_page_sharing=@max; returns with ksmd on. */
static char *merge_copies(long copies, long max)
{
	long shared, sharing;
	char when[80], *p;

	ksm_set("run", 2);
	ksm_set("max_page_sharing", max);
	p = area_same(copies, 100 + copies);
	ksm_settle();
	ksm_partition(copies, max, &shared, &sharing);
	snprintf(when, sizeof(when), "%ld copies, max_page_sharing=%ld",
		 copies, max);
	ksm_expect(when, shared, sharing, copies - shared - sharing, 0);
	must_eq("different frames", area_count_frames(p, copies),
		copies - sharing);
	must_eq("/proc/self/ksm_merging_pages", proc_merging_pages(0),
		shared + sharing);
	area_check_same(p, copies, 100 + copies, when);
	return p;
}

/*
 * The promise of the interface, to the letter: memory that is there before
 * ksmd runs is merged when full_scans has grown by two.
 */
static void test_two_passes(void)
{
	char *p = area_same(64, 7);
	struct ksm_counts c;

	ksm_set("run", 1);
	ksm_wait_scans(2);
	ksm_get_counts(&c);
	ksm_set("run", 0);
	must(c.shared == 1 && c.sharing == 63,
	     "after two passes over 64 equal pages shared is %ld (expected 1), sharing %ld (63), unshared %ld, volatile %ld",
	     c.shared, c.sharing, c.unshared, c.pvolatile);
	area_check_same(p, 64, 7, "merged");
}

static void test_equal_pages(void)
{
	static const long n[] = { 2, 3, 10, 255, 256, 257, 258, 600 };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(n); i++)
		area_free(merge_copies(n[i], 256), n[i]);
}

static void test_sharing_limit(void)
{
	static const long max[] = { 2, 3, 10 };
	static const long n[] = { 2, 9, 10, 11, 12, 31 };
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(max); i++)
		for (j = 0; j < ARRAY_SIZE(n); j++)
			area_free(merge_copies(n[j], max[i]), n[j]);
}

static void test_chains(void)
{
	char *p;

	p = merge_copies(40, 10);
	must_eq("stable_node_chains", ksm_read("stable_node_chains"), 1);
	must_eq("stable_node_dups", ksm_read("stable_node_dups"), 4);
	area_free(p, 40);
	p = merge_copies(10, 10);
	must_eq("stable_node_chains of one full page",
		ksm_read("stable_node_chains"), 0);
	must_eq("stable_node_dups of one full page",
		ksm_read("stable_node_dups"), 0);
}

/* Shrinking a chain: what is left of it must go on counting right. */
static void test_chain_shrinks(void)
{
	char *p = merge_copies(40, 10);

	ksm_set("stable_node_chains_prune_millisecs", 0);
	area_fill_each(p, 35, 5000);
	ksm_forget();
	ksm_wait_scans(3);
	ksm_expect("5 of 40 copies left", -1, -1, -1, 0);
	must(ksm_read("pages_shared") + ksm_read("pages_sharing") <= 5,
	     "5 copies left, yet shared is %ld and sharing %ld",
	     ksm_read("pages_shared"), ksm_read("pages_sharing"));
	area_check_each(p, 35, 5000, "rewritten");
	area_check_same(page_at(p, 35), 5, 140, "left");
	area_advise(p, 40, MADV_UNMERGEABLE);
	ksm_set("run", 2);
	ksm_expect("unmerged", 0, 0, 0, 0);
	must_eq("stable_node_dups", ksm_read("stable_node_dups"), 0);
	area_check_same(page_at(p, 35), 5, 140, "unmerged");
}

/* New copies fill the room that leavers made in a full page. */
static void test_limit_refills(void)
{
	char *p = merge_copies(10, 10);
	char *q;

	area_fill_each(p, 4, 6000);
	ksm_forget();
	ksm_expect("4 of 10 left", 1, 5, 4, 0);
	q = area_same(4, 110);
	ksm_settle();
	ksm_expect("4 came", 1, 9, 4, 0);
	area_check_same(q, 4, 110, "came");
	area_check_same(page_at(p, 4), 6, 110, "stayed");
	area_check_each(p, 4, 6000, "left");
}

static void test_unique_pages(void)
{
	char *p = area_each(1, 1);
	char *q;

	ksm_settle();
	ksm_expect("one unique page", 0, 0, 1, 0);
	q = area_each(99, 2);
	ksm_settle();
	ksm_expect("100 unique pages", 0, 0, 100, 0);
	must_eq("/proc/self/ksm_merging_pages", proc_merging_pages(0), 0);
	area_check_each(p, 1, 1, "unique");
	area_check_each(q, 99, 2, "unique");
}

/* Pages that differ from each other in one last or first byte only. */
static void test_nearly_equal(void)
{
	char *p = area_new(512);
	size_t i;

	area_fill_same(p, 512, 77);
	for (i = 0; i < 256; i++) {
		page_at(p, i)[page_size - 1] ^= i;
		page_at(p, 256 + i)[0] ^= i;
	}
	area_advise(p, 512, MADV_MERGEABLE);
	ksm_settle();
	/* Number 0 of both halves is the unchanged content. */
	ksm_expect("510 that differ by a byte, 2 equal", 1, 1, 510, 0);
	for (i = 0; i < 256; i++) {
		page_at(p, i)[page_size - 1] ^= i;
		page_at(p, 256 + i)[0] ^= i;
	}
	area_check_same(p, 512, 77, "byte put back");
	ksm_settle();
	ksm_expect("all equal", 2, 510, 0, 0);
}

static void test_many_contents(void)
{
	char *p = area_new(500);
	size_t i;

	for (i = 0; i < 500; i++)
		page_fill(page_at(p, i), i % 100);
	area_advise(p, 500, MADV_MERGEABLE);
	ksm_settle();
	ksm_expect("5 x 100 contents", 100, 400, 0, 0);
	must_eq("different frames", area_count_frames(p, 500), 100);
	for (i = 0; i < 500; i++)
		page_check(page_at(p, i), i % 100, "merged");
}

/* A COWed page leaves the counters within one pass after the one under way. */
static void test_stale_leave(void)
{
	char *p = area_same(20, 3);
	struct ksm_counts c;

	ksm_settle();
	ksm_expect("20 copies", 1, 19, 0, 0);
	ksm_set("run", 0);
	area_fill_each(p, 20, 900);
	ksm_set("run", 1);
	ksm_wait_scans(2);
	ksm_get_counts(&c);
	must(!c.shared && !c.sharing,
	     "all 20 copies rewritten, 2 passes later shared is %ld, sharing %ld",
	     c.shared, c.sharing);
	must_eq("/proc/self/ksm_merging_pages", proc_merging_pages(0), 0);
	ksm_settle();
	ksm_expect("rewritten", 0, 0, 20, 0);
	area_check_each(p, 20, 900, "rewritten");
}

static void test_settled_is_calm(void)
{
	char *p = area_each(50, 1);
	char *q = area_same(50, 500);
	int i;

	ksm_settle();
	ksm_expect("50 unique, 50 equal", 1, 49, 50, 0);
	for (i = 0; i < 10; i++) {
		ksm_wait_scans(1);
		must_eq("pages_volatile of calm memory",
			ksm_read("pages_volatile"), 0);
		must_eq("pages_shared of calm memory",
			ksm_read("pages_shared"), 1);
		must_eq("pages_sharing of calm memory",
			ksm_read("pages_sharing"), 49);
	}
	must_eq("unshared", ksm_read("pages_unshared"), 50);
	must(ksm_read("stable_node_chains") == 0, "a chain from 50 copies");
	area_check_each(p, 50, 1, "calm");
	area_check_same(q, 50, 500, "calm");
}

static struct {
	char *p;
	size_t pages;
	bool stop;
} writer;

static void *keep_writing(void *arg)
{
	uint64_t n = 0;
	size_t i;

	while (!__atomic_load_n(&writer.stop, __ATOMIC_RELAXED)) {
		n++;
		for (i = 0; i < writer.pages; i++)
			byte_write(page_at(writer.p, i), n);
	}
	return arg;
}

/* The writer's pages are volatile while it runs, and not afterwards. */
static void test_volatile_pages(void)
{
	uint64_t limit = now_ms() + ksm_wait_limit * 1000ull;
	struct ksm_counts c;
	pthread_t t;
	size_t i;

	ksm_set("sleep_millisecs", 20);
	writer.pages = 8;
	writer.p = area_each(8, 1);
	must(!pthread_create(&t, NULL, keep_writing, NULL), "pthread_create");
	ksm_set("run", 1);
	do {
		ksm_wait_scans(2);
		ksm_get_counts(&c);
		must(now_ms() < limit,
		     "8 pages rewritten all the time: volatile is %ld, unshared %ld, shared %ld, sharing %ld",
		     c.pvolatile, c.unshared, c.shared, c.sharing);
	} while (c.pvolatile != 8);
	must_eq("pages_shared", c.shared, 0);
	writer.stop = true;
	pthread_join(t, NULL);
	for (i = 0; i < 8; i++)
		page_fill(page_at(writer.p, i), 50 + i);
	ksm_settle();
	ksm_expect("the writer has stopped", 0, 0, 8, 0);
	area_check_each(writer.p, 8, 50, "calm");
}

static void test_rmap_items(void)
{
	char *p = area_each(30, 1);

	ksm_settle();
	ksm_expect("30 unique pages", 0, 0, 30, 0);
	must_eq("ksm_rmap_items in /proc/self/ksm_stat",
		proc_ksm_stat(0, "ksm_rmap_items"), 30);
	area_free(p, 30);
	ksm_forget();
	area_each(2, 100);
	ksm_settle();
	ksm_expect("2 unique pages", 0, 0, 2, 0);
	must_eq("ksm_rmap_items, 30 pages unmapped and 2 come",
		proc_ksm_stat(0, "ksm_rmap_items"), 2);
}

/* run=2 starts counting passes anew, as 6.1 does. */
static void test_full_scans_reset(void)
{
	area_same(2, 1);
	ksm_settle();
	ksm_set("run", 2);
	must_eq("full_scans after run=2", ksm_read("full_scans"), 0);
}

static const struct ksm_case cases[] = {
	{ "two_passes", test_two_passes },
	{ "equal_pages", test_equal_pages, KSM_SLOW },
	{ "sharing_limit", test_sharing_limit, KSM_SLOW },
	{ "chains", test_chains },
	{ "chain_shrinks", test_chain_shrinks },
	{ "limit_refills", test_limit_refills },
	{ "unique_pages", test_unique_pages },
	{ "nearly_equal", test_nearly_equal },
	{ "many_contents", test_many_contents },
	{ "stale_leave", test_stale_leave },
	{ "settled_is_calm", test_settled_is_calm },
	{ "volatile_pages", test_volatile_pages },
	{ "rmap_items", test_rmap_items },
	{ "full_scans_reset", test_full_scans_reset },
	{ }
};

const struct ksm_topic topic_counters = { "counters", cases };
