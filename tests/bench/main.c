// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ksm-bench [runs=N] [mib=N] [max_mib=N] [seconds=N] CASE... [--]
 *
 * Measures the merge engine of the kernel it runs in, as its first program or as
 * any other.  Words instead of options, as a kernel's command line hands them over;
 * what comes after "--" is the kernel's own.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

static const struct bench_case {
    const char *name;
    void (*run)(const struct plan *plan);
} cases[] = {
    { "scan_idle_unique", case_scan_idle_unique },
    { "access_bits", case_access_bits },
    { "scan_rewritten", case_scan_rewritten },
    { "scan_half_hot", case_scan_half_hot },
    { "growth_512M_8G", case_growth },
    { "sparse_32T", case_sparse },
    { "merge_cold_half_dup", case_merge_cold_half_dup },
    { "merge_all_dup", case_merge_all_dup },
    { "merge_many_small_procs", case_merge_many_small_procs },
    { "unmerge_rate", case_unmerge_rate },
    { "cow_break_latency", case_cow_break_latency },
    { "rmap_20k_vmas", case_rmap_20k_vmas },
    { "metadata_bytes", case_metadata_bytes },
    { "default_pacing_1G", case_default_pacing },
    { "threads_1_2", case_threads },
    { "kvm_merge", case_kvm_merge },
    { "kvm_guest_slowdown", case_kvm_guest_slowdown },
    { "merge_window", case_merge_window },
};

static const struct bench_case *find_case(const char *name)
{
    for (size_t n = 0; n < ARRAY_SIZE(cases); n++) {
        if (!strcmp(cases[n].name, name)) {
            return &cases[n];
        }
    }
    die("there is no case %s", name);
}

/* Take "name=value".  Returns false if the word is no such thing. */
static bool take_word(struct plan *plan, const char *word)
{
    unsigned int value;
    char name[16], rest;

    if (!strchr(word, '=')) {
        return false;
    }
    if (sscanf(word, "%15[a-z_]=%u%c", name, &value, &rest) != 2 || !value ||
        value > 1 << 20) {
        die("%s: must be NAME=1..1048576", word);
    }
    if (!strcmp(name, "runs")) {
        plan->runs = value;
    } else if (!strcmp(name, "mib")) {
        plan->mib = value;
    } else if (!strcmp(name, "max_mib")) {
        plan->max_mib = value;
    } else if (!strcmp(name, "seconds")) {
        plan->seconds = value;
    } else {
        die("%s: must be runs, mib, max_mib or seconds", word);
    }
    return true;
}

/* As a kernel's first program there is nothing yet. */
static void be_init(void)
{
    mount("proc", "/proc", "proc", 0, NULL);
    mount("sysfs", "/sys", "sysfs", 0, NULL);
    mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
}

static void run_cases(const struct plan *plan, char **words, int count)
{
    for (int n = 0; n < count; n++) {
        if (!strchr(words[n], '=')) {
            find_case(words[n])->run(plan);
        }
    }
    ksm_restore();
    printf("bench: done\n");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct plan plan = { 5, 256, 512, 60 };
    int status = 1, found = 0;
    pid_t pid;

    if (getpid() == 1) {
        be_init();
    }
    for (int n = 1; n < argc; n++) {
        if (!strcmp(argv[n], "--")) {
            argc = n;
            break;
        }
        found += !take_word(&plan, argv[n]) && find_case(argv[n]);
    }
    if (!found) {
        die("usage: ksm-bench [runs=N] [mib=N] [max_mib=N] [seconds=N] CASE...");
    }
    /* Nobody else's business may come between; not ksmd's, which is nicer. */
    setpriority(PRIO_PROCESS, 0, -5);
    /* In a child: the first program of a kernel must not end. */
    pid = fork();
    if (!pid) {
        run_cases(&plan, argv + 1, argc - 1);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    if (getpid() == 1) {
        reboot(RB_POWER_OFF);
    }
    return status ? 1 : 0;
}
