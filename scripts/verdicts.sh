# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# TAP from a test that is a script; sourced, never run.

n=0 failures=0

# verdict NAME PROBLEM - one TAP line; no PROBLEM is a success
verdict() {
    n=$((n + 1))
    if [[ -z $2 ]]; then
        printf 'ok %d - %s\n' "$n" "$1"
    else
        failures=$((failures + 1))
        printf 'not ok %d - %s\n# %s\n' "$n" "$1" "${2//$'\n'/$'\n'# }"
    fi
}

# end_verdicts - the plan; false if one failed
end_verdicts() {
    printf '1..%d\n' "$n"
    ((failures == 0))
}
