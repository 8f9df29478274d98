# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# Sourced: ksm-bench as the first program of a UML.

# run_uml KERNEL BENCH DIR MIB SECONDS WORD... - @DIR is for what it needs at work
run_uml() {
    local kernel=$1 bench=$2 dir=$3 mib=$4 seconds=$5 room=/dev/shm options
    shift 5
    options=("mem=${mib}M" root=/dev/root rootfstype=hostfs rootflags=/ ro
        "init=$bench/ksm-bench" con=null "con0=fd:0,fd:1" quiet slab_nomerge
        "uml_dir=$dir")
    # Its memory is a file there.
    [[ $(df -Pm "$room" | awk 'NR == 2 { print $4 }') -gt $mib ]] || room=$dir
    TMPDIR=$room timeout --foreground -k 5 "$seconds" \
        "$kernel/vmlinux" "${options[@]}" -- "$@" --
}
