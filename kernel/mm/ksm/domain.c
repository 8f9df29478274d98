// SPDX-License-Identifier: GPL-2.0-only
/* Domains: see domain.h for what they are and for the lock order. */
#include <linux/hash.h>
#include <linux/highmem.h>
#include <linux/nodemask.h>
#include <linux/random.h>
#include <linux/slab.h>

#include "domain.h"

DEFINE_MUTEX(ksm_scan_mutex);

struct ksm_domain ksm_default_domain;

/* As sysfs shows them; /proc/PID/ksm_stat puts "ksm_" before. */
const char *const ksm_refusal_names[KSM_NR_REFUSALS] = {
	[KSM_REFUSED_VOLATILE] = "refused_volatile",
	[KSM_REFUSED_PINNED] = "refused_pinned",
	[KSM_REFUSED_HUGE] = "refused_huge",
	[KSM_REFUSED_SHARED] = "refused_shared",
	[KSM_REFUSED_HUGETLB] = "refused_hugetlb",
	[KSM_REFUSED_SPECIAL] = "refused_special",
	[KSM_REFUSED_NODE] = "refused_node",
	[KSM_REFUSED_LIMIT] = "refused_limit",
	[KSM_REFUSED_RACED] = "refused_raced",
	[KSM_REFUSED_LOCKED] = "refused_locked",
	[KSM_REFUSED_DIFFERENT] = "refused_different",
	[KSM_REFUSED_UFFD_WP] = "refused_uffd_wp",
	[KSM_REFUSED_NOMEM] = "refused_nomem",
};

/*
 * Index memory is never worth an OOM kill: an index that cannot grow is slower
 * or forgets, nothing else. Directories can be large, hence vmalloc.
 */
static void *kernel_alloc(size_t bytes)
{
	return kvzalloc(bytes, GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN);
}

static void kernel_free(void *mem)
{
	kvfree(mem);
}

const struct ksm_mem_ops ksm_kernel_mem = {
	.alloc = kernel_alloc,
	.free = kernel_free,
};

#ifdef CONFIG_KSM_SAMEPAGE_DEBUG
/* Let all pages hash like a page of zeroes: only the comparisons are left. */
bool ksm_debug_collide;

static bool hash_collides(void)
{
	return READ_ONCE(ksm_debug_collide);
}
#else
static bool hash_collides(void)
{
	return false;
}
#endif

/**
 * ksm_domain_hash - hash the content of a page
 * @domain: whose key to use
 * @page: the page; it may change while it is read, then so will its hash
 *
 * Context: Any.
 * Return: the hash.
 */
u64 ksm_domain_hash(const struct ksm_domain *domain, struct page *page)
{
	void *addr = kmap_local_page(page);
	u64 hash = ksm_hash_page(&domain->key, addr);

	BUILD_BUG_ON(KSM_HASH_BYTES != PAGE_SIZE);
	kunmap_local(addr);
	return hash_collides() ? domain->zero_hash : hash;
}

/**
 * ksm_domain_nid - which of the domain's indexes a page belongs in
 * @domain: the domain
 * @page: the page
 *
 * Context: Any.
 * Return: the number of the index.
 */
int ksm_domain_nid(const struct ksm_domain *domain, struct page *page)
{
	return domain->limits.merge_across_nodes ? 0 : page_to_nid(page);
}

/**
 * ksm_domain_record_hash - the hash by which the record of a page knows it
 * @hash: its content hash
 * @nid: its node, from ksm_domain_nid()
 *
 * Pages that must not meet differ in it, so they need no index each. A page that
 * moves to another node looks changed to the scan, and becomes a candidate anew.
 *
 * Context: Any.
 * Return: a hash of both.
 */
u64 ksm_domain_record_hash(u64 hash, unsigned int nid)
{
	return hash + nid * GOLDEN_RATIO_64;
}

static void domain_free_indexes(struct ksm_domain *domain)
{
	while (domain->nr_nodes)
		ksm_index_destroy(&domain->stable[--domain->nr_nodes]);
	kfree(domain->stable);
	domain->stable = NULL;
}

static int domain_alloc_indexes(struct ksm_domain *domain)
{
	unsigned int want = nr_node_ids;

	domain->stable = kcalloc(want, sizeof(*domain->stable), GFP_KERNEL);
	if (!domain->stable)
		return -ENOMEM;
	for (; domain->nr_nodes < want; domain->nr_nodes++) {
		int err = ksm_index_init(&domain->stable[domain->nr_nodes],
					 &ksm_kernel_mem);

		if (err) {
			domain_free_indexes(domain);
			return err;
		}
	}
	return 0;
}

