// SPDX-License-Identifier: GPL-2.0-only
/*
 * From the merged page to its sharers: what /proc says of the page, and that
 * the kernel finds every mapping of it (idle page tracking).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "ksm_util.h"

#define IDLE_BITMAP "/sys/kernel/mm/page_idle/bitmap"

static void test_page_files(void)
{
	char *p = area_same(30, 1), *q = area_each(1, 50);
	uint64_t pfn;
	size_t i;

	must(!page_is_ksm(p), "a page is merged before ksmd ran");
	ksm_settle();
	ksm_expect("30 copies, 1 unique", 1, 29, 1, 0);
	pfn = page_pfn(p);
	for (i = 0; i < 30; i++)
		must_eq("frame of a merged page", page_pfn(page_at(p, i)), pfn);
	must(pfn_has_flag(pfn, KPF_KSM_PAGE), "kpageflags lacks KSM");
	must_eq("kpagecount of the merged page", pfn_mapcount(pfn), 30);
	must(!page_is_ksm(q), "kpageflags has KSM for a unique page");
	page_fill(page_at(p, 4), 2);
	must_eq("kpagecount after a write", pfn_mapcount(pfn), 29);
	must(!page_is_ksm(page_at(p, 4)), "kpageflags has KSM after a write");
	area_check_same(page_at(p, 5), 25, 1, "merged");
}

static uint64_t idle_word(uint64_t pfn)
{
	int fd = open(IDLE_BITMAP, O_RDONLY | O_CLOEXEC);
	uint64_t w = 0;

	if (fd < 0)
		skip("no idle page tracking: %m");
	must(pread(fd, &w, sizeof(w), pfn / 64 * 8) == sizeof(w),
	     "reading " IDLE_BITMAP ": %m");
	close(fd);
	return w;
}

static bool is_idle(uint64_t pfn)
{
	return idle_word(pfn) >> (pfn % 64) & 1;
}

void page_set_idle(uint64_t pfn)
{
	uint64_t w = 1ull << (pfn % 64);
	int fd = open(IDLE_BITMAP, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		skip("no idle page tracking: %m");
	must(pwrite(fd, &w, sizeof(w), pfn / 64 * 8) == sizeof(w),
	     "writing " IDLE_BITMAP ": %m");
	close(fd);
}

struct toucher {
	struct gate *go, *done;
	char *p;
};

static void touches(void *arg)
{
	struct toucher *t = arg;
	char *p = area_same(5, 1);

	gate_open(t->done, 1);
	gate_wait(t->go, 1);
	flush_own_tlb();
	page_check(page_at(p, 3), 1, "in the other process");
	gate_open(t->done, 2);
	gate_wait(t->go, 2);
}

/* One sharer's access makes the page not idle, whichever sharer it is. */
static void test_idle_tracking(void)
{
	struct toucher t = { gate_new(), gate_new(), NULL };
	pid_t pid;
	uint64_t pfn;

	is_idle(1);
	pid = child(touches, &t);
	gate_wait(t.done, 1);
	t.p = area_same(5, 1);
	ksm_settle();
	ksm_expect("2 x 5 copies", 1, 9, 0, 0);
	ksm_set("run", 0);
	pfn = page_pfn(t.p);
	page_set_idle(pfn);
	must(is_idle(pfn), "the merged page is not idle after it was set so");
	must(is_idle(pfn), "looking at it made it busy");
	gate_open(t.go, 1);
	gate_wait(t.done, 2);
	must(!is_idle(pfn),
	     "another sharer's access did not end the page's idleness");
	page_set_idle(pfn);
	must(is_idle(pfn), "not idle after it was set so again");
	flush_own_tlb();
	area_check_same(t.p, 1, 1, "own sharer");
	must(!is_idle(pfn),
	     "this sharer's access did not end the page's idleness");
	gate_open(t.go, 2);
	join(pid);
}

/* A child got its mapping by fork: the kernel finds it too. */
static void idle_in_child(void *arg)
{
	struct toucher *t = arg;

	gate_open(t->done, 1);
	gate_wait(t->go, 1);
	flush_own_tlb();
	page_check(page_at(t->p, 2), 1, "in the child");
	gate_open(t->done, 2);
	gate_wait(t->go, 2);
}

