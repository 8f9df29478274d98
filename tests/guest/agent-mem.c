// SPDX-License-Identifier: GPL-2.0-or-later
/* The agent's test memory: fill, verify, rewrite, locate. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent.h"

#define PAGEMAP_PRESENT (1ull << 63)
#define PAGEMAP_PFN ((1ull << 55) - 1)
/* Left to the guest's kernel and daemons when memory is taken. */
#define KEEP_FREE_KIB (12 * 1024)

struct region {
    uint8_t *mem;
    uint32_t *version;
    uint32_t pages;
};

/* The first wrong byte seen and the number of wrong pages. */
struct damage {
    uint32_t bad;
    struct pattern_id first;
    int byte;
    uint8_t got, want;
};

static struct {
    struct region region[REGION_COUNT];
    uint32_t guest;         /* 0 until filled */
    uint32_t churn_rate;
    uint32_t churn_next;
    struct damage churn_damage;
} mem;

static struct pattern_id page_id(enum pattern_region region, uint32_t page)
{
    return (struct pattern_id) {
        .region = region, .guest = mem.guest, .page = page,
        .version = mem.region[region].version[page],
    };
}

static uint8_t *page_at(enum pattern_region region, uint32_t page)
{
    return mem.region[region].mem + (size_t)page * PATTERN_PAGE;
}

static void page_write(enum pattern_region region, uint32_t page)
{
    struct pattern_id id = page_id(region, page);

    pattern_fill(&id, page_at(region, page));
}

static void page_check(enum pattern_region region, uint32_t page,
                       struct damage *damage)
{
    struct pattern_id id = page_id(region, page);
    uint8_t want, *at = page_at(region, page);
    int byte = pattern_check(&id, at, &want);

    if (byte >= 0 && damage->bad++ == 0) {
        damage->first = id;
        damage->byte = byte;
        damage->got = at[byte];
        damage->want = want;
    }
}

static void reply_damage(struct reply *r, const struct damage *damage)
{
    reply_add(r, " bad=%u", damage->bad);
    if (damage->bad) {
        reply_add(r, " first=%s:page=%u,version=%u,byte=%d,got=0x%02x,"
                  "want=0x%02x", pattern_region_name(damage->first.region),
                  damage->first.page, damage->first.version, damage->byte,
                  damage->got, damage->want);
    }
}

uint64_t mem_available_kib(void)
{
    FILE *f = fopen("/proc/meminfo", "re");
    unsigned long long kib = 0;
    char line[128];

    while (f && fgets(line, sizeof(line), f)) {
        if (sscanf(line, "MemAvailable: %llu", &kib) == 1) {
            break;
        }
    }
    if (f) {
        fclose(f);
    }
    return kib;
}

static bool region_take(struct region *region, uint32_t pages)
{
    size_t size = (size_t)pages * PATTERN_PAGE;

    region->version = calloc(pages, sizeof(*region->version));
    region->mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!region->version || region->mem == MAP_FAILED) {
        free(region->version);
        return false;
    }
    region->pages = pages;
    return true;
}

/* Give back what a fill that failed half way had taken. */
static void regions_drop(void)
{
    for (int n = 0; n < REGION_COUNT; n++) {
        struct region *region = &mem.region[n];

        if (region->pages) {
            munmap(region->mem, (size_t)region->pages * PATTERN_PAGE);
            free(region->version);
        }
        *region = (struct region) { 0 };
    }
}

void mem_fill(struct reply *r, uint32_t guest,
              const uint32_t pages[REGION_COUNT])
{
    uint64_t available = mem_available_kib(), need = 0;
    uint32_t total = 0;

    if (mem.guest) {
        return reply_error(r, "fill: memory was filled already");
    }
    for (int n = 0; n < REGION_COUNT; n++) {
        need += (uint64_t)pages[n] * (PATTERN_PAGE / 1024);
    }
    if (need + KEEP_FREE_KIB > available) {
        return reply_error(r, "fill: %llu KiB wanted, %llu KiB available of "
                           "which %u stay free", (unsigned long long)need,
                           (unsigned long long)available, KEEP_FREE_KIB);
    }
    for (int n = 0; n < REGION_COUNT; n++) {
        if (pages[n] && !region_take(&mem.region[n], pages[n])) {
            regions_drop();
            return reply_error(r, "fill: no memory for %u pages of %s: %s",
                               pages[n], pattern_region_name(n),
                               strerror(errno));
        }
    }
    mem.guest = guest;
    for (int n = 0; n < REGION_COUNT; n++) {
        for (uint32_t page = 0; page < pages[n]; page++) {
            page_write(n, page);
        }
        total += pages[n];
    }
    reply_add(r, "ok pages=%u", total);
}

