/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Looks at the host from time to time, for a policy with mode=auto
 */

#include "qemu/osdep.h"
#include "qemu/timer.h"
#include "qapi/qapi-events-ksm-policy.h"
#include "ksm-open.h"
#include "ksm-regions.h"
#include "ksm-watch.h"
#include "trace.h"

/*
 * A collapse of sharing is looked for at every so many looks, so that it is
 * reported once in that time at most.
 */
#define LOOKS_PER_SPAN 6

struct KsmWatch {
    KsmWatchConfig config;
    KsmWatchFunc changed;
    void *opaque;
    QEMUTimer *timer;
    KsmAutoState state;
    KsmHostPressure pressure;
    KsmRegions *regions;        /* NULL if nothing is left out */
    KsmSharing sharing;         /* at the start of the time span */
    unsigned looks;
};

static int for_trace(const KsmAutoShare *share)
{
    return share->known ? (int)share->value : -1;
}

static void read_pressure(KsmWatch *watch, const KsmHost *host,
                          KsmAutoSample *sample)
{
    KsmHostPressure *pressure = &watch->pressure;
    GError *err = NULL;

    if (!ksm_host_read_pressure(host, pressure, &err)) {
        trace_ksm_host_problem(err->message);
        g_error_free(err);
    }
    *sample = (KsmAutoSample) {
        .now_ms = qemu_clock_get_ms(QEMU_CLOCK_REALTIME),
        .stall = { pressure->stall.present, pressure->stall.u },
        .available = { pressure->available.present, pressure->available.u },
    };
    trace_ksm_watch_pressure(for_trace(&sample->stall),
                             for_trace(&sample->available));
}

static void decide(KsmWatch *watch, const KsmHost *host)
{
    bool was_merging = watch->state.merging;
    KsmAutoSample sample;

    read_pressure(watch, host, &sample);
    watch->state = ksm_auto_decide(watch->state, &watch->config.limits,
                                   &sample);
    if (watch->state.merging != was_merging) {
        watch->changed(&watch->state, watch->opaque);
    }
}

static KsmSharing read_sharing(const KsmHost *host)
{
    KsmHostProcess proc;
    const KsmHostValue *merged = &proc.field[KSM_HOST_PROC_MERGING_PAGES];
    const KsmHostValue *breaks = &proc.field[KSM_HOST_PROC_COW_BREAKS];

    /* Here, a file that makes no sense is as good as none. */
    ksm_host_read_process(host, 0, &proc, NULL);
    return (KsmSharing) {
        .known = merged->present,
        .merged = merged->u,
        .has_breaks = breaks->present,
        .breaks = breaks->u,
    };
}

static void watch_sharing(KsmWatch *watch, const KsmHost *host)
{
    const uint64_t page_size = qemu_real_host_page_size();
    KsmSharing now;
    uint64_t breaks;

    if (watch->looks++ % LOOKS_PER_SPAN) {
        return;
    }
    now = read_sharing(host);
    if (ksm_sharing_collapsed(&watch->sharing, &now, &breaks)) {
        trace_ksm_watch_collapsed(watch->sharing.merged, now.merged, breaks);
        qapi_event_send_ksm_sharing_collapsed(
            watch->sharing.merged * page_size, now.merged * page_size, breaks);
    }
    watch->sharing = now;
}

/* Costs nothing while nothing is offered: what is left out just stays so. */
static void watch_heat(KsmWatch *watch)
{
    unsigned hot_percent = watch->config.hot_percent;

    if (hot_percent >= 100) {
        g_clear_pointer(&watch->regions, ksm_regions_free);
    } else if (watch->state.merging) {
        if (!watch->regions) {
            watch->regions = ksm_regions_new();
        }
        ksm_regions_look(watch->regions, hot_percent);
    }
}

static void look_in(KsmWatch *watch, int64_t ms)
{
    timer_mod(watch->timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + ms);
}

static void look(void *opaque)
{
    KsmWatch *watch = opaque;
    g_autoptr(KsmHost) host = ksm_open_host();

    decide(watch, host);
    watch_heat(watch);
    watch_sharing(watch, host);
    look_in(watch, watch->config.interval_ms);
}

KsmWatch *ksm_watch_new(const KsmWatchConfig *config, KsmWatchFunc changed,
                        void *opaque)
{
    KsmWatch *watch = g_new0(KsmWatch, 1);

    watch->changed = changed;
    watch->opaque = opaque;
    watch->state.reason = KSM_AUTO_START;
    watch->timer = timer_new_ms(QEMU_CLOCK_REALTIME, look, watch);
    ksm_watch_set_config(watch, config);
    return watch;
}

void ksm_watch_free(KsmWatch *watch)
{
    if (watch) {
        timer_free(watch->timer);
        ksm_regions_free(watch->regions);
        g_free(watch);
    }
}

void ksm_watch_set_config(KsmWatch *watch, const KsmWatchConfig *config)
{
    watch->config = *config;
    look_in(watch, 0);
}

bool ksm_watch_is_merging(const KsmWatch *watch)
{
    return watch->state.merging;
}

const KsmHostPressure *ksm_watch_pressure(const KsmWatch *watch)
{
    return &watch->pressure;
}
