// SPDX-License-Identifier: GPL-2.0-or-later
/* How soon new duplicates are merged when nobody has set a knob. */
#include "bench.h"

#define KINDS 997ul
#define TICK_MS 100
#define TICKS_PER_POINT 10
#define LIMIT_SECONDS 600

static unsigned int run_number;

static double seconds_since(uint64_t start)
{
    return (now_ns() - start) / 1e9;
}

static void pacing(const struct plan *plan)
{
    size_t pages = plan->mib * PAGES_PER_MIB;
    long expected = (pages - 2 * KINDS) / 100 * 99;
    uint64_t start, cpu = ksmd_cpu_ns();
    unsigned int tick = 0;

    ksm_set("run", 1);
    area_alike(pages, KINDS);
    start = now_ns();
    while (ksm_get("pages_sharing") < expected) {
        if (run_number == 0 && tick++ % TICKS_PER_POINT == 0) {
            point("pacing", seconds_since(start),
                  (double)ksm_get("pages_sharing") / PAGES_PER_MIB,
                  (ksmd_cpu_ns() - cpu) / 1e9);
        }
        if (seconds_since(start) > LIMIT_SECONDS) {
            die("default_pacing_1G: %ld of %ld pages are saved after %d s",
                ksm_get("pages_sharing"), expected, LIMIT_SECONDS);
        }
        nap_ms(TICK_MS);
    }
    sample("default_pacing_1G", seconds_since(start));
    sample("default_pacing_1G.cpu", (ksmd_cpu_ns() - cpu) / 1e9);
    if (run_number == 0) {
        point("pacing", seconds_since(start),
              (double)ksm_get("pages_sharing") / PAGES_PER_MIB,
              (ksmd_cpu_ns() - cpu) / 1e9);
    }
}

void case_default_pacing(const struct plan *plan)
{
    for (run_number = 0; run_number < plan->runs; run_number++) {
        ksm_default_pace();
        in_child(pacing, plan);
    }
}
