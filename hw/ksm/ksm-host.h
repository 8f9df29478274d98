/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the host kernel says about same-page merging
 *
 * Reads <root>/sys/kernel/mm/ksm and <root>/proc/PID.  Depends on GLib and
 * the C library only, so that QEMU, the host tools and the test drivers
 * compile the same file; outside QEMU a shim "qemu/osdep.h" that includes
 * the system headers is enough.
 *
 * The rule for every reader here: a file that does not exist is an answer
 * ("this kernel does not tell"), a file whose content makes no sense is an
 * error that names the file and what was found in it.
 */
#ifndef HW_KSM_KSM_HOST_H
#define HW_KSM_KSM_HOST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <glib.h>

#define KSM_HOST_ERROR ksm_host_error_quark()

typedef enum KsmHostError {
    KSM_HOST_ERROR_IO,      /* a file exists but cannot be read or written */
    KSM_HOST_ERROR_FORMAT,  /* a file was read but its content makes no sense */
    KSM_HOST_ERROR_GONE,    /* the process asked about does not exist */
} KsmHostError;

GQuark ksm_host_error_quark(void);

/* Where to look: opaque, immutable after ksm_host_new(). */
typedef struct KsmHost KsmHost;

typedef enum KsmHostEngine {
    KSM_HOST_ENGINE_ABSENT,     /* the kernel has no same-page merging */
    KSM_HOST_ENGINE_MAINLINE,   /* no "engine" file: the kernel's own */
    KSM_HOST_ENGINE_SAMEPAGE,   /* the engine of this project */
    KSM_HOST_ENGINE_OTHER,      /* an "engine" file with another name */
} KsmHostEngine;

typedef enum KsmHostRun {
    KSM_HOST_RUN_STOPPED = 0,   /* keeps what is merged, merges no more */
    KSM_HOST_RUN_MERGING = 1,
    KSM_HOST_RUN_UNMERGING = 2, /* gave back all that was merged, then idle */
    KSM_HOST_RUN_UNKNOWN = -1,
} KsmHostRun;

/*
 * One number.  Fields for which the descriptor says is_signed carry @s, all
 * others @u; neither means anything unless @present.
 */
typedef struct KsmHostValue {
    bool present;
    union {
        uint64_t u;
        int64_t s;
    };
} KsmHostValue;

/* Files of /sys/kernel/mm/ksm that hold one number; "run" is separate. */
typedef enum KsmHostCounter {
    KSM_HOST_PAGES_SHARED,
    KSM_HOST_PAGES_SHARING,
    KSM_HOST_PAGES_UNSHARED,
    KSM_HOST_PAGES_VOLATILE,
    KSM_HOST_FULL_SCANS,
    KSM_HOST_STABLE_NODE_CHAINS,
    KSM_HOST_STABLE_NODE_DUPS,
    KSM_HOST_PAGES_TO_SCAN,
    KSM_HOST_SLEEP_MILLISECS,
    KSM_HOST_MERGE_ACROSS_NODES,
    KSM_HOST_MAX_PAGE_SHARING,
    KSM_HOST_USE_ZERO_PAGES,
    KSM_HOST_STABLE_NODE_CHAINS_PRUNE_MILLISECS,
    /* From here on: kernels later than 6.1, and our engine */
    KSM_HOST_PAGES_SCANNED,
    KSM_HOST_PAGES_SKIPPED,
    KSM_HOST_KSM_ZERO_PAGES,
    KSM_HOST_GENERAL_PROFIT,
    KSM_HOST_SMART_SCAN,
    KSM_HOST_ADVISOR_MAX_CPU,
    KSM_HOST_ADVISOR_MIN_PAGES_TO_SCAN,
    KSM_HOST_ADVISOR_MAX_PAGES_TO_SCAN,
    KSM_HOST_ADVISOR_TARGET_SCAN_TIME,
    KSM_HOST_BOOST_MAX_CPU,
    KSM_HOST_SCAN_THREADS,
    KSM_HOST_HUGE_SPLIT_MIN,
    KSM_HOST_HUGE_SPLITS,
    KSM_HOST_HUGE_SPLIT_MERGED,
    KSM_HOST_COUNTER__MAX,
} KsmHostCounter;

/*
 * Why pages were not merged when they were looked at.  Our engine counts it,
 * for the host (/sys/kernel/mm/ksm/refused_NAME) and for each process
 * (ksm_refused_NAME in /proc/PID/ksm_stat).
 */
typedef enum KsmHostReason {
    KSM_HOST_REASON_VOLATILE,
    KSM_HOST_REASON_PINNED,
    KSM_HOST_REASON_HUGE,
    KSM_HOST_REASON_SHARED,
    KSM_HOST_REASON_HUGETLB,
    KSM_HOST_REASON_SPECIAL,
    KSM_HOST_REASON_NODE,
    KSM_HOST_REASON_LIMIT,
    KSM_HOST_REASON_RACED,
    KSM_HOST_REASON_LOCKED,
    KSM_HOST_REASON_DIFFERENT,
    KSM_HOST_REASON_UFFD_WP,
    KSM_HOST_REASON_NOMEM,
    KSM_HOST_REASON__MAX,
} KsmHostReason;

