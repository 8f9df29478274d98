// SPDX-License-Identifier: GPL-2.0-only
/*
 * Candidate index: see candidates.h.
 *
 * The low bits of a tag choose the chain. A chain has the youngest candidate first, and
 * splitting and joining keep the order among equal tags. With two candidates to a head
 * a search looks at three records; each is a cache miss, and a head is 2 bytes to a
 * candidate. There are joins only below three to two heads, so that a candidate that
 * comes and goes moves nothing.
 *
 * The links are references, not pointers: half the size, and they need no list of all
 * chunks to be found again. The price is a look-up of the chunk for each step.
 */
#include <linux/bug.h>
#include "candidates.h"
#include "check.h"

#define KSM_HEADS	((u32)(KSM_SEGMENT_BYTES / sizeof(ksm_ref_t)))
/* Tags choose no more. */
#define KSM_MAX_HEADS	(1U << KSM_TAG_BITS)

/* Candidates to a head, above which chains are split, */
#define KSM_CHAIN_LONG		2U
/* and above which there is no candidate more, if there is no memory to split them */
#define KSM_CHAIN_MAX		16U

/* Splits or joins that one addition or removal makes at most. */
#define KSM_CANDIDATES_STEPS	2U

static ksm_ref_t *ksm_candidates_head(const struct ksm_candidates *candidates, u32 nr)
{
	ksm_ref_t *segment = candidates->segments.dir[nr / KSM_HEADS];

	return segment + nr % KSM_HEADS;
}

static u32 ksm_candidates_slot(const struct ksm_candidates *candidates, u32 tag)
{
	return ksm_linear_slot(tag, candidates->nr_heads);
}

/* The record that a chain leads to; a chain that leads nowhere ends there. */
static struct ksm_record *ksm_candidates_rec(const struct ksm_candidates *candidates,
					     ksm_ref_t ref)
{
	struct ksm_chunk *chunk;

	if (!ref)
		return NULL;
	chunk = candidates->find_chunk(candidates, ksm_ref_chunk(ref));
	if (WARN_ON_ONCE(!chunk))
		return NULL;
	return &chunk->rec[ksm_ref_slot(ref)];
}

/**
 * ksm_candidates_init() - make an empty index
 * @candidates: the index
 * @mem: allocator, used as long as the index lives
 * @find_chunk: finds the chunks whose records will be in it
 *
 * Context: nobody else may know @candidates yet. Allocates nothing.
 */
void ksm_candidates_init(struct ksm_candidates *candidates,
			 const struct ksm_mem_ops *mem, ksm_find_chunk_fn find_chunk)
{
	memset(candidates, 0, sizeof(*candidates));
	candidates->segments.mem = mem;
	candidates->find_chunk = find_chunk;
}

/**
 * ksm_candidates_destroy() - free what the index allocated
 * @candidates: the index; without candidates, whose records would stay linked. Empty
 *              and usable afterwards
 *
 * Context: caller serialises calls on @candidates.
 */
void ksm_candidates_destroy(struct ksm_candidates *candidates)
{
	WARN_ON_ONCE(candidates->count);
	ksm_segments_destroy(&candidates->segments);
	candidates->nr_heads = 0;
	candidates->count = 0;
}

/**
 * ksm_candidates_first() - search the candidates that may have a hash
 * @candidates: the index
 * @hash: content hash; its upper 26 bits are compared
 * @iter: where the search stands, for ksm_candidates_next()
 *
 * Context: caller serialises calls on @candidates. Changes nothing.
 * Return: the youngest candidate with a hash like this, or 0.
 */
ksm_ref_t ksm_candidates_first(const struct ksm_candidates *candidates, u64 hash,
			       struct ksm_candidate_iter *iter)
{
	u32 tag = ksm_hash_tag(hash);

	iter->candidates = candidates;
	iter->tag = tag;
	iter->ref = 0;
	if (candidates->nr_heads)
		iter->ref = *ksm_candidates_head(candidates,
						 ksm_candidates_slot(candidates, tag));
	return ksm_candidates_next(iter);
}

/**
 * ksm_candidates_next() - go on with a search
 * @iter: as ksm_candidates_first() or the last call left it
 *
 * Context: caller serialises calls on the index, in which nothing may have changed
 * since.
 * Return: the next older candidate with a hash like this, or 0.
 */
ksm_ref_t ksm_candidates_next(struct ksm_candidate_iter *iter)
{
	const struct ksm_record *rec;
	ksm_ref_t ref;

	while ((rec = ksm_candidates_rec(iter->candidates, iter->ref))) {
		ref = iter->ref;
		iter->ref = rec->next;
		if (ksm_rec_tag(rec) == iter->tag)
			return ref;
	}
	iter->ref = 0;
	return 0;
}

