/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How short of memory the host is
 */

#include "qemu/osdep.h"
#include "ksm-host-pressure.h"

/* /proc/meminfo has 1.5 KiB, what we look for is at its start. */
#define TEXT_MAX 8192

#define PERCENT 100

/*
 * The text of @path, cut after TEXT_MAX; NULL without an error if the kernel
 * does not tell: PSI can be compiled in and switched off, which shows only when
 * the file is read.
 */
static char *read_file(const char *path, GError **errp)
{
    FILE *file = fopen(path, "re");
    g_autofree char *text = g_malloc(TEXT_MAX);
    size_t len;
    int error = errno;

    if (file) {
        errno = 0;
        len = fread(text, 1, TEXT_MAX - 1, file);
        text[len] = '\0';
        error = ferror(file) ? errno : 0;
        fclose(file);
        if (!error) {
            return g_steal_pointer(&text);
        }
    }
    if (error != ENOENT && error != EACCES && error != EOPNOTSUPP) {
        g_set_error(errp, KSM_HOST_ERROR, KSM_HOST_ERROR_IO,
                    "%s: cannot read: %s", path, g_strerror(error));
    }
    return NULL;
}

/* What follows @name at the start of a line, NULL if nothing does */
static const char *find_line(const char *text, const char *name)
{
    while (text && !g_str_has_prefix(text, name)) {
        text = strchr(text, '\n');
        text = text ? text + 1 : NULL;
    }
    return text ? text + strlen(name) : NULL;
}

static bool bad_format(GError **errp, const char *path, const char *what)
{
    g_set_error(errp, KSM_HOST_ERROR, KSM_HOST_ERROR_FORMAT, "%s: %s", path,
                what);
    return false;
}

/* "1.23" as 123, from 0.00 to 100.00 */
static bool parse_percent(const char *text, KsmHostValue *value)
{
    size_t whole = strspn(text, "0123456789");
    unsigned result;

    if (whole < 1 || whole > 3 || text[whole] != '.' ||
        !g_ascii_isdigit(text[whole + 1]) ||
        !g_ascii_isdigit(text[whole + 2]) || text[whole + 3] != ' ') {
        return false;
    }
    result = atoi(text) * PERCENT + atoi(text + whole + 1);
    *value = (KsmHostValue) { .present = result <= 100 * PERCENT,
                              .u = result };
    return value->present;
}

static bool read_stall(const KsmHost *host, KsmHostValue *value, GError **errp)
{
    g_autofree char *path = ksm_host_path(host, "/proc/pressure/memory");
    GError *err = NULL;
    g_autofree char *text = read_file(path, &err);
    const char *figure = find_line(text, "some avg10=");

    if (err) {
        g_propagate_error(errp, err);
        return false;
    }
    if (text && (!figure || !parse_percent(figure, value))) {
        return bad_format(errp, path,
                          "no \"some avg10=\" with 0.00 to 100.00");
    }
    return true;
}

/* "  1234 kB" */
static bool parse_kib(const char *text, uint64_t *kib)
{
    char *after;

    text = text ? text + strspn(text, " \t") : "";
    errno = 0;
    *kib = g_ascii_strtoull(text, &after, 10);
    return g_ascii_isdigit(*text) && !errno && g_str_has_prefix(after, " kB");
}

static bool read_available(const KsmHost *host, KsmHostValue *value,
                           GError **errp)
{
    g_autofree char *path = ksm_host_path(host, "/proc/meminfo");
    GError *err = NULL;
    g_autofree char *text = read_file(path, &err);
    const char *figure = find_line(text, "MemAvailable:");
    uint64_t total, available;

    if (err) {
        g_propagate_error(errp, err);
        return false;
    }
    if (!text) {
        return true;
    }
    if (!parse_kib(find_line(text, "MemTotal:"), &total) || !total) {
        return bad_format(errp, path, "no \"MemTotal:\" with a size in kB");
    }
    if (!figure) {
        /* Before Linux 3.14 */
        return true;
    }
    if (!parse_kib(figure, &available) || available > total) {
        return bad_format(errp, path, "no \"MemAvailable:\" with a size in kB "
                          "that MemTotal allows");
    }
    value->u = (double)available / total * (100 * PERCENT);
    value->present = true;
    return true;
}

bool ksm_host_read_pressure(const KsmHost *host, KsmHostPressure *pressure,
                            GError **errp)
{
    bool ok;

    *pressure = (KsmHostPressure) { 0 };
    ok = read_stall(host, &pressure->stall, errp);
    return read_available(host, &pressure->available, ok ? errp : NULL) && ok;
}
