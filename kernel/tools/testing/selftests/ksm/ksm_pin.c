// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages that somebody else holds: direct I/O into memory that is scanned, and
 * pages in a pipe by vmsplice().  A held page never merges, and the holder
 * and the owner go on seeing the same bytes.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>
#include "ksm_util.h"

#define BLOCKS 32

struct reader {
	int fd;
	char *p;
	unsigned int n;
	int rounds;
};

/*
 * Reads blocks into its own pages by direct I/O; each page has the common
 * content before, so that ksmd wants to merge it just while it is read into.
 */
static void *read_blocks(void *arg)
{
	struct reader *r = arg;
	int i;

	for (i = 0; i < r->rounds; i++) {
		size_t block = (i * 7 + r->n) % BLOCKS, at = i % 8;
		char *page = page_at(r->p, at);

		if (pread(r->fd, page, page_size, block * page_size) !=
		    (ssize_t)page_size)
			fail("direct read of block %zu: %m", block);
		page_check(page, 1000 + block, "read directly under scan");
		page_fill(page, 1);
	}
	return NULL;
}

static void test_direct_reads(void)
{
	struct reader r[4];
	pthread_t t[4];
	int fd = direct_file(BLOCKS, 1000), n;
	char *calm;

	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	calm = area_same(8, 1);
	for (n = 0; n < 4; n++) {
		r[n] = (struct reader){ fd, area_same(8, 1), n, 300 };
		must(!pthread_create(&t[n], NULL, read_blocks, &r[n]),
		     "pthread_create");
	}
	for (n = 0; n < 4; n++)
		pthread_join(t[n], NULL);
	for (n = 0; n < 4; n++)
		area_check_same(r[n].p, 8, 1, "after the reads");
	area_check_same(calm, 8, 1, "pages nobody read into");
	ksm_settle();
	ksm_expect("after the reads", 1, 39, 0, 0);
}

/* Direct reads into pages that are merged already. */
static void test_direct_read_merged(void)
{
	int fd = direct_file(BLOCKS, 1000);
	char *p = area_same(20, 1);
	size_t i;

	ksm_settle();
	ksm_expect("20 copies", 1, 19, 0, 0);
	for (i = 0; i < 10; i++)
		must(pread(fd, page_at(p, i), page_size, i * page_size) ==
		     (ssize_t)page_size, "direct read: %m");
	area_check_each(p, 10, 1000, "read into");
	area_check_same(page_at(p, 10), 10, 1, "not read into");
	ksm_settle();
	ksm_expect("10 read into", 1, 9, 10, 0);
	area_check_each(p, 10, 1000, "read into, later");
}

/* Direct writes take what a merged page holds, and do not change it. */
static void test_direct_write_merged(void)
{
	int fd = direct_file(BLOCKS, 1000);
	char *p = area_same(8, 1), *q = area_new(8);
	size_t i;

	ksm_settle();
	ksm_expect("8 copies", 1, 7, 0, 0);
	for (i = 0; i < 8; i++)
		must(pwrite(fd, page_at(p, i), page_size, i * page_size) ==
		     (ssize_t)page_size, "direct write: %m");
	area_check_same(p, 8, 1, "written out");
	for (i = 0; i < 8; i++)
		must(pread(fd, page_at(q, i), page_size, i * page_size) ==
		     (ssize_t)page_size, "direct read: %m");
	area_check_same(q, 8, 1, "read back");
}

void pipe_put_page(int pipe, char *p)
{
	struct iovec iov = { p, page_size };
	ssize_t n = vmsplice(pipe, &iov, 1, 0);

	must(n == (ssize_t)page_size, "vmsplice gives %zd: %m", n);
}

void pipe_get_page(int fd, char *buf)
{
	size_t got = 0;

	while (got < page_size) {
		ssize_t n = read(fd, buf + got, page_size - got);

		must(n > 0, "read from the pipe gives %zd: %m", n);
		got += n;
	}
}

/* A page in a pipe is not merged, so that later writes reach the pipe. */
static void test_vmsplice_holds(void)
{
	char *p = area_new(8), *buf = malloc(page_size);
	int fd[2];

	must_call(pipe(fd));
	area_fill_same(p, 8, 1);
	pipe_put_page(fd[1], page_at(p, 3));
	area_advise(p, 8, MADV_MERGEABLE);
	ksm_settle();
	ksm_wait_scans(3);
	must(!page_is_ksm(page_at(p, 3)), "a page in a pipe was merged");
	must_eq("merged pages", area_count_ksm(p, 8), 7);
	area_check_same(p, 8, 1, "before the write");
	page_fill(page_at(p, 3), 9);
	ksm_wait_scans(3);
	pipe_get_page(fd[0], buf);
	page_check(buf, 9, "read from the pipe");
	page_fill(page_at(p, 3), 1);
	ksm_settle();
	ksm_expect("the pipe is empty", 1, 7, 0, 0);
	area_check_same(p, 8, 1, "merged");
	free(buf);
}

/* A merged page in a pipe keeps its bytes there when the owner writes. */
static void test_vmsplice_merged(void)
{
	char *p = area_same(8, 1), *buf = malloc(page_size);
	int fd[2];

	must_call(pipe(fd));
	ksm_settle();
	ksm_expect("8 copies", 1, 7, 0, 0);
	pipe_put_page(fd[1], page_at(p, 3));
	page_fill(page_at(p, 3), 9);
	area_fill_each(p, 3, 20);
	ksm_forget();
	area_advise(p, 8, MADV_UNMERGEABLE);
	pipe_get_page(fd[0], buf);
	page_check(buf, 1, "read from the pipe");
	page_check(page_at(p, 3), 9, "written");
	area_check_each(p, 3, 20, "written");
	area_check_same(page_at(p, 4), 4, 1, "not written");
	free(buf);
}

