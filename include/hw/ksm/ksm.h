/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Same-page merging of guest RAM: what the rest of QEMU may call
 *
 * hw/ksm is the only place that advises the kernel whether guest memory may
 * be merged.  Whoever creates or changes memory tells it here; whoever wants
 * to know the outcome asks query-ksm-stats.
 */
#ifndef HW_KSM_KSM_H
#define HW_KSM_KSM_H

#include "qemu/typedefs.h"

/**
 * ksm_ram_init:
 *
 * Start to watch RAM blocks come and go.  To be called once, before the
 * first one is created.
 *
 * Context: start-up, big QEMU lock held.
 */
void ksm_ram_init(void);

/**
 * ksm_ram_remapped:
 * @block: block that part of was mapped anew, so that the advice is lost
 * @host: start of that part, aligned to @block's pages
 * @length: its size in bytes
 *
 * Repeat for this part what was decided for the block.
 *
 * Context: any thread that may change @block's mapping.
 */
void ksm_ram_remapped(RAMBlock *block, void *host, size_t length);

/**
 * ksm_ram_reconsider:
 * @mr: memory region whose configuration changed
 * @errp: set if the kernel refuses what the configuration asks for now
 *
 * Decide again whether @mr's RAM block may be merged and tell the kernel.
 * Memory of a kind that the kernel never merges (shared, huge pages), and a
 * host that cannot merge, are no errors; query-ksm-stats reports them.
 *
 * Context: big QEMU lock held.
 * Return: true if the kernel did not refuse.
 */
bool ksm_ram_reconsider(MemoryRegion *mr, Error **errp);

/**
 * ksm_ram_reconsider_all:
 * @errp: set to the first refusal of the kernel
 *
 * The same for every RAM block, after a change of the machine or the policy.
 * One that the kernel refuses does not keep the others from being told.
 *
 * Context: big QEMU lock held.
 * Return: true if the kernel refused nothing.
 */
bool ksm_ram_reconsider_all(Error **errp);

/**
 * ksm_ram_named:
 * @block: block that was given its name
 *
 * Context: big QEMU lock held.
 */
void ksm_ram_named(RAMBlock *block);

/**
 * ksm_merge_asked:
 * @on: the user's mem-merge; not what is used if the user says nothing
 *
 * If the last word is on, and no guest RAM can be merged when the machine is
 * complete, the user is warned.
 *
 * Context: start-up, big QEMU lock held.
 */
void ksm_merge_asked(bool on);

#endif
