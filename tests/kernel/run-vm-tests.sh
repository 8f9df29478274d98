#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Runs the kernel's own selftests of memory management, exactly as they are,
# with all their memory mergeable and the merge engine at full speed; prints
# TAP.  Made for the bench host: it needs root and disturbs the whole machine
# (swap, huge pages, memory hotplug, compaction).
#
# usage: run-vm-tests.sh [--if-possible] [--known FILE] [--only WORD] BIN_DIR
#
#   --if-possible   on a kernel without PR_SET_MEMORY_MERGE, that is mainline's,
#                   their memory is made mergeable by madvise instead
#   --known FILE    failures of mainline's engine, see vm-tests-mainline.list;
#                   such a failure, and no other one, is reported as a skip
#   --only WORD     only the calls whose line has WORD
#
# BIN_DIR has the programs and `mergeable`, which starts each.  Nobody else
# here is mergeable, so what the engine scans meanwhile is theirs.  Exit
# status: 0 all passed or skipped, 1 a failure, 2 bad usage.

set -u

readonly KSM=/sys/kernel/mm/ksm THP=/sys/kernel/mm/transparent_hugepage
readonly HUGE_PAGES=32
# Some end before the engine has come by: they are run again until this is over.
readonly MIN_SECONDS=2
# A debug kernel is ten times slower.
LIMIT=120
[[ ! -e /proc/lockdep ]] || LIMIT=900
readonly LIMIT

maybe=() known=/dev/null only='' work=''

# One call a line: COPIES BESIDE ZERO PROGRAM [ARG...].  COPIES at the same time
# have equal pages.  BESIDE is the MiB that `mergeable` keeps merged and
# verifies, for programs that move all memory.  ZERO is use_zero_pages; mlock2
# has no place there, because the zero page does not count as resident.
# gup_test -a and -W warn of a zero page, which is not pinned: they do not go
# with use_zero_pages.
calls() {
    cat <<END
2 0 0 mremap_test -t 1 -p 1
2 0 0 mlock2-tests
2 0 0 madv_populate
2 0 0 soft-dirty
1 0 0 split_huge_page_test
1 0 0 gup_test -m 16 -r 5 -n 16 -u
1 0 0 gup_test -m 16 -r 5 -n 16 -a
1 0 0 gup_test -m 16 -r 5 -n 16 -L
1 0 0 gup_test -m 16 -r 5 -n 16 -L -W
1 0 0 gup_test -m 16 -n 16 -U
1 0 0 gup_test -m 16 -n 16 -b
1 0 0 gup_test -m 32 -ct -F 0x1 0 19 0x1000
1 0 0 userfaultfd anon 6 16
1 0 0 userfaultfd anon:dev 6 4
1 0 0 userfaultfd shmem 6 4
1 0 0 userfaultfd hugetlb 12 4
1 0 0 userfaultfd hugetlb_shared 12 4 $work/huge/uffd
1 16 0 migration
1 16 0 khugepaged all:anon
1 16 0 khugepaged all:shmem
1 0 1 mremap_test -t 1 -p 1
2 0 1 madv_populate
1 0 1 gup_test -m 16 -r 5 -n 16 -L
1 0 1 userfaultfd anon 6 4
1 0 1 migration
1 64 0 mem-on-off-test.sh
1 64 0 compaction_test
END
}

# proof PROGRAM - what the output of one that did its work has; several end
# with status 0 when they did nothing
proof() {
    case $1 in
    gup_test) echo 'Time: get:|_TEST: done' ;;
    khugepaged) echo 'Restore THP and khugepaged settings' ;;
    # All three of its tests may fail, as they may on mainline's engine.
    migration) echo '^# Totals: pass:' ;;
    mem-on-off-test.sh) echo '^-> Success' ;;
    mlock2-tests) ;;
    split_huge_page_test) echo 'file-backed THP split test done' ;;
    userfaultfd) echo 'testing UFFDIO_ZEROPAGE: done' ;;
    *) echo '^ok ' ;;
    esac
}

