// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of chain.c against a table of copies that knows each one's content and
 * sharers; counters, choice and search are computed anew from it.
 */
#include <string.h>
#include "chain.h"
#include "harness.h"

#define NR_COPIES	200
#define NR_CONTENTS	20

struct model {
	struct ksm_index index;
	struct ksm_stats stats;
	u32 limit;
	u64 hash[NR_CONTENTS];
	struct ksm_copy copy[NR_COPIES];
	int content[NR_COPIES];		/* -1: the copy is in no content */
	u32 sharers[NR_COPIES];
	int lead[NR_CONTENTS];		/* a copy, as far as it is known */
};

static struct model *model_new(u32 limit)
{
	struct model *model = harness_keep(sizeof(*model));
	u32 at;

	CHECK(!ksm_index_init(&model->index, &harness_mem), "init");
	model->limit = limit;
	for (at = 0; at < NR_COPIES; at++) {
		ksm_copy_init(&model->copy[at]);
		model->content[at] = -1;
	}
	/* Contents 0 and 1 have one hash, and yet they must stay apart. */
	for (at = 0; at < NR_CONTENTS; at++)
		model->hash[at] = at == 1 ? model->hash[0] : rnd();
	return model;
}

/* The only copy of a content that is in the index; NULL if it has none. */
static struct ksm_copy *find_lead(struct model *model, int content)
{
	struct ksm_copy *lead = NULL;
	u32 at;

	for (at = 0; at < NR_COPIES; at++) {
		if (model->content[at] != content ||
		    !ksm_index_contains(&model->copy[at].in))
			continue;
		CHECK(!lead, "content %d has two leads", content);
		lead = &model->copy[at];
	}
	return lead;
}

/* Whether the index finds this very node under the content's hash. */
static bool is_found(const struct model *model, int content,
		     const struct ksm_copy *lead)
{
	const struct ksm_index_node *node;

	for (node = ksm_index_first(&model->index, model->hash[content]); node;
	     node = ksm_index_next(node)) {
		if (node == &lead->in)
			return true;
	}
	return false;
}

static struct ksm_stats model_stats(const struct model *model)
{
	u32 at, copies[NR_CONTENTS] = {};
	struct ksm_stats sum = {};

	for (at = 0; at < NR_COPIES; at++) {
		if (model->content[at] < 0)
			continue;
		copies[model->content[at]]++;
		sum.nodes++;
		sum.shared += model->sharers[at] > 0;
		sum.tally.pages[KSM_PAGE_STABLE] += model->sharers[at];
	}
	for (at = 0; at < NR_CONTENTS; at++) {
		sum.chains += copies[at] > 1;
		sum.dups += copies[at] > 1 ? copies[at] : 0;
	}
	return sum;
}

/* Spare is each copy whose sharers all fit into the chosen one, if that has any. */
static void check_spare(struct model *model, int content,
			const struct ksm_copy *chosen)
{
	u32 at, target = chosen ? chosen - model->copy : 0;

	for (at = 0; at < NR_COPIES; at++) {
		bool spare = chosen && at != target && model->sharers[target] &&
			     model->sharers[at] + model->sharers[target] <= model->limit;

		if (model->content[at] != content)
			continue;
		CHECK(ksm_chain_is_spare(&model->copy[at], model->limit) == spare,
		      "copy %u of %u sharers, copy %u was chosen", at,
		      model->sharers[at], target);
	}
}

static void check_content(struct model *model, int content)
{
	struct ksm_copy *lead = find_lead(model, content), *chosen;
	u32 at, copies = 0;
	bool room = false;

	for (at = 0; at < NR_COPIES; at++) {
		if (model->content[at] != content)
			continue;
		copies++;
		room |= model->sharers[at] < model->limit;
		CHECK(lead, "content %d has no lead", content);
		CHECK(model->copy[at].lead == lead, "copy %u has another lead", at);
		CHECK(model->copy[at].sharers == model->sharers[at],
		      "copy %u has %u sharers, not %u", at, model->copy[at].sharers,
		      model->sharers[at]);
	}
	if (!lead)
		return;
	CHECK(is_found(model, content, lead), "the lead of %d is not found", content);
	CHECK(lead->nr_copies == copies, "%u copies, not %u", lead->nr_copies, copies);
	CHECK(ksm_chain_validate(lead, model->limit), "validate");
	chosen = ksm_chain_choose(lead, model->limit);
	CHECK(!!chosen == room, "content %d: chose %s", content, chosen ? "one" : "none");
	if (chosen) {
		at = chosen - model->copy;
		CHECK(model->content[at] == content, "chose another content's copy");
		CHECK(model->sharers[at] < model->limit, "chose a full copy");
	}
	check_spare(model, content, chosen);
}

