// SPDX-License-Identifier: GPL-2.0-only
/*
 * Why a page was not merged: each reason has a counter in total and one for
 * the process.  Every reason that can be provoked is, and must be counted as
 * what it is, for whom it is.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "ksm_util.h"

enum reason {
	VOLATILE, PINNED, HUGE, SHARED, HUGETLB, SPECIAL, NODE, LIMIT, RACED,
	LOCKED, DIFFERENT, UFFD_WP, NOMEM, REASONS
};

static const char *const names[REASONS] = {
	"volatile", "pinned", "huge", "shared", "hugetlb", "special", "node",
	"limit", "raced", "locked", "different", "uffd_wp", "nomem",
};

/* These may always come in between, by chance; never more than a few. */
static bool is_chance(enum reason r)
{
	return r == RACED || r == LOCKED;
}

/* Counters at the start: of all, of this process, of one that does nothing. */
static struct {
	long total[REASONS], own[REASONS], other[REASONS];
	pid_t pid;
	struct gate *gate;
} start;

static long total_of(enum reason r)
{
	char name[32];

	snprintf(name, sizeof(name), "refused_%s", names[r]);
	ksm_need(name);
	return ksm_read(name);
}

static long own_of(pid_t pid, enum reason r)
{
	char name[32];

	snprintf(name, sizeof(name), "ksm_refused_%s", names[r]);
	return proc_ksm_signed(pid, name);
}

static void stand_by(void *arg)
{
	char *p = area_same(4, 31337);

	gate_open(&start.gate[0], 1);
	gate_wait(&start.gate[1], 1);
	area_check_same(p, 4, 31337, "in a bystander");
	(void)arg;
}

static void need_counters(void)
{
	if (!ksm_is_samepage())
		skip("mainline's engine does not count refusals");
}

static void count_from_here(void)
{
	int r;

	for (r = 0; r < REASONS; r++) {
		start.total[r] = total_of(r);
		start.own[r] = own_of(0, r);
		if (start.pid)
			start.other[r] = own_of(start.pid, r);
	}
}

/* With a process whose 4 merged pages nobody refuses anything. */
static void begin(void)
{
	need_counters();
	start.gate = shared_new(2 * sizeof(*start.gate));
	start.pid = child(stand_by, NULL);
	gate_wait(&start.gate[0], 1);
	ksm_settle();
	ksm_expect("the bystander's", 1, 3, 0, 0);
	count_from_here();
}

static void end(void)
{
	gate_open(&start.gate[1], 1);
	join(start.pid);
}

static long grown(enum reason r)
{
	return own_of(0, r) - start.own[r];
}

/* Of all others nothing is counted for what was done to this process. */
static void check_others(enum reason want)
{
	int r;

	for (r = 0; r < REASONS; r++) {
		long own = grown(r), total = total_of(r) - start.total[r];

		/* Read later, so it may have gone on growing. */
		must(total >= own, "refused_%s grew by %ld, of this process alone by %ld",
		     names[r], total, own);
		if (is_chance(r))
			continue;
		if (start.pid)
			must_eq(names[r], own_of(start.pid, r),
				start.other[r]);
		must(r == (int)want || !own,
		     "pages are refused as %s, yet %ld also as %s",
		     names[want], own, names[r]);
	}
}

/* Some passes from now, @least pages must have been refused for @want alone. */
static void expect_grown(enum reason want, long least)
{
	int passes;

	for (passes = 0; grown(want) < least && passes < 20; passes++)
		ksm_wait_scans(1);
	must(grown(want) >= least,
	     "ksm_refused_%s grew by %ld in %d passes, expected %ld at least",
	     names[want], grown(want), passes, least);
	check_others(want);
}

