#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# `make bench`: what both merge engines cost, from one tree, in one run.
#
# usage: [RUNS=1..99] [CASES="NAME..."] bench.sh full|quick
#
# RUNS is how many samples each figure gets (5; quick: 3), CASES which cases are
# run (all).  Results: build/bench.json, build/bench.svg, build/bench.txt, and
# what every kernel printed in build/bench/.  Exit status 0 only if every kernel
# came to its end; a target that is missed is no failure.

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/bench/uml.sh
. "$SP_TOP/tests/bench/uml.sh"

readonly RESULTS=$SP_TOP/build/bench SOURCE=$SP_TOP/tests/bench
readonly SAMPLES=$RESULTS/samples.txt
readonly ENGINES=(mainline ours)

# Each line of the plan: a place, MiB of its kernel, seconds, what is handed to
# ksm-bench.  uml+ is a UML that sleeps most of the time: both engines at once.
readonly FULL='
uml    1536  600  mib=1024 scan_idle_unique
uml    1536  600  mib=1024 scan_rewritten
uml    1536  600  mib=1024 scan_half_hot
uml    1024  600  mib=256 merge_cold_half_dup
uml    1024  600  mib=256 merge_all_dup
uml    1024  600  merge_many_small_procs
uml    1024  300  mib=64 unmerge_rate
uml    9984 1200  max_mib=8192 growth_512M_8G
uml+   1536 1800  mib=1024 default_pacing_1G
icount  768  900  mib=64 access_bits scan_idle_unique merge_cold_half_dup merge_all_dup
icount  768  600  merge_many_small_procs
icount  768  600  mib=64 unmerge_rate cow_break_latency rmap_20k_vmas
icount  768  300  seconds=60 sparse_32T
icount  768  300  mib=32 merge_window
host   1536  900  mib=1024 metadata_bytes
host   1024  300  mib=512 threads_1_2
host   1024  600  mib=32 kvm_merge kvm_guest_slowdown'
readonly QUICK='
uml     512  120  mib=256 scan_idle_unique scan_rewritten scan_half_hot
uml     512  120  mib=64 merge_cold_half_dup merge_all_dup
icount  512  200  runs=1 mib=32 access_bits scan_idle_unique merge_cold_half_dup
icount  512  200  runs=1 mib=32 unmerge_rate cow_break_latency merge_window
host    768  120  mib=256 threads_1_2
host   1024  200  mib=16 metadata_bytes kvm_merge'

usage() {
    die "usage: [RUNS=1..99] [CASES=\"NAME...\"] bench.sh full|quick"
}

check() {
    case ${1:-} in
    full) plan=$FULL runs=${RUNS-5} all=true ;;
    quick) plan=$QUICK runs=${RUNS-3} ;;
    *) usage ;;
    esac
    check_range RUNS "$runs" 1 99
    runs=$((10#$runs))
    choose_cases
    check_root
    check_memory 2560 "the kernels that are measured"
    choose_growth
}

# case_names - of the plan, one a line
case_names() {
    awk '{ for (i = 4; i <= NF; i++) if ($i !~ /=/) print $i }' <<<"$plan" |
        LC_ALL=C sort -u
}

# choose_cases - leave in the plan what $CASES names
choose_cases() {
    local name names
    [[ -n ${CASES-} ]] || return 0
    names=$(case_names)
    for name in $CASES; do
        grep -qxF -e "$name" <<<"$names" ||
            die "CASES=$name: must be of ${names//$'\n'/, }"
    done
    all=false
    plan=$(awk -v cases=" $CASES " '{
        line = ""; found = 0
        for (i = 1; i <= NF; i++) {
            is_case = i > 3 && $i !~ /=/
            if (is_case && !index(cases, " " $i " "))
                continue
            found += is_case
            line = line " " $i
        }
        if (found)
            print line
    }' <<<"$plan")
}

# choose_growth - as much memory as there is, and not more
choose_growth() {
    local free
    free=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
    if ((free < 11000)) && [[ $plan == *max_mib=8192* ]]; then
        say "$free MiB are free, 11000 are needed: growth_512M_8G ends at 1 GiB"
        plan=${plan//max_mib=8192/max_mib=1024}
        plan=${plan//uml    9984/uml    1536}
    fi
}

build_all() {
    local engine
    bench=$("$SP_TOP/scripts/build.sh" bench)
    for engine in "${ENGINES[@]}"; do
        [[ $plan != *uml* ]] ||
            uml[$engine]=$("$SP_TOP/scripts/build.sh" kernel "uml-$engine")
        [[ $plan != *icount* && $plan != *host* ]] ||
            host[$engine]=$("$SP_TOP/scripts/build.sh" kernel "$engine")
    done
}

# in_host ENGINE MIB SECONDS ACCEL WORD... - the bench as a program of the bench host
in_host() {
    local engine=$1 mib=$2 seconds=$3 accel=$4 cpus=2
    shift 4
    [[ $accel != icount ]] || cpus=1
    "$SP_TOP/scripts/boot.sh" --kernel "${host[$engine]}" --mem "$mib" \
        --cpus "$cpus" --timeout "$seconds" --accel "$accel" \
        --append slab_nomerge --results "$RESULTS/boot" -- "$bench/ksm-bench" "$@"
}

# in_place ENGINE PLACE MIB SECONDS WORD...
# shellcheck disable=SC2317 # called by try_step, and what it calls
in_place() {
    local engine=$1 place=$2 mib=$3 seconds=$4
    shift 4
    set -- "runs=$runs" "$@"
    case $place in
    uml*)
        run_uml "${uml[$engine]}" "$bench" "$RESULTS/uml" "$mib" "$seconds" "$@"
        ;;
    icount) in_host "$engine" "$mib" "$seconds" icount "$@" ;;
    host) in_host "$engine" "$mib" "$seconds" "${SAMEPAGE_ACCEL:-auto}" "$@" ;;
    esac
}

