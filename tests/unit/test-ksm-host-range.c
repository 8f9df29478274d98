/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of the readers of smaps and page flags
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include "hw/ksm/ksm-host-range.h"
#include "ksm-fake-root.h"

#define PAGE ((uint64_t)sysconf(_SC_PAGE_SIZE))

static void assert_names_smaps(const GError *err, const FakeRoot *root)
{
    g_autofree char *path = fake_root_path(root, FAKE_PROC_DIR "smaps");

    g_assert_error(err, KSM_HOST_ERROR, KSM_HOST_ERROR_FORMAT);
    g_assert_true(g_str_has_prefix(err->message, path));
}

#define VMA_TAIL(flags) "Rss:   4 kB\nVmFlags: " flags "\n"

/* Two ranges, mappings before, between, across and after them */
static void test_smaps(void)
{
    static const char smaps[] =
        "00001000-00002000 rw-p 00000000 00:00 0\n"
        "KSM:                  4 kB\n" VMA_TAIL("rd wr mg")
        "00010000-00014000 rw-p 00000000 00:00 0 [anon: guest]\n"
        "KSM:                  8 kB\n" VMA_TAIL("rd wr mr mg nh")
        "00014000-00018000 rw-p 00000000 00:00 0\n"
        "KSM:                  0 kB\n" VMA_TAIL("rd wr mr hg")
        "0001f000-00021000 rw-s 00000000 00:01 7 /dev/zero (deleted)\n"
        "KSM:                  0 kB\n" VMA_TAIL("rd wr sh mr mw me ms sd")
        "7ffd0000000-7ffd0001000 r-xp 00000000 00:00 0 [vdso]\n"
        "KSM:                  0 kB\n" VMA_TAIL("rd ex de pf io ht");
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmHost) host = ksm_host_new(root->path);
    KsmHostRange r[3] = {
        { .start = 0x20000, .size = 0x4000, .merged.u = 99 },
        { .start = 0x10000, .size = 0x8000 },
        { .start = 0x7ffd0000000, .size = 0x1000 },
    };
    GError *err = NULL;

    fake_root_write(root, FAKE_PROC_DIR "smaps", smaps);
    g_assert_true(ksm_host_read_ranges(host, 0, r, 3, &err));
    g_assert_no_error(err);
    g_assert_true(r[0].known && r[1].known && r[2].known);
    g_assert_cmpuint(r[0].mapped, ==, 0x1000);
    g_assert_cmpuint(r[0].shared, ==, 0x1000);
    g_assert_cmpuint(r[0].mergeable, ==, 0);
    g_assert_true(r[0].merged.present);
    g_assert_cmpuint(r[0].merged.u, ==, 0);
    g_assert_cmpuint(r[1].mapped, ==, 0x8000);
    g_assert_cmpuint(r[1].mergeable, ==, 0x4000);
    g_assert_cmpuint(r[1].shared + r[1].huge + r[1].special, ==, 0);
    g_assert_true(r[1].merged.present);
    g_assert_cmpuint(r[1].merged.u, ==, 8192);
    g_assert_cmpuint(r[2].huge, ==, 0x1000);
    g_assert_cmpuint(r[2].special, ==, 0x1000);
}

/*
 * Who is merged in a mapping that is only partly ours?  Nobody knows, unless
 * nobody is.
 */
static void test_smaps_partial(void)
{
    static const char smaps[] =
        "00010000-00018000 rw-p 00000000 00:00 0\n"
        "KSM:                  8 kB\n" VMA_TAIL("rd wr mg")
        "00020000-00028000 rw-p 00000000 00:00 0\n"
        "KSM:                  0 kB\n" VMA_TAIL("rd wr mg");
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmHost) host = ksm_host_new(root->path);
    KsmHostRange r[2] = {
        { .start = 0x10000, .size = 0x4000 },
        { .start = 0x24000, .size = 0x4000 },
    };
    GError *err = NULL;

    fake_root_write(root, FAKE_PROC_DIR "smaps", smaps);
    g_assert_true(ksm_host_read_ranges(host, 0, r, 2, &err));
    g_assert_no_error(err);
    g_assert_cmpuint(r[0].mergeable, ==, 0x4000);
    g_assert_false(r[0].merged.present);
    g_assert_cmpuint(r[1].mergeable, ==, 0x4000);
    g_assert_true(r[1].merged.present);
    g_assert_cmpuint(r[1].merged.u, ==, 0);
}

