/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Counters of the merge engine. They change only through the transitions
 * declared here, so that the sums the ABI promises hold by construction:
 * every page of a chunk is in exactly one state, and every stable page is
 * exactly one sharer of exactly one KSM page.
 */
#ifndef _MM_KSM_STATS_H
#define _MM_KSM_STATS_H

#include "types.h"

/**
 * struct ksm_tally - how many pages are in each state
 * @pages: by enum ksm_page_state; KSM_PAGE_EMPTY is not counted and stays 0
 */
struct ksm_tally {
	u64 pages[KSM_NR_PAGE_STATES];
};

/**
 * struct ksm_stats - all counters of one domain
 * @tally: pages by state
 * @shared: KSM pages that have at least one sharer (ABI pages_shared)
 * @nodes: stable nodes, with or without sharers
 * @chains: contents that have more than one KSM page (ABI stable_node_chains)
 * @dups: KSM pages that belong to such contents (ABI stable_node_dups)
 */
struct ksm_stats {
	struct ksm_tally tally;
	u64 shared;
	u64 nodes;
	u64 chains;
	u64 dups;
};

void ksm_tally_move(struct ksm_tally *tally, enum ksm_page_state from,
		    enum ksm_page_state to);
u64 ksm_tally_tracked(const struct ksm_tally *tally);

void ksm_stats_node_added(struct ksm_stats *stats);
void ksm_stats_node_removed(struct ksm_stats *stats);
void ksm_stats_first_sharer(struct ksm_stats *stats);
void ksm_stats_last_sharer(struct ksm_stats *stats);
void ksm_stats_chain_grew(struct ksm_stats *stats, unsigned int copies);
void ksm_stats_chain_shrank(struct ksm_stats *stats, unsigned int copies);

u64 ksm_stats_pages_sharing(const struct ksm_stats *stats);
bool ksm_stats_validate(const struct ksm_stats *stats);

#endif /* _MM_KSM_STATS_H */
