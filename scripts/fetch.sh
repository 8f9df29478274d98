#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Brings the pristine source of one upstream tree into the cache.
#
# usage: fetch.sh linux|qemu       prints the folder
#
# A tree appears under its name only when complete, so an interrupted fetch is
# simply done again; what was downloaded is not downloaded twice.

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

readonly LINUX_TAR=/usr/src/linux-source-6.1.tar.xz

note_version() {
    local what=$1 version=$2 tested=$3
    [[ $version == "$tested" ]] ||
        say "note: $what is $version; the patches were made for $tested"
}

unpack_linux() {
    local dir=$1
    rm -rf "$dir.part"
    mkdir -p "$dir.part"
    tar -xf "$LINUX_TAR" -C "$dir.part" --strip-components=1
    mv -T "$dir.part" "$dir"
}

fetch_linux() {
    local version dir
    version=$(linux_version)
    dir=$SP_SRC/linux-$version
    [[ $version == 6.1.* ]] || die "linux-source-6.1 is $version, not 6.1.*"
    note_version Linux "$version" "$SP_LINUX_TESTED"
    if [[ ! -d $dir ]]; then
        [[ -r $LINUX_TAR ]] || die "no $LINUX_TAR: reinstall linux-source-6.1"
        run_step "unpack Linux $version" "$SP_LOG/fetch-linux.log" \
            "is the disk full, or $LINUX_TAR damaged?" unpack_linux "$dir"
    fi
    printf '%s\n' "$dir"
}

# available_qemu - the version to take: what was tested if apt has it, else
# the newest 7.2
available_qemu() {
    local versions
    versions=$(apt-cache showsrc qemu |
        sed -n 's/^Version: 1:\(7\.2.*\)/\1/p' | sort -Vr)
    [[ -n $versions ]] || die "apt knows no source of QEMU 7.2:" \
        "run scripts/setup.sh"
    if grep -qxF "$SP_QEMU_TESTED" <<<"$versions"; then
        printf '%s\n' "$SP_QEMU_TESTED"
    else
        head -n 1 <<<"$versions"
    fi
}

# download_qemu VERSION - apt checks the hashes against the signed lists
download_qemu() {
    cd "$SP_SRC"
    apt-get -q -o APT::Sandbox::User=root source --download-only "qemu=1:$1"
}

unpack_qemu() {
    local version=$1 dir=$2
    rm -rf "$dir.part"
    dpkg-source --no-check -x "$SP_SRC/qemu_$version.dsc" "$dir.part"
    mv -T "$dir.part" "$dir"
}

fetch_qemu() {
    local version dir
    version=$(qemu_version)
    dir=$SP_SRC/qemu-$version
    if [[ ! -d $dir ]]; then
        version=$(available_qemu)
        dir=$SP_SRC/qemu-$version
        run_step "download QEMU $version" "$SP_LOG/fetch-qemu.log" \
            "is there a network? Run make again; apt continues where it was" \
            download_qemu "$version"
        run_step "unpack QEMU $version" "$SP_LOG/fetch-qemu-unpack.log" \
            "is the disk full?" unpack_qemu "$version" "$dir"
        printf '%s\n' "$version" >"$SP_STATE/qemu-source-version"
    fi
    note_version QEMU "$version" "$SP_QEMU_TESTED"
    printf '%s\n' "$dir"
}

mkdir -p "$SP_SRC" "$SP_STATE"
case ${1:-} in
linux | qemu) with_lock "fetch-$1" "fetch_$1" ;;
*) die "usage: fetch.sh linux|qemu" ;;
esac
