// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of candidates.c against an array of (tag, reference) pairs.
 *
 * The table may forget, but it must own up to it: whenever an entry of the model
 * is missing, @forgotten must have moved by as much.
 */
#include <linux/errno.h>
#include <string.h>
#include "candidates.h"
#include "harness.h"

#define NR_ENTRIES	2500
#define ENTRIES		512U	/* in a segment */

struct model {
	struct ksm_candidates table;
	u64 hash[NR_ENTRIES];
	ksm_ref_t ref[NR_ENTRIES];
	u32 count;
	u64 forgotten;
};

static struct model *model_new(void)
{
	struct model *model = harness_keep(sizeof(*model));

	ksm_candidates_init(&model->table, &harness_mem);
	return model;
}

static bool in_table(const struct ksm_candidates *table, u64 hash, ksm_ref_t ref)
{
	struct ksm_candidate_iter iter;
	ksm_ref_t found;

	for (found = ksm_candidates_first(table, hash, &iter); found;
	     found = ksm_candidates_next(&iter)) {
		if (found == ref)
			return true;
	}
	return false;
}

static u32 nr_found(const struct ksm_candidates *table, u64 hash)
{
	struct ksm_candidate_iter iter;
	u32 nr = 0;

	if (!ksm_candidates_first(table, hash, &iter))
		return 0;
	do {
		nr++;
	} while (ksm_candidates_next(&iter));
	CHECK(!ksm_candidates_next(&iter), "a search goes on after its end");
	return nr;
}

/* Drops from the model what the table has forgotten. */
static void model_catch_up(struct model *model)
{
	u32 at = 0, missing = 0;

	if (model->table.forgotten == model->forgotten)
		return;
	while (at < model->count) {
		if (in_table(&model->table, model->hash[at], model->ref[at])) {
			at++;
			continue;
		}
		missing++;
		model->count--;
		model->hash[at] = model->hash[model->count];
		model->ref[at] = model->ref[model->count];
	}
	CHECK(model->table.forgotten - model->forgotten == missing,
	      "%u entries are missing, %llu forgotten", missing,
	      model->table.forgotten - model->forgotten);
	model->forgotten = model->table.forgotten;
}

static void model_add(struct model *model, u64 hash, ksm_ref_t ref)
{
	bool was_in = in_table(&model->table, hash, ref);
	bool was_empty = !model->table.count;
	u64 failed = harness_mem_failed();
	int err = ksm_candidates_add(&model->table, hash, ref);

	if (err) {
		CHECK(err == -ENOMEM, "add returned %d", err);
		CHECK(was_empty && harness_mem_failed() > failed,
		      "no reason for -ENOMEM");
		return;
	}
	CHECK(in_table(&model->table, hash, ref), "what was added is not there");
	if (!was_in) {
		model->hash[model->count] = hash;
		model->ref[model->count] = ref;
		model->count++;
	}
	model_catch_up(model);
}

static void model_del(struct model *model, u32 at)
{
	CHECK(ksm_candidates_del(&model->table, model->hash[at], model->ref[at]),
	      "an entry is not there");
	model->count--;
	model->hash[at] = model->hash[model->count];
	model->ref[at] = model->ref[model->count];
	model_catch_up(model);
}

/*
 * Mostly random hashes; some that the model has already; some that differ from
 * one of these above the tag only, which makes them equal for the table.
 */
static u64 random_hash(const struct model *model)
{
	u64 hash;

	if (!model->count || rnd_below(8))
		return rnd();
	hash = model->hash[rnd_below(model->count)];
	return rnd_below(2) ? hash : hash ^ rnd() << 32;
}

static ksm_ref_t random_ref(void)
{
	return ksm_ref(1 + rnd_below(rnd_below(2) ? 3 : KSM_CHUNK_ID_MAX),
		       rnd_below(KSM_CHUNK_PAGES));
}

/* Searching must find exactly the model's entries with the tag. */
static void check_search(const struct model *model, u64 hash)
{
	u32 at, nr = 0;

	for (at = 0; at < model->count; at++) {
		if ((u32)model->hash[at] != (u32)hash)
			continue;
		nr++;
		CHECK(in_table(&model->table, hash, model->ref[at]),
		      "reference %x is not found", model->ref[at]);
	}
	CHECK(nr_found(&model->table, hash) == nr, "%u of %u entries found",
	      nr_found(&model->table, hash), nr);
}

