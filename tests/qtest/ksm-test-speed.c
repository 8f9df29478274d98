/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest for same-page merging: how long query-ksm-stats takes, and KVM's
 * numbers in it
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qlist.h"
#include "qemu/units.h"
#include "ksm-test.h"

#define NO_KVM "this QEMU, or this machine, has no KVM"

#define BLOCKS 64
#define QUERIES 51
#define BUDGET_MS 5.0

/*
 * A machine that is busy with something else only ever adds to a time.  So what
 * keeps its bound once keeps it, and what is too slow is too slow each time.
 */
#define ATTEMPTS 5

static int compare_ms(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static void receive_line(int fd, GString *line)
{
    char buf[65536];
    ssize_t n;

    g_string_truncate(line, 0);
    do {
        n = read(fd, buf, sizeof(buf));
        g_assert_cmpint(n, >, 0);
        g_string_append_len(line, buf, n);
    } while (buf[n - 1] != '\n');
}

static void ask(int fd, const char *command, GString *answer)
{
    ssize_t size = strlen(command);

    g_assert_cmpint(write(fd, command, size), ==, size);
    receive_line(fd, answer);
    g_assert_true(g_str_has_prefix(answer->str, "{\"return\""));
}

static int count(const char *text, const char *what)
{
    int n = 0;

    for (text = strstr(text, what); text; text = strstr(text + 1, what)) {
        n++;
    }
    return n;
}

/* The median of many queries, from sending to having received the answer */
static double measure(int fd, const char *host, bool verify)
{
    g_autofree char *command =
        g_strdup_printf("{\"execute\": \"query-ksm-stats\","
                        " \"arguments\": {\"verify\": %s}}\n",
                        verify ? "true" : "false");
    g_autoptr(GString) answer = g_string_new(NULL);
    double ms[QUERIES];

    for (int i = 0; i < QUERIES; i++) {
        int64_t start = g_get_monotonic_time();

        ask(fd, command, answer);
        ms[i] = (g_get_monotonic_time() - start) / 1000.0;
        g_assert_cmpint(count(answer->str, "\"mergeable-bytes\""), >, BLOCKS);
    }
    qsort(ms, QUERIES, sizeof(ms[0]), compare_ms);
    printf("# query-ksm-stats, %s, %d blocks, %s: median %.2f ms (%.2f to "
           "%.2f)\n", host, BLOCKS, verify ? "verify" : "default",
           ms[QUERIES / 2], ms[0], ms[QUERIES - 1]);
    return ms[QUERIES / 2];
}

static void check_speed(const FakeRoot *host_root, const char *host,
                        const char *args)
{
    g_autoptr(FakeRoot) folder = fake_root_new();
    g_autofree char *path = fake_root_path(folder, "/qmp");
    g_autoptr(GString) all = g_string_new(args);
    g_autoptr(GString) answer = g_string_new(NULL);
    QTestState *qts;
    double ms;
    int fd, attempt = 0;

    g_string_append_printf(all, " -qmp unix:%s,server=on,wait=off", path);
    for (int i = 0; i < BLOCKS; i++) {
        g_string_append_printf(all, " -object memory-backend-ram,id=mem%d,"
                               "size=4M,prealloc=on", i);
    }
    qts = ksm_test_start(host_root, all->str);
    /* libqtest reads byte by byte, which takes longer than the whole query. */
    fd = ksm_test_connect(path);
    receive_line(fd, answer);
    ask(fd, "{\"execute\": \"qmp_capabilities\"}\n", answer);
    do {
        ms = measure(fd, host, false);
    } while (ms >= BUDGET_MS && ++attempt < ATTEMPTS);
    measure(fd, host, true);
    close(fd);
    qtest_quit(qts);
#ifdef QEMU_SANITIZE_ADDRESS
    g_test_skip("a sanitizer's speed says nothing");
    return;
#endif
    g_assert_cmpfloat(ms, <, BUDGET_MS);
}

static void test_speed_real_host(void)
{
    check_speed(NULL, "this host", "-machine q35 -m 16");
}

/* One that has all the files there are */
static void test_speed_samepage(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();

    fake_root_add_samepage(root);
    check_speed(root, "samepage host", "-machine q35 -m 16");
}

static void test_speed_kvm(void)
{
    if (!ksm_test_has_kvm()) {
        g_test_skip(NO_KVM);
        return;
    }
    check_speed(NULL, "KVM, 8 paused virtual CPUs",
                "-accel kvm -machine q35 -m 16 -smp 8 -S");
}

/* Looks of a policy that are measured, and the most that one may take */
#define LOOKS 5
#define LOOK_MS 10.0
#define IDLE_LOOK_MS 2.0

static double cpu_ms(void)
{
    clockid_t clock;
    struct timespec time;

    g_assert_cmpint(clock_getcpuclockid(ksm_test_qemu_pid, &clock), ==, 0);
    g_assert_cmpint(clock_gettime(clock, &time), ==, 0);
    return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

/* CPU time of a guest that does nothing, for each second */
static double measure_looks(const char *available, bool policy)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autofree char *meminfo = g_strdup_printf("MemTotal: 1000 kB\n"
                                               "MemAvailable: %s kB\n",
                                               available);
    QTestState *qts;
    double before, each;

    fake_root_add_samepage(root);
    ksm_test_link_file(root, "pagemap");
    fake_root_write(root, "/proc/meminfo", meminfo);
    qts = ksm_test_start(root, "-machine q35 -m 256");
    /* What is not in memory is not looked at. */
    qtest_memset(qts, 1 * MiB, 0x5a, 255 * MiB);
    if (policy) {
        ksm_test_add_policy(qts, "'mode': 'auto', 'interval-seconds': 1");
    }
    g_usleep(1500 * 1000);
    before = cpu_ms();
    g_usleep(LOOKS * G_USEC_PER_SEC);
    each = (cpu_ms() - before) / LOOKS;
    qtest_quit(qts);
    return each;
}

/* So 0.1 % of one CPU at the default of ten seconds, and next to nothing idle */
static void test_looks(void)
{
    double without, merging, idle;
    int attempt = 0;

    do {
        without = measure_looks("10", false);
        merging = measure_looks("10", true) - without;
        idle = measure_looks("990", true) - without;
        printf("# a look of mode=auto: %.2f ms of CPU while merging, %.2f ms "
               "otherwise\n", merging, idle);
    } while ((merging >= LOOK_MS || idle >= IDLE_LOOK_MS) &&
             ++attempt < ATTEMPTS);
#ifdef QEMU_SANITIZE_ADDRESS
    g_test_skip("a sanitizer's speed says nothing");
    return;
#endif
    g_assert_cmpfloat(merging, <, LOOK_MS);
    g_assert_cmpfloat(idle, <, IDLE_LOOK_MS);
}

/* The sum of @name over all that query-stats' provider kvm tells @target of */
static uint64_t kvm_stat(QTestState *qts, const char *target, const char *name)
{
    QDict *resp = qtest_qmp(qts, "{ 'execute': 'query-stats', 'arguments': {"
                            " 'target': %s, 'providers': [ {"
                            " 'provider': 'kvm', 'names': [ %s ] } ] } }",
                            target, name);
    const QListEntry *entry;
    uint64_t sum = 0;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(resp, "return"), entry) {
        QDict *result = qobject_to(QDict, qlist_entry_obj(entry));
        QList *stats = qdict_get_qlist(result, "stats");
        QDict *stat = qobject_to(QDict, qlist_peek(stats));

        g_assert_cmpstr(qdict_get_str(stat, "name"), ==, name);
        sum += qdict_get_int(stat, "value");
    }
    qobject_unref(resp);
    return sum;
}

