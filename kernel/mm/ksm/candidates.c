// SPDX-License-Identifier: GPL-2.0-only
/*
 * Candidate index: see candidates.h.
 *
 * A chain begins with the candidate that was added last. Those of one tag are all in
 * one bucket, so their order is that of their age, whatever is split and joined.
 */
#include <linux/bug.h>
#include "candidates.h"
#include "check.h"

#define KSM_HEADS_PER_SEGMENT	((u32)(KSM_SEGMENT_BYTES / sizeof(ksm_ref_t)))
/* More buckets could not be told apart by the tag. */
#define KSM_MAX_BUCKETS		(1U << KSM_TAG_BITS)

/* Candidates in a bucket on average above which buckets are split. */
#define KSM_DENSE		2U
/* So many buckets for a candidate, below which they are joined. */
#define KSM_SPARSE		2U
/* Splits or joins that one addition or deletion makes at most. */
#define KSM_STEPS		2U

static ksm_ref_t *ksm_candidates_head(const struct ksm_candidates *table, u32 bucket)
{
	ksm_ref_t *segment = table->segments.dir[bucket / KSM_HEADS_PER_SEGMENT];

	return segment + bucket % KSM_HEADS_PER_SEGMENT;
}

static u32 ksm_candidates_bucket(const struct ksm_candidates *table, u32 tag)
{
	return ksm_linear_slot(tag, table->nr_buckets);
}

/**
 * struct ksm_link - a candidate in its chain
 * @ref: its name
 * @chunk: its chunk
 * @next: where its record says what comes after it
 */
struct ksm_link {
	ksm_ref_t ref;
	struct ksm_chunk *chunk;
	ksm_ref_t *next;
};

static u32 ksm_link_tag(const struct ksm_link *link)
{
	return ksm_chunk_tag(link->chunk, ksm_ref_slot(link->ref));
}

/*
 * Follows a reference of a chain. Returns false at the end of it, and where it
 * leads to something that is no candidate, which does not happen.
 */
static bool ksm_link_follow(const struct ksm_candidates *table, ksm_ref_t ref,
			    struct ksm_link *link)
{
	unsigned int slot = ksm_ref_slot(ref);

	if (!ref)
		return false;
	link->ref = ref;
	link->chunk = table->finder->find(table->finder, ksm_ref_chunk(ref));
	if (WARN_ON_ONCE(!link->chunk ||
			 ksm_chunk_state(link->chunk, slot) != KSM_PAGE_CANDIDATE))
		return false;
	link->next = ksm_chunk_next_candidate(link->chunk, slot);
	return true;
}

/**
 * ksm_candidates_init() - make an empty index
 * @table: the index
 * @mem: allocator, used as long as the index lives
 * @finder: finds the chunks of the pages that are added, as long as one is in it
 *
 * Context: nobody else may know @table yet. Allocates nothing.
 */
void ksm_candidates_init(struct ksm_candidates *table,
			 const struct ksm_mem_ops *mem,
			 struct ksm_chunk_finder *finder)
{
	memset(table, 0, sizeof(*table));
	table->segments.mem = mem;
	table->finder = finder;
}

/**
 * ksm_candidates_destroy() - free what the index allocated
 * @table: the index; must be empty, since records would point into nowhere; it is
 *	as good as new afterwards
 *
 * Context: caller serialises calls on @table.
 */
void ksm_candidates_destroy(struct ksm_candidates *table)
{
	WARN_ON_ONCE(table->count);
	ksm_segments_destroy(&table->segments);
	table->nr_buckets = 0;
	table->count = 0;
}

/* Adds a bucket and moves there what belongs there; false without memory. */
static bool ksm_candidates_split(struct ksm_candidates *table)
{
	u32 bucket = table->nr_buckets;
	ksm_ref_t *from, *to;
	struct ksm_link link;

	if (bucket == KSM_MAX_BUCKETS)
		return false;
	if (bucket % KSM_HEADS_PER_SEGMENT == 0 &&
	    ksm_segments_add(&table->segments, bucket / KSM_HEADS_PER_SEGMENT))
		return false;
	table->nr_buckets++;
	from = ksm_candidates_head(table, ksm_linear_buddy(bucket));
	to = ksm_candidates_head(table, bucket);
	while (ksm_link_follow(table, *from, &link)) {
		if (ksm_candidates_bucket(table, ksm_link_tag(&link)) == bucket) {
			*from = *link.next;
			*to = link.ref;
			to = link.next;
		} else {
			from = link.next;
		}
	}
	*to = 0;
	return true;
}

/* Drops the last bucket; what is in it goes to its buddy. */
static void ksm_candidates_join(struct ksm_candidates *table)
{
	u32 last = table->nr_buckets - 1;
	ksm_ref_t *from = ksm_candidates_head(table, last);
	ksm_ref_t *to = ksm_candidates_head(table, ksm_linear_buddy(last));
	struct ksm_link link;

	while (ksm_link_follow(table, *to, &link))
		to = link.next;
	*to = *from;
	*from = 0;
	if (last % KSM_HEADS_PER_SEGMENT == 0)
		ksm_segments_drop(&table->segments, last / KSM_HEADS_PER_SEGMENT);
	table->nr_buckets = last;
}

