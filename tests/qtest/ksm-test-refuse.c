/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest for same-page merging: kernels that refuse the advice
 *
 * A system call filter, which QEMU inherits, plays the kernel that does.  It
 * cannot be taken off again, so that each test runs in a process of its own.
 */

#include "qemu/osdep.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include "libqtest.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-ksm.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qstring.h"
#include "qemu/units.h"
#include "ksm-test.h"

#define BACKEND "-machine none -object memory-backend-ram,id=mem,size=5184K"
#define BACKEND_SIZE (5184 * KiB)

/* From now on madvise() of @advice fails with @error, here and in children. */
static void refuse_advice(int advice, int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_madvise, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                 offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, advice, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { G_N_ELEMENTS(code), code };

    g_assert_cmpint(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), ==, 0);
    g_assert_cmpint(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0),
                    ==, 0);
}

static void check_mem(QTestState *qts, bool requested, bool actual,
                      KsmRefusal reason, int error)
{
    g_autoptr(KsmStats) stats = ksm_test_query(qts);
    KsmBlockInfo *block = ksm_test_find_block(stats, "mem");

    g_assert_nonnull(block);
    g_assert_cmpint(block->requested, ==, requested);
    g_assert_cmpint(block->actual, ==, actual);
    g_assert_cmpstr(KsmRefusal_str(block->reason), ==,
                    KsmRefusal_str(reason));
    g_assert_cmpstr(block->has_error ? block->error : NULL, ==,
                    error ? strerror(error) : NULL);
    g_assert_cmpint(ksm_test_is_mergeable(BACKEND_SIZE), ==, actual);
}

/* qom-set must fail, with a message that names the block. */
static void check_set_merge_fails(QTestState *qts, bool value)
{
    QDict *resp = qtest_qmp(qts, "{ 'execute': 'qom-set', 'arguments': {"
                            " 'path': '/objects/mem', 'property': 'merge',"
                            " 'value': %i } }", value);
    QDict *error = qdict_get_qdict(resp, "error");

    g_assert_nonnull(error);
    g_assert_nonnull(strstr(qdict_get_str(error, "desc"), "'mem'"));
    g_assert_nonnull(strstr(qdict_get_str(error, "desc"), strerror(ENOMEM)));
    qobject_unref(resp);
    g_assert_cmpint(qtest_qom_get_bool(qts, "/objects/mem", "merge"), ==,
                    !value);
}

/* A kernel without KSM: nothing fails, but it is said. */
static void run_host_unavailable(void)
{
    QTestState *qts;

    refuse_advice(MADV_MERGEABLE, EINVAL);
    qts = ksm_test_start(NULL, BACKEND ",merge=on");
    check_mem(qts, true, false, KSM_REFUSAL_HOST_UNAVAILABLE, EINVAL);
    qtest_qom_set_bool(qts, "/objects/mem", "merge", false);
    check_mem(qts, false, false, KSM_REFUSAL_DISABLED_BY_BACKEND, 0);
    qtest_qom_set_bool(qts, "/objects/mem", "merge", true);
    check_mem(qts, true, false, KSM_REFUSAL_HOST_UNAVAILABLE, EINVAL);
    qtest_quit(qts);
}

/* The other half of it: told not to merge, it does not mind. */
static void run_unmerge_unavailable(void)
{
    QTestState *qts;

    refuse_advice(MADV_UNMERGEABLE, EINVAL);
    qts = ksm_test_start(NULL, BACKEND ",merge=off");
    check_mem(qts, false, false, KSM_REFUSAL_DISABLED_BY_BACKEND, 0);
    qtest_quit(qts);
}

static void run_merge_refused(void)
{
    QTestState *qts;

    refuse_advice(MADV_MERGEABLE, ENOMEM);
    qts = ksm_test_start(NULL, BACKEND ",merge=on");
    check_mem(qts, true, false, KSM_REFUSAL_KERNEL_REFUSED, ENOMEM);
    qtest_qom_set_bool(qts, "/objects/mem", "merge", false);
    check_set_merge_fails(qts, true);
    check_mem(qts, false, false, KSM_REFUSAL_DISABLED_BY_BACKEND, 0);
    qtest_quit(qts);
}

static void run_unmerge_refused(void)
{
    QTestState *qts;

    refuse_advice(MADV_UNMERGEABLE, ENOMEM);
    qts = ksm_test_start(NULL, BACKEND ",merge=on");
    check_set_merge_fails(qts, false);
    check_mem(qts, true, true, KSM_REFUSAL_NONE, 0);
    qtest_quit(qts);

    qts = ksm_test_start(NULL, BACKEND ",merge=off");
    check_mem(qts, false, false, KSM_REFUSAL_KERNEL_REFUSED, ENOMEM);
    qtest_quit(qts);
}

/* A policy cannot do what the kernel refuses, and says so. */
static void run_policy_refused(void)
{
    QTestState *qts;

    refuse_advice(MADV_UNMERGEABLE, ENOMEM);
    qts = ksm_test_start(NULL, BACKEND ",merge=on");
    ksm_test_expect_error(ksm_test_try_add(qts, "'mode': 'off'"), "'mem'",
                          strerror(ENOMEM), NULL);
    check_mem(qts, true, true, KSM_REFUSAL_NONE, 0);
    ksm_test_add_policy(qts, "");
    ksm_test_expect_error(ksm_test_try_set(qts, "mode",
                                           QOBJECT(qstring_from_str("off"))),
                          "'mem'", strerror(ENOMEM), NULL);
    ksm_test_expect_error(ksm_test_try_set(qts, "blocks",
                                           QOBJECT(qstring_from_str("x"))),
                          "'mem'", strerror(ENOMEM), NULL);
    check_mem(qts, true, true, KSM_REFUSAL_NONE, 0);
    ksm_test_set(qts, "mode", QOBJECT(qstring_from_str("auto")));
    check_mem(qts, true, true, KSM_REFUSAL_NONE, 0);
    qtest_quit(qts);
}

static void in_own_process(void (*run)(void))
{
    if (g_test_subprocess()) {
        run();
        return;
    }
    /* With a bad address, only a kernel without filters answers EINVAL */
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL, 0, 0) == -1 &&
        errno == EINVAL) {
        g_test_skip("the kernel of this machine has no system call filters");
        return;
    }
    if (!ksm_test_needs_merging()) {
        return;
    }
    g_test_trap_subprocess(NULL, 60 * G_USEC_PER_SEC, 0);
    g_test_trap_assert_passed();
}

static void test_host_unavailable(void)
{
    in_own_process(run_host_unavailable);
}

static void test_unmerge_unavailable(void)
{
    in_own_process(run_unmerge_unavailable);
}

static void test_merge_refused(void)
{
    in_own_process(run_merge_refused);
}

static void test_unmerge_refused(void)
{
    in_own_process(run_unmerge_refused);
}

static void test_policy_refused(void)
{
    in_own_process(run_policy_refused);
}

void ksm_test_add_refuse(void)
{
    qtest_add_func("/ksm/refuse/policy", test_policy_refused);
    qtest_add_func("/ksm/refuse/host-unavailable", test_host_unavailable);
    qtest_add_func("/ksm/refuse/unmerge-unavailable",
                   test_unmerge_unavailable);
    qtest_add_func("/ksm/refuse/merge", test_merge_refused);
    qtest_add_func("/ksm/refuse/unmerge", test_unmerge_refused);
}
