#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Builds QEMU's manual, with ours in it, and every warning is an error; prints
# TAP.  The developers' documents, which are not QEMU's, are built along.
#
# usage: run-tests.sh DIR
#
#   DIR    where the manual goes, as HTML
#
# It is built in the cache, anew if anything that it is made from has changed.
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

# In the cache; what was built there is right if it has the file "key"
readonly PLACE=$SP_BUILD/docs
# Where it is built from what is wrong
readonly BROKEN=$PLACE/broken

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

# new_inputs - all of them in $src, and their sum in $key
new_inputs() {
    src=$PLACE.new
    rm -rf "$src"
    mkdir -p "$src"
    with_lock tree-qemu fetch_inputs
    add_devel
    key=$({
        sphinx-build --version
        cd "$src" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
    } | sha256sum)
}

# prepare - what was built of the same inputs, or nothing; nobody has it until finish
prepare() {
    new_inputs
    src=$PLACE/src
    if [[ $(cat "$PLACE/key" 2>/dev/null) != "$key" ]]; then
        rm -rf "$PLACE"
        mkdir "$PLACE"
        mv "$PLACE.new" "$src"
    fi
    rm -rf "$PLACE.new" "$PLACE/key"
}

# finish - for the next run
finish() {
    rm -rf "$BROKEN"
    ((failures)) || printf '%s\n' "$key" >"$PLACE/key"
}

# manual DIR - what is wrong with it; nothing if it could be built
manual() {
    local dir=$1 log=$PLACE/sphinx.log
    CONFDIR=/etc/qemu sphinx-build -q -W --keep-going -c "$src/docs" \
        -d "$dir/doctrees" -b html "$src/docs" "$dir/html" >"$log" 2>&1 ||
        grep -v '^$' "$log" | head -n 20
}

# missing_pages - pages of ours that are not there
missing_pages() {
    local page
    for page in "${PAGES[@]}"; do
        [[ -s $PLACE/html/$page.html ]] || printf 'no %s.html\n' "$page"
    done
}

# missing_names - types, events and commands of ours that the reference has not
missing_names() {
    local name
    sed -nE "s/^\{ '(struct|enum|event|command)': '([^']*)'.*/\2/p" \
        "$SP_TOP"/qapi/ksm*.json | while read -r name; do
        grep -q ">$name<" "$PLACE/html/interop/qemu-qmp-ref.html" ||
            printf '%s is not in the reference\n' "$name"
    done
}

# broken FILE SCRIPT EXPECTED COMMAND... - with FILE edited by a sed script the
# command has to print EXPECTED; what is wrong if it does not
broken() {
    local file=$src/$1 script=$2 expected=$3 out saved=$BROKEN/${1##*/}
    shift 3
    # With its time, by which Sphinx knows what it has read.
    cp -p "$file" "$saved"
    sed -i "$script" "$file"
    if cmp -s "$file" "$saved"; then
        printf 'the file was not changed'
        return
    fi
    out=$("$@" 2>&1) || true
    mv "$saved" "$file"
    [[ $out == *"$expected"* ]] ||
        printf 'nothing says "%s" but: %s' "$expected" "$out"
}

# with_bad_page - what is wrong with a manual that has one, but for that
with_bad_page() {
    local why
    # shellcheck disable=SC2016 # markup, no commands
    why=$(broken docs/interop/ksm.rst 's/:ref:`ksm`/:ref:`no-such-page`/' \
        no-such-page manual "$BROKEN")
    if [[ -n $why ]]; then
        printf '%s\n' "$why"
    else
        grep -v no-such-page "$PLACE/sphinx.log"
    fi
}

self_tests() {
    rm -rf "$BROKEN"
    mkdir "$BROKEN"
    cp -rp "$PLACE/doctrees" "$PLACE/html" "$BROKEN/"
    verdict "a description of nothing is found" "$(broken qapi/ksm.json \
        's/^# @cow-breaks:/# @cow-brakes:/' cow-brakes "$TESTS/undocumented.py" "$src")"
    # shellcheck disable=SC2016
    verdict "bad markup in the schema and in our pages is found" "$(broken \
        qapi/ksm.json 's/^# What the host.s administrator told/# :ref:`no-such-place` told/' \
        no-such-place with_bad_page)"
    verdict "a member without a description is found" "$(broken qapi/ksm.json \
        '/^# @rmap-items:/,/^#$/d' 'KsmVmInfo: rmap-items' \
        "$TESTS/undocumented.py" "$src")"
    verdict "so is a member of an object's options" "$(broken qapi/qom.json \
        '/^# @hot-percent:/,/^# @boost:/{/^# @boost:/!d}' \
        'KsmPolicyProperties: hot-percent' "$TESTS/undocumented.py" "$src")"
}

# run_tests DIR
run_tests() {
    local src key
    prepare
    verdict "the manual has no warning" "$(manual "$PLACE")"
    verdict "our pages are in it" "$(missing_pages)"
    verdict "the reference has all of our schema" "$(missing_names)"
    verdict "all of our schema is described" \
        "$("$TESTS/undocumented.py" "$src" 2>&1)"
    rm -rf "$1"
    mkdir -p "$(dirname "$1")"
    cp -r "$PLACE/html" "$1"
    ((failures)) || self_tests
    finish
    end_verdicts
}

(($# == 1)) || die "usage: run-tests.sh DIR"
if ! command -v sphinx-build >/dev/null; then
    printf '1..0 # SKIP sphinx-build is not installed (scripts/setup.sh docs)\n'
    exit 0
fi
with_lock build-docs run_tests "$1"
