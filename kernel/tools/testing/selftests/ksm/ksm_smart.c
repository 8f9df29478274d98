// SPDX-License-Identifier: GPL-2.0-only
/*
 * smart_scan: pages that did not merge for some passes are looked at more
 * rarely, at most every ninth pass.  That saves looks and loses no merge for
 * long; merged pages are looked at in every pass as ever.
 *
 * Passes are slow here (20 ms between two), so that a case can do something
 * in each of them.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>
#include "ksm_util.h"

/* From one look to the next at worst: 8 passes skipped, then the look. */
#define LONGEST_SKIP	9
/* Passes after which every page that does not merge is skipped mostly. */
#define TO_AGE		16

void smart_start(int on)
{
	ksm_need("smart_scan");
	ksm_need("pages_skipped");
	ksm_need("pages_scanned");
	ksm_set("smart_scan", on);
	ksm_set("sleep_millisecs", 20);
}

/* Let all that is there go through so many passes and more. */
static void grow_old(unsigned int passes)
{
	ksm_settle();
	ksm_wait_scans(passes);
}

static void test_values(void)
{
	static const char *const bad[] = { "2", "x", "-1", "", " ", "maybe" };
	size_t i;
	int err;

	ksm_need("smart_scan");
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		ksm_set("smart_scan", i % 2);
		/* Nothing at all is no write, so there is nothing to refuse. */
		if (!bad[i][0])
			continue;
		err = ksm_write("smart_scan", bad[i]);
		must(err == -EINVAL,
		     "writing \"%s\" to smart_scan: %s, expected EINVAL",
		     bad[i], err ? strerror(-err) : "taken");
		must_eq("smart_scan after a refused value",
			ksm_read("smart_scan"), i % 2);
	}
	must(!ksm_write("smart_scan", "y"), "smart_scan takes no y");
	must_eq("smart_scan", ksm_read("smart_scan"), 1);
	must(!ksm_write("smart_scan", "off\n"), "smart_scan takes no off");
	must_eq("smart_scan", ksm_read("smart_scan"), 0);
	must(ksm_write("pages_skipped", "0") < 0, "pages_skipped is writable");
	must(ksm_write("pages_scanned", "0") < 0, "pages_scanned is writable");
}

/* @passes surely lie between the two readings, and at most @passes_max touch them. */
struct looks {
	long scanned, skipped, passes, passes_max;
};

/* What @passes more passes, and what of one is under way, add. */
static struct looks count_looks(unsigned int passes)
{
	struct looks n;

	ksm_wait_scans(1);
	n.passes_max = ksm_read("full_scans");
	n.scanned = ksm_read("pages_scanned");
	n.skipped = ksm_read("pages_skipped");
	n.passes = ksm_read("full_scans");
	ksm_wait_scans(passes);
	n.passes = ksm_read("full_scans") - n.passes;
	n.scanned = ksm_read("pages_scanned") - n.scanned;
	n.skipped = ksm_read("pages_skipped") - n.skipped;
	n.passes_max = ksm_read("full_scans") - n.passes_max;
	return n;
}

/* In each pass every page is looked at or skipped; one pass more or less. */
static void expect_looks(const struct looks *n, long pages)
{
	long all = n->scanned + n->skipped;

	must(all >= pages * (n->passes - 1) && all <= pages * (n->passes_max + 1),
	     "%ld pages, %ld to %ld passes: %ld looks and %ld skips", pages,
	     n->passes, n->passes_max, n->scanned, n->skipped);
}

/* Every page looked at in every pass. */
static void test_off(void)
{
	struct looks n;
	char *p;

	smart_start(0);
	p = area_each(200, 1);
	grow_old(4);
	n = count_looks(8);
	must_eq("growth of pages_skipped with smart_scan=0", n.skipped, 0);
	expect_looks(&n, 200);
	ksm_expect("200 unique pages", 0, 0, 200, 0);
	area_check_each(p, 200, 1, "unique");
}

