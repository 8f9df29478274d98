// SPDX-License-Identifier: GPL-2.0-only
/*
 * Life of stable nodes and of the mapping records that share them.
 *
 * A node is made for a page that is about to become a KSM page, and goes when its
 * page is found gone through the keyhole, or is disowned. Between the two it may
 * be without sharers: then it is idle, and its page is mapped only by forked
 * processes not yet scanned, or sits in the swap cache.
 */
#include <linux/pagemap.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <trace/events/ksm.h>

#include "anchor.h"
#include "kpage.h"
#include "node.h"

static struct kmem_cache *node_cache;
static struct kmem_cache *mapping_cache;

/**
 * ksm_node_init - make the caches
 *
 * Return: 0 or -ENOMEM.
 */
int __init ksm_node_init(void)
{
	node_cache = kmem_cache_create("ksm_stable_node",
				       sizeof(struct ksm_stable_node), 0, 0, NULL);
	mapping_cache = kmem_cache_create("ksm_mapping",
					  sizeof(struct ksm_mapping), 0, 0, NULL);
	if (node_cache && mapping_cache && !ksm_anchor_init())
		return 0;
	ksm_node_exit();
	return -ENOMEM;
}

/** ksm_node_exit - free the caches, if there are any */
void ksm_node_exit(void)
{
	ksm_anchor_exit();
	kmem_cache_destroy(mapping_cache);
	kmem_cache_destroy(node_cache);
}

/**
 * ksm_node_new - make a node that has no page and is in no index yet
 * @domain: the domain it will belong to
 *
 * Return: the node, or NULL without memory.
 */
struct ksm_stable_node *ksm_node_new(struct ksm_domain *domain)
{
	struct ksm_stable_node *node = kmem_cache_zalloc(node_cache, KSM_GFP);

	if (!node)
		return NULL;
	ksm_copy_init(&node->copy);
	INIT_LIST_HEAD(&node->idle);
	node->domain = domain;
	node->nid = NUMA_NO_NODE;
	return node;
}

/**
 * ksm_node_free - free a node that has no page and is in no index
 * @node: the node, or NULL
 */
void ksm_node_free(struct ksm_stable_node *node)
{
	if (node)
		kmem_cache_free(node_cache, node);
}

static struct ksm_index *node_index(const struct ksm_stable_node *node)
{
	return &node->domain->node[node->nid].stable;
}

/**
 * ksm_node_insert - let lookups find a node
 * @node: a node with a page
 * @nid: the index it belongs in
 * @hash: hash of its content
 * @lead: a node of equal content that is full, in the same index; or NULL
 *
 * Until it has sharers it is idle.
 *
 * Context: ksm_scan_mutex held.
 */
void ksm_node_insert(struct ksm_stable_node *node, int nid, u64 hash,
		     struct ksm_copy *lead)
{
	struct ksm_domain *domain = node->domain;

	lockdep_assert_held(&ksm_scan_mutex);
	node->nid = nid;
	if (lead)
		ksm_chain_add_copy(lead, &node->copy,
				   domain->limits.max_page_sharing,
				   &domain->stats);
	else
		ksm_chain_add_lead(node_index(node), &node->copy, hash,
				   &domain->stats);
	list_add(&node->idle, &domain->idle);
}

/* Free a record that no node lists any more. */
static void mapping_release(struct ksm_mapping *mapping, struct ksm_anchor *anchor)
{
	ksm_anchor_put(anchor);
	kmem_cache_free(mapping_cache, mapping);
}

