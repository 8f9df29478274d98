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
#include <linux/ksm.h>
#include <linux/mm.h>
#include <linux/mutex.h>
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
	s64 (*show)(void);
	int (*store)(unsigned int value);
};

static struct ksm_file *to_file(struct kobj_attribute *attr)
{
	return container_of(attr, struct ksm_file, attr);
}

static ssize_t file_show(struct kobject *kobj, struct kobj_attribute *attr,
			 char *buf)
{
	return sysfs_emit(buf, "%lld\n", to_file(attr)->show());
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

static s64 run_value(void)
{
	return ksm_get_run();
}

static int run_set(unsigned int value)
{
	return ksm_set_run(value);
}
KSM_FILE_RW(run);

static s64 pages_to_scan_value(void)
{
	return ksm_get_pages_to_scan();
}

static int pages_to_scan_set(unsigned int value)
{
	return ksm_set_pages_to_scan(value);
}
KSM_FILE_RW(pages_to_scan);

static s64 sleep_millisecs_value(void)
{
	return ksm_get_sleep_millisecs();
}

static int sleep_millisecs_set(unsigned int value)
{
	ksm_set_sleep_millisecs(value);
	return 0;
}
KSM_FILE_RW(sleep_millisecs);

static s64 boost_max_cpu_value(void)
{
	return ksm_get_boost_max_cpu();
}

static int boost_max_cpu_set(unsigned int value)
{
	return ksm_set_boost_max_cpu(value);
}
KSM_FILE_RW(boost_max_cpu);

static s64 scan_threads_value(void)
{
	return ksm_get_scan_threads();
}

static int scan_threads_set(unsigned int value)
{
	return ksm_set_scan_threads(value);
}
KSM_FILE_RW(scan_threads);

#ifdef CONFIG_NUMA
static s64 merge_across_nodes_value(void)
{
	return ksm_get_limits()->merge_across_nodes;
}

static int merge_across_nodes_set(unsigned int value)
{
	return value > 1 ? -EINVAL : ksm_set_merge_across_nodes(value);
}
KSM_FILE_RW(merge_across_nodes);
#endif

static s64 max_page_sharing_value(void)
{
	return ksm_get_limits()->max_page_sharing;
}

static int max_page_sharing_set(unsigned int value)
{
	return ksm_set_max_page_sharing(value);
}
KSM_FILE_RW(max_page_sharing);

static s64 stable_node_chains_prune_millisecs_value(void)
{
	return ksm_get_limits()->prune_millisecs;
}

static int stable_node_chains_prune_millisecs_set(unsigned int value)
{
	ksm_set_prune_millisecs(value);
	return 0;
}
KSM_FILE_RW(stable_node_chains_prune_millisecs);

static s64 huge_split_min_value(void)
{
	return ksm_get_limits()->huge_split_min;
}

static int huge_split_min_set(unsigned int value)
{
	return ksm_set_huge_split_min(value);
}
KSM_FILE_RW(huge_split_min);

/*
 * A file that takes what kstrtobool() takes ("y", "on" ...), as these always have.
 */
#define KSM_FILE_BOOL(_name)						\
	static s64 _name##_value(void)					\
	{								\
		return _name##_get();					\
	}								\
									\
	static ssize_t _name##_store(struct kobject *kobj,		\
				     struct kobj_attribute *attr,	\
				     const char *buf, size_t count)	\
	{								\
		bool on;						\
									\
		if (kstrtobool(buf, &on))				\
			return -EINVAL;					\
		_name##_set(on);					\
		return count;						\
	}								\
									\
	static struct ksm_file _name##_file = {				\
		.attr = __ATTR(_name, 0644, file_show, _name##_store),	\
		.show = _name##_value,					\
	}

static bool use_zero_pages_get(void)
{
	return ksm_get_limits()->use_zero_pages;
}

static void use_zero_pages_set(bool on)
{
	ksm_set_use_zero_pages(on);
}
KSM_FILE_BOOL(use_zero_pages);

