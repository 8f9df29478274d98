// SPDX-License-Identifier: GPL-2.0-or-later
/* QEMU's monitor protocol: one command at a time, each with a deadline. */
#include <string.h>

#include "qmp.h"

#define QMP_TIMEOUT_MS 30000

/* The next message; an object, or NULL with @errp set. */
static JsonNode *qmp_receive(Channel *ch, GError **errp)
{
    g_autofree char *line = channel_wait_line(ch, QMP_TIMEOUT_MS, errp);
    JsonNode *node;

    if (!line) {
        return NULL;
    }
    node = json_from_string(line, errp);
    if (node && !JSON_NODE_HOLDS_OBJECT(node)) {
        json_node_unref(node);
        node = NULL;
    }
    if (!node && errp && !*errp) {
        g_set_error(errp, SHARING_ERROR, SHARING_ERROR_FORMAT,
                    "the monitor said \"%.80s\"", line);
    }
    return node;
}

bool qmp_greet(Channel *ch, GError **errp)
{
    g_autoptr(JsonNode) greeting = qmp_receive(ch, errp);
    g_autoptr(JsonNode) reply = NULL;

    if (!greeting) {
        return false;
    }
    if (!json_object_has_member(json_node_get_object(greeting), "QMP")) {
        g_set_error(errp, SHARING_ERROR, SHARING_ERROR_FORMAT,
                    "the monitor did not greet");
        return false;
    }
    reply = qmp_execute(ch, "qmp_capabilities", NULL, errp);
    return reply != NULL;
}

static void set_refusal(JsonObject *message, const char *command,
                        GError **errp)
{
    JsonNode *error = json_object_get_member(message, "error");
    const char *desc = NULL;

    if (error && JSON_NODE_HOLDS_OBJECT(error)) {
        desc = json_object_get_string_member_with_default(
            json_node_get_object(error), "desc", NULL);
    }
    g_set_error(errp, SHARING_ERROR, SHARING_ERROR_REFUSED, "%s: %s", command,
                desc ? desc : "an error without a description");
}

JsonNode *qmp_execute(Channel *ch, const char *command,
                      const char *arguments, GError **errp)
{
    g_autofree char *request =
        g_strdup_printf("{\"execute\": \"%s\"%s%s}", command,
                        arguments ? ", \"arguments\": " : "",
                        arguments ? arguments : "");

    if (!channel_send(ch, request, errp)) {
        return NULL;
    }
    for (;;) {
        g_autoptr(JsonNode) reply = qmp_receive(ch, errp);
        JsonObject *message;

        if (!reply) {
            return NULL;
        }
        message = json_node_get_object(reply);
        if (json_object_has_member(message, "return")) {
            return json_object_dup_member(message, "return");
        }
        if (!json_object_has_member(message, "event")) {
            set_refusal(message, command, errp);
            return NULL;
        }
    }
}

char *qmp_human(Channel *ch, const char *line, GError **errp)
{
    g_autofree char *arguments =
        g_strdup_printf("{\"command-line\": \"%s\"}", line);
    g_autoptr(JsonNode) reply =
        qmp_execute(ch, "human-monitor-command", arguments, errp);

    if (!reply) {
        return NULL;
    }
    if (json_node_get_value_type(reply) != G_TYPE_STRING) {
        g_set_error(errp, SHARING_ERROR, SHARING_ERROR_FORMAT,
                    "%s: the monitor's answer is no text", line);
        return NULL;
    }
    return json_node_dup_string(reply);
}

bool qmp_has_command(Channel *ch, const char *command, GError **errp)
{
    g_autoptr(JsonNode) reply =
        qmp_execute(ch, "query-commands", NULL, errp);
    JsonArray *list;
    bool found = false;

    if (!reply || !JSON_NODE_HOLDS_ARRAY(reply)) {
        return false;
    }
    list = json_node_get_array(reply);
    for (guint n = 0; n < json_array_get_length(list) && !found; n++) {
        JsonObject *info = json_array_get_object_element(list, n);

        found = !g_strcmp0(command, json_object_get_string_member(info,
                                                                  "name"));
    }
    return found;
}
