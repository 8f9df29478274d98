// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of chunk.c against plain arrays of what each page's record must say.
 */
#include <linux/errno.h>
#include <linux/kernel.h>
#include <string.h>
#include "chunk.h"
#include "harness.h"

#define NR_CHUNKS	3
#define NR_MMS		2

/* What one record must say, unpacked. */
struct page {
	enum ksm_page_state state;
	unsigned int age;
	u64 hash;
	struct ksm_mapping *mapping;
};

struct model {
	struct ksm_chunk chunk[NR_CHUNKS];
	struct ksm_record rec[NR_CHUNKS][KSM_CHUNK_PAGES];
	struct page page[NR_CHUNKS][KSM_CHUNK_PAGES];
	struct ksm_tally total;
	struct ksm_tally own[NR_MMS];
	/* Mapping records are opaque to chunk.c: any address will do. */
	u64 mapping[NR_CHUNKS][KSM_CHUNK_PAGES];
};

static struct model *model_new(void)
{
	struct model *model = harness_keep(sizeof(*model));
	u32 at;

	for (at = 0; at < NR_CHUNKS; at++)
		ksm_chunk_init(&model->chunk[at], at + 1, model->rec[at],
			       &model->total, &model->own[at % NR_MMS]);
	return model;
}

static struct ksm_mapping *mapping_of(struct model *model, u32 nr, u32 slot)
{
	return (struct ksm_mapping *)&model->mapping[nr][slot];
}

static void check_page(const struct model *model, u32 nr, u32 slot)
{
	const struct ksm_chunk *chunk = &model->chunk[nr];
	const struct page *page = &model->page[nr][slot];
	bool hashed = page->state == KSM_PAGE_VOLATILE ||
		      page->state == KSM_PAGE_CANDIDATE;

	CHECK(ksm_chunk_state(chunk, slot) == page->state, "page %u: state %u, not %u",
	      slot, ksm_chunk_state(chunk, slot), page->state);
	CHECK(ksm_chunk_age(chunk, slot) == page->age, "page %u: age %u, not %u",
	      slot, ksm_chunk_age(chunk, slot), page->age);
	CHECK(ksm_chunk_mapping(chunk, slot) == page->mapping, "page %u: mapping",
	      slot);
	CHECK(ksm_chunk_same_hash(chunk, slot, page->hash) == hashed, "page %u: hash",
	      slot);
	CHECK(!ksm_chunk_same_hash(chunk, slot, ~page->hash), "page %u: hash", slot);
}

/* Counts anew what the chunk and the tallies count. */
static void check_counts(const struct model *model)
{
	u32 nr, slot, state, count, total[KSM_NR_PAGE_STATES] = {};
	u32 own[NR_MMS][KSM_NR_PAGE_STATES] = {};

	for (nr = 0; nr < NR_CHUNKS; nr++) {
		u32 here[KSM_NR_PAGE_STATES] = {};

		for (slot = 0; slot < KSM_CHUNK_PAGES; slot++)
			here[model->page[nr][slot].state]++;
		for (state = 0; state < KSM_NR_PAGE_STATES; state++) {
			count = ksm_chunk_count(&model->chunk[nr], state);
			CHECK(count == here[state], "chunk %u: %u in state %u, not %u",
			      nr, count, state, here[state]);
			total[state] += count;
			own[nr % NR_MMS][state] += count;
		}
		CHECK(ksm_chunk_is_empty(&model->chunk[nr]) ==
		      (here[KSM_PAGE_EMPTY] == KSM_CHUNK_PAGES), "chunk %u", nr);
		CHECK(ksm_chunk_validate(&model->chunk[nr]), "validate");
	}
	CHECK(!model->total.pages[KSM_PAGE_EMPTY], "empty pages are counted");
	for (state = KSM_PAGE_EMPTY + 1; state < KSM_NR_PAGE_STATES; state++) {
		CHECK(model->total.pages[state] == total[state], "state %u", state);
		for (nr = 0; nr < NR_MMS; nr++)
			CHECK(model->own[nr].pages[state] == own[nr][state],
			      "mm %u, state %u", nr, state);
	}
}

