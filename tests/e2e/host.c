// SPDX-License-Identifier: GPL-2.0-or-later
/* The host's side: merge engine, ksmd, memory. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "channel.h"
#include "host.h"
#include "hw/ksm/ksm-host-range.h"

static const KsmHostCounter knobs[] = {
    KSM_HOST_PAGES_TO_SCAN, KSM_HOST_SLEEP_MILLISECS,
};

/* Process id of the kernel thread ksmd, 0 if there is none. */
static pid_t find_ksmd(void)
{
    g_autoptr(GDir) proc = g_dir_open("/proc", 0, NULL);
    const char *name;

    while (proc && (name = g_dir_read_name(proc))) {
        g_autofree char *path = g_strdup_printf("/proc/%s/comm", name);
        g_autofree char *comm = NULL;

        if (g_ascii_isdigit(*name) &&
            g_file_get_contents(path, &comm, NULL, NULL) &&
            !strcmp(comm, "ksmd\n")) {
            return g_ascii_strtoull(name, NULL, 10);
        }
    }
    return 0;
}

static bool read_ksmd(Host *host, GError **errp)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/stat", host->ksmd);
    g_autofree char *text = NULL;
    unsigned long long user, system;
    const char *at;

    if (!g_file_get_contents(path, &text, NULL, errp)) {
        return false;
    }
    /* state and ten numbers between the name's bracket and utime, stime */
    at = strrchr(text, ')');
    if (!at || sscanf(at, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u "
                      "%llu %llu", &user, &system) != 2) {
        g_set_error(errp, SHARING_ERROR, SHARING_ERROR_FORMAT,
                    "%s holds \"%.80s\"", path, text);
        return false;
    }
    host->ksmd_seconds = (double)(user + system) / sysconf(_SC_CLK_TCK);
    return true;
}

static bool read_anon(Host *host, GError **errp)
{
    g_autofree char *text = NULL;
    const char *at;

    if (!g_file_get_contents("/proc/meminfo", &text, NULL, errp)) {
        return false;
    }
    at = strstr(text, "\nAnonPages:");
    if (!at) {
        g_set_error(errp, SHARING_ERROR, SHARING_ERROR_FORMAT,
                    "/proc/meminfo has no AnonPages");
        return false;
    }
    at += strlen("\nAnonPages:");
    host->anon_bytes = g_ascii_strtoull(at, NULL, 10) * 1024;
    return true;
}

static bool host_check_engine(const Host *host, const Options *o,
                              GError **errp)
{
    const KsmHostStats *s = &host->stats;

    if (s->engine == KSM_HOST_ENGINE_ABSENT) {
        g_set_error(errp, SHARING_ERROR, SHARING_ERROR_HOST,
                    "this kernel has no same-page merging (no "
                    "/sys/kernel/mm/ksm)");
        return false;
    }
    if (o->engine && strcmp(o->engine, s->engine_name)) {
        g_set_error(errp, SHARING_ERROR, SHARING_ERROR_HOST,
                    "this kernel's merge engine is %s, not %s",
                    s->engine_name, o->engine);
        return false;
    }
    return true;
}

bool host_open(Host *host, const Options *o, GError **errp)
{
    *host = (Host) { .ksm = ksm_host_new(NULL) };
    if (geteuid() != 0) {
        g_set_error(errp, SHARING_ERROR, SHARING_ERROR_HOST,
                    "this needs root: it sets the kernel's knobs");
        return false;
    }
    if (access("/dev/kvm", R_OK | W_OK) < 0) {
        g_set_error(errp, SHARING_ERROR, SHARING_ERROR_HOST,
                    "/dev/kvm: %s", g_strerror(errno));
        return false;
    }
    host->ksmd = find_ksmd();
    if (!host_sample(host, errp) || !host_check_engine(host, o, errp)) {
        return false;
    }
    host->saved_knobs = host->stats;
    return true;
}

void host_close(Host *host)
{
    const KsmHostStats *old = &host->saved_knobs;

    if (host->knobs_changed) {
        for (size_t n = 0; n < G_N_ELEMENTS(knobs); n++) {
            if (old->counter[knobs[n]].present) {
                ksm_host_write_knob(host->ksm,
                                    ksm_host_counter_name(knobs[n]),
                                    old->counter[knobs[n]].u, NULL);
            }
        }
        if (old->run != KSM_HOST_RUN_UNKNOWN) {
            ksm_host_write_knob(host->ksm, "run", old->run, NULL);
        }
    }
    g_clear_pointer(&host->ksm, ksm_host_free);
}

bool host_set_knobs(Host *host, const Options *o, GError **errp)
{
    const int values[] = { o->pages_to_scan, o->sleep_millisecs };

    host->knobs_changed = true;
    for (size_t n = 0; n < G_N_ELEMENTS(knobs); n++) {
        if (!ksm_host_write_knob(host->ksm, ksm_host_counter_name(knobs[n]),
                                 values[n], errp)) {
            return false;
        }
    }
    return true;
}

bool host_set_run(Host *host, KsmHostRun run, GError **errp)
{
    host->knobs_changed = true;
    return ksm_host_write_knob(host->ksm, "run", run, errp);
}

bool host_sample(Host *host, GError **errp)
{
    if (!ksm_host_read_stats(host->ksm, &host->stats, errp) ||
        !read_anon(host, errp)) {
        return false;
    }
    /* Without an engine there is no ksmd to read; the caller reports that. */
    return !host->ksmd || read_ksmd(host, errp);
}

bool host_sample_guest(const Host *host, Guest *g, GError **errp)
{
    KsmHostProcess p;

    if (!ksm_host_read_process(host->ksm, g->pid, &p, errp)) {
        return false;
    }
    g->merged_pages = p.field[KSM_HOST_PROC_MERGING_PAGES].u;
    g->cow_known = p.field[KSM_HOST_PROC_COW_BREAKS].present;
    g->cow_breaks = p.field[KSM_HOST_PROC_COW_BREAKS].u;
    return true;
}

bool host_sample_mergeable(const Host *host, Guest *g, GError **errp)
{
    KsmHostRange range = {
        .start = g->ram_host, .size = (uint64_t)g->ram_mib << 20,
    };

    if (!ksm_host_read_ranges(host->ksm, g->pid, &range, 1, errp)) {
        return false;
    }
    g->mergeable_bytes = range.known ? range.mergeable : 0;
    return true;
}

uint64_t host_counter(const Host *host, KsmHostCounter counter)
{
    const KsmHostValue *v = &host->stats.counter[counter];

    return v->present ? v->u : 0;
}

uint64_t host_saved_bytes(const Host *host)
{
    return host_counter(host, KSM_HOST_PAGES_SHARING) * HOST_PAGE;
}

uint64_t host_guest_saved_bytes(const Host *host, const Guest *g)
{
    uint64_t sharing = host_counter(host, KSM_HOST_PAGES_SHARING);
    uint64_t all = sharing + host_counter(host, KSM_HOST_PAGES_SHARED);

    return all ? (uint64_t)((double)g->merged_pages * sharing / all) *
                 HOST_PAGE : 0;
}
