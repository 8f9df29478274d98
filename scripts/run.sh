#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# `make run`: real guests share memory under real KVM, and it is shown live.
#
# usage: [ENGINE=samepage|mainline] [GUESTS=1..8] [RAM=128..2048] run.sh
#
# RAM is MiB per guest.  Results: build/run.json, and everything else of the
# run (logs, the table's figures) in build/run/.  Exit status 0 only if every
# guest's memory was right at every step and memory was really saved.

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

engine=${ENGINE-samepage} guests=${GUESTS-3} ram=${RAM-256}
readonly RESULTS=$SP_TOP/build/run
# The bench host itself, and what a guest's QEMU needs beside its RAM
readonly HOST_MIB=1024 PER_GUEST_MIB=96

check() {
    check_engine "$engine"
    check_range GUESTS "$guests" 1 8
    check_range RAM "$ram" 128 2048
    guests=$((10#$guests)) ram=$((10#$ram))
    mem=$((HOST_MIB + guests * (ram + PER_GUEST_MIB)))
    check_root
    check_memory $((mem + 512)) "$guests guests of $ram MiB"
}

build_all() {
    local variant=ours
    [[ $engine == samepage ]] || variant=mainline
    kernel=$("$SP_TOP/scripts/build.sh" kernel "$variant")
    qemu=$("$SP_TOP/scripts/build.sh" qemu)
    guest=$("$SP_TOP/scripts/build.sh" guest)
    driver=$("$SP_TOP/scripts/build.sh" e2e)
}

# run_guests - boot the bench host and run the driver in it
run_guests() {
    rm -rf "$RESULTS" "$SP_TOP/build/run.json"
    mkdir -p "$RESULTS"
    say "booting the bench host with $mem MiB for $guests guests of $ram MiB"
    "$SP_TOP/scripts/boot.sh" --kernel "$kernel" --mem "$mem" \
        --timeout $((900 + guests * 120)) --results "$RESULTS" -- \
        "$driver/sharing-run" --engine-expected "$engine" \
        --boot-timeout $((60 + guests * 20)) \
        --qemu "$qemu/bin/qemu-system-x86_64" --firmware "$qemu/share/qemu" \
        --kernel "$kernel/bzImage" --image "$guest/rootfs.squashfs" \
        --guests "$guests" --ram "$ram" --results /run/results
}

main() {
    local rc=0
    check
    "$SP_TOP/scripts/setup.sh"
    build_all
    run_guests || rc=$?
    if [[ -s $RESULTS/run.json ]]; then
        cp "$RESULTS/run.json" "$SP_TOP/build/run.json"
        say "figures: build/run.json; logs: build/run/"
    fi
    exit "$rc"
}

main
