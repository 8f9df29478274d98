/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of the decisions of mode=auto: tables, and random hosts
 */

#include "qemu/osdep.h"
#include "hw/ksm/ksm-auto.h"

static const KsmAutoConfig standard = {
    .min_free = 20, .hysteresis = 5, .stall = 10, .dwell_ms = 1000,
};

/* -1: the host does not tell */
static KsmAutoSample sample_at(int64_t now_ms, int stall, int available)
{
    return (KsmAutoSample) {
        .now_ms = now_ms,
        .stall = { stall >= 0, stall },
        .available = { available >= 0, available },
    };
}

static void assert_same(const KsmAutoState *a, const KsmAutoState *b)
{
    g_assert_cmpint(a->merging, ==, b->merging);
    g_assert_cmpint(a->reason, ==, b->reason);
    g_assert_cmpint(a->since_ms, ==, b->since_ms);
}

/* What one sample does, from both states and long after the last change */
static void test_limits(void)
{
    enum { KEEP, START_LOW, START_STALL, STOP };
    static const struct {
        int stall, available;       /* hundredths of a percent */
        int what;
    } row[] = {
        { -1, -1, KEEP },
        { -1, 1999, START_LOW },
        { -1, 2000, KEEP },
        { -1, 2499, KEEP },
        { -1, 2500, STOP },
        { -1, 0, START_LOW },
        { -1, 10000, STOP },
        { 1000, -1, START_STALL },
        { 999, -1, KEEP },
        { 501, -1, KEEP },
        { 500, -1, STOP },
        { 0, -1, STOP },
        { 10000, -1, START_STALL },
        { 0, 1999, START_LOW },
        { 1000, 10000, START_STALL },
        { 1000, 1999, START_LOW },
        { 501, 10000, KEEP },
        { 500, 2499, KEEP },
        { 500, 2500, STOP },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(row); i++) {
        KsmAutoSample sample = sample_at(99999, row[i].stall,
                                         row[i].available);
        KsmAutoState paused = { .merging = false, .reason = KSM_AUTO_EASED };
        KsmAutoState merging = { .merging = true, .reason = KSM_AUTO_STALLS };
        KsmAutoState a = ksm_auto_decide(paused, &standard, &sample);
        KsmAutoState b = ksm_auto_decide(merging, &standard, &sample);
        bool starts = row[i].what == START_LOW || row[i].what == START_STALL;

        g_test_message("row %zu", i);
        g_assert_cmpint(a.merging, ==, starts);
        if (starts) {
            g_assert_cmpint(a.reason, ==, row[i].what == START_LOW ?
                            KSM_AUTO_LOW_MEMORY : KSM_AUTO_STALLS);
            g_assert_cmpint(a.since_ms, ==, 99999);
        } else {
            assert_same(&a, &paused);
        }
        g_assert_cmpint(b.merging, ==, row[i].what != STOP);
        if (row[i].what == STOP) {
            g_assert_cmpint(b.reason, ==, KSM_AUTO_EASED);
            g_assert_cmpint(b.since_ms, ==, 99999);
        } else {
            assert_same(&b, &merging);
        }
    }
}

/* A limit of 0 is not looked at; without any, nothing happens. */
static void test_switched_off(void)
{
    const KsmAutoConfig no_free = { .stall = 10, .hysteresis = 5 };
    const KsmAutoConfig no_stall = { .min_free = 20, .hysteresis = 5 };
    const KsmAutoConfig nothing = { .hysteresis = 5 };
    KsmAutoState paused = { .reason = KSM_AUTO_START };
    KsmAutoState merging = { true, KSM_AUTO_STALLS };
    KsmAutoSample both = sample_at(1, 10000, 0);
    KsmAutoSample none = sample_at(1, 0, 10000);

    g_assert_cmpint(ksm_auto_decide(paused, &no_free, &both).reason, ==,
                    KSM_AUTO_STALLS);
    g_assert_cmpint(ksm_auto_decide(paused, &no_stall, &both).reason, ==,
                    KSM_AUTO_LOW_MEMORY);
    g_assert_false(ksm_auto_decide(paused, &nothing, &both).merging);
    g_assert_true(ksm_auto_decide(merging, &nothing, &none).merging);
    g_assert_false(ksm_auto_decide(merging, &no_free, &none).merging);
    g_assert_false(ksm_auto_decide(merging, &no_stall, &none).merging);
}

