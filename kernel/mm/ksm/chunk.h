/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Page records of one chunk: an aligned 2 MiB run of an address space.
 *
 * A record is 4 bytes: the state, the age and 24 bits of the content hash. Only
 * chunk.c packs and unpacks it, and only chunk.c changes a state, counting each
 * change in both tallies (the domain's and the mm's). A stable page also has a
 * mapping record, which lives in the caller's memory and is found by slot.
 *
 * All calls on one chunk are serialised by the caller.
 */
#ifndef _MM_KSM_CHUNK_H
#define _MM_KSM_CHUNK_H

#include "stats.h"
#include "types.h"

struct ksm_mapping;	/* opaque here: never dereferenced */

/* Mapping pointers are kept in groups that exist only where pages merged. */
#define KSM_GROUP_SLOTS		32U
#define KSM_CHUNK_GROUPS	(KSM_CHUNK_PAGES / KSM_GROUP_SLOTS)
#define KSM_AGE_MAX		31U

/**
 * struct ksm_chunk - the page records of one chunk
 * @id: names the chunk in a ksm_ref_t
 * @nr: private: records by state; the four sum up to KSM_CHUNK_PAGES
 * @total: private: tally of the domain
 * @own: private: tally of the mm
 * @groups: private: directory of mapping groups, NULL while nothing merged
 * @rec: private: packed records
 */
struct ksm_chunk {
	u32 id;
	u16 nr[KSM_NR_PAGE_STATES];
	struct ksm_tally *total;
	struct ksm_tally *own;
	struct ksm_mapping ***groups;
	u32 rec[KSM_CHUNK_PAGES];
};

void ksm_chunk_init(struct ksm_chunk *chunk, u32 id, struct ksm_tally *total,
		    struct ksm_tally *own);
void ksm_chunk_destroy(struct ksm_chunk *chunk, const struct ksm_mem_ops *mem);

enum ksm_page_state ksm_chunk_state(const struct ksm_chunk *chunk,
				    unsigned int slot);
unsigned int ksm_chunk_age(const struct ksm_chunk *chunk, unsigned int slot);
bool ksm_chunk_same_hash(const struct ksm_chunk *chunk, unsigned int slot,
			 u64 hash);
struct ksm_mapping *ksm_chunk_mapping(const struct ksm_chunk *chunk,
				      unsigned int slot);
unsigned int ksm_chunk_count(const struct ksm_chunk *chunk,
			     enum ksm_page_state state);
unsigned int ksm_chunk_next(const struct ksm_chunk *chunk, unsigned int slot);
bool ksm_chunk_is_empty(const struct ksm_chunk *chunk);

int ksm_chunk_reserve(struct ksm_chunk *chunk, unsigned int slot,
		      const struct ksm_mem_ops *mem);
void ksm_chunk_set_volatile(struct ksm_chunk *chunk, unsigned int slot, u64 hash);
void ksm_chunk_set_candidate(struct ksm_chunk *chunk, unsigned int slot, u64 hash);
void ksm_chunk_set_stable(struct ksm_chunk *chunk, unsigned int slot,
			  struct ksm_mapping *mapping);
struct ksm_mapping *ksm_chunk_clear(struct ksm_chunk *chunk, unsigned int slot,
				    const struct ksm_mem_ops *mem);
unsigned int ksm_chunk_youngest(const struct ksm_chunk *chunk);
void ksm_chunk_grow_older(struct ksm_chunk *chunk, unsigned int slot);
bool ksm_chunk_validate(const struct ksm_chunk *chunk);

#endif /* _MM_KSM_CHUNK_H */
