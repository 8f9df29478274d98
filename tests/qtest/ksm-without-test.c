/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest for same-page merging in a QEMU that was built with --disable-ksm: memory
 * is advised as ever, and who asks for more is told that it is not there
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qapi/qmp/qdict.h"
#include "qemu/units.h"
#include "ksm-test.h"

static void expect_class(QDict *resp, const char *class, const char *part)
{
    QDict *error = qdict_get_qdict(resp, "error");

    g_assert_nonnull(error);
    g_assert_cmpstr(qdict_get_str(error, "class"), ==, class);
    ksm_test_expect_error(resp, part, NULL);
}

/* As if there was no such command: that is what other QEMUs say. */
static void test_query(void)
{
    QTestState *qts = ksm_test_start(NULL, "-machine none");

    expect_class(qtest_qmp(qts, "{ 'execute': 'query-ksm-stats' }"),
                 "CommandNotFound", "built without");
    expect_class(qtest_qmp(qts, "{ 'execute': 'query-ksm-stats',"
                           " 'arguments': { 'verify': true } }"),
                 "CommandNotFound", "built without");
    qtest_quit(qts);
}

static void test_hmp(void)
{
    QTestState *qts = ksm_test_start(NULL, "-machine none");
    g_autofree char *info = qtest_hmp(qts, "info ksm");
    g_autofree char *verified = qtest_hmp(qts, "info ksm -v");
    g_autofree char *stats = qtest_hmp(qts, "info stats vm * ksm");

    g_assert_nonnull(strstr(info, "Error: "));
    g_assert_nonnull(strstr(info, "built without"));
    g_assert_cmpstr(verified, ==, info);
    g_assert_nonnull(strstr(stats, "invalid stats provider ksm"));
    qtest_quit(qts);
}

/* Not an empty answer, which would mean that there is nothing to tell */
static void test_stats(void)
{
    QTestState *qts = ksm_test_start(NULL, "-machine none");

    expect_class(qtest_qmp(qts, "{ 'execute': 'query-stats', 'arguments': {"
                           " 'target': 'vm', 'providers': [ {"
                           "   'provider': 'ksm' } ] } }"),
                 "GenericError", "provider' does not accept value 'ksm'");
    expect_class(qtest_qmp(qts, "{ 'execute': 'query-stats-schemas',"
                           " 'arguments': { 'provider': 'ksm' } }"),
                 "GenericError", "provider' does not accept value 'ksm'");
    qtest_quit(qts);
}

static void test_policy(void)
{
    QTestState *qts = ksm_test_start(NULL, "-machine none");
    g_autofree char *text = NULL;

    expect_class(ksm_test_try_add(qts, "'mode': 'off'"), "GenericError",
                 "'qom-type' does not accept value 'ksm-policy'");
    text = qtest_hmp(qts, "object_add ksm-policy,id=policy");
    g_assert_nonnull(strstr(text, "does not accept value 'ksm-policy'"));
    qtest_quit(qts);
}

static void test_advice(void)
{
    QTestState *qts;

    if (!ksm_test_needs_merging()) {
        return;
    }
    qts = ksm_test_start(NULL, "-machine q35 -m 27 "
                         "-object memory-backend-ram,id=on,size=5184K "
                         "-object memory-backend-ram,id=off,size=5312K,"
                         "merge=off");
    g_assert_true(ksm_test_is_mergeable(27 * MiB));
    g_assert_true(ksm_test_is_mergeable(5184 * KiB));
    g_assert_false(ksm_test_is_mergeable(5312 * KiB));
    qtest_qom_set_bool(qts, "/objects/on", "merge", false);
    qtest_qom_set_bool(qts, "/objects/off", "merge", true);
    g_assert_false(ksm_test_is_mergeable(5184 * KiB));
    g_assert_true(ksm_test_is_mergeable(5312 * KiB));
    qtest_quit(qts);

    qts = ksm_test_start(NULL, "-machine q35,mem-merge=off -m 27");
    g_assert_false(ksm_test_is_mergeable(27 * MiB));
    qtest_quit(qts);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/ksm/without/query", test_query);
    qtest_add_func("/ksm/without/hmp", test_hmp);
    qtest_add_func("/ksm/without/stats", test_stats);
    qtest_add_func("/ksm/without/policy", test_policy);
    qtest_add_func("/ksm/without/advice", test_advice);
    return g_test_run();
}
