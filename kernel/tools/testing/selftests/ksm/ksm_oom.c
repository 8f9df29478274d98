// SPDX-License-Identifier: GPL-2.0-only
/*
 * Giving merged memory back takes memory.  In a cgroup without any left, it
 * ends with an error or with the death of who asked for it, never of who owns
 * the memory; no byte is lost, and it can be tried again.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "ksm_util.h"

#define PAGES	4000
#define SEED	1

/* --- the owner of the memory ------------------------------------------------ */

enum step { READY = 1, CHECKED, AGAIN };

struct owner {
	struct gate *now, *go;
	pid_t pid;
	bool unkillable;
};

/*
 * No memory cgroup kills a process of this kind: allocations fail instead.
 * Returns false where nobody may become so.
 */
static bool become_unkillable(void)
{
	return !file_write("/proc/self/oom_score_adj", "-1000");
}

static void be_unkillable(void)
{
	if (!become_unkillable())
		skip("this container lets nobody be spared by the OOM killer");
}

/* By far the largest process of the cgroup: the usual first victim. */
static void own_memory(void *arg)
{
	struct owner *o = arg;
	char *p;

	memcg_enter();
	if (o->unkillable)
		be_unkillable();
	p = area_same(PAGES, SEED);
	gate_open(o->now, READY);
	gate_wait(o->go, CHECKED);
	area_check_same(p, PAGES, SEED, "after memory ran out");
	must(vma_has_flag(p, "mg"), "the owner's mapping has lost its mg flag");
	gate_open(o->now, CHECKED);
	gate_wait(o->go, AGAIN);
	must_eq("merged pages at last", area_count_ksm(p, PAGES), 0);
	area_check_same(p, PAGES, SEED, "given back");
	area_fill_each(p, 100, 5000);
	area_check_each(p, 100, 5000, "written");
}

/* An owner with merged memory in a cgroup that has room for @spare more pages. */
static void owner_start(struct owner *o, long spare)
{
	o->now = gate_new();
	o->go = gate_new();
	o->pid = child(own_memory, o);
	gate_wait(o->now, READY);
	ksm_settle();
	ksm_expect("4000 copies in a cgroup", 16, PAGES - 16, 0, 0);
	ksm_set("run", 0);
	memcg_limit(memcg_current() + spare * (long)page_size);
}

