/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Copies of one content under max_page_sharing.
 *
 * The first KSM page of a content is its lead and stands in the stable index.
 * When it is full, further copies hang on the lead's list, those with room
 * before those without, so that choosing a copy is O(1). No call can fail. A lead
 * that goes away hands its place to a copy, which is O(copies); see chain.c.
 *
 * All calls on one domain are serialised by the caller.
 */
#ifndef _MM_KSM_CHAIN_H
#define _MM_KSM_CHAIN_H

#include <linux/list.h>
#include "index.h"
#include "stats.h"

/**
 * struct ksm_copy - one KSM page as a copy of its content
 * @in: index membership; only the lead is in the index
 * @copies: the lead's list of its other copies, or a copy's place in it
 * @lead: the content's lead; itself for the lead
 * @sharers: how many mapping records point to this copy
 * @nr_copies: lead only: number of copies of this content, itself included
 */
struct ksm_copy {
	struct ksm_index_node in;
	struct list_head copies;
	struct ksm_copy *lead;
	u32 sharers;
	u32 nr_copies;
};

void ksm_copy_init(struct ksm_copy *copy);

void ksm_chain_add_lead(struct ksm_index *index, struct ksm_copy *copy, u64 hash,
			struct ksm_stats *stats);
void ksm_chain_add_copy(struct ksm_copy *lead, struct ksm_copy *copy, u32 limit,
			struct ksm_stats *stats);
void ksm_chain_remove(struct ksm_index *index, struct ksm_copy *copy,
		      struct ksm_stats *stats);

struct ksm_copy *ksm_chain_choose(struct ksm_copy *lead, u32 limit);
bool ksm_chain_is_spare(struct ksm_copy *copy, u32 limit);
void ksm_chain_share(struct ksm_copy *copy, u32 limit, struct ksm_stats *stats);
void ksm_chain_unshare(struct ksm_copy *copy, u32 limit, struct ksm_stats *stats);

bool ksm_chain_validate(const struct ksm_copy *lead, u32 limit);

#endif /* _MM_KSM_CHAIN_H */
