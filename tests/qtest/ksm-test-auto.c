/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest for same-page merging: a ksm-policy object with mode=auto, on a host
 * that is made up
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-ksm.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qnum.h"
#include "qapi/qmp/qstring.h"
#include "qemu/units.h"
#include "ksm-test.h"

#define AUTO "'mode': 'auto', 'interval-seconds': 1, 'dwell-seconds': 1"

static void set_stall(const FakeRoot *root, const char *avg10)
{
    g_autofree char *text =
        g_strdup_printf("some avg10=%s avg60=0.00 avg300=0.00 total=1\n"
                        "full avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
                        avg10);

    fake_root_write(root, "/proc/pressure/memory", text);
}

/* Waits for the next event; its time in seconds */
static double wait_changed(QTestState *qts, const char *state,
                           const char *reason)
{
    QDict *event = qtest_qmp_eventwait_ref(qts, "KSM_POLICY_CHANGED");
    QDict *data = qdict_get_qdict(event, "data");
    QDict *time = qdict_get_qdict(event, "timestamp");
    double seconds = qdict_get_int(time, "seconds") +
                     qdict_get_int(time, "microseconds") / 1e6;

    g_assert_cmpstr(qdict_get_str(data, "mode"), ==, "auto");
    g_assert_cmpstr(qdict_get_str(data, "state"), ==, state);
    g_assert_cmpstr(qdict_get_str(data, "reason"), ==, reason);
    qobject_unref(event);
    return seconds;
}

static void assert_policy(QTestState *qts, const char *state,
                          const char *reason)
{
    g_autoptr(KsmStats) stats = ksm_test_query(qts);
    KsmPolicyInfo *policy = stats->vm->policy;

    g_assert_true(stats->vm->has_policy);
    g_assert_cmpstr(KsmPolicyState_str(policy->state), ==, state);
    g_assert_cmpstr(KsmPolicyReason_str(policy->reason), ==, reason);
}

/* Waits until the host was looked at with @percent available, or -1: unknown */
static void wait_seen(QTestState *qts, int percent)
{
    for (;;) {
        g_autoptr(KsmStats) stats = ksm_test_query(qts);
        KsmPolicyInfo *policy = stats->vm->policy;

        if (policy->has_available_percent ?
            (int)policy->available_percent == percent : percent == -1) {
            return;
        }
        g_usleep(50 * 1000);
    }
}

static QTestState *start(const FakeRoot *root)
{
    fake_root_add_linux_6_1(root);
    return ksm_test_start(root, "-machine q35 -m 27");
}

/* Offered under pressure; kept, but no more of it, when that is over */
static void test_low_memory(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    QTestState *qts;

    if (!ksm_test_needs_merging()) {
        return;
    }
    ksm_test_set_available(root, 50);
    qts = start(root);
    ksm_test_check_block(qts, "pc.ram", true, "none");
    ksm_test_add_policy(qts, "'mode': 'off'");
    ksm_test_check_block(qts, "pc.ram", false, "disabled-by-policy");
    ksm_test_set(qts, "interval-seconds", QOBJECT(qnum_from_int(1)));
    ksm_test_set(qts, "dwell-seconds", QOBJECT(qnum_from_int(1)));
    ksm_test_set(qts, "mode", QOBJECT(qstring_from_str("auto")));
    wait_changed(qts, "paused", "waiting");
    wait_seen(qts, 50);
    assert_policy(qts, "paused", "waiting");
    ksm_test_check_block(qts, "pc.ram", false, "no-pressure");
    g_assert_false(ksm_test_is_mergeable(27 * MiB));

    ksm_test_set_available(root, 19);
    wait_changed(qts, "merging", "low-memory");
    assert_policy(qts, "merging", "low-memory");
    ksm_test_check_block(qts, "pc.ram", true, "none");
    g_assert_true(ksm_test_is_mergeable(27 * MiB));
    ksm_test_check_block(qts, "pc.bios", false, "excluded-by-policy");

    ksm_test_set_available(root, 24);
    wait_seen(qts, 24);
    assert_policy(qts, "merging", "low-memory");
    ksm_test_set_available(root, 25);
    wait_changed(qts, "paused", "eased");
    ksm_test_check_block(qts, "pc.ram", true, "none");
    g_assert_true(ksm_test_is_mergeable(27 * MiB));
    ksm_test_add_backend(qts, "mem", 1 * MiB, "");
    ksm_test_check_block(qts, "mem", false, "no-pressure");

    ksm_test_set_available(root, 20);
    wait_seen(qts, 20);
    assert_policy(qts, "paused", "eased");
    ksm_test_set_available(root, 5);
    wait_changed(qts, "merging", "low-memory");
    ksm_test_check_block(qts, "mem", true, "none");
    qtest_quit(qts);
}

