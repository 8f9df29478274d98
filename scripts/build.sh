#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Builds one thing and prints the folder of the finished artefact.
#
# usage: build.sh kernel ours|mainline|debug|kcsan|faults|no-sysfs
#                                                bzImage config System.map
#                                                vmlinux ksm-symbols
#        build.sh kernel uml-ours|uml-mainline   the same without bzImage: vmlinux
#                                                is a program of this machine
#        build.sh qemu                           bin/ share/qemu/
#        build.sh qemu-tests                     qtests and unit tests of it
#        build.sh qemu|qemu-tests sanitize       the same with ASan and UBSan
#        build.sh qemu|qemu-tests without        the same with --disable-ksm
#        build.sh selftests                      ksm_tests and our own tests
#        build.sh vm-selftests                   the kernel's own of vm/
#        build.sh unit                           the engine's userspace tests
#        build.sh guest                          the guests' root file system
#        build.sh e2e                            the driver of `make run`
#        build.sh soak                           the processes of `make soak`
#        build.sh bench                          the program of `make bench`
#
# An artefact lies in $CACHE/out/VARIANT-HASH, where HASH is over everything
# that goes into it.  If it is there, it is reused; otherwise the build is an
# incremental one in $CACHE/build/VARIANT and the artefact appears whole.

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

readonly RETRY="see the log; a build that is run again goes on where it was"

readonly QEMU_OPTIONS=(--target-list=x86_64-softmmu --enable-kvm --enable-tcg
    --without-default-features --enable-virtfs --enable-attr --enable-cap-ng
    --disable-docs "--cc=ccache gcc")
# The tests of every QEMU, of what --disable-ksm leaves, and of ours
readonly QEMU_TESTS=(tests/qtest/{qmp-cmd-test,qom-test,test-hmp}
    tests/qtest/{device-introspect-test,numa-test,readconfig-test}
    tests/qtest/migration-test tests/unit/check-qom-proplist)
readonly QEMU_WITHOUT_TESTS=(tests/qtest/ksm-without-test)
readonly QEMU_KSM_TESTS=(tests/qtest/{ksm-test,ksm-fuzz-test}
    tests/unit/test-ksm-{auto,block,host,host-files,host-pressure,host-range}
    tests/unit/test-ksm-{ram,reason})
# Of tools/testing/selftests/vm
readonly VM_SELFTESTS=(compaction_test gup_test khugepaged madv_populate
    migration mlock2-tests mremap_test soft-dirty split_huge_page_test
    userfaultfd)
# Debian's source has no firmware in it; these are what x86 machines ask for
# in qtest and when started by -kernel.
readonly QEMU_FIRMWARE=(/usr/share/seabios/bios.bin
    /usr/share/seabios/bios-256k.bin /usr/share/seabios/bios-microvm.bin
    /usr/share/seabios/vgabios-stdvga.bin /usr/share/qemu/kvmvapic.bin
    /usr/share/qemu/linuxboot_dma.bin /usr/share/qemu/multiboot_dma.bin
    /usr/share/qemu/pvh.bin /usr/share/qemu/qboot.rom
    /usr/lib/ipxe/qemu/efi-e1000.rom /usr/lib/ipxe/qemu/efi-e1000e.rom
    /usr/lib/ipxe/qemu/efi-virtio.rom)

# toolchain - what compiled it is part of every hash
toolchain() {
    gcc --version | sed -n 1p
    ld --version | sed -n 1p
}

# own_scripts - so is how it was built
own_scripts() {
    printf 'scripts/%s\n' build.sh lib.sh overlay.sh fetch.sh
}

# reuse_or VARIANT HASH COMMAND... - print the artefact's folder, made by
# COMMAND unless it exists.  COMMAND fills $out.part.
reuse_or() {
    local variant=$1
    out=$SP_OUT/$variant-$2
    shift 2
    if [[ ! -e $out/.complete ]]; then
        mkdir -p "$SP_OUT" "$SP_BUILD" "$SP_LOG"
        with_lock "build-$variant" make_artefact "$variant" "$@"
    fi
    # Prune by last use.
    touch "$out"
    prune "$variant"
    printf '%s\n' "$out"
}

make_artefact() {
    local variant=$1
    shift
    # The one we waited for may have made it.
    [[ ! -e $out/.complete ]] || return 0
    # What failed or was interrupted earlier; the lock says nobody is at it.
    artefacts "$variant" .part | xargs -r -d '\n' rm -rf
    mkdir -p "$out.part"
    "$@"
    publish "$out"
}

