#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# `make test`: every test of the project, from fast to real.
#
# usage: test.sh [LAYER...]      default: layers docs fuzz unit qtest qmp-fuzz
#                                without libvirt bench kernel core vm e2e e2e-long
#
#   layers   include arrows between the engine's files, style of the scripts
#   docs     QEMU's manual with ours in it: no warning, nothing without description
#   fuzz     libFuzzer on the pure parts of the engine, for FUZZ_SECONDS (60)
#   unit     these in userspace under sanitizers, QEMU's and tools' units
#   qtest    our QEMU: the QMP side, without a guest
#   qmp-fuzz with ASan and UBSan: a fuzzer of the monitor, units of the QEMU side
#   sanitize the rest of ours of qtest with these: make test-sanitize runs both
#   without  a QEMU that was built with --disable-ksm
#   libvirt  our QEMU under Debian's libvirtd and virsh: on this machine, and
#            in the bench host what its kernel has a part in
#   bench    the cases of make bench that run in UML, with little memory
#   kernel   the kernel's own KSM selftests and ours, on our engine; the engine in
#            a kernel that has no sysfs
#   core     a part of these on a debug kernel (KASAN, lockdep, ...)
#   debug    all of them on it: make test-debug
#   kcsan    the same on a kernel that looks for data races: make test-kcsan
#   vm       the kernel's own selftests of memory management, all of their
#            memory mergeable, on our engine at full speed
#   vm-debug the same on a debug kernel
#   e2e      real guests on real KVM: they share memory
#   e2e-long the same under ksm-policy on a host that runs short of memory; they are
#            migrated; their RAM is shared with other processes
#
# Some run beside others, see STAGES: they mostly keep one CPU busy, or wait.
#
# Every program prints TAP.  One that dies, or whose plan does not match what
# it ran, is a failure, and so is a layer that cannot be built.  Raw output is
# in build/test/, all results as TAP in build/test.tap.  The last line is
# "N passed, N failed[, N skipped]"; the exit status is 0 only if something
# passed and nothing failed.  After all default layers docs/devel/ksm-coverage.rst
# is checked: every promise in it needs a test that ran.

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

readonly RESULTS=$SP_TOP/build/test
readonly DEFAULT_LAYERS=(layers docs fuzz unit qtest qmp-fuzz without libvirt
    bench kernel core vm e2e e2e-long)
# Layers in lanes: one after the other in each, all lanes of a stage at once; the
# first lane is shown as it runs.  What is in no stage runs alone, at the end.
readonly STAGES=("layers qtest|docs e2e unit qmp-fuzz|fuzz libvirt without bench"
    "kernel vm|e2e-long core")
# Where results go: one line each, a file for each lane
TABLE=$RESULTS/results.tsv
readonly HARNESS=$SP_TOP/kernel/tools/testing/ksm
readonly FUZZ_SECONDS=${FUZZ_SECONDS:-60}
readonly QTEST_SECONDS=600 KERNEL_SECONDS=900 DEBUG_SECONDS=3600
readonly E2E_SECONDS=900 VM_SECONDS=600 LIBVIRT_SECONDS=600
# The tests of tests/libvirt/cases.sh that depend on the host's kernel
readonly LIBVIRT_KERNEL='^mergeable|^nosharepages|^query|^node-memory|^memory'
# One of each kind: all of them take minutes, and vcpu_dirty_limit fails for stock
# QEMU, too, where KVM's virtual CPUs are slow.
readonly MIGRATIONS=(precopy/unix/plain postcopy/plain multifd/tcp/plain/none
    validate_uuid)

# mawk waits for 4 KiB of a pipe unless it is told not to.
AT_ONCE=()
[[ $(awk -W version 2>&1 </dev/null) != mawk* ]] || AT_ONCE=(-W interactive)
readonly AT_ONCE

