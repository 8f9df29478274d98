// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tracepoints of later kernels than 6.1: each has its fields and fires
 * when it should, and only for what it stands for.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "ksm_util.h"

#define TRACING		"/sys/kernel/tracing/"
#define INSTANCE	TRACING "instances/ksm_suite/"

static const struct {
	const char *name, *fields[6];
} events[] = {
	{ "ksm_start_scan", { "seq", "rmap_entries" } },
	{ "ksm_stop_scan", { "seq", "rmap_entries" } },
	{ "ksm_enter", { "mm" } },
	{ "ksm_exit", { "mm" } },
	{ "ksm_merge_one_page", { "pfn", "rmap_item", "mm", "err" } },
	{ "ksm_merge_with_ksm_page",
	  { "ksm_page", "pfn", "rmap_item", "mm", "err" } },
	{ "ksm_remove_ksm_page", { "pfn" } },
	{ "ksm_remove_rmap_item", { "pfn", "rmap_item", "mm" } },
	{ "ksm_advisor", { "scan_time", "pages_to_scan", "cpu_percent" } },
	{ "ksm_window", { "mm", "start", "pages", "changes", "ns" } },
};

static void need_events(void)
{
	if (access(TRACING "events", F_OK))
		skip("no tracefs at " TRACING);
	ksm_need_that("events/ksm in tracefs",
		      !access(TRACING "events/ksm", F_OK));
}

static void check_fields(size_t e)
{
	char path[128], text[4096], want[64];
	size_t i;

	snprintf(path, sizeof(path), TRACING "events/ksm/%s/format",
		 events[e].name);
	must(!file_text(path, text, sizeof(text)), "%s cannot be read", path);
	for (i = 0; i < ARRAY_SIZE(events[e].fields); i++) {
		if (!events[e].fields[i])
			break;
		snprintf(want, sizeof(want), " %s;", events[e].fields[i]);
		must(strstr(text, want), "event %s has no field %s",
		     events[e].name, events[e].fields[i]);
	}
}

static void test_fields(void)
{
	size_t e;

	need_events();
	for (e = 0; e < ARRAY_SIZE(events); e++)
		check_fields(e);
}

/* --- firing ---------------------------------------------------------------- */

static void write_or_fail(const char *path, const char *text)
{
	int err = file_write(path, text);

	must(!err, "writing %s to %s: %s", text, path, strerror(-err));
}

/* In an instance of its own, which goes with the case. */
void trace_record(const char *event)
{
	char path[160];
	int fd;

	if (mkdir(INSTANCE, 0700) && errno != EEXIST)
		skip("no instance in tracefs: %m");
	write_or_fail(INSTANCE "events/enable", "0");
	/* Truncating it, not writing, is what empties the buffer. */
	fd = open(INSTANCE "trace", O_WRONLY | O_TRUNC | O_CLOEXEC);
	must_call(fd);
	close(fd);
	write_or_fail(INSTANCE "tracing_on", "1");
	snprintf(path, sizeof(path), INSTANCE "events/%s/enable", event);
	write_or_fail(path, "1");
}

static void record(const char *event)
{
	char path[64];

	need_events();
	snprintf(path, sizeof(path), "ksm/%s", event);
	trace_record(path);
}

long trace_recorded(const char *event, const char *text, char last[512])
{
	char line[512], mark[64];
	FILE *f = fopen(INSTANCE "trace", "re");
	long n = 0;

	must(f, INSTANCE "trace: %m");
	snprintf(mark, sizeof(mark), " %s: ", event);
	while (fgets(line, sizeof(line), f)) {
		char *found = strstr(line, mark);

		if (!found || (text && !strstr(found, text)))
			continue;
		if (last)
			snprintf(last, 512, "%s", found + strlen(mark));
		n++;
	}
	fclose(f);
	return n;
}

static void expect_recorded(const char *event, const char *text, long least,
			    long most)
{
	long n = trace_recorded(event, text, NULL);

	must(n >= least && n <= most,
	     "event %s with \"%s\" came %ld times, expected %ld to %ld", event,
	     text ? text : "anything", n, least, most);
}

static void test_scan(void)
{
	char *p, last[512];
	int seq;

	record("ksm_start_scan");
	p = area_each(10, 1);
	ksm_settle();
	ksm_set("run", 0);
	expect_recorded("ksm_start_scan", NULL, 3, 100000);
	record("ksm_stop_scan");
	expect_recorded("ksm_stop_scan", NULL, 0, 0);
	ksm_settle();
	ksm_set("run", 0);
	must(trace_recorded("ksm_stop_scan", NULL, last) >= 3,
	     "3 passes, but event ksm_stop_scan came %ld times",
	     trace_recorded("ksm_stop_scan", NULL, NULL));
	must(sscanf(last, "seq %d ", &seq) == 1,
	     "ksm_stop_scan prints \"%s\", expected \"seq N ...\"", last);
	/* Passes are numbered as full_scans counts them, from 0 or from 1. */
	must(labs(seq - ksm_read("full_scans")) <= 1,
	     "the last pass was number %d, full_scans is %ld", seq,
	     ksm_read("full_scans"));
	area_check_each(p, 10, 1, "scanned");
}

static void enter_and_leave(void *arg)
{
	char *p;

	/* The keeper was inherited: fork has registered this process. */
	(void)arg;
	p = area_same(2, 1);
	area_check_same(p, 2, 1, "in a child");
}

static void test_enter_and_exit(void)
{
	char *p = area_same(2, 5);

	record("ksm_enter");
	join(child(enter_and_leave, NULL));
	expect_recorded("ksm_enter", "mm", 1, 1);
	record("ksm_exit");
	join(child(enter_and_leave, NULL));
	expect_recorded("ksm_exit", "mm", 1, 1);
	area_check_same(p, 2, 5, "in the parent");
}