static void test_files(void)
{
	char path[128], name[32];
	int r;

	need_counters();
	for (r = 0; r < REASONS; r++) {
		total_of(r);
		own_of(0, r);
		snprintf(name, sizeof(name), "refused_%s", names[r]);
		snprintf(path, sizeof(path), KSM_DIR "%s", name);
		must(file_write(path, "0") < 0, "%s can be written", path);
		must(own_of(0, r) <= total_of(r),
		     "%s of this process is %ld, in total %ld", names[r],
		     own_of(0, r), total_of(r));
	}
}

static void test_volatile(void)
{
	char *p;
	int n;

	begin();
	ksm_set("sleep_millisecs", 20);
	p = area_each(5, 1);
	for (n = 1; n < 8; n++) {
		ksm_wait_scans(1);
		area_fill_each(p, 5, n * 100);
	}
	expect_grown(VOLATILE, 10);
	area_check_each(p, 5, 700, "rewritten");
	/* Calm again: no more of it. */
	ksm_wait_scans(3);
	count_from_here();
	ksm_wait_scans(4);
	must_eq("volatile refusals of calm pages", grown(VOLATILE), 0);
	end();
}

static void test_pinned(void)
{
	char *p, *buf = malloc(page_size);
	int fd[2];

	begin();
	must_call(pipe(fd));
	p = area_new(8);
	area_fill_same(p, 8, 1);
	pipe_put_page(fd[1], page_at(p, 3));
	area_advise(p, 8, MADV_MERGEABLE);
	expect_grown(PINNED, 4);
	must_eq("merged pages", area_count_ksm(p, 8), 7);
	pipe_get_page(fd[0], buf);
	page_check(buf, 1, "read from the pipe");
	ksm_settle();
	ksm_expect("no longer pinned", 2, 10, 0, 0);
	count_from_here();
	ksm_wait_scans(3);
	check_others(RACED);
	area_check_same(p, 8, 1, "merged");
	end();
	free(buf);
}

/* One page of a huge page is in a pipe, so that it cannot be split. */
static void test_huge(void)
{
	char *p, *q, *buf = malloc(page_size);
	size_t pages = (2ul << 20) / page_size;
	int fd[2];

	begin();
	must_call(pipe(fd));
	p = huge_new(1);
	area_fill_each(p, pages, 1000);
	pipe_put_page(fd[1], page_at(p, 100));
	q = area_same(4, 1000 + 7);
	ksm_settle();
	count_from_here();
	area_advise(p, pages, MADV_MERGEABLE);
	expect_grown(HUGE, 3);
	must(!page_is_ksm(page_at(p, 7)), "part of a huge page was merged");
	must(pfn_has_flag(page_pfn(p), KPF_THP_PAGE),
	     "the huge page was split, though it is pinned");
	pipe_get_page(fd[0], buf);
	page_check(buf, 1100, "read from the pipe");
	ksm_settle();
	must(page_is_ksm(page_at(p, 7)), "not pinned, yet not merged");
	area_check_each(p, pages, 1000, "of the huge page");
	area_check_same(q, 4, 1007, "merged");
	end();
	free(buf);
}

/* Advice that is ignored counts the pages of the range, each time. */
static void ignored(enum reason why, char *p, size_t pages)
{
	int n;

	count_from_here();
	for (n = 1; n <= 2; n++) {
		must_call(madvise(p, pages * page_size, MADV_MERGEABLE));
		must_eq(names[why], grown(why), n * (long)pages);
		check_others(why);
	}
	must(!vma_has_flag(p, "mg"), "VmFlags has mg");
	must_call(madvise(p, pages * page_size, MADV_UNMERGEABLE));
	must_eq("growth by MADV_UNMERGEABLE",
		grown(why) - 2 * (long)pages, 0);
}

static void test_shared(void)
{
	size_t bytes = 5 * page_size;
	char *p;
	int fd;

	begin();
	p = shared_new(bytes);
	area_fill_same(p, 5, 3);
	ignored(SHARED, p, 5);
	ignored(SHARED, page_at(p, 1), 2);
	area_check_same(p, 5, 3, "shared");
	fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	must_call(fd);
	p = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
	must(p != MAP_FAILED, "mmap of this program: %m");
	ignored(SHARED, p, 5);
	end();
}

