// SPDX-License-Identifier: GPL-2.0-only
/*
 * Page records of one chunk: see chunk.h and record.h.
 *
 * Invariants: a record of an empty page is 0; a stable page's leads to a mapping record;
 * a record is in a chain of candidates exactly if it is one.
 */
#include <linux/bug.h>
#include <linux/errno.h>
#include <linux/minmax.h>
#include <linux/string.h>
#include "check.h"
#include "chunk.h"

/* The one place where a state changes. */
static void ksm_chunk_set(struct ksm_chunk *chunk, unsigned int slot, u32 word)
{
	struct ksm_record *rec = &chunk->rec[slot];
	enum ksm_page_state from = ksm_rec_state(rec), to;

	if (from == KSM_PAGE_CANDIDATE)
		ksm_candidates_unlink(chunk, slot);
	rec->word = word;
	rec->next = 0;
	to = ksm_rec_state(rec);
	if (to == KSM_PAGE_CANDIDATE)
		ksm_candidates_link(chunk, slot);
	chunk->nr[from]--;
	chunk->nr[to]++;
	ksm_tally_move(chunk->total, from, to);
	ksm_tally_move(chunk->own, from, to);
}

/**
 * ksm_chunk_init() - make a chunk of empty pages
 * @chunk: the chunk
 * @id: its name in references, 1 to %KSM_CHUNK_ID_MAX
 * @candidates: the domain's candidates; can find the chunk by @id from now on until
 *              ksm_chunk_destroy() is done
 * @total: tally of the domain
 * @own: tally of the mm
 * @mem: allocator
 *
 * Context: nobody else may use @chunk yet.
 * Return: 0, or -ENOMEM and @chunk needs no ksm_chunk_destroy().
 */
int ksm_chunk_init(struct ksm_chunk *chunk, u32 id, struct ksm_candidates *candidates,
		   struct ksm_tally *total, struct ksm_tally *own,
		   const struct ksm_mem_ops *mem)
{
	WARN_ON_ONCE(!id || id > KSM_CHUNK_ID_MAX);
	memset(chunk, 0, sizeof(*chunk));
	chunk->rec = mem->alloc(KSM_RECORDS_BYTES);
	if (!chunk->rec)
		return -ENOMEM;
	chunk->id = id;
	chunk->candidates = candidates;
	chunk->total = total;
	chunk->own = own;
	chunk->nr[KSM_PAGE_EMPTY] = KSM_CHUNK_PAGES;
	return 0;
}

/**
 * ksm_chunk_destroy() - make all pages empty and free what the chunk allocated
 * @chunk: the chunk; none of its pages may be stable, as their mapping records
 *         would be lost
 * @mem: allocator
 *
 * Context: caller serialises calls on @chunk and on its tallies.
 */
void ksm_chunk_destroy(struct ksm_chunk *chunk, const struct ksm_mem_ops *mem)
{
	unsigned int at;

	WARN_ON_ONCE(chunk->nr[KSM_PAGE_STABLE]);
	for (at = ksm_chunk_next(chunk, 0); at < KSM_CHUNK_PAGES;
	     at = ksm_chunk_next(chunk, at + 1))
		ksm_chunk_clear(chunk, at);
	mem->free(chunk->rec);
	chunk->rec = NULL;
}

/**
 * ksm_chunk_state() - what state is a page in?
 * @chunk: the chunk
 * @slot: the page, 0 to %KSM_CHUNK_PAGES - 1
 *
 * Context: caller serialises calls on @chunk.
 * Return: its state.
 */
enum ksm_page_state ksm_chunk_state(const struct ksm_chunk *chunk,
				    unsigned int slot)
{
	return ksm_rec_state(&chunk->rec[slot]);
}

