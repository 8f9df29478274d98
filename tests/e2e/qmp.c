// SPDX-License-Identifier: GPL-2.0-or-later
/* QEMU's monitor protocol: one command at a time, each with a deadline. */
#include <string.h>

#include "qmp.h"

#define QMP_TIMEOUT_MS 30000

struct Qmp {
    Channel *ch;
    GQueue events;              /* of JsonObject, those nobody took yet */
};

Qmp *qmp_new(const char *name, int fd)
{
    Qmp *qmp = g_new0(Qmp, 1);

    qmp->ch = channel_new(name, fd);
    g_queue_init(&qmp->events);
    return qmp;
}

void qmp_free(Qmp *qmp)
{
    if (qmp) {
        channel_free(qmp->ch);
        g_queue_clear_full(&qmp->events, (GDestroyNotify)json_object_unref);
        g_free(qmp);
    }
}

/* What @line says; an object, or NULL with @errp set. */
static JsonNode *qmp_parse(const char *line, GError **errp)
{
    JsonNode *node = json_from_string(line, errp);

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

/* The next message; waits for it. */
static JsonNode *qmp_receive(Qmp *qmp, GError **errp)
{
    g_autofree char *line = channel_wait_line(qmp->ch, QMP_TIMEOUT_MS, errp);

    return line ? qmp_parse(line, errp) : NULL;
}

/* Keep @message if it is an event; false if it is something else. */
static bool keep_event(Qmp *qmp, JsonNode *message)
{
    JsonObject *object = json_node_get_object(message);

    if (!json_object_has_member(object, "event")) {
        return false;
    }
    g_queue_push_tail(&qmp->events, json_object_ref(object));
    return true;
}

bool qmp_greet(Qmp *qmp, GError **errp)
{
    g_autoptr(JsonNode) greeting = qmp_receive(qmp, errp);

    if (!greeting) {
        return false;
    }
    if (!json_object_has_member(json_node_get_object(greeting), "QMP")) {
        g_set_error(errp, SHARING_ERROR, SHARING_ERROR_FORMAT,
                    "the monitor did not greet");
        return false;
    }
    return qmp_command(qmp, "qmp_capabilities", NULL, errp);
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

JsonNode *qmp_execute(Qmp *qmp, const char *command, const char *arguments,
                      GError **errp)
{
    g_autofree char *request =
        g_strdup_printf("{\"execute\": \"%s\"%s%s}", command,
                        arguments ? ", \"arguments\": " : "",
                        arguments ? arguments : "");

    if (!channel_send(qmp->ch, request, errp)) {
        return NULL;
    }
    for (;;) {
        g_autoptr(JsonNode) reply = qmp_receive(qmp, errp);
        JsonObject *message;

        if (!reply) {
            return NULL;
        }
        message = json_node_get_object(reply);
        if (json_object_has_member(message, "return")) {
            return json_object_dup_member(message, "return");
        }
        if (!keep_event(qmp, reply)) {
            set_refusal(message, command, errp);
            return NULL;
        }
    }
}

bool qmp_command(Qmp *qmp, const char *command, const char *arguments,
                 GError **errp)
{
    g_autoptr(JsonNode) reply = qmp_execute(qmp, command, arguments, errp);

    return reply != NULL;
}

/* Keep all events that are there.  Nobody is owed a reply. */
static bool collect_events(Qmp *qmp, GError **errp)
{
    GError *err = NULL;
    char *line;

    while ((line = channel_line(qmp->ch, &err))) {
        g_autofree char *text = line;
        g_autoptr(JsonNode) message = qmp_parse(text, errp);

        if (!message) {
            return false;
        }
        if (!keep_event(qmp, message)) {
            g_set_error(errp, SHARING_ERROR, SHARING_ERROR_FORMAT,
                        "nobody asked for \"%.80s\"", text);
            return false;
        }
    }
    if (err) {
        g_propagate_error(errp, err);
        return false;
    }
    return true;
}

/* The data of @event, which may have none; its reference is taken over. */
static JsonObject *event_data(JsonObject *event)
{
    JsonObject *data = json_object_has_member(event, "data")
        ? json_object_ref(json_object_get_object_member(event, "data"))
        : json_object_new();

    json_object_unref(event);
    return data;
}

JsonObject *qmp_event(Qmp *qmp, const char *name, GError **errp)
{
    if (!collect_events(qmp, errp)) {
        return NULL;
    }
    for (GList *at = qmp->events.head; at; at = at->next) {
        JsonObject *event = at->data;

        if (!g_strcmp0(name, json_object_get_string_member(event, "event"))) {
            g_queue_delete_link(&qmp->events, at);
            return event_data(event);
        }
    }
    return NULL;
}

char *qmp_human(Qmp *qmp, const char *line, GError **errp)
{
    g_autofree char *arguments =
        g_strdup_printf("{\"command-line\": \"%s\"}", line);
    g_autoptr(JsonNode) reply =
        qmp_execute(qmp, "human-monitor-command", arguments, errp);

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

bool qmp_has_command(Qmp *qmp, const char *command, GError **errp)
{
    g_autoptr(JsonNode) reply =
        qmp_execute(qmp, "query-commands", NULL, errp);
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
