/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the host kernel says about same-page merging: /sys and /proc readers
 */

#include "qemu/osdep.h"
#include "ksm-host.h"

#define KSM_SYSFS_DIR "/sys/kernel/mm/ksm"

/*
 * The longest sane content of a file of one number is 20 digits, a sign and
 * a line feed; ksm_stat has about twenty lines.  Whatever is longer is not what
 * we think it is, and is refused rather than cut.
 */
#define SMALL_FILE_MAX 64
#define STAT_FILE_MAX 4096

/* Before the reason in /proc/PID/ksm_stat */
#define REFUSED_PREFIX "ksm_refused_"

/* How much of a bad value an error message quotes */
#define QUOTE_MAX 40

struct KsmHost {
    char *root;
};

typedef enum ReadResult {
    READ_OK,
    READ_MISSING,
    READ_FAILED,    /* error set */
} ReadResult;

/*
 * drifts: mainline (6.6 to 6.18 at least) loses count of the zero pages that it
 * placed. Where the number has fallen below zero it tells nothing.
 */
static const struct {
    const char *name;
    bool is_signed;
    bool drifts;
} counter_desc[KSM_HOST_COUNTER__MAX] = {
    [KSM_HOST_PAGES_SHARED] = { "pages_shared" },
    [KSM_HOST_PAGES_SHARING] = { "pages_sharing" },
    [KSM_HOST_PAGES_UNSHARED] = { "pages_unshared" },
    [KSM_HOST_PAGES_VOLATILE] = { "pages_volatile" },
    [KSM_HOST_FULL_SCANS] = { "full_scans" },
    [KSM_HOST_STABLE_NODE_CHAINS] = { "stable_node_chains" },
    [KSM_HOST_STABLE_NODE_DUPS] = { "stable_node_dups" },
    [KSM_HOST_PAGES_TO_SCAN] = { "pages_to_scan" },
    [KSM_HOST_SLEEP_MILLISECS] = { "sleep_millisecs" },
    [KSM_HOST_MERGE_ACROSS_NODES] = { "merge_across_nodes" },
    [KSM_HOST_MAX_PAGE_SHARING] = { "max_page_sharing" },
    [KSM_HOST_USE_ZERO_PAGES] = { "use_zero_pages" },
    [KSM_HOST_STABLE_NODE_CHAINS_PRUNE_MILLISECS] = {
        "stable_node_chains_prune_millisecs"
    },
    [KSM_HOST_PAGES_SCANNED] = { "pages_scanned" },
    [KSM_HOST_PAGES_SKIPPED] = { "pages_skipped" },
    [KSM_HOST_KSM_ZERO_PAGES] = { "ksm_zero_pages", .drifts = true },
    [KSM_HOST_GENERAL_PROFIT] = { "general_profit", true },
    [KSM_HOST_SMART_SCAN] = { "smart_scan" },
    [KSM_HOST_ADVISOR_MAX_CPU] = { "advisor_max_cpu" },
    [KSM_HOST_ADVISOR_MIN_PAGES_TO_SCAN] = { "advisor_min_pages_to_scan" },
    [KSM_HOST_ADVISOR_MAX_PAGES_TO_SCAN] = { "advisor_max_pages_to_scan" },
    [KSM_HOST_ADVISOR_TARGET_SCAN_TIME] = { "advisor_target_scan_time" },
    [KSM_HOST_BOOST_MAX_CPU] = { "boost_max_cpu" },
    [KSM_HOST_SCAN_THREADS] = { "scan_threads" },
    [KSM_HOST_HUGE_SPLIT_MIN] = { "huge_split_min" },
    [KSM_HOST_HUGE_SPLITS] = { "huge_splits" },
    [KSM_HOST_HUGE_SPLIT_MERGED] = { "huge_split_merged" },
};