# with_tree linux|qemu COMMAND... - run COMMAND with the path of the updated
# work tree added, nobody else changing that tree meanwhile
with_tree() {
    local tree=$1
    shift
    with_lock "tree-$tree" in_tree "$tree" "$@"
}

in_tree() {
    local tree=$1 work
    shift
    work=$(SP_TREE_LOCKED=$tree "$SP_TOP/scripts/overlay.sh" "$tree")
    "$@" "$work"
}

# ---- kernel ----

# kernel_fragments VARIANT
kernel_fragments() {
    local dir=scripts/kconfig
    case $1 in
    ours) printf '%s\n' $dir/base.config $dir/engine-samepage.config ;;
    mainline) printf '%s\n' $dir/base.config $dir/engine-mainline.config ;;
    debug | kcsan | faults) printf '%s\n' $dir/base.config $dir/engine-samepage.config \
        "$dir/$1.config" ;;
    no-sysfs) printf '%s\n' $dir/no-sysfs.config ;;
    uml-ours) printf '%s\n' $dir/uml.config $dir/engine-samepage.config ;;
    uml-mainline) printf '%s\n' $dir/uml.config $dir/engine-mainline.config ;;
    *) die "kernel $1: must be ours, mainline, debug, kcsan, faults, no-sysfs," \
        "uml-ours or uml-mainline" ;;
    esac
}

# kernel_arch VARIANT
kernel_arch() {
    case $1 in
    uml-*) echo um ;;
    *) echo x86 ;;
    esac
}

# kernel_inputs VARIANT - the overlaid files that can change this bzImage: no
# documentation, no selftests, and for mainline nothing of our engine but the
# files that say it exists
kernel_inputs() {
    local variant=$1
    overlay_files linux | while read -r path; do
        case $variant:$path in
        *:kernel/Documentation/* | *:kernel/tools/*) ;;
        *mainline:kernel/mm/ksm/Kconfig | *mainline:kernel/mm/ksm/Makefile)
            printf '%s\n' "$path" ;;
        *mainline:kernel/mm/ksm/*) ;;
        *) printf '%s\n' "$path" ;;
        esac
    done
}

kernel_hash() {
    {
        linux_version
        toolchain
        { kernel_fragments "$1"
          kernel_inputs "$1"
          patch_files linux
          own_scripts
        } | hash_files
    } | hash_text
}

# make_kernel DIR WORK TARGET... - one make call with everything that must not
# differ between two builds of the same source, for the caller's $arch
make_kernel() {
    local dir=$1 work=$2
    shift 2
    make -C "$work" O="$dir" ARCH="$arch" CC="ccache gcc" -j"$SP_JOBS" \
        KBUILD_BUILD_USER=samepage KBUILD_BUILD_HOST=bench \
        KBUILD_BUILD_VERSION=1 \
        KBUILD_BUILD_TIMESTAMP="Thu Jan 1 00:00:00 UTC 1970" "$@"
}

# configure_kernel DIR WORK FRAGMENT... - everything off but the fragments; an
# option that did not survive is an error, not a kernel that lacks something
configure_kernel() {
    local dir=$1 work=$2 lost
    shift 2
    cat "$@" >"$dir/fragments.config"
    make_kernel "$dir" "$work" \
        KCONFIG_ALLCONFIG="$dir/fragments.config" allnoconfig
    # Of an option named twice the last line counts.
    lost=$(awk -F '[= ]' '
        /^CONFIG_/ { want[$1] = $0 }
        /^# CONFIG_.* is not set/ { want[$2] = "" }
        END { for (name in want) if (want[name] != "") print want[name] }
        ' "$dir/fragments.config" | LC_ALL=C sort |
        LC_ALL=C comm -23 - <(LC_ALL=C sort "$dir/.config"))
    [[ -z $lost ]] || {
        printf 'options that Kconfig did not accept:\n%s\n' "$lost"
        return 1
    }
}

# compile_kernel VARIANT WORK
compile_kernel() {
    local variant=$1 work=$2 dir=$SP_BUILD/kernel-$1 fragments arch image
    arch=$(kernel_arch "$variant")
    image=arch/x86/boot/bzImage
    [[ $arch == x86 ]] || image=vmlinux
    mkdir -p "$dir"
    mapfile -t fragments < <(kernel_fragments "$variant" | sed "s|^|$SP_TOP/|")
    run_step "configure kernel ($variant)" "$SP_LOG/kernel-$variant-config.log" \
        "see the log; are scripts/kconfig and the patches of one age?" \
        configure_kernel "$dir" "$work" "${fragments[@]}"
    run_step "build kernel ($variant)" "$SP_LOG/kernel-$variant.log" "$RETRY" \
        make_kernel "$dir" "$work" "${image##*/}"
    cp "$dir/System.map" "$dir/vmlinux" "$out.part/"
    [[ $arch != x86 ]] || cp "$dir/$image" "$out.part/"
    cp "$dir/.config" "$out.part/config"
    # The engine's functions, for tests that look at nothing else
    [[ $variant == *mainline ]] ||
        find "$dir/mm/ksm" -name '*.o' -exec nm {} + |
        awk '$2 ~ /^[Tt]$/ && $3 !~ /^(__pfx|init|cleanup)_/ { print $3 }' |
        LC_ALL=C sort -u >"$out.part/ksm-symbols"
}

