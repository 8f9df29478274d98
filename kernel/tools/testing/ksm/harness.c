// SPDX-License-Identifier: GPL-2.0-only
/*
 * The test runner and what replaces the kernel: see harness.h.
 *
 * Each test runs in a child process, so that a crash or a sanitizer's report
 * fails one test and not the rest, and no test sees what another left behind.
 */
#include <sanitizer/asan_interface.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/bug.h>
#include <linux/printk.h>
#include "harness.h"

/* Stands before each block; poisoned, so that an underrun is seen. */
struct block {
	u64 bytes;
	u64 pad;
};

unsigned long harness_step;

static const char *running;
static u64 seed;
static u64 rnd_state;

static u64 mem_bytes;
static u64 mem_blocks;
static u64 mem_failed;
static u64 fail_nth;
static u32 fail_one_in;

static unsigned long warnings;
static bool warnings_expected;
static unsigned long reports;
static bool reports_expected;
static unsigned long reports_unasked;

void harness_note(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	printf("# %s: ", running);
	vprintf(fmt, args);
	printf("\n");
	va_end(args);
}

void harness_fail(const char *file, int line, const char *what, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	printf("# %s:%d: not true: %s: ", file, line, what);
	vprintf(fmt, args);
	printf("\n# in step %lu", harness_step);
	if (running)
		printf("; to repeat: KSM_SEED=%llu", seed);
	printf("\n");
	va_end(args);
	fflush(stdout);
	/* Without a runner here, who started us wants to see a crash. */
	if (!running)
		abort();
	_exit(1);
}

static u64 environment(const char *name, u64 missing)
{
	const char *text = getenv(name);
	char *end;
	u64 value;

	if (!text || !*text)
		return missing;
	value = strtoull(text, &end, 0);
	if (*end || *text == '-') {
		fprintf(stderr, "%s=%s: must be a number, 0 to 2^64 - 1\n", name, text);
		exit(2);
	}
	return value;
}

unsigned long harness_steps(unsigned long usual)
{
	return environment("KSM_STEPS", usual);
}

/* Weyl sequence with a mixer: any seed is good, also 0. */
u64 rnd(void)
{
	u64 x = rnd_state += 0x9e3779b97f4a7c15ULL;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

u32 rnd_below(u32 limit)
{
	return (rnd() >> 32) * limit >> 32;
}

bool rnd_one_in(u32 n)
{
	return n && !rnd_below(n);
}

static bool mem_must_fail(void)
{
	if (fail_nth && !--fail_nth)
		return true;
	return rnd_one_in(fail_one_in);
}

static void *mem_alloc_sure(size_t bytes)
{
	struct block *block = calloc(1, sizeof(*block) + bytes);

	if (!block)
		abort();
	block->bytes = bytes;
	mem_bytes += bytes;
	mem_blocks++;
	ASAN_POISON_MEMORY_REGION(block, sizeof(*block));
	return block + 1;
}

static void *mem_alloc(size_t bytes)
{
	if (mem_must_fail()) {
		mem_failed++;
		return NULL;
	}
	return mem_alloc_sure(bytes);
}

static void mem_free(void *mem)
{
	struct block *block = mem;

	if (!mem)
		return;
	block--;
	ASAN_UNPOISON_MEMORY_REGION(block, sizeof(*block));
	mem_bytes -= block->bytes;
	mem_blocks--;
	free(block);
}

const struct ksm_mem_ops harness_mem = {
	.alloc = mem_alloc,
	.free = mem_free,
};

const struct ksm_mem_ops harness_mem_sure = {
	.alloc = mem_alloc_sure,
	.free = mem_free,
};

u64 harness_mem_bytes(void)
{
	return mem_bytes;
}

u64 harness_mem_blocks(void)
{
	return mem_blocks;
}

u64 harness_mem_failed(void)
{
	return mem_failed;
}

void harness_mem_fail_nth(u64 nth)
{
	fail_nth = nth;
}

void harness_mem_fail_one_in(u32 n)
{
	fail_one_in = n;
}

/* Blocks that harness_keep() gave out, each pointing to the one before. */
static void **kept;

void *harness_keep(size_t bytes)
{
	void **block = calloc(1, 2 * sizeof(void *) + bytes);

	if (!block)
		abort();
	*block = kept;
	kept = block;
	return block + 2;
}

static void keep_no_longer(void)
{
	while (kept) {
		void **block = kept;

		kept = *block;
		free(block);
	}
}

unsigned long harness_warnings(void)
{
	return warnings;
}

void harness_expect_warnings(bool expect)
{
	warnings_expected = expect;
}

unsigned long harness_reports(void)
{
	return reports;
}

void harness_expect_reports(bool expect)
{
	reports_expected = expect;
}

void shim_warn(const char *file, int line, const char *what)
{
	warnings++;
	if (!warnings_expected)
		harness_fail(file, line, what, "a warning no test asked for");
}

void shim_printk(const char *fmt, ...)
{
	va_list args;

	reports++;
	if (reports_expected)
		return;
	reports_unasked++;
	va_start(args, fmt);
	printf("# ");
	vprintf(fmt, args);
	va_end(args);
}

void harness_begin(u64 first)
{
	rnd_state = first;
	harness_step = 0;
	mem_failed = 0;
	harness_mem_fail_nth(0);
	harness_mem_fail_one_in(0);
}

void harness_end(void)
{
	CHECK(!mem_blocks, "%llu blocks of %llu bytes are left", mem_blocks, mem_bytes);
	CHECK(!reports_unasked, "%lu reports no test asked for", reports_unasked);
	keep_no_longer();
}

/* The child's part: does not return. The exit status is the test's result. */
static __noreturn void run_child(const struct harness_test *test, unsigned int nr)
{
	running = test->name;
	/* A test that hangs is killed, and so fails. */
	alarm(environment("KSM_SECONDS", 120));
	harness_begin(seed + nr);
	test->run();
	harness_end();
	exit(0);
}

static bool run_test(const struct harness_test *test, unsigned int nr)
{
	int status = 0;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child < 0) {
		perror("fork");
		exit(2);
	}
	if (!child)
		run_child(test, nr);
	if (waitpid(child, &status, 0) != child) {
		perror("waitpid");
		exit(2);
	}
	if (!WIFEXITED(status))
		printf("# killed by signal %d; to repeat: KSM_SEED=%llu\n",
		       WTERMSIG(status), seed);
	else if (WEXITSTATUS(status) > 1)
		printf("# exit status %d (a sanitizer's report?); to repeat: KSM_SEED=%llu\n",
		       WEXITSTATUS(status), seed);
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

int harness_main(const struct harness_test *tests, unsigned int nr)
{
	unsigned int at, failed = 0;
	u64 fresh = 0;

	if (getrandom(&fresh, sizeof(fresh), 0) != sizeof(fresh))
		perror("getrandom");
	seed = environment("KSM_SEED", fresh);
	/* Nonsense in the others is told before a test runs, too. */
	harness_steps(0);
	environment("KSM_SECONDS", 0);
	printf("TAP version 13\n1..%u\n# KSM_SEED=%llu\n", nr, seed);
	for (at = 0; at < nr; at++) {
		bool passed = run_test(&tests[at], at);

		failed += !passed;
		printf("%s %u - %s\n", passed ? "ok" : "not ok", at + 1,
		       tests[at].name);
	}
	fflush(stdout);
	return failed ? 1 : 0;
}
