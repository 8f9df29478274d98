// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of policy.c: tables, a model in wider numbers, and what must hold for any
 * figures.
 */
#include <linux/minmax.h>
#include "harness.h"
#include "policy.h"

static void old_pages_are_looked_at_seldom(void)
{
	static const unsigned char period[] = { 1, 1, 1, 2, 3, 3, 5, 5, 5, 9, 9 };
	unsigned int age;

	for (age = 0; age < ARRAY_SIZE(period); age++)
		CHECK(ksm_policy_skip_period(age) == period[age], "age %u: %u", age,
		      ksm_policy_skip_period(age));
	for (; age <= 300; age++)
		CHECK(ksm_policy_skip_period(age) == 9, "age %u: %u", age,
		      ksm_policy_skip_period(age));
	CHECK(ksm_policy_skip_period(~0U) == 9, "%u", ksm_policy_skip_period(~0U));
	/* Old is what shares the longest period with all that is older. */
	for (age = 0; age <= 300; age++)
		CHECK(ksm_policy_is_old(age) == (ksm_policy_skip_period(age) == 9),
		      "age %u", age);
}

/* In as many passes as its period has, a page is looked at once. */
static void no_page_is_forgotten(void)
{
	unsigned int age, i, looks, period;
	u32 chunk;
	u64 pass;

	for (age = 0; age < 40; age++) {
		period = ksm_policy_skip_period(age);
		for (i = 0; i < 1000; i++) {
			chunk = rnd();
			looks = 0;
			/* Where pass + chunk wraps, one look may come late. */
			for (pass = rnd() >> 1; looks < period; looks++) {
				if (!ksm_policy_skips(age, chunk, pass + looks))
					break;
			}
			CHECK(looks < period, "age %u, chunk %u", age, chunk);
			pass += looks;
			for (looks = 1; looks < period; looks++)
				CHECK(ksm_policy_skips(age, chunk, pass + looks),
				      "age %u: again after %u passes", age, looks);
			CHECK(!ksm_policy_skips(age, chunk, pass + period),
			      "age %u: not after %u passes", age, period);
		}
	}
}

/* Chunks of one age: in each pass the same share of them is looked at. */
static void no_pass_is_heavy(void)
{
	enum { NR_CHUNKS = 512 };
	unsigned int age, looks, period;
	u32 chunk;
	u64 pass;

	for (age = 0; age < 40; age++) {
		period = ksm_policy_skip_period(age);
		for (pass = 0; pass < 30; pass++) {
			looks = 0;
			for (chunk = 0; chunk < NR_CHUNKS; chunk++)
				looks += !ksm_policy_skips(age, chunk, pass);
			CHECK(looks == NR_CHUNKS / period ||
			      looks == DIV_ROUND_UP(NR_CHUNKS, period),
			      "age %u, pass %llu: %u looks", age, pass, looks);
		}
	}
}

/*
 * A life without luck, from any pass on: the age grows in each pass, looked at or
 * passed by. In old age a page waits 9 passes; on the way there, where one period
 * ends before its look and the next begins, it may wait longer.
 */
static void nothing_waits_longer_than_13_passes(void)
{
	unsigned int age, first, wait, longest = 0, looks;

	/* 90 is a multiple of all periods: no other pass shows anything new. */
	for (first = 0; first < 90; first++) {
		wait = 0;
		looks = 0;
		for (age = 0; age < 1000; age++) {
			wait++;
			if (ksm_policy_skips(age, 0, first + age))
				continue;
			CHECK(wait <= (age < 18 ? 13 : 9), "a wait of %u passes", wait);
			longest = max_t(u32, longest, wait);
			wait = 0;
			looks++;
		}
		CHECK(looks >= 3 + 991 / 9 && looks <= 9 + 991 / 9 + 1, "%u looks",
		      looks);
	}
	CHECK(longest == 13, "%u passes at most", longest);
}

