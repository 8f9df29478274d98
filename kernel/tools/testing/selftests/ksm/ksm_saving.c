// SPDX-License-Identifier: GPL-2.0-only
/*
 * That merging really frees memory, and what locked memory and memory cgroups
 * see of it.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include "ksm_util.h"

#define PAGES 4000

static long meminfo_kb(const char *key)
{
	long kb = file_field("/proc/meminfo", key);

	must(kb >= 0, "/proc/meminfo has no %s", key);
	return kb;
}

static long pages_kb(long pages)
{
	return pages * (long)page_size / 1024;
}

/* The kernel's count of anonymous memory falls by what was merged. */
static void test_frees_memory(void)
{
	long before, merged, after, want = pages_kb(PAGES - PAGES / 256 - 1);
	char *p = area_same(PAGES, 1);

	nap_ms(100);
	before = meminfo_kb("AnonPages");
	ksm_settle();
	ksm_expect("4000 copies", 16, PAGES - 16, 0, 0);
	/* Per-CPU parts of the count are folded in once a second. */
	nap_ms(1200);
	merged = meminfo_kb("AnonPages");
	must(before - merged > want * 9 / 10,
	     "merging %ld kB lowered AnonPages from %ld to %ld kB", want,
	     before, merged);
	area_check_same(p, PAGES, 1, "merged");
	ksm_set("run", 2);
	nap_ms(1200);
	after = meminfo_kb("AnonPages");
	must(after - merged > want * 9 / 10,
	     "giving back %ld kB raised AnonPages from %ld to %ld kB", want,
	     merged, after);
	area_check_same(p, PAGES, 1, "given back");
}

/* Resident size is what is mapped, however many share it. */
static void test_resident_size(void)
{
	char *p = area_same(100, 1);

	must_eq("Rss before, kB", vma_smaps_kb(p, "Rss"), pages_kb(100));
	ksm_settle();
	ksm_expect("100 copies", 1, 99, 0, 0);
	must_eq("Rss merged, kB", vma_smaps_kb(p, "Rss"), pages_kb(100));
	must_eq("Anonymous merged, kB", vma_smaps_kb(p, "Anonymous"),
		pages_kb(100));
	must(vma_smaps_kb(p, "Pss") <= pages_kb(2),
	     "Pss of 100 mappings of one page is %ld kB",
	     vma_smaps_kb(p, "Pss"));
	area_check_same(p, 100, 1, "merged");
}

static void test_locked(void)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	char *p, *q;

	setrlimit(RLIMIT_MEMLOCK, &all);
	p = area_new(20);
	must_call(mlock(p, 20 * page_size));
	area_fill_same(p, 20, 1);
	area_advise(p, 20, MADV_MERGEABLE);
	q = area_same(20, 1);
	ksm_settle();
	ksm_expect("20 locked and 20 other copies", 1, 39, 0, 0);
	area_check_same(p, 20, 1, "locked");
	must_eq("Locked, kB", vma_smaps_kb(p, "Locked") > 0, 1);
	area_fill_each(q, 20, 50);
	must_call(munlock(p, 10 * page_size));
	area_fill_each(p, 5, 80);
	ksm_settle();
	ksm_expect("25 written", 1, 14, 25, 0);
	area_check_each(p, 5, 80, "written");
	area_check_same(page_at(p, 5), 15, 1, "merged");
	area_free(p, 20);
	area_check_each(q, 20, 50, "the others");
	ksm_forget();
	ksm_expect("locked ones unmapped", 0, 0, 20, 0);
}

#define KPF_UNEVICTABLE	18

static long locked_kb(void)
{
	/* Per-CPU parts are folded in once a second. */
	nap_ms(1200);
	return meminfo_kb("Mlocked");
}

/*
 * Locked memory that merges is one locked page for many; what a process has
 * locked is still what it maps.  Unlocking the last one unlocks the page.
 */
static void test_locked_counts(void)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	long base, slack = pages_kb(PAGES) / 8;
	char *p, *q;

	setrlimit(RLIMIT_MEMLOCK, &all);
	base = locked_kb();
	p = area_new(PAGES);
	must_call(mlock(p, PAGES * page_size));
	area_fill_same(p, PAGES, 1);
	must_eq("VmLck, kB", file_field("/proc/self/status", "VmLck"),
		pages_kb(PAGES));
	must(locked_kb() - base > pages_kb(PAGES) - slack,
	     "locking %ld kB raised Mlocked from %ld to %ld kB",
	     pages_kb(PAGES), base, locked_kb());
	area_advise(p, PAGES, MADV_MERGEABLE);
	q = area_same(10, 1);
	ksm_settle();
	ksm_expect("4000 locked and 10 other copies", 16, PAGES - 6, 0, 0);
	ksm_set("run", 0);
	must_eq("VmLck merged, kB", file_field("/proc/self/status", "VmLck"),
		pages_kb(PAGES));
	must(locked_kb() - base < slack,
	     "%ld kB locked in 16 pages, Mlocked went from %ld to %ld kB",
	     pages_kb(PAGES), base, locked_kb());
	must(pfn_has_flag(page_pfn(p), KPF_UNEVICTABLE),
	     "a merged page in locked memory is evictable");
	must_call(munlock(p, PAGES * page_size));
	must_eq("VmLck unlocked, kB", file_field("/proc/self/status", "VmLck"),
		0);
	must(labs(locked_kb() - base) < slack,
	     "all unlocked, Mlocked went from %ld to %ld kB", base,
	     locked_kb());
	area_check_same(p, PAGES, 1, "unlocked");
	area_check_same(q, 10, 1, "never locked");
}

