// SPDX-License-Identifier: GPL-2.0-only
/*
 * How fast the scan goes. The administrator says how many pages to look at between
 * two sleeps, or lets the advisor find out how many it takes to finish a pass in
 * a given time.
 *
 * Who has set nothing gets a boost: as long as there is memory that was not yet seen
 * twice, which is what it takes to merge it, the scan goes on for as many batches as
 * a share of a CPU allows. On memory at rest it falls back to its slow pace.
 */
#include <linux/atomic.h>
#include <linux/kthread.h>
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/mutex.h>
#include <linux/sched/cputime.h>
#include <linux/wait.h>
#include <trace/events/ksm.h>

#include "lanes.h"
#include "pace.h"
#include "policy.h"

#define DEFAULT_PAGES_TO_SCAN	100

/*
 * Passes in a hurry after memory was registered, which may still be empty; and after
 * new pages were found: the rest of this pass, and the one that sees them again.
 */
#define BOOST_PASSES_ADVISED	3
#define BOOST_PASSES_FRESH	2

/* Whether there is much that is new is asked after so many pages: 16 MiB. */
#define FRESH_WINDOW		4096

/* In a hurry several threads get so many pages at once, to have something to share. */
#define BOOST_PAGES		1024U

/* In a hurry ksmd works for so long before it rests. */
#define BOOST_WORK_NS		(4 * NSEC_PER_MSEC)

/**
 * struct pace_state - what the files say, and the pass under way
 * @pages_to_scan: pages looked at before ksmd sleeps
 * @sleep_millisecs: how long it sleeps
 * @smart_scan: pass by pages that found no like for long
 * @advisor: see struct ksm_advisor
 * @lock: pairs @pages_to_scan with @advisor's mode; the others are plain values
 * @nap: woken when the sleep between batches changes
 * @began: when the pass began; ksmd's alone
 * @cpu_ns: CPU time of the scan then; ditto
 * @boost_max_cpu: per cent of a CPU that may be used in a hurry; 0: never hurry
 * @boost_passes: so many passes are still to be made in a hurry
 * @fresh: pages seen for the first time, in this window; ksmd's alone
 * @looked: pages looked at, in this window; ditto
 * @work_ns: CPU time of the scan when it last rested; ditto
 */
static struct pace_state {
	unsigned int pages_to_scan;
	unsigned int sleep_millisecs;
	bool smart_scan;
	struct ksm_advisor advisor;
	struct mutex lock;
	wait_queue_head_t nap;
	ktime_t began;
	u64 cpu_ns;
	unsigned int boost_max_cpu;
	atomic_t boost_passes;
	u64 fresh;
	u64 looked;
	u64 work_ns;
} pace = {
	.pages_to_scan = DEFAULT_PAGES_TO_SCAN,
	.sleep_millisecs = 20,
	.smart_scan = true,
	.boost_max_cpu = 50,
	.advisor = {
		.mode = KSM_ADVISOR_NONE,
		.max_cpu = 70,
		.min_pages_to_scan = 500,
		.max_pages_to_scan = 30000,
		.target_scan_time = 200,
	},
	.lock = __MUTEX_INITIALIZER(pace.lock),
	.nap = __WAIT_QUEUE_HEAD_INITIALIZER(pace.nap),
};

/** ksm_get_pages_to_scan - pages looked at before ksmd sleeps */
unsigned int ksm_get_pages_to_scan(void)
{
	return READ_ONCE(pace.pages_to_scan);
}

/**
 * ksm_set_pages_to_scan - set how many pages are looked at before a sleep
 * @pages: any number; from now on obeyed to the letter, without any boost
 *
 * Return: 0; -EINVAL while the advisor sets it.
 */
int ksm_set_pages_to_scan(unsigned int pages)
{
	int err = -EINVAL;

	mutex_lock(&pace.lock);
	if (pace.advisor.mode == KSM_ADVISOR_NONE) {
		WRITE_ONCE(pace.pages_to_scan, pages);
		WRITE_ONCE(pace.boost_max_cpu, 0);
		err = 0;
	}
	mutex_unlock(&pace.lock);
	return err;
}

/** ksm_get_sleep_millisecs - how long ksmd sleeps between two batches */
unsigned int ksm_get_sleep_millisecs(void)
{
	return READ_ONCE(pace.sleep_millisecs);
}

/**
 * ksm_set_sleep_millisecs - set how long the scan sleeps
 * @msecs: any number; a sleep under way ends. From now on obeyed to the letter,
 *	without any boost.
 */
void ksm_set_sleep_millisecs(unsigned int msecs)
{
	WRITE_ONCE(pace.sleep_millisecs, msecs);
	WRITE_ONCE(pace.boost_max_cpu, 0);
	wake_up_interruptible(&pace.nap);
}

/** ksm_get_smart_scan - are pages passed by that found no like for long? */
bool ksm_get_smart_scan(void)
{
	return READ_ONCE(pace.smart_scan);
}

/**
 * ksm_set_smart_scan - pass by pages that found no like for long, or not
 * @smart: whether, from the next page on
 */
void ksm_set_smart_scan(bool smart)
{
	WRITE_ONCE(pace.smart_scan, smart);
}

/** ksm_get_advisor - mode and limits of the advisor; not consistent with each other */
const struct ksm_advisor *ksm_get_advisor(void)
{
	return &pace.advisor;
}

/**
 * ksm_set_advisor - set mode and limits of the advisor
 * @advisor: the new ones
 *
 * A change of the mode sets pages_to_scan to where the new mode begins.
 *
 * Return: 0; -EINVAL if a value is out of range.
 */