static void check_next(const struct model *model, u32 nr, u32 slot)
{
	u32 want = slot < KSM_CHUNK_PAGES ? slot : KSM_CHUNK_PAGES;

	while (want < KSM_CHUNK_PAGES &&
	       model->page[nr][want].state == KSM_PAGE_EMPTY)
		want++;
	CHECK(ksm_chunk_next(&model->chunk[nr], slot) == want, "after %u comes %u",
	      slot, ksm_chunk_next(&model->chunk[nr], slot));
}

/* What an index does before anything else may be done with a candidate. */
static void withdraw(struct model *model, u32 nr, u32 slot)
{
	struct page *page = &model->page[nr][slot];

	if (page->state != KSM_PAGE_CANDIDATE)
		return;
	ksm_chunk_withdraw(&model->chunk[nr], slot);
	page->state = KSM_PAGE_VOLATILE;
	check_page(model, nr, slot);
}

static void clear_page(struct model *model, u32 nr, u32 slot)
{
	struct ksm_mapping *was = model->page[nr][slot].mapping;

	withdraw(model, nr, slot);
	CHECK(ksm_chunk_clear(&model->chunk[nr], slot) == was,
	      "clear returned another mapping");
	memset(&model->page[nr][slot], 0, sizeof(model->page[nr][slot]));
}

static void make_stable(struct model *model, u32 nr, u32 slot)
{
	struct page *page = &model->page[nr][slot];

	if (page->state == KSM_PAGE_STABLE)
		return;
	withdraw(model, nr, slot);
	page->state = KSM_PAGE_STABLE;
	page->mapping = mapping_of(model, nr, slot);
	ksm_chunk_set_stable(&model->chunk[nr], slot, page->mapping);
}

static void random_step(struct model *model, u32 nr, u32 slot, u32 what)
{
	struct ksm_chunk *chunk = &model->chunk[nr];
	struct page *page = &model->page[nr][slot];
	bool stable = page->state == KSM_PAGE_STABLE;

	switch (what) {
	case 0:
		if (stable)
			break;
		withdraw(model, nr, slot);
		page->state = KSM_PAGE_VOLATILE;
		page->hash = rnd();
		ksm_chunk_set_volatile(chunk, slot, page->hash);
		break;
	case 1:
		if (stable)
			break;
		page->state = KSM_PAGE_CANDIDATE;
		page->hash = rnd();
		ksm_chunk_set_candidate(chunk, slot, page->hash);
		break;
	case 2:
		make_stable(model, nr, slot);
		break;
	case 3:
		clear_page(model, nr, slot);
		break;
	default:
		if (page->state != KSM_PAGE_EMPTY && page->age < KSM_AGE_MAX)
			page->age++;
		ksm_chunk_grow_older(chunk, slot);
	}
}

static void equals_model(void)
{
	unsigned long steps = harness_steps(30000);
	struct model *model = model_new();
	u32 nr, slot, span;

	for (harness_step = 0; harness_step < steps; harness_step++) {
		nr = rnd_below(NR_CHUNKS);
		/* Long times on few pages, so that each goes through all states. */
		span = harness_step / 1000 % 2 ? KSM_CHUNK_PAGES : 40;
		slot = rnd_below(span);
		random_step(model, nr, slot, rnd_below(7));
		check_page(model, nr, slot);
		check_page(model, nr, rnd_below(KSM_CHUNK_PAGES));
		check_next(model, nr, rnd_below(KSM_CHUNK_PAGES + 2));
		check_counts(model);
	}
	for (nr = 0; nr < NR_CHUNKS; nr++) {
		for (slot = 0; slot < KSM_CHUNK_PAGES; slot++) {
			check_page(model, nr, slot);
			if (model->page[nr][slot].state != KSM_PAGE_VOLATILE)
				clear_page(model, nr, slot);
		}
		ksm_chunk_destroy(&model->chunk[nr]);
		memset(model->page[nr], 0, sizeof(model->page[nr]));
	}
	check_counts(model);
	CHECK(!ksm_tally_tracked(&model->total), "pages are still counted");
}

