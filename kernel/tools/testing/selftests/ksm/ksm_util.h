/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What every KSM selftest shares: the shape of a test case, the way it ends,
 * the KSM control files, test memory with known contents, child processes.
 *
 * A case runs in a process of its own.  It ends by returning (passed) or by
 * fail() or skip(), from any process or thread of the case; the first one to
 * speak decides.  The runner (ksm_main.c) sets every knob before a case and
 * puts it back afterwards, so cases only set what differs.
 */
#ifndef KSM_UTIL_H
#define KSM_UTIL_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define KSM_DIR		"/sys/kernel/mm/ksm/"
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* --- cases ------------------------------------------------------------- */

/* The case disturbs the whole machine (swap, hotplug, compaction). */
#define KSM_EXCLUSIVE	1u
/* The case is given three times the usual deadline. */
#define KSM_SLOW	2u
/* The case is given a ninth of the usual deadline. */
#define KSM_QUICK	4u

/**
 * struct ksm_case - one test
 * @name:    unique within its topic, words joined by '_'
 * @run:     the test; returns if it passed, else calls fail() or skip()
 * @flags:   KSM_EXCLUSIVE, KSM_SLOW, KSM_QUICK
 * @defect:  if set, what 6.1's own engine is known to do wrong here; a
 *           failure there is then reported as a skip with this text, unless
 *           memory had wrong contents
 */
struct ksm_case {
	const char *name;
	void (*run)(void);
	unsigned int flags;
	const char *defect;
};

/**
 * struct ksm_topic - the cases of one source file
 * @name:  first part of each test's printed name
 * @cases: ends with an entry without name
 */
struct ksm_topic {
	const char *name;
	const struct ksm_case *cases;
};

extern const struct ksm_topic topic_madvise, topic_counters, topic_cow,
	topic_zero, topic_fork, topic_exit, topic_prot, topic_remap,
	topic_discard, topic_pin, topic_uring, topic_ptebits, topic_swap,
	topic_numa, topic_hotplug, topic_thp, topic_sysfs, topic_rmap,
	topic_unmerge, topic_scan, topic_saving, topic_inject,
	topic_stress, topic_stat, topic_smart, topic_advisor, topic_boost,
	topic_threads,
	topic_refused, topic_prctl, topic_collide, topic_poison,
	topic_abi, topic_oom, topic_trace, topic_daemon, topic_frame,
	topic_chain, topic_swapin, topic_balance, topic_fault, topic_kvm;

/* --- ending a case ----------------------------------------------------- */

void __noreturn __printf(3, 4) ksm_fail(const char *file, int line,
					const char *fmt, ...);
/* A wrong byte in memory: a failure that no known defect excuses. */
void __noreturn __printf(1, 2) ksm_corrupt(const char *fmt, ...);
void __noreturn __printf(1, 2) ksm_skip(const char *fmt, ...);
/* A line for the reader of the log; never a verdict. */
void __printf(1, 2) ksm_note(const char *fmt, ...);

#define fail(...)	ksm_fail(__FILE__, __LINE__, __VA_ARGS__)
#define skip(...)	ksm_skip(__VA_ARGS__)
#define must(cond, ...)	do { if (!(cond)) fail(__VA_ARGS__); } while (0)
/* A system call that has to work: names itself and errno when it does not. */
#define must_call(expr)	do { \
	if ((long)(expr) == -1) \
		fail("%s: errno %d (%m)", #expr, errno); \
} while (0)
#define must_eq(what, got, want)	do { \
	long long got__ = (got), want__ = (want); \
	if (got__ != want__) \
		fail("%s is %lld, expected %lld", what, got__, want__); \
} while (0)

/* --- the engine and its files (ksm_util.c) ----------------------------- */

/* True on the engine of this project, false on mainline's. */
bool ksm_is_samepage(void);

bool ksm_has(const char *knob);
/* Value of a file in KSM_DIR; the case fails if it cannot be read. */
long ksm_read(const char *knob);
/* Write to a file in KSM_DIR; returns 0 or -errno. */
int ksm_write(const char *knob, const char *text);
/* As ksm_write() with a number; the case fails if it is refused. */
void ksm_set(const char *knob, long value);
/* Write to any file; returns 0 or -errno. */
int file_write(const char *path, const char *text);
/* The number at the start of any file, or -1. */
long file_number(const char *path);
/* The number after "@key " or "@key:" in a file of such lines, or -1. */
long file_field(const char *path, const char *key);
/* Read a whole small file as a string; returns 0 or -errno. */
int file_text(const char *path, char *buf, size_t size);
/*
 * What follows "@key " or "@key:" on its line, without blanks before it; false
 * if no line begins so.
 */
bool file_line(const char *path, const char *key, char *value, size_t size);

