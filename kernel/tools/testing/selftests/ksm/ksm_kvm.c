// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who maps memory without the page tables of its owner: KVM, whose guests have
 * page tables and TLBs of their own.  It is told what it has to be told of a
 * merge, and no more; and a guest that writes while ksmd merges loses nothing.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "ksm_util.h"

/* From now on KVM is told of what happens to this process' page tables. */
static int vm_new(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm;

	if (kvm < 0)
		skip("no KVM on this machine: %m");
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	must_call(vm);
	close(kvm);
	return vm;
}

/* --- what it is told -------------------------------------------------------- */

#define PAGES	16

/* How often KVM was told that one of these pages has another entry. */
static long times_told(const char *p)
{
	char text[32];
	long n = 0;
	size_t i;

	for (i = 0; i < PAGES; i++) {
		snprintf(text, sizeof(text), "hva: %#016lx",
			 (unsigned long)page_at(p, i));
		n += trace_recorded("kvm_set_spte_hva", text, NULL);
	}
	return n;
}

/* Merge the pages, all alike, and see how often KVM was told. */
static long told_of_merge(char *p)
{
	trace_record("kvm/kvm_set_spte_hva");
	area_advise(p, PAGES, MADV_MERGEABLE);
	ksm_settle();
	ksm_expect("16 copies", 1, PAGES - 1, 0, 0);
	ksm_set("run", 0);
	area_check_same(p, PAGES, 1, "merged");
	return times_told(p);
}

static void hold_pages(void *arg)
{
	struct gate *go = arg;

	gate_wait(go, 1);
}

/*
 * A page that can be written to gets an entry without that right, and then one
 * for the merged page.  A page that was read-only before keeps its entry until
 * then, and nobody is told.  The page that the others join keeps its entry.
 */
static void test_told_once(void)
{
	struct gate *go = gate_new();
	char *p = area_new(PAGES);
	int vm = vm_new();
	pid_t pid;

	if (!ksm_is_samepage())
		skip("mainline's engine unmerges by writing, which leaves no entry read-only");
	area_fill_same(p, PAGES, 1);
	must_eq("changes that KVM is told of, of 16 writable pages",
		told_of_merge(p), PAGES + PAGES - 1);
	/* Now they are as if only read, and after a fork nobody's alone. */
	area_advise(p, PAGES, MADV_UNMERGEABLE);
	pid = child(hold_pages, go);
	must_eq("changes that KVM is told of, of 16 read-only pages",
		told_of_merge(p), PAGES - 1);
	gate_open(go, 1);
	join(pid);
	close(vm);
}

/* --- a guest that writes ------------------------------------------------------ */

#ifdef __x86_64__

/* Guest memory: a page of code, then data. */
#define DATA		32
#define GUEST_BYTES	((1 + DATA) * 4096)

/*
 * Goes over the data pages EBX times.  Each must begin with EAX, as it was left
 * the last time, and then gets EDX; the next time it is the other way round.
 * EBP is how long to wait in between.  Halts; EBX is then 0, or else the page at
 * EDI has lost what was written to it.
 */
static const unsigned char guest_code[] = {
	0xbf, 0x00, 0x10, 0x00, 0x00,		/* 1: mov  $0x1000, %edi */
	0x39, 0x07,				/* 2: cmp  %eax, (%edi) */
	0x75, 0x15,				/*    jne  4f */
	0x89, 0x17,				/*    mov  %edx, (%edi) */
	0x81, 0xc7, 0x00, 0x10, 0x00, 0x00,	/*    add  $0x1000, %edi */
	0x39, 0xf7,				/*    cmp  %esi, %edi */
	0x72, 0xf0,				/*    jb   2b */
	0x92,					/*    xchg %eax, %edx */
	0x89, 0xe9,				/*    mov  %ebp, %ecx */
	0x49,					/* 3: dec  %ecx */
	0x75, 0xfd,				/*    jnz  3b */
	0x4b,					/*    dec  %ebx */
	0x75, 0xe2,				/*    jnz  1b */
	0xf4,					/* 4: hlt */
};

