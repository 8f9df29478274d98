/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest for same-page merging: memory that comes, changes and goes under a
 * ksm-policy object, and the warning at start
 */

#include "qemu/osdep.h"
#include <sys/resource.h>
#include "libqtest.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-ksm.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qstring.h"
#include "qemu/units.h"
#include "ksm-test.h"

#define POLICY " -object ksm-policy,id=policy"
#define VIRTIO_MEM_ID "0000:00:01.0/mem"
#define STR(s) QOBJECT(qstring_from_str(s))

static void test_hotplug(void)
{
    QTestState *qts;

    if (!ksm_test_needs_merging()) {
        return;
    }
    qts = ksm_test_start(NULL, "-machine q35 -m 16,slots=2,maxmem=512M"
                         POLICY ",mode=off");
    for (int i = 0; i < 2; i++) {
        /* The mapping of the last one may linger */
        uint64_t size = (130 + 2 * i) * MiB;

        ksm_test_add_backend(qts, "mem", size, "");
        ksm_test_check_block(qts, "mem", false, "disabled-by-policy");
        qtest_qmp_assert_success(qts, "{ 'execute': 'device_add',"
                                 " 'arguments': { 'driver': 'pc-dimm',"
                                 "   'id': 'dimm', 'memdev': 'mem' } }");
        ksm_test_check_block(qts, "mem", false, "disabled-by-policy");
        ksm_test_set(qts, "mode", STR("on"));
        ksm_test_check_block(qts, "mem", true, "none");
        g_assert_true(ksm_test_is_mergeable(size));
        ksm_test_set(qts, "mode", STR("off"));
        g_assert_false(ksm_test_is_mergeable(size));
        qtest_qmp_device_del_send(qts, "dimm");
        ksm_test_eject_dimm(qts, 0);
        qtest_qmp_eventwait(qts, "DEVICE_DELETED");
        ksm_test_del_object(qts, "mem");
        ksm_test_wait_gone(qts, "mem");
    }
    qtest_quit(qts);
}

/* Options that make the kernel pass memory by, whatever the policy says */
static void test_kinds(void)
{
    QTestState *qts;

    if (!ksm_test_needs_merging()) {
        return;
    }
    qts = ksm_test_start(NULL, "-machine none" POLICY);
    ksm_test_add_backend(qts, "shared", 1 * MiB, "'share': true");
    ksm_test_add_backend(qts, "own", 1 * MiB, "'merge': false");
    ksm_test_add_backend(qts, "full", 1 * MiB, "'prealloc': true");
    ksm_test_check_block(qts, "shared", false, "shared-mapping");
    ksm_test_check_block(qts, "own", false, "disabled-by-backend");
    ksm_test_check_block(qts, "full", true, "none");
    ksm_test_set(qts, "mode", STR("off"));
    ksm_test_check_block(qts, "shared", false, "disabled-by-policy");
    ksm_test_check_block(qts, "own", false, "disabled-by-backend");
    ksm_test_check_block(qts, "full", false, "disabled-by-policy");
    ksm_test_set(qts, "mode", STR("on"));
    ksm_test_check_block(qts, "shared", false, "shared-mapping");
    ksm_test_del_object(qts, "shared");
    ksm_test_wait_gone(qts, "shared");
    ksm_test_del_object(qts, "policy");
    ksm_test_check_block(qts, "own", false, "disabled-by-backend");
    qtest_quit(qts);
}

static void test_confidential(void)
{
    QTestState *qts;

    if (!ksm_test_needs_merging()) {
        return;
    }
    qts = ksm_test_start(NULL, CONFIDENTIAL_GUEST ",merge=on" POLICY);
    ksm_test_check_block(qts, "mem", false, "confidential-guest");
    ksm_test_set(qts, "mode", STR("off"));
    ksm_test_check_block(qts, "mem", false, "disabled-by-policy");
    ksm_test_set(qts, "mode", STR("on"));
    ksm_test_check_block(qts, "mem", false, "confidential-guest");
    g_assert_false(ksm_test_is_mergeable(5184 * KiB));
    qtest_quit(qts);
}

/* Locked memory is merged like any other */
static void test_locked(void)
{
    struct rlimit limit;
    QTestState *qts;

    if (!ksm_test_needs_merging()) {
        return;
    }
    getrlimit(RLIMIT_MEMLOCK, &limit);
    if (geteuid() != 0 && limit.rlim_cur != RLIM_INFINITY) {
        g_test_skip("not allowed to lock memory");
        return;
    }
    qts = ksm_test_start(NULL, "-machine q35 -m 27 -overcommit mem-lock=on"
                         POLICY);
    ksm_test_check_block(qts, "pc.ram", true, "none");
    g_assert_true(ksm_test_is_mergeable(27 * MiB));
    qtest_quit(qts);
}

