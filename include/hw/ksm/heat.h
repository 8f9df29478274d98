/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How much of guest RAM is written to
 *
 * Memory that is written to all the time is not worth merging: each write to a
 * merged page costs a copy, and each look at it the engine's time.
 */
#ifndef HW_KSM_HEAT_H
#define HW_KSM_HEAT_H

#include "qemu/typedefs.h"

/* Nothing can be said: too little of it is in memory, or nobody tells */
#define KSM_HEAT_UNKNOWN (-1)

/* Part of a RAM block, in bytes from its start; whole pages */
typedef struct KsmHeatRange {
    RAMBlock *block;
    uint64_t offset, length;
} KsmHeatRange;

typedef struct KsmHeat KsmHeat;

/*
 * Somebody who can tell.  All calls come from the main loop with the big QEMU
 * lock held, every few seconds at most; they must not sleep, and not make the
 * guest wait for longer than some milliseconds.
 */
typedef struct KsmHeatProvider {
    const char *name;
    /* Begin to watch @n ranges, which stay valid until forget() */
    KsmHeat *(*watch)(const KsmHeatRange *range, size_t n);
    /*
     * Percent of each range, in the same order, that was written to since the
     * last call, or since watch(); KSM_HEAT_UNKNOWN.  No block has come, gone
     * or changed its size since watch().
     */
    void (*read)(KsmHeat *heat, int *percent);
    void (*forget)(KsmHeat *heat);
} KsmHeatProvider;

/* Looks at some pages of each range again and again: hw/ksm/ksm-heat.c */
extern const KsmHeatProvider ksm_heat_sampling;

#endif
