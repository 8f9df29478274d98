// SPDX-License-Identifier: GPL-2.0-only
/*
 * prctl(PR_SET_MEMORY_MERGE): all memory of a process is mergeable, what it
 * has and what it will map, and so is that of its children and of what it
 * executes.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "ksm_util.h"

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#define PR_GET_MEMORY_MERGE 68
#endif

static int get_merge(void)
{
	return prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0);
}

static void set_merge(unsigned long on)
{
	must(!prctl(PR_SET_MEMORY_MERGE, on, 0, 0, 0),
	     "PR_SET_MEMORY_MERGE, %lu: %m", on);
	must_eq("PR_GET_MEMORY_MERGE", get_merge(), !!on);
}

static void need_prctl(void)
{
	ksm_need_that("PR_GET_MEMORY_MERGE", get_merge() >= 0);
	must_eq("PR_GET_MEMORY_MERGE at the start", get_merge(), 0);
}

static void expect_mg(const char *what, const void *p, bool want)
{
	bool mg = vma_has_flag(p, "mg");

	must(mg == want, "%s: VmFlags %s mg", what, mg ? "has" : "lacks");
}

/* Mappings of this process; with @flag, only those whose VmFlags have it. */
static int count_mappings(const char *flag)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[512];
	int n = 0;

	must(f, "/proc/self/smaps: %m");
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, "VmFlags:", 8))
			n += !flag || strstr(line + 8, flag);
	fclose(f);
	return n;
}

/* Memory that was not advised, with all pages alike. */
static char *plain_same(size_t pages)
{
	char *p = area_new(pages);

	area_fill_same(p, pages, 1);
	return p;
}

/* Whatever else of this process is merged by now, these are. */
static void expect_merged(const char *what, const char *p, size_t pages)
{
	ksm_settle();
	ksm_wait_scans(2);
	must_eq(what, area_count_ksm(p, pages), (long)pages);
}

/* The same, mapped and merged with the switch on. */
static char *merged_same(size_t pages)
{
	char *p;

	set_merge(1);
	p = plain_same(pages);
	expect_merged("merged pages", p, pages);
	return p;
}

static void test_set_and_get(void)
{
	need_prctl();
	set_merge(0);
	set_merge(1);
	set_merge(1);
	set_merge(0);
	set_merge(0);
	/* Any number but 0 is on. */
	set_merge(2);
	set_merge(0);
}

/* A call in which argument @wrong, counted from 1, is not 0 as it must be. */
static void refuse_argument(const char *name, int option, unsigned long on,
			    int wrong)
{
	unsigned long a[6] = { [1] = option, [2] = on };
	int err;

	a[wrong] = 1;
	err = prctl(a[1], a[2], a[3], a[4], a[5]) < 0 ? errno : 0;
	must(err == EINVAL,
	     "%s with argument %d not 0: errno %d, expected EINVAL", name,
	     wrong, err);
}

static void test_arguments(void)
{
	int i, on;

	need_prctl();
	for (i = 3; i <= 5; i++)
		for (on = 0; on < 2; on++)
			refuse_argument("PR_SET_MEMORY_MERGE",
					PR_SET_MEMORY_MERGE, on, i);
	for (i = 2; i <= 5; i++)
		refuse_argument("PR_GET_MEMORY_MERGE", PR_GET_MEMORY_MERGE, 0,
				i);
	must_eq("PR_GET_MEMORY_MERGE after refused calls", get_merge(), 0);
}

/* What is there already, and was never advised, merges. */
static void test_existing(void)
{
	char *p;

	need_prctl();
	p = plain_same(30);
	expect_mg("before", p, false);
	set_merge(1);
	expect_mg("after", p, true);
	expect_merged("merged pages", p, 30);
	area_check_same(p, 30, 1, "merged");
	page_fill(p, 2);
	page_check(p, 2, "written");
	area_check_same(page_at(p, 1), 29, 1, "not written");
}

static void *look_at_stack(void *arg)
{
	char here = 0;

	*(bool *)arg = vma_has_flag(&here, "mg");
	return NULL;
}

static void test_new_mappings(void)
{
	bool on_stack = false;
	pthread_t t;
	char *p;
	int fd;

	need_prctl();
	set_merge(1);
	expect_mg("mmap", plain_same(20), true);
	p = sbrk(64 * page_size);
	must(p != (void *)-1, "sbrk: %m");
	expect_mg("the heap", p + 32 * page_size, true);
	must(!pthread_create(&t, NULL, look_at_stack, &on_stack),
	     "pthread_create");
	pthread_join(t, NULL);
	must(on_stack, "a thread's stack: VmFlags lacks mg");
	fd = syscall(SYS_memfd_create, "ksm", 0);
	must_call(fd);
	must_call(ftruncate(fd, 4 * page_size));
	p = mmap(NULL, 4 * page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd,
		 0);
	must(p != MAP_FAILED, "mmap: %m");
	expect_mg("a private mapping of a file", p, true);
}

