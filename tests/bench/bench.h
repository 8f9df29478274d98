/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ksm-bench: runs in the kernel that is measured, on either engine, and prints
 * what it measured, a line for each sample.  See main.c for the command line.
 */
#ifndef SAMEPAGE_BENCH_H
#define SAMEPAGE_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PAGE 4096ul
#define PAGES_PER_MIB 256ul
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* What the command line asks of every case. */
struct plan {
    unsigned int runs;      /* samples of each figure */
    size_t mib;             /* memory of a case */
    size_t max_mib;         /* growth: the largest memory */
    unsigned int seconds;   /* limit for what may never end */
};

/* --- out.c: what is printed; scripts/bench.sh collects it --- */

/* One sample of a figure. */
void sample(const char *figure, double value);
/* The figure cannot be had here, and why. */
void not_available(const char *figure, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* One point of a curve. */
void point(const char *curve, double x, double y, double z);
/* The end: something is not as the measurement needs it. */
void die(const char *fmt, ...)
    __attribute__((format(printf, 1, 2), noreturn));

/* --- ksm.c: the engine's files and ksmd --- */

bool ksm_has(const char *file);
long ksm_get(const char *file);
void ksm_set(const char *file, long value);
/* Set what only one of the engines may have; returns whether it is there. */
bool ksm_try_set(const char *file, long value);
bool ksm_is_samepage(void);

/*
 * Forget everything, and from now on make one pass whenever ksm_pass() says so.
 * Call it when nothing is registered.
 */
void ksm_reset(void);
/* Stop merging and put the knobs back as they were when the program began. */
void ksm_restore(void);
/* As the kernel started it, but for run, which is 0: its own pace. */
void ksm_default_pace(void);
/* Make one pass over all that is registered; returns ksmd's CPU time, ns. */
uint64_t ksm_pass(void);
/* The same, but give up after so many seconds; UINT64_MAX then. */
uint64_t ksm_pass_within(unsigned int seconds);

/* ksmd's CPU time since it exists, ns. */
uint64_t ksmd_cpu_ns(void);
pid_t ksmd_pid(void);

/* --- mem.c: memory with known contents, children --- */

/* New memory, no two pages alike, or page n like page n + @kinds; advised. */
char *area_unique(size_t pages);
char *area_alike(size_t pages, size_t kinds);
/* Contents only. */
void fill_unique(char *area, size_t pages);
void fill_alike(char *area, size_t pages, size_t kinds);
char *area_new(size_t pages);
void area_advise(char *area, size_t pages);
/* Change one word of each @step-th page. */
void area_touch(char *area, size_t pages, size_t step);

/* Run @fn in a process of its own, so that its memory goes away with it. */
void in_child(void (*fn)(const struct plan *plan), const struct plan *plan);

uint64_t now_ns(void);
void nap_ms(unsigned int ms);
void file_write(const char *path, const char *text);
/* The first line of a file that starts with @key: the number after it. */
long file_number(const char *path, const char *key);

/* --- the cases --- */

void case_scan_idle_unique(const struct plan *plan);    /* scan.c */
void case_access_bits(const struct plan *plan);
void case_scan_rewritten(const struct plan *plan);
void case_scan_half_hot(const struct plan *plan);
void case_growth(const struct plan *plan);
void case_sparse(const struct plan *plan);
void case_merge_cold_half_dup(const struct plan *plan); /* merge.c */
void case_merge_all_dup(const struct plan *plan);
void case_merge_many_small_procs(const struct plan *plan);
void case_unmerge_rate(const struct plan *plan);        /* unmerge.c */
void case_cow_break_latency(const struct plan *plan);
void case_rmap_20k_vmas(const struct plan *plan);
void case_metadata_bytes(const struct plan *plan);      /* metadata.c */
void case_default_pacing(const struct plan *plan);      /* pacing.c */
void case_threads(const struct plan *plan);             /* threads.c */
void case_kvm_merge(const struct plan *plan);           /* kvm.c */
void case_kvm_guest_slowdown(const struct plan *plan);
void case_merge_window(const struct plan *plan);

#endif