/* A path of any length, full of what looks like a line of its own */
static void test_smaps_long_lines(void)
{
    g_autofree char *blank = g_strnfill(6000, ' ');
    g_auto(GStrv) piece = g_strsplit(blank, " ", -1);
    g_autofree char *path = g_strjoinv("VmFlags: mg ", piece);
    g_autofree char *smaps = g_strdup_printf(
        "00001000-00002000 rw-p 00000000 00:01 7 /%s VmFlags: mg\n"
        "Size: 4 kB\n"
        "KSM:  0 kB\n" VMA_TAIL("rd")
        "00002000-00003000 rw-p 00000000 00:01 7 /%s\n"
        "KSM:  4 kB\n" VMA_TAIL("mg"), path, path);
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmHost) host = ksm_host_new(root->path);
    KsmHostRange r = { .start = 0x1000, .size = 0x2000 };
    GError *err = NULL;

    fake_root_write(root, FAKE_PROC_DIR "smaps", smaps);
    g_assert_true(ksm_host_read_ranges(host, 0, &r, 1, &err));
    g_assert_no_error(err);
    g_assert_cmpuint(r.mapped, ==, 0x2000);
    g_assert_cmpuint(r.mergeable, ==, 0x1000);
    g_assert_cmpuint(r.merged.u, ==, 4096);
}

static void test_smaps_garbage(void)
{
    static const struct {
        const char *text;
        bool ok;
    } sample[] = {
        { "", true },
        { "\n\n\n", true },
        { "no such thing\n", true },
        { "2000-1000 rw-p\nVmFlags: mg\n", true },
        { "1000-\nVmFlags: mg\n", true },
        { "VmFlags: mg\n", true },
        { "1000-2000 rw-p\nKSM: -4 kB\nVmFlags: rd\n", false },
        { "1000-2000 rw-p\nKSM: 4 MB\nVmFlags: rd\n", false },
        { "1000-2000 rw-p\nKSM:\nVmFlags: rd\n", false },
        { "1000-2000 rw-p\nKSM: 99999999999999999999 kB\n", false },
        { "1000-2000 rw-p\nKSM: 18446744073709551615 kB\n", false },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(sample); i++) {
        g_autoptr(FakeRoot) root = fake_root_new();
        g_autoptr(KsmHost) host = ksm_host_new(root->path);
        KsmHostRange r = { .start = 0x1000, .size = 0x1000 };
        GError *err = NULL;

        g_test_message("sample %zu", i);
        fake_root_write(root, FAKE_PROC_DIR "smaps", sample[i].text);
        g_assert_cmpint(ksm_host_read_ranges(host, 0, &r, 1, &err), ==,
                        sample[i].ok);
        g_assert_cmpuint(r.mergeable, ==, 0);
        if (!sample[i].ok) {
            assert_names_smaps(err, root);
            g_clear_error(&err);
        }
    }
}

static void test_smaps_missing(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmHost) host = ksm_host_new(root->path);
    KsmHostRange r = { .start = 0x1000, .size = 0x1000, .known = true };
    GError *err = NULL;

    g_assert_true(ksm_host_read_ranges(host, 0, &r, 1, &err));
    g_assert_no_error(err);
    g_assert_false(r.known);
    g_assert_false(r.merged.present);
}

#define PRESENT (1ULL << 63)
#define FILE_PAGE (1ULL << 61)
#define KSM_FLAG (1ULL << 21)
#define OTHER_FLAGS (~KSM_FLAG)

/* Two mergeable ranges, one half of a mapping whose smaps has no KSM line */
static void add_old_smaps(const FakeRoot *root, KsmHostRange *r)
{
    g_autofree char *smaps = g_strdup_printf(
        "%" PRIx64 "-%" PRIx64 " rw-p 0 00:00 0\nVmFlags: mg\n",
        16 * PAGE, 32 * PAGE);

    fake_root_write(root, FAKE_PROC_DIR "smaps", smaps);
    r[0] = (KsmHostRange) { .start = 16 * PAGE, .size = 8 * PAGE };
    r[1] = (KsmHostRange) { .start = 24 * PAGE, .size = 8 * PAGE };
}

static void test_pagemap(void)
{
    static const uint64_t entry[16] = {
        PRESENT | 1, 0, PRESENT | 6, PRESENT | FILE_PAGE | 7,
        (1ULL << 62) | 7, PRESENT | 100000, PRESENT | 5000, PRESENT | 4,
        PRESENT | 5, PRESENT | 5, PRESENT | 5, PRESENT | 5,
        PRESENT | 5, PRESENT | 5, PRESENT | 5, PRESENT | 8,
    };
    static const uint64_t low[] = {
        KSM_FLAG, KSM_FLAG, KSM_FLAG, OTHER_FLAGS, OTHER_FLAGS, ~0ULL,
        KSM_FLAG, KSM_FLAG, 0
    };
    static const uint64_t high[] = { OTHER_FLAGS, KSM_FLAG, OTHER_FLAGS };
    static const uint64_t middle = KSM_FLAG;
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmHost) host = ksm_host_new(root->path);
    KsmHostRange r[2];
    GError *err = NULL;

    add_old_smaps(root, r);
    fake_root_write_entries(root, FAKE_PROC_DIR "pagemap", 16, entry, 16);
    fake_root_write_entries(root, "/proc/kpageflags", 0, low, 9);
    fake_root_write_entries(root, "/proc/kpageflags", 5000, &middle, 1);
    fake_root_write_entries(root, "/proc/kpageflags", 99999, high, 3);
    g_assert_true(ksm_host_read_ranges(host, 0, r, 2, &err));
    g_assert_no_error(err);
    /* 1, 6, 100000, 5000; the file page, the hole and the swapped one not */
    g_assert_true(r[0].merged.present);
    g_assert_cmpuint(r[0].merged.u, ==, 4 * PAGE);
    g_assert_true(r[1].merged.present);
    g_assert_cmpuint(r[1].merged.u, ==, 7 * PAGE);
}

