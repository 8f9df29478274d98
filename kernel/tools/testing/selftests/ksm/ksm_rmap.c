// SPDX-License-Identifier: GPL-2.0-only
/*
 * From the merged page to its sharers: what /proc says of the page, and that
 * the kernel finds every mapping of it (idle page tracking).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
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

static void set_idle(uint64_t pfn)
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
	set_idle(pfn);
	must(is_idle(pfn), "the merged page is not idle after it was set so");
	must(is_idle(pfn), "looking at it made it busy");
	gate_open(t.go, 1);
	gate_wait(t.done, 2);
	must(!is_idle(pfn),
	     "another sharer's access did not end the page's idleness");
	set_idle(pfn);
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
	set_idle(pfn);
	must(is_idle(pfn), "the merged page is not idle after it was set so");
	gate_open(t.go, 1);
	gate_wait(t.done, 2);
	must(!is_idle(pfn),
	     "a forked sharer's access did not end the page's idleness");
	gate_open(t.go, 2);
	join(pid);
}

static const struct ksm_case cases[] = {
	{ "page_files", test_page_files },
	{ "idle_tracking", test_idle_tracking },
	{ "idle_forked", test_idle_forked },
	{ }
};

const struct ksm_topic topic_rmap = { "rmap", cases };