# record ok|fail|skip NAME [NOTE] - a result that no program printed
record() {
    printf '%s\t%s\t%s\n' "$1" "$2" "${3:-}" >>"$TABLE"
    case $1 in
    ok) printf 'ok   %s\n' "$2" ;;
    fail) printf 'FAIL %s (%s)\n' "$2" "${3:-}" ;;
    skip) printf 'skip %s (%s)\n' "$2" "${3:-}" ;;
    esac
}

# tap LAYER COMMAND... - run one program that prints TAP
tap() {
    local layer=$1 file rc=0 before after
    shift
    file=$RESULTS/${layer//[^A-Za-z0-9]/-}
    before=$(grep -c '^fail' "$TABLE" || true)
    {
        "$@" 2>"$file.err" </dev/null || printf '%d\n' $? >"$file.rc"
    } | tee "$file.tap" |
        awk "${AT_ONCE[@]}" -v layer="$layer" -v out="$TABLE" \
            -f "$SP_TOP/scripts/tap.awk"
    after=$(grep -c '^fail' "$TABLE" || true)
    [[ ! -s $file.rc ]] || rc=$(cat "$file.rc")
    if ((rc != 0 && before == after)); then
        record fail "$layer: exit status" "$rc, see $file.err"
    fi
    if ((rc != 0)); then
        tail -n 60 "$file.err" | sed 's/^/     /'
    fi
}

# artefact NAME... - build it; a failure is recorded and ends the layer
artefact() {
    local log=$RESULTS/build-$BASHPID.err
    if ! "$SP_TOP/scripts/build.sh" "$@" 2> >(tee "$log" >&2); then
        record fail "build $*" "$(grep -a 'error:' "$log" | tail -n 1)" >&2
        return 1
    fi
}

layer_layers() {
    tap layers "$SP_TOP/scripts/check-layers"
    tap "layers coverage" "$SP_TOP/scripts/check-coverage" --self-test
    tap "layers docs" "$SP_TOP/scripts/check-docs"
    tap "layers complaints" "$SP_TOP/tests/kernel/test-complaints.sh"
}

# What the fuzzer found stays in build/fuzz.
layer_fuzz() {
    local units
    units=$(artefact unit) || return 0
    tap "unit libFuzzer" "$HARNESS/run-fuzz" "$units/fuzz/fuzz" \
        "$SP_TOP/build/fuzz" "$FUZZ_SECONDS"
}

layer_docs() {
    tap docs "$SP_TOP/tests/docs/run-tests.sh" "$SP_TOP/build/docs"
}

layer_unit() {
    local units driver tests program
    if units=$(artefact unit); then
        tap "unit engine" "$HARNESS/run-tests" "$units"/gcc/test-*
        tap "unit gcov" "$HARNESS/run-coverage" "$units/coverage/gcc" \
            "$RESULTS/coverage"
    fi
    if driver=$(artefact e2e); then
        for program in "$driver"/test-*; do
            tap "unit $(basename "$program")" "$program" --tap -k
        done
    fi
    if tests=$(artefact qemu-tests); then
        for program in "$tests"/test-ksm-* "$tests"/check-qom-proplist; do
            tap "unit $(basename "$program")" "$program" --tap -k
        done
    fi
}

# qtests LAYER VARIANT NAME... - of our QEMU, or of a variant of it
qtests() {
    local layer=$1 variant=$2 qemu tests name options
    shift 2
    qemu=$(artefact qemu ${variant:+"$variant"}) || return 0
    tests=$(artefact qemu-tests ${variant:+"$variant"}) || return 0
    for name in "$@"; do
        options=()
        [[ $name != migration-test ]] ||
            mapfile -t options < <(printf -- '-p\n/x86_64/migration/%s\n' \
                "${MIGRATIONS[@]}")
        QTEST_QEMU_BINARY=$qemu/bin/qemu-system-x86_64 \
            tap "$layer $name" timeout "$QTEST_SECONDS" \
            "$tests/$name" --tap -k "${options[@]}"
    done
}

layer_qtest() {
    qtests qtest "" ksm-test ksm-fuzz-test qmp-cmd-test qom-test test-hmp \
        device-introspect-test numa-test readconfig-test migration-test
}

layer_without() {
    qtests without without ksm-without-test qmp-cmd-test qom-test test-hmp
}

# sanitized COMMAND... - errors and leaks end a program with a bad status, which
# its qtest sees
sanitized() {
    local -x ASAN_OPTIONS=detect_leaks=1
    local -x UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
    "$@"
}

layer_qmp-fuzz() {
    local tests program
    sanitized qtests qmp-fuzz sanitize ksm-fuzz-test
    tests=$(artefact qemu-tests sanitize) || return 0
    for program in "$tests"/test-ksm-*; do
        sanitized tap "qmp-fuzz $(basename "$program")" "$program" --tap -k
    done
}

layer_sanitize() {
    sanitized qtests sanitize sanitize ksm-test
}

layer_libvirt() {
    local qemu kernel tests=$SP_TOP/tests/libvirt
    qemu=$(artefact qemu) || return 0
    tap "libvirt runner" "$tests/test-runner.sh"
    tap libvirt timeout "$LIBVIRT_SECONDS" "$tests/run-tests.sh" \
        --qemu "$qemu" --results "$RESULTS/libvirt"
    kernel=$(artefact kernel ours) || return 0
    in_bench libvirt-bench "$kernel" 1536 "$LIBVIRT_SECONDS" "" \
        "$tests/run-tests.sh" --qemu "$qemu" --results /run/results \
        --only "$LIBVIRT_KERNEL"
}

# in_bench LAYER KERNEL MIB SECONDS APPEND COMMAND... - TAP from the bench
# host; that its kernel had nothing to complain about is a test of its own.
# It has two CPUs, or the caller's $cpus.
in_bench() {
    local layer=$1 kernel=$2 mem=$3 seconds=$4 append=$5 dir rc=0 races=()
    shift 5
    dir=$RESULTS/$layer
    rm -rf "$dir"
    [[ $layer != kcsan ]] || races=(--races "$kernel/ksm-symbols")
    tap "$layer" "$SP_TOP/scripts/boot.sh" --kernel "$kernel" \
        --mem "$mem" --cpus "${cpus:-2}" --timeout "$seconds" \
        --append "$append" --results "$dir" "${races[@]}" -- "$@"
    [[ ! -s $RESULTS/$layer.rc ]] || rc=$(cat "$RESULTS/$layer.rc")
    case $rc in
    97) record fail "$layer: bench host" "it died, see $dir/console.log" ;;
    98) record fail "$layer: bench host" "more than $seconds s" ;;
    99) record fail "$layer: kernel log" "complaints in $dir/console.log" ;;
    *) record ok "$layer: kernel log has no warning" ;;
    esac
}