static void check_all(struct model *model)
{
	struct ksm_stats sum = model_stats(model);
	int content;

	for (content = 0; content < NR_CONTENTS; content++)
		check_content(model, content);
	CHECK(!memcmp(&sum, &model->stats, sizeof(sum)),
	      "shared %llu/%llu nodes %llu/%llu chains %llu/%llu dups %llu/%llu",
	      model->stats.shared, sum.shared, model->stats.nodes, sum.nodes,
	      model->stats.chains, sum.chains, model->stats.dups, sum.dups);
	CHECK(ksm_stats_validate(&model->stats), "validate");
	CHECK(ksm_index_validate(&model->index), "validate");
}

static void add(struct model *model, u32 at, int content)
{
	struct ksm_copy *lead = find_lead(model, content);

	if (lead)
		ksm_chain_add_copy(lead, &model->copy[at], model->limit, &model->stats);
	else
		ksm_chain_add_lead(&model->index, &model->copy[at],
				   model->hash[content], &model->stats);
	model->content[at] = content;
}

static void remove_copy(struct model *model, u32 at)
{
	ksm_chain_remove(&model->index, &model->copy[at], &model->stats);
	model->content[at] = -1;
	CHECK(!model->copy[at].lead && !ksm_index_contains(&model->copy[at].in) &&
	      list_empty(&model->copy[at].copies), "a removed copy is not as new");
}

static void share(struct model *model, u32 at)
{
	ksm_tally_move(&model->stats.tally, KSM_PAGE_EMPTY, KSM_PAGE_STABLE);
	ksm_chain_share(&model->copy[at], model->limit, &model->stats);
	model->sharers[at]++;
}

static void unshare(struct model *model, u32 at)
{
	ksm_tally_move(&model->stats.tally, KSM_PAGE_STABLE, KSM_PAGE_EMPTY);
	ksm_chain_unshare(&model->copy[at], model->limit, &model->stats);
	model->sharers[at]--;
}

/* Shares through the choice, as a merge does, or adds a copy where it must. */
static void share_content(struct model *model, int content, u32 spare)
{
	struct ksm_copy *lead = find_lead(model, content);
	struct ksm_copy *chosen = lead ? ksm_chain_choose(lead, model->limit) : NULL;

	if (chosen) {
		share(model, chosen - model->copy);
	} else if (model->content[spare] < 0) {
		add(model, spare, content);
		share(model, spare);
	}
}

static void random_step(struct model *model)
{
	/* Some contents are common, so that they get many copies. */
	int content = rnd_below(2) ? rnd_below(3) : rnd_below(NR_CONTENTS);
	u32 at = rnd_below(NR_COPIES);

	switch (rnd_below(8)) {
	case 0:
		if (model->content[at] < 0)
			add(model, at, content);
		break;
	case 1:
	case 2:
		if (model->content[at] >= 0 && !model->sharers[at])
			remove_copy(model, at);
		break;
	case 3:
	case 4:
		share_content(model, content, at);
		break;
	case 5:
		/* As after a fork: nobody asks whether there is room. */
		if (model->content[at] >= 0 && rnd_one_in(4))
			share(model, at);
		break;
	default:
		if (model->content[at] >= 0 && model->sharers[at])
			unshare(model, at);
	}
}

static void model_end(struct model *model)
{
	u32 at;

	for (at = 0; at < NR_COPIES; at++) {
		if (model->content[at] < 0)
			continue;
		while (model->sharers[at])
			unshare(model, at);
		remove_copy(model, at);
		check_all(model);
	}
	CHECK(!model->index.count, "%llu nodes are left", model->index.count);
	ksm_index_destroy(&model->index);
}

static void equals_model(void)
{
	unsigned long steps = harness_steps(40000);
	u64 most_dups = 0;
	u32 limit;

	for (limit = 2; limit <= 5; limit++) {
		struct model *model = model_new(limit);

		for (harness_step = 0; harness_step < steps / 4; harness_step++) {
			random_step(model);
			check_all(model);
			if (most_dups < model->stats.dups)
				most_dups = model->stats.dups;
		}
		model_end(model);
	}
	CHECK(most_dups > 20 || steps < 10000, "never above %llu copies", most_dups);
}

