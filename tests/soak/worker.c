// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One process of the storm.  All it knows of its memory is in its slot, in
 * shared memory, so that its siblings can check it as well; a child gets a copy
 * of the slot, because from the fork on its contents are its own.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "soak.h"

#define STEPS_MIN 400
#define STEPS_MORE 3000
#define CHILD_STEPS 60
#define CHILDREN_MAX 2
#define DEPTH_MAX 2
#define VERIFY_ALL_EVERY 48

uint32_t draw(uint64_t *rng, uint32_t below)
{
    *rng ^= *rng << 13;
    *rng ^= *rng >> 7;
    *rng ^= *rng << 17;
    return (*rng >> 20) % below;
}

/* --- contents ------------------------------------------------------------- */

static bool page_is_zero(const void *page)
{
    const uint64_t *w = page;

    for (size_t i = 0; i < page_size / sizeof(*w); i++) {
        if (__atomic_load_n(&w[i], __ATOMIC_RELAXED)) {
            return false;
        }
    }
    return true;
}

bool page_right(const void *page, const PageBook *b)
{
    if (b->content != CONTENT_ZERO && !page_differs(page, b->content)) {
        return true;
    }
    return (b->content == CONTENT_ZERO || b->lazy) && page_is_zero(page);
}

static void page_put(void *page, uint64_t content)
{
    if (content == CONTENT_ZERO) {
        memset(page, 0, page_size);
    } else {
        page_fill(page, content);
    }
}

/*
 * Count a wrong page and say where it differs, for the one who has to find out.
 * @page is what was read, @at the address that it belongs to in process @pid.
 */
static void mismatch(const Worker *w, const char *page, const PageBook *b,
                     pid_t pid, const void *at, const char *when)
{
    static char want[4096] __attribute__((aligned(4096)));
    uint64_t got = 0, right = 0;
    size_t off;

    page_put(want, b->content);
    for (off = 0; off < page_size; off += sizeof(got)) {
        memcpy(&got, page + off, sizeof(got));
        memcpy(&right, want + off, sizeof(right));
        if (got != right) {
            break;
        }
    }
    printf("MISMATCH: process %d (seen by %d, worker %d, %d forks deep), "
           "address %p+%zx: got %016llx, expected %016llx (content %llu%s), "
           "after %s%s\n", pid, getpid(), w->number, w->depth, at,
           off % page_size, (unsigned long long)got, (unsigned long long)right,
           (unsigned long long)b->content, b->lazy ? " or zeros" : "", when,
           off == page_size ? "; right at the second look" : "");
    fflush(stdout);
    count(&shared->tally.mismatches, 1);
}

void verify_copy(Worker *w, const void *copy, const PageBook *b, pid_t pid,
                 const void *at, const char *when)
{
    if (!page_right(copy, b)) {
        mismatch(w, copy, b, pid, at, when);
    }
    count(&shared->tally.bytes, page_size);
}

void range_begin(Worker *w, const Range *r)
{
    PageBook *b = &w->slot->book[r->area][r->first];

    for (size_t i = 0; i < r->count; i++) {
        __atomic_fetch_add(&b[i].turn, 1, __ATOMIC_SEQ_CST);
    }
}

void range_end(Worker *w, const Range *r)
{
    range_begin(w, r);
}

void range_book(Worker *w, const Range *r, uint64_t content, bool lazy)
{
    PageBook *b = &w->slot->book[r->area][r->first];

    for (size_t i = 0; i < r->count; i++) {
        b[i].content = content;
        b[i].lazy = lazy;
    }
}

void verify_range(Worker *w, const Range *r, const char *when)
{
    PageBook *b = &w->slot->book[r->area][r->first];
    char *p = range_at(w, r);

    for (size_t i = 0; i < r->count; i++) {
        Range one = { r->area, r->first + i, 1 };

        if (page_right(page_at(p, i), &b[i])) {
            continue;
        }
        mismatch(w, page_at(p, i), &b[i], getpid(), page_at(p, i), when);
        range_begin(w, &one);
        page_put(page_at(p, i), b[i].content);
        b[i].lazy = false;
        range_end(w, &one);
    }
    count(&shared->tally.bytes, range_bytes(r));
}

static void verify_all(Worker *w, const char *when)
{
    for (int a = 0; a < AREAS; a++) {
        Range r = { a, 0, AREA_PAGES };

        verify_range(w, &r, when);
    }
}

static uint64_t draw_content(Worker *w)
{
    uint32_t kind = draw(&w->rng, 20);

    if (kind < 3) {
        return CONTENT_ZERO;
    }
    if (kind < 15) {
        return 1 + draw(&w->rng, CONTENTS_COMMON);
    }
    draw(&w->rng, 2);
    return w->rng | 1ull << 63;
}

void write_range(Worker *w, const Range *r)
{
    range_begin(w, r);
    for (size_t i = 0; i < r->count; i++) {
        Range one = { r->area, r->first + i, 1 };
        uint64_t content = draw_content(w);

        page_put(range_at(w, &one), content);
        range_book(w, &one, content, false);
    }
    range_end(w, r);
}

/* --- life ----------------------------------------------------------------- */

