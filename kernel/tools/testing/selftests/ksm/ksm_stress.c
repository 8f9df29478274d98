// SPDX-License-Identifier: GPL-2.0-only
/*
 * Several processes with several threads each change their memory at random
 * and check every page against what they last wrote, while ksmd runs as fast
 * as it can.  A wrong byte anywhere fails the test.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "ksm_util.h"

#define THREADS		3
#define THREAD_PAGES	48
/* Few contents, so that pages meet equals all the time. */
#define CONTENTS	5
#define STRESS_MS	8000

/* One thread's part of the process's area: nobody else writes there. */
struct part {
	char *p;
	uint64_t rng, seed[THREAD_PAGES], limit, steps;
	bool forks;
};

static uint32_t draw(struct part *t, uint32_t below)
{
	t->rng ^= t->rng << 13;
	t->rng ^= t->rng >> 7;
	t->rng ^= t->rng << 17;
	return (t->rng >> 20) % below;
}

static void write_page(struct part *t, size_t i)
{
	t->seed[i] = draw(t, 4) ? draw(t, CONTENTS) : t->rng;
	page_fill(page_at(t->p, i), t->seed[i]);
}

/* One byte there and back: the shortest COW. */
static void touch_page(struct part *t, size_t i)
{
	char *c = page_at(t->p, i) + draw(t, page_size);

	byte_write(c, byte_read(c) ^ 0x55);
	byte_write(c, byte_read(c) ^ 0x55);
}

static void protect_page(struct part *t, size_t i)
{
	char *p = page_at(t->p, i);

	must_call(mprotect(p, page_size, draw(t, 2) ? PROT_READ : PROT_NONE));
	if (draw(t, 4) == 0)
		sched_yield();
	must_call(mprotect(p, page_size, PROT_READ | PROT_WRITE));
}

/*
 * Held while there is a hole in this process's memory that will be filled again:
 * another thread must not be given that place meanwhile.
 */
static pthread_mutex_t hole = PTHREAD_MUTEX_INITIALIZER;