/* Free a node that no page points to any more, and its records. */
static void node_remove(struct ksm_stable_node *node)
{
	struct ksm_domain *domain = node->domain;
	struct ksm_mapping *mapping, *next;

	lockdep_assert_held(&ksm_scan_mutex);
	for (mapping = node->sharers; mapping; mapping = next) {
		struct ksm_anchor *anchor = ksm_anchor_of(mapping);

		next = mapping->next;
		ksm_chain_unshare(&node->copy, domain->limits.max_page_sharing,
				  &domain->stats);
		ksm_chunk_clear(&anchor->chunk->c, ksm_mapping_slot(mapping));
		ksm_slot_publish(anchor->chunk->owner);
		mapping_release(mapping, anchor);
		cond_resched();
	}
	trace_ksm_remove_ksm_page(node->kpfn);
	list_del(&node->idle);
	if (node->nid != NUMA_NO_NODE)
		ksm_chain_remove(node_index(node), &node->copy, &domain->stats);
	ksm_node_free(node);
}

/**
 * ksm_node_remove_stale - free a node whose page was found gone
 * @node: a node for which ksm_kpage_get() returned -ESTALE
 *
 * Its records go, too.
 *
 * Context: ksm_scan_mutex held. May reschedule.
 */
void ksm_node_remove_stale(struct ksm_stable_node *node)
{
	node_remove(node);
}

/**
 * ksm_node_move - follow a page to another NUMA node's index
 * @node: the node
 * @nid: where its page is now
 *
 * It starts there as a content of its own, even where an equal one exists: the two
 * do not become one, but each takes new sharers.
 *
 * Context: ksm_scan_mutex held.
 */
void ksm_node_move(struct ksm_stable_node *node, int nid)
{
	struct ksm_domain *domain = node->domain;
	struct ksm_stats *stats = &domain->stats;
	unsigned int limit = domain->limits.max_page_sharing;
	u32 sharers = node->copy.sharers;
	u64 hash = node->copy.lead->in.hash;
	u32 i;

	lockdep_assert_held(&ksm_scan_mutex);
	for (i = 0; i < sharers; i++)
		ksm_chain_unshare(&node->copy, limit, stats);
	ksm_chain_remove(node_index(node), &node->copy, stats);
	node->nid = nid;
	ksm_copy_init(&node->copy);
	ksm_chain_add_lead(node_index(node), &node->copy, hash, stats);
	for (i = 0; i < sharers; i++)
		ksm_chain_share(&node->copy, limit, stats);
}

/**
 * ksm_mapping_new - make a record for a page that is about to be merged
 *
 * Context: ksm_scan_mutex held. May sleep.
 * Return: the record, or NULL without memory.
 */
struct ksm_mapping *ksm_mapping_new(void)
{
	struct ksm_mapping *mapping = kmem_cache_zalloc(mapping_cache, KSM_GFP);

	if (mapping && !ksm_anchor_reserve()) {
		kmem_cache_free(mapping_cache, mapping);
		return NULL;
	}
	return mapping;
}

/**
 * ksm_mapping_free - free a record that was not attached to anything
 * @mapping: the record, or NULL
 *
 * Context: ksm_scan_mutex held.
 */
void ksm_mapping_free(struct ksm_mapping *mapping)
{
	if (!mapping)
		return;
	ksm_anchor_unreserve();
	kmem_cache_free(mapping_cache, mapping);
}

/* Give a record to a node. The node's page is locked by the caller. */
static void mapping_list(struct ksm_mapping *mapping, struct ksm_stable_node *node)
{
	struct ksm_domain *domain = node->domain;

	lockdep_assert_held(&ksm_scan_mutex);
	mapping->node = node;
	mapping->before = 0;
	mapping->next = node->sharers;
	if (mapping->next)
		mapping->next->before = mapping->place;
	node->sharers = mapping;
	list_del_init(&node->idle);
	ksm_chain_share(&node->copy, domain->limits.max_page_sharing,
			&domain->stats);
}

/**
 * ksm_mapping_attach - a page now maps a KSM page
 * @mapping: a record from ksm_mapping_new(), its own from now on
 * @mc: the page's chunk
 * @slot: its slot in the chunk
 * @node: the KSM page's node, in an index
 * @anon_vma: where reverse mapping finds the PTE
 * @pgoff: the page's index there
 *
 * Context: ksm_scan_mutex and the KSM page's lock held, and mmap_lock, which
 * keeps @anon_vma until a reference is taken.
 */
