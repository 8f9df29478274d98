#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Which lines of a kernel's log are complaints?  Prints TAP.
#
# usage: test-complaints.sh

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../../scripts/lib.sh"
# shellcheck source=scripts/verdicts.sh
. "$SP_TOP/scripts/verdicts.sh"

functions=$(mktemp)
trap 'rm -f "$functions"' EXIT
printf 'ksm_scan\nksm_count\n' >"$functions"

# race TITLE [ACCESS FUNCTION]... - what the detector tells of it
race() {
    printf '%s\n' "[   1.0] BUG: KCSAN: $1"
    shift
    while (($#)); do
        printf '[    1.0] \r\n[    1.0] %s by task 30 on cpu 0:\r\n' "$1"
        printf '[    1.0]  %s+0x220/0x3c0\r\n[    1.0]  kthread+0x1/0x2\r\n' "$2"
        shift 2
    done
    printf '[    1.0] =====\r\n[    1.0] all is well\n'
}

# told yes|no LOG... - what is wrong with what is told of that log
told() {
    local expected=$1 out is=no
    shift
    out=$(printf '%s\n' "$@" | awk -v complaint='WARNING: |BUG: ' \
        -v functions="$functions" -f "$SP_TOP/scripts/complaints.awk")
    [[ -z $out ]] || is=yes
    [[ $is == "$expected" ]] ||
        printf 'a complaint: %s, expected %s, of:\n%s\n' "$is" "$expected" "$*"
}

verdict "a log without complaints" "$(told no '[    1.0] all is well')"
verdict "a warning" "$(told yes '[    1.0] WARNING: CPU: 0 PID: 1 at mm/ksm/scan.c:1')"
verdict "a race between two functions of the engine" "$(told yes "$(race \
    'data-race in ksm_count / ksm_scan' \
    'read to 0xffff888002f70960 of 8 bytes' ksm_count \
    'write to 0xffff888002f70960 of 8 bytes' ksm_scan)")"
verdict "a race with the engine, whose access is marked" "$(told yes "$(race \
    'data-race in ksm_scan / proc_show' \
    'write (marked) to 0xffff888002f70960 of 8 bytes' ksm_scan \
    'read to 0xffff888002f70960 of 8 bytes' proc_show)")"
verdict "a race in struct page, where the engine's access is plain" "$(told yes "$(race \
    'data-race in ksm_scan / mlock_pagevec' \
    'write to 0xffffea0000a5a1c0 of 8 bytes' ksm_scan \
    'read-write (marked) to 0xffffea0000a5a1c0 of 8 bytes' mlock_pagevec)")"
verdict "a race whose other side is not known" "$(told yes "$(race \
    'race at unknown origin, with write to 0xffff888002f70960 of 8 bytes in ksm_scan+0x1/0x2' \
    )")"
verdict "a race in struct page, where the engine's access is marked" "$(told no "$(race \
    'data-race in ksm_scan / mlock_pagevec' \
    'read-write (marked) to 0xffffea0000a5a1c0 of 8 bytes' ksm_scan \
    'read to 0xffffea0000a5a1c0 of 8 bytes' mlock_pagevec)")"
verdict "a race of others" "$(told no "$(race \
    'data-race in __fdget_pos / kernfs_refresh_inode' \
    'write to 0xffff888002f70960 of 2 bytes' kernfs_refresh_inode \
    'read to 0xffff888002f70960 of 2 bytes' __fdget_pos)")"
verdict "a race of others, before one of the engine" "$(told yes "$(race \
    'data-race in a / b' 'write to 0xffff888002f70960 of 2 bytes' a \
    'read to 0xffff888002f70960 of 2 bytes' b)" "$(race \
    'data-race in a / ksm_scan' 'write to 0xffff888002f70960 of 2 bytes' a \
    'read to 0xffff888002f70960 of 2 bytes' ksm_scan)")"
end_verdicts
