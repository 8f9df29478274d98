/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Keyed content hash of a page.
 *
 * NH (Black, Halevi, Krawczyk, Krovetz and Rogaway, "UMAC", 1999) of 64-bit words
 * over the whole page, with a secret key as long as the page: for any two different
 * pages, whoever chose them, the chance that the sums of 128 bits agree is 2^-64
 * over the choice of the key. A fast hash that is merely seeded gives no such
 * promise: pairs of pages are known that collide in xxh64 for every second seed.
 *
 * Sums of 32-bit words would need twice as many products, twice over, for the same
 * promise.
 */
#ifndef _MM_KSM_HASH_H
#define _MM_KSM_HASH_H

#include "types.h"

#define KSM_HASH_BYTES		4096U
#define KSM_HASH_WORDS		(KSM_HASH_BYTES / sizeof(u64))

/**
 * struct ksm_hash_key - a secret; all of it random
 * @nh: added to the words of the page
 * @mix: added to the halves of the sum where they are joined
 */
struct ksm_hash_key {
	u64 nh[KSM_HASH_WORDS];
	u64 mix[2];
};

u64 ksm_hash_page(const struct ksm_hash_key *key, const void *page);

#endif /* _MM_KSM_HASH_H */
