#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Cockpit without systemd and without a login, for one browser session; on the bus of tests/bus.sh, in the
# mount namespace of tests/daemon.sh, as root:
#   tests/cockpit.sh DIRECTORY PORT COMMAND...
# DIRECTORY becomes Cockpit's data directory, with our page in it. Programs are looked for in DIRECTORY/bin first.
# $COCKPIT_USER is who is logged in, root if nothing is said; whatever that user cannot read is copied.
set -e
top=$(cd "$(dirname "$0")/.." && pwd)
place=$1
port=$2
shift 2
as=
if [ -n "${COCKPIT_USER:-}" ]; then
    place=$(mktemp -d /tmp/vp-cockpit.XXXXXX)
    as="runuser -u $COCKPIT_USER --"
fi
mkdir -p "$place/cockpit"
cp -r "$top/contrib/cockpit/virt-profile" "$place/cockpit/"
[ -z "$as" ] || chown -R "$COCKPIT_USER" "$place"
libvirt_dbus=
if [ -x /usr/sbin/libvirt-dbus ]; then
    chmod 777 /run/libvirt/libvirt-sock # of this namespace: libvirt-dbus runs as a user of its own
    runuser -u libvirtdbus -- /usr/sbin/libvirt-dbus --system 2>/dev/null &
    libvirt_dbus=$!
fi
export XDG_DATA_HOME="$place" XDG_CONFIG_HOME="$place/.config" HOME="$place" PATH="$place/bin:$top/.venv/bin:$PATH"
setsid $as dbus-run-session -- /usr/lib/cockpit/cockpit-ws --no-tls --local-session=/usr/bin/cockpit-bridge \
    --address=127.0.0.1 --port="$port" >"$place/log" 2>&1 &
session=$!
status=0
"$@" || status=$?
kill -- "-$session" 2>/dev/null || true # the bus of the session, and cockpit-ws under it
kill $libvirt_dbus 2>/dev/null || true
[ -z "$as" ] || rm -rf "$place"
exit "$status"
