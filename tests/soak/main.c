// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * soak: a storm of processes, and KVM guests beside it, for some minutes.
 *
 *   soak --minutes N --results DIR [--workers N] [--swap MIB] [--damage]
 *        [-- DRIVER ARG...]
 *
 * DRIVER runs the guests (sharing-run --soak-seconds); the storm begins when
 * it has told in DIR/guests.txt that they are ready, and the whole run ends when
 * it fails.  --damage spoils a byte, to see a run fail.
 *
 * Runs as root and disturbs the whole machine; the engine's knobs, swap and the
 * cgroup are put back at the end.  Exit status: 0 all was right, 1 something
 * was not, 2 bad usage or no engine.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "soak.h"

#define GUESTS_READY_SECONDS 1500
#define GUESTS_END_SECONDS 1200
#define WORKERS_END_SECONDS 600

Shared *shared;

static struct {
    int minutes, workers;
    size_t swap_mib;
    const char *results;
    char **driver;
} opt = { .workers = 6, .swap_mib = 256 };

/* Of the supervisor: its processes, 0 when ended */
static pid_t inspector, presser, driver, worker[WORKERS_MAX];
static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = number;
}

void condemn(const char *fmt, ...)
{
    va_list ap;

    if (ksm_verdict->state == KSM_RUNNING) {
        va_start(ap, fmt);
        vsnprintf(ksm_verdict->why, sizeof(ksm_verdict->why), fmt, ap);
        va_end(ap);
        ksm_verdict->state = KSM_FAILED;
    }
}

/* --- knobs ---------------------------------------------------------------- */

static struct knob {
    const char *path;
    char saved[64];
} knobs[] = {
    { KSM_DIR "max_page_sharing" },
    { KSM_DIR "merge_across_nodes" },
    { KSM_DIR "use_zero_pages" },
    { KSM_DIR "smart_scan" },
    { KSM_DIR "stable_node_chains_prune_millisecs" },
    { KSM_DIR "pages_to_scan" },
    { KSM_DIR "sleep_millisecs" },
    { KSM_DIR "boost_max_cpu" },
    { KSM_DIR "scan_threads" },
    { KSM_DIR "huge_split_min" },
    { KSM_DIR "advisor_mode" },
    { KSM_DIR "run" },
    { "/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs" },
    { "/sys/kernel/debug/ksm/collide" },
};

static void save_knobs(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(knobs); i++) {
        struct knob *k = &knobs[i];

        if (file_text(k->path, k->saved, sizeof(k->saved))) {
            k->saved[0] = '\0';
        }
    }
}

/* Some can be set only when the last merged page has left every list. */
static bool put_back(const char *path, const char *text)
{
    int err = -EBUSY;

    for (int n = 0; n < 100 && err == -EBUSY; n++) {
        err = file_write(path, text);
        nap_ms(err ? 50 : 0);
    }
    return !err;
}

static void restore_knobs(void)
{
    ksm_write("run", "2");
    ksm_write("run", "0");
    ksm_write("advisor_mode", "none");
    for (size_t i = 0; i < ARRAY_SIZE(knobs); i++) {
        char *text = knobs[i].saved, *choice = strchr(text, '[');

        /* A choice shows all words, the current one in brackets. */
        if (choice) {
            text = choice + 1;
            text[strcspn(text, "]")] = '\0';
        }
        if (*text && !put_back(knobs[i].path, text)) {
            printf("cannot put %s back to %s\n", knobs[i].path, text);
        }
    }
}

/* --- processes ------------------------------------------------------------ */

static void start_worker(int n)
{
    static int number[WORKERS_MAX];

    number[n] = n;
    set(&shared->slot[n].paused, false);
    worker[n] = child(work, &number[n]);
}

static void run_driver(void *unused)
{
    (void)unused;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    execv(opt.driver[0], opt.driver);
    fail("%s: %m", opt.driver[0]);
}

static void worker_ended(int n, int status)
{
    bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;

    worker[n] = 0;
    if (killed) {
        /* Ours are counted where they are done. */
        count(&shared->tally.lost, 1);
    } else if (WIFSIGNALED(status)) {
        condemn("worker %d died of signal %d (%s)", n, WTERMSIG(status),
                strsignal(WTERMSIG(status)));
    } else if (WEXITSTATUS(status)) {
        condemn("worker %d ended with status %d", n, WEXITSTATUS(status));
    } else {
        count(&shared->tally.exits, 1);
    }
}

static void helper_ended(const char *name, pid_t *pid, int status)
{
    *pid = 0;
    if (!WIFEXITED(status) || WEXITSTATUS(status) || !over()) {
        condemn("the %s ended early (wait status 0x%x)", name, status);
    }
}

