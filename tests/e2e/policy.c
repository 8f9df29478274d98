// SPDX-License-Identifier: GPL-2.0-or-later
/* What the guests' ksm-policy objects decide, by events and by the report. */
#include <string.h>

#include "policy.h"
#include "query-stats.h"

#define EVENT "KSM_POLICY_CHANGED"
#define TICK_US (G_USEC_PER_SEC / 10)

/* The next decision of @g's policy; NULL with @errp set if none comes. */
static JsonObject *wait_event(Run *run, const Guest *g, GError **errp)
{
    double deadline = run_seconds(run) + run->opts.step_timeout;
    GError *err = NULL;

    for (;;) {
        JsonObject *event = qmp_event(g->qmp, EVENT, &err);

        if (event) {
            return event;
        }
        if (!err && run_seconds(run) > deadline) {
            g_set_error(&err, SHARING_ERROR, SHARING_ERROR_TIMEOUT,
                        "%s: no " EVENT " within %d s", g->name,
                        run->opts.step_timeout);
        }
        if (err || !run_tick(run, &err)) {
            g_propagate_error(errp, err);
            return NULL;
        }
        g_usleep(TICK_US);
    }
}

bool policy_events(Run *run, const PolicyWant *want, GError **errp)
{
    for (int n = 0; n < run->started; n++) {
        const Guest *g = &run->guests[n];
        g_autoptr(JsonObject) event = wait_event(run, g, errp);
        g_autofree char *name = g_strdup_printf(
            "%s: " EVENT ": %s, %s", g->name, want->state, want->reason);

        if (!event) {
            return false;
        }
        check(&run->checks,
              !strcmp(query_stats_text(event, "id"), "policy0") &&
              !strcmp(query_stats_text(event, "mode"), "auto") &&
              !strcmp(query_stats_text(event, "state"), want->state) &&
              !strcmp(query_stats_text(event, "reason"), want->reason),
              name, "id %s, mode %s, state %s, reason %s",
              query_stats_text(event, "id"), query_stats_text(event, "mode"),
              query_stats_text(event, "state"),
              query_stats_text(event, "reason"));
    }
    return true;
}

bool policy_no_event(Run *run, const char *when, GError **errp)
{
    for (int n = 0; n < run->started; n++) {
        const Guest *g = &run->guests[n];
        g_autofree char *name = g_strdup_printf(
            "%s: the policy does not go back and forth %s", g->name, when);
        GError *err = NULL;
        g_autoptr(JsonObject) event = qmp_event(g->qmp, EVENT, &err);

        if (err) {
            g_propagate_error(errp, err);
            return false;
        }
        check(&run->checks, !event, name, "state %s, reason %s",
              event ? query_stats_text(event, "state") : "",
              event ? query_stats_text(event, "reason") : "");
    }
    return true;
}

static void check_one(Run *run, const Guest *g, JsonObject *stats,
                      const PolicyWant *want, const char *when)
{
    JsonObject *vm = json_object_get_object_member(stats, "vm");
    JsonObject *ram = query_stats_block(stats, "pc.ram");
    JsonObject *policy = json_object_has_member(vm, "policy")
        ? json_object_get_object_member(vm, "policy") : NULL;
    g_autofree char *name = g_strdup_printf(
        "%s: the report tells the policy's decision %s", g->name, when);

    if (!policy || !ram) {
        check(&run->checks, false, name, "no policy, or no RAM");
        return;
    }
    progress(&run->checks, "%s: %s, %s; available %.1f %%, stall %.1f %%",
             g->name, query_stats_text(policy, "state"),
             query_stats_text(policy, "reason"),
             json_object_get_double_member_with_default(
                 policy, "available-percent", -1),
             json_object_get_double_member_with_default(
                 policy, "stall-percent", -1));
    check(&run->checks,
          !strcmp(query_stats_text(policy, "state"), want->state) &&
          !strcmp(query_stats_text(policy, "reason"), want->reason) &&
          !strcmp(query_stats_text(ram, "reason"), want->ram),
          name, "state %s, reason %s; the RAM's reason is %s",
          query_stats_text(policy, "state"),
          query_stats_text(policy, "reason"), query_stats_text(ram, "reason"));
}

