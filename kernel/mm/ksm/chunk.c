// SPDX-License-Identifier: GPL-2.0-only
/*
 * Page records of one chunk: see chunk.h.
 *
 * Of a record the lower word has, from bit 0: 2 bits of state, 4 of age, 26 of tag.
 * The tag is the top of the hash; the stable index goes by the low bits. Of a stable
 * page these 26 bits and the upper word are the address of its mapping record, without
 * the lower three bits, which are 0, and the upper three, which are all alike.
 *
 * Invariants: a record of an empty page is 0; a volatile page has no link; the address
 * of a stable page is not NULL.
 */
#include <linux/bug.h>
#include <linux/build_bug.h>
#include <linux/minmax.h>
#include <linux/string.h>
#include "check.h"
#include "chunk.h"

#define KSM_REC_STATE_BITS	2
#define KSM_REC_STATE_MASK	((1U << KSM_REC_STATE_BITS) - 1)
#define KSM_REC_AGE_SHIFT	KSM_REC_STATE_BITS
#define KSM_REC_AGE_MASK	(KSM_AGE_MAX << KSM_REC_AGE_SHIFT)
#define KSM_REC_TAG_SHIFT	(32 - KSM_TAG_BITS)
#define KSM_REC_TAG_MASK	(~0U << KSM_REC_TAG_SHIFT)
/* What a mapping record's address is a multiple of, as a power of 2 */
#define KSM_ADDRESS_SHIFT	3

static u32 ksm_rec_pack(enum ksm_page_state state, unsigned int age, u32 tag)
{
	BUILD_BUG_ON(KSM_NR_PAGE_STATES > 1U << KSM_REC_STATE_BITS);
	BUILD_BUG_ON((KSM_REC_AGE_MASK | KSM_REC_STATE_MASK) >> KSM_REC_TAG_SHIFT);

	return tag << KSM_REC_TAG_SHIFT | age << KSM_REC_AGE_SHIFT | state;
}

/**
 * ksm_hash_tag() - the part of a hash that a record keeps
 * @hash: content hash, well mixed in its upper bits
 *
 * Context: any.
 * Return: %KSM_TAG_BITS bits.
 */
u32 ksm_hash_tag(u64 hash)
{
	return hash >> (64 - KSM_TAG_BITS);
}

/* The one place where a state changes. */
static void ksm_chunk_set(struct ksm_chunk *chunk, unsigned int slot, u32 rec)
{
	enum ksm_page_state from = ksm_chunk_state(chunk, slot);
	enum ksm_page_state to = rec & KSM_REC_STATE_MASK;

	chunk->rec[slot].packed = rec;
	chunk->nr[from]--;
	chunk->nr[to]++;
	ksm_tally_move(chunk->total, from, to);
	ksm_tally_move(chunk->own, from, to);
}

/**
 * ksm_chunk_init() - make a chunk of empty pages
 * @chunk: the chunk
 * @id: its name in references, 1 to %KSM_CHUNK_ID_MAX
 * @rec: %KSM_RECORDS_BYTES for its records, for as long as it is used
 * @total: tally of the domain
 * @own: tally of the mm
 *
 * Context: nobody else may know @chunk yet. Allocates nothing.
 */
void ksm_chunk_init(struct ksm_chunk *chunk, u32 id, struct ksm_record *rec,
		    struct ksm_tally *total, struct ksm_tally *own)
{
	WARN_ON_ONCE(!id || id > KSM_CHUNK_ID_MAX);
	memset(chunk, 0, sizeof(*chunk));
	memset(rec, 0, KSM_RECORDS_BYTES);
	chunk->id = id;
	chunk->rec = rec;
	chunk->total = total;
	chunk->own = own;
	chunk->nr[KSM_PAGE_EMPTY] = KSM_CHUNK_PAGES;
}

/**
 * ksm_chunk_destroy() - make all pages empty
 * @chunk: the chunk; none of its pages may be stable, as their mapping records
 *         would be lost, or a candidate, as its chain would be
 *
 * Context: caller serialises calls on @chunk and on its tallies.
 */
