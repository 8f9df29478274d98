/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest for same-page merging: the properties of the ksm-policy object
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-ksm.h"
#include "qapi/qmp/qbool.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qnum.h"
#include "qapi/qmp/qstring.h"
#include "qemu/units.h"
#include "ksm-test.h"

#define INT(n) QOBJECT(qnum_from_int(n))
#define STR(s) QOBJECT(qstring_from_str(s))
#define BOOL(b) QOBJECT(qbool_from_bool(b))

#define Q35 "-machine q35 -m 27"

static const struct {
    const char *name;
    int64_t min, max, preset;
} number[] = {
    { "min-free-percent", 0, 75, 20 },
    { "hysteresis-percent", 1, 20, 5 },
    { "stall-percent", 0, 100, 5 },
    { "dwell-seconds", 1, 86400, 60 },
    { "interval-seconds", 1, 3600, 10 },
    { "hot-percent", 1, 100, 50 },
};

/* What the property is, to be freed by the caller */
static QObject *get(QTestState *qts, const char *property)
{
    QDict *resp = qtest_qmp(qts, "{ 'execute': 'qom-get', 'arguments': {"
                            " 'path': '/objects/policy', 'property': %s } }",
                            property);
    QObject *value = qdict_get(resp, "return");

    g_assert_nonnull(value);
    qobject_ref(value);
    qobject_unref(resp);
    return value;
}

static int64_t get_int(QTestState *qts, const char *property)
{
    QObject *value = get(qts, property);
    int64_t n = qnum_get_int(qobject_to(QNum, value));

    qobject_unref(value);
    return n;
}

static void assert_str(QTestState *qts, const char *property,
                       const char *expected)
{
    QObject *value = get(qts, property);

    g_assert_cmpstr(qstring_get_str(qobject_to(QString, value)), ==, expected);
    qobject_unref(value);
}

static void test_defaults(void)
{
    QTestState *qts = ksm_test_start(NULL, "-machine none");
    QObject *boost;

    ksm_test_add_policy(qts, "");
    for (size_t i = 0; i < G_N_ELEMENTS(number); i++) {
        g_assert_cmpint(get_int(qts, number[i].name), ==, number[i].preset);
    }
    assert_str(qts, "mode", "on");
    assert_str(qts, "blocks", "");
    assert_str(qts, "domain", "default");
    boost = get(qts, "boost");
    g_assert_false(qbool_get_bool(qobject_to(QBool, boost)));
    qobject_unref(boost);
    ksm_test_del_object(qts, "policy");
    qtest_quit(qts);
}

static void check_number_refused(QTestState *qts, int i, int64_t value)
{
    g_autofree char *options = g_strdup_printf("'%s': %" PRId64,
                                               number[i].name, value);
    g_autofree char *name = g_strdup_printf("'%s'", number[i].name);
    g_autofree char *shown = g_strdup_printf(" %" PRId64 " ", value);
    g_autofree char *range = g_strdup_printf("%" PRId64 " to %" PRId64,
                                             number[i].min, number[i].max);

    g_test_message("%s", options);
    ksm_test_expect_error(ksm_test_try_add(qts, options), name, shown, range,
                          NULL);
    ksm_test_add_policy(qts, "");
    ksm_test_expect_error(ksm_test_try_set(qts, number[i].name, INT(value)),
                          name, shown, range, NULL);
    g_assert_cmpint(get_int(qts, number[i].name), ==, number[i].preset);
    ksm_test_del_object(qts, "policy");
}

static void check_number_accepted(QTestState *qts, int i, int64_t value)
{
    g_autofree char *options = g_strdup_printf("'%s': %" PRId64,
                                               number[i].name, value);

    ksm_test_add_policy(qts, options);
    g_assert_cmpint(get_int(qts, number[i].name), ==, value);
    ksm_test_set(qts, number[i].name, INT(number[i].preset));
    g_assert_cmpint(get_int(qts, number[i].name), ==, number[i].preset);
    ksm_test_set(qts, number[i].name, INT(value));
    g_assert_cmpint(get_int(qts, number[i].name), ==, value);
    ksm_test_del_object(qts, "policy");
}

