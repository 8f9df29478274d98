// SPDX-License-Identifier: GPL-2.0-or-later
/* How much sooner a pass ends if two threads scan. */
#include "bench.h"

static double pass_seconds(long threads)
{
    uint64_t start;

    ksm_set("scan_threads", threads);
    start = now_ns();
    ksm_pass();
    return (now_ns() - start) / 1e9;
}

/* Unique pages, all of them looked at in each pass. */
static void threads(const struct plan *plan)
{
    area_unique(plan->mib * PAGES_PER_MIB);
    ksm_set("smart_scan", 0);
    ksm_pass();
    ksm_pass();
    for (unsigned int n = 0; n < plan->runs; n++) {
        double one = pass_seconds(1), two = pass_seconds(2);

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
