/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Words that every layer of the merge engine shares: states, reasons, ids.
 *
 * Nothing here knows struct page or struct mm_struct: the pure files (index.c,
 * candidates.c, chain.c, chunk.c, policy.c, stats.c) build from this header in the
 * kernel and, unchanged, in the userspace harness of tools/testing/ksm.
 */
#ifndef _MM_KSM_TYPES_H
#define _MM_KSM_TYPES_H

#include <linux/types.h>

/* A chunk is an aligned run of this many pages: what one page table maps. */
#define KSM_CHUNK_SHIFT		9
#define KSM_CHUNK_PAGES		(1U << KSM_CHUNK_SHIFT)

/**
 * enum ksm_page_state - what the engine knows of one page of a chunk
 * @KSM_PAGE_EMPTY: nothing: no anonymous page was found there
 * @KSM_PAGE_VOLATILE: seen once, or its content changed since it was last seen; or it
 *	was a candidate and made room for another
 * @KSM_PAGE_CANDIDATE: unchanged over a pass; may be found by an equal page
 * @KSM_PAGE_STABLE: mapped to a KSM page; a mapping record exists
 * @KSM_NR_PAGE_STATES: number of states
 */
enum ksm_page_state {
	KSM_PAGE_EMPTY,
	KSM_PAGE_VOLATILE,
	KSM_PAGE_CANDIDATE,
	KSM_PAGE_STABLE,
	KSM_NR_PAGE_STATES
};

/**
 * enum ksm_refusal - why a page was not merged when it was looked at
 * @KSM_REFUSED_NONE: it was merged
 * @KSM_REFUSED_VOLATILE: its content has changed since the last pass
 * @KSM_REFUSED_PINNED: someone holds a reference that no page table explains
 * @KSM_REFUSED_HUGE: it is part of a huge page that could not be split
 * @KSM_REFUSED_SHARED: advice ignored: the mapping is shared
 * @KSM_REFUSED_HUGETLB: advice ignored: the mapping is of hugetlb pages
 * @KSM_REFUSED_SPECIAL: advice ignored: no ordinary memory (device, PFNs, DAX)
 * @KSM_REFUSED_NODE: on another NUMA node, with merge_across_nodes off
 * @KSM_REFUSED_LIMIT: max_page_sharing reached and no new copy could be made
 * @KSM_REFUSED_RACED: the page table or the VMA changed under us
 * @KSM_REFUSED_LOCKED: the page or the other mm was locked by someone else
 * @KSM_REFUSED_DIFFERENT: equal hash, different bytes
 * @KSM_REFUSED_UFFD_WP: the zero page cannot go where userfaultfd protects
 * @KSM_REFUSED_NOMEM: no memory for a record
 * @KSM_NR_REFUSALS: number of reasons
 */
enum ksm_refusal {
	KSM_REFUSED_NONE,
	KSM_REFUSED_VOLATILE,
	KSM_REFUSED_PINNED,
	KSM_REFUSED_HUGE,
	KSM_REFUSED_SHARED,
	KSM_REFUSED_HUGETLB,
	KSM_REFUSED_SPECIAL,
	KSM_REFUSED_NODE,
	KSM_REFUSED_LIMIT,
	KSM_REFUSED_RACED,
	KSM_REFUSED_LOCKED,
	KSM_REFUSED_DIFFERENT,
	KSM_REFUSED_UFFD_WP,
	KSM_REFUSED_NOMEM,
	KSM_NR_REFUSALS
};

/**
 * typedef ksm_ref_t - names one page: its chunk's id and its slot in the chunk
 *
 * The upper bits are the chunk's id (from 1 to KSM_CHUNK_ID_MAX), the lower
 * KSM_CHUNK_SHIFT bits the slot. 0 names no page.
 */
typedef u32 ksm_ref_t;

#define KSM_CHUNK_ID_MAX	((1U << (32 - KSM_CHUNK_SHIFT)) - 1)

static inline ksm_ref_t ksm_ref(u32 chunk_id, unsigned int slot)
{
	return chunk_id << KSM_CHUNK_SHIFT | slot;
}

static inline u32 ksm_ref_chunk(ksm_ref_t ref)
{
	return ref >> KSM_CHUNK_SHIFT;
}

static inline unsigned int ksm_ref_slot(ksm_ref_t ref)
{
	return ref & (KSM_CHUNK_PAGES - 1);
}

/**
 * struct ksm_mem_ops - where the pure files get their memory from
 * @alloc: return @bytes of zeroed memory or NULL; must not enter the engine
 * @free: give back what @alloc returned; NULL is ignored
 */
struct ksm_mem_ops {
	void *(*alloc)(size_t bytes);
	void (*free)(void *mem);
};

#endif /* _MM_KSM_TYPES_H */