void mem_verify(struct reply *r)
{
    struct damage damage = mem.churn_damage;
    struct region *equal = &mem.region[REGION_EQUAL];
    uint32_t total = 0;
    uint64_t sum = 0;

    if (!mem.guest) {
        return reply_error(r, "verify: memory was not filled yet");
    }
    for (int n = 0; n < REGION_COUNT; n++) {
        for (uint32_t page = 0; page < mem.region[n].pages; page++) {
            page_check(n, page, &damage);
        }
        total += mem.region[n].pages;
    }
    sum = pattern_sum(0, equal->mem, (size_t)equal->pages * PATTERN_PAGE);
    reply_add(r, " pages=%u sum_equal=%016llx", total,
              (unsigned long long)sum);
    reply_damage(r, &damage);
}

static bool range_ok(struct reply *r, const char *what,
                     enum pattern_region region, uint32_t first,
                     uint32_t count)
{
    uint32_t pages = mem.region[region].pages;

    if (count == 0 || count > pages || first > pages - count) {
        reply_error(r, "%s: %u pages from page %u of %s, which has %u", what,
                    count, first, pattern_region_name(region), pages);
        return false;
    }
    return true;
}

void mem_rewrite(struct reply *r, enum pattern_region region, uint32_t count)
{
    struct damage damage = { 0 };
    uint32_t pages = mem.region[region].pages;

    if (!range_ok(r, "rewrite", region, 0, count)) {
        return;
    }
    for (uint32_t n = 0; n < count; n++) {
        uint32_t page = pattern_spread(n, count, pages);

        page_check(region, page, &damage);
        mem.region[region].version[page]++;
        page_write(region, page);
    }
    for (uint32_t n = 0; n < count; n++) {
        page_check(region, pattern_spread(n, count, pages), &damage);
    }
    reply_add(r, "ok rewritten=%u", count);
    reply_damage(r, &damage);
}

void mem_where(struct reply *r, enum pattern_region region, uint32_t first,
               uint32_t count)
{
    uint64_t entry[512];
    ssize_t want = count * sizeof(entry[0]);
    off_t at;
    int fd;

    if (count > sizeof(entry) / sizeof(entry[0])) {
        return reply_error(r, "where: count=%u, 1 to 512 allowed", count);
    }
    if (!range_ok(r, "where", region, first, count)) {
        return;
    }
    fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    at = (uintptr_t)page_at(region, first) / PATTERN_PAGE * sizeof(entry[0]);
    if (fd < 0 || pread(fd, entry, want, at) != want) {
        reply_error(r, "where: pagemap: %s", strerror(errno));
    } else {
        reply_add(r, "ok at=");
        for (uint32_t n = 0; n < count; n++) {
            bool there = entry[n] & PAGEMAP_PRESENT;

            reply_add(r, "%s%llx:%u", n ? "," : "",
                      there ? (unsigned long long)entry[n] & PAGEMAP_PFN : 0,
                      mem.region[region].version[first + n]);
        }
    }
    if (fd >= 0) {
        close(fd);
    }
}

void mem_corrupt(struct reply *r, enum pattern_region region, uint32_t page)
{
    if (!range_ok(r, "corrupt", region, page, 1)) {
        return;
    }
    page_at(region, page)[page % PATTERN_PAGE] ^= 0x10;
    reply_add(r, "ok byte=%u", page % PATTERN_PAGE);
}

void mem_churn_rate(struct reply *r, uint32_t rate)
{
    mem.churn_rate = rate;
    reply_add(r, "ok rate=%u", rate);
}

bool mem_churn(void)
{
    struct region *region = &mem.region[REGION_CHURN];

    if (!region->pages || !mem.churn_rate) {
        return false;
    }
    for (uint32_t n = 0; n < mem.churn_rate; n++) {
        uint32_t page = mem.churn_next;

        page_check(REGION_CHURN, page, &mem.churn_damage);
        region->version[page]++;
        page_write(REGION_CHURN, page);
        mem.churn_next = (page + 1) % region->pages;
    }
    return true;
}
