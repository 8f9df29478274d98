// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * For kernels without PR_SET_MEMORY_MERGE: preloaded by `mergeable`, it advises
 * a program's private memory as the program gets it, so that what fails on the
 * upstream engine can be told from what fails on ours.
 *
 * Small pieces of the heap stay unmerged; the memory under test never is one.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A refusal is no news to the program: it must not see one in errno. */
static void advise(void *start, size_t length)
{
    uintptr_t page = sysconf(_SC_PAGESIZE);
    uintptr_t first = ((uintptr_t)start + page - 1) & -page;
    uintptr_t last = ((uintptr_t)start + length) & -page;
    int saved = errno;

    if (first < last) {
        madvise((void *)first, last - first, MADV_MERGEABLE);
    }
    errno = saved;
}

void *mmap(void *where, size_t length, int prot, int flags, int fd, off_t offset)
{
    void *start = (void *)syscall(SYS_mmap, where, length, prot, flags, fd,
                                  offset);

    if (start != MAP_FAILED && (flags & MAP_TYPE) == MAP_PRIVATE) {
        advise(start, length);
    }
    return start;
}

void *mmap64(void *, size_t, int, int, int, off_t)
    __attribute__((alias("mmap")));

void *memalign(size_t alignment, size_t size)
{
    void *(*next)(size_t, size_t) = dlsym(RTLD_NEXT, "memalign");
    void *start = next(alignment, size);

    if (start) {
        advise(start, size);
    }
    return start;
}

void *aligned_alloc(size_t, size_t) __attribute__((alias("memalign")));
