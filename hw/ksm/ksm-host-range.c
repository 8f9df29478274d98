/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the host kernel says about address ranges of one process
 */

#include "qemu/osdep.h"
#include "ksm-host-range.h"

/* Longer than any smaps line we look into; the rest of a path is skipped. */
#define LINE_MAX_USED 512

/* Documentation/admin-guide/mm/pagemap.rst */
#define PAGEMAP_PRESENT (1ULL << 63)
#define PAGEMAP_FILE_OR_SHARED (1ULL << 61)
#define PAGEMAP_PFN_MASK ((1ULL << 55) - 1)
#define KPAGEFLAG_KSM (1ULL << 21)

/*
 * Page numbers are looked up in lots of LOT_PAGES, sorted, and the flags of
 * neighbours are read at one go where the gap between two is smaller than
 * what a system call costs; WINDOW_PAGES bounds one such read.
 */
#define LOT_PAGES 32768
#define WINDOW_PAGES 4096
#define WINDOW_GAP 256

/* One mapping of the process, as smaps tells it */
typedef struct Mapping {
    uint64_t start, end;
    bool mergeable, shared, huge, special;
    bool has_ksm;
    uint64_t ksm;           /* bytes */
} Mapping;

/* Answers of the page flag lookup, besides an error */
typedef enum Lookup {
    LOOKUP_OK,
    LOOKUP_UNKNOWN,         /* the kernel does not let us see */
} Lookup;

/* Outside QEMU there is no qemu_real_host_page_size() */
static uint64_t host_page_size(void)
{
    return sysconf(_SC_PAGE_SIZE);
}

static uint64_t overlap(const KsmHostRange *range, const Mapping *map)
{
    uint64_t from = MAX(range->start, map->start);
    uint64_t to = MIN(range->start + range->size, map->end);

    return from < to ? to - from : 0;
}

/*
 * A mapping that reaches beyond the range has an unknown share of its KSM
 * pages inside, unless it has none.
 */
static void add_merged(KsmHostRange *range, const Mapping *map, uint64_t bytes)
{
    bool partial = bytes != map->end - map->start;

    if (!map->has_ksm || (partial && map->ksm)) {
        range->merged.present = false;
    }
    range->merged.u += map->ksm;
}

static void add_mapping(KsmHostRange *ranges, size_t n, const Mapping *map)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t bytes = overlap(&ranges[i], map);

        if (!bytes) {
            continue;
        }
        ranges[i].mapped += bytes;
        ranges[i].mergeable += map->mergeable ? bytes : 0;
        ranges[i].shared += map->shared ? bytes : 0;
        ranges[i].huge += map->huge ? bytes : 0;
        ranges[i].special += map->special ? bytes : 0;
        add_merged(&ranges[i], map, bytes);
    }
}

/* "START-END PERMS ...": the only kind of line that starts a mapping */
static bool parse_header(const char *line, Mapping *map)
{
    uint64_t start, end;
    char *after;

    start = g_ascii_strtoull(line, &after, 16);
    if (after == line || *after != '-') {
        return false;
    }
    line = after + 1;
    end = g_ascii_strtoull(line, &after, 16);
    if (after == line || *after != ' ' || end <= start) {
        return false;
    }
    *map = (Mapping) { .start = start, .end = end };
    return true;
}

static void parse_vm_flags(const char *flags, Mapping *map)
{
    g_auto(GStrv) word = g_strsplit_set(flags, "\n ", -1);

    for (int i = 0; word[i]; i++) {
        map->mergeable |= g_str_equal(word[i], "mg");
        map->shared |= g_str_equal(word[i], "ms");
        map->huge |= g_str_equal(word[i], "ht");
        map->special |= g_str_equal(word[i], "pf") ||
                        g_str_equal(word[i], "io") ||
                        g_str_equal(word[i], "mm");
    }
}

