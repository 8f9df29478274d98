// SPDX-License-Identifier: GPL-2.0-or-later
/* A guest without firmware or system: see vm.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"
#include "vm.h"

/* Guest memory: a page of code, the counter's page, data. */
#define COUNTER 0x1000
#define DATA 0x2000

/* ESI is where the data ends. */
static const unsigned char code[] = {
    0xbf, 0x00, 0x20, 0x00, 0x00,           /* 1: mov  $DATA, %edi */
    0x8b, 0x07,                             /* 2: mov  (%edi), %eax */
    0xff, 0x05, 0x00, 0x10, 0x00, 0x00,     /*    incl COUNTER */
    0x81, 0xc7, 0x00, 0x10, 0x00, 0x00,     /*    add  $0x1000, %edi */
    0x39, 0xf7,                             /*    cmp  %esi, %edi */
    0x72, 0xee,                             /*    jb   2b */
    0xeb, 0xe7,                             /*    jmp  1b */
};

static int checked(int result, const char *what)
{
    if (result < 0) {
        die("%s: %s", what, strerror(errno));
    }
    return result;
}

bool vm_possible(const char **why)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    if (kvm < 0) {
        *why = "no KVM here";
        return false;
    }
    close(kvm);
    return true;
}

static void set_segment(struct kvm_segment *s, int type)
{
    *s = (struct kvm_segment) {
        .limit = ~0u, .selector = 8, .type = type, .present = 1,
        .s = 1, .db = 1, .g = 1,
    };
}

/* Protected mode, all segments over all memory, no paging of its own. */
static void set_registers(const struct vm *vm)
{
    struct kvm_regs regs = {
        .rsi = DATA + vm->pages * PAGE, .rflags = 2,
    };
    struct kvm_sregs s;

    checked(ioctl(vm->cpu, KVM_GET_SREGS, &s), "KVM_GET_SREGS");
    set_segment(&s.cs, 11);
    set_segment(&s.ds, 3);
    s.es = s.fs = s.gs = s.ss = s.ds;
    s.cr0 |= 1;
    checked(ioctl(vm->cpu, KVM_SET_SREGS, &s), "KVM_SET_SREGS");
    checked(ioctl(vm->cpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
}

void vm_new(struct vm *vm, size_t pages)
{
    struct kvm_userspace_memory_region slot = {
        .memory_size = DATA + pages * PAGE,
    };
    int kvm = checked(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");

    *vm = (struct vm) { .pages = pages };
    vm->fd = checked(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
    vm->memory = area_new(slot.memory_size / PAGE);
    vm->data = vm->memory + DATA;
    memcpy(vm->memory, code, sizeof(code));
    slot.userspace_addr = (uintptr_t)vm->memory;
    checked(ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &slot), "memory slot");
    vm->cpu = checked(ioctl(vm->fd, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
    vm->run = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, vm->cpu, 0);
    if (vm->run == MAP_FAILED) {
        die("mmap of a virtual CPU: %s", strerror(errno));
    }
    close(kvm);
    set_registers(vm);
}

static void no_handler(int number)
{
    (void)number;   /* its coming is all that counts: KVM_RUN returns */
}

static void *run(void *opaque)
{
    struct vm *vm = opaque;

    while (!vm->stop) {
        if (!ioctl(vm->cpu, KVM_RUN, 0)) {
            die("a guest of the bench stopped for reason %u",
                vm->run->exit_reason);
        }
        if (errno != EINTR && errno != EAGAIN) {
            die("KVM_RUN: %s", strerror(errno));
        }
    }
    return NULL;
}

void vm_start(struct vm *vm)
{
    struct sigaction action = { .sa_handler = no_handler };

    sigaction(SIGUSR1, &action, NULL);
    if (pthread_create(&vm->thread, NULL, run, vm)) {
        die("no thread for a virtual CPU");
    }
}

void vm_pin(struct vm *vm, int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (pthread_setaffinity_np(vm->thread, sizeof(set), &set)) {
        die("a virtual CPU does not go to CPU %d", cpu);
    }
}

uint32_t vm_reads(const struct vm *vm)
{
    return *(volatile uint32_t *)(vm->memory + COUNTER);
}

void vm_wait_rounds(struct vm *vm, unsigned int rounds)
{
    uint32_t start = vm_reads(vm);
    uint64_t limit = now_ns() + 120 * 1000000000ull;

    while (vm_reads(vm) - start < rounds * vm->pages) {
        if (now_ns() > limit) {
            die("a guest of the bench read %u pages in 120 s",
                vm_reads(vm) - start);
        }
        nap_ms(10);
    }
}

void vm_stop(struct vm *vm)
{
    if (vm->stop) {
        return;
    }
    vm->stop = true;
    vm->run->immediate_exit = 1;
    pthread_kill(vm->thread, SIGUSR1);
    pthread_join(vm->thread, NULL);
}

void vm_end(struct vm *vm)
{
    vm_stop(vm);
    close(vm->cpu);
    close(vm->fd);
}
