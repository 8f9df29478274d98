/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest for same-page merging: what the kernel is advised
 *
 * The machine's own kernel is asked through /proc/PID/smaps whether it did
 * what QEMU says it did.
 */

#include "qemu/osdep.h"
#include <sys/prctl.h>
#include "libqtest.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-ksm.h"
#include "qapi/qmp/qdict.h"
#include "qemu/units.h"
#include "hw/ksm/ksm-reason.h"
#include "ksm-test.h"
#include "ksm-test-knobs.h"

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#endif

typedef enum Setting { UNSET, OFF, ON } Setting;

typedef struct Sample {
    const char *kind;
    bool mem_merge;
    Setting merge;
    bool share;
    char id[32];
    uint64_t size;
} Sample;

static const char *const merge_option[] = { "", ",merge=off", ",merge=on" };

/* Sizes that nothing else has, so that mappings can be told by them */
static void fill_samples(Sample *sample, const char *kind, bool mem_merge)
{
    for (int i = 0; i < 6; i++) {
        sample[i] = (Sample) {
            .kind = kind,
            .mem_merge = mem_merge,
            .merge = i / 2,
            .share = i % 2,
            .size = (5 * MiB) + (3 + 2 * i) * 64 * KiB,
        };
        snprintf(sample[i].id, sizeof(sample[i].id), "%s%d", kind, i);
    }
}

static void append_backend(GString *args, const Sample *sample,
                           const FakeRoot *files)
{
    g_string_append_printf(args, " -object memory-backend-%s,id=%s,size=%"
                           PRIu64 ",share=%s%s", sample->kind, sample->id,
                           sample->size, sample->share ? "on" : "off",
                           merge_option[sample->merge]);
    if (g_str_equal(sample->kind, "file")) {
        g_string_append_printf(args, ",mem-path=%s/%s", files->path,
                               sample->id);
    }
}

static KsmRefusal expected_reason(const Sample *sample)
{
    bool wanted = sample->merge == UNSET ? sample->mem_merge
                                         : sample->merge == ON;

    if (wanted) {
        return sample->share ? KSM_REFUSAL_SHARED_MAPPING : KSM_REFUSAL_NONE;
    }
    return sample->mem_merge ? KSM_REFUSAL_DISABLED_BY_BACKEND
                             : KSM_REFUSAL_DISABLED_BY_MACHINE;
}

/* What QEMU knows by itself is what the kernel's list of mappings says. */
static void check_fast(KsmStats *stats, const KsmBlockInfo *verified)
{
    KsmBlockInfo *block = ksm_test_find_block(stats, verified->id);

    g_assert_nonnull(block);
    g_assert_false(block->verified || block->has_merged_bytes);
    g_assert_cmpint(block->requested, ==, verified->requested);
    g_assert_cmpint(block->actual, ==, verified->actual);
    g_assert_cmpstr(KsmRefusal_str(block->reason), ==,
                    KsmRefusal_str(verified->reason));
    g_assert_cmpuint(block->mergeable_bytes, ==, verified->mergeable_bytes);
}

static void check_sample(KsmStats *stats, const Sample *sample)
{
    KsmRefusal reason = expected_reason(sample);
    KsmBlockInfo *block = ksm_test_find_block(stats, sample->id);
    bool mergeable = reason == KSM_REFUSAL_NONE;

    g_test_message("mem-merge=%d %s%s share=%d", sample->mem_merge,
                   sample->kind, merge_option[sample->merge], sample->share);
    g_assert_nonnull(block);
    g_assert_cmpstr(block->memdev, ==, sample->id);
    g_assert_cmpuint(block->size, ==, sample->size);
    g_assert_cmpuint(block->page_size, ==, qemu_real_host_page_size());
    g_assert_cmpint(block->requested, ==,
                    mergeable || reason == KSM_REFUSAL_SHARED_MAPPING);
    g_assert_cmpint(block->actual, ==, mergeable);
    g_assert_true(block->verified);
    g_assert_cmpstr(KsmRefusal_str(block->reason), ==, KsmRefusal_str(reason));
    g_assert_false(block->has_error);
    g_assert_cmpstr(block->has_remedy ? block->remedy : NULL, ==,
                    ksm_reason_remedy(reason));
    g_assert_cmpuint(block->mergeable_bytes, ==,
                     mergeable ? sample->size : 0);
    g_assert_cmpint(ksm_test_is_mergeable(sample->size), ==, mergeable);
}

