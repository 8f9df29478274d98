// SPDX-License-Identifier: GPL-2.0-only
/* Keyed content hash of a page: see hash.h. */
#include "hash.h"

/* One product of NH: two words, each with its part of the key, modulo 2^64. */
static inline u64 nh_pair(u64 words, const u32 *key)
{
	u32 low = (u32)words + key[0];
	u32 high = (u32)(words >> 32) + key[1];

	return (u64)low * high;
}

/* Spread every bit over all of them: the callers use parts of the hash. */
static u64 finish(u64 sum)
{
	sum ^= sum >> 32;
	sum *= 0xd6e8feb86659fd93ULL;
	sum ^= sum >> 32;
	sum *= 0xd6e8feb86659fd93ULL;
	return sum ^ sum >> 32;
}

/**
 * ksm_hash_page() - hash %KSM_HASH_BYTES of content
 * @key: the secret
 * @page: the content, aligned to 8 bytes; may change while it is read
 *
 * Context: any.
 * Return: the hash.
 */
u64 ksm_hash_page(const struct ksm_hash_key *key, const void *page)
{
	const u64 *words = page;
	const u32 *nh = key->nh;
	u64 first = 0, second = 0;
	unsigned int i;

	for (i = 0; i < KSM_HASH_WORDS / 2; i++, nh += 2) {
		u64 pair = words[i];

		first += nh_pair(pair, nh);
		second += nh_pair(pair, nh + KSM_HASH_SHIFT);
	}
	/*
	 * A sum can differ in its upper bits only, and two multiples of 2^31 would
	 * cancel out far too often: mix the first before the second is added.
	 */
	return finish(finish(first + key->mix[0]) + second + key->mix[1]);
}
