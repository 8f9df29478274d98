/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest for same-page merging: guests on this machine's own kernel, which merges
 * their memory while the policy, the memory and the machine change
 *
 * After each step all memory is read again.
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
#include "ksm-test-memory.h"

#define RAM_SIZE (64 * MiB)
#define FILL_START (16 * MiB)
#define FILL_SIZE (8 * MiB)
#define HOT_SIZE (2 * MiB)
#define DIMM_SIZE (128 * MiB)
#define NO_PAGES "the kernel does not tell which pages are merged"
#define STR(s) QOBJECT(qstring_from_str(s))

static void verify(QTestState *qts)
{
    ksm_memory_verify(qts, FILL_START, FILL_SIZE, -1);
}

/* ---- a policy with mode=auto ---- */

/*
 * One region is written to until it is left out, and what was merged of it has
 * been given back; the rest stays merged.
 */
static void check_hot(QTestState *qts)
{
    const uint64_t from = FILL_START + HOT_SIZE;
    bool hot = false;

    for (uint8_t content = 1; !hot; content++) {
        g_autoptr(KsmStats) stats = NULL;
        KsmBlockInfo *block;

        qtest_memset(qts, from, content, HOT_SIZE);
        stats = ksm_test_query(qts);
        block = ksm_test_find_block(stats, "pc.ram");
        hot = block->reason == KSM_REFUSAL_WRITE_HOT;
        g_assert_cmpuint(block->mergeable_bytes, ==,
                         RAM_SIZE - (hot ? HOT_SIZE : 0));
        g_assert_cmpuint(block->merged_bytes, >=, FILL_SIZE - HOT_SIZE);
        g_usleep(100 * 1000);
    }
    qtest_memset(qts, from, 0x11, HOT_SIZE);
    for (uint64_t i = 0; i < HOT_SIZE; i += 4 * KiB) {
        g_assert_cmphex(qtest_readq(qts, from + i), ==, 0x1111111111111111);
    }
    ksm_memory_verify(qts, FILL_START, HOT_SIZE, -1);
}

static void run_auto(const FakeRoot *root)
{
    uint64_t merged;
    QTestState *qts;

    ksm_test_set_available(root, 50);
    ksm_memory_link_host(root);
    qts = ksm_test_start(root, "-machine q35 -m 64 -object ksm-policy,"
                         "id=policy,mode=auto,interval-seconds=1,"
                         "dwell-seconds=1");
    ksm_memory_fill(qts, FILL_START, FILL_SIZE);
    ksm_memory_wait_engine();
    if (!ksm_memory_merged(qts, "pc.ram", &merged)) {
        g_test_skip(NO_PAGES);
        qtest_quit(qts);
        return;
    }
    /* The host has enough: nothing of it. */
    g_assert_cmpuint(merged, ==, 0);
    ksm_test_set_available(root, 5);
    ksm_test_wait_policy(qts, "merging");
    ksm_memory_wait_merged(qts, "pc.ram", FILL_SIZE);
    verify(qts);
    /* It has enough again: what is merged stays so. */
    ksm_test_set_available(root, 50);
    ksm_test_wait_policy(qts, "paused");
    ksm_memory_wait_engine();
    g_assert_true(ksm_memory_merged(qts, "pc.ram", &merged));
    g_assert_cmpuint(merged, >=, FILL_SIZE);
    ksm_test_set_available(root, 5);
    ksm_test_wait_policy(qts, "merging");
    check_hot(qts);
    ksm_test_set(qts, "mode", STR("off"));
    g_assert_true(ksm_memory_merged(qts, "pc.ram", &merged));
    g_assert_cmpuint(merged, ==, 0);
    ksm_memory_verify(qts, FILL_START, HOT_SIZE, -1);
    qtest_quit(qts);
}

static void test_auto(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    KsmKnobs *knobs = ksm_memory_start_engine();

    if (knobs) {
        run_auto(root);
        ksm_memory_stop_engine(knobs);
    }
}

/* ---- memory that comes and goes ---- */

/* Where the guest sees the only hot-plugged memory */
static uint64_t address_of_dimm(QTestState *qts)
{
    QDict *resp = qtest_qmp(qts, "{ 'execute': 'query-memory-devices' }");
    QDict *device = qobject_to(QDict,
                               qlist_peek(qdict_get_qlist(resp, "return")));
    uint64_t address = qdict_get_int(qdict_get_qdict(device, "data"), "addr");

    qobject_unref(resp);
    return address;
}