/**
 * ksm_chunk_age() - in how many passes was a page looked at, or passed by,
 * without being merged?
 * @chunk: the chunk
 * @slot: the page, 0 to %KSM_CHUNK_PAGES - 1
 *
 * A page that changes grows older, too: that it changes is one more reason to
 * expect nothing of it.
 *
 * Context: caller serialises calls on @chunk.
 * Return: 0 to %KSM_AGE_MAX, the latter for all longer times; 0 if it is merged.
 */
unsigned int ksm_chunk_age(const struct ksm_chunk *chunk, unsigned int slot)
{
	if (ksm_chunk_state(chunk, slot) == KSM_PAGE_STABLE)
		return 0;
	return ksm_rec_age(&chunk->rec[slot]);
}

/**
 * ksm_chunk_same_hash() - may a page still have this hash?
 * @chunk: the chunk
 * @slot: the page, 0 to %KSM_CHUNK_PAGES - 1
 * @hash: content hash, well mixed in its upper 26 bits
 *
 * Context: caller serialises calls on @chunk.
 * Return: true if the page is volatile or a candidate and agrees in the upper
 * 26 bits; false for an empty or stable page, which has no hash.
 */
bool ksm_chunk_same_hash(const struct ksm_chunk *chunk, unsigned int slot,
			 u64 hash)
{
	enum ksm_page_state state = ksm_chunk_state(chunk, slot);

	if (state != KSM_PAGE_VOLATILE && state != KSM_PAGE_CANDIDATE)
		return false;
	return ksm_rec_tag(&chunk->rec[slot]) == ksm_hash_tag(hash);
}

/**
 * ksm_chunk_mapping() - find the mapping record of a page
 * @chunk: the chunk
 * @slot: the page, 0 to %KSM_CHUNK_PAGES - 1
 *
 * Context: caller serialises calls on @chunk.
 * Return: the mapping record of a stable page; NULL for any other.
 */
struct ksm_mapping *ksm_chunk_mapping(const struct ksm_chunk *chunk,
				      unsigned int slot)
{
	if (ksm_chunk_state(chunk, slot) != KSM_PAGE_STABLE)
		return NULL;
	return ksm_rec_mapping(&chunk->rec[slot]);
}

/**
 * ksm_chunk_count() - how many pages are in a state?
 * @chunk: the chunk
 * @state: the state
 *
 * Context: caller serialises calls on @chunk.
 * Return: 0 to %KSM_CHUNK_PAGES.
 */
unsigned int ksm_chunk_count(const struct ksm_chunk *chunk,
			     enum ksm_page_state state)
{
	return chunk->nr[state];
}

/**
 * ksm_chunk_next() - find the next page that has a record
 * @chunk: the chunk
 * @slot: where to start; %KSM_CHUNK_PAGES or more finds none
 *
 * Context: caller serialises calls on @chunk.
 * Return: the first page from @slot on that is not empty, or %KSM_CHUNK_PAGES.
 */
unsigned int ksm_chunk_next(const struct ksm_chunk *chunk, unsigned int slot)
{
	for (; slot < KSM_CHUNK_PAGES; slot++) {
		if (ksm_chunk_state(chunk, slot) != KSM_PAGE_EMPTY)
			return slot;
	}
	return KSM_CHUNK_PAGES;
}

/**
 * ksm_chunk_is_empty() - has no page of the chunk a record?
 * @chunk: the chunk
 *
 * Context: caller serialises calls on @chunk.
 * Return: true if all pages are empty.
 */
bool ksm_chunk_is_empty(const struct ksm_chunk *chunk)
{
	return chunk->nr[KSM_PAGE_EMPTY] == KSM_CHUNK_PAGES;
}

/**
 * ksm_chunk_set_volatile() - a page is seen first, or its content has changed
 * @chunk: the chunk
 * @slot: the page, 0 to %KSM_CHUNK_PAGES - 1; must not be stable
 * @hash: hash of its content now
 *
 * A page that is seen first has age 0; any other keeps its age.
 *
 * Context: caller serialises calls on @chunk and on its tallies.
 */
