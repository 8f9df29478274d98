/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the report says of one RAM block, from what is known of it
 */
#ifndef HW_KSM_KSM_BLOCK_H
#define HW_KSM_KSM_BLOCK_H

#include "qapi/qapi-types-ksm.h"
#include "ksm-host-range.h"

typedef struct KsmBlockFacts {
    KsmRefusal decided;         /* by the configuration and the kernel's answer */
    uint64_t hot_bytes;         /* left out: written to too often */
    bool pinned;                /* somebody has every page of it in use */
    const KsmHostRange *range;  /* what the kernel's list of mappings says */
} KsmBlockFacts;

/**
 * ksm_block_judge:
 * @info: @size and @requested are set; @actual, @verified, @reason, @remedy,
 *        @mergeable_bytes and @merged_bytes are set here
 */
void ksm_block_judge(KsmBlockInfo *info, const KsmBlockFacts *facts);

#endif
