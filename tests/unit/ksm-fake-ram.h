/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A machine without memory: what hw/ksm/ksm-ram.c asks of the rest of QEMU and
 * of the kernel, for unit tests
 */
#ifndef TESTS_UNIT_KSM_FAKE_RAM_H
#define TESTS_UNIT_KSM_FAKE_RAM_H

#include "exec/memory.h"
#include "exec/ramblock.h"
#include "hw/boards.h"
#include "hw/ksm/ksm-ram.h"
#include "sysemu/hostmem.h"

#define FAKE_BLOCKS_MAX 4
#define FAKE_PAGES_MAX 64

/* One RAM block; the test may change what it likes before it is added. */
typedef struct FakeBlock {
    RAMBlock block;
    MemoryRegion mr;
    HostMemoryBackend *backend;
    size_t pages;
    bool *mergeable;        /* each page, to the kernel */
} FakeBlock;

typedef struct FakeKernel {
    int calls;              /* pieces of advice so far */
    int fail_at;            /* the one of that number fails; -1: none */
    int error;              /* ... with this errno */
} FakeKernel;

extern FakeKernel fake_kernel;

/* To be called once */
void fake_ram_init(void);

/* No blocks, mem-merge=on, a kernel that refuses nothing */
void fake_ram_reset(void);

void fake_ram_set_machine(bool mem_merge, bool confidential);

/* Belongs to a memory backend, or to nobody */
FakeBlock *fake_ram_new(size_t pages, bool backend);
void fake_ram_add(FakeBlock *added);
void fake_ram_remove(FakeBlock *removed);

/* What QEMU does with memory that has an error: these pages are new ones. */
void fake_ram_remap(FakeBlock *at, size_t first, size_t pages);

/* "M" for each page that is mergeable, "." for others; to be freed */
char *fake_ram_picture(const FakeBlock *at);

/* What ksm-ram.c knows of it */
KsmRamState fake_ram_state(const FakeBlock *at);

#endif
