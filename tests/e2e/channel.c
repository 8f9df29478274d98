// SPDX-License-Identifier: GPL-2.0-or-later
/* Lines over a stream socket, and the words of the agent's replies. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <glib.h>

#include "channel.h"

#define SEND_TIMEOUT_MS 10000
/* Longer than any reply: a peer that sends more has lost its mind. */
#define LINE_MAX_BYTES (4 * 1024 * 1024)

GQuark sharing_error_quark(void)
{
    return g_quark_from_static_string("sharing-error-quark");
}

struct Channel {
    char *name;
    int fd;
    GString *in;
};

Channel *channel_new(const char *name, int fd)
{
    Channel *ch = g_new0(Channel, 1);

    ch->name = g_strdup(name);
    ch->fd = fd;
    ch->in = g_string_new(NULL);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    return ch;
}

void channel_free(Channel *ch)
{
    if (ch) {
        close(ch->fd);
        g_string_free(ch->in, TRUE);
        g_free(ch->name);
        g_free(ch);
    }
}

int channel_fd(const Channel *ch)
{
    return ch->fd;
}

bool channel_send(Channel *ch, const char *line, GError **errp)
{
    g_autofree char *text = g_strconcat(line, "\n", NULL);
    size_t done = 0, len = strlen(text);

    while (done < len) {
        ssize_t n = send(ch->fd, text + done, len - done, MSG_NOSIGNAL);
        struct pollfd p = { .fd = ch->fd, .events = POLLOUT };

        if (n > 0) {
            done += n;
        } else if (errno != EAGAIN && errno != EINTR) {
            g_set_error(errp, SHARING_ERROR, SHARING_ERROR_CLOSED,
                        "%s: cannot send \"%s\": %s", ch->name, line,
                        g_strerror(errno));
            return false;
        } else if (poll(&p, 1, SEND_TIMEOUT_MS) == 0) {
            g_set_error(errp, SHARING_ERROR, SHARING_ERROR_TIMEOUT,
                        "%s: no room for \"%s\" within %d s", ch->name, line,
                        SEND_TIMEOUT_MS / 1000);
            return false;
        }
    }
    return true;
}

/* The first line of what has been read, or NULL. */
static char *channel_take(Channel *ch)
{
    char *end = memchr(ch->in->str, '\n', ch->in->len), *line;

    if (!end) {
        return NULL;
    }
    line = g_strndup(ch->in->str, end - ch->in->str);
    g_string_erase(ch->in, 0, end - ch->in->str + 1);
    g_strchomp(line);
    return line;
}

char *channel_line(Channel *ch, GError **errp)
{
    char *line = channel_take(ch);
    char buf[8192];
    ssize_t n = 1;

    while (!line && n > 0) {
        n = recv(ch->fd, buf, sizeof(buf), 0);
        if (n > 0) {
            g_string_append_len(ch->in, buf, n);
            line = channel_take(ch);
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            g_set_error(errp, SHARING_ERROR, SHARING_ERROR_CLOSED,
                        "%s: connection lost%s%s", ch->name,
                        n ? ": " : "", n ? g_strerror(errno) : "");
        }
        if (!line && ch->in->len > LINE_MAX_BYTES) {
            g_set_error(errp, SHARING_ERROR, SHARING_ERROR_FORMAT,
                        "%s: a line of more than %d bytes", ch->name,
                        LINE_MAX_BYTES);
            return NULL;
        }
    }
    return line;
}

char *channel_wait_line(Channel *ch, int timeout_ms, GError **errp)
{
    gint64 deadline = g_get_monotonic_time() + timeout_ms * 1000ll;

    for (;;) {
        GError *err = NULL;
        char *line = channel_line(ch, &err);
        gint64 left = (deadline - g_get_monotonic_time()) / 1000;
        struct pollfd p = { .fd = ch->fd, .events = POLLIN };

        if (line) {
            return line;
        }
        if (err) {
            g_propagate_error(errp, err);
            return NULL;
        }
        if (left <= 0) {
            g_set_error(errp, SHARING_ERROR, SHARING_ERROR_TIMEOUT,
                        "%s: no answer within %d ms", ch->name, timeout_ms);
            return NULL;
        }
        poll(&p, 1, left);
    }
}

/* Where the value of @key starts in @line, or NULL. */
static const char *words_find(const char *line, const char *key)
{
    size_t len = strlen(key);

    for (const char *at = line; (at = strstr(at, key)); at += len) {
        if ((at == line || at[-1] == ' ') && at[len] == '=') {
            return at + len + 1;
        }
    }
    return NULL;
}

bool words_u64(const char *line, const char *key, int base, uint64_t *value)
{
    const char *text = words_find(line, key);
    char *end;

    if (!text || !g_ascii_isxdigit(*text)) {
        return false;
    }
    *value = g_ascii_strtoull(text, &end, base);
    return end != text;
}

char *words_text(const char *line, const char *key)
{
    const char *text = words_find(line, key);

    return text ? g_strndup(text, strcspn(text, " ")) : NULL;
}