static void test_new_merge(void)
{
	char *p, *q;

	need_prctl();
	p = merged_same(20);
	q = mremap(p, 20 * page_size, 40 * page_size, MREMAP_MAYMOVE);
	must(q != MAP_FAILED, "mremap: %m");
	expect_mg("grown", page_at(q, 39), true);
	area_fill_same(page_at(q, 20), 20, 1);
	expect_merged("merged pages, grown", q, 40);
	area_check_same(q, 40, 1, "merged");
}

/* Shared or special memory takes no part. */
static void test_not_these(void)
{
	size_t pages;
	char *p;

	need_prctl();
	p = shared_new(4 * page_size);
	set_merge(1);
	expect_mg("shared memory that was there", p, false);
	p = shared_new(4 * page_size);
	expect_mg("new shared memory", p, false);
	expect_mg("[vvar]", vvar_area(&pages), false);
}

static void child_has_it(void *arg)
{
	char *p = plain_same(20);

	must_eq("PR_GET_MEMORY_MERGE in a child", get_merge(), 1);
	expect_mg("inherited", arg, true);
	expect_mg("mapped by a child", p, true);
	expect_merged("merged pages of a child", p, 20);
	must_eq("merged pages inherited", area_count_ksm(arg, 20), 20);
	area_check_same(p, 20, 1, "in a child");
	area_check_same(arg, 20, 1, "inherited");
	set_merge(0);
	must_eq("merged pages of a child, switched off",
		area_count_ksm(p, 20) + area_count_ksm(arg, 20), 0);
	area_check_same(p, 20, 1, "in a child, given back");
	area_check_same(arg, 20, 1, "inherited, given back");
}

static void test_fork_inherits(void)
{
	char *p;

	need_prctl();
	p = merged_same(20);
	join(child(child_has_it, p));
	must_eq("PR_GET_MEMORY_MERGE of the parent", get_merge(), 1);
	must_eq("merged pages of the parent", area_count_ksm(p, 20), 20);
	area_check_same(p, 20, 1, "in the parent");
}

/* Status 0 if a mapping of the new program is mergeable, else 9. */
static void exec_shell(void *arg)
{
	execl("/bin/sh", "sh", "-c",
	      "while read -r key flags; do\n"
	      "  case \"$key $flags \" in 'VmFlags:'*' mg '*) exit 0;; esac\n"
	      "done </proc/$$/smaps\n"
	      "exit 9\n", NULL);
	fail("exec of /bin/sh: %m (%p)", arg);
}

static int exec_status(void)
{
	pid_t pid = child(exec_shell, NULL);
	siginfo_t info;

	must_call(waitid(P_PID, pid, &info, WEXITED));
	must(info.si_code == CLD_EXITED &&
	     (info.si_status == 0 || info.si_status == 9),
	     "the new program ended with status %d", info.si_status);
	return info.si_status;
}

static void test_exec_inherits(void)
{
	need_prctl();
	must_eq("status of a program run without prctl", exec_status(), 9);
	set_merge(1);
	must_eq("status of a program run with it", exec_status(), 0);
	set_merge(0);
	must_eq("status of a program run when it is off again", exec_status(),
		9);
}

/* Off: everything is given back, what madvise() had offered as well. */
static void test_off_unmerges(void)
{
	char *p, *q;

	need_prctl();
	p = merged_same(30);
	q = area_same(10, 1);
	expect_merged("merged pages, advised as well", q, 10);
	ksm_set("run", 0);
	set_merge(0);
	must_eq("mergeable mappings, switched off", count_mappings(" mg"), 0);
	must_eq("merged pages, switched off",
		area_count_ksm(p, 30) + area_count_ksm(q, 10), 0);
	area_check_same(p, 30, 1, "given back");
	area_check_same(q, 10, 1, "given back");
	expect_mg("mapped later", area_new(2), false);
	/* Something must be there to scan. */
	area_advise(ksm_keeper, 1, MADV_MERGEABLE);
	ksm_settle();
	must_eq("merged pages, passes later", area_count_ksm(p, 30), 0);
	/* madvise() works as ever. */
	area_advise(q, 10, MADV_MERGEABLE);
	ksm_settle();
	ksm_expect("10 advised", 1, 9, 0, 0);
	area_check_same(q, 10, 1, "advised");
}

/* Off where it was not on: advice that was given stays. */
static void test_off_is_no_change(void)
{
	char *p;

	need_prctl();
	p = area_same(10, 1);
	ksm_settle();
	ksm_expect("10 copies", 1, 9, 0, 0);
	set_merge(0);
	expect_mg("advised", p, true);
	must_eq("merged pages", area_count_ksm(p, 10), 10);
	area_check_same(p, 10, 1, "merged");
}

