/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which host the parts of hw/ksm ask
 */

#include "qemu/osdep.h"
#include "sysemu/qtest.h"
#include "ksm-open.h"

KsmHost *ksm_open_host(void)
{
    return ksm_host_new(qtest_enabled() ? getenv("QEMU_KSM_TEST_ROOT") : NULL);
}
