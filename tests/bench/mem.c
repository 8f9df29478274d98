// SPDX-License-Identifier: GPL-2.0-or-later
/* Memory with known contents, processes, time. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

/* A word of a random sequence (splitmix64) and its next state. */
static uint64_t next_word(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static void fill_page(char *page, uint64_t seed)
{
    uint64_t *word = (uint64_t *)page, state = seed * 0xd1342543de82ef95;

    for (size_t n = 0; n < PAGE / sizeof(*word); n++) {
        word[n] = next_word(&state);
    }
}

void fill_unique(char *area, size_t pages)
{
    /* The number of the process makes it unique among all. */
    uint64_t seed = (uint64_t)getpid() << 40 | (uintptr_t)area >> 12;

    for (size_t n = 0; n < pages; n++) {
        fill_page(area + n * PAGE, seed + n);
    }
}

void fill_alike(char *area, size_t pages, size_t kinds)
{
    for (size_t n = 0; n < pages; n++) {
        fill_page(area + n * PAGE, 1 + n % kinds);
    }
}

char *area_new(size_t pages)
{
    char *area = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (area == MAP_FAILED) {
        die("no memory for %zu pages: %s", pages, strerror(errno));
    }
    /* May fail where there are no huge pages. */
    madvise(area, pages * PAGE, MADV_NOHUGEPAGE);
    /*
     * UML takes 200 us for a page that is not mapped in its host when it is
     * touched, but maps there what is populated when its protection changes.
     */
    if (!madvise(area, pages * PAGE, MADV_POPULATE_WRITE)) {
        mprotect(area, pages * PAGE, PROT_READ);
        mprotect(area, pages * PAGE, PROT_READ | PROT_WRITE);
    }
    return area;
}

void area_advise(char *area, size_t pages)
{
    if (madvise(area, pages * PAGE, MADV_MERGEABLE)) {
        die("MADV_MERGEABLE: %s", strerror(errno));
    }
}

char *area_unique(size_t pages)
{
    char *area = area_new(pages);

    fill_unique(area, pages);
    area_advise(area, pages);
    return area;
}

char *area_alike(size_t pages, size_t kinds)
{
    char *area = area_new(pages);

    fill_alike(area, pages, kinds);
    area_advise(area, pages);
    return area;
}

void area_touch(char *area, size_t pages, size_t step)
{
    static uint64_t value;

    for (size_t n = 0; n < pages; n += step) {
        *(volatile uint64_t *)(area + n * PAGE + 2048) = ++value;
    }
}

void in_child(void (*fn)(const struct plan *plan), const struct plan *plan)
{
    pid_t pid = fork();
    int status;

    if (pid < 0) {
        die("fork: %s", strerror(errno));
    }
    if (!pid) {
        fn(plan);
        _exit(0);
    }
    if (waitpid(pid, &status, 0) != pid || status) {
        /* It has said why, unless it was killed. */
        if (WIFSIGNALED(status)) {
            die("signal %d ended a process of the bench", WTERMSIG(status));
        }
        _exit(1);
    }
}

uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

void nap_ms(unsigned int ms)
{
    struct timespec ts = { ms / 1000, ms % 1000 * 1000000l };

    nanosleep(&ts, NULL);
}

void file_write(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) {
        die("%s does not take %s: %s", path, text, strerror(errno));
    }
    close(fd);
}

long file_number(const char *path, const char *key)
{
    char text[512];
    FILE *file = fopen(path, "re");
    size_t length = strlen(key);

    if (!file) {
        die("%s: %s", path, strerror(errno));
    }
    while (fgets(text, sizeof(text), file)) {
        if (!strncmp(text, key, length)) {
            fclose(file);
            return strtol(text + length, NULL, 10);
        }
    }
    die("%s: there is no line %s", path, key);
}