static void test_hugetlb(void)
{
	const char *knob = "/proc/sys/vm/nr_hugepages";
	long had = file_number(knob);
	size_t pages = (2ul << 20) / page_size;
	char *p, text[32];

	begin();
	if (had < 0)
		skip("the kernel has no hugetlb pages");
	snprintf(text, sizeof(text), "%ld", had + 1);
	file_write(knob, text);
	p = mmap(NULL, pages * page_size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (p == MAP_FAILED)
		skip("no hugetlb page to be had: %m");
	area_fill_same(p, pages, 9);
	ignored(HUGETLB, p, pages);
	area_check_same(p, pages, 9, "hugetlb");
	end();
}

static void test_special(void)
{
	size_t pages;
	char *p;

	begin();
	p = vvar_area(&pages);
	ignored(SPECIAL, p, pages);
	end();
}

/* One page on each node: they are equal and may not meet. */
static void test_node(void)
{
	char *p, *q;

	need_counters();
	need_two_nodes();
	ksm_set("merge_across_nodes", 0);
	begin();
	p = area_on(0, 1, 1);
	q = area_on(1, 1, 1);
	expect_grown(NODE, 1);
	page_check(p, 1, "node 0");
	page_check(q, 1, "node 1");
	end();
}

/* Two of three fill the one shared page; the third has nobody to pair with. */
static void test_limit(void)
{
	char *p;

	need_counters();
	ksm_set("max_page_sharing", 2);
	start.pid = 0;
	count_from_here();
	p = area_same(3, 1);
	ksm_settle();
	ksm_expect("3 copies, max_page_sharing=2", 1, 1, 1, 0);
	expect_grown(LIMIT, 3);
	area_check_same(p, 3, 1, "merged, but one");
}

#define AGAIN	64

/* Do something to pages that equal merged ones, until @want was counted. */
static void until_grown(enum reason want, void (*again)(char *p), char *p)
{
	uint64_t limit = now_ms() + ksm_wait_limit * 1000ull;

	while (grown(want) < 10) {
		must(now_ms() < limit, "ksm_refused_%s grew by %ld in %u s",
		     names[want], grown(want), ksm_wait_limit);
		again(p);
	}
	must(total_of(want) - start.total[want] >= 10,
	     "refused_%s grew by less than that of one process", names[want]);
}

static void fill_and_discard(char *p)
{
	area_fill_same(p, AGAIN, 1);
	area_check_same(p, AGAIN, 1, "filled again");
	area_advise(p, AGAIN, MADV_DONTNEED);
}

/* Pages go away after ksmd has found them, before it locks their page table. */
static void test_raced(void)
{
	char *p, *q;

	need_counters();
	ksm_set("sleep_millisecs", 0);
	q = area_same(4, 1);
	ksm_settle();
	ksm_expect("4 copies", 1, 3, 0, 0);
	count_from_here();
	p = area_same(AGAIN, 1);
	until_grown(RACED, fill_and_discard, p);
	area_fill_same(p, AGAIN, 1);
	ksm_settle();
	ksm_expect("calm again", 1, AGAIN + 3, 0, 0);
	area_check_same(p, AGAIN, 1, "merged");
	area_check_same(q, 4, 1, "merged");
}

/* So many sharers take milliseconds to visit, with their page locked. */
#define VISITED	5000

static void *visit_sharers(void *p)
{
	uint64_t pfn = page_pfn(p);

	for (;;)
		page_set_idle(pfn);
	return NULL;
}

static void refill(char *p)
{
	area_fill_same(p, AGAIN, 1);
	nap_ms(10);
}

/* The shared page is locked most of the time, by who looks at its sharers. */
static void test_locked(void)
{
	pthread_t visitor;
	char *p, *q;

	need_counters();
	ksm_set("max_page_sharing", 2 * VISITED);
	p = area_same(VISITED, 1);
	ksm_settle();
	ksm_expect("5000 copies", 1, VISITED - 1, 0, 0);
	count_from_here();
	must(!pthread_create(&visitor, NULL, visit_sharers, p),
	     "pthread_create");
	q = area_same(AGAIN, 1);
	until_grown(LOCKED, refill, q);
	must(!pthread_cancel(visitor), "pthread_cancel");
	must(!pthread_join(visitor, NULL), "pthread_join");
	ksm_settle();
	ksm_expect("no longer locked", 1, VISITED + AGAIN - 1, 0, 0);
	area_check_same(p, VISITED, 1, "merged");
	area_check_same(q, AGAIN, 1, "merged later");
}

/* Equal hashes of different pages; only debug kernels can make them so. */
static void test_different(void)
{
	char *p;
	int err;

	need_counters();
	err = file_write("/sys/kernel/debug/ksm/collide", "1");
	if (err)
		skip("no collisions to be had in debugfs: %s", strerror(-err));
	start.pid = 0;
	count_from_here();
	p = area_each(6, 1);
	ksm_set("run", 1);
	expect_grown(DIFFERENT, 5);
	must_eq("merged pages", area_count_ksm(p, 6), 0);
	area_check_each(p, 6, 1, "that hash alike");
}

static int write_protect(char *p, size_t pages)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };
	struct uffdio_register reg = {
		.range = { (uintptr_t)p, pages * page_size },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	struct uffdio_writeprotect wp = {
		.range = reg.range, .mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		skip("userfaultfd: %m");
	if (ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg))
		skip("userfaultfd cannot write-protect: %m");
	must_call(ioctl(fd, UFFDIO_WRITEPROTECT, &wp));
	return fd;
}

