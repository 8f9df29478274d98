// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of stats.c: transitions against sums over a small set of pages.
 */
#include <string.h>
#include "harness.h"
#include "stats.h"

#define NR_PAGES	64
#define NR_CONTENTS	6
#define NR_COPIES	5
#define NOWHERE		(-1)

/* The truth: each page's state and, if stable, the KSM page it shares. */
struct model {
	enum ksm_page_state state[NR_PAGES];
	int content[NR_PAGES];
	int copy[NR_PAGES];
	bool exists[NR_CONTENTS][NR_COPIES];
};

static unsigned int model_copies(const struct model *model, int content)
{
	unsigned int nr = 0;
	int i;

	for (i = 0; i < NR_COPIES; i++)
		nr += model->exists[content][i];
	return nr;
}

static unsigned int model_sharers(const struct model *model, int content, int copy)
{
	unsigned int nr = 0;
	int i;

	for (i = 0; i < NR_PAGES; i++)
		nr += model->state[i] == KSM_PAGE_STABLE &&
		      model->content[i] == content && model->copy[i] == copy;
	return nr;
}

/* Counts everything anew. */
static struct ksm_stats model_stats(const struct model *model)
{
	struct ksm_stats sum = {};
	unsigned int i, copy, copies;

	for (i = 0; i < NR_PAGES; i++) {
		if (model->state[i] != KSM_PAGE_EMPTY)
			sum.tally.pages[model->state[i]]++;
	}
	for (i = 0; i < NR_CONTENTS; i++) {
		copies = model_copies(model, i);
		sum.nodes += copies;
		sum.chains += copies > 1;
		sum.dups += copies > 1 ? copies : 0;
		for (copy = 0; copy < NR_COPIES; copy++)
			sum.shared += model_sharers(model, i, copy) > 0;
	}
	return sum;
}

/* Takes a page out of its state. */
static void leave(struct model *model, struct ksm_stats *stats, int page,
		  enum ksm_page_state to)
{
	enum ksm_page_state from = model->state[page];

	model->state[page] = to;
	ksm_tally_move(&stats->tally, from, to);
	if (from == KSM_PAGE_STABLE &&
	    !model_sharers(model, model->content[page], model->copy[page]))
		ksm_stats_last_sharer(stats);
}

static void share(struct model *model, struct ksm_stats *stats, int page,
		  int content, int copy)
{
	if (!model_sharers(model, content, copy))
		ksm_stats_first_sharer(stats);
	ksm_tally_move(&stats->tally, KSM_PAGE_EMPTY, KSM_PAGE_STABLE);
	model->state[page] = KSM_PAGE_STABLE;
	model->content[page] = content;
	model->copy[page] = copy;
}

/* Makes or drops one KSM page; drops only one without sharers. */
static void toggle(struct model *model, struct ksm_stats *stats, int content,
		   int copy)
{
	if (!model->exists[content][copy]) {
		model->exists[content][copy] = true;
		ksm_stats_node_added(stats);
		if (model_copies(model, content) > 1)
			ksm_stats_chain_grew(stats, model_copies(model, content));
	} else if (!model_sharers(model, content, copy)) {
		model->exists[content][copy] = false;
		ksm_stats_node_removed(stats);
		if (model_copies(model, content))
			ksm_stats_chain_shrank(stats, model_copies(model, content));
	}
}

static void random_step(struct model *model, struct ksm_stats *stats)
{
	int page = rnd_below(NR_PAGES);
	int content = rnd_below(NR_CONTENTS);
	int copy = rnd_below(NR_COPIES);

	switch (rnd_below(3)) {
	case 0:
		leave(model, stats, page, rnd_below(KSM_PAGE_STABLE));
		break;
	case 1:
		leave(model, stats, page, KSM_PAGE_EMPTY);
		if (model->exists[content][copy])
			share(model, stats, page, content, copy);
		break;
	default:
		toggle(model, stats, content, copy);
	}
}

static void counters_equal_sums(void)
{
	unsigned long steps = harness_steps(100000);
	struct ksm_stats stats = {};
	struct model model = {};
	struct ksm_stats sum;

	for (harness_step = 0; harness_step < steps; harness_step++) {
		random_step(&model, &stats);
		sum = model_stats(&model);
		CHECK(!memcmp(&sum, &stats, sizeof(sum)),
		      "shared %llu/%llu nodes %llu/%llu chains %llu/%llu dups %llu/%llu",
		      stats.shared, sum.shared, stats.nodes, sum.nodes,
		      stats.chains, sum.chains, stats.dups, sum.dups);
		CHECK(ksm_stats_pages_sharing(&stats) ==
		      sum.tally.pages[KSM_PAGE_STABLE] - sum.shared,
		      "pages_sharing is %llu", ksm_stats_pages_sharing(&stats));
		CHECK(ksm_tally_tracked(&stats.tally) ==
		      sum.tally.pages[KSM_PAGE_VOLATILE] +
		      sum.tally.pages[KSM_PAGE_CANDIDATE] +
		      sum.tally.pages[KSM_PAGE_STABLE],
		      "%llu tracked", ksm_tally_tracked(&stats.tally));
		CHECK(ksm_stats_validate(&stats), "validate");
	}
}

static void underflow_warns_and_stays_at_zero(void)
{
	static const struct ksm_stats zero;
	struct ksm_stats stats = {};

	EXPECT_WARNINGS(1, ksm_tally_move(&stats.tally, KSM_PAGE_VOLATILE,
					  KSM_PAGE_EMPTY));
	EXPECT_WARNINGS(1, ksm_stats_last_sharer(&stats));
	EXPECT_WARNINGS(1, ksm_stats_node_removed(&stats));
	CHECK(!memcmp(&stats, &zero, sizeof(zero)), "a counter moved");
}

static void validate_finds_broken_sums(void)
{
	/* Two KSM pages in a chain, one with two sharers and one with one. */
	static const struct ksm_stats right = {
		.tally.pages[KSM_PAGE_STABLE] = 3,
		.shared = 2, .nodes = 2, .chains = 1, .dups = 2,
	};
	struct ksm_stats stats;

	CHECK(ksm_stats_validate(&right), "validate");
#define BREAK(field, value)				\
	do {						\
		stats = right;				\
		stats.field = (value);			\
		EXPECT_BROKEN(ksm_stats_validate(&stats)); \
	} while (0)
	BREAK(tally.pages[KSM_PAGE_EMPTY], 1);
	BREAK(tally.pages[KSM_PAGE_STABLE], 1);
	BREAK(shared, 0);
	BREAK(nodes, 1);
	BREAK(dups, 1);
	BREAK(chains, 0);
	BREAK(dups, 3);
#undef BREAK
}

static const struct harness_test tests[] = {
	{ "stats: counters equal sums over all pages", counters_equal_sums },
	{ "stats: an underflow warns and stays at 0", underflow_warns_and_stays_at_zero },
	{ "stats: validate finds broken sums", validate_finds_broken_sums },
};

int main(void)
{
	return harness_main(tests, ARRAY_SIZE(tests));
}
