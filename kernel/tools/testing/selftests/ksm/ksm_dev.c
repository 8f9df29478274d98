// SPDX-License-Identifier: GPL-2.0-only
/*
 * Things around memory that a case needs from the machine: a swap device in
 * RAM, a memory cgroup to reclaim from, a file that can do direct I/O.  Each
 * is undone by the runner after the case, however the case ended.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <unistd.h>
#include "ksm_util.h"

#define ZRAM_SYS	"/sys/block/zram0/"
#define CGROUP_BASE	"/sys/fs/cgroup"
#define CGROUP_DIR	CGROUP_BASE "/ksm_suite"
#define DIRECT_NAME	"ksm_suite.direct"

static const char *const ram_devices[] = {
	"/dev/ram0", "/dev/ram1", "/dev/ram2", "/dev/ram3",
};

static const char *const direct_dirs[] = { "/var/tmp", "/tmp", "." };

/* --- swap ------------------------------------------------------------------- */

/* The first page of a swap device, version 1, without bad pages or label. */
static int swap_format(const char *dev, size_t pages)
{
	char *head = calloc(1, page_size);
	int fd = open(dev, O_WRONLY | O_CLOEXEC), err = 0;
	uint32_t version = 1, last = pages - 1;

	if (!head || fd < 0) {
		err = head ? -errno : -ENOMEM;
		free(head);
		return err;
	}
	memcpy(head + 1024, &version, sizeof(version));
	memcpy(head + 1028, &last, sizeof(last));
	memcpy(head + page_size - 10, "SWAPSPACE2", 10);
	if (pwrite(fd, head, page_size, 0) != (ssize_t)page_size || fsync(fd))
		err = -errno;
	close(fd);
	free(head);
	return err;
}

/* A zram device that nobody uses, set up for @bytes. */
static const char *swap_on_zram(size_t bytes)
{
	char text[32];

	if (file_number(ZRAM_SYS "disksize") != 0)
		return NULL;
	snprintf(text, sizeof(text), "%zu", bytes);
	return file_write(ZRAM_SYS "disksize", text) ? NULL : "/dev/zram0";
}

