// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stable index: see index.h.
 *
 * Linear hashing with one node per bucket on average: an insertion splits a
 * bucket while there are more nodes than buckets, an erasure joins one while
 * there are fewer nodes than half the buckets. The gap between the two keeps a
 * node that comes and goes from moving anything.
 *
 * The hash is well mixed and keyed, so buckets are short unless memory was
 * short when they should have been split; then later calls catch up.
 */
#include <linux/bug.h>
#include "check.h"
#include "index.h"

#define KSM_BUCKETS_PER_SEGMENT	\
	((u32)(KSM_SEGMENT_BYTES / sizeof(struct hlist_head)))
#define KSM_MAX_BUCKETS		0x80000000U

/* Splits or joins that one insertion or erasure makes at most. */
#define KSM_INDEX_STEPS		2U

static struct hlist_head *ksm_index_head(const struct ksm_index *index, u32 bucket)
{
	struct hlist_head *segment;

	segment = index->segments.dir[bucket / KSM_BUCKETS_PER_SEGMENT];
	return segment + bucket % KSM_BUCKETS_PER_SEGMENT;
}

static u32 ksm_index_bucket(const struct ksm_index *index, u64 hash)
{
	return ksm_linear_slot((u32)hash, index->nr_buckets);
}

/**
 * ksm_index_init() - make an empty index
 * @index: the index
 * @mem: allocator, used as long as the index lives
 *
 * Context: may allocate; nobody else may know @index yet.
 * Return: 0, or -ENOMEM and @index needs no ksm_index_destroy().
 */
int ksm_index_init(struct ksm_index *index, const struct ksm_mem_ops *mem)
{
	memset(index, 0, sizeof(*index));
	index->segments.mem = mem;
	if (ksm_segments_add(&index->segments, 0)) {
		ksm_segments_destroy(&index->segments);
		return -ENOMEM;
	}
	index->nr_buckets = KSM_BUCKETS_PER_SEGMENT;
	return 0;
}

/**
 * ksm_index_destroy() - free what the index allocated
 * @index: the index; must be empty, because its nodes would point into it
 *
 * Context: nobody else may use @index any more. Harmless if it is destroyed
 * already or ksm_index_init() failed.
 */
void ksm_index_destroy(struct ksm_index *index)
{
	WARN_ON_ONCE(index->count);
	ksm_segments_destroy(&index->segments);
	index->nr_buckets = 0;
	index->count = 0;
}

static struct ksm_index_node *ksm_index_match(struct hlist_node *link, u64 hash)
{
	struct ksm_index_node *node;

	for (; link; link = link->next) {
		node = hlist_entry(link, struct ksm_index_node, link);
		if (node->hash == hash)
			return node;
	}
	return NULL;
}

/**
 * ksm_index_first() - find the nodes of a hash
 * @index: the index
 * @hash: content hash
 *
 * Equal hashes do not prove equal contents: the caller compares, and goes on
 * with ksm_index_next() if they differ.
 *
 * Context: caller serialises calls on @index. Changes nothing.
 * Return: a node with this hash, or NULL.
 */
struct ksm_index_node *ksm_index_first(const struct ksm_index *index, u64 hash)
{
	u32 bucket = ksm_index_bucket(index, hash);

	return ksm_index_match(ksm_index_head(index, bucket)->first, hash);
}

/**
 * ksm_index_next() - find the next node with the same hash
 * @node: a node that is in an index
 *
 * Context: caller serialises; nothing may have been inserted or erased since
 * ksm_index_first(). To erase @node, call this first.
 * Return: another node with the hash of @node, or NULL.
 */
struct ksm_index_node *ksm_index_next(const struct ksm_index_node *node)
{
	return ksm_index_match(node->link.next, node->hash);
}

/* Adds a bucket and moves there what belongs there; false without memory. */
static bool ksm_index_split(struct ksm_index *index)
{
	u32 bucket = index->nr_buckets;
	struct ksm_index_node *node;
	struct hlist_node *next;
	struct hlist_head *from;

	if (bucket == KSM_MAX_BUCKETS)
		return false;
	if (bucket % KSM_BUCKETS_PER_SEGMENT == 0 &&
	    ksm_segments_add(&index->segments, bucket / KSM_BUCKETS_PER_SEGMENT))
		return false;
	index->nr_buckets++;
	from = ksm_index_head(index, ksm_linear_buddy(bucket));
	hlist_for_each_entry_safe(node, next, from, link) {
		if (ksm_index_bucket(index, node->hash) != bucket)
			continue;
		hlist_del(&node->link);
		hlist_add_head(&node->link, ksm_index_head(index, bucket));
	}
	return true;
}

/* Drops the last bucket; its nodes go where they belong then. */
static void ksm_index_join(struct ksm_index *index)
{
	u32 bucket = index->nr_buckets - 1;
	struct hlist_head *from = ksm_index_head(index, bucket);
	struct hlist_head *to = ksm_index_head(index, ksm_linear_buddy(bucket));
	struct ksm_index_node *node;
	struct hlist_node *next;

	hlist_for_each_entry_safe(node, next, from, link) {
		hlist_del(&node->link);
		hlist_add_head(&node->link, to);
	}
	if (bucket % KSM_BUCKETS_PER_SEGMENT == 0)
		ksm_segments_drop(&index->segments,
				  bucket / KSM_BUCKETS_PER_SEGMENT);
	index->nr_buckets--;
}

