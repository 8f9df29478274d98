/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What every test program here is built from: a runner that prints TAP, random
 * numbers with a seed, an allocator that counts and fails on demand, and a count
 * of the warnings and reports that the engine's files made.
 */
#ifndef _KSM_HARNESS_H
#define _KSM_HARNESS_H

#include <linux/kernel.h>
#include <linux/types.h>
#include "types.h"

/**
 * struct harness_test - one test: a line of TAP
 * @name: says what must hold
 * @run: returns if it does; CHECK() ends it if not. Runs in a process of its own
 */
struct harness_test {
	const char *name;
	void (*run)(void);
};

/* Runs the tests and prints the plan and a line for each; main() returns its value. */
int harness_main(const struct harness_test *tests, unsigned int nr);

/*
 * Around each test, for programs that have another runner (the fuzzer): start from
 * this random number; check that nothing is left. A failed CHECK() aborts there.
 */
void harness_begin(u64 first);
void harness_end(void);

#define ARRAY_SIZE(array)	(sizeof(array) / sizeof((array)[0]))

/* Prints a TAP comment: a figure that a reader may want. */
__printf(1, 2) void harness_note(const char *fmt, ...);

__printf(4, 5) __noreturn
void harness_fail(const char *file, int line, const char *what, const char *fmt, ...);

/* Ends the test as failed unless @cond holds; the rest is a printf message. */
#define CHECK(cond, ...)						\
do {									\
	if (!(cond))							\
		harness_fail(__FILE__, __LINE__, #cond, __VA_ARGS__);	\
} while (0)

/* Where a failed test stood; set it in the loop over random steps. */
extern unsigned long harness_step;

/* How many random steps to make: KSM_STEPS, or @usual if that is not set. */
unsigned long harness_steps(unsigned long usual);

u64 rnd(void);
u32 rnd_below(u32 limit);
/* True once in @n calls on average; never if @n is 0. */
bool rnd_one_in(u32 n);

/*
 * The allocator that is passed to the files under test. A test must give back
 * all memory, or it fails.
 */
extern const struct ksm_mem_ops harness_mem;
/* The same, for what a test cannot do without: it does not fail. */
extern const struct ksm_mem_ops harness_mem_sure;

u64 harness_mem_bytes(void);
u64 harness_mem_blocks(void);
/* How many allocations have failed since the test began. */
u64 harness_mem_failed(void);
/* The @nth allocation from now fails, all others succeed; 0: none fails. */
void harness_mem_fail_nth(u64 nth);
/* Each allocation fails once in @n times; 1: all; 0: none. */
void harness_mem_fail_one_in(u32 n);

/* Zeroed memory of the test's own: never fails, not counted, lives until it ends. */
void *harness_keep(size_t bytes);

/*
 * Evaluates @expr, in which the engine must warn @nr times. Any other warning
 * fails the test.
 */
#define EXPECT_WARNINGS(nr, expr)					\
do {									\
	unsigned long __before = harness_warnings();			\
									\
	harness_expect_warnings(true);					\
	expr;								\
	harness_expect_warnings(false);					\
	CHECK(harness_warnings() - __before == (nr),			\
	      "%lu warnings instead of %u", harness_warnings() - __before, \
	      (unsigned int)(nr));					\
} while (0)

unsigned long harness_warnings(void);
void harness_expect_warnings(bool expect);

/* Checks that validate() finds something broken and says what in one line. */
#define EXPECT_BROKEN(validate)						\
do {									\
	unsigned long __before = harness_reports();			\
									\
	harness_expect_reports(true);					\
	CHECK(!(validate), "the damage was not found");			\
	harness_expect_reports(false);					\
	CHECK(harness_reports() - __before == 1, "%lu lines printed",	\
	      harness_reports() - __before);				\
} while (0)

unsigned long harness_reports(void);
void harness_expect_reports(bool expect);

#endif /* _KSM_HARNESS_H */
