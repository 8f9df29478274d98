/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of what is reported of a RAM block: a table, and any facts
 */

#include "qemu/osdep.h"
#include "hw/ksm/ksm-block.h"
#include "hw/ksm/ksm-reason.h"

#define SIZE 100

/* What the kernel's list says: nothing, or one kind of mapping */
enum { NO_LIST, ALL, HALF, NOTHING, SHARED, HUGE, SPECIAL };

static const KsmHostRange range[] = {
    [NO_LIST] = { .size = SIZE },
    [ALL] = { .size = SIZE, .known = true, .mapped = SIZE, .mergeable = SIZE },
    [HALF] = { .size = SIZE, .known = true, .mapped = SIZE,
               .mergeable = SIZE / 2 },
    [NOTHING] = { .size = SIZE, .known = true, .mapped = SIZE },
    [SHARED] = { .size = SIZE, .known = true, .mapped = SIZE,
                 .shared = SIZE },
    [HUGE] = { .size = SIZE, .known = true, .mapped = SIZE, .huge = SIZE,
               .shared = SIZE },
    [SPECIAL] = { .size = SIZE, .known = true, .mapped = SIZE, .special = 1,
                  .shared = SIZE },
};

static KsmBlockInfo *judge(bool requested, const KsmBlockFacts *facts)
{
    KsmBlockInfo *info = g_new0(KsmBlockInfo, 1);

    info->size = SIZE;
    info->requested = requested;
    ksm_block_judge(info, facts);
    return info;
}

#define R(NAME) KSM_REFUSAL_ ## NAME

static const struct {
    KsmRefusal decided;
    bool requested;
    int range, hot;
    bool pinned;
    /* and what comes of it */
    KsmRefusal reason;
    bool actual;
    uint64_t mergeable;
} row[] = {
    /* Nobody looked at the list. */
    { R(NONE), true, NO_LIST, 0, false, R(NONE), true, 100 },
    { R(WRITE_HOT), true, NO_LIST, 30, false, R(WRITE_HOT), false, 70 },
    { R(SHARED_MAPPING), true, NO_LIST, 0, false, R(SHARED_MAPPING), false, 0 },
    { R(NO_PRESSURE), false, NO_LIST, 0, false, R(NO_PRESSURE), false, 0 },
    { R(KERNEL_REFUSED), true, NO_LIST, 0, false, R(KERNEL_REFUSED), false, 0 },
    /* The list says the same. */
    { R(NONE), true, ALL, 0, false, R(NONE), true, 100 },
    { R(WRITE_HOT), true, HALF, 50, false, R(WRITE_HOT), false, 50 },
    { R(SHARED_MAPPING), true, SHARED, 0, false, R(SHARED_MAPPING), false, 0 },
    { R(NO_PRESSURE), false, NOTHING, 0, false, R(NO_PRESSURE), false, 0 },
    /* It says something else. */
    { R(NONE), true, NOTHING, 0, false, R(KERNEL_IGNORED), false, 0 },
    { R(NONE), true, HALF, 0, false, R(KERNEL_IGNORED), false, 50 },
    { R(NONE), true, SHARED, 0, false, R(SHARED_MAPPING), false, 0 },
    { R(NONE), true, HUGE, 0, false, R(HUGE_PAGES), false, 0 },
    { R(NONE), true, SPECIAL, 0, false, R(SPECIAL_MAPPING), false, 0 },
    { R(KERNEL_REFUSED), true, ALL, 0, false, R(NONE), true, 100 },
    { R(DISABLED_BY_BACKEND), false, ALL, 0, false, R(DISABLED_BY_BACKEND),
      true, 100 },
    /* A device has pinned it: only what would be merged is concerned. */
    { R(NONE), true, NO_LIST, 0, true, R(PINNED), true, 100 },
    { R(NONE), true, ALL, 0, true, R(PINNED), true, 100 },
    { R(WRITE_HOT), true, NO_LIST, 30, true, R(PINNED), false, 70 },
    { R(WRITE_HOT), true, HALF, 50, true, R(PINNED), false, 50 },
    { R(NONE), true, NOTHING, 0, true, R(KERNEL_IGNORED), false, 0 },
    { R(SHARED_MAPPING), true, NO_LIST, 0, true, R(SHARED_MAPPING), false, 0 },
    { R(HUGE_PAGES), true, HUGE, 0, true, R(HUGE_PAGES), false, 0 },
    { R(DISABLED_BY_MACHINE), false, NO_LIST, 0, true, R(DISABLED_BY_MACHINE),
      false, 0 },
    { R(CONFIDENTIAL_GUEST), true, NO_LIST, 0, true, R(CONFIDENTIAL_GUEST),
      false, 0 },
    { R(NO_PRESSURE), false, NOTHING, 0, true, R(NO_PRESSURE), false, 0 },
};

