/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the QTests of same-page merging have in common
 */

#include "qemu/osdep.h"
#include <sys/un.h>
#include "block/qdict.h"
#include "libqtest.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-ksm.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qjson.h"
#include "qapi/qobject-input-visitor.h"
#include "ksm-test.h"

#define DIMM_PORT 0xa00
#define ROOT_VARIABLE "QEMU_KSM_TEST_ROOT"

/* No test takes longer than a few seconds; a hang is a failure. */
#define TEST_DEADLINE_SECONDS 120

bool ksm_test_needs_merging(void)
{
    size_t size = qemu_real_host_page_size();
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool ok = madvise(page, size, MADV_MERGEABLE) == 0;

    munmap(page, size);
    if (!ok) {
        g_test_skip("the kernel of this machine refuses MADV_MERGEABLE");
    }
    return ok;
}

bool ksm_test_has_kvm(void)
{
    return qtest_has_accel("kvm") && access("/dev/kvm", R_OK | W_OK) == 0;
}

int ksm_test_qemu_pid;

static int read_pid(const char *path)
{
    g_autofree char *text = NULL;
    int pid;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    pid = atoi(text);
    g_assert_cmpint(pid, >, 0);
    return pid;
}

/* As any failed test: QEMU is killed, and the host's knobs are put back. */
static void on_deadline(int sig)
{
    static const char message[] = "Bail out! the deadline of a test is over\n";

    if (write(STDOUT_FILENO, message, strlen(message))) {
        /* nothing more to do about it */
    }
    abort();
}

QTestState *ksm_test_start(const FakeRoot *root, const char *args)
{
    g_autoptr(FakeRoot) folder = fake_root_new();
    g_autofree char *pidfile = fake_root_path(folder, "/pid");
    struct sigaction action = { .sa_handler = on_deadline };
    QTestState *qts;

    sigaction(SIGALRM, &action, NULL);
    alarm(TEST_DEADLINE_SECONDS);
    /* If QEMU dies, libqtest says how; it cannot if its next write kills us. */
    signal(SIGPIPE, SIG_IGN);
    if (root) {
        g_setenv(ROOT_VARIABLE, root->path, true);
    }
    qts = qtest_initf("-nodefaults -pidfile %s %s", pidfile, args);
    g_unsetenv(ROOT_VARIABLE);
    ksm_test_qemu_pid = read_pid(pidfile);
    return qts;
}

void ksm_test_link_file(const FakeRoot *root, const char *name)
{
    g_autofree char *to = g_strconcat("/proc/self/", name, NULL);
    g_autofree char *from = fake_root_path(root, to);

    g_assert_cmpint(symlink(to, from), ==, 0);
}

void ksm_test_set_available(const FakeRoot *root, int percent)
{
    /* 100 MB of memory, so that percentages are easy to tell */
    g_autofree char *text =
        g_strdup_printf("MemTotal:         100000 kB\n"
                        "MemFree:            1000 kB\n"
                        "MemAvailable:   %8d kB\n", percent * 1000);

    fake_root_write(root, "/proc/meminfo", text);
}

int ksm_test_connect(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_assert_cmpint(fd, >=, 0);
    g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
    g_assert_cmpint(connect(fd, (struct sockaddr *)&address, sizeof(address)),
                    ==, 0);
    return fd;
}

static KsmStats *decode(QDict *resp)
{
    Visitor *v;
    KsmStats *stats = NULL;

    g_assert(qdict_haskey(resp, "return"));
    v = qobject_input_visitor_new(qdict_get(resp, "return"));
    visit_type_KsmStats(v, NULL, &stats, &error_abort);
    visit_free(v);
    qobject_unref(resp);
    return stats;
}

KsmStats *ksm_test_query(QTestState *qts)
{
    return decode(qtest_qmp(qts, "{ 'execute': 'query-ksm-stats',"
                                 "  'arguments': { 'verify': true } }"));
}

