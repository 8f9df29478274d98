// SPDX-License-Identifier: GPL-2.0-only
/*
 * The copy that is made when a KSM page comes back from swap for somebody whom
 * the page in the swap cache does not fit: whose it is, and what happens when
 * there is no memory for it.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "ksm_util.h"

#define SWAP_BYTES	(64ul << 20)

static long copies_made(void)
{
	return vmstat_of("ksm_swpin_copy");
}

/* --- whom it is charged to -------------------------------------------------- */

#define PAGES	500

enum step { READY = 1, READ_AGAIN, END };

struct sharer {
	struct gate *now, *go;
	bool is_inside;
	long copies, charged;
};

/* All KSM pages are charged to the cgroup: they were this process' own. */
static void own_pages(void *arg)
{
	struct sharer *s = arg;
	char *p, *q;

	memcg_enter();
	p = area_each(PAGES, 1);
	q = area_each(PAGES, 1);
	gate_open(s->now, READY);
	gate_wait(s->go, READ_AGAIN);
	memcg_push_out(p, PAGES);
	area_check_each(p, PAGES, 1, "of the owner, in again");
	area_check_each(q, PAGES, 1, "of the owner, in again");
	gate_open(s->now, READ_AGAIN);
	gate_wait(s->go, END);
	area_check_each(p, PAGES, 1, "of the owner, at the end");
	area_check_each(q, PAGES, 1, "of the owner, at the end");
}

/* By now the owner has its pages back: they lie in the swap cache, and fit it. */
static void share_pages(void *arg)
{
	struct sharer *s = arg;
	char *p;

	if (s->is_inside)
		memcg_enter();
	p = area_each(PAGES, 1);
	gate_open(s->now, READY);
	gate_wait(s->go, READ_AGAIN);
	s->copies = copies_made();
	s->charged = memcg_current();
	area_check_each(p, PAGES, 1, "of the other process, in again");
	s->charged = (memcg_current() - s->charged) / (long)page_size;
	s->copies = copies_made() - s->copies;
	gate_open(s->now, READ_AGAIN);
	area_fill_each(p, PAGES, 5000);
	area_check_each(p, PAGES, 5000, "of the other process, written");
}

static struct sharer *sharer_new(bool is_inside)
{
	struct sharer *s = shared_new(sizeof(*s));

	s->now = gate_new();
	s->go = gate_new();
	s->is_inside = is_inside;
	return s;
}

/* What a second process in the cgroup, or not in it, gets and has it charged. */
static const struct sharer *read_in_other(bool is_inside)
{
	struct sharer *owner = sharer_new(true), *other = sharer_new(is_inside);
	pid_t pid[2];

	pid[0] = child(own_pages, owner);
	gate_wait(owner->now, READY);
	ksm_settle();
	ksm_expect("500 x 2 copies", PAGES, PAGES, 0, 0);
	pid[1] = child(share_pages, other);
	gate_wait(other->now, READY);
	ksm_settle();
	ksm_expect("500 x 3 copies", PAGES, 2 * PAGES, 0, 0);
	ksm_set("run", 0);
	gate_open(owner->go, READ_AGAIN);
	gate_wait(owner->now, READ_AGAIN);
	gate_open(other->go, READ_AGAIN);
	join(pid[1]);
	gate_open(owner->go, END);
	join(pid[0]);
	must(other->copies >= PAGES / 2,
	     "another process took pages from swap, %ld of 500 by a copy",
	     other->copies);
	ksm_set("run", 2);
	return other;
}

/* To the one who reads.  CPUs keep some pages in stock, hence the halves. */
static void test_copy_charged(void)
{
	const struct sharer *s;

	swap_on(SWAP_BYTES);
	s = read_in_other(true);
	must(s->charged > s->copies / 2,
	     "a process of the cgroup got %ld copies, %ld pages were charged to it",
	     s->copies, s->charged);
	s = read_in_other(false);
	must(s->charged < s->copies / 2,
	     "a process of no cgroup got %ld copies, %ld pages were charged to another's",
	     s->copies, s->charged);
}

/* --- no memory for it ------------------------------------------------------- */

/*
 * Read every page with the first allocation failing, or the second and so on,
 * until one is read with none failing; then from the start again.  Returns how
 * many have failed.
 */
static long read_failing(char *p, size_t pages)
{
	long failed = 0;
	size_t i;
	int n = 1;

	for (i = 0; i < pages; i++) {
		if (!(pagemap_of(page_at(p, i)) & PM_SWAP))
			continue;
		fail_nth(n);
		byte_read(page_at(p, i));
		n = nth_has_failed() ? n + 1 : 1;
		failed += n > 1;
		page_check(page_at(p, i), 1, "read without memory");
	}
	return failed;
}

/*
 * The fault is tried again until there is memory: the process must not get any
 * other page meanwhile, nor a signal.
 */
static void test_copy_without_memory(void)
{
	const size_t pages = 200;
	long copies, failed;
	char *p;

	need_failing();
	memcg_enter();
	swap_on(SWAP_BYTES);
	p = area_same(pages, 1);
	ksm_settle();
	ksm_expect("200 copies", 1, pages - 1, 0, 0);
	ksm_set("run", 0);
	memcg_push_out(p, pages);
	copies = copies_made();
	failed = read_failing(p, pages);
	copies = copies_made() - copies;
	ksm_note("swapin.copy_without_memory: %ld copies, %ld failures", copies,
		 failed);
	must(copies > (long)pages / 3, "%ld copies of 200 pages from swap",
	     copies);
	/* All but the first need memory for the copy, and for nothing else. */
	must(failed > copies / 4, "only %ld allocations failed for %ld copies",
	     failed, copies);
	area_check_same(p, pages, 1, "in again");
	area_fill_each(p, 50, 3000);
	area_check_each(p, 50, 3000, "written");
	ksm_settle();
	must_eq("shared + sharing",
		ksm_read("pages_shared") + ksm_read("pages_sharing"),
		pages - 50);
	area_check_same(page_at(p, 50), pages - 50, 1, "merged again");
}

static const struct ksm_case cases[] = {
	{ "copy_charged", test_copy_charged, KSM_EXCLUSIVE | KSM_SLOW },
	{ "copy_without_memory", test_copy_without_memory, KSM_EXCLUSIVE },
	{ }
};

const struct ksm_topic topic_swapin = { "swapin", cases };