static void replace_page(struct part *t, size_t i)
{
	char *p = page_at(t->p, i);

	if (draw(t, 2)) {
		must_call(madvise(p, page_size, MADV_DONTNEED));
	} else {
		pthread_mutex_lock(&hole);
		must_call(munmap(p, page_size));
		p = mmap(p, page_size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		pthread_mutex_unlock(&hole);
		must(p != MAP_FAILED, "mmap: %m");
		must_call(madvise(p, page_size, MADV_MERGEABLE));
	}
	area_check_zero(p, 1, "replaced");
	page_fill(p, t->seed[i]);
}

static void move_page(struct part *t, size_t i)
{
	char *p = page_at(t->p, i), *away;

	pthread_mutex_lock(&hole);
	away = area_move(p, area_new(1), 1);
	page_check(away, t->seed[i], "moved away");
	area_move(away, p, 1);
	pthread_mutex_unlock(&hole);
}

static void unmerge_pages(struct part *t, size_t i)
{
	size_t n = 1 + draw(t, THREAD_PAGES - i);

	must_call(madvise(page_at(t->p, i), n * page_size, MADV_UNMERGEABLE));
	must_call(madvise(page_at(t->p, i), n * page_size, MADV_MERGEABLE));
}

static void check_pages(struct part *t, const char *when)
{
	size_t i;

	for (i = 0; i < THREAD_PAGES; i++)
		page_check(page_at(t->p, i), t->seed[i], when);
}

/* The child has this thread's part as it was, and may change it unseen. */
static void fork_and_check(struct part *t)
{
	pid_t pid = fork();

	must_call(pid);
	if (!pid) {
		check_pages(t, "in a stress child");
		area_fill_same(t->p, THREAD_PAGES / 2, draw(t, CONTENTS));
		_exit(0);
	}
	touch_page(t, draw(t, THREAD_PAGES));
	join(pid);
}

static void one_step(struct part *t)
{
	size_t i = draw(t, THREAD_PAGES);

	switch (draw(t, 20)) {
	case 0:
		protect_page(t, i);
		break;
	case 1:
		replace_page(t, i);
		break;
	case 2:
		move_page(t, i);
		break;
	case 3:
		unmerge_pages(t, i);
		break;
	case 4:
		if (t->forks && !draw(t, 4))
			fork_and_check(t);
		break;
	case 5 ... 9:
		touch_page(t, i);
		break;
	default:
		write_page(t, i);
	}
	page_check(page_at(t->p, i), t->seed[i], "in stress");
}

static void *stress_thread(void *arg)
{
	struct part *t = arg;

	while (now_ms() < t->limit) {
		one_step(t);
		if (++t->steps % 64 == 0)
			check_pages(t, "in stress, all pages");
		if (t->steps % 16 == 0)
			nap_ms(draw(t, 4));
	}
	check_pages(t, "at the end of stress");
	return NULL;
}

struct load {
	int number;
	uint64_t limit;
	uint64_t *steps;
};

static void stress_process(void *arg)
{
	struct load *l = arg;
	static struct part part[THREADS];
	pthread_t thread[THREADS];
	int n;

	for (n = 0; n < THREADS; n++) {
		struct part *t = &part[n];
		size_t i;

		t->rng = 88172645463325252ull + l->number * 977 + n * 7919;
		t->limit = l->limit;
		/* Forking with one thread busy elsewhere is enough. */
		t->forks = n == 0;
		t->p = area_same(THREAD_PAGES, 0);
		for (i = 0; i < THREAD_PAGES; i++)
			write_page(t, i);
		must(!pthread_create(&thread[n], NULL, stress_thread, t),
		     "pthread_create");
	}
	for (n = 0; n < THREADS; n++) {
		pthread_join(thread[n], NULL);
		__atomic_fetch_add(l->steps, part[n].steps, __ATOMIC_SEQ_CST);
	}
}

static void run_stress(int processes, void (*meanwhile)(struct load *l))
{
	struct load l = { 0, now_ms() + STRESS_MS, shared_new(page_size) };
	long cow = vmstat_of("cow_ksm");
	pid_t pid[8];
	char *calm;
	int n;

	ksm_set("sleep_millisecs", 0);
	calm = area_same(2, 0);
	ksm_settle();
	for (n = 0; n < processes; n++) {
		l.number = n;
		pid[n] = child(stress_process, &l);
	}
	if (meanwhile)
		meanwhile(&l);
	for (n = 0; n < processes; n++)
		join(pid[n]);
	ksm_note("stress: %llu steps, %ld COW breaks, full_scans is %ld",
		 (unsigned long long)*l.steps, vmstat_of("cow_ksm") - cow,
		 ksm_read("full_scans"));
	must(vmstat_of("cow_ksm") > cow, "no COW break in all the time");
	area_check_same(calm, 2, 0, "calm pages");
	ksm_forget();
	ksm_expect("all over", 1, 1, 0, 0);
}

static void test_random_writes(void)
{
	run_stress(3, NULL);
}

static void test_random_writes_low_limit(void)
{
	ksm_set("max_page_sharing", 3);
	ksm_set("stable_node_chains_prune_millisecs", 0);
	run_stress(2, NULL);
}

/* Reclaim, compaction, giving back and zero pages, in turn. */
static void disturb(struct load *l)
{
	static const char *const run[] = { "1", "2", "1", "0", "1" };
	unsigned int n;

	for (n = 0; now_ms() < l->limit; n++) {
		memcg_reclaim((64 + n % 8 * 64) * page_size);
		if (n % 8 == 3)
			file_write("/proc/sys/vm/compact_memory", "1");
		ksm_write("use_zero_pages", n % 2 ? "1" : "0");
		ksm_write("run", run[n % ARRAY_SIZE(run)]);
		nap_ms(20);
	}
	ksm_set("run", 1);
}

static void test_everything_at_once(void)
{
	memcg_enter();
	swap_on(64ul << 20);
	run_stress(2, disturb);
}

/* --- counters that are read while they change -------------------------------- */

#define READ_PAGES	256
#define READ_MS		6000

/* Everything the engine counts moves all the time. */
static void change_counters(void *arg)
{
	uint64_t limit = *(uint64_t *)arg, n;
	char *p = area_same(READ_PAGES, 0);

	for (n = 0; now_ms() < limit; n++) {
		if (n % 2)
			area_fill_each(p, READ_PAGES, n);
		else
			area_fill_same(p, READ_PAGES, n);
		nap_ms(n % 4 * 10);
		if (n % 8 == 7) {
			area_advise(p, READ_PAGES, MADV_UNMERGEABLE);
			area_advise(p, READ_PAGES, MADV_MERGEABLE);
		}
	}
}

/*
 * What is known of the number in a file: nothing; a number of this test's pages; it
 * never gets less.
 */
enum counter_kind { ANY, PAGES, GROWS };

/**
 * struct counter - a file that is read again and again
 * @name: of a file of the engine
 * @kind: what is known of its number
 * @fd: the file, open
 * @last: the number it had last
 */
struct counter {
	const char *name;
	enum counter_kind kind;
	int fd;
	long last;
};

static void counter_open(struct counter *c, const char *dir)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/%s", dir, c->name);
	c->fd = open(path, O_RDONLY);
	must(c->fd >= 0, "%s: %m", path);
}