static const char *swap_on_ram(size_t bytes)
{
	uint64_t size = 0;
	int fd = open(ram_devices[0], O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return NULL;
	if (ioctl(fd, BLKGETSIZE64, &size))
		size = 0;
	close(fd);
	return size >= bytes ? ram_devices[0] : NULL;
}

const char *swap_on(size_t bytes)
{
	const char *dev = swap_on_zram(bytes);
	int err;

	if (!dev)
		dev = swap_on_ram(bytes);
	if (!dev)
		skip("no unused /dev/zram0 and no %s of %zu bytes for swap",
		     ram_devices[0], bytes);
	snprintf(ksm_verdict->swap_dev, sizeof(ksm_verdict->swap_dev), "%s",
		 dev);
	err = swap_format(dev, bytes / page_size);
	must(!err, "writing a swap header to %s: %s", dev, strerror(-err));
	if (swapon(dev, 0))
		fail("swapon %s: %m", dev);
	return dev;
}

void swap_off(const char *dev)
{
	must(!swapoff(dev), "swapoff %s: %m", dev);
}

void swap_cleanup(void)
{
	const char *dev = ksm_verdict->swap_dev;

	if (!dev[0])
		return;
	/* EINVAL: the case has switched it off itself. */
	if (swapoff(dev) && errno != EINVAL)
		printf("# swapoff %s: %s\n", dev, strerror(errno));
	if (!strcmp(dev, "/dev/zram0"))
		file_write(ZRAM_SYS "reset", "1");
	ksm_verdict->swap_dev[0] = '\0';
}

/* --- memory cgroup ------------------------------------------------------------ */

void memcg_enter(void)
{
	int err;

	if (access(CGROUP_BASE "/cgroup.controllers", F_OK))
		skip("no cgroup v2 at " CGROUP_BASE);
	file_write(CGROUP_BASE "/cgroup.subtree_control", "+memory");
	if (mkdir(CGROUP_DIR, 0755) && errno != EEXIST)
		skip("no cgroup %s: %m", CGROUP_DIR);
	if (access(CGROUP_DIR "/memory.reclaim", W_OK))
		skip("this cgroup has no memory.reclaim");
	err = file_write(CGROUP_DIR "/cgroup.procs", "0");
	must(!err, "entering %s: %s", CGROUP_DIR, strerror(-err));
}

int memcg_reclaim(size_t bytes)
{
	char text[32];

	snprintf(text, sizeof(text), "%zu", bytes);
	return file_write(CGROUP_DIR "/memory.reclaim", text);
}

/* Reclaim may need many rounds; all is wanted, most of it is waited for. */
void memcg_push_out(const char *p, size_t pages)
{
	size_t out = 0;
	int n;

	for (n = 0; out < pages && n < (out < pages * 7 / 8 ? 100 : 30); n++) {
		memcg_reclaim(pages * page_size * 4);
		out = area_count_swapped(p, pages);
	}
	must(out > pages / 2,
	     "after %d rounds of reclaim %zu of %zu pages are swapped out", n,
	     out, pages);
}

long memcg_current(void)
{
	long bytes = file_number(CGROUP_DIR "/memory.current");

	must(bytes >= 0, CGROUP_DIR "/memory.current cannot be read");
	return bytes;
}

void memcg_limit(long bytes)
{
	char text[32];
	int err;

	snprintf(text, sizeof(text), "%ld", bytes);
	err = file_write(CGROUP_DIR "/memory.max", bytes < 0 ? "max" : text);
	must(!err, "writing %s to " CGROUP_DIR "/memory.max: %s", text,
	     strerror(-err));
}

void memcg_cleanup(void)
{
	int tries;

	/* The last process may not have left it quite yet. */
	for (tries = 0; tries < 100; tries++) {
		if (!rmdir(CGROUP_DIR) || errno != EBUSY)
			return;
		nap_ms(10);
	}
	printf("# cannot remove %s: %s\n", CGROUP_DIR, strerror(errno));
}

/* --- direct I/O --------------------------------------------------------------- */

static int open_direct(const char *path, int flags)
{
	return open(path, O_RDWR | O_DIRECT | O_CLOEXEC | flags, 0600);
}

/* Fill the file through O_DIRECT itself: some can open so, but not write. */
static bool fill_direct(int fd, size_t blocks, uint64_t seed)
{
	char *buf = aligned_alloc(page_size, page_size);
	size_t i;

	must(buf, "out of memory");
	for (i = 0; i < blocks; i++) {
		page_fill(buf, seed + i);
		if (pwrite(fd, buf, page_size, i * page_size) !=
		    (ssize_t)page_size)
			break;
	}
	free(buf);
	return i == blocks;
}

/*
 * A loop device on a file in memory.  It reads in a thread of its own, so that
 * pages are held for a while; it goes away when its last user closes it.
 */
static int open_loop(size_t blocks)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int file = syscall(SYS_memfd_create, DIRECT_NAME, MFD_CLOEXEC);
	struct loop_config config = {
		.fd = file, .block_size = page_size,
		.info.lo_flags = LO_FLAGS_AUTOCLEAR,
	};
	char path[32];
	int fd = -1, n = ioctl(control, LOOP_CTL_GET_FREE);

	snprintf(path, sizeof(path), "/dev/loop%d", n);
	if (n >= 0 && !ftruncate(file, blocks * page_size))
		fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config)) {
		close(fd);
		fd = -1;
	}
	if (fd >= 0 && fcntl(fd, F_SETFL, O_DIRECT)) {
		close(fd);
		fd = -1;
	}
	close(file);
	close(control);
	return fd;
}

int direct_file(size_t blocks, uint64_t seed)
{
	char path[128];
	size_t i;
	int fd;

	fd = open_loop(blocks);
	if (fd >= 0 && fill_direct(fd, blocks, seed))
		return fd;
	for (i = 0; i < ARRAY_SIZE(direct_dirs); i++) {
		snprintf(path, sizeof(path), "%s/" DIRECT_NAME, direct_dirs[i]);
		fd = open_direct(path, O_CREAT | O_TRUNC);
		if (fd >= 0 && fill_direct(fd, blocks, seed))
			return fd;
		if (fd >= 0)
			close(fd);
		unlink(path);
	}
	/* The last of the RAM disks: the first may be in use for swap. */
	fd = open_direct(ram_devices[ARRAY_SIZE(ram_devices) - 1], 0);
	if (fd >= 0 && fill_direct(fd, blocks, seed))
		return fd;
	skip("no loop device, no file system in /var/tmp, /tmp or . and no RAM disk does direct I/O");
}

void direct_cleanup(void)
{
	char path[128];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(direct_dirs); i++) {
		snprintf(path, sizeof(path), "%s/" DIRECT_NAME, direct_dirs[i]);
		unlink(path);
	}
}
