#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Checks the machine, then installs the Debian packages that are missing and
# makes sure that apt knows where QEMU's source is.
#
# usage: setup.sh [--check] [docs] [libvirt] [bench]
#
#   --check        only the checks, change nothing
#   docs, libvirt  also what the test layer of that name needs
#   bench          also what `make bench` draws with
#
# All checks come first: nothing is changed unless all of them pass.  With
# everything in place this needs no network and well under a second.

# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

# The cache folder after a cold `make test`, and what stays free while warm
readonly DISK_COLD_MIB=9000 DISK_WARM_MIB=1000
readonly RAM_MIB=3500
readonly SOURCES=/etc/apt/sources.list.d/samepage-src.sources

# By purpose; each is asked for by name so that what is there is left alone.
readonly PACKAGES=(
    # compilers and what every build here uses
    build-essential ccache pkg-config patch cpio xz-utils git jq
    # the fuzzer of the engine's data structures; a compiler and its libFuzzer
    clang libclang-rt-14-dev
    # the kernel, and its selftests
    linux-source-6.1 bc bison flex libelf-dev libnuma-dev
    # QEMU with the options of scripts/build.sh
    dpkg-dev python3 meson ninja-build libfdt-dev libglib2.0-dev libpixman-1-dev
    zlib1g-dev libattr1-dev libcap-ng-dev
    # the bench host: Debian's QEMU, its firmware, the initramfs
    qemu-system-x86 seabios ipxe-qemu busybox-static
    # the guests' image and the driver of `make run`
    mmdebstrap squashfs-tools libjson-glib-dev
)
# The programs alone: what makes services of them is in libvirt-daemon-system,
# so nothing is started, now or with the machine.
readonly LIBVIRT_PACKAGES=(libvirt-daemon libvirt-daemon-driver-qemu
    libvirt-clients)
readonly BENCH_PACKAGES=(gnuplot-nox)
# QEMU's manual
readonly DOCS_PACKAGES=(python3-sphinx python3-sphinx-rtd-theme)
wanted=("${PACKAGES[@]}")

# os_release FIELD
os_release() {
    sed -n "s/^$1=\"\{0,1\}\([^\"]*\)\"\{0,1\}\$/\1/p" /etc/os-release 2>/dev/null
}

check_machine() {
    local system arch
    check_root
    system=$(os_release ID) || true
    [[ $system == debian && $(os_release VERSION_ID) == 12 ]] ||
        die "this is $(os_release PRETTY_NAME): Debian 12 is needed"
    arch=$(dpkg --print-architecture)
    [[ $arch == amd64 ]] || die "this is $arch: amd64 (x86-64) is needed"
    check_memory "$RAM_MIB" "builds and the bench host"
    if compgen -G "$SP_OUT/kernel-*/.complete" >/dev/null; then
        check_disk "$DISK_WARM_MIB"
    else
        check_disk "$DISK_COLD_MIB"
    fi
}

# missing_packages - one name a line
missing_packages() {
    # shellcheck disable=SC2016 # the format is dpkg's, not the shell's
    dpkg-query -W -f '${db:Status-Status} ${Package}\n' \
        "${wanted[@]}" 2>/dev/null |
        awk '$1 == "installed" { print $2 }' | LC_ALL=C sort -u |
        LC_ALL=C comm -13 - <(printf '%s\n' "${wanted[@]}" | LC_ALL=C sort -u)
}

# has_qemu_source - fetched already, or apt can name it
has_qemu_source() {
    compgen -G "$SP_SRC/qemu-7.2*/configure" >/dev/null ||
        apt-cache showsrc qemu 2>/dev/null |
        grep '^Version: 1:7\.2' >/dev/null
}

apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -y \
        -o DPkg::Lock::Timeout=300 -o APT::Sandbox::User=root "$@"
}

