/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest for same-page merging: tests leave the knobs of this machine as they were
 *
 * A process takes the knobs, changes them, and ends in every way there is.
 */

#include "qemu/osdep.h"
#include <sys/wait.h>
#include "libqtest.h"
#include "ksm-test.h"
#include "ksm-test-knobs.h"

#define DEADLINE_US (30 * G_USEC_PER_SEC)

/* Without a signal it returns. */
static const struct {
    const char *name;
    int signal;
} way[] = {
    { "return", 0 }, { "int", SIGINT }, { "term", SIGTERM }, { "hup", SIGHUP },
    { "abort", SIGABRT }, { "crash", SIGSEGV }, { "kill", SIGKILL },
};

/* None of these is what the kernel has when it starts. */
static const char *const changed[][2] = {
    { "pages_to_scan", "4321" }, { "sleep_millisecs", "54" },
    { "use_zero_pages", "1" }, { "smart_scan", "0" },
    { "stable_node_chains_prune_millisecs", "3333" }, { "run", "1" },
};

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Name and text of every file that may be written, sorted */
static char *read_all(const char *dir)
{
    g_autoptr(GDir) files = g_dir_open(dir, 0, NULL);
    g_autoptr(GPtrArray) line = g_ptr_array_new_with_free_func(g_free);
    const char *name;

    while ((name = g_dir_read_name(files))) {
        g_autofree char *path = g_build_filename(dir, name, NULL);
        g_autofree char *text = NULL;
        struct stat status;

        if (stat(path, &status) == 0 && (status.st_mode & S_IWUSR) &&
            g_file_get_contents(path, &text, NULL, NULL)) {
            g_strchomp(text);
            g_ptr_array_add(line, g_strdup_printf("%s=%s", name, text));
        }
    }
    g_ptr_array_sort(line, compare_text);
    g_ptr_array_add(line, NULL);
    return g_strjoinv("\n", (char **)line->pdata);
}

/* The process that is to end; it says when it has changed what it can. */
static void G_NORETURN run_victim(const char *dir, int signal_number, int ready)
{
    const char *why_not;
    KsmKnobs *knobs = ksm_knobs_take(dir, KSM_KNOB_HARMLESS, &why_not);
    char n = 0;

    if (!knobs) {
        _exit(1);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(changed); i++) {
        n += ksm_knobs_set(knobs, changed[i][0], changed[i][1]);
    }
    if (write(ready, &n, 1) != 1) {
        _exit(1);
    }
    if (signal_number) {
        signal(signal_number, SIG_DFL);
        raise(signal_number);
    }
    _exit(ksm_knobs_give_back(knobs) ? 0 : 1);
}

static void end_victim(const char *dir, int signal_number)
{
    int fds[2], status;
    char n = 0;
    pid_t pid;

    g_assert_cmpint(pipe2(fds, O_CLOEXEC), ==, 0);
    fflush(NULL);
    pid = fork();
    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        close(fds[0]);
        run_victim(dir, signal_number, fds[1]);
    }
    close(fds[1]);
    g_assert_cmpint(read(fds[0], &n, 1), ==, 1);
    close(fds[0]);
    /* It did change something: there was something to put back. */
    g_assert_cmpint(n, >=, 4);
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    if (signal_number) {
        g_assert_true(WIFSIGNALED(status));
        g_assert_cmpint(WTERMSIG(status), ==, signal_number);
    } else {
        g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

/* Whoever gets the knobs next gets them when the guard is done. */
static void check_way(const char *dir, int signal_number)
{
    g_autofree char *before = read_all(dir);
    g_autofree char *after = NULL;
    const char *why_not;
    KsmKnobs *knobs;

    end_victim(dir, signal_number);
    knobs = ksm_knobs_take(dir, KSM_KNOB_HARMLESS, &why_not);
    g_assert_nonnull(knobs);
    after = read_all(dir);
    g_assert_cmpstr(after, ==, before);
    g_assert_true(ksm_knobs_give_back(knobs));
}

static void test_made_up(const void *data)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autofree char *dir = fake_root_path(root, KSM_KNOB_DIR);

    fake_root_add_samepage(root);
    fake_root_write(root, KSM_KNOB_DIR "/advisor_mode", "[none] scan-time\n");
    check_way(dir, way[GPOINTER_TO_INT(data)].signal);
    fake_root_write(root, KSM_KNOB_DIR "/advisor_mode", "none [scan-time]\n");
    check_way(dir, way[GPOINTER_TO_INT(data)].signal);
}

static void test_real(const void *data)
{
    const char *why_not;
    KsmKnobs *knobs = ksm_knobs_take(KSM_KNOB_DIR, KSM_KNOB_HARMLESS,
                                     &why_not);

    if (!knobs) {
        g_test_skip(why_not);
        return;
    }
    g_assert_true(ksm_knobs_give_back(knobs));
    check_way(KSM_KNOB_DIR, way[GPOINTER_TO_INT(data)].signal);
}

/* What cannot be put back is found out. */
static void test_lost(void)
{
    g_autoptr(FakeRoot) root = fake_root_new();
    g_autofree char *dir = fake_root_path(root, KSM_KNOB_DIR);
    const char *why_not;
    KsmKnobs *knobs;

    fake_root_add_samepage(root);
    knobs = ksm_knobs_take(dir, KSM_KNOB_HARMLESS, &why_not);
    g_assert_nonnull(knobs);
    fake_root_remove(root, KSM_KNOB_DIR "/max_page_sharing");
    g_assert_false(ksm_knobs_give_back(knobs));

    fake_root_remove(root, KSM_KNOB_DIR "/sleep_millisecs");
    g_assert_null(ksm_knobs_take(dir, KSM_KNOB_HARMLESS, &why_not));
    g_assert_nonnull(strstr(why_not, "cannot be written"));
    g_assert_null(ksm_knobs_take("/none/such", KSM_KNOB_HARMLESS, &why_not));
    g_assert_nonnull(strstr(why_not, "/none/such does not exist"));
}

void ksm_test_add_knobs(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(way); i++) {
        g_autofree char *made_up = g_strconcat("/ksm/knobs/made-up/",
                                               way[i].name, NULL);
        g_autofree char *real = g_strconcat("/ksm/knobs/real/", way[i].name,
                                            NULL);

        qtest_add_data_func(made_up, GINT_TO_POINTER(i), test_made_up);
        qtest_add_data_func(real, GINT_TO_POINTER(i), test_real);
    }
    qtest_add_func("/ksm/knobs/lost", test_lost);
}
