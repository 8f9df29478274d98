// SPDX-License-Identifier: GPL-2.0-only
/* The tracepoints themselves: see include/trace/events/ksm.h. */
#define CREATE_TRACE_POINTS
#include <trace/events/ksm.h>
