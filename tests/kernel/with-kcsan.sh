#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Runs a command on a kernel with the data race detector, which from then on
# reports races of the named functions only: the rest of the kernel has many.
#
# usage: with-kcsan.sh SYMBOLS COMMAND...
#
# SYMBOLS has one function a line.  One that the kernel does not have, or has
# inlined, is left out.  Exit status: the command's; 2 if it cannot be set up.

set -u
CONTROL=/sys/kernel/debug/kcsan

if [ $# -lt 2 ] || [ ! -r "$1" ]; then
    echo "usage: $0 SYMBOLS COMMAND..." >&2
    exit 2
fi
if [ ! -w $CONTROL ]; then
    echo "$0: $CONTROL is missing: this kernel has no race detector" >&2
    exit 2
fi
known=0
while read -r name; do
    echo "!$name" >$CONTROL 2>/dev/null && known=$((known + 1))
done <"$1"
if [ $known -eq 0 ]; then
    echo "$0: the kernel has none of the functions in $1" >&2
    exit 2
fi
echo whitelist >$CONTROL || exit 2
echo "# races of $known functions are reported"
shift
exec "$@"
