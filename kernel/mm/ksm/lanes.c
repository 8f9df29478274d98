// SPDX-License-Identifier: GPL-2.0-only
/*
 * Walks ahead of the scan, hashed by several threads.
 *
 * Reading the pages is most of what a pass costs, and needs no lock and no record.
 * So ksmd walks some lanes ahead of the one it sees to, and other threads hash them
 * meanwhile. Each takes the first lane that nobody has taken, ksmd does so, too, as
 * long as the one it is to see to is not ready: nobody waits while there is anything
 * to hash, and a thread that comes late, or not at all, costs no more than its help.
 *
 * ksmd sees to the lanes alone and in their order. What comes of a pass does not
 * depend on the number of threads: a hash that is out of date by then is as good as
 * one of a page that changes a moment later.
 */
#include <linux/atomic.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/nodemask.h>
#include <linux/sched.h>
#include <linux/sched/cputime.h>
#include <linux/wait.h>

#include "lanes.h"

#define LANES		16U
/* A lane's number may wrap around. */
static_assert(LANES && !(LANES & (LANES - 1)));
/* Lanes ahead, for each thread: one that it hashes, and what it goes on with. */
#define LANES_OF_THREAD	4U

/**
 * enum lane_state - who may use a lane
 * @LANE_KSMDS: ksmd alone
 * @LANE_READY: whoever takes it, to hash it
 * @LANE_TAKEN: the thread that hashes it
 * @LANE_HASHED: ksmd alone; it is in the ring
 */
enum lane_state {
	LANE_KSMDS,
	LANE_READY,
	LANE_TAKEN,
	LANE_HASHED,
};

/**
 * struct crew - the lanes, and the threads that help ksmd
 * @lane: a ring
 * @first: number of the lane that ksmd sees to next; only it changes this and @end
 * @end: number of the lane after the last one
 * @domain: whose key the hashes are made with, while there are lanes
 * @hashed: ksmd waits here for a lane that another thread has taken
 * @worker: the other threads, from 1
 * @work: what each does: take and hash lanes until there are none
 * @threads: how many there are, with ksmd
 * @cpu_ns: CPU time of the others, ever
 *
 * Under ksm_scan_mutex. The others, without it, read @first, @end and @domain; and
 * whoever asks reads @threads and @cpu_ns.
 */
static struct crew {
	struct ksm_lane lane[LANES];
	unsigned int first;
	unsigned int end;
	const struct ksm_domain *domain;
	wait_queue_head_t hashed;
	struct kthread_worker *worker[KSM_THREADS_MAX];
	struct kthread_work work[KSM_THREADS_MAX];
	unsigned int threads;
	atomic64_t cpu_ns;
} crew = {
	.hashed = __WAIT_QUEUE_HEAD_INITIALIZER(crew.hashed),
	.threads = 1,
};

static struct ksm_lane *lane_at(unsigned int nr)
{
	return &crew.lane[nr % LANES];
}

/* Take the first lane that nobody has taken; NULL if there is none. */
static struct ksm_lane *take_lane(void)
{
	unsigned int nr = READ_ONCE(crew.first);

	/*
	 * ksmd may have gone on by now, and used a lane anew. That is for whoever
	 * takes it, too, if it is ready: this is all that counts.
	 */
	for (; (int)(READ_ONCE(crew.end) - nr) > 0; nr++) {
		struct ksm_lane *lane = lane_at(nr);
		int ready = LANE_READY;

		if (atomic_read(&lane->state) == ready &&
		    atomic_try_cmpxchg_acquire(&lane->state, &ready, LANE_TAKEN))
			return lane;
	}
	return NULL;
}

static void hash_lane(struct ksm_lane *lane)
{
	const struct ksm_walk_item *item = lane->walk.item;
	unsigned int i;

	for_each_set_bit(i, lane->look, lane->walk.nr) {
		if (item[i].page && !item[i].is_kpage)
			lane->hash[i] = ksm_domain_hash(crew.domain, item[i].page);
		cond_resched();
	}
	atomic_set_release(&lane->state, LANE_HASHED);
}

static void hash_work(struct kthread_work *work)
{
	u64 begun = task_sched_runtime(current);
	struct ksm_lane *lane;

	while ((lane = take_lane())) {
		hash_lane(lane);
		if (wq_has_sleeper(&crew.hashed))
			wake_up(&crew.hashed);
	}
	atomic64_add(task_sched_runtime(current) - begun, &crew.cpu_ns);
}

/**
 * ksm_lanes_free - the lane for the next walk
 *
 * Context: ksm_scan_mutex held.
 * Return: the lane, for ksm_lanes_add(); NULL if there are as many ahead as the
 * threads need.
 */
struct ksm_lane *ksm_lanes_free(void)
{
	unsigned int most = crew.threads == 1 ? 1 :
			    min(crew.threads * LANES_OF_THREAD, LANES);

	lockdep_assert_held(&ksm_scan_mutex);
	return crew.end - crew.first < most ? lane_at(crew.end) : NULL;
}

/** ksm_lanes_last - the lane that was added last; NULL if there is none */
struct ksm_lane *ksm_lanes_last(void)
{
	lockdep_assert_held(&ksm_scan_mutex);
	return crew.end == crew.first ? NULL : lane_at(crew.end - 1);
}

/**
 * ksm_lanes_add - have the pages hashed of the lane that ksm_lanes_free() returned
 * @domain: the domain of their mm; the same for all lanes that are there
 *
 * All pages are referenced but KSM pages, until ksm_lanes_done() or _drop().
 *
 * Context: ksm_scan_mutex held.
 */
