// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The agent in a test guest: fills memory with contents that are known in
 * advance, checks them, rewrites them and says where they are.
 *
 *   agent [--name NAME] [--port PORT] [--etc DIR]   serve requests
 *   agent --manifest FILE...                        print checksums of files
 *
 * PORT is a device path, "-" for standard input and output, or (the default)
 * the virtio-serial port named org.samepage.agent.
 *
 * Protocol: one request per line, one reply per line, "ok ..." or "error ...".
 * A request is a command and key=value words; numbers are decimal.
 *
 *   hello                              -> ok agent=1 name= available_kib=
 *   fill guest=N equal=P unique=P zero=P churn=P     (pages; once)
 *                                      -> ok pages=
 *   churn rate=P                       rewrite P churn pages ten times a second
 *                                      -> ok rate=
 *   verify files_kib=K                 every byte of the test memory, and up to
 *                                      K KiB of program files in the page cache
 *                                      -> ok pages= sum_equal= bad= [first=]
 *                                         files= bad_files= [first_file=]
 *   rewrite region=R count=P           the next version of P pages, evenly
 *                                      spread, checked before and after
 *                                      -> ok rewritten= bad= [first=]
 *   where region=R first=P count=N     guest-physical page numbers (hex) and
 *                                      versions -> ok at=PFN:VERSION,...
 *   corrupt region=R page=P            damage one byte, to test the checks
 *                                      -> ok byte=
 *   services                           -> ok running=a,b missing=c
 *   poweroff                           -> ok
 *
 * "bad=0" is the only good answer of verify and rewrite; wrong content found
 * while churning is kept and reported by the next verify.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"

#define PORT_NAME "org.samepage.agent"
#define PORT_WAIT_S 30
#define CHURN_MS 100
#define REQUEST_MAX 1024
#define WORDS_MAX 12

struct request {
    char *word[WORDS_MAX];
    int words;
};

static const char *agent_name = "guest";
static const char *agent_etc = "/etc/samepage";

void reply_add(struct reply *r, const char *fmt, ...)
{
    size_t room = sizeof(r->text) - r->len;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(r->text + r->len, room, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= room) {
        return reply_error(r, "the reply does not fit %zu bytes",
                           sizeof(r->text));
    }
    r->len += n;
}

void reply_error(struct reply *r, const char *fmt, ...)
{
    int room = sizeof(r->text), n;
    va_list ap;

    n = snprintf(r->text, room, "error ");
    va_start(ap, fmt);
    n += vsnprintf(r->text + n, room - n, fmt, ap);
    va_end(ap);
    r->len = n < room ? n : room - 1;
}

static bool reply_failed(const struct reply *r)
{
    return !strncmp(r->text, "error ", 6);
}

static const char *request_text(const struct request *q, const char *key)
{
    size_t len = strlen(key);

    for (int n = 1; n < q->words; n++) {
        if (!strncmp(q->word[n], key, len) && q->word[n][len] == '=') {
            return q->word[n] + len + 1;
        }
    }
    return NULL;
}

static bool request_number(const struct request *q, struct reply *r,
                           const char *key, uint32_t max, uint32_t *number)
{
    const char *text = request_text(q, key);
    uint64_t value = 0;
    const char *at;

    if (!text) {
        reply_error(r, "%s: %s= is missing", q->word[0], key);
        return false;
    }
    for (at = text; *at >= '0' && *at <= '9' && value <= max; at++) {
        value = value * 10 + (*at - '0');
    }
    if (at == text || *at || value > max) {
        reply_error(r, "%s: %s=%s is not a number from 0 to %u", q->word[0],
                    key, text, max);
        return false;
    }
    *number = value;
    return true;
}

static bool request_region(const struct request *q, struct reply *r,
                           enum pattern_region *region)
{
    const char *text = request_text(q, "region");

    *region = text ? pattern_region_by_name(text) : REGION_COUNT;
    if (*region == REGION_COUNT) {
        reply_error(r, "%s: region=%s is none of equal, unique, zero, churn",
                    q->word[0], text ? text : "");
        return false;
    }
    return true;
}

