/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Candidate index: from a content hash to pages seen unchanged over a pass.
 *
 * It may forget and it may be wrong: an entry is 8 bytes (32 bits of the hash and
 * a reference), and nobody removes it when its page changes or goes away. Every
 * hit must be checked against the chunk's record, the page and finally the bytes.
 * A forgotten or overwritten entry costs one merge until the next pass.
 *
 * Entries live in segments of one page each, addressed by linear hashing (one
 * segment is split or joined at a time: bounded work per call, no pause to
 * rehash) and by linear probing inside the segment.
 *
 * All calls on one table are serialised by the caller.
 */
#ifndef _MM_KSM_CANDIDATES_H
#define _MM_KSM_CANDIDATES_H

#include "linear.h"
#include "types.h"

/* So many entries of one 32-bit tag are kept; an older one makes room. */
#define KSM_CANDIDATE_TWINS	8

/**
 * struct ksm_candidates - the candidate index of one domain (and node)
 * @segments: private: the entries, as segments of one page
 * @nr_segments: private: segments in use (0 while empty)
 * @sweep_pos: private: where ksm_candidates_sweep() goes on
 * @count: entries, stale ones included
 * @forgotten: entries dropped for lack of room or memory, ever
 */
struct ksm_candidates {
	struct ksm_segments segments;
	u32 nr_segments;
	u64 sweep_pos;
	u64 count;
	u64 forgotten;
};

/**
 * struct ksm_candidate_iter - position of a search
 * @table: private: the table searched
 * @hash: private: what is searched for
 * @segment: private: which segment
 * @pos: private: next entry to look at
 * @left: private: entries not yet looked at
 */
struct ksm_candidate_iter {
	const struct ksm_candidates *table;
	u64 hash;
	u32 segment;
	u32 pos;
	u32 left;
};

void ksm_candidates_init(struct ksm_candidates *table,
			 const struct ksm_mem_ops *mem);
void ksm_candidates_destroy(struct ksm_candidates *table);

ksm_ref_t ksm_candidates_first(const struct ksm_candidates *table, u64 hash,
			       struct ksm_candidate_iter *iter);
ksm_ref_t ksm_candidates_next(struct ksm_candidate_iter *iter);

int ksm_candidates_add(struct ksm_candidates *table, u64 hash, ksm_ref_t ref);
bool ksm_candidates_del(struct ksm_candidates *table, u64 hash, ksm_ref_t ref);

/**
 * typedef ksm_candidate_stale_fn - does an entry still name a candidate?
 * @ref: the page it names
 * @arg: caller's context
 *
 * Return: true if the entry should be dropped.
 */
typedef bool (*ksm_candidate_stale_fn)(ksm_ref_t ref, void *arg);

void ksm_candidates_sweep(struct ksm_candidates *table, u32 budget,
			  ksm_candidate_stale_fn stale, void *arg);
u64 ksm_candidates_bytes(const struct ksm_candidates *table);
bool ksm_candidates_validate(const struct ksm_candidates *table);

#endif /* _MM_KSM_CANDIDATES_H */
