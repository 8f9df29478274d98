/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest for same-page merging: random and malformed commands, on a host whose
 * files change meanwhile, while RAM blocks come and go
 *
 * GLib prints the random seed; --seed=SEED repeats a run.  It takes
 * KSM_FUZZ_SECONDS (20) in all.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qapi/qmp/qbool.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qlist.h"
#include "qapi/qmp/qstring.h"
#include "ksm-test.h"

#define IDS 8
#define ANSWERS_MAX 10000

typedef struct Fuzz {
    QTestState *qts;
    int hmp;                /* a human monitor beside the QMP one */
    FakeRoot *root;         /* NULL: the machine's own host */
    FakeRoot *files;        /* what memory backends map */
    bool exists[IDS];       /* memory backend memN */
    GPtrArray *ksm_types;   /* user-creatable types of same-page merging */
    int64_t last_id;
    unsigned commands, errors, blocks_added;
} Fuzz;

static int any(int n)
{
    return g_test_rand_int_range(0, n);
}

static const char *one_of(const char *const *text, size_t n)
{
    return text[any(n)];
}

#define ONE_OF(...)                                                         \
    ({                                                                      \
        static const char *const text_[] = { __VA_ARGS__ };                 \
        one_of(text_, G_N_ELEMENTS(text_));                                 \
    })

/* A JSON value that is rarely what is expected */
static char *any_value(void)
{
    switch (any(12)) {
    case 0:
        return g_strdup_printf("%d", (int)g_test_rand_int());
    case 1: {
        g_autofree char *deep = g_strnfill(50, '[');
        g_autofree char *end = g_strnfill(50, ']');

        return g_strconcat(deep, end, NULL);
    }
    case 2: {
        g_autofree char *text = g_strnfill(any(3000), 'm');

        return g_strdup_printf("\"%s\"", text);
    }
    default:
        return g_strdup(ONE_OF("true", "false", "null", "0", "-1", "4096",
                               "18446744073709551615", "1e30", "\"\"",
                               "\"on\"", "\"auto\"", "\"off\"",
                               "\"mem*\"", "\"true\"", "\"\\u00e4%s%n\"",
                               "\"mem1\"", "[]", "{}", "[true]",
                               "{\"a\": {}}", "-9223372036854775808"));
    }
}

/* Mostly true or false */
static char *any_bool(void)
{
    return any(4) ? g_strdup(any(2) ? "true" : "false") : any_value();
}

static void check_answer(const QDict *answer)
{
    const QDict *error;

    if (qdict_haskey(answer, "return")) {
        return;
    }
    error = qdict_get_qdict(answer, "error");
    g_assert_nonnull(error);
    g_assert_cmpuint(strlen(qdict_get_str(error, "class")), >, 0);
    g_assert_cmpuint(strlen(qdict_get_str(error, "desc")), >, 0);
}

/* Sends @command, without the closing brace. */
static void send_command(Fuzz *f, const char *command)
{
    f->commands++;
    qtest_qmp_send_raw(f->qts, "%s, \"id\": %" PRId64 "}\n", command,
                       ++f->last_id);
}

/* The answer to what was sent last, past those to whatever was sent before */
static QDict *receive_answer(Fuzz *f)
{
    int64_t id = f->last_id;

    for (int i = 0; i < ANSWERS_MAX; i++) {
        QDict *answer = qtest_qmp_receive(f->qts);

        check_answer(answer);
        if (qdict_get_try_int(answer, "id", -1) == id) {
            f->errors += qdict_haskey(answer, "error");
            return answer;
        }
        qobject_unref(answer);
    }
    g_assert_not_reached();
}

static QDict *exchange(Fuzz *f, const char *command)
{
    send_command(f, command);
    return receive_answer(f);
}

static bool call(Fuzz *f, const char *name, const char *arguments)
{
    g_autofree char *command =
        g_strdup_printf("{\"execute\": \"%s\"%s%s", name,
                        arguments ? ", \"arguments\": " : "",
                        arguments ? arguments : "");
    QDict *answer = exchange(f, command);
    bool ok = qdict_haskey(answer, "return");

    qobject_unref(answer);
    return ok;
}

