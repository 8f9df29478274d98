// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The engine's files, and ksmd made to work a pass at a time.
 *
 * With more pages_to_scan than there are pages, both engines end a batch at the
 * end of a pass; then they sleep until sleep_millisecs changes.  So a pass is had
 * by changing that, and what ksmd used in between is the pass' and nothing else's.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define KSM_DIR "/sys/kernel/mm/ksm/"
#define ALL_PAGES (1l << 30)
#define LONG_SLEEP 1000000000l
#define POLL_MS 5

static const struct knob {
    const char *file;
    long initial;
} knobs[] = {   /* as in a kernel that was just started */
    { "pages_to_scan", 100 },
    { "sleep_millisecs", 20 },
    { "smart_scan", 1 },
    { "max_page_sharing", 256 },
    { "use_zero_pages", 0 },
    { "boost_max_cpu", 50 },    /* the first two have made it 0 */
};

bool ksm_has(const char *file)
{
    char path[128];

    snprintf(path, sizeof(path), KSM_DIR "%s", file);
    return access(path, F_OK) == 0;
}

long ksm_get(const char *file)
{
    char path[128];

    snprintf(path, sizeof(path), KSM_DIR "%s", file);
    return file_number(path, "");
}

void ksm_set(const char *file, long value)
{
    char path[128], text[32];

    snprintf(path, sizeof(path), KSM_DIR "%s", file);
    snprintf(text, sizeof(text), "%ld\n", value);
    file_write(path, text);
}

bool ksm_try_set(const char *file, long value)
{
    if (!ksm_has(file)) {
        return false;
    }
    ksm_set(file, value);
    return true;
}

bool ksm_is_samepage(void)
{
    return ksm_has("engine");
}

void ksm_default_pace(void)
{
    ksm_set("run", 2);
    ksm_set("run", 0);
    for (size_t n = 0; n < ARRAY_SIZE(knobs); n++) {
        ksm_try_set(knobs[n].file, knobs[n].initial);
    }
}

/* End ksmd's sleep: by a value it never had, or it may see no change. */
static void sleep_anew(void)
{
    static long times;

    ksm_set("sleep_millisecs", LONG_SLEEP + times++);
}

void ksm_reset(void)
{
    ksm_default_pace();
    ksm_set("pages_to_scan", ALL_PAGES);
    sleep_anew();
}

void ksm_restore(void)
{
    ksm_default_pace();
}

/* The number of a kernel thread's process. */
static pid_t find_thread(const char *name)
{
    DIR *dir = opendir("/proc");
    struct dirent *entry;
    pid_t found = 0;

    while (dir && !found && (entry = readdir(dir))) {
        char path[300], text[32] = "";
        FILE *file;

        snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
        file = atoi(entry->d_name) ? fopen(path, "re") : NULL;
        if (file) {
            if (fscanf(file, "%31s", text) == 1 && !strcmp(text, name)) {
                found = atoi(entry->d_name);
            }
            fclose(file);
        }
    }
    if (dir) {
        closedir(dir);
    }
    return found;
}

pid_t ksmd_pid(void)
{
    static pid_t pid;

    if (!pid) {
        pid = find_thread("ksmd");
        if (!pid) {
            die("this kernel has no ksmd");
        }
    }
    return pid;
}

uint64_t ksmd_cpu_ns(void)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/schedstat", ksmd_pid());
    return file_number(path, "");
}

static bool ksmd_sleeps(void)
{
    char path[64], text[256] = "";
    const char *state;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/stat", ksmd_pid());
    file = fopen(path, "re");
    if (!file || !fgets(text, sizeof(text), file)) {
        die("%s: %s", path, strerror(errno));
    }
    fclose(file);
    state = strrchr(text, ')');
    return state && !strncmp(state, ") S", 3);
}

/*
 * Start ksmd on a pass and wait for its end.  Where it sleeps without having made
 * one, it was not yet at its sleep, or went there because run was 0 when it looked
 * for the first time and 1 when it looked again.
 */
static bool make_pass(long passes, uint64_t limit)
{
    ksm_set("run", 1);
    for (;;) {
        /* In this order: a pass that ends in between is seen the next time. */
        if (ksmd_sleeps()) {
            if (ksm_get("full_scans") != passes) {
                return true;
            }
            sleep_anew();
        }
        if (now_ns() > limit) {
            return false;
        }
        nap_ms(POLL_MS);
    }
}

uint64_t ksm_pass_within(unsigned int seconds)
{
    uint64_t before = ksmd_cpu_ns(), limit = now_ns() + seconds * 1000000000ull;
    long passes = ksm_get("full_scans");

    if (!make_pass(passes, limit)) {
        return UINT64_MAX;
    }
    if (ksm_get("full_scans") != passes + 1) {
        die("ksmd made %ld passes instead of one",
            ksm_get("full_scans") - passes);
    }
    return ksmd_cpu_ns() - before;
}

uint64_t ksm_pass(void)
{
    uint64_t ns = ksm_pass_within(3600);

    if (ns == UINT64_MAX) {
        die("a pass takes more than an hour");
    }
    return ns;
}
