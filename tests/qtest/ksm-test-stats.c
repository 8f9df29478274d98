/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest for same-page merging: the provider "ksm" of query-stats
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-stats.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qjson.h"
#include "qapi/qobject-input-visitor.h"
#include "qemu/host-utils.h"
#include "ksm-test.h"

/* All there are on a host with our engine, but for the reasons */
static const struct {
    const char *name;
    StatsType type;
    const char *unit;       /* NULL: a number; "pages": of the host */
    uint64_t value;         /* fake_root_add_samepage() */
} expected[] = {
    { "host_pages_shared", STATS_TYPE_INSTANT, "pages", 100 },
    { "host_pages_sharing", STATS_TYPE_INSTANT, "pages", 300 },
    { "host_pages_unshared", STATS_TYPE_INSTANT, "pages", 11 },
    { "host_pages_volatile", STATS_TYPE_INSTANT, "pages", 12 },
    { "host_ksm_zero_pages", STATS_TYPE_INSTANT, "pages", 22 },
    { "host_stable_node_chains", STATS_TYPE_INSTANT, NULL, 14 },
    { "host_stable_node_dups", STATS_TYPE_INSTANT, NULL, 15 },
    { "host_full_scans", STATS_TYPE_INSTANT, NULL, 13 },
    { "host_pages_scanned", STATS_TYPE_CUMULATIVE, "pages", 20 },
    { "host_pages_skipped", STATS_TYPE_CUMULATIVE, "pages", 21 },
    { "ksm_merging_pages", STATS_TYPE_INSTANT, "pages", 40 },
    { "ksm_zero_pages", STATS_TYPE_INSTANT, "pages", 51 },
    { "ksm_rmap_items", STATS_TYPE_INSTANT, NULL, 50 },
    { "ksm_cow_breaks", STATS_TYPE_CUMULATIVE, NULL, 53 },
    { "ksm_merge_any", STATS_TYPE_INSTANT, "boolean", 0 },
    { "ksm_mergeable", STATS_TYPE_INSTANT, "boolean", 1 },
};

/* The answer to @command, which must not be an error; @arguments in JSON */
static Visitor *ask(QTestState *qts, const char *command,
                    const char *arguments)
{
    QDict *resp = qtest_qmp(qts, "{ 'execute': %s, 'arguments': %p }", command,
                            qobject_from_json(arguments, &error_abort));
    Visitor *v;

    g_assert_true(qdict_haskey(resp, "return"));
    v = qobject_input_visitor_new(qdict_get(resp, "return"));
    qobject_unref(resp);
    return v;
}

static StatsResultList *query_stats(QTestState *qts, const char *arguments)
{
    Visitor *v = ask(qts, "query-stats", arguments);
    StatsResultList *list = NULL;

    visit_type_StatsResultList(v, NULL, &list, &error_abort);
    visit_free(v);
    return list;
}

static StatsSchemaList *query_schemas(QTestState *qts, const char *arguments)
{
    Visitor *v = ask(qts, "query-stats-schemas", arguments);
    StatsSchemaList *list = NULL;

    visit_type_StatsSchemaList(v, NULL, &list, &error_abort);
    visit_free(v);
    return list;
}

static Stats *find_value(StatsResultList *results, const char *name)
{
    g_assert_nonnull(results);
    g_assert_null(results->next);
    g_assert_cmpint(results->value->provider, ==, STATS_PROVIDER_KSM);
    for (StatsList *item = results->value->stats; item; item = item->next) {
        if (g_str_equal(item->value->name, name)) {
            return item->value;
        }
    }
    return NULL;
}

#define KSM_OF_VM \
    "{ 'target': 'vm', 'providers': [ { 'provider': 'ksm' } ] }"

static void check_value(StatsResultList *results, const char *name,
                        bool boolean, uint64_t value)
{
    Stats *stats = find_value(results, name);

    g_test_message("%s", name);
    g_assert_nonnull(stats);
    if (boolean) {
        g_assert_cmpint(stats->value->type, ==, QTYPE_QBOOL);
        g_assert_cmpint(stats->value->u.boolean, ==, value);
    } else {
        g_assert_cmpint(stats->value->type, ==, QTYPE_QNUM);
        g_assert_cmpuint(stats->value->u.scalar, ==, value);
    }
}

