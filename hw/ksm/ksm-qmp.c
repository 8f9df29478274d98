/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * query-ksm-stats: what was decided, what the kernel made of it, what it saves
 */

#include "qemu/osdep.h"
#include "qemu/coroutine.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-ksm.h"
#include "qapi/util.h"
#include "block/aio.h"
#include "block/thread-pool.h"
#include "exec/memory.h"
#include "exec/ramblock.h"
#include "hw/ksm/ksm-kvm.h"
#include "ksm-block.h"
#include "ksm-host-range.h"
#include "ksm-open.h"
#include "ksm-policy.h"
#include "ksm-query.h"
#include "ksm-ram.h"
#include "trace.h"

static KsmKvmReader *kvm_reader;

void ksm_set_kvm_reader(KsmKvmReader *reader)
{
    kvm_reader = reader;
}

/* Keeps the first problem for the answer, and traces every one. */
static void note_problem(KsmStats *stats, GError *err)
{
    trace_ksm_host_problem(err->message);
    if (!stats->has_problem) {
        stats->has_problem = true;
        stats->problem = g_strdup(err->message);
    }
    g_error_free(err);
}

static KsmEngine convert_engine(KsmHostEngine engine)
{
    switch (engine) {
    case KSM_HOST_ENGINE_ABSENT:
        return KSM_ENGINE_ABSENT;
    case KSM_HOST_ENGINE_MAINLINE:
        return KSM_ENGINE_MAINLINE;
    case KSM_HOST_ENGINE_SAMEPAGE:
        return KSM_ENGINE_SAMEPAGE;
    case KSM_HOST_ENGINE_OTHER:
        return KSM_ENGINE_OTHER;
    }
    g_assert_not_reached();
}

static void convert_run(KsmHostRun run, KsmHostInfo *info)
{
    info->has_run = true;
    switch (run) {
    case KSM_HOST_RUN_STOPPED:
        info->run = KSM_RUN_STATE_STOPPED;
        break;
    case KSM_HOST_RUN_MERGING:
        info->run = KSM_RUN_STATE_MERGING;
        break;
    case KSM_HOST_RUN_UNMERGING:
        info->run = KSM_RUN_STATE_UNMERGING;
        break;
    case KSM_HOST_RUN_UNKNOWN:
        info->has_run = false;
        break;
    }
}

static KsmHostCounters *convert_counters(const KsmHostValue *value)
{
    KsmHostCounters *c = g_new0(KsmHostCounters, 1);

#define COUNTER(ID, member, field)                  \
    do {                                            \
        c->has_##member = value[ID].present;        \
        c->member = value[ID].field;                \
    } while (0)

    COUNTER(KSM_HOST_PAGES_SHARED, pages_shared, u);
    COUNTER(KSM_HOST_PAGES_SHARING, pages_sharing, u);
    COUNTER(KSM_HOST_PAGES_UNSHARED, pages_unshared, u);
    COUNTER(KSM_HOST_PAGES_VOLATILE, pages_volatile, u);
    COUNTER(KSM_HOST_FULL_SCANS, full_scans, u);
    COUNTER(KSM_HOST_STABLE_NODE_CHAINS, stable_node_chains, u);
    COUNTER(KSM_HOST_STABLE_NODE_DUPS, stable_node_dups, u);
    COUNTER(KSM_HOST_PAGES_TO_SCAN, pages_to_scan, u);
    COUNTER(KSM_HOST_SLEEP_MILLISECS, sleep_millisecs, u);
    COUNTER(KSM_HOST_MERGE_ACROSS_NODES, merge_across_nodes, u);
    COUNTER(KSM_HOST_MAX_PAGE_SHARING, max_page_sharing, u);
    COUNTER(KSM_HOST_USE_ZERO_PAGES, use_zero_pages, u);
    COUNTER(KSM_HOST_STABLE_NODE_CHAINS_PRUNE_MILLISECS,
            stable_node_chains_prune_millisecs, u);
    COUNTER(KSM_HOST_PAGES_SCANNED, pages_scanned, u);
    COUNTER(KSM_HOST_PAGES_SKIPPED, pages_skipped, u);
    COUNTER(KSM_HOST_KSM_ZERO_PAGES, ksm_zero_pages, u);
    COUNTER(KSM_HOST_GENERAL_PROFIT, general_profit, s);
    COUNTER(KSM_HOST_SMART_SCAN, smart_scan, u);
    COUNTER(KSM_HOST_ADVISOR_MAX_CPU, advisor_max_cpu, u);
    COUNTER(KSM_HOST_ADVISOR_MIN_PAGES_TO_SCAN, advisor_min_pages_to_scan, u);
    COUNTER(KSM_HOST_ADVISOR_MAX_PAGES_TO_SCAN, advisor_max_pages_to_scan, u);
    COUNTER(KSM_HOST_ADVISOR_TARGET_SCAN_TIME, advisor_target_scan_time, u);
    COUNTER(KSM_HOST_BOOST_MAX_CPU, boost_max_cpu, u);
    COUNTER(KSM_HOST_SCAN_THREADS, scan_threads, u);
    COUNTER(KSM_HOST_HUGE_SPLIT_MIN, huge_split_min, u);
    COUNTER(KSM_HOST_HUGE_SPLITS, huge_splits, u);
    COUNTER(KSM_HOST_HUGE_SPLIT_MERGED, huge_split_merged, u);
#undef COUNTER
    return c;
}

