/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of the readers of the host's same-page merging files
 *
 * Most run against made-up hosts, because the real one has good files only;
 * the last one asks the real kernel, where it has KSM.
 */

#include "qemu/osdep.h"
#include "hw/ksm/ksm-host.h"
#include "ksm-fake-root.h"

#define REAL_KSM_DIR "/sys/kernel/mm/ksm"

/* "PATH: ..." with @name below @root, and @value quoted */
static void assert_error_names(const GError *err, int code,
                               const FakeRoot *root, const char *name,
                               const char *value)
{
    g_autofree char *path = fake_root_path(root, name);

    g_assert_error(err, KSM_HOST_ERROR, code);
    g_assert_true(g_str_has_prefix(err->message, path));
    if (value) {
        g_autofree char *quoted = g_strdup_printf("'%s'", value);

        g_assert_nonnull(strstr(err->message, quoted));
    }
}

static void test_number(void)
{
    static const struct {
        const char *text;
        bool is_signed, ok;
        uint64_t u;
    } sample[] = {
        { "0", false, true, 0 },
        { "42\n", false, true, 42 },
        { "007\n", false, true, 7 },
        { "18446744073709551615\n", false, true, UINT64_MAX },
        { "18446744073709551616\n", false, false },
        { "99999999999999999999999999\n", false, false },
        { "-1\n", false, false },
        { "-1\n", true, true, UINT64_MAX },
        { "9223372036854775807\n", true, true, INT64_MAX },
        { "9223372036854775808\n", true, false },
        { "-9223372036854775808\n", true, true, (uint64_t)INT64_MIN },
        { "-9223372036854775809\n", true, false },
        { "--1\n", true, false },
        { "-\n", true, false },
        { "", false, false },
        { "\n", false, false },
        { "12\n\n", false, false },
        { "12\t\n", false, false },
        { " 12\n", false, false },
        { "+12\n", false, false },
        { "0x10\n", false, false },
        { "1e3\n", false, false },
        { "12 34\n", false, false },
        { "one\n", false, false },
        { "\xff\xfe\n", false, false },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(sample); i++) {
        KsmHostValue value = { .present = false, .u = 1234 };
        const char *what = ksm_host_parse_number(sample[i].text,
                                                 sample[i].is_signed, &value);

        g_test_message("sample %zu", i);
        g_assert_cmpint(what == NULL, ==, sample[i].ok);
        g_assert_cmpint(value.present, ==, sample[i].ok);
        g_assert_cmpuint(value.u, ==, sample[i].ok ? sample[i].u : 1234);
    }
}

/* Every name is there once: a table with a gap would read a folder. */
static void test_names(void)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

    for (int i = 0; i < KSM_HOST_COUNTER__MAX; i++) {
        const char *name = ksm_host_counter_name(i);

        g_assert_nonnull(name);
        g_assert_true(g_hash_table_add(seen, (char *)name));
        g_assert_cmpint(ksm_host_counter_is_signed(i), ==,
                        i == KSM_HOST_GENERAL_PROFIT);
    }
    g_hash_table_remove_all(seen);
    for (int i = 0; i < KSM_HOST_PROC__MAX; i++) {
        const char *name = ksm_host_process_field_name(i);

        g_assert_nonnull(name);
        g_assert_true(g_hash_table_add(seen, (char *)name));
        g_assert_cmpint(ksm_host_process_field_is_signed(i), ==,
                        i == KSM_HOST_PROC_PROFIT);
    }
    g_hash_table_remove_all(seen);
    for (int i = 0; i < KSM_HOST_REASON__MAX; i++) {
        const char *name = ksm_host_reason_name(i);

        g_assert_nonnull(name);
        g_assert_true(g_hash_table_add(seen, (char *)name));
    }
}

