// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What remains when all have ended: every frame that is still anonymous memory,
 * from the kernel's own table of frames, and what the engine keeps for itself.
 *
 * AnonPages of /proc/meminfo is no measure: in Linux 6.1, with and without KSM,
 * it stays 2 MiB too high for each huge page that one process maps as a whole
 * and another by its small pages when it is migrated.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "soak.h"

#define KPF_ANON_PAGE 12
#define RETURN_SECONDS 30
/* This process, its shell and init: their stacks and data go on changing. */
#define ANON_SLACK 128
#define PROVE_PAGES 1024

typedef struct Frames {
    long anon, ksm;
} Frames;

static long profit_before;
static Frames before;

/* Frames by their flags. */
static Frames count_frames(void)
{
    static uint64_t flags[8192];
    Frames f = { 0, 0 };
    ssize_t got;
    int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);

    must(fd >= 0, "/proc/kpageflags: %m");
    while ((got = read(fd, flags, sizeof(flags))) > 0) {
        for (size_t i = 0; i < got / sizeof(flags[0]); i++) {
            f.anon += flags[i] >> KPF_ANON_PAGE & 1;
            f.ksm += flags[i] >> KPF_KSM_PAGE & 1;
        }
    }
    must(got == 0, "reading /proc/kpageflags: %m");
    close(fd);
    return f;
}

/* The count that the verdict rests on must see memory come and go. */
static void prove_count(void)
{
    char *p = mmap(NULL, PROVE_PAGES * page_size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    long with;

    must(p != MAP_FAILED, "mmap: %m");
    with = count_frames().anon;
    must_call(munmap(p, PROVE_PAGES * page_size));
    must(labs(with - count_frames().anon - PROVE_PAGES) <= ANON_SLACK,
         "%d pages of memory are %ld frames more in /proc/kpageflags",
         PROVE_PAGES, with - count_frames().anon);
}

void leak_start(void)
{
    before = count_frames();
    prove_count();
    profit_before = ksm_is_samepage() ? ksm_read_signed("general_profit") : 0;
}

void leak_unshare_own(void)
{
    if (!prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0)) {
        must_call(prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
    }
}

/* What the processes that are left say they have. */
static long processes_anon_kib(void)
{
    DIR *dir = opendir("/proc");
    struct dirent *entry;
    char path[300];
    long kib = 0;

    while (dir && (entry = readdir(dir))) {
        snprintf(path, sizeof(path), "/proc/%s/status", entry->d_name);
        if (isdigit(entry->d_name[0])) {
            long has = file_field(path, "RssAnon");

            /* A thread of the kernel has none. */
            kib += has > 0 ? has : 0;
        }
    }
    if (dir) {
        closedir(dir);
    }
    return kib;
}

static bool all_returned(Frames *now, long *profit)
{
    *now = count_frames();
    *profit = ksm_is_samepage() ? ksm_read_signed("general_profit") : 0;
    return now->anon <= before.anon + ANON_SLACK && now->ksm <= before.ksm &&
           *profit >= profit_before;
}

void leak_check(void)
{
    uint64_t limit = now_ms() + RETURN_SECONDS * 1000;
    long profit;
    Frames now;

    while (!all_returned(&now, &profit) && now_ms() < limit) {
        nap_ms(200);
    }
    printf("anonymous frames: %ld before, %ld after; merged: %ld before, %ld "
           "after\n", before.anon, now.anon, before.ksm, now.ksm);
    if (now.anon > before.anon + ANON_SLACK || now.ksm > before.ksm) {
        condemn("memory does not return: %ld frames were anonymous and %ld "
                "merged before, now %ld and %ld are, and the processes that "
                "are left have %ld kB", before.anon, before.ksm, now.anon,
                now.ksm, processes_anon_kib());
    }
    if (ksm_is_samepage()) {
        printf("general_profit: %ld bytes before, %ld bytes after\n",
               profit_before, profit);
    }
    if (profit < profit_before) {
        condemn("the engine's own memory does not return: general_profit was "
                "%ld before, now it is %ld with nothing merged",
                profit_before, profit);
    }
}
