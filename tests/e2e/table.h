/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The live table. */
#ifndef SHARING_TABLE_H
#define SHARING_TABLE_H

#include "guest.h"
#include "host.h"

typedef struct Table {
    bool shown;             /* draw at all */
    bool tty;               /* redraw in place */
    const char *prefix;     /* of every line */
    /* Drawn last, to go back over; set to 0 by other output, to be left */
    int lines;
    double last;            /* when it was drawn, in seconds of the run */
} Table;

/**
 * table_text:
 *
 * Returns: the table as text of whole lines, 78 columns at most, to be freed.
 */
char *table_text(const Host *host, const Guest *guests, int count,
                 double ksmd_seconds, double seconds);

/* Draw if it is time to: every second on a terminal, else every five. */
void table_draw(Table *t, const Host *host, const Guest *guests, int count,
                double ksmd_seconds, double seconds);

#endif