build_kernel() {
    local hash
    kernel_fragments "$1" >/dev/null
    hash=$(kernel_hash "$1")
    reuse_or "kernel-$1" "$hash" with_tree linux compile_kernel "$1"
}

# ---- QEMU ----

# qemu_hash UNUSED - over all files but those whose path starts with UNUSED
qemu_hash() {
    {
        qemu_version
        toolchain
        { overlay_files qemu | grep -vE "^($1)/"
          patch_files qemu
          own_scripts
        } | hash_files
    } | hash_text
}

# qemu_options VARIANT
qemu_options() {
    printf '%s\n' "${QEMU_OPTIONS[@]}"
    case $1 in
    '') echo --enable-ksm ;;
    sanitize) printf '%s\n' --enable-ksm --enable-sanitizers ;;
    without) echo --disable-ksm ;;
    *) die "qemu $1: must be sanitize or without, or left out" ;;
    esac
}

# configure_qemu DIR WORK OPTION... - only if it never was, or otherwise
configure_qemu() {
    local dir=$1 work=$2 how
    shift 2
    how="$work $*"
    if [[ $(cat "$dir/configured" 2>/dev/null) != "$how" ]]; then
        rm -rf "$dir"
        mkdir -p "$dir"
        (cd "$dir" && "$work/configure" "$@")
        printf '%s\n' "$how" >"$dir/configured"
    fi
}

# ninja_qemu VARIANT WORK TARGET... - in $dir, which is set here
ninja_qemu() {
    local variant=$1 work=$2 options
    shift 2
    dir=$SP_BUILD/qemu${variant:+-$variant}
    mapfile -t options < <(qemu_options "$variant")
    run_step "configure QEMU${variant:+ ($variant)}" \
        "$SP_LOG/qemu-configure.log" \
        "see the log; is a package missing? scripts/setup.sh installs them" \
        configure_qemu "$dir" "$work" "${options[@]}"
    run_step "build QEMU ($1${2:+ ...})" "$SP_LOG/qemu.log" "$RETRY" \
        ninja -C "$dir" -j"$SP_JOBS" "$@"
}

# compile_qemu VARIANT WORK
compile_qemu() {
    local dir
    ninja_qemu "$1" "$2" qemu-system-x86_64
    mkdir -p "$out.part/bin" "$out.part/share/qemu"
    cp "$dir/qemu-system-x86_64" "$out.part/bin/"
    cp "${QEMU_FIRMWARE[@]}" "$out.part/share/qemu/"
}

# compile_qemu_tests VARIANT WORK
compile_qemu_tests() {
    local dir tests=("${QEMU_TESTS[@]}")
    if [[ $1 == without ]]; then
        tests+=("${QEMU_WITHOUT_TESTS[@]}")
    else
        tests+=("${QEMU_KSM_TESTS[@]}")
    fi
    ninja_qemu "$1" "$2" "${tests[@]}"
    cp "${tests[@]/#/$dir/}" "$out.part/"
}

# build_qemu [VARIANT]
build_qemu() {
    local hash
    qemu_options "$1" >/dev/null
    hash=$(qemu_hash 'docs|tests')
    reuse_or "qemu${1:+-$1}" "$hash" with_tree qemu compile_qemu "$1"
}

# build_qemu_tests [VARIANT]
build_qemu_tests() {
    local hash
    qemu_options "$1" >/dev/null
    hash=$(qemu_hash docs)
    reuse_or "qemu-tests${1:+-$1}" "$hash" with_tree qemu \
        compile_qemu_tests "$1"
}

# ---- programs of the tests ----

# folder_hash PATH... - over our own files and the compiler
folder_hash() {
    {
        toolchain
        { (cd "$SP_TOP" && find "$@" -type f ! -name '*.o' ! -name '.*' \
            ! -path '*/build/*')
          own_scripts
        } | LC_ALL=C sort | hash_files
    } | hash_text
}

