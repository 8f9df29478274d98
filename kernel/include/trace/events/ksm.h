/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the merge engine does, step by step. Names and fields are those of Linux 6.3
 * and later; "rmap_item" is whatever the engine keeps for one page of one mm.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM ksm

#if !defined(_TRACE_KSM_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_KSM_H

#include <linux/tracepoint.h>

DECLARE_EVENT_CLASS(ksm_pass,
	TP_PROTO(int seq, u32 rmap_entries),
	TP_ARGS(seq, rmap_entries),
	TP_STRUCT__entry(
		__field(int, seq)
		__field(u32, rmap_entries)
	),
	TP_fast_assign(
		__entry->rmap_entries = rmap_entries;
		__entry->seq = seq;
	),
	TP_printk("seq %d rmap size %d", __entry->seq, __entry->rmap_entries)
);

/* @seq: passes completed so far; @rmap_entries: pages that have a record */
DEFINE_EVENT(ksm_pass, ksm_start_scan,
	TP_PROTO(int seq, u32 rmap_entries),
	TP_ARGS(seq, rmap_entries));

DEFINE_EVENT(ksm_pass, ksm_stop_scan,
	TP_PROTO(int seq, u32 rmap_entries),
	TP_ARGS(seq, rmap_entries));

DECLARE_EVENT_CLASS(ksm_registry,
	TP_PROTO(void *mm),
	TP_ARGS(mm),
	TP_STRUCT__entry(__field(void *, mm)),
	TP_fast_assign(__entry->mm = mm;),
	TP_printk("mm %p", __entry->mm)
);

DEFINE_EVENT(ksm_registry, ksm_enter, TP_PROTO(void *mm), TP_ARGS(mm));
DEFINE_EVENT(ksm_registry, ksm_exit, TP_PROTO(void *mm), TP_ARGS(mm));

/* A page was merged with the zero page; or not: @err */
TRACE_EVENT(ksm_merge_one_page,
	TP_PROTO(unsigned long pfn, void *rmap_item, void *mm, int err),
	TP_ARGS(pfn, rmap_item, mm, err),
	TP_STRUCT__entry(
		__field(unsigned long, pfn)
		__field(void *, rmap_item)
		__field(void *, mm)
		__field(int, err)
	),
	TP_fast_assign(
		__entry->pfn = pfn;
		__entry->mm = mm;
		__entry->rmap_item = rmap_item;
		__entry->err = err;
	),
	TP_printk("ksm pfn %lu rmap_item %p mm %p error %d", __entry->pfn,
		  __entry->rmap_item, __entry->mm, __entry->err)
);

/*
 * A page was replaced by the KSM page @ksm_page, or made one itself, and then that is
 * NULL; or not: @err. @pfn is that of the KSM page in either case.
 */
TRACE_EVENT(ksm_merge_with_ksm_page,
	TP_PROTO(void *ksm_page, unsigned long pfn, void *rmap_item, void *mm,
		 int err),
	TP_ARGS(ksm_page, pfn, rmap_item, mm, err),
	TP_STRUCT__entry(
		__field(void *, ksm_page)
		__field(unsigned long, pfn)
		__field(void *, rmap_item)
		__field(void *, mm)
		__field(int, err)
	),
	TP_fast_assign(
		__entry->ksm_page = ksm_page;
		__entry->pfn = pfn;
		__entry->mm = mm;
		__entry->rmap_item = rmap_item;
		__entry->err = err;
	),
	TP_printk("%spfn %lu rmap_item %p mm %p error %d",
		  __entry->ksm_page ? "ksm " : "", __entry->pfn,
		  __entry->rmap_item, __entry->mm, __entry->err)
);

/* The engine forgets a KSM page */
TRACE_EVENT(ksm_remove_ksm_page,
	TP_PROTO(unsigned long pfn),
	TP_ARGS(pfn),
	TP_STRUCT__entry(__field(unsigned long, pfn)),
	TP_fast_assign(__entry->pfn = pfn;),
	TP_printk("pfn %lu", __entry->pfn)
);

/* The engine forgets a sharer of a KSM page */
TRACE_EVENT(ksm_remove_rmap_item,
	TP_PROTO(unsigned long pfn, void *rmap_item, void *mm),
	TP_ARGS(pfn, rmap_item, mm),
	TP_STRUCT__entry(
		__field(unsigned long, pfn)
		__field(void *, rmap_item)
		__field(void *, mm)
	),
	TP_fast_assign(
		__entry->mm = mm;
		__entry->pfn = pfn;
		__entry->rmap_item = rmap_item;
	),
	TP_printk("pfn %lu rmap_item %p mm %p", __entry->pfn,
		  __entry->rmap_item, __entry->mm)
);

/* After a pass of @scan_time seconds the advisor has set @pages_to_scan */
TRACE_EVENT(ksm_advisor,
	TP_PROTO(s64 scan_time, unsigned long pages_to_scan,
		 unsigned int cpu_percent),
	TP_ARGS(scan_time, pages_to_scan, cpu_percent),
	TP_STRUCT__entry(
		__field(s64, scan_time)
		__field(unsigned long, pages_to_scan)
		__field(unsigned int, cpu_percent)
	),
	TP_fast_assign(
		__entry->cpu_percent = cpu_percent;
		__entry->pages_to_scan = pages_to_scan;
		__entry->scan_time = scan_time;
	),
	TP_printk("ksm scan time %lld pages_to_scan %lu cpu percent %u",
		  __entry->scan_time, __entry->pages_to_scan,
		  __entry->cpu_percent)
);

/*
 * Samepage's own. For @ns nanoseconds faults of secondary MMUs in @pages pages from
 * @start on had to be tried again, while @changes of these were changed.
 */
TRACE_EVENT(ksm_window,
	TP_PROTO(void *mm, unsigned long start, unsigned long pages,
		 unsigned int changes, u64 ns),
	TP_ARGS(mm, start, pages, changes, ns),
	TP_STRUCT__entry(
		__field(void *, mm)
		__field(unsigned long, start)
		__field(unsigned long, pages)
		__field(unsigned int, changes)
		__field(u64, ns)
	),
	TP_fast_assign(
		__entry->mm = mm;
		__entry->start = start;
		__entry->pages = pages;
		__entry->changes = changes;
		__entry->ns = ns;
	),
	TP_printk("mm %p start %lx pages %lu changes %u ns %llu", __entry->mm,
		  __entry->start, __entry->pages, __entry->changes, __entry->ns)
);

#endif /* _TRACE_KSM_H */

/* Outside the guard: read once more for each use. */
#include <trace/define_trace.h>