bool policy_check(Run *run, const PolicyWant *want, const char *when,
                  GError **errp)
{
    for (int n = 0; n < run->started; n++) {
        const Guest *g = &run->guests[n];
        g_autoptr(JsonObject) stats = query_stats(g, false, errp);

        if (!stats) {
            return false;
        }
        check_one(run, g, stats, want, when);
    }
    return true;
}

bool policy_set(Run *run, const char *property, int value, GError **errp)
{
    g_autofree char *arguments = g_strdup_printf(
        "{\"path\": \"/objects/policy0\", \"property\": \"%s\", "
        "\"value\": %d}", property, value);

    for (int n = 0; n < run->started; n++) {
        if (!qmp_command(run->guests[n].qmp, "qom-set", arguments, errp)) {
            return false;
        }
    }
    return true;
}

static int64_t hot_bytes(JsonObject *stats)
{
    JsonObject *vm = json_object_get_object_member(stats, "vm");

    return query_stats_number(json_object_get_object_member(vm, "policy"),
                              "hot-bytes");
}

/* The report of @g once its policy leaves something out, or nothing. */
static JsonObject *wait_hot(Run *run, const Guest *g, bool hot, GError **errp)
{
    double deadline = run_seconds(run) + run->opts.step_timeout;

    for (;;) {
        g_autoptr(JsonObject) stats = query_stats(g, false, errp);

        if (!stats || !run_tick(run, errp)) {
            return NULL;
        }
        if (hot == (hot_bytes(stats) > 0)) {
            return g_steal_pointer(&stats);
        }
        if (run_seconds(run) > deadline) {
            g_set_error(errp, SHARING_ERROR, SHARING_ERROR_TIMEOUT,
                        "%s: hot-bytes is %" PRId64 " after %d s", g->name,
                        hot_bytes(stats), run->opts.step_timeout);
            return NULL;
        }
        g_usleep(TICK_US);
    }
}

static void check_hot(Run *run, const Guest *g, JsonObject *stats)
{
    JsonObject *ram = query_stats_block(stats, "pc.ram");
    int64_t hot = hot_bytes(stats);
    int64_t size = query_stats_number(ram, "size");
    int64_t mergeable = query_stats_number(ram, "mergeable-bytes");
    const char *reason = query_stats_text(ram, "reason");
    g_autofree char *name = g_strdup_printf(
        "%s: %s", g->name, hot ? "what is written to all the time is left out"
                               : "what has cooled down is offered again");

    progress(&run->checks, "%s: hot-bytes %" PRId64 ", reason %s", g->name,
             hot, reason);
    check(&run->checks, hot < size && mergeable == size - hot &&
          !strcmp(reason, hot ? "write-hot" : "none"), name,
          "%" PRId64 " of %" PRId64 " bytes are hot, %" PRId64
          " mergeable, reason %s", hot, size, mergeable, reason);
}

bool policy_wait_hot(Run *run, bool hot, GError **errp)
{
    for (int n = 0; n < run->started; n++) {
        const Guest *g = &run->guests[n];
        g_autoptr(JsonObject) stats = wait_hot(run, g, hot, errp);

        if (!stats) {
            return false;
        }
        check_hot(run, g, stats);
    }
    return true;
}

bool policy_add_memory(Run *run, GError **errp)
{
    for (int n = 0; n < run->started; n++) {
        if (!qmp_command(run->guests[n].qmp, "object-add",
                         "{\"qom-type\": \"memory-backend-ram\", "
                         "\"id\": \"" POLICY_MEMORY "\", "
                         "\"size\": 4194304}", errp)) {
            return false;
        }
    }
    return true;
}

bool policy_check_memory(Run *run, const char *reason, const char *what,
                         GError **errp)
{
    for (int n = 0; n < run->started; n++) {
        const Guest *g = &run->guests[n];
        g_autofree char *name = g_strdup_printf("%s: %s", g->name, what);
        g_autoptr(JsonObject) stats = query_stats(g, false, errp);
        JsonObject *block;

        if (!stats) {
            return false;
        }
        block = query_stats_block(stats, POLICY_MEMORY);
        check(&run->checks,
              block && !strcmp(query_stats_text(block, "reason"), reason) &&
              json_object_get_boolean_member(block, "actual") ==
              !strcmp(reason, "none"), name, "its reason is %s",
              block ? query_stats_text(block, "reason") : "not reported");
    }
    return true;
}