static void test_table(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(row); i++) {
        const KsmBlockFacts facts = {
            .decided = row[i].decided,
            .hot_bytes = row[i].hot,
            .pinned = row[i].pinned,
            .range = &range[row[i].range],
        };
        g_autoptr(KsmBlockInfo) info = judge(row[i].requested, &facts);

        g_test_message("row %zu", i);
        g_assert_cmpstr(KsmRefusal_str(info->reason), ==,
                        KsmRefusal_str(row[i].reason));
        g_assert_cmpint(info->actual, ==, row[i].actual);
        g_assert_cmpuint(info->mergeable_bytes, ==, row[i].mergeable);
        g_assert_cmpint(info->verified, ==, row[i].range != NO_LIST);
        g_assert_cmpint(info->has_remedy, ==,
                        ksm_reason_remedy(row[i].reason) &&
                        (!row[i].actual || row[i].reason == R(PINNED)));
    }
}

/* A block that can grow: what lies beyond its size is not its own yet. */
static void test_growing(void)
{
    static const struct {
        bool is_told;
        uint64_t merged, want;
    } told[] = {
        { true, 0, 0 }, { true, SIZE - 1, SIZE - 1 }, { true, SIZE, SIZE },
        { true, 3 * SIZE, SIZE }, { false, 0, 0 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(told); i++) {
        const KsmHostRange list = {
            .size = 4 * SIZE, .known = true, .mapped = 4 * SIZE,
            .mergeable = 4 * SIZE, .merged = { told[i].is_told, { told[i].merged } },
        };
        const KsmBlockFacts facts = { .range = &list };
        g_autoptr(KsmBlockInfo) info = judge(true, &facts);

        g_assert_true(info->actual);
        g_assert_cmpuint(info->mergeable_bytes, ==, SIZE);
        g_assert_cmpint(info->has_merged_bytes, ==, told[i].is_told);
        g_assert_cmpuint(info->merged_bytes, ==, told[i].want);
    }
}

/* Whatever is known: what is said makes sense to who reads it. */
static void test_random(void)
{
    for (int i = 0; i < 100000; i++) {
        KsmHostRange list = {
            .known = g_test_rand_bit(),
            .mapped = g_test_rand_int_range(0, 2 * SIZE),
            .shared = g_test_rand_int_range(0, 2),
            .huge = g_test_rand_int_range(0, 2),
            .special = g_test_rand_int_range(0, 2),
            .merged = { g_test_rand_bit(),
                        { g_test_rand_int_range(0, 2 * SIZE) } },
        };
        bool requested = g_test_rand_bit();
        KsmBlockFacts facts = {
            /* Nothing is requested: there is a reason for that */
            .decided = g_test_rand_int_range(requested ? 0 : 1,
                                             KSM_REFUSAL__MAX),
            .hot_bytes = g_test_rand_int_range(0, 2 * SIZE),
            .pinned = g_test_rand_bit(),
            .range = &list,
        };
        g_autoptr(KsmBlockInfo) info = NULL;
        const char *remedy;

        list.mergeable = g_test_rand_int_range(0, list.mapped + 1);
        info = judge(requested, &facts);
        remedy = ksm_reason_remedy(info->reason);
        g_assert_cmpuint(info->mergeable_bytes, <=, SIZE);
        g_assert_cmpuint(info->merged_bytes, <=, SIZE);
        g_assert_true(info->reason != KSM_REFUSAL_NONE ||
                      (info->requested && info->actual));
        g_assert_true(info->reason != KSM_REFUSAL_NONE || !info->has_remedy);
        g_assert_true(info->actual || info->has_remedy == (remedy != NULL));
        g_assert_true(!info->has_remedy ||
                      g_str_equal(info->remedy, remedy));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ksm-block/table", test_table);
    g_test_add_func("/ksm-block/growing", test_growing);
    g_test_add_func("/ksm-block/random", test_random);
    return g_test_run();
}
