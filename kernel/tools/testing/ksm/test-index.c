// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of index.c against an array of nodes that knows which are in.
 */
#include <linux/errno.h>
#include <string.h>
#include "harness.h"
#include "index.h"

#define NR_NODES	3000
#define NR_HASHES	900
#define SEGMENT		512U

struct model {
	struct ksm_index index;
	struct ksm_index_node node[NR_NODES];
	bool in[NR_NODES];
	u32 hash_of[NR_NODES];	/* number of its hash, if it is in */
	u64 hash[NR_HASHES];
	u32 nr_with[NR_HASHES];
	u32 count;
};

/*
 * Hashes of all kinds: random ones; some that agree in the low half, so that they
 * meet in a bucket whatever its number; some that agree in the upper half.
 */
static struct model *model_new(void)
{
	struct model *model = harness_keep(sizeof(*model));
	u32 i;

	for (i = 0; i < NR_HASHES; i++) {
		model->hash[i] = rnd();
		if (i % 16 == 1)
			model->hash[i] = rnd() << 32 | (u32)model->hash[i - 1];
		if (i % 16 == 2)
			model->hash[i] = model->hash[i - 2] ^ (rnd() >> 40);
	}
	CHECK(!ksm_index_init(&model->index, &harness_mem), "init");
	return model;
}

static void model_insert(struct model *model, u32 at)
{
	/* Half of the nodes have their hash almost for themselves. */
	u32 hash = at & 1 ? at % NR_HASHES : rnd_below(NR_HASHES);

	ksm_index_insert(&model->index, &model->node[at], model->hash[hash]);
	model->in[at] = true;
	model->hash_of[at] = hash;
	model->nr_with[hash]++;
	model->count++;
}

static void model_forget(struct model *model, u32 at)
{
	model->in[at] = false;
	model->nr_with[model->hash_of[at]]--;
	model->count--;
}

static void model_erase(struct model *model, u32 at)
{
	ksm_index_erase(&model->index, &model->node[at]);
	model_forget(model, at);
}

static void model_replace(struct model *model, u32 old, u32 new)
{
	ksm_index_replace(&model->index, &model->node[old], &model->node[new]);
	model->hash_of[new] = model->hash_of[old];
	model->in[new] = true;
	model->in[old] = false;
}

static u32 random_node(const struct model *model, bool in)
{
	u32 at = rnd_below(NR_NODES);

	while (model->in[at] != in)
		at = (at + 1) % NR_NODES;
	return at;
}

/* A search must find exactly the nodes that have the hash. */
static void check_search(const struct model *model, u32 hash)
{
	const struct ksm_index_node *node;
	u32 found = 0;

	for (node = ksm_index_first(&model->index, model->hash[hash]); node;
	     node = ksm_index_next(node)) {
		u32 at = node - model->node;

		CHECK(at < NR_NODES && model->in[at] && model->hash_of[at] == hash,
		      "node %u is not with hash %u", at, hash);
		CHECK(node->hash == model->hash[hash], "hash %llx", node->hash);
		found++;
	}
	CHECK(found == model->nr_with[hash], "%u of %u nodes found", found,
	      model->nr_with[hash]);
}

/* One step of a walk that leans to growing or to shrinking. */
static void random_step(struct model *model, bool grow)
{
	bool insert = rnd_below(4) ? grow : !grow;

	if (insert && model->count < NR_NODES)
		model_insert(model, random_node(model, false));
	else if (!insert && model->count)
		model_erase(model, random_node(model, true));
	if (rnd_one_in(4) && model->count && model->count < NR_NODES)
		model_replace(model, random_node(model, true),
			      random_node(model, false));
}

static void check_all(const struct model *model, u32 buckets_before)
{
	u32 at = rnd_below(NR_NODES);
	long change = (long)model->index.nr_buckets - buckets_before;

	CHECK(model->index.count == model->count, "%llu nodes, must be %u",
	      model->index.count, model->count);
	CHECK(ksm_index_contains(&model->node[at]) == model->in[at], "node %u", at);
	CHECK(change >= -2 && change <= 2, "%ld buckets in one step", change);
	check_search(model, rnd_below(NR_HASHES));
	CHECK(ksm_index_validate(&model->index), "validate");
}

