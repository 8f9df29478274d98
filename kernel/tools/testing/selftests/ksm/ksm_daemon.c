// SPDX-License-Identifier: GPL-2.0-only
/*
 * ksmd as the machine has started it: how fast it may go, what it may do, and
 * that everybody else goes first.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include "ksm_util.h"

static const struct {
	const char *knob, *value;
} defaults[] = {
	{ "run", "0" },
	{ "pages_to_scan", "100" },
	{ "sleep_millisecs", "20" },
	{ "boost_max_cpu", "50" },
	{ "max_page_sharing", "256" },
	{ "merge_across_nodes", "1" },
	{ "use_zero_pages", "0" },
	{ "stable_node_chains_prune_millisecs", "2000" },
	{ "smart_scan", "1" },
	{ "huge_split_min", "16" },
	{ "advisor_mode", "none" },
	{ "advisor_max_cpu", "70" },
	{ "advisor_min_pages_to_scan", "500" },
	{ "advisor_max_pages_to_scan", "30000" },
	{ "advisor_target_scan_time", "200" },
};

/* Only whoever started the machine knows that nobody has set a knob since. */
static void test_defaults(void)
{
	const char *fresh = getenv("KSM_FRESH_BOOT");
	size_t i;

	if (!fresh || strcmp(fresh, "1"))
		skip("knobs may have been set since boot; KSM_FRESH_BOOT=1 says they were not");
	for (i = 0; i < ARRAY_SIZE(defaults); i++) {
		const char *knob = defaults[i].knob, *was;

		if (!ksm_has(knob) && !ksm_is_samepage())
			continue;
		was = knob_at_start(knob);
		must(!strcmp(was, defaults[i].value),
		     "%s was \"%s\" after boot, expected %s", knob, was,
		     defaults[i].value);
	}
}

/* Kernel threads alone have no command line. */
static bool is_ksmd(const char *pid)
{
	char path[300], text[64];

	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	if (file_text(path, text, sizeof(text)) || strcmp(text, "ksmd\n"))
		return false;
	snprintf(path, sizeof(path), "/proc/%s/cmdline", pid);
	return !file_text(path, text, sizeof(text)) && !text[0];
}

pid_t ksmd_pid(void)
{
	DIR *dir = opendir("/proc");
	struct dirent *d;
	pid_t pid = 0;

	must(dir, "/proc: %m");
	while (!pid && (d = readdir(dir)))
		if (atoi(d->d_name) && is_ksmd(d->d_name))
			pid = atoi(d->d_name);
	closedir(dir);
	must(pid, "no kernel thread is called ksmd");
	return pid;
}

static void test_nice(void)
{
	pid_t pid = ksmd_pid();
	int nice;

	errno = 0;
	nice = getpriority(PRIO_PROCESS, pid);
	must(!errno, "getpriority of ksmd, process %d: %m", pid);
	must_eq("ksmd's nice value", nice, 5);
}

static const struct ksm_case cases[] = {
	{ "defaults", test_defaults },
	{ "nice", test_nice },
	{ }
};

const struct ksm_topic topic_daemon = { "daemon", cases };
