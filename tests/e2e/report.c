// SPDX-License-Identifier: GPL-2.0-or-later
/* run.json: the figures of a run for other programs. */
#include <string.h>
#include <sys/utsname.h>
#include <json-glib/json-glib.h>

#include "report.h"

/*
 * Written out by hand: json-glib's builder prints 53.36 as
 * 53.359999999999999.  What follows a '{' or '[' needs no comma.
 */
static void add_name(GString *s, const char *name)
{
    if (!strchr("{[", s->str[s->len - 1])) {
        g_string_append_c(s, ',');
    }
    if (name) {
        g_string_append_printf(s, "\n  \"%s\": ", name);
    } else {
        g_string_append(s, "\n  ");
    }
}

static void add_string(GString *s, const char *name, const char *value)
{
    g_autoptr(JsonNode) node = json_node_alloc();
    g_autofree char *text = NULL;

    /* The library knows how to quote. */
    json_node_init_string(node, value ? value : "unknown");
    text = json_to_string(node, FALSE);
    add_name(s, name);
    g_string_append(s, text);
}

static void add_int(GString *s, const char *name, int64_t value)
{
    add_name(s, name);
    g_string_append_printf(s, "%" PRId64, value);
}

static void add_seconds(GString *s, const char *name, double value)
{
    add_name(s, name);
    g_string_append_printf(s, "%.2f", value);
}

static void add_host(GString *s, const Settled *settled)
{
    add_name(s, "host");
    g_string_append_c(s, '{');
    for (int n = 0; settled->taken && n < KSM_HOST_COUNTER__MAX; n++) {
        const KsmHostValue *v = &settled->stats.counter[n];

        if (v->present) {
            add_int(s, ksm_host_counter_name(n),
                    ksm_host_counter_is_signed(n) ? v->s : (int64_t)v->u);
        }
    }
    if (settled->taken) {
        add_int(s, "run", settled->stats.run);
    }
    g_string_append(s, "\n}");
}

static void add_guest(GString *s, const Run *run, int n, bool complete)
{
    const Guest *g = &run->guests[n];

    add_name(s, NULL);
    g_string_append_c(s, '{');
    add_string(s, "name", g->name);
    add_int(s, "ram_mib", g->ram_mib);
    add_int(s, "merged_pages", run->settled.guest[n].merged_pages);
    add_int(s, "saved_bytes", run->settled.guest[n].saved_bytes);
    if (g->cow_known) {
        add_int(s, "cow_breaks", run->cow_breaks[n]);
    } else {
        add_name(s, "cow_breaks");
        g_string_append(s, "null");
    }
    add_name(s, "memory_verified");
    g_string_append(s, g->verified && complete ? "true" : "false");
    g_string_append(s, "\n}");
}

char *report_text(const Run *run, const char *verdict, bool complete)
{
    GString *s = g_string_new("{");
    struct utsname uts;

    uname(&uts);
    add_string(s, "engine", run->host.stats.engine_name);
    add_string(s, "kernel", uts.release);
    add_string(s, "qemu", run->qemu_version);
    add_seconds(s, "seconds", run_seconds(run));
    add_host(s, &run->settled);
    add_seconds(s, "ksmd_cpu_seconds", run->settled.ksmd_seconds);
    add_int(s, "saved_bytes", run->settled.saved_bytes);
    add_name(s, "guests");
    g_string_append_c(s, '[');
    for (int n = 0; n < run->started; n++) {
        add_guest(s, run, n, complete);
    }
    g_string_append(s, "\n]");
    add_string(s, "verdict", verdict);
    g_string_append(s, "\n}\n");
    return g_string_free(s, FALSE);
}

bool report_write(const Run *run, const char *verdict, bool complete,
                  GError **errp)
{
    g_autofree char *path =
        g_build_filename(run->opts.results, "run.json", NULL);
    g_autofree char *text = report_text(run, verdict, complete);

    return g_file_set_contents(path, text, -1, errp);
}
