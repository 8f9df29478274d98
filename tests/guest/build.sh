#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Build the guests' disk image and agent from a clean start.
#
#   tests/guest/build.sh OUTDIR
#
# OUTDIR receives rootfs.squashfs (a Debian 12 userland with our agent and
# init), agent (the same program, to be run natively by tests) and
# packages.txt (what is in the image).  Needs root, mmdebstrap,
# squashfs-tools, a C compiler and the machine's own apt sources.  Results
# are moved to OUTDIR only when all are complete.
set -euo pipefail

die() { echo "guest: $*" >&2; exit 1; }

[ $# -eq 1 ] || die "usage: build.sh OUTDIR"
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
[ "$(id -u)" -eq 0 ] || die "building a Debian image needs root"
for tool in mmdebstrap sqfstar cc; do
    command -v $tool >/dev/null || die "$tool is missing: run scripts/setup.sh"
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "guest: agent"
cc -O2 -g -Wall -Wextra -Wno-unused-parameter -static -o "$work/agent" \
    "$here"/agent.c "$here"/agent-mem.c "$here"/agent-files.c "$here"/pattern.c
strip -o "$work/agent.stripped" "$work/agent"

# apt's files are absent on some machines: take those that are there
shopt -s nullglob
lists=(/etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list)
[ -e /etc/apt/sources.list ] && lists+=(/etc/apt/sources.list)
[ ${#lists[@]} -gt 0 ] || die "this machine has no apt sources"
awk -f "$here/debian-sources.awk" "${lists[@]}" | sort -u > "$work/sources.list"
grep -q . "$work/sources.list" ||
    die "none of this machine's apt sources carries Debian 12 (bookworm) main"

packages=$(sed '/^#/d; /^$/d' "$here/packages.list" | paste -sd,)
tree=$work/tree
echo "guest: Debian 12 minbase and $packages"
mmdebstrap --quiet --mode=root --variant=minbase --include="$packages" \
    --aptopt='Acquire::Languages "none"' \
    --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' \
    bookworm "$tree" "$work/sources.list"
# shellcheck disable=SC2016 # dpkg-query expands it
chroot "$tree" dpkg-query -W -f '${Package} ${Version}\n' > "$work/packages.txt"

echo "guest: our files"
install -D -m 755 "$work/agent.stripped" "$tree/usr/lib/samepage/agent"
install -D -m 755 "$here/worker.py" "$tree/usr/lib/samepage/worker"
install -D -m 755 "$here/init" "$tree/usr/lib/samepage/init"
install -d "$tree/etc/samepage"
grep -v '^#' "$here/services.list" >"$tree/etc/samepage/services"
# The kernel has no IPv6
sed -i '/listen \[::\]/d' "$tree/etc/nginx/sites-available/default"
# apt's lists and keys name the machine's mirrors; the guests need neither
rm -rf "$tree"/etc/apt/sources.list "$tree"/etc/apt/sources.list.d/* \
    "$tree"/var/lib/apt/lists/* "$tree"/var/cache/apt/* "${tree:?}"/dev/*
: > "$tree/etc/machine-id"
chmod 444 "$tree/etc/machine-id"

# What the guests keep in their page cache: the programs they run and the
# libraries of those, largest first, checksummed by the agent itself
(cd "$tree" && find usr/bin usr/sbin usr/lib/x86_64-linux-gnu -maxdepth 1 \
    -type f -links 1 -size +64k -printf '%s /%p\n' | sort -rn |
    cut -d' ' -f2- | sed -n 1,60p) > "$work/files.txt"
mapfile -t files < "$work/files.txt"
chroot "$tree" /usr/lib/samepage/agent --manifest "${files[@]}" \
    > "$work/manifest"
install -m 644 "$work/manifest" "$tree/etc/samepage/manifest"

echo "guest: squashfs"
mksquashfs "$tree" "$work/rootfs.squashfs" -quiet -no-progress -noappend \
    -comp lz4 -all-time 0 -mkfs-time 0 -no-xattrs
for file in agent packages.txt rootfs.squashfs; do
    cp "$work/$file" "$out/.$file.part"
done
for file in agent packages.txt rootfs.squashfs; do
    mv "$out/.$file.part" "$out/$file"
done
echo "guest: $(stat -c %s "$out/rootfs.squashfs") bytes of image," \
    "$(wc -l < "$out/packages.txt") packages"
