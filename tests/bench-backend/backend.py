#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the QEMU backend costs a guest, and how long query-ksm-stats takes.

Two QEMUs run the same guest (work.c), which does the same piece of work over and
over again, each with a ksm-policy that looks every second, ten times as often as
it does by default:

  idle     on a host that has enough memory: it looks at the host
  busy     on a host that is short of memory: it merges, looks at the guest's
           memory too, and query-ksm-stats is asked every second

They take turns, and in each turn do one piece in mode=off, in which the backend
does nothing, and one in mode=auto.  The two are compared within a process, because
two processes of one QEMU differ by up to 8 % for their whole lives, by where its
translated code came to lie.  What is judged is the CPU time of the QEMU process for
a piece of work, not the time that passed, which grows when others want the CPU; of
that the fastest quarter of the pieces, told with the 95 % interval of the ratio.

The merge engine is left as it is (mostly stopped): this is about the backend, not
about merging.  How short of memory the host is, a made-up /proc/meminfo tells, in
a mount namespace of each QEMU.
"""
import argparse
import contextlib
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

MIB = 256
CALIBRATION_PASSES = 20
DEADLINE = 120
LIMIT = 1.01
QUERY_LIMIT_MS = 5.0
QUERY = re.compile(r"^# query-ksm-stats, (.*), (\d+) blocks, (\w+): "
                   r"median ([\d.]+) ms \(([\d.]+) to ([\d.]+)\)")
POLICY = "ksm-policy,id=policy,mode=off,interval-seconds=1"
# Available memory of the host in per cent, what mode=auto makes of it, and whether
# somebody asks
KINDS = {
    "idle": {"available": 90, "state": "paused", "asked": False},
    "busy": {"available": 5, "state": "merging", "asked": True},
}
MODES = ("off", "auto")


class Qmp:
    """A monitor of QEMU's"""

    def __init__(self, path, process):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE)
        while True:
            try:
                self.socket.connect(path)
                break
            except OSError:
                if process.poll() is not None:
                    raise
                time.sleep(0.01)
        self.file = self.socket.makefile("rw")
        self.file.readline()
        self.call("qmp_capabilities")

    def call(self, command, **arguments):
        json.dump({"execute": command, "arguments": arguments}, self.file)
        self.file.flush()
        while True:
            line = self.file.readline()
            if not line:
                raise EOFError("QEMU has ended")
            answer = json.loads(line)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']['desc']}")


def cpu_seconds(pid):
    """CPU time of a process, of the threads that have ended, too"""
    return time.clock_gettime((~pid << 3) | 2)


def main_thread_seconds(pid):
    """The main loop's, in which all of the backend runs: to the nanosecond where
    the kernel counts them, otherwise in clock ticks"""
    try:
        with open(f"/proc/{pid}/task/{pid}/schedstat", encoding="ascii") as file:
            return int(file.read().split()[0]) / 1e9
    except OSError:
        with open(f"/proc/{pid}/task/{pid}/stat", encoding="ascii") as file:
            field = file.read().rpartition(")")[2].split()
        return (int(field[11]) + int(field[12])) / os.sysconf("SC_CLK_TCK")


def made_up_meminfo(available):
    with open("/proc/meminfo", encoding="ascii") as real:
        text = real.read()
    total = int(re.search(r"^MemTotal: *(\d+) kB", text, re.M)[1])
    return re.sub(r"^MemAvailable:.*", f"MemAvailable: {total * available // 100}"
                  " kB", text, flags=re.M)


