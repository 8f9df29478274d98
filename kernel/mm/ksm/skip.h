/* SPDX-License-Identifier: GPL-2.0-only */
/* Which pages a pass does not look at. See skip.c. */
#ifndef _MM_KSM_SKIP_H
#define _MM_KSM_SKIP_H

#include "domain.h"
#include "lanes.h"

/**
 * ksm_skip_looks - what passing by pages costs, in looks
 * @pages: how many pages were passed by
 *
 * Return: the number of looks it counts as, towards pages_to_scan.
 */
static inline unsigned int ksm_skip_looks(unsigned int pages)
{
	return DIV_ROUND_UP(pages, 16);
}

void ksm_skip_choose(struct ksm_mm_slot *slot, struct ksm_lane *lane, u64 pass);
bool ksm_skip_rests(struct ksm_mm_slot *slot, unsigned long start, u64 pass);
unsigned int ksm_skip_chunks(struct ksm_mm_slot *slot, u64 pass);

#endif /* _MM_KSM_SKIP_H */
