/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Page records of one chunk: an aligned 2 MiB run of an address space.
 *
 * A record is 8 bytes: the state and the age; of a page that is not merged 26 bits of
 * the content hash, and of a candidate which one comes after it (candidates.h); of a
 * stable page where its mapping record is, which lives in the caller's memory. Only
 * chunk.c packs and unpacks it, and only chunk.c changes a state, counting each change
 * in both tallies (the domain's and the mm's).
 *
 * All calls on one chunk are serialised by the caller.
 */
#ifndef _MM_KSM_CHUNK_H
#define _MM_KSM_CHUNK_H

#include "stats.h"
#include "types.h"

struct ksm_mapping;	/* opaque here: never dereferenced */

#define KSM_AGE_MAX		15U
/* So much of a hash is kept: the upper bits. */
#define KSM_TAG_BITS		26

/**
 * struct ksm_record - what is known of a page
 * @packed: private: state, age, and the tag or the lower part of an address
 * @link: private: of a candidate a ksm_ref_t, the next one of its bucket, 0: none; of a
 *	stable page the upper part of the address
 */
struct ksm_record {
	u32 packed;
	u32 link;
};

/**
 * struct ksm_chunk - the page records of one chunk
 * @id: names the chunk in a ksm_ref_t
 * @nr: private: records by state; the four sum up to KSM_CHUNK_PAGES
 * @total: private: tally of the domain
 * @own: private: tally of the mm
 * @rec: private: the records, in memory of the caller
 */
struct ksm_chunk {
	u32 id;
	u16 nr[KSM_NR_PAGE_STATES];
	struct ksm_tally *total;
	struct ksm_tally *own;
	struct ksm_record *rec;
};

/* What the records of one chunk take. */
#define KSM_RECORDS_BYTES	(KSM_CHUNK_PAGES * sizeof(struct ksm_record))

void ksm_chunk_init(struct ksm_chunk *chunk, u32 id, struct ksm_record *rec,
		    struct ksm_tally *total, struct ksm_tally *own);
void ksm_chunk_destroy(struct ksm_chunk *chunk);

enum ksm_page_state ksm_chunk_state(const struct ksm_chunk *chunk,
				    unsigned int slot);
unsigned int ksm_chunk_age(const struct ksm_chunk *chunk, unsigned int slot);
u32 ksm_hash_tag(u64 hash);
u32 ksm_chunk_tag(const struct ksm_chunk *chunk, unsigned int slot);
bool ksm_chunk_same_hash(const struct ksm_chunk *chunk, unsigned int slot,
			 u64 hash);
struct ksm_mapping *ksm_chunk_mapping(const struct ksm_chunk *chunk,
				      unsigned int slot);
unsigned int ksm_chunk_count(const struct ksm_chunk *chunk,
			     enum ksm_page_state state);
unsigned int ksm_chunk_next(const struct ksm_chunk *chunk, unsigned int slot);
bool ksm_chunk_is_empty(const struct ksm_chunk *chunk);

void ksm_chunk_set_volatile(struct ksm_chunk *chunk, unsigned int slot, u64 hash);
void ksm_chunk_set_candidate(struct ksm_chunk *chunk, unsigned int slot, u64 hash);
void ksm_chunk_withdraw(struct ksm_chunk *chunk, unsigned int slot);
ksm_ref_t *ksm_chunk_next_candidate(struct ksm_chunk *chunk, unsigned int slot);
void ksm_chunk_set_stable(struct ksm_chunk *chunk, unsigned int slot,
			  struct ksm_mapping *mapping);
struct ksm_mapping *ksm_chunk_clear(struct ksm_chunk *chunk, unsigned int slot);
unsigned int ksm_chunk_youngest(const struct ksm_chunk *chunk);
void ksm_chunk_grow_older(struct ksm_chunk *chunk, unsigned int slot);
bool ksm_chunk_validate(const struct ksm_chunk *chunk);

#endif /* _MM_KSM_CHUNK_H */
