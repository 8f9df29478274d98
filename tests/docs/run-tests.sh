#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Builds QEMU's manual, with ours in it, and every warning is an error; prints
# TAP.  The developers' documents, which are not QEMU's, are built along.
#
# usage: run-tests.sh DIR
#
#   DIR    where to work; what was built stays there
#
# Exit status: 0 all passed, 1 a failure.

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../../scripts/lib.sh"
# shellcheck source=scripts/verdicts.sh
. "$SP_TOP/scripts/verdicts.sh"

TESTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
readonly TESTS
# All that QEMU's manual is made from
readonly INPUTS=(docs qapi qga/qapi-schema.json storage-daemon/qapi scripts/qapi
    scripts/kernel-doc include softmmu/qtest.c tests/qtest/libqos/qgraph.h
    tests/qtest/libqtest.h tests/libvirt backends/dbus-vmstate1.xml
    ui/dbus-display1.xml ui/icons qemu-options.hx qemu-img-cmds.hx
    hmp-commands.hx hmp-commands-info.hx VERSION)
readonly PAGES=(system/ksm interop/ksm interop/libvirt-ksm interop/qemu-qmp-ref
    devel/ksm devel/ksm-coverage devel/ksm-performance)

# copy_inputs WORK - so that nobody changes them meanwhile
copy_inputs() {
    (cd "$1" && cp -r --parents "${INPUTS[@]}" "$src/")
}

# fetch_inputs - of QEMU with our files laid over it
fetch_inputs() {
    local work
    work=$(SP_TREE_LOCKED=qemu "$SP_TOP/scripts/overlay.sh" qemu)
    copy_inputs "$work"
}

# add_devel - all of our developers' documents, in QEMU's list of such
add_devel() {
    local page
    cp "$SP_TOP"/docs/devel/* "$src/docs/devel/"
    for page in "${PAGES[@]}"; do
        [[ $page != devel/* ]] || printf '   %s\n' "${page#devel/}"
    done >>"$src/docs/devel/index-internals.rst"
}

# manual - what is wrong with it; nothing if it could be built
manual() {
    local log=$dir/sphinx.log
    CONFDIR=/etc/qemu sphinx-build -q -W --keep-going -c "$src/docs" \
        -d "$dir/doctrees" -b html "$src/docs" "$dir/html" >"$log" 2>&1 ||
        grep -v '^$' "$log" | head -n 20
}

# missing_pages - pages of ours that are not there
missing_pages() {
    local page
    for page in "${PAGES[@]}"; do
        [[ -s $dir/html/$page.html ]] || printf 'no %s.html\n' "$page"
    done
}

# missing_names - types, events and commands of ours that the reference has not
missing_names() {
    local name
    sed -nE "s/^\{ '(struct|enum|event|command)': '([^']*)'.*/\2/p" \
        "$SP_TOP"/qapi/ksm*.json | while read -r name; do
        grep -q ">$name<" "$dir/html/interop/qemu-qmp-ref.html" ||
            printf '%s is not in the reference\n' "$name"
    done
}

# broken FILE SCRIPT EXPECTED COMMAND... - with FILE edited by a sed script the
# command has to print EXPECTED; what is wrong if it does not
broken() {
    local file=$src/$1 script=$2 expected=$3 out
    shift 3
    cp "$file" "$dir/saved"
    sed -i "$script" "$file"
    if cmp -s "$file" "$dir/saved"; then
        printf 'the file was not changed'
        return
    fi
    out=$("$@" 2>&1) || true
    mv "$dir/saved" "$file"
    [[ $out == *"$expected"* ]] ||
        printf 'nothing says "%s" but: %s' "$expected" "$out"
}

(($# == 1)) || die "usage: run-tests.sh DIR"
rm -rf "$1"
mkdir -p "$1/src"
dir=$(cd "$1" && pwd -P)
src=$dir/src
if ! command -v sphinx-build >/dev/null; then
    printf '1..0 # SKIP sphinx-build is not installed (scripts/setup.sh docs)\n'
    exit 0
fi
with_lock tree-qemu fetch_inputs
add_devel

verdict "the manual has no warning" "$(manual)"
verdict "our pages are in it" "$(missing_pages)"
verdict "the reference has all of our schema" "$(missing_names)"
verdict "all of our schema is described" \
    "$("$TESTS/undocumented.py" "$src" 2>&1)"
verdict "a description of nothing is found" "$(broken qapi/ksm.json \
    's/^# @cow-breaks:/# @cow-brakes:/' cow-brakes manual)"
# shellcheck disable=SC2016 # markup, no commands
verdict "bad markup in the schema is found" "$(broken qapi/ksm.json \
    's/^# What the host.s administrator told/# :ref:`no-such-place` told/' \
    no-such-place manual)"
# shellcheck disable=SC2016
verdict "bad markup in our pages is found" "$(broken docs/interop/ksm.rst \
    's/:ref:`ksm`/:ref:`no-such-place`/' no-such-place manual)"
verdict "a member without a description is found" "$(broken qapi/ksm.json \
    '/^# @rmap-items:/,/^#$/d' 'KsmVmInfo: rmap-items' \
    "$TESTS/undocumented.py" "$src")"
verdict "so is a member of an object's options" "$(broken qapi/qom.json \
    '/^# @hot-percent:/,/^# @boost:/{/^# @boost:/!d}' \
    'KsmPolicyProperties: hot-percent' "$TESTS/undocumented.py" "$src")"
end_verdicts
