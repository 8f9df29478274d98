// SPDX-License-Identifier: GPL-2.0-only
/*
 * The files in /sys/kernel/mm/ksm: that all of 6.1's exist with the right
 * mode, what they take, and that a refused value changes nothing.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "ksm_util.h"

static const char *const writable[] = {
	"run", "pages_to_scan", "sleep_millisecs", "max_page_sharing",
	"stable_node_chains_prune_millisecs", "use_zero_pages",
};

static const char *const read_only[] = {
	"pages_shared", "pages_sharing", "pages_unshared", "pages_volatile",
	"full_scans", "stable_node_chains", "stable_node_dups",
};

static void check_mode(const char *knob, mode_t want)
{
	char path[128], text[64];
	struct stat st;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), KSM_DIR "%s", knob);
	must(!stat(path, &st), "%s: %m", path);
	must((st.st_mode & 07777) == want, "mode of %s is %04o, expected %04o",
	     path, st.st_mode & 07777, want);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	must(fd >= 0, "%s: %m", path);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	must(n > 1 && text[n - 1] == '\n', "%s does not hold one line", path);
	text[n - 1] = '\0';
	must(strspn(text, "0123456789") == (size_t)n - 1,
	     "%s holds \"%s\", not a plain number", path, text);
}

static void test_files(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(writable); i++)
		check_mode(writable[i], 0644);
	for (i = 0; i < ARRAY_SIZE(read_only); i++)
		check_mode(read_only[i], 0444);
	/* Only kernels with CONFIG_NUMA have it. */
	if (!access("/sys/devices/system/node/node0", F_OK))
		check_mode("merge_across_nodes", 0644);
}

/* Names the engine; 6.1's own has no such file. */
static void test_engine(void)
{
	char text[64] = "", version[32], rest;
	struct stat st;
	FILE *f;

	if (!ksm_is_samepage())
		skip("mainline's engine has no file with its name");
	must(!stat(KSM_DIR "engine", &st) && (st.st_mode & 07777) == 0444,
	     "mode of " KSM_DIR "engine is %04o, expected 0444",
	     st.st_mode & 07777);
	f = fopen(KSM_DIR "engine", "re");
	must(f && fgets(text, sizeof(text), f), KSM_DIR "engine: %m");
	fclose(f);
	must(sscanf(text, "samepage %31[0-9.]%c", version, &rest) == 2 &&
	     rest == '\n',
	     KSM_DIR "engine holds \"%s\", not \"samepage\" and a version", text);
}

/* Only the owner and root may look at a process's numbers. */
static void test_proc_files(void)
{
	static const char *const name[] = { "ksm_merging_pages", "ksm_stat" };
	char path[64];
	struct stat st;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(name); i++) {
		snprintf(path, sizeof(path), "/proc/self/%s", name[i]);
		must(!stat(path, &st), "%s: %m", path);
		must((st.st_mode & 07777) == 0400,
		     "mode of %s is %04o, expected 0400", path,
		     st.st_mode & 07777);
	}
	must_eq("/proc/self/ksm_merging_pages", proc_merging_pages(0), 0);
	must_eq("ksm_rmap_items", proc_ksm_stat(0, "ksm_rmap_items"), 0);
	if (ksm_is_samepage())
		must_eq("ksm_cow_breaks", proc_ksm_stat(0, "ksm_cow_breaks"),
			0);
}

/* The value must be refused as invalid (or out of range) and change nothing. */
static void refused(const char *knob, const char *text)
{
	long before = ksm_read(knob);
	int err = ksm_write(knob, text);

	must(err == -EINVAL || err == -ERANGE,
	     "writing \"%s\" to %s: %s, expected EINVAL", text, knob,
	     err ? strerror(-err) : "taken");
	must_eq(knob, ksm_read(knob), before);
}

static void taken(const char *knob, const char *text, long value)
{
	int err = ksm_write(knob, text);

	must(!err, "writing \"%s\" to %s: %s", text, knob, strerror(-err));
	must_eq(knob, ksm_read(knob), value);
}

