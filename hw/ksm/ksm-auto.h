/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When to merge: the decisions of a policy, from figures alone
 *
 * No clock, no files, no lists: who calls brings the time and the figures, and
 * does what was decided.  Depends on the C library only.
 */
#ifndef HW_KSM_KSM_AUTO_H
#define HW_KSM_KSM_AUTO_H

#include <stdbool.h>
#include <stdint.h>

/* What an administrator may set; percentages are whole ones */
typedef struct KsmAutoConfig {
    unsigned min_free;          /* less available is pressure; 0: unused */
    unsigned hysteresis;        /* so much more has to be available to stop */
    unsigned stall;             /* longer stalls of tasks, too; 0: unused */
    unsigned dwell_ms;          /* shortest time between two changes */
} KsmAutoConfig;

/* A figure in hundredths of a percent, if the host tells it */
typedef struct KsmAutoShare {
    bool known;
    unsigned value;
} KsmAutoShare;

typedef struct KsmAutoSample {
    int64_t now_ms;             /* any clock that does not go backwards */
    KsmAutoShare stall;         /* time that some task waited for memory */
    KsmAutoShare available;     /* memory that is to be had without swapping */
} KsmAutoSample;

typedef enum KsmAutoReason {
    KSM_AUTO_START,             /* nothing was decided yet */
    KSM_AUTO_LOW_MEMORY,        /* less than min_free is available */
    KSM_AUTO_STALLS,            /* tasks wait for memory */
    KSM_AUTO_EASED,             /* neither, by a margin */
} KsmAutoReason;

typedef struct KsmAutoState {
    bool merging;
    KsmAutoReason reason;       /* of the last change */
    int64_t since_ms;           /* time of it, unless @reason is the start */
} KsmAutoState;

/**
 * ksm_auto_decide:
 *
 * Pressure starts merging.  It stops when no figure shows pressure and all of
 * them are clear of their limits: @available by the hysteresis, @stall at half
 * of its own or less.  Between these, and within the dwell time of the last
 * change, everything stays as it is; so it does if nothing is known.
 *
 * Returns: what follows @state; equal to it if nothing changes.
 */
KsmAutoState ksm_auto_decide(KsmAutoState state, const KsmAutoConfig *config,
                             const KsmAutoSample *sample);

/* Whether a part of memory is left out because it is written to too often */
typedef struct KsmHeatState {
    bool hot;
    unsigned streak;            /* looks in a row that spoke for a change */
} KsmHeatState;

/* So many in a row make a part hot, or cool again */
#define KSM_HEAT_LOOKS_HOT 2
#define KSM_HEAT_LOOKS_COOL 6

/**
 * ksm_heat_decide:
 * @written: percent that was written to since the last look; below 0: unknown
 * @hot_percent: more than that is hot, half of it or less is cool
 *
 * Returns: what follows @state; equal to it if nothing is known.
 */
KsmHeatState ksm_heat_decide(KsmHeatState state, int written,
                             unsigned hot_percent);

/* What a process has merged, at one time */
typedef struct KsmSharing {
    bool known;
    uint64_t merged;            /* pages */
    bool has_breaks;
    uint64_t breaks;            /* COW breaks, ever */
} KsmSharing;

/* What is lost to be called a collapse: so many pages, and a tenth */
#define KSM_COLLAPSE_PAGES 1024
#define KSM_COLLAPSE_PERCENT 10

/**
 * ksm_sharing_collapsed:
 * @before: at the start of a time span
 * @after: at its end
 * @breaks: set to the COW breaks in between, as far as the kernel tells
 *
 * Sharing has collapsed if writes outran merging: what is merged has not grown
 * although a tenth of it, and at least KSM_COLLAPSE_PAGES, were broken.  Where
 * the kernel does not count COW breaks, what is merged no longer is their
 * number.
 */
bool ksm_sharing_collapsed(const KsmSharing *before, const KsmSharing *after,
                           uint64_t *breaks);

#endif