void ksm_mapping_attach(struct ksm_mapping *mapping, struct ksm_mm_chunk *mc,
			unsigned int slot, struct ksm_stable_node *node,
			struct anon_vma *anon_vma, unsigned long pgoff)
{
	mapping->place = ksm_ref(ksm_anchor_get(mc, anon_vma, pgoff - slot)->id, slot);
	ksm_domain_withdraw(node->domain, mc, slot);
	/* In this order readers without a lock never see more shared than stable. */
	ksm_chunk_set_stable(&mc->c, slot, mapping);
	mapping_list(mapping, node);
	ksm_slot_publish(mc->owner);
}

/*
 * Take a record from its node. The node's page is locked by the caller; the chunk still
 * has the record, and those of all other sharers.
 */
static void mapping_detach(struct ksm_mapping *mapping)
{
	struct ksm_stable_node *node = mapping->node;
	struct ksm_domain *domain = node->domain;
	struct ksm_mapping **link = &node->sharers;

	lockdep_assert_held(&ksm_scan_mutex);
	if (mapping->before)
		link = &ksm_anchor_mapping(mapping->before)->next;
	VM_WARN_ON_ONCE(*link != mapping);
	*link = mapping->next;
	if (mapping->next)
		mapping->next->before = mapping->before;
	ksm_chain_unshare(&node->copy, domain->limits.max_page_sharing,
			  &domain->stats);
	if (!node->sharers)
		list_add(&node->idle, &domain->idle);
}

/**
 * ksm_mapping_move - an address now maps another KSM page of equal content
 * @mapping: its record
 * @node: the other page's node
 *
 * Context: ksm_scan_mutex and both KSM pages' locks held.
 */
void ksm_mapping_move(struct ksm_mapping *mapping, struct ksm_stable_node *node)
{
	mapping_detach(mapping);
	mapping_list(mapping, node);
}

/**
 * ksm_record_drop - forget what is known of a page
 * @mc: the chunk
 * @slot: the page's slot
 *
 * Context: ksm_scan_mutex held. May wait for a KSM page's lock.
 */
void ksm_record_drop(struct ksm_mm_chunk *mc, unsigned int slot)
{
	struct ksm_mapping *mapping;
	struct ksm_stable_node *node;
	struct page *page;

	lockdep_assert_held(&ksm_scan_mutex);
	if (ksm_chunk_state(&mc->c, slot) != KSM_PAGE_STABLE) {
		ksm_domain_withdraw(mc->owner->domain, mc, slot);
		ksm_chunk_clear(&mc->c, slot);
		return;
	}
	mapping = ksm_chunk_mapping(&mc->c, slot);
	node = mapping->node;
	trace_ksm_remove_rmap_item(READ_ONCE(node->kpfn), mapping,
				   mc->owner->slot.mm);
	page = ksm_kpage_get(node, KSM_KPAGE_LOCK);
	if (IS_ERR(page)) {
		/* The page is gone: so are all its records, this one too. */
		node_remove(node);
		return;
	}
	mapping_detach(mapping);
	ksm_kpage_unlock_put(page);
	ksm_chunk_clear(&mc->c, slot);
	ksm_slot_publish(mc->owner);
	mapping_release(mapping, ksm_anchor_of(mapping));
}

static bool node_is_in_chain(const struct ksm_stable_node *node)
{
	return node->copy.lead->nr_copies > 1;
}

/*
 * Free an idle node if nobody maps its page. The page lock keeps a swap-in from
 * mapping it while we look.
 */
static void node_disown(struct ksm_stable_node *node)
{
	struct page *page = ksm_kpage_get(node, KSM_KPAGE_LOCK);

	if (IS_ERR(page)) {
		node_remove(node);
		return;
	}
	if (!page_mapped(page)) {
		ksm_kpage_disown(page);
		node_remove(node);
	}
	ksm_kpage_unlock_put(page);
}

