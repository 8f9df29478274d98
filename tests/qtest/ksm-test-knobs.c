/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Knobs of the machine's own kernel: saved, and put back
 *
 * A process of its own puts them back, when a pipe says that the test has
 * ended: so it does not matter how it did.
 */

#include "qemu/osdep.h"
#include <sys/file.h>
#include <sys/wait.h>
#include "ksm-test-knobs.h"

#define VALUE_MAX 64

/* The engine may be busy with memory of who has just ended, and so may be a guard */
#define TRIES 100
#define LOCK_TRIES 3000
#define TRY_US (100 * 1000)

typedef struct Knob {
    char *name;
    char saved[VALUE_MAX];
} Knob;

struct KsmKnobs {
    char *dir;
    int lock;
    GArray *knob;               /* of Knob: all that may be written */
    bool was_unused;            /* nothing had been merged by anybody */
    pid_t guard;
    int alive;                  /* closed: the guard puts them back */
};

/* Without the newline; of a list such as "[none] scan-time" the chosen one */
static bool read_value(const char *dir, const char *name, char *value)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    g_autofree char *text = NULL;
    const char *from, *to;

    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return false;
    }
    g_strchomp(text);
    from = strchr(text, '[');
    to = from ? strchr(from, ']') : NULL;
    if (to) {
        g_strlcpy(value, from + 1, MIN(to - from, VALUE_MAX));
    } else {
        g_strlcpy(value, text, VALUE_MAX);
    }
    return true;
}

/* False with errno */
static bool write_value(const char *dir, const char *name, const char *value)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    size_t length = strlen(value);
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    bool ok;
    int error;

    if (fd < 0) {
        return false;
    }
    ok = write(fd, value, length) == length;
    error = errno;
    close(fd);
    errno = error;
    return ok;
}

static bool is_value(const char *dir, const char *name, const char *value)
{
    char now[VALUE_MAX];

    return read_value(dir, name, now) && g_str_equal(now, value);
}

static void save_all(KsmKnobs *knobs, GDir *dir)
{
    const char *name;

    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(knobs->dir, name, NULL);
        struct stat status;
        Knob knob;

        if (stat(path, &status) == 0 && (status.st_mode & S_IWUSR) &&
            read_value(knobs->dir, name, knob.saved)) {
            knob.name = g_strdup(name);
            g_array_append_val(knobs->knob, knob);
        }
    }
    knobs->was_unused = is_value(knobs->dir, "pages_shared", "0");
}

/* ---- the guard ---- */

static const char *saved(const KsmKnobs *knobs, const char *name)
{
    for (guint i = 0; i < knobs->knob->len; i++) {
        const Knob *knob = &g_array_index(knobs->knob, Knob, i);

        if (g_str_equal(knob->name, name)) {
            return knob->saved;
        }
    }
    return "";
}

/* With an advisor pages_to_scan is the kernel's, and no knob. */
static bool is_free(const KsmKnobs *knobs, const char *name)
{
    const char *advisor = saved(knobs, "advisor_mode");

    return !g_str_equal(name, "pages_to_scan") || !*advisor ||
           g_str_equal(advisor, "none");
}

static bool put_back(const KsmKnobs *knobs, const char *name)
{
    const char *value = saved(knobs, name);

    if (!*value) {
        return true;
    }
    for (int i = 0; i < TRIES; i++) {
        if (is_value(knobs->dir, name, value)) {
            return true;
        }
        if (!write_value(knobs->dir, name, value)) {
            if (!is_free(knobs, name)) {
                return true;
            }
            if (errno == ENOENT) {
                break;
            }
            g_usleep(TRY_US);
        }
    }
    fprintf(stderr, "cannot set %s/%s back to %s\n", knobs->dir, name, value);
    return false;
}

/*
 * What may not be changed while memory is merged comes after that has been
 * given back; the advisor, which changes pages_to_scan, before that; whether
 * memory is merged last.  Memory that was merged before us stays so.
 */
static bool put_back_all(const KsmKnobs *knobs)
{
    bool ok;

    if (knobs->was_unused) {
        write_value(knobs->dir, "run", "2");
    }
    ok = put_back(knobs, "advisor_mode");
    for (guint i = 0; i < knobs->knob->len; i++) {
        const char *name = g_array_index(knobs->knob, Knob, i).name;

        if (!g_str_equal(name, "run")) {
            ok &= put_back(knobs, name);
        }
    }
    return put_back(knobs, "run") && ok;
}