static void test_numbers(void)
{
    QTestState *qts = ksm_test_start(NULL, "-machine none");

    for (size_t i = 0; i < G_N_ELEMENTS(number); i++) {
        check_number_accepted(qts, i, number[i].min);
        check_number_accepted(qts, i, number[i].max);
        check_number_refused(qts, i, number[i].min - 1);
        check_number_refused(qts, i, number[i].max + 1);
        check_number_refused(qts, i, INT64_MIN);
        check_number_refused(qts, i, INT64_MAX);
        ksm_test_add_policy(qts, "");
        ksm_test_expect_error(ksm_test_try_set(qts, number[i].name, STR("x")),
                              number[i].name, NULL);
        ksm_test_del_object(qts, "policy");
    }
    qtest_quit(qts);
}

static void test_words(void)
{
    static const char modes[] = "auto, on, off";
    QTestState *qts = ksm_test_start(NULL, "-machine none");
    g_autofree char *text = NULL;

    /* As on the command line */
    text = qtest_hmp(qts, "object_add ksm-policy,id=policy,mode=maybe");
    g_assert_nonnull(strstr(text, "'mode' does not accept value 'maybe'"));
    g_assert_nonnull(strstr(text, modes));
    g_free(text);
    text = qtest_hmp(qts, "object_add ksm-policy,id=policy,boost=maybe");
    g_assert_nonnull(strstr(text, "'boost' expects 'on' or 'off'"));
    ksm_test_expect_error(ksm_test_try_add(qts, "'mode': 'maybe'"), "'mode'",
                          "'maybe'", modes, NULL);
    ksm_test_expect_error(ksm_test_try_add(qts, "'modes': 'on'"), "modes",
                          NULL);
    ksm_test_add_policy(qts, "'mode': 'off', 'boost': false, "
                        "'domain': 'default'");
    ksm_test_expect_error(ksm_test_try_set(qts, "mode", STR("maybe")),
                          "'mode'", "'maybe'", modes, NULL);
    ksm_test_expect_error(ksm_test_try_set(qts, "mode", INT(1)), "'mode'",
                          NULL);
    assert_str(qts, "mode", "off");
    qtest_quit(qts);
}

/* What no engine can do is refused, not ignored. */
static void test_impossible(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    QTestState *qts;

    fake_root_add_linux_6_1(root);
    qts = ksm_test_start(root, "-machine none");
    ksm_test_expect_error(ksm_test_try_add(qts, "'boost': true"), "'boost'",
                          "'on'", "'off'", "mainline", NULL);
    ksm_test_expect_error(ksm_test_try_add(qts, "'domain': 'blue'"),
                          "'domain'", "'blue'", "'default'", "mainline",
                          "no sharing domain", NULL);
    ksm_test_expect_error(ksm_test_try_add(qts, "'domain': ''"), "'domain'",
                          "''", "'default'", NULL);
    ksm_test_add_policy(qts, "");
    ksm_test_expect_error(ksm_test_try_set(qts, "boost", BOOL(true)),
                          "'boost'", NULL);
    ksm_test_set(qts, "boost", BOOL(false));
    ksm_test_expect_error(ksm_test_try_set(qts, "domain", STR("blue")),
                          "'blue'", NULL);
    ksm_test_set(qts, "domain", STR("default"));
    assert_str(qts, "domain", "default");
    qtest_quit(qts);
}

static char *many_patterns(int n)
{
    GString *text = g_string_new("a");

    for (int i = 1; i < n; i++) {
        g_string_append(text, ",a");
    }
    return g_string_free(text, false);
}

static void check_blocks_refused(QTestState *qts, const char *text,
                                 const char *what)
{
    ksm_test_expect_error(ksm_test_try_set(qts, "blocks", STR(text)),
                          "'blocks'", what, NULL);
    assert_str(qts, "blocks", "mem*");
}