static void check_vcpu_counter(QTestState *qts, const char *name,
                               size_t offset)
{
    uint64_t before = kvm_stat(qts, "vcpu", name);
    g_autoptr(KsmStats) stats = ksm_test_query_fast(qts);
    uint64_t after = kvm_stat(qts, "vcpu", name);
    uint64_t value = *(uint64_t *)((char *)stats->kvm + offset);

    g_test_message("%s: %" PRIu64 " <= %" PRIu64 " <= %" PRIu64, name, before,
                   value, after);
    g_assert_cmpuint(before, <=, value);
    g_assert_cmpuint(value, <=, after);
}

/* The same as query-stats has, although it is read in another way */
static void test_kvm(void)
{
    g_autoptr(KsmStats) first = NULL, later = NULL;
    QTestState *qts;

    if (!ksm_test_has_kvm()) {
        g_test_skip(NO_KVM);
        return;
    }
    qts = ksm_test_start(NULL, "-accel kvm -machine q35 -m 16 -smp 2");
    first = ksm_test_query_fast(qts);
    if (!first->has_kvm) {
        g_test_skip("this machine's KVM has no statistics to read");
        qtest_quit(qts);
        return;
    }
    g_assert_true(first->kvm->has_exits && first->kvm->has_tlb_flushes);
    check_vcpu_counter(qts, "exits", offsetof(KsmKvmInfo, exits));
    if (first->kvm->has_page_faults) {
        check_vcpu_counter(qts, "pf_taken", offsetof(KsmKvmInfo, page_faults));
        check_vcpu_counter(qts, "pf_fixed",
                           offsetof(KsmKvmInfo, page_faults_fixed));
    }
    later = ksm_test_query_fast(qts);
    g_assert_cmpuint(later->kvm->exits, >, 0);
    g_assert_cmpuint(later->kvm->exits, >=, first->kvm->exits);
    g_assert_cmpuint(later->kvm->tlb_flushes, <=,
                     kvm_stat(qts, "vm", "remote_tlb_flush"));
    g_assert_cmpuint(later->kvm->tlb_flush_requests, <=,
                     kvm_stat(qts, "vm", "remote_tlb_flush_requests"));
    qtest_quit(qts);
}

