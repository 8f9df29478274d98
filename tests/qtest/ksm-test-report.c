/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest for same-page merging: reports about made-up hosts
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-ksm.h"
#include "qapi/qmp/qdict.h"
#include "qemu/units.h"
#include "../unit/ksm-fake-root.h"
#include "ksm-test.h"

static void test_none(void)
{
    QTestState *qts = ksm_test_start(NULL, "-machine none");
    g_autoptr(KsmStats) stats = ksm_test_query(qts);

    g_assert_null(stats->blocks);
    g_assert_cmpuint(stats->vm->mergeable_bytes, ==, 0);
    g_assert_cmpint(stats->host->available, ==,
                    g_file_test("/sys/kernel/mm/ksm", G_FILE_TEST_IS_DIR));
    g_assert_cmpuint(stats->host->page_size, ==, qemu_real_host_page_size());
    g_assert_false(stats->has_problem);
    qtest_quit(qts);
}

static void test_absent(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmStats) stats = NULL;
    g_autofree char *text = NULL;
    QTestState *qts;

    fake_root_mkdir(root, FAKE_PROC_DIR);
    qts = ksm_test_start(root, "-machine q35 -m 16");
    stats = ksm_test_query(qts);
    g_assert_false(stats->host->available);
    g_assert_cmpint(stats->host->engine, ==, KSM_ENGINE_ABSENT);
    g_assert_false(stats->host->has_engine_name);
    g_assert_false(stats->host->has_run);
    g_assert_false(stats->host->has_saved_bytes);
    g_assert_false(stats->host->counters->has_pages_shared);
    g_assert_false(stats->vm->has_merged_bytes);
    g_assert_false(stats->vm->has_saved_bytes);
    g_assert_false(stats->has_problem);
    g_assert_nonnull(ksm_test_find_block(stats, "pc.ram"));
    g_assert_false(ksm_test_find_block(stats, "pc.ram")->verified);
    g_assert_false(stats->host->has_refused || stats->vm->has_refused);
    g_assert_false(stats->vm->has_domain);
    text = qtest_hmp(qts, "info ksm");
    g_assert_nonnull(strstr(text, "no KSM"));
    g_assert_null(strstr(text, "domain"));
    qtest_quit(qts);
}

static void test_linux_6_1(void)
{
    const uint64_t page = qemu_real_host_page_size();
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmStats) stats = NULL;
    KsmHostCounters *c;
    QTestState *qts;

    fake_root_add_linux_6_1(root);
    qts = ksm_test_start(root, "-machine none");
    stats = ksm_test_query(qts);
    g_assert_true(stats->host->available);
    g_assert_cmpint(stats->host->engine, ==, KSM_ENGINE_MAINLINE);
    g_assert_cmpstr(stats->host->engine_name, ==, "mainline");
    g_assert_false(stats->host->has_engine_version);
    g_assert_true(stats->host->has_run);
    g_assert_cmpint(stats->host->run, ==, KSM_RUN_STATE_MERGING);
    g_assert_cmpuint(stats->host->saved_bytes, ==, 300 * page);
    g_assert_cmpstr(stats->vm->domain, ==, "default");
    c = stats->host->counters;
    g_assert_cmpuint(c->pages_shared, ==, 100);
    g_assert_cmpuint(c->pages_sharing, ==, 300);
    g_assert_cmpuint(c->pages_unshared, ==, 11);
    g_assert_cmpuint(c->pages_volatile, ==, 12);
    g_assert_cmpuint(c->full_scans, ==, 13);
    g_assert_cmpuint(c->stable_node_chains, ==, 14);
    g_assert_cmpuint(c->stable_node_dups, ==, 15);
    g_assert_cmpuint(c->pages_to_scan, ==, 16);
    g_assert_cmpuint(c->sleep_millisecs, ==, 17);
    g_assert_cmpuint(c->merge_across_nodes, ==, 1);
    g_assert_cmpuint(c->max_page_sharing, ==, 18);
    g_assert_true(c->has_use_zero_pages && c->use_zero_pages == 0);
    g_assert_cmpuint(c->stable_node_chains_prune_millisecs, ==, 19);
    g_assert_false(c->has_pages_scanned || c->has_general_profit);
    g_assert_false(c->has_advisor_mode || c->has_advisor_max_cpu);
    g_assert_false(stats->host->has_refused || stats->vm->has_refused);
    /* 40 of 400 mappings: a tenth of what 300 pages save */
    g_assert_cmpuint(stats->vm->merged_bytes, ==, 40 * page);
    g_assert_cmpuint(stats->vm->saved_bytes, ==, 30 * page);
    g_assert_cmpuint(stats->vm->rmap_items, ==, 50);
    g_assert_false(stats->vm->has_cow_breaks);
    g_assert_false(stats->vm->has_merge_any);
    g_assert_false(stats->has_problem);
    qtest_quit(qts);
}