/* Without the privilege page numbers read as zero: unknown, not none. */
static void test_pagemap_unprivileged(void)
{
    static const uint64_t entry[16] = { [3] = PRESENT };
    static const uint64_t flags[8];
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmHost) host = ksm_host_new(root->path);
    KsmHostRange r[2];
    GError *err = NULL;

    add_old_smaps(root, r);
    fake_root_write_entries(root, FAKE_PROC_DIR "pagemap", 16, entry, 16);
    fake_root_write_entries(root, "/proc/kpageflags", 0, flags, 8);
    g_assert_true(ksm_host_read_ranges(host, 0, r, 2, &err));
    g_assert_no_error(err);
    g_assert_cmpuint(r[0].mergeable, ==, 8 * PAGE);
    g_assert_false(r[0].merged.present);
    g_assert_true(r[1].merged.present);
    g_assert_cmpuint(r[1].merged.u, ==, 0);
}

static void test_pagemap_missing_or_short(void)
{
    static const uint64_t entry[10] = { PRESENT | 1 };
    static const uint64_t flags[1];
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmHost) host = ksm_host_new(root->path);
    KsmHostRange r[2];

    add_old_smaps(root, r);
    g_assert_true(ksm_host_read_ranges(host, 0, r, 2, NULL));
    g_assert_false(r[0].merged.present);

    /* Page number 1 is beyond the end of kpageflags, range 1 of pagemap */
    fake_root_write_entries(root, FAKE_PROC_DIR "pagemap", 16, entry, 10);
    fake_root_write_entries(root, "/proc/kpageflags", 0, flags, 1);
    g_assert_true(ksm_host_read_ranges(host, 0, r, 2, NULL));
    g_assert_false(r[0].merged.present);
    g_assert_false(r[1].merged.present);
}

/* Not mergeable: nothing is merged, and there is no need to look. */
static void test_pagemap_not_needed(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autoptr(KsmHost) host = ksm_host_new(root->path);
    KsmHostRange r = { .start = 0x1000, .size = 0x1000 };

    fake_root_write(root, FAKE_PROC_DIR "smaps",
                    "1000-2000 rw-p 0 00:00 0\nVmFlags: rd wr\n");
    g_assert_true(ksm_host_read_ranges(host, 0, &r, 1, NULL));
    g_assert_true(r.merged.present);
    g_assert_cmpuint(r.merged.u, ==, 0);
}

/* Private memory becomes mergeable, shared memory does not, and we see it. */
static void test_real_ranges(void)
{
    g_autoptr(KsmHost) host = ksm_host_new(NULL);
    const size_t size = 16 * PAGE;
    char *private_mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *shared_mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    KsmHostRange r[2] = {
        { .start = (uintptr_t)private_mem, .size = size },
        { .start = (uintptr_t)shared_mem, .size = size },
    };
    GError *err = NULL;

    g_assert_true(private_mem != MAP_FAILED && shared_mem != MAP_FAILED);
    memset(private_mem, 1, size);
    if (madvise(private_mem, size, MADV_MERGEABLE) ||
        madvise(shared_mem, size, MADV_MERGEABLE)) {
        g_test_skip("this machine's kernel refuses MADV_MERGEABLE");
    } else {
        g_assert_true(ksm_host_read_ranges(host, 0, r, 2, &err));
        g_assert_no_error(err);
        g_assert_true(r[0].known && r[1].known);
        g_assert_cmpuint(r[0].mapped, ==, size);
        g_assert_cmpuint(r[0].mergeable, ==, size);
        g_assert_cmpuint(r[0].shared, ==, 0);
        g_assert_cmpuint(r[1].mapped, ==, size);
        g_assert_cmpuint(r[1].mergeable, ==, 0);
        g_assert_cmpuint(r[1].shared, ==, size);
    }
    munmap(private_mem, size);
    munmap(shared_mem, size);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/ksm-host-range/smaps", test_smaps);
    g_test_add_func("/ksm-host-range/partial", test_smaps_partial);
    g_test_add_func("/ksm-host-range/long-lines", test_smaps_long_lines);
    g_test_add_func("/ksm-host-range/garbage", test_smaps_garbage);
    g_test_add_func("/ksm-host-range/missing", test_smaps_missing);
    g_test_add_func("/ksm-host-range/pagemap", test_pagemap);
    g_test_add_func("/ksm-host-range/unprivileged", test_pagemap_unprivileged);
    g_test_add_func("/ksm-host-range/short", test_pagemap_missing_or_short);
    g_test_add_func("/ksm-host-range/not-needed", test_pagemap_not_needed);
    g_test_add_func("/ksm-host-range/real", test_real_ranges);

    return g_test_run();
}
