/* SPDX-License-Identifier: GPL-2.0-only */
/* The scan's lock as others of this folder take it. See scan.c. */
#ifndef _MM_KSM_SCAN_H
#define _MM_KSM_SCAN_H

void ksm_scan_lock_online(void);

#endif /* _MM_KSM_SCAN_H */
