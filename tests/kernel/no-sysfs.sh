#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Boots a kernel that has no sysfs with one program, and prints that one's TAP.
#
# usage: no-sysfs.sh BZIMAGE INIT LOG
#
# INIT is no-sysfs-init.c, linked statically.  LOG gets all that the console
# shows.  Exit status: 0 all passed, 1 a failure, no result or a complaint of the
# kernel, 2 bad usage.

set -u
SECONDS_AT_MOST=120

if [ $# -ne 3 ] || [ ! -r "$1" ] || [ ! -x "$2" ]; then
    echo "usage: $0 BZIMAGE INIT LOG" >&2
    exit 2
fi
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cp "$2" "$work/init"
echo init | (cd "$work" && cpio -o -H newc --quiet) >"$work/initrd" || exit 1

# There is nothing that could switch this machine off, so it is reset.
timeout -k 5 $SECONDS_AT_MOST qemu-system-x86_64 -nodefaults -no-user-config \
    -display none -no-reboot -machine q35 -accel tcg -cpu max -m 256 \
    -kernel "$1" -initrd "$work/initrd" -serial stdio \
    -append "console=ttyS0 loglevel=6 panic=-1 reboot=t" \
    </dev/null >"$3" 2>&1
tr -d '\r' <"$3" | sed -n 's/^test: //p' >"$work/tap"
cat "$work/tap"
if grep -E 'WARNING: |BUG: |Oops|Kernel panic' "$3" >&2; then
    exit 1
fi
grep -q '^1\.\.' "$work/tap" && ! grep -q '^not ok' "$work/tap"