/* Makes one chain of one half of another; false without memory. */
static bool ksm_candidates_split(struct ksm_candidates *candidates)
{
	u32 new = candidates->nr_heads;
	ksm_ref_t *stay, *move, ref, next;
	struct ksm_record *rec;

	if (new % KSM_HEADS == 0 &&
	    ksm_segments_add(&candidates->segments, new / KSM_HEADS))
		return false;
	candidates->nr_heads++;
	stay = ksm_candidates_head(candidates, ksm_linear_buddy(new));
	move = ksm_candidates_head(candidates, new);
	for (ref = *stay; (rec = ksm_candidates_rec(candidates, ref)); ref = next) {
		ksm_ref_t **to = ksm_candidates_slot(candidates, ksm_rec_tag(rec)) == new ?
				 &move : &stay;

		next = rec->next;
		**to = ref;
		*to = &rec->next;
	}
	*stay = 0;
	*move = 0;
	return true;
}

/* Drops the last head; its candidates go to the end of the chain they came from. */
static void ksm_candidates_join(struct ksm_candidates *candidates)
{
	u32 last = candidates->nr_heads - 1;
	ksm_ref_t *from = ksm_candidates_head(candidates, last);
	ksm_ref_t *link = ksm_candidates_head(candidates, ksm_linear_buddy(last));
	struct ksm_record *rec;

	if (*from) {
		while ((rec = ksm_candidates_rec(candidates, *link)))
			link = &rec->next;
		*link = *from;
	}
	if (last % KSM_HEADS == 0)
		ksm_segments_drop(&candidates->segments, last / KSM_HEADS);
	candidates->nr_heads = last;
}

/**
 * ksm_candidates_reserve() - make sure that there can be one more candidate
 * @candidates: the index
 *
 * Context: caller serialises calls on @candidates; may allocate.
 * Return: 0; -ENOMEM if there is no head, or if there are so many candidates to a head
 * that it is better to have no more until there is memory.
 */
int ksm_candidates_reserve(struct ksm_candidates *candidates)
{
	u32 steps = KSM_CANDIDATES_STEPS;

	if (!candidates->nr_heads) {
		if (ksm_segments_add(&candidates->segments, 0))
			return -ENOMEM;
		candidates->nr_heads = KSM_HEADS;
	}
	while (steps-- && candidates->nr_heads < KSM_MAX_HEADS &&
	       candidates->count >= (u64)KSM_CHAIN_LONG * candidates->nr_heads) {
		if (!ksm_candidates_split(candidates))
			return candidates->count < (u64)KSM_CHAIN_MAX *
						   candidates->nr_heads ? 0 : -ENOMEM;
	}
	return 0;
}

/* Gives back heads that are not worth their memory. */
static void ksm_candidates_shrink(struct ksm_candidates *candidates)
{
	u32 steps = KSM_CANDIDATES_STEPS;

	while (steps-- && candidates->nr_heads > KSM_HEADS &&
	       2 * candidates->count < 3 * (u64)candidates->nr_heads)
		ksm_candidates_join(candidates);
	if (!candidates->count && candidates->nr_heads == KSM_HEADS) {
		ksm_segments_drop(&candidates->segments, 0);
		candidates->nr_heads = 0;
	}
}

/**
 * ksm_candidates_crowded() - which candidate must make room for one more of its tag?
 * @candidates: the index
 * @tag: the tag of the one to come
 *
 * Context: caller serialises calls on @candidates. Changes nothing.
 * Return: the oldest, if there are %KSM_CANDIDATE_TWINS already; else 0.
 */
ksm_ref_t ksm_candidates_crowded(const struct ksm_candidates *candidates, u32 tag)
{
	struct ksm_candidate_iter iter;
	ksm_ref_t ref, oldest = 0;
	u32 twins = 0;

	for (ref = ksm_candidates_first(candidates, (u64)tag << KSM_HASH_TAG_SHIFT, &iter);
	     ref; ref = ksm_candidates_next(&iter)) {
		oldest = ref;
		twins++;
	}
	return twins < KSM_CANDIDATE_TWINS ? 0 : oldest;
}

/**
 * ksm_candidates_link() - a record says now that its page is a candidate
 * @chunk: the page's chunk, after ksm_candidates_reserve()
 * @slot: its slot
 *
 * Context: caller serialises calls on the index. Cannot fail.
 */
void ksm_candidates_link(struct ksm_chunk *chunk, unsigned int slot)
{
	struct ksm_candidates *candidates = chunk->candidates;
	struct ksm_record *rec = &chunk->rec[slot];
	ksm_ref_t *head;

	head = ksm_candidates_head(candidates,
				   ksm_candidates_slot(candidates, ksm_rec_tag(rec)));
	rec->next = *head;
	*head = ksm_ref(chunk->id, slot);
	candidates->count++;
}

