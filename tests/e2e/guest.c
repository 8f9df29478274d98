// SPDX-License-Identifier: GPL-2.0-or-later
/* One guest: its QEMU, its monitor and the agent inside. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

/* Descriptors that QEMU finds its two sockets at */
#define QMP_FD 10
#define AGENT_FD 11

/* What a guest's kernel prints when something went wrong in it */
static const char *const complaints[] = {
    "WARNING:", "BUG:", "Oops", "Kernel panic", "general protection",
    "Bad page", "segfault", "Call Trace", "SQUASHFS error", "I/O error",
    "Out of memory", "self-detected stall",
};

static GPtrArray *guest_command(const Guest *g, const Options *o,
                                const GuestHow *how)
{
    GPtrArray *argv = g_ptr_array_new_with_free_func(g_free);
    const char *const fixed[] = {
        "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        /*
         * Under emulated SVM a guest's XSETBV goes past KVM, so that CPUID
         * and XCR0 disagree: the guests do without XSAVE and AVX.
         */
        "-accel", "kvm", "-cpu", "host,-xsave", "-smp", "1",
        "-device", "virtio-blk-pci,drive=root",
        "-device", "virtio-serial-pci",
        "-device", "virtserialport,chardev=agent,name=org.samepage.agent",
        "-mon", "chardev=qmp,mode=control",
    };

    g_ptr_array_add(argv, g_strdup(o->qemu));
    for (size_t n = 0; n < G_N_ELEMENTS(fixed); n++) {
        g_ptr_array_add(argv, g_strdup(fixed[n]));
    }
#define ADD(...) g_ptr_array_add(argv, g_strdup_printf(__VA_ARGS__))
    if (o->firmware) {
        ADD("-L");
        ADD("%s", o->firmware);
    }
    ADD("-name");
    ADD("%s", g->name);
    ADD("-machine");
    ADD("q35,%s", how->machine ? how->machine : "mem-merge=on");
    ADD("-m");
    ADD("%d%s", g->ram_mib, how->memory ? how->memory : "");
    ADD("-kernel");
    ADD("%s", o->kernel);
    ADD("-append");
    ADD("console=ttyS0 loglevel=5 panic=-1 root=/dev/vda ro "
        "rootfstype=squashfs init=/usr/lib/samepage/init samepage_name=%s %s",
        g->name, how->append ? how->append : "");
    ADD("-drive");
    ADD("file=%s,format=raw,if=none,id=root,readonly=on,"
        "file.locking=off", o->image);
    ADD("-chardev");
    ADD("socket,id=qmp,fd=%d", QMP_FD);
    ADD("-chardev");
    ADD("socket,id=agent,fd=%d", AGENT_FD);
    ADD("-serial");
    ADD("file:%s/%s.console", o->results, g->name);
    for (int n = 0; how->args && how->args[n]; n++) {
        ADD("%s", how->args[n]);
    }
#undef ADD
    g_ptr_array_add(argv, NULL);
    return argv;
}

/* In the child: no guest may outlive the driver. */
static void die_with_parent(gpointer unused G_GNUC_UNUSED)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* Start QEMU with its ends of the sockets and its output in @log. */
static bool guest_spawn(Guest *g, const Options *o, const GuestHow *how,
                        int qmp, int agent, int log, GError **errp)
{
    g_autoptr(GPtrArray) argv = guest_command(g, o, how);
    const int source[] = { qmp, agent }, target[] = { QMP_FD, AGENT_FD };

    return g_spawn_async_with_pipes_and_fds(
        NULL, (const char *const *)argv->pdata, NULL,
        G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_SEARCH_PATH, die_with_parent,
        NULL, -1, log, log, source, target, 2, &g->pid, NULL, NULL, NULL,
        errp);
}

uint64_t guest_host_address(const Guest *g, uint64_t address, GError **errp)
{
    g_autofree char *line = g_strdup_printf("gpa2hva 0x%" PRIx64, address);
    g_autofree char *text = qmp_human(g->qmp, line, errp);
    const char *at = text ? strstr(text, " is 0x") : NULL;

    if (text && !at) {
        g_set_error(errp, SHARING_ERROR, SHARING_ERROR_FORMAT,
                    "%s: %s answered \"%s\"", g->name, line, text);
    }
    return at ? g_ascii_strtoull(at + 4, NULL, 16) : 0;
}

static bool guest_ram_host(Guest *g, GError **errp)
{
    /* Above the legacy area, whose first MiB the chipset remaps in part */
    const uint64_t probe = 0x100000;
    uint64_t at = guest_host_address(g, probe, errp);

    g->ram_host = at - probe;
    return at != 0;
}