static void test_absent(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmHost) host = ksm_host_new(root->path);
    KsmHostStats stats;
    GError *err = NULL;

    memset(&stats, 0xff, sizeof(stats));
    g_assert_true(ksm_host_read_stats(host, &stats, &err));
    g_assert_no_error(err);
    g_assert_cmpint(stats.engine, ==, KSM_HOST_ENGINE_ABSENT);
    g_assert_cmpstr(stats.engine_name, ==, "");
    g_assert_cmpint(stats.run, ==, KSM_HOST_RUN_UNKNOWN);
    for (int i = 0; i < KSM_HOST_COUNTER__MAX; i++) {
        g_assert_false(stats.counter[i].present);
    }
}

static void test_linux_6_1(void)
{
    static const uint64_t expect[] = {
        100, 300, 11, 12, 13, 14, 15, 16, 17, 1, 18, 0, 19
    };
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmHost) host = ksm_host_new(root->path);
    KsmHostStats stats;
    GError *err = NULL;

    fake_root_add_linux_6_1(root);
    g_assert_true(ksm_host_read_stats(host, &stats, &err));
    g_assert_no_error(err);
    g_assert_cmpint(stats.engine, ==, KSM_HOST_ENGINE_MAINLINE);
    g_assert_cmpstr(stats.engine_version, ==, "");
    g_assert_cmpint(stats.run, ==, KSM_HOST_RUN_MERGING);
    for (size_t i = 0; i < KSM_HOST_COUNTER__MAX; i++) {
        g_assert_cmpint(stats.counter[i].present, ==,
                        i < G_N_ELEMENTS(expect));
        if (i < G_N_ELEMENTS(expect)) {
            g_assert_cmpuint(stats.counter[i].u, ==, expect[i]);
        }
    }
}

static void test_later_kernel(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmHost) host = ksm_host_new(root->path);
    KsmHostStats stats;
    GError *err = NULL;

    fake_root_add_linux_6_1(root);
    fake_root_write(root, FAKE_KSM_DIR "general_profit", "-8192\n");
    fake_root_write(root, FAKE_KSM_DIR "pages_scanned",
                    "18446744073709551615\n");
    fake_root_write(root, FAKE_KSM_DIR "of_the_future", "purple\n");
    g_assert_true(ksm_host_read_stats(host, &stats, &err));
    g_assert_no_error(err);
    g_assert_true(stats.counter[KSM_HOST_GENERAL_PROFIT].present);
    g_assert_cmpint(stats.counter[KSM_HOST_GENERAL_PROFIT].s, ==, -8192);
    g_assert_cmpuint(stats.counter[KSM_HOST_PAGES_SCANNED].u, ==, UINT64_MAX);
}

static void test_engine(void)
{
    static const struct {
        const char *text;
        KsmHostEngine engine;
        const char *name, *version;     /* NULL: an error */
    } sample[] = {
        { "samepage 0.1.0\n", KSM_HOST_ENGINE_SAMEPAGE, "samepage", "0.1.0" },
        { "samepage\n", KSM_HOST_ENGINE_SAMEPAGE, "samepage", "" },
        { "uksm 0.1.2.6\n", KSM_HOST_ENGINE_OTHER, "uksm", "0.1.2.6" },
        { "samepages 1\n", KSM_HOST_ENGINE_OTHER, "samepages", "1" },
        { "", KSM_HOST_ENGINE_OTHER },
        { "\n", KSM_HOST_ENGINE_OTHER },
        { "samepage 0.1.0 beta\n", KSM_HOST_ENGINE_OTHER },
        { "same\tpage 0.1\n", KSM_HOST_ENGINE_OTHER },
        { "s\xc3\xa4mepage 0.1\n", KSM_HOST_ENGINE_OTHER },
        { "a-name-that-is-longer-than-thirty-two\n", KSM_HOST_ENGINE_OTHER },
        { "samepage 0.1.0.0000000000000000000000000000000000\n",
          KSM_HOST_ENGINE_OTHER },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(sample); i++) {
        g_autoptr(FakeRoot) root = fake_root_new();
        g_autoptr(KsmHost) host = ksm_host_new(root->path);
        KsmHostStats stats;
        GError *err = NULL;

        g_test_message("sample %zu", i);
        fake_root_add_linux_6_1(root);
        fake_root_write(root, FAKE_KSM_DIR "engine", sample[i].text);
        g_assert_cmpint(ksm_host_read_stats(host, &stats, &err), ==,
                        sample[i].name != NULL);
        g_assert_cmpint(stats.engine, ==, sample[i].engine);
        if (sample[i].name) {
            g_assert_no_error(err);
            g_assert_cmpstr(stats.engine_name, ==, sample[i].name);
            g_assert_cmpstr(stats.engine_version, ==, sample[i].version);
        } else {
            assert_error_names(err, KSM_HOST_ERROR_FORMAT, root,
                               FAKE_KSM_DIR "engine", NULL);
            g_clear_error(&err);
        }
        /* Whatever its name, its numbers are read */
        g_assert_cmpuint(stats.counter[KSM_HOST_PAGES_SHARED].u, ==, 100);
    }
}