/* The guests may take less long than the storm, if all went well. */
static void driver_ended(int status)
{
    driver = 0;
    if (status) {
        condemn("the driver of the guests failed (wait status 0x%x), see "
                "what it has printed", status);
    }
}

/* Collect one process.  False if none has ended. */
static bool reap(void)
{
    int status;
    pid_t pid = waitpid(-1, &status, WNOHANG);

    if (pid <= 0) {
        return false;
    }
    if (pid == inspector) {
        helper_ended("inspector", &inspector, status);
    } else if (pid == presser) {
        helper_ended("presser", &presser, status);
    } else if (pid == driver) {
        driver_ended(status);
    }
    for (int n = 0; n < shared->workers; n++) {
        if (pid == worker[n]) {
            worker_ended(n, status);
        }
    }
    return true;
}

static void respawn(void)
{
    for (int n = 0; n < shared->workers && !over(); n++) {
        if (!worker[n]) {
            start_worker(n);
        }
    }
}

/* Without warning, in the middle of whatever it does, children and all. */
static void kill_one(uint64_t *rng)
{
    int n = draw(rng, shared->workers), status;
    pid_t pid = worker[n];

    if (!pid || is_set(&shared->pause) || kill(-pid, SIGKILL)) {
        return;
    }
    waitpid(pid, &status, 0);
    worker[n] = 0;
    if (WIFSIGNALED(status)) {
        count(&shared->tally.kills, 1);
    } else {
        worker_ended(n, status);
    }
}

/* --- the run -------------------------------------------------------------- */

static bool evidence_enough(void)
{
    if (counted(&shared->tally.mismatches) >= MISMATCHES_MAX) {
        condemn("wrong memory contents: see the lines MISMATCH above");
    }
    if (interrupted) {
        condemn("interrupted by signal %d", (int)interrupted);
    }
    return over();
}

static void wait_guests_ready(void)
{
    uint64_t limit = now_ms() + GUESTS_READY_SECONDS * 1000ull;

    while (driver && guests_told("ready") != 1 && !evidence_enough()) {
        if (now_ms() > limit) {
            condemn("the guests are not ready after %d s",
                    GUESTS_READY_SECONDS);
        }
        reap();
        nap_ms(200);
    }
}

static void storm(uint64_t start)
{
    uint64_t rng = start | 1, next_kill = start + 20000;
    int minute = 0;

    while (minute < opt.minutes && !evidence_enough()) {
        nap_ms(100);
        while (reap()) {
        }
        respawn();
        if (now_ms() > next_kill) {
            kill_one(&rng);
            next_kill = now_ms() + 2000 + draw(&rng, 20000);
        }
        if (now_ms() - start >= (minute + 1) * 60000ull) {
            figures_line(++minute, opt.minutes);
        }
    }
}

static bool workers_live(void)
{
    bool live = inspector || presser;

    for (int n = 0; n < shared->workers; n++) {
        live |= worker[n] != 0;
    }
    return live;
}

static void end_storm(void)
{
    uint64_t limit = now_ms() + WORKERS_END_SECONDS * 1000ull;

    set(&shared->stop, true);
    while (workers_live() && now_ms() < limit) {
        reap();
        nap_ms(20);
    }
    if (workers_live()) {
        condemn("%d s after the end there still are processes at work",
                WORKERS_END_SECONDS);
    }
}

static void end_guests(void)
{
    uint64_t limit = now_ms() + GUESTS_END_SECONDS * 1000ull;

    if (driver && ksm_verdict->state != KSM_RUNNING) {
        kill(driver, SIGTERM);
    }
    while (driver && now_ms() < limit) {
        reap();
        nap_ms(100);
    }
    if (driver) {
        condemn("the driver of the guests did not end within %d s",
                GUESTS_END_SECONDS);
    }
}

static void supervise(void *unused)
{
    (void)unused;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (opt.driver) {
        driver = child(run_driver, NULL);
        wait_guests_ready();
        if (guests_told("ready") != 1) {
            condemn("the guests did not come up, see what their driver says");
        }
    }
    if (!over()) {
        printf("the storm begins: %d processes of %d MiB for %d minutes\n",
               shared->workers, AREAS * AREA_PAGES / 256, opt.minutes);
        fflush(stdout);
        respawn();
        inspector = child(inspect, NULL);
        presser = child(press, NULL);
        storm(now_ms());
    }
    end_storm();
    end_guests();
}

