/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Linear hashing (Litwin 1980), as far as both indexes share it: the arithmetic
 * that finds a slot among any number of them, and a directory of segments.
 *
 * The number of slots grows and shrinks by one. The slot after the last one is
 * made by splitting its buddy, and the last one goes away by joining its buddy,
 * so each step touches two slots however large the table is.
 *
 * Only the directory is copied as a whole when it runs out of room: 8 bytes for
 * each segment of 4 KiB, at every doubling of the table. It is not made smaller.
 */
#ifndef _MM_KSM_LINEAR_H
#define _MM_KSM_LINEAR_H

#include <linux/errno.h>
#include <linux/log2.h>
#include <linux/string.h>
#include "check.h"
#include "types.h"

#define KSM_SEGMENT_BYTES	4096U
#define KSM_SEGMENTS_MIN_ROOM	8U

/**
 * struct ksm_segments - directory of segments of %KSM_SEGMENT_BYTES each
 * @mem: allocator
 * @dir: the segments; NULL until the first one is made
 * @room: entries that @dir has; those of absent segments are NULL
 */
struct ksm_segments {
	const struct ksm_mem_ops *mem;
	void **dir;
	u32 room;
};

/**
 * ksm_linear_slot() - find the slot that a hash belongs to
 * @hash: well mixed in its low bits
 * @nr: number of slots, 1 to 1 << 31
 *
 * Context: any.
 * Return: the slot, 0 to @nr - 1.
 */
static inline u32 ksm_linear_slot(u32 hash, u32 nr)
{
	u32 size = roundup_pow_of_two(nr);
	u32 slot = hash & (size - 1);

	return slot < nr ? slot : slot - size / 2;
}

/**
 * ksm_linear_buddy() - find the slot that another one is split from
 * @slot: 1 or more
 *
 * Context: any.
 * Return: the slot that shared its hashes with @slot before @slot was made.
 */
static inline u32 ksm_linear_buddy(u32 slot)
{
	return slot - rounddown_pow_of_two(slot);
}

/* Doubles the directory, or makes the first one. */
static inline int ksm_segments_widen(struct ksm_segments *segs)
{
	u32 room = segs->room ? 2 * segs->room : KSM_SEGMENTS_MIN_ROOM;
	void **dir = segs->mem->alloc(room * sizeof(*dir));

	if (!dir)
		return -ENOMEM;
	if (segs->dir)
		memcpy(dir, segs->dir, segs->room * sizeof(*dir));
	segs->mem->free(segs->dir);
	segs->dir = dir;
	segs->room = room;
	return 0;
}

/**
 * ksm_segments_add() - make a segment, zeroed
 * @segs: the directory
 * @nr: the segment's number: that of the segments there are
 *
 * Context: caller serialises; the allocator may sleep.
 * Return: 0, or -ENOMEM and nothing has changed that a search could see.
 */
static inline int ksm_segments_add(struct ksm_segments *segs, u32 nr)
{
	if (nr == segs->room && ksm_segments_widen(segs))
		return -ENOMEM;
	segs->dir[nr] = segs->mem->alloc(KSM_SEGMENT_BYTES);
	return segs->dir[nr] ? 0 : -ENOMEM;
}

/**
 * ksm_segments_drop() - free a segment
 * @segs: the directory
 * @nr: the last segment's number
 *
 * Context: caller serialises.
 */
static inline void ksm_segments_drop(struct ksm_segments *segs, u32 nr)
{
	segs->mem->free(segs->dir[nr]);
	segs->dir[nr] = NULL;
}

/**
 * ksm_segments_destroy() - free all segments and the directory
 * @segs: the directory; is as good as new afterwards
 *
 * Context: caller serialises.
 */
static inline void ksm_segments_destroy(struct ksm_segments *segs)
{
	u32 nr;

	if (!segs->dir)
		return;
	for (nr = 0; nr < segs->room; nr++)
		segs->mem->free(segs->dir[nr]);
	segs->mem->free(segs->dir);
	segs->dir = NULL;
	segs->room = 0;
}

/**
 * ksm_segments_validate() - check that the segments in use are there
 * @segs: the directory
 * @used: how many segments are in use
 *
 * Context: caller serialises.
 * Return: whether these segments exist and no others; if not, a line is printed.
 */
static inline bool ksm_segments_validate(const struct ksm_segments *segs, u32 used)
{
	u32 nr;

	if (!ksm_holds(used <= segs->room, "%u segments, room for %u", used,
		       segs->room))
		return false;
	for (nr = 0; nr < segs->room; nr++) {
		bool in_use = nr < used;

		if (!ksm_holds(!!segs->dir[nr] == in_use, "segment %u of %u",
			       nr, used))
			return false;
	}
	return true;
}

#endif /* _MM_KSM_LINEAR_H */
