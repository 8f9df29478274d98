// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Runs a program with all its memory mergeable.
 *
 * usage: mergeable [--if-possible] [--beside MIB] PROGRAM [ARG...]
 *
 * The program inherits PR_SET_MEMORY_MERGE over exec, so it needs no change.
 * --if-possible, on a kernel without that prctl: says so and preloads
 * mergeable-preload.so, which lies beside this program and uses madvise.
 * --beside keeps MIB of memory of our own merged while the program runs, and
 * verifies every byte of it afterwards.
 *
 * Exit status: the program's, 128 + N if signal N killed it; 125 if we failed,
 * which includes memory that was not merged or did not keep its content.
 */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#endif

#define STATUS_OURS 125
/* Each content has many copies, more than max_page_sharing of them. */
#define CONTENTS 8
#define MERGE_SECONDS 60

static __attribute__((noreturn, format(printf, 1, 2)))
void die(const char *format, ...)
{
    va_list args;

    fputs("mergeable: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(STATUS_OURS);
}

static unsigned char content(size_t page)
{
    return 1 + page % CONTENTS;
}

static unsigned char *fill(size_t bytes, size_t page_size)
{
    unsigned char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t at;

    if (memory == MAP_FAILED) {
        die("no %zu bytes: %s", bytes, strerror(errno));
    }
    if (madvise(memory, bytes, MADV_MERGEABLE)) {
        die("MADV_MERGEABLE: %s", strerror(errno));
    }
    for (at = 0; at < bytes; at += page_size) {
        memset(memory + at, content(at / page_size), page_size);
    }
    return memory;
}

static void verify(const unsigned char *memory, size_t bytes, size_t page_size)
{
    size_t at;

    for (at = 0; at < bytes; at++) {
        if (memory[at] != content(at / page_size)) {
            die("byte %zu of the memory beside changed from %#x to %#x", at,
                content(at / page_size), memory[at]);
        }
    }
}

static long merging_pages(void)
{
    FILE *file = fopen("/proc/self/ksm_merging_pages", "r");
    long pages;

    if (!file || fscanf(file, "%ld", &pages) != 1) {
        die("/proc/self/ksm_merging_pages cannot be read");
    }
    fclose(file);
    return pages;
}

static void wait_until_merged(void)
{
    const struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };
    time_t end = time(NULL) + MERGE_SECONDS;

    while (merging_pages() == 0) {
        if (time(NULL) > end) {
            die("nothing was merged in %d s", MERGE_SECONDS);
        }
        nanosleep(&pause, NULL);
    }
}

static __attribute__((noreturn)) void run(char **command)
{
    execvp(command[0], command);
    die("%s: %s", command[0], strerror(errno));
}

static int run_and_wait(char **command)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        run(command);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        die("%s: %s", command[0], strerror(errno));
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run_beside(char **command, size_t bytes)
{
    size_t page_size = sysconf(_SC_PAGESIZE);
    unsigned char *memory = fill(bytes, page_size);
    int status;

    wait_until_merged();
    status = run_and_wait(command);
    if (merging_pages() == 0) {
        die("the memory beside is not merged any more");
    }
    verify(memory, bytes, page_size);
    return status;
}

/* The kernel lacks the prctl: let the program advise its own memory. */
static void preload(void)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 32);

    if (n < 0) {
        die("/proc/self/exe: %s", strerror(errno));
    }
    strcpy(path + n, "-preload.so");
    if (access(path, R_OK) || setenv("LD_PRELOAD", path, 1)) {
        die("%s: %s", path, strerror(errno));
    }
    fputs("mergeable: no PR_SET_MEMORY_MERGE in this kernel: by madvise\n",
          stderr);
}

static void become_mergeable(bool if_possible)
{
    if (prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0) == 0) {
        return;
    }
    if (errno != EINVAL || !if_possible) {
        die("PR_SET_MEMORY_MERGE: %s", strerror(errno));
    }
    preload();
}

int main(int argc, char **argv)
{
    bool if_possible = false;
    size_t mib = 0;
    int i = 1;

    if (i < argc && !strcmp(argv[i], "--if-possible")) {
        if_possible = true;
        i++;
    }
    if (i + 1 < argc && !strcmp(argv[i], "--beside")) {
        mib = strtoul(argv[i + 1], NULL, 10);
        i += 2;
    }
    if (i >= argc) {
        die("usage: mergeable [--if-possible] [--beside MIB] PROGRAM [ARG...]");
    }
    become_mergeable(if_possible);
    if (mib == 0) {
        run(argv + i);
    }
    return run_beside(argv + i, mib << 20);
}
