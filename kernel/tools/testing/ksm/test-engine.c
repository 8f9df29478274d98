// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of the pure files together: the small engine of sim.c against model.c, on
 * random steps.
 */
#include <string.h>
#include "harness.h"
#include "model.h"

/* Contents from a few that are common and many that are not. */
static u32 random_content(void)
{
	return 1 + rnd_below(rnd_below(2) ? 6 : SIM_CONTENTS);
}

/* In calm times nearly all steps are scans, so that much merges. */
static void random_step(struct model *model, bool calm)
{
	u32 page = rnd_below(SIM_PAGES);

	switch (rnd_below(calm ? 300 : 20)) {
	case 0:
	case 1:
		sim_write(model->sim, page, random_content());
		break;
	case 2:
		/* The same bytes again: COW is broken for nothing. */
		if (model->sim->page[page].wanted)
			sim_write(model->sim, page, model->sim->page[page].wanted);
		break;
	case 3:
		sim_discard(model->sim, page);
		break;
	case 4:
		sim_fork(model->sim, page, rnd_below(SIM_PAGES));
		break;
	case 5:
		if (rnd_one_in(30))
			model_exit(model, rnd_below(SIM_MMS));
		break;
	case 6:
		if (rnd_one_in(10))
			model_prune(model);
		break;
	default:
		model_scan(model, page);
	}
}

static void run(u32 nr_hashes, u32 fail_one_in, bool settles)
{
	unsigned long steps = harness_steps(16000);
	u32 limit, merged = 0, missed = 0, left = 0, i;

	for (limit = 2; limit <= 5; limit++) {
		struct model *model = model_new(limit, nr_hashes);

		for (i = 0; i < SIM_PAGES; i++)
			sim_write(model->sim, i, random_content());
		harness_mem_fail_one_in(fail_one_in);
		for (harness_step = 0; harness_step < steps / 4; harness_step++) {
			random_step(model, harness_step / 1000 % 2 == 0);
			model_check(model);
		}
		harness_mem_fail_one_in(0);
		model_settle(model);
		if (settles)
			model_check_settled(model);
		merged += model->merged;
		missed += model->missed;
		left += model->left;
		sim_end(model->sim);
	}
	harness_note("%u merges, %u missed, %u sharers left a spare copy", merged,
		     missed, left);
	CHECK(left || steps < 16000, "no sharer left a spare copy");
	CHECK(merged > 200 || steps < 2000, "only %u merges", merged);
}

static void engine_equals_model(void)
{
	run(SIM_CONTENTS + 1, 0, true);
}

static void engine_survives_failing_allocations(void)
{
	run(SIM_CONTENTS + 1, 4, true);
}

/* Many contents have one hash: only the comparison keeps them apart. */
static void engine_survives_equal_hashes(void)
{
	run(7, 0, false);
}

static void engine_survives_both(void)
{
	run(7, 4, false);
}

/*
 * The figures that the ABI promises for n equal pages: each KSM page gets limit
 * sharers, and what is left over merges if it is more than one page.
 */
static void equal_pages_give_exact_counts(void)
{
	u32 limit, nr, page, i;

	for (limit = 2; limit <= 5; limit++) {
		for (nr = 1; nr <= 40; nr++) {
			struct model *model = model_new(limit, SIM_CONTENTS + 1);
			u32 rest = nr % limit == 1;
			u64 shared = nr / limit + (nr % limit > 1);
			const struct ksm_stats *stats = &model->sim->stats;

			for (page = 0; page < nr; page++)
				sim_write(model->sim, page * 7 % SIM_PAGES, 1);
			for (i = 0; i < 3; i++)
				model_pass(model);
			CHECK(stats->shared == shared, "limit %u, %u pages: %llu shared",
			      limit, nr, stats->shared);
			CHECK(ksm_stats_pages_sharing(stats) == nr - rest - shared,
			      "limit %u, %u pages: %llu sharing", limit, nr,
			      ksm_stats_pages_sharing(stats));
			CHECK(stats->tally.pages[KSM_PAGE_CANDIDATE] == rest,
			      "limit %u, %u pages: %llu unshared", limit, nr,
			      stats->tally.pages[KSM_PAGE_CANDIDATE]);
			CHECK(stats->chains == (shared > 1) &&
			      stats->dups == (shared > 1 ? shared : 0),
			      "limit %u, %u pages: %llu chains, %llu dups", limit, nr,
			      stats->chains, stats->dups);
			sim_end(model->sim);
		}
	}
}

static const struct harness_test tests[] = {
	{ "engine: equals the model", engine_equals_model },
	{ "engine: survives failing allocations", engine_survives_failing_allocations },
	{ "engine: survives equal hashes", engine_survives_equal_hashes },
	{ "engine: survives both", engine_survives_both },
	{ "engine: equal pages give exact counts", equal_pages_give_exact_counts },
};

int main(void)
{
	return harness_main(tests, ARRAY_SIZE(tests));
}