static void random_step(struct model *model, bool grow)
{
	bool add = rnd_below(4) ? grow : !grow;

	if (add && model->count < NR_ENTRIES)
		model_add(model, random_hash(model), random_ref());
	else if (!add && model->count)
		model_del(model, rnd_below(model->count));
	if (rnd_one_in(8))
		CHECK(!ksm_candidates_del(&model->table, rnd(), random_ref()),
		      "deleted what was not there");
}

static void check_all(const struct model *model, u32 segments_before)
{
	long change = (long)model->table.nr_segments - segments_before;

	CHECK(model->table.count == model->count, "%llu entries, must be %u",
	      model->table.count, model->count);
	CHECK(change >= -1 && change <= 1, "%ld segments in one step", change);
	CHECK(ksm_candidates_bytes(&model->table) == harness_mem_bytes(),
	      "%llu bytes, allocated %llu", ksm_candidates_bytes(&model->table),
	      harness_mem_bytes());
	if (model->count)
		check_search(model, model->hash[rnd_below(model->count)]);
	check_search(model, rnd());
}

/* Grows to nearly all entries, shrinks to none; returns the most segments. */
static u32 walk(struct model *model, unsigned long steps, bool memory_fails)
{
	unsigned long stretch = 3 * NR_ENTRIES;
	u32 before, most = 0;

	for (harness_step = 0; harness_step < steps; harness_step++) {
		before = model->table.nr_segments;
		/* No memory at all for some time, and a little for some. */
		if (memory_fails)
			harness_mem_fail_one_in(1 + harness_step / 300 % 2);
		random_step(model, harness_step / stretch % 2 == 0);
		check_all(model, before);
		CHECK(ksm_candidates_validate(&model->table), "validate");
		if (most < model->table.nr_segments)
			most = model->table.nr_segments;
	}
	return most;
}

static void model_end(struct model *model)
{
	while (model->count)
		model_del(model, rnd_below(model->count));
	CHECK(!model->table.count && !model->table.nr_segments,
	      "%llu entries, %u segments", model->table.count,
	      model->table.nr_segments);
	CHECK(ksm_candidates_validate(&model->table), "validate");
	ksm_candidates_destroy(&model->table);
}

static void equals_model(void)
{
	unsigned long steps = harness_steps(6 * NR_ENTRIES);
	struct model *model = model_new();
	u32 most = walk(model, steps, false);

	CHECK(most >= 4 || steps < 2 * NR_ENTRIES, "never above %u segments", most);
	model_end(model);
}

static void equals_model_when_allocations_fail(void)
{
	unsigned long steps = harness_steps(6 * NR_ENTRIES);
	struct model *model = model_new();

	walk(model, steps, true);
	CHECK(harness_mem_failed() || steps < NR_ENTRIES, "no allocation failed");
	harness_mem_fail_one_in(0);
	model_end(model);
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
		for (at = 0; at < NR_ENTRIES; at++) {
			model_add(model, rnd(), random_ref());
			if (at % 16 == 0)
				CHECK(ksm_candidates_validate(&model->table),
				      "validate");
		}
		failed = harness_mem_failed() - failed;
		harness_mem_fail_nth(0);
		CHECK(model->count >= NR_ENTRIES - 3, "%u entries", model->count);
		model_end(model);
	} while (failed);
	CHECK(nth > 5, "only %llu allocations", nth - 2);
}

/*
 * A segment without any hole is where deletion is hardest: entries may stand
 * anywhere. Without memory the table has only one segment.
 */
static void full_segment_forgets_and_recovers(void)
{
	struct model *model = model_new();
	u32 at;

	model_add(model, rnd(), random_ref());
	harness_mem_fail_one_in(1);
	for (at = 0; at < 3 * ENTRIES; at++) {
		model_add(model, rnd(), random_ref());
		CHECK(ksm_candidates_validate(&model->table), "validate");
	}
	CHECK(model->count == ENTRIES, "%u entries", model->count);
	CHECK(model->forgotten == 2 * ENTRIES + 1, "%llu forgotten",
	      model->forgotten);
	for (harness_step = 0; harness_step < harness_steps(3000); harness_step++) {
		if (rnd_below(2) && model->count)
			model_del(model, rnd_below(model->count));
		else
			model_add(model, rnd(), random_ref());
		CHECK(ksm_candidates_validate(&model->table), "validate");
		check_search(model, rnd());
	}
	harness_mem_fail_one_in(0);
	/* One split an addition until there is room again. */
	for (at = 0; at < 2 * ENTRIES; at++)
		model_add(model, rnd(), random_ref());
	CHECK(model->table.nr_segments == 4, "%u segments", model->table.nr_segments);
	model_end(model);
}

