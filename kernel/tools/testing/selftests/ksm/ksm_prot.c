// SPDX-License-Identifier: GPL-2.0-only
/*
 * Page protection: read-only and PROT_NONE mappings with merged pages, and
 * writes that go around the protection.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "ksm_util.h"

static void protect(char *p, size_t pages, int prot)
{
	must_call(mprotect(p, pages * page_size, prot));
}

static sigjmp_buf segv_back;

static void on_segv(int sig)
{
	siglongjmp(segv_back, sig);
}

/* True if touching the byte gives SIGSEGV. */
static bool traps(char *p, bool write)
{
	struct sigaction sa = { .sa_handler = on_segv }, old;
	int hit;

	sigaction(SIGSEGV, &sa, &old);
	hit = sigsetjmp(segv_back, 1);
	if (!hit && write)
		byte_write(p, 1);
	else if (!hit)
		byte_read(p);
	sigaction(SIGSEGV, &old, NULL);
	return hit;
}

static void test_read_only_merges(void)
{
	char *p = area_same(20, 1);

	protect(p, 20, PROT_READ);
	ksm_settle();
	ksm_expect("20 read-only copies", 1, 19, 0, 0);
	must(traps(p, true), "a write to a read-only merged page did not trap");
	area_check_same(p, 20, 1, "read-only");
	protect(p, 20, PROT_READ | PROT_WRITE);
	must_eq("merged pages after mprotect", area_count_ksm(p, 20), 20);
	page_fill(p, 2);
	page_check(p, 2, "written");
	area_check_same(page_at(p, 1), 19, 1, "not written");
}

static void test_read_only_unmerges(void)
{
	char *p = area_same(20, 1);

	ksm_settle();
	ksm_expect("20 copies", 1, 19, 0, 0);
	protect(p, 20, PROT_READ);
	area_advise(p, 20, MADV_UNMERGEABLE);
	must_eq("merged pages", area_count_ksm(p, 20), 0);
	must_eq("different frames", area_count_frames(p, 20), 20);
	must(traps(p, true), "giving back made a read-only page writable");
	area_check_same(p, 20, 1, "given back");
	area_advise(p, 20, MADV_MERGEABLE);
	ksm_settle();
	ksm_expect("merged read-only", 1, 19, 0, 0);
	ksm_set("run", 2);
	must_eq("merged pages after run=2", area_count_ksm(p, 20), 0);
	must(traps(p, true), "run=2 made a read-only page writable");
	area_check_same(p, 20, 1, "given back by run=2");
}

/* mprotect back and forth while ksmd runs: never a lost or a wrong byte. */
static void test_flipping(void)
{
	char *p = area_same(16, 1);
	int n;

	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	for (n = 0; n < 300; n++) {
		size_t i = n % 16;

		protect(page_at(p, i), 1, n % 3 ? PROT_READ : PROT_NONE);
		if (n % 5 == 0)
			nap_ms(1);
		protect(page_at(p, i), 1, PROT_READ | PROT_WRITE);
		page_check(page_at(p, i), 1, "after mprotect");
		page_fill(page_at(p, i), n + 10);
		page_check(page_at(p, i), n + 10, "written");
		page_fill(page_at(p, i), 1);
	}
	area_check_same(p, 16, 1, "at the end");
	ksm_settle();
	ksm_expect("at the end", 1, 15, 0, 0);
}

static void test_none_keeps(void)
{
	char *p = area_same(20, 1);

	ksm_settle();
	ksm_expect("20 copies", 1, 19, 0, 0);
	protect(p, 20, PROT_NONE);
	ksm_wait_scans(3);
	must(traps(p, false), "a read of a PROT_NONE page did not trap");
	protect(p, 20, PROT_READ | PROT_WRITE);
	area_check_same(p, 20, 1, "accessible again");
	area_fill_each(p, 10, 40);
	area_check_each(p, 10, 40, "written");
	area_check_same(page_at(p, 10), 10, 1, "not written");
}

