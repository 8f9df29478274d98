// SPDX-License-Identifier: GPL-2.0-only
/*
 * madvise(MADV_MERGEABLE and MADV_UNMERGEABLE): return values, which kinds of
 * mapping take the advice, and what the mapping looks like afterwards.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "ksm_util.h"

/* Advice must end with this errno (0 = success). */
static void expect_advice(const char *what, void *p, size_t bytes, int advice,
			  int want)
{
	int err = madvise(p, bytes, advice) ? errno : 0;

	must(err == want, "%s: madvise gives errno %d (%s), expected %d",
	     what, err, strerror(err), want);
}

static void expect_mg(const char *what, const void *p, bool want)
{
	bool mg = vma_has_flag(p, "mg");

	must(mg == want, "%s: VmFlags %s mg", what, mg ? "has" : "lacks");
}

static void test_sets_flag(void)
{
	char *p = area_new(4);

	area_fill_each(p, 4, 1);
	expect_mg("before", p, false);
	expect_advice("MERGEABLE", p, 4 * page_size, MADV_MERGEABLE, 0);
	expect_mg("MERGEABLE", p, true);
	expect_advice("MERGEABLE again", p, 4 * page_size, MADV_MERGEABLE, 0);
	expect_mg("MERGEABLE again", p, true);
	expect_advice("UNMERGEABLE", p, 4 * page_size, MADV_UNMERGEABLE, 0);
	expect_mg("UNMERGEABLE", p, false);
	expect_advice("UNMERGEABLE again", p, 4 * page_size, MADV_UNMERGEABLE,
		      0);
	area_check_each(p, 4, 1, "after advice");
}

static void test_errors(void)
{
	char *p = area_new(8);
	int advice[] = { MADV_MERGEABLE, MADV_UNMERGEABLE };
	size_t i;

	area_fill_each(p, 8, 1);
	for (i = 0; i < ARRAY_SIZE(advice); i++) {
		expect_advice("unaligned", p + 1, page_size, advice[i], EINVAL);
		expect_advice("no length", p, 0, advice[i], 0);
		expect_advice("odd length", p, page_size / 2, advice[i], 0);
		expect_advice("length wraps", p, -page_size, advice[i],
			      EINVAL);
		expect_advice("length rounds to 0", p, -1ul, advice[i],
			      EINVAL);
	}
	must_call(munmap(page_at(p, 3), page_size));
	for (i = 0; i < ARRAY_SIZE(advice); i++) {
		expect_advice("only a hole", page_at(p, 3), page_size,
			      advice[i], ENOMEM);
		expect_advice("with a hole", p, 8 * page_size, advice[i],
			      ENOMEM);
		/* ENOMEM for the hole, yet the mapped parts are advised. */
		expect_mg("before the hole", p, !i);
		expect_mg("behind the hole", page_at(p, 4), !i);
	}
	area_check_each(p, 3, 1, "after advice");
}

static void test_splits_mapping(void)
{
	char *p = area_new(6);

	area_fill_same(p, 6, 5);
	area_advise(page_at(p, 2), 2, MADV_MERGEABLE);
	expect_mg("left", page_at(p, 1), false);
	expect_mg("middle", page_at(p, 2), true);
	expect_mg("middle", page_at(p, 3), true);
	expect_mg("right", page_at(p, 4), false);
	ksm_settle();
	ksm_expect("only the middle", 1, 1, 0, 0);
	must(!page_is_ksm(p) && !page_is_ksm(page_at(p, 5)),
	     "a page outside the advised range was merged");
	area_check_same(p, 6, 5, "merged middle");
	area_advise(p, 6, MADV_MERGEABLE);
	must_eq("Size of the whole mapping, kB", vma_smaps_kb(p, "Size"),
		6 * (long)page_size / 1024);
	ksm_settle();
	ksm_expect("all", 1, 5, 0, 0);
	area_check_same(p, 6, 5, "merged all");
}

/* A mapping that must take the advice without an error and without effect. */
static void expect_ignored(const char *what, char *p, size_t bytes)
{
	expect_advice(what, p, bytes, MADV_MERGEABLE, 0);
	expect_mg(what, p, false);
	expect_advice(what, p, bytes, MADV_UNMERGEABLE, 0);
}

