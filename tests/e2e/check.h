/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Named checks with their outcome, and progress lines between them. */
#ifndef SHARING_CHECK_H
#define SHARING_CHECK_H

#include <stdbool.h>
#include <glib.h>

typedef struct Checks {
    bool tap;
    bool quiet;             /* say nothing of what passes, just count it */
    unsigned int passed, failed, skipped;
    char *first_failure;    /* "name: why", NULL while there is none */
    int *table_lines;       /* lines that a live table would redraw */
} Checks;

void checks_clear(Checks *c);

/**
 * check:
 * @ok: the outcome
 * @name: what was checked; the same in every run
 * @why: printed if the check failed, with the values that are wrong
 *
 * Returns: @ok
 */
bool check(Checks *c, bool ok, const char *name, const char *why, ...)
    G_GNUC_PRINTF(4, 5);

/* As check(), for a step that says why it failed by @err; frees it. */
bool check_error(Checks *c, GError *err, const char *name);

/* Say that a check was left out and why; counts as skipped only. */
void check_skip(Checks *c, const char *name, const char *why);

/* A line about what happens now. */
void progress(const Checks *c, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/* The line that ends a TAP stream; nothing otherwise. */
void checks_plan(const Checks *c);

#endif
