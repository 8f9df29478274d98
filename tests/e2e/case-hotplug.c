// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A DIMM is plugged into a running guest, its memory merges with another
 * guest's, and while it is merged the DIMM is unplugged and its backend goes.
 */
#include <string.h>

#include "guest-ram.h"
#include "qmp.h"
#include "query-stats.h"
#include "run.h"

/* A block of memory hot-plug: Linux onlines no less on x86 */
#define DIMM_MIB 128
#define MIB (1024 * 1024ull)
/* Of the DIMM, the least that the guest must use; of that, what must merge */
#define USED_PERCENT 40
#define MERGED_PERCENT 50
#define TICK_US (G_USEC_PER_SEC / 4)
/* As ACPI's _OST has them */
#define OST_EJECT 3
#define OST_EJECT_IN_PROGRESS 0x84

/* What the guest has of the DIMM in the agent's regions. */
typedef struct DimmUse {
    unsigned int pages, merged;
} DimmUse;

static bool read_dimm(Guest *g, GError **errp)
{
    g_autoptr(JsonNode) reply =
        qmp_execute(g->qmp, "query-memory-devices", NULL, errp);
    JsonArray *list = reply ? json_node_get_array(reply) : NULL;
    JsonObject *data;

    if (!list) {
        return false;
    }
    if (json_array_get_length(list) != 1) {
        g_set_error(errp, SHARING_ERROR, SHARING_ERROR_FORMAT,
                    "%s: query-memory-devices shows %u devices, not one",
                    g->name, json_array_get_length(list));
        return false;
    }
    data = json_object_get_object_member(
        json_array_get_object_element(list, 0), "data");
    g->dimm.base = query_stats_number(data, "addr");
    g->dimm.size = query_stats_number(data, "size");
    g->dimm.host = guest_host_address(g, g->dimm.base, errp);
    return g->dimm.host != 0;
}

/* Ask until the guest's kernel says it has more memory by most of the DIMM. */
static bool wait_online(Run *run, Guest *g, uint64_t before_kib, GError **errp)
{
    double deadline = run_seconds(run) + run->opts.step_timeout;
    uint64_t want = before_kib + DIMM_MIB * 1024 / 100 * 75, now = 0;

    while (now < want) {
        guest_ask(g, "hello");
        if (!guest_wait_reply(g, run->opts.step_timeout, errp) ||
            !run_tick(run, errp)) {
            return false;
        }
        words_u64(g->reply, "available_kib", 10, &now);
        if (now < want && run_seconds(run) > deadline) {
            g_set_error(errp, SHARING_ERROR, SHARING_ERROR_TIMEOUT,
                        "%s: %" PRIu64 " KiB are available, not %" PRIu64,
                        g->name, now, want);
            return false;
        }
        g_usleep(now < want ? TICK_US : 0);
    }
    return true;
}

static bool plug(Run *run, Guest *g, GError **errp)
{
    g_autofree char *backend = g_strdup_printf(
        "{\"qom-type\": \"memory-backend-ram\", \"id\": \"mem1\", "
        "\"size\": %llu}", DIMM_MIB * MIB);
    uint64_t before;

    guest_ask(g, "hello");
    return guest_wait_reply(g, run->opts.step_timeout, errp) &&
           words_u64(g->reply, "available_kib", 10, &before) &&
           qmp_command(g->qmp, "object-add", backend, errp) &&
           qmp_command(g->qmp, "device_add", "{\"driver\": \"pc-dimm\", "
                       "\"id\": \"dimm1\", \"memdev\": \"mem1\"}", errp) &&
           read_dimm(g, errp) && wait_online(run, g, before, errp);
}

static bool step_plug(Run *run)
{
    GError *err = NULL;

    progress(&run->checks, "Plugging %d MiB into %s", DIMM_MIB,
             run->guests[0].name);
    plug(run, &run->guests[0], &err);
    return check_error(&run->checks, err,
                       "memory is plugged into a running guest");
}

/* Count the agent's pages that lie in the DIMM, and those merged of them. */
static bool count_dimm(Run *run, Guest *g, DimmUse *use, GError **errp)
{
    *use = (DimmUse) { 0 };
    for (int n = 0; n < REGION_COUNT; n++) {
        g_autoptr(GArray) pages = guest_ram_locate(
            g, n, UINT32_MAX, run->opts.step_timeout, errp);
        unsigned int merged;

        if (!pages) {
            return false;
        }
        for (guint i = pages->len; i-- > 0;) {
            const GuestPage *page = &g_array_index(pages, GuestPage, i);

            if (page->host_address - g->dimm.host >= g->dimm.size) {
                g_array_remove_index_fast(pages, i);
            }
        }
        if (!guest_ram_count_merged(g, pages, pages->len, &merged, errp)) {
            return false;
        }
        use->pages += pages->len;
        use->merged += merged;
    }
    return true;
}

static void check_block(Run *run, JsonObject *stats, const DimmUse *use)
{
    const char *name = "the report has the DIMM's block, with what is merged";
    JsonObject *block = query_stats_block(stats, "mem1");

    check(&run->checks,
          block && json_object_get_boolean_member(block, "verified") &&
          json_object_get_boolean_member(block, "actual") &&
          !strcmp(query_stats_text(block, "reason"), "none") &&
          query_stats_number(block, "mergeable-bytes") ==
          (int64_t)(DIMM_MIB * MIB) &&
          query_stats_number(block, "merged-bytes") >=
          (int64_t)use->merged * HOST_PAGE, name,
          "mem1: reason %s, mergeable %" PRId64 ", merged %" PRId64,
          block ? query_stats_text(block, "reason") : "no such block",
          block ? query_stats_number(block, "mergeable-bytes") : 0,
          block ? query_stats_number(block, "merged-bytes") : 0);
}

