/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When to merge: the decisions of a policy, from figures alone
 */

#include "qemu/osdep.h"
#include "ksm-auto.h"

/* The figures count in hundredths of a percent, the limits in percent. */
#define PERCENT 100

static bool is_short(const KsmAutoConfig *config, const KsmAutoSample *sample)
{
    return config->min_free && sample->available.known &&
           sample->available.value < config->min_free * PERCENT;
}

static bool is_stalling(const KsmAutoConfig *config,
                        const KsmAutoSample *sample)
{
    return config->stall && sample->stall.known &&
           sample->stall.value >= config->stall * PERCENT;
}

/* Clear of every limit that is set and can be compared; of one at least */
static bool is_eased(const KsmAutoConfig *config, const KsmAutoSample *sample)
{
    bool use_free = config->min_free && sample->available.known;
    bool use_stall = config->stall && sample->stall.known;

    if (use_free && sample->available.value <
        (config->min_free + config->hysteresis) * PERCENT) {
        return false;
    }
    if (use_stall && sample->stall.value * 2 > config->stall * PERCENT) {
        return false;
    }
    return use_free || use_stall;
}

static bool may_change(const KsmAutoState *state, const KsmAutoConfig *config,
                       int64_t now_ms)
{
    return state->reason == KSM_AUTO_START ||
           now_ms - state->since_ms >= config->dwell_ms;
}

KsmAutoState ksm_auto_decide(KsmAutoState state, const KsmAutoConfig *config,
                             const KsmAutoSample *sample)
{
    KsmAutoState next = { .since_ms = sample->now_ms };

    if (is_short(config, sample)) {
        next.reason = KSM_AUTO_LOW_MEMORY;
        next.merging = true;
    } else if (is_stalling(config, sample)) {
        next.reason = KSM_AUTO_STALLS;
        next.merging = true;
    } else if (is_eased(config, sample)) {
        next.reason = KSM_AUTO_EASED;
    } else {
        return state;
    }
    if (next.merging == state.merging ||
        !may_change(&state, config, sample->now_ms)) {
        return state;
    }
    return next;
}

KsmHeatState ksm_heat_decide(KsmHeatState state, int written,
                             unsigned hot_percent)
{
    bool change = state.hot ? written * 2 <= (int)hot_percent
                            : written > (int)hot_percent;

    if (written < 0) {
        return state;
    }
    state.streak = change ? state.streak + 1 : 0;
    if (state.streak >= (state.hot ? KSM_HEAT_LOOKS_COOL
                                   : KSM_HEAT_LOOKS_HOT)) {
        state.hot = !state.hot;
        state.streak = 0;
    }
    return state;
}

bool ksm_sharing_collapsed(const KsmSharing *before, const KsmSharing *after,
                           uint64_t *breaks)
{
    uint64_t enough;

    *breaks = 0;
    if (!before->known || !after->known || after->merged > before->merged) {
        return false;
    }
    *breaks = before->merged - after->merged;
    if (before->has_breaks && after->has_breaks) {
        *breaks = after->breaks - before->breaks;
    }
    enough = MAX(KSM_COLLAPSE_PAGES,
                 before->merged / (100 / KSM_COLLAPSE_PERCENT));
    return *breaks >= enough;
}