static void ksm_candidates_grow(struct ksm_candidates *table)
{
	u32 steps = KSM_STEPS;

	while (steps-- && table->count > (u64)KSM_DENSE * table->nr_buckets &&
	       ksm_candidates_split(table))
		;
}

static void ksm_candidates_shrink(struct ksm_candidates *table)
{
	u32 steps = KSM_STEPS;

	while (steps-- && table->nr_buckets > KSM_HEADS_PER_SEGMENT &&
	       table->count * KSM_SPARSE < table->nr_buckets)
		ksm_candidates_join(table);
	if (!table->count && table->nr_buckets == KSM_HEADS_PER_SEGMENT) {
		ksm_segments_drop(&table->segments, 0);
		table->nr_buckets = 0;
	}
}

/* Takes out the candidate that @at leads to: it is volatile then. */
static void ksm_candidates_take(struct ksm_candidates *table, ksm_ref_t *at,
				const struct ksm_link *link)
{
	*at = *link->next;
	*link->next = 0;
	ksm_chunk_withdraw(link->chunk, ksm_ref_slot(link->ref));
	table->count--;
}

/* If there are as many with a tag as may be, the oldest goes. */
static void ksm_candidates_evict(struct ksm_candidates *table, u32 tag)
{
	ksm_ref_t *at = ksm_candidates_head(table, ksm_candidates_bucket(table, tag));
	ksm_ref_t *oldest_at = NULL;
	struct ksm_link link, oldest = {};
	u32 twins = 0;

	for (; ksm_link_follow(table, *at, &link); at = link.next) {
		if (ksm_link_tag(&link) != tag)
			continue;
		oldest_at = at;
		oldest = link;
		twins++;
	}
	if (twins < KSM_CANDIDATE_TWINS)
		return;
	ksm_candidates_take(table, oldest_at, &oldest);
	table->evicted++;
}

/**
 * ksm_candidates_add() - make a page a candidate
 * @table: the index
 * @chunk: the page's chunk, which @table's finder finds
 * @slot: its slot; neither stable nor a candidate
 * @hash: its content hash
 *
 * If %KSM_CANDIDATE_TWINS candidates have the same tag, the oldest of them becomes
 * volatile again.
 *
 * Context: caller serialises calls; may allocate.
 * Return: 0; -ENOMEM if the index was empty and stays so, and -EINVAL if @slot is in
 * another state: then nothing has changed.
 */
int ksm_candidates_add(struct ksm_candidates *table, struct ksm_chunk *chunk,
		       unsigned int slot, u64 hash)
{
	enum ksm_page_state state = ksm_chunk_state(chunk, slot);
	u32 tag = ksm_hash_tag(hash);
	ksm_ref_t *head;

	if (WARN_ON_ONCE(state == KSM_PAGE_CANDIDATE || state == KSM_PAGE_STABLE))
		return -EINVAL;
	if (!table->nr_buckets) {
		if (ksm_segments_add(&table->segments, 0))
			return -ENOMEM;
		table->nr_buckets = KSM_HEADS_PER_SEGMENT;
	}
	ksm_candidates_evict(table, tag);
	ksm_chunk_set_candidate(chunk, slot, hash);
	head = ksm_candidates_head(table, ksm_candidates_bucket(table, tag));
	*ksm_chunk_next_candidate(chunk, slot) = *head;
	*head = ksm_ref(chunk->id, slot);
	table->count++;
	ksm_candidates_grow(table);
	return 0;
}

/**
 * ksm_candidates_del() - make a candidate a volatile page again
 * @table: the index
 * @chunk: the page's chunk
 * @slot: its slot
 *
 * Its hash and its age stay.
 *
 * Context: caller serialises calls; allocates nothing, may free.
 * Return: true if it was a candidate in @table; else nothing has changed.
 */
bool ksm_candidates_del(struct ksm_candidates *table, struct ksm_chunk *chunk,
			unsigned int slot)
{
	ksm_ref_t ref = ksm_ref(chunk->id, slot);
	struct ksm_link link;
	ksm_ref_t *at;

	if (!table->nr_buckets || ksm_chunk_state(chunk, slot) != KSM_PAGE_CANDIDATE)
		return false;
	at = ksm_candidates_head(table,
				 ksm_candidates_bucket(table,
						       ksm_chunk_tag(chunk, slot)));
	for (; ksm_link_follow(table, *at, &link); at = link.next) {
		if (link.ref != ref)
			continue;
		ksm_candidates_take(table, at, &link);
		ksm_candidates_shrink(table);
		return true;
	}
	return false;
}

/**
 * ksm_candidates_find() - find the candidates that may have a hash
 * @table: the index
 * @hash: content hash; as much of it is compared as a record keeps
 * @found: room for %KSM_CANDIDATE_TWINS; those added last come first
 *
 * Context: caller serialises calls. Changes nothing.
 * Return: how many were found.
 */