static uint64_t vm_merged(QTestState *qts)
{
    g_autoptr(KsmStats) stats = ksm_test_query_fast(qts);

    return stats->vm->merged_bytes;
}

static void run_plug(void)
{
    QTestState *qts = ksm_test_start(NULL, "-machine q35 "
                                     "-m 64,slots=2,maxmem=512M "
                                     "-object ksm-policy,id=policy");
    uint64_t address, merged, before;

    ksm_memory_fill(qts, FILL_START, FILL_SIZE);
    ksm_test_add_backend(qts, "mem", DIMM_SIZE, "");
    qtest_qmp_assert_success(qts, "{ 'execute': 'device_add', 'arguments': {"
                             " 'driver': 'pc-dimm', 'id': 'dimm',"
                             " 'memdev': 'mem' } }");
    address = address_of_dimm(qts);
    ksm_memory_fill(qts, address, FILL_SIZE);
    if (!ksm_memory_wait_merged(qts, "mem", FILL_SIZE)) {
        g_test_skip(NO_PAGES);
        qtest_quit(qts);
        return;
    }
    ksm_memory_wait_merged(qts, "pc.ram", FILL_SIZE);
    ksm_memory_verify(qts, address, FILL_SIZE, -1);
    verify(qts);
    before = vm_merged(qts);
    g_assert_cmpuint(before, >=, 2 * FILL_SIZE);
    qtest_qmp_device_del_send(qts, "dimm");
    ksm_test_eject_dimm(qts, 0);
    qtest_qmp_eventwait(qts, "DEVICE_DELETED");
    ksm_test_del_object(qts, "mem");
    ksm_test_wait_gone(qts, "mem");
    /* What was unplugged is counted no more; the rest goes on. */
    while (vm_merged(qts) > before - FILL_SIZE) {
        g_usleep(50 * 1000);
    }
    g_assert_true(ksm_memory_merged(qts, "pc.ram", &merged));
    g_assert_cmpuint(merged, >=, FILL_SIZE);
    verify(qts);
    qtest_quit(qts);
}

static void test_plug(void)
{
    KsmKnobs *knobs = ksm_memory_start_engine();

    if (knobs) {
        run_plug();
        ksm_memory_stop_engine(knobs);
    }
}

/* ---- migration between two machines that have merged each other's memory ---- */

static bool set_capability(QTestState *qts, const char *name)
{
    QDict *resp = qtest_qmp(qts, "{ 'execute': 'migrate-set-capabilities',"
                            " 'arguments': { 'capabilities': [ {"
                            "   'capability': %s, 'state': true } ] } }",
                            name);
    bool ok = qdict_haskey(resp, "return");

    qobject_unref(resp);
    return ok;
}

#define SIDE "-machine q35 -m 64 -object ksm-policy,id=policy"

/*
 * The other side has merged memory, too, before it becomes the guest's: what it
 * held must be gone, not show through.
 */
static void run_migrate(bool postcopy)
{
    g_autoptr(FakeRoot) folder = fake_root_new();
    g_autofree char *path = fake_root_path(folder, "/migration");
    QTestState *from = ksm_test_start(NULL, SIDE);
    QTestState *to = ksm_test_start(NULL, SIDE " -incoming defer");
    bool able = !postcopy || (set_capability(to, "postcopy-ram") &&
                              set_capability(from, "postcopy-ram"));

    ksm_memory_fill(from, FILL_START, FILL_SIZE);
    ksm_memory_fill(from, FILL_START + FILL_SIZE, FILL_SIZE);
    ksm_memory_fill(to, FILL_START, FILL_SIZE);
    qtest_memset(to, FILL_START + FILL_SIZE, 0x99, FILL_SIZE);
    qtest_memset(to, 4 * MiB, 0x99, 4 * MiB);
    if (!able) {
        g_test_skip("this machine allows no postcopy (userfaultfd)");
    } else if (!ksm_memory_wait_merged(from, "pc.ram", 2 * FILL_SIZE)) {
        g_test_skip(NO_PAGES);
    } else {
        ksm_memory_wait_merged(to, "pc.ram", 2 * FILL_SIZE);
        ksm_test_migrate(from, to, path, postcopy);
        ksm_memory_verify(to, FILL_START, FILL_SIZE, -1);
        ksm_memory_verify(to, FILL_START + FILL_SIZE, FILL_SIZE, -1);
        g_assert_cmphex(qtest_readq(to, 5 * MiB), ==, 0);
        ksm_test_check_block(to, "pc.ram", true, "none");
        ksm_memory_wait_merged(to, "pc.ram", 2 * FILL_SIZE);
        ksm_memory_verify(to, FILL_START, FILL_SIZE, -1);
    }
    qtest_quit(from);
    qtest_quit(to);
}

