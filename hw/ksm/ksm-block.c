/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the report says of one RAM block, from what is known of it
 */

#include "qemu/osdep.h"
#include "ksm-block.h"
#include "ksm-reason.h"

/* The kernel said nothing, but did not do it either: what kind of memory? */
static KsmRefusal explain_ignored(const KsmHostRange *range)
{
    if (range->special) {
        return KSM_REFUSAL_SPECIAL_MAPPING;
    }
    if (range->huge) {
        return KSM_REFUSAL_HUGE_PAGES;
    }
    if (range->shared) {
        return KSM_REFUSAL_SHARED_MAPPING;
    }
    return KSM_REFUSAL_KERNEL_IGNORED;
}

/* What the kernel's list says comes before what it was told. */
static void judge_by_list(KsmBlockInfo *info, const KsmHostRange *range)
{
    info->verified = true;
    info->mergeable_bytes = MIN(range->mergeable, info->size);
    info->actual = range->mergeable && range->mergeable == range->mapped;
    if (info->actual && info->requested) {
        info->reason = KSM_REFUSAL_NONE;
    } else if (info->requested && info->reason == KSM_REFUSAL_NONE) {
        info->reason = explain_ignored(range);
    }
}

static void judge_by_advice(KsmBlockInfo *info, const KsmBlockFacts *facts)
{
    info->actual = info->reason == KSM_REFUSAL_NONE;
    info->mergeable_bytes = info->actual ? info->size : 0;
    if (info->reason == KSM_REFUSAL_WRITE_HOT) {
        info->mergeable_bytes = info->size - MIN(info->size, facts->hot_bytes);
    }
}

/*
 * The kernel may merge what is pinned, but its engine finds every page in use.
 * Then it does not matter that some of it would be left out.
 */
static bool is_held_by_pins(const KsmBlockInfo *info,
                            const KsmBlockFacts *facts)
{
    return facts->pinned && (info->reason == KSM_REFUSAL_NONE ||
                             info->reason == KSM_REFUSAL_WRITE_HOT);
}

void ksm_block_judge(KsmBlockInfo *info, const KsmBlockFacts *facts)
{
    info->reason = facts->decided;
    if (facts->range->known && facts->range->mapped) {
        judge_by_list(info, facts->range);
    } else {
        judge_by_advice(info, facts);
    }
    /* A block that can grow has the memory for it already. */
    info->has_merged_bytes = facts->range->merged.present;
    info->merged_bytes = MIN(facts->range->merged.u, info->size);
    if (is_held_by_pins(info, facts)) {
        info->reason = KSM_REFUSAL_PINNED;
    }
    if ((!info->actual || info->reason == KSM_REFUSAL_PINNED) &&
        ksm_reason_remedy(info->reason)) {
        info->has_remedy = true;
        info->remedy = g_strdup(ksm_reason_remedy(info->reason));
    }
}