static void test_advice(const char *kind, bool mem_merge)
{
    g_autoptr(FakeRoot) files = fake_root_new();
    g_autoptr(GString) args = g_string_new(NULL);
    g_autoptr(KsmStats) stats = NULL, fast = NULL;
    Sample sample[6];
    QTestState *qts;

    if (!ksm_test_needs_merging()) {
        return;
    }
    fill_samples(sample, kind, mem_merge);
    g_string_printf(args, "-machine none,mem-merge=%s",
                    mem_merge ? "on" : "off");
    for (int i = 0; i < 6; i++) {
        append_backend(args, &sample[i], files);
    }
    qts = ksm_test_start(NULL, args->str);
    stats = ksm_test_query(qts);
    fast = ksm_test_query_fast(qts);
    for (int i = 0; i < 6; i++) {
        check_sample(stats, &sample[i]);
        check_fast(fast, ksm_test_find_block(stats, sample[i].id));
    }
    qtest_quit(qts);
}

static void test_advice_on(const void *kind)
{
    test_advice(kind, true);
}

static void test_advice_off(const void *kind)
{
    test_advice(kind, false);
}

/* All of this process's memory is mergeable: merge=off is off all the same. */
static void test_advice_merge_any(void)
{
    const uint64_t size = 5 * MiB + 64 * KiB;
    g_autoptr(KsmStats) stats = NULL;
    KsmBlockInfo *block;
    QTestState *qts;

#ifdef QEMU_SANITIZE_ADDRESS
    g_test_skip("the kernel takes minutes to walk the sanitizer's mappings");
    return;
#endif
    if (prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0)) {
        g_test_skip("the kernel of this machine has no PR_SET_MEMORY_MERGE");
        return;
    }
    qts = ksm_test_start(NULL, "-machine none -object "
                "memory-backend-ram,id=mem,size=5184K,merge=off");
    g_assert_cmpint(prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0), ==, 0);
    stats = ksm_test_query(qts);
    block = ksm_test_find_block(stats, "mem");
    g_assert_false(ksm_test_is_mergeable(size));
    g_assert_false(block->actual);
    g_assert_cmpstr(KsmRefusal_str(block->reason), ==, "disabled-by-backend");
    if (stats->vm->has_merge_any && !stats->vm->merge_any) {
        g_test_skip("the kernel of this machine drops the setting on exec");
    }
    qtest_quit(qts);
}

static void check_mem(QTestState *qts, uint64_t size, bool mergeable,
                      const char *reason)
{
    g_autoptr(KsmStats) stats = ksm_test_query(qts);
    KsmBlockInfo *block = ksm_test_find_block(stats, "mem");

    g_assert_cmpint(block->actual, ==, mergeable);
    g_assert_cmpstr(KsmRefusal_str(block->reason), ==, reason);
    g_assert_cmpint(ksm_test_is_mergeable(size), ==, mergeable);
}

static void test_set_merge(void)
{
    const uint64_t size = 5 * MiB + 64 * KiB;
    QTestState *qts;

    if (!ksm_test_needs_merging()) {
        return;
    }
    qts = ksm_test_start(NULL, "-machine none -object "
                "memory-backend-ram,id=mem,size=5184K,merge=off");
    for (int i = 0; i < 2; i++) {
        check_mem(qts, size, false, "disabled-by-backend");
        qtest_qom_set_bool(qts, "/objects/mem", "merge", true);
        g_assert_true(qtest_qom_get_bool(qts, "/objects/mem", "merge"));
        check_mem(qts, size, true, "none");
        qtest_qom_set_bool(qts, "/objects/mem", "merge", false);
        g_assert_false(qtest_qom_get_bool(qts, "/objects/mem", "merge"));
    }
    check_mem(qts, size, false, "disabled-by-backend");
    qtest_quit(qts);
}

/* A machine's own RAM and ROM, without any backend option */
static void test_machine_ram(const void *data)
{
    bool on = data != NULL;
    g_autoptr(KsmStats) stats = NULL;
    QTestState *qts;
    int n = 0;

    if (!ksm_test_needs_merging()) {
        return;
    }
    qts = ksm_test_start(NULL, on ? "-machine q35 -m 27"
                         : "-machine q35,mem-merge=off -m 27");
    stats = ksm_test_query(qts);
    g_assert_nonnull(ksm_test_find_block(stats, "pc.ram"));
    g_assert_nonnull(ksm_test_find_block(stats, "pc.bios"));
    for (KsmBlockInfoList *item = stats->blocks; item; item = item->next) {
        KsmBlockInfo *block = item->value;

        g_test_message("%s", block->id);
        g_assert_cmpint(block->requested, ==, on);
        g_assert_cmpint(block->actual, ==, on);
        g_assert_cmpstr(KsmRefusal_str(block->reason), ==,
                        on ? "none" : "disabled-by-machine");
        n++;
    }
    g_assert_cmpint(n, >=, 3);
    g_assert_cmpint(ksm_test_is_mergeable(27 * MiB), ==, on);
    qtest_quit(qts);
}

