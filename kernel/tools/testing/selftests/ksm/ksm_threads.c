// SPDX-License-Identifier: GPL-2.0-only
/*
 * scan_threads: more threads than ksmd hash pages, and what comes of it is the same.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "ksm_util.h"

#define THREADS_MAX	8

/* Kernel threads that are called "ksmd" or "ksmd/" and a number. */
static int threads_there(void)
{
	char path[300], name[64];
	DIR *dir = opendir("/proc");
	struct dirent *d;
	int n = 0;

	must(dir, "/proc: %m");
	while ((d = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%s/comm", d->d_name);
		if (file_text(path, name, sizeof(name)))
			continue;
		n += !strcmp(name, "ksmd\n") || !strncmp(name, "ksmd/", 5);
	}
	closedir(dir);
	return n;
}

static void test_bounds(void)
{
	int n;

	ksm_need("scan_threads");
	for (n = THREADS_MAX; n; n--) {
		ksm_set("scan_threads", n);
		must_eq("threads called ksmd", threads_there(), n);
	}
	must_eq("errno of scan_threads=0", -ksm_write("scan_threads", "0"), EINVAL);
	must_eq("errno of scan_threads=9", -ksm_write("scan_threads", "9"), EINVAL);
	must_eq("scan_threads", ksm_read("scan_threads"), 1);
}

#define TWINS	700
#define ALIKE	700
#define ALONE	700

/* Twins lie far apart, in lanes of their own. */
static void merge_with(int threads)
{
	char *twins, *alike, *alone;

	ksm_set("run", 2);
	ksm_set("max_page_sharing", 100000);
	ksm_set("scan_threads", threads);
	twins = area_each(TWINS, 1);
	alone = area_each(ALONE, 100000);
	alike = area_same(ALIKE, 200000);
	area_fill_each(page_at(twins, TWINS / 2), TWINS / 2, 1);
	ksm_settle();
	ksm_expect("twins, pages alike and pages alone", TWINS / 2 + 1,
		   TWINS / 2 + ALIKE - 1, ALONE, 0);
	area_check_each(twins, TWINS / 2, 1, "merged");
	area_check_each(page_at(twins, TWINS / 2), TWINS / 2, 1, "merged");
	area_check_same(alike, ALIKE, 200000, "merged");
	area_check_each(alone, ALONE, 100000, "alone");
	area_free(twins, TWINS);
	area_free(alone, ALONE);
	area_free(alike, ALIKE);
}

static void test_same_result(void)
{
	int n;

	ksm_need("scan_threads");
	for (n = 1; n <= THREADS_MAX; n++)
		merge_with(n);
}

/* Threads come and go while there is work for them. */
static void test_changed_under_scan(void)
{
	char *p;
	int n;

	ksm_need("scan_threads");
	ksm_set("max_page_sharing", 100000);
	p = area_each(2000, 1);
	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	for (n = 0; n < 50; n++) {
		ksm_set("scan_threads", 1 + n * 5 % THREADS_MAX);
		area_fill_same(page_at(p, n * 40), 40, n % 2);
	}
	ksm_settle();
	ksm_expect("two contents", 2, 2000 - 2, 0, 0);
	for (n = 0; n < 50; n++)
		area_check_same(page_at(p, n * 40), 40, n % 2, "merged");
}

#define HUGE	4

/* Give the memory away, with its page tables: what comes may be huge again. */
static void map_anew(char *p, size_t pages)
{
	void *q = mmap(p, pages * page_size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	must(q == p, "mmap: %m");
	area_advise(p, pages, MADV_HUGEPAGE);
	area_advise(p, pages, MADV_MERGEABLE);
}

/*
 * Threads read huge pages one of which is being split, which leaves the parts without
 * a reference, and their owner gives them away. All equal a KSM page: the first look
 * at them splits.
 */
static void test_huge(void)
{
	size_t pages = HUGE * 512, n;
	char *p = huge_new(HUGE);
	long splits;

	ksm_need("scan_threads");
	ksm_set("scan_threads", THREADS_MAX);
	ksm_set("max_page_sharing", 100000);
	area_same(2, 1);
	ksm_settle();
	splits = ksm_read("huge_splits");
	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	for (n = 0; n < 50; n++) {
		map_anew(p, pages);
		area_fill_same(p, pages, 1);
		usleep(n * 9973 % 50000);
	}
	ksm_settle();
	splits = ksm_read("huge_splits") - splits;
	must(splits >= HUGE, "%ld huge pages were split, expected %d at least",
	     splits, HUGE);
	ksm_note("%ld huge pages were split", splits);
	ksm_expect("equal pages", 1, pages + 1, 0, 0);
	area_check_same(p, pages, 1, "merged");
}

static const struct ksm_case cases[] = {
	{ "bounds", test_bounds },
	{ "same_result", test_same_result },
	{ "huge", test_huge },
	{ "changed_under_scan", test_changed_under_scan },
	{ }
};

const struct ksm_topic topic_threads = { "threads", cases };
