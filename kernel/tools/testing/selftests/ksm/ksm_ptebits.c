// SPDX-License-Identifier: GPL-2.0-only
/*
 * Page-table bits that belong to others must survive a merge and its undoing:
 * userfaultfd write protection and soft-dirty.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "ksm_util.h"

static size_t count_bit(const char *p, size_t pages, uint64_t bit)
{
	size_t i, n = 0;

	for (i = 0; i < pages; i++)
		n += !!(pagemap_of(page_at(p, i)) & bit);
	return n;
}

/* --- soft-dirty ------------------------------------------------------------ */

static void clear_soft_dirty(void)
{
	int err = file_write("/proc/self/clear_refs", "4");

	must(!err, "clearing soft-dirty bits: %s", strerror(-err));
}

static void need_soft_dirty(void)
{
	char *p = area_new(1);

	page_fill(p, 1);
	clear_soft_dirty();
	if (count_bit(p, 1, PM_SOFT_DIRTY))
		skip("the kernel does not track soft-dirty bits");
	page_fill(p, 1);
	if (!count_bit(p, 1, PM_SOFT_DIRTY))
		skip("the kernel does not track soft-dirty bits");
	area_free(p, 1);
}

/* Written since the bits were cleared, then merged: still written. */
static void test_soft_dirty_merge(void)
{
	char *p;

	need_soft_dirty();
	p = area_each(20, 1);
	clear_soft_dirty();
	must_eq("soft-dirty pages after clearing",
		count_bit(p, 20, PM_SOFT_DIRTY), 0);
	area_fill_same(p, 20, 7);
	must_eq("soft-dirty pages after writing",
		count_bit(p, 20, PM_SOFT_DIRTY), 20);
	ksm_settle();
	ksm_expect("20 copies", 1, 19, 0, 0);
	area_check_same(p, 20, 7, "merged");
	must_eq("soft-dirty pages after merging",
		count_bit(p, 20, PM_SOFT_DIRTY), 20);
}

/* A merged page that is written to is soft-dirty, the others are not. */
static void test_soft_dirty_cow(void)
{
	char *p;

	need_soft_dirty();
	p = area_same(20, 1);
	ksm_settle();
	ksm_expect("20 copies", 1, 19, 0, 0);
	ksm_set("run", 0);
	clear_soft_dirty();
	page_fill(page_at(p, 3), 2);
	must_eq("soft-dirty pages", count_bit(p, 20, PM_SOFT_DIRTY), 1);
	must_eq("soft-dirty of the written one",
		count_bit(page_at(p, 3), 1, PM_SOFT_DIRTY), 1);
	page_check(page_at(p, 3), 2, "written");
	area_check_same(page_at(p, 4), 16, 1, "not written");
}

/* Merging is no write: clean pages stay clean. */
static void test_soft_dirty_stays_clean(void)
{
	char *p;

	need_soft_dirty();
	p = area_same(20, 1);
	clear_soft_dirty();
	ksm_settle();
	ksm_expect("20 copies", 1, 19, 0, 0);
	must_eq("soft-dirty pages after merging",
		count_bit(p, 20, PM_SOFT_DIRTY), 0);
	area_check_same(p, 20, 1, "merged");
}

/* --- userfaultfd write protection ------------------------------------------ */

struct wp {
	int fd;
	char *p;
	size_t pages;
	int faults;
	bool stop;
	pthread_t thread;
};

static void wp_range(struct wp *w, char *p, size_t pages, bool on)
{
	struct uffdio_writeprotect arg = {
		.range = { (uintptr_t)p, pages * page_size },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	must_call(ioctl(w->fd, UFFDIO_WRITEPROTECT, &arg));
}

/* Serves write faults: counts them and lets the page be written. */
static void *wp_serve(void *arg)
{
	struct pollfd pfd = { .events = POLLIN };
	struct wp *w = arg;
	struct uffd_msg msg;

	pfd.fd = w->fd;
	while (!__atomic_load_n(&w->stop, __ATOMIC_SEQ_CST)) {
		if (poll(&pfd, 1, 20) <= 0)
			continue;
		if (read(w->fd, &msg, sizeof(msg)) != sizeof(msg))
			continue;
		if (msg.event != UFFD_EVENT_PAGEFAULT)
			fail("userfaultfd event %u, not a fault", msg.event);
		__atomic_fetch_add(&w->faults, 1, __ATOMIC_SEQ_CST);
		wp_range(w, (char *)(uintptr_t)(msg.arg.pagefault.address &
						~(page_size - 1)), 1, false);
	}
	return NULL;
}

/* Write-protect an area through userfaultfd. */
static void wp_start(struct wp *w, char *p, size_t pages)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_WP };

	w->fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (w->fd < 0)
		skip("userfaultfd: %m");
	if (ioctl(w->fd, UFFDIO_API, &api))
		skip("userfaultfd cannot write-protect: %m");
	w->pages = pages;
	w->p = p;
	reg.range.start = (uintptr_t)w->p;
	reg.range.len = pages * page_size;
	if (ioctl(w->fd, UFFDIO_REGISTER, &reg))
		skip("userfaultfd cannot write-protect this: %m");
	wp_range(w, w->p, pages, true);
	must_eq("write-protected pages", count_bit(w->p, pages, PM_UFFD_WP),
		pages);
	must(!pthread_create(&w->thread, NULL, wp_serve, w), "pthread_create");
}

static void wp_stop(struct wp *w)
{
	__atomic_store_n(&w->stop, true, __ATOMIC_SEQ_CST);
	pthread_join(w->thread, NULL);
	close(w->fd);
}

