#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Build the end-to-end driver and the native tests of it and of the agent.
#
#   tests/e2e/build.sh OUTDIR
#
# OUTDIR receives sharing-run and test-e2e.  Needs a C compiler, glib and
# json-glib.  Results are moved to OUTDIR only when all are complete.
set -euo pipefail

die() { echo "e2e: $*" >&2; exit 1; }

[ $# -eq 1 ] || die "usage: build.sh OUTDIR"
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
pkg-config --exists glib-2.0 json-glib-1.0 ||
    die "glib or json-glib is missing: run scripts/setup.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
read -ra flags <<< "$(pkg-config --cflags --libs glib-2.0 json-glib-1.0)"
parts=(options channel check qmp guest guest-ram host table run step-guests
    step-merge step-break query-stats report)
sources=("$top"/hw/ksm/ksm-host.c "$top"/hw/ksm/ksm-host-range.c
    "$top"/tests/guest/pattern.c)
for part in "${parts[@]}"; do
    sources+=("$here/$part.c")
done

compile() {
    cc -std=gnu11 -O2 -g -Wall -Wextra -Werror=implicit-function-declaration \
        -Wno-missing-field-initializers -I"$here/shim" -I"$top" "$@" \
        "${flags[@]}"
}

echo "e2e: sharing-run"
compile -o "$work/sharing-run" "$here/main.c" "${sources[@]}"
cp "$work/sharing-run" "$out/.sharing-run.part"
mv "$out/.sharing-run.part" "$out/sharing-run"
