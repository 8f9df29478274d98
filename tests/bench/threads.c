// SPDX-License-Identifier: GPL-2.0-or-later
/* How much sooner a pass ends if two threads scan. */
#include "bench.h"

/* Of so many passes the shortest counts: others make them longer. */
#define PASSES 3

static double shortest_pass(long threads)
{
    uint64_t shortest = UINT64_MAX;

    ksm_set("scan_threads", threads);
    for (unsigned int n = 0; n < PASSES; n++) {
        uint64_t start = now_ns(), took;

        ksm_pass();
        took = now_ns() - start;
        shortest = took < shortest ? took : shortest;
    }
    return shortest;
}

/* Unique pages, all of them looked at in each pass. */
static void threads(const struct plan *plan)
{
    area_unique(plan->mib * PAGES_PER_MIB);
    ksm_set("smart_scan", 0);
    ksm_pass();
    ksm_pass();
    for (unsigned int n = 0; n < plan->runs; n++) {
        double one = shortest_pass(1), two = shortest_pass(2);

        sample("threads_1_2", one / two);
    }
    ksm_set("scan_threads", 1);
}

void case_threads(const struct plan *plan)
{
    if (!ksm_has("scan_threads")) {
        not_available("threads_1_2", "this engine scans with one thread");
        return;
    }
    ksm_reset();
    in_child(threads, plan);
}
