// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One process that owns the engine's knobs: it turns them at random, and at
 * every pass of ksmd checks what the counters promise.
 *
 * The sums over all processes are compared with everything at rest: the workers
 * paused with no children, ksmd stopped.  Guests go on; they change no counter
 * while ksmd is stopped, unless one starts or dies, hence the repeats.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "soak.h"

#define KHUGEPAGED "/sys/kernel/mm/transparent_hugepage/khugepaged/"
#define COLLIDE "/sys/kernel/debug/ksm/collide"
#define PAUSE_SECONDS 300
#define SUM_TRIES 6
#define SUM_READS 20

static uint64_t rng;
static uint64_t passes;

/* --- at every pass -------------------------------------------------------- */

/* Mainline's number (6.18) drifts, to below 0 too; ours has to be exact. */
static bool has_exact_zero(void)
{
    return ksm_is_samepage() && ksm_has("ksm_zero_pages");
}

/* Numbers that only grow, as far as this kernel has them. */
static struct grower {
    const char *path, *field;   /* without @field the file is one number */
    long last;
} growers[] = {
    { "/proc/vmstat", "cow_ksm" },
    { "/proc/vmstat", "ksm_swpin_copy" },
    { KSM_DIR "pages_scanned" },
    { KSM_DIR "pages_skipped" },
    { KSM_DIR "refused_volatile" },
    { KSM_DIR "refused_pinned" },
    { KSM_DIR "refused_raced" },
    { KSM_DIR "refused_limit" },
    { KSM_DIR "refused_nomem" },
};

static void check_growers(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(growers); i++) {
        struct grower *g = &growers[i];
        long now = g->field ? file_field(g->path, g->field)
                            : file_number(g->path);

        if (now == -1) {
            continue;
        }
        must(now >= g->last, "%s %s fell from %ld to %ld", g->path,
             g->field ? g->field : "", g->last, now);
        g->last = now;
    }
}

static void check_pass(void)
{
    static const char *const never_negative[] = {
        "pages_shared", "pages_sharing", "pages_unshared", "pages_volatile",
        "stable_node_chains", "stable_node_dups",
    };

    for (size_t i = 0; i < ARRAY_SIZE(never_negative); i++) {
        ksm_read(never_negative[i]);
    }
    if (has_exact_zero()) {
        ksm_read("ksm_zero_pages");
    }
    check_growers();
    count(&shared->tally.passes, 1);
}

/* Let @ms go by, with a look at every pass that ends meanwhile. */
static void watch(unsigned int ms)
{
    static long merged;
    uint64_t until = now_ms() + ms;

    while (now_ms() < until && !over()) {
        uint64_t now = ksm_read("full_scans");
        long sum = ksm_read("pages_shared") + ksm_read("pages_sharing");

        must(now >= passes, "full_scans fell from %llu to %llu",
             (unsigned long long)passes, (unsigned long long)now);
        if (now != passes) {
            check_pass();
        }
        passes = now;
        count(&shared->tally.growth, sum > merged ? sum - merged : 0);
        merged = sum;
        nap_ms(20);
    }
}

/* --- sums over all processes ---------------------------------------------- */

typedef struct Sums {
    long merging, tracked, zero;
} Sums;

static Sums engine_sums(void)
{
    struct ksm_counts c;
    Sums s;

    ksm_get_counts(&c);
    s.merging = c.shared + c.sharing;
    s.tracked = s.merging + c.unshared + c.pvolatile;
    s.zero = has_exact_zero() ? ksm_read("ksm_zero_pages") : 0;
    return s;
}

/* -1: the kernel does not tell, or the process has no memory (any more). */
static void add(long *sum, long value)
{
    *sum += value == -1 ? 0 : value;
}

/* @tell: print those that have a part in it */
static Sums process_sums(bool tell)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    Sums s = { 0, 0, 0 };

    must(proc, "/proc: %m");
    while ((entry = readdir(proc))) {
        pid_t pid = atoi(entry->d_name);
        long merging;

        if (pid <= 0) {
            continue;
        }
        merging = proc_merging_pages(pid);
        add(&s.merging, merging);
        add(&s.tracked, proc_ksm_stat(pid, "ksm_rmap_items"));
        if (has_exact_zero()) {
            add(&s.zero, proc_ksm_stat(pid, "ksm_zero_pages"));
        }
        if (tell && merging > 0) {
            ksm_note("process %d: merging %ld, rmap_items %ld, zero %ld", pid,
                     merging, proc_ksm_stat(pid, "ksm_rmap_items"),
                     proc_ksm_stat(pid, "ksm_zero_pages"));
        }
    }
    closedir(proc);
    return s;
}

static bool same(const Sums *a, const Sums *b)
{
    return a->merging == b->merging && a->tracked == b->tracked &&
           a->zero == b->zero;
}

/*
 * One look.  A reading counts if the engine's numbers were the same before and
 * after: zero pages come and go by guests' writes, ksmd or not.
 */
static bool sums_agree(Sums *engine, Sums *process)
{
    Sums after;

    for (int n = 0; n < SUM_READS; n++) {
        *engine = engine_sums();
        *process = process_sums(false);
        after = engine_sums();
        if (same(engine, &after) && same(engine, process)) {
            return true;
        }
        nap_ms(20);
    }
    return false;
}

static void set_pace(const char *pages, const char *millisecs)
{
    ksm_write("advisor_mode", "none");
    ksm_write("pages_to_scan", pages);
    ksm_write("sleep_millisecs", millisecs);
}

