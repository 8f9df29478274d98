// SPDX-License-Identifier: GPL-2.0-only
/*
 * Several walks at once, hashed by several threads.
 *
 * Reading the pages is most of what a pass costs, and needs no lock and no record.
 * So ksmd walks ahead, a lane for each thread, has the lanes hashed at the same time,
 * and then sees to the pages of one lane after the other, alone. What comes of a pass
 * does not depend on the number of threads: a hash that is out of date by then is
 * as good as one of a page that changes a moment later.
 */
#include <linux/atomic.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/nodemask.h>
#include <linux/sched.h>
#include <linux/sched/cputime.h>

#include "lanes.h"

/**
 * struct hash_job - one lane to hash
 * @work: the work
 * @domain: whose key
 * @lane: the lane
 */
struct hash_job {
	struct kthread_work work;
	const struct ksm_domain *domain;
	struct ksm_lane *lane;
};

/**
 * struct crew - the threads that help ksmd
 * @worker: a thread for each lane but the first, which is ksmd's
 * @job: what each does
 * @threads: how many there are, with ksmd
 * @cpu_ns: CPU time of the others, ever
 *
 * Under ksm_scan_mutex; @threads and @cpu_ns are read without it.
 */
static struct crew {
	struct kthread_worker *worker[KSM_LANES_MAX];
	struct hash_job job[KSM_LANES_MAX];
	unsigned int threads;
	atomic64_t cpu_ns;
} crew = {
	.threads = 1,
};

static void hash_lane(const struct ksm_domain *domain, struct ksm_lane *lane)
{
	const struct ksm_walk_item *item = lane->walk.item;
	unsigned int i;

	for_each_set_bit(i, lane->look, lane->walk.nr) {
		if (item[i].page && !item[i].is_kpage)
			lane->hash[i] = ksm_domain_hash(domain, item[i].page);
		cond_resched();
	}
}

static void hash_work(struct kthread_work *work)
{
	struct hash_job *job = container_of(work, struct hash_job, work);
	u64 begun = task_sched_runtime(current);

	hash_lane(job->domain, job->lane);
	atomic64_add(task_sched_runtime(current) - begun, &crew.cpu_ns);
}

/**
 * ksm_lanes_hash - hash the pages of lanes that are looked at
 * @domain: the domain of their mm
 * @lane: the lanes; all pages are referenced
 * @nr: how many, at most as many as there are threads
 *
 * Context: ksm_scan_mutex held. May sleep.
 */
void ksm_lanes_hash(const struct ksm_domain *domain, struct ksm_lane *lane,
		    unsigned int nr)
{
	unsigned int i;

	lockdep_assert_held(&ksm_scan_mutex);
	for (i = 1; i < nr; i++) {
		crew.job[i].domain = domain;
		crew.job[i].lane = &lane[i];
		kthread_queue_work(crew.worker[i], &crew.job[i].work);
	}
	hash_lane(domain, &lane[0]);
	for (i = 1; i < nr; i++)
		kthread_flush_work(&crew.job[i].work);
}

/** ksm_lanes_get_threads - how many threads scan, ksmd included */
unsigned int ksm_lanes_get_threads(void)
{
	return READ_ONCE(crew.threads);
}

/**
 * ksm_lanes_set_threads - set how many threads scan
 * @threads: 1 to KSM_LANES_MAX, ksmd included
 *
 * Context: ksm_scan_mutex held. May sleep.
 * Return: 0; -EINVAL if it is out of range; -errno if a thread could not be started:
 * there are then fewer, but not fewer than before.
 */
int ksm_lanes_set_threads(unsigned int threads)
{
	struct kthread_worker *worker;

	lockdep_assert_held(&ksm_scan_mutex);
	if (!threads || threads > KSM_LANES_MAX)
		return -EINVAL;
	while (crew.threads < threads) {
		worker = kthread_create_worker(0, "ksmd/%u", crew.threads);
		if (IS_ERR(worker))
			return PTR_ERR(worker);
		set_user_nice(worker->task, 5);
		kthread_init_work(&crew.job[crew.threads].work, hash_work);
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
				      KSM_LANES_MAX));
	mutex_unlock(&ksm_scan_mutex);
}