static bool smart_scan_get(void)
{
	return ksm_get_smart_scan();
}

static void smart_scan_set(bool on)
{
	ksm_set_smart_scan(on);
}
KSM_FILE_BOOL(smart_scan);

/* Held from reading the advisor's settings to writing them with one changed. */
static DEFINE_MUTEX(advisor_lock);

/* A file of one member of struct ksm_advisor. */
#define KSM_FILE_ADVISOR(_name, _member)				\
	static s64 _name##_value(void)					\
	{								\
		return READ_ONCE(ksm_get_advisor()->_member);		\
	}								\
									\
	static int _name##_set(unsigned int value)			\
	{								\
		struct ksm_advisor advisor;				\
		int err;						\
									\
		mutex_lock(&advisor_lock);				\
		advisor = *ksm_get_advisor();				\
		advisor._member = value;				\
		err = ksm_set_advisor(&advisor);			\
		mutex_unlock(&advisor_lock);				\
		return err;						\
	}								\
	KSM_FILE_RW(_name)

KSM_FILE_ADVISOR(advisor_max_cpu, max_cpu);
KSM_FILE_ADVISOR(advisor_min_pages_to_scan, min_pages_to_scan);
KSM_FILE_ADVISOR(advisor_max_pages_to_scan, max_pages_to_scan);
KSM_FILE_ADVISOR(advisor_target_scan_time, target_scan_time);

static const char *const advisor_modes[] = {
	[KSM_ADVISOR_NONE] = "none",
	[KSM_ADVISOR_SCAN_TIME] = "scan-time",
};

static ssize_t advisor_mode_show(struct kobject *kobj,
				 struct kobj_attribute *attr, char *buf)
{
	enum ksm_advisor_mode mode = READ_ONCE(ksm_get_advisor()->mode);

	return sysfs_emit(buf, mode == KSM_ADVISOR_NONE ? "[none] scan-time\n" :
							  "none [scan-time]\n");
}

static ssize_t advisor_mode_store(struct kobject *kobj,
				  struct kobj_attribute *attr,
				  const char *buf, size_t count)
{
	int mode = sysfs_match_string(advisor_modes, buf);
	struct ksm_advisor advisor;
	int err;

	if (mode < 0)
		return -EINVAL;
	mutex_lock(&advisor_lock);
	advisor = *ksm_get_advisor();
	advisor.mode = mode;
	err = ksm_set_advisor(&advisor);
	mutex_unlock(&advisor_lock);
	return err ? err : count;
}
static struct kobj_attribute advisor_mode_attr = __ATTR_RW(advisor_mode);

static const struct ksm_stats *stats(void)
{
	return &ksm_default_domain.stats;
}

static s64 pages_shared_value(void)
{
	return READ_ONCE(stats()->shared);
}
KSM_FILE_RO(pages_shared);

static s64 pages_sharing_value(void)
{
	return ksm_stats_pages_sharing(stats());
}
KSM_FILE_RO(pages_sharing);

static s64 pages_unshared_value(void)
{
	return READ_ONCE(stats()->tally.pages[KSM_PAGE_CANDIDATE]);
}
KSM_FILE_RO(pages_unshared);

static s64 pages_volatile_value(void)
{
	return READ_ONCE(stats()->tally.pages[KSM_PAGE_VOLATILE]);
}
KSM_FILE_RO(pages_volatile);

static s64 full_scans_value(void)
{
	return ksm_get_full_scans();
}
KSM_FILE_RO(full_scans);

static s64 stable_node_chains_value(void)
{
	return READ_ONCE(stats()->chains);
}
KSM_FILE_RO(stable_node_chains);

static s64 stable_node_dups_value(void)
{
	return READ_ONCE(stats()->dups);
}
KSM_FILE_RO(stable_node_dups);

static s64 pages_scanned_value(void)
{
	return ksm_get_pages_scanned();
}
KSM_FILE_RO(pages_scanned);

static s64 pages_skipped_value(void)
{
	return ksm_get_pages_skipped();
}
KSM_FILE_RO(pages_skipped);

