// SPDX-License-Identifier: GPL-2.0-only
/*
 * Giving pages back: MADV_UNMERGEABLE on all or part, run=2, run=0.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include "ksm_util.h"

static void test_unmergeable(void)
{
	char *p = area_same(40, 1);

	ksm_settle();
	ksm_expect("40 copies", 1, 39, 0, 0);
	area_advise(p, 40, MADV_UNMERGEABLE);
	must_eq("merged pages", area_count_ksm(p, 40), 0);
	must_eq("different frames", area_count_frames(p, 40), 40);
	area_check_same(p, 40, 1, "given back");
	ksm_forget();
	ksm_expect("given back", 0, 0, 0, 0);
	must_eq("/proc/self/ksm_merging_pages", proc_merging_pages(0), 0);
	area_fill_each(p, 40, 10);
	area_check_each(p, 40, 10, "written");
}

static void test_part(void)
{
	char *p = area_same(40, 1);

	ksm_settle();
	ksm_expect("40 copies", 1, 39, 0, 0);
	area_advise(page_at(p, 10), 20, MADV_UNMERGEABLE);
	must_eq("merged pages inside", area_count_ksm(page_at(p, 10), 20), 0);
	must_eq("merged pages in all", area_count_ksm(p, 40), 20);
	area_check_same(p, 40, 1, "part given back");
	ksm_forget();
	ksm_expect("part given back", 1, 19, 0, 0);
	must_eq("merged pages inside, 2 passes later",
		area_count_ksm(page_at(p, 10), 20), 0);
	area_advise(page_at(p, 10), 20, MADV_MERGEABLE);
	ksm_settle();
	ksm_expect("advised again", 1, 39, 0, 0);
	area_check_same(p, 40, 1, "advised again");
}

static void test_of_holes(void)
{
	char *p = area_new(64);
	size_t i;

	for (i = 0; i < 64; i += 3)
		page_fill(page_at(p, i), 1);
	area_advise(p, 64, MADV_MERGEABLE);
	ksm_settle();
	ksm_expect("22 copies between holes", 1, 21, 0, 0);
	area_advise(p, 64, MADV_UNMERGEABLE);
	must_eq("merged pages", area_count_ksm(p, 64), 0);
	for (i = 0; i < 64; i++) {
		if (i % 3 == 0)
			page_check(page_at(p, i), 1, "given back");
		else
			must_eq("pagemap of a hole",
				pagemap_of(page_at(p, i)) & PM_PRESENT, 0);
	}
}

static void test_run_2(void)
{
	char *p = area_same(300, 1), *q = area_each(10, 100);

	ksm_settle();
	ksm_expect("300 copies, 10 unique", 2, 298, 10, 0);
	ksm_set("run", 2);
	ksm_expect("run=2", 0, 0, 0, 0);
	must_eq("merged pages", area_count_ksm(p, 300), 0);
	must_eq("different frames", area_count_frames(p, 300), 300);
	must_eq("/proc/self/ksm_merging_pages", proc_merging_pages(0), 0);
	must_eq("ksm_rmap_items", proc_ksm_stat(0, "ksm_rmap_items"), 0);
	area_check_same(p, 300, 1, "given back");
	area_check_each(q, 10, 100, "unique");
	must(vma_has_flag(p, "mg"), "run=2 took the mapping's mg flag");
	/* The memory stays registered: run=1 merges it again. */
	ksm_settle();
	ksm_expect("run=1 again", 2, 298, 10, 0);
	area_check_same(p, 300, 1, "merged again");
}

static void test_run_0(void)
{
	char *p = area_same(30, 1), *q;
	long scans;

	ksm_settle();
	ksm_expect("30 copies", 1, 29, 0, 0);
	ksm_set("run", 0);
	scans = ksm_read("full_scans");
	q = area_same(30, 1);
	nap_ms(200);
	must_eq("full_scans with run=0", ksm_read("full_scans"), scans);
	ksm_expect("run=0", 1, 29, 0, 0);
	must_eq("merged pages", area_count_ksm(p, 30), 30);
	must_eq("merged among those that came later", area_count_ksm(q, 30), 0);
	page_fill(p, 2);
	page_check(p, 2, "written with run=0");
	area_check_same(page_at(p, 1), 29, 1, "others");
	area_check_same(q, 30, 1, "came later");
	ksm_settle();
	ksm_expect("run=1 again", 1, 58, 1, 0);
}

static void run_2_others(void *arg)
{
	struct gate *g = arg;
	char *p = area_same(50, 1);

	gate_open(g, 1);
	gate_wait(g, 2);
	must_eq("merged pages of a child after run=2", area_count_ksm(p, 50),
		0);
	area_check_same(p, 50, 1, "in a child, given back");
}