/* Reads the data pages once: each must begin with EAX. Else as above. */
static const unsigned char reader_code[] = {
	0xbf, 0x00, 0x10, 0x00, 0x00,		/*    mov  $0x1000, %edi */
	0x39, 0x07,				/* 1: cmp  %eax, (%edi) */
	0x75, 0x0b,				/*    jne  2f */
	0x81, 0xc7, 0x00, 0x10, 0x00, 0x00,	/*    add  $0x1000, %edi */
	0x39, 0xf7,				/*    cmp  %esi, %edi */
	0x72, 0xf2,				/*    jb   1b */
	0x4b,					/*    dec  %ebx */
	0xf4,					/* 2: hlt */
};

/* Where it is on the page of code */
#define READER		0x100

struct guest {
	int vm, cpu;
	struct kvm_run *run;
	char *memory, *data;
	uint32_t value[2];	/* what is there, and what comes next */
};

static void set_segment(struct kvm_segment *s, int type)
{
	*s = (struct kvm_segment){
		.limit = ~0u, .selector = 8, .type = type, .present = 1,
		.s = 1, .db = 1, .g = 1,
	};
}

/* Protected mode, all segments over all memory, no paging of its own. */
static void set_mode(int cpu)
{
	struct kvm_sregs s;

	must_call(ioctl(cpu, KVM_GET_SREGS, &s));
	set_segment(&s.cs, 11);
	set_segment(&s.ds, 3);
	s.es = s.fs = s.gs = s.ss = s.ds;
	s.cr0 |= 1;
	must_call(ioctl(cpu, KVM_SET_SREGS, &s));
}

static void guest_new(struct guest *g)
{
	struct kvm_userspace_memory_region slot = { .memory_size = GUEST_BYTES };

	g->vm = vm_new();
	g->memory = area_new(1 + DATA);
	g->data = page_at(g->memory, 1);
	memcpy(g->memory, guest_code, sizeof(guest_code));
	memcpy(g->memory + READER, reader_code, sizeof(reader_code));
	slot.userspace_addr = (uintptr_t)g->memory;
	must_call(ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &slot));
	g->cpu = ioctl(g->vm, KVM_CREATE_VCPU, 0);
	must_call(g->cpu);
	g->run = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		      g->cpu, 0);
	must(g->run != MAP_FAILED, "mmap of a virtual CPU: %m");
	set_mode(g->cpu);
}

static void guest_go(struct guest *g, struct kvm_regs regs)
{
	must_call(ioctl(g->cpu, KVM_SET_REGS, &regs));
	while (ioctl(g->cpu, KVM_RUN, 0))
		must(errno == EINTR || errno == EAGAIN, "KVM_RUN: %m");
	must_eq("exit reason of the guest", g->run->exit_reason, KVM_EXIT_HLT);
	must_call(ioctl(g->cpu, KVM_GET_REGS, &regs));
	if (regs.rbx)
		ksm_corrupt("a guest wrote %llx to the page at %llx and finds %x there, %llu rounds before the end",
			    regs.rax, regs.rdi,
			    *(uint32_t *)(g->memory + regs.rdi), regs.rbx);
	g->value[0] = regs.rax;
	g->value[1] = regs.rdx;
}

/* Let it go over its data so often; it must find all as it has left it. */
static void guest_run(struct guest *g, unsigned int times, unsigned int wait)
{
	guest_go(g, (struct kvm_regs){
		.rax = g->value[0], .rdx = g->value[1], .rbx = times,
		.rbp = wait, .rsi = GUEST_BYTES, .rflags = 2,
	});
}

/* Ditto, once and without writing. */
static void guest_read(struct guest *g)
{
	guest_go(g, (struct kvm_regs){
		.rax = g->value[0], .rdx = g->value[1], .rbx = 1,
		.rsi = GUEST_BYTES, .rip = READER, .rflags = 2,
	});
}

/* A page as the guest leaves it: content 1, but for the word at its start. */
static void guest_page(char *page, uint32_t word)
{
	page_fill(page, 1);
	memcpy(page, &word, sizeof(word));
}

