/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest for same-page merging: what QEMU tells programs that ask what it can do,
 * and people who have it trace its decisions
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-ksm.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qlist.h"
#include "qapi/qmp/qstring.h"
#include "qemu/units.h"
#include "ksm-test.h"

/* Names of types are hidden there: they are known by what they have in them. */
static bool has_entry(const QList *schema, const char *kind, const char *name)
{
    const QListEntry *entry;

    QLIST_FOREACH_ENTRY(schema, entry) {
        QDict *info = qobject_to(QDict, qlist_entry_obj(entry));

        if (g_str_equal(qdict_get_str(info, "meta-type"), kind) &&
            g_str_equal(qdict_get_str(info, "name"), name)) {
            return true;
        }
    }
    return false;
}

static bool has_value(const QDict *info, const char *value)
{
    const QListEntry *entry;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "values"), entry) {
        QString *text = qobject_to(QString, qlist_entry_obj(entry));

        if (g_str_equal(qstring_get_str(text), value)) {
            return true;
        }
    }
    return false;
}

/* Is there an enumeration with both of these in it? */
static bool has_values(const QList *schema, const char *a, const char *b)
{
    const QListEntry *entry;

    QLIST_FOREACH_ENTRY(schema, entry) {
        QDict *info = qobject_to(QDict, qlist_entry_obj(entry));

        if (g_str_equal(qdict_get_str(info, "meta-type"), "enum") &&
            has_value(info, a) && has_value(info, b)) {
            return true;
        }
    }
    return false;
}

static void test_schema(void)
{
    static const char *const name[][2] = {
        { "command", "query-ksm-stats" }, { "event", "KSM_POLICY_CHANGED" },
        { "event", "KSM_SHARING_COLLAPSED" },
    };
    static const char *const value[][2] = {
        { "memory-backend-ram", "ksm-policy" },     /* object-add */
        { "kvm", "ksm" },                           /* query-stats */
        { "shared-mapping", "pinned" },             /* why not merged */
        { "volatile", "uffd-wp" },                  /* of a page */
        { "absent", "samepage" }, { "stopped", "unmerging" },
        { "merging", "paused" }, { "low-memory", "eased" },
    };
    QTestState *qts = ksm_test_start(NULL, "-machine none");
    QDict *resp = qtest_qmp(qts, "{ 'execute': 'query-qmp-schema' }");
    QList *schema = qdict_get_qlist(resp, "return");

    for (size_t i = 0; i < G_N_ELEMENTS(name); i++) {
        g_test_message("%s", name[i][1]);
        g_assert_true(has_entry(schema, name[i][0], name[i][1]));
    }
    for (size_t i = 0; i < G_N_ELEMENTS(value); i++) {
        g_test_message("%s", value[i][1]);
        g_assert_true(has_values(schema, value[i][0], value[i][1]));
    }
    qobject_unref(resp);
    qtest_quit(qts);
}

/* Each property is there with a description, and nothing else is. */
static void test_properties(void)
{
    static const char *const name[] = {
        "mode", "blocks", "min-free-percent", "hysteresis-percent",
        "stall-percent", "dwell-seconds", "interval-seconds", "hot-percent",
        "boost", "domain",
    };
    QTestState *qts = ksm_test_start(NULL, "-machine none");
    QDict *resp = qtest_qmp(qts, "{ 'execute': 'qom-list-properties',"
                            " 'arguments': { 'typename': 'ksm-policy' } }");
    const QListEntry *entry;
    size_t n = 0;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(resp, "return"), entry) {
        QDict *info = qobject_to(QDict, qlist_entry_obj(entry));
        const char *this_name = qdict_get_str(info, "name");
        bool known = false;

        if (g_str_equal(this_name, "type")) {
            continue;
        }
        for (size_t i = 0; i < G_N_ELEMENTS(name); i++) {
            known |= g_str_equal(name[i], this_name);
        }
        g_test_message("%s", this_name);
        g_assert_true(known);
        g_assert_nonnull(qdict_get_try_str(info, "description"));
        n++;
    }
    g_assert_cmpuint(n, ==, G_N_ELEMENTS(name));
    qobject_unref(resp);
    qtest_quit(qts);
}

