/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A made-up host: a folder with sys and proc, as the KSM readers expect it
 */

#include "qemu/osdep.h"
#include <ftw.h>
#include <glib/gstdio.h>
#include "ksm-fake-root.h"

FakeRoot *fake_root_new(void)
{
    FakeRoot *root = g_new0(FakeRoot, 1);

    root->path = g_dir_make_tmp("ksm-root-XXXXXX", NULL);
    g_assert_nonnull(root->path);
    return root;
}

static int remove_entry(const char *path, const struct stat *st, int kind,
                        struct FTW *ftw)
{
    return remove(path);
}

void fake_root_free(FakeRoot *root)
{
    if (root) {
        nftw(root->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
        g_free(root->path);
        g_free(root);
    }
}

char *fake_root_path(const FakeRoot *root, const char *name)
{
    return g_strconcat(root->path, name, NULL);
}

void fake_root_mkdir(const FakeRoot *root, const char *name)
{
    g_autofree char *path = fake_root_path(root, name);

    g_assert_cmpint(g_mkdir_with_parents(path, 0755), ==, 0);
}

static char *path_in_folder(const FakeRoot *root, const char *name)
{
    char *path = fake_root_path(root, name);
    g_autofree char *folder = g_path_get_dirname(path);

    g_assert_cmpint(g_mkdir_with_parents(folder, 0755), ==, 0);
    return path;
}

void fake_root_write(const FakeRoot *root, const char *name,
                     const char *content)
{
    g_autofree char *path = path_in_folder(root, name);
    GError *err = NULL;

    g_file_set_contents(path, content, -1, &err);
    g_assert_no_error(err);
}

void fake_root_write_entries(const FakeRoot *root, const char *name,
                             uint64_t index, const uint64_t *entry, size_t n)
{
    g_autofree char *path = path_in_folder(root, name);
    int fd = open(path, O_WRONLY | O_CREAT, 0644);
    ssize_t size = n * sizeof(*entry);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(pwrite(fd, entry, size, index * sizeof(*entry)), ==, size);
    close(fd);
}

void fake_root_remove(const FakeRoot *root, const char *name)
{
    g_autofree char *path = fake_root_path(root, name);

    g_assert_cmpint(g_remove(path), ==, 0);
}

static void write_all(const FakeRoot *root, const char *const (*file)[2],
                      size_t n)
{
    for (size_t i = 0; i < n; i++) {
        fake_root_write(root, file[i][0], file[i][1]);
    }
}

void fake_root_add_linux_6_1(const FakeRoot *root)
{
    static const char *const file[][2] = {
        { FAKE_KSM_DIR "run", "1\n" },
        { FAKE_KSM_DIR "pages_shared", "100\n" },
        { FAKE_KSM_DIR "pages_sharing", "300\n" },
        { FAKE_KSM_DIR "pages_unshared", "11\n" },
        { FAKE_KSM_DIR "pages_volatile", "12\n" },
        { FAKE_KSM_DIR "full_scans", "13\n" },
        { FAKE_KSM_DIR "stable_node_chains", "14\n" },
        { FAKE_KSM_DIR "stable_node_dups", "15\n" },
        { FAKE_KSM_DIR "pages_to_scan", "16\n" },
        { FAKE_KSM_DIR "sleep_millisecs", "17\n" },
        { FAKE_KSM_DIR "merge_across_nodes", "1\n" },
        { FAKE_KSM_DIR "max_page_sharing", "18\n" },
        { FAKE_KSM_DIR "use_zero_pages", "0\n" },
        { FAKE_KSM_DIR "stable_node_chains_prune_millisecs", "19\n" },
        { FAKE_PROC_DIR "ksm_merging_pages", "40\n" },
        { FAKE_PROC_DIR "ksm_stat", "ksm_rmap_items 50\n" },
    };

    write_all(root, file, G_N_ELEMENTS(file));
}

void fake_root_add_samepage(const FakeRoot *root)
{
    static const char *const file[][2] = {
        { FAKE_KSM_DIR "engine", "samepage 0.1.0\n" },
        { FAKE_KSM_DIR "pages_scanned", "20\n" },
        { FAKE_KSM_DIR "pages_skipped", "21\n" },
        { FAKE_KSM_DIR "ksm_zero_pages", "22\n" },
        { FAKE_KSM_DIR "general_profit", "-23\n" },
        { FAKE_KSM_DIR "smart_scan", "1\n" },
        { FAKE_KSM_DIR "advisor_mode", "none [scan-time]\n" },
        { FAKE_KSM_DIR "advisor_max_cpu", "24\n" },
        { FAKE_KSM_DIR "advisor_min_pages_to_scan", "25\n" },
        { FAKE_KSM_DIR "advisor_max_pages_to_scan", "26\n" },
        { FAKE_KSM_DIR "advisor_target_scan_time", "27\n" },
        { FAKE_KSM_DIR "boost_max_cpu", "50\n" },
        { FAKE_KSM_DIR "scan_threads", "2\n" },
        { FAKE_KSM_DIR "huge_split_min", "16\n" },
        { FAKE_KSM_DIR "huge_splits", "28\n" },
        { FAKE_KSM_DIR "huge_split_merged", "29\n" },
        { FAKE_KSM_DIR "refused_volatile", "100\n" },
        { FAKE_KSM_DIR "refused_pinned", "101\n" },
        { FAKE_KSM_DIR "refused_huge", "102\n" },
        { FAKE_KSM_DIR "refused_shared", "103\n" },
        { FAKE_KSM_DIR "refused_hugetlb", "104\n" },
        { FAKE_KSM_DIR "refused_special", "105\n" },
        { FAKE_KSM_DIR "refused_node", "106\n" },
        { FAKE_KSM_DIR "refused_limit", "107\n" },
        { FAKE_KSM_DIR "refused_raced", "108\n" },
        { FAKE_KSM_DIR "refused_locked", "109\n" },
        { FAKE_KSM_DIR "refused_different", "110\n" },
        { FAKE_KSM_DIR "refused_uffd_wp", "111\n" },
        { FAKE_KSM_DIR "refused_nomem", "112\n" },
        { FAKE_PROC_DIR "ksm_stat",
          "ksm_rmap_items 50\nksm_zero_pages 51\nksm_merging_pages 40\n"
          "ksm_process_profit -52\nksm_merge_any: no\nksm_mergeable: yes\n"
          "ksm_cow_breaks 53\n"
          "ksm_refused_volatile 200\nksm_refused_pinned 201\n"
          "ksm_refused_huge 202\nksm_refused_shared 203\n"
          "ksm_refused_hugetlb 204\nksm_refused_special 205\n"
          "ksm_refused_node 206\nksm_refused_limit 207\n"
          "ksm_refused_raced 208\nksm_refused_locked 209\n"
          "ksm_refused_different 210\nksm_refused_uffd_wp 211\n"
          "ksm_refused_nomem 212\n" },
    };

    fake_root_add_linux_6_1(root);
    write_all(root, file, G_N_ELEMENTS(file));
}
