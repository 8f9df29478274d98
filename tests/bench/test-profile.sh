#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# `make profile`, as TAP: that it counts, and what it says to bad input.
#
# usage: test-profile.sh RESULTS        where that of `make profile` is

set -uo pipefail

profile=$(cd "$(dirname "$0")/../.." && pwd)/scripts/profile.sh
n=0 failures=0

# check NAME COMMAND...
check() {
    local name=$1
    shift
    n=$((n + 1))
    if "$@"; then
        echo "ok $n - $name"
    else
        failures=$((failures + 1))
        echo "not ok $n - $name"
    fi
}

# refused TEXT NAME=VALUE CASE - with that in its complaint
refused() {
    local out
    ! out=$(env "$2" "$profile" "$3" 2>&1) && grep -qF -e "$1" <<<"$out"
}

# counted - reading pages is most of what the engine does, so a function that does
# it has many instructions, and not all of them
counted() {
    MIB=16 "$profile" scan_idle_unique >"$1/profile.out" 2>&1 || return 1
    awk '$3 == "ksm_hash_page" && $1 > 4096 * 2000 && $2 > 5 && $2 < 95 { found = 1 }
        END { exit !found }' "$1/profile.out"
}

(($# == 1)) || {
    echo "usage: test-profile.sh RESULTS" >&2
    exit 1
}
check "memory out of range is refused" refused "MIB=7: must be" MIB=7 scan_idle_unique
check "an engine that is none is refused" refused "ENGINE=x: must be" ENGINE=x \
    scan_idle_unique
check "instructions are counted by function" counted "$1"
echo "1..$n"
((failures == 0))
