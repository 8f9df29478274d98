/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _SHIM_LINUX_MINMAX_H
#define _SHIM_LINUX_MINMAX_H

#define min_t(type, a, b)						\
({									\
	type __a = (a), __b = (b);					\
									\
	__a < __b ? __a : __b;						\
})

#define max_t(type, a, b)						\
({									\
	type __c = (a), __d = (b);					\
									\
	__c > __d ? __c : __d;						\
})

/* Both must have one type, as in the kernel. */
#define min(a, b)							\
({									\
	_Static_assert(__builtin_types_compatible_p(__typeof__(a),	\
						    __typeof__(b)), "types"); \
	min_t(__typeof__(a), a, b);					\
})

/* @high counts for more than @low, as in the kernel. */
#define clamp_t(type, value, low, high)	min_t(type, max_t(type, value, low), high)

#endif /* _SHIM_LINUX_MINMAX_H */
