/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Domains: who may share with whom.
 *
 * A domain owns everything that can make two pages meet: the indexes, the hash
 * key, the limits, the counters. Two pages can be merged only if a lookup in one
 * domain's index finds the one for the other, so pages of different domains
 * cannot meet. There is one domain today, the default.
 *
 * Lock order of the whole engine, outermost first:
 *
 *   memory hotplug lock
 *     ksm_scan_mutex		scan, sysfs stores; guards domains, chunks, nodes
 *       mmap_lock
 *         page lock		guards a node's list of sharers
 *           anon_vma rwsem	(rmap walk)
 *           mmu notifier range
 *             PTE lock
 *     registry lock		(spinlock) guards the lists of registered mms
 *
 * madvise and fork come with mmap_lock held for writing, so they never take
 * ksm_scan_mutex.
 */
#ifndef _MM_KSM_DOMAIN_H
#define _MM_KSM_DOMAIN_H

#include <linux/atomic.h>
#include <linux/gfp.h>
#include <linux/mutex.h>
#include <linux/xarray.h>
#include "candidates.h"
#include "hash.h"
#include "index.h"
#include "mapping.h"
#include "stats.h"

/*
 * For what the scan allocates: that is never worth an OOM kill.
 * Without memory a page is not merged, or an index is slower or forgets.
 */
#define KSM_GFP		(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN)

extern struct mutex ksm_scan_mutex;
extern const struct ksm_mem_ops ksm_kernel_mem;

/**
 * struct ksm_limits - what the administrator allows in a domain
 * @max_page_sharing: sharers of one KSM page, at least 2
 * @use_zero_pages: merge pages of zeroes with the kernel's zero page
 * @merge_across_nodes: pages of different NUMA nodes may share
 * @prune_millisecs: how often nodes without a page are looked for in chains
 * @huge_split_min: a huge page is split if so many of its pages can be merged, 1 to
 *	KSM_CHUNK_PAGES
 */
struct ksm_limits {
	unsigned int max_page_sharing;
	bool use_zero_pages;
	bool merge_across_nodes;
	unsigned int prune_millisecs;
	unsigned int huge_split_min;
};

/**
 * struct ksm_domain_node - the indexes of one NUMA node of a domain
 * @stable: contents of KSM pages
 * @candidates: contents of pages that nobody shares yet
 */
struct ksm_domain_node {
	struct ksm_index stable;
	struct ksm_candidates candidates;
};

/**
 * struct ksm_domain - a set of mms that may share with each other
 * @stats: counters
 * @refused: pages not merged, by reason, ever; no lock
 * @limits: what is allowed
 * @key: of the content hash; random, so that nobody can choose equal hashes
 *	(hash.h)
 * @zero_hash: hash of a page of zeroes
 * @chunks: chunk id -> struct ksm_mm_chunk
 * @finder: finds in @chunks for the candidate indexes
 * @nr_chunks: how many there are
 * @nr_anchors: anchors of all these chunks
 * @huge_splits: huge pages split to merge some of them, ever
 * @huge_merged: pages of those that were merged, ever
 * @idle: stable nodes without sharers
 * @node: indexes by NUMA node; all in the first if merge_across_nodes
 * @nr_nodes: entries of @node
 *
 * All under ksm_scan_mutex; counters are read without it.
 */
struct ksm_domain {
	struct ksm_stats stats;
	atomic_long_t refused[KSM_NR_REFUSALS];
	struct ksm_limits limits;
	struct ksm_hash_key key;
	u64 zero_hash;
	struct xarray chunks;
	struct ksm_chunk_finder finder;
	unsigned long nr_chunks;
	unsigned long nr_anchors;
	u64 huge_splits;
	u64 huge_merged;
	struct list_head idle;
	struct ksm_domain_node *node;
	unsigned int nr_nodes;
};

extern struct ksm_domain ksm_default_domain;
extern const char *const ksm_refusal_names[KSM_NR_REFUSALS];
#ifdef CONFIG_KSM_SAMEPAGE_DEBUG
extern bool ksm_debug_collide;
#endif

int ksm_domain_init(struct ksm_domain *domain);
void ksm_domain_destroy(struct ksm_domain *domain);
int ksm_domain_nid(const struct ksm_domain *domain, struct page *page);
u64 ksm_domain_hash(const struct ksm_domain *domain, struct page *page);
void ksm_domain_refused(struct ksm_domain *domain, struct mm_struct *mm,
			enum ksm_refusal why, unsigned long pages);
unsigned long ksm_domain_metadata(const struct ksm_domain *domain);
void ksm_domain_withdraw(struct ksm_domain *domain, struct ksm_mm_chunk *mc,
			 unsigned int slot);
void ksm_domain_forget_candidates(struct ksm_domain *domain);
bool ksm_domain_validate(struct ksm_domain *domain);

#endif /* _MM_KSM_DOMAIN_H */