static void test_run(void)
{
    static const struct {
        const char *text;
        KsmHostRun run;
    } sample[] = {
        { "0\n", KSM_HOST_RUN_STOPPED },
        { "1\n", KSM_HOST_RUN_MERGING },
        { "2\n", KSM_HOST_RUN_UNMERGING },
        { "5\n", KSM_HOST_RUN_MERGING },    /* while memory goes offline */
        { "3\n", KSM_HOST_RUN_UNKNOWN },
        { "8\n", KSM_HOST_RUN_UNKNOWN },
        { "-1\n", KSM_HOST_RUN_UNKNOWN },
        { "on\n", KSM_HOST_RUN_UNKNOWN },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(sample); i++) {
        g_autoptr(FakeRoot) root = fake_root_new();
        g_autoptr(KsmHost) host = ksm_host_new(root->path);
        bool ok = sample[i].run != KSM_HOST_RUN_UNKNOWN;
        KsmHostStats stats;
        GError *err = NULL;

        g_test_message("sample %zu", i);
        fake_root_write(root, FAKE_KSM_DIR "run", sample[i].text);
        g_assert_cmpint(ksm_host_read_stats(host, &stats, &err), ==, ok);
        g_assert_cmpint(stats.run, ==, sample[i].run);
        if (!ok) {
            assert_error_names(err, KSM_HOST_ERROR_FORMAT, root,
                               FAKE_KSM_DIR "run", NULL);
            g_clear_error(&err);
        }
    }
}

/* One bad file spoils itself only, and the message says what is in it. */
static void test_bad_counter(void)
{
    g_autofree char *too_long = g_strnfill(5000, '7');
    const char *const bad[][2] = {
        { "", "" },
        { "-5\n", "-5" },
        { "12 pages\n", "12 pages" },
        { "18446744073709551616\n", "18446744073709551616" },
        { "two\nlines\n", "two\\nlines" },
        { "\x01\n", "\\001" },
        { too_long, NULL },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(FakeRoot) root = fake_root_new();
        g_autoptr(KsmHost) host = ksm_host_new(root->path);
        KsmHostStats stats;
        GError *err = NULL;

        g_test_message("sample %zu", i);
        fake_root_add_linux_6_1(root);
        fake_root_write(root, FAKE_KSM_DIR "pages_shared", bad[i][0]);
        g_assert_false(ksm_host_read_stats(host, &stats, &err));
        assert_error_names(err, KSM_HOST_ERROR_FORMAT, root,
                           FAKE_KSM_DIR "pages_shared", bad[i][1]);
        g_assert_cmpuint(strlen(err->message), <, 400);
        g_clear_error(&err);
        g_assert_false(stats.counter[KSM_HOST_PAGES_SHARED].present);
        g_assert_cmpuint(stats.counter[KSM_HOST_PAGES_SHARING].u, ==, 300);
        g_assert_cmpint(stats.run, ==, KSM_HOST_RUN_MERGING);
    }
}