# counts_failures PROGRAM - its exit status is a number of failures, which is
# no skip when it is 4
counts_failures() {
    [[ $1 == khugepaged || $1 == mlock2-tests ]]
}

usage() {
    sed -n '/^# usage/,/^$/s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

parse_args() {
    while (($# > 1)); do
        case $1 in
        --if-possible) maybe=(--if-possible) ;;
        --known) known=$2; shift ;;
        --only) only=$2; shift ;;
        *) usage ;;
        esac
        shift
    done
    [[ $# == 1 && $1 != -* && -r $known ]] || usage
    bin=$(cd "$1" && pwd) || exit 2
}

check_programs() {
    local program
    for program in mergeable $(calls | awk '{ print $4 }' | sort -u); do
        [[ -x $bin/$program ]] && continue
        echo "$0: $bin/$program is missing or cannot be run" >&2
        exit 2
    done
}

# ---- the machine's settings ----

declare -A saved
settings=()

# keep FILE - remember what is set, of `always [madvise] never` the chosen word;
# what only shows something is nothing to put back
keep() {
    local value
    [[ ! -v saved[$1] && $(stat -c %A "$1" 2>/dev/null) == ??w* ]] || return 0
    value=$(<"$1")
    [[ $value != *'['* ]] || { value=${value#*[}; value=${value%%]*}; }
    saved[$1]=$value
    settings+=("$1")
}

set_to() {
    keep "$1"
    echo "$2" >"$1"
}

# restore_settings [PREFIX] - put back what differs, last set first
restore_settings() {
    local i file now
    for ((i = ${#settings[@]} - 1; i >= 0; i--)); do
        file=${settings[i]}
        [[ $file == "${1-}"* ]] || continue
        now=$(<"$file")
        [[ $now == "${saved[$file]}" || $now == *"[${saved[$file]}]"* ]] ||
            echo "${saved[$file]}" >"$file"
    done
}

# engine_on - everything it can, as fast as it can
engine_on() {
    [[ ! -e $KSM/advisor_mode ]] || set_to $KSM/advisor_mode none
    [[ ! -e $KSM/smart_scan ]] || set_to $KSM/smart_scan 0
    set_to $KSM/sleep_millisecs 0
    set_to $KSM/pages_to_scan 1000000
    keep $KSM/use_zero_pages
    set_to $KSM/run 1
}

# swap_on - a program without swap skips what it has to say about it, silently
swap_on() {
    (($(wc -l </proc/swaps) < 2)) || return 0
    [[ $(cat /sys/block/zram0/disksize 2>/dev/null) == 0 ]] || return 1
    echo 128M >/sys/block/zram0/disksize || return 1
    swap=/dev/zram0
    mkswap $swap >/dev/null && swapon $swap
}

# shellcheck disable=SC2317
swap_off() {
    [[ -n $swap ]] || return 0
    swapoff "$swap"
    echo 1 >/sys/block/zram0/reset
}

# huge_pages_on - false if there are too few
huge_pages_on() {
    set_to /proc/sys/vm/nr_hugepages $HUGE_PAGES
    (($(</proc/sys/vm/nr_hugepages) == HUGE_PAGES)) || return 1
    mountpoint -q "$work/huge" || mount -t hugetlbfs none "$work/huge"
}

set_up() {
    local file
    work=$(mktemp -d) || exit 1
    swap=
    trap tear_down EXIT
    trap 'exit 1' INT TERM HUP
    mkdir "$work/huge"
    for file in "$THP"/{enabled,defrag,shmem_enabled,use_zero_page,khugepaged/*}; do
        keep "$file"
    done
    engine_on
    swap_on || true
}

# shellcheck disable=SC2317 # called by the trap
tear_down() {
    swap_off
    restore_settings
    ! mountpoint -q "$work/huge" || umount "$work/huge"
    rm -rf "$work"
}

# has_what_it_needs CALL - else `reason` says what is missing
has_what_it_needs() {
    case $1 in
    khugepaged*)
        reason="no swap"
        (($(wc -l </proc/swaps) > 1)) ;;
    "userfaultfd hugetlb"*)
        reason="no $HUGE_PAGES huge pages"
        huge_pages_on ;;
    migration*)
        reason="needs three CPUs and two nodes"
        (($(nproc) > 2)) && [[ -d /sys/devices/system/node/node1 ]] ;;
    esac
}

# after_call - some end without putting back what they set
after_call() {
    restore_settings $THP
    rm -f "$work"/huge/*
    restore_settings /proc/sys/vm/nr_hugepages
}

# ---- one call ----

# engine_work - passes, pages scanned, copies made of merged pages
engine_work() {
    echo "$(<$KSM/full_scans)" \
        "$(cat $KSM/pages_scanned 2>/dev/null || echo 0)" \
        "$(awk '$1 == "cow_ksm" { print $2 }' /proc/vmstat)"
}

# run_copies COPIES BESIDE PROGRAM [ARG...] - once; statuses in `statuses`
run_copies() {
    local copies=$1 beside=$2 program=$3 i pids=()
    shift 3
    for ((i = 0; i < copies; i++)); do
        mkdir -p "$work/$i"
        (cd "$work/$i" && exec timeout -k 5 $LIMIT "$bin/mergeable" \
            "${maybe[@]}" --beside "$beside" "$bin/$program" "$@" \
            >"$work/log.$i" 2>&1 </dev/null) &
        pids+=($!)
    done
    statuses=()
    for i in "${!pids[@]}"; do
        wait "${pids[i]}"
        statuses[i]=$?
    done
}

# all_skipped LOG - each of the tests inside was
all_skipped() {
    grep -q '^ok .*# SKIP' "$1" && ! grep '^ok ' "$1" | grep -qv '# SKIP'
}

# did_its_work PROGRAM LOG
did_its_work() {
    local proof
    proof=$(proof "$1")
    [[ -z $proof ]] || grep -qE -- "$proof" "$2"
}

# failed_parts LOG - the tests inside that failed, with what was said right before:
# TAP, or khugepaged's red
failed_parts() {
    awk -v red=$'\x1b[31m' '
        /^not ok/ { print $0 said; n++ }
        /^Bail out!/ || index($0, red) { print; n++ }
        { said = /^# / ? ": " substr($0, 3) : "" }
        END { exit !n }' "$1"
}

# judge PROGRAM STATUS LOG - in `result` and `reason`
judge() {
    result=fail
    case $2 in
    0)  if reason=$(failed_parts "$3" | head -n 1) && [[ -n $reason ]]; then
            return
        elif all_skipped "$3"; then
            result=skip
            reason=$(sed -n 's/.*# SKIP *//p' "$3" | head -n 1)
        elif did_its_work "$1" "$3"; then
            result=ok
        else
            reason="status 0, but it did not do its work"
        fi ;;
    4)  reason=$(sed -n '$s/.*# SKIP *//; $p' "$3")
        if counts_failures "$1" && [[ $reason != *skipping* ]] ||
            failed_parts "$3" >/dev/null; then
            reason="exit status 4, with failures"
        else
            result=skip
        fi ;;
    124 | 137) reason="more than $LIMIT s" ;;
    *) reason="exit status $2" ;;
    esac
}

# judge_known NAME PROGRAM LOG - `known` instead of `fail` if mainline's engine
# fails in the same way, and in no part of the program that passes there
judge_known() {
    local name text why parts texts=() whys=''
    [[ $result == fail ]] || return 0
    # The last line of one that broke off says why.
    parts=$(failed_parts "$3") && did_its_work "$2" "$3" ||
        parts+=$'\n'$(tail -n 1 "$3")
    while IFS='|' read -r name text why; do
        [[ ${name%% } == "$1" ]] || continue
        text=${text## }
        text=${text%% }
        [[ $parts == *"${text:?}"* ]] || continue
        texts+=(-e "$text")
        whys+="${whys:+;}${why%% }"
    done <"$known"
    ((${#texts[@]})) || return 0
    ! grep -v '^$' <<<"$parts" | grep -qvF "${texts[@]}" || return 0
    result=known reason="fails without our engine as well:$whys"
}

# judge_copies NAME PROGRAM - the first that failed speaks for all, else the
# last that did not pass
judge_copies() {
    local i worst=ok why=''
    for i in "${!statuses[@]}"; do
        log=$work/log.$i
        judge "$2" "${statuses[i]}" "$log"
        # One that was killed, or took too long, is no known failure.
        ((statuses[i] >= 124)) || judge_known "$1" "$2" "$log"
        [[ $result != fail ]] || return 0
        [[ $result == ok ]] || worst=$result why=$reason
    done
    result=$worst reason=$why
}

# judge_engine BEFORE AFTER - a pass with the engine asleep proves nothing
judge_engine() {
    local passes pages copies
    read -r passes pages copies < <(awk -v before="$1" -v after="$2" 'BEGIN {
        split(before, b); split(after, a)
        printf "%.0f %.0f %.0f\n", a[1] - b[1], a[2] - b[2], a[3] - b[3] }')
    note="$runs runs; engine: $passes passes, $pages pages, $copies copies on write"
    [[ $result == ok || $result == known ]] || return 0
    if ((passes <= 0 && pages <= 0)); then
        result=fail
        reason="the engine scanned nothing meanwhile"
    fi
}

# run_for_a_while NAME COPIES BESIDE PROGRAM [ARG...] - until it fails or the
# engine has had its time
run_for_a_while() {
    local name=$1 end=$((SECONDS + MIN_SECONDS))
    shift
    runs=0
    while ((runs == 0 || SECONDS < end)); do
        run_copies "$@"
        runs=$((runs + 1))
        judge_copies "$name" "$3"
        [[ $result == ok || $result == known ]] || return 0
    done
}

# report NAME
report() {
    count=$((count + 1))
    case $result in
    ok)
        grep '# SKIP' "$log" | sed 's/^/# within: /'
        echo "ok $count - $1"
        ;;
    skip | known) echo "ok $count - $1 # SKIP $reason" ;;
    fail)
        failed=1
        echo "not ok $count - $1"
        echo "# $reason; failed parts and the end of its output:"
        { failed_parts "$log" | head -n 20; tail -n 8 "$log"; } |
            tr '\r' '\n' | sed 's/\x1b\[[0-9;]*m//g; s/^/#   /'
        ;;
    esac
}

# run_call COPIES BESIDE ZERO PROGRAM [ARG...]
run_call() {
    local copies=$1 beside=$2 zero=$3 name="${*:4}" t0=$SECONDS before
    shift 3
    name=${name//$work\//}
    ((zero == 0)) || name+=", use_zero_pages 1"
    result=skip
    if has_what_it_needs "$*"; then
        echo "$zero" >$KSM/use_zero_pages
        before=$(engine_work)
        run_for_a_while "$name" "$copies" "$beside" "$@"
        judge_engine "$before" "$(engine_work)"
        echo "# $name: $((SECONDS - t0)) s; $note"
    fi
    after_call
    report "$name"
}

main() {
    local call
    parse_args "$@"
    check_programs
    set_up
    count=0 failed=0
    mapfile -t list < <(calls | grep -F -- "$only")
    for call in "${list[@]}"; do
        # The fields are words, to be split.
        # shellcheck disable=SC2086
        run_call $call
    done
    echo "1..$count"
    exit $failed
}

main "$@"
