// SPDX-License-Identifier: GPL-2.0-only
/*
 * Registered mms: enter, exit, and safe ways past both for those who go over
 * them.
 *
 * An mm is registered by its first MADV_MERGEABLE or by a fork, and holds an
 * mm_count reference, never mm_users: an exit must not wait for ksmd. When it
 * exits with nothing recorded its slot is freed at once. Otherwise the slot is
 * put on the list of the dead for ksmd to reap, and the exit passes through
 * mmap_lock for writing: whoever held it for reading is then out of the page
 * tables, and whoever takes it later sees that mm_users is 0.
 */
#include <linux/hashtable.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "kpage.h"
#include "node.h"
#include "registry.h"

#define SLOT_HASH_BITS	10

/*
 * registry_lock guards the lists, the hash, the cursors and @busy. A slot's tree of
 * chunks is changed by the owner of ksm_scan_mutex, who borrows the slot first.
 */
static DEFINE_SPINLOCK(registry_lock);
static DEFINE_HASHTABLE(slots_by_mm, SLOT_HASH_BITS);
static LIST_HEAD(live);
static LIST_HEAD(dead);
static struct ksm_mm_slot *position[KSM_NR_CURSORS];
static struct ksm_mm_slot *busy;

static struct kmem_cache *slot_cache;
static struct kmem_cache *chunk_cache;
static struct kmem_cache *records_cache;

/**
 * ksm_registry_init - make the caches
 *
 * Return: 0 or -ENOMEM.
 */
int __init ksm_registry_init(void)
{
	slot_cache = KMEM_CACHE(ksm_mm_slot, 0);
	chunk_cache = KMEM_CACHE(ksm_mm_chunk, 0);
	records_cache = kmem_cache_create("ksm_records", KSM_RECORDS_BYTES, 0, 0, NULL);
	if (slot_cache && chunk_cache && records_cache)
		return 0;
	ksm_registry_exit();
	return -ENOMEM;
}

/** ksm_registry_exit - free the caches, if there are any */
void ksm_registry_exit(void)
{
	kmem_cache_destroy(records_cache);
	kmem_cache_destroy(chunk_cache);
	kmem_cache_destroy(slot_cache);
}

static struct ksm_mm_slot *list_slot(struct list_head *node)
{
	return list_entry(node, struct ksm_mm_slot, slot.mm_node);
}

static struct ksm_mm_slot *slot_after(struct ksm_mm_slot *slot)
{
	if (list_is_last(&slot->slot.mm_node, &live))
		return NULL;
	return list_slot(slot->slot.mm_node.next);
}

static struct ksm_mm_slot *slot_of_mm(struct mm_struct *mm)
{
	struct mm_slot *slot = mm_slot_lookup(slots_by_mm, mm);

	return slot ? mm_slot_entry(slot, struct ksm_mm_slot, slot) : NULL;
}

/* Take a slot out of sight. Cursors that stand on it move on. */
static void slot_unlink(struct ksm_mm_slot *slot)
{
	int cursor;

	lockdep_assert_held(&registry_lock);
	for (cursor = 0; cursor < KSM_NR_CURSORS; cursor++)
		if (position[cursor] == slot)
			position[cursor] = slot_after(slot);
	hash_del(&slot->slot.hash);
	list_del(&slot->slot.mm_node);
}

static void slot_free(struct ksm_mm_slot *slot)
{
	struct mm_struct *mm = slot->slot.mm;

	WARN_ON_ONCE(!xa_empty(&slot->chunks));
	xa_destroy(&slot->chunks);
	mm_slot_free(slot_cache, slot);
	mmdrop(mm);
}

/**
 * ksm_registry_add - register an mm
 * @mm: the mm; not registered yet
 * @domain: whom it may share with
 * @first: set to whether nothing else was registered
 *
 * It goes just behind the scan, to let it settle: a fork is often followed by an
 * exec. But while everything is being unmerged it goes where the cursor will still
 * come by.
 *
 * Context: mmap_lock of @mm held for writing. May sleep.
 * Return: 0 or -ENOMEM.
 */
int ksm_registry_add(struct mm_struct *mm, struct ksm_domain *domain,
		     bool *first)
{
	struct ksm_mm_slot *slot = mm_slot_alloc(slot_cache);
	struct list_head *before = &live;
	struct mm_slot *mm_slot;

	if (!slot)
		return -ENOMEM;
	slot->domain = domain;
	xa_init(&slot->chunks);
	mm_slot = &slot->slot;

	spin_lock(&registry_lock);
	*first = list_empty(&live);
	mm_slot_insert(slots_by_mm, mm, mm_slot);
	/*
	 * Asked under the lock: the cursor is put on the first mm under it, too,
	 * after the answer has become yes.
	 */
	if (!ksm_kpage_is_unmerging() && position[KSM_CURSOR_SCAN])
		before = &position[KSM_CURSOR_SCAN]->slot.mm_node;
	list_add_tail(&mm_slot->mm_node, before);
	spin_unlock(&registry_lock);

	mmgrab(mm);
	set_bit(MMF_VM_MERGEABLE, &mm->flags);
	return 0;
}

