#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest's application: an interpreter with a heap of its own at work.

Keeps the text of every installed package's description in a table and goes
over it again and again, checking each time that it still reads the same.
Ends (and so is missing from the agent's list of services) if it does not.
"""
import time
import zlib

with open("/proc/self/comm", "w", encoding="ascii") as comm:
    comm.write("worker")

with open("/var/lib/dpkg/status", encoding="utf-8") as status:
    table = dict(enumerate(status.read().split("\n\n")))


def checksum():
    total = 0
    for number, text in table.items():
        total ^= zlib.crc32(text.encode(), number)
    return total


first = checksum()
while checksum() == first:
    time.sleep(5)
print("worker: the table's contents changed", flush=True)
