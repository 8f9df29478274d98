/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QEMU's own report, where this QEMU has it. */
#ifndef SHARING_QUERY_STATS_H
#define SHARING_QUERY_STATS_H

#include "run.h"

/* query-ksm-stats of @g, to be freed with json_object_unref(). */
JsonObject *query_stats(const Guest *g, bool verify, GError **errp);

/*
 * Keep @stats and what `info ksm` says in the results, as NAME.ksm.json and
 * NAME.info-ksm; checks that the latter is not too wide.
 */
bool query_stats_save(Run *run, const Guest *g, JsonObject *stats,
                      GError **errp);

/* The block of that memory backend in it, NULL if there is none. */
JsonObject *query_stats_block(JsonObject *stats, const char *memdev);

/* Members, as far as they are there; else "" and 0. */
const char *query_stats_text(JsonObject *object, const char *member);
int64_t query_stats_number(JsonObject *object, const char *member);

/*
 * Compare query-ksm-stats of every guest with sysfs and /proc, while the
 * engine stands still; skipped by name if this QEMU does not have it.
 */
void query_stats_check(Run *run, const char *when);

#endif