bool guest_start(Guest *g, uint32_t number, const Options *o,
                 const GuestHow *how, GError **errp)
{
    static const GuestHow usual;
    g_autofree char *log_path = NULL;
    int qmp[2] = { -1, -1 }, agent[2] = { -1, -1 }, log;
    bool ok;

    *g = (Guest) { .number = number, .ram_mib = o->ram_mib,
                   .verified = true };
    how = how ? how : &usual;
    g_snprintf(g->name, sizeof(g->name), "guest%u%s", number,
               how->suffix ? how->suffix : "");
    log_path = g_strdup_printf("%s/%s.qemu", o->results, g->name);
    log = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (log < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, qmp) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, agent) < 0) {
        g_set_error(errp, SHARING_ERROR, SHARING_ERROR_HOST, "%s: %s: %s",
                    g->name, log_path, g_strerror(errno));
        ok = false;
    } else {
        ok = guest_spawn(g, o, how, qmp[1], agent[1], log, errp);
        g->qmp = qmp_new(g->name, qmp[0]);
        g->agent = channel_new(g->name, agent[0]);
    }
    close(qmp[1]);
    close(agent[1]);
    close(log);
    g->running = ok;
    if (ok && !(qmp_greet(g->qmp, errp) && guest_ram_host(g, errp))) {
        g_prefix_error(errp, "QEMU's log is %s: ", log_path);
        ok = false;
    }
    return ok;
}

bool guest_alive(Guest *g)
{
    if (g->pid && waitpid(g->pid, &g->exit_status, WNOHANG) == g->pid) {
        g_spawn_close_pid(g->pid);
        g->pid = 0;
    }
    return g->pid != 0;
}

void guest_kill(Guest *g)
{
    g->running = false;
    if (guest_alive(g)) {
        kill(g->pid, SIGKILL);
        waitpid(g->pid, &g->exit_status, 0);
        g->pid = 0;
    }
}

bool guest_wait_exit(Guest *g, int seconds)
{
    g->running = false;
    for (int n = 0; n < seconds * 20 && guest_alive(g); n++) {
        g_usleep(G_USEC_PER_SEC / 20);
    }
    return !guest_alive(g);
}

void guest_clear(Guest *g)
{
    guest_kill(g);
    g_clear_pointer(&g->qmp, qmp_free);
    g_clear_pointer(&g->agent, channel_free);
    g_clear_pointer(&g->reply, g_free);
    g_clear_error(&g->error);
}

void guest_ask(Guest *g, const char *request)
{
    g_clear_pointer(&g->reply, g_free);
    g_clear_error(&g->error);
    channel_send(g->agent, request, &g->error);
}

bool guest_poll_reply(Guest *g)
{
    if (!g->reply && !g->error) {
        g->reply = channel_line(g->agent, &g->error);
        if (g->reply && !g_str_has_prefix(g->reply, "ok")) {
            g_set_error(&g->error, SHARING_ERROR, SHARING_ERROR_REFUSED,
                        "%s: %s", g->name, g->reply);
        }
    }
    return g->reply || g->error;
}

bool guest_wait_reply(Guest *g, int timeout_s, GError **errp)
{
    gint64 deadline = g_get_monotonic_time() + timeout_s * G_USEC_PER_SEC;

    while (!guest_poll_reply(g)) {
        struct pollfd p = { .fd = channel_fd(g->agent), .events = POLLIN };

        if (g_get_monotonic_time() > deadline) {
            g_set_error(errp, SHARING_ERROR, SHARING_ERROR_TIMEOUT,
                        "%s: the agent did not answer within %d s", g->name,
                        timeout_s);
            return false;
        }
        poll(&p, 1, 1000);
    }
    if (g->error) {
        g_propagate_error(errp, g_error_copy(g->error));
    }
    return !g->error;
}

/* What the kernel says of one thread. */
static void describe_thread(GString *text, const char *dir, const char *id)
{
    static const char *const names[] = { "comm", "stat", "wchan", "stack" };

    for (size_t n = 0; n < G_N_ELEMENTS(names); n++) {
        g_autofree char *path = g_build_filename(dir, id, names[n], NULL);
        g_autofree char *said = NULL;

        if (g_file_get_contents(path, &said, NULL, NULL)) {
            g_string_append_printf(text, "%s %s: %s\n", id, names[n],
                                   g_strchomp(said));
        }
    }
}

static void describe_once(const Guest *g, GString *text)
{
    static const char *const lines[] = { "info status", "info registers" };
    g_autofree char *path = g_strdup_printf("/proc/%d/task", g->pid);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *id;

    while (dir && (id = g_dir_read_name(dir))) {
        describe_thread(text, path, id);
    }
    for (size_t n = 0; n < G_N_ELEMENTS(lines); n++) {
        g_autofree char *said = qmp_human(g->qmp, lines[n], NULL);

        g_string_append(text, said ? said : "the monitor says nothing\n");
    }
}

bool guest_describe(const Guest *g, const Options *o, GError **errp)
{
    g_autofree char *path =
        g_strdup_printf("%s/%s.state", o->results, g->name);
    g_autoptr(GString) text = g_string_new(NULL);

    describe_once(g, text);
    g_usleep(G_USEC_PER_SEC);
    g_string_append(text, "\na second later:\n");
    describe_once(g, text);
    return g_file_set_contents(path, text->str, text->len, errp);
}

char *guest_complaints(const Guest *g, const Options *o)
{
    g_autofree char *path =
        g_strdup_printf("%s/%s.console", o->results, g->name);
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    GString *found = g_string_new(NULL);

    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        g_string_printf(found, "%s cannot be read", path);
        return g_string_free(found, FALSE);
    }
    lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        for (size_t n = 0; n < G_N_ELEMENTS(complaints); n++) {
            if (strstr(*line, complaints[n]) && found->len < 2000) {
                g_string_append_printf(found, "%s%s", found->len ? " | " : "",
                                       g_strstrip(*line));
                break;
            }
        }
    }
    return g_string_free(found, found->len == 0);
}
