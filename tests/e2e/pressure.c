// SPDX-License-Identifier: GPL-2.0-or-later
/* Real memory pressure on the bench host: processes that take memory. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "channel.h"
#include "pressure.h"

#define CGROUPS "/sys/fs/cgroup"
#define STALL_CGROUP CGROUPS "/sharing-stall"
/* What the staller may have, and what it wants */
#define STALL_HIGH "8388608"
#define STALL_BYTES (64 << 20)
/* An eater takes and gives memory in such pieces */
#define PIECE (2 << 20)
#define CLOSE_ENOUGH 0.5

struct Eater {
    pid_t pid;
    int control;                /* a byte, '+' or '-', is answered by itself */
    bool has_cgroup;
};

static bool failed(GError **errp, const char *what)
{
    g_set_error(errp, SHARING_ERROR, SHARING_ERROR_HOST, "%s: %s", what,
                g_strerror(errno));
    return false;
}

static uint64_t meminfo_kib(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    return at ? g_ascii_strtoull(at + strlen(name), NULL, 10) : 0;
}

double pressure_available(GError **errp)
{
    g_autofree char *text = NULL;
    uint64_t total;

    if (!g_file_get_contents("/proc/meminfo", &text, NULL, errp)) {
        return -1;
    }
    total = meminfo_kib(text, "MemTotal:");
    if (!total) {
        g_set_error(errp, SHARING_ERROR, SHARING_ERROR_FORMAT,
                    "/proc/meminfo has no MemTotal");
        return -1;
    }
    return 100.0 * meminfo_kib(text, "\nMemAvailable:") / total;
}

/* A process that has ended is an error, no signal. */
static bool say(Eater *eater, char what, GError **errp)
{
    return send(eater->control, &what, 1, MSG_NOSIGNAL) == 1 ||
           failed(errp, "the process that takes memory");
}

static bool hear(Eater *eater, GError **errp)
{
    char what;

    return recv(eater->control, &what, 1, 0) == 1 ||
           failed(errp, "the process that takes memory");
}

/* In the child: pieces of memory, kept in a list through their first words. */
static void eat(int control)
{
    void **top = NULL;
    char what;

    while (read(control, &what, 1) == 1) {
        if (what == '+') {
            void **piece = mmap(NULL, PIECE, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
                                -1, 0);

            if (piece == MAP_FAILED) {
                _exit(1);
            }
            *piece = top;
            top = piece;
        } else if (top) {
            void **piece = top;

            top = *piece;
            munmap(piece, PIECE);
        }
        if (write(control, &what, 1) != 1) {
            _exit(1);
        }
    }
    _exit(0);
}

/* In the child: each round of new pages goes over the limit of the cgroup. */
static void stall(void)
{
    char *memory = mmap(NULL, STALL_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    while (memory != MAP_FAILED) {
        for (size_t at = 0; at < STALL_BYTES; at += getpagesize()) {
            *(volatile char *)(memory + at) = 1;
        }
        madvise(memory, STALL_BYTES, MADV_DONTNEED);
    }
    _exit(1);
}

/* Fork; in the child control[1] is the only descriptor of the two. */
static Eater *fork_eater(int control[2], bool *is_child, GError **errp)
{
    Eater *eater;
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control) < 0) {
        failed(errp, "socketpair");
        return NULL;
    }
    pid = fork();
    *is_child = pid == 0;
    if (*is_child) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(control[0]);
        return NULL;
    }
    close(control[1]);
    if (pid < 0) {
        failed(errp, "fork");
        close(control[0]);
        return NULL;
    }
    eater = g_new0(Eater, 1);
    eater->pid = pid;
    eater->control = control[0];
    return eater;
}

Eater *eater_new(GError **errp)
{
    int control[2];
    bool is_child = false;
    Eater *eater = fork_eater(control, &is_child, errp);

    if (is_child) {
        eat(control[1]);
    }
    return eater;
}

/* A file of a cgroup; @text must not have more than a word. */
static bool write_file(const char *path, const char *text, GError **errp)
{
    FILE *file = fopen(path, "we");
    bool ok = file && fputs(text, file) >= 0;

    if (file && fclose(file) != 0) {
        ok = false;
    }
    return ok || failed(errp, path);
}

static bool make_cgroup(GError **errp)
{
    if (mkdir(STALL_CGROUP, 0755) < 0 && errno != EEXIST) {
        return failed(errp, STALL_CGROUP);
    }
    return write_file(CGROUPS "/cgroup.subtree_control", "+memory", errp) &&
           write_file(STALL_CGROUP "/memory.high", STALL_HIGH, errp);
}

Eater *staller_new(GError **errp)
{
    g_autofree char *pid = NULL;
    int control[2];
    bool is_child = false;
    Eater *eater;
    char go;

    if (!make_cgroup(errp)) {
        return NULL;
    }
    eater = fork_eater(control, &is_child, errp);
    if (is_child) {
        if (read(control[1], &go, 1) == 1) {
            stall();
        }
        _exit(1);
    }
    if (!eater) {
        return NULL;
    }
    eater->has_cgroup = true;
    pid = g_strdup_printf("%d", eater->pid);
    if (write_file(STALL_CGROUP "/cgroup.procs", pid, errp) &&
        say(eater, '+', errp)) {
        return eater;
    }
    eater_free(eater);
    return NULL;
}

void eater_free(Eater *eater)
{
    if (!eater) {
        return;
    }
    kill(eater->pid, SIGKILL);
    waitpid(eater->pid, NULL, 0);
    close(eater->control);
    if (eater->has_cgroup) {
        rmdir(STALL_CGROUP);
    }
    g_free(eater);
}

bool eater_leave(Eater *eater, double percent, int timeout_s, GError **errp)
{
    gint64 deadline = g_get_monotonic_time() + timeout_s * G_USEC_PER_SEC;

    for (;;) {
        double now = pressure_available(errp);
        char what = now > percent ? '+' : '-';

        if (now < 0) {
            return false;
        }
        if (ABS(now - percent) < CLOSE_ENOUGH) {
            return true;
        }
        if (g_get_monotonic_time() > deadline) {
            g_set_error(errp, SHARING_ERROR, SHARING_ERROR_TIMEOUT,
                        "%.1f %% of memory are available, not %.1f, after "
                        "%d s", now, percent, timeout_s);
            return false;
        }
        if (!say(eater, what, errp) || !hear(eater, errp)) {
            return false;
        }
    }
}
