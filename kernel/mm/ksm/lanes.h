/* SPDX-License-Identifier: GPL-2.0-only */
/* Walks ahead of the scan, hashed by several threads. See lanes.c. */
#ifndef _MM_KSM_LANES_H
#define _MM_KSM_LANES_H

#include <linux/atomic.h>
#include <linux/bitmap.h>
#include "domain.h"
#include "walk.h"

#define KSM_THREADS_MAX	8U

/**
 * struct ksm_lane - a walk, and the hashes of its pages
 * @walk: the walk
 * @look: which of its items are looked at in this pass
 * @hash: content hashes of those that are no KSM pages
 * @state: private: who may use it; see lanes.c
 */
struct ksm_lane {
	struct ksm_walk walk;
	DECLARE_BITMAP(look, KSM_WALK_PAGES);
	u64 hash[KSM_WALK_PAGES];
	atomic_t state;
};

struct ksm_lane *ksm_lanes_free(void);
struct ksm_lane *ksm_lanes_last(void);
void ksm_lanes_add(const struct ksm_domain *domain);
struct ksm_lane *ksm_lanes_first(void);
void ksm_lanes_assert_read(const struct ksm_lane *lane);
void ksm_lanes_done(void);
void ksm_lanes_drop(void);
unsigned int ksm_lanes_get_threads(void);
int ksm_lanes_set_threads(unsigned int threads);
u64 ksm_lanes_cpu_ns(void);
void ksm_lanes_init(void);

#endif /* _MM_KSM_LANES_H */
