#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# `make soak`: processes and KVM guests in a storm, all memory verified.
#
# usage: [MINUTES=1..1440] [GUESTS=0..8] [RAM=128..2048] [WORKERS=1..32]
#        [ROUND=1..1440] [SOAK_KERNEL=faults|ours|mainline|debug] soak.sh
#
# MINUTES (30) is how long the storm lasts, start-up and end not counted; GUESTS
# (2) of RAM (192) MiB each, none by default on the debug kernel, where they are
# too slow.  The kernel faults is ours, but allocations of ksmd fail now and then.
# With guests it is made in rounds of ROUND (6) minutes, each in a bench host of its
# own, because emulated SVM does not keep one up for long: see is_emulators().  A round
# that is lost to it is told, counted, and made again; its figures do not count.  More
# lost than made, and three, are a failure.  The figures are sums over all rounds.
# A guest that is reset without a word, as emulated SVM does, is started anew and
# counted; more than five, and one for each five minutes of a guest, are a failure.
# Results: build/soak.json, and everything else in build/soak/, of the last round;
# NAME.state there tells what a guest was doing when it did not go on.
# Exit status 0 only if no byte was wrong, all counters agreed at every pass, all
# memory came back and the kernel had nothing to complain about.

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

minutes=${MINUTES-30} variant=${SOAK_KERNEL-faults}
workers=${WORKERS-6} ram=${RAM-192}
guests=2
[[ $variant != debug ]] || guests=0
guests=${GUESTS-$guests}
round=${ROUND-6}
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
    check_range ROUND "$round" 1 1440
    case $variant in
    faults | ours | mainline) ;;
    debug) readonly DEBUG_MIB=1024 STEP_SECONDS=900 ;;
    *) die "SOAK_KERNEL=$variant: must be faults, ours, mainline or debug" ;;
    esac
    minutes=$((10#$minutes)) guests=$((10#$guests)) round=$((10#$round))
    ((guests && round < minutes)) || round=$minutes
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
    driver=(-- "$e2e/sharing-run" --plain --soak-seconds $((round * 60))
        --engine-expected "$engine" --boot-timeout $((120 + guests * 60))
        --step-timeout "${STEP_SECONDS-300}"
        --qemu "$qemu/bin/qemu-system-x86_64" --firmware "$qemu/share/qemu"
        --kernel "$kernel/bzImage" --image "$guest/rootfs.squashfs"
        --guests "$guests" --ram "$ram" --results /run/results)
}

build_all() {
    kernel=$("$SP_TOP/scripts/build.sh" kernel "$variant")
    soak=$("$SP_TOP/scripts/build.sh" soak)
}

# shellcheck disable=SC2317 # called by with_retries
run_soak() {
    rm -rf "$RESULTS"
    mkdir -p "$RESULTS"
    say "booting the bench host with $mem MiB for $round minutes of" \
        "$workers processes and $guests guests"
    "$SP_TOP/scripts/boot.sh" --kernel "$kernel" --mem "$mem" \
        --append numa=fake=2 --timeout $((round * 60 + MARGIN_SECONDS)) \
        --results "$RESULTS" -- \
        "$soak/soak" --minutes "$round" --workers "$workers" \
        --swap "$swap" --results /run/results "${driver[@]}"
}

# is_emulators RC - was the bench host lost to emulated SVM?
#
# That resets it without a word; or a page fault hits between a guest's exit and the
# reload of the host's registers, where no code of ours runs, and then faults again in
# its own handler until the stack is full.  The GS base of user space is then still that
# of the guest's kernel, which it cannot be at any other time.
is_emulators() {
    local log=$RESULTS/console.log
    ((guests)) || return 1
    (($1 != 97)) || return 0
    grep -q 'RIP: 0010:exc_page_fault+0x0/' "$log" &&
        grep -q 'stack guard page was hit' "$log" && grep -q 'knlGS:ffff' "$log"
}

# add_round - add the figures of a round to those of the rounds before
add_round() {
    local sum=$SP_TOP/build/soak.json
    [[ -s $sum ]] || echo '{}' >"$sum"
    jq -s '.[0] as $sum | .[1] | with_entries(
            if (.value | type) == "number" and .key != "processes"
            then .value += ($sum[.key] // 0) else . end) |
        .rounds = ($sum.rounds // 0) + 1' "$sum" "$RESULTS/soak.json" >"$sum.part"
    mv "$sum.part" "$sum"
}

# make_rounds - until there are enough minutes; sets rc
make_rounds() {
    local left=$minutes made=0
    while ((left > 0)); do
        ((round <= left)) || round=$left
        guest_driver
        rc=0
        if ((guests)); then
            with_retries "$RESULTS/guests.txt" run_soak || rc=$?
        else
            run_soak || rc=$?
        fi
        if ((rc)) && is_emulators "$rc"; then
            ((++lost))
            say "emulated SVM broke off this round; $lost lost so far, $made made"
            ((lost <= made + 3)) || return 0
            continue
        fi
        [[ ! -s $RESULTS/soak.json ]] || add_round
        ((rc == 0)) || return 0
        ((++made, left -= round))
        ((left <= 0)) || say "$((minutes - left)) of $minutes minutes are done"
    done
}

print_sums() {
    jq -r 'to_entries[] | "\(.key)\t\(.value)"' "$SP_TOP/build/soak.json" |
        awk -F '\t' '{ printf "  %-28s %s\n", $1, $2 }'
}

main() {
    local rc=0 lost=0 sum=$SP_TOP/build/soak.json
    check
    "$SP_TOP/scripts/setup.sh"
    build_all
    rm -f "$sum"
    make_rounds
    if [[ -s $sum ]]; then
        jq --argjson lost "$lost" '.rounds_lost = $lost' "$sum" >"$sum.part"
        mv "$sum.part" "$sum"
        say "all rounds together:"
        print_sums
        say "figures: build/soak.json; logs: build/soak/"
    fi
    exit "$rc"
}

main