# collect ENGINE PLACE LOG - its samples; fails if the log does not end well
collect() {
    local engine=$1 place=${2%+} log=$3
    tr -d '\r' <"$log" | sed -n 's/^bench: //p' >"$log.lines"
    awk -v "prefix=$engine $place" '$1 == "sample" || $1 == "na" {
        print prefix, $0 }' "$log.lines" >>"$SAMPLES"
    awk -v "engine=$engine" -v "dir=$RESULTS/points" '$1 == "point" {
        print $3, $4, $5 >(dir "/" $2 "." engine) }' "$log.lines"
    if ! grep -qx "done" "$log.lines"; then
        say "$(sed -n 's/^error /error: /p' "$log.lines" | tail -n 1)"
        return 1
    fi
}

# measure NAME LOG COMMAND... - run it, its output in LOG
measure() {
    local name=$1 log=$2
    shift 2
    try_step "$name" "$log" "$@"
    ((step_rc == 0)) || {
        say "error: $name ended with status $step_rc"
        failed=1
    }
}

# at_once LOG WORD... - both engines, each with a log of its own
# shellcheck disable=SC2317 # called by try_step
at_once() {
    local log=$1 pids=() engine rc=0 pid
    shift
    for engine in "${ENGINES[@]}"; do
        in_place "$engine" "$@" >"$log-$engine.log" 2>&1 &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do
        wait "$pid" || rc=$?
    done
    return "$rc"
}

# measure_line PLACE MIB SECONDS WORD... - one line of the plan
measure_line() {
    local engine log place=$1
    log=$RESULTS/$((++count))-$place
    if [[ $place == uml+ ]]; then
        measure "bench both $*" "$log.log" at_once "$log" "$@"
    else
        for engine in "${ENGINES[@]}"; do
            measure "bench $engine $*" "$log-$engine.log" in_place "$engine" "$@"
        done
    fi
    for engine in "${ENGINES[@]}"; do
        collect "$engine" "$place" "$log-$engine.log" || {
            say "error: bench $engine $* failed; its log is $log-$engine.log"
            failed=1
        }
    done
}

measure_all() {
    local line words
    while read -r line; do
        read -ra words <<<"$line"
        ((${#words[@]} == 0)) || measure_line "${words[@]}" </dev/null
    done <<<"$plan"
}

report() {
    jq -nR --rawfile list "$SOURCE/figures.list" --argjson all "$all" \
        -f "$SOURCE/report.jq" "$SAMPLES" >"$SP_TOP/build/bench.json"
    jq -r -f "$SOURCE/table.jq" "$SP_TOP/build/bench.json" |
        awk -f "$SOURCE/table.awk" | tee "$SP_TOP/build/bench.txt"
    jq -r '.[] | .name as $name | .unavailable | to_entries[] |
        "\($name) of \(.key): not available: \(.value)"' \
        "$SP_TOP/build/bench.json"
    [[ ! -s $RESULTS/points/pacing.ours || ! -s $RESULTS/points/cost.ours ]] ||
        gnuplot -e "data='$RESULTS/points'; svg='$SP_TOP/build/bench.svg'" \
            "$SOURCE/plot.gp"
}

main() {
    local failed=0 count=0 all=false bench plan runs
    declare -A uml=() host=()
    (($# == 1)) || usage
    check "$1"
    "$SP_TOP/scripts/setup.sh" bench
    build_all
    rm -rf "$RESULTS"
    mkdir -p "$RESULTS/points" "$RESULTS/uml"
    : >"$SAMPLES"
    say "$1 bench: $runs samples of each figure"
    measure_all
    report
    [[ $all == true ]] ||
        say "this was not all: make bench takes every case, with more memory"
    say "figures: build/bench.json and .txt; curves: build/bench.svg;" \
        "logs: build/bench/"
    exit "$failed"
}

main "$@"
