// SPDX-License-Identifier: GPL-2.0-or-later
/* Guests' memory seen from the host: contents and physical pages. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest-ram.h"

#define WHERE_MAX 512u              /* pages the agent tells at once */
#define PAGEMAP_PRESENT (1ull << 63)
#define PAGEMAP_PFN ((1ull << 55) - 1)
#define KPF_KSM (1ull << 21)

/* Open /proc/PID/@file, or /proc/@file for @pid 0. */
static int proc_open(pid_t pid, const char *file, GError **errp)
{
    g_autofree char *path = pid ? g_strdup_printf("/proc/%d/%s", pid, file)
                                : g_strdup_printf("/proc/%s", file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        g_set_error(errp, SHARING_ERROR, SHARING_ERROR_HOST, "%s: %s", path,
                    g_strerror(errno));
    }
    return fd;
}

static bool read_at(int fd, const char *what, uint64_t at, void *buf,
                    size_t len, GError **errp)
{
    ssize_t n = pread(fd, buf, len, at);

    if (n != (ssize_t)len) {
        g_set_error(errp, SHARING_ERROR, SHARING_ERROR_HOST,
                    "%s at 0x%" PRIx64 ": %s", what, at,
                    n < 0 ? g_strerror(errno) : "ends early");
        return false;
    }
    return true;
}

/* Where QEMU has the guest's page @pfn; 0 if it is no page of its RAM. */
static uint64_t page_host(const Guest *g, uint64_t pfn)
{
    uint64_t at = pfn * PATTERN_PAGE;

    if (pfn > 0 && pfn < (uint64_t)g->ram_mib << 8) {
        return g->ram_host + at;
    }
    return at - g->dimm.base < g->dimm.size ? g->dimm.host + at - g->dimm.base
                                            : 0;
}

/* Add the pages of a "where" reply to @pages. */
static bool parse_where(const Guest *g, enum pattern_region region,
                        uint32_t first, uint32_t count, GArray *pages,
                        GError **errp)
{
    g_autofree char *at = words_text(g->reply, "at");
    g_auto(GStrv) list = g_strsplit(at ? at : "", ",", -1);

    for (uint32_t n = 0; n < count && list[n]; n++) {
        GuestPage page = {
            .id = { .region = region, .guest = g->number, .page = first + n },
        };
        char *end;
        uint64_t pfn = g_ascii_strtoull(list[n], &end, 16);

        page.host_address = page_host(g, pfn);
        if (*end != ':' || !page.host_address) {
            break;
        }
        page.id.version = g_ascii_strtoull(end + 1, NULL, 10);
        g_array_append_val(pages, page);
    }
    if (pages->len != first + count) {
        g_set_error(errp, SHARING_ERROR, SHARING_ERROR_FORMAT,
                    "%s: the agent does not tell where page %u of %s is",
                    g->name, pages->len, pattern_region_name(region));
        return false;
    }
    return true;
}

GArray *guest_ram_locate(Guest *g, enum pattern_region region, uint32_t max,
                         int timeout_s, GError **errp)
{
    GArray *pages = g_array_new(FALSE, FALSE, sizeof(GuestPage));
    uint32_t total = MIN(max, g->pages[region]);

    while (pages->len < total) {
        uint32_t first = pages->len, count = MIN(WHERE_MAX, total - first);
        g_autofree char *request =
            g_strdup_printf("where region=%s first=%u count=%u",
                            pattern_region_name(region), first, count);

        guest_ask(g, request);
        if (!guest_wait_reply(g, timeout_s, errp) ||
            !parse_where(g, region, first, count, pages, errp)) {
            g_array_unref(pages);
            return NULL;
        }
    }
    return pages;
}