static void guest_check(struct guest *g, const char *when)
{
	char want[page_size];
	size_t i;

	guest_page(want, g->value[0]);
	for (i = 0; i < DATA; i++)
		if (memcmp(page_at(g->data, i), want, page_size))
			ksm_corrupt("%s: page %zu of a guest is not as the guest has left it",
				    when, i);
}

/* Pages of both contents, two each, which the guest's can join at any time. */
static void offer_both(const struct guest *g)
{
	char *p = area_new(4);
	size_t i;

	for (i = 0; i < 4; i++)
		guest_page(page_at(p, i), g->value[i % 2]);
	area_advise(p, 4, MADV_MERGEABLE);
}

/* All is merged, and then the guest writes to it. */
static void write_merged(struct guest *g)
{
	ksm_settle();
	ksm_expect("a guest's pages and 4 more", 2, DATA + 2, 0, 0);
	guest_check(g, "merged");
	guest_run(g, 1, 1);
	guest_check(g, "written once");
}

/*
 * In each round it changes all pages and then waits so long: what a merge takes,
 * less than that, or some passes.
 */
static const unsigned int waits[] = { 10, 1000, 10000, 100000 };

/* Until so many of its writes have met a merged page. */
#define BREAKS	500

static void write_under_scan(struct guest *g, unsigned int wait)
{
	uint64_t limit = now_ms() + ksm_wait_limit * 1000ull;
	long start = vmstat_of("cow_ksm");

	while (vmstat_of("cow_ksm") < start + BREAKS) {
		must(now_ms() < limit,
		     "%ld writes of a guest met a merged page in %u s",
		     vmstat_of("cow_ksm") - start, ksm_wait_limit);
		guest_run(g, 1 + 20000 / wait, wait);
		guest_check(g, "written while ksmd merges");
	}
}

/*
 * The guest writes while ksmd merges: its way to the page is closed before the
 * bytes are compared, and opens again afterwards.
 */
static void test_guest_writes(void)
{
	struct guest g = { .value = { 0xaaaaaaaa, 0x55555555 } };
	size_t i;

	guest_new(&g);
	for (i = 0; i < DATA; i++)
		guest_page(page_at(g.data, i), g.value[0]);
	area_advise(g.data, DATA, MADV_MERGEABLE);
	offer_both(&g);
	guest_run(&g, 1, 1);
	write_merged(&g);
	ksm_set("sleep_millisecs", 0);
	for (i = 0; i < ARRAY_SIZE(waits); i++)
		write_under_scan(&g, waits[i]);
	write_merged(&g);
}

/*
 * A guest changes pages that have long been as they were into what others share,
 * between two passes: found in the next two looks.
 */
static void test_old_guest_changes(void)
{
	struct guest g = { .value = { 0xaaaaaaaa, 0x55555555 } };
	char *p = area_each(DATA, 1);
	size_t i;

	smart_start(0);
	guest_new(&g);
	for (i = 0; i < DATA; i++) {
		page_fill(page_at(g.data, i), 1 + i);
		memcpy(page_at(g.data, i), &g.value[0], 4);
		memcpy(page_at(p, i), &g.value[1], 4);
	}
	area_advise(g.data, DATA, MADV_MERGEABLE);
	ksm_settle();
	ksm_wait_scans(16);
	ksm_expect("a guest's pages and as many", 0, 0, 2 * DATA, 0);
	ksm_set("run", 0);
	guest_run(&g, 1, 1);
	ksm_set("run", 1);
	merged_within(g.data, DATA, 3, "pages that a guest has made equal to others");
	for (i = 0; i < DATA; i++)
		must(!memcmp(page_at(g.data, i), page_at(p, i), page_size),
		     "page %zu is not as the guest has left it", i);
	guest_run(&g, 1, 1);
}

/* --- a guest that reads ------------------------------------------------------- */

/* One of KVM's own counters, over all guests there are: there is one. */
static long kvm_stat(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/kernel/debug/kvm/%s", name);
	if (access(path, R_OK))
		skip("KVM here has no %s", path);
	return file_number(path);
}

