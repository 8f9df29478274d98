// SPDX-License-Identifier: GPL-2.0-only
/*
 * Processes that end, exec or are killed while their memory is scanned or
 * merged.  The others keep their contents, the counters come back.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "ksm_util.h"

static void run_sharer(void *arg)
{
	struct gate *g = arg;
	char *p = area_same(30, 1);

	gate_open(g, 1);
	gate_wait(g, 2);
	area_check_same(p, 30, 1, "in a sharer");
}

static void test_killed_while_merged(void)
{
	struct gate *g[3];
	pid_t pid[3];
	char *p;
	int i;

	for (i = 0; i < 3; i++) {
		g[i] = gate_new();
		pid[i] = child(run_sharer, g[i]);
		gate_wait(g[i], 1);
	}
	p = area_same(30, 1);
	ksm_settle();
	ksm_expect("4 x 30 copies", 1, 119, 0, 0);
	kill_child(pid[0]);
	ksm_forget();
	ksm_expect("one of four killed", 1, 89, 0, 0);
	kill_child(pid[2]);
	ksm_forget();
	ksm_expect("two of four killed", 1, 59, 0, 0);
	area_check_same(p, 30, 1, "in a survivor");
	gate_open(g[1], 2);
	join(pid[1]);
	area_free(p, 30);
	area_each(1, 50);
	ksm_forget();
	ksm_settle();
	ksm_expect("all sharers gone", 0, 0, 1, 0);
}

/* The first to merge goes: its frame must live on for the others. */
static void test_owner_exits(void)
{
	struct gate *g = gate_new();
	pid_t pid = child(run_sharer, g);
	char *p;

	gate_wait(g, 1);
	ksm_settle();
	ksm_expect("the first", 1, 29, 0, 0);
	p = area_same(30, 1);
	ksm_settle();
	ksm_expect("both", 1, 59, 0, 0);
	gate_open(g, 2);
	join(pid);
	area_check_same(p, 30, 1, "the other");
	ksm_forget();
	ksm_expect("the other", 1, 29, 0, 0);
	area_fill_each(p, 15, 60);
	area_check_same(page_at(p, 15), 15, 1, "not written");
}

static void short_lived(void *arg)
{
	int kind = *(int *)arg;
	char *p = area_same(16, 1);

	if (kind & 1)
		usleep(500 * (kind % 7));
	if (kind % 3 == 0)
		page_fill(page_at(p, kind % 16), kind);
	if (kind % 4 == 2) {
		execl("/bin/true", "true", NULL);
		fail("exec of /bin/true: %m");
	}
	if (kind % 5 == 3)
		area_advise(p, 16, MADV_UNMERGEABLE);
	page_check(page_at(p, (kind + 1) % 16), 1, "in a short-lived process");
	if (kind % 4 == 1)
		kill(getpid(), SIGKILL);
}

static void storm(int rounds)
{
	pid_t pid[8];
	int n, i, status, kind;

	for (n = 0; n < rounds; n++) {
		for (i = 0; i < 8; i++) {
			kind = n * 8 + i;
			pid[i] = child(short_lived, &kind);
		}
		for (i = 0; i < 8; i++) {
			must_call(waitpid(pid[i], &status, 0));
			kind = n * 8 + i;
			if (kind % 4 == 1 && WIFSIGNALED(status) &&
			    WTERMSIG(status) == SIGKILL)
				continue;
			if (ksm_verdict->state != KSM_RUNNING)
				_exit(1);
			must(WIFEXITED(status) && !WEXITSTATUS(status),
			     "short-lived process %d ended with 0x%x", kind,
			     status);
		}
	}
}

static void test_many_short_processes(void)
{
	char *p = area_same(16, 1);

	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	storm(25);
	area_check_same(p, 16, 1, "in the parent");
	ksm_forget();
	ksm_settle();
	ksm_expect("only the parent is left", 1, 15, 0, 0);
}

static void clumsy(void *arg)
{
	struct gate *g = arg;
	char *p = area_same(200, 1);

	ksm_wait_scans(2);
	gate_open(g, 1);
	area_check_same(p, 200, 1, "before exit");
}

/* Many exits at once, all of them with merged memory. */
static void test_exit_together(void)
{
	struct gate *g[8];
	pid_t pid[8];
	char *p;
	int i;

	p = area_same(200, 1);
	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	for (i = 0; i < 8; i++) {
		g[i] = gate_new();
		pid[i] = child(clumsy, g[i]);
	}
	for (i = 0; i < 8; i++)
		join(pid[i]);
	area_check_same(p, 200, 1, "in the survivor");
	ksm_forget();
	ksm_settle();
	ksm_expect("the survivor", 1, 199, 0, 0);
}

static void do_exec(void *arg)
{
	char *p = area_same(30, 1);

	ksm_settle();
	must_eq("ksm_merging_pages before exec", proc_merging_pages(0), 30);
	area_check_same(p, 30, 1, "before exec");
	/* The new program's counters must be its own: all 0. */
	execl("/bin/sh", "sh", "-c",
	      "read n </proc/$$/ksm_merging_pages && [ $n = 0 ] || exit 2\n"
	      "read k v </proc/$$/ksm_stat && [ $v = 0 ] || exit 3\n",
	      NULL);
	fail("exec of /bin/sh: %m (%p)", arg);
}

static void test_exec_drops_all(void)
{
	join(child(do_exec, NULL));
	area_each(1, 1);
	ksm_settle();
	ksm_expect("after exec", 0, 0, 1, 0);
}

static const struct ksm_case cases[] = {
	{ "killed_while_merged", test_killed_while_merged },
	{ "owner_exits", test_owner_exits },
	{ "many_short_processes", test_many_short_processes, KSM_SLOW },
	{ "exit_together", test_exit_together },
	{ "exec_drops_all", test_exec_drops_all },
	{ }
};

const struct ksm_topic topic_exit = { "exit", cases };
