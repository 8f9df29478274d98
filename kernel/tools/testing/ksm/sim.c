// SPDX-License-Identifier: GPL-2.0-only
/*
 * The small merge engine: see sim.h.
 */
#include "harness.h"
#include "sim.h"

/* Pages are spread over their chunk. */
u32 sim_slot(u32 page)
{
	return page % SIM_SLOTS * (KSM_CHUNK_PAGES / SIM_SLOTS);
}

struct ksm_chunk *sim_chunk(struct sim *sim, u32 page)
{
	return &sim->chunk[page / SIM_SLOTS];
}

static ksm_ref_t sim_ref(struct sim *sim, u32 page)
{
	return ksm_ref(sim_chunk(sim, page)->id, sim_slot(page));
}

static enum ksm_page_state sim_state(struct sim *sim, u32 page)
{
	return ksm_chunk_state(sim_chunk(sim, page), sim_slot(page));
}

u64 sim_hash(const struct sim *sim, u32 content)
{
	u64 x = sim->key + content % sim->nr_hashes;

	x = (x ^ x >> 32) * 0xd6e8feb86659fd93ULL;
	x = (x ^ x >> 32) * 0xd6e8feb86659fd93ULL;
	return x ^ x >> 32;
}

/* An id that no chunk has; often one that another chunk had before. */
static u32 fresh_id(const struct sim *sim)
{
	u32 id = 1 + rnd_below(4 * ARRAY_SIZE(sim->chunk)), at;

	for (at = 0; at < ARRAY_SIZE(sim->chunk); at++) {
		if (sim->chunk[at].id == id)
			return fresh_id(sim);
	}
	return id;
}

static void init_chunk(struct sim *sim, u32 at)
{
	ksm_chunk_init(&sim->chunk[at], fresh_id(sim), sim->rec[at],
		       &sim->stats.tally, &sim->own[at / SIM_CHUNKS]);
}

static struct ksm_chunk *find_chunk(struct ksm_chunk_finder *finder, u32 id)
{
	struct sim *sim = container_of(finder, struct sim, finder);
	u32 at;

	for (at = 0; at < ARRAY_SIZE(sim->chunk); at++) {
		if (sim->chunk[at].id == id)
			return &sim->chunk[at];
	}
	return NULL;
}

struct sim *sim_new(u32 limit, u32 nr_hashes)
{
	struct sim *sim = harness_keep(sizeof(*sim));
	u32 at;

	INIT_LIST_HEAD(&sim->kpages);
	sim->limit = limit;
	sim->nr_hashes = nr_hashes;
	sim->key = rnd();
	CHECK(!ksm_index_init(&sim->index, &harness_mem), "init");
	sim->finder.find = find_chunk;
	ksm_candidates_init(&sim->candidates, &harness_mem, &sim->finder);
	for (at = 0; at < ARRAY_SIZE(sim->chunk); at++)
		init_chunk(sim, at);
	return sim;
}

static void unmap(struct sim_page *page)
{
	if (page->kpage)
		page->kpage->mapped--;
	page->kpage = NULL;
}

void sim_write(struct sim *sim, u32 page, u32 content)
{
	unmap(&sim->page[page]);
	sim->page[page].wanted = content;
	sim->page[page].content = content;
}

void sim_discard(struct sim *sim, u32 page)
{
	sim_write(sim, page, 0);
}

/* The second page maps what the first one maps, if that is a KSM page. */
void sim_fork(struct sim *sim, u32 from, u32 to)
{
	struct sim_kpage *kpage = sim->page[from].kpage;

	if (!kpage || from == to)
		return;
	kpage->mapped++;
	unmap(&sim->page[to]);
	sim->page[to].wanted = sim->page[from].wanted;
	sim->page[to].kpage = kpage;
}

u32 sim_read(const struct sim *sim, u32 page)
{
	const struct sim_kpage *kpage = sim->page[page].kpage;

	return kpage ? kpage->content : sim->page[page].content;
}

static struct sim_kpage *kpage_of(struct ksm_copy *copy)
{
	return container_of(copy, struct sim_kpage, copy);
}

static struct ksm_mapping *mapping_new(struct sim *sim, u32 page)
{
	struct ksm_mapping *mapping = harness_mem.alloc(sizeof(*mapping));

	if (mapping)
		mapping->page = page;
	return mapping;
}

/* A page that is to change its state is no candidate any more. */
static void withdraw(struct sim *sim, u32 page)
{
	bool was = sim_state(sim, page) == KSM_PAGE_CANDIDATE;

	CHECK(ksm_candidates_del(&sim->candidates, sim_chunk(sim, page),
				 sim_slot(page)) == was, "candidate %u", page);
}

static void attach(struct sim *sim, struct ksm_mapping *mapping,
		   struct sim_kpage *kpage)
{
	mapping->kpage = kpage;
	list_add(&mapping->sharer, &kpage->sharers);
	withdraw(sim, mapping->page);
	ksm_chunk_set_stable(sim_chunk(sim, mapping->page), sim_slot(mapping->page),
			     mapping);
	ksm_chain_share(&kpage->copy, sim->limit, &sim->stats);
}