/* NULL if the kernel tells none of them */
static KsmPageRefusalCountList *convert_refused(const KsmHostValue *value)
{
    static const KsmPageRefusal reason[KSM_HOST_REASON__MAX] = {
        [KSM_HOST_REASON_VOLATILE] = KSM_PAGE_REFUSAL_VOLATILE,
        [KSM_HOST_REASON_PINNED] = KSM_PAGE_REFUSAL_PINNED,
        [KSM_HOST_REASON_HUGE] = KSM_PAGE_REFUSAL_HUGE,
        [KSM_HOST_REASON_SHARED] = KSM_PAGE_REFUSAL_SHARED,
        [KSM_HOST_REASON_HUGETLB] = KSM_PAGE_REFUSAL_HUGETLB,
        [KSM_HOST_REASON_SPECIAL] = KSM_PAGE_REFUSAL_SPECIAL,
        [KSM_HOST_REASON_NODE] = KSM_PAGE_REFUSAL_NODE,
        [KSM_HOST_REASON_LIMIT] = KSM_PAGE_REFUSAL_LIMIT,
        [KSM_HOST_REASON_RACED] = KSM_PAGE_REFUSAL_RACED,
        [KSM_HOST_REASON_LOCKED] = KSM_PAGE_REFUSAL_LOCKED,
        [KSM_HOST_REASON_DIFFERENT] = KSM_PAGE_REFUSAL_DIFFERENT,
        [KSM_HOST_REASON_UFFD_WP] = KSM_PAGE_REFUSAL_UFFD_WP,
        [KSM_HOST_REASON_NOMEM] = KSM_PAGE_REFUSAL_NOMEM,
    };
    KsmPageRefusalCountList *list = NULL, **tail = &list;

    for (int i = 0; i < KSM_HOST_REASON__MAX; i++) {
        KsmPageRefusalCount *count;

        if (value[i].present) {
            count = g_new0(KsmPageRefusalCount, 1);
            count->reason = reason[i];
            count->pages = value[i].u;
            QAPI_LIST_APPEND(tail, count);
        }
    }
    return list;
}

/* @pages in bytes; more than fit into 64 bits are as good as unknown */
static bool pages_to_bytes(const KsmHostValue *pages, uint64_t *bytes)
{
    const uint64_t page_size = qemu_real_host_page_size();

    if (!pages->present || pages->u > UINT64_MAX / page_size) {
        return false;
    }
    *bytes = pages->u * page_size;
    return true;
}

