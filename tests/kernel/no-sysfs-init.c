// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The only program of a kernel that has no sysfs, and so nobody to write 1 to
 * "run".  Prints TAP, each line after "test: ", among what the kernel says, and
 * resets the machine.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGES 64
#define PAGE 4096
#define MERGE_SECONDS 60

static int count;

static void verdict(bool ok, const char *name)
{
    printf("test: %sok %d - %s\n", ok ? "" : "not ", ++count, name);
}

/* -1 if it cannot be read */
static long merged_pages(void)
{
    char text[32] = "";
    int fd = open("/proc/self/ksm_merging_pages", O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

    close(fd);
    return n > 0 ? atol(text) : -1;
}

static bool all_hold(const char *memory, int byte)
{
    size_t i;

    for (i = 0; i < PAGES * PAGE; i++) {
        if (memory[i] != byte) {
            return false;
        }
    }
    return true;
}

static void wait_for_merge(void)
{
    int tenths;

    for (tenths = 0; tenths < 10 * MERGE_SECONDS; tenths++) {
        if (merged_pages() == PAGES) {
            return;
        }
        usleep(100000);
    }
}

static void run_tests(void)
{
    char *memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    mkdir("/proc", 0755);
    mkdir("/sys", 0755);
    verdict(!mount("none", "/proc", "proc", 0, NULL) && memory != MAP_FAILED,
            "a kernel without sysfs boots");
    verdict(mount("none", "/sys", "sysfs", 0, NULL) && errno == ENODEV,
            "it has no sysfs");
    memset(memory, 1, PAGES * PAGE);
    verdict(!madvise(memory, PAGES * PAGE, MADV_MERGEABLE), "it takes advice");
    wait_for_merge();
    printf("test: # %ld of %d pages are merged\n", merged_pages(), PAGES);
    verdict(merged_pages() == PAGES, "its engine runs at once");
    verdict(all_hold(memory, 1), "merged pages hold what they held");
    verdict(!madvise(memory, PAGES * PAGE, MADV_UNMERGEABLE) &&
            all_hold(memory, 1), "and so do those that are given back");
}

int main(void)
{
    run_tests();
    printf("test: 1..%d\n", count);
    fflush(stdout);
    reboot(RB_AUTOBOOT);
    return 1;
}