static void test_migrate(const void *postcopy)
{
    KsmKnobs *knobs = ksm_memory_start_engine();

    if (knobs) {
        run_migrate(postcopy != NULL);
        ksm_memory_stop_engine(knobs);
    }
}

/* ---- snapshots ---- */

static void run_job(QTestState *qts, QDict *resp, const char *id)
{
    QDict *job;

    g_assert_true(qdict_haskey(resp, "return"));
    qobject_unref(resp);
    for (bool done = false; !done; ) {
        QDict *event = qtest_qmp_eventwait_ref(qts, "JOB_STATUS_CHANGE");
        const char *status = qdict_get_str(qdict_get_qdict(event, "data"),
                                           "status");

        done = g_str_equal(status, "concluded");
        qobject_unref(event);
    }
    resp = qtest_qmp(qts, "{ 'execute': 'query-jobs' }");
    job = qobject_to(QDict, qlist_peek(qdict_get_qlist(resp, "return")));
    if (qdict_haskey(job, "error")) {
        g_error("%s: %s", id, qdict_get_str(job, "error"));
    }
    qobject_unref(resp);
    qtest_qmp_assert_success(qts, "{ 'execute': 'job-dismiss',"
                             " 'arguments': { 'id': %s } }", id);
}

/* An image of QEMU's own format, as node "disk" */
static void create_disk(QTestState *qts, const char *path)
{
    g_assert_true(g_file_set_contents(path, "", 0, NULL));
    qtest_qmp_assert_success(qts, "{ 'execute': 'blockdev-add', 'arguments': {"
                             " 'driver': 'file', 'node-name': 'file',"
                             " 'filename': %s } }", path);
    run_job(qts, qtest_qmp(qts, "{ 'execute': 'blockdev-create',"
                           " 'arguments': { 'job-id': 'create', 'options': {"
                           "   'driver': 'qcow2', 'file': 'file',"
                           "   'size': 1048576 } } }"), "create");
    qtest_qmp_assert_success(qts, "{ 'execute': 'blockdev-add', 'arguments': {"
                             " 'driver': 'qcow2', 'node-name': 'disk',"
                             " 'file': 'file' } }");
}

static void snapshot(QTestState *qts, const char *command)
{
    run_job(qts, qtest_qmp(qts, "{ 'execute': %s, 'arguments': {"
                           " 'job-id': 'snapshot', 'tag': 'one',"
                           " 'vmstate': 'disk', 'devices': [ 'disk' ] } }",
                           command), "snapshot");
}

static void run_snapshot(void)
{
    g_autoptr(FakeRoot) folder = fake_root_new();
    g_autofree char *path = fake_root_path(folder, "/disk");
    QTestState *qts = ksm_test_start(NULL, SIDE);

    create_disk(qts, path);
    ksm_memory_fill(qts, FILL_START, FILL_SIZE);
    if (ksm_memory_wait_merged(qts, "pc.ram", FILL_SIZE)) {
        snapshot(qts, "snapshot-save");
        verify(qts);
        qtest_memset(qts, FILL_START, 0x99, FILL_SIZE);
        qtest_memset(qts, 4 * MiB, 0x99, 4 * MiB);
        ksm_memory_wait_merged(qts, "pc.ram", FILL_SIZE);
        snapshot(qts, "snapshot-load");
        verify(qts);
        g_assert_cmphex(qtest_readq(qts, 5 * MiB), ==, 0);
        ksm_test_check_block(qts, "pc.ram", true, "none");
        ksm_memory_wait_merged(qts, "pc.ram", FILL_SIZE);
        verify(qts);
    } else {
        g_test_skip(NO_PAGES);
    }
    qtest_quit(qts);
}

static void test_snapshot(void)
{
    KsmKnobs *knobs = ksm_memory_start_engine();

    if (knobs) {
        run_snapshot();
        ksm_memory_stop_engine(knobs);
    }
}

void ksm_test_add_machine(void)
{
    qtest_add_func("/ksm/machine/auto", test_auto);
    qtest_add_func("/ksm/machine/plug", test_plug);
    qtest_add_data_func("/ksm/machine/precopy", NULL, test_migrate);
    qtest_add_data_func("/ksm/machine/postcopy", "postcopy", test_migrate);
    qtest_add_func("/ksm/machine/snapshot", test_snapshot);
}