static void do_hello(const struct request *q, struct reply *r)
{
    reply_add(r, "ok agent=1 name=%s available_kib=%llu", agent_name,
              (unsigned long long)mem_available_kib());
}

static void do_fill(const struct request *q, struct reply *r)
{
    uint32_t guest, pages[REGION_COUNT];

    if (!request_number(q, r, "guest", 1000, &guest)) {
        return;
    }
    for (int n = 0; n < REGION_COUNT; n++) {
        if (!request_number(q, r, pattern_region_name(n), 1 << 24,
                            &pages[n])) {
            return;
        }
    }
    if (!guest) {
        return reply_error(r, "fill: guest=0, 1 to 1000 allowed");
    }
    mem_fill(r, guest, pages);
}

static void do_churn(const struct request *q, struct reply *r)
{
    uint32_t rate;

    if (request_number(q, r, "rate", 1 << 16, &rate)) {
        mem_churn_rate(r, rate);
    }
}

static void do_verify(const struct request *q, struct reply *r)
{
    char manifest[256];
    uint32_t kib;

    if (!request_number(q, r, "files_kib", 1 << 24, &kib)) {
        return;
    }
    reply_add(r, "ok");
    mem_verify(r);
    if (!reply_failed(r)) {
        snprintf(manifest, sizeof(manifest), "%s/manifest", agent_etc);
        files_verify(r, manifest, kib);
    }
}

static void do_rewrite(const struct request *q, struct reply *r)
{
    enum pattern_region region;
    uint32_t count;

    if (request_region(q, r, &region) &&
        request_number(q, r, "count", 1 << 24, &count)) {
        mem_rewrite(r, region, count);
    }
}

static void do_where(const struct request *q, struct reply *r)
{
    enum pattern_region region;
    uint32_t first, count;

    if (request_region(q, r, &region) &&
        request_number(q, r, "first", 1 << 24, &first) &&
        request_number(q, r, "count", 512, &count)) {
        mem_where(r, region, first, count);
    }
}

static void do_corrupt(const struct request *q, struct reply *r)
{
    enum pattern_region region;
    uint32_t page;

    if (request_region(q, r, &region) &&
        request_number(q, r, "page", 1 << 24, &page)) {
        mem_corrupt(r, region, page);
    }
}

static void do_services(const struct request *q, struct reply *r)
{
    char list[256];

    snprintf(list, sizeof(list), "%s/services", agent_etc);
    files_services(r, list);
}

static void do_poweroff(const struct request *q, struct reply *r)
{
    if (getpid() != 1) {
        return reply_error(r, "poweroff: not the init process");
    }
    reply_add(r, "ok");
}

static const struct command {
    const char *name;
    void (*run)(const struct request *q, struct reply *r);
} commands[] = {
    { "hello", do_hello },
    { "fill", do_fill },
    { "churn", do_churn },
    { "verify", do_verify },
    { "rewrite", do_rewrite },
    { "where", do_where },
    { "corrupt", do_corrupt },
    { "services", do_services },
    { "poweroff", do_poweroff },
};

/* Split @line in words.  Returns false if it has none or too many. */
static bool request_parse(struct request *q, char *line)
{
    char *save, *word = strtok_r(line, " ", &save);

    for (q->words = 0; word; word = strtok_r(NULL, " ", &save)) {
        if (q->words == WORDS_MAX) {
            return false;
        }
        q->word[q->words++] = word;
    }
    return q->words > 0;
}

/* Answer one request line.  Returns false if it asked for the power off. */
static bool serve_line(int fd, char *line)
{
    static struct reply r;
    struct request q;
    const struct command *command = NULL;

    r.len = 0;
    r.text[0] = 0;
    if (!request_parse(&q, line)) {
        reply_error(&r, "a request is 1 to %d words", WORDS_MAX);
    } else {
        for (size_t n = 0; n < sizeof(commands) / sizeof(commands[0]); n++) {
            if (!strcmp(commands[n].name, q.word[0])) {
                command = &commands[n];
            }
        }
        if (command) {
            command->run(&q, &r);
        } else {
            reply_error(&r, "there is no command %s", q.word[0]);
        }
    }
    dprintf(fd, "%s\n", r.text);
    return !(command && command->run == do_poweroff && !reply_failed(&r));
}

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Rewrite churn pages when it is time to; returns how long poll may wait. */
static int churn_tick(void)
{
    static int64_t next;
    int64_t now = now_ms();

    if (now >= next) {
        if (!mem_churn()) {
            return -1;
        }
        next = now_ms() + CHURN_MS;
    }
    return next > now ? next - now : 0;
}

