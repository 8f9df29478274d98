/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of the readers of the host's same-page merging files: each file,
 * missing or with each kind of nonsense in it
 */

#include "qemu/osdep.h"
#include "hw/ksm/ksm-host.h"
#include "ksm-fake-root.h"

/* What no number of these files may be */
static const char *const nonsense[] = {
    "", "\n", " ", "-", "many\n", "1 2\n", "0x1f\n", "1.5\n", "1e9\n", "+1\n",
    "18446744073709551616\n", "-9223372036854775809\n",
    "999999999999999999999999999999999999\n", "5\n5\n", "\xff\xfe\xfd\n",
};

/* Of a kernel with our engine, in which nothing is left out */
typedef struct Fixture {
    FakeRoot *root;
    KsmHost *host;
} Fixture;

static void set_up(Fixture *f, gconstpointer unused)
{
    f->root = fake_root_new();
    f->host = ksm_host_new(f->root->path);
    fake_root_add_samepage(f->root);
}

static void tear_down(Fixture *f, gconstpointer unused)
{
    ksm_host_free(f->host);
    fake_root_free(f->root);
}

/* Number @i of the host: the counters first, then the reasons */
#define HOST_VALUES (KSM_HOST_COUNTER__MAX + KSM_HOST_REASON__MAX)

static const KsmHostValue *host_value(const KsmHostStats *stats, int i)
{
    return i < KSM_HOST_COUNTER__MAX ? &stats->counter[i]
                                : &stats->refused[i - KSM_HOST_COUNTER__MAX];
}

static char *host_file(int i)
{
    if (i < KSM_HOST_COUNTER__MAX) {
        return g_strconcat(FAKE_KSM_DIR, ksm_host_counter_name(i), NULL);
    }
    return g_strconcat(FAKE_KSM_DIR "refused_",
                       ksm_host_reason_name(i - KSM_HOST_COUNTER__MAX), NULL);
}

/* What is written about the process, in place of what a good line says */
static void spoil_process(const Fixture *f, const char *name,
                          const char *content)
{
    g_autofree char *text = g_strdup_printf("%s %sksm_other 1\n", name,
                                            content);

    fake_root_write(f->root, FAKE_PROC_DIR "ksm_stat", text);
}

static void test_complete(Fixture *f, gconstpointer unused)
{
    KsmHostStats stats;
    KsmHostProcess proc;
    GError *err = NULL;

    g_assert_true(ksm_host_read_stats(f->host, &stats, &err));
    g_assert_no_error(err);
    g_assert_true(ksm_host_read_process(f->host, 0, &proc, &err));
    g_assert_no_error(err);
    for (int i = 0; i < HOST_VALUES; i++) {
        g_test_message("%d", i);
        g_assert_true(host_value(&stats, i)->present);
    }
    g_assert_cmpint(stats.counter[KSM_HOST_GENERAL_PROFIT].s, ==, -23);
    g_assert_cmpuint(stats.counter[KSM_HOST_ADVISOR_MAX_CPU].u, ==, 24);
    g_assert_cmpuint(stats.counter[KSM_HOST_ADVISOR_MIN_PAGES_TO_SCAN].u, ==,
                     25);
    g_assert_cmpuint(stats.counter[KSM_HOST_ADVISOR_MAX_PAGES_TO_SCAN].u, ==,
                     26);
    g_assert_cmpuint(stats.counter[KSM_HOST_ADVISOR_TARGET_SCAN_TIME].u, ==,
                     27);
    g_assert_cmpstr(stats.advisor_mode, ==, "scan-time");
    for (int i = 0; i < KSM_HOST_REASON__MAX; i++) {
        g_assert_cmpuint(stats.refused[i].u, ==, 100 + i);
        g_assert_true(proc.refused[i].present);
        g_assert_cmpuint(proc.refused[i].u, ==, 200 + i);
    }
    for (int i = 0; i < KSM_HOST_PROC__MAX; i++) {
        g_assert_true(proc.field[i].present);
    }
    g_assert_cmpint(proc.field[KSM_HOST_PROC_PROFIT].s, ==, -52);
}

/* A file that is not there is no error, and takes nothing else with it. */
static void test_missing(Fixture *f, gconstpointer unused)
{
    KsmHostStats stats;
    GError *err = NULL;

    for (int i = 0; i < HOST_VALUES; i++) {
        g_autofree char *file = host_file(i);

        g_test_message("%s", file);
        fake_root_remove(f->root, file);
        g_assert_true(ksm_host_read_stats(f->host, &stats, &err));
        g_assert_no_error(err);
        for (int j = 0; j < HOST_VALUES; j++) {
            g_assert_cmpint(host_value(&stats, j)->present, ==, j > i);
        }
    }
}

