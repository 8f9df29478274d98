// SPDX-License-Identifier: GPL-2.0-or-later
/* Native tests of the driver's parts: no KVM, no root, no guest. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <json-glib/json-glib.h>

#include "report.h"
#include "run.h"

static void pair(Channel **ch, int *other)
{
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    *ch = channel_new("peer", fds[0]);
    *other = fds[1];
}

static void test_channel_lines(void)
{
    const char *text = "one\r\ntwo\nthr";
    g_autoptr(Channel) ch = NULL;
    g_autoptr(GError) err = NULL;
    g_autofree char *one = NULL, *two = NULL, *three = NULL;
    int other;

    pair(&ch, &other);
    g_assert_null(channel_line(ch, &err));
    g_assert_no_error(err);
    g_assert_cmpint(write(other, text, strlen(text)), ==, strlen(text));
    one = channel_line(ch, &err);
    two = channel_line(ch, &err);
    g_assert_cmpstr(one, ==, "one");
    g_assert_cmpstr(two, ==, "two");
    g_assert_null(channel_line(ch, &err));
    g_assert_no_error(err);
    g_assert_cmpint(write(other, "ee\n", 3), ==, 3);
    three = channel_wait_line(ch, 1000, &err);
    g_assert_cmpstr(three, ==, "three");
    close(other);
}

static void test_channel_deadline(void)
{
    g_autoptr(Channel) ch = NULL;
    g_autoptr(GError) err = NULL;
    gint64 start = g_get_monotonic_time();
    int other;

    pair(&ch, &other);
    g_assert_null(channel_wait_line(ch, 200, &err));
    g_assert_error(err, SHARING_ERROR, SHARING_ERROR_TIMEOUT);
    g_assert_cmpint(g_get_monotonic_time() - start, >=, 190000);
    close(other);
}

static void test_channel_closed(void)
{
    g_autoptr(Channel) ch = NULL;
    g_autoptr(GError) err = NULL, send_err = NULL;
    g_autofree char *last = NULL;
    int other;

    pair(&ch, &other);
    g_assert_cmpint(write(other, "last\nhalf", 9), ==, 9);
    close(other);
    last = channel_line(ch, &err);
    g_assert_cmpstr(last, ==, "last");
    g_assert_null(channel_line(ch, &err));
    g_assert_error(err, SHARING_ERROR, SHARING_ERROR_CLOSED);
    g_assert_false(channel_send(ch, "hello", &send_err));
    g_assert_error(send_err, SHARING_ERROR, SHARING_ERROR_CLOSED);
}

static int take_event(Qmp *qmp, const char *name, GError **errp)
{
    g_autoptr(JsonObject) data = qmp_event(qmp, name, errp);

    return data ? json_object_get_int_member_with_default(data, "n", 0) : -1;
}

/* Events are kept, whether they come before a reply or alone. */
static void test_qmp_events(void)
{
    const char *text =
        "{\"event\": \"A\", \"data\": {\"n\": 1}}\n"
        "{\"event\": \"B\"}\n{\"return\": {}}\n"
        "{\"event\": \"A\", \"data\": {\"n\": 2}}\n";
    g_autoptr(GError) err = NULL;
    g_autoptr(Qmp) qmp = NULL;
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    qmp = qmp_new("peer", fds[0]);
    g_assert_cmpint(take_event(qmp, "A", &err), ==, -1);
    g_assert_no_error(err);
    g_assert_cmpint(write(fds[1], text, strlen(text)), ==, strlen(text));
    g_assert_true(qmp_command(qmp, "x", NULL, &err));
    g_assert_cmpint(take_event(qmp, "A", &err), ==, 1);
    g_assert_cmpint(take_event(qmp, "A", &err), ==, 2);
    g_assert_cmpint(take_event(qmp, "A", &err), ==, -1);
    g_assert_cmpint(take_event(qmp, "B", &err), ==, 0);
    g_assert_no_error(err);
    g_assert_cmpint(write(fds[1], "{\"return\": {}}\n", 15), ==, 15);
    g_assert_cmpint(take_event(qmp, "A", &err), ==, -1);
    g_assert_error(err, SHARING_ERROR, SHARING_ERROR_FORMAT);
    close(fds[1]);
}

