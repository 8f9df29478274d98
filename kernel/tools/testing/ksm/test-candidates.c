// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of candidates.c, through the chunks whose records it chains, against an array
 * of what each page is and since when.
 */
#include <linux/errno.h>
#include <linux/kernel.h>
#include <string.h>
#include "candidates.h"
#include "chunk.h"
#include "harness.h"

#define NR_CHUNKS	12	/* enough for three segments of heads */
#define NR_PAGES	(NR_CHUNKS * KSM_CHUNK_PAGES)
#define HEADS		1024U	/* in a segment */
#define LONG		2U	/* candidates to a head, above which chains are split */
#define MAX		16U	/* and above which there are no more without memory */
#define TAG_SHIFT	38

struct page {
	enum ksm_page_state state;
	u64 hash;
	u64 since;		/* when it became a candidate */
};

struct model {
	struct ksm_candidates table;
	struct ksm_tally total;
	struct ksm_tally own;
	struct ksm_chunk *chunk;
	struct page *page;
	u32 nr_pages;
	u32 count;		/* candidates */
	u64 added;		/* candidates, ever */
	u64 lookups;		/* of chunks, by the index */
};

static struct ksm_chunk *find_chunk(const struct ksm_candidates *candidates, u32 id)
{
	struct model *model = container_of(candidates, struct model, table);

	model->lookups++;
	if (!id || id > model->nr_pages / KSM_CHUNK_PAGES || !model->chunk[id - 1].rec)
		return NULL;
	return &model->chunk[id - 1];
}

static void make_chunk(struct model *model, u32 at)
{
	CHECK(!ksm_chunk_init(&model->chunk[at], at + 1, &model->table, &model->total,
			      &model->own, &harness_mem_sure), "init");
}

static struct model *model_new(u32 nr_chunks)
{
	struct model *model = harness_keep(sizeof(*model));
	u32 at;

	model->nr_pages = nr_chunks * KSM_CHUNK_PAGES;
	model->chunk = harness_keep(nr_chunks * sizeof(*model->chunk));
	model->page = harness_keep(model->nr_pages * sizeof(*model->page));
	ksm_candidates_init(&model->table, &harness_mem, find_chunk);
	for (at = 0; at < nr_chunks; at++)
		make_chunk(model, at);
	return model;
}

static struct ksm_chunk *chunk_of(struct model *model, u32 at)
{
	return &model->chunk[at / KSM_CHUNK_PAGES];
}

static u32 slot_of(u32 at)
{
	return at % KSM_CHUNK_PAGES;
}

static bool same_tag(u64 hash, u64 other)
{
	return hash >> TAG_SHIFT == other >> TAG_SHIFT;
}

/* What a search must find: all that are candidates with the tag, the youngest first. */
static void check_search(struct model *model, u64 hash)
{
	struct ksm_candidate_iter iter;
	u64 before = ~0ULL;
	u32 at, want = 0, nr = 0;
	ksm_ref_t ref;

	for (at = 0; at < model->nr_pages; at++)
		want += model->page[at].state == KSM_PAGE_CANDIDATE &&
			same_tag(model->page[at].hash, hash);
	for (ref = ksm_candidates_first(&model->table, hash, &iter); ref;
	     ref = ksm_candidates_next(&iter)) {
		const struct page *page;

		at = (ksm_ref_chunk(ref) - 1) * KSM_CHUNK_PAGES + ksm_ref_slot(ref);
		page = &model->page[at];
		CHECK(page->state == KSM_PAGE_CANDIDATE, "page %u is no candidate", at);
		CHECK(same_tag(page->hash, hash), "page %u has another tag", at);
		CHECK(page->since < before, "page %u comes after an older one", at);
		before = page->since;
		nr++;
	}
	CHECK(nr == want, "%u found, not %u", nr, want);
	CHECK(!ksm_candidates_next(&iter), "a search goes on after its end");
}

