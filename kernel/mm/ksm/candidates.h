/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Candidate index: from a content hash to pages seen unchanged over a pass.
 *
 * The candidates of a bucket are chained through their page records, so that the
 * index itself is 4 bytes for each bucket, of two candidates on the average. All it
 * knows of a hash is the tag in the record: that alone chooses the bucket, when a
 * page is added, taken out, or moved because its bucket is split.
 *
 * A page is in state KSM_PAGE_CANDIDATE exactly while it is in an index, and only
 * the functions below put it there and take it out. Every hit must be checked
 * against the page and finally the bytes.
 *
 * Buckets live in segments of one page each, addressed by linear hashing: bounded
 * work per call, no pause to rehash. Without memory for more of them the chains grow
 * longer, and nothing is lost.
 *
 * All calls on one index, and on the chunks it chains, are serialised by the caller.
 */
#ifndef _MM_KSM_CANDIDATES_H
#define _MM_KSM_CANDIDATES_H

#include "chunk.h"
#include "linear.h"
#include "types.h"

/* So many candidates of one tag are kept; the oldest makes room. */
#define KSM_CANDIDATE_TWINS	8

/**
 * struct ksm_chunk_finder - where the chunks are that an index refers to
 * @find: return the chunk of that id, or NULL
 */
struct ksm_chunk_finder {
	struct ksm_chunk *(*find)(struct ksm_chunk_finder *finder, u32 id);
};

/**
 * struct ksm_candidates - the candidate index of one domain (and node)
 * @segments: private: the heads of the buckets' chains
 * @finder: private: finds chunks
 * @nr_buckets: private: buckets in use (0 while empty)
 * @count: candidates
 * @evicted: candidates that made room for one with the same tag, ever
 */
struct ksm_candidates {
	struct ksm_segments segments;
	struct ksm_chunk_finder *finder;
	u32 nr_buckets;
	u64 count;
	u64 evicted;
};

void ksm_candidates_init(struct ksm_candidates *table,
			 const struct ksm_mem_ops *mem,
			 struct ksm_chunk_finder *finder);
void ksm_candidates_destroy(struct ksm_candidates *table);

int ksm_candidates_add(struct ksm_candidates *table, struct ksm_chunk *chunk,
		       unsigned int slot, u64 hash);
bool ksm_candidates_del(struct ksm_candidates *table, struct ksm_chunk *chunk,
			unsigned int slot);
unsigned int ksm_candidates_find(const struct ksm_candidates *table, u64 hash,
				 ksm_ref_t *found);
bool ksm_candidates_forget(struct ksm_candidates *table, u32 budget);

u64 ksm_candidates_bytes(const struct ksm_candidates *table);
bool ksm_candidates_validate(const struct ksm_candidates *table);

#endif /* _MM_KSM_CANDIDATES_H */
