// SPDX-License-Identifier: GPL-2.0-only
/*
 * Failing allocations (kernels with fault injection): advice, fork and run=2
 * end with the error that the interface names, and nothing is lost.
 *
 * /proc/thread-self/fail-nth makes the n-th allocation of the next system call
 * fail, so counting n up from 1 until a call succeeds tries every one.
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

#define FAIL_NTH	"/proc/thread-self/fail-nth"
#define FAIL_PAGE	"/sys/kernel/debug/fail_page_alloc/"
#define FAIL_SLAB	"/sys/kernel/debug/failslab/"
#define MAX_NTH		400

/*
 * The files are opened before: opening allocates, and would take the failure
 * that is meant for the call under test.
 */
static int nth_fd, run_fd;

static void open_nth(void)
{
	nth_fd = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
	run_fd = open(KSM_DIR "run", O_WRONLY | O_CLOEXEC);
	must(nth_fd >= 0 && run_fd >= 0, FAIL_NTH " or run: %m");
}

static void fail_nth(int n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", n);

	must(pwrite(nth_fd, text, len, 0) == len, "writing %d to " FAIL_NTH
	     ": %m", n);
}

/* True if the failure that was asked for has not happened. */
static bool nth_is_left(void)
{
	char text[16] = "";

	must(pread(nth_fd, text, sizeof(text) - 1, 0) > 0, FAIL_NTH ": %m");
	fail_nth(0);
	return atoi(text) > 0;
}

static void need_injection(void)
{
	static const char *const dir[] = { FAIL_PAGE, FAIL_SLAB };
	char path[128];
	size_t i;

	if (access(FAIL_NTH, W_OK))
		skip("the kernel cannot make allocations fail");
	/* Let every kind of allocation fail, and quietly. */
	for (i = 0; i < ARRAY_SIZE(dir); i++) {
		snprintf(path, sizeof(path), "%signore-gfp-wait", dir[i]);
		file_write(path, "N");
		snprintf(path, sizeof(path), "%sverbose", dir[i]);
		file_write(path, "0");
	}
	file_write(FAIL_PAGE "min-order", "0");
	open_nth();
}

static void advise_in_child(void *arg)
{
	int *result = arg;
	char *p;

	/* The keeper was inherited: this process must start unregistered. */
	p = area_new(4);
	area_fill_same(p, 4, 1);
	open_nth();
	fail_nth(result[0]);
	result[1] = madvise(p, 4 * page_size, MADV_MERGEABLE) ? errno : 0;
	result[2] = nth_is_left();
	area_check_same(p, 4, 1, "after advice");
	must(vma_has_flag(p, "mg") == !result[1],
	     "madvise gives errno %d and VmFlags %s mg", result[1],
	     vma_has_flag(p, "mg") ? "has" : "lacks");
}

/* Out of memory while registering: EAGAIN, as madvise(2) says. */
static void test_madvise(void)
{
	int *result = shared_new(page_size), n, failed = 0;

	need_injection();
	area_free(ksm_keeper, 1);
	ksm_set("run", 1);
	nap_ms(300);
	for (n = 1; n < MAX_NTH; n++) {
		result[0] = n;
		join(child(advise_in_child, result));
		if (result[2])
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

	need_injection();
	ksm_settle();
	ksm_expect("20 copies", 1, 19, 0, 0);
	for (n = 1; n < MAX_NTH; n++) {
		pid_t pid;
		bool left;

		fail_nth(n);
		pid = fork();
		if (!pid) {
			area_check_same(p, 20, 1, "in a child");
			_exit(0);
		}
		left = nth_is_left();
		if (pid > 0)
			join(pid);
		else
			failed++;
		if (left)
			break;
	}
	must(failed, "no failing allocation made fork fail");
	ksm_note("inject.fork: %d allocations, %d made fork fail", n - 1,
		 failed);
	area_check_same(p, 20, 1, "in the parent");
	ksm_forget();
	ksm_expect("after failed forks", 1, 19, 0, 0);
}

/* One try of run=2 with the @n-th allocation failing; true if one failed. */
static bool try_run_2(char *p, int n, int *failed)
{
	ssize_t written;
	bool left;

	ksm_settle();
	ksm_expect("40 copies", 1, 39, 0, 0);
	fail_nth(n);
	written = pwrite(run_fd, "2", 1, 0);
	left = nth_is_left();
	area_check_same(p, 40, 1, "after run=2 short of memory");
	if (written == 1) {
		ksm_expect("run=2", 0, 0, 0, 0);
		return !left;
	}
	must(errno == ENOMEM, "run=2 short of memory: %m");
	/* 1 if the write itself was refused, before the engine saw it. */
	must(ksm_read("run") != 2, "run is 2 after a failed run=2");
	*failed += 1;
	return !left;
}

/* run=2 that runs out of memory stops, says so, and can be tried again. */
static void test_run_2(void)
{
	char *p = area_same(40, 1);
	int n = 1, failed = 0;

	need_injection();
	while (n < 60 && try_run_2(p, n, &failed))
		n++;
	must(failed, "no failing allocation made run=2 fail");
	ksm_note("inject.run_2: %d tries, %d of them failed", n, failed);
	ksm_set("run", 2);
	ksm_expect("run=2 at last", 0, 0, 0, 0);
	area_check_same(p, 40, 1, "given back");
}

static void test_unmergeable(void)
{
	char *p = area_same(40, 1);
	int n;

	need_injection();
	for (n = 1; n < 60; n++) {
		int err;
		bool left;

		ksm_settle();
		ksm_expect("40 copies", 1, 39, 0, 0);
		ksm_set("run", 0);
		fail_nth(n);
		err = madvise(p, 40 * page_size, MADV_UNMERGEABLE) ? errno : 0;
		left = nth_is_left();
		area_check_same(p, 40, 1, "after advice short of memory");
		if (err) {
			must(err == ENOMEM || err == EAGAIN,
			     "MADV_UNMERGEABLE short of memory: errno %d", err);
			must(vma_has_flag(p, "mg"),
			     "MADV_UNMERGEABLE failed, yet took the mg flag");
		} else {
			must_eq("merged pages", area_count_ksm(p, 40), 0);
		}
		area_advise(p, 40, MADV_MERGEABLE);
		if (left)
			break;
	}
}

static const struct ksm_case cases[] = {
	{ "madvise", test_madvise, KSM_EXCLUSIVE },
	{ "fork", test_fork, KSM_EXCLUSIVE | KSM_SLOW },
	{ "run_2", test_run_2, KSM_EXCLUSIVE | KSM_SLOW },
	{ "unmergeable", test_unmergeable, KSM_EXCLUSIVE | KSM_SLOW },
	{ }
};

const struct ksm_topic topic_inject = { "inject", cases };
