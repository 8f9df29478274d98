// SPDX-License-Identifier: GPL-2.0-only
/*
 * The model of the small engine: see model.h.
 */
#include <string.h>
#include "harness.h"
#include "model.h"

struct model *model_new(u32 limit, u32 nr_hashes)
{
	struct model *model = harness_keep(sizeof(*model));

	model->sim = sim_new(limit, nr_hashes);
	return model;
}

static enum ksm_page_state engine_state(struct model *model, u32 page)
{
	return ksm_chunk_state(sim_chunk(model->sim, page), sim_slot(page));
}

static struct sim_kpage *recorded_kpage(struct model *model, u32 page)
{
	const struct ksm_mapping *mapping;

	mapping = ksm_chunk_mapping(sim_chunk(model->sim, page), sim_slot(page));
	return mapping ? mapping->kpage : NULL;
}

/* What a record keeps of a hash. */
static u64 tag_of(u64 hash)
{
	return hash >> 38;
}

/* Notes in each KSM page how many records point to it; leaves out one page. */
static void count_sharers(struct model *model, u32 except)
{
	struct sim_kpage *kpage;
	u32 page;

	list_for_each_entry(kpage, &model->sim->kpages, all)
		kpage->counted = 0;
	for (page = 0; page < SIM_PAGES; page++) {
		kpage = recorded_kpage(model, page);
		if (kpage && page != except)
			kpage->counted++;
	}
}

/*
 * Is there a KSM page that is alive, equal and not full? The page itself gives up
 * its old record before it looks.
 */
static bool stable_has_room(struct model *model, u32 page)
{
	u32 content = model->sim->page[page].content;
	const struct sim_kpage *kpage;

	count_sharers(model, page);
	list_for_each_entry(kpage, &model->sim->kpages, all) {
		if (kpage->content == content && kpage->mapped &&
		    kpage->counted < model->sim->limit)
			return true;
	}
	return false;
}

/*
 * Which page makes room if this one becomes a candidate: the oldest, if there are as
 * many of one tag as may be. SIM_PAGES if none needs to.
 */
static u32 find_crowded(const struct model *model, u32 page)
{
	u64 tag = tag_of(sim_hash(model->sim, model->sim->page[page].content));
	u32 at, nr = 0, oldest = SIM_PAGES;

	for (at = 0; at < SIM_PAGES; at++) {
		const struct known *known = &model->known[at];

		if (known->state != KSM_PAGE_CANDIDATE || tag_of(known->hash) != tag)
			continue;
		if (at == page)
			return SIM_PAGES;
		nr++;
		if (oldest == SIM_PAGES || known->since < model->known[oldest].since)
			oldest = at;
	}
	CHECK(nr <= KSM_CANDIDATE_TWINS, "%u candidates of one tag", nr);
	return nr == KSM_CANDIDATE_TWINS ? oldest : SIM_PAGES;
}

static bool is_twin(const struct model *model, u32 page, u32 other)
{
	const struct sim_page *pages = model->sim->page;

	return other != page && model->known[other].state == KSM_PAGE_CANDIDATE &&
	       model->known[other].hash == sim_hash(model->sim, pages[page].content) &&
	       !pages[other].kpage && pages[other].content == pages[page].content;
}

/* What of the state before an operation its result depends on. */
struct before {
	enum ksm_page_state want;	/* of the scanned page */
	bool twin[SIM_PAGES];		/* may merge with the scanned page */
	bool stale[SIM_PAGES];		/* recorded to share a page that is gone */
	bool has_twin;
	u32 crowded;			/* makes room if the scanned page becomes one */
	bool may_leave;			/* the scanned page its KSM page */
	u64 failed;
};

/*
 * May a page leave the KSM page that it maps and shares? Only if another one of
 * its content has sharers, and room for all of this one's.
 */
static bool may_leave(struct model *model, u32 page)
{
	const struct sim_kpage *kpage, *own = model->sim->page[page].kpage;

	if (!own || recorded_kpage(model, page) != own)
		return false;
	count_sharers(model, SIM_PAGES);
	list_for_each_entry(kpage, &model->sim->kpages, all) {
		if (kpage != own && kpage->content == own->content && kpage->counted &&
		    kpage->counted + own->counted <= model->sim->limit)
			return true;
	}
	return false;
}

