/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QEMU's monitor protocol, as far as the driver needs it. */
#ifndef SHARING_QMP_H
#define SHARING_QMP_H

#include <json-glib/json-glib.h>

#include "channel.h"

/* Take the greeting and leave negotiation mode; waits up to 30 s. */
bool qmp_greet(Channel *ch, GError **errp);

/**
 * qmp_execute:
 * @command: name of a command
 * @arguments: JSON text of its arguments object, or NULL
 *
 * Waits up to 30 s; events that come meanwhile are dropped.
 *
 * Returns: the command's "return" value, to be freed with
 * json_node_unref(), or NULL with the monitor's error text in @errp.
 */
JsonNode *qmp_execute(Channel *ch, const char *command,
                      const char *arguments, GError **errp);

/* Run a human monitor command; returns its output, to be freed. */
char *qmp_human(Channel *ch, const char *line, GError **errp);

/* Whether this QEMU has @command; false with @errp set if it won't tell. */
bool qmp_has_command(Channel *ch, const char *command, GError **errp);

#endif
