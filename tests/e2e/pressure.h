/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Real memory pressure on the bench host: processes that take memory. */
#ifndef SHARING_PRESSURE_H
#define SHARING_PRESSURE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <glib.h>

typedef struct Eater Eater;

/* MemAvailable in percent of MemTotal, below 0 with @errp set. */
double pressure_available(GError **errp);

/* A process that has no memory yet; it dies with the driver. */
Eater *eater_new(GError **errp);

/* Let it end, with all it had. */
void eater_free(Eater *eater);

/**
 * eater_leave:
 * @percent: of the host's memory that shall be available
 *
 * Lets it take or give back memory until that is so, within half a percent.
 */
bool eater_leave(Eater *eater, double percent, int timeout_s, GError **errp);

/**
 * staller_new:
 *
 * A process in a cgroup of its own that may have less memory than it wants, so
 * that the kernel makes it wait for memory nearly all of the time.  Needs a
 * kernel with PSI to have an effect that can be seen.
 */
Eater *staller_new(GError **errp);

#endif
