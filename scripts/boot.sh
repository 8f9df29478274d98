#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Boots the bench host and runs one command in it.
#
# usage: boot.sh --kernel DIR_OR_BZIMAGE --results DIR [OPTION...] -- COMMAND [ARG...]
#        boot.sh --kernel DIR_OR_BZIMAGE --results DIR [OPTION...] --shell
#
#   --kernel PATH     a bzImage, or a folder that has one
#   --results DIR     folder of the machine, writable as /run/results inside
#   --mem MIB         memory of the bench host, 256..65536 (default 1024)
#   --cpus N          1..16 (default 2)
#   --append "K=V .." more kernel parameters, such as numa=fake=2
#   --timeout S       1..100000 seconds for the whole run (default 600)
#   --accel WHAT      auto (default), tcg, kvm or icount; also SAMEPAGE_ACCEL.
#                     auto takes KVM only after a probe has seen our kernel boot
#                     under it and run a KVM guest of its own.  icount is TCG
#                     whose clock counts instructions, 1 ns each, and jumps
#                     while all CPUs sleep.
#   --qemu PATH       the program that runs the bench host (default ours: that of
#                     Debian loses flags of emulated SVM when several CPUs are busy,
#                     see patches/qemu/15-tcg-ignne.patch); also SAMEPAGE_HOST_QEMU
#   --plugin ARGS     load a plugin of TCG: FILE[,NAME=VALUE]...
#   --keep DIR        one more folder of the machine that must stay visible
#                     although it lies in /tmp, /run or /var/tmp
#   --races FILE      of the data races that the kernel reports, only those are
#                     complaints in which a function has a part that FILE names
#   --shell           an interactive shell instead of a command; needs a tty
#
# Inside: the machine's own root read-only at the same paths (the checkout and
# the cache folder included, wherever they are); tmpfs on /run /tmp /var/tmp
# /dev/shm; proc, sysfs, debugfs, tracefs, cgroup2, devpts; loopback up;
# HOME=/tmp, working folder /tmp, user root, no network, no stdin.  If stdout
# is a terminal, SAMEPAGE_TTY=1, TERM, COLUMNS and LINES tell it.
#
# COMMAND's stdout and stderr are streamed to stdout.  Exit status: that of
# COMMAND; 97 the bench host died; 98 time ran out; 99 the kernel's log
# (DIR/console.log) has a warning or worse, whose lines are printed.

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

readonly RC_DIED=97 RC_TIMEOUT=98 RC_KERNEL=99
readonly PROBE_SECONDS=25

# What counts as a complaint of the kernel in its log
readonly COMPLAINT='WARNING: |BUG: |kernel BUG at|Oops|KASAN: |UBSAN: |'\
'Kernel panic|general protection fault|Bad page |Bad rss-counter|'\
'blocked for more than [0-9]+ seconds|detected (stalls|expedited)|'\
'self-detected stall|refcount_t: |possible recursive locking|'\
'list_(add|del) corruption|'\
'bench host: '

kernel='' results='' mem=1024 cpus=2 append='' timeout=600 shell=0
accel=${SAMEPAGE_ACCEL:-auto} races=''
qemu=${SAMEPAGE_HOST_QEMU-} firmware=() plugin=()
command=() keep=()

usage() {
    sed -n '/^# usage/,/^$/s/^# \{0,1\}//p' "$0"
}

parse_args() {
    while (($#)); do
        case $1 in
        --help) usage; exit 0 ;;
        --shell) shell=1; shift; continue ;;
        --) shift; command=("$@"); break ;;
        esac
        (($# >= 2)) || die "boot.sh: $1 needs a value (see --help)"
        case $1 in
        --kernel) kernel=$2 ;;
        --results) results=$2 ;;
        --mem) mem=$2 ;;
        --cpus) cpus=$2 ;;
        --append) append=$2 ;;
        --races) races=$2 ;;
        --timeout) timeout=$2 ;;
        --accel) accel=$2 ;;
        --qemu) qemu=$2 ;;
        --plugin) plugin=(-plugin "$2") ;;
        --keep) keep+=("$2") ;;
        *) die "boot.sh: unknown option $1 (see --help)" ;;
        esac
        shift 2
    done
}

