// SPDX-License-Identifier: GPL-2.0-only
/*
 * The scan: ksmd, its passes over the registered mms, and what stops it.
 *
 * A step takes the next few pages of one chunk, has them hashed, lets match.c see to
 * each, and forgets what was recorded of the addresses in between. With several threads
 * the pages of the next steps are being hashed meanwhile (lanes.c). A pass is over when
 * the last mm's last chunk was seen.
 */
#include <linux/freezer.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/oom.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>
#include <linux/wait.h>
#include <trace/events/ksm.h>

#include "control.h"
#include "kpage.h"
#include "lanes.h"
#include "match.h"
#include "merge.h"
#include "node.h"
#include "pace.h"
#include "registry.h"
#include "scan.h"
#include "skip.h"
#include "walk.h"

/**
 * struct scan_state - the one scan
 * @thread: ksmd
 * @run: what we were told; written by set_run(), read without a lock
 * @offlining: memory is going away: nodes must not be touched; ditto
 * @in_pass: a pass has begun; under ksm_scan_mutex
 * @full_scans: passes completed since run was last 2; ditto
 * @pass: passes begun, ever; ditto
 * @pages_scanned: pages looked at, ever; ditto
 * @pages_skipped: pages passed by, ever; ditto
 * @last_prune: when, in jiffies, nodes in chains were last looked at; ditto
 * @batch: the merges that wait; ditto
 * @seen: which slots of the current chunk the pages of a step are in; ditto
 * @wake: woken when there may be something to do, or no longer offlining
 */
static struct scan_state {
	struct task_struct *thread;
	enum ksm_run run;
	bool offlining;
	bool in_pass;
	u64 full_scans;
	u64 pass;
	u64 pages_scanned;
	u64 pages_skipped;
	unsigned long last_prune;
	struct ksm_batch batch;
	DECLARE_BITMAP(seen, KSM_CHUNK_PAGES);
	wait_queue_head_t wake;
} scan = {
	.last_prune = INITIAL_JIFFIES,
	.wake = __WAIT_QUEUE_HEAD_INITIALIZER(scan.wake),
};

/**
 * ksm_scan_lock_online - take ksm_scan_mutex when no memory is going offline
 *
 * Context: May sleep.
 */
void ksm_scan_lock_online(void)
{
	mutex_lock(&ksm_scan_mutex);
	while (scan.offlining) {
		mutex_unlock(&ksm_scan_mutex);
		wait_event(scan.wake, !READ_ONCE(scan.offlining));
		mutex_lock(&ksm_scan_mutex);
	}
}

/**
 * ksm_scan_pause - keep everybody away from the stable nodes
 *
 * Context: May sleep. Until ksm_scan_resume().
 */
void ksm_scan_pause(void)
{
	mutex_lock(&ksm_scan_mutex);
	WRITE_ONCE(scan.offlining, true);
	mutex_unlock(&ksm_scan_mutex);
}

/** ksm_scan_resume - undo ksm_scan_pause() */
void ksm_scan_resume(void)
{
	mutex_lock(&ksm_scan_mutex);
	WRITE_ONCE(scan.offlining, false);
	mutex_unlock(&ksm_scan_mutex);
	wake_up_all(&scan.wake);
}

/* Let one page find its like. Returns whether it was seen for the first time. */
static bool match_item(struct ksm_mm_chunk *mc, struct ksm_lane *lane, unsigned int i)
{
	const struct ksm_walk_item *item = &lane->walk.item[i];
	struct ksm_scanned scanned = {
		.mc = mc,
		.slot = item->slot,
		.page = item->page,
		.is_kpage = item->is_kpage,
		.hash = lane->hash[i],
	};
	bool fresh = ksm_chunk_state(&mc->c, item->slot) == KSM_PAGE_EMPTY;

	ksm_match_page(&scan.batch, &scanned);
	if (scanned.was_split) {
		ksm_lanes_assert_read(lane);
		ksm_walk_was_split(&lane->walk, i);
	}
	if (scanned.is_kept)
		ksm_walk_give_item(&lane->walk, i);
	else
		ksm_walk_put_item(&lane->walk, i);
	return fresh;
}