static void test_garbage(void)
{
	static const char *const bad[] = {
		"\n", "x", "-1", "1x", "1 2", "0x10", "1.5", " ", "--1",
		"18446744073709551616", "99999999999999999999999999",
	};
	char path[128];
	size_t i, k;

	for (k = 0; k < ARRAY_SIZE(writable); k++) {
		if (!strcmp(writable[k], "use_zero_pages"))
			continue;
		for (i = 0; i < ARRAY_SIZE(bad); i++)
			refused(writable[k], bad[i]);
	}
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		/* A truth value looks at the first character only. */
		if (bad[i][0] != '0' && bad[i][0] != '1')
			refused("use_zero_pages", bad[i]);
		if (ksm_has("merge_across_nodes"))
			refused("merge_across_nodes", bad[i]);
	}
	for (k = 0; k < ARRAY_SIZE(read_only); k++) {
		snprintf(path, sizeof(path), KSM_DIR "%s", read_only[k]);
		must(file_write(path, "1") < 0, "%s can be written",
		     read_only[k]);
	}
}

static void test_limits_of_values(void)
{
	taken("sleep_millisecs", "0", 0);
	taken("sleep_millisecs", "20\n", 20);
	taken("sleep_millisecs", "4294967295", 4294967295l);
	refused("sleep_millisecs", "4294967296");
	taken("pages_to_scan", "1", 1);
	taken("pages_to_scan", "4294967295", 4294967295l);
	refused("pages_to_scan", "4294967296");
	taken("pages_to_scan", "0", 0);
	taken("stable_node_chains_prune_millisecs", "0", 0);
	taken("stable_node_chains_prune_millisecs", "4294967295", 4294967295l);
	refused("stable_node_chains_prune_millisecs", "4294967296");
	refused("max_page_sharing", "0");
	refused("max_page_sharing", "1");
	refused("max_page_sharing", "-2147483648");
	taken("max_page_sharing", "2", 2);
	taken("max_page_sharing", "2147483647", 2147483647);
	refused("max_page_sharing", "2147483648");
	taken("max_page_sharing", "256", 256);
	taken("use_zero_pages", "1", 1);
	taken("use_zero_pages", "0", 0);
	taken("use_zero_pages", "y", 1);
	taken("use_zero_pages", "off", 0);
	refused("use_zero_pages", "2");
	if (ksm_has("merge_across_nodes")) {
		refused("merge_across_nodes", "2");
		taken("merge_across_nodes", "0", 0);
		taken("merge_across_nodes", "1", 1);
	}
}

static void test_run_values(void)
{
	taken("run", "0", 0);
	taken("run", "1", 1);
	taken("run", "1", 1);
	taken("run", "2", 2);
	taken("run", "2", 2);
	taken("run", "0", 0);
	refused("run", "3");
	refused("run", "4");
	refused("run", "5");
	refused("run", "4294967295");
	taken("run", "1", 1);
	refused("run", "3");
	taken("run", "2", 2);
	refused("run", "3");
}

/* Two knobs must not turn while pages are merged. */
static void test_busy(void)
{
	char *p = area_same(10, 1);

	ksm_settle();
	ksm_expect("10 copies", 1, 9, 0, 0);
	must_eq("errno of max_page_sharing=100 while pages are merged",
		-ksm_write("max_page_sharing", "100"), EBUSY);
	must_eq("max_page_sharing", ksm_read("max_page_sharing"), 256);
	/* The value that it has is no change. */
	taken("max_page_sharing", "256", 256);
	if (ksm_has("merge_across_nodes")) {
		must_eq("errno of merge_across_nodes=0 while pages are merged",
			-ksm_write("merge_across_nodes", "0"), EBUSY);
		must_eq("merge_across_nodes", ksm_read("merge_across_nodes"),
			1);
		taken("merge_across_nodes", "1", 1);
	}
	ksm_set("run", 0);
	must_eq("errno of max_page_sharing=100 with run=0",
		-ksm_write("max_page_sharing", "100"), EBUSY);
	area_check_same(p, 10, 1, "merged");
	ksm_set("run", 2);
	taken("max_page_sharing", "100", 100);
	area_check_same(p, 10, 1, "given back");
}