check_args() {
    [[ -n $kernel && -n $results ]] ||
        die "boot.sh: --kernel and --results are needed (see --help)"
    [[ ! -d $kernel ]] || kernel=$kernel/bzImage
    [[ -r $kernel ]] || die "boot.sh: no kernel at $kernel"
    ((shell || ${#command[@]})) || die "boot.sh: no command given (see --help)"
    ((!shell)) || [[ -t 0 ]] || die "boot.sh: --shell needs a terminal"
    check_range --mem "$mem" 256 65536
    check_range --cpus "$cpus" 1 16
    check_range --timeout "$timeout" 1 100000
    case $accel in
    auto | tcg | kvm | icount) ;;
    *) die "accel=$accel: must be auto, tcg, kvm or icount" ;;
    esac
    [[ -z $races || -r $races ]] || die "--races $races: cannot be read"
    [[ -z $qemu || -x $qemu ]] || die "--qemu (SAMEPAGE_HOST_QEMU) $qemu: is no program"
    [[ -x /bin/busybox ]] || die "boot.sh: no /bin/busybox: run scripts/setup.sh"
    check_memory $((mem + 256)) "the bench host"
    mkdir -p "$results"
    results=$(cd "$results" && pwd -P)
}

# make_initramfs FILE - busybox and the two programs of bench/
make_initramfs() {
    local root=$control/initramfs
    mkdir -p "$root/bin" "$root/dev"
    cp /bin/busybox "$root/bin/busybox"
    cp "$SP_TOP/scripts/bench/init" "$SP_TOP/scripts/bench/session" "$root/"
    chmod 755 "$root/init"
    (cd "$root" && find . | cpio -o -H newc --quiet) >"$1"
    rm -rf "$root"
}

# make_command - what the session runs, quoted for sh
make_command() {
    local tty=
    # Asked here: inside the braces stdout is the file.
    [[ ! -t 1 ]] || tty=1
    {
        if [[ $tty ]]; then
            printf 'export SAMEPAGE_TTY=1 TERM=%q COLUMNS=%q LINES=%q\n' \
                "${TERM:-linux}" "$(tput cols 2>/dev/null || echo 80)" \
                "$(tput lines 2>/dev/null || echo 24)"
        fi
        if ((shell)); then
            : >"$control/shell"
            printf 'exec /bin/bash -i\n'
        else
            # sh knows no $'..' quoting, which %q may print
            printf 'exec'
            printf " '%s'" "${command[@]//\'/\'\\\'\'}"
            printf '\n'
        fi
    } >"$control/command"
    printf '%s\n' "$SP_TOP" "$SP_CACHE" "$(dirname "$kernel")" "${keep[@]}" |
        sort -u >"$control/keep"
}

# qemu_args ACCEL - the command line of the bench host, in array `args`
qemu_args() {
    local cpu=max options=tcg,thread=multi
    case $1 in
    # A KVM that emulates MSRs of its own trips over this one.
    kvm) cpu=host,-arch-capabilities; options=kvm ;;
    icount) options=tcg,thread=single ;;
    esac
    args=("$qemu" "${firmware[@]}" -nodefaults -no-user-config -display none
        -no-reboot -machine q35 -accel "$options" -cpu "$cpu" -smp "$cpus" -m "$mem"
        -kernel "$kernel" -initrd "$control/initramfs.cpio"
        -append "console=ttyS0 loglevel=6 panic=-1 oops=panic $append"
        -serial "file:$results/console.log"
        -virtfs "local,path=/,mount_tag=machine,security_model=none,readonly=on,multidevs=remap"
        -virtfs "local,path=$results,mount_tag=results,security_model=none,multidevs=remap"
        -virtfs "local,path=$control,mount_tag=control,security_model=none,multidevs=remap"
        -device virtio-rng-pci -device virtio-serial-pci "${plugin[@]}")
    [[ $1 != icount ]] || args+=(-icount "shift=0,sleep=off")
    if ((shell)); then
        args+=(-chardev "stdio,id=tty,signal=off" -device "virtconsole,chardev=tty")
    else
        args+=(-chardev "file,id=out,path=$control/out"
            -device "virtserialport,chardev=out,name=samepage.out")
    fi
}

# run_qemu ACCEL SECONDS - boot once; output goes to stdout; returns 0,
# 124 when time ran out, or QEMU's own status
run_qemu() {
    local rc=0 reader='' qpid
    rm -f "$results/console.log" "$control/status"
    qemu_args "$1"
    if ((shell)); then
        timeout --foreground -k 5 "$2" "${args[@]}" || rc=$?
        return $rc
    fi
    [[ -p $control/out ]] || mkfifo "$control/out"
    cat "$control/out" &
    reader=$!
    timeout -k 5 "$2" "${args[@]}" </dev/null 2>"$results/qemu.log" &
    qpid=$!
    # shellcheck disable=SC2064
    trap "kill $qpid 2>/dev/null; exit 130" INT TERM HUP
    wait "$qpid" || rc=$?
    trap - INT TERM HUP
    # If QEMU died before it opened the pipe, its reader still waits.
    : <>"$control/out"
    wait "$reader" || true
    return $rc
}