/*
 * Let each page of a lane find its like; up to @held_until the lanes hold references.
 * Stops after a split: see walk.c. Returns how many pages were passed by.
 */
static unsigned int match_lane(struct ksm_mm_slot *slot, struct ksm_lane *lane,
			       unsigned long held_until)
{
	struct ksm_walk *walk = &lane->walk;
	unsigned int skipped = 0, fresh = 0, i;
	struct ksm_mm_chunk *mc;

	/* Seeing to the lanes before may have freed the chunk. */
	mc = ksm_slot_chunk(slot, walk->start);
	if (!mc) {
		ksm_domain_refused(slot->domain, slot->slot.mm,
				   KSM_REFUSED_NOMEM, walk->nr);
		return 0;
	}
	ksm_batch_begin(&scan.batch, slot->domain, mc, held_until);
	for (i = 0; i < walk->nr; i++) {
		if (!walk->item[i].page)
			continue;
		if (!walk->item[i].is_kpage &&
		    ksm_chunk_state(&mc->c, walk->item[i].slot) != KSM_PAGE_STABLE)
			ksm_chunk_grow_older(&mc->c, walk->item[i].slot);
		if (test_bit(i, lane->look)) {
			fresh += match_item(mc, lane, i);
		} else {
			skipped++;
			ksm_walk_put_item(walk, i);
		}
		cond_resched();
	}
	ksm_batch_flush(&scan.batch);
	ksm_pace_looked(walk->nr - skipped, fresh);
	return skipped;
}

/* Forget the records between @from and the end of the walk that it did not see. */
static void purge_unseen(struct ksm_mm_slot *slot, unsigned long from,
			 const struct ksm_walk *walk)
{
	unsigned long end = walk->mm_done ? ULONG_MAX : walk->next;
	unsigned int i;

	if (!walk->nr) {
		ksm_slot_purge(slot, from, end, NULL);
		return;
	}
	bitmap_zero(scan.seen, KSM_CHUNK_PAGES);
	for (i = 0; i < walk->nr; i++)
		__set_bit(walk->item[i].slot, scan.seen);
	ksm_slot_purge(slot, from, walk->start, NULL);
	ksm_slot_purge(slot, max(from, walk->start), walk->next, scan.seen);
	ksm_slot_purge(slot, walk->next, end, NULL);
}

/*
 * No VMA of an mm is mergeable: forget it, so that its exit will not wait for us. First
 * its pages, without mmap_lock, since there may be many; then there may be a VMA.
 */
static void retire(struct ksm_mm_slot *slot, struct ksm_walk *walk)
{
	struct mm_struct *mm = slot->slot.mm;

	mmap_read_unlock(mm);
	ksm_slot_purge(slot, 0, ULONG_MAX, NULL);
	mmap_read_lock(mm);
	if (ksm_mm_is_exiting(mm))
		return;
	ksm_walk_mm(mm, 0, walk->max, walk);
	if (walk->mm_done && !walk->saw_vma)
		ksm_registry_retire(slot);
}

/**
 * struct lookahead - the walks that are ahead of what is seen to
 * @slot: the borrowed slot
 * @next: where the next walk begins
 * @left: so many pages it may find at most
 * @ended: there will be no other one
 */
struct lookahead {
	struct ksm_mm_slot *slot;
	unsigned long next;
	unsigned int left;
	bool ended;
};