static void test_values(void)
{
    static const char *const reason[] = {
        "volatile", "pinned", "huge", "shared", "hugetlb", "special", "node",
        "limit", "raced", "locked", "different", "uffd_wp", "nomem"
    };
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(StatsResultList) results = NULL;
    size_t n = 0;
    QTestState *qts;

    fake_root_add_samepage(root);
    qts = ksm_test_start(root, "-machine none");
    results = query_stats(qts, KSM_OF_VM);
    for (size_t i = 0; i < G_N_ELEMENTS(expected); i++) {
        check_value(results, expected[i].name,
                    g_strcmp0(expected[i].unit, "boolean") == 0,
                    expected[i].value);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(reason); i++) {
        g_autofree char *host = g_strconcat("host_refused_", reason[i], NULL);
        g_autofree char *process = g_strconcat("ksm_refused_", reason[i],
                                               NULL);

        check_value(results, host, false, 100 + i);
        check_value(results, process, false, 200 + i);
    }
    g_assert_false(results->value->has_qom_path);
    for (StatsList *s = results->value->stats; s; s = s->next) {
        n++;
    }
    g_assert_cmpuint(n, ==, G_N_ELEMENTS(expected) +
                     2 * G_N_ELEMENTS(reason));
    qtest_quit(qts);
}

static void check_schema_value(const StatsSchemaValue *schema, StatsType type,
                               const char *unit)
{
    g_test_message("%s", schema->name);
    g_assert_cmpint(schema->type, ==, type);
    g_assert_cmpint(schema->has_unit, ==, unit != NULL);
    if (g_strcmp0(unit, "pages") == 0) {
        g_assert_cmpint(schema->unit, ==, STATS_UNIT_BYTES);
        g_assert_cmpint(schema->base, ==, 2);
        g_assert_cmpint(schema->exponent, ==,
                        ctz64(qemu_real_host_page_size()));
    } else {
        g_assert_false(schema->has_base);
        g_assert_cmpint(schema->exponent, ==, 0);
    }
    if (g_strcmp0(unit, "boolean") == 0) {
        g_assert_cmpint(schema->unit, ==, STATS_UNIT_BOOLEAN);
    }
}

/* One schema for each value, in the same order */
static void test_schema(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(StatsSchemaList) schemas = NULL, all = NULL;
    g_autoptr(StatsResultList) results = NULL;
    StatsSchemaValueList *schema;
    QTestState *qts;
    size_t i = 0;

    fake_root_add_samepage(root);
    qts = ksm_test_start(root, "-machine none");
    results = query_stats(qts, KSM_OF_VM);
    schemas = query_schemas(qts, "{ 'provider': 'ksm' }");
    g_assert_nonnull(schemas);
    g_assert_null(schemas->next);
    g_assert_cmpint(schemas->value->provider, ==, STATS_PROVIDER_KSM);
    g_assert_cmpint(schemas->value->target, ==, STATS_TARGET_VM);
    schema = schemas->value->stats;
    for (StatsList *s = results->value->stats; s; s = s->next, i++) {
        bool listed = i < G_N_ELEMENTS(expected);

        g_assert_nonnull(schema);
        g_assert_cmpstr(schema->value->name, ==, s->value->name);
        check_schema_value(schema->value,
                           listed ? expected[i].type : STATS_TYPE_CUMULATIVE,
                           listed ? expected[i].unit : NULL);
        schema = schema->next;
    }
    g_assert_null(schema);
    all = query_schemas(qts, "{}");
    g_assert_nonnull(all);
    qtest_quit(qts);
}

static void assert_nothing(QTestState *qts, const char *arguments)
{
    g_autoptr(StatsResultList) results = query_stats(qts, arguments);

    g_test_message("%s", arguments);
    g_assert_null(results);
}