static void test_dwell(void)
{
    KsmAutoSample low = sample_at(0, -1, 0), high = sample_at(0, -1, 10000);
    KsmAutoState state = { .reason = KSM_AUTO_START };

    /* The first decision does not have to wait, wherever the clock begins */
    low.now_ms = 5;
    state = ksm_auto_decide(state, &standard, &low);
    g_assert_true(state.merging);
    high.now_ms = 1004;
    g_assert_true(ksm_auto_decide(state, &standard, &high).merging);
    high.now_ms = 1005;
    state = ksm_auto_decide(state, &standard, &high);
    g_assert_false(state.merging);
    low.now_ms = 2004;
    g_assert_false(ksm_auto_decide(state, &standard, &low).merging);
    low.now_ms = 2005;
    g_assert_true(ksm_auto_decide(state, &standard, &low).merging);
    /* A clock that was put back only makes it wait */
    low.now_ms = -100000;
    g_assert_false(ksm_auto_decide(state, &standard, &low).merging);
}

static int random_share(void)
{
    return g_test_rand_int_range(0, 8) ? g_test_rand_int_range(0, 10001) : -1;
}

static bool presses(const KsmAutoConfig *config, const KsmAutoSample *s)
{
    return (config->min_free && s->available.known &&
            s->available.value < config->min_free * 100) ||
           (config->stall && s->stall.known &&
            s->stall.value >= config->stall * 100);
}

/* One host that goes up and down as it likes */
static void run_random_host(const KsmAutoConfig *config)
{
    KsmAutoState state = { .reason = KSM_AUTO_START }, next;
    int64_t now = 0, last_change = 0;
    bool changed = false;

    for (int i = 0; i < 2000; i++) {
        KsmAutoSample sample;

        now += g_test_rand_int_range(0, 500);
        sample = sample_at(now, random_share(), random_share());
        next = ksm_auto_decide(state, config, &sample);
        if (next.merging == state.merging) {
            assert_same(&next, &state);
            /* Pressure is left out only for the dwell time */
            g_assert_false(!state.merging && presses(config, &sample) &&
                           (!changed || now - last_change >= config->dwell_ms));
            continue;
        }
        g_assert_true(sample.stall.known || sample.available.known);
        g_assert_cmpint(presses(config, &sample), ==, next.merging);
        g_assert_cmpint(next.since_ms, ==, now);
        if (changed) {
            g_assert_cmpint(now - last_change, >=, config->dwell_ms);
        }
        changed = true;
        last_change = now;
        state = next;
    }
}

static void test_random(void)
{
    for (int i = 0; i < 500; i++) {
        KsmAutoConfig config = {
            .min_free = g_test_rand_int_range(0, 76),
            .hysteresis = g_test_rand_int_range(1, 21),
            .stall = g_test_rand_int_range(0, 101),
            .dwell_ms = g_test_rand_int_range(0, 3000),
        };

        run_random_host(&config);
    }
}

/* Between the limits, nothing that happens changes anything. */
static void test_band(void)
{
    KsmAutoState state = { true, KSM_AUTO_LOW_MEMORY, 0 };

    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < 100000; i++) {
            KsmAutoSample sample = sample_at(10000 + i * 1000,
                g_test_rand_int_range(501, 1000),
                g_test_rand_int_range(2000, 2500));
            KsmAutoState next = ksm_auto_decide(state, &standard, &sample);

            assert_same(&next, &state);
        }
        state = (KsmAutoState) { false, KSM_AUTO_EASED, 0 };
    }
}

