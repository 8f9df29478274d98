// SPDX-License-Identifier: GPL-2.0-only
/*
 * The scanner itself: it sleeps when there is nothing to do, wakes when there
 * is, and gets through holes, many processes and many mappings.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "ksm_util.h"

static pid_t find_ksmd(void)
{
	char path[300], name[32];
	struct dirent *d;
	pid_t pid = 0;
	DIR *dir = opendir("/proc");

	must(dir, "/proc: %m");
	while (!pid && (d = readdir(dir))) {
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%s/comm", d->d_name);
		f = atoi(d->d_name) > 0 ? fopen(path, "re") : NULL;
		if (f && fgets(name, sizeof(name), f) &&
		    !strcmp(name, "ksmd\n"))
			pid = atoi(d->d_name);
		if (f)
			fclose(f);
	}
	closedir(dir);
	must(pid, "no kernel thread is called ksmd");
	return pid;
}

static long switches_of(pid_t pid)
{
	char path[64];
	long n;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	n = file_field(path, "voluntary_ctxt_switches");
	must(n >= 0, "%s has no voluntary_ctxt_switches", path);
	return n;
}

/* Nothing registered: ksmd sleeps, and the first advice wakes it. */
static void test_sleeps_and_wakes(void)
{
	pid_t ksmd = find_ksmd();
	long before;
	char *p;

	area_free(ksm_keeper, 1);
	ksm_set("run", 1);
	nap_ms(500);
	before = switches_of(ksmd);
	nap_ms(500);
	must(switches_of(ksmd) - before <= 1,
	     "nothing is mergeable, yet ksmd woke %ld times in 500 ms",
	     switches_of(ksmd) - before);
	p = area_same(10, 1);
	/* Not ksm_settle(): writing to run would wake it as well. */
	ksm_wait_scans(3);
	ksm_expect("advised while ksmd slept", 1, 9, 0, 0);
	area_check_same(p, 10, 1, "merged");
}

static void test_sleeps_when_stopped(void)
{
	pid_t ksmd = find_ksmd();
	char *p = area_same(10, 1);
	long before;

	ksm_settle();
	ksm_set("run", 0);
	nap_ms(100);
	before = switches_of(ksmd);
	nap_ms(500);
	must(switches_of(ksmd) - before <= 1,
	     "with run=0 ksmd woke %ld times in 500 ms",
	     switches_of(ksmd) - before);
	area_check_same(p, 10, 1, "merged");
}

#define SPARSE_BYTES	(16ul << 40)

static char *sparse_page(char *p, size_t n)
{
	const size_t at[] = { 0, SPARSE_BYTES / 2 + 4 * page_size,
			      SPARSE_BYTES - page_size };

	return p + at[n];
}

/* Three equal pages, merged, in 16 TiB of advised address space. */
static char *sparse_new(void)
{
	char *p = mmap(NULL, SPARSE_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t i;

	if (p == MAP_FAILED)
		skip("no mapping of 16 TiB: %m");
	madvise(p, SPARSE_BYTES, MADV_NOHUGEPAGE);
	must_call(madvise(p, SPARSE_BYTES, MADV_MERGEABLE));
	for (i = 0; i < 3; i++)
		page_fill(sparse_page(p, i), 1);
	ksm_settle();
	ksm_expect("3 copies in 16 TiB", 1, 2, 0, 0);
	for (i = 0; i < 3; i++)
		page_check(sparse_page(p, i), 1, "merged");
	return p;
}

/* Address space is no work: three pages in 16 TiB are three pages. */
static void test_sparse_merge(void)
{
	char *p = sparse_new();

	page_fill(sparse_page(p, 1), 2);
	ksm_settle();
	ksm_expect("2 copies and 1 unique in 16 TiB", 1, 1, 1, 0);
	page_check(sparse_page(p, 1), 2, "written");
	page_check(sparse_page(p, 2), 1, "not written");
}

static void test_sparse_unmerge(void)
{
	char *p = sparse_new();
	size_t i;

	must_call(madvise(p, SPARSE_BYTES, MADV_UNMERGEABLE));
	for (i = 0; i < 3; i++) {
		page_check(sparse_page(p, i), 1, "given back");
		must(!page_is_ksm(sparse_page(p, i)),
		     "page %zu is still merged", i);
	}
}

static void test_sparse_run_2(void)
{
	char *p = sparse_new();
	size_t i;

	ksm_set("run", 2);
	ksm_expect("run=2", 0, 0, 0, 0);
	for (i = 0; i < 3; i++)
		page_check(sparse_page(p, i), 1, "given back");
}

static void one_of_many(void *arg)
{
	struct gate *g = arg;
	char *p = area_same(8, 1);

	__atomic_fetch_add(&g[0].step, 1, __ATOMIC_SEQ_CST);
	gate_wait(&g[1], 1);
	area_check_same(p, 8, 1, "in one of many processes");
	page_fill(p, getpid());
	page_check(p, getpid(), "in one of many processes, written");
	area_check_same(page_at(p, 1), 7, 1, "in one of many processes");
}

static void test_many_processes(void)
{
	enum { N = 40 };
	struct gate *g = shared_new(2 * sizeof(*g));
	long shared, sharing;
	pid_t pid[N];
	int i;

	ksm_set("run", 1);
	for (i = 0; i < N; i++)
		pid[i] = child(one_of_many, g);
	gate_wait(&g[0], N);
	ksm_settle();
	ksm_partition(8 * N, 256, &shared, &sharing);
	ksm_expect("40 processes of 8 copies", shared, sharing, 0, 0);
	gate_open(&g[1], 1);
	for (i = 0; i < N; i++)
		join(pid[i]);
	ksm_forget();
	ksm_expect("all gone", 0, 0, 0, 0);
}

/* Every other page advised: as many mappings as pages. */
static void test_many_mappings(void)
{
	char *p = area_new(1000);
	size_t i;

	area_fill_same(p, 1000, 1);
	for (i = 0; i < 1000; i += 2)
		area_advise(page_at(p, i), 1, MADV_MERGEABLE);
	ksm_settle();
	ksm_expect("500 mappings of a page", 2, 498, 0, 0);
	for (i = 0; i < 1000; i++)
		must(page_is_ksm(page_at(p, i)) == !(i % 2),
		     "page %zu is%s merged", i, i % 2 ? "" : " not");
	area_check_same(p, 1000, 1, "merged");
	for (i = 0; i < 1000; i += 4)
		page_fill(page_at(p, i), 2);
	ksm_settle();
	/* The limit may have spread either content over more than one page. */
	ksm_expect("half of them rewritten, equal again", -1, -1, 0, 0);
	must_eq("shared + sharing",
		ksm_read("pages_shared") + ksm_read("pages_sharing"), 500);
	for (i = 0; i < 1000; i++)
		page_check(page_at(p, i), i % 4 ? 1 : 2, "rewritten");
}

static const struct ksm_case cases[] = {
	{ "sleeps_and_wakes", test_sleeps_and_wakes, KSM_EXCLUSIVE },
	{ "sleeps_when_stopped", test_sleeps_when_stopped },
	{ "sparse_merge", test_sparse_merge },
	{ "sparse_unmerge", test_sparse_unmerge, KSM_QUICK,
	  "MADV_UNMERGEABLE looks at every address, mapped or not" },
	{ "sparse_run_2", test_sparse_run_2, KSM_QUICK,
	  "run=2 looks at every address, mapped or not" },
	{ "many_processes", test_many_processes },
	{ "many_mappings", test_many_mappings },
	{ }
};

const struct ksm_topic topic_scan = { "scan", cases };
