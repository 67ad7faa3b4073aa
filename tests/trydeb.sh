#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Installs the packages in a chroot, uses them, upgrades, takes them out; as root:
#   tests/trydeb.sh DIRECTORY MIRROR SUITE [CHROOT]
# A chroot that is there is used again.
set -eu
packages=$(realpath "$1")
mirror=$2
suite=$3
root=$(realpath -m "${4:-.cache/chroot-$suite}")
if [ "${INSIDE:-}" != yes ]; then # the mounts go with the process
    INSIDE=yes exec unshare --mount sh "$0" "$packages" "$mirror" "$suite" "$root"
fi
[ -e "$root/usr/bin/apt-get" ] || debootstrap --variant=minbase "$suite" "$root" "$mirror"
cp /etc/resolv.conf /etc/hosts "$root/etc/"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount --bind /dev/pts "$root/dev/pts" 2>/dev/null || true
mount -t sysfs sysfs "$root/sys"
rm -rf "$root/tmp/packages"
mkdir "$root/tmp/packages"
cp "$packages"/*.deb "$(dirname "$0")/smoke.sh" "$root/tmp/packages/"
# What a chroot cannot have is a service that starts: the units are enabled and left alone.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod +x "$root/usr/sbin/policy-rc.d"
cat >"$root/tmp/try" <<'EOT'
set -eu
export DEBIAN_FRONTEND=noninteractive PYTHONDONTWRITEBYTECODE=1 HOME=/root LC_ALL=C.UTF-8
cd /root
get="apt-get -o APT::Sandbox::User=root -qq -y --no-install-recommends"
fail() { echo "FAILED: $*" >&2; exit 1; }
ok() { echo "ok: $*"; }
$get update
dpkg --purge cockpit-virt-profile virt-profile-service virt-profile >/dev/null 2>&1 || true
$get install virtinst python3-argcomplete >/dev/null
for program in virt-install virt-xml; do sha256sum /usr/bin/$program; done >/tmp/theirs

$get install /tmp/packages/virt-profile_*.deb >/dev/null
echo "$(dpkg -s virt-profile | grep ^Version) with virtinst $(dpkg-query -W -f '${Version}' virtinst)"
sh /tmp/packages/smoke.sh
words="--connect test:///default --name t --memory 64 --osinfo generic --import --disk none --network none
 --uuid 6695eb01-f6a4-8304-79aa-97f2502e193f --print-xml"
virt-install $words >/tmp/ours.xml
virt-install.distrib $words >/tmp/theirs.xml
cmp /tmp/ours.xml /tmp/theirs.xml || fail "virt-install without --profile"
ok "without --profile virt-install prints what the distribution's prints"
virt-install $words --profile rng | grep -q '<rng' || fail "virt-install --profile"
ok "virt-install --profile"
virt-xml -c test:///default test --edit --profile rng --print-diff | grep -q '^+ *<rng' || fail "virt-xml"
ok "virt-xml --edit --profile"
[ "$(virt-profile --list -q | wc -l)" -gt 50 ] || fail "virt-profile --list"
ok "virt-profile --list: $(virt-profile --list -q | wc -l) lines"
virt-profile -c test:///default test --profile rng --print-xml | grep -q '<rng' || fail "virt-profile"
ok "virt-profile on a domain"
(cd / && python3 -c 'import virtinst, virtProfile; assert virtinst.apply_profiles; print("ok: in Python,", virtinst.distribution)')
bash -c '. /usr/share/bash-completion/completions/virt-profile; complete -p virt-profile' >/dev/null || fail completion
[ -e /usr/share/zsh/vendor-completions/_virt-profile ] && [ -e /usr/share/fish/vendor_completions.d/virt-profile.fish ] \
    || fail "completion for zsh and fish"
ok "completion is known to bash, zsh and fish"
! command -v virt-profiled >/dev/null || fail "the service is there without its package"
python3 -c 'import virtProfile.client' || fail "the client"
ok "the client is there, the service is not"

$get install /tmp/packages/virt-profile-service_*.deb >/dev/null
[ -e /etc/virt-profile/policy.toml ] && [ -d /etc/virt-profile/profiles ] || fail "/etc/virt-profile"
! command -v systemd-analyze >/dev/null || systemd-analyze verify /lib/systemd/system/virt-profiled.service 2>&1 | grep virt-profiled | grep -v "Command 'man" && fail "the unit"
[ -L /etc/systemd/system/sockets.target.wants/virt-profiled.socket ] || fail "the socket is not enabled"
. /etc/virt-profile/virt-profiled.env
virt-profiled --socket /tmp/sock $VIRT_PROFILED_OPTIONS -q 2>/tmp/service.log &
service=$!
for _ in $(seq 100); do [ -S /tmp/sock ] && break || sleep 0.1; done
virt-xml -c test:///default test --edit --memory 128 --print-xml >/tmp/vm.xml
virt-profile --server unix:///tmp/sock --input /tmp/vm.xml --profile rng | grep -q '<rng' || fail "the service's answer"
kill $service
wait $service || true
! grep -E 'Exception|Error|Traceback' /tmp/service.log || fail "errors of the service"
ok "the service $(virt-profiled --version) answers, on $(dpkg-query -W -f '${Package} ${Version} ' python3-fastapi python3-uvicorn)"
echo "# mine" >>/etc/virt-profile/policy.toml
dpkg -r virt-profile-service >/dev/null
! command -v virt-profiled >/dev/null && virt-profile --list -q >/dev/null || fail "the service is not gone, or more than it"
grep -q mine /etc/virt-profile/policy.toml || fail "what was configured is gone"
dpkg --purge virt-profile-service >/dev/null 2>&1
[ ! -e /etc/virt-profile/policy.toml ] || fail "what was configured is left"
[ ! -e /etc/systemd/system/sockets.target.wants/virt-profiled.socket ] || fail "the socket is still enabled"
ok "the service's package goes by itself"

$get install /tmp/packages/cockpit-virt-profile_*.deb >/dev/null
cockpit-bridge --packages | grep -q '^virt-profile' || fail "Cockpit does not know the page"
dpkg -r cockpit-virt-profile >/dev/null
! cockpit-bridge --packages | grep -q '^virt-profile' || fail "Cockpit still knows the page"
ok "Cockpit $(dpkg-query -W -f '${Version}' cockpit-bridge) knows the page while its package is there"

$get install --reinstall virtinst >/dev/null
virt-install --help | grep -q -- --profile || fail "virtinst came back over ours"
ok "a new virtinst leaves ours in place"
dpkg -i /tmp/packages/virt-profile_*.deb >/dev/null
[ "$(dpkg-divert --list | grep -c virt-profile)" = 2 ] || fail "diversions after an upgrade"
ok "installed over itself"

dpkg -r virt-profile >/dev/null
sha256sum --quiet -c /tmp/theirs || fail "virtinst's programs are not back"
[ ! -e /usr/bin/virt-install.distrib ] && ! dpkg-divert --list | grep virt-profile || fail "something is left"
[ ! -e /usr/lib/python3/dist-packages/virtProfile ] || fail "files are left: $(find /usr/lib/python3/dist-packages/virtProfile | head -3)"
virt-install.distrib --version 2>/dev/null && fail "another name is left"
dpkg --purge virt-profile >/dev/null 2>&1
virt-install $words | cmp - /tmp/theirs.xml || fail "virtinst after all"
ok "removed: virtinst is as it was"
EOT
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" sh /tmp/try
