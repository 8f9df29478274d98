// SPDX-License-Identifier: GPL-2.0-only
/*
 * Candidate index: see candidates.h.
 *
 * An entry is 0 if there is none, otherwise the low 32 bits of the hash (its
 * tag) above the reference. The low bits of the tag choose the segment, the
 * upper 9 the home position in it. Invariants of a segment:
 *
 *  - from an entry's home to the entry there is no empty position (going up, and
 *    from the last position on to the first), so a search may stop at one;
 *  - so deleting fills the hole with an entry from further up, and no marks of
 *    deleted entries are needed, which would slow down every later search.
 *
 * With linear hashing the segments not yet split in a round hold twice as many
 * entries as the others. They have a fixed size, so it is their load that
 * decides: a round of splits starts when it passes 0.85 and then goes on by one
 * split an addition, whatever the average is. So a segment overflows only by
 * bad luck (4 standard deviations) or for lack of memory.
 */
#include <linux/bug.h>
#include "candidates.h"
#include "check.h"

#define KSM_ENTRIES		((u32)(KSM_SEGMENT_BYTES / sizeof(u64)))
#define KSM_HOME_SHIFT		(64 - 9)
#define KSM_MAX_SEGMENTS	0x800000U

/* Entries of an unsplit segment above which a round of splits starts (0.85). */
#define KSM_DENSE		435U
/* Entries per segment on average below which segments are joined (0.3). */
#define KSM_SPARSE		153U

static u64 ksm_entry(u64 hash, ksm_ref_t ref)
{
	return hash << 32 | ref;
}

static u32 ksm_entry_tag(u64 entry)
{
	return entry >> 32;
}

static u32 ksm_entry_home(u64 entry)
{
	return entry >> KSM_HOME_SHIFT;
}

static u32 ksm_pos_after(u32 pos)
{
	return (pos + 1) % KSM_ENTRIES;
}

/* How many steps up it is from one position to another. */
static u32 ksm_pos_distance(u32 from, u32 to)
{
	return (to - from) % KSM_ENTRIES;
}

static u64 *ksm_candidates_segment(const struct ksm_candidates *table, u32 nr)
{
	return table->segments.dir[nr];
}

static u32 ksm_candidates_slot(const struct ksm_candidates *table, u64 entry)
{
	return ksm_linear_slot(ksm_entry_tag(entry), table->nr_segments);
}

/* Puts an entry into a segment; false if the segment is full. */
static bool ksm_segment_put(u64 *segment, u64 entry)
{
	u32 pos = ksm_entry_home(entry);
	u32 left;

	for (left = KSM_ENTRIES; left; left--) {
		if (!segment[pos]) {
			segment[pos] = entry;
			return true;
		}
		pos = ksm_pos_after(pos);
	}
	return false;
}

/*
 * Empties a position. An entry further up may fill the hole if its home is not
 * between the two; then it leaves the next hole.
 */
static void ksm_segment_remove(u64 *segment, u32 pos)
{
	u32 hole = pos;
	u32 at;

	for (at = ksm_pos_after(pos); at != pos && segment[at];
	     at = ksm_pos_after(at)) {
		if (ksm_pos_distance(ksm_entry_home(segment[at]), at) <
		    ksm_pos_distance(hole, at))
			continue;
		segment[hole] = segment[at];
		hole = at;
	}
	segment[hole] = 0;
}

/**
 * ksm_candidates_init() - make an empty table
 * @table: the table
 * @mem: allocator, used as long as the table lives
 *
 * Context: nobody else may know @table yet. Allocates nothing.
 */
void ksm_candidates_init(struct ksm_candidates *table,
			 const struct ksm_mem_ops *mem)
{
	memset(table, 0, sizeof(*table));
	table->segments.mem = mem;
}

/**
 * ksm_candidates_destroy() - drop all entries and free their memory
 * @table: the table; empty and usable afterwards
 *
 * Context: caller serialises calls on @table.
 */
void ksm_candidates_destroy(struct ksm_candidates *table)
{
	ksm_segments_destroy(&table->segments);
	table->nr_segments = 0;
	table->sweep_pos = 0;
	table->count = 0;
}

/**
 * ksm_candidates_first() - search the pages that may have a hash
 * @table: the table
 * @hash: content hash; its low 32 bits are compared
 * @iter: where the search stands, for ksm_candidates_next()
 *
 * Context: caller serialises calls on @table. Changes nothing in @table.
 * Return: a page that had a hash like this, or 0.
 */
