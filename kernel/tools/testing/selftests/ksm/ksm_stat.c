// SPDX-License-Identifier: GPL-2.0-only
/*
 * What later kernels than 6.1 tell of a process and of all: ksm_stat, placed
 * zero pages, profit, "KSM:" in smaps.  Each number must come back to what it
 * was when the memory behind it is gone.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "ksm_util.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define HUGE_BYTES	(2ul << 20)

/* --- the file -------------------------------------------------------------- */

/* In the order of the file; mainline may add more behind its own. */
static const char *const stat_lines[] = {
	"ksm_rmap_items ", "ksm_zero_pages ", "ksm_merging_pages ",
	"ksm_process_profit ", "ksm_merge_any: ", "ksm_mergeable: ",
	/* from here on only in the engine of this project */
	"ksm_cow_breaks ", "ksm_refused_volatile ", "ksm_refused_pinned ",
	"ksm_refused_huge ", "ksm_refused_shared ", "ksm_refused_hugetlb ",
	"ksm_refused_special ", "ksm_refused_node ", "ksm_refused_limit ",
	"ksm_refused_raced ", "ksm_refused_locked ", "ksm_refused_different ",
	"ksm_refused_uffd_wp ", "ksm_refused_nomem ",
};

#define MAINLINE_LINES 6

static void check_value(const char *name, const char *text)
{
	size_t n = strcspn(text, "\n");

	if (strchr(name, ':')) {
		must((n == 3 && !strncmp(text, "yes", n)) ||
		     (n == 2 && !strncmp(text, "no", n)),
		     "%s is followed by \"%.*s\", not by yes or no", name,
		     (int)n, text);
		return;
	}
	if (!strcmp(name, "ksm_process_profit ") && *text == '-') {
		text++;
		n--;
	}
	must(n && strspn(text, "0123456789") == n,
	     "%s is followed by \"%.*s\", not by a number", name, (int)n, text);
}

static void test_lines(void)
{
	size_t i, want = ksm_is_samepage() ? ARRAY_SIZE(stat_lines) :
					     MAINLINE_LINES;
	char text[4096], *line = text;

	proc_ksm_need("ksm_mergeable");
	must(!file_text("/proc/self/ksm_stat", text, sizeof(text)),
	     "/proc/self/ksm_stat cannot be read");
	for (i = 0; i < want; i++) {
		size_t len = strlen(stat_lines[i]);

		must(!strncmp(line, stat_lines[i], len),
		     "line %zu of ksm_stat is \"%.*s\", expected \"%s...\"",
		     i + 1, (int)strcspn(line, "\n"), line, stat_lines[i]);
		check_value(stat_lines[i], line + len);
		line += strcspn(line, "\n");
		must(*line == '\n', "ksm_stat ends within a line");
		line++;
	}
	if (ksm_is_samepage())
		must(!*line, "ksm_stat has more lines: \"%s\"", line);
}

/* Its last line, or "" if there is no such line. */
static void check_yes_no(const char *field, const char *want, const char *when)
{
	char value[16] = "";

	file_line("/proc/self/ksm_stat", field, value, sizeof(value));
	must(!strcmp(value, want), "%s: %s is \"%s\", expected \"%s\"", when,
	     field, value, want);
}

/* True as long as some mapping is mergeable, whatever was merged. */
static void test_mergeable_line(void)
{
	char *p;

	proc_ksm_need("ksm_mergeable");
	check_yes_no("ksm_mergeable", "yes", "the runner's page is advised");
	check_yes_no("ksm_merge_any", "no", "without prctl");
	area_free(ksm_keeper, 1);
	check_yes_no("ksm_mergeable", "no", "it was unmapped");
	p = area_same(10, 1);
	check_yes_no("ksm_mergeable", "yes", "10 pages were advised");
	area_advise(p, 5, MADV_UNMERGEABLE);
	check_yes_no("ksm_mergeable", "yes", "advice taken back for half");
	area_advise(p, 10, MADV_UNMERGEABLE);
	check_yes_no("ksm_mergeable", "no", "advice taken back for all");
	area_check_same(p, 10, 1, "never merged");
}

/* --- zero pages ---------------------------------------------------------- */

/* What all processes together have, less what was there before the case. */
static long zero_base;