static KsmHostInfo *convert_host(const KsmHostStats *host)
{
    KsmHostInfo *info = g_new0(KsmHostInfo, 1);

    info->available = host->engine != KSM_HOST_ENGINE_ABSENT;
    info->engine = convert_engine(host->engine);
    if (*host->engine_name) {
        info->has_engine_name = true;
        info->engine_name = g_strdup(host->engine_name);
    }
    if (*host->engine_version) {
        info->has_engine_version = true;
        info->engine_version = g_strdup(host->engine_version);
    }
    convert_run(host->run, info);
    info->page_size = qemu_real_host_page_size();
    info->has_saved_bytes =
        pages_to_bytes(&host->counter[KSM_HOST_PAGES_SHARING],
                       &info->saved_bytes);
    info->counters = convert_counters(host->counter);
    if (*host->advisor_mode) {
        info->counters->has_advisor_mode = true;
        info->counters->advisor_mode = g_strdup(host->advisor_mode);
    }
    info->refused = convert_refused(host->refused);
    info->has_refused = info->refused != NULL;
    return info;
}

/*
 * A process that maps @merged bytes of merged pages is one of those who share
 * the host's kpages; all of them together save pages_sharing pages.
 */
static bool estimate_saved(const KsmHostStats *host, uint64_t merged,
                           uint64_t *saved)
{
    const KsmHostValue *shared = &host->counter[KSM_HOST_PAGES_SHARED];
    const KsmHostValue *sharing = &host->counter[KSM_HOST_PAGES_SHARING];
    double mappings = (double)shared->u + sharing->u;

    if (!shared->present || !sharing->present) {
        return false;
    }
    *saved = mappings ? merged * (sharing->u / mappings) : 0;
    return true;
}

static KsmVmInfo *convert_vm(const KsmHostStats *host,
                             const KsmHostProcess *proc)
{
    const KsmHostValue *field = proc->field;
    KsmVmInfo *info = g_new0(KsmVmInfo, 1);

    info->has_merged_bytes =
        pages_to_bytes(&field[KSM_HOST_PROC_MERGING_PAGES],
                       &info->merged_bytes);
    info->has_saved_bytes = info->has_merged_bytes &&
        estimate_saved(host, info->merged_bytes, &info->saved_bytes);
    info->has_zero_bytes =
        pages_to_bytes(&field[KSM_HOST_PROC_ZERO_PAGES], &info->zero_bytes);
    info->has_cow_breaks = field[KSM_HOST_PROC_COW_BREAKS].present;
    info->cow_breaks = field[KSM_HOST_PROC_COW_BREAKS].u;
    info->has_rmap_items = field[KSM_HOST_PROC_RMAP_ITEMS].present;
    info->rmap_items = field[KSM_HOST_PROC_RMAP_ITEMS].u;
    info->has_profit_bytes = field[KSM_HOST_PROC_PROFIT].present;
    info->profit_bytes = field[KSM_HOST_PROC_PROFIT].s;
    info->has_merge_any = field[KSM_HOST_PROC_MERGE_ANY].present;
    info->merge_any = field[KSM_HOST_PROC_MERGE_ANY].u;
    info->has_mergeable = field[KSM_HOST_PROC_MERGEABLE].present;
    info->mergeable = field[KSM_HOST_PROC_MERGEABLE].u;
    info->refused = convert_refused(proc->refused);
    info->has_refused = info->refused != NULL;
    info->has_domain = host->engine != KSM_HOST_ENGINE_ABSENT;
    if (info->has_domain) {
        /* The policy lets nobody choose another one. */
        info->domain = g_strdup(KSM_POLICY_DOMAIN);
    }
    info->policy = ksm_policy_info();
    info->has_policy = info->policy != NULL;
    return info;
}

/*
 * Who cannot live with guest RAM being discarded has pinned it: VFIO above all.
 */
static bool is_pinned(RAMBlock *block)
{
    return ram_block_discard_is_disabled() && ksm_ram_is_guest_ram(block);
}

