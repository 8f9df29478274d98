// SPDX-License-Identifier: GPL-2.0-or-later
/* QEMU's own report against the kernel's, where this QEMU has one. */
#include <string.h>

#include "qmp.h"
#include "query-stats.h"

JsonObject *query_stats(const Guest *g, bool verify, GError **errp)
{
    g_autoptr(JsonNode) reply =
        qmp_execute(g->qmp, "query-ksm-stats",
                    verify ? "{\"verify\": true}" : NULL, errp);

    if (reply && !JSON_NODE_HOLDS_OBJECT(reply)) {
        g_set_error(errp, SHARING_ERROR, SHARING_ERROR_FORMAT,
                    "%s: query-ksm-stats: the answer is no object", g->name);
        return NULL;
    }
    return reply ? json_node_dup_object(reply) : NULL;
}

static JsonArray *all_blocks(JsonObject *stats)
{
    return json_object_get_array_member(stats, "blocks");
}

/* What a terminal shows of a line without wrapping it */
#define COLUMNS 80

static bool save(const Run *run, const Guest *g, const char *suffix,
                 const char *text, GError **errp)
{
    g_autofree char *path =
        g_strdup_printf("%s/%s.%s", run->opts.results, g->name, suffix);

    return g_file_set_contents(path, text, -1, errp);
}

static bool fits(const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    for (char **line = lines; *line; line++) {
        g_strchomp(*line);
        if (strlen(*line) > COLUMNS) {
            return false;
        }
    }
    return true;
}

bool query_stats_save(Run *run, const Guest *g, JsonObject *stats,
                      GError **errp)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
    g_autofree char *json = NULL, *shown = NULL;

    json_node_set_object(node, stats);
    json = json_to_string(node, TRUE);
    shown = qmp_human(g->qmp, "info ksm", errp);
    if (!shown || !save(run, g, "ksm.json", json, errp) ||
        !save(run, g, "info-ksm", shown, errp)) {
        return false;
    }
    check(&run->checks, fits(shown), "info ksm fits into 80 columns",
          "%s: %s", g->name, shown);
    return true;
}

JsonObject *query_stats_block(JsonObject *stats, const char *memdev)
{
    JsonArray *blocks = all_blocks(stats);

    for (guint n = 0; n < json_array_get_length(blocks); n++) {
        JsonObject *block = json_array_get_object_element(blocks, n);

        if (!strcmp(query_stats_text(block, "memdev"), memdev)) {
            return block;
        }
    }
    return NULL;
}

const char *query_stats_text(JsonObject *object, const char *member)
{
    return json_object_get_string_member_with_default(object, member, "");
}

int64_t query_stats_number(JsonObject *object, const char *member)
{
    return json_object_get_int_member_with_default(object, member, 0);
}

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

/* What the process has merged is in its blocks. */
static void compare_merged(Difference *diff, const Guest *g, JsonObject *stats)
{
    JsonArray *blocks = all_blocks(stats);
    uint64_t merged = 0, want = g->merged_pages * HOST_PAGE;

    for (guint n = 0; n < json_array_get_length(blocks); n++) {
        JsonObject *block = json_array_get_object_element(blocks, n);
        int64_t here = query_stats_number(block, "merged-bytes");

        if (!*diff && here > query_stats_number(block, "size")) {
            *diff = g_strdup_printf("%s: more than all of %s is merged",
                                    g->name, query_stats_text(block, "id"));
        }
        merged += here;
    }
    /* The guest goes on writing. */
    if (!*diff && MAX(merged, want) - MIN(merged, want) >
        MAX(1 << 20, want / 20)) {
        *diff = g_strdup_printf("%s: merged-bytes of all blocks are %" PRIu64
                                ", but %" PRIu64 " by the kernel", g->name,
                                merged, want);
    }
}

static void compare_block(Difference *diff, const Guest *g, JsonObject *block)
{
    if (*diff) {
        return;
    }
    if (!block) {
        *diff = g_strdup_printf("%s: no block of its RAM", g->name);
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
}

static void compare_guest(Difference *diff, Run *run, const Guest *g,
                          GError **errp)
{
    g_autoptr(JsonObject) stats = query_stats(g, true, errp);
    JsonObject *host, *vm;

    if (!stats) {
        return;
    }
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
    compare_block(diff, g, query_stats_block(stats, "pc.ram"));
    compare_merged(diff, g, stats);
    query_stats_save(run, g, stats, errp);
}

void query_stats_check(Run *run, const char *when)
{
    g_autofree char *name =
        g_strdup_printf("query-ksm-stats agrees with the kernel %s", when);
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
