// SPDX-License-Identifier: GPL-2.0-only
/*
 * The runner: every case in a process group of its own, under a deadline,
 * between a known setting of all knobs; prints TAP.
 *
 * After each case everything it started is killed and run=2 is written: the
 * counters must then all be 0, or the case fails for what it left behind.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "ksm_util.h"

static const struct ksm_topic *const topics[] = {
	&topic_sysfs, &topic_madvise, &topic_counters, &topic_scan, &topic_cow,
	&topic_zero, &topic_unmerge, &topic_fork, &topic_exit, &topic_prot,
	&topic_remap, &topic_discard, &topic_pin, &topic_uring,
	&topic_ptebits, &topic_rmap, &topic_saving, &topic_thp, &topic_numa,
	&topic_stat, &topic_smart, &topic_advisor, &topic_boost, &topic_threads,
	&topic_refused, &topic_prctl, &topic_collide, &topic_poison, &topic_abi,
	&topic_oom, &topic_trace, &topic_daemon, &topic_frame, &topic_chain,
	&topic_swapin, &topic_balance, &topic_fault, &topic_kvm,
	&topic_swap, &topic_hotplug, &topic_inject, &topic_stress,
};

#define KHUGEPAGED "/sys/kernel/mm/transparent_hugepage/khugepaged/"
#define DEBUGFS "/sys/kernel/debug/"

/*
 * Every file that a case may write to, and its value before a case, in the
 * order of writing; without value it gets back the one that it had.
 */
static struct knob {
	const char *path, *value;
	char saved[64];
} knobs[] = {
	{ KSM_DIR "run", "2" },
	{ KSM_DIR "advisor_mode", "none" },
	{ KSM_DIR "advisor_max_cpu", "70" },
	{ KSM_DIR "advisor_min_pages_to_scan", "500" },
	{ KSM_DIR "advisor_max_pages_to_scan", "30000" },
	{ KSM_DIR "advisor_target_scan_time", "200" },
	{ KSM_DIR "smart_scan", "0" },
	{ KSM_DIR "huge_split_min", "1" },
	{ KSM_DIR "max_page_sharing", "256" },
	{ KSM_DIR "merge_across_nodes", "1" },
	{ KSM_DIR "use_zero_pages", "0" },
	{ KSM_DIR "stable_node_chains_prune_millisecs", "2000" },
	{ KSM_DIR "pages_to_scan", "100000" },
	{ KSM_DIR "sleep_millisecs", "1" },
	{ KSM_DIR "boost_max_cpu", "0" },
	{ KSM_DIR "scan_threads", NULL },
	{ KHUGEPAGED "scan_sleep_millisecs", NULL },
	{ KHUGEPAGED "alloc_sleep_millisecs", NULL },
	{ KHUGEPAGED "pages_to_scan", NULL },
	{ KHUGEPAGED "max_ptes_shared", NULL },
	{ DEBUGFS "ksm/collide", "0" },
	{ DEBUGFS "failslab/ignore-gfp-wait", NULL },
	{ DEBUGFS "failslab/verbose", NULL },
	{ DEBUGFS "failslab/times", NULL },
	{ DEBUGFS "failslab/task-filter", NULL },
	{ DEBUGFS "fail_page_alloc/ignore-gfp-wait", NULL },
	{ DEBUGFS "fail_page_alloc/verbose", NULL },
	{ DEBUGFS "fail_page_alloc/min-order", NULL },
	{ DEBUGFS "fail_page_alloc/times", NULL },
	{ DEBUGFS "fail_page_alloc/task-filter", NULL },
	{ DEBUGFS "fail_page_alloc/ignore-gfp-highmem", NULL },
	{ "/proc/sys/kernel/numa_balancing", NULL },
	{ "/proc/sys/vm/nr_hugepages", NULL },
};

struct words {
	const char *word[16];
	int nr;
};

static struct {
	struct words only, without;
	bool exclusive, list;
	unsigned int deadline;
} opt = { .deadline = 90 };

static int interrupted;

static void on_signal(int sig)
{
	__atomic_store_n(&interrupted, sig, __ATOMIC_RELAXED);
}

static void bail_out(const char *why, const char *detail)
{
	printf("Bail out! %s%s\n", why, detail);
	fflush(stdout);
	exit(1);
}

/* --- knobs ---------------------------------------------------------------- */

