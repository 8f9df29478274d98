/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest for same-page merging: guest memory that this machine's kernel merges
 *
 * Sets the machine's own knobs, and puts them back even if a test fails.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-ksm.h"
#include "qemu/units.h"
#include "hw/ksm/ksm-host.h"
#include "ksm-test.h"

#define KNOB_DIR "/sys/kernel/mm/ksm/"
#define MERGE_DEADLINE_US (60 * G_USEC_PER_SEC)

/* Guest memory that is filled: @CONTENTS kinds of page, over and over again */
#define FILL_START (16 * MiB)
#define FILL_SIZE (8 * MiB)
#define CONTENTS 16

/* Knobs that decide whether and how soon memory is merged; "run" comes last */
static struct {
    const char *name;
    uint64_t value;
    char *saved;        /* NULL: not there, or not changed */
} knob[] = {
    { "pages_to_scan", 20000 },
    { "sleep_millisecs", 1 },
    { "max_page_sharing", 256 },
    { "use_zero_pages", 0 },
    { "run", 1 },
};

/* Nothing was merged before us: leave it like that */
static bool was_unused;

static bool nothing_merged(void)
{
    g_autofree char *text = NULL;

    return g_file_get_contents(KNOB_DIR "pages_shared", &text, NULL, NULL) &&
           g_str_equal(text, "0\n");
}

/* Best effort: also called on the way out of a failed test */
static void restore_knobs(void *unused)
{
    g_autoptr(KsmHost) host = ksm_host_new(NULL);

    if (was_unused) {
        ksm_host_write_knob(host, "run", 2, NULL);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(knob); i++) {
        g_autofree char *path = g_strconcat(KNOB_DIR, knob[i].name, NULL);
        int fd;

        if (!knob[i].saved) {
            continue;
        }
        fd = open(path, O_WRONLY);
        if (fd < 0 || write(fd, knob[i].saved, strlen(knob[i].saved)) < 0) {
            g_printerr("cannot put back %s: %s\n", path, strerror(errno));
        }
        if (fd >= 0) {
            close(fd);
        }
        g_clear_pointer(&knob[i].saved, g_free);
    }
}

/* NULL, or why the machine's knobs cannot be set */
static const char *set_knobs(void)
{
    g_autoptr(KsmHost) host = ksm_host_new(NULL);

    if (!g_file_test(KNOB_DIR, G_FILE_TEST_IS_DIR)) {
        return "the kernel of this machine has no KSM";
    }
    if (access(KNOB_DIR "run", W_OK)) {
        return "this machine's " KNOB_DIR "run may not be written";
    }
    was_unused = nothing_merged();
    qtest_add_abrt_handler(restore_knobs, knob);
    for (size_t i = 0; i < G_N_ELEMENTS(knob); i++) {
        g_autofree char *path = g_strconcat(KNOB_DIR, knob[i].name, NULL);
        GError *err = NULL;

        if (!g_file_get_contents(path, &knob[i].saved, NULL, NULL)) {
            continue;
        }
        if (!ksm_host_write_knob(host, knob[i].name, knob[i].value, &err)) {
            /* Some may not change while anything is merged: leave them */
            g_test_message("%s", err->message);
            g_error_free(err);
            g_clear_pointer(&knob[i].saved, g_free);
        }
    }
    return NULL;
}

static void set_run(uint64_t run)
{
    g_autoptr(KsmHost) host = ksm_host_new(NULL);
    GError *err = NULL;

    ksm_host_write_knob(host, "run", run, &err);
    g_assert_no_error(err);
}

static uint8_t content_of(uint64_t page)
{
    return 0x40 + page % CONTENTS;
}

static void fill(QTestState *qts)
{
    uint64_t page_size = qemu_real_host_page_size();

    for (uint64_t i = 0; i < FILL_SIZE / page_size; i++) {
        qtest_memset(qts, FILL_START + i * page_size, content_of(i),
                     page_size);
    }
}

/* Every byte is what it was, but for page @written, which holds 0xaa. */
static void verify(QTestState *qts, int64_t written)
{
    uint64_t page_size = qemu_real_host_page_size();
    g_autofree uint8_t *is = g_malloc(page_size);
    g_autofree uint8_t *should = g_malloc(page_size);

    for (int64_t i = 0; i < FILL_SIZE / page_size; i++) {
        qtest_bufread(qts, FILL_START + i * page_size, is, page_size);
        memset(should, i == written ? 0xaa : content_of(i), page_size);
        g_assert_cmpmem(is, page_size, should, page_size);
    }
}

/* The real host, in a place where one file can be exchanged */
static void link_host(const FakeRoot *root)
{
    g_autofree char *sys = fake_root_path(root, "/sys");
    g_autofree char *flags = fake_root_path(root, "/proc/kpageflags");

    fake_root_mkdir(root, FAKE_PROC_DIR);
    g_assert_cmpint(symlink("/sys", sys), ==, 0);
    g_assert_cmpint(symlink("/proc/kpageflags", flags), ==, 0);
    ksm_test_link_file(root, "ksm_stat");
    ksm_test_link_file(root, "ksm_merging_pages");
    ksm_test_link_file(root, "pagemap");
    ksm_test_link_file(root, "smaps");
}

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

/* False if the kernel does not tell, or not us */
static bool merged_bytes_of_ram(QTestState *qts, uint64_t *bytes)
{
    g_autoptr(KsmStats) stats = ksm_test_query(qts);
    KsmBlockInfo *block = ksm_test_find_block(stats, "pc.ram");

    g_assert_false(stats->has_problem);
    g_assert_true(block->verified && block->actual);
    *bytes = block->merged_bytes;
    return block->has_merged_bytes;
}

/* False if the kernel does not tell */
static bool wait_until_merged(QTestState *qts, uint64_t bytes)
{
    int64_t deadline = g_get_monotonic_time() + MERGE_DEADLINE_US;
    uint64_t merged = 0;

    do {
        g_usleep(100 * 1000);
        if (!merged_bytes_of_ram(qts, &merged)) {
            return false;
        }
    } while (merged < bytes && g_get_monotonic_time() < deadline);
    g_assert_cmpuint(merged, >=, bytes);
    return true;
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
    verify(qts, 5);
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
    verify(qts, 5);
}

static void run_merge_test(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    QTestState *qts;

    link_host(root);
    qts = ksm_test_start(root, "-machine q35 -m 32");
    fill(qts);
    if (wait_until_merged(qts, FILL_SIZE)) {
        set_run(0);
        verify(qts, -1);
        check_merged(qts, root);
        check_write(qts);
        check_unmerge(qts);
    } else {
        g_test_skip("the kernel does not tell which pages are merged");
    }
    qtest_quit(qts);
}

static void test_merge(void)
{
    const char *why_not = set_knobs();

    if (why_not) {
        g_test_skip(why_not);
        return;
    }
    run_merge_test();
    restore_knobs(NULL);
    qtest_remove_abrt_handler(knob);
}

void ksm_test_add_merge(void)
{
    qtest_add_func("/ksm/merge", test_merge);
}