/**
 * ksm_candidates_unlink() - a page is to be no candidate any more
 * @chunk: the page's chunk
 * @slot: its slot; the record still has the tag with which it was linked
 *
 * Context: caller serialises calls on the index; allocates nothing, may free.
 */
void ksm_candidates_unlink(struct ksm_chunk *chunk, unsigned int slot)
{
	struct ksm_candidates *candidates = chunk->candidates;
	struct ksm_record *gone = &chunk->rec[slot], *rec;
	ksm_ref_t ref = ksm_ref(chunk->id, slot), *link;

	link = ksm_candidates_head(candidates,
				   ksm_candidates_slot(candidates, ksm_rec_tag(gone)));
	while (*link != ref) {
		rec = ksm_candidates_rec(candidates, *link);
		if (WARN_ON_ONCE(!rec))
			return;
		link = &rec->next;
	}
	*link = gone->next;
	gone->next = 0;
	candidates->count--;
	ksm_candidates_shrink(candidates);
}

/**
 * ksm_candidates_bytes() - how much memory the index takes
 * @candidates: the index
 *
 * With more than a few segments this is 2 to 2.7 bytes a candidate.
 *
 * Context: caller serialises calls on @candidates.
 * Return: bytes asked of the allocator.
 */
u64 ksm_candidates_bytes(const struct ksm_candidates *candidates)
{
	return (u64)DIV_ROUND_UP(candidates->nr_heads, KSM_HEADS) * KSM_SEGMENT_BYTES +
	       (u64)candidates->segments.room * sizeof(*candidates->segments.dir);
}

/* How many of a record's tag are in its chain from it on? */
static u32 ksm_candidates_twins(const struct ksm_candidates *candidates,
				const struct ksm_record *first)
{
	const struct ksm_record *rec;
	u32 twins = 1;

	for (rec = first; (rec = ksm_candidates_rec(candidates, rec->next));)
		twins += ksm_rec_tag(rec) == ksm_rec_tag(first);
	return twins;
}

/* Counts the candidates of a chain into @seen; stops where something is wrong. */
static bool ksm_candidates_validate_chain(const struct ksm_candidates *candidates,
					  u32 nr, u64 *seen)
{
	ksm_ref_t ref = *ksm_candidates_head(candidates, nr);
	const struct ksm_chunk *chunk;
	const struct ksm_record *rec;

	for (; ref; ref = rec->next) {
		chunk = candidates->find_chunk(candidates, ksm_ref_chunk(ref));
		if (!ksm_holds(chunk, "chain %u leads to %x, which is nowhere", nr, ref))
			return false;
		rec = &chunk->rec[ksm_ref_slot(ref)];
		if (!ksm_holds(ksm_rec_state(rec) == KSM_PAGE_CANDIDATE,
			       "chain %u leads to %x, which is %x", nr, ref, rec->word) ||
		    !ksm_holds(ksm_candidates_slot(candidates, ksm_rec_tag(rec)) == nr,
			       "chain %u leads to %x, tag %x", nr, ref,
			       ksm_rec_tag(rec)) ||
		    !ksm_holds(++*seen <= candidates->count, "more than %llu candidates",
			       candidates->count))
			return false;
	}
	return true;
}

/* After the chains are known to end. */
static bool ksm_candidates_validate_twins(const struct ksm_candidates *candidates,
					  u32 nr)
{
	ksm_ref_t ref = *ksm_candidates_head(candidates, nr);
	const struct ksm_record *rec;

	for (; (rec = ksm_candidates_rec(candidates, ref)); ref = rec->next) {
		u32 twins = ksm_candidates_twins(candidates, rec);

		if (!ksm_holds(twins <= KSM_CANDIDATE_TWINS, "%u with tag %x", twins,
			       ksm_rec_tag(rec)))
			return false;
	}
	return true;
}

/**
 * ksm_candidates_validate() - check every invariant of the index
 * @candidates: the index
 *
 * If the chunks have as many candidates as are counted here, each is in one chain, and
 * in the right one: a record has only one link, so it cannot be met twice.
 *
 * Context: caller serialises calls on @candidates. Takes time in proportion to it.
 * Return: whether all invariants hold; if not, one line is printed.
 */
bool ksm_candidates_validate(const struct ksm_candidates *candidates)
{
	u64 seen = 0;
	u32 nr;

	if (!ksm_segments_validate(&candidates->segments,
				   DIV_ROUND_UP(candidates->nr_heads, KSM_HEADS)))
		return false;
	for (nr = 0; nr < candidates->nr_heads; nr++) {
		if (!ksm_candidates_validate_chain(candidates, nr, &seen))
			return false;
	}
	if (!ksm_holds(seen == candidates->count, "%llu candidates, counted %llu", seen,
		       candidates->count))
		return false;
	for (nr = 0; nr < candidates->nr_heads; nr++) {
		if (!ksm_candidates_validate_twins(candidates, nr))
			return false;
	}
	return true;
}
