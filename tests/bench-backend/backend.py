#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the QEMU backend costs a guest, and how long query-ksm-stats takes.

Four QEMUs run the same guest (work.c), which does the same piece of work over and
over again:

  absent   a QEMU built with --disable-ksm, mem-merge=off
  idle     ours with a ksm-policy in mode=auto on a host that has enough memory
  active   the same on a host that is short of memory: it looks at the host and
           at the guest's memory as often as it does by default
  busy     likewise, but looks every second, and query-ksm-stats is asked as often

They take turns, a piece each and then the next, while the others are stopped: so
what else the machine does meanwhile concerns all of them.  What is judged is the
CPU time of the QEMU process for a piece of work, not the time that passed, which
grows when others want the CPU.  A ratio is that of two neighbours in one round; the
median of all rounds counts, and is told with its 95 % confidence interval.

The merge engine is left as it is (mostly stopped): this is about the backend, not
about merging.  How short of memory the host is, a made-up /proc/meminfo tells, in
a mount namespace of each QEMU.
"""
import argparse
import contextlib
import json
import math
import os
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
POLICY = "ksm-policy,id=policy,mode=auto"


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
        self.pieces = []
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="samepage-bench."))
            self.process = self.start(args, folder, passes)
            stack.callback(self.process.wait)
            stack.callback(self.process.kill)
            self.qmp = Qmp(f"{folder}/qmp", self.process)
            self.asker = Qmp(f"{folder}/asked", self.process)
            # The first piece is not like the others: it fills the memory.
            self.work()
            self.pieces.clear()
            self.stack = stack.pop_all()

    def start(self, args, folder, passes):
        meminfo = os.path.join(folder, "meminfo")
        with open(meminfo, "w", encoding="ascii") as file:
            file.write(made_up_meminfo(self.kind["available"]))
        return subprocess.Popen([
            "unshare", "--mount", "--propagation", "private", "sh", "-c",
            'mount --bind "$0" /proc/meminfo && exec "$@"', meminfo,
            self.kind["qemu"], "-nodefaults", "-display", "none", "-S",
            "-accel", args.accel, "-m", str(MIB), "-kernel", args.work,
            "-append", f"passes={passes} mib={MIB}", "-debugcon", "stdio",
            "-qmp", f"unix:{folder}/qmp,server=on,wait=off",
            "-qmp", f"unix:{folder}/asked,server=on,wait=off",
            *self.kind["options"]],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)

    def used(self):
        pid = self.process.pid
        return (time.monotonic(), cpu_seconds(pid), main_thread_seconds(pid))

    def ask_until(self, stop):
        """A management program that draws a graph"""
        while not stop.wait(1):
            self.asker.call("query-ksm-stats")

    def work(self):
        """One piece, from where the guest was stopped"""
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
        self.pieces.append({
            name: b - a for name, a, b in
            zip(("run_s", "cpu_s", "main_thread_s"), before, after)})

    def close(self):
        policy = None
        if self.kind["state"]:
            policy = self.qmp.call("query-ksm-stats")["vm"]["policy"]
        self.stack.close()
        return policy


def kinds(args):
    def ours(available, state, more="", asked=False):
        return {"qemu": args.qemu, "available": available, "state": state,
                "asked": asked,
                "options": ["-machine", "q35", "-object", POLICY + more]}
    return {
        "absent": {"qemu": args.without, "available": 90, "state": None,
                   "asked": False, "options": ["-machine", "q35,mem-merge=off"]},
        "idle": ours(90, "paused"),
        "active": ours(5, "merging"),
        "busy": ours(5, "merging", ",interval-seconds=1", True),
    }


def calibrate(args):
    """Passes that take about as long as a piece shall"""
    try:
        guest = Guest(args, kinds(args)["absent"], CALIBRATION_PASSES)
    except TimeoutError:
        sys.exit(f"bench-backend: the guest does not run with {args.accel}")
    for _ in range(3):
        guest.work()
    guest.close()
    each = min(p["cpu_s"] for p in guest.pieces) / CALIBRATION_PASSES
    return max(1, round(args.piece / 1000 / each))


def measure(args):
    """The pieces of each kind, in the order of the rounds, and the policies"""
    passes = calibrate(args)
    print(f"{args.rounds} rounds, {passes} passes through {MIB} MiB each, "
          f"{args.accel}", flush=True)
    guests = {name: Guest(args, kind, passes)
              for name, kind in kinds(args).items()}
    names = list(guests)
    for i in range(args.rounds):
        # Nobody always comes after the same one.
        order = names[i % len(names):] + names[:i % len(names)]
        for name in order if i & 1 else order[::-1]:
            guests[name].work()
        if sys.stderr.isatty():
            print(f"\r\033[Kround {i + 1}", end="", file=sys.stderr)
    policies = {name: guest.close() for name, guest in guests.items()}
    for name, guest in guests.items():
        state = policies[name] and policies[name]["state"]
        if state != guest.kind["state"]:
            sys.exit(f"bench-backend: {name}: the policy is {state}, must be "
                     f"{guest.kind['state']}")
    return passes, {name: g.pieces for name, g in guests.items()}, policies


def spread(values):
    return {"min": min(values), "median": statistics.median(values),
            "max": max(values)}


def interval(values):
    """The median's 95 % confidence interval, from the ranks alone"""
    values = sorted(values)
    half = 1.96 * math.sqrt(len(values)) / 2
    low = max(0, math.floor(len(values) / 2 - half))
    high = min(len(values) - 1, math.ceil(len(values) / 2 + half))
    return {**spread(values), "low": values[low], "high": values[high]}