/*
 * For what younger kernels than 6.1 have: mainline without it skips the case,
 * the engine of this project must have it.
 */
void ksm_need(const char *knob);
/* The same for a line of /proc/PID/ksm_stat. */
void proc_ksm_need(const char *field);
/* The same, with another thing's name and whether it is there. */
void ksm_need_that(const char *what, bool is_there);
/* A file in KSM_DIR whose number may be negative. */
long ksm_read_signed(const char *knob);
/* A line of ksm_stat with a number that may be negative; it must be there. */
long proc_ksm_signed(pid_t pid, const char *field);

/* Wait for @n increments of full_scans; ksmd must be running (run=1). */
void ksm_wait_scans(unsigned int n);
/* run=1, then the rest of a pass that may be under way and two full ones. */
void ksm_settle(void);
/* One pass after the one under way: what was COWed has left the counters. */
void ksm_forget(void);

/**
 * struct ksm_counts - the four page counters
 *
 * -1 in an expectation means that the value does not matter.
 */
struct ksm_counts {
	long shared, sharing, unshared, pvolatile;
};

void ksm_get_counts(struct ksm_counts *c);
/*
 * The counters must get to these values, at the latest some passes after now:
 * one page can be held for a moment by somebody else.
 */
void ksm_expect(const char *when, long shared, long sharing, long unshared,
		long pvolatile);
/* What @copies equal pages must give under max_page_sharing=@max. */
void ksm_partition(long copies, long max, long *shared, long *sharing);

long vmstat_of(const char *field);
/* Files of /proc/PID; pid 0 is the caller.  -1 if the kernel has it not. */
long proc_merging_pages(pid_t pid);
long proc_ksm_stat(pid_t pid, const char *field);

/* --- test memory (ksm_mem.c) ------------------------------------------- */

extern size_t page_size;
/* A page that the runner advises in each case; full_scans needs somebody. */
extern char *ksm_keeper;

/* Private anonymous read-write memory, never huge, not yet mergeable. */
char *area_new(size_t pages);
/* The same, advised MADV_MERGEABLE, every page filled with @seed's content. */
char *area_same(size_t pages, uint64_t seed);
/* The same, page i filled with the content of seed @seed + i. */
char *area_each(size_t pages, uint64_t seed);
/* The same, every page present and full of zeros. */
char *area_zeros(size_t pages);
void area_free(char *area, size_t pages);
/* mremap() to @to, which it replaces and returns. */
char *area_move(char *area, char *to, size_t pages);
void area_advise(char *area, size_t pages, int advice);

void page_fill(void *page, uint64_t seed);
void page_check(const void *page, uint64_t seed, const char *when);
/* 0 if equal, else the first wrong offset + 1; never ends the case. */
size_t page_differs(const void *page, uint64_t seed);
void area_fill_same(char *area, size_t pages, uint64_t seed);
void area_fill_each(char *area, size_t pages, uint64_t seed);
void area_check_same(const char *area, size_t pages, uint64_t seed,
		     const char *when);
void area_check_each(const char *area, size_t pages, uint64_t seed,
		     const char *when);
void area_check_zero(const char *area, size_t pages, const char *when);

static inline char *page_at(const char *area, size_t n)
{
	return (char *)area + n * page_size;
}