static void check_zero_pages(const char *when, long own, long total)
{
	long got = proc_ksm_signed(0, "ksm_zero_pages");

	must(got == own, "%s: ksm_zero_pages of the process is %ld, expected %ld",
	     when, got, own);
	got = ksm_read_signed("ksm_zero_pages") - zero_base;
	must(got == total, "%s: ksm_zero_pages of all is %ld, expected %ld",
	     when, got, total);
}

static void zero_start(void)
{
	ksm_need("ksm_zero_pages");
	proc_ksm_need("ksm_zero_pages");
	zero_base = ksm_read_signed("ksm_zero_pages");
	check_zero_pages("at the start", 0, 0);
	ksm_set("use_zero_pages", 1);
}

/* Called when a scan is over and run=0, so that nothing moves any more. */
static void zero_place(char *p, size_t pages)
{
	ksm_settle();
	ksm_expect("zeroed pages placed", 0, 0, -1, 0);
	ksm_set("run", 0);
	must_eq("frames of the zero page", area_count_zero(p, pages), pages);
}

static char *zero_new(size_t pages)
{
	char *p;

	zero_start();
	p = area_zeros(pages);
	zero_place(p, pages);
	check_zero_pages("placed", pages, pages);
	return p;
}

/* Each way in which a page can leave, one after the other. */
static void test_zero_leave(void)
{
	char *p = zero_new(40), *q;

	area_check_zero(p, 40, "placed");
	check_zero_pages("read", 40, 40);
	page_fill(p, 1);
	check_zero_pages("one written", 39, 39);
	byte_write(page_at(p, 1), 0);
	check_zero_pages("a zero written to one", 38, 38);
	area_advise(page_at(p, 2), 8, MADV_DONTNEED);
	check_zero_pages("8 discarded", 30, 30);
	must_eq("a discarded byte", byte_read(page_at(p, 2)), 0);
	check_zero_pages("a discarded one read", 30, 30);
	area_free(page_at(p, 10), 10);
	check_zero_pages("10 unmapped", 20, 20);
	/* Moving unmerges first, as for merged pages. */
	q = area_move(page_at(p, 20), area_new(10), 10);
	check_zero_pages("10 moved", 10, 10);
	area_check_zero(q, 10, "moved");
	area_advise(page_at(p, 30), 5, MADV_UNMERGEABLE);
	check_zero_pages("5 given back", 5, 5);
	ksm_set("run", 2);
	check_zero_pages("run=2", 0, 0);
	page_check(p, 1, "written");
	area_check_zero(page_at(p, 1), 9, "the others");
	area_check_zero(page_at(p, 30), 10, "given back");
}

/* Zero pages that reading made are not the engine's. */
static void test_zero_not_ours(void)
{
	char *p;
	size_t i;

	zero_start();
	p = area_new(10);
	for (i = 0; i < 10; i++)
		must_eq("a fresh byte", byte_read(page_at(p, i)), 0);
	area_advise(p, 10, MADV_MERGEABLE);
	ksm_settle();
	ksm_set("run", 0);
	check_zero_pages("pages that were only read", 0, 0);
	area_fill_same(p, 10, 4);
	area_advise(p, 10, MADV_DONTNEED);
	check_zero_pages("written and discarded", 0, 0);
	area_check_zero(p, 10, "discarded");
}

struct forked {
	char *p;
	long own;	/* what the child must have at its start */
};

static void forked_child(void *arg)
{
	struct forked *f = arg;

	check_zero_pages("in a child", f->own, 10 + f->own);
	area_check_zero(f->p, 10, "in a child");
	if (!f->own)
		return;
	page_fill(f->p, 3);
	area_advise(page_at(f->p, 1), 2, MADV_DONTNEED);
	check_zero_pages("3 of the child's gone", 7, 17);
	page_check(f->p, 3, "written by a child");
	area_check_zero(page_at(f->p, 1), 9, "the child's others");
}

/* A fork maps them too: they count for the child and once more in total. */
static void test_zero_fork(void)
{
	struct forked f = { zero_new(10), 10 };
	int i;

	for (i = 0; i < 3; i++) {
		join(child(forked_child, &f));
		check_zero_pages("the child has exited", 10, 10);
	}
	area_check_zero(f.p, 10, "in the parent");
	area_free(f.p, 10);
	check_zero_pages("the parent's unmapped", 0, 0);
}