/* Each bit of the hash that is kept makes a difference, and no other. */
static void every_hash_bit_counts(void)
{
	struct model *model = model_new();
	struct ksm_chunk *chunk = &model->chunk[0];
	u64 hash = rnd();
	u32 bit;

	ksm_chunk_set_volatile(chunk, 9, hash);
	ksm_chunk_set_candidate(chunk, 10, hash);
	for (bit = 0; bit < 64; bit++) {
		u64 other = hash ^ 1ULL << bit;

		CHECK(ksm_chunk_same_hash(chunk, 9, other) == (bit < 38), "bit %u", bit);
		CHECK(ksm_chunk_same_hash(chunk, 10, other) == (bit < 38), "bit %u", bit);
	}
	CHECK(!ksm_chunk_same_hash(chunk, 8, 0), "an empty page has a hash");
	ksm_chunk_set_stable(chunk, 9, mapping_of(model, 0, 9));
	CHECK(!ksm_chunk_same_hash(chunk, 9, 0), "a stable page has a hash");
	CHECK(!ksm_chunk_same_hash(chunk, 9, hash), "a stable page has a hash");
	ksm_chunk_clear(chunk, 9);
	ksm_chunk_withdraw(chunk, 10);
	CHECK(ksm_chunk_same_hash(chunk, 10, hash), "withdrawn, and the hash is gone");
	ksm_chunk_destroy(chunk);
}

/* Ages of all values beside all states; the neighbours keep theirs. */
static void age_saturates_and_survives(void)
{
	struct model *model = model_new();
	struct ksm_chunk *chunk = &model->chunk[0];
	unsigned int age;

	CHECK(KSM_AGE_MAX == 15, "%u", KSM_AGE_MAX);
	for (age = 0; age <= KSM_AGE_MAX + 3; age++) {
		unsigned int want = age < KSM_AGE_MAX ? age : KSM_AGE_MAX;

		ksm_chunk_set_candidate(chunk, 100, ~0ULL);
		CHECK(ksm_chunk_age(chunk, 100) == want, "%u", want);
		CHECK(ksm_chunk_state(chunk, 100) == KSM_PAGE_CANDIDATE, "%u", want);
		ksm_chunk_grow_older(chunk, 100);
		CHECK(ksm_chunk_same_hash(chunk, 100, ~0ULL), "%u", want);
	}
	ksm_chunk_withdraw(chunk, 100);
	CHECK(ksm_chunk_age(chunk, 100) == KSM_AGE_MAX, "withdrawn, and not old");
	ksm_chunk_set_stable(chunk, 100, mapping_of(model, 0, 100));
	CHECK(ksm_chunk_age(chunk, 100) == KSM_AGE_MAX, "stable lost its age");
	ksm_chunk_clear(chunk, 100);
	CHECK(!ksm_chunk_age(chunk, 100), "an empty page has an age");
	ksm_chunk_grow_older(chunk, 100);
	CHECK(!ksm_chunk_age(chunk, 100), "an empty page grew older");
	ksm_chunk_set_volatile(chunk, 100, 0);
	CHECK(!ksm_chunk_age(chunk, 100), "a page seen first has an age");
	ksm_chunk_grow_older(chunk, 100);
	ksm_chunk_set_volatile(chunk, 100, ~0ULL);
	CHECK(ksm_chunk_age(chunk, 100) == 1, "a page that changed lost its age");
	ksm_chunk_set_candidate(chunk, 100, 0);
	ksm_chunk_grow_older(chunk, 100);
	ksm_chunk_withdraw(chunk, 100);
	ksm_chunk_set_volatile(chunk, 100, 0);
	CHECK(ksm_chunk_age(chunk, 100) == 2, "a candidate that changed lost its age");
	CHECK(!ksm_chunk_age(chunk, 99) && !ksm_chunk_age(chunk, 101), "neighbours");
	ksm_chunk_destroy(chunk);
}

