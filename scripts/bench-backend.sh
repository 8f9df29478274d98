#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# `make bench-backend`: what the QEMU backend adds to a guest's run time, and how
# long query-ksm-stats takes on 64 RAM blocks.  tests/bench-backend/backend.py says what is
# measured, and how.  The figures are in build/bench-backend.json.
#
# usage: bench-backend.sh
#
#   ROUNDS=N     rounds in which each has its turn, 10..10000 (default 60)
#   PIECE=MS     CPU time of a piece in milliseconds, 1500..10000 (default 1500)
#   ACCEL=WHAT   tcg (default) or kvm
#
# Exit status: 0 less than 1 % and 5 ms, 1 more.

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

readonly WORK=$SP_TOP/build/bench-backend/work
ROUNDS=${ROUNDS:-60} PIECE=${PIECE:-1500} ACCEL=${ACCEL:-tcg}

# build_work - one file for a bare 32-bit machine
build_work() {
    mkdir -p "$(dirname "$WORK")"
    gcc -m32 -O2 -Wall -Wextra -ffreestanding -nostdlib -static -fno-pie \
        -no-pie -fno-stack-protector -fcf-protection=none -mno-sse \
        -Wl,--build-id=none,-n,-e,start,-Ttext=0x100000 -o "$WORK" \
        "$SP_TOP/tests/bench-backend/work.c"
}

check_root
check_range ROUNDS "$ROUNDS" 10 10000
check_range PIECE "$PIECE" 1500 10000
[[ $ACCEL == tcg || $ACCEL == kvm ]] || die "ACCEL=$ACCEL: must be tcg or kvm"
"$SP_TOP/scripts/setup.sh"
ours=$("$SP_TOP/scripts/build.sh" qemu)
tests=$("$SP_TOP/scripts/build.sh" qemu-tests)
build_work
exec "$SP_TOP/tests/bench-backend/backend.py" --qemu "$ours/bin/qemu-system-x86_64" \
    --test "$tests/ksm-test" --work "$WORK" --json "$SP_TOP/build/bench-backend.json" \
    --rounds "$ROUNDS" --piece "$PIECE" --accel "$ACCEL"
