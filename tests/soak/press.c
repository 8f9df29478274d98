// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What presses on memory from outside: a swap device in RAM, a memory cgroup
 * with a limit, reclaim, compaction, and allocations of ksmd that fail.  What
 * this kernel or machine lacks is said and left out.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "soak.h"

#define WORKER_BYTES ((size_t)AREAS * AREA_PAGES * page_size)
/* A budget of failures; what is left of it tells how many there were */
#define FAULT_BUDGET 1000000000L

static const char *const fault_dir[] = {
    "/sys/kernel/debug/failslab/", "/sys/kernel/debug/fail_page_alloc/",
};
static bool faults;

/* Whether @fn works, tried in a process of its own as it may skip(). */
static bool works(const char *what, void (*fn)(void *), void *arg)
{
    waitpid(child(fn, arg), NULL, 0);
    if (ksm_verdict->state == KSM_RUNNING) {
        return true;
    }
    printf("without %s: %s\n", what, ksm_verdict->why);
    fflush(stdout);
    ksm_verdict->state = KSM_RUNNING;
    ksm_verdict->why[0] = '\0';
    return false;
}

static void try_swap(void *bytes)
{
    swap_on(*(size_t *)bytes);
}

static void try_memcg(void *unused)
{
    (void)unused;
    memcg_enter();
}

static void try_direct(void *unused)
{
    (void)unused;
    close(direct_file(DIRECT_BLOCKS, CONTENT_DIRECT));
}

static bool set_faults(const char *const values[][2], size_t n)
{
    char path[128];

    for (size_t d = 0; d < ARRAY_SIZE(fault_dir); d++) {
        for (size_t i = 0; i < n; i++) {
            int err;

            snprintf(path, sizeof(path), "%s%s", fault_dir[d], values[i][0]);
            err = file_write(path, values[i][1]);
            if (err && (err != -ENOENT || i == 0)) {
                return false;
            }
        }
    }
    return true;
}

/* Process id of ksmd, 0 if there is none. */
static pid_t find_ksmd(void)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    pid_t found = 0;

    while (proc && !found && (entry = readdir(proc))) {
        char path[300], comm[32];

        snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
        if (atoi(entry->d_name) > 0 && !file_text(path, comm, sizeof(comm)) &&
            !strcmp(comm, "ksmd\n")) {
            found = atoi(entry->d_name);
        }
    }
    closedir(proc);
    return found;
}

/* About one allocation of ksmd in five hundred fails. */
static void setup_faults(void)
{
    static const char *const values[][2] = {
        { "task-filter", "Y" }, { "ignore-gfp-wait", "N" },
        { "min-order", "0" }, { "verbose", "0" }, { "interval", "5" },
        { "times", "1000000000" }, { "probability", "1" },
    };
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/make-it-fail", find_ksmd());
    if (!access(path, W_OK) && set_faults(values, ARRAY_SIZE(values))) {
        faults = !file_write(path, "1");
    }
}

long press_injected(void)
{
    char path[128];
    long sum = 0;

    for (size_t d = 0; faults && d < ARRAY_SIZE(fault_dir); d++) {
        snprintf(path, sizeof(path), "%stimes", fault_dir[d]);
        sum += FAULT_BUDGET - file_number(path);
    }
    return faults ? sum : -1;
}

void press_setup(size_t swap_bytes)
{
    works("swap", try_swap, &swap_bytes);
    shared->limited = works("a memory cgroup", try_memcg, NULL);
    if (shared->limited) {
        memcg_limit(shared->workers * WORKER_BYTES / 2);
    }
    shared->direct_fd = -1;
    if (works("direct I/O", try_direct, NULL)) {
        shared->direct_fd = direct_file(DIRECT_BLOCKS, CONTENT_DIRECT);
    }
    setup_faults();
}

void press_cleanup(void)
{
    static const char *const values[][2] = {
        { "probability", "0" }, { "task-filter", "N" }, { "times", "1" },
    };
    char path[64];

    if (faults) {
        snprintf(path, sizeof(path), "/proc/%d/make-it-fail", find_ksmd());
        file_write(path, "0");
        set_faults(values, ARRAY_SIZE(values));
    }
    swap_cleanup();
    if (shared->limited) {
        memcg_cleanup();
    }
    direct_cleanup();
}

void press(void *unused)
{
    uint64_t rng = now_ms() | 1;

    (void)unused;
    for (unsigned int n = 0; !over(); n++) {
        if (shared->limited) {
            memcg_reclaim(memcg_current() / (2 + draw(&rng, 15)) + page_size);
        }
        if (n % 8 == 3) {
            file_write("/proc/sys/vm/compact_memory", "1");
        }
        nap_ms(200 + draw(&rng, 1000));
    }
}
