/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A QEMU built without reports about same-page merging says so
 */

#include "qemu/osdep.h"
#include "qemu/coroutine.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-ksm.h"
#include "ksm-query.h"

/* To who asks it is as if there was no such command: older QEMUs have none. */
KsmStats *ksm_query_stats(bool verify, Error **errp)
{
    error_set(errp, ERROR_CLASS_COMMAND_NOT_FOUND,
              "this QEMU was built without reports about same-page merging "
              "(KSM)");
    return NULL;
}

KsmStats *coroutine_fn qmp_query_ksm_stats(bool has_verify, bool verify,
                                           Error **errp)
{
    return ksm_query_stats(has_verify && verify, errp);
}