/* Virtual CPUs come and go, and come back under the same number. */
static void test_kvm_cpu_hotplug(void)
{
    g_autoptr(KsmStats) one = NULL, two = NULL;
    QTestState *qts;

    if (!ksm_test_has_kvm()) {
        g_test_skip(NO_KVM);
        return;
    }
    qts = ksm_test_start(NULL, "-accel kvm -machine q35 -cpu qemu64 -m 16 "
                         "-smp 1,sockets=2,maxcpus=2");
    one = ksm_test_query_fast(qts);
    qtest_qmp_device_add(qts, "qemu64-x86_64-cpu", "cpu1", "{'socket-id': 1,"
                         " 'core-id': 0, 'thread-id': 0}");
    two = ksm_test_query_fast(qts);
    g_assert_cmpint(one->has_kvm, ==, two->has_kvm);
    g_assert_true(!two->has_kvm || two->kvm->exits >= one->kvm->exits);
    qtest_quit(qts);
}

static void test_kvm_without_cpus(void)
{
    g_autoptr(KsmStats) stats = NULL;
    QTestState *qts;

    if (!ksm_test_has_kvm()) {
        g_test_skip(NO_KVM);
        return;
    }
    qts = ksm_test_start(NULL, "-accel kvm -machine none");
    stats = ksm_test_query_fast(qts);
    g_assert_true(!stats->has_kvm || !stats->kvm->has_exits);
    qtest_quit(qts);
}

static void test_no_kvm(void)
{
    g_autoptr(KsmStats) stats = NULL;
    QTestState *qts;

    if (!qtest_has_accel("tcg")) {
        g_test_skip("this QEMU has no TCG");
        return;
    }
    qts = ksm_test_start(NULL, "-accel tcg -machine q35 -m 16");
    stats = ksm_test_query_fast(qts);
    g_assert_false(stats->has_kvm);
    g_assert_nonnull(ksm_test_find_block(stats, "pc.ram"));
    qtest_quit(qts);
}

void ksm_test_add_speed(void)
{
    qtest_add_func("/ksm/speed/real-host", test_speed_real_host);
    qtest_add_func("/ksm/speed/samepage", test_speed_samepage);
    qtest_add_func("/ksm/speed/kvm", test_speed_kvm);
    qtest_add_func("/ksm/speed/looks", test_looks);
    qtest_add_func("/ksm/kvm/counters", test_kvm);
    qtest_add_func("/ksm/kvm/cpu-hotplug", test_kvm_cpu_hotplug);
    qtest_add_func("/ksm/kvm/without-cpus", test_kvm_without_cpus);
    qtest_add_func("/ksm/kvm/tcg", test_no_kvm);
}