/* What state a scan should leave a page in. */
static enum ksm_page_state predict(struct model *model, u32 page, bool has_twin)
{
	const struct sim_page *p = &model->sim->page[page];
	const struct known *known = &model->known[page];
	bool is_new = known->state == KSM_PAGE_EMPTY ||
		      known->state == KSM_PAGE_STABLE;

	if (!p->wanted)
		return KSM_PAGE_EMPTY;
	if (p->kpage)
		return KSM_PAGE_STABLE;
	if (!is_new && tag_of(known->hash) != tag_of(sim_hash(model->sim, p->content)))
		return KSM_PAGE_VOLATILE;
	if (stable_has_room(model, page))
		return KSM_PAGE_STABLE;
	if (is_new)
		return KSM_PAGE_VOLATILE;
	return has_twin ? KSM_PAGE_STABLE : KSM_PAGE_CANDIDATE;
}

/* @scanned is SIM_PAGES if the operation is no scan. */
static void look(struct model *model, u32 scanned, struct before *before)
{
	u32 page;

	before->failed = harness_mem_failed();
	before->has_twin = false;
	for (page = 0; page < SIM_PAGES; page++) {
		const struct sim_kpage *kpage = recorded_kpage(model, page);

		before->stale[page] = kpage && !kpage->mapped;
		before->twin[page] = scanned < SIM_PAGES &&
				     is_twin(model, scanned, page);
		before->has_twin |= before->twin[page];
	}
	before->may_leave = scanned < SIM_PAGES && may_leave(model, scanned);
	before->crowded = SIM_PAGES;
	if (scanned < SIM_PAGES) {
		before->want = predict(model, scanned, before->has_twin);
		before->crowded = find_crowded(model, scanned);
	}
}

/*
 * Checks what an operation did to the pages it was not about. They may lose the
 * record of a page that is gone, and one of the twins may have merged; without
 * memory that is undone at once. One candidate may have made room for the scanned
 * page. Returns how many twins merged.
 */
static u32 check_others(struct model *model, const struct before *before, u32 scanned)
{
	bool failed = harness_mem_failed() > before->failed;
	u32 page, twins = 0;

	for (page = 0; page < SIM_PAGES; page++) {
		enum ksm_page_state was = model->known[page].state;
		enum ksm_page_state is = engine_state(model, page);

		if (page == scanned || is == was)
			continue;
		if (is == KSM_PAGE_STABLE) {
			CHECK(before->twin[page], "page %u merged", page);
			twins++;
		} else if (is == KSM_PAGE_VOLATILE) {
			CHECK(page == before->crowded, "page %u made room", page);
			CHECK(engine_state(model, scanned) == KSM_PAGE_CANDIDATE,
			      "page %u made room for no candidate", page);
		} else {
			CHECK(is == KSM_PAGE_EMPTY, "page %u went to state %u", page, is);
			CHECK(before->stale[page] || (before->twin[page] && failed),
			      "page %u in state %u was forgotten", page, was);
		}
		model->known[page].state = is;
	}
	return twins;
}

static bool is_unmerged(enum ksm_page_state state)
{
	return state == KSM_PAGE_VOLATILE || state == KSM_PAGE_CANDIDATE;
}

/* A page that was looked at in vain is older by one pass than when it was before. */
static void check_age(struct model *model, u32 page)
{
	unsigned int age = ksm_chunk_age(sim_chunk(model->sim, page), sim_slot(page));
	struct known *known = &model->known[page];
	unsigned int older = known->age < KSM_AGE_MAX ? known->age + 1 : KSM_AGE_MAX;
	unsigned int want = is_unmerged(known->state) ? older : 0;

	known->age = age;
	CHECK(!is_unmerged(engine_state(model, page)) || age == want,
	      "page %u has age %u, not %u", page, age, want);
}

