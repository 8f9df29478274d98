/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run.json */
#ifndef SHARING_REPORT_H
#define SHARING_REPORT_H

#include "run.h"

/**
 * report_text:
 * @verdict: "pass", or "fail: " and the first reason
 *
 * Which moment each figure is of:
 *   host, saved_bytes, ksmd_cpu_seconds and the guests' merged_pages and
 *   saved_bytes: when sharing had settled, before any guest's write, kill or
 *   unmerge (all zero if the run did not come that far); ksmd_cpu_seconds
 *   counts from when merging was switched on;
 *   cow_breaks: caused by the rewrite step, null if the kernel does not tell;
 *   memory_verified: true if no check of the guest's memory failed, over the
 *   whole run, and the run came to its end;
 *   seconds: the whole run.
 *
 * Returns: JSON text, to be freed.
 */
char *report_text(const Run *run, const char *verdict, bool complete);

/* Write it to RESULTS/run.json in one go. */
bool report_write(const Run *run, const char *verdict, bool complete,
                  GError **errp);

#endif