# kernel_tests LAYER VARIANT MIB SECONDS [OPTION...] - options of run-tests.sh
kernel_tests() {
    local layer=$1 variant=$2 mem=$3 seconds=$4 kernel selftests with=()
    shift 4
    kernel=$(artefact kernel "$variant") || return 0
    selftests=$(artefact selftests) || return 0
    [[ $variant != kcsan ]] || with=("$SP_TOP/tests/kernel/with-kcsan.sh")
    in_bench "$layer" "$kernel" "$mem" "$seconds" \
        "numa=fake=2 movablecore=768M" "${with[@]}" \
        "$SP_TOP/tests/kernel/run-tests.sh" "$selftests" "$@"
}

# no_sysfs - another kernel, which has nothing but our engine and one test
no_sysfs() {
    local kernel selftests
    kernel=$(artefact kernel no-sysfs) || return 0
    selftests=$(artefact selftests) || return 0
    tap "kernel no-sysfs" "$SP_TOP/tests/kernel/no-sysfs.sh" \
        "$kernel/bzImage" "$selftests/no-sysfs-init" "$RESULTS/no-sysfs.log"
}

layer_bench() {
    local kernel bench
    kernel=$(artefact kernel uml-ours) && bench=$(artefact bench) || return 0
    tap bench "$SP_TOP/tests/bench/run-tests.sh" "$kernel" "$bench" \
        "$RESULTS/bench"
    tap "bench profile" "$SP_TOP/tests/bench/test-profile.sh" "$RESULTS/bench"
}

