/* SPDX-License-Identifier: GPL-2.0-only */
/* Life of stable nodes and of the mapping records that share them. See node.c. */
#ifndef _MM_KSM_NODE_H
#define _MM_KSM_NODE_H

#include "domain.h"

int ksm_node_init(void);
void ksm_node_exit(void);

struct ksm_stable_node *ksm_node_new(struct ksm_domain *domain);
void ksm_node_free(struct ksm_stable_node *node);
void ksm_node_insert(struct ksm_stable_node *node, int nid, u64 hash,
		     struct ksm_copy *lead);
void ksm_node_remove_stale(struct ksm_stable_node *node);
void ksm_node_move(struct ksm_stable_node *node, int nid);

struct ksm_mapping *ksm_mapping_new(void);
void ksm_mapping_free(struct ksm_mapping *mapping);
void ksm_mapping_attach(struct ksm_mapping *mapping, struct ksm_mm_chunk *mc,
			unsigned int slot, struct ksm_stable_node *node,
			struct anon_vma *anon_vma, unsigned long pgoff);
void ksm_mapping_move(struct ksm_mapping *mapping, struct ksm_stable_node *node);
void ksm_record_drop(struct ksm_mm_chunk *mc, unsigned int slot);

void ksm_node_prune_idle(struct ksm_domain *domain, bool chains);
void ksm_node_disown_all(struct ksm_domain *domain);
void ksm_node_regroup(struct ksm_domain *domain);
void ksm_node_drop_range(struct ksm_domain *domain, unsigned long start_pfn,
			 unsigned long end_pfn);

#endif /* _MM_KSM_NODE_H */