/* What a fork does not copy does not count for the child. */
static void test_zero_fork_without(void)
{
	struct forked f = { NULL, 0 };

	/* 6.18 counts them for ever, so that later cases would be disturbed. */
	if (!ksm_is_samepage())
		skip("mainline counts zero pages for the child that it did not copy");
	f.p = zero_new(10);
	area_advise(f.p, 10, MADV_WIPEONFORK);
	join(child(forked_child, &f));
	check_zero_pages("the child has exited", 10, 10);
	area_check_zero(f.p, 10, "in the parent");
}

static void wait_forever(void *arg)
{
	gate_open(arg, 1);
	pause();
}

static void test_zero_killed(void)
{
	struct gate *g = gate_new();
	char *p = zero_new(10);
	pid_t pid = child(wait_forever, g);

	gate_wait(g, 1);
	check_zero_pages("with a child", 10, 20);
	kill_child(pid);
	check_zero_pages("the child was killed", 10, 10);
	area_check_zero(p, 10, "in the parent");
}

static void exec_shell(void *arg)
{
	execl("/bin/sh", "sh", "-c",
	      "while read -r k v; do\n"
	      "  case $k in ksm_zero_pages|ksm_merging_pages|ksm_process_profit)\n"
	      "    [ \"$v\" = 0 ] || exit 3;; esac\n"
	      "done </proc/$$/ksm_stat\n", NULL);
	fail("exec of /bin/sh: %m (%p)", arg);
}

static void test_zero_exec(void)
{
	char *p = zero_new(10);

	join(child(exec_shell, NULL));
	check_zero_pages("a child has done exec", 10, 10);
	area_check_zero(p, 10, "in the parent");
}

/*
 * An aligned area of one huge page: the first page is unique, 100 are placed
 * zero pages, the rest is empty.
 */
static char *zero_for_huge(void)
{
	size_t pages = HUGE_BYTES / page_size;
	char *raw, *p;

	zero_start();
	raw = area_new(2 * pages);
	p = (char *)(((uintptr_t)raw + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1));
	page_fill(p, 8);
	memset(page_at(p, 1), 1, 100 * page_size);
	memset(page_at(p, 1), 0, 100 * page_size);
	area_advise(p, pages, MADV_MERGEABLE);
	zero_place(page_at(p, 1), 100);
	check_zero_pages("placed", 100, 100);
	if (madvise(p, HUGE_BYTES, MADV_HUGEPAGE))
		skip("no transparent huge pages: %m");
	return p;
}

static void check_collapsed(const char *p)
{
	check_zero_pages("made huge", 0, 0);
	page_check(p, 8, "made huge");
	area_check_zero(page_at(p, 1), HUGE_BYTES / page_size - 1, "made huge");
}

static void test_zero_collapse(void)
{
	char *p = zero_for_huge();

	if (madvise(p, HUGE_BYTES, MADV_COLLAPSE))
		skip("MADV_COLLAPSE is refused here: %m");
	check_collapsed(p);
}

static void test_zero_khugepaged(void)
{
	static const char dir[] =
		"/sys/kernel/mm/transparent_hugepage/khugepaged/";
	uint64_t limit = now_ms() + 10000;
	char *p = zero_for_huge(), path[128];
	size_t i;

	static const char *const knob[][2] = {
		{ "scan_sleep_millisecs", "10" },
		{ "alloc_sleep_millisecs", "10" },
		{ "pages_to_scan", "4096" },
	};

	for (i = 0; i < ARRAY_SIZE(knob); i++) {
		snprintf(path, sizeof(path), "%s%s", dir, knob[i][0]);
		if (file_write(path, knob[i][1]))
			skip("%s cannot be written", path);
	}
	while (vma_smaps_kb(p, "AnonHugePages") != HUGE_BYTES / 1024) {
		if (now_ms() > limit)
			skip("khugepaged made no huge page in 10 s");
		page_check(p, 8, "under khugepaged");
		nap_ms(20);
	}
	check_collapsed(p);
}

/* --- profit --------------------------------------------------------------- */

/* A page that is tracked never costs more than this, in any engine. */
#define ITEM_BYTES	256
/* Tables that the engine has allocated ahead. */
#define TABLE_BYTES	(1l << 20)

