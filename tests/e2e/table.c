// SPDX-License-Identifier: GPL-2.0-or-later
/* The live table: what each guest gives, what all of them save. */
#include <stdio.h>
#include <string.h>

#include "table.h"

#define TTY_INTERVAL 1.0
#define PLAIN_INTERVAL 5.0

static double mib(uint64_t bytes)
{
    return bytes / (1024.0 * 1024.0);
}

static void add_guest(GString *s, const Host *host, const Guest *g)
{
    g_autofree char *cow = g->cow_known
        ? g_strdup_printf("%" PRIu64, g->cow_breaks) : g_strdup("?");

    if (!g->running) {
        g_string_append_printf(s, "%-8s %9d   not running\n", g->name,
                               g->ram_mib);
        return;
    }
    g_string_append_printf(s, "%-8s %9d %14.1f %12.1f %11.1f %12s\n",
                           g->name, g->ram_mib, mib(g->mergeable_bytes),
                           mib(g->merged_pages * HOST_PAGE),
                           mib(host_guest_saved_bytes(host, g)), cow);
}

char *table_text(const Host *host, const Guest *guests, int count,
                 double ksmd_seconds, double seconds)
{
    GString *s = g_string_new(NULL);

    g_string_append_printf(s, "%-8s %9s %14s %12s %11s %12s\n", "guest",
                           "RAM MiB", "mergeable MiB", "merged MiB",
                           "saved MiB", "COW breaks");
    for (int n = 0; n < count; n++) {
        add_guest(s, host, &guests[n]);
    }
    g_string_append_printf(
        s, "%5.0f s: pages_shared %" PRIu64 ", pages_sharing %" PRIu64
        ", saved %.1f MiB,\n         ksmd CPU %.2f s, passes %" PRIu64 "\n",
        seconds, host_counter(host, KSM_HOST_PAGES_SHARED),
        host_counter(host, KSM_HOST_PAGES_SHARING),
        mib(host_saved_bytes(host)), ksmd_seconds,
        host_counter(host, KSM_HOST_FULL_SCANS));
    return g_string_free(s, FALSE);
}

void table_draw(Table *t, const Host *host, const Guest *guests, int count,
                double ksmd_seconds, double seconds)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    if (!t->shown ||
        seconds - t->last < (t->tty ? TTY_INTERVAL : PLAIN_INTERVAL)) {
        return;
    }
    t->last = seconds;
    text = table_text(host, guests, count, ksmd_seconds, seconds);
    lines = g_strsplit(g_strchomp(text), "\n", -1);
    if (t->tty && t->lines) {
        printf("\033[%dA", t->lines);
    }
    for (t->lines = 0; lines[t->lines]; t->lines++) {
        printf("%s%s%s\n", t->prefix, lines[t->lines],
               t->tty ? "\033[K" : "");
    }
    if (!t->tty) {
        t->lines = 0;
    }
    fflush(stdout);
}
