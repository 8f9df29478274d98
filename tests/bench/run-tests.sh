#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The cases of `make bench` that run in UML, with little memory and once: as TAP,
# whether each comes to its end.  That they merge there is part of it.
#
# usage: run-tests.sh KERNEL BENCH DIR      two artefacts; where logs go

set -euo pipefail

# shellcheck source=tests/bench/uml.sh
. "$(dirname "$0")/uml.sh"

readonly CASES=(scan_idle_unique scan_rewritten scan_half_hot merge_cold_half_dup
    merge_all_dup merge_many_small_procs unmerge_rate default_pacing_1G)

(($# == 3)) || {
    echo "usage: run-tests.sh KERNEL BENCH DIR" >&2
    exit 1
}
mkdir -p "$3"
n=0 failures=0
for name in "${CASES[@]}"; do
    log=$3/$name.log
    n=$((n + 1))
    run_uml "$1" "$2" "$3" 384 120 runs=1 mib=16 "$name" >"$log" 2>&1 </dev/null ||
        true
    if grep -q "^bench: done" "$log" &&
        grep -q "^bench: sample $name [0-9.e+]*[1-9]" "$log"; then
        echo "ok $n - $name"
    else
        failures=$((failures + 1))
        echo "not ok $n - $name"
        tail -n 5 "$log" | sed 's/^/# /'
    fi
done
echo "1..$n"
((failures == 0))
