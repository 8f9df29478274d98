// SPDX-License-Identifier: GPL-2.0-only
/*
 * smart_scan: which pages a pass does not look at, a page or a whole chunk at a time.
 *
 * Only pages that found no like for some passes are passed by, and never for long; what
 * they have become meanwhile is seen then. No merge depends on it: each compares the
 * bytes as they are.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>

#include "control.h"
#include "merge.h"
#include "policy.h"
#include "registry.h"
#include "skip.h"

/*
 * Is a page to be passed by? What is merged, or was until it was written to, is
 * looked at in each pass, so that the counters keep up.
 */
static bool passes_by(struct ksm_chunk *chunk, const struct ksm_walk_item *item,
		      u64 pass)
{
	if (item->is_kpage || !ksm_get_smart_scan() ||
	    ksm_chunk_state(chunk, item->slot) == KSM_PAGE_STABLE)
		return false;
	return ksm_policy_skips(ksm_chunk_age(chunk, item->slot), chunk->id, pass);
}

/**
 * ksm_skip_choose - decide which pages of a lane to look at, before they are hashed
 * @slot: the borrowed slot of the lane's mm
 * @lane: the lane; its bitmap is set
 * @pass: number of the pass
 *
 * Without memory for their records none is looked at.
 *
 * Context: ksm_scan_mutex held. May sleep.
 */
void ksm_skip_choose(struct ksm_mm_slot *slot, struct ksm_lane *lane, u64 pass)
{
	struct ksm_walk *walk = &lane->walk;
	struct ksm_mm_chunk *mc;
	unsigned int i;

	bitmap_zero(lane->look, KSM_WALK_PAGES);
	mc = walk->nr ? ksm_slot_chunk(slot, walk->start) : NULL;
	for (i = 0; mc && i < walk->nr; i++)
		if (walk->item[i].page && !passes_by(&mc->c, &walk->item[i], pass))
			__set_bit(i, lane->look);
}

/**
 * ksm_skip_rests - is there a whole chunk to be passed by?
 * @slot: a borrowed slot
 * @start: where it begins; if no chunk begins there it is false
 * @pass: number of the pass
 *
 * Then not even its page table need be read: it is full, so no page can be new; and
 * nothing of it is merged, so no counter waits for a look.
 *
 * Context: ksm_scan_mutex held.
 */
bool ksm_skip_rests(struct ksm_mm_slot *slot, unsigned long start, u64 pass)
{
	const struct ksm_mm_chunk *mc = ksm_slot_find_chunk(slot, start);
	unsigned int age;

	if (!mc || mc->start != start || !ksm_get_smart_scan() ||
	    ksm_chunk_count(&mc->c, KSM_PAGE_EMPTY) ||
	    ksm_chunk_count(&mc->c, KSM_PAGE_STABLE))
		return false;
	age = ksm_chunk_youngest(&mc->c);
	return ksm_policy_is_old(age) && ksm_policy_skips(age, mc->c.id, pass);
}

/* So many chunks are passed by under one hold of mmap_lock: some microseconds. */
#define CHUNKS_AT_ONCE	16

/**
 * ksm_skip_chunks - pass by chunks that rest, as long as they are mapped as they were
 * @slot: a borrowed slot; where its scan goes on is moved up
 * @pass: number of the pass
 *
 * Context: ksm_scan_mutex held. Takes mmap_lock. May sleep.
 * Return: how many pages were passed by.
 */
unsigned int ksm_skip_chunks(struct ksm_mm_slot *slot, u64 pass)
{
	struct mm_struct *mm = slot->slot.mm;
	unsigned int chunks = 0;

	lockdep_assert_held(&ksm_scan_mutex);
	if (!ksm_skip_rests(slot, slot->next_addr, pass))
		return 0;
	mmap_read_lock(mm);
	do {
		struct vm_area_struct *vma = ksm_find_vma(mm, slot->next_addr);

		if (!vma || vma->vm_end - slot->next_addr < KSM_CHUNK_BYTES)
			break;
		slot->next_addr += KSM_CHUNK_BYTES;
	} while (++chunks < CHUNKS_AT_ONCE &&
		 ksm_skip_rests(slot, slot->next_addr, pass));
	mmap_read_unlock(mm);
	return chunks * KSM_CHUNK_PAGES;
}