/* The oldest of as many of a tag as there may be; NULL if there are fewer. */
static struct page *find_crowded(struct model *model, u64 hash)
{
	struct page *oldest = NULL;
	u32 at, nr = 0;

	for (at = 0; at < model->nr_pages; at++) {
		struct page *page = &model->page[at];

		if (page->state != KSM_PAGE_CANDIDATE || !same_tag(page->hash, hash))
			continue;
		nr++;
		if (!oldest || page->since < oldest->since)
			oldest = page;
	}
	return nr == KSM_CANDIDATE_TWINS ? oldest : NULL;
}

static void leave(struct model *model, struct page *page, enum ksm_page_state state)
{
	model->count -= page->state == KSM_PAGE_CANDIDATE;
	page->state = state;
}

static void add(struct model *model, u32 at, u64 hash)
{
	struct page *page = &model->page[at], *crowded;
	bool was_in = page->state == KSM_PAGE_CANDIDATE && same_tag(page->hash, hash);
	u64 failed = harness_mem_failed();
	int err;

	err = ksm_chunk_set_candidate(chunk_of(model, at), slot_of(at), hash);
	if (was_in) {
		CHECK(!err, "add returned %d", err);
		return;
	}
	leave(model, page, KSM_PAGE_VOLATILE);
	page->hash = hash;
	if (err) {
		CHECK(err == -ENOMEM, "add returned %d", err);
		CHECK(harness_mem_failed() > failed, "no reason for -ENOMEM");
		CHECK(!model->count || model->count >= MAX * model->table.nr_heads,
		      "there was room for one more");
		return;
	}
	crowded = find_crowded(model, hash);
	if (crowded)
		leave(model, crowded, KSM_PAGE_VOLATILE);
	page->state = KSM_PAGE_CANDIDATE;
	page->since = ++model->added;
	model->count++;
}

static void drop(struct model *model, u32 at)
{
	ksm_chunk_clear(chunk_of(model, at), slot_of(at));
	leave(model, &model->page[at], KSM_PAGE_EMPTY);
}

static void change(struct model *model, u32 at, u64 hash)
{
	ksm_chunk_set_volatile(chunk_of(model, at), slot_of(at), hash);
	leave(model, &model->page[at], KSM_PAGE_VOLATILE);
	model->page[at].hash = hash;
}

/* Makes a page stable, and forgets it. */
static void merge(struct model *model, u32 at)
{
	struct ksm_mapping *mapping = (struct ksm_mapping *)&model->page[at];
	struct ksm_chunk *chunk = chunk_of(model, at);

	ksm_chunk_set_stable(chunk, slot_of(at), mapping);
	leave(model, &model->page[at], KSM_PAGE_STABLE);
	CHECK(ksm_chunk_mapping(chunk, slot_of(at)) == mapping, "page %u", at);
	drop(model, at);
}

/* A chunk goes away with all that is in it, and another takes its name. */
static void replace_chunk(struct model *model, u32 nr)
{
	u32 at;

	ksm_chunk_destroy(&model->chunk[nr], &harness_mem);
	make_chunk(model, nr);
	for (at = nr * KSM_CHUNK_PAGES; at < (nr + 1) * KSM_CHUNK_PAGES; at++)
		leave(model, &model->page[at], KSM_PAGE_EMPTY);
}

/* Some tags are had by many pages; and all of them at both ends of the range. */
static u64 random_hash(void)
{
	switch (rnd_below(8)) {
	case 0:
		return (u64)rnd_below(20) << TAG_SHIFT | rnd() >> 26;
	case 1:
		return ~((u64)rnd_below(20) << TAG_SHIFT);
	default:
		return rnd();
	}
}

/* Returns true if it may have moved more than a few heads. */
static bool random_step(struct model *model, bool grow)
{
	u32 at = rnd_below(model->nr_pages), i;

	switch (rnd_below(20)) {
	case 0:
		change(model, at, random_hash());
		break;
	case 1:
		merge(model, at);
		break;
	case 2:
		if (!rnd_one_in(400))
			break;
		replace_chunk(model, at / KSM_CHUNK_PAGES);
		return true;
	default:
		/* Pages that have no part in it are passed over. */
		for (i = 0; i < 30 && grow == (model->page[at].state ==
					       KSM_PAGE_CANDIDATE); i++)
			at = rnd_below(model->nr_pages);
		if (grow || rnd_one_in(10))
			add(model, at, random_hash());
		else
			drop(model, at);
	}
	return false;
}