/* Adds entries that belong to segment @nr of four. */
static void add_to_segment(struct model *model, u32 nr, u32 count)
{
	while (count--)
		model_add(model, (rnd() & ~3ULL) | nr, random_ref());
}

/* An uneven table: two segments that are joined hold more than one can. */
static void joining_forgets_what_does_not_fit(void)
{
	struct model *model = model_new();
	u32 nr, at;

	for (nr = 0; nr < 4; nr++)
		add_to_segment(model, nr, 220);
	CHECK(model->table.nr_segments == 4, "%u segments", model->table.nr_segments);
	add_to_segment(model, 1, 80);
	add_to_segment(model, 3, 80);
	CHECK(!model->forgotten, "%llu forgotten", model->forgotten);
	/* Until the table is sparse on average, and the last segment goes. */
	for (at = 0; at < model->count && model->table.nr_segments == 4;) {
		if (model->hash[at] & 1)
			at++;
		else
			model_del(model, at);
	}
	CHECK(model->table.nr_segments == 3, "%u segments", model->table.nr_segments);
	CHECK(model->forgotten == 600 - ENTRIES, "%llu forgotten", model->forgotten);
	CHECK(model->table.count == model->count, "%llu entries", model->table.count);
	CHECK(ksm_candidates_validate(&model->table), "validate");
	model_end(model);
}

static void oldest_twin_makes_room(void)
{
	struct model *model = model_new();
	u64 hash = rnd();
	u32 nr, at;

	for (nr = 1; nr <= 3 * KSM_CANDIDATE_TWINS; nr++) {
		/* Others stand in between and must be left alone. */
		model_add(model, hash + (1 << 20), random_ref());
		model_add(model, hash ^ rnd() << 32, ksm_ref(nr, 0));
		for (at = 1; at <= nr; at++)
			CHECK(in_table(&model->table, hash, ksm_ref(at, 0)) ==
			      (at + KSM_CANDIDATE_TWINS > nr),
			      "entry %u of %u", at, nr);
		CHECK(ksm_candidates_validate(&model->table), "validate");
	}
	model_end(model);
}

static void same_entry_is_kept_once(void)
{
	struct model *model = model_new();
	u64 hash = rnd();
	u32 at;

	for (at = 0; at < 100; at++) {
		model_add(model, hash, 5);
		CHECK(model->table.count == 1, "%llu entries", model->table.count);
		CHECK(nr_found(&model->table, hash) == 1, "found more than once");
	}
	CHECK(!model->table.forgotten, "%llu forgotten", model->table.forgotten);
	CHECK(!ksm_candidates_del(&model->table, hash, 6), "deleted another page");
	CHECK(!ksm_candidates_del(&model->table, hash ^ 1, 5), "deleted another tag");
	CHECK(!ksm_candidates_del(&model->table, hash, 0), "deleted no page");
	model_end(model);
}

static void empty_table_is_usable(void)
{
	struct ksm_candidate_iter iter;
	struct ksm_candidates table;

	ksm_candidates_init(&table, &harness_mem);
	CHECK(!ksm_candidates_first(&table, rnd(), &iter), "found something");
	CHECK(!ksm_candidates_next(&iter), "found something");
	CHECK(!ksm_candidates_del(&table, rnd(), 1), "deleted something");
	ksm_candidates_sweep(&table, ~0U, NULL, NULL);
	CHECK(!ksm_candidates_bytes(&table), "takes memory");
	CHECK(ksm_candidates_validate(&table), "validate");
	harness_mem_fail_nth(1);
	CHECK(ksm_candidates_add(&table, 1, 1) == -ENOMEM, "no directory");
	harness_mem_fail_nth(2);
	CHECK(ksm_candidates_add(&table, 1, 1) == -ENOMEM, "no segment");
	CHECK(!table.count && ksm_candidates_validate(&table), "validate");
	EXPECT_WARNINGS(1, CHECK(ksm_candidates_add(&table, 1, 0) == -EINVAL,
				 "added no page"));
	CHECK(!ksm_candidates_add(&table, 1, 1), "add");
	ksm_candidates_destroy(&table);
	CHECK(!ksm_candidates_first(&table, 1, &iter), "found something");
	CHECK(!ksm_candidates_add(&table, 1, 1), "add after destroy");
	ksm_candidates_destroy(&table);
}

