// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What merging costs the guests: how often KVM is told, how often it flushes
 * their TLBs, how often they fault, and what of their time that takes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"
#include "vm.h"

#define GUESTS 2
#define CPUS_MAX 16
#define PASSES_MAX 12
#define KVM_STATS "/sys/kernel/debug/kvm/"
#define TRACING "/sys/kernel/tracing/"
#define QUIET_MS 3000

/* A window with so many changes is as full as one can be, or nearly so. */
#define WINDOW_FULL 56
#define WINDOWS_MAX 4096

/* A tracepoint, counted on all CPUs. */
struct event {
    int fd[CPUS_MAX];
    int cpus;
};

static void event_open(struct event *event, const char *name)
{
    struct perf_event_attr attr = {
        .type = PERF_TYPE_TRACEPOINT, .size = sizeof(attr),
    };
    char path[128];

    snprintf(path, sizeof(path), TRACING "events/%s/id", name);
    attr.config = file_number(path, "");
    event->cpus = sysconf(_SC_NPROCESSORS_ONLN);
    for (int cpu = 0; cpu < event->cpus && cpu < CPUS_MAX; cpu++) {
        event->fd[cpu] = syscall(SYS_perf_event_open, &attr, -1, cpu, -1,
                                 PERF_FLAG_FD_CLOEXEC);
        if (event->fd[cpu] < 0) {
            die("tracepoint %s: %s", name, strerror(errno));
        }
    }
}

static uint64_t event_count(const struct event *event)
{
    uint64_t sum = 0, value;

    for (int cpu = 0; cpu < event->cpus; cpu++) {
        if (read(event->fd[cpu], &value, sizeof(value)) != sizeof(value)) {
            die("tracepoint: %s", strerror(errno));
        }
        sum += value;
    }
    return sum;
}

struct counts {
    double ranges, flushes, faults;
};

static struct event ranges, faults;

static struct counts counts_now(void)
{
    return (struct counts) {
        .ranges = event_count(&ranges),
        .flushes = file_number(KVM_STATS "remote_tlb_flush_requests", ""),
        .faults = event_count(&faults),
    };
}

/* Half of the data is unique, half is the same in all guests, none twice in one. */
static void vm_new_filled(struct vm *vm, size_t pages, size_t kinds)
{
    vm_new(vm, pages);
    fill_unique(vm->data, pages / 2);
    fill_alike(vm->data + pages / 2 * PAGE, pages / 2, kinds);
    area_advise(vm->data, pages);
}

/* Make passes until 99 % of @expected pages are saved. */
static void merge(size_t expected)
{
    for (unsigned int n = 0; n < PASSES_MAX; n++) {
        ksm_pass();
        if (ksm_get("pages_sharing") >= (long)(expected - expected / 100)) {
            return;
        }
    }
    die("%ld of %zu pages of the guests are saved after %d passes",
        ksm_get("pages_sharing"), expected, PASSES_MAX);
}

static void read_all(struct vm *guests, unsigned int rounds)
{
    for (int n = 0; n < GUESTS; n++) {
        vm_wait_rounds(&guests[n], rounds);
    }
}

static void kvm_merge(const struct plan *plan)
{
    size_t pages = plan->mib * PAGES_PER_MIB;
    struct vm guests[GUESTS];
    struct counts before, after;
    double merged;

    event_open(&ranges, "kvm/kvm_unmap_hva_range");
    event_open(&faults, "kvm/kvm_page_fault");
    for (int n = 0; n < GUESTS; n++) {
        vm_new_filled(&guests[n], pages, pages / 2);
        vm_start(&guests[n]);
    }
    read_all(guests, 2);
    before = counts_now();
    merge(pages / 2 * (GUESTS - 1));
    read_all(guests, 2);
    after = counts_now();
    merged = ksm_get("pages_sharing");
    for (int n = 0; n < GUESTS; n++) {
        vm_end(&guests[n]);
    }
    sample("kvm_merge_ranges", (after.ranges - before.ranges) / merged);
    sample("kvm_merge_flushes", (after.flushes - before.flushes) / merged);
    sample("kvm_reread_faults", (after.faults - before.faults) / merged);
}

static bool possible(const char *const figures[], size_t count)
{
    const char *why;

    if (vm_possible(&why)) {
        return true;
    }
    for (size_t n = 0; n < count; n++) {
        not_available(figures[n], "%s", why);
    }
    return false;
}

