// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writes to merged pages: each writer gets its own copy, nobody else sees it,
 * and the breaks are counted.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "ksm_util.h"

/* The kernel of this project counts breaks per process; 6.1 does not. */
static long cow_breaks(void)
{
	return proc_ksm_stat(0, "ksm_cow_breaks");
}

static void test_write_breaks(void)
{
	char *p = area_same(16, 1);
	long before, breaks;

	ksm_settle();
	ksm_expect("16 copies", 1, 15, 0, 0);
	ksm_set("run", 0);
	before = vmstat_of("cow_ksm");
	breaks = cow_breaks();
	page_at(p, 5)[100] ^= 1;
	must(!page_is_ksm(page_at(p, 5)), "the written page is still merged");
	must_eq("merged pages", area_count_ksm(p, 16), 15);
	must_eq("growth of cow_ksm", vmstat_of("cow_ksm") - before, 1);
	if (breaks >= 0)
		must_eq("growth of ksm_cow_breaks", cow_breaks() - breaks, 1);
	page_at(p, 5)[100] ^= 1;
	area_check_same(p, 16, 1, "after a write and its undoing");
	page_fill(page_at(p, 5), 2);
	ksm_forget();
	ksm_expect("one left", 1, 14, -1, -1);
	area_check_same(p, 5, 1, "before the written one");
	page_check(page_at(p, 5), 2, "the written one");
	area_check_same(page_at(p, 6), 10, 1, "behind the written one");
}

static void test_counts_breaks(void)
{
	char *p = area_same(100, 1);
	long before = cow_breaks();
	size_t i;

	if (before < 0)
		skip("/proc/PID/ksm_stat has no ksm_cow_breaks here");
	ksm_settle();
	ksm_expect("100 copies", 1, 99, 0, 0);
	ksm_set("run", 0);
	must_eq("ksm_cow_breaks before a write", cow_breaks(), before);
	area_check_same(p, 100, 1, "reading");
	must_eq("ksm_cow_breaks after reads", cow_breaks(), before);
	for (i = 0; i < 40; i++)
		page_at(p, i)[0] ^= 1;
	for (i = 0; i < 40; i++)
		page_at(p, i)[0] ^= 1;
	must_eq("ksm_cow_breaks after 40 pages were written twice",
		cow_breaks(), before + 40);
	area_check_same(p, 100, 1, "written");
}

static void test_same_value(void)
{
	char *p = area_same(4, 1);

	ksm_settle();
	ksm_expect("4 copies", 1, 3, 0, 0);
	ksm_set("run", 0);
	/* Writing what is there already is a write all the same. */
	byte_write(p, byte_read(p));
	must(!page_is_ksm(p), "the written page is still merged");
	area_check_same(p, 4, 1, "after the write");
	ksm_settle();
	ksm_expect("merged again", 1, 3, 0, 0);
	area_check_same(p, 4, 1, "merged again");
}

static void test_remerge(void)
{
	char *p = area_same(32, 1);
	int round;

	for (round = 0; round < 4; round++) {
		ksm_settle();
		ksm_expect("32 copies", 1, 31, 0, 0);
		area_fill_same(p, 16, 2 + round);
		ksm_settle();
		ksm_expect("two times 16", 2, 30, 0, 0);
		area_check_same(p, 16, 2 + round, "first half");
		area_check_same(page_at(p, 16), 16, 1, "second half");
		area_fill_same(p, 16, 1);
	}
	area_check_same(p, 32, 1, "at the end");
}

struct racer {
	char *p;
	size_t pages;
	unsigned int offset;
	int rounds;
};

/* Adds 1 to its own byte of every page, many times. */
static void *race(void *arg)
{
	struct racer *r = arg;
	size_t i;
	int n;

	for (n = 0; n < r->rounds; n++)
		for (i = 0; i < r->pages; i++)
			__atomic_fetch_add(page_at(r->p, i) + r->offset, 1,
					   __ATOMIC_RELAXED);
	return NULL;
}

/* Threads that fault on the same merged pages together lose no write. */
static void test_threads(void)
{
	struct racer r[4];
	pthread_t t[4];
	char *p = area_new(64);
	size_t i;
	int n;

	memset(p, 0, 64 * page_size);
	area_advise(p, 64, MADV_MERGEABLE);
	ksm_settle();
	for (n = 0; n < 4; n++) {
		r[n] = (struct racer){ p, 64, n * 1000, 200 };
		must(!pthread_create(&t[n], NULL, race, &r[n]),
		     "pthread_create");
	}
	for (n = 0; n < 4; n++)
		pthread_join(t[n], NULL);
	for (i = 0; i < 64; i++)
		for (n = 0; n < 4; n++)
			must_eq("a byte written by one of 4 threads",
				(unsigned char)page_at(p, i)[n * 1000], 200);
	ksm_settle();
	ksm_expect("64 pages with equal sums", 1, 63, 0, 0);
}

static const struct ksm_case cases[] = {
	{ "write_breaks", test_write_breaks },
	{ "counts_breaks", test_counts_breaks },
	{ "same_value", test_same_value },
	{ "remerge", test_remerge },
	{ "threads", test_threads },
	{ }
};

const struct ksm_topic topic_cow = { "cow", cases };