# kvm_boots - whether this machine's KVM runs our kernel and lets it run a KVM
# guest in turn.  A device node proves neither, so both are tried, once per
# kernel configuration, QEMU and machine; the answer is remembered.
kvm_boots() {
    local key answer rc=0 saved=("$mem" "$cpus" "$append" "$results")
    [[ -c /dev/kvm && -r /dev/kvm && -w /dev/kvm ]] || return 1
    key=$({
        uname -r
        sha256sum <"$SP_TOP/scripts/kconfig/base.config"
        "$qemu" --version
        grep -m 1 'model name' /proc/cpuinfo
        grep -ow -m 1 -E 'svm|vmx' /proc/cpuinfo || true
    } | hash_text)
    answer=$SP_STATE/kvm-probe-$key
    if [[ ! -s $answer ]]; then
        mkdir -p "$SP_STATE"
        say "trying whether this machine's KVM can run the bench host" \
            "(at most $PROBE_SECONDS s, once)"
        probe kvm || rc=$?
        ((rc == 0)) && printf 'yes\n' >"$answer" || printf 'no\n' >"$answer"
        mem=${saved[0]} cpus=${saved[1]} append=${saved[2]} results=${saved[3]}
        say "KVM of this machine: $(cat "$answer") (remembered in $answer)"
    fi
    [[ $(cat "$answer") == yes ]]
}

# probe ACCEL - boot, and boot once more inside under KVM
probe() {
    local inner=("$qemu" "${firmware[@]}" -nodefaults -no-user-config
        -display none -no-reboot -machine q35 -accel kvm -cpu host -m 128 -kernel "$kernel"
        -serial stdio -append "console=ttyS0 quiet panic=-1 samepage.probe")
    mem=512 cpus=1 append='' results=$control/probe
    mkdir -p "$results"
    # The inner kernel finds no root file system: its panic shows that it got
    # through its whole start.
    printf '%q ' "${inner[@]}" >"$control/command"
    printf '</dev/null 2>&1 | grep -q "Unable to mount root fs"\n' \
        >>"$control/command"
    printf '%s\n' "$(dirname "$kernel")" >"$control/keep"
    run_qemu "$1" "$PROBE_SECONDS" >/dev/null &&
        [[ $(cat "$control/status" 2>/dev/null) == 0 ]]
}

choose_qemu() {
    local out
    [[ -z $qemu ]] || return 0
    out=$("$SP_TOP/scripts/build.sh" qemu)
    qemu=$out/bin/qemu-system-x86_64 firmware=(-L "$out/share/qemu")
}

choose_accel() {
    if [[ $accel == auto ]]; then
        accel=tcg
        ! kvm_boots || accel=kvm
    fi
}

# complaints - what there is in the log, with what follows it
complaints() {
    awk -v complaint="$COMPLAINT" -v functions="$races" \
        -f "$SP_TOP/scripts/complaints.awk" "$results/console.log"
}

# report RC - turn what happened into the exit status
report() {
    local rc=$1 found=
    [[ ! -e $results/console.log ]] || found=$(complaints)
    if [[ $found ]]; then
        say "the bench host's kernel complained ($results/console.log):"
        sed -n 1,120p <<<"$found" >&2
        exit $RC_KERNEL
    fi
    if [[ -s $control/status ]]; then
        exit "$(cat "$control/status")"
    fi
    if ((rc == 124 || rc == 137)); then
        say "the bench host ran out of its $timeout s; its log is" \
            "$results/console.log"
        exit $RC_TIMEOUT
    fi
    say "the bench host died (QEMU's status $rc); the end of its log" \
        "$results/console.log and of $results/qemu.log:"
    tail -qn 15 "$results/console.log" "$results/qemu.log" >&2 || true
    exit $RC_DIED
}

main() {
    local rc=0
    parse_args "$@"
    check_args
    choose_qemu
    control=$(mktemp -d "${TMPDIR:-/tmp}/samepage-boot.XXXXXX")
    trap 'rm -rf "$control"' EXIT
    make_initramfs "$control/initramfs.cpio"
    choose_accel
    make_command
    run_qemu "$accel" "$timeout" || rc=$?
    report "$rc"
}

main "$@"
