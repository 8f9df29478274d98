# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The tests, each a function that prints what is wrong and returns false;
# sourced.  A line of CASES is the function with its arguments, and the name.

readonly CASES='
case_policy mergeable       | mergeable.xml: every RAM block may be merged
case_policy nosharepages    | nosharepages.xml: no RAM block may be merged
case_shared                 | shared.xml: guest RAM is reported as shared
case_report                 | query-ksm-stats tells of the engine and its knobs
case_tune_read              | node-memory-tune reads the knobs and counters
case_tune_speed             | node-memory-tune sets how fast is scanned
case_tune_nodes             | node-memory-tune sets merge_across_nodes
case_tune_bad               | node-memory-tune: what the kernel refuses is an error
case_merged                 | memory is merged but that of nosharepages
case_plugged mergeable      | hotplug.xml: added memory may be merged
case_plugged nosharepages   | hotplug.xml with nosharepages: added memory may not
case_saved mergeable        | save and restore: may be merged as before
case_saved nosharepages     | save and restore with nosharepages: may not, as before
case_migrated mergeable     | migration: may be merged as before
case_migrated nosharepages  | migration with nosharepages: may not, as before
case_debian                 | migration to the QEMU of Debian, and back to ours
case_object                 | policy.xml: ksm-policy is set, and steered by QMP
case_object_kept            | policy.xml: save and migration keep ksm-policy
'

readonly SKIPPED=77

# skip TEXT... - with that reason
skip() {
    printf '%s\n' "$*"
    exit $SKIPPED
}

need_knobs() {
    local problem
    problem=$(knobs_problem)
    [[ -z $problem ]] || skip "$problem"
}

# equal WHAT FOUND EXPECTED
equal() {
    [[ $2 == "$3" ]] ||
        { printf '%s is "%s", expected "%s"\n' "$@"; return 1; }
}

# refused COMMAND... - it has to fail
refused() {
    ! "$@" || { printf 'no error: %s\n' "$*"; return 1; }
}

# eventually SECONDS COMMAND... - until it is true, quietly until then
eventually() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null; do
        ((SECONDS < end)) || { "$@"; return 1; }
        sleep 0.2
    done
}

case_policy() {
    start "$1"
    blocks_are here "$1" "$1"
}