static bool check_dimm(Run *run, Guest *g, GError **errp)
{
    unsigned int least = DIMM_MIB * MIB / HOST_PAGE / 100 * USED_PERCENT;
    g_autoptr(JsonObject) stats = NULL;
    DimmUse use;

    if (!run_freeze(run, errp) || !count_dimm(run, g, &use, errp)) {
        return false;
    }
    stats = query_stats(g, true, errp);
    if (!stats) {
        return false;
    }
    progress(&run->checks, "%u pages of %s are in the DIMM, %u of them merged",
             use.pages, g->name, use.merged);
    check(&run->checks, use.pages >= least, "the guest uses its new memory",
          "%u pages are in the DIMM, at least %u expected", use.pages, least);
    check(&run->checks,
          use.merged && use.merged >= use.pages / 100 * MERGED_PERCENT,
          "what was plugged in is merged", "%u of %u pages", use.merged,
          use.pages);
    check_block(run, stats, &use);
    return host_set_run(&run->host, KSM_HOST_RUN_MERGING, errp);
}

static bool step_dimm(Run *run)
{
    GError *err = NULL;

    check_dimm(run, &run->guests[0], &err);
    return check_error(&run->checks, err,
                       "what was plugged in can be looked at");
}

/* Ask the guest to give the DIMM back. */
static bool ask_back(const Guest *g, GError **errp)
{
    return qmp_command(g->qmp, "device_del", "{\"id\": \"dimm1\"}", errp);
}

/* Whether the guest's kernel says that it cannot, right now; takes that. */
static bool is_refused(Run *run, const Guest *g, GError **errp)
{
    GError *err = NULL;
    JsonObject *said;
    bool refused = false;

    while ((said = qmp_event(g->qmp, "ACPI_DEVICE_OST", &err))) {
        JsonObject *info = json_object_get_object_member(said, "info");
        int64_t status = query_stats_number(info, "status");

        if (query_stats_number(info, "source") == OST_EJECT && status &&
            status != OST_EJECT_IN_PROGRESS) {
            progress(&run->checks, "%s cannot give the DIMM back now: "
                     "status 0x%x", g->name, (unsigned int)status);
            refused = true;
        }
        json_object_unref(said);
    }
    if (err) {
        g_propagate_error(errp, err);
    }
    return refused;
}

/* True once the device is gone. */
static bool is_unplugged(const Guest *g, GError **errp)
{
    g_autoptr(JsonObject) gone = qmp_event(g->qmp, "DEVICE_DELETED", errp);

    return gone != NULL;
}

/* A guest that cannot give its memory up right now is asked again. */
static bool wait_unplugged(Run *run, Guest *g, GError **errp)
{
    double deadline = run_seconds(run) + run->opts.step_timeout;
    GError *err = NULL;

    while (!is_unplugged(g, &err) && !err) {
        bool again = is_refused(run, g, &err);

        if (!err && run_seconds(run) > deadline) {
            g_set_error(&err, SHARING_ERROR, SHARING_ERROR_TIMEOUT,
                        "%s: the guest does not give the DIMM back", g->name);
        }
        if (err || !run_tick(run, &err) || (again && !ask_back(g, &err))) {
            break;
        }
        g_usleep(TICK_US);
    }
    if (err) {
        g_propagate_error(errp, err);
        return false;
    }
    return true;
}

/* The block is gone, and so is its memory from QEMU's mappings. */
static bool check_gone(Run *run, Guest *g, GError **errp)
{
    g_autoptr(JsonObject) stats = query_stats(g, false, errp);
    uint64_t before = g->merged_pages;

    if (!stats || !host_sample_guest(&run->host, g, errp)) {
        return false;
    }
    progress(&run->checks, "%s: %" PRIu64 " pages merged before, %" PRIu64
             " after", g->name, before, g->merged_pages);
    check(&run->checks, !query_stats_block(stats, "mem1"),
          "the report no longer has the DIMM's block", "mem1 is still there");
    g->dimm = (GuestDimm) { 0 };
    return true;
}

static bool unplug(Run *run, Guest *g, GError **errp)
{
    return run_churn(run, true, errp) &&
           ask_back(g, errp) && wait_unplugged(run, g, errp) &&
           qmp_command(g->qmp, "object-del", "{\"id\": \"mem1\"}", errp) &&
           check_gone(run, g, errp);
}

static bool step_unplug(Run *run)
{
    GError *err = NULL;

    progress(&run->checks, "Unplugging the merged memory of %s",
             run->guests[0].name);
    unplug(run, &run->guests[0], &err);
    return check_error(&run->checks, err,
                       "merged memory is unplugged and its backend deleted");
}

/* What was moved out of the DIMM is merged where it is now. */
static bool step_merge_rest(Run *run)
{
    GError *err = NULL;

    run_merge_again(run, &run->guests[0],
                    "what was moved out of the DIMM is merged again", &err);
    return check_error(&run->checks, err, "merging goes on without the DIMM");
}

bool case_hotplug(Run *run)
{
    const GuestHow how = {
        .memory = ",slots=1,maxmem=1G",
        /* Movable, so that it can be given back */
        .append = "memhp_default_state=online_movable",
    };

    run->how[0] = &how;
    /* There must be room for all of it without the DIMM. */
    run->fill_percent = 35;
    return step_boot(run) && step_plug(run) && step_fill(run) &&
           step_verify(run, "before merging") && step_merge(run) &&
           step_evidence(run, "once settled") && step_dimm(run) &&
           step_verify(run, "after merging") && step_unplug(run) &&
           step_verify(run, "after the unplug") && step_merge_rest(run) &&
           step_evidence(run, "without the DIMM") &&
           step_verify(run, "after merging again") && step_poweroff(run);
}
