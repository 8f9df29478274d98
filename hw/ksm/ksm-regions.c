/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest RAM in regions, of which those that are written to a lot are left out
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/host-utils.h"
#include "qemu/units.h"
#include "exec/ramblock.h"
#include "ksm-auto.h"
#include "ksm-heat.h"
#include "ksm-ram.h"
#include "ksm-regions.h"
#include "trace.h"

/*
 * Each region costs time to look at and may cost the kernel a mapping of its
 * own, so that there are not more of them in a larger guest.
 */
#define REGIONS_MAX 64
#define REGION_SIZE_MIN (2 * MiB)

struct KsmRegions {
    bool valid;                 /* the rest is, for ... */
    unsigned generation;        /* ... blocks as they are now */
    uint64_t region_size;
    GArray *range;              /* of KsmHeatRange, block by block */
    KsmHeatState *state;        /* of each range */
    KsmHeat *heat;
};

static bool is_offered(const KsmRamState *state)
{
    return ksm_ram_is_guest_ram(state->block) &&
           (state->reason == KSM_REFUSAL_NONE ||
            state->reason == KSM_REFUSAL_WRITE_HOT);
}

static void add_size(const KsmRamState *state, void *opaque)
{
    uint64_t *total = opaque;

    if (is_offered(state)) {
        *total += state->block->used_length;
    }
}

static void add_ranges(const KsmRamState *state, void *opaque)
{
    KsmRegions *regions = opaque;
    KsmHeatRange range = { .block = state->block };

    if (!is_offered(state)) {
        return;
    }
    for (; range.offset < state->block->used_length;
         range.offset += range.length) {
        range.length = MIN(regions->region_size,
                           state->block->used_length - range.offset);
        g_array_append_val(regions->range, range);
    }
}

static void forget(KsmRegions *regions)
{
    if (regions->heat) {
        ksm_heat_forget(regions->heat);
        regions->heat = NULL;
    }
    g_clear_pointer(&regions->state, g_free);
    g_array_set_size(regions->range, 0);
    regions->valid = false;
}

static void add_block(const KsmRamState *state, void *opaque)
{
    g_ptr_array_add(opaque, state->block);
}

static void leave_nothing_out(void)
{
    g_autoptr(GPtrArray) block = g_ptr_array_new();

    ksm_ram_foreach(add_block, block);
    for (guint i = 0; i < block->len; i++) {
        ksm_ram_set_hot(block->pdata[i], 0, NULL, 0);
    }
}

static void begin(KsmRegions *regions)
{
    uint64_t total = 0;

    forget(regions);
    leave_nothing_out();
    ksm_ram_foreach(add_size, &total);
    regions->region_size = MAX(REGION_SIZE_MIN,
                               pow2ceil(DIV_ROUND_UP(total, REGIONS_MAX)));
    ksm_ram_foreach(add_ranges, regions);
    regions->state = g_new0(KsmHeatState, regions->range->len);
    regions->heat = ksm_heat_watch(
        (const KsmHeatRange *)regions->range->data, regions->range->len);
    regions->generation = ksm_ram_generation();
    regions->valid = true;
}

/* Tells ksm-ram.c about the regions of one block, from @i on; the next one */
static guint apply_block(KsmRegions *regions, guint i)
{
    const KsmHeatRange *range = (KsmHeatRange *)regions->range->data;
    RAMBlock *block = range[i].block;
    g_autofree unsigned long *hot = NULL;
    guint first = i;

    while (i < regions->range->len && range[i].block == block) {
        i++;
    }
    hot = bitmap_new(i - first);
    for (guint j = first; j < i; j++) {
        if (regions->state[j].hot) {
            set_bit(j - first, hot);
        }
    }
    ksm_ram_set_hot(block, regions->region_size, hot, i - first);
    return i;
}

static bool decide(KsmRegions *regions, guint i, int written,
                   unsigned hot_percent)
{
    const KsmHeatRange *range = &g_array_index(regions->range, KsmHeatRange,
                                               i);
    KsmHeatState *state = &regions->state[i];
    bool was_hot = state->hot;

    *state = ksm_heat_decide(*state, written, hot_percent);
    if (state->hot != was_hot) {
        trace_ksm_region(ksm_ram_name(range->block), range->offset,
                         range->length, written, state->hot);
    }
    return state->hot != was_hot;
}

void ksm_regions_look(KsmRegions *regions, unsigned hot_percent)
{
    g_autofree int *written = NULL;
    bool changed = false;

    if (!regions->valid || regions->generation != ksm_ram_generation()) {
        begin(regions);
        return;
    }
    written = g_new(int, regions->range->len);
    ksm_heat_read(regions->heat, written);
    for (guint i = 0; i < regions->range->len; i++) {
        changed |= decide(regions, i, written[i], hot_percent);
    }
    for (guint i = 0; changed && i < regions->range->len; ) {
        i = apply_block(regions, i);
    }
}

KsmRegions *ksm_regions_new(void)
{
    KsmRegions *regions = g_new0(KsmRegions, 1);

    regions->range = g_array_new(false, false, sizeof(KsmHeatRange));
    return regions;
}

void ksm_regions_free(KsmRegions *regions)
{
    if (regions) {
        leave_nothing_out();
        forget(regions);
        g_array_free(regions->range, true);
        g_free(regions);
    }
}