# compile_selftests - the kernel's own program exactly as it is, and ours
compile_selftests() {
    local linux vm
    linux=$("$SP_TOP/scripts/fetch.sh" linux)
    vm=$linux/tools/testing/selftests/vm
    gcc -O2 -Wall -I"$linux" -o "$out.part/ksm_tests" "$vm/ksm_tests.c" -lnuma
    make -C "$SP_TOP/kernel/tools/testing/selftests/ksm" -j"$SP_JOBS" \
        OUT="$out.part"
    find "$out.part" -name '*.o' -delete
    gcc -O2 -Wall -Wextra -static -o "$out.part/no-sysfs-init" \
        "$SP_TOP/tests/kernel/no-sysfs-init.c"
}

build_selftests() {
    local hash
    hash=$({
        linux_version
        folder_hash kernel/tools/testing/selftests/ksm \
            tests/kernel/no-sysfs-init.c
    } | hash_text)
    reuse_or selftests "$hash" \
        run_step "build selftests" "$SP_LOG/selftests.log" "$RETRY" \
        compile_selftests
}

# compile_vm_selftests - with the flags of their own Makefile, which has no -O
compile_vm_selftests() {
    local linux selftests program ours
    linux=$("$SP_TOP/scripts/fetch.sh" linux)
    selftests=$linux/tools/testing/selftests
    for program in "${VM_SELFTESTS[@]}"; do
        # One of them gets a faster clock.
        ours=()
        [[ $program != migration ]] || ours=("$SP_TOP/tests/kernel/hasten.c")
        gcc -Wall -no-pie -I"$linux" -o "$out.part/$program" \
            "$selftests/vm/$program.c" "$selftests/vm/vm_util.c" "${ours[@]}" \
            -lrt -lpthread -lnuma
    done
    cp "$selftests/memory-hotplug/mem-on-off-test.sh" "$out.part/"
    gcc -O2 -Wall -Wextra -o "$out.part/mergeable" \
        "$SP_TOP/tests/kernel/mergeable.c"
    gcc -O2 -Wall -Wextra -shared -fPIC -o "$out.part/mergeable-preload.so" \
        "$SP_TOP/tests/kernel/mergeable-preload.c"
}

build_vm_selftests() {
    local hash
    hash=$({
        linux_version
        folder_hash tests/kernel/{hasten,mergeable,mergeable-preload}.c
    } | hash_text)
    reuse_or vm-selftests "$hash" \
        run_step "build vm selftests" "$SP_LOG/vm-selftests.log" "$RETRY" \
        compile_vm_selftests
}

# compile_units - the pure files of the engine with their userspace tests, once
# more for the fuzzer and once for the coverage
compile_units() {
    make -C "$SP_TOP/kernel/tools/testing/ksm" -j"$SP_JOBS" OUT="$out.part" \
        COMPILERS=gcc all fuzzer covered
    find "$out.part" -name '*.o' -delete
}

build_unit() {
    local hash
    hash=$({
        clang --version | sed -n 1p
        folder_hash kernel/mm/ksm kernel/tools/testing/ksm
    } | hash_text)
    reuse_or unit "$hash" run_step "build unit tests" "$SP_LOG/unit.log" \
        "$RETRY" compile_units
}

# build_by_folder NAME PATH... - tests/NAME/build.sh makes it
build_by_folder() {
    local name=$1 hash
    shift
    [[ -x $SP_TOP/tests/$name/build.sh ]] || die "no tests/$name/build.sh"
    hash=$(folder_hash "$@")
    reuse_or "$name" "$hash" run_step "build $name" "$SP_LOG/$name.log" \
        "$RETRY" call_builder "$name"
}

call_builder() {
    "$SP_TOP/tests/$1/build.sh" "$out.part"
}

case ${1:-}:${2:-} in
kernel:?*) build_kernel "$2" ;;
qemu:*) build_qemu "${2:-}" ;;
qemu-tests:*) build_qemu_tests "${2:-}" ;;
selftests:) build_selftests ;;
vm-selftests:) build_vm_selftests ;;
unit:) build_unit ;;
guest:) build_by_folder guest tests/guest ;;
e2e:) build_by_folder e2e tests/e2e tests/guest hw/ksm include/hw/ksm ;;
soak:) build_by_folder soak tests/soak kernel/tools/testing/selftests/ksm ;;
bench:) build_by_folder bench tests/bench ;;
*) die "usage: build.sh kernel ours|mainline|debug|kcsan|faults|no-sysfs|" \
    "uml-ours|uml-mainline |" \
    "qemu|qemu-tests [sanitize|without] | selftests | vm-selftests | unit |" \
    "guest | e2e | soak | bench" ;;
esac
