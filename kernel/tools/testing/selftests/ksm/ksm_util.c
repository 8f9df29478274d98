// SPDX-License-Identifier: GPL-2.0-only
/*
 * Ending a case; the KSM control files; waiting for the scanner; processes.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "ksm_util.h"

struct ksm_verdict *ksm_verdict;
unsigned int ksm_wait_limit = 60;

/*
 * The first verdict of a case wins: what follows a failure in other threads
 * and processes is mostly its consequence.
 */
static void give_verdict(enum ksm_end end, const char *where, const char *fmt,
			 va_list ap)
{
	char why[sizeof(ksm_verdict->why)];
	int expected = KSM_RUNNING;
	size_t n;

	n = snprintf(why, sizeof(why), "%s", where);
	vsnprintf(why + n, sizeof(why) - n, fmt, ap);
	if (__atomic_compare_exchange_n(&ksm_verdict->state, &expected, end,
					false, __ATOMIC_SEQ_CST,
					__ATOMIC_SEQ_CST))
		memcpy(ksm_verdict->why, why, sizeof(why));
	_exit(1);
}

void ksm_fail(const char *file, int line, const char *fmt, ...)
{
	char where[64];
	va_list ap;

	snprintf(where, sizeof(where), "%s:%d: ", file, line);
	va_start(ap, fmt);
	give_verdict(KSM_FAILED, where, fmt, ap);
	__builtin_unreachable();
}

void ksm_corrupt(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	give_verdict(KSM_CORRUPT, "wrong contents: ", fmt, ap);
	__builtin_unreachable();
}

void ksm_skip(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	give_verdict(KSM_SKIPPED, "", fmt, ap);
	__builtin_unreachable();
}

void ksm_note(const char *fmt, ...)
{
	char line[400];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof(line) - 2)
		n = sizeof(line) - 2;
	dprintf(STDOUT_FILENO, "# %.*s\n", n, line);
}

/* --- files -------------------------------------------------------------- */

int file_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

int file_text(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	while ((n = read(fd, buf + used, size - 1 - used)) > 0)
		used += n;
	buf[used] = '\0';
	close(fd);
	return n < 0 ? -EIO : 0;
}

long file_number(const char *path)
{
	char buf[256], *end;
	long v;

	if (file_text(path, buf, sizeof(buf)))
		return -1;
	v = strtol(buf, &end, 10);
	return end == buf ? -1 : v;
}

bool file_line(const char *path, const char *key, char *value, size_t size)
{
	static __thread char buf[32768];
	size_t len = strlen(key);
	char *line = buf;

	if (file_text(path, buf, sizeof(buf)))
		return false;
	while (line) {
		if (!strncmp(line, key, len) &&
		    (line[len] == ' ' || line[len] == ':')) {
			line += len + 1;
			line += strspn(line, " \t");
			snprintf(value, size, "%.*s", (int)strcspn(line, "\n"),
				 line);
			return true;
		}
		line = strchr(line, '\n');
		if (line)
			line++;
	}
	return false;
}

long file_field(const char *path, const char *key)
{
	char value[64];

	return file_line(path, key, value, sizeof(value)) ?
	       strtol(value, NULL, 10) : -1;
}

static const char *knob_path(char *buf, size_t size, const char *knob)
{
	snprintf(buf, size, KSM_DIR "%s", knob);
	return buf;
}

bool ksm_has(const char *knob)
{
	char path[128];

	return !access(knob_path(path, sizeof(path), knob), F_OK);
}

bool ksm_is_samepage(void)
{
	return ksm_has("engine");
}

long ksm_read(const char *knob)
{
	char path[128];
	long v = file_number(knob_path(path, sizeof(path), knob));

	must(v >= 0, "%s cannot be read as a number", path);
	return v;
}

long ksm_read_signed(const char *knob)
{
	char path[128], text[64], *end;
	long v;

	if (file_text(knob_path(path, sizeof(path), knob), text, sizeof(text)))
		fail("%s cannot be read", path);
	v = strtol(text, &end, 10);
	must(end != text && *end == '\n', "%s holds \"%s\", not a number", path,
	     text);
	return v;
}

void ksm_need_that(const char *what, bool is_there)
{
	if (is_there)
		return;
	must(!ksm_is_samepage(), "%s is missing", what);
	skip("this kernel has no %s", what);
}

void ksm_need(const char *knob)
{
	ksm_need_that(knob, ksm_has(knob));
}

int ksm_write(const char *knob, const char *text)
{
	char path[128];

	return file_write(knob_path(path, sizeof(path), knob), text);
}

void ksm_set(const char *knob, long value)
{
	uint64_t limit = now_ms() + 3000;
	char text[32];
	int err;

	snprintf(text, sizeof(text), "%ld", value);
	err = ksm_write(knob, text);
	/* A process that was killed may map merged pages for a moment more. */
	while (err == -EBUSY && now_ms() < limit) {
		nap_ms(10);
		err = ksm_write(knob, text);
	}
	must(!err, "writing %ld to %s: %s", value, knob, strerror(-err));
}

long vmstat_of(const char *field)
{
	return file_field("/proc/vmstat", field);
}

long proc_merging_pages(pid_t pid)
{
	char path[64];

	if (!pid)
		pid = getpid();
	snprintf(path, sizeof(path), "/proc/%d/ksm_merging_pages", pid);
	return file_number(path);
}

static bool proc_ksm_line(pid_t pid, const char *field, char *value,
			  size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ksm_stat",
		 pid ? pid : getpid());
	return file_line(path, field, value, size);
}

