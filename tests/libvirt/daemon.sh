#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Debian's libvirtd as the system's, all of whose files lie in one folder.
#
# usage: unshare --mount daemon.sh DIR
#
# DIR must not be on an overlay file system.  Its socket is DIR/libvirt-sock.
# Where libvirtd looks for its configuration, state and logs, it finds folders
# of DIR, so that one that an operator runs is neither seen nor touched.  It
# becomes this process.

set -euo pipefail

readonly DRIVER=/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so
dir=${1:?usage: unshare --mount daemon.sh DIR}

# cover TARGET SOURCE - SOURCE instead of TARGET, which need not exist
cover() {
    local parent upper
    parent=$(dirname "$1")
    if [[ ! -e $1 ]]; then
        upper=$dir/layer$parent
        mkdir -p "$upper/new" "$upper/work"
        mount -t overlay -o "lowerdir=$parent,upperdir=$upper/new,workdir=$upper/work" \
            overlay "$parent"
        mkdir "$1"
    fi
    mount --bind "$2" "$1"
}

# add_user - the one that libvirtd asks for by name, which comes with Debian's
# libvirt-daemon-system, has to exist though nothing runs as it
add_user() {
    ! getent passwd libvirt-qemu >/dev/null || return 0
    { cat /etc/passwd; echo libvirt-qemu:x:0:0::/:/bin/false; } >"$dir/passwd"
    { cat /etc/group; echo libvirt-qemu:x:0:; } >"$dir/group"
    cover /etc/passwd "$dir/passwd"
    cover /etc/group "$dir/group"
}

# configure - no control groups, since they are the machine's; an identity of
# its own, so that a guest may move to another one on the same machine; of the
# drivers only QEMU's, no network and no storage
configure() {
    cat >"$dir/etc/libvirtd.conf" <<END
unix_sock_dir = "$dir"
auth_unix_ro = "none"
auth_unix_rw = "none"
host_uuid = "$(cat /proc/sys/kernel/random/uuid)"
log_outputs = "3:file:$dir/log/libvirtd.log"
END
    cat >"$dir/etc/qemu.conf" <<END
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
stdio_handler = "file"
namespaces = []
cgroup_controllers = []
END
    ln -s "$DRIVER" "$dir/drivers/"
}

mkdir -p "$dir"/{etc,lib,cache,log,run,drivers}
configure
add_user
cover /etc/libvirt "$dir/etc"
cover /var/lib/libvirt "$dir/lib"
cover /var/cache/libvirt "$dir/cache"
cover /var/log/libvirt "$dir/log"
cover /run/libvirt "$dir/run"
export LIBVIRT_DRIVER_DIR=$dir/drivers
exec /usr/sbin/libvirtd --config /etc/libvirt/libvirtd.conf --pid-file "$dir/pid"
