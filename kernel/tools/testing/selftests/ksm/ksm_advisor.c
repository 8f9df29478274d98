// SPDX-License-Identifier: GPL-2.0-only
/*
 * The advisor: with advisor_mode scan-time, ksmd chooses pages_to_scan itself,
 * so that a pass takes advisor_target_scan_time, within given bounds.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "ksm_util.h"

static const char *const numbers[] = {
	"advisor_max_cpu", "advisor_min_pages_to_scan",
	"advisor_max_pages_to_scan", "advisor_target_scan_time",
};

static void need_advisor(void)
{
	size_t i;

	ksm_need("advisor_mode");
	for (i = 0; i < ARRAY_SIZE(numbers); i++)
		ksm_need(numbers[i]);
}

static void check_mode(const char *want)
{
	char text[64];

	must(!file_text(KSM_DIR "advisor_mode", text, sizeof(text)),
	     "advisor_mode cannot be read");
	must(!strcmp(text, want), "advisor_mode is \"%s\", expected \"%s\"",
	     text, want);
}

static void set_mode(const char *mode)
{
	int err = ksm_write("advisor_mode", mode);

	must(!err, "writing %s to advisor_mode: %s", mode, strerror(-err));
}

static void test_modes(void)
{
	static const char *const bad[] = {
		"x", "scan", "scan-time-2", "1", "[none]", "none scan-time",
		"NONE", "\n",
	};
	size_t i;

	need_advisor();
	check_mode("[none] scan-time\n");
	set_mode("scan-time");
	check_mode("none [scan-time]\n");
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		must_eq("errno of a mode that does not exist",
			-ksm_write("advisor_mode", bad[i]), EINVAL);
		check_mode("none [scan-time]\n");
	}
	set_mode("scan-time\n");
	check_mode("none [scan-time]\n");
	set_mode("none\n");
	check_mode("[none] scan-time\n");
}

/* Whose is pages_to_scan, and what it is after a change of mode. */
static void test_owns_pages_to_scan(void)
{
	need_advisor();
	ksm_set("pages_to_scan", 1234);
	ksm_set("advisor_min_pages_to_scan", 777);
	set_mode("scan-time");
	must_eq("pages_to_scan, mode scan-time", ksm_read("pages_to_scan"),
		777);
	must_eq("errno of pages_to_scan=50, mode scan-time",
		-ksm_write("pages_to_scan", "50"), EINVAL);
	must_eq("pages_to_scan after the refusal", ksm_read("pages_to_scan"),
		777);
	set_mode("none");
	must_eq("pages_to_scan, mode none again", ksm_read("pages_to_scan"),
		100);
	ksm_set("pages_to_scan", 50);
	/* The mode that it has is no change. */
	set_mode("none");
	must_eq("pages_to_scan, mode none written again",
		ksm_read("pages_to_scan"), 50);
}

static void test_garbage(void)
{
	static const char *const bad[] = {
		"\n", "x", "-1", "1x", "1 2", "0x10", "1.5", " ",
		"99999999999999999999999999",
	};
	size_t i, k;

	need_advisor();
	for (k = 0; k < ARRAY_SIZE(numbers); k++) {
		long before = ksm_read(numbers[k]);

		for (i = 0; i < ARRAY_SIZE(bad); i++) {
			int err = ksm_write(numbers[k], bad[i]);

			must(err == -EINVAL || err == -ERANGE,
			     "writing \"%s\" to %s: %s, expected EINVAL",
			     bad[i], numbers[k], err ? strerror(-err) :
			     "taken");
			must_eq(numbers[k], ksm_read(numbers[k]), before);
		}
	}
}

static void test_bounds(void)
{
	need_advisor();
	must_eq("advisor_max_cpu by default", ksm_read("advisor_max_cpu"), 70);
	must_eq("advisor_min_pages_to_scan by default",
		ksm_read("advisor_min_pages_to_scan"), 500);
	must_eq("advisor_max_pages_to_scan by default",
		ksm_read("advisor_max_pages_to_scan"), 30000);
	must_eq("advisor_target_scan_time by default",
		ksm_read("advisor_target_scan_time"), 200);
	must_eq("errno of advisor_target_scan_time=0",
		-ksm_write("advisor_target_scan_time", "0"), EINVAL);
	must_eq("advisor_target_scan_time",
		ksm_read("advisor_target_scan_time"), 200);
	ksm_set("advisor_target_scan_time", 1);
	ksm_set("advisor_max_cpu", 100);
	ksm_set("advisor_max_cpu", 1);
	must_eq("advisor_max_cpu", ksm_read("advisor_max_cpu"), 1);
	ksm_set("advisor_min_pages_to_scan", 1);
	ksm_set("advisor_max_pages_to_scan", 123456);
	must_eq("advisor_max_pages_to_scan",
		ksm_read("advisor_max_pages_to_scan"), 123456);
}

