/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stable index: from a 64-bit content hash to the nodes that carry it.
 *
 * A hash table by linear hashing: it grows and shrinks one bucket at a time, so
 * no call ever does more than a bounded amount of work, and a failed allocation
 * only makes the buckets longer. Searching never edits. Nodes are embedded in
 * the caller's objects; the index neither allocates nor frees them.
 *
 * All calls on one index are serialised by the caller.
 */
#ifndef _MM_KSM_INDEX_H
#define _MM_KSM_INDEX_H

#include <linux/list.h>
#include "linear.h"
#include "types.h"

/**
 * struct ksm_index_node - membership of an object in the stable index
 * @link: private: place in the bucket
 * @hash: content hash; fixed while the node is in the index
 */
struct ksm_index_node {
	struct hlist_node link;
	u64 hash;
};

/**
 * struct ksm_index - the stable index
 * @segments: private: the buckets, as segments of one page
 * @nr_buckets: private: buckets in use, at least one segment of them
 * @visiting: private: a visit is under way, buckets must stay as they are
 * @count: nodes in the index
 */
struct ksm_index {
	struct ksm_segments segments;
	u32 nr_buckets;
	bool visiting;
	u64 count;
};

int ksm_index_init(struct ksm_index *index, const struct ksm_mem_ops *mem);
void ksm_index_destroy(struct ksm_index *index);

struct ksm_index_node *ksm_index_first(const struct ksm_index *index, u64 hash);
struct ksm_index_node *ksm_index_next(const struct ksm_index_node *node);

void ksm_index_insert(struct ksm_index *index, struct ksm_index_node *node,
		      u64 hash);
void ksm_index_erase(struct ksm_index *index, struct ksm_index_node *node);
void ksm_index_replace(struct ksm_index *index, struct ksm_index_node *old,
		       struct ksm_index_node *new);
bool ksm_index_contains(const struct ksm_index_node *node);

/**
 * typedef ksm_index_visit_fn - called for each node of a bucket range
 * @node: the node; the callback may erase or replace it, and no other node
 * @arg: caller's context
 */
typedef void (*ksm_index_visit_fn)(struct ksm_index_node *node, void *arg);

u32 ksm_index_visit(struct ksm_index *index, u32 bucket, u32 nr,
		    ksm_index_visit_fn visit, void *arg);
bool ksm_index_validate(const struct ksm_index *index);

#endif /* _MM_KSM_INDEX_H */