/* Accesses that the compiler can neither leave out nor merge. */
static inline unsigned char byte_read(const char *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static inline void byte_write(char *p, unsigned char value)
{
	__atomic_store_n(p, value, __ATOMIC_RELAXED);
}

/* /proc/PID/pagemap and /proc/kpage*: the truth about one address. */
#define PM_SOFT_DIRTY	(1ull << 55)
#define PM_UFFD_WP	(1ull << 57)
#define PM_SWAP		(1ull << 62)
#define PM_PRESENT	(1ull << 63)
#define KPF_HUGE_PAGE	17
#define KPF_THP_PAGE	22
#define KPF_KSM_PAGE	21
#define KPF_ZERO	24
uint64_t pagemap_of(const void *addr);
/* Page frame of a present page, 0 if none is present. */
uint64_t page_pfn(const void *addr);
bool pfn_has_flag(uint64_t pfn, int kpf);
long pfn_mapcount(uint64_t pfn);
bool page_is_ksm(const void *addr);
size_t area_count_ksm(const char *area, size_t pages);
/* Pages that are mapped to the kernel's zero page. */
size_t area_count_zero(const char *area, size_t pages);
size_t area_count_swapped(const char *area, size_t pages);
size_t area_count_frames(const char *area, size_t pages);
/* True if the mapping at @addr has this two-letter VmFlags word in smaps. */
bool vma_has_flag(const void *addr, const char *flag);
/* The kernel's data that every process can read, as raw frames; skips if none. */
char *vvar_area(size_t *pages);
/* "KEY: N kB" of the mapping at @addr in smaps, in KiB; -1 if none. */
long vma_smaps_kb(const void *addr, const char *key);

/* Of other topics: huge pages in a row, present as such (ksm_thp.c). */
char *huge_new(size_t n);
/* Skips on machines with one node; equal pages, all of them on @node. */
void need_two_nodes(void);
char *area_on(int node, size_t pages, uint64_t seed);
/* A pipe that holds the page itself by vmsplice(); take it out of there. */
void pipe_put_page(int pipe, char *p);
void pipe_get_page(int fd, char *buf);
/* Say that nobody has used a page, which visits all who map it (ksm_rmap.c). */
void page_set_idle(uint64_t pfn);
/*
 * Record one event, "SYSTEM/NAME", from now on and nothing else; skips without
 * tracefs.  How often event NAME came with @text (NULL: any) in it; the text of
 * the last one goes to @last if that is given (ksm_trace.c).
 */
void trace_record(const char *event);
long trace_recorded(const char *name, const char *text, char last[512]);
/* Passes slow enough to do something in each, smart_scan on or off (ksm_smart.c). */
void smart_start(int on);
/* Wait until @pages of @p are merged; fails after @most passes. */
void merged_within(char *p, size_t pages, long most, const char *what);
/* The kernel's thread (ksm_daemon.c). */
pid_t ksmd_pid(void);

/* --- allocations that fail, on debug kernels (ksm_fault.c) -------------- */

/* Skips unless they can be made to fail; then every kind can. */
void need_failing(void);
/* After that: but for the pages of processes. */
void spare_pages(void);
/* The @n-th allocation of this thread from now on fails, 0 for none. */
void fail_nth(int n);
/* Has it failed?  None fails from now on. */
bool nth_has_failed(void);

/* --- processes --------------------------------------------------------- */

/* Fork a process that runs @fn(@arg) and ends with status 0. */
pid_t child(void (*fn)(void *arg), void *arg);
/* Wait for it; a child that failed takes the case with it. */
void join(pid_t pid);
/* SIGKILL it and wait until it is gone. */
void kill_child(pid_t pid);

/* Steps shared between processes: memory that forks see, or use *_at(). */
struct gate {
	int step;
};
struct gate *gate_new(void);
void gate_open(struct gate *g, int step);
/* Returns once @step (or a later one) was opened; fails at the deadline. */
void gate_wait(struct gate *g, int step);
/* Shared (MAP_SHARED) zeroed memory for results of children. */
void *shared_new(size_t bytes);

/* This thread, and children to come, run on that CPU alone. */
void run_on(int cpu);
void nap_ms(unsigned int ms);
uint64_t now_ms(void);
/* Flush this thread's TLB, so that accessed bits are written again. */
void flush_own_tlb(void);

/* --- a block device made for the case (ksm_dev.c) ---------------------- */

/* Path of a swap device of at least @bytes, switched on; skips if none. */
const char *swap_on(size_t bytes);
void swap_off(const char *dev);
/* By the runner after each case: no swap of ours stays on. */
void swap_cleanup(void);
/* Move the caller (and children to come) into a memory cgroup of its own. */
void memcg_enter(void);
/* Ask for @bytes to be reclaimed from it; returns 0 or -errno. */
int memcg_reclaim(size_t bytes);
/* Swap its memory at @p out; the case fails if even most of it stays. */
void memcg_push_out(const char *p, size_t pages);
/* Bytes charged to it now. */
long memcg_current(void);
/* Its limit in bytes, -1 for none. */
void memcg_limit(long bytes);
void memcg_cleanup(void);
/*
 * An open O_DIRECT file of @blocks pages, block i with the content of seed
 * @seed + i; skips if no file system or device here can do direct I/O.
 */
int direct_file(size_t blocks, uint64_t seed);
void direct_cleanup(void);
/* The trace instance of a case goes with it. */
void trace_cleanup(void);
/* Whatever was made to fail works again (ksm_fault.c). */
void fault_cleanup(void);


/* --- the runner's side -------------------------------------------------- */
/* What a file in KSM_DIR held when the runner started; "" if it has none. */
const char *knob_at_start(const char *knob);
struct ksm_verdict {
	int state;		/* enum ksm_end */
	char why[480];
	char swap_dev[32];	/* what swap_on() has set up, or empty */
};
enum ksm_end {
	KSM_RUNNING, KSM_PASSED, KSM_FAILED, KSM_CORRUPT, KSM_SKIPPED
};
extern struct ksm_verdict *ksm_verdict;
/* Seconds that a waiting helper may take before it fails the case. */
extern unsigned int ksm_wait_limit;

#endif /* KSM_UTIL_H */
