// SPDX-License-Identifier: GPL-2.0-only
/*
 * Test memory: areas with known contents, and what the kernel says about the
 * page behind an address.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "ksm_util.h"

size_t page_size = 4096;
char *ksm_keeper;

/* --- contents ------------------------------------------------------------ */

/* Word @i of the content called @seed: every word differs, also by seed. */
static inline uint64_t word_of(uint64_t seed, size_t i)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15ull + i + 1;

	x = (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9ull;
	return x ^ (x >> 32);
}

void page_fill(void *page, uint64_t seed)
{
	uint64_t *w = page;
	size_t i;

	for (i = 0; i < page_size / sizeof(*w); i++)
		w[i] = word_of(seed, i);
}

size_t page_differs(const void *page, uint64_t seed)
{
	const uint64_t *w = page;
	size_t i;

	for (i = 0; i < page_size / sizeof(*w); i++)
		if (__atomic_load_n(&w[i], __ATOMIC_RELAXED) !=
		    word_of(seed, i))
			return i * sizeof(*w) + 1;
	return 0;
}

void page_check(const void *page, uint64_t seed, const char *when)
{
	size_t off = page_differs(page, seed);
	const uint64_t *w = page;

	if (!off)
		return;
	off--;
	ksm_corrupt("%s: page %p offset %zu holds %016llx, expected %016llx (content %llu), pagemap %016llx",
		    when, page, off, (unsigned long long)w[off / sizeof(*w)],
		    (unsigned long long)word_of(seed, off / sizeof(*w)),
		    (unsigned long long)seed,
		    (unsigned long long)pagemap_of(page));
}

void area_fill_same(char *area, size_t pages, uint64_t seed)
{
	size_t i;

	for (i = 0; i < pages; i++)
		page_fill(page_at(area, i), seed);
}

void area_fill_each(char *area, size_t pages, uint64_t seed)
{
	size_t i;

	for (i = 0; i < pages; i++)
		page_fill(page_at(area, i), seed + i);
}

void area_check_same(const char *area, size_t pages, uint64_t seed,
		     const char *when)
{
	size_t i;

	for (i = 0; i < pages; i++)
		page_check(page_at(area, i), seed, when);
}

void area_check_each(const char *area, size_t pages, uint64_t seed,
		     const char *when)
{
	size_t i;

	for (i = 0; i < pages; i++)
		page_check(page_at(area, i), seed + i, when);
}

void area_check_zero(const char *area, size_t pages, const char *when)
{
	const char *p = area, *end = area + pages * page_size;

	for (; p < end; p++)
		if (*p)
			ksm_corrupt("%s: page %zu offset %zu holds 0x%02x, expected 0",
				    when, (p - area) / page_size,
				    (p - area) % page_size, (unsigned char)*p);
}

/* --- areas --------------------------------------------------------------- */

