// SPDX-License-Identifier: GPL-2.0-only
/*
 * Buffers registered with io_uring are pinned for as long as they stay so:
 * they must not merge, and reads into them must arrive in their owner's memory.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include "ksm_util.h"

struct ring {
	int fd;
	struct io_uring_params par;
	char *sq, *cq;
	struct io_uring_sqe *sqe;
};

static void *ring_map(struct ring *r, size_t bytes, off_t what)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd,
		       what);

	must(p != MAP_FAILED, "mmap of an io_uring: %m");
	return p;
}

static void ring_open(struct ring *r)
{
	memset(r, 0, sizeof(*r));
	r->fd = syscall(SYS_io_uring_setup, 8, &r->par);
	if (r->fd < 0)
		skip("io_uring: %m");
	r->sq = ring_map(r, r->par.sq_off.array +
			 r->par.sq_entries * sizeof(uint32_t),
			 IORING_OFF_SQ_RING);
	r->cq = ring_map(r, r->par.cq_off.cqes +
			 r->par.cq_entries * sizeof(struct io_uring_cqe),
			 IORING_OFF_CQ_RING);
	r->sqe = ring_map(r, r->par.sq_entries * sizeof(*r->sqe),
			  IORING_OFF_SQES);
}

static void ring_register(struct ring *r, char *p, size_t bytes)
{
	struct iovec iov = { p, bytes };
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };

	int tries = 0, err;

	setrlimit(RLIMIT_MEMLOCK, &all);
	/*
	 * Pages in movable memory are migrated before they are pinned for long; a
	 * page that ksmd looks at right now cannot be, which is ENOMEM here.
	 */
	do {
		err = syscall(SYS_io_uring_register, r->fd,
			      IORING_REGISTER_BUFFERS, &iov, 1);
	} while (err && errno == ENOMEM && ++tries < 100 && !usleep(1000));
	must(!err, "registering %zu bytes, %d tries: %m", bytes, tries);
}

static void ring_unregister(struct ring *r)
{
	must_call(syscall(SYS_io_uring_register, r->fd,
			  IORING_UNREGISTER_BUFFERS, NULL, 0));
}

/* Read one block of @file into @p, which lies in the registered buffer. */
static void ring_read(struct ring *r, int file, size_t block, char *p)
{
	uint32_t *tail = (uint32_t *)(r->sq + r->par.sq_off.tail);
	uint32_t *array = (uint32_t *)(r->sq + r->par.sq_off.array);
	uint32_t *head = (uint32_t *)(r->cq + r->par.cq_off.head);
	uint32_t slot = *tail & (r->par.sq_entries - 1);
	struct io_uring_cqe *cqe;

	r->sqe[slot] = (struct io_uring_sqe){
		.opcode = IORING_OP_READ_FIXED, .fd = file,
		.off = block * page_size, .addr = (uintptr_t)p,
		.len = page_size, .buf_index = 0,
	};
	array[slot] = slot;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	must_call(syscall(SYS_io_uring_enter, r->fd, 1, 1,
			  IORING_ENTER_GETEVENTS, NULL, 0));
	cqe = (struct io_uring_cqe *)(r->cq + r->par.cq_off.cqes) +
	      (*head & (r->par.cq_entries - 1));
	must_eq("result of a fixed read", cqe->res, page_size);
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
}

/* A file whose block i has the content of seed 1000 + i. */
static int blocks_file(size_t blocks)
{
	int fd = syscall(SYS_memfd_create, "blocks", MFD_CLOEXEC);
	char *p;

	must_call(fd);
	must_call(ftruncate(fd, blocks * page_size));
	p = mmap(NULL, blocks * page_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		 fd, 0);
	must(p != MAP_FAILED, "mmap: %m");
	area_fill_each(p, blocks, 1000);
	must_call(munmap(p, blocks * page_size));
	return fd;
}

static void test_registered_never_merges(void)
{
	int file = blocks_file(8);
	struct ring r;
	char *p, *q;

	ring_open(&r);
	p = area_new(8);
	area_fill_same(p, 8, 1);
	ring_register(&r, p, 8 * page_size);
	area_advise(p, 8, MADV_MERGEABLE);
	q = area_same(8, 1);
	ksm_settle();
	ksm_wait_scans(3);
	must_eq("merged pages of a registered buffer", area_count_ksm(p, 8), 0);
	must_eq("merged pages beside it", area_count_ksm(q, 8), 8);
	ring_read(&r, file, 5, page_at(p, 2));
	page_check(page_at(p, 2), 1005, "read into the buffer");
	area_check_same(p, 2, 1, "rest of the buffer");
	area_check_same(q, 8, 1, "merged pages");
	page_fill(page_at(p, 2), 1);
	ring_unregister(&r);
	ksm_settle();
	ksm_expect("no longer registered", 1, 15, 0, 0);
	area_check_same(p, 8, 1, "merged");
}

/* Registering a buffer of merged pages gives it pages of its own. */
static void test_registering_unmerges(void)
{
	int file = blocks_file(8);
	struct ring r;
	char *p;
	size_t i;

	ring_open(&r);
	p = area_same(16, 1);
	ksm_settle();
	ksm_expect("16 copies", 1, 15, 0, 0);
	ring_register(&r, p, 8 * page_size);
	must_eq("merged pages of a registered buffer", area_count_ksm(p, 8), 0);
	ksm_wait_scans(3);
	must_eq("merged pages of a registered buffer, later",
		area_count_ksm(p, 8), 0);
	for (i = 0; i < 8; i++)
		ring_read(&r, file, i, page_at(p, i));
	area_check_each(p, 8, 1000, "read into the buffer");
	area_check_same(page_at(p, 8), 8, 1, "merged pages");
	ring_unregister(&r);
}

/* Register, read, unregister, over and over while ksmd runs. */
static void test_registering_under_scan(void)
{
	int file = blocks_file(8), n;
	struct ring r;
	char *p, *q;

	ring_open(&r);
	p = area_same(8, 1);
	q = area_same(8, 1);
	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	for (n = 0; n < 40; n++) {
		size_t i = n % 8;

		ring_register(&r, p, 8 * page_size);
		if (n % 4 == 0)
			nap_ms(1);
		ring_read(&r, file, (n * 3) % 8, page_at(p, i));
		page_check(page_at(p, i), 1000 + (n * 3) % 8, "read");
		page_fill(page_at(p, i), 1);
		ring_unregister(&r);
		if (n % 4 == 2)
			nap_ms(2);
	}
	area_check_same(p, 8, 1, "at the end");
	area_check_same(q, 8, 1, "the others");
}

static const struct ksm_case cases[] = {
	{ "registered_never_merges", test_registered_never_merges },
	{ "registering_unmerges", test_registering_unmerges },
	{ "registering_under_scan", test_registering_under_scan },
	{ }
};

const struct ksm_topic topic_uring = { "uring", cases };
