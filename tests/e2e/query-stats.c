// SPDX-License-Identifier: GPL-2.0-or-later
/* QEMU's own report against the kernel's, where this QEMU has one. */
#include <string.h>

#include "qmp.h"
#include "query-stats.h"

/* The first difference found, as text; NULL while there is none. */
typedef char *Difference;

static void expect(Difference *diff, const Guest *g, JsonObject *object,
                   const char *member, uint64_t want, uint64_t slack)
{
    JsonNode *node = json_object_get_member(object, member);
    uint64_t got;

    if (*diff) {
        return;
    }
    if (!node || json_node_get_value_type(node) != G_TYPE_INT64) {
        *diff = g_strdup_printf("%s: no number %s", g->name, member);
        return;
    }
    got = json_node_get_int(node);
    if (MAX(got, want) - MIN(got, want) > slack) {
        *diff = g_strdup_printf("%s: %s is %" PRIu64 ", but %" PRIu64
                                " by the kernel", g->name, member, got, want);
    }
}

static void compare_host(Difference *diff, const Run *run, const Guest *g,
                         JsonObject *host)
{
    JsonObject *counters = json_object_get_object_member(host, "counters");
    const char *engine = json_object_get_string_member_with_default(
        host, "engine-name", "");

    if (!counters || strcmp(engine, run->host.stats.engine_name)) {
        *diff = g_strdup_printf("%s: engine \"%s\"%s", g->name, engine,
                                counters ? "" : ", no counters");
        return;
    }
    for (int n = 0; n < KSM_HOST_COUNTER__MAX; n++) {
        g_autofree char *member = g_strdup(ksm_host_counter_name(n));

        /* general_profit depends on what ksmd frees at any time. */
        if (run->host.stats.counter[n].present &&
            !ksm_host_counter_is_signed(n)) {
            g_strdelimit(member, "_", '-');
            expect(diff, g, counters, member, run->host.stats.counter[n].u,
                   0);
        }
    }
    expect(diff, g, host, "saved-bytes", host_saved_bytes(&run->host), 0);
}

/* The block that is the guest's RAM, told by its size. */
static JsonObject *ram_block(const Guest *g, JsonObject *stats)
{
    JsonArray *blocks = json_object_get_array_member(stats, "blocks");
    uint64_t size = (uint64_t)g->ram_mib << 20;

    for (guint n = 0; blocks && n < json_array_get_length(blocks); n++) {
        JsonObject *block = json_array_get_object_element(blocks, n);

        if ((uint64_t)json_object_get_int_member_with_default(
                block, "size", 0) == size) {
            return block;
        }
    }
    return NULL;
}

static void compare_block(Difference *diff, const Guest *g, JsonObject *block)
{
    if (*diff) {
        return;
    }
    if (!block) {
        *diff = g_strdup_printf("%s: no block of %d MiB", g->name,
                                g->ram_mib);
        return;
    }
    if (!json_object_get_boolean_member_with_default(block, "requested",
                                                     FALSE) ||
        !json_object_get_boolean_member_with_default(block, "actual",
                                                     FALSE)) {
        *diff = g_strdup_printf(
            "%s: its RAM is not mergeable: %s", g->name,
            json_object_get_string_member_with_default(block, "reason",
                                                       "no reason"));
    }
    expect(diff, g, block, "mergeable-bytes", g->mergeable_bytes, 0);
    /* The process has ROMs beside its RAM, and the guest goes on writing. */
    expect(diff, g, block, "merged-bytes", g->merged_pages * HOST_PAGE,
           MAX(1 << 20, g->merged_pages * HOST_PAGE / 20));
}

static void compare_guest(Difference *diff, const Run *run, const Guest *g,
                          GError **errp)
{
    g_autoptr(JsonNode) reply =
        qmp_execute(g->qmp, "query-ksm-stats", "{\"verify\": true}", errp);
    JsonObject *stats, *host, *vm;

    if (!reply) {
        return;
    }
    if (!JSON_NODE_HOLDS_OBJECT(reply)) {
        *diff = g_strdup_printf("%s: the answer is no object", g->name);
        return;
    }
    stats = json_node_get_object(reply);
    host = json_object_get_object_member(stats, "host");
    vm = json_object_get_object_member(stats, "vm");
    if (!host || !vm || json_object_has_member(stats, "problem")) {
        *diff = g_strdup_printf(
            "%s: incomplete, problem: %s", g->name,
            json_object_get_string_member_with_default(stats, "problem",
                                                       "none"));
        return;
    }
    compare_host(diff, run, g, host);
    expect(diff, g, vm, "merged-bytes", g->merged_pages * HOST_PAGE, 0);
    if (g->cow_known) {
        expect(diff, g, vm, "cow-breaks", g->cow_breaks,
               MAX(64, g->cow_breaks / 20));
    }
    compare_block(diff, g, ram_block(g, stats));
}

void query_stats_check(Run *run)
{
    const char *name = "query-ksm-stats agrees with the kernel";
    g_autofree Difference diff = NULL;
    GError *err = NULL;
    bool there = qmp_has_command(run->guests[0].qmp, "query-ksm-stats", &err);

    if (!there && !err) {
        check_skip(&run->checks, name, "this QEMU does not have it");
        return;
    }
    for (int n = 0; there && !err && !diff && n < run->started; n++) {
        if (run->guests[n].running) {
            compare_guest(&diff, run, &run->guests[n], &err);
        }
    }
    check(&run->checks, !err && !diff, name, "%s",
          err ? err->message : diff);
    g_clear_error(&err);
}