static const char *const reason_name[KSM_HOST_REASON__MAX] = {
    [KSM_HOST_REASON_VOLATILE] = "volatile",
    [KSM_HOST_REASON_PINNED] = "pinned",
    [KSM_HOST_REASON_HUGE] = "huge",
    [KSM_HOST_REASON_SHARED] = "shared",
    [KSM_HOST_REASON_HUGETLB] = "hugetlb",
    [KSM_HOST_REASON_SPECIAL] = "special",
    [KSM_HOST_REASON_NODE] = "node",
    [KSM_HOST_REASON_LIMIT] = "limit",
    [KSM_HOST_REASON_RACED] = "raced",
    [KSM_HOST_REASON_LOCKED] = "locked",
    [KSM_HOST_REASON_DIFFERENT] = "different",
    [KSM_HOST_REASON_UFFD_WP] = "uffd_wp",
    [KSM_HOST_REASON_NOMEM] = "nomem",
};

static const struct {
    const char *name;
    bool is_signed;
    bool is_yes_no;
    bool drifts;
} process_desc[KSM_HOST_PROC__MAX] = {
    [KSM_HOST_PROC_MERGING_PAGES] = { "ksm_merging_pages" },
    [KSM_HOST_PROC_RMAP_ITEMS] = { "ksm_rmap_items" },
    [KSM_HOST_PROC_COW_BREAKS] = { "ksm_cow_breaks" },
    [KSM_HOST_PROC_ZERO_PAGES] = { "ksm_zero_pages", .drifts = true },
    [KSM_HOST_PROC_PROFIT] = { "ksm_process_profit", .is_signed = true },
    [KSM_HOST_PROC_MERGE_ANY] = { "ksm_merge_any", .is_yes_no = true },
    [KSM_HOST_PROC_MERGEABLE] = { "ksm_mergeable", .is_yes_no = true },
};

GQuark ksm_host_error_quark(void)
{
    return g_quark_from_static_string("ksm-host-error-quark");
}

KsmHost *ksm_host_new(const char *root)
{
    KsmHost *host = g_new0(KsmHost, 1);

    host->root = g_strdup(root ? root : "");
    return host;
}

void ksm_host_free(KsmHost *host)
{
    if (host) {
        g_free(host->root);
        g_free(host);
    }
}

char *ksm_host_path(const KsmHost *host, const char *suffix)
{
    return g_strconcat(host->root, suffix, NULL);
}

char *ksm_host_proc_path(const KsmHost *host, pid_t pid, const char *file)
{
    if (pid == 0) {
        return g_strdup_printf("%s/proc/self/%s", host->root, file);
    }
    return g_strdup_printf("%s/proc/%d/%s", host->root, (int)pid, file);
}

static char *sysfs_path(const KsmHost *host, const char *name)
{
    return g_strdup_printf("%s" KSM_SYSFS_DIR "/%s", host->root, name);
}

const char *ksm_host_counter_name(KsmHostCounter counter)
{
    return counter_desc[counter].name;
}

bool ksm_host_counter_is_signed(KsmHostCounter counter)
{
    return counter_desc[counter].is_signed;
}

const char *ksm_host_process_field_name(KsmHostProcessField field)
{
    return process_desc[field].name;
}

bool ksm_host_process_field_is_signed(KsmHostProcessField field)
{
    return process_desc[field].is_signed;
}

const char *ksm_host_reason_name(KsmHostReason reason)
{
    return reason_name[reason];
}

const char *ksm_host_engine_str(KsmHostEngine engine)
{
    switch (engine) {
    case KSM_HOST_ENGINE_ABSENT:
        return "absent";
    case KSM_HOST_ENGINE_MAINLINE:
        return "mainline";
    case KSM_HOST_ENGINE_SAMEPAGE:
        return "samepage";
    case KSM_HOST_ENGINE_OTHER:
        return "other";
    }
    g_assert_not_reached();
}

const char *ksm_host_parse_number(const char *text, bool is_signed,
                                  KsmHostValue *value)
{
    bool negative = is_signed && text[0] == '-';
    const char *digits = text + negative;
    size_t len = strspn(digits, "0123456789");
    uint64_t magnitude;

    if (text[strspn(text, "\n")] == '\0') {
        return "is empty";
    }
    if (len == 0 || (digits[len] != '\0' && strcmp(digits + len, "\n") != 0)) {
        return is_signed ? "is not a decimal number"
                         : "is not an unsigned decimal number";
    }
    errno = 0;
    magnitude = g_ascii_strtoull(digits, NULL, 10);
    if (errno == ERANGE ||
        (is_signed && magnitude > (uint64_t)INT64_MAX + negative)) {
        return "does not fit into 64 bits";
    }
    /* Two's complement: @u and @s are the same 64 bits */
    value->u = negative ? -magnitude : magnitude;
    value->present = true;
    return NULL;
}