static void detach(struct sim *sim, struct ksm_mapping *mapping)
{
	list_del(&mapping->sharer);
	ksm_chain_unshare(&mapping->kpage->copy, sim->limit, &sim->stats);
	CHECK(ksm_chunk_clear(sim_chunk(sim, mapping->page),
			      sim_slot(mapping->page)) == mapping, "another mapping");
	harness_mem.free(mapping);
}

/* Removes the node of a page that is gone, and its records. */
static void remove_kpage(struct sim *sim, struct sim_kpage *kpage)
{
	CHECK(!kpage->mapped, "a KSM page in use is removed");
	while (!list_empty(&kpage->sharers))
		detach(sim, list_first_entry(&kpage->sharers, struct ksm_mapping,
					     sharer));
	ksm_chain_remove(&sim->index, &kpage->copy, &sim->stats);
	list_del(&kpage->all);
	harness_mem.free(kpage);
}

static void drop_record(struct sim *sim, u32 page)
{
	struct ksm_chunk *chunk = sim_chunk(sim, page);
	struct ksm_mapping *mapping = ksm_chunk_mapping(chunk, sim_slot(page));

	if (mapping) {
		detach(sim, mapping);
		return;
	}
	withdraw(sim, page);
	ksm_chunk_clear(chunk, sim_slot(page));
}

/* Looks for a copy with room and the content; @full as in the engine. */
static struct sim_kpage *find_stable(struct sim *sim, u32 content,
				     struct ksm_copy **full)
{
	struct ksm_index_node *node;
	struct ksm_copy *lead, *copy;
	struct sim_kpage *kpage;

again:
	*full = NULL;
	for (node = ksm_index_first(&sim->index, sim_hash(sim, content)); node;
	     node = ksm_index_next(node)) {
		lead = container_of(node, struct ksm_copy, in);
		copy = ksm_chain_choose(lead, sim->limit);
		kpage = kpage_of(copy ? copy : lead);
		if (!kpage->mapped) {
			remove_kpage(sim, kpage);
			goto again;
		}
		if (kpage->content != content)
			continue;
		if (copy)
			return kpage;
		*full = lead;
	}
	return NULL;
}

static bool merge_into(struct sim *sim, u32 page, struct sim_kpage *kpage)
{
	struct ksm_mapping *mapping = mapping_new(sim, page);

	if (!mapping) {
		sim->refused_nomem++;
		return false;
	}
	kpage->mapped++;
	sim->page[page].kpage = kpage;
	attach(sim, mapping, kpage);
	return true;
}

/* Makes the candidate's page a KSM page and merges the other into it. */
static bool merge_pair(struct sim *sim, u32 page, u32 twin, struct ksm_copy *full)
{
	u32 content = sim->page[page].content;
	struct sim_kpage *kpage = harness_mem.alloc(sizeof(*kpage));
	struct ksm_mapping *mapping = kpage ? mapping_new(sim, twin) : NULL;

	if (!mapping) {
		sim->refused_nomem++;
		harness_mem.free(kpage);
		return false;
	}
	ksm_copy_init(&kpage->copy);
	INIT_LIST_HEAD(&kpage->sharers);
	list_add(&kpage->all, &sim->kpages);
	kpage->content = content;
	kpage->mapped = 1;
	sim->page[twin].kpage = kpage;
	if (full)
		ksm_chain_add_copy(full, &kpage->copy, sim->limit, &sim->stats);
	else
		ksm_chain_add_lead(&sim->index, &kpage->copy, sim_hash(sim, content),
				   &sim->stats);
	attach(sim, mapping, kpage);
	if (merge_into(sim, page, kpage))
		return true;
	/* Undone, so that the twin is not write-protected for nothing. */
	sim_write(sim, twin, content);
	drop_record(sim, twin);
	return false;
}

/* The page that a reference names. */
static u32 resolve(struct sim *sim, ksm_ref_t ref)
{
	u32 at;

	for (at = 0; at < SIM_PAGES; at++) {
		if (sim_ref(sim, at) == ref)
			return at;
	}
	CHECK(false, "%x names no page", ref);
	return SIM_PAGES;
}

static bool merge_with_candidate(struct sim *sim, u32 page, struct ksm_copy *full)
{
	u32 content = sim->page[page].content, nr, at;
	ksm_ref_t twin[KSM_CANDIDATE_TWINS];

	nr = ksm_candidates_find(&sim->candidates, sim_hash(sim, content), twin);
	while (nr--) {
		at = resolve(sim, twin[nr]);
		if (at == page || sim->page[at].kpage ||
		    sim->page[at].content != content)
			continue;
		/* Without memory the next one would fare no better. */
		return merge_pair(sim, page, at, full);
	}
	return false;
}

