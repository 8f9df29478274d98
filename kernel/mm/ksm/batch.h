/* SPDX-License-Identifier: GPL-2.0-only */
/* Merges that are put off until there are several of them. See batch.c. */
#ifndef _MM_KSM_BATCH_H
#define _MM_KSM_BATCH_H

#include <linux/bitmap.h>
#include "join.h"
#include "merge.h"

/* A walk has no more pages. While they wait they can be neither moved nor pinned. */
#define KSM_BATCH_PAGES		64U

/**
 * struct ksm_promotion - a candidate that is to become a KSM page
 * @mc: its chunk
 * @slot: its slot
 * @hash: its content hash
 * @like: a page of the batch that equals it
 * @full: the content it becomes a copy of, or NULL
 * @node: its new stable node; the rest is private to batch.c
 * @mapping: its mapping record
 * @page: its page, once it is a KSM page; with a reference
 * @waiting: how many pages of the batch are to share it
 * @sharing: how many do
 * @why: why it could not be made one, or KSM_REFUSED_NONE
 */
struct ksm_promotion {
	struct ksm_mm_chunk *mc;
	unsigned int slot;
	u64 hash;
	struct page *like;
	struct ksm_copy *full;
	struct ksm_stable_node *node;
	struct ksm_mapping *mapping;
	struct page *page;
	unsigned int waiting;
	unsigned int sharing;
	enum ksm_refusal why;
};

/**
 * struct ksm_joining - a scanned page that is to share a KSM page
 * @slot: its slot in the batch's chunk
 * @page: the page, with a reference
 * @hash: its content hash
 * @promotion: what it waits for, or NULL
 * @node: the KSM page's node, if it is one already
 * @kpage: the KSM page, with a reference; ditto
 * @mapping: private: its mapping record
 * @owns_lock: private: the lock on @kpage is this one's to release
 * @why: private: why it was not merged, or KSM_REFUSED_NONE
 */
struct ksm_joining {
	unsigned int slot;
	struct page *page;
	u64 hash;
	struct ksm_promotion *promotion;
	struct ksm_stable_node *node;
	struct page *kpage;
	struct ksm_mapping *mapping;
	bool owns_lock;
	enum ksm_refusal why;
};

/**
 * struct ksm_batch - the merges that pages of one chunk are waiting for
 * @domain: the domain of all that meet here
 * @mc: the chunk of the scanned pages
 * @held_until: from the page that is looked at to this address, in the same mm, the
 *	scan holds references
 * @nr: how many pages wait
 * @nr_promotions: how many candidates are to be KSM pages
 * @joining: the pages, by rising address
 * @promotion: the candidates
 * @slots: which slots of @mc wait
 * @item: private: the run under way
 * @change: private: its PTEs
 *
 * Under ksm_scan_mutex.
 */
struct ksm_batch {
	struct ksm_domain *domain;
	struct ksm_mm_chunk *mc;
	unsigned long held_until;
	unsigned int nr;
	unsigned int nr_promotions;
	struct ksm_joining joining[KSM_BATCH_PAGES];
	struct ksm_promotion promotion[KSM_BATCH_PAGES];
	DECLARE_BITMAP(slots, KSM_CHUNK_PAGES);
	struct ksm_merge_item item[KSM_BATCH_PAGES];
	struct mmu_notifier_pte change[KSM_BATCH_PAGES];
};

void ksm_batch_begin(struct ksm_batch *batch, struct ksm_domain *domain,
		     struct ksm_mm_chunk *mc, unsigned long held_until);
void ksm_batch_join(struct ksm_batch *batch, struct ksm_scanned *s, u64 hash,
		    struct ksm_stable_node *node, struct page *kpage);
void ksm_batch_promote(struct ksm_batch *batch, struct ksm_scanned *s, u64 hash,
		       struct ksm_mm_chunk *mc, unsigned int slot,
		       struct ksm_copy *full);
void ksm_batch_wait(struct ksm_batch *batch, struct ksm_scanned *s, u64 hash,
		    struct ksm_promotion *promotion);
void ksm_batch_flush(struct ksm_batch *batch);

bool ksm_batch_has_room(const struct ksm_batch *batch,
			const struct ksm_stable_node *node);
bool ksm_batch_promotion_has_room(const struct ksm_batch *batch,
				  const struct ksm_promotion *promotion);
struct ksm_promotion *ksm_batch_find(struct ksm_batch *batch, struct page *page,
				     u64 hash);
bool ksm_batch_holds(const struct ksm_batch *batch, const struct ksm_mm_chunk *mc,
		     unsigned int slot);

#endif /* _MM_KSM_BATCH_H */