/* Blocks that can grow are advised in full from the start */
static void test_resizable(void)
{
    g_autoptr(KsmStats) stats = NULL;
    QTestState *qts;
    int n = 0;

    if (!ksm_test_needs_merging()) {
        return;
    }
    qts = ksm_test_start(NULL, "-machine q35 -m 27" POLICY ",blocks=/rom@*");
    stats = ksm_test_query(qts);
    for (KsmBlockInfoList *item = stats->blocks; item; item = item->next) {
        KsmBlockInfo *block = item->value;
        bool selected = g_str_has_prefix(block->id, "/rom@");

        g_test_message("%s", block->id);
        g_assert_cmpint(block->actual, ==, selected);
        g_assert_cmpint(block->mergeable_bytes, ==,
                        selected ? block->size : 0);
        g_assert_cmpint(block->has_remedy, ==, !selected);
        n += selected;
    }
    g_assert_cmpint(n, >=, 1);
    qtest_quit(qts);
}

/* Memory that a device plugs and unplugs piece by piece is advised in full */
static void test_virtio_mem(void)
{
    QTestState *qts;

    if (!ksm_test_needs_merging()) {
        return;
    }
    qts = ksm_test_start(NULL, "-machine q35 -m 16,maxmem=512M -object "
                         "memory-backend-ram,id=mem,size=130M "
                         "-device virtio-mem-pci,id=dev,memdev=mem" POLICY);
    ksm_test_check_block(qts, VIRTIO_MEM_ID, true, "none");
    qtest_qmp_assert_success(qts, "{ 'execute': 'qom-set', 'arguments': {"
                             " 'path': '/machine/peripheral/dev',"
                             " 'property': 'requested-size',"
                             " 'value': 67108864 } }");
    ksm_test_check_block(qts, VIRTIO_MEM_ID, true, "none");
    g_assert_true(ksm_test_is_mergeable(130 * MiB));
    ksm_test_set(qts, "mode", STR("off"));
    ksm_test_check_block(qts, VIRTIO_MEM_ID, false, "disabled-by-policy");
    qtest_quit(qts);
}

/* The policy stays behind: each side has its own, or none */
static void test_migrate(const void *policy)
{
    g_autoptr(FakeRoot) folder = fake_root_new();
    g_autofree char *path = fake_root_path(folder, "/state");
    g_autofree char *uri = g_strdup_printf("exec:cat > %s", path);
    g_autofree char *args = g_strdup_printf("-machine q35 -m 27 -incoming "
                                            "'exec:cat %s'%s", path,
                                            (const char *)policy);
    QTestState *qts;

    if (!ksm_test_needs_merging()) {
        return;
    }
    qts = ksm_test_start(NULL, "-machine q35 -m 27" POLICY);
    qtest_memset(qts, 16 * MiB, 0x5a, 4096);
    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate',"
                             " 'arguments': { 'uri': %s } }", uri);
    ksm_test_wait_status(qts, "query-migrate", "completed");
    ksm_test_check_block(qts, "pc.ram", true, "none");
    qtest_quit(qts);

    qts = ksm_test_start(NULL, args);
    ksm_test_wait_status(qts, "query-status", "running");
    if (*(const char *)policy) {
        ksm_test_check_block(qts, "pc.ram", false, "disabled-by-policy");
        ksm_test_check_block(qts, "pc.bios", false, "excluded-by-policy");
    } else {
        ksm_test_check_block(qts, "pc.ram", true, "none");
        ksm_test_check_block(qts, "pc.bios", true, "none");
    }
    g_assert_cmphex(qtest_readl(qts, 16 * MiB), ==, 0x5a5a5a5a);
    qtest_quit(qts);
}

/* Four ACPI tables of 48 KiB, which make QEMU's block of them a larger one */
static char *big_tables(const FakeRoot *folder)
{
    g_autofree char *path = fake_root_path(folder, "/table");
    g_autofree char *data = g_strnfill(48 * KiB, 't');
    GString *args = g_string_new(NULL);

    g_assert_true(g_file_set_contents(path, data, -1, NULL));
    for (int i = 0; i < 4; i++) {
        g_string_append_printf(args, " -acpitable sig=KSM%d,data=%s", i, path);
    }
    return g_string_free(args, false);
}

