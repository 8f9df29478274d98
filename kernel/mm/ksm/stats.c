// SPDX-License-Identifier: GPL-2.0-only
/*
 * Counters of the merge engine: see stats.h.
 */
#include <linux/bug.h>
#include "check.h"
#include "stats.h"

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
		tally->pages[from]--;
	if (to != KSM_PAGE_EMPTY)
		tally->pages[to]++;
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
	return tally->pages[KSM_PAGE_VOLATILE] +
	       tally->pages[KSM_PAGE_CANDIDATE] +
	       tally->pages[KSM_PAGE_STABLE];
}

/**
 * ksm_stats_node_added() - count a new stable node
 * @stats: the domain's counters
 *
 * Context: caller serialises calls on @stats.
 */
void ksm_stats_node_added(struct ksm_stats *stats)
{
	stats->nodes++;
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
		stats->nodes--;
}

/**
 * ksm_stats_first_sharer() - count that a KSM page got its first sharer
 * @stats: the domain's counters
 *
 * Context: caller serialises calls on @stats.
 */
void ksm_stats_first_sharer(struct ksm_stats *stats)
{
	stats->shared++;
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
		stats->shared--;
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
		stats->chains++;
		stats->dups += 2;
	} else {
		stats->dups++;
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
		stats->chains--;
		stats->dups -= 2;
	} else {
		stats->dups--;
	}
}

/**
 * ksm_stats_pages_sharing() - count the pages that merging saves
 * @stats: the domain's counters
 *
 * Each KSM page has one sharer that saves nothing; all further ones do.
 *
 * Context: caller serialises calls on @stats; between the two halves of a
 * transition (record set stable, sharer counted) the sum does not hold.
 * Return: the ABI's pages_sharing.
 */
u64 ksm_stats_pages_sharing(const struct ksm_stats *stats)
{
	return stats->tally.pages[KSM_PAGE_STABLE] - stats->shared;
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
