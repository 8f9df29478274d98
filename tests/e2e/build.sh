#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Build the end-to-end driver and the native tests of it and of the agent.
#
#   tests/e2e/build.sh OUTDIR
#
# OUTDIR receives the driver sharing-run, sharing-test (the same as a test in
# the bench host), and the native tests test-sharing and test-agent with an
# agent built for them; all tests print TAP.  Needs a C compiler, glib and
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
    step-merge step-break step-soak query-stats report
    policy pressure case-auto case-hotplug case-migration case-shared)
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
echo "e2e: native tests, with sanitizers"
# shellcheck disable=SC2054 # the comma is the compiler's
checked=(-O1 -fsanitize=address,undefined -fno-sanitize-recover=all)
guest=$top/tests/guest
compile "${checked[@]}" -o "$work/test-sharing" "$here/test-sharing.c" \
    "${sources[@]}"
compile "${checked[@]}" -o "$work/test-agent" "$here/test-agent.c" \
    "$here/channel.c" "$guest/pattern.c"
compile "${checked[@]}" -Wno-unused-parameter -o "$work/agent" \
    "$guest/agent.c" "$guest/agent-mem.c" "$guest/agent-files.c" \
    "$guest/pattern.c"
cp "$here/sharing-test" "$work/"
for file in agent sharing-run sharing-test test-agent test-sharing; do
    cp "$work/$file" "$out/.$file.part"
    mv "$out/.$file.part" "$out/$file"
done
