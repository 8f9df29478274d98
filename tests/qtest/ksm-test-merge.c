/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest for same-page merging: the numbers about guest memory that this machine's
 * kernel merges
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-ksm.h"
#include "qemu/units.h"
#include "ksm-test.h"
#include "ksm-test-memory.h"

#define FILL_START (16 * MiB)
#define FILL_SIZE (8 * MiB)
#define NO_PAGES "the kernel does not tell which pages are merged"

/* Kernels before 6.7 do not count KSM pages there. */
static void drop_ksm_lines(const FakeRoot *root)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/smaps",
                                            ksm_test_qemu_pid);
    g_autofree char *text = NULL, *without = NULL;
    g_autoptr(GRegex) line = g_regex_new("^KSM:.*\n", G_REGEX_MULTILINE, 0,
                                         NULL);

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    without = g_regex_replace_literal(line, text, -1, 0, "", 0, NULL);
    fake_root_remove(root, FAKE_PROC_DIR "smaps");
    fake_root_write(root, FAKE_PROC_DIR "smaps", without);
}

static bool merged_bytes_of_ram(QTestState *qts, uint64_t *bytes)
{
    return ksm_memory_merged(qts, "pc.ram", bytes);
}

/* With the engine stopped the numbers stand still and must agree. */
static void check_merged(QTestState *qts, const FakeRoot *root)
{
    g_autoptr(KsmStats) stats = ksm_test_query(qts);
    g_autofree char *path = g_strdup_printf("/proc/%d/ksm_merging_pages",
                                            ksm_test_qemu_pid);
    g_autofree char *text = NULL;
    uint64_t merged, page_by_page;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpuint(stats->vm->merged_bytes, ==,
                     g_ascii_strtoull(text, NULL, 10) *
                     qemu_real_host_page_size());
    g_assert_cmpuint(stats->vm->saved_bytes, >, 0);
    g_assert_cmpuint(stats->vm->saved_bytes, <, stats->vm->merged_bytes);
    g_assert_cmpuint(stats->host->saved_bytes, >, 0);

    g_assert_true(merged_bytes_of_ram(qts, &merged));
    g_assert_cmpuint(merged, <=, stats->vm->merged_bytes);
    drop_ksm_lines(root);
    if (merged_bytes_of_ram(qts, &page_by_page)) {
        g_assert_cmpuint(page_by_page, ==, merged);
    } else {
        g_test_message("page flags are not for us to read: not compared");
    }
    fake_root_remove(root, FAKE_PROC_DIR "smaps");
    ksm_test_link_file(root, "smaps");
}

static void check_write(QTestState *qts)
{
    uint64_t page_size = qemu_real_host_page_size();
    g_autoptr(KsmStats) before = ksm_test_query(qts), after = NULL;
    uint64_t merged, left;

    g_assert_true(merged_bytes_of_ram(qts, &merged));
    qtest_memset(qts, FILL_START + 5 * page_size, 0xaa, page_size);
    after = ksm_test_query(qts);
    g_assert_true(merged_bytes_of_ram(qts, &left));
    g_assert_cmpuint(left, ==, merged - page_size);
    if (after->vm->has_cow_breaks) {
        g_assert_cmpuint(after->vm->cow_breaks, ==,
                         before->vm->cow_breaks + 1);
    }
    ksm_memory_verify(qts, FILL_START, FILL_SIZE, 5);
}

/* Off at run time: all of it comes back, unchanged. */
static void check_unmerge(QTestState *qts)
{
    g_autoptr(KsmStats) stats = NULL;
    KsmBlockInfo *block;

    qtest_qom_set_bool(qts, "/objects/pc.ram", "merge", false);
    stats = ksm_test_query(qts);
    block = ksm_test_find_block(stats, "pc.ram");
    g_assert_false(block->requested || block->actual);
    g_assert_cmpuint(block->merged_bytes, ==, 0);
    g_assert_false(ksm_test_is_mergeable(32 * MiB));
    ksm_memory_verify(qts, FILL_START, FILL_SIZE, 5);
}

static void run_merge_test(KsmKnobs *knobs)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    QTestState *qts;

    ksm_memory_link_host(root);
    qts = ksm_test_start(root, "-machine q35 -m 32");
    ksm_memory_fill(qts, FILL_START, FILL_SIZE);
    if (ksm_memory_wait_merged(qts, "pc.ram", FILL_SIZE)) {
        g_assert_true(ksm_knobs_set(knobs, "run", "0"));
        ksm_memory_verify(qts, FILL_START, FILL_SIZE, -1);
        check_merged(qts, root);
        check_write(qts);
        check_unmerge(qts);
    } else {
        g_test_skip(NO_PAGES);
    }
    qtest_quit(qts);
}

static void test_merge(void)
{
    KsmKnobs *knobs = ksm_memory_start_engine();

    if (knobs) {
        run_merge_test(knobs);
        ksm_memory_stop_engine(knobs);
    }
}

void ksm_test_add_merge(void)
{
    qtest_add_func("/ksm/merge", test_merge);
}
