/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How the validate() functions of the pure files say which invariant broke.
 */
#ifndef _MM_KSM_CHECK_H
#define _MM_KSM_CHECK_H

#include <linux/kernel.h>
#include <linux/printk.h>

/*
 * Evaluates to whether @cond holds; if not, prints the invariant's name and the
 * values that broke it. A validate() function stops at the first broken one,
 * so one call prints one line at most.
 */
#define ksm_holds(cond, fmt, ...)					\
({									\
	bool __holds = (cond);						\
									\
	if (unlikely(!__holds))						\
		pr_err("ksm: %s: broken: " fmt "\n", __func__,		\
		       ##__VA_ARGS__);					\
	__holds;							\
})

#endif /* _MM_KSM_CHECK_H */
