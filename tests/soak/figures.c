// SPDX-License-Identifier: GPL-2.0-or-later
/* The figures of a soak: a line a minute, a table and JSON at the end. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "soak.h"

#define EVENTS "/sys/kernel/tracing/events/ksm/"
#define CPUS_MAX 64
#define GIB (1 << 30)

static const char *results;
/* Of the two trace points of a merge, on every CPU */
static int merge_fd[2 * CPUS_MAX], merge_fds;

/* --- where figures come from ---------------------------------------------- */

/* Count how often @event happens with err == 0; false if this cannot be. */
static bool open_event(const char *event, int cpu)
{
    struct perf_event_attr attr = {
        .type = PERF_TYPE_TRACEPOINT, .size = sizeof(attr),
    };
    char path[128];
    int fd;

    snprintf(path, sizeof(path), EVENTS "%s/id", event);
    attr.config = file_number(path);
    if ((long)attr.config < 0) {
        return false;
    }
    fd = syscall(SYS_perf_event_open, &attr, -1, cpu, -1,
                 PERF_FLAG_FD_CLOEXEC);
    if (fd < 0 || ioctl(fd, PERF_EVENT_IOC_SET_FILTER, "err == 0")) {
        close(fd);
        return false;
    }
    merge_fd[merge_fds++] = fd;
    return true;
}

static void open_events(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);

    for (int cpu = 0; cpu < cpus && cpu < CPUS_MAX; cpu++) {
        if (!open_event("ksm_merge_one_page", cpu) ||
            !open_event("ksm_merge_with_ksm_page", cpu)) {
            while (merge_fds) {
                close(merge_fd[--merge_fds]);
            }
            return;
        }
    }
}

static long pages_merged(void)
{
    long sum = 0;

    for (int n = 0; n < merge_fds; n++) {
        uint64_t value = 0;

        must(read(merge_fd[n], &value, sizeof(value)) == sizeof(value),
             "reading the count of a trace point: %m");
        sum += value;
    }
    return merge_fds ? sum : (long)counted(&shared->tally.growth);
}

long guests_told(const char *key)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/guests.txt", results);
    return file_field(path, key);
}

static long guests(const char *key)
{
    long value = guests_told(key);

    return value < 0 ? 0 : value;
}

/*
 * All figures: from /proc/vmstat since the start, from the tally, or told by
 * the guests' driver.  With none of them, figure_now() knows.
 */
static struct figure {
    const char *key, *label, *vmstat, *guests;
    uint64_t *tally;
    long start, end;
} figures[] = {
    { "pages_merged", "pages merged" },
    { "cow_breaks", "COW breaks of merged pages", "cow_ksm" },
    { "ksm_swapin_copies", "copies of merged pages at swap-in",
      "ksm_swpin_copy" },
    { "pages_migrated", "pages migrated", "pgmigrate_success" },
    { "pages_swapped_out", "pages swapped out", "pswpout" },
    { "pages_swapped_in", "pages swapped in", "pswpin" },
    { "huge_pages_collapsed", "huge pages collapsed", "thp_collapse_alloc" },
    { "huge_pages_split", "huge pages split", "thp_split_page" },
    { "faults_injected", "faults injected" },
    { "steps", "steps of processes" },
    { "forks", "forks" },
    { "exits", "exits" },
    { "kills", "processes killed" },
    { "lost", "processes lost to the OOM killer" },
    { "refused", "calls refused (memory, sense)" },
    { "guests_started", "guests started", NULL, "started" },
    { "guests_killed", "guests killed", NULL, "killed" },
    { "counter_passes", "passes with counters checked" },
    { "counter_sums", "sums over all processes compared" },
    { "bytes_verified_processes", "bytes verified by processes" },
    { "bytes_verified_guests", "bytes verified in guests", NULL, "bytes" },
    { "mismatches_processes", "mismatches in processes" },
    { "mismatches_guests", "mismatches in guests", NULL, "mismatches" },
};

static void bind(const char *key, uint64_t *tally)
{
    for (size_t i = 0; i < ARRAY_SIZE(figures); i++) {
        if (!strcmp(figures[i].key, key)) {
            figures[i].tally = tally;
        }
    }
}

static long figure_now(const struct figure *f)
{
    long injected = press_injected();

    if (f->tally) {
        return counted(f->tally);
    }
    if (f->guests) {
        return guests(f->guests);
    }
    if (f->vmstat) {
        return vmstat_of(f->vmstat) - f->start;
    }
    if (!strcmp(f->key, "faults_injected")) {
        return injected < 0 ? 0 : injected;
    }
    return pages_merged();
}