ksm_ref_t ksm_candidates_first(const struct ksm_candidates *table, u64 hash,
			       struct ksm_candidate_iter *iter)
{
	u64 like = ksm_entry(hash, 0);

	iter->table = table;
	iter->hash = hash;
	iter->segment = 0;
	iter->pos = ksm_entry_home(like);
	iter->left = table->nr_segments ? KSM_ENTRIES : 0;
	if (iter->left)
		iter->segment = ksm_candidates_slot(table, like);
	return ksm_candidates_next(iter);
}

/**
 * ksm_candidates_next() - go on with a search
 * @iter: as ksm_candidates_first() or the last call left it
 *
 * Context: caller serialises calls on the table, which must not have changed
 * since: after deleting a stale entry, search anew.
 * Return: another page that had a hash like this, or 0.
 */
ksm_ref_t ksm_candidates_next(struct ksm_candidate_iter *iter)
{
	u32 tag = ksm_entry_tag(ksm_entry(iter->hash, 0));
	const u64 *segment;
	u64 entry;

	if (!iter->left)
		return 0;
	segment = ksm_candidates_segment(iter->table, iter->segment);
	while (iter->left) {
		entry = segment[iter->pos];
		if (!entry)
			break;
		iter->pos = ksm_pos_after(iter->pos);
		iter->left--;
		if (ksm_entry_tag(entry) == tag)
			return (ksm_ref_t)entry;
	}
	iter->left = 0;
	return 0;
}

/*
 * Splits one segment in two. Both are filled anew, because taking entries out of
 * the old one by one could cost a pass over it each. Without memory nothing
 * changes, and the next addition tries again.
 */
static void ksm_candidates_split(struct ksm_candidates *table)
{
	const struct ksm_mem_ops *mem = table->segments.mem;
	u32 to = table->nr_segments;
	u32 from = ksm_linear_buddy(to);
	u64 *old, *rest;
	u32 pos;

	if (to == KSM_MAX_SEGMENTS || ksm_segments_add(&table->segments, to))
		return;
	rest = mem->alloc(KSM_SEGMENT_BYTES);
	if (!rest) {
		ksm_segments_drop(&table->segments, to);
		return;
	}
	old = ksm_candidates_segment(table, from);
	table->segments.dir[from] = rest;
	table->nr_segments++;
	for (pos = 0; pos < KSM_ENTRIES; pos++) {
		if (old[pos])
			ksm_segment_put(table->segments.dir[ksm_candidates_slot(table, old[pos])],
					old[pos]);
	}
	mem->free(old);
}

/* Drops the last segment; its entries go to its buddy as far as they fit. */
static void ksm_candidates_join(struct ksm_candidates *table)
{
	u32 last = table->nr_segments - 1;
	const u64 *from = ksm_candidates_segment(table, last);
	u64 *to = ksm_candidates_segment(table, ksm_linear_buddy(last));
	u32 pos;

	for (pos = 0; pos < KSM_ENTRIES; pos++) {
		if (!from[pos] || ksm_segment_put(to, from[pos]))
			continue;
		table->count--;
		table->forgotten++;
	}
	ksm_segments_drop(&table->segments, last);
	table->nr_segments = last;
}

/* Makes room for one more entry; may fail once there is a segment. */
static int ksm_candidates_grow(struct ksm_candidates *table)
{
	if (!table->nr_segments) {
		if (ksm_segments_add(&table->segments, 0))
			return -ENOMEM;
		table->nr_segments = 1;
	}
	if (table->count >= (u64)KSM_DENSE * rounddown_pow_of_two(table->nr_segments))
		ksm_candidates_split(table);
	return 0;
}

/* Gives back segments that are not worth their memory, up to @steps of them. */
static void ksm_candidates_shrink(struct ksm_candidates *table, u32 steps)
{
	while (steps-- && table->nr_segments > 1 &&
	       table->count < (u64)KSM_SPARSE * table->nr_segments)
		ksm_candidates_join(table);
	if (table->nr_segments == 1 && !table->count) {
		ksm_segments_drop(&table->segments, 0);
		table->nr_segments = 0;
	}
	if (table->sweep_pos >= (u64)table->nr_segments * KSM_ENTRIES)
		table->sweep_pos = 0;
}

