/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is known of one page in 8 bytes: layout of records and chunks.
 *
 * Shared by candidates.c, which chains records, and chunk.c, which is the only one
 * to change what they say; nobody else looks inside.
 */
#ifndef _MM_KSM_RECORD_H
#define _MM_KSM_RECORD_H

#include <linux/build_bug.h>
#include "stats.h"
#include "types.h"

struct ksm_candidates;
struct ksm_mapping;	/* opaque here: never dereferenced */

/*
 * A record's word, from bit 0: 2 bits of state, 4 of age, 26 of tag. The tag is the
 * top of the content hash and all that is kept of it. A stable page has no need of age,
 * tag and link: all bits but the state's are the address of its mapping record.
 */
#define KSM_REC_STATE_BITS	2
#define KSM_REC_STATE_MASK	((1U << KSM_REC_STATE_BITS) - 1)
#define KSM_AGE_MAX		15U
#define KSM_REC_AGE_SHIFT	KSM_REC_STATE_BITS
#define KSM_REC_AGE_MASK	(KSM_AGE_MAX << KSM_REC_AGE_SHIFT)
#define KSM_REC_TAG_SHIFT	6
#define KSM_TAG_BITS		(32 - KSM_REC_TAG_SHIFT)
#define KSM_HASH_TAG_SHIFT	(64 - KSM_TAG_BITS)

/**
 * struct ksm_record - what is known of one page
 * @word: private: state, age and tag; 0 for an empty page. Of a stable page: state, and
 *	the lower half of its mapping record's address
 * @next: private: the next candidate of the chain that the tag chooses; 0 at its
 *	end. Of a stable page: the upper half of the address; of any other: 0
 */
struct ksm_record {
	u32 word;
	ksm_ref_t next;
};

/**
 * struct ksm_chunk - the page records of one chunk
 * @id: names the chunk in a ksm_ref_t
 * @nr: private: records by state; the four sum up to KSM_CHUNK_PAGES
 * @rec: private: the records
 * @total: private: tally of the domain
 * @own: private: tally of the mm
 * @candidates: private: the domain's candidates
 */
struct ksm_chunk {
	u32 id;
	u16 nr[KSM_NR_PAGE_STATES];
	struct ksm_record *rec;
	struct ksm_tally *total;
	struct ksm_tally *own;
	struct ksm_candidates *candidates;
};

static inline u32 ksm_rec_pack(enum ksm_page_state state, unsigned int age, u32 tag)
{
	BUILD_BUG_ON(KSM_NR_PAGE_STATES > 1U << KSM_REC_STATE_BITS);
	BUILD_BUG_ON((KSM_REC_AGE_MASK | KSM_REC_STATE_MASK) >> KSM_REC_TAG_SHIFT);

	return tag << KSM_REC_TAG_SHIFT | age << KSM_REC_AGE_SHIFT | state;
}

static inline enum ksm_page_state ksm_rec_state(const struct ksm_record *rec)
{
	return rec->word & KSM_REC_STATE_MASK;
}

/* Only of the record of a stable page. */
static inline struct ksm_mapping *ksm_rec_mapping(const struct ksm_record *rec)
{
	u64 addr = (u64)rec->next << 32 | (rec->word & ~KSM_REC_STATE_MASK);

	return (struct ksm_mapping *)(unsigned long)addr;
}

static inline unsigned int ksm_rec_age(const struct ksm_record *rec)
{
	return (rec->word & KSM_REC_AGE_MASK) >> KSM_REC_AGE_SHIFT;
}

static inline u32 ksm_rec_tag(const struct ksm_record *rec)
{
	return rec->word >> KSM_REC_TAG_SHIFT;
}

static inline u32 ksm_hash_tag(u64 hash)
{
	return hash >> KSM_HASH_TAG_SHIFT;
}

#endif /* _MM_KSM_RECORD_H */