static void test_nonsense(Fixture *f, gconstpointer unused)
{
    KsmHostStats stats;
    GError *err = NULL;

    for (int i = 0; i < HOST_VALUES; i++) {
        g_autofree char *file = host_file(i);
        g_autofree char *path = fake_root_path(f->root, file);

        for (size_t n = 0; n < G_N_ELEMENTS(nonsense); n++) {
            g_test_message("%s: %zu", file, n);
            fake_root_write(f->root, file, nonsense[n]);
            g_assert_false(ksm_host_read_stats(f->host, &stats, &err));
            g_assert_error(err, KSM_HOST_ERROR, KSM_HOST_ERROR_FORMAT);
            g_assert_true(g_str_has_prefix(err->message, path));
            g_clear_error(&err);
            for (int j = 0; j < HOST_VALUES; j++) {
                g_assert_cmpint(host_value(&stats, j)->present, ==, j != i);
            }
        }
        fake_root_write(f->root, file, "1\n");
    }
}

/* The largest number there is, and less than nothing */
static void test_extremes(Fixture *f, gconstpointer unused)
{
    KsmHostStats stats;

    for (int i = 0; i < HOST_VALUES; i++) {
        g_autofree char *file = host_file(i);
        bool is_signed = i < KSM_HOST_COUNTER__MAX &&
                         ksm_host_counter_is_signed(i);
        /* Too large for a count of zero pages that may have drifted */
        bool huge_is_fine = !is_signed && i != KSM_HOST_KSM_ZERO_PAGES;

        g_test_message("%s", file);
        fake_root_write(f->root, file, "18446744073709551615\n");
        g_assert_cmpint(ksm_host_read_stats(f->host, &stats, NULL), ==,
                        huge_is_fine);
        g_assert_cmpint(host_value(&stats, i)->present, ==, huge_is_fine);
        fake_root_write(f->root, file, "-1\n");
        g_assert_cmpint(ksm_host_read_stats(f->host, &stats, NULL), ==,
                        is_signed || i == KSM_HOST_KSM_ZERO_PAGES);
        g_assert_cmpint(host_value(&stats, i)->present, ==, is_signed);
        fake_root_write(f->root, file, "1\n");
    }
}

static void test_process_nonsense(Fixture *f, gconstpointer unused)
{
    KsmHostProcess proc;
    GError *err = NULL;

    for (int i = 0; i < KSM_HOST_REASON__MAX; i++) {
        g_autofree char *name = g_strconcat("ksm_refused_",
                                            ksm_host_reason_name(i), NULL);

        for (size_t n = 0; n < G_N_ELEMENTS(nonsense); n++) {
            if (!strchr(nonsense[n], '\n') || nonsense[n][1] == '\n') {
                continue;           /* would change what the next line is */
            }
            g_test_message("%s: %zu", name, n);
            spoil_process(f, name, nonsense[n]);
            g_assert_false(ksm_host_read_process(f->host, 0, &proc, &err));
            g_assert_error(err, KSM_HOST_ERROR, KSM_HOST_ERROR_FORMAT);
            g_assert_nonnull(strstr(err->message, name));
            g_clear_error(&err);
            g_assert_false(proc.refused[i].present);
        }
        spoil_process(f, name, "-1\n");
        g_assert_false(ksm_host_read_process(f->host, 0, &proc, NULL));
        spoil_process(f, name, "18446744073709551615\n");
        g_assert_true(ksm_host_read_process(f->host, 0, &proc, NULL));
        g_assert_cmpuint(proc.refused[i].u, ==, UINT64_MAX);
    }
    /* A reason that we do not know is none of our business. */
    spoil_process(f, "ksm_refused_of_the_future", "purple\n");
    g_assert_true(ksm_host_read_process(f->host, 0, &proc, NULL));
}

static void test_advisor_mode(Fixture *f, gconstpointer unused)
{
    static const struct {
        const char *text;
        const char *mode;       /* NULL: an error */
    } sample[] = {
        { "[none] scan-time\n", "none" },
        { "none [scan-time]\n", "scan-time" },
        { "none scan-time [of-the-future]\n", "of-the-future" },
        { "[]\n", "" },
        { "none scan-time\n" },
        { "none [scan-time\n" },
        { "none] [scan-time\n" },
        { "" },
        { "[a-mode-of-more-than-thirty-one-letters]\n" },
        { "[none] and more than fits into the sixty-four bytes that are read\n"
        },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(sample); i++) {
        KsmHostStats stats;
        GError *err = NULL;

        g_test_message("sample %zu", i);
        fake_root_write(f->root, FAKE_KSM_DIR "advisor_mode", sample[i].text);
        g_assert_cmpint(ksm_host_read_stats(f->host, &stats, &err), ==,
                        sample[i].mode != NULL);
        g_assert_cmpstr(stats.advisor_mode, ==,
                        sample[i].mode ? sample[i].mode : "");
        g_clear_error(&err);
    }
}

static void add(const char *path, void (*test)(Fixture *, gconstpointer))
{
    g_test_add(path, Fixture, NULL, set_up, test, tear_down);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    add("/ksm-host-files/complete", test_complete);
    add("/ksm-host-files/missing", test_missing);
    add("/ksm-host-files/nonsense", test_nonsense);
    add("/ksm-host-files/extremes", test_extremes);
    add("/ksm-host-files/process-nonsense", test_process_nonsense);
    add("/ksm-host-files/advisor-mode", test_advisor_mode);

    return g_test_run();
}