/* As ksm_host_parse_number(); a value that has drifted is left out */
static const char *parse_counter(const char *text, bool is_signed, bool drifts,
                                 KsmHostValue *value)
{
    const char *what = ksm_host_parse_number(text, is_signed || drifts, value);

    if (!what && drifts && value->s < 0) {
        value->present = false;
    }
    return what;
}

static void set_format_error(GError **errp, const char *path,
                             const char *text, const char *what)
{
    g_autofree char *shown = g_strndup(text, QUOTE_MAX);
    g_autofree char *quoted = g_strescape(g_strchomp(shown), NULL);

    g_set_error(errp, KSM_HOST_ERROR, KSM_HOST_ERROR_FORMAT,
                "%s: '%s'%s %s", path, quoted,
                strlen(text) > QUOTE_MAX ? "..." : "", what);
}

static void set_io_error(GError **errp, const char *path, const char *verb,
                         int error)
{
    g_set_error(errp, KSM_HOST_ERROR,
                error == ESRCH ? KSM_HOST_ERROR_GONE : KSM_HOST_ERROR_IO,
                "%s: cannot %s: %s", path, verb, g_strerror(error));
}

/* Fills @buf up to @size - 1 bytes; returns the length or -errno. */
static ssize_t read_fd(int fd, char *buf, size_t size)
{
    size_t have = 0;

    while (have < size - 1) {
        ssize_t n = read(fd, buf + have, size - 1 - have);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        if (n == 0) {
            break;
        }
        have += n;
    }
    buf[have] = '\0';
    return have;
}

/* @buf has @size bytes; content that fills it is refused as too long. */
static ReadResult read_text(const char *path, char *buf, size_t size,
                            GError **errp)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len;

    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) {
        return READ_MISSING;
    }
    if (fd < 0) {
        set_io_error(errp, path, "open", errno);
        return READ_FAILED;
    }
    len = read_fd(fd, buf, size);
    close(fd);
    if (len < 0) {
        set_io_error(errp, path, "read", -len);
        return READ_FAILED;
    }
    if (strlen(buf) != len) {
        set_format_error(errp, path, buf, "holds a NUL byte");
        return READ_FAILED;
    }
    if (len == size - 1) {
        set_format_error(errp, path, buf, "is too long");
        return READ_FAILED;
    }
    return READ_OK;
}

static bool read_number(const char *path, bool is_signed, bool drifts,
                        KsmHostValue *value, GError **errp)
{
    char text[SMALL_FILE_MAX];
    ReadResult result = read_text(path, text, sizeof(text), errp);
    const char *what;

    if (result != READ_OK) {
        return result == READ_MISSING;
    }
    what = parse_counter(text, is_signed, drifts, value);
    if (what) {
        set_format_error(errp, path, text, what);
    }
    return !what;
}

static bool is_word(const char *text)
{
    for (; *text; text++) {
        if (!g_ascii_isgraph(*text)) {
            return false;
        }
    }
    return true;
}

/* "NAME VERSION" or "NAME": printable words that fit their buffers */
static bool parse_engine(KsmHostStats *stats, const char *text)
{
    g_auto(GStrv) word = g_strsplit(text, " ", 3);
    guint n = g_strv_length(word);

    if (n < 1 || n > 2 || !*word[0] || !is_word(word[0]) ||
        strlen(word[0]) >= sizeof(stats->engine_name)) {
        return false;
    }
    if (n == 2 && (!is_word(word[1]) ||
                   strlen(word[1]) >= sizeof(stats->engine_version))) {
        return false;
    }
    g_strlcpy(stats->engine_name, word[0], sizeof(stats->engine_name));
    g_strlcpy(stats->engine_version, n == 2 ? word[1] : "",
              sizeof(stats->engine_version));
    return true;
}

