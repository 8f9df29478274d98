// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nodes: merge_across_nodes, and merged pages that move from node to node or
 * within one (move_pages, migrate_pages, compaction).
 */
#define _GNU_SOURCE
#include <linux/mempolicy.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "ksm_util.h"

static int numa_nodes(void)
{
	char path[64];
	int n = 0;

	do {
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d",
			 n);
	} while (!access(path, F_OK) && ++n < 64);
	return n ? n : 1;
}

void need_two_nodes(void)
{
	int n = numa_nodes();

	if (n < 2)
		skip("%d NUMA node, 2 are needed (numa=fake=2)", n);
}

char *area_on(int node, size_t pages, uint64_t seed)
{
	unsigned long mask = 1ul << node;
	char *p = area_new(pages);

	must_call(syscall(SYS_mbind, p, pages * page_size, MPOL_BIND, &mask,
			  sizeof(mask) * 8, 0));
	area_fill_same(p, pages, seed);
	area_advise(p, pages, MADV_MERGEABLE);
	return p;
}

static int node_of(char *p)
{
	void *page = p;
	int status = -1;

	must_call(syscall(SYS_move_pages, 0, 1, &page, NULL, &status, 0));
	must(status >= 0, "node of a present page: errno %d", -status);
	return status;
}

/* Move one page, whoever maps it, to @node; returns 0 or the page's -errno. */
static int move_to(char *p, int node)
{
	void *page = p;
	int status = -1;

	must_call(syscall(SYS_move_pages, 0, 1, &page, &node, &status,
			  MPOL_MF_MOVE_ALL));
	return status < 0 ? status : 0;
}

static void test_across_nodes(void)
{
	char *p, *q;

	need_two_nodes();
	p = area_on(0, 20, 1);
	q = area_on(1, 20, 1);
	must(node_of(p) == 0 && node_of(q) == 1, "pages are on nodes %d and %d",
	     node_of(p), node_of(q));
	ksm_settle();
	ksm_expect("merge_across_nodes=1", 1, 39, 0, 0);
	area_check_same(p, 20, 1, "node 0");
	area_check_same(q, 20, 1, "node 1");
}

static void test_within_nodes(void)
{
	char *p, *q;

	need_two_nodes();
	ksm_set("merge_across_nodes", 0);
	p = area_on(0, 20, 1);
	q = area_on(1, 20, 1);
	ksm_settle();
	ksm_expect("merge_across_nodes=0", 2, 38, 0, 0);
	must(node_of(p) == 0 && node_of(q) == 1, "pages are on nodes %d and %d",
	     node_of(p), node_of(q));
	area_check_same(p, 20, 1, "node 0");
	area_check_same(q, 20, 1, "node 1");
	/* While something is merged the knob must not turn. */
	must_eq("errno of merge_across_nodes=1 while pages are merged",
		-ksm_write("merge_across_nodes", "1"), EBUSY);
	must_eq("merge_across_nodes", ksm_read("merge_across_nodes"), 0);
	ksm_set("run", 2);
	ksm_set("merge_across_nodes", 1);
	ksm_settle();
	ksm_expect("merge_across_nodes=1", 1, 39, 0, 0);
	area_check_same(p, 20, 1, "node 0, later");
	area_check_same(q, 20, 1, "node 1, later");
}

/* A unique content per node does not merge across. */
static void test_within_one_each(void)
{
	char *p, *q;

	need_two_nodes();
	ksm_set("merge_across_nodes", 0);
	p = area_on(0, 1, 1);
	q = area_on(1, 1, 1);
	ksm_settle();
	ksm_expect("one of each, merge_across_nodes=0", 0, 0, 2, 0);
	page_check(p, 1, "node 0");
	page_check(q, 1, "node 1");
}

static void test_moved(void)
{
	char *p, *q;
	uint64_t pfn;
	int n, err = 0;

	need_two_nodes();
	p = area_on(0, 20, 1);
	ksm_settle();
	ksm_expect("20 copies", 1, 19, 0, 0);
	for (n = 0; n < 6; n++) {
		int to = 1 - node_of(p);

		pfn = page_pfn(p);
		err = move_to(p, to);
		must(!err, "moving a merged page to node %d: errno %d", to,
		     -err);
		must_eq("node of the merged page", node_of(page_at(p, 7)), to);
		must(page_pfn(p) != pfn, "the merged page did not move");
		must_eq("merged pages", area_count_ksm(p, 20), 20);
		must_eq("different frames", area_count_frames(p, 20), 1);
		area_check_same(p, 20, 1, "moved");
	}
	/* The moved page is still found: equal ones merge with it. */
	q = area_on(0, 20, 1);
	ksm_settle();
	ksm_expect("20 more", 1, 39, 0, 0);
	must_eq("frame of the new sharers", page_pfn(q), page_pfn(p));
	area_fill_each(p, 20, 60);
	area_check_same(q, 20, 1, "others");
	ksm_settle();
	ksm_expect("20 written", 1, 19, 20, 0);
	area_check_each(p, 20, 60, "written");
}

