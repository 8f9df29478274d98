// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A guest with merged memory moves from one QEMU to another one while it
 * writes, and its memory is merged again there.
 */
#include <string.h>
#include <unistd.h>

#include "qmp.h"
#include "query-stats.h"
#include "run.h"

#define TICK_US (G_USEC_PER_SEC / 4)

/* Start the QEMU that guest @from moves to, with its RAM's size and devices. */
static Guest *start_destination(Run *run, const Guest *from, const char *uri,
                                GError **errp)
{
    const char *const args[] = { "-incoming", uri, NULL };
    const GuestHow how = { .suffix = "-moved", .args = args };
    Guest *to = &run->guests[run->started];

    if (!guest_start(to, from->number, &run->opts, &how, errp)) {
        guest_clear(to);
        return NULL;
    }
    memcpy(to->pages, from->pages, sizeof(to->pages));
    run->started++;
    return to;
}

/* Whether query-migrate says it is over; false with @errp set if it failed. */
static bool has_migrated(const Guest *from, GError **errp)
{
    g_autoptr(JsonNode) reply =
        qmp_execute(from->qmp, "query-migrate", NULL, errp);
    JsonObject *info = reply ? json_node_get_object(reply) : NULL;
    const char *status = info ? query_stats_text(info, "status") : "";

    if (!strcmp(status, "failed") || !strcmp(status, "cancelled")) {
        g_set_error(errp, SHARING_ERROR, SHARING_ERROR_HOST,
                    "%s: migration %s: %s", from->name, status,
                    query_stats_text(info, "error-desc"));
    }
    return !strcmp(status, "completed");
}

static bool wait_migrated(Run *run, const Guest *from, GError **errp)
{
    double deadline = run_seconds(run) + run->opts.step_timeout;
    GError *err = NULL;

    while (!has_migrated(from, &err) && !err) {
        if (run_seconds(run) > deadline) {
            g_set_error(&err, SHARING_ERROR, SHARING_ERROR_TIMEOUT,
                        "%s: migration took more than %d s", from->name,
                        run->opts.step_timeout);
        } else if (run_tick(run, &err)) {
            g_usleep(TICK_US);
        }
    }
    if (err) {
        g_propagate_error(errp, err);
        return false;
    }
    return true;
}

/* The source has nothing left to do, and its memory goes. */
static bool end_source(Run *run, Guest *from, GError **errp)
{
    if (!qmp_command(from->qmp, "quit", NULL, errp)) {
        return false;
    }
    check(&run->checks,
          guest_wait_exit(from, run->opts.step_timeout) && !from->exit_status,
          "the source ends in good order", "%s, wait status 0x%x",
          from->pid ? "still running" : "ended badly", from->exit_status);
    return true;
}

static bool migrate(Run *run, Guest *from, const char *uri, GError **errp)
{
    g_autofree char *arguments = g_strdup_printf("{\"uri\": \"%s\"}", uri);
    double begun = run_seconds(run);
    Guest *to;

    if (!run_churn(run, true, errp)) {
        return false;
    }
    to = start_destination(run, from, uri, errp);
    if (!to || !qmp_command(from->qmp, "migrate", arguments, errp) ||
        !wait_migrated(run, from, errp)) {
        return false;
    }
    progress(&run->checks, "%s runs as %s after %.1f s", from->name, to->name,
             run_seconds(run) - begun);
    return end_source(run, from, errp) &&
           host_sample_mergeable(&run->host, to, errp) &&
           host_sample_guest(&run->host, to, errp);
}

static bool step_migrate(Run *run, Guest *from)
{
    g_autofree char *dir = g_dir_make_tmp("sharing-XXXXXX", NULL);
    g_autofree char *path =
        g_build_filename(dir ? dir : "/tmp", "socket", NULL);
    g_autofree char *uri = g_strdup_printf("unix:%s", path);
    GError *err = NULL;

    progress(&run->checks, "Migrating %s", from->name);
    migrate(run, from, uri, &err);
    unlink(path);
    if (dir) {
        rmdir(dir);
    }
    return check_error(&run->checks, err, "a merged guest migrates");
}

static bool step_merge_moved(Run *run)
{
    GError *err = NULL;

    run_merge_again(run, &run->guests[run->started - 1],
                    "the destination's memory is merged again", &err);
    return check_error(&run->checks, err, "merging goes on at the destination");
}

bool case_migration(Run *run)
{
    Guest *from = &run->guests[run->opts.guests - 1];

    return step_boot(run) && step_fill(run) &&
           step_verify(run, "before merging") && step_merge(run) &&
           step_evidence(run, "once settled") &&
           step_verify(run, "after merging") && step_migrate(run, from) &&
           step_verify(run, "after migration") &&
           step_merge_moved(run) &&
           step_evidence(run, "after migration") &&
           step_verify(run, "after merging again") && step_poweroff(run);
}