/* Takes note of the scanned page's state, which may be less than was wanted. */
static void check_scanned(struct model *model, const struct before *before,
			  u32 page, u32 twins)
{
	u64 hash = sim_hash(model->sim, model->sim->page[page].content);
	bool failed = harness_mem_failed() > before->failed;
	enum ksm_page_state is = engine_state(model, page);
	struct known *known = &model->known[page];

	if (is == KSM_PAGE_EMPTY && before->may_leave) {
		model->left++;
	} else if (is != before->want) {
		CHECK(before->want == KSM_PAGE_STABLE ||
		      (before->want == KSM_PAGE_CANDIDATE && is == KSM_PAGE_VOLATILE),
		      "page %u: state %u, not %u", page, is, before->want);
		CHECK(failed, "page %u did not merge and nothing says why", page);
		model->missed++;
	}
	if (is == KSM_PAGE_CANDIDATE && before->crowded < SIM_PAGES && !failed)
		CHECK(engine_state(model, before->crowded) == KSM_PAGE_VOLATILE,
		      "page %u did not make room", before->crowded);
	if (is == KSM_PAGE_CANDIDATE &&
	    (known->state != is || tag_of(known->hash) != tag_of(hash)))
		known->since = ++model->added;
	check_age(model, page);
	CHECK(twins <= 1 && (!twins || is == KSM_PAGE_STABLE), "%u twins merged", twins);
	model->merged += is == KSM_PAGE_STABLE && known->state != KSM_PAGE_STABLE;
	known->state = is;
	known->hash = hash;
}

void model_scan(struct model *model, u32 page)
{
	struct before before;

	look(model, page, &before);
	sim_scan(model->sim, page);
	check_scanned(model, &before, page, check_others(model, &before, page));
}

void model_prune(struct model *model)
{
	struct before before;
	u32 page;

	look(model, SIM_PAGES, &before);
	sim_prune(model->sim);
	check_others(model, &before, SIM_PAGES);
	for (page = 0; page < SIM_PAGES; page++)
		CHECK(!before.stale[page] || engine_state(model, page) == KSM_PAGE_EMPTY,
		      "page %u shares a page that is gone", page);
}

void model_exit(struct model *model, u32 mm)
{
	struct before before;
	u32 page;

	for (page = 0; page < SIM_PAGES; page++) {
		if (page / (SIM_CHUNKS * SIM_SLOTS) == mm)
			model->known[page].state = KSM_PAGE_EMPTY;
	}
	look(model, SIM_PAGES, &before);
	sim_exit(model->sim, mm);
	memset(before.stale, 0, sizeof(before.stale));
	check_others(model, &before, SIM_PAGES);
}

/* Nobody may ever read anything but what he wrote. */
static void check_memory(const struct model *model)
{
	u32 page;

	for (page = 0; page < SIM_PAGES; page++)
		CHECK(sim_read(model->sim, page) == model->sim->page[page].wanted,
		      "page %u has content %u, not %u", page,
		      sim_read(model->sim, page), model->sim->page[page].wanted);
}

/* Sums up pages by state, all and by mm. */
static void check_tallies(const struct model *model)
{
	u64 total[KSM_NR_PAGE_STATES] = {}, own[SIM_MMS][KSM_NR_PAGE_STATES] = {};
	u32 page, mm, state;

	for (page = 0; page < SIM_PAGES; page++) {
		total[model->known[page].state]++;
		own[page / (SIM_CHUNKS * SIM_SLOTS)][model->known[page].state]++;
	}
	for (state = KSM_PAGE_EMPTY + 1; state < KSM_NR_PAGE_STATES; state++) {
		CHECK(model->sim->stats.tally.pages[state] == total[state],
		      "%llu pages in state %u, not %llu",
		      model->sim->stats.tally.pages[state], state, total[state]);
		for (mm = 0; mm < SIM_MMS; mm++)
			CHECK(model->sim->own[mm].pages[state] == own[mm][state],
			      "mm %u has %llu pages in state %u, not %llu", mm,
			      model->sim->own[mm].pages[state], state, own[mm][state]);
	}
}