/*
 * Memory that was remapped before it merged lies at an address that does not
 * tell its place in the anon_vma: the kernel must find all mappings even so.
 */
static void test_moved_remapped(void)
{
	char *p, *q, *r;
	int err;

	need_two_nodes();
	p = area_on(0, 20, 1);
	q = area_move(p, area_new(20), 20);
	r = area_on(0, 20, 1);
	ksm_settle();
	ksm_expect("20 remapped, 20 other", 1, 39, 0, 0);
	err = move_to(q, 1);
	must(!err, "moving a page that remapped memory shares: errno %d",
	     -err);
	must_eq("node of the moved page", node_of(r), 1);
	must_eq("different frames of the remapped", area_count_frames(q, 20),
		1);
	must_eq("different frames of the other", area_count_frames(r, 20), 1);
	area_check_same(q, 20, 1, "remapped");
	area_check_same(r, 20, 1, "not remapped");
}

static void forked_sharer(void *arg)
{
	struct gate *g = arg;

	gate_open(&g[0], 1);
	gate_wait(&g[1], 1);
}

/* So must it find those that came by fork, before they were ever scanned. */
static void test_moved_forked(void)
{
	struct gate *g = shared_new(2 * sizeof(*g));
	pid_t pid;
	char *p;
	int err;

	need_two_nodes();
	p = area_on(0, 20, 1);
	ksm_settle();
	ksm_expect("20 copies", 1, 19, 0, 0);
	ksm_set("run", 0);
	pid = child(forked_sharer, g);
	gate_wait(&g[0], 1);
	err = move_to(p, 1);
	must(!err, "moving a page that a fork shares: errno %d", -err);
	must_eq("node of the moved page", node_of(p), 1);
	must_eq("mapcount of the moved page", pfn_mapcount(page_pfn(p)), 40);
	area_check_same(p, 20, 1, "moved");
	gate_open(&g[1], 1);
	join(pid);
}

struct mover {
	struct gate *ready, *end;
};

static void other_sharer(void *arg)
{
	struct mover *m = arg;
	char *p = area_same(20, 1);

	gate_open(m->ready, 1);
	gate_wait(m->end, 1);
	area_check_same(p, 20, 1, "in the other process");
}

/* Moving while ksmd runs and others share. */
static void test_moved_under_scan(void)
{
	struct mover m = { gate_new(), gate_new() };
	pid_t pid;
	int n, done = 0;
	char *p;

	need_two_nodes();
	pid = child(other_sharer, &m);
	gate_wait(m.ready, 1);
	p = area_same(20, 1);
	ksm_set("sleep_millisecs", 0);
	ksm_settle();
	for (n = 0; n < 100; n++) {
		char *page = page_at(p, n % 20);

		done += !move_to(page, n / 20 % 2);
		page_check(page, 1, "moved under scan");
		if (n % 10 == 0) {
			page_fill(page, 90 + n);
			page_check(page, 90 + n, "written under scan");
			page_fill(page, 1);
		}
	}
	must(done, "none of 100 moves succeeded");
	area_check_same(p, 20, 1, "at the end");
	gate_open(m.end, 1);
	join(pid);
	ksm_forget();
	ksm_expect("at the end", 1, 19, 0, 0);
}

/* With merge_across_nodes=0 a moved page belongs to its new node. */
static void test_moved_within(void)
{
	char *p, *q, *r;
	int err;

	need_two_nodes();
	ksm_set("merge_across_nodes", 0);
	p = area_on(0, 20, 1);
	q = area_on(1, 20, 1);
	ksm_settle();
	ksm_expect("20 on each node", 2, 38, 0, 0);
	err = move_to(p, 1);
	must(!err, "moving a merged page: errno %d", -err);
	must_eq("node of the moved page", node_of(p), 1);
	ksm_settle();
	ksm_settle();
	must_eq("shared + sharing after the move",
		ksm_read("pages_shared") + ksm_read("pages_sharing"), 40);
	area_check_same(p, 20, 1, "moved");
	area_check_same(q, 20, 1, "not moved");
	area_fill_each(q, 20, 70);
	ksm_settle();
	ksm_expect("the others written", 1, 19, 20, 0);
	area_check_same(p, 20, 1, "moved, later");
	area_check_each(q, 20, 70, "written");
	/* It is found on its new node, and no longer on the old one. */
	q = area_on(1, 20, 1);
	r = area_on(0, 20, 1);
	ksm_settle();
	ksm_expect("20 more on each node", 2, 58, 20, 0);
	must_eq("frame of those on its new node", page_pfn(q), page_pfn(p));
	must_eq("node of the others", node_of(r), 0);
}