static void test_stalls(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    QTestState *qts;

    ksm_test_set_available(root, 90);
    set_stall(root, "4.99");
    qts = start(root);
    ksm_test_add_policy(qts, AUTO);
    wait_seen(qts, 90);
    assert_policy(qts, "paused", "waiting");
    set_stall(root, "5.00");
    wait_changed(qts, "merging", "stalls");
    set_stall(root, "2.50");
    wait_changed(qts, "paused", "eased");
    /* Both are looked at: the other one takes over */
    ksm_test_set_available(root, 3);
    wait_changed(qts, "merging", "low-memory");
    set_stall(root, "99.99");
    ksm_test_set_available(root, 90);
    wait_seen(qts, 90);
    assert_policy(qts, "merging", "low-memory");
    ksm_test_set(qts, "stall-percent", QOBJECT(qnum_from_int(0)));
    wait_changed(qts, "paused", "eased");
    qtest_quit(qts);
}

/* Two changes are never closer than dwell-seconds. */
static void test_dwell(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    double first, second;
    QTestState *qts;

    ksm_test_set_available(root, 1);
    qts = start(root);
    ksm_test_add_policy(qts, "'mode': 'auto', 'interval-seconds': 1,"
                        "'dwell-seconds': 4");
    first = wait_changed(qts, "merging", "low-memory");
    ksm_test_set_available(root, 99);
    second = wait_changed(qts, "paused", "eased");
    g_assert_cmpfloat(second - first, >=, 3.9);
    qtest_quit(qts);
}

/* Nothing is known: nothing is decided.  Rubbish is like nothing. */
static void test_unknown(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    QTestState *qts;

    ksm_test_set_available(root, 1);
    qts = start(root);
    ksm_test_add_policy(qts, AUTO);
    wait_changed(qts, "merging", "low-memory");
    fake_root_write(root, "/proc/meminfo", "MemTotal: many kB\n");
    fake_root_write(root, "/proc/pressure/memory", "\xff\xfe");
    wait_seen(qts, -1);
    assert_policy(qts, "merging", "low-memory");
    fake_root_remove(root, "/proc/meminfo");
    fake_root_remove(root, "/proc/pressure/memory");
    g_usleep(1500 * 1000);
    assert_policy(qts, "merging", "low-memory");
    ksm_test_set_available(root, 99);
    wait_changed(qts, "paused", "eased");
    qtest_quit(qts);
}

/* What an object is deleted in the midst of is forgotten. */
static void test_delete(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmStats) stats = NULL;
    QTestState *qts;

    ksm_test_set_available(root, 99);
    qts = start(root);
    ksm_test_add_policy(qts, AUTO);
    wait_seen(qts, 99);
    ksm_test_del_object(qts, "policy");
    ksm_test_set_available(root, 1);
    g_usleep(1500 * 1000);
    stats = ksm_test_query(qts);
    g_assert_false(stats->vm->has_policy);
    g_assert_null(qtest_qmp_event_ref(qts, "KSM_POLICY_CHANGED"));
    ksm_test_add_policy(qts, AUTO);
    wait_changed(qts, "merging", "low-memory");
    qtest_quit(qts);
}

static void set_sharing(const FakeRoot *root, int merged, int breaks)
{
    g_autofree char *pages = g_strdup_printf("%d\n", merged);
    g_autofree char *stat = g_strdup_printf("ksm_rmap_items 50\n"
                                            "ksm_cow_breaks %d\n", breaks);

    fake_root_write(root, FAKE_PROC_DIR "ksm_merging_pages", pages);
    if (breaks >= 0) {
        fake_root_write(root, FAKE_PROC_DIR "ksm_stat", stat);
    }
}