/* What /proc/PID/ksm_merging_pages and /proc/PID/ksm_stat tell. */
typedef enum KsmHostProcessField {
    KSM_HOST_PROC_MERGING_PAGES,    /* pages */
    KSM_HOST_PROC_RMAP_ITEMS,       /* scanned pages with a mapping record */
    KSM_HOST_PROC_COW_BREAKS,       /* copy-on-write faults on merged pages */
    KSM_HOST_PROC_ZERO_PAGES,       /* pages */
    KSM_HOST_PROC_PROFIT,           /* bytes, signed */
    KSM_HOST_PROC_MERGE_ANY,        /* 0 or 1: prctl(PR_SET_MEMORY_MERGE) */
    KSM_HOST_PROC_MERGEABLE,        /* 0 or 1: any mergeable mapping */
    KSM_HOST_PROC__MAX,
} KsmHostProcessField;

/* Everything under /sys/kernel/mm/ksm, read file by file (not atomically). */
typedef struct KsmHostStats {
    KsmHostEngine engine;
    char engine_name[32];       /* "" if absent, "mainline" without the file */
    char engine_version[32];    /* "" when the kernel does not tell */
    KsmHostRun run;
    char advisor_mode[32];      /* "" when the kernel does not tell */
    KsmHostValue counter[KSM_HOST_COUNTER__MAX];
    KsmHostValue refused[KSM_HOST_REASON__MAX];
} KsmHostStats;

typedef struct KsmHostProcess {
    KsmHostValue field[KSM_HOST_PROC__MAX];
    KsmHostValue refused[KSM_HOST_REASON__MAX];
} KsmHostProcess;

/**
 * ksm_host_new:
 * @root: folder that holds "sys" and "proc"; NULL or "" for the machine's own
 *
 * Returns: a reader to free with ksm_host_free(); never NULL.  Nothing is
 * opened yet, so a wrong @root shows up as KSM_HOST_ENGINE_ABSENT.
 */
KsmHost *ksm_host_new(const char *root);
void ksm_host_free(KsmHost *host);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KsmHost, ksm_host_free)

/**
 * ksm_host_path:
 * @suffix: what follows the root, starting with '/'
 *
 * Returns: the full path, to be freed by the caller.
 */
char *ksm_host_path(const KsmHost *host, const char *suffix);

/**
 * ksm_host_proc_path:
 * @pid: process id, or 0 for the calling process
 * @file: name below /proc/PID
 *
 * Returns: the full path, to be freed by the caller.
 */
char *ksm_host_proc_path(const KsmHost *host, pid_t pid, const char *file);

/* Names as the kernel spells them ("pages_shared", "ksm_rmap_items"). */
const char *ksm_host_counter_name(KsmHostCounter counter);
bool ksm_host_counter_is_signed(KsmHostCounter counter);
const char *ksm_host_process_field_name(KsmHostProcessField field);
bool ksm_host_process_field_is_signed(KsmHostProcessField field);
/* "volatile": without what the files put in front of it */
const char *ksm_host_reason_name(KsmHostReason reason);
/* "absent", "mainline", "samepage" or "other" */
const char *ksm_host_engine_str(KsmHostEngine engine);

/**
 * ksm_host_read_stats:
 * @stats: filled in completely, also on failure
 * @errp: set to the first problem found
 *
 * A host without same-page merging is no failure: @stats->engine says so.
 * A file that makes no sense leaves its value not present (@run unknown);
 * the others are read all the same.
 *
 * Returns: true if every file that exists could be read and understood.
 */
bool ksm_host_read_stats(const KsmHost *host, KsmHostStats *stats,
                         GError **errp);

/**
 * ksm_host_read_process:
 * @pid: process id, or 0 for the calling process
 * @proc: filled in completely, also on failure
 * @errp: set to the first problem found; KSM_HOST_ERROR_GONE if the process
 *        does not exist
 *
 * Same rules as ksm_host_read_stats().
 */
bool ksm_host_read_process(const KsmHost *host, pid_t pid,
                           KsmHostProcess *proc, GError **errp);

/**
 * ksm_host_write_knob:
 * @name: file below /sys/kernel/mm/ksm
 * @value: range is the kernel's business; its refusal becomes @errp
 *
 * Returns: true if the kernel accepted the value.
 */
bool ksm_host_write_knob(const KsmHost *host, const char *name,
                         uint64_t value, GError **errp);

/**
 * ksm_host_parse_number:
 * @text: what a file holds; one line feed at the end is allowed
 * @is_signed: whether a leading '-' is allowed
 * @value: set (and present) only on success
 *
 * Decimal digits only: no blanks, no '+', no base prefix, no rest.
 *
 * Returns: NULL on success, otherwise what is wrong ("is empty", ...).
 */
const char *ksm_host_parse_number(const char *text, bool is_signed,
                                  KsmHostValue *value);

#endif
