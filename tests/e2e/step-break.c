// SPDX-License-Identifier: GPL-2.0-or-later
/* Steps that take sharing apart: guests' writes, a kill, an unmerge. */
#include "guest-ram.h"
#include "run.h"

/* Of a region, which part each guest rewrites: one in ... */
#define REWRITE_PART 4

/*
 * Let @g rewrite pages of @region.  @merged is how many of them were KSM pages
 * just before: each of those must cost one COW break at least.
 */
static bool rewrite_region(Run *run, Guest *g, enum pattern_region region,
                           unsigned int *merged, GError **errp)
{
    uint32_t count = g->pages[region] / REWRITE_PART;
    g_autoptr(GArray) pages = guest_ram_locate(g, region, UINT32_MAX,
                                               run->opts.step_timeout, errp);
    g_autofree char *request =
        g_strdup_printf("rewrite region=%s count=%u",
                        pattern_region_name(region), count);
    unsigned int here = 0;
    uint64_t bad;

    if (!pages || !guest_ram_count_merged(g, pages, count, &here, errp)) {
        return false;
    }
    *merged += here;
    guest_ask(g, request);
    if (!guest_wait_reply(g, run->opts.step_timeout, errp)) {
        return false;
    }
    if (!words_u64(g->reply, "bad", 10, &bad) || bad) {
        g->verified = false;
        g_set_error(errp, SHARING_ERROR, SHARING_ERROR_FORMAT, "%s: %s",
                    request, g->reply);
        return false;
    }
    return true;
}

static bool rewrite_guest(Run *run, Guest *g, unsigned int *merged,
                          GError **errp)
{
    static const enum pattern_region regions[] = {
        REGION_EQUAL, REGION_ZERO,
    };
    uint64_t before;

    *merged = 0;
    if (!host_sample_guest(&run->host, g, errp)) {
        return false;
    }
    before = g->cow_breaks;
    for (size_t n = 0; n < G_N_ELEMENTS(regions); n++) {
        if (!rewrite_region(run, g, regions[n], merged, errp) ||
            !run_tick(run, errp)) {
            return false;
        }
    }
    if (!host_sample_guest(&run->host, g, errp)) {
        return false;
    }
    run->cow_breaks[g->number - 1] = g->cow_breaks - before;
    return true;
}

static void check_cow(Run *run, const Guest *g, unsigned int merged)
{
    uint64_t breaks = run->cow_breaks[g->number - 1];
    g_autofree char *name =
        g_strdup_printf("%s: each write to a merged page breaks COW",
                        g->name);

    if (!g->cow_known) {
        check_skip(&run->checks, name,
                   "this kernel has no ksm_cow_breaks in /proc/PID/ksm_stat");
        return;
    }
    check(&run->checks, merged > 0 && breaks >= merged, name,
          "%u merged pages were rewritten, %" PRIu64 " COW breaks counted",
          merged, breaks);
}

bool step_rewrite(Run *run)
{
    GError *err = NULL;

    progress(&run->checks, "Guests rewrite a part of their merged memory");
    run->rewritten = true;
    run_churn(run, true, &err);
    for (int n = 0; n < run->started && !err; n++) {
        Guest *g = &run->guests[n];
        unsigned int merged;

        if (rewrite_guest(run, g, &merged, &err)) {
            check_cow(run, g, merged);
            progress(&run->checks, "%s: %u merged pages rewritten, %" PRIu64
                     " COW breaks", g->name, merged,
                     run->cow_breaks[n]);
        }
    }
    return check_error(&run->checks, err, "guests rewrite merged memory") &&
           step_verify(run, "after rewriting");
}

bool step_kill(Run *run)
{
    Guest *victim = &run->guests[run->started - 1];
    GError *err = NULL;

    if (run->started < 2) {
        check_skip(&run->checks, "others survive a guest's death",
                   "there is only one guest");
        return true;
    }
    progress(&run->checks, "Killing %s", victim->name);
    if (!run_churn(run, true, &err)) {
        return check_error(&run->checks, err, "guests write when one dies");
    }
    guest_kill(victim);
    return step_verify(run, "after a guest was killed") &&
           step_evidence(run, "after a guest was killed");
}

static gpointer unmerge_thread(gpointer data)
{
    Run *run = data;
    GError *err = NULL;

    host_set_run(&run->host, KSM_HOST_RUN_UNMERGING, &err);
    return err;
}

/* Write run=2, which returns when all is done, with the table kept live. */
static bool unmerge(Run *run, GError **errp)
{
    GThread *thread = g_thread_new("unmerge", unmerge_thread, run);
    GError *tick_error = NULL, *err;

    while (!tick_error &&
           host_counter(&run->host, KSM_HOST_PAGES_SHARED) > 0 &&
           run->host.stats.run != KSM_HOST_RUN_STOPPED) {
        g_usleep(G_USEC_PER_SEC / 4);
        run_tick(run, &tick_error);
    }
    err = g_thread_join(thread);
    if (err) {
        g_clear_error(&tick_error);
        g_propagate_error(errp, err);
        return false;
    }
    if (tick_error) {
        g_propagate_error(errp, tick_error);
        return false;
    }
    return host_sample(&run->host, errp);
}

static void check_unmerged(Run *run, const RamSharing *ram)
{
    uint64_t merging = 0;

    for (int n = 0; n < run->started; n++) {
        if (run->guests[n].running) {
            merging += run->guests[n].merged_pages;
        }
    }
    check(&run->checks,
          host_counter(&run->host, KSM_HOST_PAGES_SHARED) == 0 &&
          host_counter(&run->host, KSM_HOST_PAGES_SHARING) == 0,
          "run=2 leaves no shared page",
          "pages_shared %" PRIu64 ", pages_sharing %" PRIu64,
          host_counter(&run->host, KSM_HOST_PAGES_SHARED),
          host_counter(&run->host, KSM_HOST_PAGES_SHARING));
    check(&run->checks, merging == 0, "run=2 leaves no process merged pages",
          "ksm_merging_pages of all guests is %" PRIu64, merging);
    check(&run->checks, ram->ksm == 0, "run=2 leaves no KSM page mapped",
          "%" PRIu64 " pages of guest RAM are KSM pages", ram->ksm);
}

bool step_unmerge(Run *run)
{
    RamSharing ram;
    GError *err = NULL;

    progress(&run->checks, "Unmerging everything (run=2)");
    if (run_churn(run, true, &err) && unmerge(run, &err)) {
        for (int n = 0; n < run->started && !err; n++) {
            if (run->guests[n].running) {
                host_sample_guest(&run->host, &run->guests[n], &err);
            }
        }
    }
    if (!err) {
        guest_ram_sharing(run->guests, run->started, &ram, &err);
    }
    if (!check_error(&run->checks, err, "everything is unmerged")) {
        return false;
    }
    check_unmerged(run, &ram);
    return step_verify(run, "after unmerging");
}

bool step_remerge(Run *run)
{
    GError *err = NULL;

    progress(&run->checks, "Merging again");
    if (host_set_run(&run->host, KSM_HOST_RUN_MERGING, &err) &&
        run_wait_passes(run, 3, &err)) {
        check(&run->checks,
              host_counter(&run->host, KSM_HOST_PAGES_SHARING) > 0,
              "memory is merged again after run=2", "pages_sharing is 0");
    }
    return check_error(&run->checks, err, "the engine goes on after run=2") &&
           step_verify(run, "after merging again");
}
