// SPDX-License-Identifier: GPL-2.0-or-later
/* QEMU's own report, where this QEMU has it. */
#include "qmp.h"
#include "query-stats.h"

void query_stats_check(Run *run)
{
    const char *name = "query-ksm-stats agrees with the kernel";
    GError *err = NULL;

    if (!qmp_has_command(run->guests[0].qmp, "query-ksm-stats", &err)) {
        if (err) {
            check_error(&run->checks, err, name);
        } else {
            check_skip(&run->checks, name, "this QEMU does not have it");
        }
        return;
    }
}
