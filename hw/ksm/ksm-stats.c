/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Provider "ksm" of query-stats and query-stats-schemas
 *
 * Here and not in accel/kvm because the kernel merges the memory of any
 * process: with TCG there is as much to tell.
 */

#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "qemu/module.h"
#include "qapi/util.h"
#include "monitor/stats.h"
#include "ksm-open.h"
#include "trace.h"

/* How a value is to be read */
typedef enum StatKind {
    STAT_NUMBER,
    STAT_PAGES,         /* bytes, as a multiple of the host's page size */
    STAT_BOOLEAN,
} StatKind;

typedef struct StatDesc {
    bool of_process;    /* @id is a KsmHostProcessField, not a counter */
    int id;
    StatsType type;
    StatKind kind;
} StatDesc;

/*
 * Numbers only that cannot be negative, since query-stats has no others, and
 * no settings.  Those which start again at zero when the administrator has all
 * memory unmerged are not cumulative.
 */
static const StatDesc stat_desc[] = {
    { false, KSM_HOST_PAGES_SHARED, STATS_TYPE_INSTANT, STAT_PAGES },
    { false, KSM_HOST_PAGES_SHARING, STATS_TYPE_INSTANT, STAT_PAGES },
    { false, KSM_HOST_PAGES_UNSHARED, STATS_TYPE_INSTANT, STAT_PAGES },
    { false, KSM_HOST_PAGES_VOLATILE, STATS_TYPE_INSTANT, STAT_PAGES },
    { false, KSM_HOST_KSM_ZERO_PAGES, STATS_TYPE_INSTANT, STAT_PAGES },
    { false, KSM_HOST_STABLE_NODE_CHAINS, STATS_TYPE_INSTANT, STAT_NUMBER },
    { false, KSM_HOST_STABLE_NODE_DUPS, STATS_TYPE_INSTANT, STAT_NUMBER },
    { false, KSM_HOST_FULL_SCANS, STATS_TYPE_INSTANT, STAT_NUMBER },
    { false, KSM_HOST_PAGES_SCANNED, STATS_TYPE_CUMULATIVE, STAT_PAGES },
    { false, KSM_HOST_PAGES_SKIPPED, STATS_TYPE_CUMULATIVE, STAT_PAGES },
    { true, KSM_HOST_PROC_MERGING_PAGES, STATS_TYPE_INSTANT, STAT_PAGES },
    { true, KSM_HOST_PROC_ZERO_PAGES, STATS_TYPE_INSTANT, STAT_PAGES },
    { true, KSM_HOST_PROC_RMAP_ITEMS, STATS_TYPE_INSTANT, STAT_NUMBER },
    { true, KSM_HOST_PROC_COW_BREAKS, STATS_TYPE_CUMULATIVE, STAT_NUMBER },
    { true, KSM_HOST_PROC_MERGE_ANY, STATS_TYPE_INSTANT, STAT_BOOLEAN },
    { true, KSM_HOST_PROC_MERGEABLE, STATS_TYPE_INSTANT, STAT_BOOLEAN },
};

/* Of every reason there is one for the host, and one for the process. */
static const StatDesc refused_desc = {
    .type = STATS_TYPE_CUMULATIVE,
    .kind = STAT_NUMBER,
};

typedef void (*StatFunc)(const StatDesc *desc, const char *name,
                         const KsmHostValue *value, void *opaque);

/* Calls @func for @value if the host tells it, under the name PREFIX + NAME. */
static void tell(StatFunc func, void *opaque, const StatDesc *desc,
                 const char *prefix, const char *name,
                 const KsmHostValue *value)
{
    g_autofree char *full = g_strconcat(prefix, name, NULL);

    if (value->present) {
        func(desc, full, value, opaque);
    }
}

static void trace_problem(GError *err)
{
    if (err) {
        trace_ksm_host_problem(err->message);
        g_error_free(err);
    }
}