void figures_start(const char *dir)
{
    Tally *t = &shared->tally;

    results = dir;
    open_events();
    bind("steps", &t->steps);
    bind("forks", &t->forks);
    bind("exits", &t->exits);
    bind("kills", &t->kills);
    bind("lost", &t->lost);
    bind("refused", &t->refused);
    bind("counter_passes", &t->passes);
    bind("counter_sums", &t->sums);
    bind("bytes_verified_processes", &t->bytes);
    bind("mismatches_processes", &t->mismatches);
    for (size_t i = 0; i < ARRAY_SIZE(figures); i++) {
        if (figures[i].vmstat) {
            figures[i].start = vmstat_of(figures[i].vmstat);
        }
    }
}

/* --- printing ------------------------------------------------------------- */

static long figure(const char *key)
{
    for (size_t i = 0; i < ARRAY_SIZE(figures); i++) {
        if (!strcmp(figures[i].key, key)) {
            return figure_now(&figures[i]);
        }
    }
    fail("no figure is called %s", key);
}

void figures_line(unsigned int minute, unsigned int minutes)
{
    printf("minute %u of %u: %ld passes, %ld merged, %ld COW breaks, "
           "%ld/%ld swapped out/in, %ld migrated, %ld forks, %.1f GiB "
           "verified in processes and %.1f in guests, %ld mismatches\n",
           minute, minutes, figure("counter_passes"), figure("pages_merged"),
           figure("cow_breaks"), figure("pages_swapped_out"),
           figure("pages_swapped_in"), figure("pages_migrated"),
           figure("forks"), (double)figure("bytes_verified_processes") / GIB,
           (double)figure("bytes_verified_guests") / GIB,
           figure("mismatches_processes") + figure("mismatches_guests"));
    fflush(stdout);
}

/* What a reader needs to know of how a figure came about. */
static const char *remark(const struct figure *f)
{
    if (!strcmp(f->key, "pages_merged")) {
        return merge_fds ? "trace points ksm_merge_one_page and "
                           "ksm_merge_with_ksm_page without error"
                         : "at least: growth of pages_shared + pages_sharing "
                           "every 20 ms, as there are no trace points";
    }
    if (!strcmp(f->key, "faults_injected") && press_injected() < 0) {
        return "this kernel has no fault injection";
    }
    return NULL;
}

static void print_table(const char *engine, double seconds, const char *why)
{
    printf("\n%s, %.1f minutes, %d processes of %d MiB\n\n", engine,
           seconds / 60, shared->workers, AREAS * AREA_PAGES / 256);
    for (size_t i = 0; i < ARRAY_SIZE(figures); i++) {
        const char *note = remark(&figures[i]);

        printf("  %-36s %16ld%s%s%s\n", figures[i].label,
               figures[i].end, note ? "  (" : "", note ? note : "",
               note ? ")" : "");
    }
    printf("\nverdict: %s%s\n", why ? "FAIL: " : "pass", why ? why : "");
    fflush(stdout);
}

static void put_string(FILE *f, const char *text)
{
    putc('"', f);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') {
            putc('\\', f);
        }
        putc((unsigned char)*text < ' ' ? ' ' : *text, f);
    }
    putc('"', f);
}

static void write_json(const char *engine, double seconds, const char *why)
{
    char path[256];
    struct utsname uts;
    FILE *f;

    snprintf(path, sizeof(path), "%s/soak.json", results);
    f = fopen(path, "we");
    if (!f) {
        printf("%s cannot be written: %m\n", path);
        return;
    }
    uname(&uts);
    fputs("{\n  \"engine\": ", f);
    put_string(f, engine);
    fputs(",\n  \"kernel\": ", f);
    put_string(f, uts.release);
    fprintf(f, ",\n  \"seconds\": %.1f,\n  \"processes\": %d,\n"
            "  \"fault_injection\": %s,\n  \"merges_traced\": %s", seconds,
            shared->workers, press_injected() < 0 ? "false" : "true",
            merge_fds ? "true" : "false");
    for (size_t i = 0; i < ARRAY_SIZE(figures); i++) {
        fprintf(f, ",\n  \"%s\": %ld", figures[i].key, figures[i].end);
    }
    fputs(",\n  \"verdict\": ", f);
    put_string(f, why ? why : "pass");
    fputs("\n}\n", f);
    fclose(f);
}

void figures_end(double seconds, const char *why)
{
    char engine[64] = "mainline\n";

    file_text(KSM_DIR "engine", engine, sizeof(engine));
    engine[strcspn(engine, "\n")] = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(figures); i++) {
        figures[i].end = figure_now(&figures[i]);
    }
    print_table(engine, seconds, why);
    write_json(engine, seconds, why);
}