void ksm_chunk_set_volatile(struct ksm_chunk *chunk, unsigned int slot, u64 hash)
{
	if (WARN_ON_ONCE(ksm_chunk_state(chunk, slot) == KSM_PAGE_STABLE))
		return;
	ksm_chunk_set(chunk, slot,
		      ksm_rec_pack(KSM_PAGE_VOLATILE, ksm_chunk_age(chunk, slot),
				   ksm_hash_tag(hash)));
}

/* The oldest candidate of a tag makes room, if there are too many. */
static void ksm_chunk_make_room(struct ksm_candidates *candidates, u32 tag)
{
	ksm_ref_t ref = ksm_candidates_crowded(candidates, tag);
	unsigned int slot = ksm_ref_slot(ref);
	struct ksm_chunk *chunk;

	if (!ref)
		return;
	chunk = candidates->find_chunk(candidates, ksm_ref_chunk(ref));
	ksm_chunk_set(chunk, slot, ksm_rec_pack(KSM_PAGE_VOLATILE,
						ksm_chunk_age(chunk, slot), tag));
}

/**
 * ksm_chunk_set_candidate() - a page has not changed over a pass
 * @chunk: the chunk
 * @slot: the page, 0 to %KSM_CHUNK_PAGES - 1; must not be stable
 * @hash: hash of its content
 *
 * Its age stays as it is. If %KSM_CANDIDATE_TWINS pages have the tag, in whatever
 * chunks, the oldest of them becomes volatile; its hash and age stay. What is a candidate
 * with this tag already does not become younger by this.
 *
 * Context: caller serialises calls on the chunks of the domain, and on all tallies;
 * may allocate.
 * Return: 0; -ENOMEM, and the page is volatile; -EINVAL if it is stable.
 */
int ksm_chunk_set_candidate(struct ksm_chunk *chunk, unsigned int slot, u64 hash)
{
	u32 tag = ksm_hash_tag(hash);

	if (WARN_ON_ONCE(ksm_chunk_state(chunk, slot) == KSM_PAGE_STABLE))
		return -EINVAL;
	if (ksm_chunk_state(chunk, slot) == KSM_PAGE_CANDIDATE &&
	    ksm_chunk_same_hash(chunk, slot, hash))
		return 0;
	ksm_chunk_set_volatile(chunk, slot, hash);
	if (ksm_candidates_reserve(chunk->candidates))
		return -ENOMEM;
	ksm_chunk_make_room(chunk->candidates, tag);
	ksm_chunk_set(chunk, slot, ksm_rec_pack(KSM_PAGE_CANDIDATE,
						ksm_chunk_age(chunk, slot), tag));
	return 0;
}

/**
 * ksm_chunk_set_stable() - a page is mapped to a KSM page
 * @chunk: the chunk
 * @slot: the page, 0 to %KSM_CHUNK_PAGES - 1; not stable already
 * @mapping: its mapping record, not NULL and aligned to 4 bytes; the caller keeps
 *           owning it
 *
 * Its age and its hash are the KSM page's affair from now on.
 *
 * Context: caller serialises calls on the chunks of the domain, and on the tallies.
 * Cannot fail.
 */
void ksm_chunk_set_stable(struct ksm_chunk *chunk, unsigned int slot,
			  struct ksm_mapping *mapping)
{
	u64 addr = (unsigned long)mapping;

	if (WARN_ON_ONCE(!mapping || (addr & KSM_REC_STATE_MASK) ||
			 ksm_chunk_state(chunk, slot) == KSM_PAGE_STABLE))
		return;
	ksm_chunk_set(chunk, slot, (u32)addr | KSM_PAGE_STABLE);
	chunk->rec[slot].next = addr >> 32;
}

/**
 * ksm_chunk_clear() - forget what is known of a page
 * @chunk: the chunk
 * @slot: the page, 0 to %KSM_CHUNK_PAGES - 1, in any state
 *
 * Its age becomes 0.
 *
 * Context: caller serialises calls on the chunks of the domain, and on the tallies;
 * may free memory.
 * Return: the mapping record of a page that was stable, now the caller's alone;
 * NULL if it was not.
 */
