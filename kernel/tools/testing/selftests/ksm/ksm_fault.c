// SPDX-License-Identifier: GPL-2.0-only
/*
 * Failures that are made to happen (debug kernels): ksmd gets no memory, a
 * memory block cannot go offline after all.  The engine goes on, and nothing
 * stays half done.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "ksm_util.h"

#define FAIL_NTH	"/proc/thread-self/fail-nth"
#define FAIL_SLAB	"/sys/kernel/debug/failslab/"
#define FAIL_PAGE	"/sys/kernel/debug/fail_page_alloc/"
#define OFFLINE_ERROR	"/sys/kernel/debug/notifier-error-inject/memory/actions/MEM_GOING_OFFLINE/error"
#define BLOCKS		"/sys/devices/system/memory/memory[0-9]*/state"

void fault_cleanup(void)
{
	/* Before the runner puts back who is to be spared. */
	file_write(FAIL_SLAB "probability", "0");
	file_write(FAIL_PAGE "probability", "0");
	file_write(OFFLINE_ERROR, "0");
}

static void set_file(const char *dir, const char *file, const char *value)
{
	char path[160];
	int err;

	snprintf(path, sizeof(path), "%s%s", dir, file);
	err = file_write(path, value);
	must(!err, "writing %s to %s: %s", value, path, strerror(-err));
}

/* --- one allocation of this thread --------------------------------------- */

