// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that is taken away. Migration moves most KSM pages; stable nodes of
 * pages freed meanwhile may still name page frames that are about to lose their
 * struct page, which a keyhole test would touch.
 */
#include <linux/memory.h>
#include <linux/notifier.h>

#include "control.h"
#include "node.h"

static int memory_callback(struct notifier_block *self, unsigned long action,
			   void *arg)
{
	const struct memory_notify *range = arg;

	switch (action) {
	case MEM_GOING_OFFLINE:
		ksm_scan_pause();
		break;
	case MEM_OFFLINE:
		mutex_lock(&ksm_scan_mutex);
		ksm_node_drop_range(&ksm_default_domain, range->start_pfn,
				    range->start_pfn + range->nr_pages);
		mutex_unlock(&ksm_scan_mutex);
		ksm_scan_resume();
		break;
	case MEM_CANCEL_OFFLINE:
		ksm_scan_resume();
		break;
	}
	return NOTIFY_OK;
}

/** ksm_hotplug_init - listen to memory hot-remove, where there is any */
void __init ksm_hotplug_init(void)
{
	if (IS_ENABLED(CONFIG_MEMORY_HOTREMOVE))
		hotplug_memory_notifier(memory_callback, 100);
}