static void pfn_text(char text[32], const char *page)
{
	snprintf(text, 32, "pfn %llu ", (unsigned long long)page_pfn(page));
}

/* Merging with the zero page: once for each page. */
static void test_merge_one_page(void)
{
	char *p;

	record("ksm_merge_one_page");
	ksm_set("use_zero_pages", 1);
	p = area_zeros(2);
	ksm_settle();
	must_eq("frames of the zero page", area_count_zero(p, 2), 2);
	expect_recorded("ksm_merge_one_page", "error 0", 2, 2);
	area_check_zero(p, 2, "placed");
}

/*
 * Merging with a page that is shared, or becomes so: the event names the frame
 * that is shared from then on.
 */
static void test_merge_with_ksm_page(void)
{
	char *p, *q, pfn[32];

	record("ksm_merge_with_ksm_page");
	p = area_same(2, 1);
	ksm_settle();
	ksm_expect("2 copies", 1, 1, 0, 0);
	pfn_text(pfn, p);
	expect_recorded("ksm_merge_with_ksm_page", pfn, 1, 2);
	record("ksm_merge_with_ksm_page");
	q = area_same(1, 1);
	ksm_settle();
	ksm_expect("a third", 1, 2, 0, 0);
	expect_recorded("ksm_merge_with_ksm_page", pfn, 1, 1);
	expect_recorded("ksm_merge_with_ksm_page", "error 0", 1, 1);
	area_check_same(p, 2, 1, "merged");
	page_check(q, 1, "merged");
}

/* A shared page whose sharers have all left is forgotten, and so are they. */
static void test_remove(void)
{
	static const char *const event[] = {
		"ksm_remove_rmap_item", "ksm_remove_ksm_page",
	};
	char *p, pfn[32];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(event); i++) {
		p = area_same(3, 1);
		ksm_settle();
		ksm_expect("3 copies", 1, 2, 0, 0);
		ksm_set("run", 0);
		pfn_text(pfn, p);
		/* One of them ends its line with the number. */
		pfn[strlen(pfn) - 1] = '\0';
		record(event[i]);
		area_fill_each(p, 3, 10);
		expect_recorded(event[i], NULL, 0, 0);
		ksm_forget();
		ksm_wait_scans(2);
		ksm_expect("all written", 0, 0, 3, 0);
		expect_recorded(event[i], pfn, 1, i ? 1 : 3);
		area_check_each(p, 3, 10, "written");
		area_free(p, 3);
	}
}

static void test_advisor(void)
{
	char *p = area_each(20, 1), last[512];
	unsigned long pages;
	long long scan_time;
	unsigned int cpu;

	record("ksm_advisor");
	ksm_settle();
	expect_recorded("ksm_advisor", NULL, 0, 0);
	ksm_need("advisor_mode");
	must(!ksm_write("advisor_mode", "scan-time"), "advisor_mode: %m");
	ksm_wait_scans(3);
	ksm_set("run", 0);
	must(trace_recorded("ksm_advisor", NULL, last) >= 2,
	     "3 passes with the advisor, its event came %ld times",
	     trace_recorded("ksm_advisor", NULL, NULL));
	must(sscanf(last, "ksm scan time %lld pages_to_scan %lu cpu percent %u",
		    &scan_time, &pages, &cpu) == 3,
	     "the advisor's event prints \"%s\"", last);
	must_eq("pages_to_scan of the last event", pages,
		ksm_read("pages_to_scan"));
	area_check_each(p, 20, 1, "scanned");
}

/* For how long faults had to wait, and for how many pages at once. */
static void test_window(void)
{
	char *p, last[512];
	unsigned long start, pages;
	unsigned int changes;
	unsigned long long ns;

	record("ksm_window");
	p = area_same(200, 1);
	ksm_settle();
	ksm_set("run", 0);
	ksm_expect("200 copies", 1, 199, 0, 0);
	/* Each page is write-protected and replaced, 64 of them at once or fewer. */
	must(trace_recorded("ksm_window", NULL, last) >= 2 * 199 / 64,
	     "200 pages were merged, event ksm_window came %ld times",
	     trace_recorded("ksm_window", NULL, NULL));
	must(sscanf(last, "mm %*s start %lx pages %lu changes %u ns %llu", &start,
		    &pages, &changes, &ns) == 4,
	     "the event of a window prints \"%s\"", last);
	must(start >= (unsigned long)p &&
	     start + pages * page_size <= (unsigned long)p + 200 * page_size,
	     "a window of %lu pages at %lx, expected it from %p on", pages, start,
	     p);
	must(pages >= 1 && pages <= 64 && changes >= 1 && changes <= pages && ns,
	     "a window: %lu pages, %u changes, %llu ns", pages, changes, ns);
	area_check_same(p, 200, 1, "merged");
}

/* By the runner after each case. */
void trace_cleanup(void)
{
	if (!access(INSTANCE, F_OK) && rmdir(INSTANCE))
		printf("# cannot remove " INSTANCE ": %s\n", strerror(errno));
}

static const struct ksm_case cases[] = {
	{ "fields", test_fields },
	{ "scan", test_scan },
	{ "enter_and_exit", test_enter_and_exit },
	{ "merge_one_page", test_merge_one_page },
	{ "merge_with_ksm_page", test_merge_with_ksm_page },
	{ "remove", test_remove },
	{ "advisor", test_advisor },
	{ "window", test_window },
	{ }
};

const struct ksm_topic topic_trace = { "trace", cases };
