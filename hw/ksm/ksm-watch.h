/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Looks at the host from time to time, for a policy with mode=auto
 */
#ifndef HW_KSM_KSM_WATCH_H
#define HW_KSM_KSM_WATCH_H

#include "ksm-auto.h"
#include "ksm-host-pressure.h"

typedef struct KsmWatch KsmWatch;

typedef struct KsmWatchConfig {
    KsmAutoConfig limits;
    int64_t interval_ms;        /* between two looks */
    unsigned hot_percent;       /* leave out what is written to more; 100: no */
} KsmWatchConfig;

/* Called by the main loop, big QEMU lock held; must not free the watch. */
typedef void (*KsmWatchFunc)(const KsmAutoState *state, void *opaque);

/**
 * ksm_watch_new:
 * @changed: called after each decision to merge, or to merge no more
 *
 * The first look is taken by the main loop, not here: on the command line the
 * policy comes before the machine is set up.
 *
 * Context: big QEMU lock held, as for all functions here.
 *
 * Returns: a watch to be freed with ksm_watch_free().
 */
KsmWatch *ksm_watch_new(const KsmWatchConfig *config, KsmWatchFunc changed,
                        void *opaque);
void ksm_watch_free(KsmWatch *watch);

/* From now on by @config, and have a look soon */
void ksm_watch_set_config(KsmWatch *watch, const KsmWatchConfig *config);

/* What was decided last: not merging, at first */
bool ksm_watch_is_merging(const KsmWatch *watch);

/* What was seen last: nothing, at first */
const KsmHostPressure *ksm_watch_pressure(const KsmWatch *watch);

#endif