static void test_run_2_all_processes(void)
{
	struct gate *g[3];
	pid_t pid[3];
	int i;

	for (i = 0; i < 3; i++) {
		g[i] = gate_new();
		pid[i] = child(run_2_others, g[i]);
		gate_wait(g[i], 1);
	}
	ksm_settle();
	ksm_expect("3 x 50 copies", 1, 149, 0, 0);
	for (i = 0; i < 3; i++)
		must_eq("a child's ksm_merging_pages",
			proc_merging_pages(pid[i]), 50);
	ksm_set("run", 2);
	ksm_expect("run=2", 0, 0, 0, 0);
	for (i = 0; i < 3; i++) {
		must_eq("a child's ksm_merging_pages after run=2",
			proc_merging_pages(pid[i]), 0);
		gate_open(g[i], 2);
		join(pid[i]);
	}
}

static void write_run_2(void *arg)
{
	(void)arg;
	_exit(ksm_write("run", "2") ? 3 : 0);
}

/*
 * A writer of run=2 that gets a signal stops unmerging and leaves run=0; now and
 * then one is through before.  It never hangs and never loses a byte.
 */
static void test_run_2_signal(void)
{
	const size_t pages = 2048;
	char *p = area_same(pages, 1);
	int status, i, broken = 0;
	long run;

	ksm_set("run", 2);
	ksm_set("max_page_sharing", 20000);
	/* When it has begun, and how long it takes, depends on what else runs. */
	for (i = 0; i < 4 || (!broken && i < 40); i++) {
		pid_t pid;

		ksm_settle();
		ksm_expect("2048 copies", 1, pages - 1, 0, 0);
		pid = child(write_run_2, NULL);
		nap_ms(2 + 3 * (i % 12));
		must_call(kill(pid, SIGKILL));
		must_call(waitpid(pid, &status, 0));
		run = ksm_read("run");
		must(run == 0 || run == 2 || run == 1,
		     "run is %ld after the writer of run=2 was killed", run);
		if (run == 0)
			broken++;
		area_check_same(p, pages, 1, "after the writer was killed");
		ksm_set("run", 2);
		ksm_expect("run=2 at last", 0, 0, 0, 0);
	}
	ksm_note("run_2_signal: %d of %d writers were stopped half-way", broken, i);
	must(broken, "none of %d killed writers of run=2 stopped before its end", i);
	area_check_same(p, pages, 1, "given back");
}

static void on_alarm(int sig)
{
	(void)sig;
}

/*
 * A timer that interrupts whatever this process does then; 0 stops it.  Once, since a
 * slow kernel would do nothing else.
 */
static void interrupt_after_us(long us)
{
	struct itimerval t = { { 0, 0 }, { 0, us } };
	/* Without SA_RESTART: the call has to come back. */
	struct sigaction sa = { .sa_handler = on_alarm };

	must_call(sigaction(SIGALRM, &sa, NULL));
	must_call(setitimer(ITIMER_REAL, &t, NULL));
}

/*
 * Give all back, interrupted after @us, and after four times that when it is called
 * again, since what is given back is looked at again, which takes time, too.  Returns
 * how often it was interrupted.
 */
static int give_back_interrupted(char *p, size_t pages, long us)
{
	int err, interrupted = 0;

	interrupt_after_us(us);
	while ((err = madvise(p, pages * page_size, MADV_UNMERGEABLE) ?
		errno : 0)) {
		must(err == EINTR, "MADV_UNMERGEABLE under signals: errno %d, expected EINTR",
		     err);
		must(vma_has_flag(p, "mg"), "interrupted, and the mg flag is gone");
		interrupted++;
		us *= 4;
		interrupt_after_us(us < 1000000 ? us : 0);
	}
	interrupt_after_us(0);
	return interrupted;
}

/*
 * A signal ends MADV_UNMERGEABLE: EINTR, the advice stays, no byte is lost, and
 * it can be called again until all is given back.
 */
static void test_unmergeable_signal(void)
{
	const size_t pages = 2048;
	int interrupted = 0, tries;
	char *p;

	ksm_set("max_page_sharing", 20000);
	p = area_same(pages, 1);
	/* The signal may come before the call has begun, where a machine is slow. */
	for (tries = 0; !interrupted && tries < 12; tries++) {
		area_advise(p, pages, MADV_MERGEABLE);
		ksm_settle();
		ksm_expect("2048 copies", 1, pages - 1, 0, 0);
		ksm_set("run", 0);
		interrupted = give_back_interrupted(p, pages, 500 << tries);
	}
	must(interrupted, "in %d tries nothing was interrupted", tries);
	ksm_note("unmergeable_signal: interrupted %d times, try %d", interrupted, tries);
	must_eq("merged pages", area_count_ksm(p, pages), 0);
	must(!vma_has_flag(p, "mg"), "given back, and the mg flag is there");
	area_check_same(p, pages, 1, "given back");
}