/* A share of one CPU; mainline takes any number. */
static void test_max_cpu_is_percent(void)
{
	need_advisor();
	if (!ksm_is_samepage())
		skip("mainline takes more than 100 percent");
	must_eq("errno of advisor_max_cpu=101",
		-ksm_write("advisor_max_cpu", "101"), EINVAL);
	must_eq("advisor_max_cpu", ksm_read("advisor_max_cpu"), 70);
	ksm_set("advisor_max_cpu", 0);
}

/* Wait for one more pass; its pages_to_scan must lie within the bounds. */
static long next_advice(long min, long max)
{
	long n;

	ksm_wait_scans(1);
	n = ksm_read("pages_to_scan");
	must(n >= min && n <= max,
	     "the advisor chose pages_to_scan=%ld, its bounds are %ld and %ld",
	     n, min, max);
	return n;
}

/* Many small batches with sleeps in between make a pass slow on any machine. */
static char *slow_passes(long pages, long min, long max)
{
	char *p = area_each(pages, 1);

	ksm_set("sleep_millisecs", 10);
	ksm_set("advisor_min_pages_to_scan", min);
	ksm_set("advisor_max_pages_to_scan", max);
	set_mode("scan-time");
	must_eq("pages_to_scan at the start", ksm_read("pages_to_scan"), min);
	return p;
}

/* A pass takes longer than the target: more pages at a time. */
static void test_speeds_up(void)
{
	long n = 0;
	char *p;
	int i;

	need_advisor();
	ksm_set("advisor_target_scan_time", 1);
	p = slow_passes(600, 4, 5000);
	ksm_set("run", 1);
	for (i = 0; i < 6 && n <= 4; i++)
		n = next_advice(4, 5000);
	must(n > 4, "a pass takes more than its target of 1 s, yet pages_to_scan stays %ld",
	     n);
	area_check_each(p, 600, 1, "unique");
}

/* A pass may take a day: as few pages at a time as allowed. */
static void test_slows_down(void)
{
	long n = 0, first;
	char *p;
	int i;

	need_advisor();
	p = slow_passes(60, 300, 5000);
	ksm_set("advisor_target_scan_time", 86400);
	ksm_set("run", 1);
	first = next_advice(300, 5000);
	/* The lower bound falls; the passes stay far too fast. */
	ksm_set("advisor_min_pages_to_scan", 20);
	for (i = 0; i < 40 && n != 20; i++)
		n = next_advice(20, 5000);
	must(n == 20,
	     "a pass may take a day: pages_to_scan was %ld, is %ld, expected 20",
	     first, n);
	area_check_each(p, 60, 1, "unique");
}

/* The upper bound holds when the target is out of reach. */
static void test_upper_bound(void)
{
	long n = 0;
	char *p;
	int i;

	need_advisor();
	ksm_set("advisor_target_scan_time", 1);
	p = slow_passes(300, 2, 3);
	ksm_set("run", 1);
	for (i = 0; i < 4 && n != 3; i++)
		n = next_advice(2, 3);
	must(n == 3, "out of reach of the target, pages_to_scan is %ld, not the upper bound 3",
	     n);
	next_advice(2, 3);
	area_check_each(p, 300, 1, "unique");
}

/* Merging goes on as without it. */
static void test_merges(void)
{
	char *p = area_same(300, 1);

	need_advisor();
	set_mode("scan-time");
	ksm_settle();
	ksm_expect("300 copies", 2, 298, 0, 0);
	area_check_same(p, 300, 1, "merged");
	set_mode("none");
	ksm_wait_scans(1);
	must_eq("pages_to_scan, mode none, a pass later",
		ksm_read("pages_to_scan"), 100);
	area_fill_each(p, 300, 1000);
	ksm_settle();
	ksm_expect("300 unique", 0, 0, 300, 0);
	area_check_each(p, 300, 1000, "written");
}

static const struct ksm_case cases[] = {
	{ "modes", test_modes },
	{ "owns_pages_to_scan", test_owns_pages_to_scan },
	{ "garbage", test_garbage },
	{ "bounds", test_bounds },
	{ "max_cpu_is_percent", test_max_cpu_is_percent },
	{ "speeds_up", test_speeds_up, KSM_SLOW },
	{ "slows_down", test_slows_down, 0,
	  "the advisor goes below advisor_min_pages_to_scan" },
	{ "upper_bound", test_upper_bound, KSM_SLOW },
	{ "merges", test_merges },
	{ }
};

const struct ksm_topic topic_advisor = { "advisor", cases };
