/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guests' memory seen from the host: contents and physical pages. */
#ifndef SHARING_GUEST_RAM_H
#define SHARING_GUEST_RAM_H

#include "guest.h"

/* Where a guest's test page lies and which version it has. */
typedef struct GuestPage {
    struct pattern_id id;
    uint64_t host_address;      /* in QEMU's address space */
} GuestPage;

/**
 * guest_ram_locate:
 * @max: how many pages at most, from the start of @region
 *
 * Asks the agent.  Its churn must be stopped, or contents and versions
 * differ.
 *
 * Returns: an array of GuestPage, to be freed with g_array_unref(); NULL with
 * @errp set.
 */
GArray *guest_ram_locate(Guest *g, enum pattern_region region, uint32_t max,
                         int timeout_s, GError **errp);

/**
 * guest_ram_compare:
 * @pages: of guest_ram_locate()
 * @bad: set to the number of pages with a wrong byte
 * @first: set to a description of the first one, to be freed; may be NULL
 *
 * Reads the pages from the host's side (/proc/PID/mem) and compares every
 * byte with what must be there.
 *
 * Returns: true if all pages could be read.
 */
bool guest_ram_compare(const Guest *g, const GArray *pages, unsigned int *bad,
                       char **first, GError **errp);

/* How many of @count pages, picked by pattern_spread(), are KSM pages. */
bool guest_ram_count_merged(const Guest *g, const GArray *pages,
                            unsigned int count, unsigned int *merged,
                            GError **errp);

typedef struct RamSharing {
    uint64_t present;   /* mapped pages of the guests' mergeable memory */
    uint64_t ksm;       /* of those: mapped to KSM pages */
    uint64_t ksm_frames;    /* distinct physical pages behind @ksm */
} RamSharing;

/**
 * guest_ram_sharing:
 *
 * Walks all mergeable memory of all @count running guests' QEMUs through
 * pagemap and kpageflags: evidence of real sharing, independent of the
 * engine's counters.
 */
bool guest_ram_sharing(Guest *guests, int count, RamSharing *sharing,
                       GError **errp);

#endif
