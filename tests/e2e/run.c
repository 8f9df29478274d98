// SPDX-License-Identifier: GPL-2.0-or-later
/* What all steps need: time, figures, requests to every guest. */
#include <poll.h>
#include <stdio.h>

#include "run.h"

#define TICK_MS 250
#define SAMPLE_SECONDS 1.0
/* In how many ticks of the agent, ten a second, all churn is rewritten */
#define CHURN_TICKS 100

volatile sig_atomic_t run_interrupted;

double run_seconds(const Run *run)
{
    return (g_get_monotonic_time() - run->start_us) / 1e6;
}

static double ksmd_used(const Run *run)
{
    return run->host.ksmd_seconds - run->ksmd_at_start;
}

static void csv_add(Run *run)
{
    const Host *h = &run->host;

    fprintf(run->csv, "%.1f,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64
            ",%.2f,%" PRIu64 "\n", run_seconds(run),
            host_counter(h, KSM_HOST_PAGES_SHARED),
            host_counter(h, KSM_HOST_PAGES_SHARING), host_saved_bytes(h),
            h->anon_bytes, ksmd_used(run),
            host_counter(h, KSM_HOST_FULL_SCANS));
    fflush(run->csv);
}

/* Sample every guest that is meant to run. */
static bool sample_guests(Run *run, GError **errp)
{
    for (int n = 0; n < run->started; n++) {
        Guest *g = &run->guests[n];

        if (!g->running) {
            continue;
        }
        if (!guest_alive(g)) {
            g_set_error(errp, SHARING_ERROR, SHARING_ERROR_CLOSED,
                        "%s: its QEMU ended by itself (wait status 0x%x), "
                        "see %s/%s.qemu", g->name, g->exit_status,
                        run->opts.results, g->name);
            return false;
        }
        if (!host_sample_guest(&run->host, g, errp)) {
            return false;
        }
    }
    return true;
}

bool run_tick(Run *run, GError **errp)
{
    static double last;

    if (run_interrupted) {
        g_set_error(errp, SHARING_ERROR, SHARING_ERROR_HOST,
                    "interrupted by signal %d", (int)run_interrupted);
        return false;
    }
    if (run_seconds(run) - last < SAMPLE_SECONDS) {
        return true;
    }
    last = run_seconds(run);
    if (!host_sample(&run->host, errp) || !sample_guests(run, errp)) {
        return false;
    }
    csv_add(run);
    table_draw(&run->table, &run->host, run->guests, run->started,
               ksmd_used(run), run_seconds(run));
    return true;
}

/* Take what replies are there.  Returns the number of guests still due. */
static int collect_replies(Run *run, bool *due, const char *done)
{
    int left = 0;

    for (int n = 0; n < run->started; n++) {
        Guest *g = &run->guests[n];

        if (due[n] && guest_poll_reply(g)) {
            due[n] = false;
            if (done && !g->error) {
                progress(&run->checks, "%s %s after %.1f s", g->name, done,
                         run_seconds(run));
            }
        }
        left += due[n];
    }
    return left;
}

static void wait_readable(Run *run, const bool *due)
{
    struct pollfd p[GUESTS_MAX];
    int count = 0;

    for (int n = 0; n < run->started; n++) {
        if (due[n]) {
            p[count++] = (struct pollfd) {
                .fd = channel_fd(run->guests[n].agent), .events = POLLIN,
            };
        }
    }
    poll(p, count, TICK_MS);
}

bool run_ask(Run *run, RequestFn *request, const char *done, int timeout_s,
             GError **errp)
{
    gint64 deadline = g_get_monotonic_time() + timeout_s * G_USEC_PER_SEC;
    bool due[GUESTS_MAX] = { false };

    for (int n = 0; n < run->started; n++) {
        Guest *g = &run->guests[n];

        if (g->running) {
            g_autofree char *text = request(g);

            guest_ask(g, text);
            due[n] = true;
        }
    }
    while (collect_replies(run, due, done)) {
        if (!run_tick(run, errp)) {
            return false;
        }
        if (g_get_monotonic_time() > deadline) {
            g_set_error(errp, SHARING_ERROR, SHARING_ERROR_TIMEOUT,
                        "not every guest answered within %d s", timeout_s);
            return false;
        }
        wait_readable(run, due);
    }
    for (int n = 0; n < run->started; n++) {
        if (run->guests[n].running && run->guests[n].error) {
            g_propagate_error(errp, g_error_copy(run->guests[n].error));
            return false;
        }
    }
    return true;
}

static const char *same_request;

static char *copy_request(const Guest *g G_GNUC_UNUSED)
{
    return g_strdup(same_request);
}

bool run_tell(Run *run, const char *request, GError **errp)
{
    same_request = request;
    return run_ask(run, copy_request, NULL, run->opts.step_timeout, errp);
}

static char *ask_churn(const Guest *g)
{
    return g_strdup_printf("churn rate=%u",
                           MAX(1, g->pages[REGION_CHURN] / CHURN_TICKS));
}

bool run_churn(Run *run, bool on, GError **errp)
{
    if (!on) {
        return run_tell(run, "churn rate=0", errp);
    }
    return run_ask(run, ask_churn, NULL, run->opts.step_timeout, errp);
}

bool run_wait_passes(Run *run, unsigned int passes, GError **errp)
{
    gint64 deadline = g_get_monotonic_time() +
                      run->opts.step_timeout * G_USEC_PER_SEC;
    uint64_t from;

    if (!host_sample(&run->host, errp)) {
        return false;
    }
    from = host_counter(&run->host, KSM_HOST_FULL_SCANS);
    while (host_counter(&run->host, KSM_HOST_FULL_SCANS) < from + passes) {
        if (g_get_monotonic_time() > deadline) {
            g_set_error(errp, SHARING_ERROR, SHARING_ERROR_TIMEOUT,
                        "%u passes of ksmd took more than %d s", passes,
                        run->opts.step_timeout);
            return false;
        }
        g_usleep(TICK_MS * 1000);
        if (!run_tick(run, errp)) {
            return false;
        }
    }
    return true;
}
