// SPDX-License-Identifier: GPL-2.0-only
/* What the administrator allows in the default domain: see struct ksm_limits. */
#include "control.h"
#include "node.h"
#include "scan.h"

/** ksm_get_limits - the default domain's limits; not consistent with each other */
const struct ksm_limits *ksm_get_limits(void)
{
	return &ksm_default_domain.limits;
}

/*
 * May a limit that decides where pages stand be changed? Nodes that nobody shares
 * are not in the way.
 */
static int make_unshared(struct ksm_domain *domain)
{
	lockdep_assert_held(&ksm_scan_mutex);
	if (domain->stats.shared)
		return -EBUSY;
	ksm_node_disown_all(domain);
	return 0;
}

/**
 * ksm_set_max_page_sharing - set how many sharers a KSM page may have
 * @sharers: 2 to INT_MAX
 *
 * Context: Process context. May sleep.
 * Return: 0; -EINVAL; -EBUSY while pages are shared.
 */
int ksm_set_max_page_sharing(unsigned int sharers)
{
	struct ksm_domain *domain = &ksm_default_domain;
	int err = 0;

	if (sharers < 2 || sharers > INT_MAX)
		return -EINVAL;
	if (sharers == READ_ONCE(domain->limits.max_page_sharing))
		return 0;
	ksm_scan_lock_online();
	err = make_unshared(domain);
	if (!err)
		WRITE_ONCE(domain->limits.max_page_sharing, sharers);
	mutex_unlock(&ksm_scan_mutex);
	return err;
}

/**
 * ksm_set_merge_across_nodes - may pages of different NUMA nodes share?
 * @across: whether
 *
 * Context: Process context. May sleep.
 * Return: 0; -EBUSY while pages are shared.
 */
int ksm_set_merge_across_nodes(bool across)
{
	struct ksm_domain *domain = &ksm_default_domain;
	int err = 0;

	ksm_scan_lock_online();
	if (across != domain->limits.merge_across_nodes) {
		err = make_unshared(domain);
		if (!err) {
			WRITE_ONCE(domain->limits.merge_across_nodes, across);
			ksm_node_regroup(domain);
		}
	}
	mutex_unlock(&ksm_scan_mutex);
	return err;
}

/**
 * ksm_set_use_zero_pages - merge pages of zeroes with the kernel's zero page?
 * @use: whether, from the next page on
 */
void ksm_set_use_zero_pages(bool use)
{
	WRITE_ONCE(ksm_default_domain.limits.use_zero_pages, use);
}

/**
 * ksm_set_huge_split_min - set how much must be gained for a huge page to be split
 * @pages: so many of its pages can be merged, 1 to KSM_CHUNK_PAGES
 *
 * Return: 0; -EINVAL if it is out of range.
 */
int ksm_set_huge_split_min(unsigned int pages)
{
	if (!pages || pages > KSM_CHUNK_PAGES)
		return -EINVAL;
	WRITE_ONCE(ksm_default_domain.limits.huge_split_min, pages);
	return 0;
}

/**
 * ksm_set_prune_millisecs - set how often idle nodes in chains are looked at
 * @msecs: any number
 */
void ksm_set_prune_millisecs(unsigned int msecs)
{
	WRITE_ONCE(ksm_default_domain.limits.prune_millisecs, msecs);
}
