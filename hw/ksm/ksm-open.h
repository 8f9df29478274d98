/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which host the parts of hw/ksm ask
 */
#ifndef HW_KSM_KSM_OPEN_H
#define HW_KSM_KSM_OPEN_H

#include "ksm-host.h"

/**
 * ksm_open_host:
 *
 * Tests put a made-up host in place of the real one.  Nobody else can: the
 * variable QEMU_KSM_TEST_ROOT is not looked at unless the machine runs under
 * qtest.
 *
 * Returns: a reader to free with ksm_host_free().
 */
KsmHost *ksm_open_host(void);

#endif
