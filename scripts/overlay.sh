#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Makes or updates the work tree of one upstream source: the pristine tree,
# with our patches applied and the files of overlay.list copied in.
#
# usage: overlay.sh linux|qemu     prints the work tree
#
# Only files whose content really changes are written, so that make and ninja
# rebuild only what depends on them; files that are no longer ours go back to
# what upstream has.  The work tree never differs from "pristine + ours", no
# matter which checkout updated it last.  Callers that build in it hold the
# lock of the tree (see with_lock) for the whole build.

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

# patch_targets PATCH - the files that a patch touches
patch_targets() {
    sed -n -E 's#^(---|\+\+\+) [ab]/([^\t]+).*#\2#p' "$SP_TOP/$1"
}

# stage_patches TREE PRISTINE STAGE - the patched files, made in STAGE
stage_patches() {
    local tree=$1 pristine=$2 stage=$3 patch target
    while read -r patch; do
        while read -r target; do
            if [[ ! -e $stage/$target && -e $pristine/$target ]]; then
                mkdir -p "$stage/$(dirname "$target")"
                cp "$pristine/$target" "$stage/$target"
            fi
            printf '%s\n' "$target" >>"$stage.names"
        done < <(patch_targets "$patch")
        patch -d "$stage" -p1 --fuzz=0 --batch --forward --quiet \
            --no-backup-if-mismatch <"$SP_TOP/$patch" >&2 ||
            die "$patch does not apply to $(basename "$pristine"):" \
                "refresh it for this version"
    done < <(patch_files "$tree")
}

# stage_copies TREE PRISTINE STAGE - our own files, added to STAGE
stage_copies() {
    local tree=$1 stage=$3 files path target
    files=$(overlay_files "$tree")
    while read -r path; do
        target=${path#kernel/}
        [[ $tree == linux ]] || target=$path
        mkdir -p "$stage/$(dirname "$target")"
        cp "$SP_TOP/$path" "$stage/$target"
        printf '%s\n' "$target" >>"$stage.names"
    done <<<"$files"
}

# put SOURCE WORK - make WORK equal to SOURCE, or absent if SOURCE is
put() {
    if [[ ! -e $1 ]]; then
        rm -f "$2"
    elif ! cmp -s "$1" "$2"; then
        mkdir -p "$(dirname "$2")"
        cp "$1" "$2.new.$$"
        mv "$2.new.$$" "$2"
    fi
}

# update WORK PRISTINE STAGE MANIFEST - the manifest lists what is ours in the
# work tree; it is extended before and cut after the change, so that an
# interrupted update is mended by the next one
update() {
    local work=$1 pristine=$2 stage=$3 manifest=$4 target
    LC_ALL=C sort -u "$stage.names" -o "$stage.names"
    touch "$manifest"
    LC_ALL=C sort -u "$manifest" "$stage.names" >"$manifest.new"
    mv "$manifest.new" "$manifest"
    while read -r target; do
        if grep -qxF -- "$target" "$stage.names"; then
            put "$stage/$target" "$work/$target"
        else
            put "$pristine/$target" "$work/$target"
        fi
    done <"$manifest"
    cp "$stage.names" "$manifest"
}

# drop_other_versions TREE NAME - what an upgrade of the machine left behind
drop_other_versions() {
    find "$SP_SRC" "$SP_WORK" -maxdepth 1 -name "$1-*" ! -name "$2" \
        ! -name "$2.manifest" -exec rm -rf {} +
}

overlay() {
    local tree=$1 pristine work stage
    pristine=$("$SP_TOP/scripts/fetch.sh" "$tree")
    work=$SP_WORK/$(basename "$pristine")
    if [[ ! -d $work ]]; then
        mkdir -p "$SP_WORK"
        drop_other_versions "$tree" "$(basename "$pristine")"
        run_step "copy $tree source" "$SP_LOG/overlay-$tree.log" \
            "is the disk full?" cp -a "$pristine" "$work.part"
        mv -T "$work.part" "$work"
    fi
    stage=$(mktemp -d "${TMPDIR:-/tmp}/samepage-overlay.XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf '$stage' '$stage.names'" EXIT
    : >"$stage.names"
    stage_patches "$tree" "$pristine" "$stage"
    stage_copies "$tree" "$pristine" "$stage"
    update "$work" "$pristine" "$stage" "$work.manifest"
    printf '%s\n' "$work"
}

case ${1:-} in
linux | qemu)
    # build.sh holds the lock already and says so
    if [[ ${SP_TREE_LOCKED:-} == "$1" ]]; then
        overlay "$1"
    else
        with_lock "tree-$1" overlay "$1"
    fi
    ;;
*) die "usage: overlay.sh linux|qemu" ;;
esac