void case_kvm_merge(const struct plan *plan)
{
    static const char *const figures[] = {
        "kvm_merge_ranges", "kvm_merge_flushes", "kvm_reread_faults",
    };

    if (!possible(figures, ARRAY_SIZE(figures))) {
        return;
    }
    for (unsigned int n = 0; n < plan->runs; n++) {
        ksm_reset();
        in_child(kvm_merge, plan);
    }
}

static void pin_ksmd(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(ksmd_pid(), sizeof(set), &set)) {
        die("ksmd does not go to CPU %d: %s", cpu, strerror(errno));
    }
}

/* Pages a second that the guest reads while nothing is merged. */
static double quiet_rate(const struct vm *vm)
{
    uint64_t start = now_ns();
    uint32_t reads = vm_reads(vm);

    nap_ms(QUIET_MS);
    return (vm_reads(vm) - reads) / ((now_ns() - start) / 1e9);
}

/* The guest has CPU 0 to itself, ksmd has CPU 1. */
static void slowdown(const struct plan *plan)
{
    size_t pages = plan->mib * PAGES_PER_MIB;
    double rate, seconds, lost;
    struct vm vm;
    uint64_t start;
    uint32_t reads;

    pin_ksmd(1);
    vm_new_filled(&vm, pages, pages / 4);
    vm_start(&vm);
    vm_pin(&vm, 0);
    vm_wait_rounds(&vm, 2);
    rate = quiet_rate(&vm);
    start = now_ns();
    reads = vm_reads(&vm);
    merge(pages / 4);
    seconds = (now_ns() - start) / 1e9;
    lost = seconds - (vm_reads(&vm) - reads) / rate;
    vm_end(&vm);
    sample("kvm_guest_slowdown", lost * 1e6 / ksm_get("pages_sharing"));
    sample("kvm_guest_slowdown.percent", 100 * lost / seconds);
}

void case_kvm_guest_slowdown(const struct plan *plan)
{
    static const char *const figures[] = {
        "kvm_guest_slowdown", "kvm_guest_slowdown.percent",
    };

    if (!possible(figures, ARRAY_SIZE(figures))) {
        return;
    }
    for (unsigned int n = 0; n < plan->runs; n++) {
        ksm_reset();
        in_child(slowdown, plan);
    }
}

/* Record one tracepoint and nothing else, from now on. */
static void trace_begin(const char *name)
{
    char path[128];

    file_write(TRACING "trace", "");   /* being truncated, it is emptied */
    snprintf(path, sizeof(path), TRACING "events/%s/enable", name);
    file_write(path, "1");
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The lengths of the windows that were recorded, in order; of full ones only. */
static size_t window_lengths(double *ns, size_t max)
{
    FILE *trace = fopen(TRACING "trace", "re");
    unsigned int changes;
    char line[512];
    size_t count = 0;

    while (trace && count < max && fgets(line, sizeof(line), trace)) {
        const char *found = strstr(line, " changes ");

        if (found &&
            sscanf(found, " changes %u ns %lf", &changes, &ns[count]) == 2 &&
            changes >= WINDOW_FULL) {
            count++;
        }
    }
    if (trace) {
        fclose(trace);
    }
    qsort(ns, count, sizeof(*ns), by_value);
    return count;
}

/* The guest has mapped all of it, and does nothing: there is one CPU here. */
static void windows(const struct plan *plan)
{
    static double ns[WINDOWS_MAX];
    size_t pages = plan->mib * PAGES_PER_MIB, count;
    struct vm vm;

    vm_new(&vm, pages);
    fill_alike(vm.data, pages, 1);
    area_advise(vm.data, pages);
    vm_start(&vm);
    vm_wait_rounds(&vm, 1);
    vm_stop(&vm);
    trace_begin("ksm/ksm_window");
    merge(pages - pages / 100);
    file_write(TRACING "events/enable", "0");
    count = window_lengths(ns, WINDOWS_MAX);
    vm_end(&vm);
    if (count < 10) {
        die("%zu windows were recorded, expected 10 and more", count);
    }
    sample("merge_window", ns[count / 2]);
    sample("merge_window.p99", ns[count * 99 / 100]);
}

void case_merge_window(const struct plan *plan)
{
    static const char *const figures[] = { "merge_window", "merge_window.p99" };

    if (!possible(figures, ARRAY_SIZE(figures))) {
        return;
    }
    if (access(TRACING "events/ksm/ksm_window", F_OK)) {
        for (size_t n = 0; n < ARRAY_SIZE(figures); n++) {
            not_available(figures[n], "this engine has no tracepoint for it");
        }
        return;
    }
    for (unsigned int n = 0; n < plan->runs; n++) {
        ksm_reset();
        in_child(windows, plan);
    }
}