static void test_huge_pages(void)
{
    g_autoptr(KsmStats) stats = NULL, fast = NULL;
    KsmBlockInfo *block;
    QDict *resp;
    QTestState *qts;

    if (!ksm_test_needs_merging()) {
        return;
    }
    qts = ksm_test_start(NULL, "-machine none");
    /* reserve=off: no huge page needs to be free */
    resp = qtest_qmp(qts, "{ 'execute': 'object-add', 'arguments': {"
                     " 'qom-type': 'memory-backend-memfd', 'id': 'mem',"
                     " 'size': 4194304, 'hugetlb': true, 'share': false,"
                     " 'reserve': false, 'merge': true } }");
    if (qdict_haskey(resp, "error")) {
        g_test_skip(qdict_get_str(qdict_get_qdict(resp, "error"), "desc"));
    } else {
        stats = ksm_test_query(qts);
        block = ksm_test_find_block(stats, "mem");
        g_assert_cmpuint(block->page_size, >, qemu_real_host_page_size());
        g_assert_true(block->requested);
        g_assert_false(block->actual);
        g_assert_cmpstr(KsmRefusal_str(block->reason), ==, "huge-pages");
        fast = ksm_test_query_fast(qts);
        check_fast(fast, block);
    }
    qobject_unref(resp);
    qtest_quit(qts);
}

/* Whatever its backend says, a secret is not merged. */
static void test_confidential(void)
{
    const uint64_t size = 5 * MiB + 64 * KiB;
    g_autoptr(KsmStats) stats = NULL;
    KsmBlockInfo *block;
    QTestState *qts;

    if (!ksm_test_needs_merging()) {
        return;
    }
    qts = ksm_test_start(NULL, CONFIDENTIAL_GUEST ",merge=on");
    stats = ksm_test_query(qts);
    block = ksm_test_find_block(stats, "mem");
    g_assert_true(block->requested);
    g_assert_false(block->actual);
    g_assert_cmpstr(KsmRefusal_str(block->reason), ==, "confidential-guest");
    g_assert_false(ksm_test_is_mergeable(size));
    qtest_quit(qts);
}

static void test_hotplug(void)
{
    QTestState *qts = ksm_test_start(NULL, "-machine q35 "
                                     "-m 16,slots=2,maxmem=256M");
    g_autoptr(KsmStats) before = NULL, with = NULL, after = NULL;
    KsmBlockInfo *block;

    before = ksm_test_query(qts);
    g_assert_null(ksm_test_find_block(before, "mem"));
    qtest_qmp_assert_success(qts, "{ 'execute': 'object-add', 'arguments': {"
                             " 'qom-type': 'memory-backend-ram', 'id': 'mem',"
                             " 'size': 134217728 } }");
    with = ksm_test_query(qts);
    block = ksm_test_find_block(with, "mem");
    g_assert_nonnull(block);
    g_assert_true(block->requested);
    g_assert_cmpuint(block->size, ==, 128 * MiB);
    g_assert_cmpuint(with->vm->mergeable_bytes -
                     before->vm->mergeable_bytes, ==,
                     block->actual ? 128 * MiB : 0);
    qtest_qmp_assert_success(qts, "{ 'execute': 'object-del', 'arguments': {"
                             " 'id': 'mem' } }");
    after = ksm_test_query(qts);
    g_assert_null(ksm_test_find_block(after, "mem"));
    g_assert_cmpuint(after->vm->mergeable_bytes, ==,
                     before->vm->mergeable_bytes);
    qtest_quit(qts);
}

/* Every kind of memory, configured in every way */
static void add_advice_tests(void)
{
    static const char *const kind[] = { "ram", "file", "memfd" };

    for (size_t i = 0; i < G_N_ELEMENTS(kind); i++) {
        g_autofree char *on = g_strdup_printf("/ksm/advice/on/%s", kind[i]);
        g_autofree char *off = g_strdup_printf("/ksm/advice/off/%s", kind[i]);

        qtest_add_data_func(on, kind[i], test_advice_on);
        qtest_add_data_func(off, kind[i], test_advice_off);
    }
    qtest_add_data_func("/ksm/advice/machine/on", "on", test_machine_ram);
    qtest_add_data_func("/ksm/advice/machine/off", NULL, test_machine_ram);
    qtest_add_func("/ksm/advice/merge-any", test_advice_merge_any);
    qtest_add_func("/ksm/advice/set-merge", test_set_merge);
    qtest_add_func("/ksm/advice/huge-pages", test_huge_pages);
    qtest_add_func("/ksm/advice/confidential", test_confidential);
    qtest_add_func("/ksm/advice/hotplug", test_hotplug);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    add_advice_tests();
    ksm_test_add_report();
    ksm_test_add_hmp();
    ksm_test_add_stats();
    ksm_test_add_speed();
    ksm_test_add_shown();
    ksm_test_add_refuse();
    ksm_test_add_merge();
    ksm_test_add_knobs();
    ksm_test_add_machine();
    ksm_test_add_policy_tests();
    ksm_test_add_auto();
    ksm_test_add_life();
    ksm_test_add_balloon();
    ksm_test_add_kinds();
    ksm_test_add_stock();

    return g_test_run();
}
