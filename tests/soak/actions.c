// SPDX-License-Identifier: GPL-2.0-or-later
/* What a worker does to its memory, one step at a time. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "soak.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* A call that may be refused for want of memory, or as it makes no sense now. */
static bool done(const char *what, long result)
{
    if (result != -1) {
        return true;
    }
    must(errno == EAGAIN || errno == ENOMEM || errno == EBUSY ||
         errno == EINVAL || errno == EFAULT, "%s: %m", what);
    count(&shared->tally.refused, 1);
    return false;
}

static bool advise(Worker *w, const Range *r, int advice)
{
    return done("madvise", madvise(range_at(w, r), range_bytes(r), advice));
}

static void do_write(Worker *w, Range *r)
{
    write_range(w, r);
}

/* One byte there and back: the shortest COW. */
static void do_touch(Worker *w, Range *r)
{
    for (size_t i = 0; i < r->count; i++) {
        Range one = { r->area, r->first + i, 1 };
        char *c = range_at(w, &one) + draw(&w->rng, page_size);

        /* A lazy page can go between our read and our write. */
        if (w->slot->book[one.area][one.first].lazy) {
            write_range(w, &one);
            continue;
        }
        range_begin(w, &one);
        byte_write(c, byte_read(c) ^ 0x55);
        byte_write(c, byte_read(c) ^ 0x55);
        range_end(w, &one);
    }
}

static void do_unmerge(Worker *w, Range *r)
{
    advise(w, r, MADV_UNMERGEABLE);
    if (draw(&w->rng, 4)) {
        verify_range(w, r, "MADV_UNMERGEABLE");
        advise(w, r, MADV_MERGEABLE);
    }
}

/* All areas, as some may have been left unmergeable. */
static void do_merge(Worker *w, Range *r)
{
    (void)r;
    for (int a = 0; a < AREAS; a++) {
        Range all = { a, 0, AREA_PAGES };

        advise(w, &all, MADV_MERGEABLE);
    }
}

static void do_merge_any(Worker *w, Range *r)
{
    if (prctl(PR_SET_MEMORY_MERGE, draw(&w->rng, 2), 0, 0, 0)) {
        done("PR_SET_MEMORY_MERGE", -1);
    }
    verify_range(w, r, "PR_SET_MEMORY_MERGE");
    do_merge(w, r);
}

/* A failure half-way, such as of locked pages, leaves either content. */
static void do_discard(Worker *w, Range *r)
{
    PageBook *b = &w->slot->book[r->area][r->first];

    range_begin(w, r);
    if (advise(w, r, MADV_DONTNEED)) {
        range_book(w, r, CONTENT_ZERO, false);
    } else {
        for (size_t i = 0; i < r->count; i++) {
            b[i].lazy = true;
        }
    }
    range_end(w, r);
}

/*
 * Only of pages that are surely this process's own, so written to first: with
 * swap in zram the kernel (6.1 to 6.18, merging or not) loses a page that was
 * swapped in by a read, is shared by a fork, and is given up by the child alone.
 */
static void do_free(Worker *w, Range *r)
{
    PageBook *b = &w->slot->book[r->area][r->first];

    write_range(w, r);
    nap_ms(draw(&w->rng, 2));
    range_begin(w, r);
    for (size_t i = 0; i < r->count; i++) {
        b[i].lazy = true;
    }
    advise(w, r, MADV_FREE);
    range_end(w, r);
}

static void do_advise(Worker *w, Range *r)
{
    static const int advice[] = {
        MADV_COLD, MADV_PAGEOUT, MADV_PAGEOUT, MADV_WILLNEED,
        MADV_POPULATE_READ, MADV_POPULATE_WRITE,
    };

    advise(w, r, advice[draw(&w->rng, ARRAY_SIZE(advice))]);
}

/* Huge pages come and go in the areas made for them. */
static void do_huge(Worker *w, Range *r)
{
    static const int advice[] = {
        MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_COLLAPSE, MADV_COLLAPSE,
    };

    *r = (Range) { SMALL_AREAS + draw(&w->rng, AREAS - SMALL_AREAS), 0,
                   AREA_PAGES };
    advise(w, r, advice[draw(&w->rng, ARRAY_SIZE(advice))]);
}

