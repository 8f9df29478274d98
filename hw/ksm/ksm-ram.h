/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What was decided for each RAM block, for the parts of hw/ksm that report it
 */
#ifndef HW_KSM_KSM_RAM_H
#define HW_KSM_KSM_RAM_H

#include "exec/cpu-common.h"
#include "qapi/qapi-types-ksm.h"

/* One RAM block.  Protected by the big QEMU lock. */
typedef struct KsmRamState {
    RAMBlock *block;
    bool requested;         /* the configuration asks for merging */
    /*
     * As far as QEMU can know; a kernel that accepts advice and ignores it
     * is found out only by who reads the kernel's list of mappings.
     */
    KsmRefusal reason;
    int error;              /* errno of the last advice, 0 if accepted */
    bool advised;           /* the kernel has accepted "mergeable" */
    uint64_t hot_bytes;     /* left out: written to too often */
} KsmRamState;

typedef void (*KsmRamFunc)(const KsmRamState *state, void *opaque);

/*
 * Who may narrow what the configuration allows.  It never widens it: what the
 * machine or a backend refuses is not asked about.
 */
typedef struct KsmRamPolicy {
    /* Why @state's block may not be merged now; none if it may */
    KsmRefusal (*judge)(const KsmRamState *state, void *opaque);
    void *opaque;
} KsmRamPolicy;

/**
 * ksm_ram_foreach:
 * @func: called for every RAM block in order of creation; must not create or
 *        remove any
 *
 * Context: big QEMU lock held.
 */
void ksm_ram_foreach(KsmRamFunc func, void *opaque);

/**
 * ksm_ram_set_policy:
 * @policy: asked about every block from now on, must stay valid; NULL: nobody
 *
 * Takes effect on blocks that exist with ksm_ram_reconsider_all().
 *
 * Context: big QEMU lock held.
 */
void ksm_ram_set_policy(const KsmRamPolicy *policy);

/**
 * ksm_ram_generation:
 *
 * Context: big QEMU lock held.
 *
 * Returns: a number that differs from earlier ones after blocks have come,
 * gone, changed their size or were decided about.
 */
unsigned ksm_ram_generation(void);

/**
 * ksm_ram_set_hot:
 * @region_size: bytes, a multiple of the host's page size
 * @hot: a bit for each region of @block from its start; NULL: none is hot
 * @regions: number of bits; what lies behind is not hot
 *
 * Leave out the hot regions from now on.  What was merged there is given back.
 * Does nothing if @block is gone.
 *
 * Context: big QEMU lock held.
 */
void ksm_ram_set_hot(RAMBlock *block, uint64_t region_size,
                     const unsigned long *hot, size_t regions);

/**
 * ksm_ram_name:
 *
 * Returns: @block's name, as in migration; the name of its memory region
 * if it has none (yet).
 */
const char *ksm_ram_name(RAMBlock *block);

/**
 * ksm_ram_is_guest_ram:
 *
 * Guest RAM is the writable memory of memory backends, the machine's own among
 * them: not ROM, firmware or the memory of a device.
 *
 * Returns: true if @block is guest RAM.
 */
bool ksm_ram_is_guest_ram(RAMBlock *block);

/**
 * ksm_ram_memdev:
 *
 * Returns: name of the memory backend that @block belongs to, to be freed by
 * the caller; NULL if it belongs to none.
 */
char *ksm_ram_memdev(RAMBlock *block);

#endif