/* Every block is what it should be, and those that we made are there. */
static void check_stats(Fuzz *f, const QDict *stats, bool verify)
{
    const QListEntry *entry;
    uint64_t sum = 0;
    int ours = 0, expected = 0;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(stats, "blocks"), entry) {
        QDict *block = qobject_to(QDict, qlist_entry_obj(entry));
        uint64_t mergeable = qdict_get_int(block, "mergeable-bytes");
        bool none = g_str_equal(qdict_get_str(block, "reason"), "none");

        g_assert_cmpuint(mergeable, <=, qdict_get_int(block, "size"));
        g_assert_false(none && qdict_haskey(block, "remedy"));
        g_assert_true(verify || !qdict_haskey(block, "merged-bytes"));
        g_assert_true(!none || (qdict_get_bool(block, "requested") &&
                                qdict_get_bool(block, "actual")));
        ours += qdict_haskey(block, "memdev") &&
                g_str_has_prefix(qdict_get_str(block, "memdev"), "mem");
        sum += mergeable;
    }
    g_assert_cmpuint(qdict_get_int(qdict_get_qdict(stats, "vm"),
                                   "mergeable-bytes"), ==, sum);
    for (int i = 0; i < IDS; i++) {
        expected += f->exists[i];
    }
    g_assert_cmpint(ours, ==, expected);
}

#define VERIFY "{\"execute\": \"query-ksm-stats\"," \
               " \"arguments\": {\"verify\": true}"

static void query_ksm_stats(Fuzz *f)
{
    bool verify = any(4) == 0;
    QDict *answer = exchange(f, verify ? VERIFY
                                : "{\"execute\": \"query-ksm-stats\"");

    g_assert_true(qdict_haskey(answer, "return"));
    check_stats(f, qdict_get_qdict(answer, "return"), verify);
    qobject_unref(answer);
}

static void query_ksm_stats_badly(Fuzz *f)
{
    g_autofree char *value = any_value();
    g_autofree char *arguments =
        any(5) ? g_strdup_printf("{\"%s\": %s}",
                                 ONE_OF("verify", "fast", "Verify", "", "id"),
                                 value)
               : g_strdup(value);

    call(f, "query-ksm-stats", arguments);
}

static void query_stats(Fuzz *f)
{
    g_autofree char *junk = any_value();
    g_autofree char *names =
        any(3) ? g_strdup("")
               : g_strdup_printf(", \"names\": [\"%s\", %s]",
                                 ONE_OF("ksm_cow_breaks", "host_full_scans",
                                        "pf_fixed", ""),
                                 any(2) ? "\"ksm_rmap_items\"" : junk);
    g_autofree char *arguments =
        g_strdup_printf("{\"target\": %s, \"providers\": [{\"provider\": %s%s}"
                        "]%s}", any(8) ? ONE_OF("\"vm\"", "\"vcpu\"") : junk,
                        any(8) ? ONE_OF("\"ksm\"", "\"kvm\"") : junk, names,
                        any(8) ? "" : ", \"vcpus\": [\"/machine\"]");

    call(f, "query-stats", arguments);
}

static void query_schemas(Fuzz *f)
{
    g_autofree char *value = any(2) ? any_value() : g_strdup("\"ksm\"");
    g_autofree char *arguments = g_strdup_printf("{\"provider\": %s}", value);

    call(f, "query-stats-schemas", any(4) ? arguments : "{}");
}

/*
 * Sizes that take some memory, or cannot be had at all.  With more than half of
 * all addresses QEMU 7.2 ends itself.
 */
static char *any_size(void)
{
    switch (any(8)) {
    case 0:
        return g_strdup(ONE_OF("0", "1", "4095", "4097", "\"\"",
                               "\"1M\"", "null", "true", "[]", "1.5",
                               "9223372036854771712"));
    default:
        return g_strdup_printf("%d", (1 + any(512)) * 4096);
    }
}