/**
 * ksm_node_prune_idle - free the nodes whose page is gone
 * @domain: the domain
 * @chains: look at those of contents with several KSM pages, too. A full content
 *	keeps many nodes: how often they are looked at is the administrator's
 *	choice (stable_node_chains_prune_millisecs).
 *
 * Context: ksm_scan_mutex held. May reschedule.
 */
void ksm_node_prune_idle(struct ksm_domain *domain, bool chains)
{
	struct ksm_stable_node *node, *next;

	lockdep_assert_held(&ksm_scan_mutex);
	list_for_each_entry_safe(node, next, &domain->idle, idle) {
		struct page *page;

		if (!chains && node_is_in_chain(node))
			continue;
		page = ksm_kpage_get(node, KSM_KPAGE_NOLOCK);
		if (IS_ERR(page)) {
			node_remove(node);
		} else {
			put_page(page);
			/* A bad page is never freed. */
			if (PageHWPoison(page))
				node_disown(node);
		}
		cond_resched();
	}
}

/**
 * ksm_node_disown_all - free every node that has no sharers and is not mapped
 * @domain: the domain
 *
 * Pages that sit in the swap cache lose their node and are copied when they are
 * next asked for. A page that is still mapped keeps its node, so that it can be
 * moved and swapped: by an mm that is exiting, or one that never was registered
 * and had the page before a process forked from it was.
 *
 * Context: ksm_scan_mutex held. May sleep.
 */
void ksm_node_disown_all(struct ksm_domain *domain)
{
	struct ksm_stable_node *node, *next;

	lockdep_assert_held(&ksm_scan_mutex);
	list_for_each_entry_safe(node, next, &domain->idle, idle) {
		node_disown(node);
		cond_resched();
	}
}

/**
 * ksm_node_regroup - put every node into the index where lookups will expect it
 * @domain: the domain; merge_across_nodes has changed and nothing is shared
 *
 * Context: ksm_scan_mutex held. May reschedule.
 */
void ksm_node_regroup(struct ksm_domain *domain)
{
	struct ksm_stable_node *node, *next;

	lockdep_assert_held(&ksm_scan_mutex);
	list_for_each_entry_safe(node, next, &domain->idle, idle) {
		struct page *page = ksm_kpage_get(node, KSM_KPAGE_NOLOCK);
		int nid;

		if (IS_ERR(page)) {
			node_remove(node);
			continue;
		}
		nid = ksm_domain_nid(domain, page);
		put_page(page);
		if (node->nid != nid)
			ksm_node_move(node, nid);
		cond_resched();
	}
}

struct pfn_range {
	unsigned long start;
	unsigned long end;
};

static void drop_copy(struct ksm_copy *copy, const struct pfn_range *range)
{
	struct ksm_stable_node *node = ksm_copy_node(copy);

	if (node->kpfn >= range->start && node->kpfn < range->end)
		node_remove(node);
}

static void drop_content(struct ksm_index_node *in, void *arg)
{
	struct ksm_copy *lead = container_of(in, struct ksm_copy, in);
	struct ksm_copy *copy, *next;

	list_for_each_entry_safe(copy, next, &lead->copies, copies)
		drop_copy(copy, arg);
	drop_copy(lead, arg);
}

/**
 * ksm_node_drop_range - forget nodes whose memory was taken away
 * @domain: the domain
 * @start_pfn: first page frame
 * @end_pfn: first page frame after it
 *
 * The page structs may be gone already: they are not looked at.
 *
 * Context: ksm_scan_mutex held. May reschedule.
 */
void ksm_node_drop_range(struct ksm_domain *domain, unsigned long start_pfn,
			 unsigned long end_pfn)
{
	struct pfn_range range = { start_pfn, end_pfn };
	unsigned int nid;
	u32 bucket;

	lockdep_assert_held(&ksm_scan_mutex);
	for (nid = 0; nid < domain->nr_nodes; nid++) {
		bucket = 0;
		do {
			bucket = ksm_index_visit(&domain->node[nid].stable,
						 bucket, 64, drop_content,
						 &range);
			cond_resched();
		} while (bucket);
	}
}
