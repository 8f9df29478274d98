#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Tests our QEMU under Debian's libvirtd and virsh; prints TAP.
#
# usage: run-tests.sh --qemu DIR --results DIR [--only REGEX]
#
#   --qemu DIR      has bin/qemu-system-x86_64
#   --results DIR   gets the logs of libvirtd and of the guests
#   --only REGEX    only the tests whose name matches
#
# Runs on the machine and in the bench host.  A libvirtd of its own runs in
# namespaces of its own: no process, file, socket or network of the machine is
# touched, and everything ends with the run.  The knobs of the merge engine are
# the machine's: they are locked, saved, and put back at the end, also after an error
# or a signal.  The guests run no operating system, under TCG.
#
# Exit status: 0 all passed or skipped, 1 a failure, 2 bad usage.

TESTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
readonly TESTS
# shellcheck source=scripts/lib.sh
. "$TESTS/../../scripts/lib.sh"
# shellcheck source=tests/libvirt/knobs.sh
. "$TESTS/knobs.sh"
# shellcheck source=tests/libvirt/domain.sh
. "$TESTS/domain.sh"
# shellcheck source=tests/libvirt/cases.sh
. "$TESTS/cases.sh"

qemu='' results='' only='' inside=''

usage() {
    sed -n '/^# usage/,/^$/s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

parse_args() {
    while (($#)); do
        (($# >= 2)) || usage
        case $1 in
        --qemu) qemu=$2 ;;
        --results) results=$2 ;;
        --only) only=$2 ;;
        --inside) inside=$2 ;;      # where to work; for the run itself
        *) usage ;;
        esac
        shift 2
    done
    [[ -n $qemu && -n $results ]] || usage
    [[ -x $qemu/bin/qemu-system-x86_64 ]] ||
        die "--qemu $qemu: has no bin/qemu-system-x86_64"
}

# namespaces - the options of unshare; the bench host has none for the network
# and no need of it
namespaces() {
    printf '%s\n' --mount --propagation private --pid --fork --kill-child \
        --mount-proc
    [[ ! -e /proc/self/ns/net ]] || printf '%s\n' --net
}

# cannot_run - why not; nothing if it can
cannot_run() {
    local program
    if [[ $(id -u) -ne 0 ]]; then
        printf 'needs root'
        return
    fi
    for program in /usr/sbin/libvirtd virsh jq; do
        if ! command -v "$program" >/dev/null; then
            printf '%s is not installed (scripts/setup.sh libvirt)' \
                "$(basename "$program")"
            return
        fi
    done
    unshare "${spaces[@]}" true 2>/dev/null ||
        printf 'this machine allows no namespaces'
}

# tap STATUS NUMBER NAME LOG
tap() {
    case $1 in
    0) printf 'ok %d - %s\n' "$2" "$3" ;;
    "$SKIPPED") printf 'ok %d - %s # SKIP %s\n' "$2" "$3" \
        "$(tail -n 1 "$4")" ;;
    *)
        printf 'not ok %d - %s\n' "$2" "$3"
        sed 's/^/# /' "$4"
        failed=1
        ;;
    esac
}

# run_case LOG FUNCTION [ARGUMENT...] - its status goes to `status`: after
# `if` or `||` errexit would be off inside
run_case() {
    local log=$1
    shift
    set +e
    (set -e; "$@") >"$log" 2>&1
    status=$?
    set -e
}

run_cases() {
    local line name call number=0
    while IFS='|' read -r line name; do
        name=${name# }
        [[ -n $name && $name =~ $only ]] || continue
        read -ra call <<<"$line"
        number=$((number + 1))
        run_case "$work/case.log" "${call[@]}"
        tap "$status" "$number" "$name" "$work/case.log"
        stop_all >/dev/null 2>&1 || true
    done <<<"$CASES"
    printf '1..%d\n' "$number"
}

keep_logs() {
    local dir
    for dir in "$work"/*/log; do
        cp -r "$dir" "$results/$(basename "$(dirname "$dir")")"
    done
}

# run_inside - in the namespaces, in a folder that nobody else sees
run_inside() {
    local failed=0 status
    mount -t tmpfs tmpfs "$work"
    [[ ! -e /proc/self/ns/net ]] || /bin/busybox ip link set lo up
    daemon here >"$work/case.log" 2>&1 || {
        sed 's/^/# /' "$work/case.log"
        printf 'Bail out! libvirtd does not start\n'
        exit 1
    }
    here version | sed 's/^/# /'
    run_cases
    keep_logs
    exit "$failed"
}

# give_up - the namespaces end with their first process, and all in them
give_up() {
    trap - INT TERM HUP
    kill -KILL "$child" 2>/dev/null || true
    exit 130
}

clean_up() {
    knobs_restore
    rmdir "$work"
}

# run_outside - what outlives the namespaces
run_outside() {
    local spaces problem rc=0
    mapfile -t spaces < <(namespaces)
    problem=$(cannot_run)
    if [[ -n $problem ]]; then
        printf '1..0 # SKIP %s\n' "$problem"
        return
    fi
    if [[ -d $KSM ]] && ! knobs_lock; then
        printf '1..0 # SKIP %s is used by somebody else\n' "$KSM"
        return
    fi
    mkdir -p "$results"
    rm -rf "${results:?}"/{here,there}
    work=$(mktemp -d "${TMPDIR:-/tmp}/samepage-libvirt.XXXXXX")
    trap clean_up EXIT
    if [[ -z $(knobs_problem) ]]; then
        knobs_save
        knobs_prepare
    fi
    unshare "${spaces[@]}" "$0" --qemu "$qemu" --results "$results" \
        --only "$only" --inside "$work" &
    child=$!
    trap give_up INT TERM HUP
    wait "$child" || rc=$?
    return "$rc"
}

parse_args "$@"
work=$inside
if [[ -n $inside ]]; then
    run_inside
else
    run_outside
fi
