#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Runs a command beside a system bus of its own, in a mount namespace of its own, as root:
#   unshare -m sh tests/bus.sh COMMAND...
# A libvirtd has to start after its bus, else libvirt-dbus cannot use it.
set -e
mkdir -p /run/dbus
mount -t tmpfs tmpfs /run/dbus
dbus-daemon --system --nofork --nopidfile 2>/dev/null &
bus=$!
for _ in $(seq 100); do
    [ ! -S /run/dbus/system_bus_socket ] || break
    sleep 0.1
done
status=0
"$@" || status=$?
kill "$bus" 2>/dev/null || true
exit "$status"
