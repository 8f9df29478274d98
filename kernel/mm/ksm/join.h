/* SPDX-License-Identifier: GPL-2.0-only */
/* How one scanned page comes to share a page. See join.c. */
#ifndef _MM_KSM_JOIN_H
#define _MM_KSM_JOIN_H

#include "domain.h"

/**
 * struct ksm_scanned - a page that the scan came by
 * @mc: its chunk
 * @slot: its slot in the chunk
 * @page: the page; the caller holds one reference, unless it is a KSM page
 * @is_kpage: it was a KSM page when it was found
 * @hash: its content hash, if it was none
 * @was_split: set if @page was part of a huge page and no longer is
 * @is_kept: set if the reference is now somebody else's, until the page is merged
 */
struct ksm_scanned {
	struct ksm_mm_chunk *mc;
	unsigned int slot;
	struct page *page;
	bool is_kpage;
	u64 hash;
	bool was_split;
	bool is_kept;
};

static inline struct mm_struct *ksm_chunk_mm(const struct ksm_mm_chunk *mc)
{
	return mc->owner->slot.mm;
}

static inline unsigned long ksm_scanned_address(const struct ksm_scanned *s)
{
	return ksm_chunk_address(s->mc, s->slot);
}

enum ksm_refusal ksm_join_prepare(struct ksm_domain *domain,
				  struct ksm_scanned *s);
enum ksm_refusal ksm_join_zero(struct ksm_scanned *s);
enum ksm_refusal ksm_join_adopt(struct ksm_scanned *s);
bool ksm_join_holds(struct ksm_scanned *s, const struct ksm_mapping *mapping);
enum ksm_refusal ksm_join_other(struct ksm_scanned *s,
				struct ksm_mapping *mapping,
				struct ksm_stable_node *node);

#endif /* _MM_KSM_JOIN_H */