static void add_backend(Fuzz *f)
{
    int n = any(IDS);
    const char *kind = ONE_OF("ram", "file", "memfd");
    g_autofree char *size = any_size(), *merge = any_bool();
    g_autofree char *share = any_bool(), *prealloc = any_bool();
    g_autofree char *path = g_strdup_printf("%s/%d", f->files->path, n);
    g_autoptr(GString) arguments = g_string_new(NULL);

    g_string_printf(arguments, "{\"qom-type\": \"memory-backend-%s\","
                    " \"id\": \"mem%d\", \"size\": %s", kind, n, size);
    if (g_str_equal(kind, "file")) {
        g_string_append_printf(arguments, ", \"mem-path\": \"%s\"", path);
    }
    if (any(2)) {
        g_string_append_printf(arguments, ", \"merge\": %s", merge);
    }
    if (any(2)) {
        g_string_append_printf(arguments, ", \"share\": %s", share);
    }
    if (any(8) == 0) {
        g_string_append_printf(arguments, ", \"prealloc\": %s", prealloc);
    }
    g_string_append_c(arguments, '}');
    if (call(f, "object-add", arguments->str)) {
        g_assert_false(f->exists[n]);
        f->exists[n] = true;
        f->blocks_added++;
    }
}

static void delete_object(Fuzz *f)
{
    int n = any(IDS);
    g_autofree char *arguments = g_strdup_printf("{\"id\": \"%s%d\"}",
                                                 any(8) ? "mem" : "ksm", n);

    if (call(f, "object-del", arguments) && strstr(arguments, "mem")) {
        g_assert_true(f->exists[n]);
        f->exists[n] = false;
    }
}

/* Returns when QEMU has calculated the sum, and so done all before it. */
static void wait_for_hmp(Fuzz *f)
{
    g_autoptr(GString) output = g_string_new(NULL);
    g_autofree char *command = g_strdup_printf("print /d 10000+%d\n",
                                                any(10000));
    g_autofree char *sum =
        g_strdup_printf("%d\r\n", 10000 + atoi(strchr(command, '+') + 1));
    char buf[4096];

    g_assert_cmpint(write(f->hmp, command, strlen(command)), >, 0);
    while (!strstr(output->str, sum)) {
        ssize_t n = read(f->hmp, buf, sizeof(buf));

        g_assert_cmpint(n, >, 0);
        g_string_append_len(output, buf, n);
    }
}

static bool object_exists(Fuzz *f, int n)
{
    g_autofree char *arguments =
        g_strdup_printf("{\"path\": \"/objects/mem%d\"}", n);

    return call(f, "qom-list", arguments);
}

/* While the page tables are walked somebody else has blocks go and come. */
static void verify_in_a_storm(Fuzz *f)
{
    g_autoptr(GString) commands = g_string_new(NULL);

    for (int i = 0; i < 4; i++) {
        g_string_append_printf(commands, any(2) ? "object_del mem%d\n" :
                               "object_add memory-backend-ram,size=64k,"
                               "id=mem%d\n", any(IDS));
    }
    send_command(f, VERIFY);
    g_assert_cmpint(write(f->hmp, commands->str, commands->len), ==,
                    commands->len);
    qobject_unref(receive_answer(f));
    wait_for_hmp(f);
    for (int i = 0; i < IDS; i++) {
        f->exists[i] = object_exists(f, i);
    }
}

static void set_property(Fuzz *f)
{
    g_autofree char *value = any_bool();
    g_autofree char *path =
        any(8) ? g_strdup_printf("/objects/mem%d", any(IDS))
               : g_strdup(ONE_OF("/machine", "/objects", "/", "mem1", ""));
    g_autofree char *arguments =
        g_strdup_printf("{\"path\": \"%s\", \"property\": \"%s\","
                        " \"value\": %s}", path,
                        ONE_OF("merge", "merge", "merge", "mem-merge", "dump",
                               "share", "purple"), value);

    call(f, "qom-set", arguments);
}