void need_failing(void)
{
	/* What is spared otherwise: who may wait, pages of processes, small ones. */
	static const char *const file[][2] = {
		{ FAIL_SLAB "ignore-gfp-wait", "N" },
		{ FAIL_SLAB "verbose", "0" },
		{ FAIL_PAGE "ignore-gfp-wait", "N" },
		{ FAIL_PAGE "ignore-gfp-highmem", "N" },
		{ FAIL_PAGE "min-order", "0" },
		{ FAIL_PAGE "verbose", "0" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(file); i++)
		if (access(FAIL_NTH, W_OK) || file_write(file[i][0], file[i][1]))
			skip("the kernel cannot make allocations fail");
}

/*
 * Spare the pages of processes. After a fork the kernel writes to a shared page on
 * the way back to the parent (rseq), and kills it with SIGSEGV if there is none.
 */
void spare_pages(void)
{
	set_file(FAIL_PAGE, "ignore-gfp-highmem", "Y");
}

/*
 * Opened before it is used: opening allocates, and would take the failure that is
 * meant for what comes next.
 */
static int nth_file(void)
{
	static pid_t owner;
	static int fd;

	if (owner == gettid())
		return fd;
	/* That of a parent speaks of the parent. */
	fd = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
	must(fd >= 0, FAIL_NTH ": %m");
	owner = gettid();
	return fd;
}

void fail_nth(int n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", n);

	must(pwrite(nth_file(), text, len, 0) == len,
	     "writing %d to " FAIL_NTH ": %m", n);
}

bool nth_has_failed(void)
{
	char text[16] = "";

	must(pread(nth_file(), text, sizeof(text) - 1, 0) > 0, FAIL_NTH ": %m");
	fail_nth(0);
	return !atoi(text);
}

/* --- ksmd without memory --------------------------------------------------- */

static void need_ksmd_failures(void)
{
	if (access(FAIL_SLAB "task-filter", W_OK) ||
	    access(FAIL_PAGE "task-filter", W_OK))
		skip("the kernel cannot make allocations fail");
	if (!ksm_is_samepage())
		skip("mainline's engine does not count refusals");
}

/*
 * From now on @percent of ksmd's allocations fail, and nobody else's; but for
 * pages that a process gets, which are taken to undo a merge.
 */
static void fail_ksmd(int percent)
{
	static const char *const dir[] = { FAIL_SLAB, FAIL_PAGE };
	char text[32];
	size_t i;

	snprintf(text, sizeof(text), "/proc/%d/", ksmd_pid());
	set_file(text, "make-it-fail", percent ? "1" : "0");
	snprintf(text, sizeof(text), "%d", percent);
	set_file(FAIL_PAGE, "min-order", "0");
	set_file(FAIL_PAGE, "ignore-gfp-highmem", "Y");
	for (i = 0; i < ARRAY_SIZE(dir); i++) {
		set_file(dir[i], "task-filter", "Y");
		set_file(dir[i], "ignore-gfp-wait", "N");
		set_file(dir[i], "verbose", "0");
		set_file(dir[i], "times", "1000000000");
		set_file(dir[i], "probability", text);
	}
}

static long refused_at_start;

static long refused(void)
{
	return proc_ksm_signed(0, "ksm_refused_nomem") - refused_at_start;
}

/* All of ksmd's allocations fail until @least pages were refused for that. */
static void starve_ksmd(long least)
{
	long all = ksm_read("refused_nomem");
	int passes;

	refused_at_start += refused();
	for (passes = 0; refused() < least && passes < 20; passes++)
		ksm_wait_scans(1);
	must(refused() >= least,
	     "ksm_refused_nomem grew by %ld in %d passes, expected %ld at least",
	     refused(), passes, least);
	/* Two numbers can be compared only while neither grows. */
	ksm_set("run", 0);
	must(ksm_read("refused_nomem") - all >= refused(),
	     "refused_nomem grew by %ld, of this process alone by %ld",
	     ksm_read("refused_nomem") - all, refused());
}

/* No memory even to note that a page was seen. */
static void test_no_records(void)
{
	char *p;

	need_ksmd_failures();
	p = area_same(20, 1);
	fail_ksmd(100);
	ksm_set("run", 1);
	starve_ksmd(40);
	ksm_expect("20 copies, no memory for records", 0, 0, 0, 0);
	must_eq("merged pages", area_count_ksm(p, 20), 0);
	must_eq("ksm_rmap_items", proc_ksm_stat(0, "ksm_rmap_items"), 0);
	fail_ksmd(0);
	area_check_same(p, 20, 1, "not merged");
	ksm_settle();
	ksm_expect("20 copies, memory enough", 1, 19, 0, 0);
	area_check_same(p, 20, 1, "merged");
}

/* Pages that are known, but no memory for what a merge has to remember. */
static void test_no_nodes(void)
{
	char *p;

	need_ksmd_failures();
	p = area_each(40, 100);
	ksm_settle();
	ksm_expect("40 unique pages", 0, 0, 40, 0);
	fail_ksmd(100);
	area_fill_same(p, 40, 1);
	starve_ksmd(2 * 39);
	ksm_expect("40 copies, no memory for nodes", 0, 0, -1, -1);
	must_eq("merged pages", area_count_ksm(p, 40), 0);
	fail_ksmd(0);
	area_check_same(p, 40, 1, "not merged");
	ksm_settle();
	ksm_expect("40 copies, memory enough", 1, 39, 0, 0);
	area_check_same(p, 40, 1, "merged");
}

#define PAIRS	200
#define UNDONE	5

/*
 * Merges that were begun and undone so far: nobody but ksmd breaks COW here.
 */
static long undone(void)
{
	return proc_ksm_signed(0, "ksm_cow_breaks");
}

static void check_pairs(const char *p, const char *when)
{
	area_check_each(p, PAIRS, 1, when);
	area_check_each(page_at(p, PAIRS), PAIRS, 1, when);
}

/* Every KSM page has both its sharers. */
static void check_none_alone(const char *p)
{
	size_t i;

	for (i = 0; i < 2 * PAIRS; i++)
		if (page_is_ksm(page_at(p, i)))
			must_eq("sharers of a KSM page, out of two",
				pfn_mapcount(page_pfn(page_at(p, i))), 2);
}

/*
 * Memory for one half of a merge and not for the other: the page that was made
 * ready to be shared is given back, not left write-protected for nobody.
 */
static void test_ksmd_allocations(void)
{
	char *p = area_new(2 * PAIRS);
	int passes;

	need_ksmd_failures();
	area_fill_each(p, PAIRS, 1);
	area_fill_each(page_at(p, PAIRS), PAIRS, 1);
	area_advise(p, 2 * PAIRS, MADV_MERGEABLE);
	must_eq("ksm_cow_breaks of a new process", undone(), 0);
	fail_ksmd(50);
	ksm_set("run", 1);
	for (passes = 0; undone() < UNDONE && passes < 60; passes++)
		ksm_wait_scans(1);
	ksm_set("run", 0);
	fail_ksmd(0);
	must(refused() > 0, "half of all allocations fail, no page was refused for it");
	must(undone() >= UNDONE,
	     "in %d passes %ld merges were undone, expected %d at least",
	     passes, undone(), UNDONE);
	check_none_alone(p);
	check_pairs(p, "some merged");
	ksm_note("fault.ksmd_allocations: %d passes, %ld refused, %ld undone, %zu merged",
		 passes, refused(), undone(), area_count_ksm(p, 2 * PAIRS));
	ksm_settle();
	ksm_expect("memory enough", PAIRS, PAIRS, 0, 0);
	must_eq("merged pages", area_count_ksm(p, 2 * PAIRS), 2 * PAIRS);
	check_pairs(p, "all merged");
}

/* --- a block that stays online after all ----------------------------------- */

/* Try this block; true if it was about to go when the notifier failed. */
static bool nearly_offline(const char *state)
{
	int err = file_write(state, "offline");

	if (!err) {
		file_write(state, "online");
		fail("%s: it went offline, though a notifier fails", state);
	}
	return err == -EXFULL;
}

/* The last blocks are the likeliest to hold no memory of the kernel itself. */
static void need_offline_failure(void)
{
	bool done = false;
	glob_t g;
	size_t i;

	must(!glob(BLOCKS, 0, NULL, &g), "no " BLOCKS);
	for (i = g.gl_pathc; i-- > 0 && !done; )
		done = nearly_offline(g.gl_pathv[i]);
	if (!done)
		skip("none of %zu memory blocks gets as far as the notifier",
		     g.gl_pathc);
	globfree(&g);
}

/*
 * The engine was told that memory goes, and keeps away from it; then somebody
 * else objects.  It must hear of that, too, and go on.
 */
static void test_hotplug_notifier(void)
{
	char text[16], *p, *q;
	int n;

	if (access(OFFLINE_ERROR, W_OK))
		skip("the kernel has no notifier that fails on request");
	p = area_same(20, 1);
	ksm_settle();
	ksm_expect("20 copies", 1, 19, 0, 0);
	snprintf(text, sizeof(text), "%d", -EXFULL);
	set_file(OFFLINE_ERROR, "", text);
	for (n = 0; n < 3; n++) {
		need_offline_failure();
		ksm_wait_scans(2);
		must_eq("run", ksm_read("run"), 1);
		area_check_same(p, 20, 1, "block stays online");
	}
	set_file(OFFLINE_ERROR, "", "0");
	q = area_same(20, 1);
	ksm_settle();
	ksm_expect("20 more", 1, 39, 0, 0);
	area_check_same(p, 20, 1, "at the end");
	area_check_same(q, 20, 1, "that came later");
}

static const struct ksm_case cases[] = {
	{ "no_records", test_no_records, KSM_EXCLUSIVE },
	{ "no_nodes", test_no_nodes, KSM_EXCLUSIVE },
	{ "ksmd_allocations", test_ksmd_allocations, KSM_EXCLUSIVE | KSM_SLOW },
	{ "hotplug_notifier", test_hotplug_notifier, KSM_EXCLUSIVE },
	{ }
};

const struct ksm_topic topic_fault = { "fault", cases };
