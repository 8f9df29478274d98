// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of hash.c: against the definition of NH, and against pages that are made
 * to collide in hashes that are only seeded.
 */
#include <stdlib.h>
#include <string.h>
#include "harness.h"
#include "hash.h"

union page {
	u64 q[KSM_HASH_WORDS];
	u8 b[KSM_HASH_BYTES];
};

static void fill(void *mem, size_t bytes)
{
	u8 *b = mem;

	while (bytes--)
		*b++ = rnd();
}

static struct ksm_hash_key *new_key(void)
{
	struct ksm_hash_key *key = harness_keep(sizeof(*key));

	fill(key, sizeof(*key));
	return key;
}

static union page *new_page(void)
{
	union page *page = harness_keep(sizeof(*page));

	fill(page, sizeof(*page));
	return page;
}

/* One bit of a sum of 128. */
static unsigned int bit_of(const u64 *sum, unsigned int bit)
{
	return sum[bit / 64] >> bit % 64 & 1;
}

/* Add @a * 2^@shift to a sum of 128 bits, a bit at a time. */
static void add_shifted(u64 *sum, u64 a, unsigned int shift)
{
	unsigned int bit, carry = 0;

	for (bit = shift; bit < 128; bit++) {
		unsigned int digit = bit - shift < 64 ? a >> (bit - shift) & 1 : 0;

		digit += bit_of(sum, bit) + carry;
		sum[bit / 64] &= ~(1ULL << bit % 64);
		sum[bit / 64] |= (u64)(digit & 1) << bit % 64;
		carry = digit >> 1;
	}
}

/* The sum as the paper writes it, multiplied as in school. */
static void model_nh(const u64 *key, const union page *page, u64 *sum)
{
	unsigned int i, shift;

	sum[0] = sum[1] = 0;
	for (i = 0; i < KSM_HASH_WORDS; i += 2) {
		u64 a = page->q[i] + key[i], b = page->q[i + 1] + key[i + 1];

		for (shift = 0; shift < 64; shift++) {
			if (b >> shift & 1)
				add_shifted(sum, a, shift);
		}
	}
}

static u64 unfinish(u64 hash)
{
	/* The inverse of the odd multiplier modulo 2^64, by Newton's method. */
	u64 mul = 0xd6e8feb86659fd93ULL, inverse = mul;
	int i;

	for (i = 0; i < 6; i++)
		inverse *= 2 - mul * inverse;
	hash = (hash ^ hash >> 32) * inverse;
	hash = (hash ^ hash >> 32) * inverse;
	return hash ^ hash >> 32;
}

static void equals_the_definition(void)
{
	unsigned int i;

	for (i = 0; i < 20; i++) {
		struct ksm_hash_key *key = new_key();
		union page *page = new_page();
		u64 sum[2], inner;

		model_nh(key->nh, page, sum);
		inner = unfinish(ksm_hash_page(key, page)) - sum[1] - key->mix[1];
		CHECK(unfinish(inner) == sum[0] + key->mix[0], "key %u", i);
	}
}

static void every_bit_counts(void)
{
	struct ksm_hash_key *key = new_key();
	union page *page = new_page();
	u64 was = ksm_hash_page(key, page);
	unsigned int bit;

	for (bit = 0; bit < KSM_HASH_BYTES * 8; bit++) {
		page->b[bit / 8] ^= 1 << bit % 8;
		CHECK(ksm_hash_page(key, page) != was, "bit %u", bit);
		page->b[bit / 8] ^= 1 << bit % 8;
	}
	CHECK(ksm_hash_page(key, page) == was, "equal pages");
}

static void another_key_another_hash(void)
{
	union page *page = new_page();
	u64 seen = 0;
	unsigned int i;

	for (i = 0; i < 100; i++) {
		u64 hash = ksm_hash_page(new_key(), page);

		CHECK(hash != seen, "key %u", i);
		seen = hash;
	}
}

/* The inverse of xxh64's second prime, modulo 2^64. */
static u64 prime2_inverse(void)
{
	u64 prime = 0xC2B2AE3D27D4EB4FULL, inverse = prime;
	int i;

	for (i = 0; i < 6; i++)
		inverse *= 2 - prime * inverse;
	return inverse;
}

/*
 * One word more by 2^63 / P2, the word one stripe on less by 2^30 * P1 / P2: that
 * makes xxh64 collide under half of all seeds, whatever the page.
 */
static void pairs_that_break_seeded_hashes_differ(void)
{
	const u64 prime1 = 0x9E3779B185EBCA87ULL, inverse = prime2_inverse();
	struct ksm_hash_key *key = new_key();
	unsigned int i;

	for (i = 0; i + 4 < KSM_HASH_WORDS; i++) {
		union page *page = new_page();
		u64 was = ksm_hash_page(key, page);

		page->q[i] += (1ULL << 63) * inverse;
		page->q[i + 4] -= (1ULL << 30) * prime1 * inverse;
		CHECK(ksm_hash_page(key, page) != was, "word %u", i);
	}
}

static int by_value(const void *a, const void *b)
{
	u32 x = *(const u32 *)a, y = *(const u32 *)b;

	return x < y ? -1 : x > y;
}

/* Indexes use the low 32 bits and the high 24 apart from each other. */
static unsigned int twins(u32 *part, unsigned int nr)
{
	unsigned int i, found = 0;

	qsort(part, nr, sizeof(*part), by_value);
	for (i = 1; i < nr; i++)
		found += part[i] == part[i - 1];
	return found;
}

static void parts_are_spread_evenly(void)
{
	enum { NR = 1 << 14 };
	struct ksm_hash_key *key = new_key();
	union page *page = harness_keep(sizeof(*page));
	u32 *low = harness_keep(NR * sizeof(*low));
	u32 *high = harness_keep(NR * sizeof(*high));
	unsigned int i, nr_low, nr_high;

	/* Pages that differ by a small number in one word. */
	for (i = 0; i < NR; i++) {
		page->q[7] = i;
		low[i] = ksm_hash_page(key, page);
		high[i] = ksm_hash_page(key, page) >> 40;
	}
	nr_low = twins(low, NR);
	nr_high = twins(high, NR);
	harness_note("of %u pages %u agree in 32 low bits, %u in 24 high bits",
		     NR, nr_low, nr_high);
	/* Expected: 0.03 and 8; more than 4 and 40 do not happen by chance. */
	CHECK(nr_low <= 4, "%u", nr_low);
	CHECK(nr_high <= 40, "%u", nr_high);
}

static const struct harness_test tests[] = {
	{ "hash: equals the definition", equals_the_definition },
	{ "hash: every bit of a page counts", every_bit_counts },
	{ "hash: another key gives another hash", another_key_another_hash },
	{ "hash: pairs that break seeded hashes differ",
	  pairs_that_break_seeded_hashes_differ },
	{ "hash: parts of it are spread evenly", parts_are_spread_evenly },
};

int main(void)
{
	return harness_main(tests, ARRAY_SIZE(tests));
}
