/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _SHIM_LINUX_ERRNO_H
#define _SHIM_LINUX_ERRNO_H

/* The C library's <errno.h> asks for this file too, to get the numbers. */
#include_next <linux/errno.h>

#endif /* _SHIM_LINUX_ERRNO_H */