/* general_profit before the case: tables that stay, what others have. */
static long profit_base;

static void profit_start(void)
{
	ksm_need("general_profit");
	proc_ksm_need("ksm_process_profit");
	profit_base = ksm_read_signed("general_profit");
}

static long general_profit(void)
{
	return ksm_read_signed("general_profit") - profit_base;
}

static void check_profit(const char *when, long profit, long saved,
			 long tracked)
{
	long least = saved - tracked * ITEM_BYTES - TABLE_BYTES;

	must(profit <= saved && profit >= least,
	     "%s: profit is %ld bytes, expected %ld to %ld", when, profit,
	     least, saved);
}

/* Only costs: nothing is saved, records are kept. */
static void test_profit_unique(void)
{
	char *p;

	profit_start();
	p = area_each(300, 1);
	ksm_settle();
	ksm_expect("300 unique pages", 0, 0, 300, 0);
	check_profit("general_profit, unique", general_profit(),
		     0, 300);
	check_profit("ksm_process_profit, unique",
		     proc_ksm_signed(0, "ksm_process_profit"), 0, 300);
	must(general_profit() < 0,
	     "300 tracked pages cost nothing");
	area_check_each(p, 300, 1, "unique");
}

static void test_profit_merged(void)
{
	long merged, sharing = 2000 - 8;
	char *p;

	profit_start();
	p = area_same(2000, 1);
	ksm_settle();
	ksm_expect("2000 copies", 8, sharing, 0, 0);
	merged = general_profit();
	check_profit("general_profit, merged", merged, sharing * page_size,
		     2000);
	must(merged > 0, "%ld pages saved, profit %ld", sharing, merged);
	merged = proc_ksm_signed(0, "ksm_process_profit");
	check_profit("ksm_process_profit, merged", merged, 2000 * page_size,
		     2000);
	must(merged > 0, "2000 merged pages, profit of the process %ld",
	     merged);
	area_check_same(p, 2000, 1, "merged");
	ksm_set("run", 2);
	/* Tables that were there before the case may be gone now. */
	must(general_profit() <= TABLE_BYTES,
	     "everything given back, profit %ld", general_profit());
	must(proc_ksm_signed(0, "ksm_process_profit") <= 0,
	     "everything given back, profit of the process %ld",
	     proc_ksm_signed(0, "ksm_process_profit"));
}

/* A placed zero page frees a page just as a merged one does. */
static void test_profit_zero(void)
{
	long saved = 1000 * page_size;
	char *p;

	profit_start();
	p = zero_new(1000);
	check_profit("general_profit, zero pages", general_profit(), saved,
		     1000);
	check_profit("ksm_process_profit, zero pages",
		     proc_ksm_signed(0, "ksm_process_profit"), saved, 1000);
	must(general_profit() > 0, "no profit from zero pages");
	must(proc_ksm_signed(0, "ksm_process_profit") > 0,
	     "no profit of the process from zero pages");
	area_check_zero(p, 1000, "placed");
}

/* --- smaps ---------------------------------------------------------------- */

/* "KSM:" of all mappings added up. */
static long smaps_sum(void)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[512];
	long sum = 0;

	must(f, "/proc/self/smaps: %m");
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, "KSM:", 4))
			sum += strtol(line + 4, NULL, 10);
	fclose(f);
	return sum;
}

static void check_smaps(const char *when, char *p, long pages)
{
	long kb = pages * (long)page_size / 1024;

	must(vma_smaps_kb(p, "KSM") == kb,
	     "%s: KSM in smaps is %ld kB, expected %ld", when,
	     vma_smaps_kb(p, "KSM"), kb);
}

