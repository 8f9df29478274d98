/* SPDX-License-Identifier: GPL-2.0-only */
/* Finding a partner among pages that nobody shares yet. See pair.c. */
#ifndef _MM_KSM_PAIR_H
#define _MM_KSM_PAIR_H

#include "batch.h"

/**
 * enum ksm_pairing - what became of a search for a partner
 * @KSM_PAIR_NONE: there is none
 * @KSM_PAIR_FOUND: the pages are in the batch
 * @KSM_PAIR_FLUSHED: the batch had no room and was flushed: look again
 */
enum ksm_pairing { KSM_PAIR_NONE, KSM_PAIR_FOUND, KSM_PAIR_FLUSHED };

enum ksm_pairing ksm_pair_find(struct ksm_batch *batch, struct ksm_scanned *s,
			       u64 hash, struct ksm_copy *full);
bool ksm_pair_is_on_node(struct ksm_domain *domain, const struct ksm_scanned *s,
			 unsigned int nid);

#endif /* _MM_KSM_PAIR_H */