/* Old unique pages: most looks are saved, and each is a look or a skip. */
static void test_old_are_skipped(void)
{
	struct looks n;
	char *p;

	smart_start(1);
	p = area_each(200, 1);
	grow_old(TO_AGE);
	n = count_looks(20);
	expect_looks(&n, 200);
	must(n.scanned <= 200 * n.passes / 3,
	     "200 old pages were looked at %ld times in %ld passes", n.scanned,
	     n.passes);
	must(n.scanned >= 200 * (n.passes / LONGEST_SKIP),
	     "200 old pages were looked at only %ld times in %ld passes",
	     n.scanned, n.passes);
	ksm_set("smart_scan", 0);
	n = count_looks(4);
	must_eq("growth of pages_skipped, switched off", n.skipped, 0);
	ksm_settle();
	ksm_expect("switched off", 0, 0, 200, 0);
	area_check_each(p, 200, 1, "unique");
}

/* New pages are looked at in their first passes: merging is not delayed. */
static void test_new_merge_soon(void)
{
	char *old, *p;

	smart_start(1);
	old = area_each(50, 1000);
	grow_old(TO_AGE);
	p = area_same(30, 7);
	/* The pass under way and two whole ones. */
	ksm_wait_scans(3);
	ksm_set("run", 0);
	must_eq("merged pages, two passes after they came",
		area_count_ksm(p, 30), 30);
	must_eq("different frames", area_count_frames(p, 30), 1);
	area_check_same(p, 30, 7, "merged");
	area_check_each(old, 50, 1000, "unique");
}

/*
 * Rewrite pages while ksmd stands still; @shared others are merged with them, one
 * with each.  Two passes later it must have seen all that.
 */
static void leave_at_once(char *p, size_t pages, long shared)
{
	struct ksm_counts c;

	ksm_set("run", 0);
	area_fill_each(p, pages, 900);
	ksm_set("run", 1);
	ksm_wait_scans(2);
	ksm_get_counts(&c);
	must(c.shared == shared && !c.sharing,
	     "%zu pages rewritten, 2 passes later shared is %ld, sharing %ld",
	     pages, c.shared, c.sharing);
	area_check_each(p, pages, 900, "rewritten");
}

/* Merged pages that others have joined are old, but never skipped. */
static void test_merged_leave_at_once(void)
{
	char *p;

	smart_start(1);
	p = area_same(20, 3);
	grow_old(TO_AGE);
	ksm_expect("20 copies", 1, 19, 0, 0);
	leave_at_once(p, 20, 0);
	must_eq("/proc/self/ksm_merging_pages", proc_merging_pages(0), 0);
}

/* The same for pages that had grown old before they merged. */
static void test_old_merged_leave_at_once(void)
{
	char *p, *q;

	smart_start(1);
	p = area_each(10, 50);
	grow_old(TO_AGE);
	q = area_each(10, 50);
	ksm_set("smart_scan", 0);
	ksm_settle();
	ksm_expect("10 x 2 copies", 10, 10, 0, 0);
	ksm_set("smart_scan", 1);
	leave_at_once(p, 10, 10);
	area_check_each(q, 10, 50, "not rewritten");
}

/* Passes end while we count: what counts is how many there were before. */
void merged_within(char *p, size_t pages, long most, const char *what)
{
	long start = ksm_read("full_scans");

	for (;;) {
		long passes = ksm_read("full_scans") - start;
		size_t merged = area_count_ksm(p, pages);

		if (merged == pages)
			return;
		must(passes <= most, "%s: %zu of %zu are merged after %ld passes",
		     what, merged, pages, passes);
		nap_ms(5);
	}
}

/*
 * An old page is a candidate all the time, also while it is skipped.  The new
 * ones come one a pass, to meet every phase of the old ones' skipping.
 */
static void test_old_meets_new(void)
{
	char *p, *q;
	size_t i;

	smart_start(1);
	p = area_each(LONGEST_SKIP, 1);
	q = area_new(LONGEST_SKIP);
	area_advise(q, LONGEST_SKIP, MADV_MERGEABLE);
	grow_old(2 * TO_AGE);
	for (i = 0; i < LONGEST_SKIP; i++) {
		page_fill(page_at(q, i), 1 + i);
		ksm_wait_scans(1);
	}
	merged_within(q, LONGEST_SKIP, 12, "new pages that equal old ones");
	area_check_each(p, LONGEST_SKIP, 1, "old");
	area_check_each(q, LONGEST_SKIP, 1, "new");
}

