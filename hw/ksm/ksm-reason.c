/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reasons why memory is not merged, for people
 */

#include "qemu/osdep.h"
#include "ksm-reason.h"

static const struct {
    const char *text, *remedy;
} reason_desc[KSM_REFUSAL__MAX] = {
    [KSM_REFUSAL_NONE] = { "it can be" },
    [KSM_REFUSAL_DISABLED_BY_MACHINE] = {
        "the machine has mem-merge=off",
        "start the machine with mem-merge=on, or give the memory to a backend "
        "with merge=on"
    },
    [KSM_REFUSAL_DISABLED_BY_BACKEND] = {
        "its memory backend has merge=off",
        "set the memory backend's property merge to on; qom-set does it while "
        "the guest runs"
    },
    [KSM_REFUSAL_DISABLED_BY_POLICY] = {
        "the ksm-policy object has mode=off",
        "set the ksm-policy object's property mode to on or auto"
    },
    [KSM_REFUSAL_EXCLUDED_BY_POLICY] = {
        "the ksm-policy object does not select it",
        "add its name to the ksm-policy object's property blocks"
    },
    [KSM_REFUSAL_NO_PRESSURE] = {
        "the host is not short of memory",
        "to merge all the same, set the ksm-policy object's property mode to on"
    },
    [KSM_REFUSAL_WRITE_HOT] = {
        "some of it is written to all the time",
        "to merge it all the same, set the ksm-policy object's property "
        "hot-percent to 100"
    },
    [KSM_REFUSAL_PINNED] = {
        "a device that was assigned to the guest pins it",
        "unplug devices that use VFIO"
    },
    [KSM_REFUSAL_CONFIDENTIAL_GUEST] = { "the guest is confidential" },
    [KSM_REFUSAL_DEVICE_MEMORY] = { "it is the memory of a device" },
    [KSM_REFUSAL_SHARED_MAPPING] = {
        "it is mapped shared",
        "use share=off, unless another process (such as a vhost-user device) "
        "has to see the memory"
    },
    [KSM_REFUSAL_HUGE_PAGES] = {
        "it consists of huge pages",
        "use ordinary memory instead of hugetlbfs; transparent huge pages are "
        "no obstacle"
    },
    [KSM_REFUSAL_SPECIAL_MAPPING] = {
        "it is device memory to the kernel",
        "use memory that is ordinary to the kernel, no device or persistent "
        "memory"
    },
    [KSM_REFUSAL_HOST_UNAVAILABLE] = {
        "the host's kernel cannot merge",
        "use a host kernel with same-page merging (CONFIG_KSM)"
    },
    [KSM_REFUSAL_KERNEL_REFUSED] = {
        "the kernel refused it",
        "see the kernel's error; if memory ran out, free some of the host's "
        "and set the memory backend's property merge again"
    },
    [KSM_REFUSAL_KERNEL_IGNORED] = {
        "the kernel does not do it",
        "report this as a defect, with mergeable-bytes"
    },
};

const char *ksm_reason_text(KsmRefusal reason)
{
    return reason_desc[reason].text;
}

const char *ksm_reason_remedy(KsmRefusal reason)
{
    return reason_desc[reason].remedy;
}

bool ksm_reason_is_policy(KsmRefusal reason)
{
    return reason == KSM_REFUSAL_DISABLED_BY_POLICY ||
           reason == KSM_REFUSAL_EXCLUDED_BY_POLICY ||
           reason == KSM_REFUSAL_NO_PRESSURE ||
           reason == KSM_REFUSAL_WRITE_HOT;
}
