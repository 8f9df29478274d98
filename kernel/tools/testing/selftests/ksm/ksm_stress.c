// SPDX-License-Identifier: GPL-2.0-only
/*
 * Several processes with several threads each change their memory at random
 * and check every page against what they last wrote, while ksmd runs as fast
 * as it can.  A wrong byte anywhere fails the test.
 */
#define _GNU_SOURCE
#include <pthread.h>
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
	char *p = page_at(t->p, i), *away, *back;

	pthread_mutex_lock(&hole);
	away = mremap(p, page_size, page_size,
		      MREMAP_MAYMOVE | MREMAP_FIXED, area_new(1));
	must(away != MAP_FAILED, "mremap: %m");
	page_check(away, t->seed[i], "moved away");
	back = mremap(away, page_size, page_size,
		      MREMAP_MAYMOVE | MREMAP_FIXED, p);
	pthread_mutex_unlock(&hole);
	must(back == p, "mremap back: %m");
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

static const struct ksm_case cases[] = {
	{ "random_writes", test_random_writes },
	{ "random_writes_low_limit", test_random_writes_low_limit },
	{ "everything_at_once", test_everything_at_once, KSM_EXCLUSIVE },
	{ }
};

const struct ksm_topic topic_stress = { "stress", cases };
