/* SPDX-License-Identifier: GPL-2.0-or-later */
/* State of one run and the steps it is made of. */
#ifndef SHARING_RUN_H
#define SHARING_RUN_H

#include <signal.h>
#include <stdio.h>

#include "check.h"
#include "guest.h"
#include "host.h"
#include "options.h"
#include "table.h"

/* Figures of the settled moment, before anything destructive is done. */
typedef struct Settled {
    bool taken;
    KsmHostStats stats;
    uint64_t saved_bytes;
    double ksmd_seconds;        /* used since merging was switched on */
    struct {
        uint64_t merged_pages, saved_bytes;
    } guest[GUESTS_MAX];
} Settled;

typedef struct Run {
    Options opts;
    Host host;
    Checks checks;
    Table table;
    Guest guests[GUESTS_MAX];
    const GuestHow *how[GUESTS_MAX];    /* NULL for the usual guest */
    int fill_percent;           /* of RAM, by agents; 0 for the usual one */
    int started;                /* guests[0..started) were started */
    gint64 start_us;
    double ksmd_at_start;       /* ksmd's CPU time when merging began */
    uint64_t anon_at_start;     /* AnonPages then, bytes */
    char *qemu_version;
    FILE *csv;
    Settled settled;
    bool saved_checked;         /* what had settled was looked at */
    bool rewritten;             /* the rewrite step has begun */
    uint64_t cow_breaks[GUESTS_MAX];    /* caused by the rewrite step */
} Run;

/* Set by a signal: end as soon as possible. */
extern volatile sig_atomic_t run_interrupted;

/* Seconds since the run began. */
double run_seconds(const Run *run);

/*
 * Sample and show the figures if a second has passed; fails when the host
 * cannot be read, a guest has died or a signal came.
 */
bool run_tick(Run *run, GError **errp);

/* Makes the request for one guest; to be freed. */
typedef char *RequestFn(const Guest *g);

/**
 * run_ask:
 * @done: if not NULL, said of every guest when its reply comes
 *
 * Sends a request to every living guest and waits for all replies, with the
 * figures kept live.
 *
 * Returns: true if all have answered "ok".
 */
bool run_ask(Run *run, RequestFn *request, const char *done, int timeout_s,
             GError **errp);
/* The same request for all. */
bool run_tell(Run *run, const char *request, GError **errp);

/* Let all guests rewrite their churn pages all the time, or stop that. */
bool run_churn(Run *run, bool on, GError **errp);

/*
 * Verify all memory of all guests, from inside and from the host.  Fails if that
 * cannot be done; what was wrong is in run->checks and in each guest.
 */
bool run_verify(Run *run, const char *when, GError **errp);

/* Wait, live, until @passes more full scans are done. */
bool run_wait_passes(Run *run, unsigned int passes, GError **errp);

/* Wait until sharing no longer grows.  Returns false only on errors. */
bool run_wait_settled(Run *run, bool *settled, GError **errp);

/*
 * Wait until all is merged again, and check, as @name, that the pages of @g are
 * that every guest has.  Its total tells less: unused memory, all zero, may
 * have come or gone.
 */
bool run_merge_again(Run *run, Guest *g, const char *name, GError **errp);

/* Stop the engine after the last stale entries are gone, and sample all. */
bool run_freeze(Run *run, GError **errp);

/*
 * The steps, in order.  Each returns false if the run cannot go on; what
 * merely went wrong is in run->checks.
 */
bool step_boot(Run *run);               /* step-guests.c */
bool step_fill(Run *run);
bool step_verify(Run *run, const char *when);
bool step_detect(Run *run);
bool step_poweroff(Run *run);
/* Kill guests[@n]; a new one called @number takes its place, filled. */
bool step_replace(Run *run, int n, uint32_t number);
bool step_merge(Run *run);              /* step-merge.c */
bool step_evidence(Run *run, const char *when);
bool step_rewrite(Run *run);            /* step-break.c */
bool step_kill(Run *run);
bool step_unmerge(Run *run);
bool step_remerge(Run *run);
bool step_soak(Run *run);               /* step-soak.c */

/* All steps of one case each; false if it did not come to its end. */
bool case_auto(Run *run);
bool case_hotplug(Run *run);
bool case_migration(Run *run);
bool case_shared(Run *run);

#endif
