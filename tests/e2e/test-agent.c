// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Native tests of the guests' agent: the program itself, over a socket
 * instead of its virtio-serial port, and the contents it must write.
 */
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "channel.h"
#include "../guest/pattern.h"

#define REPLY_MS 20000

static char *agent_program, *etc;

typedef struct Agent {
    GPid pid;
    Channel *ch;
} Agent;

static void agent_start(Agent *a)
{
    const char *argv[] = {
        agent_program, "--name", "unit", "--port", "-", "--etc", etc, NULL,
    };
    GError *err = NULL;
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds),
                    ==, 0);
    g_spawn_async_with_fds(NULL, (char **)argv, NULL,
                           G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &a->pid,
                           fds[1], fds[1], STDERR_FILENO, &err);
    g_assert_no_error(err);
    close(fds[1]);
    a->ch = channel_new("agent", fds[0]);
}

/* End it and see that it went well (with sanitizers: no error, no leak). */
static void agent_stop(Agent *a)
{
    int status;

    channel_free(a->ch);
    g_assert_cmpint(waitpid(a->pid, &status, 0), ==, a->pid);
    g_assert_cmpint(status, ==, 0);
}

static char *ask(Agent *a, const char *request)
{
    GError *err = NULL;
    char *reply;

    channel_send(a->ch, request, &err);
    g_assert_no_error(err);
    reply = channel_wait_line(a->ch, REPLY_MS, &err);
    g_assert_no_error(err);
    return reply;
}

/* Ask, and compare the reply's beginning. */
static void expect(Agent *a, const char *request, const char *want)
{
    g_autofree char *reply = ask(a, request);

    if (!g_str_has_prefix(reply, want)) {
        g_error("\"%s\" was answered \"%s\", not \"%s\"", request, reply,
                want);
    }
}

static uint64_t number(Agent *a, const char *request, const char *key,
                       int base)
{
    g_autofree char *reply = ask(a, request);
    uint64_t value;

    if (!words_u64(reply, key, base, &value)) {
        g_error("\"%s\" was answered \"%s\" without %s", request, reply, key);
    }
    return value;
}

static void test_pattern(void)
{
    uint64_t one[PATTERN_WORDS], two[PATTERN_WORDS];
    static const struct {
        struct pattern_id a, b;
        bool same;
    } cases[] = {
        { { REGION_EQUAL, 1, 5, 0 }, { REGION_EQUAL, 2, 5, 0 }, true },
        { { REGION_EQUAL, 1, 5, 0 }, { REGION_EQUAL, 1, 6, 0 }, false },
        { { REGION_EQUAL, 1, 5, 1 }, { REGION_EQUAL, 2, 5, 1 }, false },
        { { REGION_EQUAL, 1, 5, 1 }, { REGION_EQUAL, 1, 5, 0 }, false },
        { { REGION_UNIQUE, 1, 5, 0 }, { REGION_UNIQUE, 2, 5, 0 }, false },
        { { REGION_UNIQUE, 1, 5, 0 }, { REGION_EQUAL, 1, 5, 0 }, false },
        { { REGION_ZERO, 1, 5, 0 }, { REGION_ZERO, 2, 6, 0 }, true },
        { { REGION_ZERO, 1, 5, 1 }, { REGION_ZERO, 2, 5, 1 }, false },
        { { REGION_CHURN, 1, 5, 3 }, { REGION_CHURN, 2, 5, 3 }, true },
        { { REGION_CHURN, 1, 5, 3 }, { REGION_CHURN, 1, 5, 4 }, false },
    };

    for (size_t n = 0; n < G_N_ELEMENTS(cases); n++) {
        uint8_t want;

        pattern_fill(&cases[n].a, one);
        pattern_fill(&cases[n].b, two);
        g_assert_cmpint(!memcmp(one, two, sizeof(one)), ==, cases[n].same);
        g_assert_cmpint(pattern_check(&cases[n].a, one, &want), ==, -1);
        g_assert_cmpint(pattern_check(&cases[n].b, one, &want) < 0, ==,
                        cases[n].same);
    }
}

static void test_pattern_damage(void)
{
    struct pattern_id id = { REGION_UNIQUE, 3, 9, 2 };
    uint64_t words[PATTERN_WORDS];
    uint8_t *page = (uint8_t *)words;

    pattern_fill(&id, page);
    for (int byte = 0; byte < PATTERN_PAGE; byte++) {
        uint8_t right = page[byte], want = ~right;

        page[byte] ^= 1 << (byte % 8);
        g_assert_cmpint(pattern_check(&id, page, &want), ==, byte);
        g_assert_cmpint(want, ==, right);
        page[byte] = right;
    }
}