bool guest_ram_compare(const Guest *g, const GArray *pages, unsigned int *bad,
                       char **first, GError **errp)
{
    uint64_t data[PATTERN_WORDS];
    int fd = proc_open(g->pid, "mem", errp);
    bool ok = fd >= 0;

    *bad = 0;
    *first = NULL;
    for (guint n = 0; ok && n < pages->len; n++) {
        const GuestPage *page = &g_array_index(pages, GuestPage, n);
        uint8_t want;
        int byte;

        ok = read_at(fd, "QEMU's memory", page->host_address, data,
                     sizeof(data), errp);
        byte = ok ? pattern_check(&page->id, data, &want) : -1;
        if (byte >= 0 && (*bad)++ == 0) {
            *first = g_strdup_printf(
                "%s page %u version %u byte %d is 0x%02x, not 0x%02x",
                pattern_region_name(page->id.region), page->id.page,
                page->id.version, byte, ((uint8_t *)data)[byte], want);
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

/* Physical page number behind an address, 0 if there is none. */
static bool frame_of(int pagemap, uint64_t address, uint64_t *pfn,
                     GError **errp)
{
    uint64_t entry;

    if (!read_at(pagemap, "pagemap", address / PATTERN_PAGE * sizeof(entry),
                 &entry, sizeof(entry), errp)) {
        return false;
    }
    *pfn = entry & PAGEMAP_PRESENT ? entry & PAGEMAP_PFN : 0;
    return true;
}

static bool frame_is_ksm(int kpageflags, uint64_t pfn, bool *is_ksm,
                         GError **errp)
{
    uint64_t flags = 0;

    if (pfn && !read_at(kpageflags, "kpageflags", pfn * sizeof(flags), &flags,
                        sizeof(flags), errp)) {
        return false;
    }
    *is_ksm = flags & KPF_KSM;
    return true;
}

bool guest_ram_count_merged(const Guest *g, const GArray *pages,
                            unsigned int count, unsigned int *merged,
                            GError **errp)
{
    int pagemap = proc_open(g->pid, "pagemap", errp);
    int flags = pagemap < 0 ? -1 : proc_open(0, "kpageflags", errp);
    bool ok = flags >= 0, is_ksm = false;

    *merged = 0;
    for (guint n = 0; ok && n < count; n++) {
        guint index = pattern_spread(n, count, pages->len);
        uint64_t pfn;

        ok = frame_of(pagemap,
                      g_array_index(pages, GuestPage, index).host_address,
                      &pfn, errp) &&
             frame_is_ksm(flags, pfn, &is_ksm, errp);
        *merged += ok && is_ksm;
    }
    close(pagemap);
    close(flags);
    return ok;
}

/* Append the frames behind [@start, @end) to @frames. */
static bool frames_of_range(int pagemap, uint64_t start, uint64_t end,
                            GArray *frames, GError **errp)
{
    uint64_t entry[1024];
    bool ok = true;

    while (ok && start < end) {
        size_t count = MIN(G_N_ELEMENTS(entry), (end - start) / PATTERN_PAGE);

        ok = read_at(pagemap, "pagemap", start / PATTERN_PAGE *
                     sizeof(entry[0]), entry, count * sizeof(entry[0]), errp);
        for (size_t i = 0; ok && i < count; i++) {
            uint64_t pfn = entry[i] & PAGEMAP_PFN;

            if (entry[i] & PAGEMAP_PRESENT) {
                g_array_append_val(frames, pfn);
            }
        }
        start += count * PATTERN_PAGE;
    }
    return ok;
}

/* Append the frames behind all mergeable memory of @g's QEMU to @frames. */
static bool frames_of_guest(const Guest *g, GArray *frames, GError **errp)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/smaps", g->pid);
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    uint64_t start = 0, end = 0;
    int fd = proc_open(g->pid, "pagemap", errp);
    bool ok = fd >= 0 && g_file_get_contents(path, &text, NULL, errp);

    lines = g_strsplit(ok ? text : "", "\n", -1);
    for (char **line = lines; ok && *line; line++) {
        uint64_t from, to;

        /* A mapping's first line, then its "Name: value" lines */
        if (sscanf(*line, "%" SCNx64 "-%" SCNx64 " ", &from, &to) == 2) {
            start = from;
            end = to;
        } else if (g_str_has_prefix(*line, "VmFlags:") &&
                   strstr(*line, " mg")) {
            ok = frames_of_range(fd, start, end, frames, errp);
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

static int compare_frames(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Count the KSM pages among sorted @frames, each physical page once. */
static bool count_ksm(const GArray *frames, RamSharing *s, GError **errp)
{
    int fd = proc_open(0, "kpageflags", errp);
    bool ok = fd >= 0, is_ksm = false;
    uint64_t last = 0;

    for (guint n = 0; ok && n < frames->len; n++) {
        uint64_t pfn = g_array_index(frames, uint64_t, n);

        if (pfn != last) {
            ok = frame_is_ksm(fd, pfn, &is_ksm, errp);
            s->ksm_frames += ok && is_ksm;
            last = pfn;
        }
        s->ksm += ok && is_ksm;
    }
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

bool guest_ram_sharing(Guest *guests, int count, RamSharing *s, GError **errp)
{
    g_autoptr(GArray) frames = g_array_new(FALSE, FALSE, sizeof(uint64_t));

    *s = (RamSharing) { 0 };
    for (int n = 0; n < count; n++) {
        if (guests[n].running &&
            !frames_of_guest(&guests[n], frames, errp)) {
            return false;
        }
    }
    s->present = frames->len;
    qsort(frames->data, frames->len, sizeof(uint64_t), compare_frames);
    return count_ksm(frames, s, errp);
}
