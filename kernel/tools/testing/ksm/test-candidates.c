// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of candidates.c against an array of what each page's state and hash must be,
 * and when it became a candidate.
 */
#include <linux/errno.h>
#include <string.h>
#include "candidates.h"
#include "harness.h"

#define NR_CHUNKS	16
#define NR_PAGES	(NR_CHUNKS * KSM_CHUNK_PAGES)
#define HEADS		1024U	/* in a segment */

struct page {
	bool candidate;
	u64 hash;
	u64 since;
};

struct model {
	struct ksm_chunk_finder finder;
	struct ksm_candidates table;
	struct ksm_tally total, own;
	struct ksm_chunk chunk[NR_CHUNKS];
	struct ksm_record rec[NR_CHUNKS][KSM_CHUNK_PAGES];
	struct page page[NR_PAGES];
	u64 now;
	u64 evicted;
	u32 count;
};

/* Ids are spread, so that a wrong one mostly names no chunk. */
static u32 id_of(u32 chunk)
{
	return 5 + 1000 * chunk;
}

static struct ksm_chunk *find_chunk(struct ksm_chunk_finder *finder, u32 id)
{
	struct model *model = container_of(finder, struct model, finder);
	u32 chunk = id / 1000;

	return chunk < NR_CHUNKS && id_of(chunk) == id ? &model->chunk[chunk] : NULL;
}

static struct model *model_new(void)
{
	struct model *model = harness_keep(sizeof(*model));
	u32 at;

	model->finder.find = find_chunk;
	ksm_candidates_init(&model->table, &harness_mem, &model->finder);
	for (at = 0; at < NR_CHUNKS; at++)
		ksm_chunk_init(&model->chunk[at], id_of(at), model->rec[at],
			       &model->total, &model->own);
	return model;
}

static struct ksm_chunk *chunk_of(struct model *model, u32 page)
{
	return &model->chunk[page / KSM_CHUNK_PAGES];
}

static u32 slot_of(u32 page)
{
	return page % KSM_CHUNK_PAGES;
}

static ksm_ref_t ref_of(u32 page)
{
	return ksm_ref(id_of(page / KSM_CHUNK_PAGES), slot_of(page));
}

static bool is_twin(const struct model *model, u32 page, u64 hash)
{
	return model->page[page].candidate &&
	       ksm_hash_tag(model->page[page].hash) == ksm_hash_tag(hash);
}

/* The candidate with the hash's tag that was added last before @before. */
static u32 last_twin(const struct model *model, u64 hash, u64 before)
{
	u32 page, last = NR_PAGES;

	for (page = 0; page < NR_PAGES; page++) {
		if (is_twin(model, page, hash) && model->page[page].since < before &&
		    (last == NR_PAGES ||
		     model->page[page].since > model->page[last].since))
			last = page;
	}
	return last;
}

/* Searching must find exactly the candidates with the tag, the last one first. */
static void check_search(const struct model *model, u64 hash)
{
	ksm_ref_t found[KSM_CANDIDATE_TWINS];
	u32 nr = ksm_candidates_find(&model->table, hash, found), i, page;
	u64 before = ~0ULL;

	CHECK(nr <= KSM_CANDIDATE_TWINS, "%u were found", nr);
	for (i = 0; i < nr; i++) {
		page = last_twin(model, hash, before);
		CHECK(page < NR_PAGES, "only %u of %u have the tag", i, nr);
		CHECK(found[i] == ref_of(page), "number %u is %x, not %x", i,
		      found[i], ref_of(page));
		before = model->page[page].since;
	}
	CHECK(last_twin(model, hash, before) == NR_PAGES, "only %u were found", nr);
}

static void check_page(struct model *model, u32 page)
{
	const struct ksm_chunk *chunk = chunk_of(model, page);
	const struct page *p = &model->page[page];
	enum ksm_page_state want = p->candidate ? KSM_PAGE_CANDIDATE :
				   p->since ? KSM_PAGE_VOLATILE : KSM_PAGE_EMPTY;

	CHECK(ksm_chunk_state(chunk, slot_of(page)) == want, "page %u: state %u, not %u",
	      page, ksm_chunk_state(chunk, slot_of(page)), want);
	CHECK(!p->since || ksm_chunk_same_hash(chunk, slot_of(page), p->hash),
	      "page %u lost its hash", page);
}