/* With mmap_lock held. Returns whether to go on after that walk. */
static bool walk_lane(struct lookahead *ahead, struct ksm_lane *lane)
{
	struct ksm_lane *last = ksm_lanes_last();
	struct ksm_mm_slot *slot = ahead->slot;
	struct ksm_walk *walk = &lane->walk;

	ksm_walk_mm(slot->slot.mm, ahead->next, min(ahead->left, KSM_WALK_PAGES), walk);
	if (last)
		ksm_walk_share(&last->walk, walk);
	if (walk->mm_done && !walk->saw_vma && !ahead->next)
		retire(slot, walk);
	ahead->left -= walk->nr;
	ahead->next = walk->next;
	return walk->nr && !walk->mm_done && ahead->left &&
	       !ksm_skip_rests(slot, walk->next, scan.pass);
}

/*
 * Find the next pages, as many as the threads have use for; none if the mm is exiting.
 * An mm without a mergeable VMA is forgotten.
 */
static void walk_ahead(struct lookahead *ahead)
{
	struct mm_struct *mm = ahead->slot->slot.mm;
	struct ksm_lane *lane;

	while (!ahead->ended && (lane = ksm_lanes_free())) {
		mmap_read_lock(mm);
		if (ksm_mm_is_exiting(mm)) {
			mmap_read_unlock(mm);
			ahead->ended = true;
			return;
		}
		ahead->ended = !walk_lane(ahead, lane);
		mmap_read_unlock(mm);
		ksm_skip_choose(ahead->slot, lane, scan.pass);
		ksm_lanes_add(ahead->slot->domain);
	}
}

/* See to the pages of one lane, and forget what it did not see. Returns the looks. */
static unsigned int scan_lane(struct ksm_mm_slot *slot, struct ksm_lane *lane,
			      unsigned long held_until)
{
	struct ksm_walk *walk = &lane->walk;
	unsigned long from = slot->next_addr;
	unsigned int looked, skipped = 0;

	if (walk->nr)
		skipped = match_lane(slot, lane, held_until);
	purge_unseen(slot, from, walk);
	looked = walk->nr - skipped;
	WRITE_ONCE(scan.pages_scanned, scan.pages_scanned + looked);
	WRITE_ONCE(scan.pages_skipped, scan.pages_skipped + skipped);
	slot->next_addr = walk->mm_done ? 0 : walk->next;
	return looked + ksm_skip_looks(skipped);
}

/*
 * Look at up to @max pages of the slot under the cursor, but with one thread only at
 * those of one lane. Returns how many.
 */
static unsigned int scan_slot(struct ksm_mm_slot *slot, unsigned int max)
{
	unsigned int passed_by, looked;
	struct lookahead ahead;
	struct ksm_lane *lane;
	unsigned long end;
	bool done = true;

	lockdep_assert_held(&ksm_scan_mutex);
	passed_by = ksm_skip_chunks(slot, scan.pass);
	WRITE_ONCE(scan.pages_skipped, scan.pages_skipped + passed_by);
	looked = ksm_skip_looks(passed_by);
	if (looked >= max) {
		ksm_cursor_return(KSM_CURSOR_SCAN, slot, false);
		return max;
	}
	ahead = (struct lookahead) {
		.slot = slot, .next = slot->next_addr, .left = max - looked,
	};
	walk_ahead(&ahead);
	while ((lane = ksm_lanes_first())) {
		end = lane->walk.next;
		looked += scan_lane(slot, lane, ksm_lanes_last()->walk.next);
		done = lane->walk.mm_done;
		/* After a split it goes on from there. */
		if (lane->walk.next != end || freezing(current))
			break;
		ksm_lanes_done();
		if (ksm_lanes_get_threads() > 1)
			walk_ahead(&ahead);
	}
	ksm_lanes_drop();
	ksm_cursor_return(KSM_CURSOR_SCAN, slot, done);
	return looked;
}

static void prune(void)
{
	struct ksm_domain *domain = &ksm_default_domain;
	unsigned long pause = msecs_to_jiffies(READ_ONCE(domain->limits.prune_millisecs));
	bool chains = time_after_eq(jiffies, scan.last_prune + pause);

	ksm_node_prune_idle(domain, chains);
	if (chains)
		scan.last_prune = jiffies;
}