static void check_all(struct model *model)
{
	u32 heads = model->table.nr_heads, at;

	CHECK(model->table.count == model->count, "%llu candidates, must be %u",
	      model->table.count, model->count);
	CHECK(model->total.pages[KSM_PAGE_CANDIDATE] == model->count,
	      "%llu candidates counted", model->total.pages[KSM_PAGE_CANDIDATE]);
	CHECK(heads <= HEADS || 2 * model->count + 6 >= 3 * heads,
	      "%u heads for %u candidates", heads, model->count);
	CHECK(ksm_candidates_bytes(&model->table) ==
	      DIV_ROUND_UP(heads, HEADS) * 4096ULL +
		      model->table.segments.room * sizeof(void *),
	      "%llu bytes", ksm_candidates_bytes(&model->table));
	check_search(model, model->page[rnd_below(model->nr_pages)].hash);
	check_search(model, random_hash());
	at = rnd_below(model->nr_pages);
	CHECK(ksm_chunk_state(chunk_of(model, at), slot_of(at)) == model->page[at].state,
	      "page %u", at);
	CHECK(ksm_candidates_validate(&model->table), "validate");
}

/* Grows to nearly all pages, shrinks to none; returns the most heads. */
static u32 walk(struct model *model, unsigned long steps, bool memory_fails)
{
	unsigned long stretch = 3 * NR_PAGES / 2;
	u32 before, most = 0;
	bool much;
	long moved;

	for (harness_step = 0; harness_step < steps; harness_step++) {
		before = model->table.nr_heads;
		/* No memory at all for some time, and a little for some. */
		if (memory_fails)
			harness_mem_fail_one_in(1 + harness_step / 300 % 3);
		much = random_step(model, harness_step / stretch % 2 == 0);
		moved = (long)model->table.nr_heads - before;
		/* The first segment of heads comes and goes as a whole. */
		CHECK((moved >= -4 && moved <= 4) || much || model->count <= 1,
		      "%ld heads in one step", moved);
		check_all(model);
		CHECK(memory_fails || model->count <= LONG * model->table.nr_heads + 1,
		      "%u candidates, %u heads", model->count, model->table.nr_heads);
		if (most < model->table.nr_heads)
			most = model->table.nr_heads;
	}
	return most;
}

static void model_end(struct model *model)
{
	u32 at;

	for (at = 0; at < model->nr_pages / KSM_CHUNK_PAGES; at++) {
		CHECK(ksm_chunk_validate(&model->chunk[at]), "validate");
		ksm_chunk_destroy(&model->chunk[at], &harness_mem);
	}
	CHECK(!model->table.count && !model->table.nr_heads, "%llu candidates, %u heads",
	      model->table.count, model->table.nr_heads);
	CHECK(!ksm_tally_tracked(&model->total), "pages are still counted");
	CHECK(ksm_candidates_validate(&model->table), "validate");
	ksm_candidates_destroy(&model->table);
}

static void equals_model(void)
{
	unsigned long steps = harness_steps(4 * NR_PAGES);
	struct model *model = model_new(NR_CHUNKS);
	u32 most = walk(model, steps, false);

	CHECK(most > 2 * HEADS || steps < 4 * NR_PAGES, "never above %u heads", most);
	model_end(model);
}

static void equals_model_failing(void)
{
	unsigned long steps = harness_steps(4 * NR_PAGES);
	struct model *model = model_new(NR_CHUNKS);

	walk(model, steps, true);
	CHECK(harness_mem_failed() || steps < NR_PAGES, "no allocation failed");
	harness_mem_fail_one_in(0);
	model_end(model);
}