static void model_add(struct model *model, u32 page, u64 hash)
{
	u64 failed = harness_mem_failed(), before = ~0ULL;
	bool was_empty = !model->count;
	u32 twins = 0, oldest = NR_PAGES, twin;
	int err;

	while ((twin = last_twin(model, hash, before)) < NR_PAGES) {
		before = model->page[twin].since;
		oldest = twin;
		twins++;
	}
	err = ksm_candidates_add(&model->table, chunk_of(model, page), slot_of(page),
				 hash);
	if (err) {
		CHECK(err == -ENOMEM, "add returned %d", err);
		CHECK(was_empty && harness_mem_failed() > failed,
		      "no reason for -ENOMEM");
		return;
	}
	if (twins == KSM_CANDIDATE_TWINS) {
		model->page[oldest].candidate = false;
		model->count--;
		model->evicted++;
		check_page(model, oldest);
	}
	model->page[page] = (struct page) { true, hash, ++model->now };
	model->count++;
	check_page(model, page);
}

static void model_del(struct model *model, u32 page)
{
	CHECK(ksm_candidates_del(&model->table, chunk_of(model, page), slot_of(page)) ==
	      model->page[page].candidate, "page %u", page);
	model->count -= model->page[page].candidate;
	model->page[page].candidate = false;
	check_page(model, page);
}

/*
 * Mostly random hashes; some that a page had already; some that differ from those
 * below the tag only, which makes them equal for the index.
 */
static u64 random_hash(const struct model *model)
{
	u64 hash = model->page[rnd_below(NR_PAGES)].hash;

	if (rnd_below(4))
		return rnd();
	return rnd_below(2) ? hash : hash ^ rnd() >> KSM_TAG_BITS;
}

static void random_step(struct model *model, bool grow)
{
	bool add = rnd_below(8) ? grow : !grow;
	u32 page = rnd_below(NR_PAGES);

	if (!add || model->page[page].candidate)
		model_del(model, page);
	else
		model_add(model, page, random_hash(model));
}

static void check_all(struct model *model, u32 buckets_before)
{
	long change = (long)model->table.nr_buckets - buckets_before;

	CHECK(model->table.count == model->count, "%llu candidates, must be %u",
	      model->table.count, model->count);
	CHECK(model->table.evicted == model->evicted, "%llu evicted, must be %llu",
	      model->table.evicted, model->evicted);
	CHECK((change >= -2 && change <= 2) || !buckets_before ||
	      !model->table.nr_buckets, "%ld buckets in one step", change);
	CHECK(ksm_candidates_bytes(&model->table) == harness_mem_bytes(),
	      "%llu bytes, allocated %llu", ksm_candidates_bytes(&model->table),
	      harness_mem_bytes());
	check_page(model, rnd_below(NR_PAGES));
	if (harness_step % 8)
		return;
	check_search(model, model->page[rnd_below(NR_PAGES)].hash);
	check_search(model, rnd());
	CHECK(ksm_candidates_validate(&model->table), "validate");
}

/* Grows to most pages, shrinks to few. Returns the most buckets. */
static u32 walk(struct model *model, unsigned long steps, bool memory_fails)
{
	unsigned long stretch = 2 * NR_PAGES;
	u32 before, most = 0;

	for (harness_step = 0; harness_step < steps; harness_step++) {
		before = model->table.nr_buckets;
		/* No memory at all for some time, and a little for some. */
		if (memory_fails)
			harness_mem_fail_one_in(1 + harness_step / 300 % 2);
		random_step(model, harness_step / stretch % 2 == 0);
		check_all(model, before);
		if (most < model->table.nr_buckets)
			most = model->table.nr_buckets;
	}
	return most;
}

static void model_end(struct model *model)
{
	u32 page;

	for (page = 0; page < NR_PAGES; page++) {
		check_page(model, page);
		model_del(model, page);
	}
	CHECK(!model->table.count && !model->table.nr_buckets,
	      "%llu candidates, %u buckets", model->table.count,
	      model->table.nr_buckets);
	CHECK(ksm_candidates_validate(&model->table), "validate");
	ksm_candidates_destroy(&model->table);
	for (page = 0; page < NR_CHUNKS; page++) {
		CHECK(ksm_chunk_validate(&model->chunk[page]), "validate");
		ksm_chunk_destroy(&model->chunk[page]);
	}
}