/* All sharers leave while a pipe still holds their page. */
static void test_vmsplice_outlives(void)
{
	char *p = area_same(8, 1), *q, *buf = malloc(page_size);
	int fd[2];

	must_call(pipe(fd));
	ksm_settle();
	ksm_expect("8 copies", 1, 7, 0, 0);
	pipe_put_page(fd[1], page_at(p, 3));
	area_free(p, 8);
	q = area_same(8, 1);
	ksm_settle();
	ksm_settle();
	area_check_same(q, 8, 1, "equal pages that came later");
	area_fill_each(q, 8, 100);
	pipe_get_page(fd[0], buf);
	page_check(buf, 1, "read from the pipe");
	area_check_each(q, 8, 100, "written");
	free(buf);
}

static long minor_faults(void)
{
	struct rusage u;

	must_call(getrusage(RUSAGE_SELF, &u));
	return u.ru_minflt;
}

/*
 * Refusing a pinned page must cost its owner nothing: it stays writable, so
 * that the owner's next write does not fault.
 */
static void test_stays_writable(void)
{
	char *p = area_new(16), *buf = malloc(page_size);
	long faults;
	int fd[2], i;

	must_call(pipe(fd));
	area_fill_same(p, 16, 1);
	area_advise(page_at(p, 8), 8, MADV_MERGEABLE);
	ksm_settle();
	ksm_expect("8 copies", 1, 7, 0, 0);
	for (i = 0; i < 8; i++)
		pipe_put_page(fd[1], page_at(p, i));
	area_advise(p, 8, MADV_MERGEABLE);
	minor_faults();
	ksm_settle();
	ksm_wait_scans(3);
	must_eq("merged pages that are pinned", area_count_ksm(p, 8), 0);
	ksm_set("run", 0);
	faults = minor_faults();
	for (i = 0; i < 8; i++)
		byte_write(page_at(p, i), byte_read(page_at(p, i)));
	must_eq("page faults of 8 writes to pinned pages",
		minor_faults() - faults, 0);
	faults = minor_faults();
	for (i = 8; i < 16; i++)
		byte_write(page_at(p, i), byte_read(page_at(p, i)));
	must_eq("page faults of 8 writes to merged pages",
		minor_faults() - faults, 8);
	area_check_same(p, 16, 1, "written with what they hold");
	for (i = 0; i < 8; i++) {
		pipe_get_page(fd[0], buf);
		page_check(buf, 1, "read from the pipe");
	}
	free(buf);
}

/* Pinned pages that are seen first must not stand in the way of the others. */
static void test_come_first(void)
{
	char *p = area_new(16), *buf = malloc(page_size);
	int fd[2], i;

	must_call(pipe(fd));
	area_fill_same(p, 16, 1);
	for (i = 0; i < 10; i++)
		pipe_put_page(fd[1], page_at(p, i));
	area_advise(p, 16, MADV_MERGEABLE);
	ksm_settle();
	ksm_expect("10 pinned and 6 copies", 1, 5, -1, -1);
	must_eq("merged pages that are pinned", area_count_ksm(p, 10), 0);
	for (i = 0; i < 10; i++) {
		pipe_get_page(fd[0], buf);
		page_check(buf, 1, "read from the pipe");
	}
	ksm_settle();
	ksm_expect("no longer pinned", 1, 15, 0, 0);
	area_check_same(p, 16, 1, "merged");
	free(buf);
}

struct remote {
	char *p;
	pid_t owner;
};

static void remote_page(struct remote *r, size_t at, char *buf, bool write)
{
	struct iovec mine = { buf, page_size };
	struct iovec its = { page_at(r->p, at), page_size };
	ssize_t n = write ? process_vm_writev(r->owner, &mine, 1, &its, 1, 0) :
			    process_vm_readv(r->owner, &mine, 1, &its, 1, 0);

	must(n == (ssize_t)page_size, "%s another process gives %zd: %m",
	     write ? "writing to" : "reading from", n);
}

/* Writes whole pages of the parent's memory, and reads them back. */
static void write_remotely(void *arg)
{
	struct remote *r = arg;
	char *buf = malloc(page_size);
	int n;

	for (n = 0; n < 200; n++) {
		page_fill(buf, 500 + n);
		remote_page(r, n % 8, buf, true);
		memset(buf, 0, page_size);
		remote_page(r, n % 8, buf, false);
		page_check(buf, 500 + n, "read back from another process");
		page_fill(buf, 1);
		remote_page(r, n % 8, buf, true);
		if (n % 8 == 0)
			nap_ms(1);
	}
	free(buf);
}

/* Another process writes to memory that merges all the while. */
static void test_remote_writes(void)
{
	struct remote r = { area_same(8, 1), getpid() };
	char *calm = area_same(8, 1);

	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	join(child(write_remotely, &r));
	area_check_same(r.p, 8, 1, "written by another process");
	area_check_same(calm, 8, 1, "not written");
	ksm_forget();
	ksm_expect("at the end", 1, 15, 0, 0);
}

static const struct ksm_case cases[] = {
	{ "direct_reads", test_direct_reads },
	{ "direct_read_merged", test_direct_read_merged },
	{ "direct_write_merged", test_direct_write_merged },
	{ "vmsplice_holds", test_vmsplice_holds },
	{ "vmsplice_merged", test_vmsplice_merged },
	{ "vmsplice_outlives", test_vmsplice_outlives },
	{ "stays_writable", test_stays_writable },
	{ "come_first", test_come_first, 0,
	  "a pinned page that is seen first keeps its equals from merging" },
	{ "remote_writes", test_remote_writes },
	{ }
};

const struct ksm_topic topic_pin = { "pin", cases };