/* --- a page that somebody maps who has never offered it ------------------ */

/**
 * struct family - a process that offers nothing, and its child, which merges
 * @merging: opened by the child once its pages are offered
 * @unmerged: opened by the parent once run=2 is through
 * @p: four equal pages, the parent's; the child has them by fork
 * @writes: the parent writes to them in the end, else it just exits
 * @pfn: the frame that was merged
 */
struct family {
	struct gate *merging, *unmerged;
	char *p;
	bool writes;
	uint64_t pfn;
};

static void child_of_family(void *arg)
{
	struct family *f = arg;

	area_advise(f->p, 4, MADV_MERGEABLE);
	gate_open(f->merging, 1);
	gate_wait(f->unmerged, 1);
	must_eq("merged pages of the child after run=2",
		area_count_ksm(f->p, 4), 0);
	area_check_same(f->p, 4, 1, "of the child, given back");
}

/* run=2 is through: what is left of the merge where nothing was offered? */
static void check_parent(struct family *f)
{
	ksm_expect("run=2", 0, 0, 0, 0);
	must_eq("merged pages of the parent after run=2",
		area_count_ksm(f->p, 4), 1);
	must_eq("mappings of the merged page after run=2",
		pfn_mapcount(f->pfn), 1);
	area_check_same(f->p, 4, 1, "of the parent, after run=2");
	/* Nobody counts it, so it keeps no limit from being changed. */
	ksm_set("max_page_sharing", 300);
	if (ksm_has("merge_across_nodes"))
		ksm_set("merge_across_nodes", 0);
}

static void parent_of_family(void *arg)
{
	struct family *f = arg;
	pid_t pid;
	size_t i;

	/* This process was forked with the runner's page, which is offered. */
	area_free(ksm_keeper, 1);
	f->p = area_new(4);
	area_fill_same(f->p, 4, 1);
	pid = child(child_of_family, f);
	gate_wait(f->merging, 1);
	ksm_settle();
	ksm_expect("4 copies of a child", 1, 3, 0, 0);
	must_eq("merged pages of the parent", area_count_ksm(f->p, 4), 1);
	for (i = 0; i < 4; i++)
		if (page_is_ksm(page_at(f->p, i)))
			f->pfn = page_pfn(page_at(f->p, i));
	ksm_set("run", 2);
	gate_open(f->unmerged, 1);
	join(pid);
	check_parent(f);
	if (!f->writes)
		return;
	area_fill_same(f->p, 4, 2);
	must_eq("merged pages of the parent, written",
		area_count_ksm(f->p, 4), 0);
	must(!pfn_has_flag(f->pfn, KPF_KSM_PAGE),
	     "the merged page outlives the write of its last user");
	area_check_same(f->p, 4, 2, "of the parent, written");
}

/*
 * A child merges pages that its parent maps, too, and has not offered.  run=2
 * gives the child its own; the parent keeps reading the one page that was
 * merged, for nobody may fault in memory that was not offered.  It goes when
 * the parent writes to it or exits.
 */
static void test_run_2_parent(void)
{
	struct family *f = shared_new(sizeof(*f));
	int writes;

	for (writes = 0; writes < 2; writes++) {
		*f = (struct family){ gate_new(), gate_new(), .writes = writes };
		join(child(parent_of_family, f));
		must(!pfn_has_flag(f->pfn, KPF_KSM_PAGE),
		     "the merged page outlives its last user");
	}
}

static const struct ksm_case cases[] = {
	{ "unmergeable", test_unmergeable },
	{ "part", test_part },
	{ "of_holes", test_of_holes },
	{ "run_2", test_run_2 },
	{ "run_0", test_run_0 },
	{ "run_2_all_processes", test_run_2_all_processes },
	{ "run_2_parent", test_run_2_parent, 0,
	  "a page that nobody offers any more keeps max_page_sharing busy" },
	{ "run_2_signal", test_run_2_signal, KSM_SLOW },
	{ "unmergeable_signal", test_unmergeable_signal, KSM_SLOW },
	{ }
};

const struct ksm_topic topic_unmerge = { "unmerge", cases };
