/* SPDX-License-Identifier: GPL-2.0-only */
/* What all mapping records of a chunk have in common. See anchor.c. */
#ifndef _MM_KSM_ANCHOR_H
#define _MM_KSM_ANCHOR_H

#include "mapping.h"

int ksm_anchor_init(void);
void ksm_anchor_exit(void);

bool ksm_anchor_reserve(void);
void ksm_anchor_unreserve(void);
struct ksm_anchor *ksm_anchor_get(struct ksm_mm_chunk *mc,
				  struct anon_vma *anon_vma, unsigned long pgoff);
void ksm_anchor_put(struct ksm_anchor *anchor);
struct ksm_anchor *ksm_anchor_of(const struct ksm_mapping *mapping);
struct ksm_mapping *ksm_anchor_mapping(ksm_ref_t place);

#endif /* _MM_KSM_ANCHOR_H */