static void test_words(void)
{
    const char *line = "ok bad=0 sum_equal=00ff at=1f:2,3 bad_files=7";
    g_autofree char *at = words_text(line, "at"), *none = NULL;
    uint64_t value = 99;

    g_assert_true(words_u64(line, "bad_files", 10, &value));
    g_assert_cmpuint(value, ==, 7);
    g_assert_true(words_u64(line, "bad", 10, &value));
    g_assert_cmpuint(value, ==, 0);
    g_assert_true(words_u64(line, "sum_equal", 16, &value));
    g_assert_cmpuint(value, ==, 0xff);
    g_assert_cmpstr(at, ==, "1f:2,3");
    /* Neither the end of another word nor a word without a number */
    g_assert_false(words_u64(line, "files", 10, &value));
    g_assert_false(words_u64("ok bad=", "bad", 10, &value));
    g_assert_false(words_u64("ok bad=-1", "bad", 10, &value));
    none = words_text(line, "pages");
    g_assert_null(none);
}

/* Parse a command line and return its error text, NULL if it is fine. */
static char *options_error(const char *line)
{
    g_auto(GStrv) argv = g_strsplit(line, " ", -1);
    g_autofree char **copy = g_memdup2(argv, sizeof(char *) *
                                       (g_strv_length(argv) + 1));
    Options opts;
    GError *err = NULL;
    char *text = NULL;

    if (!options_parse(&opts, g_strv_length(argv), copy, &err)) {
        text = g_strdup(err->message);
        g_error_free(err);
    }
    options_clear(&opts);
    return text;
}

static void test_options(void)
{
#define FINE "x --qemu /bin/sh --kernel /bin/sh --image /bin/sh --results /tmp"
    static const struct {
        const char *line, *error;
    } cases[] = {
        { FINE, NULL },
        { FINE " --guests 8 --ram 2048 --engine-expected mainline", NULL },
        { FINE " --guests 0", "--guests 0: 1 to 8 allowed" },
        { FINE " --guests 9", "--guests 9: 1 to 8 allowed" },
        { FINE " --ram 127", "--ram 127: 128 to 2048 allowed" },
        { FINE " --ram 2049", "--ram 2049: 128 to 2048 allowed" },
        { FINE " --boot-timeout 0", "--boot-timeout 0: 1 to 3600 allowed" },
        { FINE " --engine-expected foo",
          "--engine-expected foo: samepage or mainline allowed" },
        { FINE " --case migration --guests 7", NULL },
        { FINE " --case migration --guests 8",
          "--guests 8: 1 to 7 allowed" },
        { FINE " --case foo", "--case foo: sharing, auto, hotplug, migration "
          "or shared allowed" },
        { FINE " more", "unexpected argument more" },
        { "x --qemu /bin/sh", "--kernel is missing" },
        { "x --qemu /nowhere", "--qemu /nowhere: No such file or directory" },
    };

    for (size_t n = 0; n < G_N_ELEMENTS(cases); n++) {
        g_autofree char *error = options_error(cases[n].line);

        g_assert_cmpstr(error, ==, cases[n].error);
    }
}

static void fill_figures(Run *run)
{
    static const struct {
        KsmHostCounter counter;
        uint64_t value;
    } values[] = {
        { KSM_HOST_PAGES_SHARED, 1000 }, { KSM_HOST_PAGES_SHARING, 3000 },
        { KSM_HOST_FULL_SCANS, 12 },
    };

    *run = (Run) { .started = 2, .opts.ram_mib = 2048 };
    strcpy(run->host.stats.engine_name, "samepage");
    for (size_t n = 0; n < G_N_ELEMENTS(values); n++) {
        KsmHostValue *v = &run->host.stats.counter[values[n].counter];

        v->present = true;
        v->u = values[n].value;
    }
    for (int n = 0; n < run->started; n++) {
        run->guests[n] = (Guest) {
            .ram_mib = 2048, .running = n == 0, .verified = true,
            .mergeable_bytes = 2048ull << 20, .merged_pages = 1000,
            .cow_known = n == 0, .cow_breaks = 123456789,
        };
        g_snprintf(run->guests[n].name, sizeof(run->guests[n].name),
                   "guest%d", n + 1);
    }
}

static void test_table(void)
{
    static Run run;
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    fill_figures(&run);
    text = table_text(&run.host, run.guests, run.started, 1.5, 77);
    lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        g_assert_cmpuint(strlen(*line), <=, 78);
    }
    /* 1000 of 4000 merged pages: a quarter of 3000 saved ones, 2.9 MiB */
    g_assert_nonnull(strstr(lines[1], "2048.0"));
    g_assert_nonnull(strstr(lines[1], " 3.9 "));
    g_assert_nonnull(strstr(lines[1], " 2.9 "));
    g_assert_nonnull(strstr(lines[1], "123456789"));
    g_assert_nonnull(strstr(lines[2], "not running"));
    g_assert_nonnull(strstr(text, "pages_shared 1000, pages_sharing 3000"));
    g_assert_nonnull(strstr(text, "saved 11.7 MiB"));
    g_assert_nonnull(strstr(text, "passes 12"));
}

