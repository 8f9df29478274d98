/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest for same-page merging: RAM from files and from huge pages, in every mode of
 * a ksm-policy object
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "hw/ksm/ksm-reason.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-ksm.h"
#include "qapi/qmp/qstring.h"
#include "qemu/units.h"
#include "ksm-test.h"
#include "ksm-test-memory.h"

/* A size that nothing else has, of ordinary pages and of huge ones */
#define SIZE (10 * MiB)
#define HUGE_PAGE (2 * MiB)
#define STR(s) QOBJECT(qstring_from_str(s))

typedef struct Kind {
    const char *name, *backend;
    bool huge;
    /* If the policy allows to merge it, and if not; NULL: what the mode says */
    const char *allowed, *refused;
} Kind;

#define HUGE "memory-backend-memfd,hugetlb=on,hugetlbsize=2M,prealloc=on"

static const Kind kind[] = {
    { "file-private", "memory-backend-file,share=off", false, "none", NULL },
    { "file-shared", "memory-backend-file,share=on", false, "shared-mapping",
      NULL },
    { "file-readonly", "memory-backend-file,share=off,readonly=on", false,
      "excluded-by-policy", "excluded-by-policy" },
    { "huge-private", HUGE ",share=off", true, "huge-pages", NULL },
    { "huge-shared", HUGE ",share=on", true, "shared-mapping", NULL },
};

static void check(const Kind *k, KsmStats *stats, const char *reason)
{
    KsmBlockInfo *block = ksm_test_find_block(stats, "mem");
    bool mergeable = g_str_equal(reason, "none");

    g_assert_nonnull(block);
    g_assert_cmpstr(KsmRefusal_str(block->reason), ==, reason);
    g_assert_cmpint(block->actual, ==, mergeable);
    g_assert_cmpuint(block->size, ==, SIZE);
    g_assert_cmpuint(block->page_size, ==,
                     k->huge ? HUGE_PAGE : qemu_real_host_page_size());
    g_assert_cmpuint(block->mergeable_bytes, ==, mergeable ? SIZE : 0);
    g_assert_cmpstr(block->has_remedy ? block->remedy : NULL, ==,
                    mergeable ? NULL : ksm_reason_remedy(block->reason));
    g_assert_false(block->has_error);
}

/* QEMU's own knowledge, the report with the kernel's, and the kernel's */
static void check_all(QTestState *qts, const Kind *k, bool allowed,
                      const char *by_mode)
{
    const char *refused = k->refused ? k->refused : by_mode;
    const char *reason = allowed ? k->allowed : refused;
    g_autoptr(KsmStats) stats = ksm_test_query(qts);
    g_autoptr(KsmStats) fast = ksm_test_query_fast(qts);

    g_test_message("%s: %s", k->name, reason);
    check(k, stats, reason);
    check(k, fast, reason);
    g_assert_true(ksm_test_find_block(stats, "mem")->verified);
    g_assert_cmpint(ksm_test_is_mergeable(SIZE), ==,
                    g_str_equal(reason, "none"));
}

static void run_modes(const Kind *k, const FakeRoot *root)
{
    g_autofree char *path = fake_root_path(root, "/ram");
    g_autofree char *file = g_strconcat(",mem-path=", path, NULL);
    QTestState *qts;
    g_autofree char *args =
        g_strdup_printf("-machine none -object %s,id=mem,size=10M%s "
                        "-object ksm-policy,id=policy,mode=auto,"
                        "interval-seconds=1,dwell-seconds=1", k->backend,
                        k->huge ? "" : file);

    ksm_memory_link_host(root);
    ksm_test_set_available(root, 50);
    qts = ksm_test_start(root, args);
    check_all(qts, k, false, "no-pressure");
    ksm_test_set_available(root, 5);
    ksm_test_wait_policy(qts, "merging");
    check_all(qts, k, true, NULL);
    ksm_test_set(qts, "mode", STR("off"));
    check_all(qts, k, false, "disabled-by-policy");
    ksm_test_set(qts, "mode", STR("on"));
    check_all(qts, k, true, NULL);
    ksm_test_set(qts, "mode", STR("auto"));
    ksm_test_set(qts, "mode", STR("off"));
    check_all(qts, k, false, "disabled-by-policy");
    qtest_quit(qts);
}

static void create_file(const FakeRoot *root)
{
    g_autofree char *path = fake_root_path(root, "/ram");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, SIZE), ==, 0);
    close(fd);
}

static void test_kind(const void *data)
{
    const Kind *k = data;
    g_autoptr(FakeRoot) root = fake_root_new();
    KsmKnobs *pages = NULL;

    if (!ksm_test_needs_merging()) {
        return;
    }
    if (k->huge) {
        pages = ksm_memory_reserve_huge(SIZE / HUGE_PAGE);
        if (!pages) {
            return;
        }
    } else {
        create_file(root);
    }
    run_modes(k, root);
    if (pages) {
        g_assert_true(ksm_knobs_give_back(pages));
    }
}

void ksm_test_add_kinds(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(kind); i++) {
        g_autofree char *path = g_strconcat("/ksm/kinds/", kind[i].name, NULL);

        qtest_add_data_func(path, &kind[i], test_kind);
    }
}