static const struct ksm_advice_input usual = {
	.pages_to_scan = 1000,
	.scan_seconds = 200,
	.cpu_ms = 20000,	/* 10 % */
	.target_seconds = 200,
	.max_cpu_percent = 70,
	.min_pages = 500,
	.max_pages = 30000,
};

static void advice_as_computed_by_hand(void)
{
	static const struct {
		u32 pages;
		u64 seconds, ms;
		u32 advice;
	} table[] = {
		{ 1000, 200, 20000, 1000 },	/* on target */
		{ 1000, 400, 20000, 1500 },	/* half the way to 2000 */
		{ 1000, 100, 20000, 750 },	/* half the way to 500 */
		{ 1000, 201, 20000, 1003 },	/* 1005: the rest is rounded up */
		{ 1000, 199, 20000, 997 },	/* 995: and down */
		{ 1000, 0, 500, 502 },		/* as 1 s: 5 */
		{ 1000, 20, 2000, 550 },	/* half the way to 100 */
		{ 600, 20, 2000, 500 },		/* 330 is less than the minimum */
		{ 1000, 20000, 20000, 15500 },	/* half the way to the maximum */
		{ 29999, 20000, 20000, 30000 },
		{ 40000, 400, 20000, 30000 },	/* the maximum was more before */
		{ 1000, 400, 279999, 1000 },	/* just below 70 % already */
		{ 1000, 400, 280001, 999 },	/* just above */
		{ 1000, 400, 400000, 700 },	/* 100 % */
		{ 2000, 400, 373334, 1499 },	/* slower, though the target is missed */
		{ 1000, 400, 4000000, 500 },	/* 70 would do; the minimum counts more */
		{ 0, 400, 0, 500 },
	};
	struct ksm_advice_input in = usual;
	u32 at;

	for (at = 0; at < ARRAY_SIZE(table); at++) {
		in.pages_to_scan = table[at].pages;
		in.scan_seconds = table[at].seconds;
		in.cpu_ms = table[at].ms;
		CHECK(ksm_policy_advise(&in) == table[at].advice,
		      "line %u: %u, not %u", at, ksm_policy_advise(&in),
		      table[at].advice);
	}
	CHECK(ksm_policy_cpu_percent(20000, 200) == 10, "percent");
	CHECK(ksm_policy_cpu_percent(1999, 1) == 199, "percent");
	CHECK(ksm_policy_cpu_percent(500, 0) == 50, "percent");
	CHECK(ksm_policy_cpu_percent(0, 0) == 0, "percent");
}

static unsigned __int128 smaller(unsigned __int128 a, unsigned __int128 b)
{
	return a < b ? a : b;
}

/* The definition, in numbers that are wide enough for all. */
static u32 model(const struct ksm_advice_input *in)
{
	unsigned __int128 longest = 1 << 22;
	unsigned __int128 seconds = smaller(in->scan_seconds ? in->scan_seconds : 1, longest);
	unsigned __int128 target = in->target_seconds ? in->target_seconds : 1;
	unsigned __int128 old = in->pages_to_scan ? in->pages_to_scan : 1;
	unsigned __int128 wanted = smaller(old * seconds / target, in->max_pages);
	unsigned __int128 pages = (old + wanted + (wanted > old)) / 2;
	unsigned __int128 cap = smaller(in->max_cpu_percent, 100) * old * 10 * seconds;

	if (in->cpu_ms)
		pages = smaller(pages, cap / in->cpu_ms);
	if (pages < in->min_pages)
		pages = in->min_pages;
	return smaller(pages, in->max_pages);
}

/* Powers of two and their neighbours, and all between them. */
static u64 any_number(unsigned int bits)
{
	u64 x = rnd() >> (64 - bits) >> rnd_below(bits);

	switch (rnd_below(4)) {
	case 0:
		return 0;
	case 1:
		return rnd_below(2) ? (u64)-1 >> (64 - bits) : 1;
	default:
		return x;
	}
}