static void begin_pass(void)
{
	/*
	 * Pages that were just faulted in hang on per-cpu lists, which hold a
	 * reference that makes them look pinned.
	 */
	lru_add_drain_all();
	prune();
	ksm_cursor_rewind(KSM_CURSOR_SCAN);
	scan.in_pass = true;
	scan.pass++;
	ksm_pace_pass_begins();
	trace_ksm_start_scan(scan.full_scans,
			     ksm_tally_tracked(&ksm_default_domain.stats.tally));
}

static void end_pass(void)
{
	scan.in_pass = false;
	WRITE_ONCE(scan.full_scans, scan.full_scans + 1);
	ksm_pace_pass_ended();
	trace_ksm_stop_scan(scan.full_scans,
			    ksm_tally_tracked(&ksm_default_domain.stats.tally));
	if (IS_ENABLED(CONFIG_DEBUG_VM))
		WARN_ON_ONCE(!ksm_domain_validate(&ksm_default_domain));
}

/* Look at up to @nr_pages pages, but not beyond the end of a pass. */
static void scan_batch(unsigned int nr_pages)
{
	lockdep_assert_held(&ksm_scan_mutex);
	if (!scan.in_pass)
		begin_pass();
	while (nr_pages && !freezing(current)) {
		struct ksm_mm_slot *slot = ksm_cursor_borrow(KSM_CURSOR_SCAN);

		if (!slot) {
			end_pass();
			return;
		}
		nr_pages -= scan_slot(slot, nr_pages);
		cond_resched();
	}
}

static bool has_work(void)
{
	return READ_ONCE(scan.run) == KSM_RUN_MERGE && !ksm_registry_is_empty();
}

static int ksmd(void *unused)
{
	set_freezable();
	set_user_nice(current, 5);
	while (!kthread_should_stop()) {
		ksm_scan_lock_online();
		/* Exits are cleaned up after in any case, merging or not. */
		ksm_registry_reap();
		if (has_work())
			scan_batch(ksm_pace_pages());
		mutex_unlock(&ksm_scan_mutex);

		try_to_freeze();
		if (has_work() && ksm_pace_goes_on())
			cond_resched();
		else if (has_work())
			ksm_pace_sleep();
		else
			wait_event_freezable(scan.wake, has_work() ||
					     ksm_registry_has_dead() ||
					     kthread_should_stop());
	}
	return 0;
}

static int unmerge_vmas(struct mm_struct *mm)
{
	struct vm_area_struct *vma;
	struct vma_iterator vmi;
	int err = 0;

	mmap_assert_locked(mm);
	/* An mm that was torn down while we waited has no tree to iterate. */
	if (ksm_mm_is_exiting(mm))
		return 0;
	vma_iter_init(&vmi, mm, 0);
	for_each_vma(vmi, vma) {
		if (ksm_mm_is_exiting(mm))
			break;
		if (!ksm_vma_is_mergeable(vma))
			continue;
		err = ksm_unmerge_range(vma, vma->vm_start, vma->vm_end, true);
		if (err)
			break;
	}
	return err;
}

static int unmerge_slot(struct ksm_mm_slot *slot)
{
	struct mm_struct *mm = slot->slot.mm;
	int err;

	mmap_read_lock(mm);
	err = unmerge_vmas(mm);
	mmap_read_unlock(mm);
	if (err)
		return err;
	ksm_slot_purge(slot, 0, ULONG_MAX, NULL);
	slot->next_addr = 0;
	return 0;
}

static int unmerge_all(void)
{
	struct ksm_mm_slot *slot;
	int err;

	lockdep_assert_held(&ksm_scan_mutex);
	ksm_registry_reap();
	ksm_cursor_rewind(KSM_CURSOR_UNMERGE);
	while ((slot = ksm_cursor_borrow(KSM_CURSOR_UNMERGE))) {
		err = unmerge_slot(slot);
		ksm_cursor_return(KSM_CURSOR_UNMERGE, slot, true);
		if (err)
			return err;
	}
	ksm_registry_reap();
	ksm_domain_forget_candidates(&ksm_default_domain);
	ksm_node_disown_all(&ksm_default_domain);
	scan.in_pass = false;
	WRITE_ONCE(scan.full_scans, 0);
	return 0;
}

