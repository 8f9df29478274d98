/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Asking about same-page merging: for the monitor and for query-stats
 */
#ifndef HW_KSM_KSM_QUERY_H
#define HW_KSM_KSM_QUERY_H

#include "qapi/qapi-types-ksm.h"
#include "ksm-host.h"

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

/*
 * The host to ask, to be freed with ksm_host_free().
 *
 * Tests put a made-up host in place of the real one.  Nobody else can: the
 * variable QEMU_KSM_TEST_ROOT is not looked at unless the machine runs under
 * qtest.
 */
KsmHost *ksm_open_host(void);

/* What can be done about @reason; NULL if there is nothing wrong. */
const char *ksm_remedy(KsmRefusal reason);

#endif
