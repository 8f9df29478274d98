// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A plugin of QEMU's TCG: how many instructions the kernel of the machine has
 * executed, by address.
 *
 * -plugin FILE,out=PATH,from=ADDRESS
 *
 * PATH gets a line "ADDRESS INSTRUCTIONS" for each block of instructions, at the
 * end.  Counting begins when the instruction at the address @from is executed for
 * the first time: what the kernel did before is not of interest.
 */
#include <glib.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <qemu-plugin.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

/* Where a kernel is, on x86-64 */
#define KERNEL_START 0xffff800000000000u

struct block {
    uint64_t address, instructions, times;
    struct block *next;
};

static struct block *blocks;
static uint64_t from;
static bool begun;
static char *path;

/* One CPU at a time: this is for icount. */
static void begin(unsigned int cpu, void *opaque)
{
    (void)cpu;
    (void)opaque;
    for (struct block *b = begun ? NULL : blocks; b; b = b->next) {
        b->times = 0;
    }
    begun = true;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    struct block *block;

    (void)id;
    if (qemu_plugin_tb_vaddr(tb) < KERNEL_START) {
        return;
    }
    block = g_new0(struct block, 1);
    *block = (struct block) {
        .address = qemu_plugin_tb_vaddr(tb),
        .instructions = qemu_plugin_tb_n_insns(tb),
        .next = blocks,
    };
    blocks = block;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64,
                                             &block->times, 1);
    if (block->address == from) {
        qemu_plugin_register_vcpu_tb_exec_cb(tb, begin, QEMU_PLUGIN_CB_NO_REGS,
                                             NULL);
    }
}

static void at_end(qemu_plugin_id_t id, void *opaque)
{
    FILE *out = fopen(path, "w");

    (void)id;
    (void)opaque;
    if (!out) {
        perror(path);
        return;
    }
    for (struct block *b = blocks; begun && b; b = b->next) {
        if (b->times) {
            fprintf(out, "%" PRIx64 " %" PRIu64 "\n", b->address,
                    b->times * b->instructions);
        }
    }
    fclose(out);
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id,
                                           const qemu_info_t *info, int argc,
                                           char **argv)
{
    (void)info;
    for (int n = 0; n < argc; n++) {
        if (g_str_has_prefix(argv[n], "out=")) {
            path = g_strdup(argv[n] + 4);
        } else if (g_str_has_prefix(argv[n], "from=")) {
            from = g_ascii_strtoull(argv[n] + 5, NULL, 16);
        }
    }
    if (!path || !from) {
        fprintf(stderr, "count: out=PATH and from=ADDRESS are needed\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, at_end, NULL);
    return 0;
}
