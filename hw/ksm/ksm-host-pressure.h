/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How short of memory the host is
 *
 * Same rules as ksm-host.h: GLib only, the root is a parameter, a missing
 * file is an answer.
 */
#ifndef HW_KSM_KSM_HOST_PRESSURE_H
#define HW_KSM_KSM_HOST_PRESSURE_H

#include "ksm-host.h"

/* Both in hundredths of a percent */
typedef struct KsmHostPressure {
    /*
     * Time of the last ten seconds in which some task waited for memory, from
     * /proc/pressure/memory; not present where the kernel has no PSI
     */
    KsmHostValue stall;
    /*
     * Memory that is to be had without swapping, of all memory, from
     * /proc/meminfo
     */
    KsmHostValue available;
} KsmHostPressure;

/**
 * ksm_host_read_pressure:
 * @pressure: filled in completely, also on failure
 * @errp: set to the first problem found
 *
 * Reads two files that cost some microseconds each.
 *
 * Returns: true if every file that exists could be read and understood.
 */
bool ksm_host_read_pressure(const KsmHost *host, KsmHostPressure *pressure,
                            GError **errp);

#endif
