// SPDX-License-Identifier: GPL-2.0-or-later
/* Steps that merge, and compare what all sides say about it. */
#include <stdlib.h>

#include "guest-ram.h"
#include "query-stats.h"
#include "run.h"

/* Growth of pages_sharing in a pass that counts as none */
#define SETTLED_GROWTH 0.005
#define SETTLED_PASSES 2
#define MIN_PASSES 3
/* Of the pages that all guests have, the least that must be merged again */
#define MERGED_AGAIN_PERCENT 90

bool run_wait_settled(Run *run, bool *settled, GError **errp)
{
    double deadline = run_seconds(run) + run->opts.settle_timeout;
    unsigned int quiet = 0, passes = 0;
    uint64_t best = 0;

    while (run_seconds(run) < deadline) {
        uint64_t sharing;

        if (!run_wait_passes(run, 1, errp)) {
            return false;
        }
        passes++;
        sharing = host_counter(&run->host, KSM_HOST_PAGES_SHARING);
        quiet = sharing > best * (1 + SETTLED_GROWTH) ? 0 : quiet + 1;
        best = MAX(best, sharing);
        *settled = quiet >= SETTLED_PASSES && passes >= MIN_PASSES;
        if (*settled) {
            return true;
        }
    }
    return true;
}

bool run_merge_again(Run *run, Guest *g, const char *name, GError **errp)
{
    g_autoptr(GArray) pages = NULL;
    unsigned int merged;
    bool settled;

    if (!run_churn(run, true, errp) ||
        !run_wait_settled(run, &settled, errp)) {
        return false;
    }
    pages = guest_ram_locate(g, REGION_EQUAL, UINT32_MAX,
                             run->opts.step_timeout, errp);
    if (!pages ||
        !guest_ram_count_merged(g, pages, pages->len, &merged, errp)) {
        return false;
    }
    check(&run->checks, merged >= pages->len / 100 * MERGED_AGAIN_PERCENT,
          name, "%u of %u pages that another guest has, too", merged,
          pages->len);
    return true;
}

static void take_settled(Run *run)
{
    Settled *s = &run->settled;

    s->stats = run->host.stats;
    s->saved_bytes = host_saved_bytes(&run->host);
    s->ksmd_seconds = run->host.ksmd_seconds - run->ksmd_at_start;
    for (int n = 0; n < run->started; n++) {
        s->guest[n].merged_pages = run->guests[n].merged_pages;
        s->guest[n].saved_bytes =
            host_guest_saved_bytes(&run->host, &run->guests[n]);
    }
    s->taken = true;
}

static bool merge(Run *run, bool *settled, GError **errp)
{
    if (!host_sample(&run->host, errp)) {
        return false;
    }
    run->ksmd_at_start = run->host.ksmd_seconds;
    run->anon_at_start = run->host.anon_bytes;
    run->table.shown = true;
    return run_churn(run, true, errp) &&
           host_set_run(&run->host, KSM_HOST_RUN_MERGING, errp) &&
           run_wait_settled(run, settled, errp);
}

bool step_merge(Run *run)
{
    GError *err = NULL;
    bool settled = false;

    progress(&run->checks, "Merging");
    if (merge(run, &settled, &err)) {
        take_settled(run);
        progress(&run->checks, settled
                 ? "Sharing has settled after %.0f s"
                 : "Sharing still grows after %.0f s, going on",
                 run_seconds(run));
    }
    return check_error(&run->checks, err, "the engine scans and merges");
}

static void check_saved(Run *run)
{
    const Settled *s = &run->settled;
    int64_t drop = run->anon_at_start - run->host.anon_bytes;

    run->saved_checked = true;
    check(&run->checks, s->saved_bytes > 0, "memory is saved",
          "pages_sharing is 0");
    check(&run->checks, drop >= (int64_t)s->saved_bytes / 2,
          "the host's AnonPages drop accordingly",
          "%" PRIu64 " bytes saved, but AnonPages fell by %" PRId64,
          s->saved_bytes, drop);
    for (int n = 0; n < run->started; n++) {
        g_autofree char *name =
            g_strdup_printf("%s has merged pages", run->guests[n].name);

        check(&run->checks, s->guest[n].merged_pages > 0, name,
              "ksm_merging_pages is 0");
    }
}

/*
 * With the engine stopped, its counters, those of the processes and the page
 * tables must tell the same.
 */
static void check_agreement(Run *run, const RamSharing *ram, const char *when)
{
    uint64_t shared = host_counter(&run->host, KSM_HOST_PAGES_SHARED);
    uint64_t sharing = host_counter(&run->host, KSM_HOST_PAGES_SHARING);
    uint64_t merging = 0, saved = ram->ksm - ram->ksm_frames;
    /* The guests' own systems go on writing after the last pass. */
    uint64_t slack = MAX(64, sharing / 100);
    g_autofree char *sum =
        g_strdup_printf("counters add up over all processes %s", when);
    g_autofree char *real =
        g_strdup_printf("page tables show the sharing that is counted %s",
                        when);

    for (int n = 0; n < run->started; n++) {
        if (run->guests[n].running) {
            merging += run->guests[n].merged_pages;
        }
    }
    check(&run->checks, merging == shared + sharing, sum,
          "ksm_merging_pages of all guests %" PRIu64 ", pages_shared %" PRIu64
          " + pages_sharing %" PRIu64, merging, shared, sharing);
    check(&run->checks, MAX(saved, sharing) - MIN(saved, sharing) <= slack,
          real, "%" PRIu64 " mappings of %" PRIu64 " KSM pages save %" PRIu64
          ", pages_sharing is %" PRIu64, ram->ksm, ram->ksm_frames, saved,
          sharing);
}

bool run_freeze(Run *run, GError **errp)
{
    if (!run_churn(run, false, errp) ||
        !run_wait_passes(run, 2, errp) ||
        !host_set_run(&run->host, KSM_HOST_RUN_STOPPED, errp) ||
        !host_sample(&run->host, errp)) {
        return false;
    }
    for (int n = 0; n < run->started; n++) {
        Guest *g = &run->guests[n];

        if (g->running && !host_sample_guest(&run->host, g, errp)) {
            return false;
        }
    }
    return true;
}

bool step_evidence(Run *run, const char *when)
{
    g_autofree char *name = g_strdup_printf("the host's view %s", when);
    RamSharing ram;
    GError *err = NULL;
    bool ok = run_freeze(run, &err) &&
              guest_ram_sharing(run->guests, run->started, &ram, &err);

    if (ok) {
        check_agreement(run, &ram, when);
        if (!run->rewritten) {
            query_stats_check(run, when);
        }
        if (!run->saved_checked) {
            check_saved(run);
        }
        ok = host_set_run(&run->host, KSM_HOST_RUN_MERGING, &err);
    }
    return check_error(&run->checks, err, name);
}
