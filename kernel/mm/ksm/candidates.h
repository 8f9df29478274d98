/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Candidate index: from a content hash to pages seen unchanged over a pass.
 *
 * The candidates are chained through their own records, so that the index itself is
 * no more than the heads of the chains: 4 bytes for every second candidate. A record
 * says by its tag which chain it is in, and leaves it when it says anything else: all
 * that is found is a candidate with 26 bits of the hash that was asked for. Whether it
 * has the bytes, the caller has to see.
 *
 * The number of chains follows that of the candidates by linear hashing, one chain
 * split or joined at a time: bounded work per call, no pause to rehash.
 *
 * All calls on one index and on the chunks in it are serialised by the caller.
 */
#ifndef _MM_KSM_CANDIDATES_H
#define _MM_KSM_CANDIDATES_H

#include "linear.h"
#include "record.h"
#include "types.h"

/*
 * So many candidates may have one tag; the oldest makes room. More are equal pages that
 * cannot be merged, or chance: with a TiB of candidates that is one in a hundred.
 */
#define KSM_CANDIDATE_TWINS	8

struct ksm_candidates;

/**
 * typedef ksm_find_chunk_fn - find the chunk that a reference names
 * @candidates: whose reference it is
 * @id: the chunk's id
 *
 * Return: the chunk; NULL if there is none, which is a bug.
 */
typedef struct ksm_chunk *(*ksm_find_chunk_fn)(const struct ksm_candidates *candidates,
					       u32 id);

/**
 * struct ksm_candidates - the candidate index of one domain
 * @segments: private: the heads of the chains, as segments of one page
 * @find_chunk: private: finds the chunks whose records are chained
 * @nr_heads: private: chains (0 while there is no candidate)
 * @count: candidates
 */
struct ksm_candidates {
	struct ksm_segments segments;
	ksm_find_chunk_fn find_chunk;
	u32 nr_heads;
	u64 count;
};

/**
 * struct ksm_candidate_iter - position of a search
 * @candidates: private: the index searched
 * @tag: private: what is searched for
 * @ref: private: the next candidate to look at
 */
struct ksm_candidate_iter {
	const struct ksm_candidates *candidates;
	u32 tag;
	ksm_ref_t ref;
};

void ksm_candidates_init(struct ksm_candidates *candidates,
			 const struct ksm_mem_ops *mem, ksm_find_chunk_fn find_chunk);
void ksm_candidates_destroy(struct ksm_candidates *candidates);

ksm_ref_t ksm_candidates_first(const struct ksm_candidates *candidates, u64 hash,
			       struct ksm_candidate_iter *iter);
ksm_ref_t ksm_candidates_next(struct ksm_candidate_iter *iter);

u64 ksm_candidates_bytes(const struct ksm_candidates *candidates);
bool ksm_candidates_validate(const struct ksm_candidates *candidates);

/* For chunk.c alone, which keeps states and chains in step. */
int ksm_candidates_reserve(struct ksm_candidates *candidates);
ksm_ref_t ksm_candidates_crowded(const struct ksm_candidates *candidates, u32 tag);
void ksm_candidates_link(struct ksm_chunk *chunk, unsigned int slot);
void ksm_candidates_unlink(struct ksm_chunk *chunk, unsigned int slot);

#endif /* _MM_KSM_CANDIDATES_H */