layer_kernel() {
    kernel_tests kernel ours 2048 "$KERNEL_SECONDS"
    no_sysfs
}

layer_debug() {
    kernel_tests debug debug 3072 "$DEBUG_SECONDS"
}

# What breaks first, on the debug kernel; signals wait for much memory there
layer_core() {
    local topic options=(-n _signal)
    for topic in cow fork pin ptebits unmerge swap fault inject poison; do
        options+=(-t "$topic.")
    done
    kernel_tests core debug 3072 "$KERNEL_SECONDS" "${options[@]}"
}

layer_kcsan() {
    kernel_tests kcsan kcsan 2048 "$DEBUG_SECONDS"
}

# vm_tests LAYER VARIANT MIB SECONDS
vm_tests() {
    # The migration test wants a third one.
    local kernel selftests cpus=3
    kernel=$(artefact kernel "$2") || return 0
    selftests=$(artefact vm-selftests) || return 0
    in_bench "$1" "$kernel" "$3" "$4" "numa=fake=2 movablecore=768M" \
        "$SP_TOP/tests/kernel/run-vm-tests.sh" \
        --known "$SP_TOP/tests/kernel/vm-tests-mainline.list" "$selftests"
}

layer_vm() {
    vm_tests vm ours 2048 "$VM_SECONDS"
}

layer_vm-debug() {
    vm_tests vm-debug debug 3072 "$DEBUG_SECONDS"
}

# e2e_case CASE RAM APPEND - two guests of RAM MiB; its layer has the name of the
# case but for the usual run.  The caller has built what it needs.
e2e_case() {
    local layer=e2e
    [[ $1 == sharing ]] || layer=e2e-$1
    in_bench "$layer" "$kernel" 2048 "$E2E_SECONDS" "$3" "$driver/sharing-test" \
        --boot-timeout 90 --case "$1" \
        --engine-expected samepage --guests 2 --ram "$2" \
        --qemu "$qemu/bin/qemu-system-x86_64" --firmware "$qemu/share/qemu" \
        --kernel "$kernel/bzImage" --image "$guest/rootfs.squashfs" \
        --results /run/results
}

# e2e_artefacts - set kernel, qemu, guest and driver
e2e_artefacts() {
    kernel=$(artefact kernel ours) && qemu=$(artefact qemu) &&
        guest=$(artefact guest) && driver=$(artefact e2e)
}

layer_e2e() {
    local kernel qemu guest driver
    e2e_artefacts || return 0
    e2e_case sharing 256 ""
}

# What takes a few minutes for each case
layer_e2e-long() {
    local kernel qemu guest driver
    e2e_artefacts || return 0
    e2e_case auto 192 psi=1
    e2e_case hotplug 192 ""
    e2e_case migration 192 ""
    e2e_case shared 192 ""
}

# coverage LAYER... - has each promise a test that ran?  Asked only after all
coverage() {
    local layer
    for layer in "${DEFAULT_LAYERS[@]}"; do
        [[ " $* " == *" $layer "* ]] || return 0
    done
    printf '== coverage\n'
    tap coverage "$SP_TOP/scripts/check-coverage" "$TABLE"
}

