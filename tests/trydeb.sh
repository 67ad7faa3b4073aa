#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Installs the package in a chroot, uses it, upgrades, takes it out; as root:
#   tests/trydeb.sh PACKAGE.deb MIRROR [CHROOT]
# A chroot that is there is used again.
set -eu
package=$(realpath "$1")
mirror=$2
root=$(realpath -m "${3:-.cache/chroot}")
if [ "${INSIDE:-}" != yes ]; then # the mounts go with the process
    INSIDE=yes exec unshare --mount sh "$0" "$package" "$mirror" "$root"
fi
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
[ -e "$root/usr/bin/apt-get" ] || debootstrap --variant=minbase "$suite" "$root" "$mirror"
cp /etc/resolv.conf /etc/hosts "$root/etc/"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount --bind /dev/pts "$root/dev/pts" 2>/dev/null || true
mount -t sysfs sysfs "$root/sys"
cp "$package" "$root/tmp/virt-profile.deb"
cat >"$root/tmp/try" <<'EOT'
set -eu
export DEBIAN_FRONTEND=noninteractive PYTHONDONTWRITEBYTECODE=1 HOME=/root LC_ALL=C.UTF-8
cd /root
get="apt-get -o APT::Sandbox::User=root -qq -y --no-install-recommends"
fail() { echo "FAILED: $*" >&2; exit 1; }
ok() { echo "ok: $*"; }
$get update
dpkg --purge virt-profile >/dev/null 2>&1 || true
$get install virtinst python3-argcomplete >/dev/null
for one in virt-install virt-xml; do sha256sum /usr/bin/$one; done >/tmp/theirs

$get install /tmp/virt-profile.deb >/dev/null
echo "$(dpkg -s virt-profile | grep ^Version) with virtinst $(dpkg-query -W -f '${Version}' virtinst)"
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
ok "completion is known to bash"

$get install --reinstall virtinst >/dev/null
virt-install --help | grep -q -- --profile || fail "virtinst came back over ours"
ok "a new virtinst leaves ours in place"
dpkg -i /tmp/virt-profile.deb >/dev/null
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
