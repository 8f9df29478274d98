/* SPDX-License-Identifier: GPL-2.0-only */
/* Registered mms, their chunks, and cursors over them. See registry.c. */
#ifndef _MM_KSM_REGISTRY_H
#define _MM_KSM_REGISTRY_H

#include "domain.h"

/**
 * enum ksm_cursor - who goes over the registered mms
 * @KSM_CURSOR_SCAN: the scan, a part of an mm at a time
 * @KSM_CURSOR_UNMERGE: run=2, from the first to the last at once
 * @KSM_NR_CURSORS: number of cursors
 */
enum ksm_cursor {
	KSM_CURSOR_SCAN,
	KSM_CURSOR_UNMERGE,
	KSM_NR_CURSORS
};

int ksm_registry_init(void);
void ksm_registry_exit(void);

int ksm_registry_add(struct mm_struct *mm, struct ksm_domain *domain,
		     bool *first);
bool ksm_registry_remove(struct mm_struct *mm);
bool ksm_registry_is_empty(void);
bool ksm_registry_has_dead(void);

void ksm_cursor_rewind(enum ksm_cursor cursor);
struct ksm_mm_slot *ksm_cursor_borrow(enum ksm_cursor cursor);
void ksm_cursor_return(enum ksm_cursor cursor, struct ksm_mm_slot *slot,
		       bool advance);
void ksm_registry_retire(struct ksm_mm_slot *slot);
void ksm_registry_reap(void);

struct ksm_mm_chunk *ksm_slot_find_chunk(struct ksm_mm_slot *slot,
					 unsigned long addr);
struct ksm_mm_chunk *ksm_slot_chunk(struct ksm_mm_slot *slot,
				    unsigned long start);
void ksm_slot_purge(struct ksm_mm_slot *slot, unsigned long from,
		    unsigned long to, const unsigned long *keep);

#endif /* _MM_KSM_REGISTRY_H */
