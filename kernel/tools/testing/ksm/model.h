/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the small engine of sim.c must do, predicted by looking at all pages.
 *
 * The model knows no index, no chain and no record: what could merge with a page
 * it finds by comparing it with every other one. The engine may do less only where an
 * allocation failed.
 *
 * What only processes do (sim_write() and the like) needs no model.
 */
#ifndef _KSM_MODEL_H
#define _KSM_MODEL_H

#include "sim.h"

/* What the engine knows of a page, by plain means. */
struct known {
	enum ksm_page_state state;
	unsigned int age;
	u64 hash;
	u32 since;		/* when it became a candidate */
};

struct model {
	struct sim *sim;
	struct known known[SIM_PAGES];
	u32 added;		/* candidates so far */
	u32 missed;		/* merges the engine should have made and did not */
	u32 merged;
	u32 left;		/* sharers that left a spare KSM page */
};

struct model *model_new(u32 limit, u32 nr_hashes);

/* The engine's part, with a check of all that it did. */
void model_scan(struct model *model, u32 page);
void model_prune(struct model *model);
void model_exit(struct model *model, u32 mm);

/* Counts everything anew, and validates all structures. */
void model_check(struct model *model);

/* A pass over memory that nobody writes to any more; as many as change something. */
void model_pass(struct model *model);
void model_settle(struct model *model);
/* Holds after model_settle() if no two contents have one hash. */
void model_check_settled(struct model *model);

#endif /* _KSM_MODEL_H */
