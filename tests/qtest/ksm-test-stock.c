/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest for same-page merging: migration between this QEMU, with all it has to do
 * with merging, and the QEMU 7.2 that a distribution ships
 *
 * All of the guest's memory has to arrive.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qapi/qmp/qdict.h"
#include "qemu/units.h"
#include "ksm-test.h"
#include "ksm-test-memory.h"

#define BINARY_VARIABLE "QTEST_QEMU_BINARY"
#define STOCK_VARIABLE "QTEST_STOCK_QEMU_BINARY"
#define STOCK_BINARY "/usr/bin/qemu-system-x86_64"

/*
 * A distribution's QEMU may have no accelerator named qtest, so both have TCG, and
 * are paused: nobody but the test writes to memory.
 */
#define SIDE "-accel tcg -S -m 40 -machine %s,mem-merge=on"
#define RAM_SIZE (40 * MiB)
#define FILL_START (16 * MiB)
#define FILL_SIZE (8 * MiB)
#define RANDOM_START (32 * MiB)
#define RANDOM_SIZE (4 * MiB)

typedef struct Way {
    const char *name, *machine;
    bool to_stock, merged;
} Way;

static const Way way[] = {
    { "to/q35", "pc-q35-7.2", true, false },
    { "to/i440fx", "pc-i440fx-7.2", true, false },
    { "to/merged", "pc-q35-7.2", true, true },
    { "from/q35", "pc-q35-7.2", false, false },
    { "from/i440fx", "pc-i440fx-7.2", false, false },
    { "from/merged", "pc-q35-7.2", false, true },
};

static const char *stock_binary(void)
{
    const char *path = g_getenv(STOCK_VARIABLE);

    return path ? path : STOCK_BINARY;
}

static QTestState *start_ours(const Way *w, const char *more)
{
    g_autofree char *args =
        g_strdup_printf(SIDE " -object ksm-policy,id=policy%s", w->machine,
                        more);

    return ksm_test_start(NULL, args);
}

static QTestState *start_stock(const Way *w, const char *more)
{
    g_autofree char *ours = g_strdup(g_getenv(BINARY_VARIABLE));
    g_autofree char *args = g_strdup_printf(SIDE "%s", w->machine, more);
    QTestState *qts;

    g_setenv(BINARY_VARIABLE, stock_binary(), true);
    qts = ksm_test_start(NULL, args);
    g_setenv(BINARY_VARIABLE, ours, true);
    return qts;
}

/* It is a 7.2, and none of ours. */
static bool is_stock(QTestState *qts)
{
    QDict *version = qtest_qmp(qts, "{ 'execute': 'query-version' }");
    QDict *number = qdict_get_qdict(qdict_get_qdict(version, "return"),
                                    "qemu");
    QDict *stats = qtest_qmp(qts, "{ 'execute': 'query-ksm-stats' }");
    bool ok = qdict_get_int(number, "major") == 7 &&
              qdict_get_int(number, "minor") == 2 &&
              qdict_haskey(stats, "error");

    qobject_unref(version);
    qobject_unref(stats);
    return ok;
}

static void fill(QTestState *qts)
{
    g_autofree uint32_t *number = g_malloc(RANDOM_SIZE);

    for (size_t i = 0; i < RANDOM_SIZE / sizeof(*number); i++) {
        number[i] = g_test_rand_int();
    }
    qtest_bufwrite(qts, RANDOM_START, number, RANDOM_SIZE);
    ksm_memory_fill(qts, FILL_START, FILL_SIZE);
}

/* Piece by piece: libqtest takes a time that grows with the square of one. */
static char *checksum(QTestState *qts)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    guchar data[16 * KiB];

    for (uint64_t i = 0; i < RAM_SIZE; i += sizeof(data)) {
        qtest_bufread(qts, i, data, sizeof(data));
        g_checksum_update(sum, data, sizeof(data));
    }
    return g_strdup(g_checksum_get_string(sum));
}

/* What the other side holds must be gone, not show through. */
static void run_way(const Way *w, QTestState *from, QTestState *to,
                    QTestState *ours)
{
    g_autoptr(FakeRoot) folder = fake_root_new();
    g_autofree char *path = fake_root_path(folder, "/migration");
    g_autofree char *sent = NULL, *arrived = NULL;

    fill(from);
    qtest_memset(to, FILL_START, 0x99, FILL_SIZE);
    qtest_memset(to, 4 * MiB, 0x99, 4 * MiB);
    if (w->merged && !ksm_memory_wait_merged(ours, "pc.ram", FILL_SIZE)) {
        g_test_skip("the kernel does not tell which pages are merged");
        return;
    }
    ksm_test_check_block(ours, "pc.ram", true, "none");
    sent = checksum(from);
    ksm_test_migrate(from, to, path, false);
    arrived = checksum(to);
    g_assert_cmpstr(arrived, ==, sent);
    ksm_memory_verify(to, FILL_START, FILL_SIZE, -1);
    ksm_test_check_block(ours, "pc.ram", true, "none");
    if (w->merged && ours == to) {
        g_autofree char *merged = NULL;

        ksm_memory_wait_merged(to, "pc.ram", FILL_SIZE);
        merged = checksum(to);
        g_assert_cmpstr(merged, ==, sent);
    }
}

static void run_sides(const Way *w)
{
    QTestState *stock = start_stock(w, w->to_stock ? " -incoming defer" : "");
    QTestState *ours = start_ours(w, w->to_stock ? "" : " -incoming defer");

    if (is_stock(stock)) {
        run_way(w, w->to_stock ? ours : stock, w->to_stock ? stock : ours,
                ours);
    } else {
        g_test_skip("the QEMU of this machine is no QEMU 7.2 as it is shipped");
    }
    qtest_quit(stock);
    qtest_quit(ours);
}

static void test_way(const void *data)
{
    const Way *w = data;
    KsmKnobs *knobs = NULL;

    if (access(stock_binary(), X_OK)) {
        g_test_skip("no QEMU is installed on this machine (" STOCK_VARIABLE
                    " names one)");
        return;
    }
    if (!ksm_test_needs_merging()) {
        return;
    }
    if (w->merged) {
        knobs = ksm_memory_start_engine();
        if (!knobs) {
            return;
        }
    }
    run_sides(w);
    if (knobs) {
        ksm_memory_stop_engine(knobs);
    }
}

void ksm_test_add_stock(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(way); i++) {
        g_autofree char *path = g_strconcat("/ksm/stock/", way[i].name, NULL);

        qtest_add_data_func(path, &way[i], test_way);
    }
}
