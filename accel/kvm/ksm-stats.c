/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * KVM's counters that same-page merging moves, for query-ksm-stats
 *
 * KVM describes its counters in a file for the virtual machine and in one for
 * each virtual CPU.  query-stats opens the latter anew for every question,
 * which the virtual CPU's own thread has to do: the guest is interrupted, and
 * on a busy host that takes milliseconds for each.  Here they stay open, since
 * anybody may read them.
 */

#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include <linux/kvm.h>
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "hw/core/cpu.h"
#include "hw/ksm/ksm-kvm.h"
#include "sysemu/kvm.h"

/* More than any kernel describes */
#define DESCRIPTORS_MAX 4096
#define NAME_SIZE_MAX 256

/* Where a counter of KVM goes to */
typedef struct Counter {
    const char *name;       /* KVM's */
    size_t has, value;      /* offsets in KsmKvmInfo */
} Counter;

#define COUNTER(NAME, MEMBER) \
    { NAME, offsetof(KsmKvmInfo, has_##MEMBER), offsetof(KsmKvmInfo, MEMBER) }

static const Counter vm_counter[] = {
    COUNTER("remote_tlb_flush_requests", tlb_flush_requests),
    COUNTER("remote_tlb_flush", tlb_flushes),
};

static const Counter vcpu_counter[] = {
    COUNTER("pf_taken", page_faults),
    COUNTER("pf_fixed", page_faults_fixed),
    COUNTER("exits", exits),
};

#define COUNTERS_MAX 3

/*
 * A kind of file, of the virtual machine or of a virtual CPU: all files of one
 * kind have the same layout, which never changes.
 */
typedef struct Layout {
    const Counter *counter;
    size_t n;
    bool known;
    uint64_t at[COUNTERS_MAX];  /* position in the file; 0: it has none */
} Layout;

QEMU_BUILD_BUG_ON(G_N_ELEMENTS(vm_counter) > COUNTERS_MAX);
QEMU_BUILD_BUG_ON(G_N_ELEMENTS(vcpu_counter) > COUNTERS_MAX);

static Layout vm_layout = { vm_counter, G_N_ELEMENTS(vm_counter) };
static Layout vcpu_layout = { vcpu_counter, G_N_ELEMENTS(vcpu_counter) };

/* Open files; the big QEMU lock protects them. */
static int vm_fd = -1;
static GHashTable *vcpu_fd;     /* id of a virtual CPU in KVM -> fd */

static bool read_at(int fd, void *buf, size_t size, uint64_t offset)
{
    ssize_t n;

    do {
        n = pread(fd, buf, size, offset);
    } while (n < 0 && errno == EINTR);
    return n == size;
}

static void note_position(Layout *layout, const struct kvm_stats_desc *desc,
                          uint64_t data_offset)
{
    for (size_t i = 0; i < layout->n; i++) {
        if (desc->size == 1 &&
            g_str_equal(desc->name, layout->counter[i].name)) {
            layout->at[i] = data_offset + desc->offset;
        }
    }
}

static bool read_layout(int fd, Layout *layout)
{
    struct kvm_stats_header header;
    g_autofree char *descs = NULL;
    size_t step, size;

    if (layout->known) {
        return true;
    }
    if (!read_at(fd, &header, sizeof(header), 0) ||
        header.num_desc > DESCRIPTORS_MAX || header.name_size == 0 ||
        header.name_size > NAME_SIZE_MAX) {
        return false;
    }
    step = sizeof(struct kvm_stats_desc) + header.name_size;
    size = step * header.num_desc;
    descs = g_malloc0(size + 1);        /* no name runs past the end */
    if (!read_at(fd, descs, size, header.desc_offset)) {
        return false;
    }
    for (size_t i = 0; i < header.num_desc; i++) {
        note_position(layout, (struct kvm_stats_desc *)(descs + i * step),
                      header.data_offset);
    }
    layout->known = true;
    return true;
}

/* Adds the counters of one file to @info. */
static void add_counters(int fd, Layout *layout, KsmKvmInfo *info)
{
    uint64_t value;

    if (fd < 0 || !read_layout(fd, layout)) {
        return;
    }
    for (size_t i = 0; i < layout->n; i++) {
        const Counter *counter = &layout->counter[i];

        if (layout->at[i] &&
            read_at(fd, &value, sizeof(value), layout->at[i])) {
            *(bool *)((char *)info + counter->has) = true;
            *(uint64_t *)((char *)info + counter->value) += value;
        }
    }
}

static void open_vcpu_fd(CPUState *cpu, run_on_cpu_data fd)
{
    *(int *)fd.host_ptr = kvm_vcpu_ioctl(cpu, KVM_GET_STATS_FD, NULL);
}

/*
 * KVM keeps a virtual CPU for as long as the virtual machine exists, and gives
 * it back to who plugs in one of the same id: so a file found by id is right.
 */
static int get_vcpu_fd(CPUState *cpu)
{
    gpointer id = GUINT_TO_POINTER(kvm_arch_vcpu_id(cpu));
    gpointer found;
    int fd = -1;

    if (g_hash_table_lookup_extended(vcpu_fd, id, NULL, &found)) {
        return GPOINTER_TO_INT(found);
    }
    run_on_cpu(cpu, open_vcpu_fd, RUN_ON_CPU_HOST_PTR(&fd));
    if (fd >= 0) {
        g_hash_table_insert(vcpu_fd, id, GINT_TO_POINTER(fd));
    }
    return fd;
}

static KsmKvmInfo *read_kvm_info(void)
{
    KsmKvmInfo *info;
    CPUState *cpu;

    g_assert(qemu_mutex_iothread_locked());
    if (!kvm_enabled() || !kvm_state ||
        kvm_check_extension(kvm_state, KVM_CAP_BINARY_STATS_FD) <= 0) {
        return NULL;
    }
    if (!vcpu_fd) {
        vcpu_fd = g_hash_table_new(NULL, NULL);
        vm_fd = kvm_vm_ioctl(kvm_state, KVM_GET_STATS_FD, NULL);
    }
    info = g_new0(KsmKvmInfo, 1);
    add_counters(vm_fd, &vm_layout, info);
    CPU_FOREACH(cpu) {
        add_counters(get_vcpu_fd(cpu), &vcpu_layout, info);
    }
    return info;
}

static void ksm_kvm_register(void)
{
    ksm_set_kvm_reader(read_kvm_info);
}

type_init(ksm_kvm_register)