static KsmBlockInfo *convert_block(const KsmRamState *state,
                                   const KsmHostRange *range)
{
    RAMBlock *block = state->block;
    KsmBlockInfo *info = g_new0(KsmBlockInfo, 1);
    const KsmBlockFacts facts = {
        .decided = state->reason,
        .hot_bytes = state->hot_bytes,
        .pinned = is_pinned(block),
        .range = range,
    };

    info->id = g_strdup(ksm_ram_name(block));
    info->memdev = ksm_ram_memdev(block);
    info->has_memdev = info->memdev != NULL;
    info->size = qemu_ram_get_used_length(block);
    info->page_size = qemu_ram_pagesize(block);
    info->requested = state->requested;
    if (state->error) {
        info->has_error = true;
        info->error = g_strdup(strerror(state->error));
    }
    ksm_block_judge(info, &facts);
    return info;
}

static KsmHostRange range_of(RAMBlock *block)
{
    return (KsmHostRange) {
        .start = (uintptr_t)block->host,
        .size = block->max_length,
    };
}

static void collect_range(const KsmRamState *state, void *opaque)
{
    KsmHostRange range = range_of(state->block);

    g_array_append_val((GArray *)opaque, range);
}

/* A walk through the page tables, on its way to another thread and back */
typedef struct Walk {
    const KsmHost *host;
    GArray *range;          /* of KsmHostRange */
    GError *err;
} Walk;

static int walk(void *opaque)
{
    Walk *w = opaque;

    ksm_host_read_ranges(w->host, 0, (KsmHostRange *)w->range->data,
                         w->range->len, &w->err);
    return 0;
}

/*
 * Where all RAM blocks are, and what the kernel says about them.  It takes so
 * long that nobody should wait with the big QEMU lock held; when it is done,
 * blocks may have come and gone.
 */
static GArray *walk_ranges(const KsmHost *host, KsmStats *stats)
{
    GArray *range = g_array_new(false, false, sizeof(KsmHostRange));
    Walk w = { .host = host, .range = range };

    ksm_ram_foreach(collect_range, range);
    if (qemu_in_coroutine()) {
        ThreadPool *pool =
            aio_get_thread_pool(qemu_get_current_aio_context());

        thread_pool_submit_co(pool, walk, &w);
    } else {
        walk(&w);
    }
    if (w.err) {
        note_problem(stats, w.err);
    }
    return range;
}

/* What is added to for each block, and what is known about them all */
typedef struct BlockReport {
    GArray *range;
    KsmVmInfo *vm;
    KsmBlockInfoList **tail;
} BlockReport;

static void report_block(const KsmRamState *state, void *opaque)
{
    BlockReport *report = opaque;
    KsmHostRange range = range_of(state->block);
    KsmBlockInfo *info;

    for (guint i = 0; report->range && i < report->range->len; i++) {
        KsmHostRange *walked = &g_array_index(report->range, KsmHostRange, i);

        if (walked->start == range.start && walked->size == range.size) {
            range = *walked;
            break;
        }
    }
    info = convert_block(state, &range);
    report->vm->mergeable_bytes += info->mergeable_bytes;
    QAPI_LIST_APPEND(report->tail, info);
}

KsmStats *ksm_query_stats(bool verify, Error **errp)
{
    g_autoptr(KsmHost) host = ksm_open_host();
    g_autoptr(GArray) range = NULL;
    KsmStats *stats = g_new0(KsmStats, 1);
    BlockReport report = { .tail = &stats->blocks };
    KsmHostStats host_stats;
    KsmHostProcess proc;
    GError *err = NULL;

    if (!ksm_host_read_stats(host, &host_stats, &err)) {
        note_problem(stats, g_steal_pointer(&err));
    }
    if (!ksm_host_read_process(host, 0, &proc, &err)) {
        note_problem(stats, g_steal_pointer(&err));
    }
    stats->host = convert_host(&host_stats);
    stats->vm = convert_vm(&host_stats, &proc);
    stats->kvm = kvm_reader ? kvm_reader() : NULL;
    stats->has_kvm = stats->kvm != NULL;
    if (verify) {
        range = walk_ranges(host, stats);
    }
    report.range = range;
    report.vm = stats->vm;
    ksm_ram_foreach(report_block, &report);
    return stats;
}

KsmStats *coroutine_fn qmp_query_ksm_stats(bool has_verify, bool verify,
                                           Error **errp)
{
    return ksm_query_stats(has_verify && verify, errp);
}
