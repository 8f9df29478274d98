// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copies of one content under max_page_sharing: see chain.h.
 *
 * Invariants of a content: the lead is in the index and its copies are not; on
 * the lead's list, copies with room come before full ones; nr_copies counts the
 * lead and the list. A copy is full when it has limit sharers; it may have more,
 * because fork maps a KSM page again without asking.
 *
 * All steps take constant time but one: when a lead goes away, its other copies
 * are told who leads now. The last of the list is promoted, a full one if there
 * is any: copies drain in about the order in which they filled, so the one that
 * filled last leads longest, and a content that is torn down pays for few
 * promotions. Whatever the order, a promotion needs a lead that has lost all of
 * its up to limit sharers, and costs one store for each of the other copies.
 */
#include <linux/bug.h>
#include <linux/string.h>
#include "chain.h"
#include "check.h"

static bool ksm_copy_has_room(const struct ksm_copy *copy, u32 limit)
{
	return copy->sharers < limit;
}

static bool ksm_copy_is_lead(const struct ksm_copy *copy)
{
	return copy->lead == copy;
}

/**
 * ksm_copy_init() - make a copy that belongs to no content
 * @copy: the copy
 *
 * Context: nobody else may know @copy yet.
 */
void ksm_copy_init(struct ksm_copy *copy)
{
	memset(copy, 0, sizeof(*copy));
	INIT_LIST_HEAD(&copy->copies);
}

/**
 * ksm_chain_add_lead() - add the first KSM page of a content
 * @index: the stable index
 * @copy: the KSM page, as ksm_copy_init() left it
 * @hash: content hash
 * @stats: the domain's counters
 *
 * Context: caller serialises calls on the domain; may allocate, cannot fail.
 */
void ksm_chain_add_lead(struct ksm_index *index, struct ksm_copy *copy, u64 hash,
			struct ksm_stats *stats)
{
	if (WARN_ON_ONCE(copy->lead))
		return;
	copy->lead = copy;
	copy->nr_copies = 1;
	ksm_index_insert(index, &copy->in, hash);
	ksm_stats_node_added(stats);
}

/* Puts a copy that just got or lost room where the list's order wants it. */
static void ksm_chain_place(struct ksm_copy *copy, u32 limit)
{
	if (ksm_copy_is_lead(copy))
		return;
	if (ksm_copy_has_room(copy, limit))
		list_move(&copy->copies, &copy->lead->copies);
	else
		list_move_tail(&copy->copies, &copy->lead->copies);
}

/**
 * ksm_chain_add_copy() - add a further KSM page of a content
 * @lead: the content's lead
 * @copy: the KSM page, as ksm_copy_init() left it
 * @limit: sharers that a KSM page may have, 2 or more
 * @stats: the domain's counters
 *
 * Context: caller serialises calls on the domain. Allocates nothing.
 */
void ksm_chain_add_copy(struct ksm_copy *lead, struct ksm_copy *copy, u32 limit,
			struct ksm_stats *stats)
{
	if (WARN_ON_ONCE(!ksm_copy_is_lead(lead) || copy->lead))
		return;
	copy->lead = lead;
	copy->in.hash = lead->in.hash;
	ksm_chain_place(copy, limit);
	lead->nr_copies++;
	ksm_stats_node_added(stats);
	ksm_stats_chain_grew(stats, lead->nr_copies);
}

/* Hands the place of a lead that has other copies to the last of them. */
static struct ksm_copy *ksm_chain_promote(struct ksm_index *index,
					  struct ksm_copy *lead)
{
	struct ksm_copy *heir = list_last_entry(&lead->copies, struct ksm_copy,
						copies);
	struct ksm_copy *copy;

	list_del_init(&heir->copies);
	list_splice_init(&lead->copies, &heir->copies);
	heir->lead = heir;
	heir->nr_copies = lead->nr_copies;
	list_for_each_entry(copy, &heir->copies, copies)
		copy->lead = heir;
	ksm_index_replace(index, &lead->in, &heir->in);
	return heir;
}

/**
 * ksm_chain_remove() - take a KSM page from its content
 * @index: the stable index
 * @copy: the KSM page; must have no sharers. As new afterwards
 * @stats: the domain's counters
 *
 * A lead that has other copies hands its place to one of them, which takes a
 * time in proportion to their number.
 *
 * Context: caller serialises calls on the domain; may free memory of the index.
 */
void ksm_chain_remove(struct ksm_index *index, struct ksm_copy *copy,
		      struct ksm_stats *stats)
{
	struct ksm_copy *lead = copy->lead;

	if (WARN_ON_ONCE(!lead))
		return;
	/* The caller is about to free it: leaving it linked would be worse. */
	if (WARN_ON_ONCE(copy->sharers))
		ksm_stats_last_sharer(stats);
	if (lead != copy) {
		list_del_init(&copy->copies);
	} else if (!list_empty(&copy->copies)) {
		lead = ksm_chain_promote(index, copy);
	} else {
		ksm_index_erase(index, &copy->in);
		lead = NULL;
	}
	if (lead)
		ksm_stats_chain_shrank(stats, --lead->nr_copies);
	ksm_stats_node_removed(stats);
	ksm_copy_init(copy);
}