/* Memory has run out: the owner must have lived through it, and nothing is lost. */
static void owner_check(struct owner *o)
{
	int status;

	if (waitpid(o->pid, &status, WNOHANG) == o->pid &&
	    WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		fail("the owner of the memory was killed for the lack of it");
	/* Looking needs a page or two. */
	memcg_limit(-1);
	gate_open(o->go, CHECKED);
	gate_wait(o->now, CHECKED);
}

static void owner_end(struct owner *o)
{
	ksm_set("run", 2);
	ksm_expect("run=2, memory enough", 0, 0, 0, 0);
	gate_open(o->go, AGAIN);
	join(o->pid);
}

/* --- run=2 ------------------------------------------------------------------ */

#define WAS_REFUSED	3
#define WAS_DONE	4
#define WAS_KILLED	5

static void write_run_2(void *arg)
{
	memcg_enter();
	if (*(bool *)arg)
		be_unkillable();
	_exit(ksm_write("run", "2") ? WAS_REFUSED : WAS_DONE);
}

/* What became of a process in the cgroup that writes 2 to run. */
static int try_run_2(bool unkillable)
{
	pid_t pid = child(write_run_2, &unkillable);
	int status;

	must_call(waitpid(pid, &status, 0));
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return WAS_KILLED;
	if (ksm_verdict->state != KSM_RUNNING)
		_exit(1);
	must(WIFEXITED(status), "the writer ended with 0x%x", status);
	return WEXITSTATUS(status);
}

static void check_stopped(const char *when)
{
	must(ksm_read("run") == 0, "%s: run is %ld, expected 0", when,
	     ksm_read("run"));
	must(ksm_read("pages_sharing") > 0, "%s: nothing is merged any more",
	     when);
}

/* The writer is the first to die, though it has next to no memory. */
static void test_writer_is_victim(void)
{
	struct owner o = { 0 };
	int end;

	owner_start(&o, 600);
	end = try_run_2(false);
	must(end != WAS_DONE, "run=2 is through, with room for 600 of 4000 pages");
	check_stopped("run=2 ran out of memory");
	owner_check(&o);
	ksm_note("oom.writer_is_victim: the writer %s", end == WAS_KILLED ?
		 "was killed" : "got an error");
	owner_end(&o);
}

/* Even if nobody may be killed, the writer gives way, and does not loop. */
static void test_unkillable_writer(void)
{
	struct owner o = { .unkillable = true };

	owner_start(&o, 600);
	must(try_run_2(true) != WAS_DONE,
	     "run=2 is through, with room for 600 of 4000 pages");
	check_stopped("run=2 ran out of memory");
	/* Again, with what is left. */
	must(try_run_2(true) != WAS_DONE, "run=2 is through the second time");
	check_stopped("run=2 ran out of memory again");
	owner_check(&o);
	owner_end(&o);
}

/* After a failure run=1 merges again what was given back. */
static void test_goes_on(void)
{
	struct owner o = { .unkillable = true };

	owner_start(&o, 600);
	must(try_run_2(true) != WAS_DONE,
	     "run=2 is through, with room for 600 of 4000 pages");
	ksm_settle();
	ksm_wait_scans(2);
	must_eq("pages_unshared", ksm_read("pages_unshared"), 0);
	must_eq("shared + sharing, merged again",
		ksm_read("pages_shared") + ksm_read("pages_sharing"), PAGES);
	ksm_set("run", 0);
	owner_check(&o);
	owner_end(&o);
}

/* --- MADV_UNMERGEABLE ------------------------------------------------------- */

static void unmerge_short(void *arg)
{
	struct gate *g = arg;
	char *p;
	int err;

	memcg_enter();
	g[2].step = become_unkillable();
	p = area_same(PAGES, SEED);
	gate_open(&g[0], 1);
	gate_wait(&g[1], 1);
	/* Its page must be there already: see below. */
	errno = 0;
	err = madvise(p, PAGES * page_size, MADV_UNMERGEABLE) ? errno : 0;
	/* With nothing left, the next page that this process needs is its end. */
	gate_open(&g[0], 2);
	gate_wait(&g[1], 2);
	must(err == EAGAIN || err == ENOMEM,
	     "MADV_UNMERGEABLE without memory: errno %d, expected EAGAIN", err);
	must(vma_has_flag(p, "mg"), "it failed, and the mg flag is gone");
	area_check_same(p, PAGES, SEED, "advice taken back without memory");
	area_advise(p, PAGES, MADV_UNMERGEABLE);
	must_eq("merged pages", area_count_ksm(p, PAGES), 0);
	area_check_same(p, PAGES, SEED, "given back");
}

static void test_unmergeable(void)
{
	struct gate *g = shared_new(3 * sizeof(*g));
	pid_t pid = child(unmerge_short, g);
	int status, ended = 0;
	char *p;

	gate_wait(&g[0], 1);
	ksm_settle();
	ksm_expect("4000 copies in a cgroup", 16, PAGES - 16, 0, 0);
	/* Another process shares them, and has all the memory it wants. */
	p = area_same(100, SEED);
	ksm_settle();
	ksm_set("run", 0);
	must_eq("merged pages outside", area_count_ksm(p, 100), 100);
	memcg_limit(memcg_current() + 600 * (long)page_size);
	gate_open(&g[1], 1);
	while (!ended && __atomic_load_n(&g[0].step, __ATOMIC_SEQ_CST) < 2) {
		nap_ms(5);
		ended = waitpid(pid, &status, WNOHANG);
	}
	memcg_limit(-1);
	gate_open(&g[1], 2);
	if (!ended)
		must_call(waitpid(pid, &status, 0));
	if (ksm_verdict->state != KSM_RUNNING)
		_exit(1);
	must(!status || (!g[2].step && WIFSIGNALED(status) &&
			 WTERMSIG(status) == SIGKILL),
	     "who takes its advice back without memory ends with 0x%x", status);
	area_check_same(p, 100, SEED, "shared with it");
	must_eq("merged pages outside, later", area_count_ksm(p, 100), 100);
}

/* --- COW ---------------------------------------------------------------------- */

static void write_short(void *arg)
{
	struct gate *g = arg;
	char *p;

	memcg_enter();
	p = area_same(PAGES, SEED);
	gate_open(&g[0], 1);
	gate_wait(&g[1], 1);
	area_fill_each(p, PAGES, 9000);
	fail("all pages were written to, with room for 600 of 4000");
}

/* An owner that writes more than fits dies of it; the others share on. */
static void test_write_too_much(void)
{
	struct gate *g = shared_new(2 * sizeof(*g));
	pid_t pid = child(write_short, g);
	char *p = area_same(100, SEED);
	int status;

	gate_wait(&g[0], 1);
	ksm_settle();
	ksm_expect("4100 copies", -1, -1, 0, 0);
	memcg_limit(memcg_current() + 600 * (long)page_size);
	gate_open(&g[1], 1);
	must_call(waitpid(pid, &status, 0));
	if (ksm_verdict->state != KSM_RUNNING)
		_exit(1);
	must(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
	     "the process that ran out of memory ended with 0x%x", status);
	area_check_same(p, 100, SEED, "of the survivor");
	ksm_forget();
	ksm_settle();
	ksm_expect("the survivor", 1, 99, 0, 0);
	area_check_same(p, 100, SEED, "of the survivor, later");
}

static const struct ksm_case cases[] = {
	{ "writer_is_victim", test_writer_is_victim, KSM_EXCLUSIVE },
	{ "unkillable_writer", test_unkillable_writer, KSM_EXCLUSIVE },
	{ "goes_on", test_goes_on, KSM_EXCLUSIVE },
	{ "unmergeable", test_unmergeable, KSM_EXCLUSIVE },
	{ "write_too_much", test_write_too_much, KSM_EXCLUSIVE },
	{ }
};

const struct ksm_topic topic_oom = { "oom", cases };
