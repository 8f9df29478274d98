// SPDX-License-Identifier: GPL-2.0-only
/*
 * boost_max_cpu: who has set no pace gets new memory merged soon, and a quiet ksmd
 * afterwards.  Who has set one gets just that.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "ksm_util.h"

/* At the pace set here a pass over so many pages takes ten seconds. */
#define PAGES		1000
#define SLOW_BATCH	100
#define SLOW_SLEEP	1000
#define SLOW_PASS_MS	(PAGES / SLOW_BATCH * SLOW_SLEEP)

static void slow_pace(int boost)
{
	ksm_need("boost_max_cpu");
	ksm_set("pages_to_scan", SLOW_BATCH);
	ksm_set("sleep_millisecs", SLOW_SLEEP);
	ksm_set("boost_max_cpu", boost);
	ksm_set("max_page_sharing", PAGES);
}

/* How long until all are merged, in ms; or less than @limit says: -1. */
static long merged_after(char *area, uint64_t limit)
{
	uint64_t start = now_ms();

	ksm_set("run", 1);
	while (ksm_read("pages_sharing") < PAGES - 1) {
		if (now_ms() - start > limit)
			return -1;
		usleep(10000);
	}
	area_check_same(area, PAGES, 1, "merged");
	return now_ms() - start;
}

static void test_bounds(void)
{
	ksm_need("boost_max_cpu");
	ksm_set("boost_max_cpu", 100);
	must_eq("errno of boost_max_cpu=101",
		-ksm_write("boost_max_cpu", "101"), EINVAL);
	must_eq("errno of boost_max_cpu=-1",
		-ksm_write("boost_max_cpu", "-1"), EINVAL);
	must_eq("boost_max_cpu", ksm_read("boost_max_cpu"), 100);
	ksm_set("pages_to_scan", 123);
	must_eq("boost_max_cpu after pages_to_scan was set",
		ksm_read("boost_max_cpu"), 0);
	ksm_set("boost_max_cpu", 7);
	ksm_set("sleep_millisecs", 3);
	must_eq("boost_max_cpu after sleep_millisecs was set",
		ksm_read("boost_max_cpu"), 0);
}

/* Passes in three seconds. */
static long passes_in_3_s(void)
{
	long scans = ksm_read("full_scans");

	usleep(3000000);
	return ksm_read("full_scans") - scans;
}

/* Two passes are made at once, and not many more. */
static void test_hurries_and_rests(void)
{
	char *area;
	long ms, scans = 2;
	int i;

	slow_pace(50);
	area = area_same(PAGES, 1);
	ms = merged_after(area, SLOW_PASS_MS);
	must(ms >= 0, "%d new pages were not merged in %d ms, the time of one slow pass",
	     PAGES, SLOW_PASS_MS);
	ksm_note("merged in %ld ms; at the slow pace: %d", ms, 2 * SLOW_PASS_MS);
	/* What it has begun in a hurry it may end so, if busy a little later. */
	usleep(500000);
	for (i = 0; i < 3 && scans > 1; i++)
		scans = passes_in_3_s();
	must(scans <= 1, "%ld passes in 3 s over memory at rest, which take %d ms each",
	     scans, SLOW_PASS_MS);
}

static void test_off_is_off(void)
{
	char *area;
	long ms;

	slow_pace(0);
	area = area_same(PAGES, 1);
	ms = merged_after(area, SLOW_PASS_MS);
	must(ms < 0, "merged in %ld ms, but two passes take %d each", ms, SLOW_PASS_MS);
}

static const struct ksm_case cases[] = {
	{ "bounds", test_bounds },
	{ "hurries_and_rests", test_hurries_and_rests },
	{ "off_is_off", test_off_is_off },
	{ }
};

const struct ksm_topic topic_boost = { "boost", cases };
