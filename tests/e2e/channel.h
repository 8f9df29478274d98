/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lines in both directions over one socket, with deadlines. */
#ifndef SHARING_CHANNEL_H
#define SHARING_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

#define SHARING_ERROR sharing_error_quark()
GQuark sharing_error_quark(void);

typedef enum SharingError {
    SHARING_ERROR_CLOSED,   /* the other side is gone */
    SHARING_ERROR_TIMEOUT,
    SHARING_ERROR_REFUSED,  /* the other side answered with an error */
    SHARING_ERROR_FORMAT,   /* an answer that makes no sense */
    SHARING_ERROR_HOST,     /* the host lacks something or refuses it */
} SharingError;

typedef struct Channel Channel;

/**
 * channel_new:
 * @name: used in error messages
 * @fd: a connected stream socket; owned by the channel from now on
 */
Channel *channel_new(const char *name, int fd);
void channel_free(Channel *ch);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Channel, channel_free)

/* For poll(2): readable when channel_line() may have more to say. */
int channel_fd(const Channel *ch);

/* Send @line and a line feed; waits at most 10 s for room. */
bool channel_send(Channel *ch, const char *line, GError **errp);

/**
 * channel_line:
 *
 * Does not wait.
 *
 * Returns: the next complete line without its line feed, to be freed; NULL
 * without @errp set if there is none yet, NULL with @errp set if there will
 * never be one.
 */
char *channel_line(Channel *ch, GError **errp);

/* As channel_line(), but waits up to @timeout_ms; no line is an error. */
char *channel_wait_line(Channel *ch, int timeout_ms, GError **errp);

/**
 * words_u64:
 * @line: "... key=123 ..." or "... key=0x7b ..."; the value may end at any
 *        character that is no digit of it
 *
 * Returns: true and sets *@value if the word is there and is a number.
 */
bool words_u64(const char *line, const char *key, int base, uint64_t *value);

/* The text after "key=" up to the next blank, to be freed; NULL if none. */
char *words_text(const char *line, const char *key);

#endif
