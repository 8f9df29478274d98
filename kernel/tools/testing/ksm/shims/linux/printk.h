/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _SHIM_LINUX_PRINTK_H
#define _SHIM_LINUX_PRINTK_H

#include <linux/kernel.h>

/* Prints one TAP comment line, unless the test expects reports: then counts it. */
__printf(1, 2) void shim_printk(const char *fmt, ...);

#define pr_err(...)	shim_printk(__VA_ARGS__)

#endif /* _SHIM_LINUX_PRINTK_H */
