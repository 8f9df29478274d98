/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "info ksm": query-ksm-stats for people, 80 columns wide
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/module.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-ksm.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"

/* "-" for what the kernel does not tell, otherwise like "1.5 GiB" */
static char *size_text(bool present, uint64_t bytes)
{
    return present ? size_to_str(bytes) : g_strdup("-");
}

static void print_size(Monitor *mon, const char *label, bool present,
                       uint64_t bytes)
{
    if (present) {
        g_autofree char *text = size_to_str(bytes);

        monitor_printf(mon, "  %-16s %s\n", label, text);
    }
}

static void print_count(Monitor *mon, const char *label, bool present,
                        uint64_t count)
{
    if (present) {
        monitor_printf(mon, "  %-16s %" PRIu64 "\n", label, count);
    }
}

static void print_host(Monitor *mon, const KsmHostInfo *host)
{
    const KsmHostCounters *c = host->counters;

    if (!host->available) {
        monitor_printf(mon, "Host: its kernel cannot merge pages (no KSM)\n");
        return;
    }
    monitor_printf(mon, "Host: engine %s%s%s, %s\n", host->engine_name,
                   host->has_engine_version ? " " : "",
                   host->has_engine_version ? host->engine_version : "",
                   host->has_run ? KsmRunState_str(host->run)
                                 : "run state unknown");
    print_size(mon, "saved", host->has_saved_bytes, host->saved_bytes);
    print_count(mon, "pages shared", c->has_pages_shared, c->pages_shared);
    print_count(mon, "pages sharing", c->has_pages_sharing, c->pages_sharing);
    print_count(mon, "full scans", c->has_full_scans, c->full_scans);
}

static void print_vm(Monitor *mon, const KsmVmInfo *vm)
{
    monitor_printf(mon, "This virtual machine:\n");
    print_size(mon, "mergeable", true, vm->mergeable_bytes);
    print_size(mon, "merged", vm->has_merged_bytes, vm->merged_bytes);
    print_size(mon, "saved (about)", vm->has_saved_bytes, vm->saved_bytes);
    print_size(mon, "zero pages", vm->has_zero_bytes, vm->zero_bytes);
    print_count(mon, "COW breaks", vm->has_cow_breaks, vm->cow_breaks);
    if (vm->has_merge_any && vm->merge_any) {
        monitor_printf(mon, "  all memory of this process was made mergeable "
                       "from outside\n");
    }
}

static void print_policy(Monitor *mon, const KsmPolicyInfo *policy)
{
    g_autoptr(GDateTime) when = g_date_time_new_from_unix_local(policy->when);
    g_autofree char *text = when ? g_date_time_format(when, "%F %T") : NULL;

    monitor_printf(mon, "Policy %.48s, mode %s:\n", policy->id,
                   OnOffAuto_str(policy->mode));
    monitor_printf(mon, "  %-16s since %s, %s\n",
                   KsmPolicyState_str(policy->state), text ? text : "-",
                   KsmPolicyReason_str(policy->reason));
    print_size(mon, "left out", policy->hot_bytes != 0, policy->hot_bytes);
}

static const char *state_text(const KsmBlockInfo *block)
{
    if (block->actual) {
        return "mergeable";
    }
    return block->mergeable_bytes ? "partly" : "no";
}

/* Columns: 26 + 1 + 10 + 1 + 10 + 1 + 9, then 2 + at most 19 for the reason */
static void print_block(Monitor *mon, const KsmBlockInfo *block)
{
    g_autofree char *size = size_text(true, block->size);
    g_autofree char *merged = size_text(block->has_merged_bytes,
                                        block->merged_bytes);

    monitor_printf(mon, "%-26.26s %10s %10s ", block->id, size, merged);
    if (block->reason == KSM_REFUSAL_NONE) {
        monitor_printf(mon, "%s\n", state_text(block));
    } else {
        monitor_printf(mon, "%-9s  %s\n", state_text(block),
                       KsmRefusal_str(block->reason));
    }
    if (block->has_error) {
        monitor_printf(mon, "  kernel: %s\n", block->error);
    }
}

static void hmp_info_ksm(Monitor *mon, const QDict *qdict)
{
    Error *err = NULL;
    g_autoptr(KsmStats) stats = qmp_query_ksm_stats(false, false, &err);

    if (hmp_handle_error(mon, err)) {
        return;
    }
    print_host(mon, stats->host);
    print_vm(mon, stats->vm);
    if (stats->vm->has_policy) {
        print_policy(mon, stats->vm->policy);
    }
    monitor_printf(mon, "%-26s %10s %10s %-9s  %s\n", "RAM block", "size",
                   "merged", "state", "why not");
    for (KsmBlockInfoList *item = stats->blocks; item; item = item->next) {
        print_block(mon, item->value);
    }
    if (stats->has_problem) {
        monitor_printf(mon, "Problem: %s\n", stats->problem);
    }
}

static void ksm_hmp_register(void)
{
    monitor_register_hmp("ksm", true, hmp_info_ksm);
}

type_init(ksm_hmp_register)
