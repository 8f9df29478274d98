// SPDX-License-Identifier: GPL-2.0-only
/*
 * Counters of the merge engine: see stats.h.
 */
#include <linux/bug.h>
#include <linux/compiler.h>
#include "check.h"
#include "stats.h"

/* Writers are serialised, and sysfs reads without a lock. */
static void ksm_count(u64 *counter, s64 change)
{
	WRITE_ONCE(*counter, *counter + change);
}

/**
 * ksm_tally_move() - count one page out of a state and into another
 * @tally: the tally
 * @from: state the page was in
 * @to: state the page is in now; may equal @from
 *
 * Context: caller serialises calls on @tally.
 */
void ksm_tally_move(struct ksm_tally *tally, enum ksm_page_state from,
		    enum ksm_page_state to)
{
	if (from != KSM_PAGE_EMPTY && !WARN_ON_ONCE(!tally->pages[from]))
		ksm_count(&tally->pages[from], -1);
	if (to != KSM_PAGE_EMPTY)
		ksm_count(&tally->pages[to], 1);
}

/**
 * ksm_tally_tracked() - count the pages that have a record
 * @tally: the tally
 *
 * Context: caller serialises calls on @tally.
 * Return: number of pages in any state but %KSM_PAGE_EMPTY.
 */
u64 ksm_tally_tracked(const struct ksm_tally *tally)
{
	return READ_ONCE(tally->pages[KSM_PAGE_VOLATILE]) +
	       READ_ONCE(tally->pages[KSM_PAGE_CANDIDATE]) +
	       READ_ONCE(tally->pages[KSM_PAGE_STABLE]);
}

/**
 * ksm_stats_node_added() - count a new stable node
 * @stats: the domain's counters
 *
 * Context: caller serialises calls on @stats.
 */
void ksm_stats_node_added(struct ksm_stats *stats)
{
	ksm_count(&stats->nodes, 1);
}

/**
 * ksm_stats_node_removed() - count that a stable node went away
 * @stats: the domain's counters
 *
 * Context: caller serialises calls on @stats.
 */
void ksm_stats_node_removed(struct ksm_stats *stats)
{
	if (!WARN_ON_ONCE(!stats->nodes))
		ksm_count(&stats->nodes, -1);
}

/**
 * ksm_stats_first_sharer() - count that a KSM page got its first sharer
 * @stats: the domain's counters
 *
 * Context: caller serialises calls on @stats.
 */
void ksm_stats_first_sharer(struct ksm_stats *stats)
{
	ksm_count(&stats->shared, 1);
}

/**
 * ksm_stats_last_sharer() - count that a KSM page lost its last sharer
 * @stats: the domain's counters
 *
 * Context: caller serialises calls on @stats.
 */
void ksm_stats_last_sharer(struct ksm_stats *stats)
{
	if (!WARN_ON_ONCE(!stats->shared))
		ksm_count(&stats->shared, -1);
}

/**
 * ksm_stats_chain_grew() - count that a content got one more KSM page
 * @stats: the domain's counters
 * @copies: KSM pages it has now, 2 or more
 *
 * A content with one KSM page is no chain: the second one makes it a chain of
 * two at once.
 *
 * Context: caller serialises calls on @stats.
 */
void ksm_stats_chain_grew(struct ksm_stats *stats, unsigned int copies)
{
	if (copies == 2) {
		ksm_count(&stats->chains, 1);
		ksm_count(&stats->dups, 2);
	} else {
		ksm_count(&stats->dups, 1);
	}
}

/**
 * ksm_stats_chain_shrank() - count that a content lost one of its KSM pages
 * @stats: the domain's counters
 * @copies: KSM pages it has now, 1 or more
 *
 * Context: caller serialises calls on @stats.
 */
void ksm_stats_chain_shrank(struct ksm_stats *stats, unsigned int copies)
{
	if (copies == 1) {
		ksm_count(&stats->chains, -1);
		ksm_count(&stats->dups, -2);
	} else {
		ksm_count(&stats->dups, -1);
	}
}

/**
 * ksm_stats_pages_sharing() - count the pages that merging saves
 * @stats: the domain's counters
 *
 * Each KSM page has one sharer that saves nothing; all further ones do.
 *
 * Context: any; without what serialises changes, it may be that of the middle of a
 * transition (record set stable, sharer counted), where the sum does not hold.
 * Return: the ABI's pages_sharing.
 */
u64 ksm_stats_pages_sharing(const struct ksm_stats *stats)
{
	return READ_ONCE(stats->tally.pages[KSM_PAGE_STABLE]) -
	       READ_ONCE(stats->shared);
}

/**
 * ksm_stats_validate() - check what must hold between the counters
 * @stats: the domain's counters
 *
 * Context: caller serialises calls on @stats; not inside a transition.
 * Return: whether all invariants hold; if not, one line is printed.
 */
bool ksm_stats_validate(const struct ksm_stats *stats)
{
	u64 stable = stats->tally.pages[KSM_PAGE_STABLE];

	return ksm_holds(!stats->tally.pages[KSM_PAGE_EMPTY],
			 "%llu empty pages counted",
			 stats->tally.pages[KSM_PAGE_EMPTY]) &&
	       ksm_holds(stats->shared <= stable,
			 "%llu KSM pages in use, %llu stable pages",
			 stats->shared, stable) &&
	       ksm_holds(stats->shared || !stable,
			 "%llu stable pages share no KSM page", stable) &&
	       ksm_holds(stats->shared <= stats->nodes,
			 "%llu KSM pages in use, %llu stable nodes",
			 stats->shared, stats->nodes) &&
	       ksm_holds(stats->dups >= 2 * stats->chains,
			 "%llu copies in %llu chains",
			 stats->dups, stats->chains) &&
	       ksm_holds(stats->chains || !stats->dups,
			 "%llu copies in no chain", stats->dups) &&
	       ksm_holds(stats->dups <= stats->nodes,
			 "%llu copies, %llu stable nodes",
			 stats->dups, stats->nodes);
}