static long freed_locked(void)
{
	return vmstat_of("unevictable_pgs_munlocked");
}

/* Merging takes locked pages away: they are unlocked first, not just freed. */
static void test_locked_leave(void)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	long before, base;
	char *p;

	setrlimit(RLIMIT_MEMLOCK, &all);
	base = locked_kb();
	p = area_new(PAGES);
	must_call(mlock(p, PAGES * page_size));
	area_fill_same(p, PAGES, 1);
	area_advise(p, PAGES, MADV_MERGEABLE);
	before = freed_locked();
	must(before >= 0, "/proc/vmstat has no unevictable_pgs_munlocked");
	ksm_settle();
	ksm_expect("4000 locked copies", 16, PAGES - 16, 0, 0);
	nap_ms(1200);
	must(freed_locked() - before > PAGES * 7 / 8,
	     "4000 locked pages merged, %ld were unlocked",
	     freed_locked() - before);
	area_check_same(p, PAGES, 1, "merged");
	area_free(p, PAGES);
	must(labs(locked_kb() - base) < pages_kb(PAGES) / 8,
	     "all unmapped, Mlocked went from %ld to %ld kB", base,
	     locked_kb());
}

/* A limited cgroup: merged memory makes room within the limit. */
static void test_cgroup(void)
{
	long before, merged, max = pages_kb(PAGES) * 1024 + (8l << 20);
	char *p, *q;

	memcg_enter();
	memcg_limit(max);
	p = area_same(PAGES, 1);
	before = memcg_current();
	ksm_settle();
	ksm_expect("4000 copies", 16, PAGES - 16, 0, 0);
	merged = memcg_current();
	must(before - merged > max / 2,
	     "merging 4000 pages lowered memory.current from %ld to %ld",
	     before, merged);
	/* As much again fits only because the first has merged. */
	q = area_new(PAGES);
	area_fill_each(q, PAGES, 1000);
	area_check_same(p, PAGES, 1, "merged in a cgroup");
	area_check_each(q, PAGES, 1000, "written in a cgroup");
	area_free(q, PAGES);
	area_fill_each(p, PAGES / 4, 9000);
	area_check_each(p, PAGES / 4, 9000, "written in a cgroup");
	area_check_same(page_at(p, PAGES / 4), PAGES - PAGES / 4, 1,
			"merged in a cgroup, later");
	memcg_limit(-1);
}

static void in_cgroup(void *arg)
{
	struct gate *g = arg;
	char *p;

	memcg_enter();
	p = area_same(50, 1);
	gate_open(&g[0], 1);
	gate_wait(&g[1], 1);
	area_check_same(p, 50, 1, "in a cgroup");
}

/* A page first merged in a cgroup lives on when that cgroup is gone. */
static void test_cgroup_gone(void)
{
	struct gate *g = shared_new(2 * sizeof(*g));
	pid_t pid = child(in_cgroup, g);
	char *p;

	gate_wait(&g[0], 1);
	ksm_settle();
	ksm_expect("in a cgroup", 1, 49, 0, 0);
	p = area_same(50, 1);
	ksm_settle();
	ksm_expect("in and out of it", 1, 99, 0, 0);
	gate_open(&g[1], 1);
	join(pid);
	memcg_cleanup();
	ksm_forget();
	ksm_expect("the cgroup is gone", 1, 49, 0, 0);
	area_check_same(p, 50, 1, "merged with a cgroup that is gone");
	area_fill_each(p, 25, 30);
	ksm_settle();
	area_check_each(p, 25, 30, "written");
	area_check_same(page_at(p, 25), 25, 1, "not written");
}

static const struct ksm_case cases[] = {
	{ "frees_memory", test_frees_memory, KSM_EXCLUSIVE },
	{ "resident_size", test_resident_size },
	{ "locked", test_locked },
	{ "locked_counts", test_locked_counts, KSM_EXCLUSIVE },
	{ "locked_leave", test_locked_leave, KSM_EXCLUSIVE },
	{ "cgroup", test_cgroup, KSM_EXCLUSIVE },
	{ "cgroup_gone", test_cgroup_gone, KSM_EXCLUSIVE },
	{ }
};

const struct ksm_topic topic_saving = { "saving", cases };