/* Whether PROT_NONE memory merges is free; that nothing breaks is not. */
static void test_none_scanned(void)
{
	char *p = area_same(20, 1), *q = area_same(20, 1);

	protect(p, 20, PROT_NONE);
	ksm_settle();
	must(traps(p, false), "a read of a PROT_NONE page did not trap");
	must(traps(p, true), "a write to a PROT_NONE page did not trap");
	area_check_same(q, 20, 1, "accessible copies");
	area_fill_each(q, 20, 80);
	protect(p, 20, PROT_READ | PROT_WRITE);
	area_check_same(p, 20, 1, "accessible again");
	area_check_each(q, 20, 80, "written copies");
	page_fill(p, 3);
	page_check(p, 3, "written");
	area_check_same(page_at(p, 1), 19, 1, "not written");
}

static void test_none_unmerges(void)
{
	char *p = area_same(20, 1);

	ksm_settle();
	ksm_expect("20 copies", 1, 19, 0, 0);
	protect(p, 20, PROT_NONE);
	area_advise(p, 20, MADV_UNMERGEABLE);
	protect(p, 20, PROT_READ | PROT_WRITE);
	area_check_same(p, 20, 1, "accessible again");
	must_eq("merged pages after MADV_UNMERGEABLE of PROT_NONE memory",
		area_count_ksm(p, 20), 0);
}

static void test_none_run_2(void)
{
	char *p = area_same(20, 1);

	ksm_settle();
	ksm_expect("20 copies", 1, 19, 0, 0);
	protect(p, 20, PROT_NONE);
	ksm_set("run", 2);
	protect(p, 20, PROT_READ | PROT_WRITE);
	area_check_same(p, 20, 1, "accessible again");
	must_eq("merged pages after run=2 over PROT_NONE memory",
		area_count_ksm(p, 20), 0);
}

static void force_write(char *p, uint64_t seed)
{
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	char text[65536];

	must(fd >= 0 && page_size <= sizeof(text), "/proc/self/mem: %m");
	page_fill(text, seed);
	must(pwrite(fd, text, page_size, (uintptr_t)p) == (ssize_t)page_size,
	     "write to /proc/self/mem: %m");
	memset(text, 0, sizeof(text));
	must(pread(fd, text, page_size, (uintptr_t)p) == (ssize_t)page_size,
	     "read from /proc/self/mem: %m");
	page_check(text, seed, "read from /proc/self/mem");
	close(fd);
}

static void forced_write(int prot)
{
	char *p = area_same(20, 1);

	ksm_settle();
	ksm_expect("20 copies", 1, 19, 0, 0);
	protect(p, 20, prot);
	ksm_set("run", 0);
	must_eq("merged pages", area_count_ksm(p, 20), 20);
	force_write(page_at(p, 7), 55);
	must_eq("merged pages after one was written", area_count_ksm(p, 20),
		19);
	must(traps(page_at(p, 7), true), "the written page became writable");
	protect(p, 20, PROT_READ | PROT_WRITE);
	page_check(page_at(p, 7), 55, "the written page");
	area_check_same(p, 7, 1, "before it");
	area_check_same(page_at(p, 8), 12, 1, "behind it");
}

static void test_proc_mem_read_only(void)
{
	forced_write(PROT_READ);
}

static void test_proc_mem_none(void)
{
	forced_write(PROT_NONE);
}

/* Reads through /proc/self/mem while ksmd merges under them. */
static void test_proc_mem_scanned(void)
{
	char *p = area_same(8, 1);
	int n;

	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	protect(p, 8, PROT_READ);
	for (n = 0; n < 200; n++) {
		force_write(page_at(p, n % 8), 70 + n);
		page_check(page_at(p, n % 8), 70 + n, "written under scan");
		force_write(page_at(p, n % 8), 1);
	}
	area_check_same(p, 8, 1, "at the end");
}

static const struct ksm_case cases[] = {
	{ "read_only_merges", test_read_only_merges },
	{ "read_only_unmerges", test_read_only_unmerges },
	{ "flipping", test_flipping },
	{ "none_keeps", test_none_keeps },
	{ "none_scanned", test_none_scanned },
	{ "none_unmerges", test_none_unmerges, 0,
	  "MADV_UNMERGEABLE passes over PROT_NONE pages" },
	{ "none_run_2", test_none_run_2, 0, "run=2 passes over PROT_NONE pages" },
	{ "proc_mem_read_only", test_proc_mem_read_only },
	{ "proc_mem_none", test_proc_mem_none },
	{ "proc_mem_scanned", test_proc_mem_scanned },
	{ }
};

const struct ksm_topic topic_prot = { "prot", cases };