/* With and without a kernel that counts COW breaks */
static void test_collapse(const void *counted)
{
    const uint64_t page_size = qemu_real_host_page_size();
    int breaks = counted ? 0 : -1;
    g_autoptr(FakeRoot) root = fake_root_new();
    QTestState *qts;
    QDict *event, *data;

    ksm_test_set_available(root, 1);
    qts = start(root);
    set_sharing(root, 20000, breaks);
    ksm_test_add_policy(qts, AUTO);
    wait_changed(qts, "merging", "low-memory");
    /* A tenth is enough, a page less would not be */
    set_sharing(root, counted ? 20000 : 18000, counted ? 2000 : -1);
    event = qtest_qmp_eventwait_ref(qts, "KSM_SHARING_COLLAPSED");
    data = qdict_get_qdict(event, "data");
    g_assert_cmpint(qdict_get_int(data, "merged-bytes-before"), ==,
                    20000 * page_size);
    g_assert_cmpint(qdict_get_int(data, "merged-bytes"), ==,
                    (counted ? 20000 : 18000) * page_size);
    g_assert_cmpint(qdict_get_int(data, "cow-breaks"), ==, 2000);
    qobject_unref(event);
    /* Told once */
    g_usleep(2000 * 1000);
    ksm_test_check_block(qts, "pc.bios", false, "excluded-by-policy");
    g_assert_null(qtest_qmp_event_ref(qts, "KSM_SHARING_COLLAPSED"));
    qtest_quit(qts);
}

#define HOT_START (16 * MiB)
#define HOT_SIZE (2 * MiB)
#define HEAT_RAM (64 * MiB)

/* Goes on writing, if @writing, until the guest's RAM has this reason */
static void wait_reason(QTestState *qts, bool writing, const char *reason)
{
    static uint8_t content;

    for (;;) {
        g_autoptr(KsmStats) stats = ksm_test_query_fast(qts);
        KsmBlockInfo *block = ksm_test_find_block(stats, "pc.ram");

        if (g_str_equal(KsmRefusal_str(block->reason), reason)) {
            return;
        }
        if (writing) {
            qtest_memset(qts, HOT_START, ++content, HOT_SIZE);
        }
        g_usleep(100 * 1000);
    }
}

static void check_hot(QTestState *qts, uint64_t bytes)
{
    g_autoptr(KsmStats) stats = ksm_test_query(qts);
    g_autoptr(KsmStats) fast = ksm_test_query_fast(qts);
    KsmBlockInfo *block = ksm_test_find_block(stats, "pc.ram");

    g_assert_cmpuint(stats->vm->policy->hot_bytes, ==, bytes);
    g_assert_true(block->requested && block->verified);
    g_assert_cmpint(block->actual, ==, bytes == 0);
    g_assert_cmpint(block->has_remedy, ==, bytes != 0);
    g_assert_cmpuint(block->mergeable_bytes, ==, HEAT_RAM - bytes);
    block = ksm_test_find_block(fast, "pc.ram");
    g_assert_cmpuint(block->mergeable_bytes, ==, HEAT_RAM - bytes);
}

/* One region is written to all the time, one was once, others never. */
static void test_heat(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    QTestState *qts;

    if (!ksm_test_needs_merging()) {
        return;
    }
    ksm_test_set_available(root, 1);
    fake_root_add_linux_6_1(root);
    ksm_test_link_file(root, "smaps");
    ksm_test_link_file(root, "pagemap");
    qts = ksm_test_start(root, "-machine q35 -m 64");
    qtest_memset(qts, 20 * MiB, 7, 4 * MiB);
    ksm_test_add_policy(qts, AUTO);
    wait_changed(qts, "merging", "low-memory");
    check_hot(qts, 0);
    wait_reason(qts, true, "write-hot");
    check_hot(qts, HOT_SIZE);
    g_assert_true(ksm_test_is_mergeable(HEAT_RAM - HOT_START - HOT_SIZE));

    ksm_test_set(qts, "hot-percent", QOBJECT(qnum_from_int(100)));
    wait_reason(qts, true, "none");
    check_hot(qts, 0);
    ksm_test_set(qts, "hot-percent", QOBJECT(qnum_from_int(50)));
    wait_reason(qts, true, "write-hot");
    wait_reason(qts, false, "none");
    check_hot(qts, 0);
    wait_reason(qts, true, "write-hot");
    ksm_test_del_object(qts, "policy");
    ksm_test_check_block(qts, "pc.ram", true, "none");
    g_assert_true(ksm_test_is_mergeable(HEAT_RAM));
    qtest_quit(qts);
}

void ksm_test_add_auto(void)
{
    qtest_add_func("/ksm/auto/low-memory", test_low_memory);
    qtest_add_func("/ksm/auto/stalls", test_stalls);
    qtest_add_func("/ksm/auto/dwell", test_dwell);
    qtest_add_func("/ksm/auto/unknown", test_unknown);
    qtest_add_func("/ksm/auto/delete", test_delete);
    qtest_add_func("/ksm/auto/heat", test_heat);
    qtest_add_data_func("/ksm/auto/collapse/counted", "counted",
                        test_collapse);
    qtest_add_data_func("/ksm/auto/collapse/not-counted", NULL, test_collapse);
}
