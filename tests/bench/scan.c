// SPDX-License-Identifier: GPL-2.0-or-later
/* What a pass costs that finds nothing to merge. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

/*
 * Passes until an engine that looks at quiet pages less and less often has come
 * to its rest; the other one needs two until its tree is complete.
 */
#define PASSES_TO_AGE 16
#define PASSES_TO_KNOW 2
/* In so many passes it looks at each page once. */
#define PASSES_OF_PERIOD 9

static double per_page(uint64_t ns, size_t pages)
{
    return (double)ns / pages;
}

/* What @nr passes cost; before each every @step-th page is changed, 0: none. */
static uint64_t passes_ns(char *area, size_t pages, size_t step,
                          unsigned int nr)
{
    uint64_t ns = 0;

    while (nr--) {
        if (step) {
            area_touch(area, pages, step);
        }
        ns += ksm_pass();
    }
    return ns;
}

/* Samples, each the mean of @nr passes. */
static void sample_passes(const char *figure, char *area, size_t pages,
                          size_t step, unsigned int nr, const struct plan *plan)
{
    for (unsigned int n = 0; n < plan->runs; n++) {
        sample(figure, per_page(passes_ns(area, pages, step, nr), pages) / nr);
    }
}

/*
 * With the engine's defaults, and once more with every page looked at in every
 * pass.  For an engine that always does that these are the same samples.
 */
static void sample_both(const char *figure, char *area, size_t pages,
                        size_t step, const struct plan *plan)
{
    bool smart = ksm_has("smart_scan");
    char every[64];

    passes_ns(area, pages, step, smart ? PASSES_TO_AGE : PASSES_TO_KNOW);
    sample_passes(figure, area, pages, step, smart ? PASSES_OF_PERIOD : 1,
                  plan);
    snprintf(every, sizeof(every), "%s.every", figure);
    ksm_try_set("smart_scan", 0);
    passes_ns(area, pages, 0, PASSES_TO_KNOW);
    sample_passes(every, area, pages, step, 1, plan);
}

/*
 * What it takes to read the memory, and to do next to nothing with it: no
 * engine that reads every page can take less.
 */
static double reading_ns(const char *area, size_t pages)
{
    const uint64_t *words = (const uint64_t *)area;
    uint64_t start = now_ns(), even = 0, odd = 0;
    volatile uint64_t result;   /* or nothing would be read */

    for (size_t i = 0; i < pages * PAGE / sizeof(*words); i += 2) {
        even += words[i];
        odd += words[i + 1];
    }
    result = even + odd;
    (void)result;
    return per_page(now_ns() - start, pages);
}

static void idle_unique(const struct plan *plan)
{
    size_t pages = plan->mib * PAGES_PER_MIB;
    char *area = area_unique(pages);

    for (unsigned int n = 0; n < plan->runs; n++) {
        sample("memory_read", reading_ns(area, pages));
    }
    sample_both("scan_idle_unique", area, pages, 0, plan);
}

static void first_pass(const struct plan *plan)
{
    size_t pages = plan->mib * PAGES_PER_MIB;

    area_unique(pages);
    sample("scan_idle_unique.first", per_page(ksm_pass(), pages));
}

void case_scan_idle_unique(const struct plan *plan)
{
    ksm_reset();
    in_child(idle_unique, plan);
    for (unsigned int n = 0; n < plan->runs; n++) {
        ksm_reset();
        in_child(first_pass, plan);
    }
}

/*
 * What it takes to ask the page tables which pages were accessed, in a walk
 * that the kernel has: an engine would take as much that looked there, not at
 * bytes.
 */
static void access_bits(const struct plan *plan)
{
    size_t pages = plan->mib * PAGES_PER_MIB;
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);

    if (fd < 0) {
        die("/proc/self/clear_refs: %s", strerror(errno));
    }
    area_unique(pages);
    for (unsigned int n = 0; n < plan->runs; n++) {
        uint64_t start = now_ns();

        if (write(fd, "1", 1) != 1) {
            die("/proc/self/clear_refs: %s", strerror(errno));
        }
        sample("access_bits", per_page(now_ns() - start, pages));
    }
    close(fd);
}