static void check_tables(QTestState *qts, uint64_t size, const char *reason)
{
    g_autoptr(KsmStats) stats = ksm_test_query(qts);
    g_autoptr(KsmStats) fast = ksm_test_query_fast(qts);
    KsmBlockInfo *block = ksm_test_find_block(stats, "/rom@etc/acpi/tables");
    bool mergeable = g_str_equal(reason, "none");

    g_assert_nonnull(block);
    g_assert_cmpuint(block->size, ==, size);
    g_assert_cmpstr(KsmRefusal_str(block->reason), ==, reason);
    g_assert_cmpuint(block->mergeable_bytes, ==, mergeable ? size : 0);
    block = ksm_test_find_block(fast, "/rom@etc/acpi/tables");
    g_assert_cmpuint(block->mergeable_bytes, ==, mergeable ? size : 0);
}

/* A block that grows, because the one of the other side is larger */
static void test_resized(void)
{
    g_autoptr(FakeRoot) folder = fake_root_new();
    g_autofree char *path = fake_root_path(folder, "/state");
    g_autofree char *out = g_strdup_printf("exec:cat > %s", path);
    g_autofree char *in = g_strdup_printf("exec:cat %s", path);
    g_autofree char *tables = big_tables(folder);
    g_autofree char *args = g_strconcat("-machine q35 -m 27", tables, NULL);
    QTestState *qts;

    if (!ksm_test_needs_merging()) {
        return;
    }
    qts = ksm_test_start(NULL, args);
    check_tables(qts, 256 * KiB, "none");
    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate',"
                             " 'arguments': { 'uri': %s } }", out);
    ksm_test_wait_status(qts, "query-migrate", "completed");
    qtest_quit(qts);

    qts = ksm_test_start(NULL, "-machine q35 -m 27 -incoming defer" POLICY
                         ",blocks=/rom@*");
    check_tables(qts, 128 * KiB, "none");
    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate-incoming',"
                             " 'arguments': { 'uri': %s } }", in);
    ksm_test_wait_status(qts, "query-status", "running");
    check_tables(qts, 256 * KiB, "none");
    ksm_test_set(qts, "mode", STR("off"));
    check_tables(qts, 256 * KiB, "disabled-by-policy");
    qtest_quit(qts);
}

#define ASKED "-machine q35,mem-merge=on -m 27"
#define SHARED " -object memory-backend-ram,id=ram,size=27M,share=on " \
               "-machine memory-backend=ram"

static const struct {
    const char *name, *args;
    const char *expected;       /* pattern; NULL: no warning */
} warning[] = {
    { "shared", ASKED SHARED, "*mem-merge=on*'ram'*mapped shared*" },
    { "not-asked", "-machine q35 -m 27" SHARED, NULL },
    { "off", ASKED SHARED " -machine mem-merge=off", NULL },
    { "backend", ASKED " -object memory-backend-ram,id=ram,size=27M,merge=off "
      "-machine memory-backend=ram", "*mem-merge=on*'ram'*merge=off*" },
    { "works", ASKED, NULL },
    { "some-works", ASKED " -object memory-backend-ram,id=m,size=1M,share=on",
      NULL },
    { "policy", ASKED POLICY ",mode=off", NULL },
    { "no-ram", "-machine none,mem-merge=on", NULL },
};

static void test_warning(const void *data)
{
    int i = GPOINTER_TO_INT(data);

    if (g_test_subprocess()) {
        qtest_quit(ksm_test_start(NULL, warning[i].args));
        return;
    }
    if (!ksm_test_needs_merging()) {
        return;
    }
    g_test_trap_subprocess(NULL, 60 * G_USEC_PER_SEC, 0);
    g_test_trap_assert_passed();
    if (warning[i].expected) {
        g_test_trap_assert_stderr(warning[i].expected);
        /* Once, not once a block */
        g_test_trap_assert_stderr_unmatched("*mem-merge=on*mem-merge=on*");
    } else {
        g_test_trap_assert_stderr_unmatched("*mem-merge=on*");
    }
}

void ksm_test_add_life(void)
{
    qtest_add_func("/ksm/life/hotplug", test_hotplug);
    qtest_add_func("/ksm/life/kinds", test_kinds);
    qtest_add_func("/ksm/life/confidential", test_confidential);
    qtest_add_func("/ksm/life/locked", test_locked);
    qtest_add_func("/ksm/life/resizable", test_resizable);
    qtest_add_func("/ksm/life/resized", test_resized);
    qtest_add_func("/ksm/life/virtio-mem", test_virtio_mem);
    qtest_add_data_func("/ksm/life/migrate/other", POLICY ",mode=off",
                        test_migrate);
    qtest_add_data_func("/ksm/life/migrate/none", "", test_migrate);
    for (size_t i = 0; i < G_N_ELEMENTS(warning); i++) {
        g_autofree char *path = g_strconcat("/ksm/warning/", warning[i].name,
                                            NULL);

        qtest_add_data_func(path, GINT_TO_POINTER(i), test_warning);
    }
}