static void do_protect(Worker *w, Range *r)
{
    char *p = range_at(w, r);

    range_begin(w, r);
    if (draw(&w->rng, 2)) {
        if (done("mprotect", mprotect(p, range_bytes(r), PROT_READ))) {
            verify_range(w, r, "mprotect");
        }
    } else {
        done("mprotect", mprotect(p, range_bytes(r), PROT_NONE));
        nap_ms(draw(&w->rng, 3));
    }
    must_call(mprotect(p, range_bytes(r), PROT_READ | PROT_WRITE));
    range_end(w, r);
}

/* Away and back.  Fails if the range is of more than one mapping. */
static void do_move(Worker *w, Range *r)
{
    char *p = range_at(w, r), *away = area_reserve(), *at;
    size_t bytes = range_bytes(r);

    range_begin(w, r);
    at = mremap(p, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, away);
    if (done("mremap", at == MAP_FAILED ? -1 : 0)) {
        nap_ms(draw(&w->rng, 3));
        must(mremap(away, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, p) == p,
             "mremap back: %m");
    }
    munmap(away, AREA_PAGES * page_size);
    range_end(w, r);
}

/* The whole area to another place, for good. */
static void do_move_area(Worker *w, Range *r)
{
    Range all = { r->area, 0, AREA_PAGES };
    size_t bytes = range_bytes(&all);
    char *p = range_at(w, &all), *to = area_reserve(), *at;

    /* So that it is one mapping, where that is possible. */
    munlock(p, bytes);
    advise(w, &all, MADV_MERGEABLE);
    advise(w, &all, draw(&w->rng, 2) ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
    range_begin(w, &all);
    at = mremap(p, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to);
    if (done("mremap", at == MAP_FAILED ? -1 : 0)) {
        w->slot->area[r->area] = to;
    } else {
        munmap(to, bytes);
    }
    range_end(w, &all);
    *r = all;
}

static void do_remap(Worker *w, Range *r)
{
    char *p = range_at(w, r);

    range_begin(w, r);
    if (draw(&w->rng, 2)) {
        must_call(munmap(p, range_bytes(r)));
    }
    must(mmap(p, range_bytes(r), PROT_READ | PROT_WRITE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p,
         "mmap of a hole: %m");
    range_book(w, r, CONTENT_ZERO, false);
    range_end(w, r);
    advise(w, r, MADV_MERGEABLE);
}

static void do_lock(Worker *w, Range *r)
{
    char *p = range_at(w, r);

    if (draw(&w->rng, 2) && r->count <= 16) {
        done("mlock", mlock(p, range_bytes(r)));
    } else {
        munlock(w->slot->area[r->area], AREA_PAGES * page_size);
    }
}

static void do_migrate(Worker *w, Range *r)
{
    unsigned long from = 1, to = 2;
    int node[AREA_PAGES], status[AREA_PAGES];
    void *page[AREA_PAGES];

    if (draw(&w->rng, 8) == 0 && shared->nodes > 1) {
        bool back = draw(&w->rng, 2);

        done("migrate_pages", syscall(SYS_migrate_pages, 0, 8 * sizeof(from),
                                      back ? &to : &from,
                                      back ? &from : &to));
        return;
    }
    for (size_t i = 0; i < r->count; i++) {
        page[i] = page_at(range_at(w, r), i);
        node[i] = draw(&w->rng, shared->nodes);
    }
    done("move_pages", syscall(SYS_move_pages, 0, r->count, page, node, status,
                               MPOL_MF_MOVE_ALL));
}

/* Clear the marks that reclaim and soft-dirty tracking live on. */
static void do_marks(Worker *w, Range *r)
{
    (void)r;
    file_write("/proc/self/clear_refs", draw(&w->rng, 2) ? "1" : "4");
}

/* One private page to read others' pages into. */
static char buffer[4096] __attribute__((aligned(4096)));

/*
 * A sibling's page, by its own book.  What is read counts only if the owner
 * has not been at that page meanwhile.
 */
static void do_peek(Worker *w, Range *r)
{
    Slot *s = &shared->slot[draw(&w->rng, shared->workers)];
    PageBook *at = &s->book[r->area][r->first], b;
    struct iovec mine = { buffer, page_size };
    struct iovec its = { NULL, page_size };
    pid_t pid = __atomic_load_n(&s->pid, __ATOMIC_SEQ_CST);

    b.turn = __atomic_load_n(&at->turn, __ATOMIC_SEQ_CST);
    b.content = __atomic_load_n(&at->content, __ATOMIC_SEQ_CST);
    b.lazy = is_set(&at->lazy);
    its.iov_base = page_at(s->area[r->area], r->first);
    if (b.turn % 2 || pid <= 0 ||
        process_vm_readv(pid, &mine, 1, &its, 1, 0) != (ssize_t)page_size ||
        __atomic_load_n(&at->turn, __ATOMIC_SEQ_CST) != b.turn) {
        return;
    }
    verify_copy(w, buffer, &b, pid, its.iov_base, "process_vm_readv");
}

/* The page itself in a pipe: pinned by somebody who is in no page table. */
static void do_splice(Worker *w, Range *r)
{
    PageBook *b = &w->slot->book[r->area][r->first];
    struct iovec iov = { range_at(w, r), page_size };
    int fd[2];

    if (!done("pipe", pipe2(fd, O_CLOEXEC))) {
        return;
    }
    if (done("vmsplice", vmsplice(fd[1], &iov, 1, 0))) {
        nap_ms(draw(&w->rng, 20));
        must(read(fd[0], buffer, page_size) == (ssize_t)page_size,
             "reading a page from a pipe: %m");
        verify_copy(w, buffer, b, getpid(), iov.iov_base, "vmsplice");
    }
    close(fd[0]);
    close(fd[1]);
}

/* The device writes into the page while it is pinned. */
static void do_direct(Worker *w, Range *r)
{
    uint32_t block = draw(&w->rng, DIRECT_BLOCKS);
    Range one = { r->area, r->first, 1 };
    ssize_t n;

    if (shared->direct_fd < 0) {
        return;
    }
    range_begin(w, &one);
    n = pread(shared->direct_fd, range_at(w, &one), page_size,
              (off_t)block * page_size);
    range_book(w, &one, CONTENT_DIRECT + block, false);
    range_end(w, &one);
    if (!done("direct read", n)) {
        write_range(w, &one);
        return;
    }
    must(n == (ssize_t)page_size, "direct read of %zd bytes", n);
}

static void do_fork(Worker *w, Range *r)
{
    (void)r;
    fork_worker(w);
}

/* @most: pages of a range */
static const struct action {
    const char *name;
    void (*run)(Worker *w, Range *r);
    unsigned int weight, most;
} actions[] = {
    { "writing", do_write, 24, 16 },
    { "a COW there and back", do_touch, 24, 8 },
    { "MADV_UNMERGEABLE and back", do_unmerge, 5, AREA_PAGES },
    { "MADV_MERGEABLE", do_merge, 2, 1 },
    { "PR_SET_MEMORY_MERGE", do_merge_any, 1, 64 },
    { "MADV_DONTNEED", do_discard, 4, 64 },
    { "MADV_FREE", do_free, 4, 64 },
    { "advice on reclaim", do_advise, 8, AREA_PAGES },
    { "advice on huge pages", do_huge, 3, 1 },
    { "mprotect", do_protect, 6, 64 },
    { "mremap and back", do_move, 4, 64 },
    { "mremap", do_move_area, 2, 1 },
    { "mmap", do_remap, 4, 64 },
    { "mlock", do_lock, 2, 32 },
    { "migration", do_migrate, 5, 64 },
    { "clear_refs", do_marks, 1, 1 },
    { "reading a sibling's page", do_peek, 8, 1 },
    { "vmsplice", do_splice, 3, 1 },
    { "direct I/O", do_direct, 4, 1 },
    { "fork", do_fork, 3, 1 },
};

const char *act(Worker *w, Range *r)
{
    unsigned int all = 0, pick;
    const struct action *a;

    for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
        all += actions[i].weight;
    }
    pick = draw(&w->rng, all);
    for (a = actions; pick >= a->weight; a++) {
        pick -= a->weight;
    }
    r->area = draw(&w->rng, AREAS);
    r->first = draw(&w->rng, AREA_PAGES);
    r->count = 1 + draw(&w->rng, draw(&w->rng, 2) ? a->most : 1);
    if (r->count > AREA_PAGES - r->first) {
        r->count = AREA_PAGES - r->first;
    }
    a->run(w, r);
    return a->name;
}
