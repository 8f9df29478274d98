# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The knobs of the machine's merge engine, saved and put back; sourced.  KSM is
# the folder they are in.

KSM=${KSM:-/sys/kernel/mm/ksm}
# How long to wait for who has them
KNOBS_SECONDS=${KNOBS_SECONDS:-300}
# In the order in which they are put back: whether more is merged comes before
# what may not change while something is merged, and the advisor, which rules
# out other writers of pages_to_scan, comes last.
readonly KNOBS=(run merge_across_nodes sleep_millisecs pages_to_scan
    advisor_mode)
declare -A saved_knob=()

# knob NAME - its value; of a list such as "[none] scan-time" the chosen one
knob() {
    sed -E 's/.*\[(.*)\].*/\1/' "$KSM/$1"
}

# set_knob NAME VALUE - without a word if the kernel does not take it
set_knob() {
    { printf '%s\n' "$2" >"$KSM/$1"; } 2>/dev/null
}

# knobs_problem - why they cannot be used; nothing if they can
knobs_problem() {
    if [[ ! -e $KSM/run ]]; then
        printf 'the kernel has no %s' "$KSM"
    # To root every file looks writable, so write what is there anyway.
    elif ! set_knob sleep_millisecs "$(knob sleep_millisecs)"; then
        printf '%s cannot be written' "$KSM"
    fi
}

# knobs_lock - until this process and its children have ended; false if somebody
# else does not let go of them.  Two runs at a time would each save what the other
# one has set; ksm-test takes the same lock.
knobs_lock() {
    local fd
    exec {fd}<"$KSM"
    flock --timeout "$KNOBS_SECONDS" "$fd"
}

knobs_save() {
    local name
    for name in "${KNOBS[@]}"; do
        [[ ! -e $KSM/$name ]] || saved_knob[$name]=$(knob "$name")
    done
    saved_shared=$(knob pages_shared)
}

# knobs_prepare - nothing in the way of who wants to set them
knobs_prepare() {
    [[ ! -e $KSM/advisor_mode ]] || set_knob advisor_mode none
}

# put_back NAME - the engine may still be busy with who has just ended
put_back() {
    local try
    for try in {1..50}; do
        [[ $(knob "$1") != "${saved_knob[$1]}" ]] || return 0
        ! set_knob "$1" "${saved_knob[$1]}" || return 0
        sleep 0.1
    done
    printf 'cannot set %s back to %s (tried %d times)\n' "$KSM/$1" \
        "${saved_knob[$1]}" "$try" >&2
    return 1
}

# knobs_restore - what was saved; also nothing stays merged, provided that
# nothing was before, so that nobody else's memory is given back
knobs_restore() {
    local name rc=0
    ((${#saved_knob[@]})) || return 0
    if [[ $saved_shared == 0 && ${saved_knob[run]} != 1 ]]; then
        [[ $(knob pages_shared) == 0 ]] || set_knob run 2 || true
    fi
    for name in "${KNOBS[@]}"; do
        [[ -z ${saved_knob[$name]:-} ]] || put_back "$name" || rc=1
    done
    return "$rc"
}