/* A range may be taken out, and stays out. */
static void test_unmergeable_inside(void)
{
	char *p;

	need_prctl();
	p = merged_same(30);
	area_advise(page_at(p, 10), 10, MADV_UNMERGEABLE);
	must_eq("merged pages inside", area_count_ksm(page_at(p, 10), 10), 0);
	expect_mg("inside", page_at(p, 10), false);
	expect_mg("before", p, true);
	expect_mg("behind", page_at(p, 20), true);
	expect_mg("a new mapping", area_new(2), true);
	/* It is on already: nothing is set anew. */
	set_merge(1);
	expect_mg("inside, set again", page_at(p, 10), false);
	ksm_settle();
	must_eq("merged pages inside, later",
		area_count_ksm(page_at(p, 10), 10), 0);
	must_eq("merged pages outside", area_count_ksm(p, 30), 20);
	area_check_same(p, 30, 1, "merged, or not");
}

static char *map_at(char *where)
{
	char *p = mmap(where, page_size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	must(p == where, "mmap at %p: %m", where);
	return p;
}

/* Neighbours become one mapping, as they do without it. */
static void test_neighbours_join(void)
{
	char *p = area_new(202);
	int before, i;

	need_prctl();
	/* Leave a hole at both ends, so that nobody else's joins in. */
	area_free(p, 202);
	p = page_at(p, 1);
	map_at(page_at(p, 100));
	set_merge(1);
	before = count_mappings(NULL);
	for (i = 101; i < 200; i++)
		page_fill(map_at(page_at(p, i)), 1);
	for (i = 99; i >= 0; i--)
		page_fill(map_at(page_at(p, i)), 1);
	must(count_mappings(NULL) <= before + 1,
	     "199 pages mapped beside one raised the number of mappings from %d to %d",
	     before, count_mappings(NULL));
	must_eq("Size of the mapping, kB", vma_smaps_kb(page_at(p, 100), "Size"),
		200 * (long)page_size / 1024);
	expect_mg("all", p, true);
	ksm_settle();
	ksm_wait_scans(2);
	must_eq("merged pages", area_count_ksm(p, 200), 199);
	area_check_same(p, 100, 1, "merged");
	area_check_same(page_at(p, 101), 99, 1, "merged");
}

static void *set_in_thread(void *arg)
{
	set_merge(1);
	return arg;
}

/* It is a property of the address space, whichever thread sets it. */
static void test_threads(void)
{
	pthread_t t;
	char *p;

	need_prctl();
	must(!pthread_create(&t, NULL, set_in_thread, NULL), "pthread_create");
	pthread_join(t, NULL);
	must_eq("PR_GET_MEMORY_MERGE, set by another thread", get_merge(), 1);
	p = plain_same(10);
	expect_mg("mapped by this one", p, true);
	expect_merged("merged pages", p, 10);
	area_check_same(p, 10, 1, "merged");
}

static void check_line(const char *want)
{
	char value[16] = "";

	file_line("/proc/self/ksm_stat", "ksm_merge_any", value, sizeof(value));
	must(!strcmp(value, want), "ksm_merge_any of ksm_stat is \"%s\", expected \"%s\"",
	     value, want);
}

static void test_stat_line(void)
{
	need_prctl();
	proc_ksm_need("ksm_merge_any");
	check_line("no");
	set_merge(1);
	check_line("yes");
	set_merge(0);
	check_line("no");
}

static void switch_often(void *arg)
{
	char *p = plain_same(16);
	int n;

	for (n = 0; n < 40; n++) {
		set_merge(1);
		nap_ms(n % 5);
		area_check_same(p, 16, 1, "switching on");
		page_fill(page_at(p, n % 16), 1);
		set_merge(0);
		area_check_same(p, 16, 1, "switching off");
		must_eq("merged pages, switched off", area_count_ksm(p, 16), 0);
	}
	area_check_same(arg, 20, 1, "the parent's");
}

/* On and off while ksmd runs, in two processes that share. */
static void test_under_scan(void)
{
	char *p;
	pid_t pid[2];
	int i;

	need_prctl();
	p = area_same(20, 1);
	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	for (i = 0; i < 2; i++)
		pid[i] = child(switch_often, p);
	for (i = 0; i < 2; i++)
		join(pid[i]);
	area_check_same(p, 20, 1, "at the end");
	ksm_settle();
	ksm_expect("at the end", 1, 19, 0, 0);
}

static const struct ksm_case cases[] = {
	{ "set_and_get", test_set_and_get },
	{ "arguments", test_arguments },
	{ "existing", test_existing },
	{ "new_mappings", test_new_mappings },
	{ "new_merge", test_new_merge },
	{ "not_these", test_not_these },
	{ "fork_inherits", test_fork_inherits },
	{ "exec_inherits", test_exec_inherits },
	{ "off_unmerges", test_off_unmerges },
	{ "off_is_no_change", test_off_is_no_change },
	{ "unmergeable_inside", test_unmergeable_inside },
	{ "neighbours_join", test_neighbours_join },
	{ "threads", test_threads },
	{ "stat_line", test_stat_line },
	{ "under_scan", test_under_scan },
	{ }
};

const struct ksm_topic topic_prctl = { "prctl", cases };