def summarize(pieces):
    absent = pieces["absent"]
    summary = {}
    for name, runs in pieces.items():
        summary[name] = {what: spread([r[what] for r in runs])
                         for what in ("run_s", "cpu_s", "main_thread_s")}
        if name != "absent":
            for what in ("cpu", "run"):
                summary[name][what + "_ratio"] = interval(
                    [a[what + "_s"] / b[what + "_s"]
                     for a, b in zip(runs, absent)])
            # Without the guest's thread: all that the main loop does, on average
            summary[name]["main_thread_percent"] = 100 * sum(
                a["main_thread_s"] - b["main_thread_s"]
                for a, b in zip(runs, absent)) / sum(b["cpu_s"] for b in absent)
    return summary


def text(values, digits=3):
    return (f"{values['median']:.{digits}f} ({values['min']:.{digits}f} to "
            f"{values['max']:.{digits}f})")


def show(summary):
    print(f"\n{'':7} {'run time of a piece, s':>24} {'CPU, s':>24}"
          f" {'CPU ratio (95 %)':>26} {'main loop':>10}")
    for name, row in summary.items():
        line = f"{name:7} {text(row['run_s']):>24} {text(row['cpu_s']):>24}"
        if "cpu_ratio" in row:
            ratio = row["cpu_ratio"]
            inner = (f"{ratio['median']:.4f} ({ratio['low']:.4f} to "
                     f"{ratio['high']:.4f})")
            line += f" {inner:>26} {row['main_thread_percent']:>8.3f} %"
        print(line)


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
    """Not good if it is too much, or too uncertain to say that it is not"""
    ratio = summary["active"]["cpu_ratio"]
    slowest = max(q["ms"]["median"] for q in queries if q["mode"] == "default")
    good = ratio["high"] < LIMIT and slowest < QUERY_LIMIT_MS
    low, middle, high = [100 * (ratio[k] - 1) for k in ("low", "median", "high")]
    print(f"\nThe backend adds {middle:.2f} % to a guest's run time ({low:.2f} to "
          f"{high:.2f} %, must be below {100 * (LIMIT - 1):.0f} %).\n"
          f"query-ksm-stats takes {slowest:.2f} ms (must be below "
          f"{QUERY_LIMIT_MS:g} ms).\n{'Good' if good else 'NOT GOOD'}")
    return good


def main():
    parser = argparse.ArgumentParser(description="see scripts/bench-backend.sh")
    for name in ("qemu", "without", "test", "work", "json"):
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
