/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of the readers of the host's memory pressure
 */

#include "qemu/osdep.h"
#include "hw/ksm/ksm-host-pressure.h"
#include "ksm-fake-root.h"

#define MEMINFO "/proc/meminfo"
#define PSI "/proc/pressure/memory"
#define FULL "full avg10=9.00 avg60=0.00 avg300=0.00 total=0\n"

static void assert_value(const KsmHostValue *value, int expected)
{
    g_assert_cmpint(value->present, ==, expected >= 0);
    if (expected >= 0) {
        g_assert_cmpuint(value->u, ==, expected);
    }
}

/* -1: not present.  @bad: the file that an error has to name, or NULL */
static void check(const char *meminfo, const char *psi, int available,
                  int stall, const char *bad)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmHost) host = ksm_host_new(root->path);
    KsmHostPressure pressure;
    GError *err = NULL;
    bool ok;

    if (meminfo) {
        fake_root_write(root, MEMINFO, meminfo);
    }
    if (psi) {
        fake_root_write(root, PSI, psi);
    }
    memset(&pressure, 0xff, sizeof(pressure));
    ok = ksm_host_read_pressure(host, &pressure, &err);
    assert_value(&pressure.available, available);
    assert_value(&pressure.stall, stall);
    g_assert_cmpint(ok, ==, bad == NULL);
    if (bad) {
        g_assert_error(err, KSM_HOST_ERROR, KSM_HOST_ERROR_FORMAT);
        g_assert_nonnull(strstr(err->message, bad));
        g_error_free(err);
    } else {
        g_assert_no_error(err);
    }
}

static void test_absent(void)
{
    check(NULL, NULL, -1, -1, NULL);
    check("MemTotal: 1000 kB\nMemFree: 500 kB\n", NULL, -1, -1, NULL);
}

static void test_meminfo(void)
{
    static const struct {
        const char *text;
        int available;
        bool ok;
    } row[] = {
        { "MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable: 250 kB\n", 2500,
          true },
        { "MemTotal:  1000 kB\nMemAvailable: 1000 kB\nBuffers: 1 kB\n", 10000,
          true },
        { "MemTotal:\t3 kB\nMemAvailable:\t1 kB\n", 3333, true },
        { "MemTotal: 1000 kB\nMemAvailable: 0 kB", 0, true },
        { "MemTotal: 18446744073709551615 kB\n"
          "MemAvailable: 18446744073709551615 kB\n", 10000, true },
        { "MemTotal: 0 kB\nMemAvailable: 0 kB\n", -1, false },
        { "MemTotal: 1000 kB\nMemAvailable: 1001 kB\n", -1, false },
        { "MemTotal: 1000 kB\nMemAvailable: -1 kB\n", -1, false },
        { "MemTotal: 1000 kB\nMemAvailable: 5 MB\n", -1, false },
        { "MemTotal: 1000 kB\nMemAvailable:\n", -1, false },
        { "MemTotal: many kB\nMemAvailable: 5 kB\n", -1, false },
        { "MemTotal: 99999999999999999999 kB\nMemAvailable: 5 kB\n", -1,
          false },
        { "MemAvailable: 5 kB\n", -1, false },
        { "xMemTotal: 10 kB\nMemAvailable: 5 kB\n", -1, false },
        { "\xff\xfe", -1, false },
        { "", -1, false },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(row); i++) {
        g_test_message("row %zu", i);
        check(row[i].text, NULL, row[i].available, -1,
              row[i].ok ? NULL : MEMINFO);
    }
}

static void test_psi(void)
{
    static const struct {
        const char *text;
        int stall;
    } row[] = {
        { "some avg10=0.00 avg60=1.00 avg300=2.00 total=3\n" FULL, 0 },
        { "some avg10=12.34 avg60=1.00 avg300=2.00 total=3\n" FULL, 1234 },
        { "some avg10=100.00 avg60=1.00 avg300=2.00 total=3\n" FULL, 10000 },
        { FULL "some avg10=0.07 avg60=1.00 avg300=2.00 total=3\n", 7 },
        { FULL, -1 },
        { "some avg10=100.01 avg60=1.00\n", -1 },
        { "some avg10=1000.00 avg60=1.00\n", -1 },
        { "some avg10=.50 avg60=1.00\n", -1 },
        { "some avg10=-1.00 avg60=1.00\n", -1 },
        { "some avg10=1,50 avg60=1.00\n", -1 },
        { "some avg10=1.5 avg60=1.00\n", -1 },
        { "some avg10=1.500 avg60=1.00\n", -1 },
        { "some avg10=", -1 },
        { "some avg60=1.00\n", -1 },
        { "\xff\xfe", -1 },
        { "", -1 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(row); i++) {
        g_test_message("row %zu", i);
        check(NULL, row[i].text, -1, row[i].stall,
              row[i].stall >= 0 ? NULL : PSI);
    }
}

/* One file that makes no sense does not spoil the other. */
static void test_independent(void)
{
    check("MemTotal: 4 kB\nMemAvailable: 1 kB\n", "rubbish", 2500, -1, PSI);
    check("rubbish", "some avg10=1.00 avg60=1.00\n" FULL, -1, 100, MEMINFO);
    check("rubbish", "rubbish", -1, -1, PSI);
}

static void test_folder(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmHost) host = ksm_host_new(root->path);
    KsmHostPressure pressure;
    GError *err = NULL;

    fake_root_mkdir(root, MEMINFO);
    g_assert_false(ksm_host_read_pressure(host, &pressure, &err));
    g_assert_error(err, KSM_HOST_ERROR, KSM_HOST_ERROR_IO);
    g_assert_false(pressure.available.present);
    g_error_free(err);
}

static void test_real(void)
{
    g_autoptr(KsmHost) host = ksm_host_new(NULL);
    KsmHostPressure pressure;
    GError *err = NULL;

    g_assert_true(ksm_host_read_pressure(host, &pressure, &err));
    g_assert_no_error(err);
    if (!pressure.available.present) {
        g_test_skip("this machine has no " MEMINFO);
        return;
    }
    g_assert_cmpuint(pressure.available.u, >, 0);
    g_assert_cmpuint(pressure.available.u, <, 10000);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ksm-host-pressure/absent", test_absent);
    g_test_add_func("/ksm-host-pressure/meminfo", test_meminfo);
    g_test_add_func("/ksm-host-pressure/psi", test_psi);
    g_test_add_func("/ksm-host-pressure/independent", test_independent);
    g_test_add_func("/ksm-host-pressure/folder", test_folder);
    g_test_add_func("/ksm-host-pressure/real", test_real);
    return g_test_run();
}
