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
 * struct ksm_pace - how fast the scan goes
 * @pages_to_scan: pages looked at before ksmd sleeps
 * @sleep_millisecs: how long it sleeps
 */
struct ksm_pace {
	unsigned int pages_to_scan;
	unsigned int sleep_millisecs;
};

int ksm_scan_start(void);
void ksm_scan_stop(void);
void ksm_scan_wake(void);
void ksm_scan_pause(void);
void ksm_scan_resume(void);

enum ksm_run ksm_get_run(void);
int ksm_set_run(unsigned int run);
u64 ksm_get_full_scans(void);
struct ksm_pace ksm_get_pace(void);
void ksm_set_pages_to_scan(unsigned int pages);
void ksm_set_sleep_millisecs(unsigned int msecs);
const struct ksm_limits *ksm_get_limits(void);
int ksm_set_max_page_sharing(unsigned int sharers);
int ksm_set_merge_across_nodes(bool across);
void ksm_set_use_zero_pages(bool use);
void ksm_set_prune_millisecs(unsigned int msecs);

int ksm_sysfs_init(void);
void ksm_hotplug_init(void);

#endif /* _MM_KSM_CONTROL_H */