static void test_report(void)
{
    static Run run;
    g_autofree char *text = NULL;
    g_autoptr(JsonNode) root = NULL;
    JsonObject *top, *guest, *host;

    fill_figures(&run);
    run.settled = (Settled) {
        .taken = true, .stats = run.host.stats, .saved_bytes = 12288000,
        .ksmd_seconds = 2.346, .guest[0].merged_pages = 55,
    };
    run.guests[1].verified = false;
    run.cow_breaks[0] = 17;
    text = report_text(&run, "pass", true);
    root = json_from_string(text, NULL);
    top = json_node_get_object(root);
    g_assert_cmpstr(json_object_get_string_member(top, "engine"), ==,
                    "samepage");
    g_assert_cmpint(json_object_get_int_member(top, "saved_bytes"), ==,
                    12288000);
    g_assert_cmpfloat(json_object_get_double_member(top, "ksmd_cpu_seconds"),
                      ==, 2.35);
    host = json_object_get_object_member(top, "host");
    g_assert_cmpint(json_object_get_int_member(host, "pages_sharing"), ==,
                    3000);
    g_assert_false(json_object_has_member(host, "smart_scan"));
    guest = json_array_get_object_element(
        json_object_get_array_member(top, "guests"), 0);
    g_assert_cmpint(json_object_get_int_member(guest, "merged_pages"), ==,
                    55);
    g_assert_cmpint(json_object_get_int_member(guest, "cow_breaks"), ==, 17);
    g_assert_true(json_object_get_boolean_member(guest, "memory_verified"));
    guest = json_array_get_object_element(
        json_object_get_array_member(top, "guests"), 1);
    g_assert_true(json_object_get_null_member(guest, "cow_breaks"));
    g_assert_false(json_object_get_boolean_member(guest, "memory_verified"));
}

/* A run that did not come to its end has verified nothing. */
static void test_report_incomplete(void)
{
    static Run run;
    g_autofree char *text = NULL;
    g_autoptr(JsonNode) root = NULL;

    fill_figures(&run);
    text = report_text(&run, "fail: \"x\"\\", false);
    root = json_from_string(text, NULL);
    g_assert_nonnull(root);
    g_assert_cmpstr(json_object_get_string_member(json_node_get_object(root),
                                                  "verdict"), ==,
                    "fail: \"x\"\\");
    g_assert_null(strstr(text, "\"memory_verified\": true"));
    g_assert_nonnull(strstr(text, "\"memory_verified\": false"));
}

static void test_checks(void)
{
    Checks c = { .tap = true };

    if (!g_test_subprocess()) {
        g_test_trap_subprocess(NULL, 0, 0);
        g_test_trap_assert_passed();
        g_test_trap_assert_stdout("*ok 1 - good\nnot ok 2 - bad\n# it is 3\n"
                                  "ok 3 - later # SKIP no time\n1..3\n*");
        return;
    }
    g_assert_true(check(&c, true, "good", "never said"));
    g_assert_false(check(&c, false, "bad", "it is %d", 3));
    check_skip(&c, "later", "no time");
    checks_plan(&c);
    g_assert_cmpuint(c.passed, ==, 1);
    g_assert_cmpuint(c.failed, ==, 1);
    g_assert_cmpuint(c.skipped, ==, 1);
    g_assert_cmpstr(c.first_failure, ==, "bad: it is 3");
    checks_clear(&c);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/sharing/channel/lines", test_channel_lines);
    g_test_add_func("/sharing/channel/deadline", test_channel_deadline);
    g_test_add_func("/sharing/channel/closed", test_channel_closed);
    g_test_add_func("/sharing/qmp/events", test_qmp_events);
    g_test_add_func("/sharing/words", test_words);
    g_test_add_func("/sharing/options", test_options);
    g_test_add_func("/sharing/table", test_table);
    g_test_add_func("/sharing/report", test_report);
    g_test_add_func("/sharing/report/incomplete", test_report_incomplete);
    g_test_add_func("/sharing/checks", test_checks);
    return g_test_run();
}