static void any_one_allocation_may_fail(void)
{
	struct model *model;
	u64 nth = 1, failed;
	u32 at;

	do {
		model = model_new(NR_CHUNKS);
		failed = harness_mem_failed();
		harness_mem_fail_nth(nth++);
		for (at = 0; at < NR_PAGES; at++) {
			CHECK(!ksm_chunk_set_candidate(chunk_of(model, at), slot_of(at),
						       rnd()) || at < 2, "page %u", at);
			if (at % 64 == 0)
				CHECK(ksm_candidates_validate(&model->table),
				      "validate");
		}
		failed = harness_mem_failed() - failed;
		harness_mem_fail_nth(0);
		CHECK(model->table.nr_heads >= NR_PAGES / LONG - 2, "%u heads",
		      model->table.nr_heads);
		model_end(model);
	} while (failed);
	CHECK(nth >= 5, "only %llu allocations", nth - 2);
}

/* Chains get longer, but not without end; and all is well when memory returns. */
static void chains_grow_without_memory(void)
{
	struct model *model = model_new(MAX * HEADS / KSM_CHUNK_PAGES + 1);
	u32 at;

	for (at = 0; at < model->nr_pages; at++) {
		int err = ksm_chunk_set_candidate(chunk_of(model, at), slot_of(at),
						  rnd() << 32 | rnd() >> 32);

		harness_mem_fail_one_in(1);
		CHECK(err == (at < MAX * HEADS ? 0 : -ENOMEM), "page %u: %d", at, err);
		CHECK(ksm_chunk_state(chunk_of(model, at), slot_of(at)) ==
		      (err ? KSM_PAGE_VOLATILE : KSM_PAGE_CANDIDATE), "page %u", at);
	}
	CHECK(model->table.nr_heads == HEADS, "%u heads", model->table.nr_heads);
	CHECK(ksm_candidates_validate(&model->table), "validate");
	harness_mem_fail_one_in(0);
	/* Two splits an addition. */
	for (at = 0; at < model->nr_pages; at++) {
		ksm_chunk_clear(chunk_of(model, at), slot_of(at));
		CHECK(!ksm_chunk_set_candidate(chunk_of(model, at), slot_of(at), rnd()),
		      "page %u", at);
	}
	CHECK(model->table.nr_heads >= model->nr_pages / LONG - 1, "%u heads",
	      model->table.nr_heads);
	CHECK(ksm_candidates_validate(&model->table), "validate");
	model_end(model);
}

static void oldest_twin_makes_room(void)
{
	struct model *model = model_new(2);
	u64 hash = rnd();
	u32 nr, at;

	for (nr = 0; nr < 3 * KSM_CANDIDATE_TWINS; nr++) {
		/* Others stand in between and must be left alone. */
		add(model, 2 * nr + 1, hash ^ 1ULL << (TAG_SHIFT + 20));
		add(model, 2 * nr, hash ^ rnd() >> 26);
		for (at = 0; at <= nr; at++) {
			bool is_in = at + KSM_CANDIDATE_TWINS > nr;

			CHECK((ksm_chunk_state(chunk_of(model, 2 * at), 2 * at) ==
			       KSM_PAGE_CANDIDATE) == is_in, "page %u of %u", at, nr);
			CHECK(ksm_chunk_same_hash(chunk_of(model, 2 * at), 2 * at, hash),
			      "page %u lost its hash", at);
		}
		CHECK(model->table.count == model->count, "%llu", model->table.count);
		CHECK(ksm_candidates_validate(&model->table), "validate");
		check_search(model, hash);
	}
	CHECK(model->count == 2 * KSM_CANDIDATE_TWINS, "%u candidates", model->count);
	model_end(model);
}

