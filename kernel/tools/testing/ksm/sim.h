/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A small merge engine on the pure files, and the memory that it merges.
 *
 * It does what mm/ksm does with a scanned page, in the same order, but a page is
 * a number (its content), and nothing races. What is under test is that the pure
 * files keep their promises when they are used together.
 */
#ifndef _KSM_SIM_H
#define _KSM_SIM_H

#include <linux/list.h>
#include "candidates.h"
#include "chain.h"
#include "chunk.h"
#include "index.h"
#include "stats.h"

#define SIM_MMS		3
#define SIM_CHUNKS	2	/* of each mm */
#define SIM_SLOTS	30	/* pages of a chunk that are used */
#define SIM_PAGES	(SIM_MMS * SIM_CHUNKS * SIM_SLOTS)
#define SIM_CONTENTS	160

/**
 * struct sim_kpage - a KSM page and its stable node
 * @copy: its place in index and chain
 * @content: its bytes; never change
 * @mapped: page tables that map it; at 0 the page is gone, the node is stale
 * @sharers: mapping records
 * @counted: for the model: records that point here, counted anew
 * @all: in sim->kpages
 */
struct sim_kpage {
	struct ksm_copy copy;
	u32 content;
	u32 mapped;
	struct list_head sharers;
	u32 counted;
	struct list_head all;
};

struct ksm_mapping {
	struct list_head sharer;
	struct sim_kpage *kpage;
	u32 page;
};

/**
 * struct sim_page - one page of a process: what hardware and process know
 * @wanted: what the process wrote last; 0: there is no page
 * @content: bytes of its own page; of no meaning while it maps a KSM page
 * @kpage: the KSM page it maps, or NULL
 */
struct sim_page {
	u32 wanted;
	u32 content;
	struct sim_kpage *kpage;
};

/**
 * struct sim - memory and engine
 * @limit: max_page_sharing
 * @nr_hashes: contents that are equal modulo this have one hash
 * @refused_nomem: merges that failed for lack of memory
 */
struct sim {
	struct sim_page page[SIM_PAGES];
	struct list_head kpages;
	u32 limit;
	u32 nr_hashes;
	u64 key;
	u64 refused_nomem;
	struct ksm_stats stats;
	struct ksm_tally own[SIM_MMS];
	struct ksm_index index;
	struct ksm_candidates candidates;
	struct ksm_chunk_finder finder;
	struct ksm_chunk chunk[SIM_MMS * SIM_CHUNKS];
	struct ksm_record rec[SIM_MMS * SIM_CHUNKS][KSM_CHUNK_PAGES];
};

struct sim *sim_new(u32 limit, u32 nr_hashes);
void sim_end(struct sim *sim);

/* The processes' part: each may break COW, none tells the engine. */
void sim_write(struct sim *sim, u32 page, u32 content);
void sim_discard(struct sim *sim, u32 page);
void sim_fork(struct sim *sim, u32 from, u32 to);
u32 sim_read(const struct sim *sim, u32 page);

/* The engine's part. */
void sim_scan(struct sim *sim, u32 page);
void sim_exit(struct sim *sim, u32 mm);
void sim_prune(struct sim *sim);
void sim_forget(struct sim *sim, u32 budget);

u64 sim_hash(const struct sim *sim, u32 content);
struct ksm_chunk *sim_chunk(struct sim *sim, u32 page);
u32 sim_slot(u32 page);

#endif /* _KSM_SIM_H */
