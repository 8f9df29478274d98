// SPDX-License-Identifier: GPL-2.0-only
/*
 * Page frames: merging takes none, and gives back at once what is not needed
 * any more, whether ksmd runs or not.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "ksm_util.h"

#define COPIES	40

static bool is_one_of(uint64_t pfn, const uint64_t *old, size_t n)
{
	while (n--)
		if (old[n] == pfn)
			return true;
	return false;
}

/* Under max_page_sharing, too, a KSM page is a page that was there before. */
static void test_one_of_the_old(void)
{
	uint64_t old[COPIES], pfn;
	size_t i;
	char *p;

	ksm_set("max_page_sharing", COPIES / 4);
	p = area_same(COPIES, 1);
	for (i = 0; i < COPIES; i++)
		old[i] = page_pfn(page_at(p, i));
	ksm_settle();
	ksm_expect("40 copies, max_page_sharing=10", 4, COPIES - 4, 0, 0);
	for (i = 0; i < COPIES; i++) {
		pfn = page_pfn(page_at(p, i));
		must(is_one_of(pfn, old, COPIES),
		     "page %zu lies in frame %llx, where no page was before",
		     i, (unsigned long long)pfn);
	}
	area_check_same(p, COPIES, 1, "merged");
}

#define FRAMES	2000

static uint64_t frames[FRAMES];

/*
 * FRAMES KSM pages with two sharers each in one area, ksmd stopped.  The passes
 * in between empty the lists on which the kernel holds pages for a while.
 */
static char *merge_pairs(void)
{
	char *p = area_new(2 * FRAMES);
	size_t i;

	area_fill_each(p, FRAMES, 1);
	area_fill_each(page_at(p, FRAMES), FRAMES, 1);
	area_advise(p, 2 * FRAMES, MADV_MERGEABLE);
	ksm_settle();
	ksm_expect("2000 x 2 copies", FRAMES, FRAMES, 0, 0);
	ksm_wait_scans(2);
	ksm_set("run", 0);
	for (i = 0; i < FRAMES; i++)
		frames[i] = page_pfn(page_at(p, i));
	return p;
}

/* A frame keeps the mark of a KSM page until it is freed, mapped or not. */
static size_t ksm_frames(void)
{
	size_t i, n = 0;

	for (i = 0; i < FRAMES; i++)
		n += pfn_has_flag(frames[i], KPF_KSM_PAGE);
	return n;
}

static void test_freed_at_once(void)
{
	char *p = merge_pairs();

	must_eq("frames of KSM pages", ksm_frames(), FRAMES);
	area_check_each(p, FRAMES, 1, "merged");
	area_check_each(page_at(p, FRAMES), FRAMES, 1, "merged");
	area_free(p, FRAMES);
	must_eq("frames of KSM pages, one of two sharers gone", ksm_frames(),
		FRAMES);
	area_check_each(page_at(p, FRAMES), FRAMES, 1, "one sharer gone");
	area_free(page_at(p, FRAMES), FRAMES);
	must_eq("frames that are still KSM pages, both sharers gone",
		ksm_frames(), 0);
}

/* The last sharer copies as well, and the frame is left. */
static void test_freed_by_writes(void)
{
	char *p = merge_pairs();

	must_eq("frames of KSM pages", ksm_frames(), FRAMES);
	area_fill_each(p, FRAMES, 10000);
	must_eq("frames of KSM pages, one of two sharers has written",
		ksm_frames(), FRAMES);
	area_check_each(page_at(p, FRAMES), FRAMES, 1, "the other wrote");
	area_fill_each(page_at(p, FRAMES), FRAMES, 20000);
	must_eq("frames that are still KSM pages, both sharers have written",
		ksm_frames(), 0);
	area_check_each(p, FRAMES, 10000, "written");
	area_check_each(page_at(p, FRAMES), FRAMES, 20000, "written later");
}

/* What is freed is no longer charged, but for what CPUs keep in stock. */
static void test_uncharged_at_once(void)
{
	long before, left;
	char *p;

	memcg_enter();
	p = merge_pairs();
	area_check_each(p, FRAMES, 1, "merged");
	before = memcg_current();
	area_free(p, 2 * FRAMES);
	left = (before - memcg_current()) / (long)page_size;
	must(left > FRAMES / 2,
	     "2000 KSM pages were unmapped, the cgroup's charge fell by %ld pages",
	     left);
}

static const struct ksm_case cases[] = {
	{ "one_of_the_old", test_one_of_the_old },
	{ "freed_at_once", test_freed_at_once },
	{ "freed_by_writes", test_freed_by_writes },
	{ "uncharged_at_once", test_uncharged_at_once, KSM_EXCLUSIVE },
	{ }
};

const struct ksm_topic topic_frame = { "frame", cases };