static void test_pattern_spread(void)
{
    for (uint32_t pages = 1; pages < 60; pages++) {
        for (uint32_t count = 1; count <= pages; count++) {
            for (uint32_t n = 0; n < count; n++) {
                uint32_t page = pattern_spread(n, count, pages);

                g_assert_cmpuint(page, <, pages);
                g_assert_true(n == 0 ||
                              page > pattern_spread(n - 1, count, pages));
            }
        }
    }
}

static void test_refusals(void)
{
    static const char *const cases[][2] = {
        { "frob", "error there is no command frob" },
        { "", "error a request is 1 to 12 words" },
        { "a b c d e f g h i j k l m", "error a request is 1 to 12 words" },
        { "fill guest=1", "error fill: equal= is missing" },
        { "fill guest=1001", "error fill: guest=1001 is not a number from 0 "
          "to 1000" },
        { "fill guest=0 equal=1 unique=1 zero=1 churn=1",
          "error fill: guest=0, 1 to 1000 allowed" },
        { "fill guest=1 equal=16777216 unique=16777216 zero=0 churn=0",
          "error fill: 134217728 KiB wanted" },
        { "verify files_kib=0", "error verify: memory was not filled yet" },
        { "rewrite region=equal count=1", "error rewrite: 1 pages" },
        { "rewrite region=other count=1", "error rewrite: region=other is "
          "none of" },
        { "rewrite region=equal count=1x", "error rewrite: count=1x is not" },
        { "where region=zero first=0 count=513", "error where: count=513 is" },
        { "corrupt region=unique page=0", "error corrupt:" },
        { "churn rate=-1", "error churn: rate=-1 is not a number" },
        { "poweroff", "error poweroff: not the init process" },
        { "hello", "ok agent=1 name=unit available_kib=" },
    };
    Agent a;

    agent_start(&a);
    for (size_t n = 0; n < G_N_ELEMENTS(cases); n++) {
        expect(&a, cases[n][0], cases[n][1]);
    }
    agent_stop(&a);
}

static void test_lines(void)
{
    g_autofree char *longest = g_strnfill(1500, 'x');
    g_autofree char *first = NULL, *second = NULL;
    GError *err = NULL;
    Agent a;
    int fd;

    agent_start(&a);
    fd = channel_fd(a.ch);
    /* One request in two parts, together with another */
    g_assert_cmpint(write(fd, "hel", 3), ==, 3);
    g_usleep(50000);
    g_assert_cmpint(write(fd, "lo\nhello\n", 9), ==, 9);
    first = channel_wait_line(a.ch, REPLY_MS, &err);
    second = channel_wait_line(a.ch, REPLY_MS, &err);
    g_assert_no_error(err);
    g_assert_true(g_str_has_prefix(first, "ok agent=1"));
    g_assert_true(g_str_has_prefix(second, "ok agent=1"));
    expect(&a, longest, "error a request line is at most 1023 bytes");
    expect(&a, "hello", "ok agent=1");
    agent_stop(&a);
}

#define FILL "fill guest=1 equal=300 unique=100 zero=80 churn=40"
#define VERIFY "verify files_kib=100"

static void test_memory(void)
{
    Agent a;

    agent_start(&a);
    expect(&a, FILL, "ok pages=520");
    expect(&a, FILL, "error fill: memory was filled already");
    g_assert_cmpuint(number(&a, VERIFY, "bad", 10), ==, 0);
    g_assert_cmpuint(number(&a, VERIFY, "pages", 10), ==, 520);
    g_assert_cmpuint(number(&a, VERIFY, "sum_equal", 16), ==,
                     pattern_region_sum(REGION_EQUAL, 7, 300));
    expect(&a, "rewrite region=equal count=300", "ok rewritten=300 bad=0");
    expect(&a, "rewrite region=zero count=7", "ok rewritten=7 bad=0");
    expect(&a, "rewrite region=zero count=81", "error rewrite: 81 pages");
    g_assert_cmpuint(number(&a, VERIFY, "bad", 10), ==, 0);
    g_assert_cmpuint(number(&a, VERIFY, "sum_equal", 16), !=,
                     pattern_region_sum(REGION_EQUAL, 7, 300));
    agent_stop(&a);
}

