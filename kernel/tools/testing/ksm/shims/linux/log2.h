/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _SHIM_LINUX_LOG2_H
#define _SHIM_LINUX_LOG2_H

#include <linux/types.h>

/* The largest power of 2 that is not above @n, which is not 0. */
static inline unsigned long rounddown_pow_of_two(unsigned long n)
{
	return 1UL << (8 * sizeof(n) - 1 - __builtin_clzl(n));
}

/* The smallest power of 2 that is not below @n, which is not 0. */
static inline unsigned long roundup_pow_of_two(unsigned long n)
{
	unsigned long below = rounddown_pow_of_two(n);

	return below == n ? n : 2 * below;
}

#endif /* _SHIM_LINUX_LOG2_H */
