/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one place that advises the kernel whether a RAM block may be merged
 *
 * The configuration says what is wanted (the machine's mem-merge, the memory
 * backend's merge), the kernel what is possible.  Both answers are kept for
 * each block, so that nobody has to guess why memory is not merged.
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/main-loop.h"
#include "qemu/madvise.h"
#include "qemu/queue.h"
#include "qemu/rcu.h"
#include "qapi/error.h"
#include "exec/memory.h"
#include "exec/ramblock.h"
#include "exec/ramlist.h"
#include "hw/boards.h"
#include "hw/ksm/ksm.h"
#include "sysemu/hostmem.h"
#include "ksm-ram.h"
#include "trace.h"

typedef struct KsmRamEntry {
    KsmRamState state;
    unsigned long *hot;     /* a bit for each region; NULL: none is hot */
    uint64_t region_size;   /* bytes, unless @hot is NULL */
    size_t regions;
    QTAILQ_ENTRY(KsmRamEntry) next;
} KsmRamEntry;

/* Protected by the big QEMU lock, as RAM blocks are. */
static QTAILQ_HEAD(, KsmRamEntry) entries = QTAILQ_HEAD_INITIALIZER(entries);
static const KsmRamPolicy *the_policy;
static unsigned generation;

static KsmRamEntry *find_entry(RAMBlock *block)
{
    KsmRamEntry *entry;

    QTAILQ_FOREACH(entry, &entries, next) {
        if (entry->state.block == block) {
            return entry;
        }
    }
    return NULL;
}

static RAMBlock *find_block(void *host)
{
    RAMBlock *block;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(block) {
        if (block->host == host) {
            return block;
        }
    }
    return NULL;
}

const char *ksm_ram_name(RAMBlock *block)
{
    const char *id = qemu_ram_get_idstr(block);

    return *id ? id : memory_region_name(block->mr);
}

static HostMemoryBackend *backend_of(RAMBlock *block)
{
    Object *owner = memory_region_owner(block->mr);

    return (HostMemoryBackend *)object_dynamic_cast(owner,
                                                    TYPE_MEMORY_BACKEND);
}

char *ksm_ram_memdev(RAMBlock *block)
{
    HostMemoryBackend *backend = backend_of(block);

    return backend ? host_memory_backend_get_name(backend) : NULL;
}

bool ksm_ram_is_guest_ram(RAMBlock *block)
{
    return backend_of(block) && !block->mr->readonly;
}

/* Memory that is not ours to give advice about */
static bool is_device_memory(RAMBlock *block)
{
    return !backend_of(block) &&
           ((block->flags & RAM_PREALLOC) || qemu_ram_get_fd(block) >= 0);
}

/* What the configuration says, whatever the kernel may think of it */
static KsmRefusal refused_by_owner(RAMBlock *block)
{
    HostMemoryBackend *backend = backend_of(block);
    bool machine_merge = current_machine && machine_mem_merge(current_machine);

    if (backend && backend->merge) {
        /* Said explicitly, or taken over from the machine: both count */
        return KSM_REFUSAL_NONE;
    }
    if (is_device_memory(block)) {
        return KSM_REFUSAL_DEVICE_MEMORY;
    }
    if (!machine_merge) {
        return KSM_REFUSAL_DISABLED_BY_MACHINE;
    }
    return backend ? KSM_REFUSAL_DISABLED_BY_BACKEND : KSM_REFUSAL_NONE;
}

/* The kernel accepts the advice for these, and then does nothing */
static KsmRefusal refused_by_kind(RAMBlock *block)
{
    if (qemu_ram_is_shared(block)) {
        return KSM_REFUSAL_SHARED_MAPPING;
    }
    if (qemu_ram_pagesize(block) > qemu_real_host_page_size()) {
        return KSM_REFUSAL_HUGE_PAGES;
    }
    return KSM_REFUSAL_NONE;
}

/*
 * RAM blocks are made of whole pages, so EINVAL can only mean that the kernel
 * does not know the advice.
 */
static KsmRefusal refused_by_kernel(int error)
{
    switch (error) {
    case 0:
        return KSM_REFUSAL_NONE;
    case EINVAL:
        return KSM_REFUSAL_HOST_UNAVAILABLE;
    default:
        return KSM_REFUSAL_KERNEL_REFUSED;
    }
}

/* May it be merged?  Neither an owner who refuses nor a secret allows it. */
static bool is_wanted(const KsmRamState *state)
{
    return state->requested && state->reason != KSM_REFUSAL_CONFIDENTIAL_GUEST;
}

static int advise_run(const KsmRamState *state, void *host, size_t length,
                      bool merge)
{
    int error = 0;

    if (qemu_madvise(host, length,
                     merge ? QEMU_MADV_MERGEABLE : QEMU_MADV_UNMERGEABLE)) {
        error = errno;
    }
    trace_ksm_ram_advise(ksm_ram_name(state->block), host, length, merge,
                         error);
    if (!merge && error == EINVAL) {
        /* Not to be merged, on a host that cannot: just as it should be */
        error = 0;
    }
    return error;
}

/* Is it left out, and from @offset up to where is that the same? */
static bool is_hot(const KsmRamEntry *entry, uint64_t offset, uint64_t *end)
{
    size_t region, next;
    bool hot;

    *end = entry->state.block->max_length;
    if (!entry->hot || offset / entry->region_size >= entry->regions) {
        return false;
    }
    region = offset / entry->region_size;
    hot = test_bit(region, entry->hot);
    next = hot ? find_next_zero_bit(entry->hot, entry->regions, region)
               : find_next_bit(entry->hot, entry->regions, region);
    if (hot || next < entry->regions) {
        *end = MIN(*end, next * entry->region_size);
    }
    return hot;
}

/* The first error of several; each run is told all the same */
static int advise(const KsmRamEntry *entry, void *host, size_t length)
{
    const KsmRamState *state = &entry->state;
    uint8_t *start = state->block->host;
    uint64_t offset = (uint8_t *)host - start, end = offset + length, next;
    int first = 0;

    if (!is_wanted(state)) {
        return advise_run(state, host, length, false);
    }
    for (; offset < end; offset = next) {
        bool hot = is_hot(entry, offset, &next);
        int error;

        next = MIN(next, end);
        error = advise_run(state, start + offset, next - offset, !hot);
        first = first ? first : error;
    }
    return first;
}

/* What is wanted; the kernel has not been asked yet */
static void decide(KsmRamState *state)
{
    state->reason = refused_by_owner(state->block);
    if (state->reason == KSM_REFUSAL_NONE && the_policy) {
        state->reason = the_policy->judge(state, the_policy->opaque);
    }
    state->requested = state->reason == KSM_REFUSAL_NONE;
    state->error = 0;
    if (state->requested && current_machine && current_machine->cgs) {
        state->reason = KSM_REFUSAL_CONFIDENTIAL_GUEST;
    }
}

/*
 * "Not mergeable" is told to the kernel as well: the process may have
 * inherited a setting that makes all its memory mergeable.
 */
static void decide_and_advise(KsmRamEntry *entry)
{
    KsmRamState *state = &entry->state;
    RAMBlock *block = state->block;
    KsmRefusal by_kernel;

    decide(state);
    if (state->reason == KSM_REFUSAL_DEVICE_MEMORY) {
        return;
    }
    state->error = advise(entry, block->host, block->max_length);
    if (!state->error) {
        state->advised = is_wanted(state);
    }
    by_kernel = refused_by_kernel(state->error);
    if (!is_wanted(state)) {
        if (by_kernel != KSM_REFUSAL_NONE) {
            state->reason = by_kernel;
        }
        return;
    }
    state->reason = refused_by_kind(block);
    if (state->reason == KSM_REFUSAL_NONE) {
        state->reason = by_kernel;
    }
    if (state->reason == KSM_REFUSAL_NONE && state->hot_bytes) {
        state->reason = KSM_REFUSAL_WRITE_HOT;
    }
}

static void ksm_ram_added(RAMBlockNotifier *n, void *host, size_t size,
                          size_t max_size)
{
    RAMBlock *block = find_block(host);
    KsmRamEntry *entry;

    if (!block) {
        return;
    }
    entry = g_new0(KsmRamEntry, 1);
    entry->state.block = block;
    QTAILQ_INSERT_TAIL(&entries, entry, next);
    generation++;
    decide_and_advise(entry);
    trace_ksm_ram_added(ksm_ram_name(block), max_size, entry->state.requested,
                        KsmRefusal_str(entry->state.reason));
}

static void ksm_ram_removed(RAMBlockNotifier *n, void *host, size_t size,
                            size_t max_size)
{
    RAMBlock *block = find_block(host);
    KsmRamEntry *entry = block ? find_entry(block) : NULL;

    if (entry) {
        trace_ksm_ram_removed(ksm_ram_name(block), max_size);
        QTAILQ_REMOVE(&entries, entry, next);
        generation++;
        g_free(entry->hot);
        g_free(entry);
    }
}

/* The advice covers the maximum size from the start: nothing to do */
static void ksm_ram_resized(RAMBlockNotifier *n, void *host, size_t old_size,
                            size_t new_size)
{
    trace_ksm_ram_resized(host, old_size, new_size);
    generation++;
}

void ksm_ram_init(void)
{
    static RAMBlockNotifier notifier = {
        .ram_block_added = ksm_ram_added,
        .ram_block_removed = ksm_ram_removed,
        .ram_block_resized = ksm_ram_resized,
    };

    ram_block_notifier_add(&notifier);
}

void ksm_ram_remapped(RAMBlock *block, void *host, size_t length)
{
    KsmRamEntry *entry = find_entry(block);
    int error;

    if (!entry || entry->state.reason == KSM_REFUSAL_DEVICE_MEMORY) {
        return;
    }
    error = advise(entry, host, length);
    if (error) {
        entry->state.error = error;
        entry->state.reason = refused_by_kernel(error);
    }
}

static bool reconsider(KsmRamEntry *entry, Error **errp)
{
    const KsmRamState *state = &entry->state;

    generation++;
    decide_and_advise(entry);
    if (state->reason == KSM_REFUSAL_KERNEL_REFUSED) {
        error_setg_errno(errp, state->error,
                         "the kernel refused to make RAM block '%s' %s",
                         ksm_ram_name(state->block),
                         is_wanted(state) ? "mergeable" : "unmergeable");
        return false;
    }
    return true;
}

bool ksm_ram_reconsider(MemoryRegion *mr, Error **errp)
{
    KsmRamEntry *entry = find_entry(mr->ram_block);

    return !entry || reconsider(entry, errp);
}

bool ksm_ram_reconsider_all(Error **errp)
{
    KsmRamEntry *entry;
    bool ok = true;

    QTAILQ_FOREACH(entry, &entries, next) {
        ok &= reconsider(entry, ok ? errp : NULL);
    }
    return ok;
}

void ksm_ram_set_policy(const KsmRamPolicy *policy)
{
    g_assert(qemu_mutex_iothread_locked());
    the_policy = policy;
}

/* A policy may go by names, and blocks get theirs after they were added. */
void ksm_ram_named(RAMBlock *block)
{
    KsmRamEntry *entry = the_policy ? find_entry(block) : NULL;

    if (entry) {
        generation++;
        decide_and_advise(entry);
    }
}

unsigned ksm_ram_generation(void)
{
    return generation;
}

static uint64_t count_hot_bytes(const KsmRamEntry *entry)
{
    uint64_t bytes = 0, offset = 0, end;

    for (; offset < entry->state.block->max_length; offset = end) {
        if (is_hot(entry, offset, &end)) {
            bytes += end - offset;
        }
    }
    return bytes;
}

void ksm_ram_set_hot(RAMBlock *block, uint64_t region_size,
                     const unsigned long *hot, size_t regions)
{
    KsmRamEntry *entry;

    g_assert(qemu_mutex_iothread_locked());
    entry = find_entry(block);
    if (!entry || (!hot && !entry->hot)) {
        return;
    }
    g_clear_pointer(&entry->hot, g_free);
    if (hot) {
        entry->hot = bitmap_new(regions);
        bitmap_copy(entry->hot, hot, regions);
        entry->region_size = region_size;
        entry->regions = regions;
    }
    entry->state.hot_bytes = count_hot_bytes(entry);
    decide_and_advise(entry);
}

void ksm_ram_foreach(KsmRamFunc func, void *opaque)
{
    KsmRamEntry *entry;

    g_assert(qemu_mutex_iothread_locked());
    QTAILQ_FOREACH(entry, &entries, next) {
        func(&entry->state, opaque);
    }
}