# signed_by URI SUITE - the key file or the key that the machine's own entry
# for a package archive names; nothing if it names none
signed_by() {
    perl - "$1" "$2" /etc/apt/sources.list /etc/apt/sources.list.d/* <<'PERL'
use strict;
use warnings;
my ($uri, $suite, @files) = @ARGV;

sub wanted {
    my ($uris, $suites) = @_;
    my $plain = $uri =~ s{/+$}{}r;
    return (grep { s{/+$}{}r eq $plain } split ' ', $uris)
        && grep { $_ eq $suite } split ' ', $suites;
}

for my $file (grep { -f } @files) {
    open my $in, '<', $file or next;
    local $/ = undef;
    my $text = <$in>;
    if ($file =~ /\.sources$/) {
        for my $stanza (split /\n\s*\n/, $text =~ s/^#.*\n//mgr) {
            my %field;
            while ($stanza =~ /^([\w-]+):[ \t]*(.*(?:\n[ \t].*)*)/mg) {
                $field{lc $1} = $2;
            }
            next unless wanted($field{uris} // '', $field{suites} // '');
            print $field{'signed-by'} if defined $field{'signed-by'};
            exit;
        }
    } elsif ($file =~ /\.list$/) {
        while ($text =~ /^deb\s+(?:\[(.*?)\]\s+)?(\S+)\s+(\S+)/mg) {
            my ($options, $u, $s) = ($1 // '', $2, $3);
            next unless wanted($u, $s);
            print $1 if $options =~ /\bsigned-by=(\S+)/;
            exit;
        }
    }
}
PERL
}

# source_stanzas - deb-src stanzas for the machine's own Debian archives.  apt
# itself says which of its entries are Debian's, in whatever format they are.
source_stanzas() {
    local origin uri suite component key
    # shellcheck disable=SC2016 # the format is apt's, not the shell's
    apt-get indextargets 'Created-By: Packages' --format \
        '$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)' | LC_ALL=C sort -u |
        while IFS='|' read -r origin uri suite component; do
            [[ $origin == Debian && $component == main ]] || continue
            key=$(signed_by "$uri" "$suite")
            printf 'Types: deb-src\nURIs: %s\nSuites: %s\nComponents: main\n' \
                "$uri" "$suite"
            [[ -z $key ]] || printf 'Signed-By: %s\n' "$key"
            printf '\n'
        done
}

add_sources() {
    local stanzas
    stanzas=$(source_stanzas)
    [[ -n $stanzas ]] ||
        die "apt knows no Debian archive to take QEMU's source from:" \
            "add a deb-src entry for bookworm main to /etc/apt/sources.list.d"
    {
        printf '# Written by samepage (scripts/setup.sh) from this'
        printf " machine's own entries,\n# for QEMU's source; "
        printf 'may be removed at any time.\n\n%s\n' "$stanzas"
    } >"$SOURCES.new"
    mv "$SOURCES.new" "$SOURCES"
    say "wrote $SOURCES (where apt finds QEMU's source)"
}

# online NAME LOG COMMAND... - a step that needs Debian's package servers
online() {
    try_step "$@"
    ((step_rc == 0)) ||
        die "$1: apt cannot get what is needed, is there a network?" \
            "Its log is $2"
}

update_lists() {
    # An archive of somebody else's that cannot be reached is no reason to
    # stop, so apt's own lenient status is what counts here.
    online "package lists" "$SP_LOG/apt-update.log" apt_get update
}

install_packages() {
    # Downloads first: without a network, nothing has been installed by half.
    online "download of $# packages" "$SP_LOG/apt-download.log" \
        apt_get install --no-install-recommends --download-only "$@"
    run_step "installation of $# packages" "$SP_LOG/apt-install.log" \
        "see the log; dpkg --configure -a may be needed" \
        apt_get install --no-install-recommends "$@"
}

main() {
    local missing=() check='' argument
    for argument in "$@"; do
        case $argument in
        --check) check=1 ;;
        docs) wanted+=("${DOCS_PACKAGES[@]}") ;;
        libvirt) wanted+=("${LIBVIRT_PACKAGES[@]}") ;;
        bench) wanted+=("${BENCH_PACKAGES[@]}") ;;
        *) die "usage: setup.sh [--check] [docs] [libvirt] [bench]" ;;
        esac
    done
    check_machine
    [[ -z $check ]] || exit 0
    mapfile -t missing < <(missing_packages)
    if ((${#missing[@]})); then
        say "packages to install: ${missing[*]}"
        update_lists
        install_packages "${missing[@]}"
    fi
    if ! has_qemu_source; then
        ((${#missing[@]})) || update_lists
        add_sources
        update_lists
        has_qemu_source || die "apt still finds no source of QEMU 7.2"
    fi
}

main "$@"
