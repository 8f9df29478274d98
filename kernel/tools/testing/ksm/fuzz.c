// SPDX-License-Identifier: GPL-2.0-only
/*
 * Inputs of libFuzzer as steps of the small engine, each checked by the model.
 *
 * The first byte chooses max_page_sharing, the second how many hashes there are
 * (few: contents collide) and whether the run must come to rest in the end, the
 * third the random numbers inside sim.c. Then follow the steps: one byte says
 * which, and as many as it wants say on what. What is missing at the end is 0, and
 * each byte means something, so no input is wasted.
 */
#include "harness.h"
#include "model.h"

#define MAX_RUN		16U	/* pages of one step */

struct input {
	const u8 *at;
	const u8 *end;
};

static u32 next(struct input *in, u32 limit)
{
	return in->at < in->end ? *in->at++ % limit : 0;
}

/* Both ends of a run of pages may lie in different chunks and mms. */
static u32 run_of_pages(struct input *in, u32 *first)
{
	*first = next(in, SIM_PAGES);
	return 1 + next(in, MAX_RUN);
}

static void write_pages(struct model *model, struct input *in)
{
	u32 page, nr = run_of_pages(in, &page), content = next(in, SIM_CONTENTS);

	for (; nr--; page++)
		sim_write(model->sim, page % SIM_PAGES, 1 + content);
}

/* The same bytes again: COW is broken for nothing. */
static void touch_pages(struct model *model, struct input *in)
{
	u32 page, nr = run_of_pages(in, &page);

	for (; nr--; page++)
		sim_write(model->sim, page % SIM_PAGES,
			  model->sim->page[page % SIM_PAGES].wanted);
}

static void discard_pages(struct model *model, struct input *in)
{
	u32 page, nr = run_of_pages(in, &page);

	for (; nr--; page++)
		sim_discard(model->sim, page % SIM_PAGES);
}

static void fork_pages(struct model *model, struct input *in)
{
	u32 from, nr = run_of_pages(in, &from), to = next(in, SIM_PAGES);

	for (; nr--; from++, to++)
		sim_fork(model->sim, from % SIM_PAGES, to % SIM_PAGES);
}

static void scan_pages(struct model *model, struct input *in)
{
	u32 page, nr = run_of_pages(in, &page);

	for (; nr--; page++)
		model_scan(model, page % SIM_PAGES);
}

static void exit_or_prune(struct model *model, struct input *in)
{
	u32 mm = next(in, SIM_MMS + 1);

	if (mm < SIM_MMS)
		model_exit(model, mm);
	else
		model_prune(model);
}

/* Lower half: this allocation from now on fails; upper half: one in so many. */
static void lose_memory(struct model *model, struct input *in)
{
	u32 how = next(in, 256);

	harness_mem_fail_nth(how < 128 ? how : 0);
	harness_mem_fail_one_in(how < 128 ? 0 : how - 128);
}

static void (*const steps[])(struct model *model, struct input *in) = {
	scan_pages,
	write_pages,
	scan_pages,
	fork_pages,
	scan_pages,
	discard_pages,
	touch_pages,
	exit_or_prune,
	scan_pages,
	lose_memory,
};

static void run(struct input *in)
{
	static const u32 hashes[] = { SIM_CONTENTS + 1, 1, 2, 7 };
	u32 limit = 2 + next(in, 5), how = next(in, 8);
	struct model *model;

	harness_begin(next(in, 256));
	model = model_new(limit, hashes[how / 2]);
	while (in->at < in->end) {
		steps[next(in, ARRAY_SIZE(steps))](model, in);
		model_check(model);
		harness_step++;
	}
	harness_mem_fail_nth(0);
	harness_mem_fail_one_in(0);
	/* Costly; and with equal hashes there may be too many for one place. */
	if (how == 1) {
		model_settle(model);
		model_check_settled(model);
	}
	sim_end(model->sim);
	harness_end();
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct input in = { data, data + size };

	run(&in);
	return 0;
}
