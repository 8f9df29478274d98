// SPDX-License-Identifier: GPL-2.0-or-later
/* run.json: the figures of a run for other programs. */
#include <sys/utsname.h>
#include <json-glib/json-glib.h>

#include "report.h"

static void add_string(JsonBuilder *b, const char *name, const char *value)
{
    json_builder_set_member_name(b, name);
    if (value) {
        json_builder_add_string_value(b, value);
    } else {
        json_builder_add_null_value(b);
    }
}

static void add_int(JsonBuilder *b, const char *name, int64_t value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_int_value(b, value);
}

static void add_seconds(JsonBuilder *b, const char *name, double value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_double_value(b, (int64_t)(value * 100 + 0.5) / 100.0);
}

static void add_host(JsonBuilder *b, const Settled *s)
{
    json_builder_set_member_name(b, "host");
    json_builder_begin_object(b);
    for (int n = 0; s->taken && n < KSM_HOST_COUNTER__MAX; n++) {
        const KsmHostValue *v = &s->stats.counter[n];

        if (v->present) {
            add_int(b, ksm_host_counter_name(n),
                    ksm_host_counter_is_signed(n) ? v->s : (int64_t)v->u);
        }
    }
    if (s->taken) {
        add_int(b, "run", s->stats.run);
    }
    json_builder_end_object(b);
}

static void add_guest(JsonBuilder *b, const Run *run, int n, bool complete)
{
    const Guest *g = &run->guests[n];

    json_builder_begin_object(b);
    add_string(b, "name", g->name);
    add_int(b, "ram_mib", g->ram_mib);
    add_int(b, "merged_pages", run->settled.guest[n].merged_pages);
    add_int(b, "saved_bytes", run->settled.guest[n].saved_bytes);
    if (g->cow_known) {
        add_int(b, "cow_breaks", run->cow_breaks[n]);
    } else {
        add_string(b, "cow_breaks", NULL);
    }
    json_builder_set_member_name(b, "memory_verified");
    json_builder_add_boolean_value(b, g->verified && complete);
    json_builder_end_object(b);
}

char *report_text(const Run *run, const char *verdict, bool complete)
{
    g_autoptr(JsonBuilder) b = json_builder_new();
    g_autoptr(JsonNode) root = NULL;
    struct utsname uts;

    uname(&uts);
    json_builder_begin_object(b);
    add_string(b, "engine", run->host.stats.engine_name);
    add_string(b, "kernel", uts.release);
    add_string(b, "qemu", run->qemu_version);
    add_seconds(b, "seconds", run_seconds(run));
    add_host(b, &run->settled);
    add_seconds(b, "ksmd_cpu_seconds", run->settled.ksmd_seconds);
    add_int(b, "saved_bytes", run->settled.saved_bytes);
    json_builder_set_member_name(b, "guests");
    json_builder_begin_array(b);
    for (int n = 0; n < run->started; n++) {
        add_guest(b, run, n, complete);
    }
    json_builder_end_array(b);
    add_string(b, "verdict", verdict);
    json_builder_end_object(b);
    root = json_builder_get_root(b);
    return json_to_string(root, TRUE);
}

bool report_write(const Run *run, const char *verdict, bool complete,
                  GError **errp)
{
    g_autofree char *path =
        g_build_filename(run->opts.results, "run.json", NULL);
    g_autofree char *text = report_text(run, verdict, complete);
    g_autofree char *line = g_strconcat(text, "\n", NULL);

    return g_file_set_contents(path, line, -1, errp);
}
