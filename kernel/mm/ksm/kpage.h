/* SPDX-License-Identifier: GPL-2.0-only */
/* The link between a KSM page and its stable node. See kpage.c. */
#ifndef _MM_KSM_KPAGE_H
#define _MM_KSM_KPAGE_H

#include "mapping.h"

/**
 * enum ksm_kpage_lock - what ksm_kpage_get() does about the page lock
 * @KSM_KPAGE_NOLOCK: leave it alone
 * @KSM_KPAGE_LOCK: wait for it
 */
enum ksm_kpage_lock {
	KSM_KPAGE_NOLOCK,
	KSM_KPAGE_LOCK,
};

struct page *ksm_kpage_get(struct ksm_stable_node *node,
			   enum ksm_kpage_lock lock);
struct ksm_stable_node *ksm_kpage_node(struct page *page);
void ksm_kpage_adopt(struct page *page, struct ksm_stable_node *node);
void ksm_kpage_keep(struct page *page);
void ksm_kpage_disown(struct page *page);
void ksm_kpage_set_unmerging(bool on);
bool ksm_kpage_is_unmerging(void);
void ksm_kpage_moved(struct folio *newfolio, struct folio *folio);

static inline void ksm_kpage_unlock_put(struct page *page)
{
	unlock_page(page);
	put_page(page);
}

#endif /* _MM_KSM_KPAGE_H */
