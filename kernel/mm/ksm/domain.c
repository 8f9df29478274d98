// SPDX-License-Identifier: GPL-2.0-only
/* Domains: see domain.h for what they are and for the lock order. */
#include <linux/highmem.h>
#include <linux/nodemask.h>
#include <linux/random.h>
#include <linux/slab.h>

#include "check.h"
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

/* Directories can be large, hence vmalloc. */
static void *kernel_alloc(size_t bytes)
{
	return kvzalloc(bytes, KSM_GFP);
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

static struct ksm_chunk *find_chunk(struct ksm_chunk_finder *finder, u32 id)
{
	struct ksm_domain *domain = container_of(finder, struct ksm_domain, finder);
	struct ksm_mm_chunk *mc = xa_load(&domain->chunks, id);

	return mc ? &mc->c : NULL;
}

static void domain_free_nodes(struct ksm_domain *domain)
{
	while (domain->nr_nodes) {
		struct ksm_domain_node *node = &domain->node[--domain->nr_nodes];

		ksm_candidates_destroy(&node->candidates);
		ksm_index_destroy(&node->stable);
	}
	kfree(domain->node);
	domain->node = NULL;
}

static int domain_alloc_nodes(struct ksm_domain *domain)
{
	unsigned int want = nr_node_ids;

	domain->node = kcalloc(want, sizeof(*domain->node), GFP_KERNEL);
	if (!domain->node)
		return -ENOMEM;
	for (; domain->nr_nodes < want; domain->nr_nodes++) {
		struct ksm_domain_node *node = &domain->node[domain->nr_nodes];
		int err = ksm_index_init(&node->stable, &ksm_kernel_mem);

		if (err) {
			domain_free_nodes(domain);
			return err;
		}
		ksm_candidates_init(&node->candidates, &ksm_kernel_mem,
				    &domain->finder);
	}
	return 0;
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
	xa_init_flags(&domain->chunks, XA_FLAGS_ALLOC1);
	domain->finder.find = find_chunk;
	INIT_LIST_HEAD(&domain->idle);
	return domain_alloc_nodes(domain);
}

/**
 * ksm_domain_destroy - free what an empty domain still holds
 * @domain: the domain; it has no chunks and no stable nodes
 */
void ksm_domain_destroy(struct ksm_domain *domain)
{
	domain_free_nodes(domain);
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
 * Page records, candidate entries, stable nodes, mapping records and their anchors.
 * The stable index' buckets are left out.
 *
 * Context: Any; without ksm_scan_mutex the sum may be a little out of date.
 * Return: bytes.
 */
unsigned long ksm_domain_metadata(const struct ksm_domain *domain)
{
	const struct ksm_stats *stats = &domain->stats;
	unsigned long bytes;
	unsigned int nid;

	bytes = READ_ONCE(domain->nr_chunks) *
		(sizeof(struct ksm_mm_chunk) + KSM_RECORDS_BYTES);
	bytes += READ_ONCE(stats->nodes) * sizeof(struct ksm_stable_node);
	bytes += READ_ONCE(stats->tally.pages[KSM_PAGE_STABLE]) *
		 sizeof(struct ksm_mapping);
	bytes += READ_ONCE(domain->nr_anchors) * sizeof(struct ksm_anchor);
	for (nid = 0; nid < domain->nr_nodes; nid++)
		/* A little out of date is good enough. */
		bytes += data_race(ksm_candidates_bytes(&domain->node[nid].candidates));
	return bytes;
}

/**
 * ksm_domain_withdraw - a page is no candidate any more, if it was one
 * @domain: the domain
 * @mc: the page's chunk
 * @slot: its slot; any other state stays
 *
 * Its page may have moved to another NUMA node since, so all indexes are asked.
 *
 * Context: ksm_scan_mutex held.
 */
void ksm_domain_withdraw(struct ksm_domain *domain, struct ksm_mm_chunk *mc,
			 unsigned int slot)
{
	unsigned int nid;

	lockdep_assert_held(&ksm_scan_mutex);
	if (ksm_chunk_state(&mc->c, slot) != KSM_PAGE_CANDIDATE)
		return;
	for (nid = 0; nid < domain->nr_nodes; nid++)
		if (ksm_candidates_del(&domain->node[nid].candidates, &mc->c, slot))
			return;
	WARN_ONCE(1, "a candidate in no index\n");
}

/**
 * ksm_domain_forget_candidates - empty the candidate indexes
 * @domain: the domain
 *
 * All candidates are volatile pages afterwards, which become candidates again when they
 * are next scanned.
 *
 * Context: ksm_scan_mutex held. May sleep.
 */
void ksm_domain_forget_candidates(struct ksm_domain *domain)
{
	unsigned int nid;

	lockdep_assert_held(&ksm_scan_mutex);
	for (nid = 0; nid < domain->nr_nodes; nid++)
		while (!ksm_candidates_forget(&domain->node[nid].candidates, 512))
			cond_resched();
}

/* Each candidate is in one index: they have as many as there are. */
static bool domain_candidates_match(struct ksm_domain *domain)
{
	u64 count = 0;
	unsigned int nid;

	for (nid = 0; nid < domain->nr_nodes; nid++) {
		const struct ksm_candidates *table = &domain->node[nid].candidates;

		if (!ksm_candidates_validate(table))
			return false;
		count += table->count;
		cond_resched();
	}
	return ksm_holds(count == domain->stats.tally.pages[KSM_PAGE_CANDIDATE],
			 "%llu candidates in indexes, counted %llu", count,
			 domain->stats.tally.pages[KSM_PAGE_CANDIDATE]);
}

static bool domain_chunks_match(struct ksm_domain *domain)
{
	struct ksm_tally sum = {};
	struct ksm_mm_chunk *mc;
	unsigned long id;
	int state;

	xa_for_each(&domain->chunks, id, mc) {
		for (state = KSM_PAGE_VOLATILE; state < KSM_NR_PAGE_STATES; state++)
			sum.pages[state] += ksm_chunk_count(&mc->c, state);
		cond_resched();
	}
	return !memcmp(&sum, &domain->stats.tally, sizeof(sum));
}

/**
 * ksm_domain_validate - do the counters say what the records say?
 * @domain: the domain
 *
 * For debug kernels: it visits every chunk and every candidate.
 *
 * Context: ksm_scan_mutex held. May sleep.
 */
bool ksm_domain_validate(struct ksm_domain *domain)
{
	lockdep_assert_held(&ksm_scan_mutex);
	return ksm_stats_validate(&domain->stats) && domain_chunks_match(domain) &&
	       domain_candidates_match(domain);
}