/**
 * ksm_registry_remove - an mm exits
 * @mm: the mm; nobody uses it any more
 *
 * Context: No locks held. May sleep.
 * Return: true if the slot was left for ksm_registry_reap().
 */
bool ksm_registry_remove(struct mm_struct *mm)
{
	struct ksm_mm_slot *slot;
	bool in_use = false;

	spin_lock(&registry_lock);
	slot = slot_of_mm(mm);
	if (slot) {
		/* Chunks appear only in a borrowed slot: no race with that. */
		in_use = slot == busy || !xa_empty(&slot->chunks);
		slot_unlink(slot);
		if (in_use)
			list_add_tail(&slot->slot.mm_node, &dead);
	}
	spin_unlock(&registry_lock);

	if (slot && !in_use)
		slot_free(slot);
	return in_use;
}

/** ksm_registry_is_empty - is no mm registered? */
bool ksm_registry_is_empty(void)
{
	return list_empty(&live);
}

/** ksm_registry_has_dead - is there anything to reap? */
bool ksm_registry_has_dead(void)
{
	return !list_empty(&dead);
}

/**
 * ksm_cursor_rewind - put a cursor on the first mm
 * @cursor: which
 */
void ksm_cursor_rewind(enum ksm_cursor cursor)
{
	lockdep_assert_held(&ksm_scan_mutex);
	spin_lock(&registry_lock);
	position[cursor] = list_empty(&live) ? NULL : list_slot(live.next);
	spin_unlock(&registry_lock);
}

/**
 * ksm_cursor_borrow - get the slot a cursor stands on
 * @cursor: which
 *
 * The slot stays until ksm_cursor_return(), even if its mm exits.
 *
 * Context: ksm_scan_mutex held; nothing else is borrowed.
 * Return: the slot, or NULL past the last one.
 */
struct ksm_mm_slot *ksm_cursor_borrow(enum ksm_cursor cursor)
{
	struct ksm_mm_slot *slot;

	lockdep_assert_held(&ksm_scan_mutex);
	WARN_ON_ONCE(busy);
	spin_lock(&registry_lock);
	busy = position[cursor];
	slot = busy;
	spin_unlock(&registry_lock);
	return slot;
}

/**
 * ksm_cursor_return - give a borrowed slot back
 * @cursor: the cursor it was borrowed through
 * @slot: the slot
 * @advance: move the cursor on
 */
void ksm_cursor_return(enum ksm_cursor cursor, struct ksm_mm_slot *slot,
		       bool advance)
{
	lockdep_assert_held(&ksm_scan_mutex);
	spin_lock(&registry_lock);
	busy = NULL;
	/* If the mm has exited the cursor has moved on already. */
	if (advance && position[cursor] == slot)
		position[cursor] = slot_after(slot);
	spin_unlock(&registry_lock);
}

/**
 * ksm_registry_retire - forget an mm that has no mergeable VMA left
 * @slot: its slot, borrowed; without chunks, so that no candidate leads to the mm
 *
 * Context: mmap_lock held, which keeps madvise from making one. The slot is on
 * the list of the dead afterwards, as if the mm had exited; the caller returns
 * it as usual.
 */
void ksm_registry_retire(struct ksm_mm_slot *slot)
{
	struct mm_struct *mm = slot->slot.mm;

	lockdep_assert_held(&ksm_scan_mutex);
	mmap_assert_locked(mm);
	spin_lock(&registry_lock);
	if (slot_of_mm(mm) == slot) {
		slot_unlink(slot);
		list_add_tail(&slot->slot.mm_node, &dead);
		clear_bit(MMF_VM_MERGEABLE, &mm->flags);
	}
	spin_unlock(&registry_lock);
}

static struct ksm_mm_slot *take_dead(void)
{
	struct ksm_mm_slot *slot = NULL;

	spin_lock(&registry_lock);
	if (!list_empty(&dead)) {
		slot = list_slot(dead.next);
		list_del(&slot->slot.mm_node);
	}
	spin_unlock(&registry_lock);
	return slot;
}

/**
 * ksm_registry_reap - free the slots of mms that have exited
 *
 * Context: ksm_scan_mutex held; nothing is borrowed. May sleep.
 */
void ksm_registry_reap(void)
{
	struct ksm_mm_slot *slot;

	lockdep_assert_held(&ksm_scan_mutex);
	WARN_ON_ONCE(busy);
	while ((slot = take_dead())) {
		ksm_slot_purge(slot, 0, ULONG_MAX, NULL);
		slot_free(slot);
		cond_resched();
	}
}

