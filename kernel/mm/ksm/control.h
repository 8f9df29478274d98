/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The engine's inside API for its ABI files: what may be asked and set.
 *
 * Every setter checks its bounds and returns 0 or -errno; none needs a lock held.
 */
#ifndef _MM_KSM_CONTROL_H
#define _MM_KSM_CONTROL_H

#include "domain.h"

#define KSM_ENGINE_NAME		"samepage"
#define KSM_ENGINE_VERSION	"0.1.0"

/**
 * enum ksm_run - what the engine was told to do (sysfs "run")
 * @KSM_RUN_STOP: do not scan; keep what is merged
 * @KSM_RUN_MERGE: scan
 * @KSM_RUN_UNMERGE: do not scan; everything is unmerged
 */
enum ksm_run {
	KSM_RUN_STOP,
	KSM_RUN_MERGE,
	KSM_RUN_UNMERGE,
};

/**
 * enum ksm_advisor_mode - who sets pages_to_scan (sysfs "advisor_mode")
 * @KSM_ADVISOR_NONE: the administrator
 * @KSM_ADVISOR_SCAN_TIME: the advisor, so that a pass takes a given time
 */
enum ksm_advisor_mode {
	KSM_ADVISOR_NONE,
	KSM_ADVISOR_SCAN_TIME,
};

/**
 * struct ksm_advisor - mode and limits of the advisor
 * @mode: see enum ksm_advisor_mode
 * @max_cpu: per cent of one CPU that ksmd may use, 0 to 100
 * @min_pages_to_scan: least advice; counts for more than @max_cpu
 * @max_pages_to_scan: largest advice; counts for more than @min_pages_to_scan
 * @target_scan_time: seconds that a pass should take, at least 1
 */
struct ksm_advisor {
	enum ksm_advisor_mode mode;
	unsigned int max_cpu;
	unsigned int min_pages_to_scan;
	unsigned int max_pages_to_scan;
	unsigned int target_scan_time;
};

int ksm_scan_start(void);
void ksm_scan_stop(void);
void ksm_scan_wake(void);
void ksm_scan_pause(void);
void ksm_scan_resume(void);

enum ksm_run ksm_get_run(void);
int ksm_set_run(unsigned int run);
u64 ksm_get_full_scans(void);
u64 ksm_get_pages_scanned(void);
u64 ksm_get_pages_skipped(void);
unsigned int ksm_get_scan_threads(void);
int ksm_set_scan_threads(unsigned int threads);

unsigned int ksm_get_pages_to_scan(void);
int ksm_set_pages_to_scan(unsigned int pages);
unsigned int ksm_get_sleep_millisecs(void);
void ksm_set_sleep_millisecs(unsigned int msecs);
bool ksm_get_smart_scan(void);
void ksm_set_smart_scan(bool smart);
unsigned int ksm_get_boost_max_cpu(void);
int ksm_set_boost_max_cpu(unsigned int percent);
void ksm_pace_advised(void);
const struct ksm_advisor *ksm_get_advisor(void);
int ksm_set_advisor(const struct ksm_advisor *advisor);

const struct ksm_limits *ksm_get_limits(void);
int ksm_set_max_page_sharing(unsigned int sharers);
int ksm_set_merge_across_nodes(bool across);
void ksm_set_use_zero_pages(bool use);
int ksm_set_huge_split_min(unsigned int pages);
void ksm_set_prune_millisecs(unsigned int msecs);

int ksm_sysfs_init(void);
void ksm_hotplug_init(void);

#endif /* _MM_KSM_CONTROL_H */