/* With memory for all it wants, the index keeps to its load exactly. */
static void check_load(const struct model *model)
{
	u32 buckets = model->index.nr_buckets;

	CHECK(buckets >= model->count, "%u buckets, %u nodes", buckets, model->count);
	CHECK(buckets == SEGMENT || buckets <= 2 * model->count + 1,
	      "%u buckets, %u nodes", buckets, model->count);
}

static void model_end(struct model *model)
{
	while (model->count)
		model_erase(model, random_node(model, true));
	CHECK(ksm_index_validate(&model->index), "validate");
	ksm_index_destroy(&model->index);
	ksm_index_destroy(&model->index);
}

/* Grows to nearly all nodes, shrinks to none, and so on; returns the most buckets. */
static u32 walk(struct model *model, unsigned long steps, bool memory_fails)
{
	u32 before, most = 0;

	for (harness_step = 0; harness_step < steps; harness_step++) {
		before = model->index.nr_buckets;
		/* No memory at all most of the time, and a little for some. */
		if (memory_fails)
			harness_mem_fail_one_in(harness_step / 500 % 4 ? 1 : 2);
		random_step(model, harness_step / (4 * NR_NODES) % 2 == 0);
		check_all(model, before);
		if (!memory_fails)
			check_load(model);
		if (most < model->index.nr_buckets)
			most = model->index.nr_buckets;
	}
	return most;
}

static void equals_model(void)
{
	unsigned long steps = harness_steps(24000);
	struct model *model = model_new();
	u32 most = walk(model, steps, false);

	CHECK(most > 2 * SEGMENT || steps < 2 * NR_NODES, "never above %u buckets",
	      most);
	model_end(model);
}

static void equals_model_when_allocations_fail(void)
{
	unsigned long steps = harness_steps(24000);
	struct model *model = model_new();

	walk(model, steps, true);
	CHECK(harness_mem_failed() || steps < 2 * NR_NODES, "no allocation failed");
	model_end(model);
}

static void init_fails_cleanly(void)
{
	struct ksm_index index;
	int nth;

	for (nth = 1; nth <= 2; nth++) {
		harness_mem_fail_nth(nth);
		CHECK(ksm_index_init(&index, &harness_mem) == -ENOMEM, "nth %d", nth);
		CHECK(!harness_mem_blocks(), "%llu blocks are left",
		      harness_mem_blocks());
		ksm_index_destroy(&index);
	}
	harness_mem_fail_nth(3);
	CHECK(!ksm_index_init(&index, &harness_mem), "init");
	CHECK(!ksm_index_first(&index, rnd()), "a node in an empty index");
	ksm_index_destroy(&index);
}

static void any_one_allocation_may_fail(void)
{
	struct model *model;
	u64 nth = 1, failed;
	u32 at;

	do {
		model = model_new();
		harness_mem_fail_nth(nth++);
		failed = harness_mem_failed();
		for (at = 0; at < NR_NODES; at++) {
			u32 before = model->index.nr_buckets;

			model_insert(model, at);
			if (at % 16 == 0)
				check_all(model, before);
		}
		failed = harness_mem_failed() - failed;
		harness_mem_fail_nth(0);
		check_load(model);
		model_end(model);
	} while (failed);
	CHECK(nth > 5, "only %llu allocations", nth - 2);
}

static void catches_up_when_memory_returns(void)
{
	struct model *model = model_new();
	u32 at, more;

	harness_mem_fail_one_in(1);
	for (at = 0; at < 1200; at++)
		model_insert(model, at);
	CHECK(model->index.nr_buckets == SEGMENT, "%u buckets",
	      model->index.nr_buckets);
	CHECK(ksm_index_validate(&model->index), "validate");
	for (at = 0; at < NR_HASHES; at++)
		check_search(model, at);
	harness_mem_fail_one_in(0);
	/* Of the two splits that an insertion makes, one is for its own node. */
	for (more = 0; model->index.nr_buckets < model->count; more++) {
		CHECK(more < 1200 - SEGMENT, "not caught up after %u insertions", more);
		model_insert(model, 1200 + more);
	}
	CHECK(ksm_index_validate(&model->index), "validate");
	model_end(model);
}

/* Nodes from here on stay out until they replace one that is visited. */
#define FIRST_HEIR	2400