static unsigned long chunk_number(unsigned long addr)
{
	return addr >> (PAGE_SHIFT + KSM_CHUNK_SHIFT);
}

static void chunk_free(struct ksm_mm_chunk *mc)
{
	struct ksm_mm_slot *slot = mc->owner;

	lockdep_assert_held(&ksm_scan_mutex);
	xa_erase(&slot->chunks, chunk_number(mc->start));
	xa_erase(&slot->domain->chunks, mc->c.id);
	WARN_ON_ONCE(!hlist_empty(&mc->anchors));
	ksm_chunk_destroy(&mc->c);
	kmem_cache_free(records_cache, mc->c.rec);
	kmem_cache_free(chunk_cache, mc);
	WRITE_ONCE(slot->domain->nr_chunks, slot->domain->nr_chunks - 1);
}

static struct ksm_mm_chunk *chunk_new(struct ksm_mm_slot *slot,
				      unsigned long start)
{
	struct ksm_domain *domain = slot->domain;
	struct ksm_mm_chunk *mc = kmem_cache_zalloc(chunk_cache, KSM_GFP);
	struct ksm_record *rec;
	u32 id;

	if (!mc)
		return NULL;
	rec = kmem_cache_alloc(records_cache, KSM_GFP);
	if (!rec)
		goto free_chunk;
	if (xa_alloc(&domain->chunks, &id, mc, XA_LIMIT(1, KSM_CHUNK_ID_MAX), KSM_GFP))
		goto free_records;
	ksm_chunk_init(&mc->c, id, rec, &domain->stats.tally, &slot->tally);
	mc->owner = slot;
	mc->start = start;
	if (xa_err(xa_store(&slot->chunks, chunk_number(start), mc, KSM_GFP)))
		goto free_id;
	WRITE_ONCE(domain->nr_chunks, domain->nr_chunks + 1);
	return mc;

free_id:
	xa_erase(&domain->chunks, id);
free_records:
	kmem_cache_free(records_cache, rec);
free_chunk:
	kmem_cache_free(chunk_cache, mc);
	return NULL;
}

/**
 * ksm_slot_find_chunk - find the chunk at an address
 * @slot: a borrowed slot
 * @addr: an address in the chunk
 *
 * Context: ksm_scan_mutex held.
 * Return: the chunk, or NULL if there is none.
 */
struct ksm_mm_chunk *ksm_slot_find_chunk(struct ksm_mm_slot *slot,
					 unsigned long addr)
{
	lockdep_assert_held(&ksm_scan_mutex);
	return xa_load(&slot->chunks, chunk_number(addr));
}

/**
 * ksm_slot_chunk - find or make the chunk at an address
 * @slot: a borrowed slot
 * @start: address of the chunk, 2 MiB aligned
 *
 * Context: ksm_scan_mutex held. May sleep.
 * Return: the chunk, or NULL without memory.
 */
struct ksm_mm_chunk *ksm_slot_chunk(struct ksm_mm_slot *slot, unsigned long start)
{
	struct ksm_mm_chunk *mc = ksm_slot_find_chunk(slot, start);

	return mc ? mc : chunk_new(slot, start);
}

static void chunk_purge(struct ksm_mm_chunk *mc, unsigned int first,
			unsigned int end, const unsigned long *keep)
{
	unsigned int i;

	for (i = ksm_chunk_next(&mc->c, first); i < end;
	     i = ksm_chunk_next(&mc->c, i + 1)) {
		if (!keep || !test_bit(i, keep))
			ksm_record_drop(mc, i);
	}
	if (ksm_chunk_is_empty(&mc->c))
		chunk_free(mc);
}

/**
 * ksm_slot_purge - forget the pages of an address range
 * @slot: a borrowed or dead slot
 * @from: first address, page aligned
 * @to: first address after the range, page aligned, or ULONG_MAX
 * @keep: bitmap of slots to keep, if the range lies within one chunk; or NULL
 *
 * Chunks without records are freed.
 *
 * Context: ksm_scan_mutex held. May sleep.
 */
void ksm_slot_purge(struct ksm_mm_slot *slot, unsigned long from,
		    unsigned long to, const unsigned long *keep)
{
	struct ksm_mm_chunk *mc;
	unsigned long nr;

	lockdep_assert_held(&ksm_scan_mutex);
	if (from >= to)
		return;
	xa_for_each_range(&slot->chunks, nr, mc, chunk_number(from),
			  chunk_number(to - 1)) {
		unsigned long low = max(from, mc->start);
		unsigned long high = min(to - 1, mc->start + KSM_CHUNK_BYTES - 1);

		chunk_purge(mc, (low - mc->start) >> PAGE_SHIFT,
			    ((high - mc->start) >> PAGE_SHIFT) + 1, keep);
		cond_resched();
	}
	ksm_slot_publish(slot);
}