/* What a sweep does: an entry is stale if a bit of its reference says so. */
struct sweep {
	u32 stale_bits;
	u32 nr_asked;
	u32 asked[NR_ENTRIES + 1];	/* by reference */
};

static bool is_stale(ksm_ref_t ref, void *arg)
{
	struct sweep *sweep = arg;

	CHECK(ref && ref <= NR_ENTRIES, "asked about %x", ref);
	sweep->nr_asked++;
	sweep->asked[ref]++;
	return ref & sweep->stale_bits;
}

/* A table with references 1 to nr; the model is not used further. */
static struct model *sweep_new(u32 nr)
{
	struct model *model = model_new();

	while (nr) {
		model_add(model, rnd(), nr);
		nr--;
	}
	return model;
}

static void check_swept(const struct model *model, const struct sweep *sweep)
{
	u32 at, left = 0;

	for (at = 0; at < model->count; at++) {
		bool stale = model->ref[at] & sweep->stale_bits;

		CHECK(in_table(&model->table, model->hash[at], model->ref[at]) == !stale,
		      "entry %x", model->ref[at]);
		CHECK(sweep->asked[model->ref[at]], "entry %x was not met",
		      model->ref[at]);
		left += !stale;
	}
	CHECK(model->table.count == left, "%llu of %u entries are left",
	      model->table.count, left);
}

static void sweep_drops_what_is_stale(void)
{
	static const u32 stale_bits[] = { 0, 1, 7, ~0U };
	unsigned long steps = harness_steps(40);

	for (harness_step = 0; harness_step < steps; harness_step++) {
		struct model *model = sweep_new(rnd_below(NR_ENTRIES));
		struct sweep *sweep = harness_keep(sizeof(*sweep));

		sweep->stale_bits = stale_bits[harness_step % 4];
		/* From some position on, so that the round goes past the end. */
		if (model->table.nr_segments)
			model->table.sweep_pos =
				rnd_below(model->table.nr_segments * ENTRIES);
		ksm_candidates_sweep(&model->table, ~0U, is_stale, sweep);
		check_swept(model, sweep);
		CHECK(ksm_candidates_validate(&model->table), "validate");
		CHECK(model->table.count || !model->table.nr_segments,
		      "%u segments of an empty table", model->table.nr_segments);
		CHECK(model->table.nr_segments < 2 ||
		      model->table.count >= ENTRIES * 3 / 10 *
					    model->table.nr_segments,
		      "%llu entries in %u segments", model->table.count,
		      model->table.nr_segments);
		ksm_candidates_destroy(&model->table);
	}
}

/* In slices no call asks more often than it may, and rounds meet everything. */
static void sweep_keeps_to_its_budget(void)
{
	struct model *model = sweep_new(NR_ENTRIES);
	struct sweep *sweep = harness_keep(sizeof(*sweep));
	u32 budget, slices = 0;

	sweep->stale_bits = 3;
	/* Joining moves entries past the sweep, so it may take a second round. */
	while (slices++ < 2 * (NR_ENTRIES + 8 * ENTRIES) / 50) {
		budget = 50 + rnd_below(100);
		sweep->nr_asked = 0;
		ksm_candidates_sweep(&model->table, budget, is_stale, sweep);
		CHECK(sweep->nr_asked <= budget, "asked %u times, budget %u",
		      sweep->nr_asked, budget);
		CHECK(ksm_candidates_validate(&model->table), "validate");
	}
	check_swept(model, sweep);
	sweep->nr_asked = 0;
	ksm_candidates_sweep(&model->table, 0, is_stale, sweep);
	CHECK(!sweep->nr_asked, "asked without a budget");
	ksm_candidates_destroy(&model->table);
}

