#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# `make soak`: processes and KVM guests in a storm, all memory verified.
#
# usage: [MINUTES=1..1440] [GUESTS=0..8] [RAM=128..2048] [WORKERS=1..32]
#        [SOAK_KERNEL=faults|ours|mainline|debug] soak.sh
#
# MINUTES (30) is how long the storm lasts, start-up and end not counted; GUESTS
# (2) of RAM (192) MiB each, none by default on the debug kernel, where they are
# too slow.  The kernel faults is ours, but allocations of ksmd fail now and then.
# Results: build/soak.json, and everything else in build/soak/; NAME.state there
# tells what a guest was doing when it did not go on.
# Exit status 0 only if no byte was wrong, all counters agreed at every pass, all
# memory came back and the kernel had nothing to complain about.

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

minutes=${MINUTES-30} variant=${SOAK_KERNEL-faults}
workers=${WORKERS-6} ram=${RAM-192}
guests=2
[[ $variant != debug ]] || guests=0
guests=${GUESTS-$guests}
readonly RESULTS=$SP_TOP/build/soak
# The bench host itself, what a guest's QEMU needs beside its RAM, and for each
# worker its areas, those of its children, and what of it is swapped to RAM
readonly HOST_MIB=1536 PER_GUEST_MIB=96 PER_WORKER_MIB=96
# Besides the storm: until the guests are up, and until all have ended
readonly MARGIN_SECONDS=2400

check() {
    check_range MINUTES "$minutes" 1 1440
    check_range GUESTS "$guests" 0 8
    check_range RAM "$ram" 128 2048
    check_range WORKERS "$workers" 1 32
    case $variant in
    faults | ours | mainline) ;;
    debug) readonly DEBUG_MIB=1024 STEP_SECONDS=900 ;;
    *) die "SOAK_KERNEL=$variant: must be faults, ours, mainline or debug" ;;
    esac
    minutes=$((10#$minutes)) guests=$((10#$guests))
    ram=$((10#$ram)) workers=$((10#$workers))
    mem=$((HOST_MIB + ${DEBUG_MIB-0} + guests * (ram + PER_GUEST_MIB) +
        workers * PER_WORKER_MIB))
    swap=$((256 + guests * ram))
    check_root
    check_memory $((mem + 512)) "$workers processes and $guests guests"
}

# guest_driver - build what the guests need and set driver=(COMMAND...)
guest_driver() {
    local qemu guest e2e engine=samepage
    driver=()
    ((guests)) || return 0
    [[ $variant != mainline ]] || engine=mainline
    qemu=$("$SP_TOP/scripts/build.sh" qemu)
    guest=$("$SP_TOP/scripts/build.sh" guest)
    e2e=$("$SP_TOP/scripts/build.sh" e2e)
    driver=(-- "$e2e/sharing-run" --plain --soak-seconds $((minutes * 60))
        --engine-expected "$engine" --boot-timeout $((120 + guests * 60))
        --step-timeout "${STEP_SECONDS-300}"
        --qemu "$qemu/bin/qemu-system-x86_64" --firmware "$qemu/share/qemu"
        --kernel "$kernel/bzImage" --image "$guest/rootfs.squashfs"
        --guests "$guests" --ram "$ram" --results /run/results)
}

build_all() {
    kernel=$("$SP_TOP/scripts/build.sh" kernel "$variant")
    soak=$("$SP_TOP/scripts/build.sh" soak)
    guest_driver
}

run_soak() {
    rm -rf "$RESULTS"
    mkdir -p "$RESULTS"
    say "booting the bench host with $mem MiB for $minutes minutes of" \
        "$workers processes and $guests guests"
    "$SP_TOP/scripts/boot.sh" --kernel "$kernel" --mem "$mem" \
        --append numa=fake=2 --timeout $((minutes * 60 + MARGIN_SECONDS)) \
        --results "$RESULTS" -- \
        "$soak/soak" --minutes "$minutes" --workers "$workers" \
        --swap "$swap" --results /run/results "${driver[@]}"
}

main() {
    local rc=0
    check
    "$SP_TOP/scripts/setup.sh"
    build_all
    run_soak || rc=$?
    if [[ -s $RESULTS/soak.json ]]; then
        cp "$RESULTS/soak.json" "$SP_TOP/build/soak.json"
        say "figures: build/soak.json; logs: build/soak/"
    fi
    exit "$rc"
}

main