struct ksm_mapping *ksm_chunk_clear(struct ksm_chunk *chunk, unsigned int slot)
{
	struct ksm_mapping *mapping = ksm_chunk_mapping(chunk, slot);

	ksm_chunk_set(chunk, slot, ksm_rec_pack(KSM_PAGE_EMPTY, 0, 0));
	return mapping;
}

/**
 * ksm_chunk_grow_older() - a page went through one more pass without being merged
 * @chunk: the chunk
 * @slot: the page, 0 to %KSM_CHUNK_PAGES - 1; nothing happens if it is empty or stable
 *
 * Context: caller serialises calls on @chunk.
 */
void ksm_chunk_grow_older(struct ksm_chunk *chunk, unsigned int slot)
{
	enum ksm_page_state state = ksm_chunk_state(chunk, slot);

	if (state != KSM_PAGE_EMPTY && state != KSM_PAGE_STABLE &&
	    ksm_chunk_age(chunk, slot) < KSM_AGE_MAX)
		chunk->rec[slot].word += 1U << KSM_REC_AGE_SHIFT;
}

/**
 * ksm_chunk_youngest() - how old is the youngest page of a chunk?
 * @chunk: the chunk
 *
 * Context: caller serialises calls on @chunk. Takes time in proportion to its size.
 * Return: 0 to %KSM_AGE_MAX; 0 if a page is empty or stable.
 */
unsigned int ksm_chunk_youngest(const struct ksm_chunk *chunk)
{
	u32 youngest = KSM_REC_AGE_MASK;
	unsigned int at;

	if (chunk->nr[KSM_PAGE_EMPTY] || chunk->nr[KSM_PAGE_STABLE])
		return 0;
	for (at = 0; at < KSM_CHUNK_PAGES; at++)
		youngest = min(youngest, chunk->rec[at].word & KSM_REC_AGE_MASK);
	return youngest >> KSM_REC_AGE_SHIFT;
}

static bool ksm_chunk_validate_slot(const struct ksm_chunk *chunk,
				    unsigned int slot)
{
	enum ksm_page_state state = ksm_chunk_state(chunk, slot);
	const struct ksm_record *rec = &chunk->rec[slot];

	return ksm_holds(state != KSM_PAGE_EMPTY || !rec->word,
			 "record %u is empty and %x", slot, rec->word) &&
	       ksm_holds(state != KSM_PAGE_STABLE || ksm_rec_mapping(rec),
			 "record %u is stable and leads nowhere", slot) &&
	       ksm_holds(state == KSM_PAGE_CANDIDATE || state == KSM_PAGE_STABLE ||
			 !rec->next, "record %u is %x, linked to %x", slot, rec->word,
			 rec->next);
}

/**
 * ksm_chunk_validate() - check every invariant of a chunk
 * @chunk: the chunk
 *
 * That its candidates are in the right chains is for ksm_candidates_validate().
 *
 * Context: caller serialises calls on @chunk.
 * Return: whether all invariants hold; if not, one line is printed.
 */
bool ksm_chunk_validate(const struct ksm_chunk *chunk)
{
	u16 nr[KSM_NR_PAGE_STATES] = {};
	unsigned int at;

	if (!ksm_holds(chunk->id && chunk->id <= KSM_CHUNK_ID_MAX, "id %u",
		       chunk->id))
		return false;
	for (at = 0; at < KSM_CHUNK_PAGES; at++) {
		if (!ksm_chunk_validate_slot(chunk, at))
			return false;
		nr[ksm_chunk_state(chunk, at)]++;
	}
	for (at = 0; at < KSM_NR_PAGE_STATES; at++) {
		if (!ksm_holds(nr[at] == chunk->nr[at],
			       "chunk %u has %u pages in state %u, counted %u",
			       chunk->id, nr[at], at, chunk->nr[at]))
			return false;
	}
	return true;
}