/*
 * Serve every complete line of @buf.  A line that does not fit is refused once
 * and dropped up to its end (*@skip).  Returns the bytes left over, or -1.
 */
static int serve_buffer(int fd, char *buf, int len, bool *skip)
{
    char *line = buf, *end;

    while ((end = memchr(line, '\n', buf + len - line))) {
        *end = 0;
        if (!*skip && !serve_line(fd, line)) {
            return -1;
        }
        *skip = false;
        line = end + 1;
    }
    len -= line - buf;
    memmove(buf, line, len);
    if (len == REQUEST_MAX) {
        if (!*skip) {
            dprintf(fd, "error a request line is at most %d bytes\n",
                    REQUEST_MAX - 1);
        }
        *skip = true;
        len = 0;
    }
    return len;
}

/* Serve until the other side closes (@once) or asks for the power off. */
static int serve(int in, int out, bool once)
{
    static char buf[REQUEST_MAX];
    bool skip = false;
    int len = 0;

    while (len >= 0) {
        struct pollfd p = { .fd = in, .events = POLLIN };
        ssize_t n;

        if (poll(&p, 1, churn_tick()) <= 0) {
            continue;
        }
        n = read(in, buf + len, sizeof(buf) - len);
        if (n > 0) {
            len = serve_buffer(out, buf, len + n, &skip);
        } else if (once) {
            return 0;
        } else {
            usleep(100000);     /* nobody on the host's side yet */
        }
    }
    reboot(RB_POWER_OFF);
    return 1;
}

/* Path of the virtio-serial port with our name, looked up in sysfs. */
static bool port_find(char *path, size_t size)
{
    DIR *dir = opendir("/sys/class/virtio-ports");
    struct dirent *entry;
    bool found = false;

    while (dir && !found && (entry = readdir(dir))) {
        char name_file[320], name[64] = "";
        FILE *f;

        snprintf(name_file, sizeof(name_file),
                 "/sys/class/virtio-ports/%s/name", entry->d_name);
        f = fopen(name_file, "re");
        if (f) {
            found = fscanf(f, "%63s", name) == 1 && !strcmp(name, PORT_NAME);
            fclose(f);
            snprintf(path, size, "/dev/%s", entry->d_name);
        }
    }
    if (dir) {
        closedir(dir);
    }
    return found;
}

static int port_open(const char *port)
{
    char path[300];

    for (int n = 0; !port && n < PORT_WAIT_S * 10; n++) {
        if (port_find(path, sizeof(path))) {
            port = path;
        } else {
            usleep(100000);
        }
    }
    if (!port) {
        fprintf(stderr, "agent: no virtio-serial port %s within %d s\n",
                PORT_NAME, PORT_WAIT_S);
        return -1;
    }
    return open(port, O_RDWR | O_CLOEXEC);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "name", required_argument, NULL, 'n' },
        { "port", required_argument, NULL, 'p' },
        { "etc", required_argument, NULL, 'e' },
        { "manifest", no_argument, NULL, 'm' },
        { },
    };
    const char *port = NULL;
    int fd, c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'n':
            agent_name = optarg;
            break;
        case 'p':
            port = optarg;
            break;
        case 'e':
            agent_etc = optarg;
            break;
        case 'm':
            return files_manifest(argv + optind, argc - optind);
        default:
            return 2;
        }
    }
    /* As the init process it is the parent of every orphan. */
    signal(SIGCHLD, SIG_IGN);
    if (port && !strcmp(port, "-")) {
        return serve(STDIN_FILENO, STDOUT_FILENO, true);
    }
    fd = port_open(port);
    if (fd < 0) {
        perror("agent: port");
        return 1;
    }
    return serve(fd, fd, false);
}
