/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest for same-page merging: what "info ksm" shows to people
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "hw/ksm/ksm-host.h"
#include "ksm-test.h"

#define LINE_WIDTH 80

/* What the command prints, each line of which must fit */
static char *info_ksm(QTestState *qts, const char *command)
{
    char *text = qtest_hmp(qts, "%s", command);
    g_auto(GStrv) line = g_strsplit(text, "\r\n", -1);

    for (int i = 0; line[i]; i++) {
        g_test_message("%s", line[i]);
        g_assert_cmpuint(strlen(line[i]), <=, LINE_WIDTH);
        g_assert_false(g_str_has_suffix(line[i], " "));
    }
    return text;
}

static void assert_shows(const char *text, const char *what)
{
    g_test_message("expected: %s", what);
    g_assert_nonnull(strstr(text, what));
}

static void test_real_host(void)
{
    QTestState *qts = ksm_test_start(NULL, "-machine q35 -m 16");
    g_autofree char *text = info_ksm(qts, "info ksm");
    g_autofree char *verified = info_ksm(qts, "info ksm -v");

    assert_shows(text, "Host: ");
    assert_shows(text, "pc.ram ");
    assert_shows(text, "pc.bios ");
    assert_shows(text, "info ksm -v");
    assert_shows(verified, "pc.ram ");
    g_assert_null(strstr(verified, "info ksm -v"));
    qtest_quit(qts);
}

static void test_samepage(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autofree char *text = NULL;
    QTestState *qts;

    fake_root_add_samepage(root);
    qts = ksm_test_start(root, "-machine none "
                "-object memory-backend-ram,id=off,size=5M,merge=off "
                "-object memory-backend-ram,id=shared,size=5M,share=on");
    text = info_ksm(qts, "info ksm");
    assert_shows(text, "Host: engine samepage 0.1.0, merging\r\n");
    assert_shows(text, "  profit           -23 B\r\n");
    assert_shows(text, "  COW breaks       53\r\n");
    assert_shows(text, "  domain           default\r\n");
    assert_shows(text, "  not merged       volatile=100, pinned=101, ");
    assert_shows(text, "  not merged       volatile=200, pinned=201, ");
    assert_shows(text, "disabled-by-backend: ");
    assert_shows(text, "shared-mapping: ");
    qtest_quit(qts);
}

/* The longest of everything, and a problem with a long name */
static void test_wide(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autofree char *text = NULL, *verified = NULL;
    QTestState *qts;

    fake_root_add_samepage(root);
    fake_root_write(root, FAKE_KSM_DIR "engine",
                    "an-engine-with-quite-a-long-nam "
                    "7.7.7-with-quite-a-long-vers\n");
    fake_root_write(root, FAKE_KSM_DIR "run", "many\n");
    for (int i = 0; i < KSM_HOST_COUNTER__MAX; i++) {
        g_autofree char *file = g_strconcat(FAKE_KSM_DIR,
                                            ksm_host_counter_name(i), NULL);

        fake_root_write(root, file, ksm_host_counter_is_signed(i) ?
                        "-9223372036854775808\n" : "18446744073709551615\n");
    }
    for (int i = 0; i < KSM_HOST_REASON__MAX; i++) {
        g_autofree char *file = g_strconcat(FAKE_KSM_DIR "refused_",
                                            ksm_host_reason_name(i), NULL);

        fake_root_write(root, file, "18446744073709551615\n");
    }
    qts = ksm_test_start(root, "-machine q35 -m 1023 "
                "-object memory-backend-ram,size=1023K,share=on,"
                "id=memory-with-a-name-that-is-longer-than-a-line-can-be-"
                "if-it-has-to-fit-in-there");
    text = info_ksm(qts, "info ksm");
    verified = info_ksm(qts, "info ksm -v");
    assert_shows(text, "7.7.7-with-quite-a-long-vers, run\r\n  state "
                 "unknown\r\n");
    assert_shows(text, "Problem: ");
    assert_shows(text, "uffd-wp=18446744073709551615");
    qtest_quit(qts);
}

/* An id can be longer than a line. */
static void test_policy(void)
{
    g_autofree char *id = g_strnfill(100, 'p');
    g_autofree char *args = g_strdup_printf("-machine q35 -m 16 -object "
                                            "ksm-policy,id=%s,mode=off", id);
    QTestState *qts = ksm_test_start(NULL, args);
    g_autofree char *text = info_ksm(qts, "info ksm");

    assert_shows(text, "Policy ppp");
    assert_shows(text, "off              since ");
    assert_shows(text, ", configured\r\n");
    assert_shows(text, "disabled-by-policy: ");
    qtest_quit(qts);
}

void ksm_test_add_hmp(void)
{
    qtest_add_func("/ksm/hmp/real-host", test_real_host);
    qtest_add_func("/ksm/hmp/samepage", test_samepage);
    qtest_add_func("/ksm/hmp/80-columns", test_wide);
    qtest_add_func("/ksm/hmp/policy", test_policy);
}
