#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Runs a command on a kernel with the data race detector, and says how often it has
# looked meanwhile.
#
# usage: with-kcsan.sh COMMAND...
#
# The detector could be told which functions to report, but then it wants both sides
# of a race among them, and would say nothing of the engine and the kernel around
# it: boot.sh --races chooses afterwards.  Exit status: the command's; 2 if there is
# no detector.

set -u
CONTROL=/sys/kernel/debug/kcsan

# counter NAME - one of its own counters, 0 if it has none of that name
counter() {
    awk -F ': ' -v name="$1" '$1 == name { n = $2 } END { print n + 0 }' $CONTROL
}

if [ $# -lt 1 ]; then
    echo "usage: $0 COMMAND..." >&2
    exit 2
fi
if [ ! -w $CONTROL ]; then
    echo "$0: $CONTROL is missing: this kernel has no race detector" >&2
    exit 2
fi
before=$(counter setup_watchpoints)
echo on >$CONTROL || exit 2
"$@"
status=$?
echo off >$CONTROL
watched=$(($(counter setup_watchpoints) - before))
echo "# $watched accesses were watched, $(counter data_races) races seen in all of the kernel"
if [ $watched -eq 0 ]; then
    echo "$0: the race detector has watched nothing" >&2
    exit 2
fi
exit $status
