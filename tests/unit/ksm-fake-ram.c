/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A machine without memory: what hw/ksm/ksm-ram.c asks of the rest of QEMU and
 * of the kernel, for unit tests
 *
 * Its RAM blocks are addresses only.  madvise() is ours and keeps for each page
 * whether the kernel would list it as mergeable.
 */

#include "qemu/osdep.h"
#include <sys/syscall.h>
#include "qemu/main-loop.h"
#include "qemu/madvise.h"
#include "qemu/module.h"
#include "exec/memory.h"
#include "exec/ramlist.h"
#include "hw/ksm/ksm.h"
#include "ksm-fake-ram.h"

RAMList ram_list = { .blocks = QLIST_HEAD_INITIALIZER(ram_list.blocks) };
MachineState *current_machine;

FakeKernel fake_kernel;

static MachineState machine;
static FakeBlock *fake[FAKE_BLOCKS_MAX];
static RAMBlockNotifier *notifier;

/* ---- the kernel ---- */

static FakeBlock *find_address(const void *address)
{
    for (int i = 0; i < FAKE_BLOCKS_MAX; i++) {
        uint8_t *host = fake[i] ? fake[i]->block.host : NULL;

        if (host && (uint8_t *)address >= host &&
            (uint8_t *)address < host + fake[i]->block.max_length) {
            return fake[i];
        }
    }
    return NULL;
}

/* As the kernel would, but for the errors that the test wants */
static int advise_fake(FakeBlock *at, void *address, size_t length, int advice)
{
    const size_t page_size = qemu_real_host_page_size();
    size_t first = ((uint8_t *)address - at->block.host) / page_size;
    size_t pages = length / page_size;

    g_assert_true(advice == QEMU_MADV_MERGEABLE ||
                  advice == QEMU_MADV_UNMERGEABLE);
    g_assert_cmpuint((uintptr_t)address % page_size, ==, 0);
    g_assert_cmpuint(length % page_size, ==, 0);
    g_assert_cmpuint(pages, >, 0);
    g_assert_cmpuint(first + pages, <=, at->block.max_length / page_size);
    if (fake_kernel.calls++ == fake_kernel.fail_at) {
        errno = fake_kernel.error;
        return -1;
    }
    for (size_t i = first; i < first + pages; i++) {
        at->mergeable[i] = advice == QEMU_MADV_MERGEABLE;
    }
    return 0;
}

/* The C library's, for whoever else calls it */
int madvise(void *address, size_t length, int advice)
{
    FakeBlock *at = find_address(address);

    return at ? advise_fake(at, address, length, advice)
              : syscall(SYS_madvise, address, length, advice);
}

/* ---- the rest of QEMU ---- */

bool qemu_mutex_iothread_locked(void)
{
    return true;
}

void qemu_mutex_lock_iothread_impl(const char *file, int line)
{
}

void qemu_mutex_unlock_iothread(void)
{
}

void ram_block_notifier_add(RAMBlockNotifier *n)
{
    g_assert_null(notifier);
    notifier = n;
}

const char *qemu_ram_get_idstr(RAMBlock *block)
{
    return block->idstr;
}

int qemu_ram_get_fd(RAMBlock *block)
{
    return block->fd;
}

bool qemu_ram_is_shared(RAMBlock *block)
{
    return block->flags & RAM_SHARED;
}

size_t qemu_ram_pagesize(RAMBlock *block)
{
    return block->page_size;
}

const char *memory_region_name(const MemoryRegion *mr)
{
    return mr->name;
}

Object *memory_region_owner(MemoryRegion *mr)
{
    return mr->owner;
}

char *host_memory_backend_get_name(HostMemoryBackend *backend)
{
    return g_strdup("backend");
}

bool machine_mem_merge(MachineState *m)
{
    return m->mem_merge;
}

/* ---- for the tests ---- */

/* As much of a memory backend as is asked about */
static const TypeInfo backend_info = {
    .name = TYPE_MEMORY_BACKEND,
    .parent = TYPE_OBJECT,
    .instance_size = sizeof(HostMemoryBackend),
    .class_size = sizeof(HostMemoryBackendClass),
};

