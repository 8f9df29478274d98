/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A KVM guest of one virtual CPU that reads its memory page by page, again and
 * again, and counts the pages that it has read.
 */
#ifndef SAMEPAGE_BENCH_VM_H
#define SAMEPAGE_BENCH_VM_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kvm_run;

struct vm {
    int fd, cpu;
    struct kvm_run *run;
    char *memory;
    char *data;             /* what it reads */
    size_t pages;           /* of @data */
    pthread_t thread;
    volatile bool stop;
};

/* Whether there is a KVM to make guests with; if not, *@why tells. */
bool vm_possible(const char **why);
/* A guest with @pages of data, as its owner fills them; it does not run yet. */
void vm_new(struct vm *vm, size_t pages);
void vm_start(struct vm *vm);
/* Run on this CPU only; before or after its start. */
void vm_pin(struct vm *vm, int cpu);
/* Pages it has read so far; wraps at 32 bits. */
uint32_t vm_reads(const struct vm *vm);
/* Wait until it has read all its pages so often from now on. */
void vm_wait_rounds(struct vm *vm, unsigned int rounds);
/* Let it run no more, and stay as it is. */
void vm_stop(struct vm *vm);
/* Stop it if it runs, and forget it. */
void vm_end(struct vm *vm);

#endif
