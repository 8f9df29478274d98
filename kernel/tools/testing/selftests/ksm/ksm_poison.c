// SPDX-License-Identifier: GPL-2.0-only
/*
 * A memory error below a merged page.  All who share it lose that page and
 * nothing else: the next access is a SIGBUS, never a wrong byte.  The frame is
 * never used for sharing again.
 *
 * These cases take page frames away; they are put back where the kernel can.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>
#include "ksm_util.h"

#ifndef MADV_HWPOISON
#define MADV_HWPOISON 100
#endif
#ifndef BUS_MCEERR_AR
#define BUS_MCEERR_AR 4
#define BUS_MCEERR_AO 5
#endif

#define UNPOISON	"/sys/kernel/debug/hwpoison/unpoison-pfn"
#define KPF_HWPOISON	19

/* Every case with a real memory error on mainline's engine of 6.1. */
#define DEFECT "a memory error below a merged page is not handled"

/* --- access that may end in SIGBUS ---------------------------------------- */

static sigjmp_buf jump;
static int bus_code;
static void *bus_addr;

static void on_bus(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	__atomic_store_n(&bus_code, info->si_code, __ATOMIC_SEQ_CST);
	__atomic_store_n(&bus_addr, info->si_addr, __ATOMIC_SEQ_CST);
	/* An error that nobody has run into yet: told early, on request. */
	if (info->si_code != BUS_MCEERR_AO)
		siglongjmp(jump, 1);
}

static void catch_bus(void)
{
	struct sigaction sa = { .sa_flags = SA_SIGINFO };

	sa.sa_sigaction = on_bus;
	must_call(sigaction(SIGBUS, &sa, NULL));
}

/* True if the page has its content, false if it is lost. */
static bool survives(const char *page, uint64_t seed, const char *when)
{
	if (sigsetjmp(jump, 1)) {
		must(bus_code == BUS_MCEERR_AR,
		     "%s: SIGBUS with code %d, expected %d", when, bus_code,
		     BUS_MCEERR_AR);
		return false;
	}
	page_check(page, seed, when);
	return true;
}

/* Write to the page; false if it is lost. */
static bool is_writable(char *page, uint64_t seed)
{
	if (sigsetjmp(jump, 1))
		return false;
	page_fill(page, seed);
	page_check(page, seed, "written after a memory error");
	return true;
}

static size_t count_survivors(const char *p, size_t pages, uint64_t seed,
			      const char *when)
{
	size_t i, n = 0;

	for (i = 0; i < pages; i++)
		n += survives(page_at(p, i), seed, when);
	return n;
}

/* --- the error ------------------------------------------------------------ */

static uint64_t bad_pfn;

/* Strike the page below @p, which the caller maps. */
static void strike_page(char *p)
{
	bad_pfn = page_pfn(p);
	must(bad_pfn, "the page to strike is not present");
	if (madvise(p, page_size, MADV_HWPOISON)) {
		if (errno == EINVAL || errno == EPERM)
			skip("the kernel cannot be told of a memory error: %m");
		fail("MADV_HWPOISON of a merged page: %m");
	}
	must(pfn_has_flag(bad_pfn, KPF_HWPOISON),
	     "kpageflags of the struck frame lacks HWPOISON");
}

/* Nobody may map the frame any more. */
static void check_gone(const char *p, size_t pages, const char *when)
{
	size_t i;

	for (i = 0; i < pages; i++)
		must(page_pfn(page_at(p, i)) != bad_pfn,
		     "%s: page %zu still maps the struck frame", when, i);
}

/* And nothing is mapped where it was. */
static void check_lost(const char *p, size_t pages, const char *when)
{
	size_t i;

	for (i = 0; i < pages; i++)
		must(!page_pfn(page_at(p, i)), "%s: page %zu is still mapped",
		     when, i);
}

/* Put the frame back, when nothing of the case needs it any more. */
static void put_back(void)
{
	char text[32];
	int err;

	snprintf(text, sizeof(text), "%llu", (unsigned long long)bad_pfn);
	err = file_write(UNPOISON, text);
	if (err)
		ksm_note("frame %s stays out of use: %s", text, strerror(-err));
}

/* --- cases ------------------------------------------------------------------ */

struct sharer {
	struct gate *ready, *go;
	char *forked;		/* pages that it has by fork, or NULL */
	char *own;
	bool early;
};

#define PAGES 10
#define SEED 1