/* "   123 kB"; false if it is anything else */
static bool parse_kib(const char *text, uint64_t *bytes)
{
    char *after;
    uint64_t kib;

    text += strspn(text, " \t");
    if (!g_ascii_isdigit(*text)) {
        return false;
    }
    errno = 0;
    kib = g_ascii_strtoull(text, &after, 10);
    if (errno || kib > UINT64_MAX / 1024 || strcmp(after, " kB\n") != 0) {
        return false;
    }
    *bytes = kib * 1024;
    return true;
}

/* Like fgets(), but swallows what does not fit. */
static bool read_line(FILE *file, char *line)
{
    if (!fgets(line, LINE_MAX_USED, file)) {
        return false;
    }
    if (!strchr(line, '\n')) {
        int c;

        do {
            c = getc(file);
        } while (c != EOF && c != '\n');
    }
    return true;
}

static bool parse_smaps(FILE *file, const char *path, KsmHostRange *ranges,
                        size_t n, GError **errp)
{
    char line[LINE_MAX_USED];
    Mapping map = { 0 }, next;
    bool ok = true;

    while (read_line(file, line)) {
        if (parse_header(line, &next)) {
            add_mapping(ranges, n, &map);
            map = next;
        } else if (g_str_has_prefix(line, "VmFlags:")) {
            parse_vm_flags(line + strlen("VmFlags:"), &map);
        } else if (g_str_has_prefix(line, "KSM:")) {
            map.has_ksm = parse_kib(line + strlen("KSM:"), &map.ksm);
            if (!map.has_ksm && ok) {
                g_strchomp(line);
                g_set_error(errp, KSM_HOST_ERROR, KSM_HOST_ERROR_FORMAT,
                            "%s: '%.60s' is not a size in kB", path, line);
                ok = false;
            }
        }
    }
    add_mapping(ranges, n, &map);
    return ok;
}

static bool read_smaps(const KsmHost *host, pid_t pid, KsmHostRange *ranges,
                       size_t n, GError **errp)
{
    g_autofree char *path = ksm_host_proc_path(host, pid, "smaps");
    FILE *file = fopen(path, "re");
    bool ok, failed;

    if (!file && (errno == ENOENT || errno == EACCES)) {
        return true;
    }
    if (!file) {
        g_set_error(errp, KSM_HOST_ERROR, KSM_HOST_ERROR_IO,
                    "%s: cannot open: %s", path, g_strerror(errno));
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        ranges[i].merged.present = true;
    }
    ok = parse_smaps(file, path, ranges, n, errp);
    failed = ferror(file);
    fclose(file);
    if (failed && ok) {
        g_set_error(errp, KSM_HOST_ERROR, KSM_HOST_ERROR_IO,
                    "%s: cannot read", path);
        ok = false;
    }
    for (size_t i = 0; i < n; i++) {
        ranges[i].known = !failed;
        ranges[i].merged.present &= !failed;
    }
    return ok;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* pread() of whole 64-bit entries; the number of entries, 0 on any trouble */
static size_t read_entries(int fd, uint64_t *buf, size_t n, uint64_t index)
{
    ssize_t got;

    do {
        got = pread(fd, buf, n * sizeof(*buf), index * sizeof(*buf));
    } while (got < 0 && errno == EINTR);
    return got > 0 ? got / sizeof(*buf) : 0;
}

/* Adds to *@count the KSM pages among the sorted numbers @pfn[0..n-1]. */
static Lookup count_ksm_pages(int flags_fd, const uint64_t *pfn, size_t n,
                              uint64_t *count)
{
    g_autofree uint64_t *window = g_new(uint64_t, WINDOW_PAGES);
    size_t i = 0;

    while (i < n) {
        size_t last = i, want;

        while (last + 1 < n && pfn[last + 1] - pfn[last] < WINDOW_GAP &&
               pfn[last + 1] - pfn[i] < WINDOW_PAGES) {
            last++;
        }
        want = pfn[last] - pfn[i] + 1;
        if (read_entries(flags_fd, window, want, pfn[i]) != want) {
            return LOOKUP_UNKNOWN;
        }
        for (uint64_t first = pfn[i]; i <= last; i++) {
            *count += !!(window[pfn[i] - first] & KPAGEFLAG_KSM);
        }
    }
    return LOOKUP_OK;
}

/*
 * Turns pagemap entries into the page numbers of anonymous pages in place.
 * A present page without a number means that we lack the privilege.
 */
static Lookup keep_anonymous(uint64_t *entry, size_t n, size_t *kept)
{
    *kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (!(entry[i] & PAGEMAP_PRESENT) ||
            (entry[i] & PAGEMAP_FILE_OR_SHARED)) {
            continue;
        }
        if (!(entry[i] & PAGEMAP_PFN_MASK)) {
            return LOOKUP_UNKNOWN;
        }
        entry[(*kept)++] = entry[i] & PAGEMAP_PFN_MASK;
    }
    return LOOKUP_OK;
}