static void G_NORETURN guard(KsmKnobs *knobs, int alive)
{
    static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE };
    char c;

    /* Nobody who ends the test and its children ends this one. */
    setsid();
    for (size_t i = 0; i < G_N_ELEMENTS(ignored); i++) {
        signal(ignored[i], SIG_IGN);
    }
    signal(SIGABRT, SIG_DFL);
    while (read(alive, &c, 1) < 0 && errno == EINTR) {
        /* not yet */
    }
    _exit(put_back_all(knobs) ? 0 : 1);
}

static void start_guard(KsmKnobs *knobs)
{
    int fds[2];

    g_assert_cmpint(pipe2(fds, O_CLOEXEC), ==, 0);
    fflush(NULL);
    knobs->guard = fork();
    g_assert_cmpint(knobs->guard, >=, 0);
    if (knobs->guard == 0) {
        close(fds[1]);
        guard(knobs, fds[0]);
    }
    close(fds[0]);
    knobs->alive = fds[1];
}

/* ---- for the tests ---- */

static void free_knobs(KsmKnobs *knobs)
{
    for (guint i = 0; i < knobs->knob->len; i++) {
        g_free(g_array_index(knobs->knob, Knob, i).name);
    }
    g_array_free(knobs->knob, true);
    if (knobs->lock >= 0) {
        close(knobs->lock);
    }
    g_free(knobs->dir);
    g_free(knobs);
}

/* Two tests at a time would save each other's values. */
static bool lock(KsmKnobs *knobs)
{
    knobs->lock = open(knobs->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < LOCK_TRIES; i++) {
        if (flock(knobs->lock, LOCK_EX | LOCK_NB) == 0) {
            return true;
        }
        g_usleep(TRY_US);
    }
    return false;
}

/* What stays valid, since who skips a test has nowhere to free it */
static const char *obstacle(const char *dir, const char *what)
{
    g_autofree char *text = g_strconcat(dir, what, NULL);

    return g_intern_string(text);
}

/* To root every file looks writable, so what is there is written again. */
static const char *find_obstacle(KsmKnobs *knobs, const char *harmless)
{
    char value[VALUE_MAX];

    if (!g_file_test(knobs->dir, G_FILE_TEST_IS_DIR)) {
        return obstacle(knobs->dir, " does not exist on this machine");
    }
    if (!lock(knobs)) {
        return obstacle(knobs->dir, " is used by somebody else");
    }
    if (!read_value(knobs->dir, harmless, value) ||
        !write_value(knobs->dir, harmless, value)) {
        return obstacle(knobs->dir, " cannot be written");
    }
    return NULL;
}

KsmKnobs *ksm_knobs_take(const char *dir, const char *harmless,
                         const char **why_not)
{
    KsmKnobs *knobs = g_new0(KsmKnobs, 1);
    GDir *files;

    knobs->dir = g_strdup(dir);
    knobs->lock = -1;
    knobs->knob = g_array_new(false, false, sizeof(Knob));
    *why_not = find_obstacle(knobs, harmless);
    if (*why_not) {
        free_knobs(knobs);
        return NULL;
    }
    files = g_dir_open(dir, 0, NULL);
    g_assert_nonnull(files);
    save_all(knobs, files);
    g_dir_close(files);
    start_guard(knobs);
    return knobs;
}

bool ksm_knobs_set(KsmKnobs *knobs, const char *name, const char *value)
{
    return write_value(knobs->dir, name, value);
}

/* Not the guard's word for it, but a look of our own */
static bool all_are_back(const KsmKnobs *knobs)
{
    bool same = true;

    for (guint i = 0; i < knobs->knob->len; i++) {
        const Knob *knob = &g_array_index(knobs->knob, Knob, i);

        if (is_free(knobs, knob->name) &&
            !is_value(knobs->dir, knob->name, knob->saved)) {
            g_printerr("%s/%s is not %s as before\n", knobs->dir, knob->name,
                       knob->saved);
            same = false;
        }
    }
    return same;
}

bool ksm_knobs_give_back(KsmKnobs *knobs)
{
    int status;
    bool ok;

    close(knobs->alive);
    g_assert_cmpint(waitpid(knobs->guard, &status, 0), ==, knobs->guard);
    ok = all_are_back(knobs) && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    free_knobs(knobs);
    return ok;
}