/*
 * A merge changes what maps a guest's page in place: reading it afterwards takes no
 * nested page fault.  All pages together cost a few interruptions of the guest.
 */
static void test_stays_mapped(void)
{
	struct guest g = { .value = { 0xaaaaaaaa, 0x55555555 } };
	long replaced, protected, zapped, fixed, flushes;
	size_t i;

	replaced = kvm_stat("mmu_spte_replaced");
	protected = kvm_stat("mmu_spte_protected");
	zapped = kvm_stat("mmu_spte_change_zapped");
	guest_new(&g);
	for (i = 0; i < DATA; i++)
		guest_page(page_at(g.data, i), g.value[0]);
	guest_run(&g, 1, 1);
	fixed = kvm_stat("pf_fixed");
	flushes = kvm_stat("remote_tlb_flush");
	area_advise(g.data, DATA, MADV_MERGEABLE);
	ksm_settle();
	ksm_expect("a guest's pages", 1, DATA - 1, 0, 0);
	ksm_set("run", 0);
	guest_read(&g);
	guest_check(&g, "merged and read");
	must_eq("nested page faults of reading merged pages",
		kvm_stat("pf_fixed") - fixed, 0);
	must_eq("mappings write-protected in place",
		kvm_stat("mmu_spte_protected") - protected, DATA);
	must_eq("mappings replaced in place",
		kvm_stat("mmu_spte_replaced") - replaced, DATA - 1);
	must_eq("mappings zapped", kvm_stat("mmu_spte_change_zapped") - zapped, 0);
	flushes = kvm_stat("remote_tlb_flush") - flushes;
	must(flushes <= DATA / 8, "%ld TLB flushes of the guest for %d merged pages",
	     flushes, DATA);
	/* Nothing is left that would let it write to what it shares. */
	guest_run(&g, 1, 1);
	guest_check(&g, "written");
}

/* --- a guest beside a busy CPU ------------------------------------------------ */

#define BUSY_MS	5000

/* What every switch between processes does, without a pause. */
static void restore_fpu(void *arg)
{
	unsigned long *times = arg;
	char (*state)[512] = (void *)area_new(1);

	run_on(1);
	asm volatile("fxsave %0" : "=m"(*state));
	for (;; ++*times)
		asm volatile("fxrstor %0" : : "m"(*state) : "memory");
}

/*
 * An emulator whose FPU of one CPU disturbs SVM of another lets a guest run without
 * nested paging: on memory that is not its own.  No other test can be trusted then.
 */
static void test_busy_neighbour(void)
{
	struct guest g = { .value = { 0xaaaaaaaa, 0x55555555 } };
	uint64_t end = now_ms() + BUSY_MS;
	unsigned long *times, runs = 0;
	pid_t pid;
	size_t i;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		skip("this machine has one CPU");
	run_on(0);
	guest_new(&g);
	for (i = 0; i < DATA; i++)
		guest_page(page_at(g.data, i), g.value[0]);
	times = mmap(NULL, page_size, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(times != MAP_FAILED, "mmap: %m");
	pid = child(restore_fpu, times);
	for (; now_ms() < end; runs++)
		guest_run(&g, 1, 1);
	guest_check(&g, "beside a busy CPU");
	kill_child(pid);
	must(*times, "the other CPU has not restored its FPU once");
	ksm_note("%lu times in and out of the guest, %lu times the FPU of another CPU restored",
		 runs, *times);
}

#else

static void test_busy_neighbour(void)
{
	skip("the guest's program is for x86");
}

static void test_stays_mapped(void)
{
	skip("the guest's program is for x86");
}

static void test_guest_writes(void)
{
	skip("the guest's program is for x86");
}

static void test_old_guest_changes(void)
{
	skip("the guest's program is for x86");
}

#endif /* __x86_64__ */

static const struct ksm_case cases[] = {
	{ "told_once", test_told_once },
	{ "guest_writes", test_guest_writes },
	{ "old_guest_changes", test_old_guest_changes },
	{ "stays_mapped", test_stays_mapped },
	{ "busy_neighbour", test_busy_neighbour },
	{ }
};

const struct ksm_topic topic_kvm = { "kvm", cases };