/* Waits for a line with all of these words; NULL ends them. */
static void wait_traced(const char *path, ...) G_GNUC_NULL_TERMINATED;

static bool line_has(const char *line, va_list words)
{
    const char *word;

    while ((word = va_arg(words, const char *))) {
        if (!strstr(line, word)) {
            return false;
        }
    }
    return true;
}

static bool is_traced(const char *path, va_list words)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) line = NULL;
    bool found = false;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    line = g_strsplit(text, "\n", -1);
    for (int i = 0; line[i] && !found; i++) {
        va_list copy;

        va_copy(copy, words);
        found = line_has(line[i], copy);
        va_end(copy);
    }
    return found;
}

static void wait_traced(const char *path, ...)
{
    va_list words;
    bool found = false;

    while (!found) {
        va_start(words, path);
        found = is_traced(path, words);
        va_end(words);
        g_usleep(20 * 1000);
    }
}

/* Each decision leaves a trace, with what it was about. */
static void test_trace(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autofree char *path = fake_root_path(root, "/trace");
    g_autofree char *args = g_strdup_printf("-machine q35 -m 64 -D %s "
                                            "-trace 'ksm_*'", path);
    QTestState *qts;

    if (!ksm_test_needs_merging()) {
        return;
    }
    fake_root_add_linux_6_1(root);
    ksm_test_link_file(root, "pagemap");
    fake_root_write(root, "/proc/meminfo", "MemTotal: 1000 kB\n"
                    "MemAvailable: 10 kB\n");
    fake_root_write(root, FAKE_PROC_DIR "ksm_merging_pages", "20000\n");
    qts = ksm_test_start(root, args);
    wait_traced(path, "ksm_ram_added", "pc.bios", "requested 1", NULL);
    wait_traced(path, "ksm_ram_advise", "mergeable 1", "errno 0", NULL);

    ksm_test_add_policy(qts, "'mode': 'auto', 'interval-seconds': 1,"
                        "'dwell-seconds': 1, 'blocks': 'pc.ram'");
    wait_traced(path, "ksm_policy_decision", "policy mode auto", "paused",
                "waiting", NULL);
    wait_traced(path, "ksm_watch_pressure", "available 100", NULL);
    wait_traced(path, "ksm_policy_decision", "policy mode auto", "merging",
                "low-memory", NULL);
    ksm_test_add_backend(qts, "mem", 1 * MiB, "");
    wait_traced(path, "ksm_ram_added", "mem", "reason excluded-by-policy",
                NULL);
    ksm_test_del_object(qts, "mem");
    wait_traced(path, "ksm_ram_removed", "mem", NULL);

    for (uint8_t content = 0; content < 40; content++) {
        qtest_memset(qts, 16 * MiB, content, 2 * MiB);
        g_usleep(100 * 1000);
    }
    wait_traced(path, "ksm_region", "pc.ram", "hot 1", NULL);
    wait_traced(path, "ksm_ram_advise", "pc.ram", "mergeable 0", "errno 0",
                NULL);
    fake_root_write(root, FAKE_PROC_DIR "ksm_merging_pages", "1000\n");
    wait_traced(path, "ksm_watch_collapsed", "20000 -> 1000", NULL);
    fake_root_write(root, "/proc/meminfo", "MemTotal: many\n");
    wait_traced(path, "ksm_host_problem", "meminfo", NULL);
    qtest_quit(qts);
}

void ksm_test_add_shown(void)
{
    qtest_add_func("/ksm/shown/schema", test_schema);
    qtest_add_func("/ksm/shown/properties", test_properties);
    qtest_add_func("/ksm/shown/trace", test_trace);
}