/* Merged and write-protected: every first write must be told. */
static void test_uffd_wp_merge(void)
{
	struct wp w = { 0 };
	size_t i;

	wp_start(&w, area_same(20, 1), 20);
	ksm_settle();
	ksm_expect("20 copies", 1, 19, 0, 0);
	area_check_same(w.p, 20, 1, "merged");
	must_eq("write-protected pages after merging",
		count_bit(w.p, 20, PM_UFFD_WP), 20);
	ksm_set("run", 0);
	for (i = 0; i < 10; i++)
		page_fill(page_at(w.p, i), 40 + i);
	must_eq("write faults told of 10 writes",
		__atomic_load_n(&w.faults, __ATOMIC_SEQ_CST), 10);
	area_check_each(w.p, 10, 40, "written");
	area_check_same(page_at(w.p, 10), 10, 1, "not written");
	wp_stop(&w);
}

/* Given back, it must still be protected, and it must really be given back. */
static void test_uffd_wp_unmerge(void)
{
	struct wp w = { 0 };

	wp_start(&w, area_same(20, 1), 20);
	/* Protected after merging, so that any engine has the bit here. */
	ksm_settle();
	ksm_expect("20 copies", 1, 19, 0, 0);
	ksm_set("run", 0);
	wp_range(&w, w.p, 20, true);
	must_eq("merged pages", area_count_ksm(w.p, 20), 20);
	area_advise(w.p, 20, MADV_UNMERGEABLE);
	area_check_same(w.p, 20, 1, "given back");
	must_eq("merged pages after MADV_UNMERGEABLE",
		area_count_ksm(w.p, 20), 0);
	must_eq("write-protected pages after MADV_UNMERGEABLE",
		count_bit(w.p, 20, PM_UFFD_WP), 20);
	page_fill(w.p, 3);
	must_eq("write faults told of 1 write",
		__atomic_load_n(&w.faults, __ATOMIC_SEQ_CST), 1);
	page_check(w.p, 3, "written");
	wp_stop(&w);
}

static void test_uffd_wp_run_2(void)
{
	struct wp w = { 0 };

	wp_start(&w, area_same(20, 1), 20);
	ksm_settle();
	ksm_expect("20 copies", 1, 19, 0, 0);
	ksm_set("run", 0);
	wp_range(&w, w.p, 20, true);
	ksm_set("run", 2);
	area_check_same(w.p, 20, 1, "given back");
	must_eq("merged pages after run=2", area_count_ksm(w.p, 20), 0);
	must_eq("write-protected pages after run=2",
		count_bit(w.p, 20, PM_UFFD_WP), 20);
	wp_stop(&w);
}

/* 20 zero pages that merges placed, and that are write-protected since. */
static void wp_start_zero(struct wp *w)
{
	char *p;

	proc_ksm_need("ksm_zero_pages");
	ksm_set("use_zero_pages", 1);
	p = area_zeros(20);
	ksm_settle();
	must_eq("ksm_zero_pages", proc_ksm_stat(0, "ksm_zero_pages"), 20);
	ksm_set("run", 0);
	wp_start(w, p, 20);
}

/*
 * No page can be put there without asking whoever serves the faults.  They become
 * zero pages as any read of untouched memory maps them: nothing merged is left.
 */
static void check_zero_given_back(struct wp *w, const char *when)
{
	must_eq(when, proc_ksm_stat(0, "ksm_zero_pages"), 0);
	must_eq("write-protected pages, given back",
		count_bit(w->p, 20, PM_UFFD_WP), 20);
	area_check_zero(w->p, 20, "given back");
	must_eq("write faults told of no write",
		__atomic_load_n(&w->faults, __ATOMIC_SEQ_CST), 0);
	page_fill(w->p, 3);
	must_eq("write faults told of 1 write",
		__atomic_load_n(&w->faults, __ATOMIC_SEQ_CST), 1);
	page_check(w->p, 3, "written");
	area_check_zero(page_at(w->p, 1), 19, "not written");
}

static void test_uffd_wp_zero(void)
{
	struct wp w = { 0 };

	wp_start_zero(&w);
	area_advise(w.p, 20, MADV_UNMERGEABLE);
	check_zero_given_back(&w, "ksm_zero_pages after MADV_UNMERGEABLE");
	wp_stop(&w);
}

static void test_uffd_wp_zero_run_2(void)
{
	struct wp w = { 0 };

	wp_start_zero(&w);
	ksm_set("run", 2);
	check_zero_given_back(&w, "ksm_zero_pages after run=2");
	wp_stop(&w);
}

static const struct ksm_case cases[] = {
	{ "soft_dirty_merge", test_soft_dirty_merge, 0,
	  "merging clears the soft-dirty bit" },
	{ "soft_dirty_cow", test_soft_dirty_cow },
	{ "soft_dirty_stays_clean", test_soft_dirty_stays_clean },
	{ "uffd_wp_merge", test_uffd_wp_merge, 0,
	  "merging drops userfaultfd write protection" },
	{ "uffd_wp_unmerge", test_uffd_wp_unmerge, 0,
	  "MADV_UNMERGEABLE leaves write-protected pages merged" },
	{ "uffd_wp_run_2", test_uffd_wp_run_2, 0,
	  "run=2 leaves write-protected pages merged" },
	{ "uffd_wp_zero", test_uffd_wp_zero },
	{ "uffd_wp_zero_run_2", test_uffd_wp_zero_run_2 },
	{ }
};

const struct ksm_topic topic_ptebits = { "ptebits", cases };
