/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest for same-page merging: guest RAM that virtio-balloon takes away and gives
 * back, under a ksm-policy object
 *
 * The guest's driver is played by the test.  What is discarded stays offered:
 * the block's memory is the same as before, only without content.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "libqos/libqos-malloc.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-pc.h"
#include "libqos/virtio-pci.h"
#include "libqos/virtio.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-ksm.h"
#include "qapi/qmp/qstring.h"
#include "qemu/bitops.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "standard-headers/linux/virtio_balloon.h"
#include "standard-headers/linux/virtio_config.h"
#include "ksm-test.h"
#include "ksm-test-memory.h"

#define RAM_SIZE (62 * MiB)
#define FILL_START (16 * MiB)
#define FILL_SIZE (8 * MiB)
/* Parts of what is filled: one for the balloon, one reported as free */
#define BALLOON_START FILL_START
#define FREE_START (FILL_START + 2 * MiB)
#define KEPT_START (FILL_START + 4 * MiB)
#define PART_SIZE (2 * MiB)
#define PART_PAGES (PART_SIZE >> VIRTIO_BALLOON_PFN_SHIFT)
/* The device's rings may be merged, too, and at any time. */
#define SLACK (256 * KiB)
#define TIMEOUT_US (10 * G_USEC_PER_SEC)
#define STR(s) QOBJECT(qstring_from_str(s))

#define ARGS "-machine pc -m 62 -device virtio-balloon-pci,id=balloon,addr=4," \
             "free-page-reporting=on -object ksm-policy,id=policy"

/* The order of the device, which has no queue of free page hints here */
typedef enum Queue { INFLATE, DEFLATE, STATS, REPORTING, QUEUES } Queue;

typedef struct Balloon {
    QTestState *qts;
    QGuestAllocator alloc;
    QPCIBus *bus;
    QVirtioPCIDevice *dev;
    QVirtQueue *queue[QUEUES];
    uint64_t numbers;           /* address of what is told to the device */
} Balloon;

static void start_driver(Balloon *b, QTestState *qts)
{
    QPCIAddress address = { .devfn = QPCI_DEVFN(4, 0) };
    uint64_t wanted = BIT_ULL(VIRTIO_F_VERSION_1) |
                      BIT_ULL(VIRTIO_BALLOON_F_REPORTING);
    QVirtioDevice *vdev;

    b->qts = qts;
    pc_alloc_init(&b->alloc, qts, ALLOC_NO_FLAGS);
    b->bus = qpci_new_pc(qts, &b->alloc);
    b->dev = virtio_pci_new(b->bus, &address);
    g_assert_nonnull(b->dev);
    qvirtio_pci_device_enable(b->dev);
    vdev = &b->dev->vdev;
    qvirtio_start_device(vdev);
    wanted &= qvirtio_get_features(vdev);
    g_assert_true(wanted & BIT_ULL(VIRTIO_BALLOON_F_REPORTING));
    qvirtio_set_features(vdev, wanted);
    for (int i = 0; i < QUEUES; i++) {
        b->queue[i] = qvirtqueue_setup(vdev, &b->alloc, i);
    }
    qvirtio_set_driver_ok(vdev);
    b->numbers = guest_alloc(&b->alloc, PART_PAGES * sizeof(uint32_t));
}

static void stop_driver(Balloon *b)
{
    for (int i = 0; i < QUEUES; i++) {
        qvirtqueue_cleanup(b->dev->vdev.bus, b->queue[i], &b->alloc);
    }
    qvirtio_pci_destructor(&b->dev->obj);
    g_free(b->dev);
    qpci_free_pc(b->bus);
    alloc_destroy(&b->alloc);
}

/* Hands one buffer to the device, and waits until it is done with it. */
static void hand_over(Balloon *b, Queue queue, uint64_t address, uint32_t length,
                      bool is_in)
{
    QVirtQueue *vq = b->queue[queue];
    uint32_t head = qvirtqueue_add(b->qts, vq, address, length, is_in, false);

    qvirtqueue_kick(b->qts, &b->dev->vdev, vq, head);
    qvirtio_wait_used_elem(b->qts, &b->dev->vdev, vq, head, NULL, TIMEOUT_US);
}

/* @queue: INFLATE or DEFLATE, with PART_SIZE bytes from @start */
static void move(Balloon *b, Queue queue, uint64_t start)
{
    uint32_t number[PART_PAGES];

    for (size_t i = 0; i < PART_PAGES; i++) {
        number[i] = cpu_to_le32((start >> VIRTIO_BALLOON_PFN_SHIFT) + i);
    }
    qtest_memwrite(b->qts, b->numbers, number, sizeof(number));
    hand_over(b, queue, b->numbers, sizeof(number), false);
}

/* PART_SIZE bytes from @start are free; they are the buffer. */
static void report_free(Balloon *b, uint64_t start)
{
    hand_over(b, REPORTING, start, PART_SIZE, true);
}

static void check_emptied(QTestState *qts, uint64_t start)
{
    for (uint64_t i = 0; i < PART_SIZE; i += 4 * KiB) {
        g_assert_cmphex(qtest_readq(qts, start + i), ==, 0);
    }
}