static void test_idle_forked(void)
{
	struct toucher t = { gate_new(), gate_new(), NULL };
	pid_t pid;
	uint64_t pfn;

	is_idle(1);
	t.p = area_same(5, 1);
	ksm_settle();
	ksm_expect("5 copies", 1, 4, 0, 0);
	ksm_set("run", 0);
	pfn = page_pfn(t.p);
	pid = child(idle_in_child, &t);
	gate_wait(t.done, 1);
	page_set_idle(pfn);
	must(is_idle(pfn), "the merged page is not idle after it was set so");
	gate_open(t.go, 1);
	gate_wait(t.done, 2);
	must(!is_idle(pfn),
	     "a forked sharer's access did not end the page's idleness");
	gate_open(t.go, 2);
	join(pid);
}

#define SHARERS 2000

/* @p's mapping in @parts pieces, by a permission that every other one lacks. */
static void split_mapping(char *p, size_t pages, size_t parts)
{
	size_t each = pages / parts, i;

	for (i = 1; i < parts; i += 2)
		must_call(mprotect(page_at(p, i * each), each * page_size,
				   PROT_READ));
}

/*
 * An area of @pages, all of one anon_vma, in @parts mappings; SHARERS pages of
 * it, evenly spread, hold 10 contents and are merged.
 */
static char *spread_new(size_t pages, size_t parts)
{
	size_t stride = pages / SHARERS, i;
	char *p = area_new(pages);

	for (i = 0; i < SHARERS; i++)
		page_fill(page_at(p, i * stride), i % 10);
	split_mapping(p, pages, parts);
	area_advise(p, pages, MADV_MERGEABLE);
	ksm_settle();
	ksm_expect("10 x 200 copies", 10, SHARERS - 10, 0, 0);
	return p;
}

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000ull + ts.tv_nsec / 1000;
}

/* Visit all sharers of the 10 merged pages, the least of 5 tries, in us. */
static uint64_t time_of_visits(char *p, size_t stride)
{
	uint64_t best = ~0ull;
	int try, i;

	for (try = 0; try < 5; try++) {
		uint64_t pfn[10], start;

		for (i = 0; i < 10; i++)
			pfn[i] = page_pfn(page_at(p, i * stride));
		start = now_us();
		for (i = 0; i < 10; i++)
			page_set_idle(pfn[i]);
		start = now_us() - start;
		if (start < best)
			best = start;
		must(is_idle(pfn[0]), "a merged page is not idle after it was set so");
	}
	return best ? best : 1;
}

static void check_spread(char *p, size_t stride)
{
	int i;

	for (i = 0; i < SHARERS; i++)
		page_check(page_at(p, i * stride), i % 10, "spread");
}

/*
 * Visiting the sharers of a page takes time for each sharer, not for each of
 * 20,000 mappings that the area is split into.
 */
static void test_many_mappings(void)
{
	/* A debug kernel looks at all mappings whenever one changes. */
	size_t parts = access("/proc/lockdep", F_OK) ? 20000 : 2000;
	uint64_t small, large;
	char *p;

	is_idle(1);
	p = spread_new(SHARERS, 1);
	ksm_set("run", 0);
	small = time_of_visits(p, 1);
	check_spread(p, 1);
	area_free(p, SHARERS);
	ksm_set("run", 2);
	p = spread_new(parts, parts);
	ksm_set("run", 0);
	large = time_of_visits(p, parts / SHARERS);
	ksm_note("rmap.many_mappings: 2000 sharers in 1 mapping %llu us, in %zu mappings %llu us",
		 (unsigned long long)small, parts, (unsigned long long)large);
	check_spread(p, parts / SHARERS);
	must(large < 20 * small,
	     "visiting 2000 sharers takes %llu us in one mapping, %llu us in %zu",
	     (unsigned long long)small, (unsigned long long)large, parts);
}

static const struct ksm_case cases[] = {
	{ "page_files", test_page_files },
	{ "idle_tracking", test_idle_tracking },
	{ "idle_forked", test_idle_forked },
	{ "many_mappings", test_many_mappings, KSM_SLOW,
	  "reverse mapping looks at all mappings for each sharer" },
	{ }
};

const struct ksm_topic topic_rmap = { "rmap", cases };