/* Always in the same order, which HMP's "info stats" relies on */
static void foreach_stat(StatFunc func, void *opaque)
{
    g_autoptr(KsmHost) host = ksm_open_host();
    KsmHostStats stats;
    KsmHostProcess proc;
    GError *host_err = NULL, *proc_err = NULL;

    ksm_host_read_stats(host, &stats, &host_err);
    ksm_host_read_process(host, 0, &proc, &proc_err);
    trace_problem(host_err);
    trace_problem(proc_err);
    for (size_t i = 0; i < G_N_ELEMENTS(stat_desc); i++) {
        const StatDesc *desc = &stat_desc[i];

        if (desc->of_process) {
            tell(func, opaque, desc, "",
                 ksm_host_process_field_name(desc->id), &proc.field[desc->id]);
        } else {
            tell(func, opaque, desc, "host_", ksm_host_counter_name(desc->id),
                 &stats.counter[desc->id]);
        }
    }
    for (int i = 0; i < KSM_HOST_REASON__MAX; i++) {
        tell(func, opaque, &refused_desc, "host_refused_",
             ksm_host_reason_name(i), &stats.refused[i]);
        tell(func, opaque, &refused_desc, "ksm_refused_",
             ksm_host_reason_name(i), &proc.refused[i]);
    }
}

/* What is asked for, and where the answer grows */
typedef struct ValueQuery {
    strList *names;
    StatsList *first, **tail;
} ValueQuery;

static void add_value(const StatDesc *desc, const char *name,
                      const KsmHostValue *value, void *opaque)
{
    ValueQuery *query = opaque;
    Stats *stats;

    if (!apply_str_list_filter(name, query->names)) {
        return;
    }
    stats = g_new0(Stats, 1);
    stats->name = g_strdup(name);
    stats->value = g_new0(StatsValue, 1);
    if (desc->kind == STAT_BOOLEAN) {
        stats->value->type = QTYPE_QBOOL;
        stats->value->u.boolean = value->u;
    } else {
        stats->value->type = QTYPE_QNUM;
        stats->value->u.scalar = value->u;
    }
    QAPI_LIST_APPEND(query->tail, stats);
}

static void query_values(StatsResultList **result, StatsTarget target,
                         strList *names, strList *targets, Error **errp)
{
    ValueQuery query = { .names = names, .tail = &query.first };

    if (target != STATS_TARGET_VM) {
        return;
    }
    foreach_stat(add_value, &query);
    if (query.first) {
        add_stats_entry(result, STATS_PROVIDER_KSM, NULL, query.first);
    }
}

static void add_schema(const StatDesc *desc, const char *name,
                       const KsmHostValue *value, void *opaque)
{
    StatsSchemaValueList ***tail = opaque;
    StatsSchemaValue *schema = g_new0(StatsSchemaValue, 1);

    schema->name = g_strdup(name);
    schema->type = desc->type;
    schema->has_unit = desc->kind != STAT_NUMBER;
    if (desc->kind == STAT_BOOLEAN) {
        schema->unit = STATS_UNIT_BOOLEAN;
    } else if (desc->kind == STAT_PAGES) {
        schema->unit = STATS_UNIT_BYTES;
        schema->has_base = true;
        schema->base = 2;
        schema->exponent = ctz64(qemu_real_host_page_size());
    }
    QAPI_LIST_APPEND(*tail, schema);
}

static void query_schema(StatsSchemaList **result, Error **errp)
{
    StatsSchemaValueList *first = NULL, **tail = &first;

    foreach_stat(add_schema, &tail);
    if (first) {
        add_stats_schema(result, STATS_PROVIDER_KSM, STATS_TARGET_VM, first);
    }
}

static void ksm_stats_register(void)
{
    add_stats_callbacks(STATS_PROVIDER_KSM, query_values, query_schema);
}

type_init(ksm_stats_register)
