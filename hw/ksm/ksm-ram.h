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
} KsmRamState;

typedef void (*KsmRamFunc)(const KsmRamState *state, void *opaque);

/**
 * ksm_ram_foreach:
 * @func: called for every RAM block in order of creation; must not create or
 *        remove any
 *
 * Context: big QEMU lock held.
 */
void ksm_ram_foreach(KsmRamFunc func, void *opaque);

/**
 * ksm_ram_memdev:
 *
 * Returns: name of the memory backend that @block belongs to, to be freed by
 * the caller; NULL if it belongs to none.
 */
char *ksm_ram_memdev(RAMBlock *block);

#endif
