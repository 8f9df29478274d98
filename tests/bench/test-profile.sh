#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# `make profile`, as TAP: that it counts, and what it says to bad input.
#
# usage: test-profile.sh RESULTS        where that of `make profile` is

set -uo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
# shellcheck source=scripts/verdicts.sh
. "$top/scripts/verdicts.sh"
readonly PROFILE=$top/scripts/profile.sh

# not_refused TEXT NAME=VALUE - what it says, unless it fails with that TEXT
not_refused() {
    local out
    if out=$(env "$2" "$PROFILE" scan_idle_unique 2>&1) ||
        ! grep -qF -e "$1" <<<"$out"; then
        printf 'expected "%s": %s\n' "$1" "${out:-nothing}"
    fi
}

# not_counted LOG - what it says, unless the function that reads pages has as many
# instructions as these pages take, and not all of them
not_counted() {
    if ! MIB=16 "$PROFILE" scan_idle_unique >"$1" 2>&1 ||
        ! awk '$3 == "ksm_hash_page" && $1 > 4096 * 2000 && $2 > 5 && $2 < 95 { found = 1 }
            END { exit !found }' "$1"; then
        tail -n 10 "$1"
        echo "see $1"
    fi
}

(($# == 1)) || {
    echo "usage: test-profile.sh RESULTS" >&2
    exit 1
}
verdict "memory out of range is refused" "$(not_refused "MIB=7: must be" MIB=7)"
verdict "an engine that is none is refused" "$(not_refused "ENGINE=x: must be" ENGINE=x)"
verdict "instructions are counted by function" "$(not_counted "$1/profile.out")"
end_verdicts