char *area_new(size_t pages)
{
	char *p = mmap(NULL, pages * page_size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(p != MAP_FAILED, "mmap of %zu pages: %m", pages);
	/* EINVAL from a kernel without huge pages is as good. */
	if (madvise(p, pages * page_size, MADV_NOHUGEPAGE) && errno != EINVAL)
		fail("MADV_NOHUGEPAGE: %m");
	return p;
}

void area_advise(char *area, size_t pages, int advice)
{
	if (madvise(area, pages * page_size, advice))
		fail("madvise(%p, %zu pages, advice %d): %m", area, pages,
		     advice);
}

char *area_same(size_t pages, uint64_t seed)
{
	char *p = area_new(pages);

	area_fill_same(p, pages, seed);
	area_advise(p, pages, MADV_MERGEABLE);
	return p;
}

char *area_each(size_t pages, uint64_t seed)
{
	char *p = area_new(pages);

	area_fill_each(p, pages, seed);
	area_advise(p, pages, MADV_MERGEABLE);
	return p;
}

char *area_zeros(size_t pages)
{
	char *p = area_new(pages);

	/* Write, so that the pages are there and are our own. */
	memset(p, 1, pages * page_size);
	memset(p, 0, pages * page_size);
	area_advise(p, pages, MADV_MERGEABLE);
	return p;
}

void area_free(char *area, size_t pages)
{
	must_call(munmap(area, pages * page_size));
}

char *area_move(char *area, char *to, size_t pages)
{
	size_t bytes = pages * page_size;

	must(mremap(area, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to,
	     "mremap of %zu pages: %m", pages);
	return to;
}

/* --- what the kernel says about a page ------------------------------------ */

/* One 64-bit record of a /proc array; the file must be readable (root). */
static uint64_t proc_record(const char *path, uint64_t index)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t v = 0;

	must(fd >= 0, "%s: %m", path);
	if (pread(fd, &v, sizeof(v), index * sizeof(v)) != sizeof(v))
		fail("%s, record %llu: %m", path, (unsigned long long)index);
	close(fd);
	return v;
}

uint64_t pagemap_of(const void *addr)
{
	return proc_record("/proc/self/pagemap", (uintptr_t)addr / page_size);
}

uint64_t page_pfn(const void *addr)
{
	uint64_t pm = pagemap_of(addr);

	return pm & PM_PRESENT ? pm & ((1ull << 55) - 1) : 0;
}

bool pfn_has_flag(uint64_t pfn, int kpf)
{
	return proc_record("/proc/kpageflags", pfn) & (1ull << kpf);
}

long pfn_mapcount(uint64_t pfn)
{
	return proc_record("/proc/kpagecount", pfn);
}

bool page_is_ksm(const void *addr)
{
	uint64_t pfn = page_pfn(addr);

	return pfn && pfn_has_flag(pfn, KPF_KSM_PAGE);
}

size_t area_count_ksm(const char *area, size_t pages)
{
	size_t i, n = 0;

	for (i = 0; i < pages; i++)
		n += page_is_ksm(page_at(area, i));
	return n;
}

size_t area_count_swapped(const char *area, size_t pages)
{
	size_t i, n = 0;

	for (i = 0; i < pages; i++)
		n += !!(pagemap_of(page_at(area, i)) & PM_SWAP);
	return n;
}

size_t area_count_zero(const char *area, size_t pages)
{
	size_t i, n = 0;

	for (i = 0; i < pages; i++) {
		uint64_t pfn = page_pfn(page_at(area, i));

		n += pfn && pfn_has_flag(pfn, KPF_ZERO);
	}
	return n;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Number of different page frames behind the present pages. */
size_t area_count_frames(const char *area, size_t pages)
{
	uint64_t *pfns = calloc(pages, sizeof(*pfns));
	size_t i, n = 0;

	must(pfns, "out of memory");
	for (i = 0; i < pages; i++)
		pfns[i] = page_pfn(page_at(area, i));
	qsort(pfns, pages, sizeof(*pfns), by_value);
	for (i = 0; i < pages; i++)
		n += pfns[i] && (!i || pfns[i] != pfns[i - 1]);
	free(pfns);
	return n;
}

/*
 * Give @line() every smaps line of the mapping that holds @addr, until it
 * returns true.
 */
static bool smaps_find(const void *addr,
		       bool (*line)(const char *text, const char *word,
				    long *kb),
		       const char *word, long *kb)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	unsigned long lo, hi;
	bool inside = false, found = false;
	char text[512];

	must(f, "/proc/self/smaps: %m");
	while (!found && fgets(text, sizeof(text), f)) {
		if (sscanf(text, "%lx-%lx ", &lo, &hi) == 2)
			inside = (unsigned long)addr >= lo &&
				 (unsigned long)addr < hi;
		else if (inside)
			found = line(text, word, kb);
	}
	fclose(f);
	return found;
}

static bool is_flag(const char *text, const char *word, long *kb)
{
	char want[8];

	(void)kb;
	snprintf(want, sizeof(want), " %s", word);
	return !strncmp(text, "VmFlags:", 8) && strstr(text + 8, want);
}

static bool is_size(const char *text, const char *word, long *kb)
{
	size_t n = strlen(word);

	if (strncmp(text, word, n) || text[n] != ':')
		return false;
	*kb = strtol(text + n + 1, NULL, 10);
	return true;
}

char *vvar_area(size_t *pages)
{
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned long lo, hi;
	char line[256] = "";

	must(f, "/proc/self/maps: %m");
	while (fgets(line, sizeof(line), f) && !strstr(line, "[vvar]"))
		;
	fclose(f);
	if (!strstr(line, "[vvar]") || sscanf(line, "%lx-%lx", &lo, &hi) != 2)
		skip("no [vvar] mapping in this process");
	*pages = (hi - lo) / page_size;
	return (char *)lo;
}

bool vma_has_flag(const void *addr, const char *flag)
{
	return smaps_find(addr, is_flag, flag, NULL);
}

long vma_smaps_kb(const void *addr, const char *key)
{
	long kb = -1;

	smaps_find(addr, is_size, key, &kb);
	return kb;
}
