// SPDX-License-Identifier: GPL-2.0-only
/* /sys/kernel/debug/ksm: switches for tests, none of which may cost a byte. */
#include <linux/debugfs.h>
#include <linux/init.h>

#include "domain.h"

static int __init ksm_debug_init(void)
{
	struct dentry *dir = debugfs_create_dir("ksm", NULL);

	debugfs_create_bool("collide", 0600, dir, &ksm_debug_collide);
	return 0;
}
late_initcall(ksm_debug_init);
