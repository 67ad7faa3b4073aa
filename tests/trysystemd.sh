#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Starts the service's units under a systemd of their own, in a container; as root:
#   tests/trysystemd.sh ROOT
# ROOT is a Debian with systemd, curl and virt-profiled (pip install '.[service]') in PATH.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
root=$(realpath "$1")
program=$(chroot "$root" sh -c 'command -v virt-profiled')
units=$root/etc/systemd/system
for one in service socket; do
    sed "s,/usr/bin/virt-profiled,$program," "$top/contrib/systemd/virt-profiled.$one" >"$units/virt-profiled.$one"
done
cat >"$root/opt/try-units" <<'EOT'
fail() { echo "FAILED: $*"; systemctl poweroff; exit 1; }
ok() { echo "ok: $*"; }
cat >/tmp/vm.xml <<EOX
<domain type='kvm'><name>a</name><memory>65536</memory><os><type arch='x86_64' machine='q35'>hvm</type></os><devices/></domain>
EOX
ask() { virt-profile --server unix:///run/virt-profile/sock --input /tmp/vm.xml --profile rng --check; [ $? = 4 ]; }
systemctl start virt-profiled.socket || fail "the socket"
[ "$(stat -c %a:%G /run/virt-profile/sock)" = 660:libvirt ] || fail "the socket is $(stat -c %a:%G /run/virt-profile/sock)"
systemctl -q is-active virt-profiled.service && fail "the service runs already"
ask || fail "a first request"
systemctl -q is-active virt-profiled.service || fail "the service does not run"
ok "the first request starts the service"
worker=$(pgrep -f multiprocessing.forkserver | tail -1)
for one in NoNewPrivs:1 CapEff:0000000000000000 Seccomp:2; do
    grep -q "^${one%:*}:[[:space:]]*${one#*:}$" "/proc/$worker/status" || fail "$one"
done
grep -q '^Uid:[[:space:]]*0' "/proc/$worker/status" && fail "it is root"
ok "a user of its own without rights"
kill -9 "$worker"
ask || fail "after a worker died"
ok "a worker that dies is replaced"
systemctl kill -s KILL virt-profiled.service
sleep 1
ask || fail "after the service was killed"
ok "the service comes back"
systemctl stop virt-profiled.service || fail "stop"
systemctl -q is-failed virt-profiled.service && fail "it failed when it was stopped"
ask || fail "after a stop"
ok "stopped, and started by the next request"
systemd-analyze security --threshold=10 virt-profiled.service >/dev/null || fail "exposed"
ok "exposure below 1.0"
echo "all is well"
systemctl poweroff
EOT
cat >"$units/try-units.service" <<'EOT'
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'exec sh /opt/try-units >/opt/try-units.told 2>&1'
EOT
mkdir -p "$units/multi-user.target.wants"
ln -sf ../try-units.service "$units/multi-user.target.wants/"
rm -f "$root/opt/try-units.told"
timeout 180 systemd-nspawn -q -D "$root" --keep-unit --register=no --link-journal=no --boot </dev/null >/dev/null 2>&1 || true
rm -f "$units"/try-units.service "$units"/multi-user.target.wants/try-units.service "$root/opt/try-units"
cat "$root/opt/try-units.told"
grep -qx "all is well" "$root/opt/try-units.told"