static void test_bad_blocks(void)
{
    QTestState *qts = ksm_test_start(NULL, "-machine none");
    g_autofree char *most = many_patterns(64);
    g_autofree char *too_many = many_patterns(65);
    g_autofree char *longest = g_strnfill(255, '?');
    g_autofree char *too_long = g_strnfill(256, '?');

    ksm_test_expect_error(ksm_test_try_add(qts, "'blocks': ','"), "'blocks'",
                          NULL);
    ksm_test_add_policy(qts, "'blocks': 'mem*'");
    check_blocks_refused(qts, ",mem*", "pattern 1 ");
    check_blocks_refused(qts, "mem*,", "pattern 2 ");
    check_blocks_refused(qts, "a, ,b", "1 to 255");
    check_blocks_refused(qts, too_many, "0 to 64");
    check_blocks_refused(qts, too_long, "256 characters");
    ksm_test_set(qts, "blocks", STR(most));
    ksm_test_set(qts, "blocks", STR(longest));
    ksm_test_set(qts, "blocks", STR(""));
    assert_str(qts, "blocks", "");
    qtest_quit(qts);
}

static void test_only_one(void)
{
    QTestState *qts = ksm_test_start(NULL, "-machine none -object "
                                     "ksm-policy,id=first");

    ksm_test_expect_error(ksm_test_try_add(qts, ""), "'first'", NULL);
    ksm_test_del_object(qts, "first");
    ksm_test_add_policy(qts, "");
    ksm_test_expect_error(ksm_test_try_add(qts, ""), "policy", NULL);
    qtest_quit(qts);
}

static void check_policy(QTestState *qts, const char *mode, const char *state)
{
    g_autoptr(KsmStats) stats = ksm_test_query(qts);
    KsmPolicyInfo *policy = stats->vm->policy;
    int64_t now = g_get_real_time() / G_USEC_PER_SEC;

    g_assert_true(stats->vm->has_policy);
    g_assert_cmpstr(policy->id, ==, "policy");
    g_assert_cmpstr(OnOffAuto_str(policy->mode), ==, mode);
    g_assert_cmpstr(KsmPolicyState_str(policy->state), ==, state);
    g_assert_cmpstr(KsmPolicyReason_str(policy->reason), ==, "configured");
    g_assert_cmpint(policy->when, <=, now);
    g_assert_cmpint(policy->when, >, now - 100);
    g_assert_false(policy->has_available_percent || policy->has_stall_percent);
}

static void check_event(QTestState *qts, const char *mode, const char *state)
{
    QDict *event = qtest_qmp_eventwait_ref(qts, "KSM_POLICY_CHANGED");
    QDict *data = qdict_get_qdict(event, "data");

    g_assert_cmpstr(qdict_get_str(data, "id"), ==, "policy");
    g_assert_cmpstr(qdict_get_str(data, "mode"), ==, mode);
    g_assert_cmpstr(qdict_get_str(data, "state"), ==, state);
    g_assert_cmpstr(qdict_get_str(data, "reason"), ==, "configured");
    qobject_unref(event);
}

static void check_ram(QTestState *qts, bool mergeable, const char *reason)
{
    ksm_test_check_block(qts, "pc.ram", mergeable, reason);
    g_assert_cmpint(ksm_test_is_mergeable(27 * MiB), ==, mergeable);
}

static void test_mode(void)
{
    g_autoptr(KsmStats) stats = NULL;
    QTestState *qts;

    if (!ksm_test_needs_merging()) {
        return;
    }
    qts = ksm_test_start(NULL, Q35);
    ksm_test_check_block(qts, "pc.bios", true, "none");
    ksm_test_add_policy(qts, "");
    check_policy(qts, "on", "merging");
    check_ram(qts, true, "none");
    ksm_test_check_block(qts, "pc.bios", false, "excluded-by-policy");
    for (int i = 0; i < 2; i++) {
        ksm_test_set(qts, "mode", STR("off"));
        check_event(qts, "off", "off");
        check_policy(qts, "off", "off");
        check_ram(qts, false, "disabled-by-policy");
        ksm_test_check_block(qts, "pc.bios", false, "excluded-by-policy");
        ksm_test_set(qts, "mode", STR("on"));
        check_event(qts, "on", "merging");
        check_ram(qts, true, "none");
    }
    ksm_test_set(qts, "mode", STR("off"));
    ksm_test_del_object(qts, "policy");
    check_ram(qts, true, "none");
    ksm_test_check_block(qts, "pc.bios", true, "none");
    stats = ksm_test_query(qts);
    g_assert_false(stats->vm->has_policy);
    qtest_quit(qts);
}

