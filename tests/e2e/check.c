// SPDX-License-Identifier: GPL-2.0-or-later
/* Outcomes of checks, for people or as TAP. */
#include <stdio.h>
#include <string.h>
#include <glib.h>

#include "check.h"

void checks_clear(Checks *c)
{
    g_clear_pointer(&c->first_failure, g_free);
}

/* What is printed now comes below the table, which must not go over it. */
static void leave_table(const Checks *c)
{
    if (c->table_lines) {
        *c->table_lines = 0;
    }
}

static unsigned int check_number(const Checks *c)
{
    return c->passed + c->failed + c->skipped;
}

static void check_print(const Checks *c, bool ok, const char *name,
                        const char *why)
{
    leave_table(c);
    if (c->tap) {
        printf("%s %u - %s\n", ok ? "ok" : "not ok", check_number(c), name);
        if (!ok) {
            printf("# %s\n", why);
        }
    } else {
        printf("  %s  %s%s%s\n", ok ? "ok  " : "FAIL", name,
               ok ? "" : ": ", ok ? "" : why);
    }
    fflush(stdout);
}

bool check(Checks *c, bool ok, const char *name, const char *fmt, ...)
{
    g_autofree char *why = NULL;
    va_list ap;

    va_start(ap, fmt);
    why = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_strdelimit(why, "\n", ' ');
    if (ok) {
        c->passed++;
    } else {
        c->failed++;
        if (!c->first_failure) {
            c->first_failure = g_strdup_printf("%s: %s", name, why);
        }
    }
    if (!ok || !c->quiet) {
        check_print(c, ok, name, why);
    }
    return ok;
}

bool check_error(Checks *c, GError *err, const char *name)
{
    bool ok = check(c, !err, name, "%s", err ? err->message : "");

    g_clear_error(&err);
    return ok;
}

void check_skip(Checks *c, const char *name, const char *why)
{
    c->skipped++;
    leave_table(c);
    if (c->tap) {
        printf("ok %u - %s # SKIP %s\n", check_number(c), name, why);
    } else {
        printf("  skip  %s: %s\n", name, why);
    }
    fflush(stdout);
}

void progress(const Checks *c, const char *fmt, ...)
{
    va_list ap;

    leave_table(c);
    fputs(c->tap ? "# " : "", stdout);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    fflush(stdout);
}

void checks_plan(const Checks *c)
{
    if (c->tap) {
        printf("1..%u\n", check_number(c));
        fflush(stdout);
    }
}
