// SPDX-License-Identifier: GPL-2.0-only
/*
 * How mms come and go, and how the engine starts. advice.c has what they allow to
 * be merged, rmap.c what mm core asks about KSM pages.
 */
#include <linux/init.h>
#include <linux/ksm.h>
#include <linux/mm.h>
#include <trace/events/ksm.h>

#include "control.h"
#include "node.h"
#include "registry.h"

/**
 * __ksm_enter - register an mm
 * @mm: an mm without MMF_VM_MERGEABLE
 *
 * Context: mmap_lock of @mm held for writing. May sleep.
 * Return: 0 or -ENOMEM.
 */
int __ksm_enter(struct mm_struct *mm)
{
	bool first;
	int err;

	err = ksm_registry_add(mm, &ksm_default_domain, &first);
	if (err)
		return err;
	trace_ksm_enter(mm);
	if (first)
		ksm_scan_wake();
	return 0;
}

/**
 * __ksm_exit - an mm is going away
 * @mm: an mm that nobody uses any more (mm_users is 0)
 *
 * Context: No locks held. May sleep. After it nobody is in @mm's page tables.
 */
void __ksm_exit(struct mm_struct *mm)
{
	trace_ksm_exit(mm);
	if (!ksm_registry_remove(mm))
		return;
	/* Whoever came before us leaves; whoever comes later sees mm_users. */
	mmap_write_lock(mm);
	mmap_write_unlock(mm);
	ksm_scan_wake();
}

static int __init ksm_init(void)
{
	int err;

	err = ksm_node_init();
	if (err)
		goto fail;
	err = ksm_registry_init();
	if (err)
		goto free_nodes;
	err = ksm_domain_init(&ksm_default_domain);
	if (err)
		goto free_registry;
	err = ksm_scan_start();
	if (err)
		goto free_domain;
	err = ksm_sysfs_init();
	if (err)
		goto stop_scan;
	ksm_hotplug_init();
	return 0;

stop_scan:
	ksm_scan_stop();
free_domain:
	ksm_domain_destroy(&ksm_default_domain);
free_registry:
	ksm_registry_exit();
free_nodes:
	ksm_node_exit();
fail:
	pr_err("ksm: cannot start: error %d\n", err);
	return err;
}
subsys_initcall(ksm_init);
