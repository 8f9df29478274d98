/* SPDX-License-Identifier: GPL-2.0-only */
/* What becomes of one scanned page. See match.c. */
#ifndef _MM_KSM_MATCH_H
#define _MM_KSM_MATCH_H

#include "mapping.h"

/**
 * struct ksm_scanned - a page that the scan came by
 * @mc: its chunk
 * @slot: its slot in the chunk
 * @page: the page; the caller holds one reference
 * @was_split: set if @page was part of a huge page and no longer is
 */
struct ksm_scanned {
	struct ksm_mm_chunk *mc;
	unsigned int slot;
	struct page *page;
	bool was_split;
};

void ksm_match_page(struct ksm_domain *domain, struct ksm_scanned *scanned);
void ksm_match_sweep(struct ksm_domain *domain, unsigned int nr_pages);

#endif /* _MM_KSM_MATCH_H */
