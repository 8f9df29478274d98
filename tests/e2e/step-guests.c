// SPDX-License-Identifier: GPL-2.0-or-later
/* Steps that start guests, fill their memory and check it. */
#include <string.h>

#include "guest-ram.h"
#include "qmp.h"
#include "run.h"

/* Of the guest's RAM, in percent, what the agent takes at most by default... */
#define FILL_OF_RAM 55
/* ...and of what its kernel says is available */
#define FILL_OF_AVAILABLE 70
/* How much of its program files each verify re-reads, of RAM in percent */
#define FILES_OF_RAM 8
/* Pages of every region compared from the host, when not testing */
#define HOST_COMPARE_PAGES 512

/* What the agent's memory is made of, in percent */
static const int fill_percent[REGION_COUNT] = {
    [REGION_EQUAL] = 55, [REGION_UNIQUE] = 20, [REGION_ZERO] = 17,
    [REGION_CHURN] = 8,
};

static char *read_qemu_version(Qmp *qmp, GError **errp)
{
    g_autoptr(JsonNode) reply =
        qmp_execute(qmp, "query-version", NULL, errp);
    JsonObject *version, *qemu;
    char *text;

    if (!reply) {
        return NULL;
    }
    version = json_node_get_object(reply);
    qemu = json_object_get_object_member(version, "qemu");
    text = g_strdup_printf(
        "%d.%d.%d %s", (int)json_object_get_int_member(qemu, "major"),
        (int)json_object_get_int_member(qemu, "minor"),
        (int)json_object_get_int_member(qemu, "micro"),
        json_object_get_string_member(version, "package"));
    return g_strchomp(text);
}

static bool start_all(Run *run, GError **errp)
{
    for (int n = 0; n < run->opts.guests; n++) {
        run->started = n + 1;
        if (!guest_start(&run->guests[n], n + 1, &run->opts, run->how[n],
                         errp)) {
            return false;
        }
        progress(&run->checks, "%s starts: %d MiB, process %d",
                 run->guests[n].name, run->opts.ram_mib,
                 run->guests[n].pid);
    }
    run->qemu_version = read_qemu_version(run->guests[0].qmp, errp);
    return run->qemu_version != NULL;
}

static char *ask_hello(const Guest *g G_GNUC_UNUSED)
{
    return g_strdup("hello");
}

/* What @g's last "services" reply says is missing, to be freed, or NULL. */
static char *missing_services(const Guest *g)
{
    g_autofree char *running = words_text(g->reply, "running");
    g_autofree char *missing = words_text(g->reply, "missing");

    if (missing && *missing) {
        return g_steal_pointer(&missing);
    }
    return missing && running && *running ? NULL : g_strdup("every program");
}

/* All programs of the image run; waits for those that are still starting. */
static bool check_services(Run *run, const char *when)
{
    gint64 deadline = g_get_monotonic_time() +
                      run->opts.step_timeout * G_USEC_PER_SEC;
    g_autofree char *name =
        g_strdup_printf("daemons run in every guest %s", when);
    g_autofree char *missing = NULL;
    GError *err = NULL;

    do {
        g_clear_pointer(&missing, g_free);
        if (!run_tell(run, "services", &err)) {
            return check_error(&run->checks, err, name);
        }
        for (int n = 0; n < run->started && !missing; n++) {
            if (run->guests[n].running) {
                missing = missing_services(&run->guests[n]);
            }
        }
        g_usleep(missing ? G_USEC_PER_SEC / 2 : 0);
    } while (missing && g_get_monotonic_time() < deadline);
    return check(&run->checks, !missing, name, "%s is missing", missing);
}

bool step_boot(Run *run)
{
    GError *err = NULL;

    progress(&run->checks, "Booting %d guests of %d MiB", run->opts.guests,
             run->opts.ram_mib);
    if (start_all(run, &err)) {
        run_ask(run, ask_hello, "is up", run->opts.boot_timeout, &err);
    }
    if (!err) {
        for (int n = 0; n < run->started && !err; n++) {
            host_sample_mergeable(&run->host, &run->guests[n], &err);
        }
    }
    return check_error(&run->checks, err, "guests boot") &&
           check_services(run, "after boot");
}

/* Plan the agent's regions from the "hello" reply. */
static bool plan_fill(const Run *run, Guest *g, GError **errp)
{
    int percent = run->fill_percent ? run->fill_percent : FILL_OF_RAM;
    uint64_t available_kib, pages;

    if (!words_u64(g->reply, "available_kib", 10, &available_kib)) {
        g_set_error(errp, SHARING_ERROR, SHARING_ERROR_FORMAT,
                    "%s: hello was answered by \"%s\"", g->name, g->reply);
        return false;
    }
    pages = MIN((uint64_t)g->ram_mib * 256 * percent,
                available_kib / 4 * FILL_OF_AVAILABLE) / 100;
    for (int n = 0; n < REGION_COUNT; n++) {
        g->pages[n] = pages * fill_percent[n] / 100;
    }
    return true;
}