int ksm_set_advisor(const struct ksm_advisor *advisor)
{
	if (advisor->max_cpu > 100 || !advisor->target_scan_time)
		return -EINVAL;
	mutex_lock(&pace.lock);
	if (advisor->mode != pace.advisor.mode)
		WRITE_ONCE(pace.pages_to_scan,
			   advisor->mode == KSM_ADVISOR_NONE ?
			   DEFAULT_PAGES_TO_SCAN : advisor->min_pages_to_scan);
	pace.advisor = *advisor;
	mutex_unlock(&pace.lock);
	return 0;
}

/** ksm_get_boost_max_cpu - per cent of a CPU that may be used in a hurry */
unsigned int ksm_get_boost_max_cpu(void)
{
	return READ_ONCE(pace.boost_max_cpu);
}

/**
 * ksm_set_boost_max_cpu - set how much of a CPU may be used in a hurry
 * @percent: 0 to 100; 0: keep to pages_to_scan and sleep_millisecs
 *
 * Return: 0; -EINVAL if it is out of range.
 */
int ksm_set_boost_max_cpu(unsigned int percent)
{
	if (percent > 100)
		return -EINVAL;
	WRITE_ONCE(pace.boost_max_cpu, percent);
	return 0;
}

/** ksm_pace_advised - there is more memory to merge: it should be seen to soon */
void ksm_pace_advised(void)
{
	atomic_set(&pace.boost_passes, BOOST_PASSES_ADVISED);
}

/**
 * ksm_pace_looked - ksmd has looked at pages
 * @looked: how many
 * @fresh: how many of them were seen for the first time
 */
void ksm_pace_looked(unsigned int looked, unsigned int fresh)
{
	pace.looked += looked;
	pace.fresh += fresh;
	if (pace.looked < FRESH_WINDOW)
		return;
	if (ksm_policy_is_fresh(pace.fresh, pace.looked))
		atomic_set(&pace.boost_passes, BOOST_PASSES_FRESH);
	pace.looked = 0;
	pace.fresh = 0;
}

/* CPU time of ksmd and of the threads that help it. */
static u64 scan_cpu_ns(void)
{
	return task_sched_runtime(current) + ksm_lanes_cpu_ns();
}

static bool is_boosted(void)
{
	return READ_ONCE(pace.boost_max_cpu) && atomic_read(&pace.boost_passes) &&
	       READ_ONCE(pace.advisor.mode) == KSM_ADVISOR_NONE;
}

/** ksm_pace_pages - how many pages the next batch has; called by ksmd */
unsigned int ksm_pace_pages(void)
{
	unsigned int pages = ksm_get_pages_to_scan();

	if (is_boosted() && ksm_lanes_get_threads() > 1)
		pages = max(pages, BOOST_PAGES);
	return pages;
}

static u64 work_ns(void)
{
	return scan_cpu_ns() - pace.work_ns;
}

/**
 * ksm_pace_goes_on - should ksmd do another batch before it sleeps?
 *
 * Context: called by ksmd after a batch.
 */
bool ksm_pace_goes_on(void)
{
	return is_boosted() && work_ns() < BOOST_WORK_NS;
}

/** ksm_pace_sleep - ksmd's sleep between two batches, or its rest in a hurry */
void ksm_pace_sleep(void)
{
	unsigned int msecs = ksm_get_sleep_millisecs();
	unsigned long sleep = msecs_to_jiffies(msecs);

	if (is_boosted())
		sleep = nsecs_to_jiffies(ksm_policy_rest_ns(work_ns(),
						ksm_get_boost_max_cpu())) + 1;
	wait_event_interruptible_timeout(pace.nap,
		msecs != ksm_get_sleep_millisecs() || kthread_should_stop(),
		sleep);
	pace.work_ns = scan_cpu_ns();
}

/** ksm_pace_pass_begins - a pass begins; called by ksmd */
void ksm_pace_pass_begins(void)
{
	pace.began = ktime_get();
	pace.cpu_ns = scan_cpu_ns();
}

/* With @pace.lock held. */
static void advise(void)
{
	const struct ksm_advisor *advisor = &pace.advisor;
	u64 cpu_ns = scan_cpu_ns() - pace.cpu_ns;
	struct ksm_advice_input in = {
		.pages_to_scan = pace.pages_to_scan,
		.scan_seconds = ktime_ms_delta(ktime_get(), pace.began) /
				MSEC_PER_SEC,
		.cpu_ms = cpu_ns / NSEC_PER_MSEC,
		.target_seconds = advisor->target_scan_time,
		.max_cpu_percent = advisor->max_cpu,
		.min_pages = advisor->min_pages_to_scan,
		.max_pages = advisor->max_pages_to_scan,
	};

	lockdep_assert_held(&pace.lock);
	WRITE_ONCE(pace.pages_to_scan, ksm_policy_advise(&in));
	trace_ksm_advisor(in.scan_seconds, pace.pages_to_scan,
			  ksm_policy_cpu_percent(in.cpu_ms, in.scan_seconds));
}

/** ksm_pace_pass_ended - a pass has ended; called by ksmd */
void ksm_pace_pass_ended(void)
{
	mutex_lock(&pace.lock);
	if (pace.advisor.mode == KSM_ADVISOR_SCAN_TIME)
		advise();
	mutex_unlock(&pace.lock);
	atomic_dec_if_positive(&pace.boost_passes);
}
