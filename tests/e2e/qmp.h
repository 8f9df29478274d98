/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QEMU's monitor protocol, as far as the driver needs it. */
#ifndef SHARING_QMP_H
#define SHARING_QMP_H

#include <json-glib/json-glib.h>

#include "channel.h"

typedef struct Qmp Qmp;

/**
 * qmp_new:
 * @name: used in error messages
 * @fd: a connected stream socket; owned by the monitor from now on
 */
Qmp *qmp_new(const char *name, int fd);
void qmp_free(Qmp *qmp);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Qmp, qmp_free)

/* Take the greeting and leave negotiation mode; waits up to 30 s. */
bool qmp_greet(Qmp *qmp, GError **errp);

/**
 * qmp_execute:
 * @command: name of a command
 * @arguments: JSON text of its arguments object, or NULL
 *
 * Waits up to 30 s; events that come meanwhile are kept.
 *
 * Returns: the command's "return" value, to be freed with
 * json_node_unref(), or NULL with the monitor's error text in @errp.
 */
JsonNode *qmp_execute(Qmp *qmp, const char *command, const char *arguments,
                      GError **errp);

/* The same for a command whose "return" value says nothing. */
bool qmp_command(Qmp *qmp, const char *command, const char *arguments,
                 GError **errp);

/**
 * qmp_event:
 * @name: of an event
 *
 * Takes the oldest event of that name that came since the start and was not
 * taken yet; does not wait.
 *
 * Returns: its data, an empty object if it has none, to be freed with
 * json_object_unref(); NULL without @errp set if there is none.
 */
JsonObject *qmp_event(Qmp *qmp, const char *name, GError **errp);

/* Run a human monitor command; returns its output, to be freed. */
char *qmp_human(Qmp *qmp, const char *line, GError **errp);

/* Whether this QEMU has @command; false with @errp set if it won't tell. */
bool qmp_has_command(Qmp *qmp, const char *command, GError **errp);

#endif
