// SPDX-License-Identifier: GPL-2.0-or-later
/* Command line of sharing-run: parse, check, complain clearly. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <glib.h>

#include "options.h"

static const char *const case_names[CASE_COUNT] = {
    [CASE_SHARING] = "sharing",
    [CASE_AUTO] = "auto",
    [CASE_HOTPLUG] = "hotplug",
    [CASE_MIGRATION] = "migration",
    [CASE_SHARED] = "shared",
};

static bool in_range(const char *name, int value, int min, int max,
                     GError **errp)
{
    if (value < min || value > max) {
        g_set_error(errp, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "--%s %d: %d to %d allowed", name, value, min, max);
        return false;
    }
    return true;
}

static bool readable(const char *name, const char *path, int mode,
                     GError **errp)
{
    if (!path) {
        g_set_error(errp, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "--%s is missing", name);
        return false;
    }
    if (access(path, mode) < 0) {
        g_set_error(errp, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "--%s %s: %s", name, path, g_strerror(errno));
        return false;
    }
    return true;
}

static bool parse_case(Options *o, const char *name, GError **errp)
{
    for (int n = 0; n < CASE_COUNT; n++) {
        if (!name || !strcmp(name, case_names[n])) {
            o->which = n;
            return true;
        }
    }
    g_set_error(errp, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                "--case %s: sharing, auto, hotplug, migration or shared "
                "allowed", name);
    return false;
}

static bool options_check(const Options *o, GError **errp)
{
    if (o->engine && strcmp(o->engine, "samepage") &&
        strcmp(o->engine, "mainline")) {
        g_set_error(errp, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "--engine-expected %s: samepage or mainline allowed",
                    o->engine);
        return false;
    }
    /* One that is migrated is there twice for a while. */
    int guests_max = o->which == CASE_MIGRATION ? GUESTS_MAX - 1 : GUESTS_MAX;

    return in_range("guests", o->guests, 1, guests_max, errp) &&
           in_range("ram", o->ram_mib, 128, 2048, errp) &&
           in_range("boot-timeout", o->boot_timeout, 1, 3600, errp) &&
           in_range("settle-timeout", o->settle_timeout, 0, 3600, errp) &&
           in_range("step-timeout", o->step_timeout, 0, 3600, errp) &&
           in_range("pages-to-scan", o->pages_to_scan, 1, 1 << 24, errp) &&
           in_range("sleep-millisecs", o->sleep_millisecs, 0, 60000, errp) &&
           in_range("soak-seconds", o->soak_seconds, 0, 86400, errp) &&
           readable("qemu", o->qemu, X_OK, errp) &&
           readable("kernel", o->kernel, R_OK, errp) &&
           readable("image", o->image, R_OK, errp) &&
           readable("results", o->results, R_OK | W_OK | X_OK, errp) &&
           (!o->firmware || readable("firmware", o->firmware, R_OK, errp));
}

static void options_default(Options *o)
{
    *o = (Options) {
        .guests = 3,
        .ram_mib = 256,
        .boot_timeout = 240,
        .pages_to_scan = 20000,
        .sleep_millisecs = 10,
        .tty = isatty(STDOUT_FILENO) || g_getenv("SAMEPAGE_TTY"),
    };
}

/* What takes time in proportion to memory, for two emulated CPUs. */
static void options_scale(Options *o)
{
    int total_mib = o->guests * o->ram_mib;

    if (o->settle_timeout == 0) {
        o->settle_timeout = 120 + total_mib / 16;
    }
    if (o->step_timeout == 0) {
        o->step_timeout = 120 + total_mib / 32;
    }
}

bool options_parse(Options *o, int argc, char **argv, GError **errp)
{
    gboolean tap = FALSE, plain = FALSE;
    g_autofree char *which = NULL;
    GOptionEntry entries[] = {
        { "qemu", 0, 0, G_OPTION_ARG_FILENAME, &o->qemu,
          "Program that runs the guests", "PATH" },
        { "firmware", 0, 0, G_OPTION_ARG_FILENAME, &o->firmware,
          "Its firmware folder (default: its own)", "DIR" },
        { "kernel", 0, 0, G_OPTION_ARG_FILENAME, &o->kernel,
          "Kernel of the guests", "BZIMAGE" },
        { "image", 0, 0, G_OPTION_ARG_FILENAME, &o->image,
          "Disk of the guests", "SQUASHFS" },
        { "case", 0, 0, G_OPTION_ARG_STRING, &which,
          "What to do with the guests (default: sharing)",
          "sharing|auto|hotplug|migration|shared" },
        { "guests", 0, 0, G_OPTION_ARG_INT, &o->guests,
          "How many guests, 1 to 8 (default 3)", "N" },
        { "ram", 0, 0, G_OPTION_ARG_INT, &o->ram_mib,
          "MiB of each guest, 128 to 2048 (default 256)", "MIB" },
        { "results", 0, 0, G_OPTION_ARG_FILENAME, &o->results,
          "Folder for run.json and the logs", "DIR" },
        { "engine-expected", 0, 0, G_OPTION_ARG_STRING, &o->engine,
          "Fail unless the kernel has this engine", "samepage|mainline" },
        { "boot-timeout", 0, 0, G_OPTION_ARG_INT, &o->boot_timeout,
          "Until all guests answer", "SECONDS" },
        { "settle-timeout", 0, 0, G_OPTION_ARG_INT, &o->settle_timeout,
          "Until sharing has settled (0: by memory)", "SECONDS" },
        { "step-timeout", 0, 0, G_OPTION_ARG_INT, &o->step_timeout,
          "For one request to all guests (0: by memory)", "SECONDS" },
        { "pages-to-scan", 0, 0, G_OPTION_ARG_INT, &o->pages_to_scan,
          "Knob of the merge engine (default 20000)", "N" },
        { "sleep-millisecs", 0, 0, G_OPTION_ARG_INT, &o->sleep_millisecs,
          "Knob of the merge engine (default 10)", "N" },
        { "soak-seconds", 0, 0, G_OPTION_ARG_INT, &o->soak_seconds,
          "Disturb the guests so long, knobs being another's", "SECONDS" },
        { "tap", 0, 0, G_OPTION_ARG_NONE, &tap,
          "Print TAP, as a test", NULL },
        { "plain", 0, 0, G_OPTION_ARG_NONE, &plain,
          "Print lines, do not redraw", NULL },
        { NULL }
    };
    g_autoptr(GOptionContext) context =
        g_option_context_new("- let KVM guests share memory and check it");

    options_default(o);
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, errp)) {
        return false;
    }
    if (argc > 1) {
        g_set_error(errp, G_OPTION_ERROR, G_OPTION_ERROR_UNKNOWN_OPTION,
                    "unexpected argument %s", argv[1]);
        return false;
    }
    o->tap = tap;
    o->tty = o->tty && !tap && !plain;
    if (!parse_case(o, which, errp) || !options_check(o, errp)) {
        return false;
    }
    options_scale(o);
    return true;
}

void options_clear(Options *o)
{
    g_free(o->qemu);
    g_free(o->firmware);
    g_free(o->kernel);
    g_free(o->image);
    g_free(o->results);
    g_free(o->engine);
    *o = (Options) { 0 };
}