static bool read_engine(const KsmHost *host, KsmHostStats *stats,
                        GError **errp)
{
    g_autofree char *path = sysfs_path(host, "engine");
    char text[SMALL_FILE_MAX];
    ReadResult result = read_text(path, text, sizeof(text), errp);

    if (result == READ_MISSING) {
        stats->engine = KSM_HOST_ENGINE_MAINLINE;
        g_strlcpy(stats->engine_name, "mainline", sizeof(stats->engine_name));
        return true;
    }
    stats->engine = KSM_HOST_ENGINE_OTHER;
    if (result == READ_FAILED) {
        return false;
    }
    g_strchomp(text);
    if (!parse_engine(stats, text)) {
        set_format_error(errp, path, text, "is not \"NAME VERSION\"");
        return false;
    }
    if (g_str_equal(stats->engine_name, "samepage")) {
        stats->engine = KSM_HOST_ENGINE_SAMEPAGE;
    }
    return true;
}

static bool read_run(const KsmHost *host, KsmHostStats *stats, GError **errp)
{
    g_autofree char *path = sysfs_path(host, "run");
    KsmHostValue value = { false };

    if (!read_number(path, false, false, &value, errp)) {
        return false;
    }
    if (!value.present) {
        return true;
    }
    /*
     * While memory goes offline, 6.1 lets its internal flag 4 show in the
     * file; what the administrator asked for is in the low bits.
     */
    if (value.u > 7 || (value.u & 3) == 3) {
        g_set_error(errp, KSM_HOST_ERROR, KSM_HOST_ERROR_FORMAT,
                    "%s: '%" G_GUINT64_FORMAT "' is not 0, 1 or 2", path,
                    value.u);
        return false;
    }
    stats->run = value.u & 3;
    return true;
}

/* "[none] scan-time": what is chosen stands in brackets */
static bool read_advisor_mode(const KsmHost *host, KsmHostStats *stats,
                              GError **errp)
{
    g_autofree char *path = sysfs_path(host, "advisor_mode");
    char text[SMALL_FILE_MAX];
    ReadResult result = read_text(path, text, sizeof(text), errp);
    const char *open, *close;

    if (result != READ_OK) {
        return result == READ_MISSING;
    }
    open = strchr(text, '[');
    close = open ? strchr(open, ']') : NULL;
    if (!close || (size_t)(close - open) > sizeof(stats->advisor_mode)) {
        set_format_error(errp, path, text, "has no [choice]");
        return false;
    }
    g_strlcpy(stats->advisor_mode, open + 1, close - open);
    return true;
}

/* Keeps the first error of several reads and forgets the others. */
static void keep_first(bool ok, GError **first, GError **err)
{
    if (ok) {
        return;
    }
    if (*first) {
        g_clear_error(err);
    } else {
        *first = g_steal_pointer(err);
    }
}

static bool report_first(GError *first, GError **errp)
{
    if (first) {
        g_propagate_error(errp, first);
        return false;
    }
    return true;
}

bool ksm_host_read_stats(const KsmHost *host, KsmHostStats *stats,
                         GError **errp)
{
    g_autofree char *dir = ksm_host_path(host, KSM_SYSFS_DIR);
    GError *first = NULL, *err = NULL;

    memset(stats, 0, sizeof(*stats));
    stats->run = KSM_HOST_RUN_UNKNOWN;
    if (!g_file_test(dir, G_FILE_TEST_IS_DIR)) {
        stats->engine = KSM_HOST_ENGINE_ABSENT;
        return true;
    }
    keep_first(read_engine(host, stats, &err), &first, &err);
    keep_first(read_run(host, stats, &err), &first, &err);
    for (int i = 0; i < KSM_HOST_COUNTER__MAX; i++) {
        g_autofree char *path = sysfs_path(host, counter_desc[i].name);

        keep_first(read_number(path, counter_desc[i].is_signed,
                               counter_desc[i].drifts, &stats->counter[i],
                               &err), &first, &err);
    }
    keep_first(read_advisor_mode(host, stats, &err), &first, &err);
    for (int i = 0; i < KSM_HOST_REASON__MAX; i++) {
        g_autofree char *name = g_strconcat("refused_", reason_name[i], NULL);
        g_autofree char *path = sysfs_path(host, name);

        keep_first(read_number(path, false, false, &stats->refused[i], &err),
                   &first, &err);
    }
    return report_first(first, errp);
}

static bool parse_yes_no(const char *text, KsmHostValue *value)
{
    bool yes = g_str_equal(text, "yes");

    value->u = yes;
    value->present = yes || g_str_equal(text, "no");
    return value->present;
}