KsmStats *ksm_test_query_fast(QTestState *qts)
{
    return decode(qtest_qmp(qts, "{ 'execute': 'query-ksm-stats' }"));
}

KsmBlockInfo *ksm_test_find_block(KsmStats *stats, const char *id)
{
    KsmBlockInfo *found = NULL;

    for (KsmBlockInfoList *item = stats->blocks; item; item = item->next) {
        if (g_str_equal(item->value->id, id)) {
            g_assert_null(found);
            found = item->value;
        }
    }
    return found;
}

uint64_t ksm_test_find_mapping(uint64_t size)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/maps", ksm_test_qemu_pid);
    g_autofree char *text = NULL;
    g_auto(GStrv) line = NULL;
    uint64_t start, end, found = 0;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    line = g_strsplit(text, "\n", -1);
    for (int i = 0; line[i]; i++) {
        if (sscanf(line[i], "%" SCNx64 "-%" SCNx64, &start, &end) == 2 &&
            end - start == size) {
            g_assert_cmphex(found, ==, 0);
            found = start;
        }
    }
    g_assert_cmphex(found, !=, 0);
    return found;
}

bool ksm_test_is_mergeable(uint64_t size)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/smaps",
                                            ksm_test_qemu_pid);
    g_autofree char *header = g_strdup_printf("%08" PRIx64 "-",
                                              ksm_test_find_mapping(size));
    g_autofree char *text = NULL;
    const char *mapping, *flags, *mg;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    mapping = strstr(text, header);
    g_assert_nonnull(mapping);
    flags = strstr(mapping, "VmFlags:");
    g_assert_nonnull(flags);
    mg = strstr(flags, " mg");
    return mg && mg < strchr(flags, '\n');
}

void ksm_test_check_block(QTestState *qts, const char *id, bool actual,
                          const char *reason)
{
    g_autoptr(KsmStats) stats = ksm_test_query(qts);
    KsmBlockInfo *block = ksm_test_find_block(stats, id);

    g_assert_nonnull(block);
    g_assert_cmpstr(KsmRefusal_str(block->reason), ==, reason);
    g_assert_cmpint(block->actual, ==, actual);
}

void ksm_test_expect_error(QDict *resp, ...)
{
    QDict *error = qdict_get_qdict(resp, "error");
    const char *desc, *part;
    va_list ap;

    g_assert_nonnull(error);
    desc = qdict_get_str(error, "desc");
    va_start(ap, resp);
    while ((part = va_arg(ap, const char *))) {
        if (!strstr(desc, part)) {
            g_error("no '%s' in '%s'", part, desc);
        }
    }
    va_end(ap);
    qobject_unref(resp);
}

static void expect_success(QDict *resp)
{
    if (!qdict_haskey(resp, "return")) {
        g_error("%s", qdict_get_str(qdict_get_qdict(resp, "error"), "desc"));
    }
    qobject_unref(resp);
}

QDict *ksm_test_try_set(QTestState *qts, const char *property, QObject *value)
{
    return qtest_qmp(qts, "{ 'execute': 'qom-set', 'arguments': {"
                     " 'path': '/objects/policy', 'property': %s,"
                     " 'value': %p } }", property, value);
}

void ksm_test_set(QTestState *qts, const char *property, QObject *value)
{
    expect_success(ksm_test_try_set(qts, property, value));
}

/* object-add with @options, which are JSON in single quotes and may be "" */
static QDict *try_add_object(QTestState *qts, const char *type, const char *id,
                             const char *options)
{
    QDict *arguments = qdict_from_jsonf_nofail("{ 'qom-type': %s, 'id': %s }",
                                               type, id);
    g_autofree char *text = g_strconcat("{", options, "}", NULL);
    QDict *others = qobject_to(QDict, qobject_from_json(text, &error_abort));

    qdict_join(arguments, others, true);
    qobject_unref(others);
    return qtest_qmp(qts, "{ 'execute': 'object-add', 'arguments': %p }",
                     arguments);
}