long proc_ksm_stat(pid_t pid, const char *field)
{
	char value[64];

	return proc_ksm_line(pid, field, value, sizeof(value)) ?
	       strtol(value, NULL, 10) : -1;
}

long proc_ksm_signed(pid_t pid, const char *field)
{
	char value[64], *end;
	long v;

	must(proc_ksm_line(pid, field, value, sizeof(value)),
	     "ksm_stat has no line %s", field);
	v = strtol(value, &end, 10);
	must(end != value && !*end, "%s of ksm_stat is \"%s\", not a number",
	     field, value);
	return v;
}

void proc_ksm_need(const char *field)
{
	char what[80], value[64];

	snprintf(what, sizeof(what), "%s in ksm_stat", field);
	ksm_need_that(what, proc_ksm_line(0, field, value, sizeof(value)));
}

/* --- waiting for the scanner -------------------------------------------- */

uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ull + ts.tv_nsec / 1000000;
}

void run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	must_call(sched_setaffinity(0, sizeof(set), &set));
}

void nap_ms(unsigned int ms)
{
	struct timespec ts = { ms / 1000, (ms % 1000) * 1000000l };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

void ksm_wait_scans(unsigned int n)
{
	long start = ksm_read("full_scans"), now = start;
	uint64_t limit = now_ms() + ksm_wait_limit * 1000ull;

	while (now < start + (long)n) {
		if (now_ms() > limit)
			fail("full_scans went from %ld to %ld, not by %u, in %u s (run=%ld, pages_to_scan=%ld)",
			     start, now, n, ksm_wait_limit, ksm_read("run"),
			     ksm_read("pages_to_scan"));
		nap_ms(2);
		now = ksm_read("full_scans");
		must(now >= start, "full_scans fell from %ld to %ld", start,
		     now);
	}
}

void ksm_settle(void)
{
	ksm_set("run", 1);
	ksm_wait_scans(3);
}

void ksm_forget(void)
{
	ksm_set("run", 1);
	ksm_wait_scans(2);
}

void ksm_get_counts(struct ksm_counts *c)
{
	c->shared = ksm_read("pages_shared");
	c->sharing = ksm_read("pages_sharing");
	c->unshared = ksm_read("pages_unshared");
	c->pvolatile = ksm_read("pages_volatile");
}

static bool agrees(long want, long got)
{
	return want < 0 || want == got;
}

void ksm_expect(const char *when, long shared, long sharing, long unshared,
		long pvolatile)
{
	struct ksm_counts c;
	int tries;

	for (tries = 0; tries < 12; tries++) {
		ksm_get_counts(&c);
		if (agrees(shared, c.shared) && agrees(sharing, c.sharing) &&
		    agrees(unshared, c.unshared) &&
		    agrees(pvolatile, c.pvolatile))
			return;
		if (ksm_read("run") != 1)
			break;
		ksm_wait_scans(1);
	}
	fail("%s: shared/sharing/unshared/volatile are %ld/%ld/%ld/%ld, expected %ld/%ld/%ld/%ld (-1 = any)",
	     when, c.shared, c.sharing, c.unshared, c.pvolatile, shared,
	     sharing, unshared, pvolatile);
}

void ksm_partition(long copies, long max, long *shared, long *sharing)
{
	long rest = copies % max;

	*shared = copies / max;
	*sharing = *shared * (max - 1);
	/* A single one left over has nobody to merge with. */
	if (rest > 1) {
		*shared += 1;
		*sharing += rest - 1;
	}
}

/* --- processes ----------------------------------------------------------- */

pid_t child(void (*fn)(void *arg), void *arg)
{
	pid_t pid = fork();

	must_call(pid);
	if (!pid) {
		fn(arg);
		_exit(0);
	}
	return pid;
}

void join(pid_t pid)
{
	int status;

	must_call(waitpid(pid, &status, 0));
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return;
	if (ksm_verdict->state != KSM_RUNNING)
		_exit(1);
	if (WIFSIGNALED(status))
		fail("child %d died of signal %d (%s)", pid, WTERMSIG(status),
		     strsignal(WTERMSIG(status)));
	fail("child %d ended with status %d", pid, WEXITSTATUS(status));
}

void kill_child(pid_t pid)
{
	int status;

	must_call(kill(pid, SIGKILL));
	must_call(waitpid(pid, &status, 0));
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return;
	if (ksm_verdict->state != KSM_RUNNING)
		_exit(1);
	fail("child %d ended on its own (status 0x%x) before it was killed",
	     pid, status);
}

void *shared_new(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	must(p != MAP_FAILED, "mmap of %zu shared bytes: %m", bytes);
	return p;
}

struct gate *gate_new(void)
{
	return shared_new(sizeof(struct gate));
}

void gate_open(struct gate *g, int step)
{
	__atomic_store_n(&g->step, step, __ATOMIC_SEQ_CST);
}

void gate_wait(struct gate *g, int step)
{
	uint64_t limit = now_ms() + ksm_wait_limit * 1000ull;

	while (__atomic_load_n(&g->step, __ATOMIC_SEQ_CST) < step) {
		if (ksm_verdict->state != KSM_RUNNING)
			_exit(1);
		must(now_ms() < limit, "step %d did not come in %u s", step,
		     ksm_wait_limit);
		nap_ms(1);
	}
}

void flush_own_tlb(void)
{
	size_t bytes = 256 * page_size;
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	/* Unmapping this much flushes everything, not page by page. */
	must(p != MAP_FAILED, "mmap: %m");
	munmap(p, bytes);
}