static void test_process_moved(void)
{
	unsigned long from = 1, to = 2;
	char *p;
	long left;

	need_two_nodes();
	p = area_on(0, 20, 1);
	ksm_settle();
	ksm_expect("20 copies", 1, 19, 0, 0);
	left = syscall(SYS_migrate_pages, 0, sizeof(from) * 8, &from, &to);
	must(left >= 0, "migrate_pages: %m");
	must_eq("node of the merged page", node_of(p), 1);
	must_eq("different frames", area_count_frames(p, 20), 1);
	area_check_same(p, 20, 1, "process moved");
	page_fill(p, 6);
	area_check_same(page_at(p, 1), 19, 1, "others");
	page_check(p, 6, "written");
}

/* Pages between others that are freed again: compaction wants to move them. */
static char *scattered_new(size_t pages, size_t apart)
{
	char *p = area_new(pages), *between = area_new(pages * apart);
	size_t i, j;

	for (i = 0; i < pages; i++) {
		page_fill(page_at(p, i), i / 10);
		for (j = 0; j < apart; j++)
			byte_write(page_at(between, i * apart + j), 1);
	}
	area_free(between, pages * apart);
	return p;
}

/* Compact all memory; returns how many merged pages lie elsewhere after it. */
static size_t compact(char *p, size_t pages)
{
	static uint64_t frame[2000];
	size_t i, moved = 0;
	int err;

	/* Nobody else moves any meanwhile. */
	ksm_set("run", 0);
	for (i = 0; i < pages; i++)
		frame[i] = page_is_ksm(page_at(p, i)) ? page_pfn(page_at(p, i)) : 0;
	err = file_write("/proc/sys/vm/compact_memory", "1");
	must(!err, "compacting: %s", strerror(-err));
	for (i = 0; i < pages; i++)
		moved += frame[i] && page_pfn(page_at(p, i)) != frame[i];
	ksm_set("run", 1);
	return moved;
}

static void test_compaction(void)
{
	const char *knob = "/proc/sys/vm/compact_memory";
	size_t moved = 0;
	char *p;
	int n;

	if (access(knob, W_OK))
		skip("the kernel has no compaction");
	p = scattered_new(2000, 8);
	area_advise(p, 2000, MADV_MERGEABLE);
	ksm_settle();
	ksm_expect("200 x 10 copies", 200, 1800, 0, 0);
	for (n = 0; n < 5; n++) {
		int i;

		moved += compact(p, 2000);
		for (i = 0; i < 2000; i++)
			page_check(page_at(p, i), i / 10, "compacted");
		area_free(page_at(p, 0) + n * 400 * page_size, 200);
		must(mmap(p + n * 400 * page_size, 200 * page_size,
			  PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
		     MAP_FAILED, "mmap: %m");
		for (i = 0; i < 200; i++)
			page_fill(page_at(p, n * 400 + i), (n * 400 + i) / 10);
		area_advise(page_at(p, n * 400), 200, MADV_MERGEABLE);
		ksm_wait_scans(1);
	}
	ksm_settle();
	ksm_expect("after compaction", 200, 1800, 0, 0);
	ksm_note("numa.compaction: %zu mappings of merged pages were moved", moved);
	must(moved, "compaction moved none of 2000 merged pages");
}

static const struct ksm_case cases[] = {
	{ "across_nodes", test_across_nodes },
	{ "within_nodes", test_within_nodes },
	{ "within_one_each", test_within_one_each },
	{ "moved", test_moved },
	{ "moved_remapped", test_moved_remapped },
	{ "moved_forked", test_moved_forked },
	{ "moved_under_scan", test_moved_under_scan },
	{ "moved_within", test_moved_within },
	{ "process_moved", test_process_moved },
	{ "compaction", test_compaction, KSM_EXCLUSIVE },
	{ }
};

const struct ksm_topic topic_numa = { "numa", cases };