void ksm_chunk_destroy(struct ksm_chunk *chunk)
{
	unsigned int at;

	WARN_ON_ONCE(chunk->nr[KSM_PAGE_STABLE] || chunk->nr[KSM_PAGE_CANDIDATE]);
	for (at = ksm_chunk_next(chunk, 0); at < KSM_CHUNK_PAGES;
	     at = ksm_chunk_next(chunk, at + 1))
		ksm_chunk_clear(chunk, at);
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
	return chunk->rec[slot].packed & KSM_REC_STATE_MASK;
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
 * Return: 0 to %KSM_AGE_MAX, the latter for all longer times.
 */
unsigned int ksm_chunk_age(const struct ksm_chunk *chunk, unsigned int slot)
{
	return (chunk->rec[slot].packed & KSM_REC_AGE_MASK) >> KSM_REC_AGE_SHIFT;
}

/**
 * ksm_chunk_tag() - what is kept of a page's hash
 * @chunk: the chunk
 * @slot: the page, 0 to %KSM_CHUNK_PAGES - 1
 *
 * Context: caller serialises calls on @chunk.
 * Return: the tag of a volatile page or a candidate, 0 for any other.
 */
u32 ksm_chunk_tag(const struct ksm_chunk *chunk, unsigned int slot)
{
	if (ksm_chunk_state(chunk, slot) == KSM_PAGE_STABLE)
		return 0;
	return chunk->rec[slot].packed >> KSM_REC_TAG_SHIFT;
}

/**
 * ksm_chunk_same_hash() - may a page still have this hash?
 * @chunk: the chunk
 * @slot: the page, 0 to %KSM_CHUNK_PAGES - 1
 * @hash: content hash, well mixed in its upper bits
 *
 * Context: caller serialises calls on @chunk.
 * Return: true if the page is volatile or a candidate and agrees in the upper
 * %KSM_TAG_BITS bits; false for an empty or stable page, which has no hash.
 */
bool ksm_chunk_same_hash(const struct ksm_chunk *chunk, unsigned int slot,
			 u64 hash)
{
	enum ksm_page_state state = ksm_chunk_state(chunk, slot);

	if (state != KSM_PAGE_VOLATILE && state != KSM_PAGE_CANDIDATE)
		return false;
	return ksm_chunk_tag(chunk, slot) == ksm_hash_tag(hash);
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
	const struct ksm_record *rec = &chunk->rec[slot];
	u64 word;

	if (ksm_chunk_state(chunk, slot) != KSM_PAGE_STABLE)
		return NULL;
	word = (u64)rec->link << 32 | (rec->packed & KSM_REC_TAG_MASK);
	/* An arithmetic shift: the upper bits of the address are all like its topmost. */
	return (void *)(long)((s64)word >> (KSM_REC_TAG_SHIFT - KSM_ADDRESS_SHIFT));
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

/* A record in a chain may only be changed by the index that it is in. */
static bool ksm_chunk_is_chained(const struct ksm_chunk *chunk, unsigned int slot)
{
	return WARN_ON_ONCE(ksm_chunk_state(chunk, slot) == KSM_PAGE_CANDIDATE);
}

/**
 * ksm_chunk_set_volatile() - a page is seen first, or its content has changed
 * @chunk: the chunk
 * @slot: the page, 0 to %KSM_CHUNK_PAGES - 1; neither stable nor a candidate
 * @hash: hash of its content now
 *
 * A page that is seen first has age 0; any other keeps its age.
 *
 * Context: caller serialises calls on @chunk and on its tallies.
 */
void ksm_chunk_set_volatile(struct ksm_chunk *chunk, unsigned int slot, u64 hash)
{
	if (WARN_ON_ONCE(ksm_chunk_state(chunk, slot) == KSM_PAGE_STABLE) ||
	    ksm_chunk_is_chained(chunk, slot))
		return;
	ksm_chunk_set(chunk, slot,
		      ksm_rec_pack(KSM_PAGE_VOLATILE, ksm_chunk_age(chunk, slot),
				   ksm_hash_tag(hash)));
}

/**
 * ksm_chunk_set_candidate() - a page has not changed over a pass
 * @chunk: the chunk
 * @slot: the page, 0 to %KSM_CHUNK_PAGES - 1; must not be stable
 * @hash: hash of its content
 *
 * Its age stays as it is.
 *
 * Context: caller serialises calls on @chunk and on its tallies; for candidates.c, which
 * puts it into a chain.
 */
void ksm_chunk_set_candidate(struct ksm_chunk *chunk, unsigned int slot, u64 hash)
{
	if (WARN_ON_ONCE(ksm_chunk_state(chunk, slot) == KSM_PAGE_STABLE))
		return;
	ksm_chunk_set(chunk, slot,
		      ksm_rec_pack(KSM_PAGE_CANDIDATE, ksm_chunk_age(chunk, slot),
				   ksm_hash_tag(hash)));
}

/**
 * ksm_chunk_withdraw() - a candidate is none any more; its hash and its age stay
 * @chunk: the chunk
 * @slot: the page, a candidate
 *
 * Context: caller serialises calls on @chunk and on its tallies; for candidates.c, which
 * has taken it out of its chain.
 */
void ksm_chunk_withdraw(struct ksm_chunk *chunk, unsigned int slot)
{
	if (WARN_ON_ONCE(ksm_chunk_state(chunk, slot) != KSM_PAGE_CANDIDATE))
		return;
	ksm_chunk_set(chunk, slot,
		      ksm_rec_pack(KSM_PAGE_VOLATILE, ksm_chunk_age(chunk, slot),
				   ksm_chunk_tag(chunk, slot)));
}

/**
 * ksm_chunk_next_candidate() - where a record says which candidate comes after it
 * @chunk: the chunk
 * @slot: the page, a candidate
 *
 * Context: caller serialises calls on @chunk; for candidates.c.
 * Return: the place; it is 0 at the end of the chain.
 */
ksm_ref_t *ksm_chunk_next_candidate(struct ksm_chunk *chunk, unsigned int slot)
{
	return &chunk->rec[slot].link;
}

/**
 * ksm_chunk_set_stable() - a page is mapped to a KSM page
 * @chunk: the chunk
 * @slot: the page, 0 to %KSM_CHUNK_PAGES - 1; neither stable already nor a candidate
 * @mapping: its mapping record, not NULL, its address a multiple of 8; the caller keeps
 *           owning it
 *
 * Its age stays as it is; its hash is the KSM page's affair from now on.
 *
 * Context: caller serialises calls on @chunk and on its tallies. Cannot fail.
 */
void ksm_chunk_set_stable(struct ksm_chunk *chunk, unsigned int slot,
			  struct ksm_mapping *mapping)
{
	u64 address = (s64)(long)mapping >> KSM_ADDRESS_SHIFT;

	if (WARN_ON_ONCE(!mapping ||
			 (unsigned long)mapping & ((1U << KSM_ADDRESS_SHIFT) - 1) ||
			 ksm_chunk_state(chunk, slot) == KSM_PAGE_STABLE) ||
	    ksm_chunk_is_chained(chunk, slot))
		return;
	chunk->rec[slot].link = address >> KSM_TAG_BITS;
	ksm_chunk_set(chunk, slot,
		      ksm_rec_pack(KSM_PAGE_STABLE, ksm_chunk_age(chunk, slot),
				   address));
}

/**
 * ksm_chunk_clear() - forget what is known of a page
 * @chunk: the chunk
 * @slot: the page, 0 to %KSM_CHUNK_PAGES - 1, in any state but a candidate
 *
 * Its age becomes 0.
 *
 * Context: caller serialises calls on @chunk and on its tallies.
 * Return: the mapping record of a page that was stable, now the caller's alone;
 * NULL if it was not.
 */
struct ksm_mapping *ksm_chunk_clear(struct ksm_chunk *chunk, unsigned int slot)
{
	struct ksm_mapping *mapping = ksm_chunk_mapping(chunk, slot);

	if (ksm_chunk_is_chained(chunk, slot))
		return NULL;
	ksm_chunk_set(chunk, slot, ksm_rec_pack(KSM_PAGE_EMPTY, 0, 0));
	chunk->rec[slot].link = 0;
	return mapping;
}

/**
 * ksm_chunk_grow_older() - a page went through one more pass without being merged
 * @chunk: the chunk
 * @slot: the page, 0 to %KSM_CHUNK_PAGES - 1; nothing happens if it is empty
 *
 * Context: caller serialises calls on @chunk.
 */
void ksm_chunk_grow_older(struct ksm_chunk *chunk, unsigned int slot)
{
	if (ksm_chunk_state(chunk, slot) != KSM_PAGE_EMPTY &&
	    ksm_chunk_age(chunk, slot) < KSM_AGE_MAX)
		chunk->rec[slot].packed += 1U << KSM_REC_AGE_SHIFT;
}

/**
 * ksm_chunk_youngest() - how old is the youngest page of a chunk?
 * @chunk: the chunk
 *
 * Context: caller serialises calls on @chunk. Takes time in proportion to its size.
 * Return: 0 to %KSM_AGE_MAX; 0 if a page is empty.
 */
unsigned int ksm_chunk_youngest(const struct ksm_chunk *chunk)
{
	u32 youngest = KSM_REC_AGE_MASK;
	unsigned int at;

	for (at = 0; at < KSM_CHUNK_PAGES; at++)
		youngest = min(youngest, chunk->rec[at].packed & KSM_REC_AGE_MASK);
	return youngest >> KSM_REC_AGE_SHIFT;
}

static bool ksm_chunk_validate_slot(const struct ksm_chunk *chunk,
				    unsigned int slot)
{
	enum ksm_page_state state = ksm_chunk_state(chunk, slot);
	u32 link = chunk->rec[slot].link;
	u32 rec = chunk->rec[slot].packed;

	return ksm_holds(state != KSM_PAGE_EMPTY || !rec,
			 "record %u is empty and %x", slot, rec) &&
	       ksm_holds(state == KSM_PAGE_CANDIDATE || state == KSM_PAGE_STABLE ||
			 !link, "record %u is %x and leads to %x", slot, rec, link) &&
	       ksm_holds(state != KSM_PAGE_STABLE || ksm_chunk_mapping(chunk, slot),
			 "record %u is stable and leads nowhere", slot);
}

/**
 * ksm_chunk_validate() - check every invariant of a chunk
 * @chunk: the chunk
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
