/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Page records of one chunk: an aligned 2 MiB run of an address space.
 *
 * A record is 8 bytes: the state, the age and 26 bits of the content hash, and the link
 * of the chain of candidates that it may be in. Only chunk.c changes a state. With each
 * change it counts in both tallies (the domain's and the mm's) and puts the page among
 * the candidates or takes it out, so that these are always exactly the pages in the
 * state %KSM_PAGE_CANDIDATE. A stable page also has a mapping record, which lives in the
 * caller's memory; its record here leads there.
 *
 * All calls on the chunks of one domain are serialised by the caller.
 */
#ifndef _MM_KSM_CHUNK_H
#define _MM_KSM_CHUNK_H

#include "candidates.h"
#include "record.h"

/* The records of a chunk are allocated apart from it: they fill a page. */
#define KSM_RECORDS_BYTES	(KSM_CHUNK_PAGES * sizeof(struct ksm_record))

int ksm_chunk_init(struct ksm_chunk *chunk, u32 id, struct ksm_candidates *candidates,
		   struct ksm_tally *total, struct ksm_tally *own,
		   const struct ksm_mem_ops *mem);
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

void ksm_chunk_set_volatile(struct ksm_chunk *chunk, unsigned int slot, u64 hash);
int ksm_chunk_set_candidate(struct ksm_chunk *chunk, unsigned int slot, u64 hash);
void ksm_chunk_set_stable(struct ksm_chunk *chunk, unsigned int slot,
			  struct ksm_mapping *mapping);
struct ksm_mapping *ksm_chunk_clear(struct ksm_chunk *chunk, unsigned int slot);
unsigned int ksm_chunk_youngest(const struct ksm_chunk *chunk);
void ksm_chunk_grow_older(struct ksm_chunk *chunk, unsigned int slot);
bool ksm_chunk_validate(const struct ksm_chunk *chunk);

#endif /* _MM_KSM_CHUNK_H */