static void check_refused(bool present, KsmPageRefusalCountList *list,
                          uint64_t first)
{
    int reason = 0;

    g_assert_true(present);
    for (; list; list = list->next, reason++) {
        g_assert_cmpint(list->value->reason, ==, reason);
        g_assert_cmpuint(list->value->pages, ==, first + reason);
    }
    g_assert_cmpint(reason, ==, KSM_PAGE_REFUSAL__MAX);
}

static void check_later_counters(const KsmHostCounters *c)
{
    g_assert_cmpuint(c->pages_scanned, ==, 20);
    g_assert_cmpuint(c->pages_skipped, ==, 21);
    g_assert_cmpuint(c->ksm_zero_pages, ==, 22);
    g_assert_cmpint(c->general_profit, ==, -23);
    g_assert_true(c->has_smart_scan && c->smart_scan == 1);
    g_assert_cmpstr(c->advisor_mode, ==, "scan-time");
    g_assert_cmpuint(c->advisor_max_cpu, ==, 24);
    g_assert_cmpuint(c->advisor_min_pages_to_scan, ==, 25);
    g_assert_cmpuint(c->advisor_max_pages_to_scan, ==, 26);
    g_assert_cmpuint(c->advisor_target_scan_time, ==, 27);
    g_assert_cmpuint(c->boost_max_cpu, ==, 50);
    g_assert_cmpuint(c->scan_threads, ==, 2);
    g_assert_cmpuint(c->huge_split_min, ==, 16);
    g_assert_cmpuint(c->huge_splits, ==, 28);
    g_assert_cmpuint(c->huge_split_merged, ==, 29);
}

static void test_samepage(void)
{
    const uint64_t page = qemu_real_host_page_size();
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmStats) stats = NULL;
    QTestState *qts;

    fake_root_add_samepage(root);
    fake_root_write(root, FAKE_KSM_DIR "run", "2\n");
    qts = ksm_test_start(root, "-machine none");
    stats = ksm_test_query_fast(qts);
    g_assert_cmpint(stats->host->engine, ==, KSM_ENGINE_SAMEPAGE);
    g_assert_cmpstr(stats->host->engine_version, ==, "0.1.0");
    g_assert_cmpint(stats->host->run, ==, KSM_RUN_STATE_UNMERGING);
    check_later_counters(stats->host->counters);
    check_refused(stats->host->has_refused, stats->host->refused, 100);
    g_assert_cmpuint(stats->vm->merged_bytes, ==, 40 * page);
    g_assert_cmpuint(stats->vm->zero_bytes, ==, 51 * page);
    g_assert_cmpuint(stats->vm->rmap_items, ==, 50);
    g_assert_cmpint(stats->vm->profit_bytes, ==, -52);
    g_assert_cmpuint(stats->vm->cow_breaks, ==, 53);
    g_assert_cmpstr(stats->vm->domain, ==, "default");
    g_assert_true(stats->vm->has_merge_any && !stats->vm->merge_any);
    g_assert_true(stats->vm->has_mergeable && stats->vm->mergeable);
    check_refused(stats->vm->has_refused, stats->vm->refused, 200);
    g_assert_false(stats->has_kvm);
    g_assert_false(stats->has_problem);
    qtest_quit(qts);
}

static void test_bad_files(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmStats) stats = NULL;
    g_autofree char *text = NULL;
    QTestState *qts;

    fake_root_add_linux_6_1(root);
    fake_root_write(root, FAKE_KSM_DIR "pages_sharing", "a lot\n");
    fake_root_write(root, FAKE_KSM_DIR "full_scans", "-1\n");
    fake_root_write(root, FAKE_KSM_DIR "advisor_mode", "off\n");
    fake_root_write(root, FAKE_KSM_DIR "refused_pinned", "few\n");
    fake_root_write(root, FAKE_KSM_DIR "refused_huge", "7\n");
    fake_root_write(root, FAKE_KSM_DIR "pages_shared",
                    "18446744073709551615\n");
    fake_root_write(root, FAKE_PROC_DIR "ksm_merging_pages",
                    "18446744073709551615\n");
    qts = ksm_test_start(root, "-machine none");
    stats = ksm_test_query(qts);
    g_assert_true(stats->has_problem);
    g_assert_nonnull(strstr(stats->problem, "pages_sharing: 'a lot'"));
    g_assert_false(stats->host->has_saved_bytes);
    g_assert_false(stats->host->counters->has_pages_sharing);
    g_assert_false(stats->host->counters->has_full_scans);
    g_assert_cmpuint(stats->host->counters->pages_shared, ==, UINT64_MAX);
    g_assert_false(stats->host->counters->has_advisor_mode);
    g_assert_cmpint(stats->host->refused->value->reason, ==,
                    KSM_PAGE_REFUSAL_HUGE);
    g_assert_null(stats->host->refused->next);
    /* More than 64 bits of bytes */
    g_assert_false(stats->vm->has_merged_bytes);
    g_assert_cmpuint(stats->host->counters->pages_unshared, ==, 11);
    text = qtest_hmp(qts, "info ksm");
    g_assert_nonnull(strstr(text, "Problem: "));
    qtest_quit(qts);
}