/* The positions of the entries with one tag, in the order of their age. */
struct ksm_twins {
	u32 pos[KSM_CANDIDATE_TWINS];
	u32 nr;
};

/*
 * Looks for @entry and notes the entries with its tag on the way.
 * Returns the position of @entry or the empty one where it should go; or
 * %KSM_ENTRIES if there is neither.
 */
static u32 ksm_segment_find(const u64 *segment, u64 entry, struct ksm_twins *twins)
{
	u32 pos = ksm_entry_home(entry);
	u32 left;

	twins->nr = 0;
	for (left = KSM_ENTRIES; left; left--) {
		if (!segment[pos] || segment[pos] == entry)
			return pos;
		if (ksm_entry_tag(segment[pos]) == ksm_entry_tag(entry) &&
		    twins->nr < KSM_CANDIDATE_TWINS)
			twins->pos[twins->nr++] = pos;
		pos = ksm_pos_after(pos);
	}
	return KSM_ENTRIES;
}

/* Drops the first of the twins and appends @entry; the order is kept. */
static void ksm_segment_rotate(u64 *segment, const struct ksm_twins *twins,
			       u64 entry)
{
	u32 i;

	for (i = 1; i < twins->nr; i++)
		segment[twins->pos[i - 1]] = segment[twins->pos[i]];
	segment[twins->pos[twins->nr - 1]] = entry;
}

/**
 * ksm_candidates_add() - remember that a page has a hash
 * @table: the table
 * @hash: content hash, well mixed in its low 32 bits
 * @ref: the page, not 0
 *
 * What is in the table already is not added again. If %KSM_CANDIDATE_TWINS
 * entries have the tag, the oldest makes room; if the segment is full, any.
 *
 * Context: caller serialises calls on @table; may allocate.
 * Return: 0; -ENOMEM if the table was empty and stays so; -EINVAL if @ref is 0.
 */
int ksm_candidates_add(struct ksm_candidates *table, u64 hash, ksm_ref_t ref)
{
	u64 entry = ksm_entry(hash, ref);
	struct ksm_twins twins;
	u64 *segment;
	u32 pos;

	if (WARN_ON_ONCE(!ref))
		return -EINVAL;
	if (ksm_candidates_grow(table))
		return -ENOMEM;
	segment = ksm_candidates_segment(table, ksm_candidates_slot(table, entry));
	pos = ksm_segment_find(segment, entry, &twins);
	if (pos < KSM_ENTRIES && segment[pos] == entry)
		return 0;
	if (twins.nr == KSM_CANDIDATE_TWINS) {
		ksm_segment_rotate(segment, &twins, entry);
		table->forgotten++;
	} else if (pos == KSM_ENTRIES) {
		segment[ksm_entry_home(entry)] = entry;
		table->forgotten++;
	} else {
		segment[pos] = entry;
		table->count++;
	}
	return 0;
}

/**
 * ksm_candidates_del() - forget that a page has a hash
 * @table: the table
 * @hash: the hash that was passed to ksm_candidates_add()
 * @ref: the page
 *
 * Context: caller serialises calls on @table; may allocate nothing, may free.
 * Return: true if there was such an entry.
 */
bool ksm_candidates_del(struct ksm_candidates *table, u64 hash, ksm_ref_t ref)
{
	u64 entry = ksm_entry(hash, ref);
	struct ksm_twins twins;
	u64 *segment;
	u32 pos;

	if (!ref || !table->nr_segments)
		return false;
	segment = ksm_candidates_segment(table, ksm_candidates_slot(table, entry));
	pos = ksm_segment_find(segment, entry, &twins);
	if (pos == KSM_ENTRIES || segment[pos] != entry)
		return false;
	ksm_segment_remove(segment, pos);
	table->count--;
	ksm_candidates_shrink(table, 1);
	return true;
}

/* Drops the entry where the sweep stands if it is stale: says whether it was. */
static bool ksm_candidates_sweep_one(struct ksm_candidates *table,
				     ksm_candidate_stale_fn stale, void *arg)
{
	u64 *segment = ksm_candidates_segment(table, table->sweep_pos / KSM_ENTRIES);
	u32 pos = table->sweep_pos % KSM_ENTRIES;

	if (!segment[pos] || !stale((ksm_ref_t)segment[pos], arg))
		return false;
	ksm_segment_remove(segment, pos);
	table->count--;
	return true;
}

