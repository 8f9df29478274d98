// SPDX-License-Identifier: GPL-2.0-only
/*
 * Failing allocations (kernels with fault injection): advice, fork and run=2
 * end with the error that the interface names, and nothing is lost.
 *
 * The n-th allocation of a system call is made to fail, so counting n up from 1
 * until a call succeeds tries every one.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "ksm_util.h"

#define MAX_NTH		400

static void advise_in_child(void *arg)
{
	int *result = arg;
	char *p;

	/* The keeper was inherited: this process must start unregistered. */
	p = area_new(4);
	area_fill_same(p, 4, 1);
	fail_nth(result[0]);
	result[1] = madvise(p, 4 * page_size, MADV_MERGEABLE) ? errno : 0;
	result[2] = nth_has_failed();
	area_check_same(p, 4, 1, "after advice");
	must(vma_has_flag(p, "mg") == !result[1],
	     "madvise gives errno %d and VmFlags %s mg", result[1],
	     vma_has_flag(p, "mg") ? "has" : "lacks");
}

/* Out of memory while registering: EAGAIN, as madvise(2) says. */
static void test_madvise(void)
{
	int *result = shared_new(page_size), n, failed = 0;

	need_failing();
	area_free(ksm_keeper, 1);
	ksm_set("run", 1);
	nap_ms(300);
	for (n = 1; n < MAX_NTH; n++) {
		result[0] = n;
		join(child(advise_in_child, result));
		if (!result[2])
			break;
		must(!result[1] || result[1] == EAGAIN ||
		     result[1] == ENOMEM,
		     "allocation %d of madvise fails: errno %d", n, result[1]);
		failed += result[1] == EAGAIN;
	}
	must(n < MAX_NTH, "madvise allocates %d times", n);
	must(failed, "no failing allocation of madvise gave EAGAIN");
	ksm_note("inject.madvise: %d allocations, %d gave EAGAIN", n - 1,
		 failed);
}

/* A fork that fails half-way leaves nothing behind. */
static void test_fork(void)
{
	char *p = area_same(20, 1);
	int n, failed = 0;

	need_failing();
	spare_pages();
	ksm_settle();
	ksm_expect("20 copies", 1, 19, 0, 0);
	for (n = 1; n < MAX_NTH; n++) {
		pid_t pid;
		bool has_failed;

		fail_nth(n);
		pid = fork();
		if (!pid) {
			area_check_same(p, 20, 1, "in a child");
			_exit(0);
		}
		has_failed = nth_has_failed();
		if (pid > 0)
			join(pid);
		else
			failed++;
		if (!has_failed)
			break;
	}
	must(failed, "no failing allocation made fork fail");
	ksm_note("inject.fork: %d allocations, %d made fork fail", n - 1,
		 failed);
	area_check_same(p, 20, 1, "in the parent");
	ksm_forget();
	ksm_expect("after failed forks", 1, 19, 0, 0);
}

#define PAGES	20

static void merge_again(void)
{
	ksm_settle();
	ksm_expect("20 copies", 1, PAGES - 1, 0, 0);
}

/* One try of run=2 with the @n-th allocation failing; true if one failed. */
static bool try_run_2(char *p, int run, int n, int *failed)
{
	bool has_failed;
	ssize_t written;

	merge_again();
	fail_nth(n);
	written = pwrite(run, "2", 1, 0);
	has_failed = nth_has_failed();
	area_check_same(p, PAGES, 1, "after run=2 short of memory");
	if (written == 1) {
		ksm_expect("run=2", 0, 0, 0, 0);
		return has_failed;
	}
	must(errno == ENOMEM, "run=2 short of memory: %m");
	/* 1 if the write itself was refused, before the engine saw it. */
	must(ksm_read("run") != 2, "run is 2 after a failed run=2");
	*failed += 1;
	return has_failed;
}

/*
 * run=2 that runs out of memory stops, says so, and can be tried again.  Each page
 * that it gives back takes an allocation at least, and has to fail once.
 */
static void test_run_2(void)
{
	char *p = area_same(PAGES, 1);
	int n = 1, failed = 0, run;

	need_failing();
	/* Opened now: opening allocates. */
	run = open(KSM_DIR "run", O_WRONLY | O_CLOEXEC);
	must_call(run);
	while (n < MAX_NTH && try_run_2(p, run, n, &failed))
		n++;
	ksm_note("inject.run_2: %d tries, %d of them failed", n, failed);
	must(n < MAX_NTH, "run=2 allocates %d times", n);
	must(failed >= PAGES, "of %d allocations of run=2 only %d made it fail", n - 1,
	     failed);
	ksm_set("run", 2);
	ksm_expect("run=2 at last", 0, 0, 0, 0);
	area_check_same(p, PAGES, 1, "given back");
}

/* The same of MADV_UNMERGEABLE. */
static bool try_unmergeable(char *p, int n, int *failed)
{
	bool has_failed;
	int err;

	merge_again();
	ksm_set("run", 0);
	fail_nth(n);
	err = madvise(p, PAGES * page_size, MADV_UNMERGEABLE) ? errno : 0;
	has_failed = nth_has_failed();
	area_check_same(p, PAGES, 1, "after advice short of memory");
	if (err) {
		must(err == ENOMEM || err == EAGAIN,
		     "MADV_UNMERGEABLE short of memory: errno %d", err);
		must(vma_has_flag(p, "mg"),
		     "MADV_UNMERGEABLE failed, yet took the mg flag");
		*failed += 1;
	} else {
		must_eq("merged pages", area_count_ksm(p, PAGES), 0);
	}
	area_advise(p, PAGES, MADV_MERGEABLE);
	return has_failed;
}

static void test_unmergeable(void)
{
	char *p = area_same(PAGES, 1);
	int n = 1, failed = 0;

	need_failing();
	while (n < MAX_NTH && try_unmergeable(p, n, &failed))
		n++;
	ksm_note("inject.unmergeable: %d tries, %d of them failed", n, failed);
	must(n < MAX_NTH, "MADV_UNMERGEABLE allocates %d times", n);
	must(failed >= PAGES,
	     "of %d allocations of MADV_UNMERGEABLE only %d made it fail", n - 1,
	     failed);
}

static const struct ksm_case cases[] = {
	{ "madvise", test_madvise, KSM_EXCLUSIVE },
	{ "fork", test_fork, KSM_EXCLUSIVE | KSM_SLOW },
	{ "run_2", test_run_2, KSM_EXCLUSIVE | KSM_SLOW },
	{ "unmergeable", test_unmergeable, KSM_EXCLUSIVE | KSM_SLOW },
	{ }
};

const struct ksm_topic topic_inject = { "inject", cases };