/**
 * ksm_chain_choose() - find a copy that may take one more sharer
 * @lead: the content's lead
 * @limit: sharers that a KSM page may have, 2 or more
 *
 * Context: caller serialises calls on the domain. Changes nothing.
 * Return: a copy, the lead if it has room; NULL if all are full.
 */
struct ksm_copy *ksm_chain_choose(struct ksm_copy *lead, u32 limit)
{
	struct ksm_copy *copy = lead;

	if (!ksm_copy_has_room(lead, limit) && !list_empty(&lead->copies))
		copy = list_first_entry(&lead->copies, struct ksm_copy, copies);
	return ksm_copy_has_room(copy, limit) ? copy : NULL;
}

/**
 * ksm_chain_is_spare() - could another copy take over all sharers of this one?
 * @copy: a copy
 * @limit: max_page_sharing, at least 2
 *
 * COW leaves copies with a few sharers each. Only the copy that a search would
 * choose is ever a target, so of two spare copies one is emptied into the other,
 * never both.
 *
 * Context: caller serialises calls on the domain.
 * Return: true if @copy is not the one chosen for new sharers, and that one has
 * room for all of @copy's.
 */
bool ksm_chain_is_spare(struct ksm_copy *copy, u32 limit)
{
	struct ksm_copy *target = ksm_chain_choose(copy->lead, limit);

	return target && target != copy && target->sharers &&
	       target->sharers + copy->sharers <= limit;
}

/**
 * ksm_chain_share() - count one more sharer of a copy
 * @copy: the copy
 * @limit: sharers that a KSM page may have, 2 or more; the same in all calls for
 *         one content. It is not enforced here
 * @stats: the domain's counters
 *
 * Context: caller serialises calls on the domain.
 */
void ksm_chain_share(struct ksm_copy *copy, u32 limit, struct ksm_stats *stats)
{
	if (WARN_ON_ONCE(!copy->lead))
		return;
	copy->sharers++;
	if (copy->sharers == 1)
		ksm_stats_first_sharer(stats);
	if (copy->sharers == limit)
		ksm_chain_place(copy, limit);
}

/**
 * ksm_chain_unshare() - count one sharer less of a copy
 * @copy: the copy; must have a sharer
 * @limit: as for ksm_chain_share()
 * @stats: the domain's counters
 *
 * A copy without sharers stays where it is until ksm_chain_remove().
 *
 * Context: caller serialises calls on the domain.
 */
void ksm_chain_unshare(struct ksm_copy *copy, u32 limit, struct ksm_stats *stats)
{
	if (WARN_ON_ONCE(!copy->sharers))
		return;
	copy->sharers--;
	if (!copy->sharers)
		ksm_stats_last_sharer(stats);
	if (copy->sharers == limit - 1)
		ksm_chain_place(copy, limit);
}

static bool ksm_chain_validate_copy(const struct ksm_copy *lead,
				    const struct ksm_copy *copy)
{
	return ksm_holds(copy->lead == lead, "a copy of %llx has another lead",
			 lead->in.hash) &&
	       ksm_holds(!ksm_index_contains(&copy->in),
			 "a copy of %llx is in the index", lead->in.hash) &&
	       ksm_holds(copy->in.hash == lead->in.hash,
			 "a copy of %llx has hash %llx", lead->in.hash,
			 copy->in.hash);
}

/**
 * ksm_chain_validate() - check every invariant of a content's copies
 * @lead: the content's lead
 * @limit: sharers that a KSM page may have, 2 or more
 *
 * Context: caller serialises calls on the domain.
 * Return: whether all invariants hold; if not, one line is printed.
 */
bool ksm_chain_validate(const struct ksm_copy *lead, u32 limit)
{
	const struct ksm_copy *copy;
	bool full = false;
	u32 nr = 1;

	if (!ksm_holds(ksm_copy_is_lead(lead), "%llx is no lead", lead->in.hash) ||
	    !ksm_holds(ksm_index_contains(&lead->in), "lead %llx is not in the index",
		       lead->in.hash))
		return false;
	list_for_each_entry(copy, &lead->copies, copies) {
		if (!ksm_chain_validate_copy(lead, copy) ||
		    !ksm_holds(!full || !ksm_copy_has_room(copy, limit),
			       "a copy of %llx with room comes after a full one",
			       lead->in.hash) ||
		    !ksm_holds(++nr <= lead->nr_copies, "%llx has more than %u copies",
			       lead->in.hash, lead->nr_copies))
			return false;
		full = !ksm_copy_has_room(copy, limit);
	}
	return ksm_holds(nr == lead->nr_copies, "%llx has %u copies, counted %u",
			 lead->in.hash, nr, lead->nr_copies);
}
