/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A made-up host: a folder with sys and proc, as the KSM readers expect it
 */
#ifndef TESTS_UNIT_KSM_FAKE_ROOT_H
#define TESTS_UNIT_KSM_FAKE_ROOT_H

#define FAKE_KSM_DIR "/sys/kernel/mm/ksm/"
#define FAKE_PROC_DIR "/proc/self/"

typedef struct FakeRoot {
    char *path;
} FakeRoot;

/* An empty folder below the system's temporary one */
FakeRoot *fake_root_new(void);

/* Removes it with all that is in it. */
void fake_root_free(FakeRoot *root);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FakeRoot, fake_root_free)

/* Full path of @name (which starts with '/'), to be freed by the caller */
char *fake_root_path(const FakeRoot *root, const char *name);

/* Creates or replaces the file @name, and the folders it is in. */
void fake_root_write(const FakeRoot *root, const char *name,
                     const char *content);

/* Writes @n entries of 64 bits, starting at entry @index of file @name. */
void fake_root_write_entries(const FakeRoot *root, const char *name,
                             uint64_t index, const uint64_t *entry, size_t n);

void fake_root_mkdir(const FakeRoot *root, const char *name);
void fake_root_remove(const FakeRoot *root, const char *name);

/*
 * What a 6.1 kernel has below /sys/kernel/mm/ksm, with a different number in
 * each file, and the calling process's files below /proc.
 */
void fake_root_add_linux_6_1(const FakeRoot *root);

/*
 * What a kernel with our engine has: 20 to 27 in the files that 6.1 lacks, in
 * the order of KsmHostCounter, and of reason N (KsmHostReason) 100 + N pages of
 * the host, 200 + N of the process.
 */
void fake_root_add_samepage(const FakeRoot *root);

#endif