static void test_nul_in_counter(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmHost) host = ksm_host_new(root->path);
    const uint64_t binary = 0x3100000031; /* '1', NUL ... */
    KsmHostStats stats;
    GError *err = NULL;

    fake_root_write_entries(root, FAKE_KSM_DIR "full_scans", 0, &binary, 1);
    g_assert_false(ksm_host_read_stats(host, &stats, &err));
    assert_error_names(err, KSM_HOST_ERROR_FORMAT, root,
                       FAKE_KSM_DIR "full_scans", NULL);
    g_assert_false(stats.counter[KSM_HOST_FULL_SCANS].present);
    g_clear_error(&err);
}

/* The first of several problems is reported; callers may not care at all. */
static void test_several_problems(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmHost) host = ksm_host_new(root->path);
    KsmHostStats stats;
    GError *err = NULL;

    fake_root_add_linux_6_1(root);
    fake_root_write(root, FAKE_KSM_DIR "run", "maybe\n");
    fake_root_write(root, FAKE_KSM_DIR "pages_sharing", "many\n");
    fake_root_write(root, FAKE_KSM_DIR "full_scans", "none\n");
    g_assert_false(ksm_host_read_stats(host, &stats, &err));
    assert_error_names(err, KSM_HOST_ERROR_FORMAT, root, FAKE_KSM_DIR "run",
                       "maybe");
    g_clear_error(&err);
    g_assert_false(ksm_host_read_stats(host, &stats, NULL));
    g_assert_true(stats.counter[KSM_HOST_PAGES_SHARED].present);
}

static void test_unreadable(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmHost) host = ksm_host_new(root->path);
    KsmHostStats stats;
    GError *err = NULL;

    fake_root_mkdir(root, FAKE_KSM_DIR "pages_shared");
    g_assert_false(ksm_host_read_stats(host, &stats, &err));
    assert_error_names(err, KSM_HOST_ERROR_IO, root,
                       FAKE_KSM_DIR "pages_shared", NULL);
    g_clear_error(&err);
}

static void test_process_6_1(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmHost) host = ksm_host_new(root->path);
    KsmHostProcess proc;
    GError *err = NULL;

    fake_root_add_linux_6_1(root);
    g_assert_true(ksm_host_read_process(host, 0, &proc, &err));
    g_assert_no_error(err);
    for (int i = 0; i < KSM_HOST_PROC__MAX; i++) {
        g_assert_cmpint(proc.field[i].present, ==,
                        i == KSM_HOST_PROC_MERGING_PAGES ||
                        i == KSM_HOST_PROC_RMAP_ITEMS);
    }
    g_assert_cmpuint(proc.field[KSM_HOST_PROC_MERGING_PAGES].u, ==, 40);
    g_assert_cmpuint(proc.field[KSM_HOST_PROC_RMAP_ITEMS].u, ==, 50);
}

static void test_process_later(void)
{
    static const uint64_t expect[] = { 7, 60, 9, 2, -4096, 1, 0 };
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmHost) host = ksm_host_new(root->path);
    KsmHostProcess proc;
    GError *err = NULL;

    fake_root_write(root, "/proc/4711/ksm_stat",
                    "ksm_rmap_items 60\n"
                    "ksm_cow_breaks 9\n"
                    "ksm_zero_pages 2\n"
                    "ksm_merging_pages 7\n"
                    "ksm_process_profit -4096\n"
                    "ksm_merge_any: yes\n"
                    "ksm_mergeable: no\n"
                    "ksm_rmap_items_of_the_future none\n"
                    "\n"
                    "a line without a value\n");
    g_assert_true(ksm_host_read_process(host, 4711, &proc, &err));
    g_assert_no_error(err);
    for (int i = 0; i < KSM_HOST_PROC__MAX; i++) {
        g_test_message("%s", ksm_host_process_field_name(i));
        g_assert_true(proc.field[i].present);
        g_assert_cmpuint(proc.field[i].u, ==, expect[i]);
    }
}