# All but the memory that is shared, so also what libvirt knows nothing of
case_shared() {
    start shared
    holds here shared "guest RAM, and it only, is shared" '
        .blocks | any(.reason == "shared-mapping") and
            all(.requested and (.actual == (.reason == "none")) and
                .actual == ((.memdev // "") != "pc.ram"))'
    refused grep -x "$((64 * 1024)) yes" <(mappings here shared)
}

# The engine's name is the first word of its file, which mainline's has not.
case_report() {
    local engine=mainline
    [[ -e $KSM/run ]] || skip "$(knobs_problem)"
    [[ ! -e $KSM/engine ]] || read -r engine _ <"$KSM/engine"
    start mergeable
    holds here mergeable "the engine is $engine" \
        ".host.available and .host.\"engine-name\" == \"$engine\""
    holds here mergeable "the knobs are the kernel's" \
        ".host.counters | .\"pages-to-scan\" == $(knob pages_to_scan) and
            .\"sleep-millisecs\" == $(knob sleep_millisecs)"
}

# tuned NAME - as virsh shows it
tuned() {
    here node-memory-tune | awk -v name="shm_$1" '$1 == name { print $2 }'
}

# same_as_file NAME...
same_as_file() {
    local name
    for name in "$@"; do
        equal "shm_$name" "$(tuned "$name")" "$(knob "$name")"
    done
}

# Where the engine runs, the counters move between two looks.
case_tune_read() {
    local name
    [[ -e $KSM/run ]] || skip "$(knobs_problem)"
    for name in pages_to_scan sleep_millisecs merge_across_nodes pages_shared \
        pages_sharing pages_unshared pages_volatile full_scans; do
        [[ -e $KSM/$name ]] || continue
        eventually 10 same_as_file "$name"
    done
}

case_tune_speed() {
    local scan sleep
    need_knobs
    scan=$(($(knob pages_to_scan) + 17)) sleep=$(($(knob sleep_millisecs) + 3))
    here node-memory-tune --shm-pages-to-scan $scan \
        --shm-sleep-millisecs $sleep
    equal pages_to_scan "$(knob pages_to_scan)" $scan
    equal sleep_millisecs "$(knob sleep_millisecs)" $sleep
    same_as_file pages_to_scan sleep_millisecs
}

case_tune_nodes() {
    local other
    need_knobs
    [[ -e $KSM/merge_across_nodes ]] || skip "the kernel knows no NUMA nodes"
    [[ $(knob pages_shared) == 0 ]] ||
        skip "it cannot be changed while memory is merged: somebody's is"
    other=$((1 - $(knob merge_across_nodes)))
    here node-memory-tune --shm-merge-across-nodes $other
    equal merge_across_nodes "$(knob merge_across_nodes)" $other
    same_as_file merge_across_nodes
    here node-memory-tune --shm-merge-across-nodes $((1 - other))
    equal merge_across_nodes "$(knob merge_across_nodes)" $((1 - other))
}

# settings - the knobs, without the counters
settings() {
    here node-memory-tune | grep -E 'to_scan|sleep|across'
}

case_tune_bad() {
    local before
    need_knobs
    before=$(settings)
    refused here node-memory-tune --shm-merge-across-nodes 7
    refused here node-memory-tune --shm-sleep-millisecs -1
    refused here node-memory-tune --shm-pages-to-scan many
    equal "what is set" "$(settings)" "$before"
}

# start_filled NAME AS FILE - that example under another name, with what is in
# FILE in its memory
start_filled() {
    start "$1" "s|<name>.*</name>|<name>$2</name>|" \
        "s|<domain |&xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0' |" \
        "s|^</domain>|<qemu:commandline><qemu:arg value='-device'/>\
<qemu:arg value='loader,file=$3,addr=0x1000000,force-raw=on'/>\
</qemu:commandline>&|"
}

# merged DOMAIN FILTER - bytes of its guest RAM that are merged
merged() {
    holds here "$1" "of guest RAM, merged bytes $2" \
        ".blocks[] | select(.memdev == \"pc.ram\") | .\"merged-bytes\" $2"
}

# Three guests have the same random 16 MiB in their memory.
case_merged() {
    local name
    need_knobs
    head -c 16M /dev/urandom >"$work/fill"
    for name in one two; do
        start_filled mergeable $name "$work/fill"
    done
    start_filled nosharepages three "$work/fill"
    holds here one "the kernel tells what is merged of a block" \
        '.blocks[0] | has("merged-bytes")'
    here node-memory-tune --shm-pages-to-scan 5000 --shm-sleep-millisecs 5
    set_knob run 1
    for name in one two; do
        eventually 60 merged $name '>= 15 * 1048576'
    done
    merged three '== 0'
    (($(tuned pages_sharing) * 4096 >= 15 * 1048576)) ||
        { echo "node-memory-tune shows too little merged"; return 1; }
}

# start_grown POLICY - hotplug.xml with two devices that bring memory
start_grown() {
    start_as "$1" hotplug
    plug hotplug dimm
    plug hotplug virtio-mem
}

# grown_is WHERE POLICY
grown_is() {
    has_blocks "$1" hotplug ram-node0 memdimm0 memvirtiomem0
    blocks_are "$1" hotplug "$2"
}

case_plugged() {
    start_as "$1" hotplug
    blocks_are here hotplug "$1"
    plug hotplug dimm
    has_blocks here hotplug memdimm0
    blocks_are here hotplug "$1"
    plug hotplug virtio-mem
    grown_is here "$1"
}

# save_and_restore DOMAIN
save_and_restore() {
    here save "$1" "$work/$1.saved"
    refused here domstate "$1"
    here restore "$work/$1.saved"
    rm "$work/$1.saved"
    equal state "$(here domstate "$1")" running
}

case_saved() {
    start_grown "$1"
    save_and_restore hotplug
    grown_is here "$1"
}

# migrate DOMAIN FROM TO [OPTION...] - from one libvirtd to another
migrate() {
    local domain=$1 from=$2 to=$3
    daemon "$to"
    on "$from" migrate --live --listen-address 127.0.0.1 "${@:4}" \
        "$domain" "$(uri "$to")" tcp://127.0.0.1
    refused on "$from" domstate "$domain"
    equal state "$(on "$to" domstate "$domain")" running
}

case_migrated() {
    start_grown "$1"
    migrate hotplug here there
    grown_is there "$1"
}

# under WHERE DOMAIN EMULATOR - a file with its XML, for another QEMU
under() {
    on "$1" dumpxml --migratable "$2" |
        sed "s|<emulator>.*</emulator>|<emulator>$3</emulator>|" \
            >"$work/under.xml"
    printf '%s' "$work/under.xml"
}

case_debian() {
    local theirs=/usr/bin/qemu-system-x86_64
    [[ -x $theirs ]] || skip "$theirs is not installed"
    start mergeable
    migrate mergeable here there --xml "$(under here mergeable "$theirs")"
    refused stats there mergeable
    migrate mergeable there here \
        --xml "$(under there mergeable "$qemu/bin/qemu-system-x86_64")"
    blocks_are here mergeable mergeable
}

need_policy() {
    "$qemu/bin/qemu-system-x86_64" -object help | grep -w ksm-policy >/dev/null ||
        skip "this QEMU has no ksm-policy"
}

# mode WHERE - of the policy object
mode() {
    qmp "$1" policy qom-get '{ "path": "/objects/policy0", "property": "mode" }' |
        jq -r .
}

# set_mode MODE
set_mode() {
    qmp here policy qom-set "{ \"path\": \"/objects/policy0\",
        \"property\": \"mode\", \"value\": \"$1\" }"
}

# ram_is WHERE yes|no - may guest RAM be merged, to QEMU and to the kernel?
ram_is() {
    local may=true
    [[ $2 == yes ]] || may=false
    holds "$1" policy "guest RAM is mergeable: $2" \
        ".blocks[] | select(.memdev == \"pc.ram\") | .actual == $may"
    equal "mergeable to the kernel" \
        "$(mappings "$1" policy | sed -n "s/^$((64 * 1024)) //p")" "$2"
}

case_object() {
    need_policy
    start policy
    equal mode "$(mode here)" auto
    holds here policy "it is reported" '.vm.policy.id == "policy0"'
    set_mode on
    ram_is here yes
    set_mode off
    ram_is here no
    refused set_mode sometimes
    equal mode "$(mode here)" off
}

# What was set at run time is not part of the XML, nor of a saved guest.
case_object_kept() {
    need_policy
    start policy 's/mode=auto[^/]*/mode=off'\''/'
    ram_is here no
    save_and_restore policy
    equal mode "$(mode here)" off
    ram_is here no
    migrate policy here there
    equal mode "$(mode there)" off
    ram_is there no
}
