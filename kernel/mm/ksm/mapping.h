/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The mm side's containers of the pure structures: where a page record, a copy
 * of a content and a sharer meet struct mm_struct, struct anon_vma and pfns.
 */
#ifndef _MM_KSM_MAPPING_H
#define _MM_KSM_MAPPING_H

#include <linux/bitmap.h>
#include <linux/ksm.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/rmap.h>
#include <linux/xarray.h>
#include "../mm_slot.h"
#include "chain.h"
#include "chunk.h"

struct ksm_domain;

#define KSM_CHUNK_BYTES		(KSM_CHUNK_PAGES * PAGE_SIZE)

/**
 * struct ksm_mm_slot - an mm known to the engine
 * @slot: the mm, and its places in the registry's hash and list
 * @domain: whom it may share with; fixed
 * @chunks: address / 2 MiB -> struct ksm_mm_chunk; under ksm_scan_mutex, and
 *	only while the slot is borrowed from the registry or dead
 * @tally: pages by state; under ksm_scan_mutex
 * @next_addr: where the scan goes on
 */
struct ksm_mm_slot {
	struct mm_slot slot;
	struct ksm_domain *domain;
	struct xarray chunks;
	struct ksm_tally tally;
	unsigned long next_addr;
};

/**
 * struct ksm_mm_chunk - a chunk and where in which mm it is
 * @c: the page records
 * @owner: the registered mm it belongs to
 * @start: address of the chunk's first page
 * @anchors: where reverse mapping finds the merged pages: struct ksm_anchor
 * @has_like: pages that had a like when last looked at, and were not merged with it
 * @was_huge: pages of huge pages that were split here, and not merged since
 *
 * Changed under ksm_scan_mutex only.
 */
struct ksm_mm_chunk {
	struct ksm_chunk c;
	struct ksm_mm_slot *owner;
	unsigned long start;
	struct hlist_head anchors;
	DECLARE_BITMAP(has_like, KSM_CHUNK_PAGES);
	DECLARE_BITMAP(was_huge, KSM_CHUNK_PAGES);
};

/**
 * struct ksm_stable_node - what the engine keeps for one KSM page
 * @copy: the page as a copy of its content; under ksm_scan_mutex
 * @sharers: the first of its mapping records; Invariant: their list changes only with
 *	the page locked, so that a migration sees one list from unmap to remap
 * @kpfn: which page it is; no reference is held on it (see kpage.c)
 * @domain: the domain it belongs to; fixed
 * @idle: on the domain's list of nodes without sharers, or empty
 * @nid: which of the domain's indexes it is in
 *
 * The page's mapping field points here, so the address must leave the low two
 * bits free; slab objects do.
 */
struct ksm_stable_node {
	struct ksm_copy copy;
	struct ksm_mapping *sharers;
	unsigned long kpfn;
	struct ksm_domain *domain;
	struct list_head idle;
	int nid;
};

/**
 * struct ksm_anchor - where reverse mapping finds merged pages of one chunk
 * @in_chunk: place in the chunk's list, or in that of the spare ones
 * @anon_vma: where the rmap walk looks; a reference is held
 * @pgoff: index in @anon_vma of the chunk's first page, were it mapped like these, so
 *	that the walk visits only VMAs that can map them
 * @chunk: the chunk
 * @id: names the anchor in a mapping record
 * @users: mapping records that name it
 *
 * Nearly always one does for all pages of a chunk. It is fixed while a record that is
 * listed names it, and under ksm_scan_mutex otherwise.
 */
struct ksm_anchor {
	struct hlist_node in_chunk;
	struct anon_vma *anon_vma;
	unsigned long pgoff;
	struct ksm_mm_chunk *chunk;
	u32 id;
	u32 users;
};

/**
 * struct ksm_mapping - one sharer of a KSM page ("rmap_item" in mainline)
 * @next: the next sharer of the page, or NULL; under the KSM page's lock
 * @node: the KSM page it shares; fixed while listed
 * @before: @place of the sharer before it, 0 if it is the first; under ksm_scan_mutex
 * @place: its anchor's id and which record of the anchor's chunk leads here, see
 *	ksm_anchor_of(); 0 until it shares a page, and fixed while listed
 */
struct ksm_mapping {
	struct ksm_mapping *next;
	struct ksm_stable_node *node;
	ksm_ref_t before;
	ksm_ref_t place;
};

static inline unsigned int ksm_mapping_slot(const struct ksm_mapping *mapping)
{
	return ksm_ref_slot(mapping->place);
}

/* What /proc shows of an mm follows its tally. Under ksm_scan_mutex. */
static inline void ksm_slot_publish(struct ksm_mm_slot *slot)
{
	struct mm_struct *mm = slot->slot.mm;

	WRITE_ONCE(mm->ksm_merging_pages, slot->tally.pages[KSM_PAGE_STABLE]);
	WRITE_ONCE(mm->ksm_rmap_items, ksm_tally_tracked(&slot->tally));
}

static inline unsigned long ksm_chunk_address(const struct ksm_mm_chunk *mc,
					      unsigned int slot)
{
	return mc->start + ((unsigned long)slot << PAGE_SHIFT);
}

static inline struct ksm_stable_node *ksm_copy_node(struct ksm_copy *copy)
{
	return container_of(copy, struct ksm_stable_node, copy);
}

/* The zero page as a merge maps it: see is_ksm_zero_pte(). */
static inline pte_t ksm_zero_pte(unsigned long addr, pgprot_t prot)
{
	return pte_mkdirty(pte_mkspecial(pfn_pte(my_zero_pfn(addr), prot)));
}

#endif /* _MM_KSM_MAPPING_H */