static struct ksm_advice_input any_input(void)
{
	struct ksm_advice_input in = usual;

	in.pages_to_scan = any_number(32);
	in.scan_seconds = any_number(rnd_below(2) ? 20 : 64);
	in.cpu_ms = any_number(rnd_below(2) ? 30 : 64);
	if (rnd_below(2))
		return in;
	in.target_seconds = any_number(32);
	in.max_cpu_percent = any_number(rnd_below(2) ? 7 : 32);
	in.min_pages = any_number(32);
	in.max_pages = any_number(32);
	return in;
}

static void check_bounds(const struct ksm_advice_input *in, u32 advice)
{
	unsigned __int128 old = in->pages_to_scan ? in->pages_to_scan : 1;
	unsigned __int128 seconds = in->scan_seconds ? in->scan_seconds : 1;

	CHECK(advice <= in->max_pages, "%u pages, at most %u", advice, in->max_pages);
	CHECK(advice >= in->min_pages || advice == in->max_pages,
	      "%u pages, at least %u", advice, in->min_pages);
	/* Within the CPU limit, if a page costs as much as it did. */
	CHECK(advice <= in->min_pages || (unsigned __int128)in->cpu_ms * advice <=
	      (unsigned __int128)in->max_cpu_percent * 10 * seconds * old,
	      "%u pages are more than the CPU may do", advice);
}

static void advice_equals_the_model(void)
{
	unsigned long steps = harness_steps(300000);

	for (harness_step = 0; harness_step < steps; harness_step++) {
		struct ksm_advice_input in = any_input();
		u32 advice = ksm_policy_advise(&in);

		CHECK(advice == model(&in), "%u pages, not %u (%u, %llu s, %llu ms)",
		      advice, model(&in), in.pages_to_scan, in.scan_seconds, in.cpu_ms);
		check_bounds(&in, advice);
	}
}

/* Raises one figure; returns whether more of it asks for more pages. */
static bool raise_one(struct ksm_advice_input *in)
{
	u32 by = any_number(20);

	switch (rnd_below(6)) {
	case 0:
		in->scan_seconds = max_t(u64, in->scan_seconds, in->scan_seconds + by);
		return true;
	case 1:
		in->max_cpu_percent = max_t(u32, in->max_cpu_percent,
					    in->max_cpu_percent + by);
		return true;
	case 2:
		in->min_pages = max_t(u32, in->min_pages, in->min_pages + by);
		return true;
	case 3:
		in->max_pages = max_t(u32, in->max_pages, in->max_pages + by);
		return true;
	case 4:
		in->target_seconds = max_t(u32, in->target_seconds,
					   in->target_seconds + by);
		return false;
	default:
		in->cpu_ms = max_t(u64, in->cpu_ms, in->cpu_ms + by);
		return false;
	}
}

static void advice_is_monotone(void)
{
	unsigned long steps = harness_steps(300000);

	for (harness_step = 0; harness_step < steps; harness_step++) {
		struct ksm_advice_input in = any_input();
		u32 was = ksm_policy_advise(&in), is;
		bool more = raise_one(&in);

		is = ksm_policy_advise(&in);
		CHECK(more ? is >= was : is <= was, "%u pages became %u", was, is);
	}
}

/*
 * A memory of so many pages: one batch each 20 ms, and each page costs some
 * CPU time, which is part of neither batch nor pause here.
 */
static void one_pass(struct ksm_advice_input *in, u64 memory, u64 ns_a_page)
{
	in->scan_seconds = memory / in->pages_to_scan / 50;
	in->cpu_ms = memory * ns_a_page / 1000000;
	in->pages_to_scan = ksm_policy_advise(in);
}

static u64 bounded(u64 pages)
{
	return clamp_t(u64, pages, usual.min_pages, usual.max_pages);
}