static void pause_workers(void)
{
    uint64_t limit = now_ms() + PAUSE_SECONDS * 1000;

    set(&shared->pause, true);
    for (int n = 0; n < shared->workers; n++) {
        while (!is_set(&shared->slot[n].paused) && !over()) {
            must(now_ms() < limit, "worker %d (process %d) hangs: no step ends "
                 "in %d s", n, shared->slot[n].pid, PAUSE_SECONDS);
            watch(20);
        }
    }
}

static void compare_sums(void)
{
    Sums engine = { 0 }, process = { 0 };

    for (int n = 0; n < SUM_TRIES; n++) {
        ksm_write("run", "0");
        if (sums_agree(&engine, &process)) {
            count(&shared->tally.sums, 1);
            return;
        }
        if (over()) {
            return;
        }
        /* What was left of a process that has just ended goes by passes. */
        ksm_write("run", "1");
        ksm_wait_scans(2);
    }
    process_sums(true);
    fail("all processes together have %ld merged pages (the engine %ld), %ld "
         "records (%ld), %ld zero pages (%ld)", process.merging,
         engine.merging, process.tracked, engine.tracked, process.zero,
         engine.zero);
}

static void check_sums(void)
{
    pause_workers();
    if (!over()) {
        set_pace("100000", "0");
        compare_sums();
    }
    ksm_write("run", "1");
    set(&shared->pause, false);
}

/* --- knobs ---------------------------------------------------------------- */

static const char *any(const char *const *words, size_t n)
{
    return words[draw(&rng, n)];
}

#define ANY(...) any((const char *const[]){ __VA_ARGS__ }, \
                     ARRAY_SIZE(((const char *const[]){ __VA_ARGS__ })))

/* Some of what may be set at any time; a refusal is an answer, too. */
static void turn_knobs(void)
{
    set_pace(ANY("100", "1000", "20000", "20000", "100000"),
             ANY("0", "0", "1", "20"));
    ksm_write("use_zero_pages", ANY("0", "1"));
    ksm_write("smart_scan", ANY("0", "1"));
    ksm_write("stable_node_chains_prune_millisecs", ANY("0", "100", "2000"));
    ksm_write("merge_across_nodes", ANY("0", "1"));
    ksm_write("max_page_sharing", ANY("2", "3", "10", "256"));
    ksm_write("boost_max_cpu", ANY("0", "50", "100"));
    ksm_write("scan_threads", ANY("1", "2", "4"));
    ksm_write("huge_split_min", ANY("1", "1", "16"));
    file_write(KHUGEPAGED "scan_sleep_millisecs", ANY("10", "100", "10000"));
    if (draw(&rng, 6) == 0) {
        ksm_write("advisor_mode", "scan-time");
    }
}

static void storm_stop(void)
{
    ksm_write("run", "0");
    watch(200 + draw(&rng, 800));
    ksm_write("run", "1");
}

/* Everything apart; what nobody may change while pages are shared, changes. */
static void storm_unmerge(void)
{
    int err = ksm_write("run", "2");

    must(!err || err == -ENOMEM || err == -EINTR, "run=2: %s",
         strerror(-err));
    if (!err) {
        passes = 0;
    }
    turn_knobs();
    watch(draw(&rng, 500));
    ksm_write("run", "1");
}

static void storm_collide(void)
{
    if (file_write(COLLIDE, "1")) {
        return;
    }
    set_pace("200", "5");
    watch(1000);
    file_write(COLLIDE, "0");
    set_pace("20000", "0");
}

static void storm(void)
{
    switch (draw(&rng, 12)) {
    case 0:
        storm_stop();
        break;
    case 1:
        storm_unmerge();
        break;
    case 2:
        storm_collide();
        break;
    case 3 ... 6:
        turn_knobs();
        break;
    default:
        set_pace("20000", "0");
    }
    watch(1000 + draw(&rng, 4000));
}

void inspect(void *unused)
{
    uint64_t due = now_ms() + 5000;

    (void)unused;
    rng = now_ms() | 1;
    passes = ksm_read("full_scans");
    ksm_wait_limit = 900;
    ksm_set("run", 1);
    while (!over()) {
        uint64_t began = now_ms();

        storm();
        if (began < due || over()) {
            continue;
        }
        began = now_ms();
        check_sums();
        /* At most a fifth of the time in pauses */
        due = now_ms() + 10000 + 4 * (now_ms() - began);
    }
    ksm_write("run", "1");
}

static void expect_zero(const char *const *knobs, size_t n)
{
    uint64_t limit = now_ms() + 60000;

    for (size_t i = 0; i < n; i++) {
        while (ksm_read(knobs[i])) {
            must(now_ms() < limit, "after the end and run=2 %s is %ld",
                 knobs[i], ksm_read(knobs[i]));
            nap_ms(50);
        }
    }
}

void inspect_end(void *unused)
{
    static const char *const all[] = {
        "pages_shared", "pages_sharing", "pages_unshared", "pages_volatile",
    };
    /* Mainline drops what is empty only when it comes by. */
    static const char *const ours[] = {
        "stable_node_chains", "stable_node_dups",
    };
    Sums left;

    (void)unused;
    set_pace("20000", "0");
    ksm_set("run", 2);
    expect_zero(all, ARRAY_SIZE(all));
    if (ksm_is_samepage()) {
        expect_zero(ours, ARRAY_SIZE(ours));
    }
    if (has_exact_zero()) {
        expect_zero((const char *const[]){ "ksm_zero_pages" }, 1);
    }
    left = process_sums(false);
    for (int n = 0; n < 100 && (left.merging || left.tracked || left.zero); n++) {
        nap_ms(100);
        left = process_sums(false);
    }
    process_sums(true);
    must(!left.merging && !left.tracked && !left.zero,
         "after the end and run=2 processes have %ld merged pages, %ld "
         "records, %ld zero pages", left.merging, left.tracked, left.zero);
}