/* The comparison that everything rests on must see one wrong bit. */
static void prove_comparison(void)
{
    PageBook book = { .content = 7 };
    char *p = area_new(1);

    page_fill(p, 7);
    must(page_right(p, &book), "the right page is found wrong");
    byte_write(p + 4095, byte_read(p + 4095) ^ 1);
    must(!page_right(p, &book), "a wrong page is found right");
    book.content = CONTENT_ZERO;
    must(!page_right(p, &book), "a page is found zero that is not");
    area_free(p, 1);
}

/* Run @fn in a process and wait until it and all that it left have ended. */
static void run_to_end(void (*fn)(void *), void *arg)
{
    pid_t pid = child(fn, arg), got;
    int status, result = 0;

    while ((got = waitpid(-1, &status, 0)) > 0 || errno == EINTR) {
        if (interrupted && got < 0) {
            kill(pid, SIGTERM);
        }
        if (got == pid) {
            result = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
        }
    }
    if (result) {
        condemn("the supervisor or the last check ended with status %d",
                result);
    }
}

static int run(void)
{
    uint64_t start = now_ms();

    leak_start();
    run_to_end(supervise, NULL);
    /* All are gone; what the engine keeps now it would keep for ever. */
    if (ksm_verdict->state == KSM_RUNNING) {
        swap_cleanup();
        ksm_set("run", 0);
        leak_unshare_own();
        run_to_end(inspect_end, NULL);
    }
    if (ksm_verdict->state == KSM_RUNNING) {
        leak_check();
    }
    if (counted(&shared->tally.mismatches) || guests_told("mismatches") > 0) {
        condemn("wrong memory contents: see the lines MISMATCH above");
    }
    figures_end((now_ms() - start) / 1000.0,
                ksm_verdict->state == KSM_RUNNING ? NULL : ksm_verdict->why);
    return ksm_verdict->state != KSM_RUNNING;
}

/* --- command line --------------------------------------------------------- */

static void __noreturn usage(const char *why)
{
    fprintf(stderr, "soak: %s\nusage: soak --minutes N --results DIR "
            "[--workers N] [--swap MIB] [--damage] [-- DRIVER ARG...]\n", why);
    exit(2);
}

static long number(const char *name, const char *text, long low, long high)
{
    char *end, why[80];
    long value = strtol(text, &end, 10);

    if (end == text || *end || value < low || value > high) {
        snprintf(why, sizeof(why), "--%s %.20s: %ld to %ld allowed", name,
                 text, low, high);
        usage(why);
    }
    return value;
}

static void parse(int argc, char **argv)
{
    static const struct option options[] = {
        { "minutes", required_argument, NULL, 'm' },
        { "workers", required_argument, NULL, 'w' },
        { "swap", required_argument, NULL, 's' },
        { "results", required_argument, NULL, 'r' },
        { "damage", no_argument, NULL, 'd' },
        { }
    };
    int c;

    while ((c = getopt_long(argc, argv, "+", options, NULL)) != -1) {
        switch (c) {
        case 'm':
            opt.minutes = number("minutes", optarg, 1, 1440);
            break;
        case 'w':
            opt.workers = number("workers", optarg, 1, WORKERS_MAX);
            break;
        case 's':
            opt.swap_mib = number("swap", optarg, 16, 65536);
            break;
        case 'r':
            opt.results = optarg;
            break;
        case 'd':
            shared->damage = true;
            break;
        default:
            usage("unknown option");
        }
    }
    if (!opt.minutes || !opt.results) {
        usage("--minutes and --results are needed");
    }
    opt.driver = argv[optind] ? argv + optind : NULL;
}

static int count_nodes(void)
{
    char path[64];
    int n = 0;

    do {
        snprintf(path, sizeof(path), "/sys/devices/system/node/node%d", n);
    } while (!access(path, F_OK) && ++n < 64);
    return n ? n : 1;
}

int main(int argc, char **argv)
{
    struct sigaction action = { .sa_handler = on_signal };
    static struct ksm_verdict early;
    int rc;

    ksm_verdict = &early;
    shared = shared_new(sizeof(*shared));
    ksm_verdict = shared_new(sizeof(*ksm_verdict));
    parse(argc, argv);
    if (geteuid() || access(KSM_DIR "run", W_OK)) {
        fprintf(stderr, "soak: needs root and " KSM_DIR "\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    shared->workers = opt.workers;
    shared->nodes = count_nodes();
    prove_comparison();
    save_knobs();
    press_setup(opt.swap_mib << 20);
    figures_start(opt.results);
    rc = run();
    press_cleanup();
    restore_knobs();
    return rc;
}