/* Any property of an object of same-page merging that may be there */
static char *any_ksm_property(Fuzz *f, const char *type)
{
    g_autofree char *command =
        g_strdup_printf("{\"execute\": \"qom-list-properties\","
                        " \"arguments\": {\"typename\": \"%s\"}", type);
    QDict *answer = exchange(f, command);
    QList *list = qdict_get_qlist(answer, "return");
    int n = any(qlist_size(list));
    char *name = NULL;
    const QListEntry *entry;

    QLIST_FOREACH_ENTRY(list, entry) {
        if (n-- == 0) {
            name = g_strdup(qdict_get_str(qobject_to(QDict,
                                          qlist_entry_obj(entry)), "name"));
        }
    }
    qobject_unref(answer);
    return name;
}

static void fuzz_ksm_object(Fuzz *f)
{
    g_autofree char *value = any_value(), *name = NULL, *arguments = NULL;
    const char *type;
    int n = any(2);

    if (f->ksm_types->len == 0) {
        return;
    }
    type = f->ksm_types->pdata[any(f->ksm_types->len)];
    name = any_ksm_property(f, type);
    switch (any(4)) {
    case 0:
        arguments = g_strdup_printf("{\"qom-type\": \"%s\", \"id\": \"ksm%d\""
                                    "}", type, n);
        call(f, "object-add", arguments);
        break;
    case 1:
        arguments = g_strdup_printf("{\"qom-type\": \"%s\", \"id\": \"ksm%d\""
                                    ", \"%s\": %s}", type, n, name, value);
        call(f, "object-add", arguments);
        break;
    case 2:
        arguments = g_strdup_printf("{\"path\": \"/objects/ksm%d\","
                                    " \"property\": \"%s\", \"value\": %s}", n,
                                    name, value);
        call(f, "qom-set", arguments);
        break;
    default:
        arguments = g_strdup_printf("{\"path\": \"/objects/ksm%d\","
                                    " \"property\": \"%s\"}", n, name);
        call(f, "qom-get", arguments);
    }
}

/* "info stats vcpu" of QEMU 7.2 crashes without a CPU: it is not asked here. */
static void ask_like_people(Fuzz *f)
{
    g_autofree char *arguments =
        g_strdup_printf("{\"command-line\": \"%s\"}",
                        ONE_OF("info ksm", "info ksm -v", "info ksm -x",
                               "info ksm all", "info stats vm",
                               "info stats vm * ksm", "info stats vm purple",
                               "info memdev"));

    call(f, "human-monitor-command", arguments);
}

/* No JSON at all: whatever comes back, the next command must be understood. */
static void send_garbage(Fuzz *f)
{
    char garbage[64];
    int n = any(sizeof(garbage) - 1);

    for (int i = 0; i < n; i++) {
        garbage[i] = any(3) ? " {}[]\",:\\'0123456789trufalsn"[any(28)]
                            : 1 + any(254);
    }
    garbage[n] = '\0';
    /* 0xff ends whatever was begun. */
    qtest_qmp_send_raw(f->qts, "%s\xff", garbage);
    g_assert_true(call(f, "query-version", NULL));
}

/* One file of the host has something else in it, or is gone. */
static void change_host(Fuzz *f)
{
    static const char *const file[] = {
        FAKE_KSM_DIR "run", FAKE_KSM_DIR "engine", FAKE_KSM_DIR "pages_shared",
        FAKE_KSM_DIR "pages_sharing", FAKE_KSM_DIR "general_profit",
        FAKE_KSM_DIR "advisor_mode", FAKE_KSM_DIR "refused_pinned",
        FAKE_PROC_DIR "ksm_stat", FAKE_PROC_DIR "ksm_merging_pages",
        FAKE_PROC_DIR "smaps",
    };
    const char *name = one_of(file, G_N_ELEMENTS(file));
    g_autofree char *path = NULL;

    if (!f->root) {
        return;
    }
    if (any(3) == 0) {
        path = fake_root_path(f->root, name);
        unlink(path);
    } else {
        fake_root_write(f->root, name,
            ONE_OF("", "\n", "1\n", "2\n", "-1\n", "18446744073709551615\n",
                   "[none]\n", "samepage 1\n", "ksm_rmap_items -5\n",
                   "ksm_merge_any: perhaps\nksm_refused_pinned \n",
                   "00001000-ffffffffffffffff rw-p 0 0 0\nKSM: 9 kB\n"
                   "VmFlags: rd mg\n",
                   "7f0000000000-7f0000001000\nKSM: -4 kB\nVmFlags:"));
    }
}