QDict *ksm_test_try_add(QTestState *qts, const char *options)
{
    return try_add_object(qts, "ksm-policy", "policy", options);
}

void ksm_test_add_policy(QTestState *qts, const char *options)
{
    expect_success(ksm_test_try_add(qts, options));
}

void ksm_test_del_object(QTestState *qts, const char *id)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'object-del',"
                             " 'arguments': { 'id': %s } }", id);
}

void ksm_test_add_backend(QTestState *qts, const char *id, uint64_t size,
                          const char *options)
{
    g_autofree char *all = g_strdup_printf("'size': %" PRIu64 "%s%s", size,
                                           *options ? ", " : "", options);

    expect_success(try_add_object(qts, "memory-backend-ram", id, all));
}

void ksm_test_wait_policy(QTestState *qts, const char *state)
{
    for (;;) {
        g_autoptr(KsmStats) stats = ksm_test_query_fast(qts);

        if (g_str_equal(KsmPolicyState_str(stats->vm->policy->state), state)) {
            return;
        }
        g_usleep(50 * 1000);
    }
}

void ksm_test_wait_gone(QTestState *qts, const char *id)
{
    bool there = true;

    while (there) {
        g_autoptr(KsmStats) stats = ksm_test_query(qts);

        there = ksm_test_find_block(stats, id) != NULL;
        g_usleep(10 * 1000);
    }
}

void ksm_test_eject_dimm(QTestState *qts, uint32_t slot)
{
    qtest_outl(qts, DIMM_PORT, slot);
    qtest_outb(qts, DIMM_PORT + 0x14, 1 << 3);
}

void ksm_test_wait_status(QTestState *qts, const char *command,
                          const char *status)
{
    for (;;) {
        QDict *resp = qtest_qmp(qts, "{ 'execute': %s }", command);
        QDict *data = qdict_get_qdict(resp, "return");
        const char *now = qdict_get_try_str(data, "status");
        bool done = now && g_str_equal(now, status);

        g_assert_true(!now || !g_str_equal(now, "failed"));
        qobject_unref(resp);
        if (done) {
            return;
        }
        g_usleep(10 * 1000);
    }
}

/* So slow that it cannot end by itself, then the other side fetches the rest */
static void switch_to_postcopy(QTestState *from)
{
    for (;;) {
        QDict *resp = qtest_qmp(from, "{ 'execute': 'query-migrate' }");
        QDict *data = qdict_get_qdict(resp, "return");
        bool active = g_strcmp0(qdict_get_try_str(data, "status"),
                                "active") == 0;

        qobject_unref(resp);
        if (active) {
            break;
        }
        g_usleep(5 * 1000);
    }
    qtest_qmp_assert_success(from, "{ 'execute': 'migrate-start-postcopy' }");
}

void ksm_test_migrate(QTestState *from, QTestState *to, const char *path,
                      bool postcopy)
{
    g_autofree char *uri = g_strdup_printf("unix:%s", path);

    qtest_qmp_assert_success(to, "{ 'execute': 'migrate-incoming',"
                             " 'arguments': { 'uri': %s } }", uri);
    if (postcopy) {
        qtest_qmp_assert_success(from, "{ 'execute': 'migrate-set-parameters',"
                                 " 'arguments': { 'max-bandwidth': 1000 } }");
    }
    qtest_qmp_assert_success(from, "{ 'execute': 'migrate',"
                             " 'arguments': { 'uri': %s } }", uri);
    if (postcopy) {
        switch_to_postcopy(from);
        qtest_qmp_assert_success(from, "{ 'execute': 'migrate-set-parameters',"
                                 " 'arguments': {"
                                 "   'max-postcopy-bandwidth': 0 } }");
    }
    ksm_test_wait_status(from, "query-migrate", "completed");
    ksm_test_wait_status(to, "query-migrate", "completed");
}