/* What a visit does with each node, and how often it saw it. */
struct visit {
	struct model *model;
	u32 erase_one_in;
	u32 replace_one_in;
	u32 next_heir;
	u32 seen[NR_NODES];
};

static void visit_node(struct ksm_index_node *node, void *arg)
{
	struct visit *visit = arg;
	u32 at = node - visit->model->node;

	CHECK(visit->model->in[at], "node %u is not in", at);
	visit->seen[at]++;
	if (rnd_one_in(visit->erase_one_in))
		model_erase(visit->model, at);
	else if (rnd_one_in(visit->replace_one_in) && visit->next_heir < NR_NODES)
		model_replace(visit->model, at, visit->next_heir++);
}

static struct visit *visit_new(u32 nr_in, u32 erase_one_in)
{
	struct visit *visit = harness_keep(sizeof(*visit));

	visit->model = model_new();
	visit->erase_one_in = erase_one_in;
	visit->replace_one_in = 8;
	visit->next_heir = FIRST_HEIR;
	while (nr_in--)
		model_insert(visit->model, nr_in);
	return visit;
}

/* One round over nr_in nodes, in calls of nr buckets each (0: random). */
static void visit_once(u32 nr_in, u32 erase_one_in, u32 nr)
{
	struct visit *visit = visit_new(nr_in, erase_one_in);
	u32 at, bucket = 0;

	do {
		bucket = ksm_index_visit(&visit->model->index, bucket,
					 nr ? nr : 1 + rnd_below(300), visit_node,
					 visit);
		CHECK(ksm_index_validate(&visit->model->index), "validate");
	} while (bucket);
	for (at = 0; at < NR_NODES; at++)
		CHECK(visit->seen[at] == (at < nr_in), "node %u was visited %u times",
		      at, visit->seen[at]);
	if (erase_one_in == 1 && nr == ~0U)
		CHECK(visit->model->index.nr_buckets == SEGMENT, "%u buckets are left",
		      visit->model->index.nr_buckets);
	model_end(visit->model);
}

static void visits_each_node_once(void)
{
	unsigned long steps = harness_steps(160);
	static const u32 erase_one_in[] = { 0, 1, 2, 10 };

	for (harness_step = 0; harness_step < steps; harness_step++)
		visit_once(rnd_below(FIRST_HEIR), erase_one_in[harness_step % 4],
			   harness_step % 3 ? 0 : ~0U);
}

/* Insertions between calls split buckets, and no node may be missed for that. */
static void visits_no_node_less_when_growing(void)
{
	unsigned long steps = harness_steps(100);

	for (harness_step = 0; harness_step < steps; harness_step++) {
		u32 nr_in = 400 + rnd_below(400);
		struct visit *visit = visit_new(nr_in, 0);
		u32 at, more = nr_in, bucket = 0;

		visit->replace_one_in = 0;
		do {
			bucket = ksm_index_visit(&visit->model->index, bucket,
						 1 + rnd_below(50), visit_node, visit);
			for (at = rnd_below(80); at && more < NR_NODES; at--)
				model_insert(visit->model, more++);
		} while (bucket);
		for (at = 0; at < nr_in; at++)
			CHECK(visit->seen[at], "node %u was missed", at);
		CHECK(visit->model->index.nr_buckets > SEGMENT, "nothing was split");
		model_end(visit->model);
	}
}

static void visit_past_the_end_ends(void)
{
	struct visit *visit = visit_new(10, 0);
	struct ksm_index *index = &visit->model->index;

	CHECK(!ksm_index_visit(index, index->nr_buckets, 1, visit_node, visit),
	      "goes on after the end");
	CHECK(!ksm_index_visit(index, ~0U, ~0U, visit_node, visit),
	      "goes on after the end");
	CHECK(ksm_index_visit(index, SEGMENT - 2, 1, visit_node, visit) ==
	      SEGMENT - 1, "does not go on with the last bucket");
	model_end(visit->model);
}