/* Sums up KSM pages: a chain is a content that has more than one. */
static void check_kpages(struct model *model)
{
	u32 copies[SIM_CONTENTS + 1] = {};
	const struct sim_kpage *kpage;
	struct ksm_stats sum = {};
	u32 content;

	count_sharers(model, SIM_PAGES);
	list_for_each_entry(kpage, &model->sim->kpages, all) {
		CHECK(kpage->copy.sharers == kpage->counted, "%u sharers, not %u",
		      kpage->copy.sharers, kpage->counted);
		copies[kpage->content]++;
		sum.nodes++;
		sum.shared += kpage->counted > 0;
		if (kpage->copy.lead == &kpage->copy)
			CHECK(ksm_chain_validate(&kpage->copy, model->sim->limit),
			      "validate");
	}
	for (content = 1; content <= SIM_CONTENTS; content++) {
		sum.chains += copies[content] > 1;
		sum.dups += copies[content] > 1 ? copies[content] : 0;
	}
	sum.tally = model->sim->stats.tally;
	CHECK(!memcmp(&sum, &model->sim->stats, sizeof(sum)),
	      "shared %llu/%llu nodes %llu/%llu chains %llu/%llu dups %llu/%llu",
	      model->sim->stats.shared, sum.shared, model->sim->stats.nodes, sum.nodes,
	      model->sim->stats.chains, sum.chains, model->sim->stats.dups, sum.dups);
	CHECK(ksm_stats_pages_sharing(&sum) == sum.tally.pages[KSM_PAGE_STABLE] -
					       sum.shared, "pages_sharing");
}

void model_check(struct model *model)
{
	struct sim *sim = model->sim;
	u32 at;

	check_memory(model);
	check_tallies(model);
	check_kpages(model);
	CHECK(ksm_stats_validate(&sim->stats), "validate");
	CHECK(ksm_index_validate(&sim->index), "validate");
	CHECK(ksm_candidates_validate(&sim->candidates), "validate");
	CHECK(sim->candidates.count == sim->stats.tally.pages[KSM_PAGE_CANDIDATE],
	      "%llu candidates in chains", sim->candidates.count);
	for (at = 0; at < ARRAY_SIZE(sim->chunk); at++)
		CHECK(ksm_chunk_validate(&sim->chunk[at]), "validate");
}

/* Passes over memory that nobody writes to any more. */
void model_pass(struct model *model)
{
	u32 page;

	for (page = 0; page < SIM_PAGES; page++)
		model_scan(model, page);
	model_prune(model);
	model_check(model);
}

/* Passes until nothing changes any more. */
void model_settle(struct model *model)
{
	struct ksm_stats was;
	u32 left, nr = 0;

	do {
		CHECK(nr++ < 50, "no rest after 50 passes");
		was = model->sim->stats;
		left = model->left;
		model_pass(model);
	} while (nr < 4 || left != model->left ||
		 memcmp(&was, &model->sim->stats, sizeof(was)));
}

/*
 * When all is quiet: no KSM page is spare; and of each content, at most one page
 * is left alone, and that only if no KSM page has room for it.
 */
void model_check_settled(struct model *model)
{
	u32 page, alone[SIM_CONTENTS + 1] = {};
	struct sim_kpage *kpage;

	list_for_each_entry(kpage, &model->sim->kpages, all)
		CHECK(!ksm_chain_is_spare(&kpage->copy, model->sim->limit),
		      "a spare copy of %u is left", kpage->content);
	CHECK(!model->sim->stats.tally.pages[KSM_PAGE_VOLATILE], "volatile pages");
	for (page = 0; page < SIM_PAGES; page++) {
		u32 content = model->sim->page[page].wanted;

		if (!content || model->known[page].state == KSM_PAGE_STABLE)
			continue;
		CHECK(model->known[page].state == KSM_PAGE_CANDIDATE, "page %u", page);
		CHECK(!alone[content]++, "content %u did not merge", content);
		CHECK(!stable_has_room(model, page), "content %u did not merge", content);
	}
}

