#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Build the program of `make bench`.
#
#   tests/bench/build.sh OUTDIR
#
# OUTDIR receives ksm-bench.  Static: it is the first program of a kernel.
set -euo pipefail

[ $# -eq 1 ] || { echo "usage: build.sh OUTDIR" >&2; exit 1; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"

cc -std=gnu11 -O2 -g -Wall -Wextra -static -o "$1/.ksm-bench.part" "$here"/*.c
mv "$1/.ksm-bench.part" "$1/ksm-bench"
