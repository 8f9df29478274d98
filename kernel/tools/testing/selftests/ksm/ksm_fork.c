// SPDX-License-Identifier: GPL-2.0-only
/*
 * fork() with merged memory: what the child sees, who counts what, and that
 * a write on one side never shows on the other.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "ksm_util.h"

struct family {
	char *p;
	struct gate *g;
	long *out;
};

static struct family merged_family(size_t pages)
{
	struct family f = { area_same(pages, 1), gate_new(),
			    shared_new(page_size) };

	ksm_settle();
	ksm_expect("before fork", 1, pages - 1, 0, 0);
	return f;
}

static void sees_child(void *arg)
{
	struct family *f = arg;

	must_eq("merged pages seen by the child", area_count_ksm(f->p, 20), 20);
	must(vma_has_flag(f->p, "mg"), "the child's mapping lacks mg");
	area_check_same(f->p, 20, 1, "in the child");
	gate_open(f->g, 1);
	gate_wait(f->g, 2);
	area_check_same(f->p, 20, 1, "in the child, later");
}

static void test_child_sees(void)
{
	struct family f = merged_family(20);
	pid_t pid = child(sees_child, &f);

	gate_wait(f.g, 1);
	ksm_settle();
	ksm_expect("parent and child", 1, 39, 0, 0);
	must_eq("the parent's ksm_merging_pages", proc_merging_pages(0), 20);
	gate_open(f.g, 2);
	join(pid);
	ksm_forget();
	ksm_expect("the child is gone", 1, 19, 0, 0);
	area_check_same(f.p, 20, 1, "in the parent");
}

static void writes_child(void *arg)
{
	struct family *f = arg;

	area_fill_each(f->p, 10, 100);
	gate_open(f->g, 1);
	gate_wait(f->g, 2);
	area_check_each(f->p, 10, 100, "in the child, written by it");
	area_check_same(page_at(f->p, 10), 10, 1,
			"in the child, written by the parent");
	area_advise(f->p, 20, MADV_UNMERGEABLE);
	area_check_same(page_at(f->p, 10), 10, 1, "in the child, given back");
	must_eq("merged pages of the child", area_count_ksm(f->p, 20), 0);
}

static void test_both_write(void)
{
	struct family f = merged_family(20);
	pid_t pid = child(writes_child, &f);

	gate_wait(f.g, 1);
	area_check_same(f.p, 20, 1, "in the parent, child has written");
	area_fill_each(page_at(f.p, 10), 10, 200);
	ksm_settle();
	ksm_expect("10 written on both sides", 1, 19, 20, 0);
	gate_open(f.g, 2);
	join(pid);
	area_check_same(f.p, 10, 1, "in the parent");
	area_check_each(page_at(f.p, 10), 10, 200, "in the parent, written");
}

static void counting_child(void *arg)
{
	struct family *f = arg;

	gate_wait(f->g, 1);
}

/* What the scanner finds in the child is all that the child counts. */
static void test_child_counts(void)
{
	struct family f = merged_family(20);
	pid_t pid = child(counting_child, &f);

	ksm_settle();
	ksm_expect("parent and child", 1, 39, 0, 0);
	must_eq("the child's ksm_merging_pages", proc_merging_pages(pid), 20);
	must_eq("the child's ksm_rmap_items",
		proc_ksm_stat(pid, "ksm_rmap_items"), 20);
	gate_open(f.g, 1);
	join(pid);
}

static void counter_child(void *arg)
{
	struct family *f = arg;

	f->out[0] = proc_merging_pages(0);
	f->out[1] = proc_ksm_stat(0, "ksm_rmap_items");
	f->out[2] = proc_ksm_stat(0, "ksm_cow_breaks");
}

/* A fresh child has merged nothing, been scanned for nothing, broken nothing. */
static void test_counters_start_at_zero(void)
{
	struct family f = merged_family(20);

	page_fill(f.p, 9);
	page_fill(f.p, 1);
	ksm_set("run", 0);
	join(child(counter_child, &f));
	must_eq("a fresh child's ksm_merging_pages", f.out[0], 0);
	must_eq("a fresh child's ksm_rmap_items", f.out[1], 0);
	if (f.out[2] >= 0)
		must_eq("a fresh child's ksm_cow_breaks", f.out[2], 0);
}

/* Also if the parent has given up all it had and is no longer mergeable. */
static void test_counters_of_unmerged_parent(void)
{
	struct family f = merged_family(20);

	ksm_set("run", 0);
	area_advise(f.p, 20, MADV_UNMERGEABLE);
	join(child(counter_child, &f));
	must_eq("a fresh child's ksm_merging_pages", f.out[0], 0);
	must_eq("a fresh child's ksm_rmap_items", f.out[1], 0);
	area_check_same(f.p, 20, 1, "in the parent");
}