unsigned int ksm_candidates_find(const struct ksm_candidates *table, u64 hash,
				 ksm_ref_t *found)
{
	u32 tag = ksm_hash_tag(hash);
	struct ksm_link link;
	unsigned int nr = 0;
	ksm_ref_t at;

	if (!table->nr_buckets)
		return 0;
	at = *ksm_candidates_head(table, ksm_candidates_bucket(table, tag));
	for (; nr < KSM_CANDIDATE_TWINS && ksm_link_follow(table, at, &link);
	     at = *link.next) {
		if (ksm_link_tag(&link) == tag)
			found[nr++] = at;
	}
	return nr;
}

/* The head of some chain that is not empty; NULL if all are. */
static ksm_ref_t *ksm_candidates_some_chain(struct ksm_candidates *table)
{
	u32 bucket;

	while (table->nr_buckets > KSM_HEADS_PER_SEGMENT &&
	       !*ksm_candidates_head(table, table->nr_buckets - 1))
		ksm_candidates_join(table);
	for (bucket = table->nr_buckets; bucket--; ) {
		ksm_ref_t *head = ksm_candidates_head(table, bucket);

		if (*head)
			return head;
	}
	return NULL;
}

/**
 * ksm_candidates_forget() - make all candidates volatile pages again
 * @table: the index
 * @budget: so many at most
 *
 * Context: caller serialises calls; allocates nothing, may free. Empty buckets on the
 * way take time, too: all of them together as much as there are.
 * Return: true if @table is empty now.
 */
bool ksm_candidates_forget(struct ksm_candidates *table, u32 budget)
{
	while (table->count && budget) {
		ksm_ref_t *head = ksm_candidates_some_chain(table);
		struct ksm_link link;

		if (WARN_ON_ONCE(!head)) {
			table->count = 0;
			break;
		}
		for (; budget && ksm_link_follow(table, *head, &link); budget--)
			ksm_candidates_take(table, head, &link);
		if (budget)
			*head = 0;
	}
	if (table->count)
		return false;
	ksm_candidates_destroy(table);
	return true;
}

static u32 ksm_candidates_nr_segments(const struct ksm_candidates *table)
{
	return DIV_ROUND_UP(table->nr_buckets, KSM_HEADS_PER_SEGMENT);
}

/**
 * ksm_candidates_bytes() - how much memory the index takes besides the records
 * @table: the index
 *
 * With more than a few segments this is 2 bytes a candidate while the index grows,
 * and up to 8 after it has shrunk.
 *
 * Context: caller serialises calls on @table.
 * Return: bytes asked of the allocator.
 */
u64 ksm_candidates_bytes(const struct ksm_candidates *table)
{
	return (u64)ksm_candidates_nr_segments(table) * KSM_SEGMENT_BYTES +
	       (u64)table->segments.room * sizeof(*table->segments.dir);
}

/* Checks the candidates of one bucket, and adds their number to @seen. */
static bool ksm_candidates_validate_bucket(const struct ksm_candidates *table,
					   u32 bucket, u64 *seen)
{
	ksm_ref_t at = *ksm_candidates_head(table, bucket);

	while (at) {
		unsigned int slot = ksm_ref_slot(at);
		struct ksm_chunk *chunk = table->finder->find(table->finder,
							      ksm_ref_chunk(at));

		if (!ksm_holds(chunk, "candidate %x has no chunk", at) ||
		    !ksm_holds(ksm_chunk_state(chunk, slot) == KSM_PAGE_CANDIDATE,
			       "candidate %x is in state %u", at,
			       ksm_chunk_state(chunk, slot)) ||
		    !ksm_holds(ksm_candidates_bucket(table, ksm_chunk_tag(chunk, slot)) ==
			       bucket, "candidate %x in bucket %u", at, bucket) ||
		    /* A chain that leads back into itself, too. */
		    !ksm_holds(++*seen <= table->count, "%llu candidates, counted %llu",
			       *seen, table->count))
			return false;
		at = *ksm_chunk_next_candidate(chunk, slot);
	}
	return true;
}

/**
 * ksm_candidates_validate() - check every invariant of the index
 * @table: the index
 *
 * That each candidate is in it is for the caller to check, by the number: it alone
 * knows all chunks.
 *
 * Context: caller serialises calls. Takes time in proportion to @table.
 * Return: whether all invariants hold; if not, one line is printed.
 */
bool ksm_candidates_validate(const struct ksm_candidates *table)
{
	u64 seen = 0;
	u32 bucket;

	if (!ksm_segments_validate(&table->segments,
				   ksm_candidates_nr_segments(table)))
		return false;
	for (bucket = 0; bucket < table->nr_buckets; bucket++) {
		if (!ksm_candidates_validate_bucket(table, bucket, &seen))
			return false;
	}
	return ksm_holds(seen == table->count, "%llu candidates, counted %llu", seen,
			 table->count);
}