/* The block's memory, whatever there is in it, is offered or not as a whole. */
static void check_ram(QTestState *qts, bool mergeable, const char *reason)
{
    g_autoptr(KsmStats) stats = ksm_test_query(qts);
    g_autoptr(KsmStats) fast = ksm_test_query_fast(qts);
    KsmBlockInfo *block = ksm_test_find_block(stats, "pc.ram");
    KsmBlockInfo *quick = ksm_test_find_block(fast, "pc.ram");
    uint64_t bytes = mergeable ? RAM_SIZE : 0;

    g_assert_cmpstr(KsmRefusal_str(block->reason), ==, reason);
    g_assert_cmpstr(KsmRefusal_str(quick->reason), ==, reason);
    g_assert_cmpint(block->actual, ==, mergeable);
    g_assert_cmpuint(block->size, ==, RAM_SIZE);
    g_assert_cmpuint(block->mergeable_bytes, ==, bytes);
    g_assert_cmpuint(quick->mergeable_bytes, ==, bytes);
    /* The policy selects nothing else. */
    g_assert_cmpuint(stats->vm->mergeable_bytes, ==, bytes);
    g_assert_cmpuint(fast->vm->mergeable_bytes, ==, bytes);
    /* No number has gone below zero. */
    g_assert_cmpuint(block->merged_bytes, <=, bytes);
    g_assert_cmpuint(stats->vm->merged_bytes, <=, bytes);
    g_assert_false(stats->has_problem);
    g_assert_cmpint(ksm_test_is_mergeable(RAM_SIZE), ==, mergeable);
}

static void run_cycle(Balloon *b, bool mergeable, const char *reason)
{
    check_ram(b->qts, mergeable, reason);
    ksm_memory_fill(b->qts, FILL_START, FILL_SIZE);
    move(b, INFLATE, BALLOON_START);
    check_emptied(b->qts, BALLOON_START);
    check_ram(b->qts, mergeable, reason);
    report_free(b, FREE_START);
    check_emptied(b->qts, FREE_START);
    check_ram(b->qts, mergeable, reason);
    move(b, DEFLATE, BALLOON_START);
    check_ram(b->qts, mergeable, reason);
}

/* ---- what is offered, in every mode ---- */

static void test_advice(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    Balloon b;

    if (!ksm_test_needs_merging()) {
        return;
    }
    ksm_memory_link_host(root);
    ksm_test_set_available(root, 50);
    start_driver(&b, ksm_test_start(root, ARGS ",mode=auto"));
    run_cycle(&b, false, "no-pressure");
    ksm_test_set(b.qts, "mode", STR("on"));
    run_cycle(&b, true, "none");
    ksm_test_set(b.qts, "mode", STR("off"));
    run_cycle(&b, false, "disabled-by-policy");
    /* What was in the balloon meanwhile follows the policy as well. */
    move(&b, INFLATE, BALLOON_START);
    ksm_test_set(b.qts, "mode", STR("on"));
    check_ram(b.qts, true, "none");
    stop_driver(&b);
    qtest_quit(b.qts);
}

/* ---- what is merged ---- */

/* The kernel's count for the process follows with the engine's next look. */
static void wait_vm_merged(QTestState *qts, uint64_t most)
{
    for (;;) {
        g_autoptr(KsmStats) stats = ksm_test_query_fast(qts);

        g_assert_cmpuint(stats->vm->merged_bytes, <=, RAM_SIZE);
        if (stats->vm->merged_bytes <= most) {
            return;
        }
        g_usleep(50 * 1000);
    }
}

static void run_merged(void)
{
    uint64_t full;
    Balloon b;

    start_driver(&b, ksm_test_start(NULL, ARGS));
    ksm_memory_fill(b.qts, FILL_START, FILL_SIZE);
    if (!ksm_memory_wait_merged(b.qts, "pc.ram", FILL_SIZE)) {
        g_test_skip("the kernel does not tell which pages are merged");
    } else {
        ksm_memory_wait_engine();
        g_assert_true(ksm_memory_merged(b.qts, "pc.ram", &full));
        move(&b, INFLATE, BALLOON_START);
        report_free(&b, FREE_START);
        ksm_memory_wait_unmerged(b.qts, "pc.ram",
                                 full - 2 * PART_SIZE + SLACK);
        wait_vm_merged(b.qts, full - 2 * PART_SIZE + SLACK);
        check_ram(b.qts, true, "none");
        ksm_memory_verify(b.qts, KEPT_START, FILL_SIZE - 2 * PART_SIZE, -1);
        move(&b, DEFLATE, BALLOON_START);
        ksm_memory_fill(b.qts, FILL_START, FILL_SIZE);
        ksm_memory_wait_merged(b.qts, "pc.ram", FILL_SIZE);
        check_ram(b.qts, true, "none");
        ksm_memory_verify(b.qts, FILL_START, FILL_SIZE, -1);
    }
    stop_driver(&b);
    qtest_quit(b.qts);
}

static void test_merged(void)
{
    KsmKnobs *knobs = ksm_memory_start_engine();

    if (knobs) {
        run_merged();
        ksm_memory_stop_engine(knobs);
    }
}

void ksm_test_add_balloon(void)
{
    qtest_add_func("/ksm/balloon/advice", test_advice);
    qtest_add_func("/ksm/balloon/merged", test_merged);
}