/* What is offered again is not younger by that; with another hash it moves. */
static void same_candidate_is_kept_once(void)
{
	struct model *model = model_new(1);
	u64 hash = rnd();
	u32 at;

	ksm_chunk_grow_older(&model->chunk[0], 5);
	add(model, 5, hash);
	ksm_chunk_grow_older(&model->chunk[0], 5);
	add(model, 6, hash);
	for (at = 0; at < 100; at++) {
		add(model, 5, hash ^ at);
		CHECK(model->table.count == 2, "%llu candidates", model->table.count);
		check_search(model, hash);
	}
	add(model, 5, ~hash);
	check_search(model, hash);
	check_search(model, ~hash);
	CHECK(ksm_chunk_age(&model->chunk[0], 5) == 1, "age %u",
	      ksm_chunk_age(&model->chunk[0], 5));
	model_end(model);
}

static void empty_index_is_usable(void)
{
	struct model *model = model_new(1);
	struct ksm_candidate_iter iter;

	CHECK(!ksm_candidates_first(&model->table, rnd(), &iter), "found something");
	CHECK(!ksm_candidates_next(&iter), "found something");
	CHECK(!ksm_candidates_bytes(&model->table), "takes memory");
	CHECK(ksm_candidates_validate(&model->table), "validate");
	harness_mem_fail_nth(1);
	CHECK(ksm_chunk_set_candidate(&model->chunk[0], 1, 1) == -ENOMEM, "no directory");
	harness_mem_fail_nth(2);
	CHECK(ksm_chunk_set_candidate(&model->chunk[0], 1, 1) == -ENOMEM, "no segment");
	CHECK(!model->table.count && ksm_candidates_validate(&model->table), "validate");
	CHECK(ksm_chunk_state(&model->chunk[0], 1) == KSM_PAGE_VOLATILE, "no record");
	add(model, 1, 1);
	drop(model, 1);
	CHECK(!ksm_candidates_first(&model->table, 1, &iter), "found something");
	ksm_candidates_destroy(&model->table);
	add(model, 1, 1);
	model_end(model);
}

/* The memory stays in bounds, and so does what an operation has to look at. */
static void large_index_stays_small_and_flat(void)
{
	struct model *model = model_new(600);
	u32 at, nr = model->nr_pages, most_lookups = 0;
	double bytes, least = 1000, most = 0;
	struct ksm_candidate_iter iter;
	u64 all;

	for (at = 0; at < nr; at++) {
		u64 before = model->lookups;

		CHECK(!ksm_chunk_set_candidate(chunk_of(model, at), slot_of(at), rnd()),
		      "add");
		if (most_lookups < model->lookups - before)
			most_lookups = model->lookups - before;
		bytes = (double)ksm_candidates_bytes(&model->table) / (at + 1);
		if (at < 10000)
			continue;
		least = bytes < least ? bytes : least;
		most = bytes > most ? bytes : most;
	}
	all = model->lookups;
	for (at = 0; at < nr; at++)
		ksm_candidates_first(&model->table, rnd(), &iter);
	all = model->lookups - all;
	harness_note("%u candidates, %.2f to %.2f bytes each: look-ups %.1f to search, %u to add",
		     nr, least, most, (double)all / nr, most_lookups);
	CHECK(model->table.count > nr - nr / 1000, "%llu are left", model->table.count);
	CHECK(least > 1.9 && most < 2.5, "%.2f to %.2f bytes", least, most);
	CHECK(all < nr * 5ULL / 2, "%llu look-ups in %u searches", all, nr);
	CHECK(most_lookups < 60, "%u look-ups in one addition", most_lookups);
	CHECK(ksm_candidates_validate(&model->table), "validate");
	for (at = 0; at < nr - 10000; at++)
		ksm_chunk_clear(chunk_of(model, at), slot_of(at));
	bytes = DIV_ROUND_UP(model->table.nr_heads, HEADS) * 4096. / model->table.count;
	CHECK(bytes < 3.1, "%.2f bytes after shrinking", bytes);
	CHECK(ksm_candidates_validate(&model->table), "validate");
	model_end(model);
}