static void (*const action[])(Fuzz *) = {
    query_ksm_stats, query_ksm_stats, query_ksm_stats_badly, query_stats,
    query_schemas, add_backend, add_backend, add_backend, delete_object,
    delete_object, set_property, set_property, fuzz_ksm_object,
    ask_like_people, send_garbage, change_host, verify_in_a_storm,
};

static void find_ksm_types(Fuzz *f)
{
    QDict *answer = exchange(f, "{\"execute\": \"qom-list-types\","
                            " \"arguments\": {\"implements\":"
                            " \"user-creatable\"}");
    const QListEntry *entry;

    f->ksm_types = g_ptr_array_new_with_free_func(g_free);
    QLIST_FOREACH_ENTRY(qdict_get_qlist(answer, "return"), entry) {
        const char *name = qdict_get_str(qobject_to(QDict,
                                         qlist_entry_obj(entry)), "name");

        if (g_str_has_prefix(name, "ksm-")) {
            g_ptr_array_add(f->ksm_types, g_strdup(name));
        }
    }
    qobject_unref(answer);
}

static void delete_all(Fuzz *f)
{
    for (int i = 0; i < IDS; i++) {
        g_autofree char *arguments = g_strdup_printf("{\"id\": \"mem%d\"}", i);

        g_assert_cmpint(call(f, "object-del", arguments), ==, f->exists[i]);
        f->exists[i] = false;
    }
}

static double seconds_per_test(void)
{
    const char *text = getenv("KSM_FUZZ_SECONDS");
    double seconds = text ? g_ascii_strtod(text, NULL) : 20;

    if (!(seconds >= 1 && seconds <= 3600)) {
        g_error("KSM_FUZZ_SECONDS=%s: must be 1 to 3600", text);
    }
    return seconds / 2;
}

static void run(FakeRoot *root, const char *args)
{
    g_autoptr(FakeRoot) files = fake_root_new();
    g_autofree char *path = fake_root_path(files, "/hmp");
    g_autofree char *all = g_strdup_printf("%s -monitor unix:%s,server=on,"
                                           "wait=off", args, path);
    Fuzz f = { .root = root, .files = files };
    int64_t end;

    f.qts = ksm_test_start(root, all);
    f.hmp = ksm_test_connect(path);
    alarm(seconds_per_test() + 120);
    find_ksm_types(&f);
    end = g_get_monotonic_time() + seconds_per_test() * G_USEC_PER_SEC;
    while (g_get_monotonic_time() < end) {
        action[any(G_N_ELEMENTS(action))](&f);
    }
    delete_all(&f);
    query_ksm_stats(&f);
    printf("# %u commands, %u answered with an error, %u blocks came and "
           "went, %u types of ksm\n", f.commands, f.errors, f.blocks_added,
           f.ksm_types->len);
    g_assert_cmpuint(f.errors, >, 0);
    g_assert_cmpuint(f.errors, <, f.commands);
    g_assert_cmpuint(f.blocks_added, >, 0);
    g_ptr_array_free(f.ksm_types, true);
    close(f.hmp);
    qtest_quit(f.qts);
}

static void test_made_up_host(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();

    fake_root_add_samepage(root);
    run(root, "-machine none");
}

static void test_real_host(void)
{
    run(NULL, "-machine q35 -m 16");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/ksm/fuzz/made-up-host", test_made_up_host);
    qtest_add_func("/ksm/fuzz/real-host", test_real_host);

    return g_test_run();
}