static void equals_model(void)
{
	unsigned long steps = harness_steps(5 * NR_PAGES);
	struct model *model = model_new();
	u32 most = walk(model, steps, false);

	CHECK(most >= HEADS * 3 / 2 || steps < 2 * NR_PAGES, "never above %u buckets", most);
	model_end(model);
}

static void equals_model_when_allocations_fail(void)
{
	unsigned long steps = harness_steps(5 * NR_PAGES);
	struct model *model = model_new();

	walk(model, steps, true);
	CHECK(harness_mem_failed() || steps < NR_PAGES, "no allocation failed");
	harness_mem_fail_one_in(0);
	model_end(model);
}

static void any_one_allocation_may_fail(void)
{
	struct model *model;
	u64 nth = 1, failed;
	u32 page;

	do {
		model = model_new();
		harness_mem_fail_nth(nth++);
		failed = harness_mem_failed();
		for (page = 0; page < NR_PAGES; page++)
			model_add(model, page, rnd());
		CHECK(ksm_candidates_validate(&model->table), "validate");
		failed = harness_mem_failed() - failed;
		harness_mem_fail_nth(0);
		/* The first of all may have found no memory. */
		CHECK(model->count >= NR_PAGES - 1, "%u candidates", model->count);
		model_end(model);
	} while (failed);
	CHECK(nth > 4, "only %llu allocations", nth - 2);
}

/* Chains grow longer, and catch up when there is memory again. */
static void nothing_is_lost_without_memory(void)
{
	struct model *model = model_new();
	u32 page;

	model_add(model, 0, rnd());
	harness_mem_fail_one_in(1);
	for (page = 1; page < NR_PAGES; page++)
		model_add(model, page, rnd());
	CHECK(model->table.nr_buckets == HEADS, "%u buckets", model->table.nr_buckets);
	CHECK(ksm_candidates_validate(&model->table), "validate");
	for (page = 0; page < NR_PAGES; page += 97)
		check_search(model, model->page[page].hash);
	harness_mem_fail_one_in(0);
	/* Two splits for each addition, until there is room again. */
	for (page = 0; page < NR_PAGES / 2; page++) {
		u32 before = model->table.nr_buckets;

		model_del(model, page);
		model_add(model, page, rnd());
		CHECK(model->table.nr_buckets - before <= 2, "%u splits at once",
		      model->table.nr_buckets - before);
	}
	CHECK(model->table.nr_buckets == NR_PAGES / 2, "%u buckets",
	      model->table.nr_buckets);
	CHECK(ksm_candidates_validate(&model->table), "validate");
	model_end(model);
}

static void oldest_twin_makes_room(void)
{
	struct model *model = model_new();
	u64 hash = rnd();
	u32 nr, page;

	for (nr = 1; nr <= 3 * KSM_CANDIDATE_TWINS; nr++) {
		/* Others stand in between and must be left alone. */
		model_add(model, 1000 + nr, rnd());
		model_add(model, nr, hash ^ rnd() >> KSM_TAG_BITS);
		for (page = 1; page <= nr; page++)
			CHECK(model->page[page].candidate ==
			      (page + KSM_CANDIDATE_TWINS > nr), "page %u of %u",
			      page, nr);
		check_search(model, hash);
		CHECK(ksm_candidates_validate(&model->table), "validate");
	}
	CHECK(model->table.evicted == 2 * KSM_CANDIDATE_TWINS, "%llu evicted",
	      model->table.evicted);
	model_end(model);
}

