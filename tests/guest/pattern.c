// SPDX-License-Identifier: GPL-2.0-or-later
/* Deterministic page contents; see pattern.h. */
#include <string.h>

#include "pattern.h"

static const char *const region_names[REGION_COUNT] = {
    [REGION_EQUAL] = "equal",
    [REGION_UNIQUE] = "unique",
    [REGION_ZERO] = "zero",
    [REGION_CHURN] = "churn",
};

const char *pattern_region_name(enum pattern_region region)
{
    return region < REGION_COUNT ? region_names[region] : NULL;
}

enum pattern_region pattern_region_by_name(const char *name)
{
    int region = 0;

    while (region < REGION_COUNT && strcmp(region_names[region], name)) {
        region++;
    }
    return region;
}

static uint64_t scramble(uint64_t x)
{
    x ^= x >> 31;
    x *= 0xd6e8feb86659fd93ull;
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93ull;
    return x ^ (x >> 32);
}

/*
 * The one place that says which pages are the same: contents are equal exactly
 * when their seeds are (seed 0 is the zero page).
 */
static uint64_t pattern_seed(const struct pattern_id *id)
{
    bool common = id->region == REGION_CHURN ||
                  (id->region == REGION_EQUAL && id->version == 0);
    uint64_t seed;

    if (id->region == REGION_ZERO && id->version == 0) {
        return 0;
    }
    seed = scramble(id->region + 1 + (common ? 0 : (uint64_t)id->guest << 8));
    seed = scramble(seed + id->page);
    seed = scramble(seed + id->version);
    return seed ? seed : 1;
}

static uint64_t pattern_word(uint64_t seed, unsigned int n)
{
    uint64_t word = seed + n * 0x9e3779b97f4a7c15ull;

    /* One multiply: this runs for every word, under two emulators. */
    return seed ? (word ^ word >> 29) * 0xbf58476d1ce4e5b9ull : 0;
}

void pattern_fill(const struct pattern_id *id, void *page)
{
    uint64_t seed = pattern_seed(id);
    uint64_t *words = page;

    for (unsigned int n = 0; n < PATTERN_WORDS; n++) {
        words[n] = pattern_word(seed, n);
    }
}

int pattern_check(const struct pattern_id *id, const void *page,
                  uint8_t *want)
{
    uint64_t seed = pattern_seed(id);
    const uint64_t *words = page;

    for (unsigned int n = 0; n < PATTERN_WORDS; n++) {
        uint64_t right = pattern_word(seed, n);

        if (words[n] != right) {
            int byte = __builtin_ctzll(words[n] ^ right) / 8;

            *want = right >> (byte * 8);
            return n * sizeof(uint64_t) + byte;
        }
    }
    return -1;
}

uint32_t pattern_spread(uint32_t n, uint32_t count, uint32_t pages)
{
    return (uint64_t)n * pages / count;
}

uint64_t pattern_sum(uint64_t sum, const void *data, size_t len)
{
    const uint8_t *bytes = data;
    uint64_t word;

    while (len) {
        size_t part = len < sizeof(word) ? len : sizeof(word);

        word = 0;
        memcpy(&word, bytes, part);
        sum = (sum ^ word) * 0x100000001b3ull;
        sum ^= sum >> 37;
        bytes += part;
        len -= part;
    }
    return sum;
}

uint64_t pattern_region_sum(enum pattern_region region, uint32_t guest,
                            uint32_t pages)
{
    uint64_t page[PATTERN_WORDS];
    uint64_t sum = 0;

    for (uint32_t n = 0; n < pages; n++) {
        struct pattern_id id = {
            .region = region, .guest = guest, .page = n,
        };

        pattern_fill(&id, page);
        sum = pattern_sum(sum, page, sizeof(page));
    }
    return sum;
}