static s64 ksm_zero_pages_value(void)
{
	return atomic_long_read(&ksm_zero_pages);
}
KSM_FILE_RO(ksm_zero_pages);

static s64 huge_splits_value(void)
{
	return READ_ONCE(ksm_default_domain.huge_splits);
}
KSM_FILE_RO(huge_splits);

static s64 huge_split_merged_value(void)
{
	return READ_ONCE(ksm_default_domain.huge_merged);
}
KSM_FILE_RO(huge_split_merged);

static s64 general_profit_value(void)
{
	s64 saved = pages_sharing_value() + ksm_zero_pages_value();

	return saved * (s64)PAGE_SIZE -
	       (s64)ksm_domain_metadata(&ksm_default_domain);
}
KSM_FILE_RO(general_profit);

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
	&boost_max_cpu_file.attr.attr,
	&scan_threads_file.attr.attr,
#ifdef CONFIG_NUMA
	&merge_across_nodes_file.attr.attr,
#endif
	&max_page_sharing_file.attr.attr,
	&stable_node_chains_prune_millisecs_file.attr.attr,
	&use_zero_pages_file.attr.attr,
	&huge_split_min_file.attr.attr,
	&smart_scan_file.attr.attr,
	&advisor_mode_attr.attr,
	&advisor_max_cpu_file.attr.attr,
	&advisor_min_pages_to_scan_file.attr.attr,
	&advisor_max_pages_to_scan_file.attr.attr,
	&advisor_target_scan_time_file.attr.attr,
	&pages_shared_file.attr.attr,
	&pages_sharing_file.attr.attr,
	&pages_unshared_file.attr.attr,
	&pages_volatile_file.attr.attr,
	&full_scans_file.attr.attr,
	&stable_node_chains_file.attr.attr,
	&stable_node_dups_file.attr.attr,
	&pages_scanned_file.attr.attr,
	&pages_skipped_file.attr.attr,
	&ksm_zero_pages_file.attr.attr,
	&huge_splits_file.attr.attr,
	&huge_split_merged_file.attr.attr,
	&general_profit_file.attr.attr,
	&engine_attr.attr,
	NULL,
};

static const struct attribute_group ksm_group = {
	.name = "ksm",
	.attrs = ksm_attributes,
};

/* One file for each reason why pages are not merged. */
static struct kobj_attribute refused_attr[KSM_NR_REFUSALS];
static struct attribute *refused_attributes[KSM_NR_REFUSALS];

static const struct attribute_group refused_group = {
	.name = "ksm",
	.attrs = refused_attributes,
};

static ssize_t refused_show(struct kobject *kobj, struct kobj_attribute *attr,
			    char *buf)
{
	long why = attr - refused_attr;

	return sysfs_emit(buf, "%ld\n",
			  atomic_long_read(&ksm_default_domain.refused[why]));
}

/* There is none for KSM_REFUSED_NONE, hence the list ends with a NULL. */
static void __init make_refused_attributes(void)
{
	int why;

	for (why = KSM_REFUSED_NONE + 1; why < KSM_NR_REFUSALS; why++) {
		struct kobj_attribute *attr = &refused_attr[why];

		sysfs_attr_init(&attr->attr);
		attr->attr.name = ksm_refusal_names[why];
		attr->attr.mode = 0444;
		attr->show = refused_show;
		refused_attributes[why - 1] = &attr->attr;
	}
}

/**
 * ksm_sysfs_init - make the directory
 *
 * Return: 0 or -errno.
 */
int __init ksm_sysfs_init(void)
{
	int err = sysfs_create_group(mm_kobj, &ksm_group);

	if (err)
		return err;
	make_refused_attributes();
	err = sysfs_merge_group(mm_kobj, &refused_group);
	if (err)
		sysfs_remove_group(mm_kobj, &ksm_group);
	return err;
}

#else

int __init ksm_sysfs_init(void)
{
	return 0;
}

#endif /* CONFIG_SYSFS */