static void empty_index_is_usable(void)
{
	ksm_ref_t found[KSM_CANDIDATE_TWINS];
	struct model *model = model_new();
	struct ksm_candidates *table = &model->table;

	CHECK(!ksm_candidates_find(table, rnd(), found), "found something");
	CHECK(!ksm_candidates_del(table, &model->chunk[0], 1), "deleted something");
	CHECK(ksm_candidates_forget(table, 0), "there is something to forget");
	CHECK(!ksm_candidates_bytes(table), "takes memory");
	CHECK(ksm_candidates_validate(table), "validate");
	harness_mem_fail_nth(1);
	CHECK(ksm_candidates_add(table, &model->chunk[0], 1, 1) == -ENOMEM,
	      "no directory");
	harness_mem_fail_nth(2);
	CHECK(ksm_candidates_add(table, &model->chunk[0], 1, 1) == -ENOMEM, "no segment");
	CHECK(!table->count && ksm_candidates_validate(table), "validate");
	model_add(model, 7, 1);
	model_end(model);
	model_add(model, 7, 1);
	model_end(model);
}

static void misuse_warns_and_changes_nothing(void)
{
	struct model *model = model_new();
	struct ksm_candidates *table = &model->table;
	struct ksm_chunk *chunk = &model->chunk[0];
	u64 mapping;

	model_add(model, 7, 1);
	EXPECT_WARNINGS(1, CHECK(ksm_candidates_add(table, chunk, 7, 1) == -EINVAL,
				 "added twice"));
	ksm_chunk_set_stable(chunk, 8, (struct ksm_mapping *)&mapping);
	EXPECT_WARNINGS(1, CHECK(ksm_candidates_add(table, chunk, 8, 1) == -EINVAL,
				 "added a stable page"));
	CHECK(!ksm_candidates_del(table, chunk, 8), "deleted a stable page");
	CHECK(!ksm_candidates_del(table, chunk, 9), "deleted an empty page");
	ksm_chunk_clear(chunk, 8);
	check_search(model, 1);
	CHECK(table->count == 1 && ksm_candidates_validate(table), "validate");
	EXPECT_WARNINGS(1, ksm_candidates_destroy(table));
	/* Now its record says what is not so. */
	CHECK(!ksm_candidates_del(table, chunk, 7), "deleted what is not there");
}

/* A reference into nowhere ends a chain, and nothing worse. */
static void broken_chain_ends_there(void)
{
	ksm_ref_t found[KSM_CANDIDATE_TWINS];
	struct model *model = model_new();
	u32 page;

	for (page = 0; page < 6; page++)
		model_add(model, page, 1);
	*ksm_chunk_next_candidate(&model->chunk[0], 3) = ksm_ref(77, 1);
	EXPECT_WARNINGS(1, CHECK(ksm_candidates_find(&model->table, 1, found) == 3,
				 "what comes before it"));
	*ksm_chunk_next_candidate(&model->chunk[0], 3) = ref_of(100);
	EXPECT_WARNINGS(1, CHECK(!ksm_candidates_del(&model->table, &model->chunk[0], 0),
				 "deleted what is behind it"));
	/* Three are found; the rest can be found by nobody any more. */
	EXPECT_WARNINGS(2, CHECK(ksm_candidates_forget(&model->table, ~0U),
				 "not all forgotten"));
	CHECK(!model->table.count && ksm_candidates_validate(&model->table), "validate");
}

/* In slices, none larger than it may be; each page keeps its hash. */
static void forgets_all_of_them(void)
{
	unsigned long rounds = harness_steps(12);

	for (harness_step = 0; harness_step < rounds; harness_step++) {
		struct model *model = model_new();
		u32 nr = rnd_below(NR_PAGES), page, budget;
		u64 left;

		for (page = 0; page < nr; page++)
			model_add(model, page, harness_step % 2 ? rnd() : rnd_below(50));
		do {
			budget = 1 + rnd_below(400);
			left = model->table.count;
			if (ksm_candidates_forget(&model->table, budget)) {
				CHECK(left <= budget, "%llu forgotten, budget %u",
				      left, budget);
				break;
			}
			CHECK(model->table.count + budget == left,
			      "%llu of %llu left after %u", model->table.count, left,
			      budget);
			CHECK(ksm_candidates_validate(&model->table), "validate");
		} while (model->table.count);
		CHECK(!ksm_candidates_bytes(&model->table), "memory is left");
		for (page = 0; page < nr; page++) {
			model->page[page].candidate = false;
			check_page(model, page);
		}
		model->count = 0;
		model_end(model);
	}
}

