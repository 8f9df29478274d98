// SPDX-License-Identifier: GPL-2.0-or-later
/* What merging costs, from cold until all is merged. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

/* Different contents among the duplicates */
#define KINDS 997ul
/* After so many passes without success something is wrong. */
#define PASSES_MAX 12

/* Processes of merge_many_small_procs, and pages in each: half are the same */
#define PROCS 128u
#define PROC_PAGES 256ul

/*
 * Make passes until 99 % of @expected pages are saved; sample ksmd's time for
 * each of these, and for each page of the @pages in the costliest pass.
 */
static void sample_merging(const char *figure, const char *per_pass,
                           size_t expected, size_t pages)
{
    uint64_t total = 0, most = 0;
    unsigned int n;

    for (n = 0; n < PASSES_MAX; n++) {
        uint64_t ns = ksm_pass();

        total += ns;
        most = ns > most ? ns : most;
        if (ksm_get("pages_sharing") >= (long)(expected - expected / 100)) {
            break;
        }
    }
    if (n == PASSES_MAX) {
        die("%s: %ld of %zu pages are saved after %u passes", figure,
            ksm_get("pages_sharing"), expected, n);
    }
    sample(figure, (double)total / ksm_get("pages_sharing"));
    if (per_pass) {
        sample(per_pass, (double)most / pages);
    }
}

static void half_dup(const struct plan *plan)
{
    size_t half = plan->mib * PAGES_PER_MIB / 2;
    char *area = area_new(2 * half);

    /* In halves: UML needs a mapping of its host for each run of pages. */
    fill_unique(area, half);
    fill_alike(area + half * PAGE, half, KINDS);
    area_advise(area, 2 * half);
    sample_merging("merge_cold_half_dup", "merge_cold_half_dup.pass",
                   half - KINDS, 2 * half);
}

void case_merge_cold_half_dup(const struct plan *plan)
{
    for (unsigned int n = 0; n < plan->runs; n++) {
        ksm_reset();
        in_child(half_dup, plan);
    }
}

static void all_dup(const struct plan *plan)
{
    size_t pages = plan->mib * PAGES_PER_MIB;

    area_alike(pages, KINDS);
    sample_merging("merge_all_dup", NULL, pages - 2 * KINDS, pages);
}

void case_merge_all_dup(const struct plan *plan)
{
    for (unsigned int n = 0; n < plan->runs; n++) {
        ksm_reset();
        in_child(all_dup, plan);
    }
}

/* One of many: says that it is ready, and is there until killed. */
static void small_proc(int ready)
{
    char *area = area_new(PROC_PAGES);

    fill_unique(area, PROC_PAGES / 2);
    fill_alike(area + PROC_PAGES / 2 * PAGE, PROC_PAGES / 2, PROC_PAGES / 2);
    area_advise(area, PROC_PAGES);
    if (write(ready, "", 1) != 1) {
        _exit(1);
    }
    for (;;) {
        pause();
    }
}

static void many_small_procs(const struct plan *plan)
{
    pid_t pids[PROCS];
    int ready[2];
    char byte;

    (void)plan;
    if (pipe(ready)) {
        die("pipe: %s", strerror(errno));
    }
    for (unsigned int n = 0; n < PROCS; n++) {
        pids[n] = fork();
        if (pids[n] < 0) {
            die("fork: %s", strerror(errno));
        }
        if (!pids[n]) {
            small_proc(ready[1]);
        }
    }
    for (unsigned int n = 0; n < PROCS; n++) {
        if (read(ready[0], &byte, 1) != 1) {
            die("a process of the bench is not ready");
        }
    }
    sample_merging("merge_many_small_procs", NULL,
                   (PROCS - 1) * PROC_PAGES / 2, PROCS * PROC_PAGES);
    for (unsigned int n = 0; n < PROCS; n++) {
        kill(pids[n], SIGKILL);
    }
    while (wait(NULL) > 0) {
    }
}

void case_merge_many_small_procs(const struct plan *plan)
{
    for (unsigned int n = 0; n < plan->runs; n++) {
        ksm_reset();
        in_child(many_small_procs, plan);
    }
}