/* A lead hands over again and again until one copy is left. */
static void lead_hands_its_place_over(void)
{
	struct model *model = model_new(2);
	struct ksm_copy *lead;
	u32 left;

	for (left = 0; left < NR_COPIES; left++)
		add(model, left, 0);
	for (; left; left--) {
		lead = find_lead(model, 0);
		CHECK(lead->nr_copies == left, "%u copies", lead->nr_copies);
		CHECK(lead->in.hash == model->hash[0], "hash %llx", lead->in.hash);
		remove_copy(model, lead - model->copy);
		check_all(model);
	}
	model_end(model);
}

/* The heir is a full copy if there is one, as that lives longest. */
static void full_copy_inherits(void)
{
	struct model *model = model_new(2);

	add(model, 0, 5);
	add(model, 1, 5);
	add(model, 2, 5);
	add(model, 3, 5);
	share(model, 2);
	share(model, 2);
	remove_copy(model, 0);
	CHECK(find_lead(model, 5) == &model->copy[2], "the full copy does not lead");
	CHECK(ksm_chain_choose(&model->copy[2], 2) != &model->copy[2], "chose the lead");
	check_all(model);
	model_end(model);
}

static void misuse_warns(void)
{
	struct model *model = model_new(2);
	struct ksm_stats *stats = &model->stats;
	struct ksm_copy *fresh = &model->copy[9];

	add(model, 0, 5);
	add(model, 1, 5);
	EXPECT_WARNINGS(1, ksm_chain_add_lead(&model->index, &model->copy[1], 1, stats));
	EXPECT_WARNINGS(1, ksm_chain_add_copy(&model->copy[1], fresh, 2, stats));
	EXPECT_WARNINGS(1, ksm_chain_add_copy(&model->copy[0], &model->copy[1], 2, stats));
	EXPECT_WARNINGS(1, ksm_chain_remove(&model->index, fresh, stats));
	EXPECT_WARNINGS(1, ksm_chain_share(fresh, 2, stats));
	EXPECT_WARNINGS(1, ksm_chain_unshare(&model->copy[0], 2, stats));
	check_all(model);
	/* A copy with sharers is removed none the less, for it may be freed next. */
	share(model, 1);
	EXPECT_WARNINGS(1, remove_copy(model, 1));
	model->sharers[1] = 0;
	ksm_tally_move(&stats->tally, KSM_PAGE_STABLE, KSM_PAGE_EMPTY);
	check_all(model);
	model_end(model);
}

static void validate_finds_damage(void)
{
	struct model *model = model_new(2);
	struct ksm_copy *lead = &model->copy[0];
	u32 at;

	for (at = 0; at < 4; at++)
		add(model, at, 5);
	share(model, 2);
	share(model, 2);
	CHECK(ksm_chain_validate(lead, 2), "validate");
#define BREAK(place, value)					\
	do {							\
		__typeof__(place) __was = (place);		\
								\
		(place) = (value);				\
		EXPECT_BROKEN(ksm_chain_validate(lead, 2));	\
		(place) = __was;				\
	} while (0)
	BREAK(lead->nr_copies, 5);
	BREAK(lead->nr_copies, 3);
	BREAK(lead->lead, &model->copy[1]);
	BREAK(lead->in.link.pprev, NULL);
	BREAK(model->copy[3].lead, &model->copy[1]);
	BREAK(model->copy[3].in.hash, 1);
	BREAK(model->copy[3].in.link.pprev, &lead->in.link.next);
	BREAK(model->copy[3].sharers, 2);	/* full, and before one with room */
#undef BREAK
	CHECK(ksm_chain_validate(lead, 2), "validate");
	model_end(model);
}

static const struct harness_test tests[] = {
	{ "chain: equals the model", equals_model },
	{ "chain: a lead hands its place over", lead_hands_its_place_over },
	{ "chain: a full copy inherits", full_copy_inherits },
	{ "chain: misuse warns", misuse_warns },
	{ "chain: validate finds damage", validate_finds_damage },
};

int main(void)
{
	return harness_main(tests, ARRAY_SIZE(tests));
}
