/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Command line of sharing-run. */
#ifndef SHARING_OPTIONS_H
#define SHARING_OPTIONS_H

#include <stdbool.h>
#include <glib.h>

#define GUESTS_MAX 8

/* What is done with the guests */
typedef enum RunCase {
    CASE_SHARING,           /* the usual run */
    CASE_AUTO,              /* policies, on a host that is short of memory */
    CASE_HOTPLUG,           /* memory is plugged in and out */
    CASE_MIGRATION,         /* from one QEMU to another one */
    CASE_SHARED,            /* RAM that other processes can map, too */
    CASE_COUNT,
} RunCase;

typedef struct Options {
    char *qemu;             /* program that runs the guests */
    char *firmware;         /* its firmware folder, or NULL */
    char *kernel;           /* bzImage of the guests */
    char *image;            /* squashfs of the guests */
    char *results;          /* folder for run.json, run.csv and logs */
    char *engine;           /* "samepage" or "mainline", or NULL for any */
    RunCase which;
    int guests;             /* 1..GUESTS_MAX */
    int ram_mib;            /* of each guest, 128..2048 */
    int boot_timeout;       /* seconds, for all guests together */
    /* Once parsed, neither is 0: by default they depend on the memory */
    int settle_timeout;     /* seconds until sharing must have settled */
    int step_timeout;       /* seconds for any one request to all guests */
    int pages_to_scan;      /* the knobs that both engines run with */
    int sleep_millisecs;
    int soak_seconds;       /* 0: the usual run, else a soak of that length */
    bool tap;               /* print TAP, progress as comments */
    bool tty;               /* redraw the table in place */
} Options;

/**
 * options_parse:
 * @opts: filled in, to be released with options_clear() in any case
 * @errp: names the option, its value and the allowed range
 *
 * Checks everything that can be checked without changing anything.
 *
 * Returns: true if the command line makes sense.
 */
bool options_parse(Options *opts, int argc, char **argv, GError **errp);
void options_clear(Options *opts);

#endif