/* Not the zero page, where the protection would be lost; a KSM page is fine. */
static void test_uffd_wp(void)
{
	char *p;
	int fd;

	begin();
	p = area_zeros(10);
	fd = write_protect(p, 10);
	ksm_set("use_zero_pages", 1);
	expect_grown(UFFD_WP, 10);
	must_eq("frames of the zero page", area_count_zero(p, 10), 0);
	area_check_zero(p, 10, "write-protected");
	close(fd);
	ksm_set("run", 2);
	ksm_settle();
	must_eq("frames of the zero page, protection off",
		area_count_zero(p, 10), 10);
	area_check_zero(p, 10, "zero pages");
	end();
}

static void count_in_child(void *arg)
{
	int r;

	for (r = 0; r < REASONS; r++)
		must_eq(names[r], own_of(0, r), 0);
	area_check_same(arg, 3, 1, "in a child");
}

/* A child starts at 0; what its parent had stays the parent's. */
static void test_fork_resets(void)
{
	char *p;

	need_counters();
	ksm_set("max_page_sharing", 2);
	start.pid = 0;
	count_from_here();
	p = area_same(3, 1);
	ksm_set("run", 1);
	expect_grown(LIMIT, 3);
	ksm_set("run", 0);
	count_from_here();
	join(child(count_in_child, p));
	must_eq("growth in the parent", grown(LIMIT), 0);
	area_check_same(p, 3, 1, "in the parent");
}

static const struct ksm_case cases[] = {
	{ "files", test_files },
	{ "volatile", test_volatile },
	{ "pinned", test_pinned },
	{ "huge", test_huge },
	{ "shared", test_shared },
	{ "hugetlb", test_hugetlb },
	{ "special", test_special },
	{ "node", test_node },
	{ "limit", test_limit },
	{ "raced", test_raced },
	{ "locked", test_locked },
	{ "different", test_different },
	{ "uffd_wp", test_uffd_wp },
	{ "fork_resets", test_fork_resets },
	{ }
};

const struct ksm_topic topic_refused = { "refused", cases };