static void misuse_warns_and_changes_nothing(void)
{
	struct model *model = model_new();

	model_insert(model, 0);
	model_insert(model, 1);
	EXPECT_WARNINGS(1, ksm_index_insert(&model->index, &model->node[0], 1));
	EXPECT_WARNINGS(1, ksm_index_erase(&model->index, &model->node[2]));
	EXPECT_WARNINGS(1, ksm_index_replace(&model->index, &model->node[2],
					     &model->node[3]));
	EXPECT_WARNINGS(1, ksm_index_replace(&model->index, &model->node[0],
					     &model->node[1]));
	check_all(model, SEGMENT);
	check_search(model, model->hash_of[0]);
	model_end(model);
}

static void destroying_a_full_index_warns(void)
{
	struct model *model = model_new();

	model_insert(model, 0);
	EXPECT_WARNINGS(1, ksm_index_destroy(&model->index));
}

static void validate_finds_damage(void)
{
	struct model *model = model_new();
	struct ksm_index *index = &model->index;
	u32 at;

	for (at = 0; at < 1200; at++)
		model_insert(model, at);
	CHECK(ksm_index_validate(index), "validate");
#define BREAK(place, value)					\
	do {							\
		__typeof__(place) __was = (place);		\
								\
		(place) = (value);				\
		EXPECT_BROKEN(ksm_index_validate(index));	\
		(place) = __was;				\
	} while (0)
	BREAK(index->count, index->count + 1);
	BREAK(index->count, index->count - 1);
	BREAK(index->nr_buckets, 0);
	BREAK(index->nr_buckets, index->nr_buckets + SEGMENT);
	BREAK(index->segments.dir[1], NULL);
	BREAK(index->segments.dir[index->segments.room - 1], index);
	BREAK(index->segments.room, 1);
	BREAK(model->node[7].hash, model->node[7].hash ^ 1);
	BREAK(model->node[7].link.pprev, &model->node[8].link.next);
#undef BREAK
	CHECK(ksm_index_validate(index), "validate");
	model_end(model);
}

/* Many nodes with random hashes: memory and the longest bucket stay small. */
static void large_index_stays_small_and_flat(void)
{
	u32 at, bucket, length, longest = 0, nr = 200000;
	struct ksm_index_node *node = harness_keep(nr * sizeof(*node));
	struct hlist_node *link;
	struct ksm_index index;
	u64 bytes;

	CHECK(!ksm_index_init(&index, &harness_mem), "init");
	for (at = 0; at < nr; at++)
		ksm_index_insert(&index, &node[at], rnd());
	for (bucket = 0; bucket < index.nr_buckets; bucket++) {
		struct hlist_head *segment = index.segments.dir[bucket / SEGMENT];

		length = 0;
		for (link = segment[bucket % SEGMENT].first; link; link = link->next)
			length++;
		if (longest < length)
			longest = length;
	}
	bytes = harness_mem_bytes();
	harness_note("%u nodes: %.2f bytes each, longest bucket %u", nr,
		     (double)bytes / nr, longest);
	CHECK(bytes <= 9 * nr, "%llu bytes", bytes);
	CHECK(longest <= 16, "a bucket of %u nodes", longest);
	CHECK(ksm_index_validate(&index), "validate");
	for (at = 0; at < nr; at++)
		ksm_index_erase(&index, &node[at]);
	CHECK(harness_mem_bytes() <= 4096 + 2 * 8 * nr / SEGMENT + 4096,
	      "%llu bytes are left", harness_mem_bytes());
	ksm_index_destroy(&index);
}

static const struct harness_test tests[] = {
	{ "index: equals the model", equals_model },
	{ "index: equals the model when allocations fail",
	  equals_model_when_allocations_fail },
	{ "index: any one allocation may fail", any_one_allocation_may_fail },
	{ "index: init fails cleanly", init_fails_cleanly },
	{ "index: catches up when memory returns", catches_up_when_memory_returns },
	{ "index: visits each node once, whatever is erased", visits_each_node_once },
	{ "index: visits no node less when growing", visits_no_node_less_when_growing },
	{ "index: a visit past the end ends", visit_past_the_end_ends },
	{ "index: misuse warns and changes nothing", misuse_warns_and_changes_nothing },
	{ "index: destroying a full index warns", destroying_a_full_index_warns },
	{ "index: validate finds damage", validate_finds_damage },
	{ "index: a large index stays small and flat", large_index_stays_small_and_flat },
};

int main(void)
{
	return harness_main(tests, ARRAY_SIZE(tests));
}
