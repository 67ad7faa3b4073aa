#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Cockpit without systemd and without a login, for one browser session, on a bus of its own; in the
# mount namespace of tests/daemon.sh, as root:
#   tests/cockpit.sh DIRECTORY PORT COMMAND...
# DIRECTORY is emptied: it becomes Cockpit's data directory, with our page in it. Programs are looked for in
# DIRECTORY/bin first.
set -e
top=$(cd "$(dirname "$0")/.." && pwd)
place=$1
port=$2
shift 2
mkdir -p "$place/cockpit" /run/dbus
ln -sfn "$top/contrib/cockpit/virt-profile" "$place/cockpit/virt-profile"
mount -t tmpfs tmpfs /run/dbus
dbus-daemon --system --nofork --nopidfile &
bus=$!
libvirt_dbus=
if [ -x /usr/sbin/libvirt-dbus ]; then
    for _ in $(seq 50); do [ -S /run/dbus/system_bus_socket ] && break || sleep 0.1; done
    runuser -u libvirtdbus -- /usr/sbin/libvirt-dbus --system 2>/dev/null &
    libvirt_dbus=$!
fi
export XDG_DATA_HOME="$place" XDG_CONFIG_HOME="$place/.config" HOME="$place" PATH="$place/bin:$top/.venv/bin:$PATH"
setsid dbus-run-session -- /usr/lib/cockpit/cockpit-ws --no-tls --local-session=/usr/bin/cockpit-bridge \
    --address=127.0.0.1 --port="$port" >"$place/log" 2>&1 &
session=$!
status=0
"$@" || status=$?
kill -- "-$session" 2>/dev/null || true # the bus of the session, and cockpit-ws under it
kill $libvirt_dbus "$bus" 2>/dev/null || true
exit "$status"
