/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What every page of a guest's test memory must contain.
 *
 * The agent in the guest and the driver on the host both compile this, so that
 * either can tell the right content of a page from its region, number and
 * version alone, without asking the other for the bytes.
 */
#ifndef SAMEPAGE_PATTERN_H
#define SAMEPAGE_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PATTERN_PAGE 4096
#define PATTERN_WORDS (PATTERN_PAGE / sizeof(uint64_t))

enum pattern_region {
    REGION_EQUAL,   /* version 0 is the same in every guest */
    REGION_UNIQUE,  /* never the same as any other page */
    REGION_ZERO,    /* version 0 is all zero bytes */
    REGION_CHURN,   /* rewritten all the time; each version common to all */
    REGION_COUNT,
};

/* Identity of one page's content. */
struct pattern_id {
    enum pattern_region region;
    uint32_t guest;     /* which guest, from 1 */
    uint32_t page;      /* number of the page in its region */
    uint32_t version;   /* how often the page was rewritten */
};

/* Name of a region as the agent's protocol says it; NULL out of range. */
const char *pattern_region_name(enum pattern_region region);

/* Find a region by name.  Returns REGION_COUNT if there is none. */
enum pattern_region pattern_region_by_name(const char *name);

/* Write the right content of @id to the PATTERN_PAGE bytes at @page. */
void pattern_fill(const struct pattern_id *id, void *page);

/*
 * Compare the PATTERN_PAGE bytes at @page with the right content of @id.
 * Returns -1 if all are right, else the offset of the first wrong byte, and
 * then *want is the byte that should be there.
 */
int pattern_check(const struct pattern_id *id, const void *page,
                  uint8_t *want);

/* The @n-th of @count pages chosen evenly from @pages (n < count <= pages). */
uint32_t pattern_spread(uint32_t n, uint32_t count, uint32_t pages);

/* Checksum of @len bytes at @data (any alignment), going on from @sum. */
uint64_t pattern_sum(uint64_t sum, const void *data, size_t len);

/* Checksum over the right content of pages 0..@pages-1, all at version 0. */
uint64_t pattern_region_sum(enum pattern_region region, uint32_t guest,
                            uint32_t pages);

#endif
