// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which pages to pass by, and how many to look at in one batch: see policy.h.
 */
#include <linux/minmax.h>
#include "policy.h"

/* 48 days. Longer passes count as this long, so that no product overflows. */
#define KSM_LONGEST_SCAN	(1U << 22)

/* From this age on a page's period is the longest. */
#define KSM_OLD_AGE	9

/**
 * ksm_policy_skip_period() - in every how many passes is a page worth a look?
 * @age: passes that the page went through without being merged
 *
 * A page that has found no like so far will hardly find one in the next pass.
 * Between two looks it is passed by 1, 2, 4 and at last 8 times (where a period
 * ends and the next begins, once up to 12 times).
 *
 * Context: any.
 * Return: 1 to 9; never less for an older page.
 */
unsigned int ksm_policy_skip_period(unsigned int age)
{
	if (age < 3)
		return 1;
	if (age == 3)
		return 2;
	if (age <= 5)
		return 3;
	return age < KSM_OLD_AGE ? 5 : 9;
}

/**
 * ksm_policy_is_old() - has a page reached the longest period?
 * @age: passes that the page went through without being merged
 *
 * All pages of a chunk that are as old as that are due in the same passes.
 *
 * Context: any.
 */
bool ksm_policy_is_old(unsigned int age)
{
	return age >= KSM_OLD_AGE;
}

/**
 * ksm_policy_skips() - is a page passed by in this pass?
 * @age: passes that the page went through without being merged
 * @chunk: the number of its chunk: spreads chunks of one age over the passes, so that
 *         none of these has all the work; the pages of one are due at once
 * @pass: number of the pass
 *
 * Context: any.
 * Return: true if the page is not to be looked at.
 */
bool ksm_policy_skips(unsigned int age, u32 chunk, u64 pass)
{
	return (pass + chunk) % ksm_policy_skip_period(age);
}

/* In memory at rest one page in so many may be new. */
#define KSM_FRESH_SHARE		64

/**
 * ksm_policy_is_fresh() - is there so much that is new that the scan should hurry?
 * @fresh: pages that were seen for the first time
 * @looked: pages looked at, those included
 *
 * Context: any.
 * Return: true if one in %KSM_FRESH_SHARE pages was new.
 */
bool ksm_policy_is_fresh(u64 fresh, u64 looked)
{
	return fresh && fresh >= looked / KSM_FRESH_SHARE;
}

/* The scan rests for a second at most. */
#define KSM_LONGEST_REST	1000000000ULL

/**
 * ksm_policy_rest_ns() - how long to rest after work, to keep to a share of a CPU?
 * @cpu_ns: CPU time of the work
 * @cpu_percent: the share, 1 to 100 per cent
 *
 * Context: any.
 * Return: nanoseconds, at most %KSM_LONGEST_REST.
 */
u64 ksm_policy_rest_ns(u64 cpu_ns, u32 cpu_percent)
{
	u32 percent = clamp_t(u32, cpu_percent, 1, 100);

	/* More would be a rest of that length even at 99 per cent. */
	cpu_ns = min_t(u64, cpu_ns, 99 * KSM_LONGEST_REST);
	return min_t(u64, cpu_ns * (100 - percent) / percent, KSM_LONGEST_REST);
}

static u64 seconds_of(u64 scan_seconds)
{
	return clamp_t(u64, scan_seconds, 1, KSM_LONGEST_SCAN);
}

/**
 * ksm_policy_cpu_percent() - how busy was the scan?
 * @cpu_ms: its CPU time
 * @scan_seconds: the time in which it used that; 0 counts as 1
 *
 * Context: any.
 * Return: per cent of one CPU, rounded down.
 */
u64 ksm_policy_cpu_percent(u64 cpu_ms, u64 scan_seconds)
{
	return cpu_ms / (10 * seconds_of(scan_seconds));
}

/*
 * The most pages in a batch that keep to the CPU limit, if a page costs what it
 * did in the last pass.
 */
static u64 pages_within_cpu(const struct ksm_advice_input *in, u64 old, u64 seconds)
{
	u64 allowed_ms = 10 * min_t(u64, in->max_cpu_percent, 100) * seconds;

	return in->cpu_ms ? old * allowed_ms / in->cpu_ms : in->max_pages;
}

/**
 * ksm_policy_advise() - how many pages to scan in a batch?
 * @in: the last pass and the limits; any values. Where a 0 would be divided by, or
 *      would stay 0 for ever, it counts as 1
 *
 * A pass over the same memory takes a time that is inverse to the pages in a
 * batch. So the number that would have met the target is known from one pass; the
 * advice goes half the way there, as memory and load change from pass to pass.
 *
 * Context: any.
 * Return: the new pages_to_scan.
 */
u32 ksm_policy_advise(const struct ksm_advice_input *in)
{
	u64 seconds = seconds_of(in->scan_seconds);
	s64 old = max_t(u32, in->pages_to_scan, 1);
	u64 ideal = old * seconds / max_t(u32, in->target_seconds, 1);
	s64 wanted = min_t(u64, ideal, in->max_pages);
	/* What is left of the way is rounded to 0: it arrives, from both sides. */
	u64 pages = wanted - (wanted - old) / 2;

	pages = min(pages, pages_within_cpu(in, old, seconds));
	return clamp_t(u64, pages, in->min_pages, in->max_pages);
}