/* pages_to_scan=0 stops progress, a low one slows it down, both without harm. */
static void test_slow_scanning(void)
{
	char *p = area_same(50, 1);
	long scans;

	ksm_set("pages_to_scan", 0);
	ksm_set("run", 1);
	scans = ksm_read("full_scans");
	nap_ms(300);
	must_eq("full_scans with pages_to_scan=0", ksm_read("full_scans"),
		scans);
	ksm_expect("pages_to_scan=0", 0, 0, 0, 0);
	ksm_set("pages_to_scan", 7);
	ksm_settle();
	ksm_expect("pages_to_scan=7", 1, 49, 0, 0);
	area_check_same(p, 50, 1, "merged");
}

/* A new sleep_millisecs takes effect at once, not after the old sleep. */
static void test_sleep_is_woken(void)
{
	char *p = area_same(10, 1);

	ksm_set("sleep_millisecs", 1000000);
	ksm_set("run", 1);
	/* ksmd may do its first batch before it sleeps. */
	nap_ms(300);
	ksm_set("sleep_millisecs", 1);
	ksm_settle();
	ksm_expect("woken", 1, 9, 0, 0);
	area_check_same(p, 10, 1, "merged");
}

static void turn_knobs(void *arg)
{
	static const char *const run[] = { "1", "0", "1", "2" };
	uint64_t limit = now_ms() + *(unsigned int *)arg;
	unsigned int n = 0;
	char text[16];

	while (now_ms() < limit) {
		ksm_write("run", run[n % 4]);
		snprintf(text, sizeof(text), "%u", 2 + n % 20);
		ksm_write("max_page_sharing", text);
		ksm_write("use_zero_pages", n % 3 ? "0" : "1");
		ksm_write("merge_across_nodes", n % 5 ? "1" : "0");
		snprintf(text, sizeof(text), "%u", n % 7 * 50);
		ksm_write("pages_to_scan", text);
		ksm_write("sleep_millisecs", n % 2 ? "0" : "1");
		n++;
		nap_ms(n % 4);
	}
}

/* All knobs turn at once while memory merges and is written to. */
static void test_knob_storm(void)
{
	unsigned int ms = 1500;
	char *p = area_same(100, 1), *q = area_new(20);
	uint64_t limit = now_ms() + ms;
	pid_t pid[2];
	int n = 0;

	memset(q, 0, 20 * page_size);
	area_advise(q, 20, MADV_MERGEABLE);
	for (n = 0; n < 2; n++)
		pid[n] = child(turn_knobs, &ms);
	for (n = 0; now_ms() < limit; n++) {
		page_check(page_at(p, n % 100), 1, "under turning knobs");
		page_fill(page_at(p, n % 100), n + 2);
		page_check(page_at(p, n % 100), n + 2, "written");
		page_fill(page_at(p, n % 100), 1);
	}
	for (n = 0; n < 2; n++)
		join(pid[n]);
	area_check_same(p, 100, 1, "at the end");
	area_check_zero(q, 20, "at the end");
	ksm_set("run", 2);
	ksm_expect("at the end", 0, 0, 0, 0);
	ksm_set("max_page_sharing", 256);
	ksm_set("merge_across_nodes", 1);
	ksm_set("use_zero_pages", 0);
	ksm_set("pages_to_scan", 10000);
	ksm_settle();
	ksm_expect("settled", -1, -1, 0, 0);
}

static const struct ksm_case cases[] = {
	{ "files", test_files },
	{ "engine", test_engine },
	{ "proc_files", test_proc_files },
	{ "garbage", test_garbage },
	{ "limits_of_values", test_limits_of_values },
	{ "run_values", test_run_values },
	{ "busy", test_busy },
	{ "slow_scanning", test_slow_scanning },
	{ "sleep_is_woken", test_sleep_is_woken },
	{ "knob_storm", test_knob_storm },
	{ }
};

const struct ksm_topic topic_sysfs = { "sysfs", cases };
