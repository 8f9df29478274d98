/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _SHIM_LINUX_BUG_H
#define _SHIM_LINUX_BUG_H

#include <linux/kernel.h>

/*
 * Every warning is counted, not only the first one: a test fails if there were
 * more or fewer than it expects.
 */
void shim_warn(const char *file, int line, const char *what);

#define WARN_ON_ONCE(cond)						\
({									\
	bool __warns = (cond);						\
									\
	if (__warns)							\
		shim_warn(__FILE__, __LINE__, #cond);			\
	__warns;							\
})

#endif /* _SHIM_LINUX_BUG_H */
