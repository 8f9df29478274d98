/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest RAM in regions, of which those that are written to a lot are left out
 */
#ifndef HW_KSM_KSM_REGIONS_H
#define HW_KSM_KSM_REGIONS_H

typedef struct KsmRegions KsmRegions;

/**
 * ksm_regions_new:
 *
 * Context: big QEMU lock held, as for all functions here.
 *
 * Returns: regions to be freed with ksm_regions_free().
 */
KsmRegions *ksm_regions_new(void);

/* Nothing is left out any more */
void ksm_regions_free(KsmRegions *regions);

/**
 * ksm_regions_look:
 * @hot_percent: a region is hot if more of it was written to between two calls
 *
 * To be called from time to time, while memory is offered.
 */
void ksm_regions_look(KsmRegions *regions, unsigned hot_percent);

#endif
