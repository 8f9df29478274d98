// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The lines that scripts/bench.sh collects:
 *
 *   bench: sample FIGURE VALUE
 *   bench: na FIGURE REASON...
 *   bench: point CURVE X Y Z
 *   bench: error TEXT...
 *   bench: done
 *
 * Everything is written by one call, as children and the kernel write, too.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "bench.h"

static void line(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));

static void line(const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(text, sizeof(text) - 1, fmt, ap);
    va_end(ap);
    if (n > (int)sizeof(text) - 2) {
        n = sizeof(text) - 2;
    }
    text[n++] = '\n';
    if (write(STDOUT_FILENO, text, n) != n) {
        _exit(3);
    }
}

void sample(const char *figure, double value)
{
    line("bench: sample %s %.6g", figure, value);
}

void not_available(const char *figure, const char *fmt, ...)
{
    char why[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    line("bench: na %s %s", figure, why);
}

void point(const char *curve, double x, double y, double z)
{
    line("bench: point %s %.6g %.6g %.6g", curve, x, y, z);
}

void die(const char *fmt, ...)
{
    char why[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    line("bench: error %s", why);
    if (getpid() == 1) {
        reboot(RB_POWER_OFF);
    }
    /* exit() would run what a parent registered. */
    _exit(1);
}