/* A chain that leads to no chunk ends there; what was behind it is lost, no more. */
static void dead_reference_warns_and_ends_chain(void)
{
	struct model *model = model_new(3);
	struct ksm_candidate_iter iter;
	struct ksm_record *rec;
	u64 hash = rnd();

	ksm_chunk_set_candidate(&model->chunk[0], 1, hash);
	ksm_chunk_set_candidate(&model->chunk[1], 1, hash);
	rec = model->chunk[1].rec;
	model->chunk[1].rec = NULL;
	EXPECT_WARNINGS(1, CHECK(!ksm_candidates_first(&model->table, hash, &iter),
				 "found something"));
	/* Of the chunk, and of the page that was not met. */
	EXPECT_WARNINGS(2, ksm_chunk_clear(&model->chunk[0], 1));
	EXPECT_BROKEN(ksm_candidates_validate(&model->table));
	model->chunk[1].rec = rec;
	ksm_chunk_clear(&model->chunk[1], 1);
	EXPECT_WARNINGS(1, ksm_candidates_destroy(&model->table));
	model_end(model);
}

static void validate_finds_damage(void)
{
	struct model *model = model_new(6);
	struct ksm_candidates *table = &model->table;
	ksm_ref_t *heads, *head, *other;
	struct ksm_record *rec;
	u32 at;

	for (at = 0; at < 5 * KSM_CHUNK_PAGES; at++)
		ksm_chunk_set_candidate(chunk_of(model, at), slot_of(at), rnd());
	CHECK(table->nr_heads > HEADS && ksm_candidates_validate(table), "validate");
	heads = table->segments.dir[0];
	for (head = heads; !*head; head++)
		;
	for (other = head + 1; !*other; other++)
		;
	rec = &model->chunk[ksm_ref_chunk(*head) - 1].rec[ksm_ref_slot(*head)];
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
	BREAK(table->nr_heads, table->nr_heads + HEADS);
	BREAK(table->nr_heads, HEADS * (table->segments.room + 1));
	BREAK(table->segments.dir[1], NULL);
	BREAK(*head, 0);
	BREAK(*head, *other);
	BREAK(*head, ksm_ref(77, 1));
	BREAK(*head, ksm_ref(6, 1));
	BREAK(rec->next, *head);
	BREAK(rec->word, rec->word ^ 1U << 6);
	BREAK(rec->word, (rec->word & ~3U) | KSM_PAGE_VOLATILE);
#undef BREAK
	model_end(model);
}

static void validate_finds_too_many_twins(void)
{
	struct model *model = model_new(1);
	struct ksm_chunk *chunk = &model->chunk[0];
	u32 at;

	for (at = 0; at < KSM_CANDIDATE_TWINS; at++)
		ksm_chunk_set_candidate(chunk, at, 0);
	CHECK(ksm_candidates_validate(&model->table), "validate");
	chunk->rec[at].word = KSM_PAGE_CANDIDATE;
	ksm_candidates_link(chunk, at);
	EXPECT_BROKEN(ksm_candidates_validate(&model->table));
	ksm_candidates_unlink(chunk, at);
	chunk->rec[at].word = 0;
	model_end(model);
}

static const struct harness_test tests[] = {
	{ "candidates: equals the model", equals_model },
	{ "candidates: equals the model when allocations fail", equals_model_failing },
	{ "candidates: any one allocation may fail", any_one_allocation_may_fail },
	{ "candidates: chains grow without memory, to an end",
	  chains_grow_without_memory },
	{ "candidates: the oldest twin makes room", oldest_twin_makes_room },
	{ "candidates: the same candidate is kept once", same_candidate_is_kept_once },
	{ "candidates: an empty index is usable", empty_index_is_usable },
	{ "candidates: a large index stays small and flat",
	  large_index_stays_small_and_flat },
	{ "candidates: a dead reference warns and ends the chain",
	  dead_reference_warns_and_ends_chain },
	{ "candidates: validate finds damage", validate_finds_damage },
	{ "candidates: validate finds too many twins", validate_finds_too_many_twins },
};

int main(void)
{
	return harness_main(tests, ARRAY_SIZE(tests));
}