/* Brings the number of buckets nearer to that of the nodes. */
static void ksm_index_fit(struct ksm_index *index, u32 steps)
{
	if (index->visiting)
		return;
	while (steps--) {
		if (index->count > index->nr_buckets) {
			if (!ksm_index_split(index))
				return;
		} else if (index->count < index->nr_buckets / 2 &&
			   index->nr_buckets > KSM_BUCKETS_PER_SEGMENT) {
			ksm_index_join(index);
		} else {
			return;
		}
	}
}

/**
 * ksm_index_insert() - put a node into the index
 * @index: the index
 * @node: the node; must be in no index. Several nodes may have one hash
 * @hash: content hash, well mixed, 64 bits
 *
 * Context: caller serialises calls on @index; may allocate, cannot fail.
 */
void ksm_index_insert(struct ksm_index *index, struct ksm_index_node *node,
		      u64 hash)
{
	if (WARN_ON_ONCE(ksm_index_contains(node)))
		return;
	node->hash = hash;
	hlist_add_head(&node->link,
		       ksm_index_head(index, ksm_index_bucket(index, hash)));
	index->count++;
	ksm_index_fit(index, KSM_INDEX_STEPS);
}

/**
 * ksm_index_erase() - take a node out of the index
 * @index: the index
 * @node: the node; must be in @index. Its hash stays readable
 *
 * Context: caller serialises calls on @index; may free memory.
 */
void ksm_index_erase(struct ksm_index *index, struct ksm_index_node *node)
{
	if (WARN_ON_ONCE(!ksm_index_contains(node)))
		return;
	hlist_del_init(&node->link);
	index->count--;
	ksm_index_fit(index, KSM_INDEX_STEPS);
}

/**
 * ksm_index_replace() - put one node in the place of another
 * @index: the index
 * @old: a node in @index; in none afterwards
 * @new: a node in no index; takes the hash of @old
 *
 * Context: caller serialises calls on @index. Allocates and frees nothing.
 */
void ksm_index_replace(struct ksm_index *index, struct ksm_index_node *old,
		       struct ksm_index_node *new)
{
	if (WARN_ON_ONCE(!ksm_index_contains(old) || ksm_index_contains(new)))
		return;
	new->hash = old->hash;
	hlist_add_before(&new->link, &old->link);
	hlist_del_init(&old->link);
}

/**
 * ksm_index_contains() - is a node in an index?
 * @node: the node; zeroed before it is first used
 *
 * Context: caller serialises calls on the index.
 * Return: true if it is.
 */
bool ksm_index_contains(const struct ksm_index_node *node)
{
	return !hlist_unhashed(&node->link);
}

/**
 * ksm_index_visit() - call a function for the nodes of some buckets
 * @index: the index
 * @bucket: first bucket; 0 starts a round
 * @nr: number of buckets, at least 1; ~0U for all the rest
 * @visit: the function. It may erase the node it is given, or replace it (the
 *         new node is not visited); it may not touch other nodes of @index
 * @arg: passed to @visit
 *
 * During a call the buckets stay as they are. So a round whose calls follow each
 * other with no other change to @index visits each node exactly once, whatever
 * @visit erases. Between calls, an insertion may make a later call visit a node
 * again, never miss one; an erasure may make this round miss nodes (a bucket not
 * yet visited is joined to one that was): the next round has them.
 *
 * The call that ends a round joins up to @nr buckets that @visit left empty.
 *
 * Context: caller serialises calls on @index.
 * Return: the bucket to go on with, or 0 at the end of the round.
 */
u32 ksm_index_visit(struct ksm_index *index, u32 bucket, u32 nr,
		    ksm_index_visit_fn visit, void *arg)
{
	struct ksm_index_node *node;
	struct hlist_node *next;
	u32 left = nr;

	index->visiting = true;
	for (; bucket < index->nr_buckets && left; bucket++, left--) {
		hlist_for_each_entry_safe(node, next,
					  ksm_index_head(index, bucket), link)
			visit(node, arg);
	}
	index->visiting = false;
	if (bucket < index->nr_buckets)
		return bucket;
	ksm_index_fit(index, nr);
	return 0;
}

/* Counts the nodes of a bucket into @seen; stops where something is wrong. */
static bool ksm_index_validate_bucket(const struct ksm_index *index, u32 bucket,
				      u64 *seen)
{
	struct hlist_head *head = ksm_index_head(index, bucket);
	struct hlist_node *const *back = &head->first;
	struct ksm_index_node *node;

	hlist_for_each_entry(node, head, link) {
		if (!ksm_holds(node->link.pprev == back,
			       "bucket %u is badly linked", bucket) ||
		    !ksm_holds(ksm_index_bucket(index, node->hash) == bucket,
			       "hash %llx in bucket %u", node->hash, bucket) ||
		    !ksm_holds(++*seen <= index->count,
			       "more than %llu nodes", index->count))
			return false;
		back = &node->link.next;
	}
	return true;
}

/**
 * ksm_index_validate() - check every invariant of the index
 * @index: the index
 *
 * Context: caller serialises calls on @index. Takes time in proportion to it.
 * Return: whether all invariants hold; if not, one line is printed.
 */
bool ksm_index_validate(const struct ksm_index *index)
{
	u32 used = DIV_ROUND_UP(index->nr_buckets, KSM_BUCKETS_PER_SEGMENT);
	u64 seen = 0;
	u32 at;

	if (!ksm_holds(used, "no buckets") ||
	    !ksm_segments_validate(&index->segments, used))
		return false;
	for (at = 0; at < index->nr_buckets; at++) {
		if (!ksm_index_validate_bucket(index, at, &seen))
			return false;
	}
	return ksm_holds(seen == index->count, "%llu nodes, counted %llu",
			 seen, index->count);
}
