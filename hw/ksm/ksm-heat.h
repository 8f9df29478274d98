/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How much of guest RAM is written to
 *
 * Memory that is written to all the time is not worth merging: each write to a
 * merged page costs a copy, and each look at it the engine's time.
 */
#ifndef HW_KSM_KSM_HEAT_H
#define HW_KSM_KSM_HEAT_H

#include "qemu/typedefs.h"

/* Nothing can be said: too little of it is in memory, or nobody tells */
#define KSM_HEAT_UNKNOWN (-1)

/* Part of a RAM block, in bytes from its start; whole pages */
typedef struct KsmHeatRange {
    RAMBlock *block;
    uint64_t offset, length;
} KsmHeatRange;

typedef struct KsmHeat KsmHeat;

/**
 * ksm_heat_watch:
 *
 * Begin to watch @n ranges.
 *
 * Context: big QEMU lock held, as for all functions here.
 *
 * Returns: what to free with ksm_heat_forget().
 */
KsmHeat *ksm_heat_watch(const KsmHeatRange *range, size_t n);

/**
 * ksm_heat_read:
 * @percent: of each range, in the same order, how much of it was written to
 * since the last call, or since ksm_heat_watch(); or KSM_HEAT_UNKNOWN
 *
 * Must not be called once a block has come, gone or changed its size since
 * ksm_heat_watch().  Reads some pages of each range, and does not sleep.
 */
void ksm_heat_read(KsmHeat *heat, int *percent);

void ksm_heat_forget(KsmHeat *heat);

#endif
