/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the host kernel says about address ranges of one process
 *
 * Same rules as ksm-host.h: GLib only, the root is a parameter, a missing
 * file is an answer.
 */
#ifndef HW_KSM_KSM_HOST_RANGE_H
#define HW_KSM_KSM_HOST_RANGE_H

#include "ksm-host.h"

/*
 * One range: the caller sets @start and @size (bytes, multiples of the host
 * page size), ksm_host_read_ranges() the rest.  The byte counts mean nothing
 * unless @known.
 */
typedef struct KsmHostRange {
    uint64_t start;
    uint64_t size;
    bool known;             /* /proc/PID/smaps could be read */
    uint64_t mapped;        /* bytes that are mapped at all */
    uint64_t mergeable;     /* of those: VmFlags has "mg" */
    uint64_t shared;        /* of those: VmFlags has "ms" */
    uint64_t huge;          /* of those: VmFlags has "ht" */
    uint64_t special;       /* of those: VmFlags has "pf", "io" or "mm" */
    KsmHostValue merged;    /* bytes that map a KSM page */
} KsmHostRange;

/**
 * ksm_host_read_ranges:
 * @pid: process id, or 0 for the calling process
 * @ranges: @n ranges, in any order; they must not overlap
 * @errp: set to the first problem found
 *
 * Walks the page tables of the whole process once (/proc/PID/smaps), so it
 * takes time in proportion to its memory.  Where the kernel
 * is too old to count KSM pages there (before 6.7), the pages of mergeable
 * ranges are looked up one by one, which needs CAP_SYS_ADMIN; without
 * it @merged is not present, which is no failure.
 *
 * Returns: true if every file that exists and may be read made sense.
 */
bool ksm_host_read_ranges(const KsmHost *host, pid_t pid,
                          KsmHostRange *ranges, size_t n, GError **errp);

#endif