/* Every kind of damage is reported: at a verify, at a rewrite, at a churn. */
static void test_damage(void)
{
    Agent a;

    agent_start(&a);
    expect(&a, FILL, "ok");
    expect(&a, "corrupt region=zero page=79", "ok byte=79");
    expect(&a, "corrupt region=equal page=0", "ok byte=0");
    g_assert_cmpuint(number(&a, VERIFY, "bad", 10), ==, 2);
    expect(&a, "rewrite region=equal count=1",
           "ok rewritten=1 bad=1 first=equal:page=0,version=0,byte=0,");
    g_assert_cmpuint(number(&a, VERIFY, "bad", 10), ==, 1);
    expect(&a, "corrupt region=churn page=3", "ok byte=3");
    expect(&a, "churn rate=40", "ok rate=40");
    g_usleep(300000);
    expect(&a, "churn rate=0", "ok rate=0");
    /* The churn has overwritten the damage, but it was seen before. */
    g_assert_cmpuint(number(&a, VERIFY, "bad", 10), ==, 2);
    agent_stop(&a);
}

static void test_files(void)
{
    g_autofree char *file = g_build_filename(etc, "content", NULL);
    g_autofree char *services = g_build_filename(etc, "services", NULL);
    Agent a;

    g_assert_true(g_file_set_contents(services, "agent\nno-such-daemon\n", -1,
                                      NULL));
    agent_start(&a);
    expect(&a, FILL, "ok");
    g_assert_cmpuint(number(&a, VERIFY, "files", 10), ==, 1);
    g_assert_cmpuint(number(&a, VERIFY, "bad_files", 10), ==, 0);
    expect(&a, "services", "ok running=agent missing=no-such-daemon");
    g_assert_true(g_file_set_contents(file, "other content", -1, NULL));
    g_assert_cmpuint(number(&a, VERIFY, "bad_files", 10), ==, 1);
    g_assert_cmpint(unlink(file), ==, 0);
    g_assert_cmpuint(number(&a, VERIFY, "bad_files", 10), ==, 1);
    g_assert_cmpint(unlink(services), ==, 0);
    expect(&a, "services", "error services: ");
    agent_stop(&a);
}

static void test_where(void)
{
    g_autofree char *at = NULL, *reply = NULL;
    g_auto(GStrv) list = NULL;
    Agent a;

    agent_start(&a);
    expect(&a, FILL, "ok");
    expect(&a, "rewrite region=unique count=100", "ok");
    reply = ask(&a, "where region=unique first=90 count=10");
    at = words_text(reply, "at");
    list = g_strsplit(at, ",", -1);
    g_assert_cmpuint(g_strv_length(list), ==, 10);
    for (int n = 0; n < 10; n++) {
        g_assert_true(g_str_has_suffix(list[n], ":1"));
    }
    expect(&a, "where region=unique first=91 count=10", "error where: 10 ");
    agent_stop(&a);
}

/* A manifest of one file, made by the agent itself. */
static void make_manifest(void)
{
    g_autofree char *file = g_build_filename(etc, "content", NULL);
    g_autofree char *path = g_build_filename(etc, "manifest", NULL);
    const char *argv[] = { agent_program, "--manifest", file, NULL };
    g_autofree char *out = NULL;
    GError *err = NULL;

    g_file_set_contents(file, "some content", -1, &err);
    g_assert_no_error(err);
    g_spawn_sync(NULL, (char **)argv, NULL, 0, NULL, NULL, &out, NULL, NULL,
                 &err);
    g_assert_no_error(err);
    g_file_set_contents(path, out, -1, &err);
    g_assert_no_error(err);
}

static void remove_manifest(void)
{
    g_autofree char *path = g_build_filename(etc, "manifest", NULL);

    unlink(path);
    rmdir(etc);
}

int main(int argc, char **argv)
{
    g_autofree char *dir = g_path_get_dirname(argv[0]);
    int rc;

    g_test_init(&argc, &argv, NULL);
    agent_program = g_build_filename(dir, "agent", NULL);
    etc = g_dir_make_tmp("agent-XXXXXX", NULL);
    make_manifest();
    g_test_add_func("/agent/pattern", test_pattern);
    g_test_add_func("/agent/pattern/damage", test_pattern_damage);
    g_test_add_func("/agent/pattern/spread", test_pattern_spread);
    g_test_add_func("/agent/refusals", test_refusals);
    g_test_add_func("/agent/lines", test_lines);
    g_test_add_func("/agent/memory", test_memory);
    g_test_add_func("/agent/damage", test_damage);
    g_test_add_func("/agent/where", test_where);
    g_test_add_func("/agent/files", test_files);
    rc = g_test_run();
    remove_manifest();
    g_free(agent_program);
    g_free(etc);
    return rc;
}