static void misuse_warns_and_changes_nothing(void)
{
	struct model *model = model_new();
	struct ksm_chunk *chunk = &model->chunk[0];
	struct ksm_mapping *mapping = mapping_of(model, 0, 3);

	EXPECT_WARNINGS(1, ksm_chunk_set_stable(chunk, 3, NULL));
	EXPECT_WARNINGS(1, ksm_chunk_set_stable(chunk, 3, (void *)mapping + 4));
	CHECK(ksm_chunk_is_empty(chunk), "something is there");
	ksm_chunk_set_stable(chunk, 3, mapping);
	EXPECT_WARNINGS(1, ksm_chunk_set_stable(chunk, 3, mapping));
	EXPECT_WARNINGS(1, ksm_chunk_set_volatile(chunk, 3, 1));
	EXPECT_WARNINGS(1, ksm_chunk_set_candidate(chunk, 3, 1));
	EXPECT_WARNINGS(1, ksm_chunk_withdraw(chunk, 3));
	/* A record in a chain is not touched. */
	ksm_chunk_set_candidate(chunk, 4, 1);
	*ksm_chunk_next_candidate(chunk, 4) = 12;
	EXPECT_WARNINGS(1, ksm_chunk_set_volatile(chunk, 4, 2));
	EXPECT_WARNINGS(1, CHECK(!ksm_chunk_clear(chunk, 4), "a mapping"));
	EXPECT_WARNINGS(1, ksm_chunk_set_stable(chunk, 4, mapping));
	CHECK(ksm_chunk_state(chunk, 4) == KSM_PAGE_CANDIDATE &&
	      ksm_chunk_same_hash(chunk, 4, 1) &&
	      *ksm_chunk_next_candidate(chunk, 4) == 12, "the record has changed");
	*ksm_chunk_next_candidate(chunk, 4) = 0;
	ksm_chunk_withdraw(chunk, 4);
	EXPECT_WARNINGS(1, ksm_chunk_withdraw(chunk, 4));
	ksm_chunk_clear(chunk, 4);
	CHECK(ksm_chunk_mapping(chunk, 3) == mapping, "the mapping is lost");
	CHECK(ksm_chunk_validate(chunk), "validate");
	EXPECT_WARNINGS(1, ksm_chunk_destroy(chunk));
	CHECK(!ksm_tally_tracked(&model->total), "pages are still counted");
	EXPECT_WARNINGS(1, ksm_chunk_init(chunk, 0, model->rec[0], &model->total,
					  model->own));
	EXPECT_WARNINGS(1, ksm_chunk_init(chunk, KSM_CHUNK_ID_MAX + 1, model->rec[0],
					  &model->total, model->own));
}

/* A record takes 8 bytes, those of a chunk just a page, and a chunk nothing beside. */
static void memory_is_the_records(void)
{
	size_t bytes = sizeof(struct ksm_chunk) + KSM_RECORDS_BYTES;

	CHECK(KSM_RECORDS_BYTES == 4096, "%zu bytes for the records", KSM_RECORDS_BYTES);
	CHECK(bytes <= KSM_CHUNK_PAGES * 8 + 64, "%zu bytes a chunk", bytes);
	harness_note("%.2f bytes a record", (double)bytes / KSM_CHUNK_PAGES);
}

/* All bits that an address may have, at both ends of the address space, come back. */
static void every_address_bit_is_kept(void)
{
	struct model *model = model_new();
	struct ksm_chunk *chunk = &model->chunk[0];
	unsigned int bit, age;

	for (bit = 3; bit < 60; bit++) {
		struct ksm_mapping *low = (void *)(1UL << bit), *high = (void *)-(1UL << bit);

		for (age = 0; age < bit % (KSM_AGE_MAX + 1); age++)
			ksm_chunk_grow_older(chunk, 7);
		ksm_chunk_set_stable(chunk, 7, low);
		ksm_chunk_set_stable(chunk, 8, high);
		ksm_chunk_grow_older(chunk, 8);
		CHECK(ksm_chunk_validate(chunk), "validate");
		CHECK(ksm_chunk_mapping(chunk, 7) == low, "%p", ksm_chunk_mapping(chunk, 7));
		CHECK(ksm_chunk_clear(chunk, 7) == low, "%p was not there", low);
		CHECK(ksm_chunk_clear(chunk, 8) == high, "%p was not there", high);
		CHECK(!ksm_chunk_mapping(chunk, 7), "still there");
		ksm_chunk_set_volatile(chunk, 7, rnd());
	}
	ksm_chunk_destroy(chunk);
}