/* --- written between two passes, by whom it may be ----------------------------- */

/* Writes this content to each of the pages, which are the caller's. */
#define WRITTEN		500
typedef void writer(char *p, size_t pages);

static void write_itself(char *p, size_t pages)
{
	area_fill_same(p, pages, WRITTEN);
}

struct others {
	char *p;
	size_t pages;
	pid_t owner;
};

static void write_by_another(void *arg)
{
	struct others *o = arg;
	char buf[page_size];
	size_t i;

	page_fill(buf, WRITTEN);
	for (i = 0; i < o->pages; i++) {
		struct iovec mine = { buf, page_size };
		struct iovec its = { page_at(o->p, i), page_size };

		must(process_vm_writev(o->owner, &mine, 1, &its, 1, 0) ==
		     (ssize_t)page_size, "process_vm_writev: %m");
	}
}

static void write_remotely(char *p, size_t pages)
{
	struct others o = { p, pages, getpid() };

	join(child(write_by_another, &o));
}

static void write_proc_mem(void *arg)
{
	struct others *o = arg;
	char buf[page_size], path[32];
	size_t i;
	int fd;

	page_fill(buf, WRITTEN);
	snprintf(path, sizeof(path), "/proc/%d/mem", o->owner);
	fd = open(path, O_RDWR | O_CLOEXEC);
	must_call(fd);
	for (i = 0; i < o->pages; i++)
		must(pwrite(fd, buf, page_size, (off_t)page_at(o->p, i)) ==
		     (ssize_t)page_size, "writing to %s: %m", path);
}

static void write_through_proc(char *p, size_t pages)
{
	struct others o = { p, pages, getpid() };

	join(child(write_proc_mem, &o));
}

static void write_directly(char *p, size_t pages)
{
	int fd = direct_file(1, WRITTEN);
	size_t i;

	for (i = 0; i < pages; i++)
		must(pread(fd, page_at(p, i), page_size, 0) == (ssize_t)page_size,
		     "direct read: %m");
}

/*
 * Pages that have long been as they are change into what others share, while ksmd
 * stands still. They must be found so in time, which is no more than two looks.
 */
static void found_written(writer *write, int smart, long most)
{
	char *p, *q;

	smart_start(smart);
	p = area_each(LONGEST_SKIP, 1);
	q = area_same(10, WRITTEN);
	grow_old(2 * TO_AGE);
	ksm_expect("10 copies", 1, 9, LONGEST_SKIP, 0);
	ksm_set("run", 0);
	write(p, LONGEST_SKIP);
	ksm_set("run", 1);
	merged_within(p, LONGEST_SKIP, most,
		      "old pages that became equal to merged ones");
	must_eq("different frames", area_count_frames(p, LONGEST_SKIP), 1);
	area_check_same(p, LONGEST_SKIP, WRITTEN, "merged");
	area_check_same(q, 10, WRITTEN, "merged");
	area_free(p, LONGEST_SKIP);
	area_free(q, 10);
}

static void found_in_time(writer *write)
{
	found_written(write, 1, 2 * LONGEST_SKIP + 2);
	/* The pass under way and two whole ones. */
	found_written(write, 0, 3);
}

static void test_old_changes(void)
{
	found_in_time(write_itself);
}

static void test_old_changes_remotely(void)
{
	found_in_time(write_remotely);
}

static void test_old_changes_through_proc(void)
{
	found_in_time(write_through_proc);
}

static void test_old_changes_directly(void)
{
	found_in_time(write_directly);
}

/* Switched off, what was skipped is looked at in the next pass. */
static void test_switched_off(void)
{
	char *p, *q;

	smart_start(1);
	p = area_each(20, 1);
	grow_old(2 * TO_AGE);
	q = area_each(20, 1);
	ksm_set("smart_scan", 0);
	ksm_wait_scans(3);
	ksm_expect("20 x 2 copies", 20, 20, 0, 0);
	area_check_each(p, 20, 1, "old");
	area_check_each(q, 20, 1, "new");
}

