// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Memory that the engine takes: by its own accounts, and by how much the kernel's
 * slabs and vmalloc areas grew.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

#define KINDS 997ul
#define PASSES 4
/* struct ksm_rmap_item of mainline, if the slab is not there to ask */
#define RMAP_ITEM_BYTES 64

/* Bytes in slabs and vmalloc areas, the kernel's own and all others. */
static double kernel_bytes(void)
{
    return 1024.0 * (file_number("/proc/meminfo", "Slab:") +
                     file_number("/proc/meminfo", "VmallocUsed:"));
}

/* Bytes of an object of a slab cache. */
static long slab_object(const char *cache, long otherwise)
{
    char name[64], text[512];
    FILE *file = fopen("/proc/slabinfo", "re");
    long active, all, size, found = otherwise;

    while (file && fgets(text, sizeof(text), file)) {
        if (sscanf(text, "%63s %ld %ld %ld", name, &active, &all, &size) == 4 &&
            !__builtin_strcmp(name, cache)) {
            found = size;
        }
    }
    if (file) {
        fclose(file);
    }
    return found;
}

/*
 * What our engine takes is what its profit lacks.  Mainline's has a record for
 * each page, and a node for each shared one, which it does not tell of.
 */
static double own_bytes(void)
{
    if (ksm_is_samepage()) {
        return (double)PAGE * ksm_get("pages_sharing") -
               ksm_get("general_profit");
    }
    return (double)slab_object("ksm_rmap_item", RMAP_ITEM_BYTES) *
           (ksm_get("pages_shared") + ksm_get("pages_sharing") +
            ksm_get("pages_unshared") + ksm_get("pages_volatile")) +
           (double)slab_object("ksm_stable_node", RMAP_ITEM_BYTES) *
           ksm_get("pages_shared");
}

/*
 * Before anything was ever scanned, since tables stay when what was in them goes; but
 * with a process there, and files open, as when it is measured.  Children write it.
 */
static double *at_start;

static void measure(const char *own, const char *total, size_t pages)
{
    for (unsigned int n = 0; n < PASSES; n++) {
        ksm_pass();
    }
    sample(own, own_bytes() / pages);
    sample(total, (kernel_bytes() - *at_start) / pages);
}

static void nothing_offered(const struct plan *plan)
{
    size_t pages = plan->mib * PAGES_PER_MIB;

    fill_unique(area_new(pages), pages);
    for (unsigned int n = 0; n < 2; n++) {
        own_bytes();
        *at_start = kernel_bytes();
    }
}

static void unmerged(const struct plan *plan)
{
    size_t pages = plan->mib * PAGES_PER_MIB;

    area_unique(pages);
    measure("metadata_bytes", "metadata_bytes.total", pages);
}

static void merged(const struct plan *plan)
{
    size_t pages = plan->mib * PAGES_PER_MIB;

    area_alike(pages, KINDS);
    measure("metadata_bytes.merged", "metadata_bytes.merged_total", pages);
}

void case_metadata_bytes(const struct plan *plan)
{
    at_start = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at_start == MAP_FAILED) {
        die("memory for a figure: %s", strerror(errno));
    }
    ksm_reset();
    in_child(nothing_offered, plan);
    for (unsigned int n = 0; n < plan->runs; n++) {
        ksm_reset();
        in_child(unmerged, plan);
        ksm_reset();
        in_child(merged, plan);
    }
}