/* It narrows what the configuration allows, and never widens it. */
static void test_never_widens(void)
{
    QTestState *qts;

    if (!ksm_test_needs_merging()) {
        return;
    }
    qts = ksm_test_start(NULL, Q35 " -machine mem-merge=off -object "
                         "ksm-policy,id=policy,mode=on,blocks=*");
    check_ram(qts, false, "disabled-by-machine");
    ksm_test_set(qts, "mode", STR("off"));
    check_ram(qts, false, "disabled-by-machine");
    qtest_quit(qts);

    qts = ksm_test_start(NULL, Q35 " -object ksm-policy,id=policy,blocks=*");
    check_ram(qts, true, "none");
    qtest_qom_set_bool(qts, "/objects/pc.ram", "merge", false);
    check_ram(qts, false, "disabled-by-backend");
    ksm_test_set(qts, "mode", STR("off"));
    check_ram(qts, false, "disabled-by-backend");
    qtest_qom_set_bool(qts, "/objects/pc.ram", "merge", true);
    check_ram(qts, false, "disabled-by-policy");
    qtest_quit(qts);
}

/* Names that are given after the memory came count, too ("SLOT/vga.vram"). */
static void test_patterns(void)
{
    QTestState *qts;

    if (!ksm_test_needs_merging()) {
        return;
    }
    qts = ksm_test_start(NULL, Q35 " -vga std -object "
                         "memory-backend-ram,id=mem1,size=1M -object "
                         "memory-backend-ram,id=mem22,size=1M -object "
                         "ksm-policy,id=policy,blocks=mem?,,*:*/vga.vram");
    assert_str(qts, "blocks", "mem?,*:*/vga.vram");
    check_ram(qts, false, "excluded-by-policy");
    ksm_test_check_block(qts, "mem1", true, "none");
    ksm_test_check_block(qts, "mem22", false, "excluded-by-policy");
    ksm_test_check_block(qts, "0000:00:01.0/vga.vram", true, "none");
    ksm_test_check_block(qts, "pc.bios", false, "excluded-by-policy");

    ksm_test_set(qts, "blocks", STR(" mem22 , pc.bios"));
    ksm_test_check_block(qts, "mem1", false, "excluded-by-policy");
    ksm_test_check_block(qts, "mem22", true, "none");
    ksm_test_check_block(qts, "0000:00:01.0/vga.vram", false,
                         "excluded-by-policy");
    ksm_test_check_block(qts, "pc.bios", true, "none");

    ksm_test_add_backend(qts, "mem3", 1 * MiB, "");
    ksm_test_check_block(qts, "mem3", false, "excluded-by-policy");
    ksm_test_set(qts, "blocks", STR(""));
    ksm_test_check_block(qts, "mem3", true, "none");
    ksm_test_check_block(qts, "pc.bios", false, "excluded-by-policy");
    check_ram(qts, true, "none");
    qtest_quit(qts);
}

void ksm_test_add_policy_tests(void)
{
    qtest_add_func("/ksm/policy/defaults", test_defaults);
    qtest_add_func("/ksm/policy/numbers", test_numbers);
    qtest_add_func("/ksm/policy/words", test_words);
    qtest_add_func("/ksm/policy/impossible", test_impossible);
    qtest_add_func("/ksm/policy/bad-blocks", test_bad_blocks);
    qtest_add_func("/ksm/policy/only-one", test_only_one);
    qtest_add_func("/ksm/policy/mode", test_mode);
    qtest_add_func("/ksm/policy/never-widens", test_never_widens);
    qtest_add_func("/ksm/policy/patterns", test_patterns);
}