static void test_collapse(void)
{
    static const struct {
        KsmSharing before, after;
        bool collapsed;
        uint64_t breaks;
    } row[] = {
        /* Nobody knows */
        { { false }, { true, 0, true, 5000 }, false, 0 },
        { { true, 50000, true, 0 }, { false }, false, 0 },
        /* COW breaks that merging made up for, and more */
        { { true, 20000, true, 0 }, { true, 20001, true, 9000 }, false, 0 },
        { { true, 20000, true, 0 }, { true, 20000, true, 9000 }, true, 9000 },
        /* A tenth, and 1024 */
        { { true, 20000, true, 7 }, { true, 19000, true, 2006 }, false, 1999 },
        { { true, 20000, true, 7 }, { true, 19000, true, 2007 }, true, 2000 },
        { { true, 2000, true, 0 }, { true, 0, true, 1023 }, false, 1023 },
        { { true, 2000, true, 0 }, { true, 0, true, 1024 }, true, 1024 },
        /* Given back for other reasons */
        { { true, 20000, true, 5 }, { true, 0, true, 5 }, false, 0 },
        /* COW breaks are not counted */
        { { true, 20000 }, { true, 18000 }, true, 2000 },
        { { true, 20000 }, { true, 18001 }, false, 1999 },
        { { true, 20000 }, { true, 20000 }, false, 0 },
        { { true, 500 }, { true, 0 }, false, 500 },
        { { true, 0 }, { true, 0 }, false, 0 },
        { { true, 20000, true, 5 }, { true, 10000 }, true, 10000 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(row); i++) {
        uint64_t breaks = 1234;

        g_test_message("row %zu", i);
        g_assert_cmpint(ksm_sharing_collapsed(&row[i].before, &row[i].after,
                                              &breaks), ==, row[i].collapsed);
        g_assert_cmpuint(breaks, ==, row[i].breaks);
    }
}

/* What is seen at each look, and whether it is hot then */
static void test_heat(void)
{
    static const struct {
        int written[16];
        const char *hot;        /* a character for each look */
    } row[] = {
        { { 0, 100, 0, 100, 0, 100 }, "......" },
        { { 51, 51, 51 }, ".##" },
        { { 50, 50, 50 }, "..." },
        /* Unknown is no look at all */
        { { 51, -1, -1, 51, -1 }, "...##" },
        { { -1, -1, -1 }, "..." },
        /* Half is cool, if it stays so */
        { { 51, 51, 25, 25, 25, 25, 25, 25, 0 }, ".######.." },
        { { 51, 51, 26, 26, 26, 26, 26, 26, 26, 26 }, ".#########" },
        { { 51, 51, 0, 0, 0, 0, 0, 26, 0, 0, 0, 0, 0, 0, 0 },
          ".############.." },
        { { 51, 51, 0, 0, -1, 0, 0, -1, 0, 0 }, ".########." },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(row); i++) {
        KsmHeatState state = { false };

        for (int j = 0; row[i].hot[j]; j++) {
            g_test_message("row %zu look %d", i, j);
            state = ksm_heat_decide(state, row[i].written[j], 50);
            g_assert_cmpint(state.hot, ==, row[i].hot[j] == '#');
        }
    }
}

/* Never closer than the looks in a row that it takes */
static void test_heat_random(void)
{
    KsmHeatState state = { false };
    int since = 0;

    for (int i = 0; i < 1000000; i++) {
        int limit = g_test_rand_int_range(1, 101);
        KsmHeatState next = ksm_heat_decide(state,
            g_test_rand_int_range(-1, 101), limit);

        since++;
        if (next.hot != state.hot) {
            g_assert_cmpint(since, >=, state.hot ? KSM_HEAT_LOOKS_COOL
                                                 : KSM_HEAT_LOOKS_HOT);
            since = 0;
        }
        state = next;
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ksm-auto/limits", test_limits);
    g_test_add_func("/ksm-auto/switched-off", test_switched_off);
    g_test_add_func("/ksm-auto/dwell", test_dwell);
    g_test_add_func("/ksm-auto/random", test_random);
    g_test_add_func("/ksm-auto/band", test_band);
    g_test_add_func("/ksm-auto/collapse", test_collapse);
    g_test_add_func("/ksm-auto/heat", test_heat);
    g_test_add_func("/ksm-auto/heat-random", test_heat_random);
    return g_test_run();
}