/*
 * From any start, few passes lead to the pages that meet the target, or to what
 * limits them, and there the advice stays.
 */
static void advice_settles(u64 memory, u64 ns_a_page, u32 start)
{
	struct ksm_advice_input in = usual;
	u64 on_target = memory / usual.target_seconds / 50;
	/* 0.7 s of each second, in 50 batches. */
	u64 within_cpu = 700000000 / 50 / ns_a_page;
	u64 want = bounded(min(on_target, within_cpu));
	u64 slack = 1 + want / 20;
	int pass;

	in.pages_to_scan = start;
	for (pass = 0; pass < 16; pass++)
		one_pass(&in, memory, ns_a_page);
	for (; pass < 40; pass++) {
		CHECK(in.pages_to_scan + slack >= want && in.pages_to_scan <= want + slack,
		      "%llu pages, %llu ns each: pass %d scans %u, not %llu", memory,
		      ns_a_page, pass, in.pages_to_scan, want);
		one_pass(&in, memory, ns_a_page);
	}
}

static void advice_converges(void)
{
	static const u32 starts[] = { 1, 100, 500, 3000, 30000, 1000000 };
	u64 memory, ns;
	u32 at;

	/* 64 MiB to 4 TiB; a page costs from 0.1 us to 20 us. */
	for (memory = 1 << 14; memory <= 1 << 30; memory *= 2) {
		for (ns = 100; ns <= 20000; ns *= 2) {
			for (at = 0; at < ARRAY_SIZE(starts); at++)
				advice_settles(memory, ns, starts[at]);
		}
	}
}

static void one_in_64_is_fresh(void)
{
	CHECK(!ksm_policy_is_fresh(0, 0), "nothing at all");
	CHECK(!ksm_policy_is_fresh(0, 4096), "nothing new");
	CHECK(!ksm_policy_is_fresh(63, 4096), "63 of 4096");
	CHECK(ksm_policy_is_fresh(64, 4096), "64 of 4096");
	CHECK(ksm_policy_is_fresh(1, 1), "all of it");
	CHECK(ksm_policy_is_fresh(~0ULL, ~0ULL), "all of everything");
}

/* Work and rest together must give the share that was asked for. */
static void a_rest_keeps_the_share(void)
{
	u64 work, rest;
	u32 percent;

	for (percent = 1; percent <= 100; percent++) {
		for (work = 0; work <= 8000000; work += 1000000) {
			rest = ksm_policy_rest_ns(work, percent);
			CHECK(rest == work * (100 - percent) / percent,
			      "%u %%: %llu ns of work, %llu of rest", percent,
			      work, rest);
		}
	}
	CHECK(!ksm_policy_rest_ns(1000, 1000), "more than a CPU");
	CHECK(ksm_policy_rest_ns(100, 0) == 9900, "0 counts as 1");
	CHECK(ksm_policy_rest_ns(~0ULL, 1) == 1000000000, "a second at most");
	CHECK(ksm_policy_rest_ns(~0ULL, 99) == 1000000000, "a second at most");
}

static const struct harness_test tests[] = {
	{ "policy: old pages are looked at seldom", old_pages_are_looked_at_seldom },
	{ "policy: no page is forgotten", no_page_is_forgotten },
	{ "policy: no pass is heavy", no_pass_is_heavy },
	{ "policy: nothing waits longer than 13 passes",
	  nothing_waits_longer_than_13_passes },
	{ "policy: advice as computed by hand", advice_as_computed_by_hand },
	{ "policy: advice equals the model and keeps the limits",
	  advice_equals_the_model },
	{ "policy: advice is monotone", advice_is_monotone },
	{ "policy: advice converges", advice_converges },
	{ "policy: one page in 64 is much that is new", one_in_64_is_fresh },
	{ "policy: a rest keeps the share of a CPU", a_rest_keeps_the_share },
};

int main(void)
{
	return harness_main(tests, ARRAY_SIZE(tests));
}