void ksm_lanes_add(const struct ksm_domain *domain)
{
	unsigned int i;

	lockdep_assert_held(&ksm_scan_mutex);
	if (crew.first == crew.end)
		crew.domain = domain;
	atomic_set_release(&lane_at(crew.end)->state, LANE_READY);
	WRITE_ONCE(crew.end, crew.end + 1);
	/* One that is at it already will look once more. */
	for (i = 1; i < crew.threads; i++)
		kthread_queue_work(crew.worker[i], &crew.work[i]);
}

static bool is_hashed(const struct ksm_lane *lane)
{
	return atomic_read_acquire(&lane->state) == LANE_HASHED;
}

/*
 * What must be hashed before a lane is seen to, and is not: the lane, or one that lives
 * on its reference. If it is seen to that a huge page is split, they have none.
 */
static struct ksm_lane *lane_missing(struct ksm_lane *lane)
{
	while (is_hashed(lane)) {
		if (!lane->walk.ahead)
			return NULL;
		lane = container_of(lane->walk.ahead, struct ksm_lane, walk);
	}
	return lane;
}

/**
 * ksm_lanes_first - the lane that is to be seen to next
 *
 * Context: ksm_scan_mutex held. Hashes, or sleeps, until the lane is hashed.
 * Return: the lane; NULL if there is none.
 */
struct ksm_lane *ksm_lanes_first(void)
{
	struct ksm_lane *first = lane_at(crew.first), *missing, *lane;

	lockdep_assert_held(&ksm_scan_mutex);
	if (crew.first == crew.end)
		return NULL;
	while ((missing = lane_missing(first))) {
		lane = take_lane();
		if (lane)
			hash_lane(lane);
		else
			wait_event(crew.hashed, is_hashed(missing));
	}
	return first;
}

/**
 * ksm_lanes_assert_read - nobody reads pages any more that have no reference
 * @lane: the lane that was seen to when its last huge page was split
 */
void ksm_lanes_assert_read(const struct ksm_lane *lane)
{
	while (lane->walk.ahead) {
		lane = container_of(lane->walk.ahead, struct ksm_lane, walk);
		VM_WARN_ON_ONCE(!is_hashed(lane));
	}
}

/**
 * ksm_lanes_done - the lane that ksm_lanes_first() returned was seen to
 *
 * Context: ksm_scan_mutex held.
 */
void ksm_lanes_done(void)
{
	struct ksm_lane *lane = lane_at(crew.first);

	lockdep_assert_held(&ksm_scan_mutex);
	ksm_walk_put(&lane->walk);
	atomic_set(&lane->state, LANE_KSMDS);
	WRITE_ONCE(crew.first, crew.first + 1);
}

/**
 * ksm_lanes_drop - forget the lanes that were not seen to
 *
 * Context: ksm_scan_mutex held. May sleep.
 */
void ksm_lanes_drop(void)
{
	lockdep_assert_held(&ksm_scan_mutex);
	while (crew.first != crew.end) {
		struct ksm_lane *lane = lane_at(crew.first);
		int ready = LANE_READY;

		if (!atomic_try_cmpxchg(&lane->state, &ready, LANE_KSMDS))
			wait_event(crew.hashed, is_hashed(lane));
		ksm_lanes_done();
	}
}

/** ksm_lanes_get_threads - how many threads scan, ksmd included */
unsigned int ksm_lanes_get_threads(void)
{
	return READ_ONCE(crew.threads);
}

/**
 * ksm_lanes_set_threads - set how many threads scan
 * @threads: 1 to KSM_THREADS_MAX, ksmd included
 *
 * Context: ksm_scan_mutex held, without lanes. May sleep.
 * Return: 0; -EINVAL if it is out of range; -errno if a thread could not be started:
 * there are then fewer, but not fewer than before.
 */
int ksm_lanes_set_threads(unsigned int threads)
{
	struct kthread_worker *worker;

	lockdep_assert_held(&ksm_scan_mutex);
	WARN_ON_ONCE(crew.first != crew.end);
	if (!threads || threads > KSM_THREADS_MAX)
		return -EINVAL;
	while (crew.threads < threads) {
		worker = kthread_create_worker(0, "ksmd/%u", crew.threads);
		if (IS_ERR(worker))
			return PTR_ERR(worker);
		set_user_nice(worker->task, 5);
		kthread_init_work(&crew.work[crew.threads], hash_work);
		crew.worker[crew.threads] = worker;
		WRITE_ONCE(crew.threads, crew.threads + 1);
	}
	while (crew.threads > threads) {
		WRITE_ONCE(crew.threads, crew.threads - 1);
		kthread_destroy_worker(crew.worker[crew.threads]);
	}
	return 0;
}

/** ksm_lanes_cpu_ns - CPU time of the threads that help ksmd, ever */
u64 ksm_lanes_cpu_ns(void)
{
	return atomic64_read(&crew.cpu_ns);
}

/**
 * ksm_lanes_init - start a thread for each NUMA node, within bounds
 *
 * Where that fails ksmd does it alone.
 */
void ksm_lanes_init(void)
{
	mutex_lock(&ksm_scan_mutex);
	ksm_lanes_set_threads(clamp_t(unsigned int, num_online_nodes(), 1,
				      KSM_THREADS_MAX));
	mutex_unlock(&ksm_scan_mutex);
}
