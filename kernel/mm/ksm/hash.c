// SPDX-License-Identifier: GPL-2.0-only
/* Keyed content hash of a page: see hash.h. */
#include "hash.h"

typedef unsigned __int128 ksm_u128;

/* One product of NH: two words, each with its part of the key, modulo 2^64. */
static inline ksm_u128 nh_pair(const u64 *words, const u64 *key)
{
	return (ksm_u128)(words[0] + key[0]) * (words[1] + key[1]);
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
	const u64 *words = page, *nh = key->nh;
	ksm_u128 even = 0, odd = 0;
	unsigned int i;

	/* Two sums, as one would wait for its own carry. */
	for (i = 0; i < KSM_HASH_WORDS; i += 4) {
		even += nh_pair(words + i, nh + i);
		odd += nh_pair(words + i + 2, nh + i + 2);
	}
	even += odd;
	/*
	 * A sum can differ in few of its bits, which could cancel out if its halves
	 * were just added: mix the first before the second is added.
	 */
	return finish(finish((u64)even + key->mix[0]) +
		      (u64)(even >> 64) + key->mix[1]);
}
