# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Helpers shared by the scripts of this folder; sourced, never run.
#
# Messages for the user go to stderr, so that a script's stdout can be its
# result (build.sh prints the folder of what it built).

set -euo pipefail
shopt -s inherit_errexit

# Debian's own programs only, one locale, and nothing of the caller's make:
# what is built must not depend on who calls.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C.UTF-8
export PATH LC_ALL
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL ARCH CROSS_COMPILE
unset CC CFLAGS CPPFLAGS LDFLAGS KCFLAGS KBUILD_OUTPUT

SP_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
SP_CACHE=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/samepage
SP_SRC=$SP_CACHE/src        # pristine upstream trees, never edited
SP_WORK=$SP_CACHE/work      # the same trees with our files laid over them
SP_BUILD=$SP_CACHE/build    # incremental build folders, one per variant
SP_OUT=$SP_CACHE/out        # finished artefacts, one folder per input hash
SP_LOG=$SP_CACHE/log
SP_STATE=$SP_CACHE/state    # remembered facts about this machine
SP_JOBS=$(nproc)

# What the patches were made for and everything was tested with.
SP_LINUX_TESTED=6.1.192-3
SP_QEMU_TESTED=7.2+dfsg-7+deb12u18
export SP_LINUX_TESTED SP_QEMU_TESTED

# say TEXT... - one line to the user
say() {
    printf 'samepage: %s\n' "$*" >&2
}

# die TEXT... - one line to the user and the end
die() {
    printf 'samepage: error: %s\n' "$*" >&2
    exit 1
}

# check_range NAME VALUE LOW HIGH - VALUE must be a decimal integer in range
check_range() {
    local name=$1 value=$2 low=$3 high=$4
    if [[ ! $value =~ ^[0-9]{1,9}$ ]] ||
        ((10#$value < low || 10#$value > high)); then
        die "$name=$value: must be an integer from $low to $high"
    fi
}

# check_engine VALUE - the two merge engines a kernel can be built with
check_engine() {
    case $1 in
    samepage | mainline) ;;
    *) die "ENGINE=$1: must be samepage or mainline" ;;
    esac
}

check_root() {
    [[ $(id -u) -eq 0 ]] ||
        die "must be run as root (packages are installed, and the bench" \
            "host reads this machine's files)"
}

# check_disk MIB - room for MIB more in the cache folder
check_disk() {
    local need=$1 dir=$SP_CACHE free
    while [[ ! -d $dir ]]; do
        dir=$(dirname "$dir")
    done
    free=$(df -Pm "$dir" | awk 'NR == 2 { print $4 }')
    ((free >= need)) ||
        die "not enough disk space: $need MiB needed in $SP_CACHE," \
            "$free MiB free"
}

# check_memory MIB WHAT - MIB must be available without swapping
check_memory() {
    local need=$1 what=$2 free
    free=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
    ((free >= need)) ||
        die "not enough memory for $what: $need MiB needed," \
            "$free MiB available"
}

# linux_version, qemu_version - Debian's version of the fetched source
linux_version() {
    dpkg-query -W -f '${Version}' linux-source-6.1 2>/dev/null ||
        die "package linux-source-6.1 is not installed: run scripts/setup.sh"
}

qemu_version() {
    if [[ -s $SP_STATE/qemu-source-version ]]; then
        cat "$SP_STATE/qemu-source-version"
    else
        printf '%s\n' "$SP_QEMU_TESTED"
    fi
}

# source_version linux|qemu
source_version() {
    case $1 in
    linux) linux_version ;;
    qemu) qemu_version ;;
    *) die "$1: must be linux or qemu" ;;
    esac
}

