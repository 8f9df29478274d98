/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The soak: processes that do everything to their memory that may disturb
 * merging, while every page is compared with what it must hold.
 *
 * main.c     set-up, the supervisor of all processes, the end
 * worker.c   one process of the storm: its life, its children, verifying
 * actions.c  what it does to its memory
 * inspect.c  turns the engine's knobs and checks its counters
 * press.c    swap, reclaim, compaction, failing allocations
 * figures.c  what is printed, once a minute and at the end
 *
 * Uses the helpers of the kernel selftests (ksm_util.h): fail() and must() end
 * the process that calls them, and the first one to speak decides the run.
 */
#ifndef SOAK_H
#define SOAK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ksm_util.h"

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#endif

#define WORKERS_MAX 32
/* Of a worker: areas of 2 MiB, the first ones of small pages only */
#define AREAS 8
#define SMALL_AREAS 5
#define AREA_PAGES 512
/* After so many wrong pages there is evidence enough */
#define MISMATCHES_MAX 10

/* Contents: 0 is the zero page, few ones that all write, the rest unique */
#define CONTENT_ZERO 0
#define CONTENTS_COMMON 48
#define CONTENT_DIRECT 1000
#define DIRECT_BLOCKS 16

/* What one page must hold.  Others read it while its owner changes it. */
typedef struct PageBook {
    uint64_t content;
    uint32_t turn;          /* odd while content or mapping change */
    bool lazy;              /* after MADV_FREE zeros are right, too */
} PageBook;

/* What is known of one worker, in shared memory that is never merged. */
typedef struct Slot {
    pid_t pid;              /* once its areas are there */
    bool paused;
    char *area[AREAS];
    PageBook book[AREAS][AREA_PAGES];
} Slot;

typedef struct Tally {
    uint64_t steps, forks, exits, kills, lost, refused;
    uint64_t bytes, mismatches;
    uint64_t passes, sums;          /* counter checks that were made */
    uint64_t growth;                /* of pages_shared + pages_sharing */
} Tally;

typedef struct Shared {
    bool stop, pause;
    bool damage;                    /* --damage: spoil one byte, once */
    bool limited;                   /* the workers are in a memory cgroup */
    int workers, nodes;
    int direct_fd;                  /* O_DIRECT, or -1 */
    Tally tally;
    Slot slot[WORKERS_MAX];
} Shared;

extern Shared *shared;

static inline void count(uint64_t *what, uint64_t by)
{
    __atomic_fetch_add(what, by, __ATOMIC_SEQ_CST);
}

static inline uint64_t counted(const uint64_t *what)
{
    return __atomic_load_n(what, __ATOMIC_SEQ_CST);
}

static inline bool is_set(const bool *what)
{
    return __atomic_load_n(what, __ATOMIC_SEQ_CST);
}

static inline void set(bool *what, bool value)
{
    __atomic_store_n(what, value, __ATOMIC_SEQ_CST);
}

static inline bool over(void)
{
    return is_set(&shared->stop) || ksm_verdict->state != KSM_RUNNING;
}

/* --- worker.c --- */

typedef struct Worker {
    Slot *slot;
    uint64_t rng;
    int number, depth;              /* depth: 0, or how many forks below */
    int children;                   /* that are not yet waited for */
    unsigned int steps;
} Worker;

/* Some pages of one area. */
typedef struct Range {
    int area;
    size_t first, count;
} Range;

uint32_t draw(uint64_t *rng, uint32_t below);
/* Memory of one area, aligned for a huge page. */
char *area_reserve(void);
/* Whether @page holds what @book says. */
bool page_right(const void *page, const PageBook *book);
/* Compare, count, complain about what is wrong and put it right again. */
void verify_range(Worker *w, const Range *r, const char *when);
/* The same for a page's copy, whose original is at @at in process @pid. */
void verify_copy(Worker *w, const void *copy, const PageBook *b, pid_t pid,
                 const void *at, const char *when);
/* Give the range new contents, the kind chosen at random. */
void write_range(Worker *w, const Range *r);
/* A copy of the process that lives on for some steps. */
void fork_worker(Worker *w);
/* The whole life of worker number *@number. */
void work(void *number);

static inline char *range_at(const Worker *w, const Range *r)
{
    return page_at(w->slot->area[r->area], r->first);
}

static inline size_t range_bytes(const Range *r)
{
    return r->count * page_size;
}

/* Around every change of contents or mapping. */
void range_begin(Worker *w, const Range *r);
void range_end(Worker *w, const Range *r);
/* Between the two: what the pages hold from now on. */
void range_book(Worker *w, const Range *r, uint64_t content, bool lazy);

/* --- actions.c --- */

/* One action, drawn at random; returns its name and its range. */
const char *act(Worker *w, Range *r);

/* --- main.c --- */

/* A verdict without ending: the supervisor has others to end first. */
void __printf(1, 2) condemn(const char *fmt, ...);

/* --- inspect.c --- */

/* Process: turn knobs, check counters at each pass, until the end. */
void inspect(void *unused);
/* Everything has ended: the engine must keep nothing. */
void inspect_end(void *unused);

/* --- press.c --- */

void press_setup(size_t swap_bytes);
/* Process: reclaim, limits and compaction, until the end. */
void press(void *unused);
/* Faults injected so far, -1 if this kernel cannot. */
long press_injected(void);
void press_cleanup(void);

/* --- leak.c --- */

/* Note what there is before anything begins. */
void leak_start(void);
/*
 * End this process' share in what children with PR_SET_MEMORY_MERGE merged of
 * the memory that a fork gave them, in the only way that needs no record of it.
 * ksmd must not run.
 */
void leak_unshare_own(void);
/* When all have ended and swap is off; prints and condemns. */
void leak_check(void);

/* --- figures.c --- */

void figures_start(const char *results);
void figures_line(unsigned int minute, unsigned int minutes);
/* Table and JSON; @why is NULL if all was right. */
void figures_end(double seconds, const char *why);
/* A number that the driver of the guests has told, -1 if none. */
long guests_told(const char *key);

#endif
