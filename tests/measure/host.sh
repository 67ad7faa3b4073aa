#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Runs a command where ./dev measure has a network, huge pages' file system and a libvirtd of its own:
#   unshare --mount --net sh tests/measure/host.sh CAPABILITIES-CACHE COMMAND...
# All of it is gone when the command ends, tap devices and the bridge too.
set -e
here=$(cd "$(dirname "$0")" && pwd)
ip link set lo up
ip link add vpbr0 type bridge
ip address add 192.0.2.1/24 dev vpbr0
ip link set vpbr0 up
mount -t hugetlbfs -o pagesize=2M hugetlbfs /mnt # libvirt finds it by /proc/mounts
exec sh "$here/../daemon.sh" "$@"