/* Whatever its alignment, two of its page tables are full. */
#define TABLES_PAGES	1536

/* Wait until @want pages are known; fails after @most passes. */
static void known_within(long want, long most, const char *what)
{
	long start = ksm_read("full_scans");
	struct ksm_counts c;

	for (;;) {
		long passes = ksm_read("full_scans") - start;

		ksm_get_counts(&c);
		if (c.unshared + c.pvolatile + c.shared + c.sharing == want)
			return;
		must(passes <= most,
		     "%s: unshared %ld, volatile %ld, shared %ld, sharing %ld are not %ld in all after %ld passes",
		     what, c.unshared, c.pvolatile, c.shared, c.sharing, want,
		     passes);
		nap_ms(5);
	}
}

/* Whole page tables of old pages are passed by as they are, and counted. */
static void test_tables_rest(void)
{
	struct looks n;
	char *p;

	smart_start(1);
	p = area_each(TABLES_PAGES, 1);
	grow_old(2 * TO_AGE);
	n = count_looks(2 * LONGEST_SKIP);
	expect_looks(&n, TABLES_PAGES);
	must(n.scanned <= TABLES_PAGES * n.passes / 6 &&
	     n.scanned >= TABLES_PAGES * (n.passes / LONGEST_SKIP - 1),
	     "%d old pages were looked at %ld times in %ld passes",
	     TABLES_PAGES, n.scanned, n.passes);
	ksm_expect("unique pages", 0, 0, TABLES_PAGES, 0);
	area_check_each(p, TABLES_PAGES, 1, "unique");
}

/* What becomes of old pages under a page table that rests is found in time. */
static void test_resting_tables_change(void)
{
	const size_t third = TABLES_PAGES / 3;
	char *p, *q;

	smart_start(1);
	p = area_each(TABLES_PAGES, 1);
	q = area_same(10, 9000);
	grow_old(2 * TO_AGE);
	ksm_expect("10 copies", 1, 9, TABLES_PAGES, 0);
	/* Every page changes into what others share. */
	area_fill_same(p, third, 9000);
	merged_within(p, third, 2 * LONGEST_SKIP + 2,
		      "old pages that became equal to merged ones");
	area_check_same(p, third, 9000, "merged");
	/* Half of them go, and the others' advice. */
	must(!madvise(p, TABLES_PAGES / 2 * page_size, MADV_DONTNEED),
	     "MADV_DONTNEED: %m");
	known_within(10 + TABLES_PAGES / 2, LONGEST_SKIP + 2, "half of it discarded");
	area_advise(page_at(p, TABLES_PAGES / 2), TABLES_PAGES / 2,
		    MADV_UNMERGEABLE);
	known_within(10, 3, "advice taken back");
	area_check_each(page_at(p, TABLES_PAGES / 2), TABLES_PAGES / 2,
			1 + TABLES_PAGES / 2, "without advice");
	area_check_same(q, 10, 9000, "merged");
}

static const struct ksm_case cases[] = {
	{ "values", test_values },
	{ "off", test_off },
	{ "old_are_skipped", test_old_are_skipped },
	{ "new_merge_soon", test_new_merge_soon },
	{ "merged_leave_at_once", test_merged_leave_at_once },
	{ "old_merged_leave_at_once", test_old_merged_leave_at_once },
	{ "old_meets_new", test_old_meets_new, 0,
	  "two pages that are skipped in turns never meet" },
	{ "old_changes", test_old_changes },
	{ "old_changes_remotely", test_old_changes_remotely },
	{ "old_changes_through_proc", test_old_changes_through_proc },
	{ "old_changes_directly", test_old_changes_directly },
	{ "switched_off", test_switched_off },
	{ "tables_rest", test_tables_rest },
	{ "resting_tables_change", test_resting_tables_change },
	{ }
};

const struct ksm_topic topic_smart = { "smart", cases };
