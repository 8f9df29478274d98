/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What can be done about memory that does not merge
 */

#include "qemu/osdep.h"
#include "ksm-query.h"

static const char *const remedy[KSM_REFUSAL__MAX] = {
    [KSM_REFUSAL_DISABLED_BY_MACHINE] =
        "Start the machine with mem-merge=on, or give the memory to a "
        "backend with merge=on.",
    [KSM_REFUSAL_DISABLED_BY_BACKEND] =
        "Set the property 'merge' of the block's memory backend to true; "
        "qom-set does it while the guest runs.",
    [KSM_REFUSAL_CONFIDENTIAL_GUEST] =
        "There is none: the host cannot compare encrypted memory.",
    [KSM_REFUSAL_DEVICE_MEMORY] =
        "There is none: the memory belongs to a device.",
    [KSM_REFUSAL_SHARED_MAPPING] =
        "Use share=off, unless another process (such as a vhost-user device) "
        "has to see the memory.",
    [KSM_REFUSAL_HUGE_PAGES] =
        "Use ordinary memory instead of hugetlbfs; transparent huge pages "
        "are no obstacle.",
    [KSM_REFUSAL_SPECIAL_MAPPING] =
        "Use memory that is ordinary to the kernel, no device or persistent "
        "memory.",
    [KSM_REFUSAL_HOST_UNAVAILABLE] =
        "Use a host kernel that is built with CONFIG_KSM.",
    [KSM_REFUSAL_KERNEL_REFUSED] =
        "See the kernel's error; if memory ran out, free some and set the "
        "property 'merge' of the block's memory backend again.",
    [KSM_REFUSAL_KERNEL_IGNORED] =
        "Please report this: the kernel accepted the request and did not do "
        "it.",
};

const char *ksm_remedy(KsmRefusal reason)
{
    return remedy[reason];
}
