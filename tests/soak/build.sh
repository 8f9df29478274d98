#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Build the soak's storm of processes.
#
#   tests/soak/build.sh OUTDIR
#
# OUTDIR receives the program soak, linked with the helpers of the kernel
# selftests.  Needs a C compiler only.
set -euo pipefail

[ $# -eq 1 ] || { echo "usage: build.sh OUTDIR" >&2; exit 1; }
here=$(cd "$(dirname "$0")" && pwd)
selftests=$(cd "$here/../../kernel/tools/testing/selftests/ksm" && pwd)
mkdir -p "$1"

cc -std=gnu11 -O2 -g -Wall -Wextra -Wno-missing-field-initializers \
    '-D__noreturn=__attribute__((noreturn))' \
    '-D__printf(a,b)=__attribute__((format(printf,a,b)))' \
    -I"$selftests" -o "$1/.soak.part" "$here"/*.c \
    "$selftests"/ksm_{util,mem,dev}.c
mv "$1/.soak.part" "$1/soak"
