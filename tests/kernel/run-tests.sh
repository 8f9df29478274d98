#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Runs every kernel test of the merge engine and prints one TAP stream.  Made
# for the bench host: it needs root and disturbs the whole machine (swap,
# memory hotplug, compaction).
#
# usage: run-tests.sh BIN_DIR [ksm_suite OPTION...]
#
# BIN_DIR has ksm_tests, the kernel's own (tools/testing/selftests/vm), and
# ksm_suite, ours.  Options go to ksm_suite, such as -t WORD, which then runs
# alone.  Exit status: 0 all passed or skipped, 1 a failure, 2 bad usage.

set -u

usage() {
    echo "usage: $0 BIN_DIR [ksm_suite OPTION...]" >&2
    exit 2
}

[ $# -ge 1 ] || usage
bin=$1
shift
for program in ksm_tests ksm_suite; do
    if [ ! -x "$bin/$program" ]; then
        echo "$0: $bin/$program is missing or cannot be run" >&2
        exit 2
    fi
done

# As in the kernel's run_vmtests.sh, one line per call.  -N needs two nodes.
own_calls() {
    cat <<END
-M -p 10
-M
-U
-Z -p 10 -z 0
-Z -p 10 -z 1
-N -m 1
-N -m 0
END
}

# The suite compares this document with the running engine's files.
here=$(cd "$(dirname "$0")" && pwd)
export KSM_ABI_FILE="$here/../../kernel/Documentation/ABI/testing/sysfs-kernel-mm-ksm"
# Here the machine has just started, and nobody has set a knob yet.
export KSM_FRESH_BOOT=1

count=0
failed=0
# A debug kernel is ten times slower.
slow=
[ -e /proc/lockdep ] && slow="-d 600"

# report STATUS NAME FILE: exit status 4 is a skip by the kernel's convention.
report() {
    count=$((count + 1))
    case $1 in
    0) echo "ok $count - $2" ;;
    4) echo "ok $count - $2 # SKIP $(tail -n 1 "$3")" ;;
    *)
        echo "not ok $count - $2"
        echo "# exit status $1; the last lines of its output:"
        tail -n 5 "$3" | sed 's/^/# /'
        failed=1
        ;;
    esac
}

# run_call LOG OPTION...: one call of ksm_tests.
#
# They wait until full_scans has grown by so many, and then look at the counters,
# though the pass under way at first may have come by before their memory was as
# they want it. -U fails for that in one of five calls on mainline's engine here,
# and in most of them where other work delays the virtual CPUs; -N is one for which
# it matters, too. Those are tried again, and each try is printed.
run_call() {
    log=$1
    shift
    case $1 in
    -U | -N) tries=20 ;;
    *) tries=1 ;;
    esac
    while :; do
        timeout 150 "$bin/ksm_tests" "$@" >"$log" 2>&1 </dev/null
        status=$?
        tries=$((tries - 1))
        if [ $status -ne 1 ] || [ $tries -eq 0 ]; then
            return $status
        fi
        echo "# ksm_tests $*: $(tail -n 1 "$log"); once more, $tries tries left"
    done
}

run_own() {
    log=$(mktemp) || exit 1
    list=$(mktemp) || exit 1
    own_calls >"$list"
    while read -r call; do
        # The options are words, to be split.
        # shellcheck disable=SC2086
        run_call "$log" $call
        report $? "ksm_tests $call" "$log"
    done <"$list"
    rm -f "$log" "$list"
}

# One more result on a kernel that can tell: what nothing points to any more is a
# leak.  An object counts once it is 5 s old and two scans found it unchanged; what
# they find is nowhere else, because the console does not show such messages.  That
# takes one and a half minutes: only after all of the suite.
find_leaks() {
    leaks=/sys/kernel/debug/kmemleak
    title="kmemleak finds no leak"
    [ -e $leaks ] || return
    sleep 6
    if ! echo scan >$leaks || ! echo scan >$leaks; then
        echo "not ok 0 - $title"
        echo "# $leaks: it is switched off"
    elif [ "$(head -c 1 $leaks)" ]; then
        echo "not ok 0 - $title"
        head -n 100 $leaks | sed 's/^/# /'
    else
        echo "ok 0 - $title"
    fi
}

# mawk waits for 4 KiB of a pipe unless it is told not to.
case $(awk -W version 2>&1 </dev/null) in
mawk*) at_once="-W interactive" ;;
*) at_once= ;;
esac

# Gives the suite's results the numbers that follow, and ends the stream with
# the plan; a suite that ended without its own plan is one more failure.
run_suite() {
    # shellcheck disable=SC2086 # two words or none, both times
    {
        "$bin/ksm_suite" -x $slow "$@" </dev/null
        echo "suite-status $?"
        [ $# -gt 0 ] || find_leaks
    } | awk $at_once -v n="$count" '
        /^1\.\.[0-9]+$/ { plan = 1; next }
        /^Bail out!/ { why = $0; next }
        /^suite-status / { status = $2; told = bad; next }
        /^(not )?ok [0-9]+ / {
            n++
            sub(/ok [0-9]+ /, "ok " n " ")
            if (/^not /)
                bad = 1
        }
        { print; fflush() }
        END {
            if (!plan || (status != 0) != told) {
                print "not ok " ++n " - ksm_suite runs to its end"
                print "# exit status " status "; " why
                bad = 1
            }
            print "1.." n
            exit bad
        }'
}

if [ $# -eq 0 ]; then
    # They set their own pace, which ends the boost: the suite is to find it as it
    # was when the machine started.
    boost=/sys/kernel/mm/ksm/boost_max_cpu
    was=$(cat $boost 2>/dev/null)
    run_own
    [ -z "$was" ] || echo "$was" >$boost
fi
run_suite "$@" || failed=1
exit $failed