static void save_knobs(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(knobs); i++) {
		FILE *f = fopen(knobs[i].path, "re");

		if (!f)
			continue;
		if (!fgets(knobs[i].saved, sizeof(knobs[i].saved), f))
			knobs[i].saved[0] = '\0';
		fclose(f);
	}
}

/* A file with a choice shows all words, the current one in brackets. */
static const char *chosen(char *text)
{
	char *open = strchr(text, '['), *close = strchr(text, ']');

	if (!open || !close)
		return text;
	*close = '\0';
	return open + 1;
}

const char *knob_at_start(const char *knob)
{
	static char text[sizeof(knobs[0].saved)];
	const size_t dir = strlen(KSM_DIR);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(knobs); i++) {
		if (strncmp(knobs[i].path, KSM_DIR, dir) ||
		    strcmp(knobs[i].path + dir, knob))
			continue;
		memcpy(text, knobs[i].saved, sizeof(text));
		text[strcspn(text, "\n")] = '\0';
		return chosen(text);
	}
	return "";
}

/* Write to a file that existed at the start; NULL is what it had then. */
static void write_knob(const struct knob *k, const char *value)
{
	char text[sizeof(k->saved)];
	int err;

	if (!k->saved[0])
		return;
	memcpy(text, k->saved, sizeof(text));
	if (!value)
		value = chosen(text);
	err = file_write(k->path, value);
	if (err)
		printf("# cannot write %s to %s: %s\n", value, k->path,
		       strerror(-err));
}

static void reset_knobs(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(knobs); i++)
		write_knob(&knobs[i], knobs[i].value);
}

static void restore_knobs(void)
{
	size_t i;

	/* run last: it may start ksmd, which makes some others busy. */
	ksm_write("run", "2");
	/* While the advisor is on, pages_to_scan is its own. */
	if (ksm_has("advisor_mode"))
		ksm_write("advisor_mode", "none");
	for (i = ARRAY_SIZE(knobs); i-- > 0; )
		write_knob(&knobs[i], NULL);
}

/* --- one case -------------------------------------------------------------- */

static void start_verdict(void)
{
	memset(ksm_verdict, 0, sizeof(*ksm_verdict));
}