static Lookup count_range(int map_fd, int flags_fd, const KsmHostRange *range,
                          uint64_t *count)
{
    const uint64_t page_size = host_page_size();
    g_autofree uint64_t *lot = g_new(uint64_t, LOT_PAGES);
    uint64_t first = range->start / page_size;
    uint64_t left = range->size / page_size;

    while (left) {
        size_t want = MIN(left, LOT_PAGES), kept;

        if (read_entries(map_fd, lot, want, first) != want ||
            keep_anonymous(lot, want, &kept) != LOOKUP_OK) {
            return LOOKUP_UNKNOWN;
        }
        qsort(lot, kept, sizeof(*lot), compare_u64);
        if (count_ksm_pages(flags_fd, lot, kept, count) != LOOKUP_OK) {
            return LOOKUP_UNKNOWN;
        }
        first += want;
        left -= want;
    }
    return LOOKUP_OK;
}

static void look_up_merged(int map_fd, int flags_fd, KsmHostRange *range)
{
    const uint64_t page_size = host_page_size();
    uint64_t count = 0;

    if (count_range(map_fd, flags_fd, range, &count) == LOOKUP_OK) {
        range->merged.u = count * page_size;
        range->merged.present = true;
    }
}

/* For every range that smaps left open: zero if not mergeable, or look. */
static void complete_merged(const KsmHost *host, pid_t pid,
                            KsmHostRange *ranges, size_t n)
{
    g_autofree char *map_path = ksm_host_proc_path(host, pid, "pagemap");
    g_autofree char *flags_path = ksm_host_path(host, "/proc/kpageflags");
    int map_fd = open(map_path, O_RDONLY | O_CLOEXEC);
    int flags_fd = open(flags_path, O_RDONLY | O_CLOEXEC);

    for (size_t i = 0; i < n; i++) {
        KsmHostRange *range = &ranges[i];

        if (range->merged.present || !range->known) {
            continue;
        }
        if (!range->mergeable) {
            /* Giving up mergeability gives back what was merged */
            range->merged = (KsmHostValue) { .present = true };
        } else if (map_fd >= 0 && flags_fd >= 0) {
            look_up_merged(map_fd, flags_fd, range);
        }
    }
    if (map_fd >= 0) {
        close(map_fd);
    }
    if (flags_fd >= 0) {
        close(flags_fd);
    }
}

bool ksm_host_read_ranges(const KsmHost *host, pid_t pid,
                          KsmHostRange *ranges, size_t n, GError **errp)
{
    bool ok;

    for (size_t i = 0; i < n; i++) {
        ranges[i] = (KsmHostRange) {
            .start = ranges[i].start,
            .size = ranges[i].size,
        };
    }
    ok = read_smaps(host, pid, ranges, n, errp);
    complete_merged(host, pid, ranges, n);
    return ok;
}
