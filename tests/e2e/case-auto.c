// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Guests with -object ksm-policy,mode=auto on a host that really runs short of
 * memory: first little of it is available, later tasks have to wait for it.
 */
#include <string.h>
#include <unistd.h>

#include "policy.h"
#include "pressure.h"
#include "query-stats.h"
#include "run.h"

/* What the guests' policies are set to, see policy_argument */
#define MIN_FREE 50
#define HYSTERESIS 5
#define LOOK_SECONDS 1
/* So much is left by the process that takes memory: less than MIN_FREE by more
 * than the guests can save */
#define SHORT_PERCENT 38
/* Of what was merged, the least that must stay; the guests' systems do write */
#define STAYS_PERCENT 95

static const char *const policy_argument =
    "ksm-policy,id=policy0,mode=auto,min-free-percent=50,"
    "hysteresis-percent=5,stall-percent=40,interval-seconds=1,"
    "dwell-seconds=3,hot-percent=100";

/* Some looks of the policies later */
static bool pass_looks(Run *run, int looks, GError **errp)
{
    double until = run_seconds(run) + looks * LOOK_SECONDS;

    while (run_seconds(run) < until) {
        if (!run_tick(run, errp)) {
            return false;
        }
        g_usleep(G_USEC_PER_SEC / 10);
    }
    return true;
}

static uint64_t merged_pages(const Run *run)
{
    uint64_t pages = 0;

    for (int n = 0; n < run->started; n++) {
        pages += run->guests[n].merged_pages;
    }
    return pages;
}

/* The engine is on, the host has enough: nothing is even offered. */
static bool wait_in_vain(Run *run, GError **errp)
{
    const PolicyWant want = { "paused", "waiting", "no-pressure" };

    if (!host_set_run(&run->host, KSM_HOST_RUN_MERGING, errp) ||
        !pass_looks(run, 3, errp) ||
        !policy_check(run, &want, "without pressure", errp)) {
        return false;
    }
    check(&run->checks, merged_pages(run) == 0,
          "nothing is merged without pressure", "%" PRIu64 " pages are",
          merged_pages(run));
    return host_set_run(&run->host, KSM_HOST_RUN_STOPPED, errp);
}

static bool step_waiting(Run *run)
{
    GError *err = NULL;

    progress(&run->checks, "%.1f %% of the host's memory are available",
             pressure_available(NULL));
    wait_in_vain(run, &err);
    return check_error(&run->checks, err, "the policies look at the host");
}

/* The engine starts when all have decided: what it saves can be told then. */
static bool run_short(Run *run, Eater *eater, GError **errp)
{
    const PolicyWant want = { "merging", "low-memory", "none" };

    if (!eater_leave(eater, SHORT_PERCENT, run->opts.step_timeout, errp) ||
        !policy_events(run, &want, errp) ||
        !policy_check(run, &want, "when memory is low", errp)) {
        return false;
    }
    for (int n = 0; n < run->started; n++) {
        if (!host_sample_mergeable(&run->host, &run->guests[n], errp)) {
            return false;
        }
    }
    return true;
}

static bool step_short(Run *run, Eater *eater)
{
    GError *err = NULL;

    progress(&run->checks, "A process takes the host's memory, up to %d %%",
             SHORT_PERCENT);
    run_short(run, eater, &err);
    return check_error(&run->checks, err, "the host runs short of memory");
}

static char *ask_heat(const Guest *g)
{
    return g_strdup_printf("churn rate=%u", g->pages[REGION_CHURN]);
}

/* The guests rewrite some of their memory in each interval, and all of that. */
static bool heat(Run *run, GError **errp)
{
    return policy_set(run, "hot-percent", 50, errp) &&
           run_ask(run, ask_heat, NULL, run->opts.step_timeout, errp) &&
           policy_wait_hot(run, true, errp) &&
           run_verify(run, "with hot memory left out", errp) &&
           policy_wait_hot(run, false, errp) &&
           policy_set(run, "hot-percent", 100, errp) &&
           run_wait_passes(run, 3, errp);
}

static bool step_heat(Run *run)
{
    GError *err = NULL;

    progress(&run->checks, "Guests write to some of their memory all the time");
    heat(run, &err);
    return check_error(&run->checks, err, "policies look for hot memory");
}