static void share(void *arg)
{
	struct sharer *s = arg;
	uint64_t unique = (uint64_t)getpid() << 16;
	char *p = area_same(PAGES, SEED), *q = area_each(PAGES, unique);

	catch_bus();
	gate_open(s->ready, 1);
	gate_wait(s->go, 1);
	check_lost(p, PAGES, "in a sharer");
	must_eq("survivors of a sharer's pages",
		count_survivors(p, PAGES, SEED, "in a sharer"), 0);
	area_check_each(q, PAGES, unique, "a sharer's other pages");
	if (s->forked) {
		check_lost(s->forked, PAGES, "in a fork");
		must_eq("survivors of a fork's pages",
			count_survivors(s->forked, PAGES, SEED, "in a fork"),
			0);
	}
	must(!is_writable(p, 9), "a lost page can be written to");
	/* Thrown away and mapped anew, the address is as good as ever. */
	area_advise(p, PAGES, MADV_DONTNEED);
	area_fill_each(p, PAGES, 800);
	area_check_each(p, PAGES, 800, "filled anew");
}

static void start_sharers(struct sharer *s, pid_t *pid, size_t n, char *forked)
{
	size_t i;

	for (i = 0; i < n; i++) {
		s[i] = (struct sharer){ gate_new(), gate_new(), forked };
		pid[i] = child(share, &s[i]);
		gate_wait(s[i].ready, 1);
	}
}

static void end_sharers(struct sharer *s, pid_t *pid, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		gate_open(s[i].go, 1);
		join(pid[i]);
	}
}

/*
 * Shared by this process, two others and two forks: all of them lose it, all
 * keep what else they have.
 */
static void test_all_sharers(void)
{
	char *p = area_same(PAGES, SEED), *q = area_same(PAGES, 2);
	struct sharer s[4];
	pid_t pid[4];

	catch_bus();
	area_advise(p, PAGES, MADV_DONTFORK);
	area_advise(q, PAGES, MADV_DONTFORK);
	start_sharers(s, pid, 2, NULL);
	ksm_settle();
	ksm_expect("3 x 10 and 10 copies, 2 x 10 unique", 2, 38, 20, 0);
	area_advise(p, PAGES, MADV_DOFORK);
	start_sharers(s + 2, pid + 2, 2, p);
	ksm_settle();
	must_eq("frame of all", area_count_frames(p, PAGES), 1);
	ksm_set("run", 0);
	strike_page(p);
	check_lost(p, PAGES, "in the striker");
	must_eq("survivors", count_survivors(p, PAGES, SEED, "struck"), 0);
	area_check_same(q, PAGES, 2, "another merged page");
	end_sharers(s, pid, 4);
	area_check_same(q, PAGES, 2, "another merged page, later");
	area_free(p, PAGES);
	ksm_settle();
	ksm_expect("only the other page is left", 1, PAGES - 1, 0, 0);
	put_back();
}

/* Equal pages that come later merge with each other, in a frame that is good. */
static void test_frame_is_not_used(void)
{
	char *p = area_same(PAGES, SEED), *q;
	int n;

	catch_bus();
	ksm_settle();
	ksm_expect("10 copies", 1, PAGES - 1, 0, 0);
	strike_page(p);
	/* While the lost addresses are still there, and once they are gone. */
	for (n = 0; n < 2; n++) {
		q = area_same(PAGES, SEED);
		ksm_settle();
		ksm_expect("10 that came later", 1, (n + 1) * PAGES - 1, 0, 0);
		must_eq("different frames", area_count_frames(q, PAGES), 1);
		check_gone(q, PAGES, "came later");
		area_check_same(q, PAGES, SEED, "came later");
		if (!n)
			area_free(p, PAGES);
	}
	must(pfn_has_flag(bad_pfn, KPF_HWPOISON),
	     "the struck frame is in use again");
	put_back();
}

static void wait_for_news(void *arg)
{
	struct sharer *s = arg;
	char *p = area_same(PAGES, SEED);

	must_call(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, s->early ?
			PR_MCE_KILL_EARLY : PR_MCE_KILL_LATE, 0, 0));
	catch_bus();
	gate_open(s->ready, 1);
	gate_wait(s->go, 1);
	must_eq("code of the SIGBUS that told of the error", bus_code,
		s->early ? BUS_MCEERR_AO : 0);
	if (s->early)
		must((char *)bus_addr >= p &&
		     (char *)bus_addr < page_at(p, PAGES),
		     "told of address %p, the pages are at %p", bus_addr, p);
	must_eq("survivors", count_survivors(p, PAGES, SEED, "after news"), 0);
}

