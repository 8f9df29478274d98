# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Domains under the libvirtds of the run, and what is known about their memory;
# sourced.  A check that does not hold says why and returns false.

readonly VIRSH_SECONDS=60

# on WHERE VIRSH_COMMAND... - WHERE is the name of a libvirtd
on() {
    local where=$1
    shift
    timeout "$VIRSH_SECONDS" virsh -q -c "$(uri "$where")" "$@"
}

uri() {
    printf 'qemu+unix:///system?socket=%s/%s/libvirt-sock' "$work" "$1"
}

here() {
    on here "$@"
}

# daemon WHERE - start it unless it runs
daemon() {
    local log=$work/$1.log
    [[ ! -d $work/$1 ]] || return 0
    unshare --mount "$TESTS/daemon.sh" "$work/$1" >"$log" 2>&1 &
    for _ in {1..100}; do
        ! on "$1" version >/dev/null 2>&1 || return 0
        kill -0 $! 2>/dev/null || break
        sleep 0.1
    done
    printf 'libvirtd (%s) does not start\n' "$1"
    cat "$log" "$work/$1/log/libvirtd.log"
    return 1
}

# example NAME [SED_EXPRESSION...] - the file of that example, ready to be used
# here: our QEMU is the emulator, and no KVM is needed
example() {
    local file=$work/$1.xml option=() expression
    for expression in "${@:2}"; do
        option+=(-e "$expression")
    done
    sed -e "s|/usr/bin/qemu-system-x86_64|$qemu/bin/qemu-system-x86_64|" \
        -e "s|<domain type='kvm'|<domain type='qemu'|" "${option[@]}" \
        "$TESTS/xml/$1.xml" >"$file"
    printf '%s' "$file"
}

# start NAME [SED_EXPRESSION...] - the domain of that example
start() {
    local file
    file=$(example "$@")
    here create --validate "$file"
}

# start_as POLICY NAME - with nosharepages if that is the POLICY
start_as() {
    local with=()
    [[ $1 != nosharepages ]] ||
        with=('/<vcpu>/i <memoryBacking><nosharepages/></memoryBacking>')
    start "$2" "${with[@]}"
}

# plug DOMAIN NAME - attach the device of that example
plug() {
    local file
    file=$(example "$2")
    here attach-device "$1" "$file" --live
}

# stop_all - no domain is left, with any libvirtd
stop_all() {
    local dir name
    for dir in "$work"/*/run; do
        dir=$(basename "$(dirname "$dir")")
        for name in $(on "$dir" list --name); do
            on "$dir" destroy "$name"
        done
    done
}

# qmp WHERE DOMAIN COMMAND [ARGUMENTS] - what it returns
qmp() {
    on "$1" qemu-monitor-command "$2" --return-value \
        "{ \"execute\": \"$3\", \"arguments\": ${4:-{\}} }"
}

# stats WHERE DOMAIN - with what the kernel says of each RAM block
stats() {
    qmp "$1" "$2" query-ksm-stats '{ "verify": true }'
}

# holds WHERE DOMAIN WHAT FILTER - of query-ksm-stats, by jq
holds() {
    local text
    text=$(stats "$1" "$2")
    jq -e "$4" <<<"$text" >/dev/null || {
        printf '%s, %s: not so: %s\n' "$1" "$2" "$3"
        jq -c '.host, .vm, .blocks[]' <<<"$text"
        return 1
    }
}

# mappings WHERE DOMAIN - "KIB yes|no" of each mapping of its QEMU: may it be
# merged?  From the kernel, without QEMU being asked
mappings() {
    local pid
    pid=$(cat "$work/$1/run/qemu/$2.pid")
    awk '/^Size:/ { size = $2 }
        /^VmFlags:/ { print size, / mg( |$)/ ? "yes" : "no" }' \
        "/proc/$pid/smaps"
}

# block_sizes WHERE DOMAIN - "KIB NAME" of each RAM block, as it is mapped
block_sizes() {
    local field
    on "$1" qemu-monitor-command "$2" --hmp 'info ramblock' | tr -d '\r' |
        while read -ra field; do
            [[ ${field[-1]:-} != 0x* ]] ||
                printf '%d %s\n' $((field[-1] / 1024)) "${field[0]}"
        done
}

# blocks_are WHERE DOMAIN POLICY - every block is as the POLICY mergeable or
# nosharepages says, to QEMU and to the kernel
blocks_are() {
    local size name map
    map=$(mappings "$1" "$2")
    if [[ $3 == nosharepages ]]; then
        holds "$1" "$2" "no block is offered" '
            .blocks | length > 0 and all((.requested or .actual | not) and
                .verified and ."mergeable-bytes" == 0 and
                .reason == "disabled-by-machine")'
        ! grep -m 1 yes <<<"$map" ||
            { echo "the kernel has that many KiB as mergeable"; return 1; }
        return 0
    fi
    holds "$1" "$2" "every block is mergeable" '
        .blocks | length > 0 and all(.requested and .actual and .verified and
            .reason == "none" and ."mergeable-bytes" == .size)'
    while read -r size name; do
        grep -qx "$size yes" <<<"$map" ||
            { echo "no mapping of $size KiB is mergeable: $name"; return 1; }
    done < <(block_sizes "$1" "$2")
}

# has_blocks WHERE DOMAIN MEMDEV... - these memory backends are there
has_blocks() {
    local memdev
    for memdev in "${@:3}"; do
        holds "$1" "$2" "has $memdev" \
            "any(.blocks[]; .memdev == \"$memdev\")"
    done
}