/* Around the limit, but never above it by the hysteresis */
static bool wobble(Run *run, Eater *eater, GError **errp)
{
    static const int percent[] = {
        MIN_FREE + HYSTERESIS - 2, MIN_FREE - 3, MIN_FREE + HYSTERESIS - 2,
        MIN_FREE - 3,
    };

    for (size_t n = 0; n < G_N_ELEMENTS(percent); n++) {
        if (!eater_leave(eater, percent[n], run->opts.step_timeout, errp) ||
            !pass_looks(run, 2, errp)) {
            return false;
        }
    }
    return policy_no_event(run, "around the limit", errp);
}

static bool step_wobble(Run *run, Eater *eater)
{
    GError *err = NULL;

    progress(&run->checks, "What is available goes up and down");
    wobble(run, eater, &err);
    return check_error(&run->checks, err, "pressure goes up and down");
}

/* Nothing that was merged is given up; looked at after passes of the engine. */
static bool check_stays(Run *run, uint64_t before, const char *when,
                        GError **errp)
{
    g_autofree char *name = g_strdup_printf("merged pages stay %s", when);

    if (!run_wait_passes(run, 2, errp)) {
        return false;
    }
    progress(&run->checks, "%" PRIu64 " pages merged, %" PRIu64 " before",
             merged_pages(run), before);
    check(&run->checks, merged_pages(run) >= before / 100 * STAYS_PERCENT,
          name, "%" PRIu64 " pages are merged, %" PRIu64 " were",
          merged_pages(run), before);
    return true;
}

static bool ease(Run *run, Eater *eater, GError **errp)
{
    const PolicyWant want = { "paused", "eased", "none" };
    uint64_t before = merged_pages(run);

    eater_free(eater);
    return policy_events(run, &want, errp) &&
           policy_check(run, &want, "when pressure has eased", errp) &&
           check_stays(run, before, "when pressure has eased", errp);
}

/* Frees @eater. */
static bool step_ease(Run *run, Eater *eater)
{
    GError *err = NULL;

    progress(&run->checks, "Pressure eases");
    ease(run, eater, &err);
    return check_error(&run->checks, err, "pressure on the host eases");
}

static bool low_memory_steps(Run *run)
{
    GError *err = NULL;
    Eater *eater = eater_new(&err);
    bool ok;

    if (!check_error(&run->checks, err, "a process to take memory starts")) {
        return false;
    }
    ok = step_short(run, eater) && step_merge(run) &&
         step_evidence(run, "under pressure") &&
         step_verify(run, "under pressure") && step_heat(run) &&
         step_wobble(run, eater);
    if (!ok) {
        eater_free(eater);
        return false;
    }
    return step_ease(run, eater) && step_verify(run, "after pressure");
}

/*
 * A backend that comes while nothing is to be merged is not offered before
 * tasks of the host wait for memory.
 */
static bool stall(Run *run, GError **errp)
{
    const PolicyWant stalls = { "merging", "stalls", "none" };
    const PolicyWant eased = { "paused", "eased", "none" };
    Eater *staller;
    bool ok;

    if (!policy_add_memory(run, errp) ||
        !policy_check_memory(run, "no-pressure", "later memory waits", errp)) {
        return false;
    }
    staller = staller_new(errp);
    ok = staller && policy_events(run, &stalls, errp) &&
         policy_check(run, &stalls, "when tasks stall", errp) &&
         policy_check_memory(run, "none", "later memory is offered", errp);
    eater_free(staller);
    return ok && policy_events(run, &eased, errp) &&
           policy_check(run, &eased, "when tasks stall no more", errp);
}

static bool step_stall(Run *run)
{
    GError *err = NULL;
    uint64_t before = merged_pages(run);

    if (access("/proc/pressure/memory", R_OK) < 0) {
        check_skip(&run->checks, "policies merge when tasks stall",
                   "this kernel has no PSI, or it is off (psi=1)");
        return true;
    }
    progress(&run->checks, "A process waits for memory all the time");
    if (stall(run, &err)) {
        check_stays(run, before, "when tasks stall no more", &err);
    }
    return check_error(&run->checks, err, "tasks of the host stall");
}

static bool step_quiet(Run *run)
{
    GError *err = NULL;

    if (pass_looks(run, 4, &err)) {
        policy_no_event(run, "at the end", &err);
    }
    return check_error(&run->checks, err, "the policies go on looking");
}

bool case_auto(Run *run)
{
    const char *const args[] = { "-object", policy_argument, NULL };
    const GuestHow how = { .args = args };

    for (int n = 0; n < run->opts.guests; n++) {
        run->how[n] = &how;
    }
    return step_boot(run) && step_fill(run) &&
           step_verify(run, "before merging") && step_waiting(run) &&
           low_memory_steps(run) && step_stall(run) && step_quiet(run) &&
           step_verify(run, "at the end") && step_poweroff(run);
}