/* Returns whether it has changed. */
static bool counter_read(struct counter *c)
{
	long value, last = c->last;
	char text[1000] = "", *end;

	must(pread(c->fd, text, sizeof(text) - 1, 0) > 0, "%s: %m", c->name);
	value = strtol(text, &end, 10);
	c->last = value;
	if (c->kind == ANY)
		return false;
	must(*end == '\n', "%s says \"%s\"", c->name, text);
	must(c->kind == GROWS ? value >= last :
	     value >= 0 && value <= 2 * READ_PAGES,
	     "%s is %ld, it was %ld before", c->name, value, last);
	return value != last;
}

/* Returns how many there are now: those with numbers, and all others. */
static size_t counters_open(struct counter *c, size_t max, pid_t pid)
{
	static const struct counter known[] = {
		{ "pages_shared", PAGES }, { "pages_sharing", PAGES },
		{ "pages_unshared", PAGES }, { "pages_volatile", PAGES },
		{ "full_scans", GROWS }, { "pages_scanned", GROWS },
		{ "pages_skipped", GROWS },
	};
	static char proc[32];
	struct dirent *file;
	size_t i, n = 0;
	DIR *dir;

	for (i = 0; i < ARRAY_SIZE(known); i++) {
		ksm_need(known[i].name);
		c[n] = known[i];
		counter_open(&c[n++], KSM_DIR);
	}
	snprintf(proc, sizeof(proc), "/proc/%d", pid);
	c[n] = (struct counter){ "ksm_stat" };
	counter_open(&c[n++], proc);
	dir = opendir(KSM_DIR);
	must(dir, KSM_DIR ": %m");
	while ((file = readdir(dir)) && n < max) {
		if (file->d_name[0] == '.')
			continue;
		c[n] = (struct counter){ strdup(file->d_name) };
		counter_open(&c[n++], KSM_DIR);
	}
	closedir(dir);
	return n;
}

/* Nobody who reads them holds a lock: each is whole all the same. */
static void test_readers(void)
{
	static struct counter counters[200];
	uint64_t limit = now_ms() + READ_MS;
	pid_t pid = child(change_counters, &limit);
	unsigned long reads, changes = 0;
	size_t n;

	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	n = counters_open(counters, ARRAY_SIZE(counters), pid);
	for (reads = 0; now_ms() < limit; reads++)
		changes += counter_read(&counters[reads % n]);
	join(pid);
	ksm_note("stress.readers: %lu reads of %zu files, %lu changes", reads, n,
		 changes);
	must(changes > 100, "the counters changed %lu times in %lu reads", changes,
	     reads);
}

static const struct ksm_case cases[] = {
	{ "random_writes", test_random_writes },
	{ "random_writes_low_limit", test_random_writes_low_limit },
	{ "readers", test_readers },
	{ "everything_at_once", test_everything_at_once, KSM_EXCLUSIVE },
	{ }
};

const struct ksm_topic topic_stress = { "stress", cases };