/** ksm_get_run - what the engine was told to do */
enum ksm_run ksm_get_run(void)
{
	return READ_ONCE(scan.run);
}

/* The one place where run changes once ksmd is there. */
static void set_run(enum ksm_run run)
{
	lockdep_assert_held(&ksm_scan_mutex);
	WRITE_ONCE(scan.run, run);
	ksm_kpage_set_unmerging(run == KSM_RUN_UNMERGE);
}

/**
 * ksm_set_run - tell the engine what to do
 * @run: one of enum ksm_run
 *
 * KSM_RUN_UNMERGE is done when the call returns. It needs memory for every page
 * it gives back: the caller is the first to go if there is none.
 *
 * Context: Process context. May sleep long. Interruptible while unmerging.
 * Return: 0; -EINVAL; -ENOMEM or -ERESTARTSYS, after which the engine is stopped
 * and what was not yet unmerged stays merged.
 */
int ksm_set_run(unsigned int run)
{
	int err = 0;

	if (run > KSM_RUN_UNMERGE)
		return -EINVAL;
	ksm_scan_lock_online();
	if (scan.run != run) {
		set_run(run);
		if (run == KSM_RUN_UNMERGE) {
			set_current_oom_origin();
			err = unmerge_all();
			clear_current_oom_origin();
		}
		if (err)
			set_run(KSM_RUN_STOP);
	}
	mutex_unlock(&ksm_scan_mutex);
	if (run == KSM_RUN_MERGE)
		ksm_scan_wake();
	return err;
}

/** ksm_get_full_scans - passes completed since everything was last unmerged */
u64 ksm_get_full_scans(void)
{
	return READ_ONCE(scan.full_scans);
}

/** ksm_get_pages_scanned - pages looked at, ever */
u64 ksm_get_pages_scanned(void)
{
	return READ_ONCE(scan.pages_scanned);
}

/** ksm_get_pages_skipped - pages that smart_scan passed by, ever */
u64 ksm_get_pages_skipped(void)
{
	return READ_ONCE(scan.pages_skipped);
}

/** ksm_get_scan_threads - how many threads scan, ksmd included */
unsigned int ksm_get_scan_threads(void)
{
	return ksm_lanes_get_threads();
}

/**
 * ksm_set_scan_threads - set how many threads scan
 * @threads: 1 to KSM_THREADS_MAX, ksmd included
 *
 * Context: May sleep.
 * Return: 0; -EINVAL if it is out of range; -errno if a thread could not be started.
 */
int ksm_set_scan_threads(unsigned int threads)
{
	int err;

	mutex_lock(&ksm_scan_mutex);
	err = ksm_lanes_set_threads(threads);
	mutex_unlock(&ksm_scan_mutex);
	return err;
}

/** ksm_scan_wake - there may be something to do */
void ksm_scan_wake(void)
{
	wake_up_all(&scan.wake);
}

/**
 * ksm_scan_start - start ksmd
 *
 * Return: 0 or -errno.
 */
int __init ksm_scan_start(void)
{
	struct task_struct *thread;

	/* Without sysfs there would be no way to start it. */
	if (!IS_ENABLED(CONFIG_SYSFS))
		scan.run = KSM_RUN_MERGE;
	thread = kthread_run(ksmd, NULL, "ksmd");
	if (IS_ERR(thread))
		return PTR_ERR(thread);
	scan.thread = thread;
	ksm_lanes_init();
	return 0;
}

/** ksm_scan_stop - stop ksmd again, if the start-up fails later */
void __init ksm_scan_stop(void)
{
	kthread_stop(scan.thread);
	ksm_set_scan_threads(1);
}
