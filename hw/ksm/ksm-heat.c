/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How much of guest RAM is written to: by looking at some of its pages
 *
 * A few pages of each range, chosen by chance, are hashed at each look, and
 * differ from the last time or not.  That costs time at each look only.
 *
 * KVM's dirty log would see every write, but is neither cheap nor safe to use
 * for this: switching it on write-protects all guest memory and splits its huge
 * pages, and each first write then costs an exit; the log is one for all its
 * users, and what is read for us would be lost to a migration that runs or
 * starts meanwhile (DIRTY_MEMORY_MIGRATION).  The dirty ring tells the rate of
 * each vCPU, not which memory it is, unless it is read into the same log.
 *
 * Only pages that are in memory are looked at: others would be swapped in, or,
 * during postcopy, wait for the other side.
 */

#include "qemu/osdep.h"
#include "exec/ramblock.h"
#include "ksm-heat.h"
#include "ksm-open.h"

/*
 * Pages of each range that are looked at, and how many of them have to be in
 * memory to say anything
 */
#define SAMPLES 16
#define SAMPLES_MIN 4

/* Documentation/admin-guide/mm/pagemap.rst */
#define PAGEMAP_PRESENT (1ULL << 63)

typedef struct Sample {
    const uint8_t *page;
    bool known;
    uint64_t hash;              /* if @known */
} Sample;

struct KsmHeat {
    Sample *sample;             /* SAMPLES of each range */
    size_t n;                   /* ranges */
};

static void choose(const KsmHeatRange *range, Sample *sample)
{
    const uint64_t page_size = qemu_real_host_page_size();
    uint64_t pages = range->length / page_size;

    for (int i = 0; i < SAMPLES; i++) {
        /* One in each part, so that they are apart */
        uint64_t from = pages * i / SAMPLES, to = pages * (i + 1) / SAMPLES;
        uint64_t page = from;

        if (to > from) {
            page += g_random_int_range(0, MIN(to - from, INT32_MAX));
        }
        sample[i].page = range->block->host + range->offset +
                         page * page_size;
    }
}

static bool is_in_memory(int pagemap, const uint8_t *page)
{
    uint64_t entry, index = (uintptr_t)page / qemu_real_host_page_size();

    return pread(pagemap, &entry, sizeof(entry), index * sizeof(entry)) ==
           sizeof(entry) && (entry & PAGEMAP_PRESENT);
}

/* Changes are what it has to see; nobody gains from deceiving it */
static uint64_t hash_page(const uint8_t *page)
{
    const size_t page_size = qemu_real_host_page_size();
    uint64_t hash = 0, word;

    for (size_t i = 0; i < page_size; i += sizeof(word)) {
        memcpy(&word, page + i, sizeof(word));
        hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
        hash ^= hash >> 32;
    }
    return hash;
}

/* True if it can be said whether the page was written to: *@written */
static bool look_at(Sample *sample, int pagemap, bool *written)
{
    bool was_known = sample->known;
    uint64_t old = sample->hash;

    sample->known = pagemap >= 0 && is_in_memory(pagemap, sample->page);
    if (sample->known) {
        sample->hash = hash_page(sample->page);
    }
    *written = sample->hash != old;
    return was_known && sample->known;
}

static int look_at_range(Sample *sample, int pagemap)
{
    int known = 0, written = 0;

    for (int i = 0; i < SAMPLES; i++) {
        bool changed;

        if (look_at(&sample[i], pagemap, &changed)) {
            known++;
            written += changed;
        }
    }
    return known >= SAMPLES_MIN ? 100 * written / known : KSM_HEAT_UNKNOWN;
}

void ksm_heat_read(KsmHeat *heat, int *percent)
{
    g_autoptr(KsmHost) host = ksm_open_host();
    g_autofree char *path = ksm_host_proc_path(host, 0, "pagemap");
    int pagemap = open(path, O_RDONLY | O_CLOEXEC);

    for (size_t i = 0; i < heat->n; i++) {
        percent[i] = look_at_range(heat->sample + i * SAMPLES, pagemap);
    }
    if (pagemap >= 0) {
        close(pagemap);
    }
}

KsmHeat *ksm_heat_watch(const KsmHeatRange *range, size_t n)
{
    g_autofree int *unused = g_new(int, n);
    KsmHeat *heat = g_new0(KsmHeat, 1);

    heat->n = n;
    heat->sample = g_new0(Sample, n * SAMPLES);
    for (size_t i = 0; i < n; i++) {
        choose(&range[i], heat->sample + i * SAMPLES);
    }
    ksm_heat_read(heat, unused);
    return heat;
}

void ksm_heat_forget(KsmHeat *heat)
{
    g_free(heat->sample);
    g_free(heat);
}
