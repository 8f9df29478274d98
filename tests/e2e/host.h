/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host's side: merge engine, ksmd, memory. */
#ifndef SHARING_HOST_H
#define SHARING_HOST_H

#include <stdint.h>

#include "hw/ksm/ksm-host.h"
#include "guest.h"
#include "options.h"

#define HOST_PAGE 4096

typedef struct Host {
    KsmHost *ksm;
    pid_t ksmd;
    KsmHostStats stats;             /* the last sample */
    double ksmd_seconds;            /* CPU time of ksmd since it exists */
    uint64_t anon_bytes;            /* AnonPages of /proc/meminfo */
    KsmHostStats saved_knobs;       /* as found, for host_restore() */
    bool knobs_changed;
} Host;

/**
 * host_open:
 *
 * Checks what the run needs (root, /dev/kvm, an engine, the one @opts expects)
 * and takes the first sample.  Changes nothing.
 */
bool host_open(Host *host, const Options *opts, GError **errp);
/* Put the knobs back and release everything. */
void host_close(Host *host);

/* Set the knobs that both engines run with. */
bool host_set_knobs(Host *host, const Options *opts, GError **errp);
/* Write /sys/kernel/mm/ksm/run; 2 returns when all is unmerged. */
bool host_set_run(Host *host, KsmHostRun run, GError **errp);

/* Read counters, ksmd's CPU time and AnonPages again. */
bool host_sample(Host *host, GError **errp);
/* Read what the kernel tells of the guest's QEMU process. */
bool host_sample_guest(const Host *host, Guest *g, GError **errp);
/* Read how much of the guest's RAM is advised mergeable: slow, once. */
bool host_sample_mergeable(const Host *host, Guest *g, GError **errp);

/* A counter of the last sample; 0 if this kernel does not have it. */
uint64_t host_counter(const Host *host, KsmHostCounter counter);
/* Bytes that merging saves by the counters of the last sample. */
uint64_t host_saved_bytes(const Host *host);
/*
 * The part of them that is due to @g: in proportion to its merged pages, as
 * the kernel does not say which of several sharers a page was saved for.
 */
uint64_t host_guest_saved_bytes(const Host *host, const Guest *g);

#endif
