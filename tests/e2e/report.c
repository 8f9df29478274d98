// SPDX-License-Identifier: GPL-2.0-or-later
/* run.json: the figures of a run for other programs. */
#include <string.h>
#include <sys/utsname.h>
#include <json-glib/json-glib.h>

#include "report.h"

/*
 * Written out by hand: json-glib's builder prints 53.36 as
 * 53.359999999999999.
 */
typedef struct Writer {
    GString *text;
    int depth;
} Writer;

static void new_line(Writer *w)
{
    g_string_append_printf(w->text, "\n%*s", w->depth * 2, "");
}

/* Begin a member, or with no @name an element, of what is open. */
static void add_name(Writer *w, const char *name)
{
    if (!strchr("{[", w->text->str[w->text->len - 1])) {
        g_string_append_c(w->text, ',');
    }
    new_line(w);
    if (name) {
        g_string_append_printf(w->text, "\"%s\": ", name);
    }
}

static void open_nest(Writer *w, const char *name, char bracket)
{
    add_name(w, name);
    g_string_append_c(w->text, bracket);
    w->depth++;
}

static void close_nest(Writer *w, char bracket)
{
    w->depth--;
    new_line(w);
    g_string_append_c(w->text, bracket);
}

static void add_string(Writer *w, const char *name, const char *value)
{
    g_autoptr(JsonNode) node = json_node_alloc();
    g_autofree char *text = NULL;

    /* The library knows how to quote. */
    json_node_init_string(node, value ? value : "unknown");
    text = json_to_string(node, FALSE);
    add_name(w, name);
    g_string_append(w->text, text);
}

static void add_int(Writer *w, const char *name, int64_t value)
{
    add_name(w, name);
    g_string_append_printf(w->text, "%" PRId64, value);
}

static void add_seconds(Writer *w, const char *name, double value)
{
    add_name(w, name);
    g_string_append_printf(w->text, "%.2f", value);
}

static void add_word(Writer *w, const char *name, const char *word)
{
    add_name(w, name);
    g_string_append(w->text, word);
}

static void add_host(Writer *w, const Settled *settled)
{
    open_nest(w, "host", '{');
    for (int n = 0; settled->taken && n < KSM_HOST_COUNTER__MAX; n++) {
        const KsmHostValue *v = &settled->stats.counter[n];

        if (v->present) {
            add_int(w, ksm_host_counter_name(n),
                    ksm_host_counter_is_signed(n) ? v->s : (int64_t)v->u);
        }
    }
    if (settled->taken) {
        add_int(w, "run", settled->stats.run);
    }
    close_nest(w, '}');
}

static void add_guest(Writer *w, const Run *run, int n, bool complete)
{
    const Guest *g = &run->guests[n];

    open_nest(w, NULL, '{');
    add_string(w, "name", g->name);
    add_int(w, "ram_mib", g->ram_mib);
    add_int(w, "merged_pages", run->settled.guest[n].merged_pages);
    add_int(w, "saved_bytes", run->settled.guest[n].saved_bytes);
    if (g->cow_known) {
        add_int(w, "cow_breaks", run->cow_breaks[n]);
    } else {
        add_word(w, "cow_breaks", "null");
    }
    add_word(w, "memory_verified",
             g->verified && complete ? "true" : "false");
    close_nest(w, '}');
}

char *report_text(const Run *run, const char *verdict, bool complete)
{
    Writer w = { .text = g_string_new("{"), .depth = 1 };
    struct utsname uts;

    uname(&uts);
    add_string(&w, "engine", run->host.stats.engine_name);
    add_string(&w, "kernel", uts.release);
    add_string(&w, "qemu", run->qemu_version);
    add_seconds(&w, "seconds", run_seconds(run));
    add_host(&w, &run->settled);
    add_seconds(&w, "ksmd_cpu_seconds", run->settled.ksmd_seconds);
    add_int(&w, "saved_bytes", run->settled.saved_bytes);
    open_nest(&w, "guests", '[');
    for (int n = 0; n < run->started; n++) {
        add_guest(&w, run, n, complete);
    }
    close_nest(&w, ']');
    add_string(&w, "verdict", verdict);
    close_nest(&w, '}');
    g_string_append_c(w.text, '\n');
    return g_string_free(w.text, FALSE);
}

bool report_write(const Run *run, const char *verdict, bool complete,
                  GError **errp)
{
    g_autofree char *path =
        g_build_filename(run->opts.results, "run.json", NULL);
    g_autofree char *text = report_text(run, verdict, complete);

    return g_file_set_contents(path, text, -1, errp);
}
