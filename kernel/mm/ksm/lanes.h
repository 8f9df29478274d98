/* SPDX-License-Identifier: GPL-2.0-only */
/* Several walks at once, hashed by several threads. See lanes.c. */
#ifndef _MM_KSM_LANES_H
#define _MM_KSM_LANES_H

#include <linux/bitmap.h>
#include "domain.h"
#include "walk.h"

#define KSM_LANES_MAX	8U

/**
 * struct ksm_lane - a walk, and the hashes of its pages
 * @walk: the walk
 * @look: which of its items are looked at in this pass
 * @hash: content hashes of those that are no KSM pages
 */
struct ksm_lane {
	struct ksm_walk walk;
	DECLARE_BITMAP(look, KSM_WALK_PAGES);
	u64 hash[KSM_WALK_PAGES];
};

void ksm_lanes_hash(const struct ksm_domain *domain, struct ksm_lane *lane,
		    unsigned int nr);
unsigned int ksm_lanes_get_threads(void);
int ksm_lanes_set_threads(unsigned int threads);
u64 ksm_lanes_cpu_ns(void);
void ksm_lanes_init(void);

#endif /* _MM_KSM_LANES_H */