class Guest:
    """A stopped guest whose memory has been filled"""

    def __init__(self, args, kind, passes):
        self.kind = kind
        self.pieces = {mode: [] for mode in MODES}
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="samepage-bench."))
            self.process = self.start(args, folder, passes)
            stack.callback(self.process.wait)
            stack.callback(self.process.kill)
            self.qmp = Qmp(f"{folder}/qmp", self.process)
            self.asker = Qmp(f"{folder}/asked", self.process)
            # The first piece is not like the others: it fills the memory.
            self.work("off")
            self.pieces["off"].clear()
            self.stack = stack.pop_all()

    def start(self, args, folder, passes):
        meminfo = os.path.join(folder, "meminfo")
        with open(meminfo, "w", encoding="ascii") as file:
            file.write(made_up_meminfo(self.kind["available"]))
        return subprocess.Popen([
            "unshare", "--mount", "--propagation", "private", "sh", "-c",
            'mount --bind "$0" /proc/meminfo && exec "$@"', meminfo,
            args.qemu, "-nodefaults", "-display", "none", "-S",
            "-accel", args.accel, "-m", str(MIB), "-kernel", args.work,
            "-append", f"passes={passes} mib={MIB}", "-debugcon", "stdio",
            "-qmp", f"unix:{folder}/qmp,server=on,wait=off",
            "-qmp", f"unix:{folder}/asked,server=on,wait=off",
            "-machine", "q35", "-object", POLICY],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)

    def used(self):
        pid = self.process.pid
        return (time.monotonic(), cpu_seconds(pid), main_thread_seconds(pid))

    def ask_until(self, stop):
        """A management program that draws a graph"""
        while not stop.wait(1):
            self.asker.call("query-ksm-stats")

    def work(self, mode):
        """One piece, from where the guest was stopped"""
        self.qmp.call("qom-set", path="/objects/policy", property="mode",
                      value=mode)
        stop = threading.Event()
        thread = threading.Thread(target=self.ask_until, args=(stop,))
        watchdog = threading.Timer(DEADLINE, self.process.kill)
        watchdog.start()
        before = self.used()
        self.qmp.call("cont")
        if self.kind["asked"]:
            thread.start()
        byte = self.process.stdout.read(1)
        after = self.used()
        watchdog.cancel()
        stop.set()
        if not byte:
            raise TimeoutError
        if self.kind["asked"]:
            thread.join()
        self.qmp.call("stop")
        self.pieces[mode].append({
            name: b - a for name, a, b in
            zip(("run_s", "cpu_s", "main_thread_s"), before, after)})

    def policy(self):
        return self.qmp.call("query-ksm-stats")["vm"]["policy"]

    def close(self):
        self.stack.close()


def calibrate(args):
    """Passes that take about as long as a piece shall"""
    try:
        guest = Guest(args, KINDS["idle"], CALIBRATION_PASSES)
    except TimeoutError:
        sys.exit(f"bench-backend: the guest does not run with {args.accel}")
    for _ in range(3):
        guest.work("off")
    guest.close()
    each = min(p["cpu_s"] for p in guest.pieces["off"]) / CALIBRATION_PASSES
    return max(1, round(args.piece / 1000 / each))


def measure(args):
    """The pieces of each kind, in the order of the rounds, and the policies"""
    passes = calibrate(args)
    print(f"{args.rounds} rounds, {passes} passes through {MIB} MiB each, "
          f"{args.accel}", flush=True)
    guests = {name: Guest(args, kind, passes) for name, kind in KINDS.items()}
    policies = {}
    for i in range(args.rounds):
        for name, guest in guests.items():
            # No mode always comes first.
            for mode in MODES if i & 1 else MODES[::-1]:
                guest.work(mode)
                if mode == "auto":
                    policies[name] = guest.policy()
        if sys.stderr.isatty():
            print(f"\r\033[Kround {i + 1}", end="", file=sys.stderr)
    for name, guest in guests.items():
        guest.close()
        if policies[name]["state"] != guest.kind["state"]:
            sys.exit(f"bench-backend: {name}: the policy is "
                     f"{policies[name]['state']}, must be "
                     f"{guest.kind['state']}")
    return passes, {name: g.pieces for name, g in guests.items()}, policies


def spread(values):
    return {"min": min(values), "median": statistics.median(values),
            "max": max(values)}