static void test_filter(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(StatsResultList) results = NULL;
    QTestState *qts;

    fake_root_add_samepage(root);
    qts = ksm_test_start(root, "-machine q35 -m 16");
    results = query_stats(qts, "{ 'target': 'vm', 'providers': [ {"
                          " 'provider': 'ksm', 'names': ["
                          " 'ksm_cow_breaks', 'purple' ] } ] }");
    check_value(results, "ksm_cow_breaks", false, 53);
    g_assert_null(results->value->stats->next);
    assert_nothing(qts, "{ 'target': 'vm', 'providers': [ {"
                   " 'provider': 'ksm', 'names': [ 'purple' ] } ] }");
    assert_nothing(qts, "{ 'target': 'vm', 'providers': [ {"
                   " 'provider': 'ksm', 'names': [] } ] }");
    assert_nothing(qts, "{ 'target': 'vm', 'providers': [ {"
                   " 'provider': 'kvm' } ] }");
    assert_nothing(qts, "{ 'target': 'vcpu', 'providers': [ {"
                   " 'provider': 'ksm' } ] }");
    ksm_test_expect_error(qtest_qmp(qts, "{ 'execute': 'query-stats',"
                                    " 'arguments': { 'target': 'vm',"
                                    "   'providers': [ {"
                                    "     'provider': 'purple' } ] } }"),
                          "provider'", "'purple'", "kvm, ksm", NULL);
    qtest_quit(qts);
}

/* What the host does not tell, or not as a number that can be, is left out. */
static void test_left_out(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(StatsResultList) results = NULL;
    g_autoptr(StatsSchemaList) schemas = NULL;
    QTestState *qts;

    fake_root_add_linux_6_1(root);
    fake_root_write(root, FAKE_KSM_DIR "pages_shared", "garbage\n");
    fake_root_write(root, FAKE_KSM_DIR "ksm_zero_pages", "-3383\n");
    fake_root_write(root, FAKE_KSM_DIR "pages_scanned",
                    "18446744073709551615\n");
    fake_root_write(root, FAKE_KSM_DIR "general_profit", "-1\n");
    qts = ksm_test_start(root, "-machine none");
    results = query_stats(qts, KSM_OF_VM);
    g_assert_null(find_value(results, "host_pages_shared"));
    g_assert_null(find_value(results, "host_ksm_zero_pages"));
    g_assert_null(find_value(results, "host_general_profit"));
    g_assert_null(find_value(results, "host_refused_pinned"));
    g_assert_null(find_value(results, "ksm_cow_breaks"));
    check_value(results, "host_pages_sharing", false, 300);
    check_value(results, "host_pages_scanned", false, UINT64_MAX);
    check_value(results, "ksm_merging_pages", false, 40);
    schemas = query_schemas(qts, "{ 'provider': 'ksm' }");
    for (StatsSchemaValueList *s = schemas->value->stats; s; s = s->next) {
        g_assert_nonnull(find_value(results, s->value->name));
    }
    qtest_quit(qts);
}

static void test_absent(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autofree char *text = NULL;
    g_autoptr(StatsSchemaList) schemas = NULL;
    QTestState *qts;

    fake_root_mkdir(root, FAKE_PROC_DIR);
    qts = ksm_test_start(root, "-machine none");
    assert_nothing(qts, KSM_OF_VM);
    schemas = query_schemas(qts, "{ 'provider': 'ksm' }");
    g_assert_null(schemas);
    text = qtest_hmp(qts, "info stats vm");
    g_assert_null(strstr(text, "ksm"));
    qtest_quit(qts);
}

static void test_hmp(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autofree char *text = NULL;
    QTestState *qts;

    fake_root_add_samepage(root);
    qts = ksm_test_start(root, "-machine none");
    text = qtest_hmp(qts, "info stats vm * ksm");
    g_test_message("%s", text);
    g_assert_nonnull(strstr(text, "ksm_cow_breaks (cumulative): 53"));
    g_assert_nonnull(strstr(text, "ksm_mergeable (instant, boolean): yes"));
    g_assert_null(strstr(text, "failed"));
    qtest_quit(qts);
}

void ksm_test_add_stats(void)
{
    qtest_add_func("/ksm/stats/values", test_values);
    qtest_add_func("/ksm/stats/schema", test_schema);
    qtest_add_func("/ksm/stats/filter", test_filter);
    qtest_add_func("/ksm/stats/left-out", test_left_out);
    qtest_add_func("/ksm/stats/absent", test_absent);
    qtest_add_func("/ksm/stats/hmp", test_hmp);
}