/**
 * ksm_candidates_sweep() - look for stale entries and drop them
 * @table: the table
 * @budget: how many positions to look at; ends earlier after a full round. A
 *          position is looked at again when its entry was dropped, as another
 *          may have taken its place
 * @stale: says of each entry met whether to drop it; must not use @table
 * @arg: passed to @stale
 *
 * Goes on where the last call stopped. Additions and deletions between calls may
 * move an entry past it, which is then met in the next round.
 *
 * Context: caller serialises calls on @table; allocates nothing, may free.
 */
void ksm_candidates_sweep(struct ksm_candidates *table, u32 budget,
			  ksm_candidate_stale_fn stale, void *arg)
{
	u64 positions = (u64)table->nr_segments * KSM_ENTRIES;
	u64 left = positions;

	while (left && budget--) {
		if (ksm_candidates_sweep_one(table, stale, arg))
			continue;
		if (++table->sweep_pos == positions)
			table->sweep_pos = 0;
		left--;
	}
	ksm_candidates_shrink(table, 1 + (positions - left) / KSM_ENTRIES);
}

/**
 * ksm_candidates_bytes() - how much memory the table takes
 * @table: the table
 *
 * With more than a few segments this is 9.4 to 19 bytes an entry while the table
 * grows, and less than 27 after it has shrunk.
 *
 * Context: caller serialises calls on @table.
 * Return: bytes asked of the allocator.
 */
u64 ksm_candidates_bytes(const struct ksm_candidates *table)
{
	return (u64)table->nr_segments * KSM_SEGMENT_BYTES +
	       (u64)table->segments.room * sizeof(*table->segments.dir);
}

/* Checks that an entry is where it is found and that it is there once. */
static bool ksm_candidates_validate_entry(const struct ksm_candidates *table,
					  u32 nr, u32 pos)
{
	const u64 *segment = ksm_candidates_segment(table, nr);
	u64 entry = segment[pos];
	u32 at, twins = 1;

	if (!ksm_holds((ksm_ref_t)entry, "entry %llx names no page", entry) ||
	    !ksm_holds(ksm_candidates_slot(table, entry) == nr,
		       "entry %llx in segment %u", entry, nr))
		return false;
	for (at = ksm_entry_home(entry); at != pos; at = ksm_pos_after(at)) {
		if (!ksm_holds(segment[at], "hole at %u below entry %llx at %u",
			       at, entry, pos) ||
		    !ksm_holds(segment[at] != entry, "entry %llx at %u and %u",
			       entry, at, pos))
			return false;
		twins += ksm_entry_tag(segment[at]) == ksm_entry_tag(entry);
	}
	return ksm_holds(twins <= KSM_CANDIDATE_TWINS, "%u entries like %llx",
			 twins, entry);
}

static bool ksm_candidates_validate_segment(const struct ksm_candidates *table,
					    u32 nr, u64 *seen)
{
	const u64 *segment = ksm_candidates_segment(table, nr);
	u32 pos;

	for (pos = 0; pos < KSM_ENTRIES; pos++) {
		if (!segment[pos])
			continue;
		if (!ksm_candidates_validate_entry(table, nr, pos))
			return false;
		++*seen;
	}
	return true;
}

/**
 * ksm_candidates_validate() - check every invariant of the table
 * @table: the table
 *
 * Context: caller serialises calls on @table. Takes time in proportion to it.
 * Return: whether all invariants hold; if not, one line is printed.
 */
bool ksm_candidates_validate(const struct ksm_candidates *table)
{
	u64 positions = (u64)table->nr_segments * KSM_ENTRIES;
	u64 seen = 0;
	u32 nr;

	if (!ksm_segments_validate(&table->segments, table->nr_segments) ||
	    !ksm_holds(table->sweep_pos < positions || !table->sweep_pos,
		       "sweep stands at %llu of %llu", table->sweep_pos,
		       positions))
		return false;
	for (nr = 0; nr < table->nr_segments; nr++) {
		if (!ksm_candidates_validate_segment(table, nr, &seen))
			return false;
	}
	return ksm_holds(seen == table->count, "%llu entries, counted %llu",
			 seen, table->count);
}
