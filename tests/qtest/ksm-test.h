/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the QTests of same-page merging have in common
 */
#ifndef TESTS_QTEST_KSM_TEST_H
#define TESTS_QTEST_KSM_TEST_H

#include "libqtest.h"
#include "qapi/qapi-types-ksm.h"
#include "../unit/ksm-fake-root.h"

/* A confidential guest, up to the options of its memory "mem" of 5184 KiB */
#define CONFIDENTIAL_GUEST \
    "-preconfig -machine q35,confidential-guest-support=secret " \
    "-object sev-guest,id=secret,cbitpos=47,reduced-phys-bits=1 " \
    "-object memory-backend-ram,id=mem,size=5184K"

/* False if this machine's kernel cannot merge; then the test is a skip. */
bool ksm_test_needs_merging(void);

/* A QEMU that sees the host at @root; NULL for the machine's own */
QTestState *ksm_test_start(const FakeRoot *root, const char *args);

/* Process id of the QEMU that was started last */
extern int ksm_test_qemu_pid;

/* The real /proc/self/@name in a made-up host: found by QEMU, self is QEMU. */
void ksm_test_link_file(const FakeRoot *root, const char *name);

/* So much of a made-up host's memory is available. */
void ksm_test_set_available(const FakeRoot *root, int percent);

/* Connects to a monitor's socket; returns the file descriptor. */
int ksm_test_connect(const char *path);

/* query-ksm-stats, with verify=true and as it is */
KsmStats *ksm_test_query(QTestState *qts);
KsmStats *ksm_test_query_fast(QTestState *qts);

/* The block of that name; NULL if there is none, fails if there are two */
KsmBlockInfo *ksm_test_find_block(KsmStats *stats, const char *id);

/* The start of QEMU's only mapping of exactly @size bytes */
uint64_t ksm_test_find_mapping(uint64_t size);

/* Does the kernel list "mg" for QEMU's only mapping of exactly @size bytes? */
bool ksm_test_is_mergeable(uint64_t size);

/* The block of that name must be in this state, for this reason. */
void ksm_test_check_block(QTestState *qts, const char *id, bool actual,
                          const char *reason);

/* The answer must be an error that has all of these in it; NULL ends them. */
void ksm_test_expect_error(QDict *resp, ...) G_GNUC_NULL_TERMINATED;

/* qom-set of a property of the object "policy"; takes over @value */
QDict *ksm_test_try_set(QTestState *qts, const char *property,
                        QObject *value);
void ksm_test_set(QTestState *qts, const char *property, QObject *value);

/* object-add of "policy" with these other options, such as "'mode': 'off'" */
QDict *ksm_test_try_add(QTestState *qts, const char *options);
void ksm_test_add_policy(QTestState *qts, const char *options);
void ksm_test_del_object(QTestState *qts, const char *id);

/* A memory backend with these other options */
void ksm_test_add_backend(QTestState *qts, const char *id, uint64_t size,
                          const char *options);

/* Waits until the ksm-policy object has decided on this state. */
void ksm_test_wait_policy(QTestState *qts, const char *state);

/* Waits: memory that a device has used goes when its last reader is done. */
void ksm_test_wait_gone(QTestState *qts, const char *id);

/* What a guest does that lets the memory in @slot go */
void ksm_test_eject_dimm(QTestState *qts, uint32_t slot);

/* Waits until @command tells this status; it must not be "failed". */
void ksm_test_wait_status(QTestState *qts, const char *command,
                          const char *status);

/*
 * Moves a guest from one QEMU to another that waits for it, over a socket to be
 * created at @path; postcopy: the capability is set on both sides.
 */
void ksm_test_migrate(QTestState *from, QTestState *to, const char *path,
                      bool postcopy);

/* Can a guest run on KVM here? */
bool ksm_test_has_kvm(void);

void ksm_test_add_hmp(void);
void ksm_test_add_speed(void);
void ksm_test_add_stats(void);
void ksm_test_add_report(void);
void ksm_test_add_merge(void);
void ksm_test_add_shown(void);
void ksm_test_add_machine(void);
void ksm_test_add_refuse(void);
void ksm_test_add_policy_tests(void);
void ksm_test_add_auto(void);
void ksm_test_add_life(void);
void ksm_test_add_balloon(void);
void ksm_test_add_kinds(void);
void ksm_test_add_stock(void);

#endif
