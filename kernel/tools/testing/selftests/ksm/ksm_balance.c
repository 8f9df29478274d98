// SPDX-License-Identifier: GPL-2.0-only
/*
 * NUMA balancing takes access away from pages of other nodes, to see who needs
 * them.  They merge even so, and stay out of their owners' writing.
 */
#define _GNU_SOURCE
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "ksm_util.h"

#define BALANCING	"/proc/sys/kernel/numa_balancing"
#define PAGES		64

/* Stay on this CPU; returns its node. */
static int stay_here(void)
{
	unsigned int cpu, node;

	must_call(syscall(SYS_getcpu, &cpu, &node, NULL));
	run_on(cpu);
	return node;
}

/* Where pages are was decided; from now on balancing may have its say. */
static void allow_balancing(char *p, size_t pages)
{
	must_call(syscall(SYS_mbind, p, pages * page_size, MPOL_DEFAULT, NULL,
			  0, 0));
}

/*
 * Only a thread that runs is balanced, and what it does not touch stays as it
 * was made.  Pages on this CPU's own node are left alone, so those counted are
 * ours.
 */
static void spin_until_taken(size_t pages)
{
	long start = vmstat_of("numa_pte_updates");
	uint64_t limit = now_ms() + ksm_wait_limit * 500ull, next = 0;

	must(start >= 0, "/proc/vmstat has no numa_pte_updates");
	while (now_ms() < limit) {
		if (now_ms() < next)
			continue;
		if (vmstat_of("numa_pte_updates") - start >= (long)pages)
			return;
		next = now_ms() + 50;
	}
	skip("in %u s NUMA balancing took access from %ld pages, not %zu",
	     ksm_wait_limit / 2, vmstat_of("numa_pte_updates") - start, pages);
}

static void test_prot_none(void)
{
	long faults;
	char *p;

	need_two_nodes();
	if (file_write(BALANCING, "1"))
		skip("the kernel does not balance nodes");
	p = area_on(!stay_here(), PAGES, 1);
	allow_balancing(p, PAGES);
	/* It leaves pages alone that wait on this CPU's lists: empty them. */
	flush_own_tlb();
	spin_until_taken(PAGES);
	faults = vmstat_of("numa_hint_faults");
	ksm_settle();
	ksm_expect("64 copies without access", 1, PAGES - 1, 0, 0);
	must_eq("merged pages", area_count_ksm(p, PAGES), PAGES);
	area_check_same(p, PAGES, 1, "merged without access");
	/* The page that became the KSM page has the entry it had before. */
	must(vmstat_of("numa_hint_faults") > faults,
	     "reading 64 pages without access, none faults");
	area_fill_each(p, PAGES / 2, 500);
	area_check_same(page_at(p, PAGES / 2), PAGES / 2, 1, "others wrote");
	area_check_each(p, PAGES / 2, 500, "written");
	ksm_settle();
	ksm_expect("half of them written", 1, PAGES / 2 - 1, PAGES / 2, 0);
	area_check_same(page_at(p, PAGES / 2), PAGES / 2, 1, "at the end");
}

static const struct ksm_case cases[] = {
	{ "prot_none", test_prot_none, KSM_EXCLUSIVE },
	{ }
};

const struct ksm_topic topic_balance = { "balance", cases };
