/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the scan decides by figures alone: which pages to pass by, and how many
 * to look at in one batch. Pure functions: they read no clock, keep no state and
 * change nothing.
 */
#ifndef _MM_KSM_POLICY_H
#define _MM_KSM_POLICY_H

#include "types.h"

/**
 * struct ksm_advice_input - what the scan-time advisor decides from
 * @pages_to_scan: pages in a batch during the last pass
 * @scan_seconds: how long that pass took
 * @cpu_ms: CPU time of ksmd in it
 * @target_seconds: how long a pass should take
 * @max_cpu_percent: how much of one CPU ksmd may use; 100 at most
 * @min_pages: least advice; counts for more than @max_cpu_percent
 * @max_pages: largest advice; counts for more than @min_pages
 */
struct ksm_advice_input {
	u32 pages_to_scan;
	u64 scan_seconds;
	u64 cpu_ms;
	u32 target_seconds;
	u32 max_cpu_percent;
	u32 min_pages;
	u32 max_pages;
};

unsigned int ksm_policy_skip_period(unsigned int age);
bool ksm_policy_is_old(unsigned int age);
bool ksm_policy_skips(unsigned int age, u32 chunk, u64 pass);

bool ksm_policy_is_fresh(u64 fresh, u64 looked);
u64 ksm_policy_rest_ns(u64 cpu_ns, u32 cpu_percent);

u64 ksm_policy_cpu_percent(u64 cpu_ms, u64 scan_seconds);
u32 ksm_policy_advise(const struct ksm_advice_input *in);

#endif /* _MM_KSM_POLICY_H */