static const char *parse_refused(const char *reason, size_t len,
                                 const char *text, KsmHostProcess *proc)
{
    for (int i = 0; i < KSM_HOST_REASON__MAX; i++) {
        if (strlen(reason_name[i]) == len &&
            strncmp(reason_name[i], reason, len) == 0) {
            return ksm_host_parse_number(text, false, &proc->refused[i]);
        }
    }
    return NULL;
}

/* One "name value" or "name: value" line; names we do not know are skipped. */
static const char *parse_stat_line(char *line, KsmHostProcess *proc)
{
    size_t len = strcspn(line, ": \t");
    char *text = line + len + strspn(line + len, ": \t");

    if (g_str_has_prefix(line, REFUSED_PREFIX)) {
        return parse_refused(line + strlen(REFUSED_PREFIX),
                             len - strlen(REFUSED_PREFIX), text, proc);
    }
    for (int i = 0; i < KSM_HOST_PROC__MAX; i++) {
        if (strlen(process_desc[i].name) != len ||
            strncmp(process_desc[i].name, line, len) != 0) {
            continue;
        }
        if (process_desc[i].is_yes_no) {
            return parse_yes_no(text, &proc->field[i]) ?
                   NULL : "is neither yes nor no";
        }
        return parse_counter(text, process_desc[i].is_signed,
                             process_desc[i].drifts, &proc->field[i]);
    }
    return NULL;
}

static bool read_ksm_stat(const KsmHost *host, pid_t pid,
                          KsmHostProcess *proc, GError **errp)
{
    g_autofree char *path = ksm_host_proc_path(host, pid, "ksm_stat");
    char text[STAT_FILE_MAX];
    ReadResult result = read_text(path, text, sizeof(text), errp);
    g_auto(GStrv) line = NULL;
    bool ok = true;

    if (result != READ_OK) {
        return result == READ_MISSING;
    }
    line = g_strsplit(text, "\n", -1);
    for (int i = 0; line[i]; i++) {
        const char *what = parse_stat_line(line[i], proc);

        if (what && ok) {
            set_format_error(errp, path, line[i], what);
            ok = false;
        }
    }
    return ok;
}

static bool check_process_exists(const KsmHost *host, pid_t pid, GError **errp)
{
    g_autofree char *dir = ksm_host_proc_path(host, pid, "");

    if (!g_file_test(dir, G_FILE_TEST_IS_DIR)) {
        g_set_error(errp, KSM_HOST_ERROR, KSM_HOST_ERROR_GONE,
                    "%s: no such process", dir);
        return false;
    }
    return true;
}

bool ksm_host_read_process(const KsmHost *host, pid_t pid,
                           KsmHostProcess *proc, GError **errp)
{
    g_autofree char *path = ksm_host_proc_path(host, pid, "ksm_merging_pages");
    KsmHostValue own_file = { false };
    GError *first = NULL, *err = NULL;

    memset(proc, 0, sizeof(*proc));
    if (!check_process_exists(host, pid, errp)) {
        return false;
    }
    keep_first(read_ksm_stat(host, pid, proc, &err), &first, &err);
    keep_first(read_number(path, false, false, &own_file, &err), &first, &err);
    /* Later kernels tell it twice; the file of that name is the older one */
    if (own_file.present) {
        proc->field[KSM_HOST_PROC_MERGING_PAGES] = own_file;
    }
    return report_first(first, errp);
}

bool ksm_host_write_knob(const KsmHost *host, const char *name,
                         uint64_t value, GError **errp)
{
    g_autofree char *path = sysfs_path(host, name);
    g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT "\n", value);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t n;
    int error;

    if (fd < 0) {
        set_io_error(errp, path, "open for writing", errno);
        return false;
    }
    do {
        n = write(fd, text, strlen(text));
    } while (n < 0 && errno == EINTR);
    error = n < 0 ? errno : 0;
    close(fd);
    if (error) {
        g_set_error(errp, KSM_HOST_ERROR, KSM_HOST_ERROR_IO,
                    "%s: '%" G_GUINT64_FORMAT "' was refused: %s", path,
                    value, g_strerror(error));
        return false;
    }
    return true;
}