static void test_smaps(void)
{
	long all = 50 * (long)page_size / 1024;
	char *p, *q, *r;

	ksm_need_that("KSM in smaps", vma_smaps_kb(ksm_keeper, "KSM") >= 0);
	ksm_need_that("KSM in smaps_rollup",
		      file_field("/proc/self/smaps_rollup", "KSM") >= 0);
	ksm_set("use_zero_pages", 1);
	p = area_same(30, 1);
	q = area_same(20, 1);
	r = area_zeros(10);
	check_smaps("before the scan", p, 0);
	ksm_settle();
	ksm_expect("50 copies", 1, 49, 0, 0);
	must_eq("frames of the zero page", area_count_zero(r, 10), 10);
	ksm_set("run", 0);
	/* The areas may have become one mapping. */
	must_eq("KSM of all mappings", smaps_sum(), all);
	must_eq("KSM in smaps_rollup",
		file_field("/proc/self/smaps_rollup", "KSM"), all);
	area_fill_each(p, 10, 50);
	must_eq("KSM of all mappings, 10 written", smaps_sum(), all * 40 / 50);
	must_eq("KSM in smaps_rollup, 10 written",
		file_field("/proc/self/smaps_rollup", "KSM"), all * 40 / 50);
	area_check_each(p, 10, 50, "written");
	area_check_same(page_at(p, 10), 20, 1, "merged");
	area_check_same(q, 20, 1, "merged");
	area_check_zero(r, 10, "zero pages");
}

/* Each mapping has its own; a guard page between them keeps them apart. */
static void test_smaps_each(void)
{
	char *p;

	ksm_need_that("KSM in smaps", vma_smaps_kb(ksm_keeper, "KSM") >= 0);
	p = area_new(61);
	must_call(mprotect(page_at(p, 30), page_size, PROT_NONE));
	area_fill_same(p, 30, 1);
	area_fill_same(page_at(p, 31), 20, 1);
	area_fill_each(page_at(p, 51), 10, 100);
	area_advise(p, 30, MADV_MERGEABLE);
	area_advise(page_at(p, 31), 30, MADV_MERGEABLE);
	ksm_settle();
	ksm_expect("30 and 20 copies, 10 unique", 1, 49, 10, 0);
	check_smaps("the first", p, 30);
	check_smaps("the second, with unique pages", page_at(p, 31), 20);
	area_advise(p, 10, MADV_DONTNEED);
	check_smaps("10 discarded", p, 20);
	area_advise(page_at(p, 31), 30, MADV_UNMERGEABLE);
	check_smaps("given back", page_at(p, 31), 0);
	area_check_zero(p, 10, "discarded");
	area_check_same(page_at(p, 10), 20, 1, "merged");
	area_check_same(page_at(p, 31), 20, 1, "given back");
	area_check_each(page_at(p, 51), 10, 100, "unique");
}

/* --- fork ------------------------------------------------------------------ */

static void fresh_child(void *arg)
{
	must_eq("a fresh child's ksm_merging_pages",
		proc_ksm_signed(0, "ksm_merging_pages"), 0);
	must_eq("a fresh child's ksm_rmap_items",
		proc_ksm_signed(0, "ksm_rmap_items"), 0);
	must_eq("a fresh child's ksm_process_profit",
		proc_ksm_signed(0, "ksm_process_profit"), 0);
	area_check_same(arg, 20, 1, "in a child");
}

static void test_fork_resets(void)
{
	char *p;

	proc_ksm_need("ksm_process_profit");
	p = area_same(20, 1);
	ksm_settle();
	ksm_expect("20 copies", 1, 19, 0, 0);
	ksm_set("run", 0);
	must_eq("ksm_merging_pages of ksm_stat",
		proc_ksm_signed(0, "ksm_merging_pages"), 20);
	join(child(fresh_child, p));
	must_eq("the parent's ksm_merging_pages",
		proc_ksm_signed(0, "ksm_merging_pages"), 20);
	area_check_same(p, 20, 1, "in the parent");
}

static const struct ksm_case cases[] = {
	{ "lines", test_lines },
	{ "mergeable_line", test_mergeable_line },
	{ "zero_leave", test_zero_leave },
	{ "zero_not_ours", test_zero_not_ours },
	{ "zero_fork", test_zero_fork },
	{ "zero_fork_without", test_zero_fork_without },
	{ "zero_killed", test_zero_killed },
	{ "zero_exec", test_zero_exec },
	{ "zero_collapse", test_zero_collapse },
	{ "zero_khugepaged", test_zero_khugepaged, KSM_EXCLUSIVE },
	{ "profit_unique", test_profit_unique },
	{ "profit_merged", test_profit_merged },
	{ "profit_zero", test_profit_zero },
	{ "smaps", test_smaps },
	{ "smaps_each", test_smaps_each },
	{ "fork_resets", test_fork_resets },
	{ }
};

const struct ksm_topic topic_stat = { "stat", cases };