/* Without failures next to nothing is forgotten, and the memory stays in bounds. */
static void large_table_forgets_little(void)
{
	u32 at, nr = 300000, lost = 0;
	struct ksm_candidates table;
	double bytes, least = 1000, most = 0;
	u64 *hash = harness_keep((nr + 1) * sizeof(*hash));

	ksm_candidates_init(&table, &harness_mem);
	for (at = 1; at <= nr; at++) {
		hash[at] = rnd();
		CHECK(!ksm_candidates_add(&table, hash[at], at), "add");
		bytes = (double)ksm_candidates_bytes(&table) / table.count;
		if (at < 10000)
			continue;
		least = bytes < least ? bytes : least;
		most = bytes > most ? bytes : most;
	}
	for (at = 1; at <= nr; at++)
		lost += !in_table(&table, hash[at], at);
	harness_note("%u entries: %u lost, %.1f to %.1f bytes each", nr, lost, least,
		     most);
	CHECK(lost == table.forgotten, "%u lost, %llu forgotten", lost,
	      table.forgotten);
	CHECK(lost <= nr / 1000, "%u lost", lost);
	CHECK(least < 10 && most < 19.1, "%.1f to %.1f bytes", least, most);
	CHECK(ksm_candidates_validate(&table), "validate");
	for (at = 1; at <= nr - 10000; at++)
		ksm_candidates_del(&table, hash[at], at);
	bytes = (double)(table.nr_segments * 4096) / table.count;
	CHECK(bytes < 27, "%.1f bytes after shrinking", bytes);
	CHECK(ksm_candidates_validate(&table), "validate");
	ksm_candidates_destroy(&table);
}

static void validate_finds_damage(void)
{
	struct model *model = sweep_new(800);
	struct ksm_candidates *table = &model->table;
	u64 *segment = table->segments.dir[0];
	u32 pos = 0, hole;

	CHECK(ksm_candidates_validate(table), "validate");
	/* An entry that stands away from its home, and so has one below it. */
	while (!segment[pos] || segment[pos] >> 55 == pos)
		pos++;
	hole = segment[pos] >> 55;
#define BREAK(place, value)					\
	do {							\
		__typeof__(place) __was = (place);		\
								\
		(place) = (value);				\
		EXPECT_BROKEN(ksm_candidates_validate(table));	\
		(place) = __was;				\
	} while (0)
	BREAK(table->count, table->count + 1);
	BREAK(table->nr_segments, table->nr_segments + 1);
	BREAK(table->nr_segments, table->segments.room + 1);
	BREAK(table->segments.dir[1], NULL);
	BREAK(table->sweep_pos, (u64)table->nr_segments * ENTRIES);
	BREAK(segment[hole], 0);
	BREAK(segment[pos], segment[pos] >> 32 << 32);
	BREAK(segment[pos], segment[pos] ^ 1ULL << 32);
	BREAK(segment[hole], segment[pos]);
#undef BREAK
	CHECK(ksm_candidates_validate(table), "validate");
	model_end(model);
}

static void validate_finds_too_many_twins(void)
{
	struct model *model = sweep_new(KSM_CANDIDATE_TWINS + 1);
	u64 *segment = model->table.segments.dir[0];
	u32 pos;

	memset(segment, 0, 4096);
	for (pos = 0; pos <= KSM_CANDIDATE_TWINS; pos++)
		segment[pos] = pos + 1;
	EXPECT_BROKEN(ksm_candidates_validate(&model->table));
	ksm_candidates_destroy(&model->table);
}

static const struct harness_test tests[] = {
	{ "candidates: equals the model", equals_model },
	{ "candidates: equals the model when allocations fail",
	  equals_model_when_allocations_fail },
	{ "candidates: any one allocation may fail", any_one_allocation_may_fail },
	{ "candidates: a full segment forgets and recovers",
	  full_segment_forgets_and_recovers },
	{ "candidates: joining forgets what does not fit",
	  joining_forgets_what_does_not_fit },
	{ "candidates: the oldest twin makes room", oldest_twin_makes_room },
	{ "candidates: the same entry is kept once", same_entry_is_kept_once },
	{ "candidates: an empty table is usable", empty_table_is_usable },
	{ "candidates: sweep drops what is stale", sweep_drops_what_is_stale },
	{ "candidates: sweep keeps to its budget", sweep_keeps_to_its_budget },
	{ "candidates: a large table forgets little", large_table_forgets_little },
	{ "candidates: validate finds damage", validate_finds_damage },
	{ "candidates: validate finds too many twins", validate_finds_too_many_twins },
};

int main(void)
{
	return harness_main(tests, ARRAY_SIZE(tests));
}
