// SPDX-License-Identifier: GPL-2.0-only
/*
 * The memory below merged pages goes: a whole memory block that is taken
 * offline and online again, a single frame that is retired.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "ksm_util.h"

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif

#define MEMORY_SYS "/sys/devices/system/memory/"

static unsigned long block_bytes(void)
{
	unsigned long bytes = 0;
	FILE *f = fopen(MEMORY_SYS "block_size_bytes", "re");

	if (!f)
		skip("the kernel cannot plug memory");
	if (fscanf(f, "%lx", &bytes) != 1 || !bytes)
		fail(MEMORY_SYS "block_size_bytes is unreadable");
	fclose(f);
	return bytes;
}

static unsigned long block_of(const char *p)
{
	return page_pfn(p) * page_size / block_bytes();
}

static int set_state(unsigned long block, const char *state)
{
	char path[96];

	snprintf(path, sizeof(path), MEMORY_SYS "memory%lu/state", block);
	return file_write(path, state);
}

/* The test pages: one in every @stride pages of a large area, no others. */
static char *spread;
static size_t stride;

#define TEST_PAGES 2000

static char *test_page(size_t i)
{
	return page_at(spread, i * stride);
}

/*
 * Kernel memory in a block forbids taking it offline, so spread the pages
 * over as many blocks as a quarter of the free memory reaches.
 */
static void spread_pages(void)
{
	long kb = file_field("/proc/meminfo", "MemFree");
	size_t i;

	must(kb > 0, "MemFree in /proc/meminfo is %ld", kb);
	stride = kb / 4 * 1024 / page_size / TEST_PAGES;
	must(stride > 1, "%ld kB of free memory are too few", kb);
	spread = area_new(stride * TEST_PAGES);
	for (i = 0; i < stride * TEST_PAGES; i++)
		byte_write(page_at(spread, i), 1);
	for (i = 0; i < TEST_PAGES; i++) {
		area_advise(page_at(test_page(i), 1), stride - 1,
			    MADV_DONTNEED);
		page_fill(test_page(i), i / 4);
	}
	area_advise(spread, stride * TEST_PAGES, MADV_MERGEABLE);
}

/* In which block each of the test pages is, or was at the last look. */
static unsigned long block_at[TEST_PAGES];

static void note_blocks(void)
{
	size_t i;

	for (i = 0; i < TEST_PAGES; i++)
		block_at[i] = block_of(test_page(i));
}

/* Takes a block offline that had test pages in it; 0 or why none can go. */
static int offline_some(unsigned long *which)
{
	unsigned long tried[32], block;
	size_t i, n = 0, t;
	int err = 0;

	for (i = 0; i < TEST_PAGES && n < ARRAY_SIZE(tried); i++) {
		block = block_at[i];
		for (t = 0; t < n && tried[t] != block; t++)
			;
		if (t < n)
			continue;
		err = set_state(block, "offline");
		if (!err) {
			*which = block;
			return 0;
		}
		tried[n++] = block;
	}
	return err;
}

/* Returns a block that had test pages in it and is offline now. */
static unsigned long offline_one(void)
{
	unsigned long block = 0;
	int err = offline_some(&block);

	if (err)
		skip("no memory block with test pages can go offline (%s); movablecore= helps",
		     strerror(-err));
	return block;
}

static void check_contents(const char *when)
{
	size_t i;

	for (i = 0; i < TEST_PAGES; i++)
		page_check(test_page(i), i / 4, when);
}

static void online(unsigned long block)
{
	int err = set_state(block, "online");

	must(!err, "block %lu does not come online again: %s", block,
	     strerror(-err));
}

static void test_block_goes_offline(void)
{
	unsigned long block;
	size_t i;

	block_bytes();
	spread_pages();
	ksm_settle();
	ksm_expect("500 x 4 copies", TEST_PAGES / 4, TEST_PAGES * 3 / 4, 0, 0);
	note_blocks();
	block = offline_one();
	check_contents("block offline");
	for (i = 0; i < TEST_PAGES; i++)
		must(block_of(test_page(i)) != block,
		     "page %zu still lies in the offline block %lu", i, block);
	ksm_settle();
	ksm_expect("block offline", TEST_PAGES / 4, TEST_PAGES * 3 / 4, 0, 0);
	must_eq("run, block offline", ksm_read("run"), 1);
	online(block);
	ksm_settle();
	check_contents("block online");
	ksm_expect("block online", TEST_PAGES / 4, TEST_PAGES * 3 / 4, 0, 0);
	for (i = 0; i < TEST_PAGES; i++)
		page_fill(test_page(i), 100000 + i);
	ksm_settle();
	ksm_expect("written", 0, 0, TEST_PAGES, 0);
	for (i = 0; i < TEST_PAGES; i++)
		page_check(test_page(i), 100000 + i, "written");
}

