/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Asking about same-page merging: for the monitor and for query-stats
 */
#ifndef HW_KSM_KSM_QUERY_H
#define HW_KSM_KSM_QUERY_H

#include "qapi/qapi-types-ksm.h"

/**
 * ksm_query_stats:
 * @verify: also ask the kernel what became of each RAM block, which takes
 *          time in proportion to guest memory
 * @errp: set if this QEMU was built without the reports
 *
 * Context: big QEMU lock held; given up while verifying in a coroutine.
 * Return: the answer of query-ksm-stats; NULL on error.
 */
KsmStats *ksm_query_stats(bool verify, Error **errp);

#endif
