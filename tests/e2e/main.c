// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * sharing-run: several KVM guests share memory, and everything about it is
 * checked; with --case something else is done to them meanwhile.  Runs as root
 * in the bench host; see --help.
 *
 * Exit status: 0 all checks passed, 1 a check failed or the run broke off,
 * 2 the command line or the host is not fit for it (nothing was changed).
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "report.h"
#include "run.h"

static void on_signal(int number)
{
    run_interrupted = number;
}

/* Also a run that is broken off ends its guests and puts the knobs back. */
static void catch_signals(void)
{
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
    struct sigaction action = { .sa_handler = on_signal };

    for (size_t n = 0; n < G_N_ELEMENTS(numbers); n++) {
        sigaction(numbers[n], &action, NULL);
    }
}

static bool prepare(Run *run)
{
    GError *err = NULL;

    if (host_set_knobs(&run->host, &run->opts, &err) &&
        host_set_run(&run->host, KSM_HOST_RUN_UNMERGING, &err)) {
        /* Merging starts when all guests are filled: its cost is its own. */
        host_set_run(&run->host, KSM_HOST_RUN_STOPPED, &err);
    }
    return check_error(&run->checks, err, "the engine takes its knobs");
}

/* All steps in order.  Returns true if the run came to its end. */
static bool sharing_steps(Run *run)
{
    return step_boot(run) && step_fill(run) &&
           step_verify(run, "before merging") && step_merge(run) &&
           step_evidence(run, "once settled") &&
           step_verify(run, "after merging") && step_rewrite(run) &&
           step_kill(run) && step_unmerge(run) && step_remerge(run) &&
           step_detect(run) && step_poweroff(run);
}

/* A soak: somebody else turns the engine's knobs, and all the time. */
static bool soak_steps(Run *run)
{
    return step_boot(run) && step_fill(run) &&
           step_verify(run, "before the soak") && step_soak(run) &&
           step_poweroff(run);
}

static bool run_steps(Run *run)
{
    static bool (*const steps[CASE_COUNT])(Run *run) = {
        [CASE_SHARING] = sharing_steps,
        [CASE_AUTO] = case_auto,
        [CASE_HOTPLUG] = case_hotplug,
        [CASE_MIGRATION] = case_migration,
        [CASE_SHARED] = case_shared,
    };

    if (run->opts.soak_seconds) {
        return soak_steps(run);
    }
    return prepare(run) && steps[run->opts.which](run);
}

static bool open_csv(Run *run, GError **errp)
{
    g_autofree char *path =
        g_build_filename(run->opts.results, "run.csv", NULL);

    run->csv = fopen(path, "we");
    if (!run->csv) {
        g_set_error(errp, SHARING_ERROR, SHARING_ERROR_HOST, "%s: %s", path,
                    g_strerror(errno));
        return false;
    }
    fputs("seconds,pages_shared,pages_sharing,saved_bytes,anon_bytes,"
          "ksmd_seconds,full_scans\n", run->csv);
    return true;
}

static void say_saved(const Run *run)
{
    const Settled *s = &run->settled;

    progress(&run->checks, "%s: %.1f MiB saved on %d guests of %d MiB "
             "(pages_shared %" PRIu64 ", pages_sharing %" PRIu64 ") with "
             "%.2f s of ksmd CPU; %.0f s in total",
             run->host.stats.engine_name, s->saved_bytes / 1048576.0,
             run->started, run->opts.ram_mib,
             s->stats.counter[KSM_HOST_PAGES_SHARED].u,
             s->stats.counter[KSM_HOST_PAGES_SHARING].u, s->ksmd_seconds,
             run_seconds(run));
}

static void conclude(Run *run, bool complete)
{
    g_autofree char *verdict = NULL;
    GError *err = NULL;

    if (complete && !run->checks.failed) {
        verdict = g_strdup("pass");
    } else {
        verdict = g_strdup_printf("fail: %s", run->checks.first_failure
                                  ? run->checks.first_failure
                                  : "the run broke off");
    }
    report_write(run, verdict, complete, &err);
    check_error(&run->checks, err, "run.json is written");
    checks_plan(&run->checks);
    if (run->settled.taken) {
        say_saved(run);
    }
    progress(&run->checks, "verdict: %s (%u checks passed, %u failed, "
             "%u skipped)", verdict, run->checks.passed, run->checks.failed,
             run->checks.skipped);
}

/* A run that broke off: what did a guest do that is still there? */
static void describe(Run *run, Guest *g)
{
    g_autoptr(GError) err = NULL;

    if (!g->running || !guest_alive(g)) {
        return;
    }
    if (guest_describe(g, &run->opts, &err)) {
        progress(&run->checks, "what %s was doing: %s/%s.state", g->name,
                 run->opts.results, g->name);
    } else {
        progress(&run->checks, "%s", err->message);
    }
}

int main(int argc, char **argv)
{
    static Run run;
    GError *err = NULL;
    bool complete;

    run.start_us = g_get_monotonic_time();
    if (!options_parse(&run.opts, argc, argv, &err) ||
        !host_open(&run.host, &run.opts, &err) || !open_csv(&run, &err)) {
        fprintf(stderr, "sharing-run: %s\n", err->message);
        return 2;
    }
    catch_signals();
    run.checks.tap = run.opts.tap;
    run.checks.table_lines = &run.table.lines;
    run.table.tty = run.opts.tty;
    run.table.prefix = run.opts.tap ? "# " : "";

    complete = run_steps(&run);
    for (int n = 0; n < run.started; n++) {
        if (!complete) {
            describe(&run, &run.guests[n]);
        }
        guest_clear(&run.guests[n]);
    }
    conclude(&run, complete);
    host_close(&run.host);
    fclose(run.csv);
    g_free(run.qemu_version);
    options_clear(&run.opts);
    complete = complete && !run.checks.failed;
    checks_clear(&run.checks);
    return complete ? 0 : 1;
}
