// SPDX-License-Identifier: GPL-2.0-or-later
/* What merged pages cost afterwards: giving back, writing, finding who maps one. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define KINDS 997ul
#define PASSES 4
/* Writes that are timed one by one */
#define WRITES 4096ul
#define VMAS 20000ul

static char *merged_area(size_t pages, size_t kinds)
{
    char *area = area_alike(pages, kinds);

    for (unsigned int n = 0; n < PASSES; n++) {
        ksm_pass();
    }
    if (ksm_get("pages_sharing") + ksm_get("pages_shared") < (long)pages) {
        die("%ld of %zu pages are merged after %d passes",
            ksm_get("pages_sharing") + ksm_get("pages_shared"), pages, PASSES);
    }
    return area;
}

static void unmerge(const struct plan *plan)
{
    size_t pages = plan->mib * PAGES_PER_MIB;
    uint64_t start;

    merged_area(pages, KINDS);
    start = now_ns();
    ksm_set("run", 2);
    sample("unmerge_rate", (double)(now_ns() - start) / pages);
}

void case_unmerge_rate(const struct plan *plan)
{
    for (unsigned int n = 0; n < plan->runs; n++) {
        ksm_reset();
        in_child(unmerge, plan);
    }
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void cow(const struct plan *plan)
{
    static uint64_t took[WRITES];
    char *area = merged_area(2 * WRITES, KINDS);

    (void)plan;
    ksm_set("run", 0);
    for (size_t n = 0; n < WRITES; n++) {
        uint64_t start = now_ns();

        *(volatile char *)(area + 2 * n * PAGE) = 1;
        took[n] = now_ns() - start;
    }
    qsort(took, WRITES, sizeof(*took), by_value);
    sample("cow_break_latency", took[WRITES / 2]);
    sample("cow_break_latency.p99", took[WRITES * 99 / 100]);
}

void case_cow_break_latency(const struct plan *plan)
{
    for (unsigned int n = 0; n < plan->runs; n++) {
        ksm_reset();
        in_child(cow, plan);
    }
}

/* The frame behind an address. */
static uint64_t frame_of(int pagemap, const char *address)
{
    uint64_t entry;

    if (pread(pagemap, &entry, sizeof(entry),
              (uintptr_t)address / PAGE * sizeof(entry)) != sizeof(entry)) {
        die("pagemap: %s", strerror(errno));
    }
    return entry & ((1ull << 55) - 1);
}

/* The frame that most of the @pages map. */
static uint64_t most_mapped(const char *area, size_t pages)
{
    static uint64_t frame[VMAS];
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    size_t run = 0, longest = 0;
    uint64_t found = 0;

    if (pagemap < 0) {
        die("pagemap: %s", strerror(errno));
    }
    for (size_t n = 0; n < pages; n++) {
        frame[n] = frame_of(pagemap, area + n * PAGE);
    }
    close(pagemap);
    qsort(frame, pages, sizeof(*frame), by_value);
    for (size_t n = 1; n < pages; n++) {
        run = frame[n] == frame[n - 1] ? run + 1 : 0;
        if (run > longest) {
            longest = run;
            found = frame[n];
        }
    }
    return found;
}

/* Say of a frame that nobody has used it: all who map it are visited. */
static void visit_mappings(uint64_t frame)
{
    uint64_t word = 1ull << frame % 64;
    int fd = open("/sys/kernel/mm/page_idle/bitmap", O_RDWR | O_CLOEXEC);

    if (fd < 0 || pwrite(fd, &word, sizeof(word), frame / 64 * sizeof(word)) !=
        sizeof(word)) {
        die("page_idle/bitmap: %s", strerror(errno));
    }
    close(fd);
}

/* Pages of one content, each in a VMA of its own, all of them with one anon_vma. */
static void rmap(const struct plan *plan)
{
    char *area = area_alike(VMAS, 1);
    uint64_t frame, start;

    for (size_t n = 0; n < VMAS; n += 2) {
        if (mprotect(area + n * PAGE, PAGE, PROT_READ)) {
            die("mprotect of page %zu: %s", n, strerror(errno));
        }
    }
    for (unsigned int n = 0; n < PASSES; n++) {
        ksm_pass();
    }
    frame = most_mapped(area, VMAS);
    for (unsigned int n = 0; n < plan->runs; n++) {
        start = now_ns();
        visit_mappings(frame);
        sample("rmap_20k_vmas", (now_ns() - start) / 1000.0);
    }
}

void case_rmap_20k_vmas(const struct plan *plan)
{
    ksm_reset();
    in_child(rmap, plan);
}
