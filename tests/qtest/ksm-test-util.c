/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the QTests of same-page merging have in common
 */

#include "qemu/osdep.h"
#include <sys/un.h>
#include "libqtest.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-ksm.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qobject-input-visitor.h"
#include "ksm-test.h"

#define ROOT_VARIABLE "QEMU_KSM_TEST_ROOT"

/* No test takes longer than a few seconds; a hang is a failure. */
#define TEST_DEADLINE_SECONDS 120

bool ksm_test_kernel_merges(void)
{
    size_t size = qemu_real_host_page_size();
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool ok = madvise(page, size, MADV_MERGEABLE) == 0;

    munmap(page, size);
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
    if (root) {
        g_setenv(ROOT_VARIABLE, root->path, true);
    }
    qts = qtest_initf("-nodefaults -pidfile %s %s", pidfile, args);
    g_unsetenv(ROOT_VARIABLE);
    ksm_test_qemu_pid = read_pid(pidfile);
    return qts;
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