def fastest(values):
    """Mean of the fastest quarter: what others do can only make a piece slower"""
    return statistics.mean(sorted(values)[:max(1, len(values) // 4)])


def ratio_of(values, others):
    """That of the fastest quarters, and its 95 % interval by resampling"""
    dice = random.Random(1)
    drawn = sorted(fastest(dice.choices(values, k=len(values))) /
                   fastest(dice.choices(others, k=len(others)))
                   for _ in range(2000))
    return {"ratio": fastest(values) / fastest(others),
            "low": drawn[49], "high": drawn[-50]}


def summarize(pieces):
    summary = {}
    for name, modes in pieces.items():
        off, auto = modes["off"], modes["auto"]
        summary[name] = {mode: {what: spread([r[what] for r in runs])
                                for what in runs[0]}
                         for mode, runs in modes.items()}
        for what in ("cpu", "run"):
            summary[name][what + "_ratio"] = ratio_of(
                [r[what + "_s"] for r in auto], [r[what + "_s"] for r in off])
        # Without the guest's thread: all that the main loop does, on average
        summary[name]["main_thread_percent"] = 100 * sum(
            a["main_thread_s"] - b["main_thread_s"]
            for a, b in zip(auto, off)) / sum(b["cpu_s"] for b in off)
    return summary


def text(values, digits=3):
    return (f"{values['median']:.{digits}f} ({values['min']:.{digits}f} to "
            f"{values['max']:.{digits}f})")


def show(summary):
    print(f"\n{'':4} {'CPU of a piece, s, off':>24} {'auto':>24}"
          f" {'ratio (95 %)':>26} {'main loop':>10}")
    for name, row in summary.items():
        ratio = row["cpu_ratio"]
        inner = (f"{ratio['ratio']:.4f} ({ratio['low']:.4f} to "
                 f"{ratio['high']:.4f})")
        print(f"{name:4} {text(row['off']['cpu_s']):>24} "
              f"{text(row['auto']['cpu_s']):>24} {inner:>26} "
              f"{row['main_thread_percent']:>8.3f} %")


def query_times(test, qemu):
    """As ksm-test measures it, from sending to having received the answer"""
    done = subprocess.run([test, "--tap", "-k", "-p", "/x86_64/ksm/speed"],
                          env={**os.environ, "QTEST_QEMU_BINARY": qemu},
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True, check=False)
    times = []
    for line in done.stdout.splitlines():
        match = QUERY.match(line)
        if match:
            host, blocks, mode, median, low, high = match.groups()
            times.append({"host": host, "blocks": int(blocks), "mode": mode,
                          "ms": {"min": float(low), "median": float(median),
                                 "max": float(high)}})
            print(line[2:])
    if not times:
        sys.exit(f"bench-backend: {test} printed no times")
    return times


def verdict(summary, queries):
    """Not good if it is too much; the interval tells how sure that is"""
    slowest = max(q["ms"]["median"] for q in queries if q["mode"] == "default")
    good = slowest < QUERY_LIMIT_MS
    print()
    for name, row in summary.items():
        ratio = row["cpu_ratio"]
        good = (good and ratio["ratio"] < LIMIT and
                row["main_thread_percent"] < 100 * (LIMIT - 1))
        low, middle, high = [100 * (ratio[k] - 1)
                             for k in ("low", "ratio", "high")]
        print(f"The backend, {name}, adds {middle:.2f} % to a guest's run time "
              f"({low:.2f} to {high:.2f} %, must be below "
              f"{100 * (LIMIT - 1):.0f} %).")
    print(f"query-ksm-stats takes {slowest:.2f} ms (must be below "
          f"{QUERY_LIMIT_MS:g} ms).\n{'Good' if good else 'NOT GOOD'}")
    return good


def main():
    parser = argparse.ArgumentParser(description="see scripts/bench-backend.sh")
    for name in ("qemu", "test", "work", "json"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--accel", required=True, choices=("tcg", "kvm"))
    parser.add_argument("--rounds", required=True, type=int)
    parser.add_argument("--piece", required=True, type=int, help="milliseconds")
    args = parser.parse_args()
    queries = query_times(args.test, args.qemu)
    passes, pieces, policies = measure(args)
    summary = summarize(pieces)
    show(summary)
    good = verdict(summary, queries)
    with open(args.json, "w", encoding="ascii") as file:
        json.dump({"good": good, "accel": args.accel, "mib": MIB,
                   "passes": passes, "summary": summary, "queries": queries,
                   "policies": policies, "pieces": pieces}, file, indent=1)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