# summary - build/test.tap and the last line
summary() {
    local passed failed skipped counts
    awk -F '\t' '
        $1 == "ok" { print "ok " NR " - " $2 }
        $1 == "fail" { print "not ok " NR " - " $2 }
        $1 == "skip" { print "ok " NR " - " $2 " # SKIP " $3 }
        END { print "1.." NR }' "$TABLE" >"$SP_TOP/build/test.tap"
    passed=$(grep -c '^ok' "$TABLE" || true)
    failed=$(grep -c '^fail' "$TABLE" || true)
    skipped=$(grep -c '^skip' "$TABLE" || true)
    if ((failed)); then
        printf '\nfailed:\n'
        awk -F '\t' '$1 == "fail" { print "  " $2 }' "$TABLE"
    fi
    if ((skipped)); then
        printf '\nskipped:\n'
        awk -F '\t' '$1 == "skip" { print "  " $2 " (" $3 ")" }' "$TABLE"
    fi
    counts="$passed passed, $failed failed"
    ((skipped == 0)) || counts+=", $skipped skipped"
    printf '\n%s\n' "$counts" | tee "$RESULTS/counts"
    ((passed > 0 && failed == 0))
}

# run_layer LAYER
run_layer() {
    local t0=$SECONDS
    printf '== %s\n' "$1"
    "layer_$1"
    printf '== %s: %d s\n' "$1" $((SECONDS - t0))
}

# run_lane NAME LAYER... - its results go to a file of its own
# shellcheck disable=SC2317
run_lane() {
    local layer
    TABLE=$RESULTS/lane-$1.tsv
    : >"$TABLE"
    shift
    for layer in "$@"; do
        run_layer "$layer"
    done
}

# start_lane NAME LAYER... - in a process group of its own, so that an interrupted
# run takes all of it along
start_lane() {
    local name=$1
    shift
    say "$*: beside others, told when these are through"
    set -m
    run_lane "$name" "$@" >"$RESULTS/lane-$name.log" 2>&1 </dev/null &
    lanes[$name]=$!
    set +m
    # shellcheck disable=SC2064
    trap "kill -- ${lanes[*]/#/-} 2>/dev/null" EXIT
}

# join_lanes - their end and their results
join_lanes() {
    local name rc
    for name in "${!lanes[@]}"; do
        rc=0
        wait "${lanes[$name]}" || rc=$?
        cat "$RESULTS/lane-$name.log"
        cat "$RESULTS/lane-$name.tsv" >>"$TABLE"
        ((rc == 0)) || record fail "$name and what follows it" "status $rc"
    done
    lanes=()
    trap - EXIT
}

# choose LANE - set lane to those of its layers that are $wanted
choose() {
    local layer
    lane=()
    for layer in $1; do
        [[ " $wanted " != *" $layer "* ]] || lane+=("$layer")
    done
}

# run_stage LANE... - those of its layers that are wanted
run_stage() {
    local lane first layers layer
    local -A lanes=()
    choose "$1"
    first=("${lane[@]}")
    shift
    for layers in "$@"; do
        choose "$layers"
        ((${#lane[@]} == 0)) || start_lane "${lane[0]}" "${lane[@]}"
    done
    for layer in "${first[@]}"; do
        run_layer "$layer"
    done
    join_lanes
}

# run_layers LAYER...
run_layers() {
    local stage layer lanes wanted=$*
    for stage in "${STAGES[@]}"; do
        IFS='|' read -ra lanes <<<"$stage"
        run_stage "${lanes[@]}"
    done
    for layer in "$@"; do
        [[ " ${STAGES[*]//|/ } " == *" $layer "* ]] || run_layer "$layer"
    done
}

main() {
    local layer packages=()
    (($#)) || set -- "${DEFAULT_LAYERS[@]}"
    for layer in "$@"; do
        [[ $(type -t "layer_$layer") == function ]] ||
            die "$layer: must be layers, docs, fuzz, unit, qtest, qmp-fuzz, sanitize," \
                "without, libvirt, bench, kernel, core, debug, kcsan, vm, vm-debug, e2e or" \
                "e2e-long"
        [[ $layer != libvirt && $layer != docs ]] || packages+=("$layer")
    done
    check_range FUZZ_SECONDS "$FUZZ_SECONDS" 1 86400
    "$SP_TOP/scripts/setup.sh" "${packages[@]}"
    rm -rf "$RESULTS"
    mkdir -p "$RESULTS"
    : >"$TABLE"
    run_layers "$@"
    coverage "$@"
    summary
}

main "$@"