static void run_grandchild(void *arg)
{
	struct family *f = arg;

	area_check_same(f->p, 20, 1, "in the grandchild");
	area_fill_each(f->p, 5, 300);
	ksm_wait_scans(3);
	area_check_each(f->p, 5, 300, "in the grandchild, written");
	area_check_same(page_at(f->p, 5), 15, 1, "in the grandchild");
}

static void middle_child(void *arg)
{
	struct family *f = arg;
	pid_t pid = child(run_grandchild, arg);

	area_fill_each(page_at(f->p, 15), 5, 400);
	join(pid);
	area_check_same(f->p, 15, 1, "in the child");
	area_check_each(page_at(f->p, 15), 5, 400, "in the child, written");
}

static void test_three_generations(void)
{
	struct family f = merged_family(20);

	join(child(middle_child, &f));
	area_check_same(f.p, 20, 1, "in the parent");
	ksm_forget();
	ksm_expect("alone again", 1, 19, 0, 0);
}

static void outlives_child(void *arg)
{
	struct family *f = arg;

	gate_wait(f->g, 1);
	area_check_same(f->p, 20, 1, "in the child, parent unmapped");
	ksm_wait_scans(3);
	area_check_same(f->p, 20, 1, "in the child, later");
	must_eq("merged pages of the child", area_count_ksm(f->p, 20), 20);
	area_fill_each(f->p, 20, 600);
	area_check_each(f->p, 20, 600, "in the child, written");
}

/* The child's pages stay right when the parent's mapping records go. */
static void test_parent_unmaps(void)
{
	struct family f = merged_family(20);
	pid_t pid = child(outlives_child, &f);

	area_free(f.p, 20);
	gate_open(f.g, 1);
	join(pid);
}

static void limit_child(void *arg)
{
	struct family *f = arg;

	area_check_same(f->p, 10, 1, "in a child over the limit");
	__atomic_fetch_add(&f->out[0], 1, __ATOMIC_SEQ_CST);
	gate_wait(f->g, 1);
	area_check_same(f->p, 10, 1, "in a child over the limit, later");
	page_fill(f->p, getpid());
	page_check(f->p, getpid(), "in a child over the limit, written");
	area_check_same(page_at(f->p, 1), 9, 1, "in a child, not written");
}

/* Fork may bring more sharers than max_page_sharing lets in by merging. */
static void test_over_the_limit(void)
{
	struct family f;
	pid_t pid[6];
	int i;

	ksm_set("max_page_sharing", 10);
	f = merged_family(10);
	for (i = 0; i < 6; i++)
		pid[i] = child(limit_child, &f);
	while (__atomic_load_n(&f.out[0], __ATOMIC_SEQ_CST) < 6)
		nap_ms(2);
	ksm_settle();
	ksm_expect("7 x 10 sharers, max_page_sharing=10", 1, 69, 0, 0);
	gate_open(f.g, 1);
	for (i = 0; i < 6; i++)
		join(pid[i]);
	area_check_same(f.p, 10, 1, "in the parent");
	ksm_forget();
	ksm_expect("alone again", 1, 9, 0, 0);
}

static void wiped_child(void *arg)
{
	struct family *f = arg;

	area_check_zero(f->p, 20, "wiped in the child");
	area_fill_same(f->p, 20, 1);
	ksm_wait_scans(3);
	area_check_same(f->p, 20, 1, "wiped and filled in the child");
}

static void test_wipe_on_fork(void)
{
	struct family f = merged_family(20);

	area_advise(f.p, 20, MADV_WIPEONFORK);
	join(child(wiped_child, &f));
	area_check_same(f.p, 20, 1, "in the parent");
	ksm_forget();
	ksm_expect("alone again", 1, 19, 0, 0);
}

static void lacking_child(void *arg)
{
	struct family *f = arg;

	must(madvise(f->p, 20 * page_size, MADV_NORMAL) && errno == ENOMEM,
	     "the child has what MADV_DONTFORK withholds");
	ksm_wait_scans(2);
}

static void test_dont_fork(void)
{
	struct family f = merged_family(20);

	area_advise(f.p, 20, MADV_DONTFORK);
	join(child(lacking_child, &f));
	area_check_same(f.p, 20, 1, "in the parent");
	ksm_forget();
	ksm_expect("alone again", 1, 19, 0, 0);
}

static const struct ksm_case cases[] = {
	{ "child_sees", test_child_sees },
	{ "both_write", test_both_write },
	{ "child_counts", test_child_counts, 0,
	  "a forked child inherits its parent's counters" },
	{ "counters_start_at_zero", test_counters_start_at_zero, 0,
	  "a forked child inherits its parent's counters" },
	{ "counters_of_unmerged_parent", test_counters_of_unmerged_parent, 0,
	  "a forked child inherits its parent's counters" },
	{ "three_generations", test_three_generations },
	{ "parent_unmaps", test_parent_unmaps },
	{ "over_the_limit", test_over_the_limit },
	{ "wipe_on_fork", test_wipe_on_fork },
	{ "dont_fork", test_dont_fork },
	{ }
};

const struct ksm_topic topic_fork = { "fork", cases };
