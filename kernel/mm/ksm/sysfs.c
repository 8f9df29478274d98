// SPDX-License-Identifier: GPL-2.0-only
/*
 * /sys/kernel/mm/ksm: names and meanings as in Documentation/ABI/testing/
 * sysfs-kernel-mm-ksm. Parses and prints; control.h decides.
 *
 * One rule for every store: what is no number, or out of range, is -EINVAL and
 * changes nothing.
 */
#include <linux/kobject.h>
#include <linux/kstrtox.h>
#include <linux/mm.h>
#include <linux/sysfs.h>

#include "control.h"

#ifdef CONFIG_SYSFS

/**
 * struct ksm_file - one file of the directory
 * @attr: name and mode
 * @show: its value
 * @store: set it from a number; NULL for files that are only read
 */
struct ksm_file {
	struct kobj_attribute attr;
	u64 (*show)(void);
	int (*store)(unsigned int value);
};

static struct ksm_file *to_file(struct kobj_attribute *attr)
{
	return container_of(attr, struct ksm_file, attr);
}

static ssize_t file_show(struct kobject *kobj, struct kobj_attribute *attr,
			 char *buf)
{
	return sysfs_emit(buf, "%llu\n", to_file(attr)->show());
}

static ssize_t file_store(struct kobject *kobj, struct kobj_attribute *attr,
			  const char *buf, size_t count)
{
	unsigned int value;
	int err;

	if (kstrtouint(buf, 10, &value))
		return -EINVAL;
	err = to_file(attr)->store(value);
	return err ? err : count;
}

#define KSM_FILE_RO(_name)						\
	static struct ksm_file _name##_file = {				\
		.attr = __ATTR(_name, 0444, file_show, NULL),		\
		.show = _name##_value,					\
	}

#define KSM_FILE_RW(_name)						\
	static struct ksm_file _name##_file = {				\
		.attr = __ATTR(_name, 0644, file_show, file_store),	\
		.show = _name##_value,					\
		.store = _name##_set,					\
	}

static u64 run_value(void)
{
	return ksm_get_run();
}

static int run_set(unsigned int value)
{
	return ksm_set_run(value);
}
KSM_FILE_RW(run);

static u64 pages_to_scan_value(void)
{
	return ksm_get_pace().pages_to_scan;
}

static int pages_to_scan_set(unsigned int value)
{
	ksm_set_pages_to_scan(value);
	return 0;
}
KSM_FILE_RW(pages_to_scan);

static u64 sleep_millisecs_value(void)
{
	return ksm_get_pace().sleep_millisecs;
}

static int sleep_millisecs_set(unsigned int value)
{
	ksm_set_sleep_millisecs(value);
	return 0;
}
KSM_FILE_RW(sleep_millisecs);

#ifdef CONFIG_NUMA
static u64 merge_across_nodes_value(void)
{
	return ksm_get_limits()->merge_across_nodes;
}

static int merge_across_nodes_set(unsigned int value)
{
	return value > 1 ? -EINVAL : ksm_set_merge_across_nodes(value);
}
KSM_FILE_RW(merge_across_nodes);
#endif

static u64 max_page_sharing_value(void)
{
	return ksm_get_limits()->max_page_sharing;
}

static int max_page_sharing_set(unsigned int value)
{
	return ksm_set_max_page_sharing(value);
}
KSM_FILE_RW(max_page_sharing);

static u64 stable_node_chains_prune_millisecs_value(void)
{
	return ksm_get_limits()->prune_millisecs;
}

static int stable_node_chains_prune_millisecs_set(unsigned int value)
{
	ksm_set_prune_millisecs(value);
	return 0;
}
KSM_FILE_RW(stable_node_chains_prune_millisecs);

static u64 use_zero_pages_value(void)
{
	return ksm_get_limits()->use_zero_pages;
}

/* Takes what kstrtobool() takes ("y", "on" ...), as it always has. */
static ssize_t use_zero_pages_store(struct kobject *kobj,
				    struct kobj_attribute *attr,
				    const char *buf, size_t count)
{
	bool use;

	if (kstrtobool(buf, &use))
		return -EINVAL;
	ksm_set_use_zero_pages(use);
	return count;
}

static struct ksm_file use_zero_pages_file = {
	.attr = __ATTR(use_zero_pages, 0644, file_show, use_zero_pages_store),
	.show = use_zero_pages_value,
};

static const struct ksm_stats *stats(void)
{
	return &ksm_default_domain.stats;
}

static u64 pages_shared_value(void)
{
	return READ_ONCE(stats()->shared);
}
KSM_FILE_RO(pages_shared);

static u64 pages_sharing_value(void)
{
	return ksm_stats_pages_sharing(stats());
}
KSM_FILE_RO(pages_sharing);

static u64 pages_unshared_value(void)
{
	return READ_ONCE(stats()->tally.pages[KSM_PAGE_CANDIDATE]);
}
KSM_FILE_RO(pages_unshared);

static u64 pages_volatile_value(void)
{
	return READ_ONCE(stats()->tally.pages[KSM_PAGE_VOLATILE]);
}
KSM_FILE_RO(pages_volatile);

static u64 full_scans_value(void)
{
	return ksm_get_full_scans();
}
KSM_FILE_RO(full_scans);

static u64 stable_node_chains_value(void)
{
	return READ_ONCE(stats()->chains);
}
KSM_FILE_RO(stable_node_chains);

static u64 stable_node_dups_value(void)
{
	return READ_ONCE(stats()->dups);
}
KSM_FILE_RO(stable_node_dups);

static ssize_t engine_show(struct kobject *kobj, struct kobj_attribute *attr,
			   char *buf)
{
	return sysfs_emit(buf, "%s %s\n", KSM_ENGINE_NAME, KSM_ENGINE_VERSION);
}
static struct kobj_attribute engine_attr = __ATTR_RO(engine);

static struct attribute *ksm_attributes[] = {
	&run_file.attr.attr,
	&pages_to_scan_file.attr.attr,
	&sleep_millisecs_file.attr.attr,
#ifdef CONFIG_NUMA
	&merge_across_nodes_file.attr.attr,
#endif
	&max_page_sharing_file.attr.attr,
	&stable_node_chains_prune_millisecs_file.attr.attr,
	&use_zero_pages_file.attr.attr,
	&pages_shared_file.attr.attr,
	&pages_sharing_file.attr.attr,
	&pages_unshared_file.attr.attr,
	&pages_volatile_file.attr.attr,
	&full_scans_file.attr.attr,
	&stable_node_chains_file.attr.attr,
	&stable_node_dups_file.attr.attr,
	&engine_attr.attr,
	NULL,
};

static const struct attribute_group ksm_group = {
	.name = "ksm",
	.attrs = ksm_attributes,
};

/**
 * ksm_sysfs_init - make the directory
 *
 * Return: 0 or -errno.
 */
int __init ksm_sysfs_init(void)
{
	return sysfs_create_group(mm_kobj, &ksm_group);
}

#else

int __init ksm_sysfs_init(void)
{
	return 0;
}

#endif /* CONFIG_SYSFS */