/* Who asked for it is told before the first access, who did not is not. */
static void test_told_early(void)
{
	char *p = area_same(PAGES, SEED);
	struct sharer s[2];
	pid_t pid[2];
	int i;

	area_advise(p, PAGES, MADV_DONTFORK);
	for (i = 0; i < 2; i++) {
		s[i] = (struct sharer){ gate_new(), gate_new() };
		s[i].early = i;
		pid[i] = child(wait_for_news, &s[i]);
		gate_wait(s[i].ready, 1);
	}
	ksm_settle();
	ksm_expect("3 x 10 copies", 1, 3 * PAGES - 1, 0, 0);
	ksm_set("run", 0);
	strike_page(p);
	nap_ms(100);
	end_sharers(s, pid, 2);
	area_free(p, PAGES);
	put_back();
}

static void fork_of_lost(void *arg)
{
	must_eq("survivors in a fork",
		count_survivors(arg, PAGES, SEED, "in a fork"), 0);
}

/* run=2, advice and fork get along with addresses that are lost. */
static void test_undoing(void)
{
	char *p = area_same(PAGES, SEED), *q = area_same(PAGES, 2);
	int n;

	catch_bus();
	ksm_settle();
	ksm_expect("2 x 10 copies", 2, 18, 0, 0);
	strike_page(p);
	join(child(fork_of_lost, p));
	must_call(madvise(p, PAGES * page_size, MADV_UNMERGEABLE));
	must_call(madvise(p, PAGES * page_size, MADV_MERGEABLE));
	for (n = 0; n < 2; n++) {
		ksm_settle();
		ksm_expect("the other 10", 1, PAGES - 1, 0, 0);
		ksm_set("run", 2);
		ksm_expect("run=2", 0, 0, 0, 0);
		area_check_same(q, PAGES, 2, "the others, given back");
	}
	must_eq("survivors", count_survivors(p, PAGES, SEED, "undone"), 0);
	area_free(p, PAGES);
	put_back();
}

static void read_on(void *arg)
{
	struct sharer *s = arg;
	char *p = area_same(PAGES, SEED), *q = area_same(PAGES, 2);
	unsigned int n = 0;

	catch_bus();
	gate_open(s->ready, 1);
	while (!__atomic_load_n(&s->go->step, __ATOMIC_SEQ_CST)) {
		char *page = page_at(p, n++ % PAGES);

		page_check(page_at(q, n % PAGES), 2, "another page");
		/* Lost or not: if it can be read it must be right. */
		survives(page, SEED, "under scan");
		while (!is_writable(page, SEED))
			area_advise(page, 1, MADV_DONTNEED);
	}
	area_check_same(q, PAGES, 2, "another page, at the end");
}

/* Errors while ksmd runs and others read and write. */
static void test_under_scan(void)
{
	struct sharer s[2];
	uint64_t bad[4];
	pid_t pid[2];
	char *p;
	int i, n = 0;

	for (i = 0; i < 2; i++) {
		s[i] = (struct sharer){ gate_new(), gate_new() };
		pid[i] = child(read_on, &s[i]);
		gate_wait(s[i].ready, 1);
	}
	catch_bus();
	ksm_set("sleep_millisecs", 0);
	for (i = 0; i < 4; i++) {
		p = area_same(PAGES, SEED);
		ksm_settle();
		/* Somebody may just write to it: then it is no merged page. */
		if (!page_is_ksm(p))
			continue;
		bad_pfn = page_pfn(p);
		if (madvise(p, page_size, MADV_HWPOISON)) {
			if (errno == EINVAL || errno == EPERM)
				skip("the kernel cannot be told of a memory error: %m");
			continue;
		}
		bad[n++] = bad_pfn;
		check_lost(p, 1, "struck under scan");
		area_free(p, PAGES);
	}
	ksm_note("poison.under_scan: %d errors", n);
	end_sharers(s, pid, 2);
	while (n-- > 0) {
		bad_pfn = bad[n];
		put_back();
	}
}

static const struct ksm_case cases[] = {
	{ "all_sharers", test_all_sharers, KSM_EXCLUSIVE, DEFECT },
	{ "frame_is_not_used", test_frame_is_not_used, KSM_EXCLUSIVE, DEFECT },
	{ "told_early", test_told_early, KSM_EXCLUSIVE, DEFECT },
	{ "undoing", test_undoing, KSM_EXCLUSIVE, DEFECT },
	{ "under_scan", test_under_scan, KSM_EXCLUSIVE, DEFECT },
	{ }
};

const struct ksm_topic topic_poison = { "poison", cases };