/* Mainline's count of zero pages can fall below zero: no error, no number */
static void test_zero_pages_drift(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmHost) host = ksm_host_new(root->path);
    KsmHostProcess proc;
    KsmHostStats stats;
    GError *err = NULL;

    fake_root_write(root, FAKE_KSM_DIR "run", "1\n");
    fake_root_write(root, FAKE_KSM_DIR "ksm_zero_pages", "-3383\n");
    g_assert_true(ksm_host_read_stats(host, &stats, &err));
    g_assert_no_error(err);
    g_assert_false(stats.counter[KSM_HOST_KSM_ZERO_PAGES].present);
    fake_root_write(root, FAKE_KSM_DIR "ksm_zero_pages", "3383\n");
    g_assert_true(ksm_host_read_stats(host, &stats, &err));
    g_assert_cmpuint(stats.counter[KSM_HOST_KSM_ZERO_PAGES].u, ==, 3383);

    fake_root_write(root, FAKE_PROC_DIR "ksm_stat",
                    "ksm_zero_pages -2\nksm_rmap_items 60\n");
    g_assert_true(ksm_host_read_process(host, 0, &proc, &err));
    g_assert_no_error(err);
    g_assert_false(proc.field[KSM_HOST_PROC_ZERO_PAGES].present);
    g_assert_cmpuint(proc.field[KSM_HOST_PROC_RMAP_ITEMS].u, ==, 60);
}

static void test_process_bad(void)
{
    static const char *const bad[][2] = {
        { "ksm_rmap_items\nksm_zero_pages 3\n", "ksm_rmap_items" },
        { "ksm_rmap_items many\nksm_zero_pages 3\n", "ksm_rmap_items many" },
        { "ksm_rmap_items -1\nksm_zero_pages 3\n", "ksm_rmap_items -1" },
        { "ksm_merge_any: maybe\nksm_zero_pages 3\n", "ksm_merge_any: maybe" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(FakeRoot) root = fake_root_new();
        g_autoptr(KsmHost) host = ksm_host_new(root->path);
        KsmHostProcess proc;
        GError *err = NULL;

        fake_root_write(root, FAKE_PROC_DIR "ksm_stat", bad[i][0]);
        g_assert_false(ksm_host_read_process(host, 0, &proc, &err));
        assert_error_names(err, KSM_HOST_ERROR_FORMAT, root,
                           FAKE_PROC_DIR "ksm_stat", bad[i][1]);
        g_clear_error(&err);
        g_assert_false(proc.field[KSM_HOST_PROC_RMAP_ITEMS].present);
        g_assert_cmpuint(proc.field[KSM_HOST_PROC_ZERO_PAGES].u, ==, 3);
    }
}

static void test_process_too_long(void)
{
    g_autofree char *text = g_strnfill(100000, 'x');
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmHost) host = ksm_host_new(root->path);
    KsmHostProcess proc;
    GError *err = NULL;

    fake_root_write(root, FAKE_PROC_DIR "ksm_stat", text);
    g_assert_false(ksm_host_read_process(host, 0, &proc, &err));
    assert_error_names(err, KSM_HOST_ERROR_FORMAT, root,
                       FAKE_PROC_DIR "ksm_stat", NULL);
    g_assert_cmpuint(strlen(err->message), <, 400);
    g_clear_error(&err);
}

static void test_process_gone(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmHost) host = ksm_host_new(root->path);
    KsmHostProcess proc;
    GError *err = NULL;

    fake_root_add_linux_6_1(root);
    g_assert_false(ksm_host_read_process(host, 4712, &proc, &err));
    assert_error_names(err, KSM_HOST_ERROR_GONE, root, "/proc/4712", NULL);
    g_clear_error(&err);
}

/* A kernel without KSM: the process is there, the files are not. */
static void test_process_without_ksm(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmHost) host = ksm_host_new(root->path);
    KsmHostProcess proc;
    GError *err = NULL;

    fake_root_mkdir(root, FAKE_PROC_DIR);
    g_assert_true(ksm_host_read_process(host, 0, &proc, &err));
    g_assert_no_error(err);
    for (int i = 0; i < KSM_HOST_PROC__MAX; i++) {
        g_assert_false(proc.field[i].present);
    }
}