static char *ask_fill(const Guest *g)
{
    return g_strdup_printf("fill guest=%u equal=%u unique=%u zero=%u "
                           "churn=%u", g->number, g->pages[REGION_EQUAL],
                           g->pages[REGION_UNIQUE], g->pages[REGION_ZERO],
                           g->pages[REGION_CHURN]);
}

bool step_fill(Run *run)
{
    GError *err = NULL;

    progress(&run->checks, "Filling the guests' memory");
    if (run_tell(run, "hello", &err)) {
        for (int n = 0; n < run->started && !err; n++) {
            plan_fill(run, &run->guests[n], &err);
        }
    }
    if (!err) {
        run_ask(run, ask_fill, "has filled its memory",
                run->opts.step_timeout, &err);
    }
    return check_error(&run->checks, err, "agents fill memory");
}

static char *ask_verify(const Guest *g)
{
    return g_strdup_printf("verify files_kib=%d",
                           g->ram_mib * 1024 / 100 * FILES_OF_RAM);
}

/* What the agent's verify answered: wrong pages, wrong files, the sum. */
static bool judge_verify(const Guest *g, bool untouched, char **why)
{
    uint64_t bad = 0, bad_files = 0, files = 0, sum = 0, pages = 0, want = 0;

    if (!words_u64(g->reply, "bad", 10, &bad) ||
        !words_u64(g->reply, "pages", 10, &pages) ||
        !words_u64(g->reply, "sum_equal", 16, &sum) ||
        !words_u64(g->reply, "bad_files", 10, &bad_files) ||
        !words_u64(g->reply, "files", 10, &files)) {
        *why = g_strdup_printf("verify was answered by \"%s\"", g->reply);
        return false;
    }
    for (int n = 0; n < REGION_COUNT; n++) {
        want += g->pages[n];
    }
    if (bad || bad_files || !files || pages != want) {
        *why = g_strdup_printf("%" PRIu64 " pages were to be checked: \"%s\"",
                               want, g->reply);
        return false;
    }
    want = untouched ? pattern_region_sum(REGION_EQUAL, g->number,
                                          g->pages[REGION_EQUAL]) : sum;
    *why = g_strdup_printf("checksum %016" PRIx64 ", not %016" PRIx64, sum,
                           want);
    return sum == want;
}

static void check_guest_side(Run *run, Guest *g, const char *when)
{
    g_autofree char *name =
        g_strdup_printf("%s: memory and files right %s", g->name, when);
    g_autofree char *why = NULL;
    bool untouched = !run->rewritten;

    if (!check(&run->checks, judge_verify(g, untouched, &why), name, "%s",
               why)) {
        g->verified = false;
    }
}

/* Fails if the pages cannot be found: what they hold is in run->checks. */
static bool check_host_side(Run *run, Guest *g, const char *when,
                            GError **errp)
{
    g_autofree char *name =
        g_strdup_printf("%s: memory seen from the host right %s", g->name,
                        when);
    uint32_t max = run->opts.tap ? UINT32_MAX : HOST_COMPARE_PAGES;
    unsigned int bad = 0, compared = 0;
    g_autofree char *first = NULL;

    for (int n = 0; n < REGION_COUNT && !bad; n++) {
        g_autoptr(GArray) pages =
            guest_ram_locate(g, n, max, run->opts.step_timeout, errp);

        g_clear_pointer(&first, g_free);
        if (!pages || !guest_ram_compare(g, pages, &bad, &first, errp)) {
            g->verified = false;
            return false;
        }
        compared += pages->len;
    }
    if (!check(&run->checks, !bad && compared, name,
               "%u of %u pages wrong, first %s", bad, compared,
               first ? first : "none")) {
        g->verified = false;
    }
    return true;
}

bool run_verify(Run *run, const char *when, GError **errp)
{
    if (!run_churn(run, false, errp) ||
        !run_ask(run, ask_verify, NULL, run->opts.step_timeout, errp)) {
        for (int n = 0; n < run->started; n++) {
            run->guests[n].verified = false;
        }
        return false;
    }
    for (int n = 0; n < run->started; n++) {
        if (run->guests[n].running) {
            check_guest_side(run, &run->guests[n], when);
            if (!check_host_side(run, &run->guests[n], when, errp)) {
                return false;
            }
        }
    }
    return true;
}

bool step_verify(Run *run, const char *when)
{
    GError *err = NULL;

    return run_verify(run, when, &err) ||
           check_error(&run->checks, err, "agents verify memory");
}