void case_access_bits(const struct plan *plan)
{
    ksm_reset();
    in_child(access_bits, plan);
}

static void rewritten(const struct plan *plan)
{
    size_t pages = plan->mib * PAGES_PER_MIB;
    char *area = area_unique(pages);

    sample_both("scan_rewritten", area, pages, 1, plan);
    passes_ns(area, pages, 0, PASSES_TO_KNOW);
    sample_passes("scan_rewritten.quiet", area, pages, 0, 1, plan);
}

void case_scan_rewritten(const struct plan *plan)
{
    ksm_reset();
    in_child(rewritten, plan);
}

static void half_hot(const struct plan *plan)
{
    size_t pages = plan->mib * PAGES_PER_MIB;
    char *area = area_unique(pages);

    sample_both("scan_half_hot", area, pages, 2, plan);
}

void case_scan_half_hot(const struct plan *plan)
{
    ksm_reset();
    in_child(half_hot, plan);
}

#define GROWTH_MIN_MIB 512
#define GROWTH_MAX_MIB 8192

/* Of so many passes the shortest counts, or of those made in so long. */
#define GROWTH_PASSES 3
#define GROWTH_SECONDS 5

static double shortest_pass(size_t pages)
{
    uint64_t limit = now_ns() + GROWTH_SECONDS * 1000000000ull;
    uint64_t shortest = UINT64_MAX;

    for (unsigned int n = 0; n < GROWTH_PASSES && now_ns() < limit; n++) {
        uint64_t ns = ksm_pass();

        shortest = ns < shortest ? ns : shortest;
    }
    return per_page(shortest, pages);
}

/* The same memory grows; every page is looked at in every pass. */
static void growth(const struct plan *plan)
{
    size_t all = plan->max_mib * PAGES_PER_MIB, pages = 0;
    char *area = area_new(all);
    double first = 0, first_read = 0;

    ksm_try_set("smart_scan", 0);
    for (size_t mib = GROWTH_MIN_MIB; mib <= plan->max_mib; mib *= 2) {
        size_t more = mib * PAGES_PER_MIB - pages;

        fill_unique(area + pages * PAGE, more);
        area_advise(area + pages * PAGE, more);
        pages += more;
        passes_ns(area, pages, 0, PASSES_TO_KNOW);
        for (unsigned int n = 0; n < plan->runs; n++) {
            double cost = shortest_pass(pages);
            double read = reading_ns(area, pages);

            point("cost", mib, cost, read);
            if (mib == GROWTH_MIN_MIB) {
                first += cost / plan->runs;
                first_read += read / plan->runs;
            } else if (mib == GROWTH_MAX_MIB) {
                sample("growth_512M_8G", 100 * (cost / first - 1));
                sample("growth_512M_8G.read", 100 * (read / first_read - 1));
            }
        }
    }
}

void case_growth(const struct plan *plan)
{
    if (plan->max_mib < GROWTH_MAX_MIB) {
        not_available("growth_512M_8G", "only up to %zu MiB here",
                      plan->max_mib);
    }
    ksm_reset();
    in_child(growth, plan);
}

/* One page in a mapping of 32 TiB. */
#define SPARSE_BYTES (32ul << 40)

static void sparse(const struct plan *plan)
{
    char *area = mmap(NULL, SPARSE_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (area == MAP_FAILED) {
        not_available("sparse_32T", "mmap of 32 TiB: %s", strerror(errno));
        return;
    }
    area_advise(area, SPARSE_BYTES / PAGE);
    fill_unique(area + SPARSE_BYTES / 2, 1);
    for (unsigned int n = 0; n < plan->runs; n++) {
        uint64_t ns = ksm_pass_within(plan->seconds);

        if (ns == UINT64_MAX) {
            not_available("sparse_32T", "a pass takes more than %u s",
                          plan->seconds);
            return;
        }
        sample("sparse_32T", ns / 1e6);
    }
}

void case_sparse(const struct plan *plan)
{
    ksm_reset();
    in_child(sparse, plan);
}