static void scan_own_page(struct sim *sim, u32 page)
{
	struct ksm_chunk *chunk = sim_chunk(sim, page);
	u64 hash = sim_hash(sim, sim->page[page].content);
	bool is_new = sim_state(sim, page) == KSM_PAGE_EMPTY;
	struct sim_kpage *kpage;
	struct ksm_copy *full;

	if (!ksm_chunk_same_hash(chunk, sim_slot(page), hash)) {
		withdraw(sim, page);
		ksm_chunk_set_volatile(chunk, sim_slot(page), hash);
		if (!is_new)
			return;
	}
	kpage = find_stable(sim, sim->page[page].content, &full);
	if (kpage) {
		merge_into(sim, page, kpage);
		return;
	}
	if (is_new || merge_with_candidate(sim, page, full))
		return;
	if (sim_state(sim, page) != KSM_PAGE_CANDIDATE)
		ksm_candidates_add(&sim->candidates, chunk, sim_slot(page), hash);
}

/* A page that maps what its record says. One that shares a spare copy leaves it. */
static void keep_sharing(struct sim *sim, u32 page, struct sim_kpage *kpage)
{
	if (!ksm_chain_is_spare(&kpage->copy, sim->limit))
		return;
	sim_write(sim, page, kpage->content);
	drop_record(sim, page);
}

/* A page that maps a KSM page: is that what the record says? */
static void scan_ksm_page(struct sim *sim, u32 page)
{
	struct sim_kpage *kpage = sim->page[page].kpage;
	struct ksm_mapping *mapping;

	mapping = ksm_chunk_mapping(sim_chunk(sim, page), sim_slot(page));
	if (mapping && mapping->kpage == kpage) {
		keep_sharing(sim, page, kpage);
		return;
	}
	drop_record(sim, page);
	mapping = mapping_new(sim, page);
	if (mapping)
		attach(sim, mapping, kpage);
	else
		sim->refused_nomem++;
}

void sim_scan(struct sim *sim, u32 page)
{
	if (!sim->page[page].wanted) {
		drop_record(sim, page);
	} else if (sim->page[page].kpage) {
		scan_ksm_page(sim, page);
	} else {
		if (sim_state(sim, page) == KSM_PAGE_STABLE)
			drop_record(sim, page);
		ksm_chunk_grow_older(sim_chunk(sim, page), sim_slot(page));
		scan_own_page(sim, page);
	}
}

/* The process goes away, and another one gets its place. */
void sim_exit(struct sim *sim, u32 mm)
{
	u32 page, at;

	for (page = mm * SIM_CHUNKS * SIM_SLOTS;
	     page < (mm + 1) * SIM_CHUNKS * SIM_SLOTS; page++)
		sim_discard(sim, page);
	for (page = mm * SIM_CHUNKS * SIM_SLOTS;
	     page < (mm + 1) * SIM_CHUNKS * SIM_SLOTS; page++)
		drop_record(sim, page);
	for (at = mm * SIM_CHUNKS; at < (mm + 1) * SIM_CHUNKS; at++) {
		CHECK(ksm_chunk_is_empty(&sim->chunk[at]), "records are left");
		ksm_chunk_destroy(&sim->chunk[at]);
		init_chunk(sim, at);
	}
	CHECK(!ksm_tally_tracked(&sim->own[mm]), "the mm still has pages");
}

static void prune_content(struct ksm_index_node *node, void *arg)
{
	struct ksm_copy *lead = container_of(node, struct ksm_copy, in);
	struct list_head *at, *next;
	struct sim *sim = arg;

	for (at = lead->copies.next; at != &lead->copies; at = next) {
		struct sim_kpage *kpage =
			kpage_of(list_entry(at, struct ksm_copy, copies));

		next = at->next;
		if (!kpage->mapped)
			remove_kpage(sim, kpage);
	}
	if (!kpage_of(lead)->mapped)
		remove_kpage(sim, kpage_of(lead));
}

/* Removes all nodes whose page is gone. */
void sim_prune(struct sim *sim)
{
	u32 bucket = 0;

	do {
		bucket = ksm_index_visit(&sim->index, bucket, 1 + rnd_below(200),
					 prune_content, sim);
	} while (bucket);
}

/* Candidates are volatile again, up to @budget of them. */
void sim_forget(struct sim *sim, u32 budget)
{
	ksm_candidates_forget(&sim->candidates, budget);
}

void sim_end(struct sim *sim)
{
	u32 at;

	for (at = 0; at < SIM_MMS; at++)
		sim_exit(sim, at);
	sim_prune(sim);
	CHECK(list_empty(&sim->kpages), "KSM pages are left");
	for (at = 0; at < ARRAY_SIZE(sim->chunk); at++)
		ksm_chunk_destroy(&sim->chunk[at]);
	ksm_candidates_destroy(&sim->candidates);
	ksm_index_destroy(&sim->index);
}
