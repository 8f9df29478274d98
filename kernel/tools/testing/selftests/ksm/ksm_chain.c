// SPDX-License-Identifier: GPL-2.0-only
/*
 * Several KSM pages of one content, under max_page_sharing: what becomes of
 * them when most of their sharers have written.
 */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include "ksm_util.h"

#define LIMIT		10
#define MAX_KPAGES	4
#define MAX_PAGES	(MAX_KPAGES * LIMIT)
#define SEED		1
#define WRITTEN		5000

#define APART	"KSM pages of one content are never joined"

/* KSM pages of one content, and what to find when all of them have drained. */
struct drain {
	size_t kpages, keep, want;
};

static bool is_written[MAX_PAGES];

static void check_contents(const char *p, size_t pages, const char *when)
{
	size_t i;

	for (i = 0; i < pages; i++)
		page_check(page_at(p, i), is_written[i] ? WRITTEN + i : SEED,
			   when);
}

/* That many KSM pages, all full; ksmd stopped. */
static char *fill_kpages(size_t kpages)
{
	char *p;

	ksm_set("run", 2);
	ksm_set("max_page_sharing", LIMIT);
	ksm_set("stable_node_chains_prune_millisecs", 0);
	memset(is_written, 0, sizeof(is_written));
	p = area_same(kpages * LIMIT, SEED);
	ksm_settle();
	ksm_expect("full KSM pages", kpages, kpages * (LIMIT - 1), 0, 0);
	ksm_set("run", 0);
	return p;
}

/* Write to the sharers of each KSM page until @keep of them are left. */
static void drain_kpages(char *p, size_t pages, size_t keep)
{
	uint64_t frame[MAX_KPAGES];
	size_t kept[MAX_KPAGES] = { }, nr = 0, i, k;

	for (i = 0; i < pages; i++) {
		uint64_t pfn = page_pfn(page_at(p, i));

		for (k = 0; k < nr && frame[k] != pfn; k++)
			;
		must(k < MAX_KPAGES, "the copies lie in more than %d frames",
		     MAX_KPAGES);
		frame[k] = pfn;
		nr += k == nr;
		is_written[i] = kept[k] == keep;
		if (is_written[i])
			page_fill(page_at(p, i), WRITTEN + i);
		else
			kept[k]++;
	}
}

static void expect_joined(const struct drain *d)
{
	size_t left = d->kpages * d->keep;

	ksm_settle();
	ksm_expect("drained", d->want, left - d->want,
		   d->kpages * LIMIT - left, 0);
}

static void expect_chain(const char *when, long copies)
{
	long chains = ksm_read("stable_node_chains");
	long dups = ksm_read("stable_node_dups");

	must(chains == (copies > 1) && dups == (copies > 1 ? copies : 0),
	     "%s: %ld chains of %ld KSM pages in all, expected one of %ld, or none for a single one",
	     when, chains, dups, copies);
}

static void drain_and_check(const struct drain *d)
{
	size_t pages = d->kpages * LIMIT;
	char *p = fill_kpages(d->kpages);

	drain_kpages(p, pages, d->keep);
	check_contents(p, pages, "drained");
	expect_joined(d);
	ksm_wait_scans(2);
	expect_chain("drained and joined", d->want);
	must_eq("frames", area_count_frames(p, pages),
		pages - d->kpages * d->keep + d->want);
	check_contents(p, pages, "joined");
	/* A write to one is nobody else's business, joined or not. */
	page_fill(p, WRITTEN);
	is_written[0] = true;
	check_contents(p, pages, "joined and written");
	area_free(p, pages);
}

/* They become as few as the limit allows. */
static void test_drained_copies_join(void)
{
	static const struct drain drains[] = {
		{ 2, 1, 1 }, { 4, 2, 1 }, { 2, 5, 1 }, { 3, 5, 2 },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(drains); i++)
		drain_and_check(&drains[i]);
}

/* Where two do not fit into one, no sharer may be moved to and fro. */
static void test_full_ones_stay(void)
{
	static const struct drain d = { 2, 6, 2 };
	uint64_t frame[2 * LIMIT];
	char *p = fill_kpages(d.kpages);
	size_t i;
	int pass;

	drain_kpages(p, 2 * LIMIT, d.keep);
	expect_joined(&d);
	for (i = 0; i < 2 * LIMIT; i++)
		frame[i] = page_pfn(page_at(p, i));
	for (pass = 0; pass < 5; pass++) {
		ksm_wait_scans(1);
		for (i = 0; i < 2 * LIMIT; i++)
			must(page_pfn(page_at(p, i)) == frame[i],
			     "page %zu was moved to another frame in pass %d",
			     i, pass);
	}
	expect_joined(&d);
	check_contents(p, 2 * LIMIT, "left alone");
}

/*
 * A KSM page that all sharers have left goes at once; what the engine knows of
 * it in the chain goes when stable_node_chains_prune_millisecs is over.
 */
static void test_prune_interval(void)
{
	static const struct drain d = { 4, 2, 1 };
	char *p = fill_kpages(d.kpages);
	int pass;

	/* Counted from the last time, which was in the pass just before. */
	ksm_set("stable_node_chains_prune_millisecs", 3600000);
	drain_kpages(p, MAX_PAGES, d.keep);
	expect_joined(&d);
	for (pass = 0; pass < 3; pass++) {
		ksm_wait_scans(1);
		expect_chain("an hour is not over", d.kpages);
	}
	ksm_set("stable_node_chains_prune_millisecs", 0);
	ksm_wait_scans(2);
	expect_chain("pruned in each pass", d.want);
	expect_joined(&d);
	check_contents(p, MAX_PAGES, "pruned");
}

static const struct ksm_case cases[] = {
	{ "drained_copies_join", test_drained_copies_join, KSM_SLOW, APART },
	{ "full_ones_stay", test_full_ones_stay },
	{ "prune_interval", test_prune_interval, 0, APART },
	{ }
};

const struct ksm_topic topic_chain = { "chain", cases };