static void test_ignores_shared(void)
{
	size_t bytes = 4 * page_size;
	char *p = shared_new(bytes), *q, *r;
	int fd = syscall(SYS_memfd_create, "ksm", 0);

	must_call(fd);
	must_call(ftruncate(fd, bytes));
	q = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(q != MAP_FAILED, "mmap of a memfd: %m");
	/* A shared mapping that may not write is VM_MAYSHARE only. */
	r = mmap(NULL, bytes, PROT_READ, MAP_SHARED,
		 open("/proc/self/exe", O_RDONLY), 0);
	must(r != MAP_FAILED, "mmap of this program: %m");
	area_fill_same(p, 4, 3);
	area_fill_same(q, 4, 3);
	expect_ignored("shared anonymous", p, bytes);
	expect_ignored("shared memfd", q, bytes);
	expect_ignored("shared read-only file", r, bytes);
	madvise(p, bytes, MADV_MERGEABLE);
	madvise(q, bytes, MADV_MERGEABLE);
	area_each(1, 1000);
	ksm_settle();
	ksm_expect("shared memory", 0, 0, 1, 0);
	area_check_same(p, 4, 3, "shared anonymous");
	area_check_same(q, 4, 3, "shared memfd");
}

static void test_ignores_special(void)
{
	size_t pages;
	char *p = vvar_area(&pages);

	expect_ignored("[vvar], a mapping of raw frames", p, pages * page_size);
}

static void test_ignores_hugetlb(void)
{
	const char *knob = "/proc/sys/vm/nr_hugepages";
	long had = file_number(knob);
	size_t bytes = 512 * page_size;
	char *p, text[32];

	if (had < 0)
		skip("the kernel has no hugetlb pages");
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (p == MAP_FAILED) {
		snprintf(text, sizeof(text), "%ld", had + 1);
		file_write(knob, text);
		p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	}
	if (p == MAP_FAILED)
		skip("no hugetlb page to be had: %m");
	area_fill_same(p, 512, 9);
	expect_ignored("hugetlb", p, bytes);
	area_check_same(p, 512, 9, "hugetlb");
}

/* Memory of the heap and of the stack is like any other. */
static void test_heap_and_stack(void)
{
	enum { N = 6 };
	char stack[(N + 1) * 4096], *s, *h;

	must(page_size == 4096, "pages of %zu bytes", page_size);
	s = (char *)(((uintptr_t)stack + page_size - 1) & ~(page_size - 1));
	h = sbrk((N + 1) * page_size);
	must(h != (void *)-1, "sbrk: %m");
	h = (char *)(((uintptr_t)h + page_size - 1) & ~(page_size - 1));
	area_fill_same(s, N, 1);
	area_fill_same(h, N, 1);
	expect_advice("heap", h, N * page_size, MADV_MERGEABLE, 0);
	expect_advice("stack", s, N * page_size, MADV_MERGEABLE, 0);
	expect_mg("heap", h, true);
	expect_mg("stack", s, true);
	ksm_settle();
	ksm_expect("heap and stack", 1, 2 * N - 1, 0, 0);
	area_check_same(s, N, 1, "stack");
	area_check_same(h, N, 1, "heap");
	area_fill_each(s, N, 40);
	area_check_each(s, N, 40, "stack, written");
	area_check_same(h, N, 1, "heap, not written");
}

/* A private file mapping takes the advice; only its own pages merge. */
static void test_private_file(void)
{
	size_t bytes = 8 * page_size;
	int fd = syscall(SYS_memfd_create, "ksm", 0);
	char *p, *q = malloc(page_size);

	must_call(fd);
	must_call(ftruncate(fd, bytes));
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(p != MAP_FAILED, "mmap: %m");
	area_fill_same(p, 8, 11);
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	must(p != MAP_FAILED, "mmap: %m");
	area_check_same(p, 8, 11, "file pages");
	area_fill_same(p, 4, 12);
	expect_advice("private file", p, bytes, MADV_MERGEABLE, 0);
	expect_mg("private file", p, true);
	ksm_settle();
	ksm_expect("4 private copies", 1, 3, 0, 0);
	must_eq("merged pages", area_count_ksm(p, 8), 4);
	area_check_same(p, 4, 12, "private copies");
	area_check_same(page_at(p, 4), 4, 11, "file pages");
	must(pread(fd, q, page_size, 0) == (ssize_t)page_size, "pread: %m");
	page_check(q, 11, "the file itself");
	free(q);
}

static const struct ksm_case cases[] = {
	{ "sets_flag", test_sets_flag },
	{ "errors", test_errors },
	{ "splits_mapping", test_splits_mapping },
	{ "ignores_shared", test_ignores_shared },
	{ "ignores_special", test_ignores_special },
	{ "ignores_hugetlb", test_ignores_hugetlb },
	{ "heap_and_stack", test_heap_and_stack },
	{ "private_file", test_private_file },
	{ }
};

const struct ksm_topic topic_madvise = { "madvise", cases };