void fake_ram_init(void)
{
    module_call_init(MODULE_INIT_QOM);
    type_register_static(&backend_info);
    ksm_ram_init();
    g_assert_nonnull(notifier);
    current_machine = &machine;
    fake_ram_reset();
}

void fake_ram_reset(void)
{
    for (int i = 0; i < FAKE_BLOCKS_MAX; i++) {
        if (fake[i]) {
            fake_ram_remove(fake[i]);
        }
    }
    machine = (MachineState) { .mem_merge = true };
    fake_kernel = (FakeKernel) { .fail_at = -1 };
}

void fake_ram_set_machine(bool mem_merge, bool confidential)
{
    machine.mem_merge = mem_merge;
    machine.cgs = confidential ? (ConfidentialGuestSupport *)&machine : NULL;
}

FakeBlock *fake_ram_new(size_t pages, bool backend)
{
    const size_t page_size = qemu_real_host_page_size();
    FakeBlock *new = g_new0(FakeBlock, 1);
    int i = 0;

    while (fake[i]) {
        g_assert_cmpint(++i, <, FAKE_BLOCKS_MAX);
    }
    fake[i] = new;
    new->pages = pages;
    new->mergeable = g_new0(bool, pages);
    new->backend = MEMORY_BACKEND(object_new(TYPE_MEMORY_BACKEND));
    new->backend->merge = true;
    new->mr.owner = backend ? OBJECT(new->backend) : NULL;
    new->mr.name = "fake";
    new->mr.ram_block = &new->block;
    /* Where nothing is: nobody maps the lowest pages */
    new->block.host = (uint8_t *)(0x1000 * (uintptr_t)page_size +
                                  i * FAKE_PAGES_MAX * page_size);
    g_assert_cmpuint(pages, <=, FAKE_PAGES_MAX);
    new->block.mr = &new->mr;
    new->block.used_length = new->block.max_length = pages * page_size;
    new->block.page_size = page_size;
    new->block.fd = -1;
    snprintf(new->block.idstr, sizeof(new->block.idstr), "fake%d", i);
    return new;
}

void fake_ram_add(FakeBlock *added)
{
    RAMBlock *block = &added->block;

    QLIST_INSERT_HEAD(&ram_list.blocks, block, next);
    notifier->ram_block_added(notifier, block->host, block->used_length,
                              block->max_length);
}

void fake_ram_remove(FakeBlock *removed)
{
    RAMBlock *block = &removed->block;

    notifier->ram_block_removed(notifier, block->host, block->used_length,
                                block->max_length);
    QLIST_REMOVE(block, next);
    for (int i = 0; i < FAKE_BLOCKS_MAX; i++) {
        if (fake[i] == removed) {
            fake[i] = NULL;
        }
    }
    object_unref(OBJECT(removed->backend));
    g_free(removed->mergeable);
    g_free(removed);
}

void fake_ram_remap(FakeBlock *at, size_t first, size_t pages)
{
    const size_t page_size = qemu_real_host_page_size();

    memset(at->mergeable + first, 0, pages * sizeof(bool));
    ksm_ram_remapped(&at->block, at->block.host + first * page_size,
                     pages * page_size);
}

char *fake_ram_picture(const FakeBlock *at)
{
    char *text = g_strnfill(at->pages, '.');

    for (size_t i = 0; i < at->pages; i++) {
        text[i] = at->mergeable[i] ? 'M' : '.';
    }
    return text;
}

typedef struct Wanted {
    const RAMBlock *block;
    KsmRamState state;
    bool found;
} Wanted;

static void find_state(const KsmRamState *state, void *opaque)
{
    Wanted *wanted = opaque;

    if (state->block == wanted->block) {
        wanted->state = *state;
        wanted->found = true;
    }
}

KsmRamState fake_ram_state(const FakeBlock *at)
{
    Wanted wanted = { .block = &at->block };

    ksm_ram_foreach(find_state, &wanted);
    g_assert_true(wanted.found);
    return wanted.state;
}