char *area_reserve(void)
{
    size_t bytes = AREA_PAGES * page_size;
    char *p = mmap(NULL, 2 * bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    char *at = (char *)(((uintptr_t)p + bytes - 1) & -bytes);

    must(p != MAP_FAILED, "mmap of an area: %m");
    if (at > p) {
        must_call(munmap(p, at - p));
    }
    must_call(munmap(at + bytes, p + bytes - at));
    return at;
}

static void build_areas(Worker *w)
{
    for (int a = 0; a < AREAS; a++) {
        Range r = { a, 0, AREA_PAGES };
        char *p = area_reserve();

        w->slot->area[a] = p;
        /* EINVAL from a kernel without huge pages is as good. */
        madvise(p, range_bytes(&r),
                a < SMALL_AREAS ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
        /* Some pages are there before the advice, some come after it. */
        if (a % 2) {
            area_advise(p, AREA_PAGES, MADV_MERGEABLE);
        }
        write_range(w, &r);
        area_advise(p, AREA_PAGES, MADV_MERGEABLE);
    }
}

/*
 * A new worker in a used slot.  Whoever knows its number knows that no turn of
 * the one before it is there any more.
 */
static void take_slot(Worker *w)
{
    PageBook *b = w->slot->book[0];

    __atomic_store_n(&w->slot->pid, 0, __ATOMIC_SEQ_CST);
    for (size_t i = 0; i < AREAS * AREA_PAGES; i++) {
        /* Even again, should the last one have been killed in its turn. */
        __atomic_store_n(&b[i].turn, (b[i].turn | 1) + 1, __ATOMIC_SEQ_CST);
    }
    build_areas(w);
    __atomic_store_n(&w->slot->pid, getpid(), __ATOMIC_SEQ_CST);
}

/* Wait for one child.  A SIGKILL is the OOM killer's, or meant for us all. */
static void reap_child(Worker *w, int flags)
{
    int status;

    if (!w->children || waitpid(-1, &status, flags) <= 0) {
        return;
    }
    w->children--;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
        count(&shared->tally.lost, 1);
        return;
    }
    must(!WIFSIGNALED(status), "a child died of signal %d (%s)",
         WTERMSIG(status), strsignal(WTERMSIG(status)));
    must(!WEXITSTATUS(status), "a child ended with status %d",
         WEXITSTATUS(status));
    count(&shared->tally.exits, 1);
}

static void reap_children(Worker *w)
{
    while (w->children) {
        reap_child(w, 0);
    }
}

/* While counters are compared nobody may come, go or change its mappings. */
static void pause_here(Worker *w)
{
    reap_children(w);
    set(&w->slot->paused, true);
    while (is_set(&shared->pause) && !over()) {
        nap_ms(5);
    }
    set(&w->slot->paused, false);
}

static void step(Worker *w)
{
    Range r;
    const char *name = act(w, &r);

    verify_range(w, &r, name);
    count(&shared->tally.steps, 1);
    if (++w->steps % VERIFY_ALL_EVERY == 0) {
        verify_all(w, "all its pages");
    }
    reap_child(w, WNOHANG);
    if (draw(&w->rng, 4) == 0) {
        nap_ms(draw(&w->rng, 5));
    }
}

static void die_with(pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(1);
    }
}

static void live_as_child(Worker *w, Slot *copy)
{
    unsigned int steps = draw(&w->rng, CHILD_STEPS);

    w->slot = copy;
    w->depth++;
    w->children = 0;
    w->rng ^= (uint64_t)getpid() << 24;
    verify_all(w, "fork");
    while (steps-- && !over() && !is_set(&shared->pause)) {
        step(w);
    }
    verify_all(w, "a child's life");
    reap_children(w);
    _exit(0);
}

void fork_worker(Worker *w)
{
    pid_t parent = getpid(), pid;
    Slot *copy;

    if (w->depth == DEPTH_MAX || is_set(&shared->pause)) {
        return;
    }
    if (w->children == CHILDREN_MAX) {
        reap_child(w, 0);
    }
    copy = shared_new(sizeof(*copy));
    *copy = *w->slot;
    pid = fork();
    if (pid == 0) {
        die_with(parent);
        live_as_child(w, copy);
    }
    munmap(copy, sizeof(*copy));
    if (pid < 0) {
        count(&shared->tally.refused, 1);
        return;
    }
    w->children++;
    count(&shared->tally.forks, 1);
}

/* Only by --damage: the run must then fail. */
static void damage(Worker *w)
{
    char *p = page_at(w->slot->area[1], AREA_PAGES / 2) + 1000;

    if (w->number == 0 && __atomic_exchange_n(&shared->damage, false,
                                              __ATOMIC_SEQ_CST)) {
        byte_write(p, byte_read(p) ^ 0x10);
    }
}

void work(void *number)
{
    static Worker worker;
    Worker *w = &worker;
    unsigned int steps;

    die_with(getppid());
    setpgid(0, 0);
    setpriority(PRIO_PROCESS, 0, 10);
    if (shared->limited) {
        memcg_enter();
    }
    w->number = *(int *)number;
    w->slot = &shared->slot[w->number];
    w->rng = 88172645463325252ull ^ ((uint64_t)getpid() << 32) ^ now_ms();
    steps = STEPS_MIN + draw(&w->rng, STEPS_MORE);
    take_slot(w);
    while (steps-- && !over()) {
        step(w);
        damage(w);
        if (is_set(&shared->pause)) {
            pause_here(w);
        }
    }
    verify_all(w, "a worker's life");
    reap_children(w);
}