/* Damage a byte in @g; both sides must see just that. */
static bool detect(Run *run, Guest *g, GError **errp)
{
    int timeout_s = run->opts.step_timeout;
    g_autofree char *request = g_strdup_printf(
        "corrupt region=unique page=%u", g->pages[REGION_UNIQUE] / 2);
    g_autofree char *verify = ask_verify(g), *first = NULL;
    g_autoptr(GArray) pages = NULL;
    uint64_t seen_inside = 0;
    unsigned int seen_outside;

    guest_ask(g, request);
    if (!guest_wait_reply(g, timeout_s, errp)) {
        return false;
    }
    guest_ask(g, verify);
    if (!guest_wait_reply(g, timeout_s, errp)) {
        return false;
    }
    words_u64(g->reply, "bad", 10, &seen_inside);
    pages = guest_ram_locate(g, REGION_UNIQUE, UINT32_MAX, timeout_s, errp);
    if (!pages || !guest_ram_compare(g, pages, &seen_outside, &first, errp)) {
        return false;
    }
    return check(&run->checks, seen_inside == 1 && seen_outside == 1,
                 "a damaged byte is seen from the guest and from the host",
                 "one page was damaged, the guest saw %" PRIu64
                 ", the host %u", seen_inside, seen_outside);
}

bool step_detect(Run *run)
{
    GError *err = NULL;

    if (run->opts.tap) {
        detect(run, &run->guests[0], &err);
        return check_error(&run->checks, err,
                           "the agent damages a byte on request");
    }
    return true;
}

/* The engine keeps nothing of processes that are gone. */
static void check_left_over(Run *run)
{
    gint64 deadline = g_get_monotonic_time() +
                      run->opts.step_timeout * G_USEC_PER_SEC;
    uint64_t shared, sharing;
    GError *err = NULL;

    do {
        g_usleep(G_USEC_PER_SEC / 4);
        if (!host_sample(&run->host, &err)) {
            check_error(&run->checks, err, "the host can be read");
            return;
        }
        shared = host_counter(&run->host, KSM_HOST_PAGES_SHARED);
        sharing = host_counter(&run->host, KSM_HOST_PAGES_SHARING);
    } while (shared + sharing > 0 && g_get_monotonic_time() < deadline);
    check(&run->checks, shared + sharing == 0,
          "nothing stays merged once all guests have ended",
          "pages_shared %" PRIu64 ", pages_sharing %" PRIu64 " after %d s",
          shared, sharing, run->opts.step_timeout);
}

/* Let @g power off, and see that its whole life was in order. */
static void power_off(Run *run, Guest *g)
{
    g_autofree char *name = g_strdup_printf("%s powers off", g->name);
    GError *err = NULL;

    guest_ask(g, "poweroff");
    if (guest_wait_reply(g, run->opts.step_timeout, &err) &&
        (!guest_wait_exit(g, run->opts.step_timeout) || g->exit_status)) {
        g_set_error(&err, SHARING_ERROR, SHARING_ERROR_HOST,
                    "%s, wait status 0x%x",
                    g->pid ? "still running" : "ended badly",
                    g->exit_status);
    }
    check_error(&run->checks, err, name);
}

bool step_poweroff(Run *run)
{
    check_services(run, "at the end");
    for (int n = 0; n < run->started; n++) {
        Guest *g = &run->guests[n];
        g_autofree char *name =
            g_strdup_printf("%s: nothing wrong in its kernel's log", g->name);
        g_autofree char *log = NULL;

        if (g->running) {
            power_off(run, g);
        }
        log = guest_complaints(g, &run->opts);
        check(&run->checks, !log, name, "%s", log);
    }
    if (!run->opts.soak_seconds) {
        check_left_over(run);
    }
    return true;
}

/* Start a guest and wait until its agent answers. */
static bool start_one(Run *run, Guest *g, uint32_t number, GError **errp)
{
    if (!guest_start(g, number, &run->opts, NULL, errp)) {
        return false;
    }
    guest_ask(g, "hello");
    return guest_wait_reply(g, run->opts.boot_timeout, errp) &&
           plan_fill(run, g, errp);
}

bool step_replace(Run *run, int n, uint32_t number)
{
    Guest *g = &run->guests[n];
    g_autofree char *log = NULL, *request = NULL;
    GError *err = NULL;

    guest_kill(g);
    log = guest_complaints(g, &run->opts);
    check(&run->checks, !log, "nothing wrong in a killed guest's log",
          "%s: %s", g->name, log);
    guest_clear(g);
    if (start_one(run, g, number, &err)) {
        request = ask_fill(g);
        guest_ask(g, request);
        guest_wait_reply(g, run->opts.step_timeout, &err);
    }
    return check_error(&run->checks, err, "a new guest boots and fills its memory");
}