/* Kill the group and reap everything that was reparented to us. */
static void end_group(pid_t pid)
{
	kill(-pid, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
	swap_cleanup();
	memcg_cleanup();
	direct_cleanup();
	trace_cleanup();
	fault_cleanup();
}

static void set_why(enum ksm_end end, const char *why)
{
	ksm_verdict->state = end;
	snprintf(ksm_verdict->why, sizeof(ksm_verdict->why), "%s", why);
}

static void timed_out(unsigned int seconds)
{
	char why[300];

	snprintf(why, sizeof(why),
		 "no end within %u s (run=%ld full_scans=%ld shared=%ld sharing=%ld unshared=%ld volatile=%ld)",
		 seconds, file_number(KSM_DIR "run"),
		 file_number(KSM_DIR "full_scans"),
		 file_number(KSM_DIR "pages_shared"),
		 file_number(KSM_DIR "pages_sharing"),
		 file_number(KSM_DIR "pages_unshared"),
		 file_number(KSM_DIR "pages_volatile"));
	set_why(KSM_FAILED, why);
}

static void ended(int status)
{
	char why[100];

	if (ksm_verdict->state != KSM_RUNNING)
		return;
	if (WIFEXITED(status) && !WEXITSTATUS(status)) {
		set_why(KSM_PASSED, "");
		return;
	}
	snprintf(why, sizeof(why), "died of %s %d",
		 WIFSIGNALED(status) ? "signal" : "status",
		 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	set_why(KSM_FAILED, why);
}

/* Placed zero pages that were counted before the case; -1 without the file. */
static long zero_before;

static long zero_now(void)
{
	return file_number(KSM_DIR "ksm_zero_pages");
}

/*
 * A limit can be changed only when no page is shared and none is remembered: a
 * node that stays behind shows here, and nowhere else. A process that was killed may
 * map its pages for a moment more.
 */
static bool limits_can_change(void)
{
	uint64_t limit = now_ms() + 2000;
	int err;

	err = ksm_write("max_page_sharing", "257");
	while (err == -EBUSY && now_ms() < limit) {
		nap_ms(10);
		err = ksm_write("max_page_sharing", "257");
	}
	ksm_write("max_page_sharing", "256");
	return !err;
}

/* After a case nothing of it may be counted any more. */
static void check_leftovers(void)
{
	static const char *const zero[] = {
		"pages_shared", "pages_sharing", "pages_unshared",
		"pages_volatile", "stable_node_chains", "stable_node_dups",
	};
	char path[128], why[200];
	size_t i;

	if (ksm_write("run", "2"))
		set_why(KSM_FAILED, "run=2 was refused after the case");
	for (i = 0; i < ARRAY_SIZE(zero); i++) {
		long v;

		snprintf(path, sizeof(path), KSM_DIR "%s", zero[i]);
		v = file_number(path);
		if (!v || ksm_verdict->state != KSM_PASSED)
			continue;
		snprintf(why, sizeof(why),
			 "after its end and run=2, %s is %ld", zero[i], v);
		set_why(KSM_FAILED, why);
	}
	if (ksm_verdict->state == KSM_PASSED && !limits_can_change())
		set_why(KSM_FAILED, "after its end and run=2, max_page_sharing is busy");
	if (zero_now() == zero_before || ksm_verdict->state != KSM_PASSED)
		return;
	snprintf(why, sizeof(why),
		 "after its end and run=2, ksm_zero_pages is %ld, before it was %ld",
		 zero_now(), zero_before);
	set_why(KSM_FAILED, why);
}

static void run_case(void (*run)(void), unsigned int seconds)
{
	uint64_t limit = now_ms() + seconds * 1000ull;
	int status = 0;
	pid_t pid;

	start_verdict();
	reset_knobs();
	zero_before = zero_now();
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		bail_out("fork: ", strerror(errno));
	if (!pid) {
		setpgid(0, 0);
		/*
		 * One mapping that is advised but never touched: full_scans
		 * grows only while some process is registered.
		 */
		ksm_keeper = area_new(1);
		area_advise(ksm_keeper, 1, MADV_MERGEABLE);
		run();
		_exit(0);
	}
	setpgid(pid, pid);
	while (!waitpid(pid, &status, WNOHANG)) {
		if (interrupted || now_ms() > limit) {
			timed_out(seconds);
			break;
		}
		nap_ms(5);
	}
	ended(status);
	end_group(pid);
	check_leftovers();
}

/* --- the list --------------------------------------------------------------- */

/* Does @word begin a word of the name? "pin." is in "pin.holds", not in "swapin.". */
static bool begins_word(const char *name, const char *word)
{
	const char *at = name;

	while ((at = strstr(at, word))) {
		if (at == name || !isalnum(at[-1]) || !isalnum(*word))
			return true;
		at++;
	}
	return false;
}

static bool has_word(const char *name, const struct words *words)
{
	int i;

	for (i = 0; i < words->nr; i++)
		if (begins_word(name, words->word[i]))
			return true;
	return false;
}

static bool wanted(const char *name)
{
	return (!opt.only.nr || has_word(name, &opt.only)) &&
	       !has_word(name, &opt.without);
}

/* Failed where 6.1's own engine is known to. */
static bool is_excused(const struct ksm_case *c)
{
	return ksm_verdict->state == KSM_FAILED && c->defect &&
	       !ksm_is_samepage();
}

static bool has_failed(void)
{
	return ksm_verdict->state == KSM_FAILED ||
	       ksm_verdict->state == KSM_CORRUPT;
}

static void print_result(int n, const char *name, const struct ksm_case *c,
			 uint64_t ms)
{
	const char *why = ksm_verdict->why;

	if (is_excused(c)) {
		printf("ok %d - %s # SKIP mainline defect: %s\n", n, name,
		       c->defect);
		printf("# seen: %s\n", why);
	} else if (ksm_verdict->state == KSM_SKIPPED) {
		printf("ok %d - %s # SKIP %s\n", n, name, why);
	} else if (ksm_verdict->state == KSM_PASSED) {
		printf("ok %d - %s\n", n, name);
	} else {
		printf("not ok %d - %s\n# %s\n", n, name, why);
	}
	printf("# %s took %llu ms\n", name, (unsigned long long)ms);
	fflush(stdout);
}

/* The counters are exact only if nobody else has mergeable memory. */
static void nobody_else(void)
{
	ksm_settle();
	ksm_expect("another process has mergeable memory, with it the counters",
		   0, 0, 0, 0);
}

/* After a failure: tell the reader if it can have come from outside. */
static void suspect_others(void)
{
	struct ksm_verdict kept = *ksm_verdict;

	run_case(nobody_else, opt.deadline);
	if (ksm_verdict->state == KSM_FAILED)
		printf("# not the test's fault? %s\n", ksm_verdict->why);
	*ksm_verdict = kept;
}

static unsigned int deadline_of(const struct ksm_case *c)
{
	if (c->flags & KSM_QUICK)
		return opt.deadline / 9 + 1;
	return opt.deadline * (c->flags & KSM_SLOW ? 3 : 1);
}

static bool run_one(int n, const char *name, const struct ksm_case *c)
{
	uint64_t start = now_ms();

	if ((c->flags & KSM_EXCLUSIVE) && !opt.exclusive) {
		start_verdict();
		set_why(KSM_SKIPPED,
			"disturbs the whole machine; -x allows it");
	} else {
		run_case(c->run, deadline_of(c));
	}
	print_result(n, name, c, now_ms() - start);
	if (!has_failed() || is_excused(c))
		return true;
	if (!interrupted)
		suspect_others();
	return false;
}

/* Run all that is wanted, or with opt.list print it; returns the failures. */
static int for_all(int *count)
{
	const struct ksm_case *c;
	char name[128];
	int failed = 0;
	size_t t;

	*count = 0;
	for (t = 0; t < ARRAY_SIZE(topics); t++) {
		for (c = topics[t]->cases; c->name; c++) {
			snprintf(name, sizeof(name), "%s.%s", topics[t]->name,
				 c->name);
			if (!wanted(name) || interrupted)
				continue;
			++*count;
			if (opt.list)
				printf("%s%s\n", name, c->flags & KSM_EXCLUSIVE
				       ? " (-x)" : "");
			else if (!run_one(*count, name, c))
				failed++;
		}
	}
	return failed;
}

static void print_usage(FILE *f, const char *prog)
{
	fprintf(f,
		"usage: %s [-x] [-l] [-t WORD]... [-n WORD]... [-d SECONDS]\n"
		"  -x          also run what disturbs the whole machine\n"
		"  -l          list the tests\n"
		"  -t WORD     only tests in whose name something begins with WORD\n"
		"  -n WORD     no such tests\n"
		"  -d SECONDS  deadline of one test (1..3600, default %u)\n",
		prog, opt.deadline);
}

static bool add_word(struct words *words, const char *word)
{
	if (words->nr == ARRAY_SIZE(words->word))
		return false;
	words->word[words->nr++] = word;
	return true;
}

static int parse(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "xlht:n:d:")) != -1) {
		if (c == 'x') {
			opt.exclusive = true;
		} else if (c == 'l') {
			opt.list = true;
		} else if (c == 't' || c == 'n') {
			if (!add_word(c == 't' ? &opt.only : &opt.without, optarg))
				return 2;
		} else if (c == 'd') {
			opt.deadline = atoi(optarg);
			if (opt.deadline < 1 || opt.deadline > 3600)
				return 2;
			/* One wait within the test takes two thirds of that. */
			ksm_wait_limit = opt.deadline * 2 / 3 + 1;
		} else {
			return c == 'h' ? 1 : 2;
		}
	}
	return optind == argc ? 0 : 2;
}

static void prepare(void)
{
	struct sigaction sa = { .sa_handler = on_signal };

	if (access(KSM_DIR "run", W_OK))
		bail_out(KSM_DIR "run is not writable: ", strerror(errno));
	page_size = sysconf(_SC_PAGESIZE);
	ksm_verdict = shared_new(sizeof(*ksm_verdict));
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
	save_knobs();
	run_case(nobody_else, opt.deadline);
	if (ksm_verdict->state != KSM_PASSED) {
		restore_knobs();
		bail_out("", ksm_verdict->why);
	}
}

int main(int argc, char **argv)
{
	int err = parse(argc, argv), count, failed;

	/* Each result at once, also into a pipe. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (err) {
		print_usage(err == 1 ? stdout : stderr, argv[0]);
		return err == 1 ? 0 : 2;
	}
	if (!opt.list)
		prepare();
	failed = for_all(&count);
	if (opt.list)
		return 0;
	restore_knobs();
	if (interrupted)
		bail_out("interrupted by signal ", strsignal(interrupted));
	if (!count)
		bail_out("no test has such a name", "");
	/* The plan comes last: without it the run did not get to its end. */
	printf("1..%d\n", count);
	return failed ? 1 : 0;
}
