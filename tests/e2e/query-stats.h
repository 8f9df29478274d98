/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QEMU's own report, where this QEMU has it. */
#ifndef SHARING_QUERY_STATS_H
#define SHARING_QUERY_STATS_H

#include "run.h"

/*
 * Compare query-ksm-stats of every guest with sysfs and /proc, while the
 * engine stands still; skipped by name if this QEMU does not have it.
 */
void query_stats_check(Run *run);

#endif
