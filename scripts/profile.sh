#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# `make profile`: which functions of the kernel a case of the bench spends its
# instructions in, by an emulator that counts them.
#
# usage: [MIB=8..1024] [ENGINE=ours|mainline] profile.sh CASE...
#
# Prints the functions that have most, and in build/profile/functions.txt all.  The
# filling of memory is in it, as far as the kernel has a part in that.

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

readonly RESULTS=$SP_TOP/build/profile SHOWN=30 SECONDS_MAX=600
readonly COUNT=$SP_TOP/tests/bench/profile/count.c

(($#)) || die "usage: [MIB=8..1024] [ENGINE=ours|mainline] profile.sh CASE..."
mib=${MIB-64} engine=${ENGINE-ours}
check_range MIB "$mib" 8 1024
[[ $engine == ours || $engine == mainline ]] ||
    die "ENGINE=$engine: must be ours or mainline"
check_root
"$SP_TOP/scripts/setup.sh"
source=$("$SP_TOP/scripts/fetch.sh" qemu)
bench=$("$SP_TOP/scripts/build.sh" bench)
kernel=$("$SP_TOP/scripts/build.sh" kernel "$engine")
rm -rf "$RESULTS"
mkdir -p "$RESULTS"

read -ra flags < <(pkg-config --cflags glib-2.0)
cc -std=gnu11 -O2 -g -Wall -Wextra -shared -fPIC "${flags[@]}" \
    -I "$source/include/qemu" -o "$RESULTS/count.so" "$COUNT"

# The bench writes to `run` when it has begun, and not before: so it is called on the
# one engine or on the other.
from=$(awk '$3 == "run_set" || $3 == "run_store" { print $1; exit }' \
    "$kernel/System.map")
[[ -n $from ]] || die "$kernel/System.map: neither run_set nor run_store"
# Ours takes no plugins.
qemu=$(command -v qemu-system-x86_64)
try_step "profile of $* ($engine)" "$RESULTS/log" \
    "$SP_TOP/scripts/boot.sh" --kernel "$kernel" --mem $((mib + 448)) --cpus 1 \
    --timeout "$SECONDS_MAX" --accel icount --append slab_nomerge --qemu "$qemu" \
    --plugin "$RESULTS/count.so,from=$from,out=$RESULTS/blocks.txt" \
    --results "$RESULTS/boot" -- "$bench/ksm-bench" runs=1 "mib=$mib" "$@"
if ! grep -q "^bench: done" "$RESULTS/log" || [[ ! -s $RESULTS/blocks.txt ]]; then
    say "$(sed -n 's/^bench: error /error: /p' "$RESULTS/log" | tail -n 1)"
    die "the profile failed: see $RESULTS/log"
fi

# Functions in the order of their addresses, and blocks in theirs: of one length.
{
    awk '$2 ~ /[tTwW]/ { print $1, "f", $3 }' "$kernel/System.map"
    awk '{ print $1, "n", $2 }' "$RESULTS/blocks.txt"
} | LC_ALL=C sort -s -k 1,2 | awk '
    $2 == "f" { name = $3 }
    $2 == "n" { sum[name] += $3; all += $3 }
    END { for (name in sum) printf "%.0f %.1f %s\n", sum[name], 100 * sum[name] / all, name }' |
    sort -rn | awk 'BEGIN { printf "%15s %6s  %s\n", "instructions", "%", "function" }
        { printf "%15s %6s  %s\n", $1, $2, $3 }' >"$RESULTS/functions.txt"
head -n $((SHOWN + 1)) "$RESULTS/functions.txt"
say "all of them: build/profile/functions.txt; figures of this run: build/profile/log"