static struct ksm_chunk *domain_find_chunk(const struct ksm_candidates *candidates,
					   u32 id)
{
	const struct ksm_domain *domain = container_of(candidates, struct ksm_domain,
						       candidates);
	struct ksm_mm_chunk *mc = xa_load((struct xarray *)&domain->chunks, id);

	return mc ? &mc->c : NULL;
}

/**
 * ksm_domain_init - make an empty domain with the default limits
 * @domain: the domain
 *
 * Context: May sleep.
 * Return: 0 or -ENOMEM.
 */
int ksm_domain_init(struct ksm_domain *domain)
{
	memset(domain, 0, sizeof(*domain));
	domain->limits = (struct ksm_limits) {
		.max_page_sharing = 256,
		.merge_across_nodes = true,
		.prune_millisecs = 2000,
		.huge_split_min = 16,
	};
	get_random_bytes(&domain->key, sizeof(domain->key));
	domain->zero_hash = ksm_domain_hash(domain, ZERO_PAGE(0));
	ksm_candidates_init(&domain->candidates, &ksm_kernel_mem, domain_find_chunk);
	xa_init_flags(&domain->chunks, XA_FLAGS_ALLOC1);
	INIT_LIST_HEAD(&domain->idle);
	return domain_alloc_indexes(domain);
}

/**
 * ksm_domain_destroy - free what an empty domain still holds
 * @domain: the domain; it has no chunks and no stable nodes
 */
void ksm_domain_destroy(struct ksm_domain *domain)
{
	domain_free_indexes(domain);
	ksm_candidates_destroy(&domain->candidates);
	xa_destroy(&domain->chunks);
}

/**
 * ksm_domain_refused - count pages that were not merged
 * @domain: the domain
 * @mm: whose pages
 * @why: the reason; KSM_REFUSED_NONE is not counted
 * @pages: how many
 *
 * Context: Any. @mm is held by mm_count at least.
 */
void ksm_domain_refused(struct ksm_domain *domain, struct mm_struct *mm,
			enum ksm_refusal why, unsigned long pages)
{
	BUILD_BUG_ON(KSM_NR_REFUSALS > KSM_MM_REFUSALS);
	if (why == KSM_REFUSED_NONE)
		return;
	atomic_long_add(pages, &domain->refused[why]);
	atomic_long_add(pages, &mm->ksm_refused[why]);
}

/**
 * ksm_domain_metadata - how much memory the engine takes for a domain
 * @domain: the domain
 *
 * Page records, the candidate index, stable nodes and mapping records. The stable
 * index' buckets are left out.
 *
 * Context: Any; without ksm_scan_mutex the sum may be a little out of date.
 * Return: bytes.
 */
unsigned long ksm_domain_metadata(const struct ksm_domain *domain)
{
	const struct ksm_stats *stats = &domain->stats;
	unsigned long bytes;

	bytes = READ_ONCE(domain->nr_chunks) *
		(sizeof(struct ksm_mm_chunk) + KSM_RECORDS_BYTES);
	bytes += READ_ONCE(stats->nodes) * sizeof(struct ksm_stable_node);
	bytes += READ_ONCE(stats->tally.pages[KSM_PAGE_STABLE]) *
		 sizeof(struct ksm_mapping);
	return bytes + ksm_candidates_bytes(&domain->candidates);
}

/* Do the chunks hold what they count, and is that what the domain counts? */
static bool domain_chunks_match(struct ksm_domain *domain)
{
	struct ksm_tally sum = {};
	struct ksm_mm_chunk *mc;
	unsigned long id;
	int state;

	xa_for_each(&domain->chunks, id, mc) {
		if (!ksm_chunk_validate(&mc->c))
			return false;
		for (state = KSM_PAGE_VOLATILE; state < KSM_NR_PAGE_STATES; state++)
			sum.pages[state] += ksm_chunk_count(&mc->c, state);
		cond_resched();
	}
	return !memcmp(&sum, &domain->stats.tally, sizeof(sum));
}

/* Is each candidate in a chain? In one and in its own it is if the chains are right. */
static bool domain_candidates_match(const struct ksm_domain *domain)
{
	return domain->candidates.count ==
		       domain->stats.tally.pages[KSM_PAGE_CANDIDATE] &&
	       ksm_candidates_validate(&domain->candidates);
}

/**
 * ksm_domain_validate - do the counters say what the records say?
 * @domain: the domain
 *
 * For debug kernels: it visits every record.
 *
 * Context: ksm_scan_mutex held. May sleep.
 */
bool ksm_domain_validate(struct ksm_domain *domain)
{
	lockdep_assert_held(&ksm_scan_mutex);
	return ksm_stats_validate(&domain->stats) && domain_chunks_match(domain) &&
	       domain_candidates_match(domain);
}