static void test_knob(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmHost) host = ksm_host_new(root->path);
    g_autofree char *full = fake_root_path(root, FAKE_KSM_DIR "run");
    KsmHostStats stats;
    GError *err = NULL;

    fake_root_write(root, FAKE_KSM_DIR "pages_to_scan", "");
    g_assert_true(ksm_host_write_knob(host, "pages_to_scan", 1234, &err));
    g_assert_no_error(err);
    g_assert_true(ksm_host_read_stats(host, &stats, NULL));
    g_assert_cmpuint(stats.counter[KSM_HOST_PAGES_TO_SCAN].u, ==, 1234);

    g_assert_false(ksm_host_write_knob(host, "pages_to_scam", 1, &err));
    assert_error_names(err, KSM_HOST_ERROR_IO, root,
                       FAKE_KSM_DIR "pages_to_scam", NULL);
    g_clear_error(&err);

    /* A file that refuses every value */
    g_assert_cmpint(symlink("/dev/full", full), ==, 0);
    g_assert_false(ksm_host_write_knob(host, "run", 7, &err));
    assert_error_names(err, KSM_HOST_ERROR_IO, root, FAKE_KSM_DIR "run", "7");
    g_clear_error(&err);
}

static void test_real_host(void)
{
    g_autoptr(KsmHost) host = ksm_host_new(NULL);
    g_autofree char *text = NULL;
    KsmHostStats stats;
    KsmHostProcess proc;
    GError *err = NULL;

    g_assert_true(ksm_host_read_stats(host, &stats, &err));
    g_assert_no_error(err);
    if (!g_file_test(REAL_KSM_DIR, G_FILE_TEST_IS_DIR)) {
        g_assert_cmpint(stats.engine, ==, KSM_HOST_ENGINE_ABSENT);
        g_test_skip("this machine's kernel has no KSM");
        return;
    }
    g_assert_cmpint(stats.engine, !=, KSM_HOST_ENGINE_ABSENT);
    g_assert_cmpint(stats.run, !=, KSM_HOST_RUN_UNKNOWN);
    for (int i = 0; i <= KSM_HOST_STABLE_NODE_CHAINS_PRUNE_MILLISECS; i++) {
        g_test_message("%s", ksm_host_counter_name(i));
        g_assert_true(stats.counter[i].present ||
                      i == KSM_HOST_MERGE_ACROSS_NODES /* CONFIG_NUMA */);
    }
    g_assert_true(g_file_get_contents(REAL_KSM_DIR "/max_page_sharing", &text,
                                      NULL, NULL));
    g_assert_cmpuint(stats.counter[KSM_HOST_MAX_PAGE_SHARING].u, ==,
                     g_ascii_strtoull(text, NULL, 10));
    g_assert_true(ksm_host_read_process(host, getpid(), &proc, &err));
    g_assert_no_error(err);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/ksm-host/number", test_number);
    g_test_add_func("/ksm-host/names", test_names);
    g_test_add_func("/ksm-host/absent", test_absent);
    g_test_add_func("/ksm-host/linux-6.1", test_linux_6_1);
    g_test_add_func("/ksm-host/later-kernel", test_later_kernel);
    g_test_add_func("/ksm-host/engine", test_engine);
    g_test_add_func("/ksm-host/run", test_run);
    g_test_add_func("/ksm-host/bad-counter", test_bad_counter);
    g_test_add_func("/ksm-host/nul-in-counter", test_nul_in_counter);
    g_test_add_func("/ksm-host/several-problems", test_several_problems);
    g_test_add_func("/ksm-host/unreadable", test_unreadable);
    g_test_add_func("/ksm-host/process/6.1", test_process_6_1);
    g_test_add_func("/ksm-host/process/later", test_process_later);
    g_test_add_func("/ksm-host/zero-pages-drift", test_zero_pages_drift);
    g_test_add_func("/ksm-host/process/bad", test_process_bad);
    g_test_add_func("/ksm-host/process/too-long", test_process_too_long);
    g_test_add_func("/ksm-host/process/gone", test_process_gone);
    g_test_add_func("/ksm-host/process/without-ksm", test_process_without_ksm);
    g_test_add_func("/ksm-host/knob", test_knob);
    g_test_add_func("/ksm-host/real/stats", test_real_host);

    return g_test_run();
}
