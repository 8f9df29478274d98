// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A guest whose RAM other processes can map, as a vhost-user device or
 * virtiofsd does: nothing of it merges, and QEMU says why.  An ordinary guest
 * beside it shows that the engine is at work.
 */
#include <string.h>

#include "guest-ram.h"
#include "query-stats.h"
#include "run.h"

#define REMEDY "use share=off, unless another process (such as a vhost-user " \
    "device) has to see the memory"

static const char *const warning =
    "mem-merge=on has no effect, no guest RAM can be merged: "
    "'mem0': it is mapped shared";

/* All that @g's QEMU has said, to be freed. */
static char *read_log(const Run *run, const Guest *g, GError **errp)
{
    g_autofree char *path =
        g_strdup_printf("%s/%s.qemu", run->opts.results, g->name);
    char *text = NULL;

    g_file_get_contents(path, &text, NULL, errp);
    return text;
}

static int count_text(const char *text, const char *word)
{
    int count = 0;

    while ((text = strstr(text, word))) {
        text += strlen(word);
        count++;
    }
    return count;
}

static bool check_warnings(Run *run, GError **errp)
{
    for (int n = 0; n < run->started; n++) {
        int want = run->how[n] ? 1 : 0;
        g_autofree char *log = read_log(run, &run->guests[n], errp);

        if (!log) {
            return false;
        }
        check(&run->checks, count_text(log, "mem-merge") == want &&
              count_text(log, warning) == want,
              want ? "there is one warning of the shared RAM, with the reason"
                   : "there is no warning of an ordinary guest",
              "%s said \"%s\"", run->guests[n].name, log);
    }
    return true;
}

/* The report's block of the shared RAM: every member is known. */
static void check_ram(Run *run, const Guest *g, JsonObject *stats)
{
    const char *name = "the report names the shared mapping and the remedy";
    JsonObject *ram = query_stats_block(stats, "mem0");
    g_autofree char *text = NULL;

    if (!ram) {
        check(&run->checks, false, name, "there is no block mem0");
        return;
    }
    text = g_strdup_printf(
        "requested %d, actual %d, reason %s, remedy \"%s\", size %d MiB, "
        "mergeable %d, merged %d",
        json_object_get_boolean_member(ram, "requested"),
        json_object_get_boolean_member(ram, "actual"),
        query_stats_text(ram, "reason"), query_stats_text(ram, "remedy"),
        (int)(query_stats_number(ram, "size") >> 20),
        (int)query_stats_number(ram, "mergeable-bytes"),
        (int)query_stats_number(ram, "merged-bytes"));
    check(&run->checks,
          json_object_get_boolean_member(ram, "verified") &&
          json_object_get_boolean_member(ram, "requested") &&
          !json_object_get_boolean_member(ram, "actual") &&
          !strcmp(query_stats_text(ram, "reason"), "shared-mapping") &&
          !strcmp(query_stats_text(ram, "remedy"), REMEDY) &&
          query_stats_number(ram, "size") == (int64_t)g->ram_mib << 20 &&
          query_stats_number(ram, "mergeable-bytes") == 0 &&
          query_stats_number(ram, "merged-bytes") == 0, name, "%s", text);
}

/* All other blocks are private: none may be given the RAM's reason. */
static void check_others(Run *run, JsonObject *stats)
{
    JsonArray *blocks = json_object_get_array_member(stats, "blocks");
    g_autoptr(GString) wrong = g_string_new(NULL);

    for (guint n = 0; n < json_array_get_length(blocks); n++) {
        JsonObject *block = json_array_get_object_element(blocks, n);
        const char *reason = query_stats_text(block, "reason");
        bool actual = json_object_get_boolean_member(block, "actual");

        progress(&run->checks, "%s: %s, %s",
                 query_stats_text(block, "id"),
                 actual ? "mergeable" : "not mergeable", reason);
        if (strcmp(query_stats_text(block, "memdev"), "mem0") &&
            (!actual || strcmp(reason, "none"))) {
            g_string_append_printf(wrong, " %s: %s",
                                   query_stats_text(block, "id"), reason);
        }
    }
    check(&run->checks, !wrong->len,
          "the report gives no other block that reason", "%s", wrong->str);
}

/* By the page tables, and by the kernel's count for the process. */
static bool check_unmerged(Run *run, Guest *g, GError **errp)
{
    unsigned int merged = 0, looked_at = 0;

    for (int n = 0; n < REGION_COUNT; n++) {
        g_autoptr(GArray) pages = guest_ram_locate(
            g, n, UINT32_MAX, run->opts.step_timeout, errp);
        unsigned int here;

        if (!pages ||
            !guest_ram_count_merged(g, pages, pages->len, &here, errp)) {
            return false;
        }
        merged += here;
        looked_at += pages->len;
    }
    check(&run->checks, looked_at && !merged && !g->mergeable_bytes,
          "nothing of the shared RAM is mergeable or merged",
          "%u of %u pages are KSM pages, %" PRIu64 " bytes are mergeable",
          merged, looked_at, g->mergeable_bytes);
    return true;
}

static bool check_report(Run *run, GError **errp)
{
    Guest *shared = &run->guests[0], *other = &run->guests[1];
    g_autoptr(JsonObject) stats = NULL;

    if (!run_freeze(run, errp)) {
        return false;
    }
    stats = query_stats(shared, true, errp);
    if (!stats || !check_unmerged(run, shared, errp)) {
        return false;
    }
    check_ram(run, shared, stats);
    check_others(run, stats);
    if (!query_stats_save(run, shared, stats, errp)) {
        return false;
    }
    check(&run->checks, other->merged_pages > 0,
          "the ordinary guest beside it has merged pages",
          "ksm_merging_pages is 0");
    return true;
}

static bool step_report(Run *run)
{
    GError *err = NULL;

    if (check_report(run, &err)) {
        check_warnings(run, &err);
    }
    return check_error(&run->checks, err, "the guest with shared RAM reports");
}

bool case_shared(Run *run)
{
    g_autofree char *memory = g_strdup_printf(
        "memory-backend-memfd,id=mem0,size=%dM,share=on", run->opts.ram_mib);
    const char *const args[] = { "-object", memory, NULL };
    const GuestHow shared = {
        .machine = "mem-merge=on,memory-backend=mem0", .args = args,
    };

    run->how[0] = &shared;
    run->opts.guests = 2;
    return step_boot(run) && step_fill(run) &&
           step_verify(run, "before merging") && step_merge(run) &&
           step_report(run) && step_verify(run, "after merging") &&
           step_poweroff(run);
}
