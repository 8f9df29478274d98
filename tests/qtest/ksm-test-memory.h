/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory with known contents, and a kernel that really merges it
 */
#ifndef TESTS_QTEST_KSM_TEST_MEMORY_H
#define TESTS_QTEST_KSM_TEST_MEMORY_H

#include "libqtest.h"
#include "../unit/ksm-fake-root.h"
#include "ksm-test-knobs.h"

/* This machine's engine, set to merge at once; NULL: the test is skipped */
KsmKnobs *ksm_memory_start_engine(void);

/* All knobs are as they were, or the test fails. */
void ksm_memory_stop_engine(KsmKnobs *knobs);

/*
 * Huge pages of 2 MiB that nobody else has; NULL: the test is skipped.  They
 * are given back with ksm_knobs_give_back().
 */
KsmKnobs *ksm_memory_reserve_huge(unsigned pages);

/* Waits until the engine has had the time to merge all that is offered. */
void ksm_memory_wait_engine(void);

/* The real host, in a place where one file can be exchanged */
void ksm_memory_link_host(const FakeRoot *root);

/* 16 kinds of page, over and over again */
void ksm_memory_fill(QTestState *qts, uint64_t start, uint64_t size);

/* Every byte is what it was, but page @written, if any, holds 0xaa. */
void ksm_memory_verify(QTestState *qts, uint64_t start, uint64_t size,
                       int64_t written);

/* Merged bytes of a block; false if the kernel does not tell, or not us */
bool ksm_memory_merged(QTestState *qts, const char *id, uint64_t *bytes);

/* Waits for at least, or at most, so many; false if the kernel does not tell */
bool ksm_memory_wait_merged(QTestState *qts, const char *id, uint64_t least);
bool ksm_memory_wait_unmerged(QTestState *qts, const char *id, uint64_t most);

#endif
