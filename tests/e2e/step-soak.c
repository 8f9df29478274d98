// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A soak: for a long time guests rewrite memory, are swapped out and migrated
 * by the host, are killed and replaced, and all of it is verified again and
 * again.  How it goes is told in RESULTS/guests.txt, a line a figure.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "run.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* Of a guest's RAM, what one advice from outside is about */
#define ADVISE_BYTES (8 << 20)
#define REPLACE_SECONDS 150
/* As many guests as an agent can be told to be */
#define NUMBER_MAX 1000
/* As step_verify() compares from the host's side */
#define HOST_COMPARE_PAGES 512

typedef struct Soak {
    uint32_t started, killed, mismatches, rounds;
    uint64_t bytes;             /* verified */
    double replace_at;          /* in seconds of the run */
} Soak;

static bool tell(Run *run, const Soak *s, GError **errp)
{
    g_autofree char *path =
        g_build_filename(run->opts.results, "guests.txt", NULL);
    g_autofree char *text = g_strdup_printf(
        "ready 1\nstarted %u\nkilled %u\nrounds %u\nbytes %" PRIu64
        "\nmismatches %u\n", s->started, s->killed, s->rounds, s->bytes,
        s->mismatches);

    return g_file_set_contents(path, text, -1, errp);
}

static void pass_time(Run *run, int ms, GError **errp)
{
    gint64 until = g_get_monotonic_time() + ms * 1000;

    while (g_get_monotonic_time() < until && run_tick(run, errp)) {
        g_usleep(G_USEC_PER_SEC / 10);
    }
}

/* Advice about a part of the guest's RAM, as a manager of memory gives it. */
static bool advise_guest(const Guest *g, GError **errp)
{
    static const int advice[] = {
        MADV_PAGEOUT, MADV_PAGEOUT, MADV_COLD, MADV_COLLAPSE, MADV_WILLNEED,
    };
    int parts = ((uint64_t)g->ram_mib << 20) / ADVISE_BYTES;
    struct iovec range = {
        (void *)(uintptr_t)(g->ram_host + (uint64_t)ADVISE_BYTES *
                            g_random_int_range(0, parts)),
        ADVISE_BYTES,
    };
    int fd = syscall(SYS_pidfd_open, g->pid, 0);
    int which = g_random_int_range(0, G_N_ELEMENTS(advice));
    long n = syscall(SYS_process_madvise, fd, &range, 1, advice[which], 0);

    /* Not now, or not here, is an answer. */
    if (n < 0 && errno != EAGAIN && errno != EBUSY && errno != EINVAL &&
        errno != ENOMEM) {
        g_set_error(errp, SHARING_ERROR, SHARING_ERROR_HOST,
                    "%s: process_madvise %d: %s", g->name, advice[which],
                    g_strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
    return !*errp;
}

/* All its pages from one node to the other, if there are two. */
static void migrate_guest(const Guest *g)
{
    unsigned long node[] = { 1, 2 };
    int from = g_random_int_range(0, 2);

    if (!access("/sys/devices/system/node/node1", F_OK)) {
        syscall(SYS_migrate_pages, g->pid, 8 * sizeof(node[0]), &node[from],
                &node[!from]);
    }
}

static bool rewrite(Run *run, Guest *g, Soak *s, GError **errp)
{
    enum pattern_region region = g_random_int_range(0, REGION_CHURN);
    uint32_t count = g->pages[region] / g_random_int_range(2, 20);
    g_autofree char *request =
        g_strdup_printf("rewrite region=%s count=%u",
                        pattern_region_name(region), MAX(count, 1));
    uint64_t bad = 1;

    guest_ask(g, request);
    if (!guest_wait_reply(g, run->opts.step_timeout, errp)) {
        return false;
    }
    words_u64(g->reply, "bad", 10, &bad);
    s->bytes += 2ull * MAX(count, 1) * PATTERN_PAGE;
    s->mismatches += bad != 0;
    return check(&run->checks, !bad, "a guest rewrites its memory", "%s: %s",
                 g->name, g->reply);
}

/* Every page of every guest, and some of them from the host's side. */
static bool verify(Run *run, Soak *s, GError **errp)
{
    unsigned int failed = run->checks.failed;

    if (!run_verify(run, "in the soak", errp)) {
        return false;
    }
    for (int n = 0; n < run->started; n++) {
        const Guest *g = &run->guests[n];

        for (int r = 0; r < REGION_COUNT; r++) {
            s->bytes += PATTERN_PAGE * (uint64_t)
                (g->pages[r] + MIN(g->pages[r], HOST_COMPARE_PAGES));
        }
        s->mismatches += !g->verified;
    }
    s->rounds++;
    return run->checks.failed == failed;
}

static bool replace(Run *run, Soak *s, int n)
{
    s->replace_at = run_seconds(run) + REPLACE_SECONDS;
    return step_replace(run, n, ++s->started);
}

static bool soak_round(Run *run, Soak *s, GError **errp)
{
    Guest *g = &run->guests[g_random_int_range(0, run->started)];

    if (!run_churn(run, true, errp)) {
        return false;
    }
    for (int n = 0; n < 4; n++) {
        if (!advise_guest(g, errp)) {
            return false;
        }
        pass_time(run, g_random_int_range(100, 1000), errp);
        if (*errp) {
            return false;
        }
    }
    migrate_guest(g);
    if (!rewrite(run, g, s, errp) || !verify(run, s, errp)) {
        return false;
    }
    if (run_seconds(run) > s->replace_at && s->started < NUMBER_MAX) {
        s->killed++;
        if (!replace(run, s, g_random_int_range(0, run->started))) {
            return false;
        }
    }
    return tell(run, s, errp);
}

bool step_soak(Run *run)
{
    double end = run_seconds(run) + run->opts.soak_seconds;
    Soak s = {
        .started = run->started,
        .replace_at = run_seconds(run) + REPLACE_SECONDS / 2,
    };
    GError *err = NULL;
    bool ok;

    progress(&run->checks, "The soak of %d guests begins", run->started);
    run->rewritten = true;
    run->checks.quiet = true;
    ok = tell(run, &s, &err);
    while (ok && run_seconds(run) < end) {
        ok = soak_round(run, &s, &err);
    }
    run->checks.quiet = false;
    if (ok || err) {
        ok &= check_error(&run->checks, err,
                          "the guests' soak comes to its end");
    }
    tell(run, &s, NULL);
    progress(&run->checks, "%u rounds, %u guests started, %u killed, "
             "%.1f GiB verified, %u mismatches", s.rounds, s.started, s.killed,
             s.bytes / 1073741824.0, s.mismatches);
    return ok;
}
