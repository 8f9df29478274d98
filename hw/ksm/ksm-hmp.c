/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "info ksm": query-ksm-stats for people, 80 columns wide
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/module.h"
#include "qapi/error.h"
#include "qapi/qmp/qdict.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "ksm-query.h"

#define LINE_WIDTH 80

/*
 * @text in lines of LINE_WIDTH, all but the first one indented.  Words that
 * are longer than a line, such as paths, are broken.
 */
static void print_wrapped(Monitor *mon, const char *text)
{
    const char *indent = "";
    size_t width = LINE_WIDTH;

    while (strlen(text) > width) {
        size_t len = width;

        while (len > 0 && text[len] != ' ') {
            len--;
        }
        if (len == 0) {
            len = width;
        }
        monitor_printf(mon, "%s%.*s\n", indent, (int)len, text);
        text += len + (text[len] == ' ');
        indent = "  ";
        width = LINE_WIDTH - strlen(indent);
    }
    monitor_printf(mon, "%s%s\n", indent, text);
}

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

static void print_signed_size(Monitor *mon, const char *label, bool present,
                              int64_t bytes)
{
    if (present) {
        g_autofree char *text = size_to_str(bytes < 0 ? -(uint64_t)bytes
                                                      : bytes);

        monitor_printf(mon, "  %-16s %s%s\n", label, bytes < 0 ? "-" : "",
                       text);
    }
}

/* What was refused at all, the rest is noise */
static void print_refused(Monitor *mon, KsmPageRefusalCountList *list)
{
    g_autoptr(GString) text = g_string_new("  not merged       ");
    const char *comma = "";

    for (; list; list = list->next) {
        if (list->value->pages) {
            g_string_append_printf(text, "%s%s=%" PRIu64, comma,
                                   KsmPageRefusal_str(list->value->reason),
                                   list->value->pages);
            comma = ", ";
        }
    }
    if (*comma) {
        print_wrapped(mon, text->str);
    }
}

static void print_host(Monitor *mon, const KsmHostInfo *host)
{
    const KsmHostCounters *c = host->counters;
    g_autofree char *title = NULL;

    if (!host->available) {
        monitor_printf(mon, "Host: its kernel cannot merge pages (no KSM)\n");
        return;
    }
    title = g_strdup_printf("Host: engine %s%s%s, %s",
                            host->has_engine_name ? host->engine_name
                                                  : "unknown",
                            host->has_engine_version ? " " : "",
                            host->has_engine_version ? host->engine_version
                                                     : "",
                            host->has_run ? KsmRunState_str(host->run)
                                          : "run state unknown");
    print_wrapped(mon, title);
    print_size(mon, "saved", host->has_saved_bytes, host->saved_bytes);
    print_signed_size(mon, "profit", c->has_general_profit,
                      c->general_profit);
    print_count(mon, "pages shared", c->has_pages_shared, c->pages_shared);
    print_count(mon, "pages sharing", c->has_pages_sharing, c->pages_sharing);
    print_count(mon, "full scans", c->has_full_scans, c->full_scans);
    print_refused(mon, host->refused);
}

static void print_vm(Monitor *mon, const KsmVmInfo *vm)
{
    monitor_printf(mon, "This virtual machine:\n");
    print_size(mon, "mergeable", true, vm->mergeable_bytes);
    print_size(mon, "merged", vm->has_merged_bytes, vm->merged_bytes);
    print_size(mon, "saved (about)", vm->has_saved_bytes, vm->saved_bytes);
    print_size(mon, "zero pages", vm->has_zero_bytes, vm->zero_bytes);
    print_signed_size(mon, "profit", vm->has_profit_bytes, vm->profit_bytes);
    print_count(mon, "COW breaks", vm->has_cow_breaks, vm->cow_breaks);
    print_refused(mon, vm->refused);
    if (vm->has_domain) {
        monitor_printf(mon, "  %-16s %s\n", "domain", vm->domain);
    }
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

static void print_kvm(Monitor *mon, const KsmKvmInfo *kvm)
{
    monitor_printf(mon, "KVM, since the start and not for merging only:\n");
    print_count(mon, "TLB flushes", kvm->has_tlb_flushes, kvm->tlb_flushes);
    print_count(mon, "page faults", kvm->has_page_faults, kvm->page_faults);
    print_count(mon, "exits", kvm->has_exits, kvm->exits);
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
        g_autofree char *text = g_strdup_printf("  kernel: %s",
                                                block->error);

        print_wrapped(mon, text);
    }
}

static void print_blocks(Monitor *mon, KsmBlockInfoList *blocks)
{
    bool seen[KSM_REFUSAL__MAX] = { false };

    monitor_printf(mon, "%-26s %10s %10s %-9s  %s\n", "RAM block", "size",
                   "merged", "state", "why not");
    for (KsmBlockInfoList *item = blocks; item; item = item->next) {
        print_block(mon, item->value);
    }
    for (KsmBlockInfoList *item = blocks; item; item = item->next) {
        KsmRefusal reason = item->value->reason;

        if (item->value->has_remedy && !seen[reason]) {
            g_autofree char *text = g_strdup_printf("%s: %s",
                                                    KsmRefusal_str(reason),
                                                    item->value->remedy);

            print_wrapped(mon, text);
            seen[reason] = true;
        }
    }
}

static void hmp_info_ksm(Monitor *mon, const QDict *qdict)
{
    bool verify = qdict_get_try_bool(qdict, "verify", false);
    Error *err = NULL;
    g_autoptr(KsmStats) stats = ksm_query_stats(verify, &err);

    if (hmp_handle_error(mon, err)) {
        return;
    }
    print_host(mon, stats->host);
    print_vm(mon, stats->vm);
    if (stats->vm->has_policy) {
        print_policy(mon, stats->vm->policy);
    }
    if (stats->has_kvm) {
        print_kvm(mon, stats->kvm);
    }
    print_blocks(mon, stats->blocks);
    if (!verify && stats->blocks) {
        monitor_printf(mon, "What is merged of each block: info ksm -v\n");
    }
    if (stats->has_problem) {
        g_autofree char *text = g_strdup_printf("Problem: %s",
                                                stats->problem);

        print_wrapped(mon, text);
    }
}

static void ksm_hmp_register(void)
{
    monitor_register_hmp("ksm", true, hmp_info_ksm);
}

type_init(ksm_hmp_register)
