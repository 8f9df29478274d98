// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The agent's view of the guest's real programs: the files they were started
 * from are re-read from the page cache (which the host merges across guests)
 * and compared with checksums taken when the image was built.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"

/* Checksum and size of a file.  Returns 0 or -errno. */
static int file_sum(const char *path, uint64_t *sum, uint64_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    void *map;
    int ret = 0;

    *sum = 0;
    if (fd < 0 || fstat(fd, &st) < 0) {
        ret = -errno;
    } else if (st.st_size > 0) {
        map = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE,
                   fd, 0);
        if (map == MAP_FAILED) {
            ret = -errno;
        } else {
            *sum = pattern_sum(0, map, st.st_size);
            munmap(map, st.st_size);
        }
    }
    *size = ret ? 0 : st.st_size;
    if (fd >= 0) {
        close(fd);
    }
    return ret;
}

int files_manifest(char **paths, int count)
{
    for (int n = 0; n < count; n++) {
        uint64_t sum, size;
        int err = file_sum(paths[n], &sum, &size);

        if (err) {
            fprintf(stderr, "agent: %s: %s\n", paths[n], strerror(-err));
            return 1;
        }
        printf("%016llx %llu %s\n", (unsigned long long)sum,
               (unsigned long long)size, paths[n]);
    }
    return 0;
}

void files_verify(struct reply *r, const char *manifest, uint32_t limit_kib)
{
    FILE *f = fopen(manifest, "re");
    unsigned int checked = 0, bad = 0;
    unsigned long long want, size, kib = 0;
    char path[512], first[600] = "";

    if (!f) {
        return reply_error(r, "verify: %s: %s", manifest, strerror(errno));
    }
    while (fscanf(f, "%llx %llu %511s", &want, &size, path) == 3) {
        uint64_t sum, real_size;
        int err;

        kib += size / 1024;
        if (kib > limit_kib) {
            break;
        }
        err = file_sum(path, &sum, &real_size);
        checked++;
        if ((err || sum != want || real_size != size) && bad++ == 0) {
            snprintf(first, sizeof(first), " first_file=%s:%s", path,
                     err ? "unreadable" : "changed");
        }
    }
    fclose(f);
    reply_add(r, " files=%u bad_files=%u%s", checked, bad, first);
}

/* Whether a process of this command name exists (as /proc/PID/comm has it). */
static bool comm_runs(const char *name)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    bool found = false;

    while (proc && !found && (entry = readdir(proc))) {
        char path[300], comm[64] = "";
        FILE *f;

        if (!isdigit((unsigned char)entry->d_name[0])) {
            continue;
        }
        snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
        f = fopen(path, "re");
        if (f) {
            found = fscanf(f, "%63s", comm) == 1 && !strcmp(comm, name);
            fclose(f);
        }
    }
    if (proc) {
        closedir(proc);
    }
    return found;
}

void files_services(struct reply *r, const char *list)
{
    FILE *f = fopen(list, "re");
    char name[64], running[512] = "", missing[512] = "";

    if (!f) {
        return reply_error(r, "services: %s: %s", list, strerror(errno));
    }
    while (fscanf(f, "%63s", name) == 1) {
        char *to = comm_runs(name) ? running : missing;
        size_t len = strlen(to);

        snprintf(to + len, sizeof(running) - len, "%s%s", len ? "," : "",
                 name);
    }
    fclose(f);
    reply_add(r, "ok running=%s missing=%s", running, missing);
}
