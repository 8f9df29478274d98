#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Does run-tests.sh leave the machine as it was, and say why it cannot run?
# Prints TAP.  Needs root, and nothing but Debian's programs.
#
# usage: test-runner.sh
#
# The knobs are files of a folder made up for this, or the machine's, seen
# read-only; the QEMU is one that always fails.  So nothing can be changed.

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../../scripts/lib.sh"
# shellcheck source=scripts/verdicts.sh
. "$SP_TOP/scripts/verdicts.sh"

readonly RUNNER=$SP_TOP/tests/libvirt/run-tests.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export KSM=$work/ksm

# make_knobs - with an advisor, which the runner switches off
make_knobs() {
    mkdir -p "$KSM"
    echo 1 >"$KSM/run"
    echo 1 >"$KSM/merge_across_nodes"
    echo 20 >"$KSM/sleep_millisecs"
    echo 100 >"$KSM/pages_to_scan"
    echo 'none [scan-time]' >"$KSM/advisor_mode"
    echo 0 >"$KSM/pages_shared"
}

# the_knobs - as the kernel would show those that were written
the_knobs() {
    sed -E 's/.*\[(.*)\].*/\1/' "$KSM"/{run,merge_across_nodes,sleep_millisecs} \
        "$KSM"/{pages_to_scan,advisor_mode} | paste -sd' '
}

# run ARGUMENT... - its output in $work/out; status in `status`
run() {
    status=0
    "$@" >"$work/out" 2>&1 || status=$?
}

# expect STATUS REGEX - what is wrong with the last run
expect() {
    [[ $status == "$1" ]] ||
        printf 'status %s, expected %s\n' "$status" "$1"
    grep -qE "$2" "$work/out" || printf 'output without "%s"\n' "$2"
    [[ $(the_knobs) == '1 1 20 100 scan-time' ]] ||
        printf 'the knobs are now %s\n' "$(the_knobs)"
    compgen -G "$work/samepage-libvirt.*" || true
}

# explained STATUS REGEX - the same, with the output if there is a problem
explained() {
    local problem
    problem=$(expect "$@")
    [[ -z $problem ]] || printf '%s\n%s\n' "$problem" "$(cat "$work/out")"
}

# waiting_for_knobs PID - until the runner has begun to change them
waiting_for_knobs() {
    while kill -0 "$1" 2>/dev/null && ! grep -qx none "$KSM/advisor_mode"; do
        sleep 0.05
    done
}

# interrupted SIGNAL - a run that is ended by it
interrupted() {
    local pid
    # A signal that is ignored at the start, such as nohup's, cannot be trapped.
    env --default-signal "${command[@]}" --only '^mergeable.xml' >"$work/out" 2>&1 &
    pid=$!
    waiting_for_knobs $pid
    kill "-$1" $pid
    status=0
    wait $pid || status=$?
}

# hold_lock - as another run would, until $holder is killed
hold_lock() {
    flock "$KSM" sleep 60 &
    holder=$!
    while flock --nonblock "$KSM" true; do
        sleep 0.05
    done
}

release_lock() {
    pkill -P "$holder"
    wait "$holder" || true
}

# waits_for_lock - what is wrong with a run that begins while another one goes on
waits_for_lock() {
    local pid
    hold_lock
    "${command[@]}" --only '^none of that name$' >"$work/out" 2>&1 &
    pid=$!
    sleep 2
    kill -0 $pid 2>/dev/null || echo "it did not wait"
    release_lock
    status=0
    wait $pid || status=$?
    explained 0 '^1\.\.0$'
}

# without COMMAND... - run it in a mount namespace that a script has prepared
without() {
    local prepare=$1
    shift
    unshare --mount --propagation private bash -ec "$prepare; exec \"\$@\"" \
        without "$@"
}

mkdir -p "$work/qemu/bin"
ln -s /bin/false "$work/qemu/bin/qemu-system-x86_64"
export TMPDIR=$work
command=("$RUNNER" --qemu "$work/qemu" --results "$work/results")

make_knobs
run "${command[@]}" --only '^none of that name$'
verdict "nothing to run: the knobs are as before" "$(explained 0 '^1\.\.0$')"

make_knobs
run "${command[@]}" --only '^mergeable.xml'
verdict "a failure: the knobs are as before" "$(explained 1 '^not ok 1 - ')"

# bash ignores INT in what it starts in the background.
for signal in TERM HUP; do
    make_knobs
    interrupted $signal
    verdict "$signal: the knobs are as before" "$(explained 130 '')"
done

make_knobs
verdict "another run has the knobs: it is waited for" "$(waits_for_lock)"

make_knobs
hold_lock
run env KNOBS_SECONDS=1 "${command[@]}" --only '^none of that name$'
verdict "another run keeps the knobs: a skip that says so" \
    "$(explained 0 "^1\.\.0 # SKIP $KSM is used by somebody else$")"
release_lock

make_knobs
run without 'mount --bind /dev/null /usr/sbin/libvirtd' "${command[@]}"
verdict "no libvirtd: a skip that says so" \
    "$(explained 0 '^1\.\.0 # SKIP libvirtd is not installed')"

run env KSM="$work/nothing" "${command[@]}" --only 'sets how fast'
verdict "no knobs: a skip that says so" \
    "$(explained 0 "^ok 1 .* # SKIP the kernel has no $work/nothing$")"

mount=$(printf 'mount --bind %q %q; mount -o remount,bind,ro %q' \
    "$KSM" "$KSM" "$KSM")
echo 'none [scan-time]' >"$KSM/advisor_mode"
run without "$mount" "${command[@]}" --only 'sets how fast'
verdict "knobs that cannot be written: a skip that says so" \
    "$(explained 0 "^ok 1 .* # SKIP $KSM cannot be written$")"

end_verdicts