/* What it takes for a candidate, and how far a search has to go. */
static void stays_small_and_fast(void)
{
	struct model *model = model_new();
	struct ksm_candidates *table = &model->table;
	double bytes, most = 0, after;
	u32 page, longest = 0;

	for (page = 0; page < NR_PAGES; page++) {
		CHECK(!ksm_candidates_add(table, chunk_of(model, page), slot_of(page),
					  rnd()), "add");
		bytes = (double)ksm_candidates_bytes(table) / table->count;
		if (page > 4 * HEADS && bytes > most)
			most = bytes;
	}
	for (page = 0; page < table->nr_buckets; page++) {
		ksm_ref_t at = ((ksm_ref_t *)table->segments.dir[page / HEADS])[page % HEADS];
		u32 length = 0;

		for (; at; at = *ksm_chunk_next_candidate(
			find_chunk(&model->finder, ksm_ref_chunk(at)), ksm_ref_slot(at)))
			length++;
		longest = length > longest ? length : longest;
	}
	for (page = 0; page < NR_PAGES - 1024; page++)
		CHECK(ksm_candidates_del(table, chunk_of(model, page), slot_of(page)),
		      "del");
	after = (double)ksm_candidates_bytes(table) / table->count;
	harness_note("%u candidates: %.2f bytes each at most, the longest chain %u; after shrinking %.2f",
		     NR_PAGES, most, longest, after);
	/* Segments are whole, which shows while there are few. */
	CHECK(most < 3.2, "%.2f bytes", most);
	CHECK(longest < 20, "a chain of %u", longest);
	CHECK(after < 8.5, "%.2f bytes after shrinking", after);
	CHECK(ksm_candidates_forget(table, ~0U), "forget");
}

static void validate_finds_damage(void)
{
	struct model *model = model_new();
	struct ksm_candidates *table = &model->table;
	struct ksm_chunk *chunk = &model->chunk[0];
	ksm_ref_t *next;
	u32 page;

	for (page = 0; page < 3 * HEADS; page++)
		model_add(model, page, rnd());
	for (page = 0; !*ksm_chunk_next_candidate(chunk, page); page++)
		;
	next = ksm_chunk_next_candidate(chunk, page);
	CHECK(ksm_candidates_validate(table), "validate");
#define BREAK(place, value)					\
	do {							\
		__typeof__(place) __was = (place);		\
								\
		(place) = (value);				\
		EXPECT_BROKEN(ksm_candidates_validate(table));	\
		(place) = __was;				\
	} while (0)
	BREAK(table->count, table->count + 1);
	BREAK(table->count, table->count - 1);
	BREAK(table->nr_buckets, table->nr_buckets - HEADS / 2);
	BREAK(table->nr_buckets, table->nr_buckets + HEADS / 2);
	BREAK(table->nr_buckets, table->nr_buckets + HEADS);
	BREAK(table->segments.dir[1], NULL);
	BREAK(*next, 0);
	BREAK(*next, ksm_ref(77, 1));
	BREAK(*next, ref_of(NR_PAGES - 1));
	BREAK(*next, ref_of(page));
	BREAK(chunk->rec[page].packed, chunk->rec[page].packed ^ 1U << 6);
	BREAK(chunk->rec[page].packed, chunk->rec[page].packed ^ 3);
#undef BREAK
	CHECK(ksm_candidates_validate(table), "validate");
	model_end(model);
}

static const struct harness_test tests[] = {
	{ "candidates: equals the model", equals_model },
	{ "candidates: equals the model when allocations fail",
	  equals_model_when_allocations_fail },
	{ "candidates: any one allocation may fail", any_one_allocation_may_fail },
	{ "candidates: nothing is lost without memory", nothing_is_lost_without_memory },
	{ "candidates: the oldest twin makes room", oldest_twin_makes_room },
	{ "candidates: an empty index is usable", empty_index_is_usable },
	{ "candidates: misuse warns and changes nothing",
	  misuse_warns_and_changes_nothing },
	{ "candidates: a broken chain ends there", broken_chain_ends_there },
	{ "candidates: forgets all of them", forgets_all_of_them },
	{ "candidates: stays small and fast", stays_small_and_fast },
	{ "candidates: validate finds damage", validate_finds_damage },
};

int main(void)
{
	return harness_main(tests, ARRAY_SIZE(tests));
}