/* One made-up mapping for smaps: 4 KiB pages, @ksm_kib of them merged */
static void append_part(GString *smaps, uint64_t start, uint64_t size,
                        unsigned ksm_kib, const char *flags)
{
    g_string_append_printf(smaps, "%08" PRIx64 "-%08" PRIx64
                           " rw-p 00000000 00:00 0\nKSM: %u kB\n"
                           "VmFlags: rd wr %s\n", start, start + size,
                           ksm_kib, flags);
}

/* The whole of QEMU's mapping of that size */
static void append_mapping(GString *smaps, uint64_t size, unsigned ksm_kib,
                           const char *flags)
{
    append_part(smaps, ksm_test_find_mapping(size), size, ksm_kib, flags);
}

static void check_block(KsmStats *stats, const char *id, bool actual,
                        const char *reason, uint64_t mergeable,
                        uint64_t merged)
{
    KsmBlockInfo *block = ksm_test_find_block(stats, id);

    g_test_message("%s", id);
    g_assert_nonnull(block);
    g_assert_true(block->requested && block->verified);
    g_assert_cmpint(block->actual, ==, actual);
    g_assert_cmpstr(KsmRefusal_str(block->reason), ==, reason);
    g_assert_cmpuint(block->mergeable_bytes, ==, mergeable);
    g_assert_true(block->has_merged_bytes);
    g_assert_cmpuint(block->merged_bytes, ==, merged);
}

/* A kernel that does other things than it was told, and says so in smaps */
static void test_facts(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(GString) smaps = g_string_new(NULL);
    g_autoptr(KsmStats) stats = NULL, fast = NULL;
    uint64_t half;
    QTestState *qts;

    fake_root_add_linux_6_1(root);
    qts = ksm_test_start(root, "-machine none "
                "-object memory-backend-ram,id=good,size=5184K,merge=on "
                "-object memory-backend-ram,id=deaf,size=5312K,merge=on "
                "-object memory-backend-ram,id=half,size=5440K,merge=on "
                "-object memory-backend-ram,id=odd,size=5568K,merge=on "
                "-object memory-backend-ram,id=gone,size=5696K,merge=on");
    half = ksm_test_find_mapping(5440 * KiB);
    append_mapping(smaps, 5184 * KiB, 8, "mg");
    append_mapping(smaps, 5312 * KiB, 0, "ac");
    append_part(smaps, half, 2720 * KiB, 12, "mg");
    append_part(smaps, half + 2720 * KiB, 2720 * KiB, 0, "ac");
    append_mapping(smaps, 5568 * KiB, 0, "pf");
    fake_root_write(root, FAKE_PROC_DIR "smaps", smaps->str);

    stats = ksm_test_query(qts);
    check_block(stats, "good", true, "none", 5184 * KiB, 8 * KiB);
    check_block(stats, "deaf", false, "kernel-ignored", 0, 0);
    check_block(stats, "half", false, "kernel-ignored", 2720 * KiB, 12 * KiB);
    check_block(stats, "odd", false, "special-mapping", 0, 0);
    g_assert_false(ksm_test_find_block(stats, "gone")->verified);

    fast = ksm_test_query_fast(qts);
    g_assert_false(ksm_test_find_block(fast, "good")->verified);
    g_assert_false(ksm_test_find_block(fast, "good")->has_merged_bytes);
    g_assert_true(ksm_test_find_block(fast, "good")->requested);
    qtest_quit(qts);
}

static void test_root_only_for_tests(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmStats) stats = NULL;
    QTestState *qts;

    if (!qtest_has_accel("tcg")) {
        g_test_skip("this QEMU has no TCG");
        return;
    }
    fake_root_add_linux_6_1(root);
    fake_root_write(root, FAKE_KSM_DIR "engine", "made-up 1\n");
    qts = ksm_test_start(root, "-machine none -accel tcg");
    stats = ksm_test_query(qts);
    g_assert_cmpint(stats->host->engine, !=, KSM_ENGINE_OTHER);
    qtest_quit(qts);
}

void ksm_test_add_report(void)
{
    qtest_add_func("/ksm/report/none", test_none);
    qtest_add_func("/ksm/report/absent", test_absent);
    qtest_add_func("/ksm/report/linux-6.1", test_linux_6_1);
    qtest_add_func("/ksm/report/samepage", test_samepage);
    qtest_add_func("/ksm/report/bad-files", test_bad_files);
    qtest_add_func("/ksm/report/facts", test_facts);
    qtest_add_func("/ksm/report/root-only-for-tests",
                   test_root_only_for_tests);
}
