/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Knobs of the machine's own kernel, such as those of its merge engine, for tests
 * that need it to merge
 */
#ifndef TESTS_QTEST_KSM_TEST_KNOBS_H
#define TESTS_QTEST_KSM_TEST_KNOBS_H

#define KSM_KNOB_DIR "/sys/kernel/mm/ksm"
#define KSM_KNOB_HARMLESS "sleep_millisecs"

typedef struct KsmKnobs KsmKnobs;

/**
 * ksm_knobs_take:
 * @dir: where they are
 * @harmless: one of them that may be written at any time with what it has
 * @why_not: set if they cannot be used
 *
 * All knobs are saved, and put back however this process ends, SIGKILL
 * included.  Only one process can have them.
 *
 * Returns: NULL with *@why_not, for a test to be skipped.
 */
KsmKnobs *ksm_knobs_take(const char *dir, const char *harmless,
                         const char **why_not);

/* False if there is no such knob, or the kernel does not accept the value */
bool ksm_knobs_set(KsmKnobs *knobs, const char *name, const char *value);

/**
 * ksm_knobs_give_back:
 *
 * Returns: true if every knob has been read again and is as it was.
 */
bool ksm_knobs_give_back(KsmKnobs *knobs);

void ksm_test_add_knobs(void);

#endif