/*
 * Merged pages in the block are freed while ksmd is stopped, which has their frames
 * noted still.  The block must not leave without it: the frames may be gone for
 * good when ksmd looks at them.
 */
static void test_freed_in_block(void)
{
	unsigned long block;
	size_t i, gone = 0;

	block_bytes();
	spread_pages();
	ksm_settle();
	ksm_expect("500 x 4 copies", TEST_PAGES / 4, TEST_PAGES * 3 / 4, 0, 0);
	ksm_set("run", 0);
	note_blocks();
	area_free(spread, stride * TEST_PAGES);
	must_eq("pages_shared, all freed and ksmd stopped",
		ksm_read("pages_shared"), TEST_PAGES / 4);
	block = offline_one();
	for (i = 0; i < TEST_PAGES; i += 4)
		gone += block_at[i] == block;
	ksm_note("hotplug.freed_in_block: %zu of 500 frames in the block", gone);
	must_eq("pages_shared, block offline", ksm_read("pages_shared"),
		TEST_PAGES / 4 - gone);
	online(block);
	ksm_forget();
	ksm_expect("all freed", 0, 0, 0, 0);
}

/* Writes to what it has by fork, so that ksmd always has something to merge. */
static void rewrite_pages(void *arg)
{
	struct gate *stop = arg;
	unsigned int n = 0;

	while (!__atomic_load_n(&stop->step, __ATOMIC_SEQ_CST)) {
		size_t i = n++ * 7 % TEST_PAGES;

		page_check(test_page(i), i / 4, "rewritten while blocks go");
		page_fill(test_page(i), 100000 + n);
		page_check(test_page(i), 100000 + n, "written while blocks go");
		page_fill(test_page(i), i / 4);
	}
	check_contents("in the writer, at the end");
}

static void test_offline_under_merges(void)
{
	struct gate *stop = gate_new();
	unsigned long block;
	long breaks;
	pid_t pid;
	int n;

	block_bytes();
	spread_pages();
	ksm_set("sleep_millisecs", 0);
	ksm_settle();
	breaks = vmstat_of("cow_ksm");
	pid = child(rewrite_pages, stop);
	nap_ms(100);
	note_blocks();
	block = offline_one();
	/* What was in it may never come back: there may be no second one. */
	for (n = 1; n < 4; n++) {
		check_contents("block offline");
		ksm_wait_scans(1);
		online(block);
		check_contents("block online");
		note_blocks();
		if (offline_some(&block))
			break;
	}
	if (n == 4)
		online(block);
	gate_open(stop, 1);
	join(pid);
	ksm_note("hotplug.offline_under_merges: %d blocks went, and %ld writes met a merged page",
		 n, vmstat_of("cow_ksm") - breaks);
	must(vmstat_of("cow_ksm") - breaks > 100,
	     "blocks went while nothing was merging");
	ksm_forget();
	ksm_expect("at the end", TEST_PAGES / 4, TEST_PAGES * 3 / 4, 0, 0);
	check_contents("at the end");
}

/* The frame of a merged page is retired; its sharers must not notice. */
static void test_frame_soft_offline(void)
{
	char *p = area_same(20, 1);
	bool retired = true;
	uint64_t pfn;

	ksm_settle();
	ksm_expect("20 copies", 1, 19, 0, 0);
	pfn = page_pfn(p);
	if (madvise(p, page_size, MADV_SOFT_OFFLINE)) {
		if (errno == EINVAL || errno == EPERM)
			skip("no MADV_SOFT_OFFLINE here: %m");
		ksm_note("MADV_SOFT_OFFLINE of a merged page: %m");
		retired = false;
	}
	area_check_same(p, 20, 1, "frame retired, or not");
	ksm_settle();
	ksm_expect("later", 1, 19, 0, 0);
	must(!retired || page_pfn(p) != pfn,
	     "the frame was retired, and the merged page is still in it");
	area_fill_each(p, 10, 50);
	area_check_same(page_at(p, 10), 10, 1, "not written");
	area_check_each(p, 10, 50, "written");
}

static const struct ksm_case cases[] = {
	{ "block_goes_offline", test_block_goes_offline, KSM_EXCLUSIVE },
	{ "freed_in_block", test_freed_in_block, KSM_EXCLUSIVE },
	{ "offline_under_merges", test_offline_under_merges, KSM_EXCLUSIVE },
	{ "frame_soft_offline", test_frame_soft_offline, KSM_EXCLUSIVE },
	{ }
};

const struct ksm_topic topic_hotplug = { "hotplug", cases };