# overlay_files linux|qemu - the files of overlay.list for one tree, as paths
# inside the repository, sorted.  A listed path that does not exist is an
# error: the list is the contract between the trees.
overlay_files() {
    local tree=$1 path
    while read -r path; do
        case $tree:$path in
        *:'#'* | *:) continue ;;
        linux:kernel/*) ;;
        linux:* | qemu:kernel/*) continue ;;
        esac
        [[ -e $SP_TOP/$path ]] || die "overlay.list: $path does not exist"
        (cd "$SP_TOP" && find "$path" -type f ! -name '*.o' ! -name '.*' \
            ! -path '*/build/*')
    done <"$SP_TOP/overlay.list" | LC_ALL=C sort -u
}

# patch_files linux|qemu - our patches in the order in which they apply
patch_files() {
    (cd "$SP_TOP" && find "patches/$1" -name '*.patch' 2>/dev/null) |
        LC_ALL=C sort
}

# hash_files - reads names of repository files from stdin, prints one hash
# over names and contents
hash_files() {
    (cd "$SP_TOP" && xargs -r -d '\n' sha256sum --) | hash_text
}

# hash_text - the first 12 digits of stdin's hash
hash_text() {
    sha256sum | cut -c1-12
}

# with_lock NAME COMMAND... - one process at a time per NAME, also between
# checkouts that share the cache.  The lock dies with its holder.
with_lock() {
    local name=$1 fd
    shift
    mkdir -p "$SP_STATE"
    exec {fd}>"$SP_STATE/$name.lock"
    if ! flock -n "$fd"; then
        say "waiting for another process that uses $name"
        flock "$fd"
    fi
    "$@"
    exec {fd}>&-
}

# steps_done LOG - how far a build is, as make and ninja print it
steps_done() {
    local line
    line=$(tail -n 1 "$1" 2>/dev/null | tr -d '\r')
    if [[ $line =~ ^\[([0-9]+/[0-9]+)\] ]]; then
        printf '%s steps' "${BASH_REMATCH[1]}"
    else
        printf '%s steps' "$(wc -l <"$1")"
    fi
}

# watch_step PID NAME LOG - report progress until PID ends: a line that is
# rewritten every second on a terminal, else a plain line every 30 seconds
watch_step() {
    local pid=$1 name=$2 log=$3 t0=$SECONDS n=0 text
    while kill -0 "$pid" 2>/dev/null; do
        sleep 0.5
        n=$((n + 1))
        if [[ -t 2 ]]; then
            text="$name: $(steps_done "$log"), $((SECONDS - t0)) s"
            printf '\r\033[Ksamepage: %s' "$text" >&2
        elif ((n % 60 == 0)); then
            say "$name: $(steps_done "$log"), $((SECONDS - t0)) s"
        fi
    done
    [[ ! -t 2 ]] || printf '\r\033[K' >&2
}

# try_step NAME LOG COMMAND... - run one long step with its output in LOG and
# progress on stderr.  The step's status goes to step_rc, not to the caller:
# `try_step ... || ...` would switch off errexit inside the step.
try_step() {
    local name=$1 log=$2 pid t0=$SECONDS
    shift 2
    mkdir -p "$(dirname "$log")"
    say "$name ..."
    # In a process group of its own, so that an interrupted script takes the
    # whole step along: no compiler runs on and holds the locks.
    set -m
    "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    set +m
    # shellcheck disable=SC2064
    trap "kill -- -$pid 2>/dev/null; exit 130" INT TERM HUP
    watch_step "$pid" "$name" "$log"
    step_rc=0
    wait "$pid" || step_rc=$?
    trap - INT TERM HUP
    ((step_rc != 0)) || say "$name: done in $((SECONDS - t0)) s"
}

# run_step NAME LOG HINT COMMAND... - the same, but a failure names the step,
# shows the end of the log and says what to do; the script ends
run_step() {
    local name=$1 log=$2 hint=$3
    shift 3
    try_step "$name" "$log" "$@"
    if ((step_rc != 0)); then
        say "error: $name failed with status $step_rc; the last lines of $log:"
        tail -n 15 "$log" | sed 's/^/    /' >&2
        die "$name: $hint"
    fi
}

# publish DIR - make DIR.part the finished DIR in one step
publish() {
    : >"$1.part/.complete"
    rm -rf "$1"
    mv -T "$1.part" "$1"
}

# artefacts VARIANT [SUFFIX] - its folders in the cache, last used first
artefacts() {
    find "$SP_OUT" -maxdepth 1 -type d -regex ".*/$1-[0-9a-f]*${2:-}" \
        -printf '%T@ %p\n' | sort -rn | cut -d' ' -f2-
}

# prune VARIANT - keep the four last used artefact folders of a variant
prune() {
    artefacts "$1" | tail -n +5 | xargs -r -d '\n' rm -rf
}