static void validate_finds_damage(void)
{
	struct model *model = model_new();
	struct ksm_chunk *chunk = &model->chunk[0];

	ksm_chunk_set_volatile(chunk, 1, ~0ULL);
	ksm_chunk_set_candidate(chunk, 2, ~0ULL);
	ksm_chunk_set_stable(chunk, 3, mapping_of(model, 0, 3));
	CHECK(ksm_chunk_validate(chunk), "validate");
#define BREAK(place, value)					\
	do {							\
		__typeof__(place) __was = (place);		\
								\
		(place) = (value);				\
		EXPECT_BROKEN(ksm_chunk_validate(chunk));	\
		(place) = __was;				\
	} while (0)
	BREAK(chunk->id, 0);
	BREAK(chunk->id, KSM_CHUNK_ID_MAX + 1);
	BREAK(chunk->rec[1].link, 1);
	BREAK(chunk->rec[0].packed, 1 << 3);
	BREAK(chunk->rec[2].packed, KSM_PAGE_STABLE);
	BREAK(chunk->rec[3].packed, KSM_PAGE_CANDIDATE);
	BREAK(chunk->rec[2].packed, KSM_PAGE_VOLATILE);
	BREAK(chunk->rec[3], ((struct ksm_record){ KSM_PAGE_STABLE, 0 }));
	BREAK(chunk->nr[KSM_PAGE_EMPTY], 1);
#undef BREAK
	CHECK(ksm_chunk_validate(chunk), "validate");
	ksm_chunk_clear(chunk, 3);
	ksm_chunk_withdraw(chunk, 2);
	ksm_chunk_destroy(chunk);
}

static void references_name_pages(void)
{
	static const u32 ids[] = { 1, 2, 77, KSM_CHUNK_ID_MAX };
	u32 at, slot;

	for (at = 0; at < ARRAY_SIZE(ids); at++) {
		for (slot = 0; slot < KSM_CHUNK_PAGES; slot++) {
			ksm_ref_t ref = ksm_ref(ids[at], slot);

			CHECK(ref, "page %u of chunk %u has no name", slot, ids[at]);
			CHECK(ksm_ref_chunk(ref) == ids[at], "chunk %u", ids[at]);
			CHECK(ksm_ref_slot(ref) == slot, "slot %u", slot);
		}
	}
}

/* It takes all pages to be old, and one of them to be young again. */
static void youngest_is_the_least_age(void)
{
	struct ksm_tally total = {}, own = {};
	struct ksm_chunk *chunk = harness_keep(sizeof(*chunk));
	u32 slot, age;

	ksm_chunk_init(chunk, 1, harness_keep(KSM_RECORDS_BYTES), &total, &own);
	CHECK(!ksm_chunk_youngest(chunk), "an empty chunk");
	for (slot = 0; slot < KSM_CHUNK_PAGES; slot++)
		ksm_chunk_set_volatile(chunk, slot, rnd());
	for (age = 1; age <= KSM_AGE_MAX + 1; age++) {
		for (slot = 0; slot < KSM_CHUNK_PAGES; slot++) {
			CHECK(ksm_chunk_youngest(chunk) == age - 1 ||
			      age > KSM_AGE_MAX, "page %u, age %u", slot, age);
			ksm_chunk_grow_older(chunk, slot);
		}
		CHECK(ksm_chunk_youngest(chunk) == (age > KSM_AGE_MAX ?
						    KSM_AGE_MAX : age),
		      "age %u", age);
	}
	slot = rnd() % KSM_CHUNK_PAGES;
	ksm_chunk_clear(chunk, slot);
	CHECK(!ksm_chunk_youngest(chunk), "page %u is empty", slot);
	ksm_chunk_destroy(chunk);
}

static const struct harness_test tests[] = {
	{ "chunk: equals the model", equals_model },
	{ "chunk: every hash bit counts", every_hash_bit_counts },
	{ "chunk: the age saturates and survives", age_saturates_and_survives },
	{ "chunk: the youngest is the least age", youngest_is_the_least_age },
	{ "chunk: misuse warns and changes nothing", misuse_warns_and_changes_nothing },
	{ "chunk: memory is the records", memory_is_the_records },
	{ "chunk: every bit of an address is kept", every_address_bit_is_kept },
	{ "chunk: validate finds damage", validate_finds_damage },
	{ "chunk: references name pages", references_name_pages },
};

int main(void)
{
	return harness_main(tests, ARRAY_SIZE(tests));
}
