#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Runs ./dev in a chroot of another Debian, on a copy of the checkout; as root:
#   tests/platform.sh ROOT SUITE MIRROR COMMAND [WORD...]
# A chroot that is there is used again. What the command leaves running ends with it. Exit status 77:
# the chroot cannot be made here.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
root=$(realpath -m "$1")
suite=$2
mirror=$3
mkdir -p "$(dirname "$root")"
if [ "${INSIDE:-}" != yes ]; then # mounts and processes go with the namespaces
    unshare --mount --pid --fork true || exit 77
    INSIDE=yes exec unshare --mount --pid --fork --kill-child sh "$0" "$@"
fi
shift 3
exec 9>"$root.lock"
flock -n 9 || {
    echo "platform: another run uses $root" >&2
    exit 1
}
if [ ! -e "$root/.made" ]; then
    rm -rf "$root"
    mkdir -p "$root"
    echo "platform: debootstrap $suite from $mirror" >&2
    debootstrap --variant=minbase "$suite" "$root" "$mirror" >"$root.log" 2>&1 || {
        tail -5 "$root.log" >&2
        exit 77
    }
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" # a package starts no service
    chmod +x "$root/usr/sbin/policy-rc.d"
    echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/platform"
    echo 'APT::Sandbox::User "root";' >"$root/etc/apt/apt.conf.d/platform"
    touch "$root/.made"
fi
cp /etc/resolv.conf /etc/hosts "$root/etc/"
mount --bind "$root" "$root" # the root is a mount, or no test can unshare mounts in it
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --bind /dev "$root/dev"
mount --bind /dev/pts "$root/dev/pts" 2>/dev/null || true
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"

# What git would commit, instead of what was copied the last time; what a run keeps for the next one stays.
copy=$root/srv/checkout
mkdir -p "$copy/.cache"
find "$copy" -mindepth 1 -maxdepth 1 ! -name .cache ! -name .venv -exec rm -rf {} +
(cd "$top" && git ls-files -z --cached --others --exclude-standard | tar --null -T - --ignore-failed-read -cf - 2>/dev/null) \
    | tar -xf - -C "$copy"
# Shared with this host: what was fetched, and what is written down of each version.
mkdir -p "$top/.cache/defined"
for shared in .cache/corpus .cache/virtinst-newest .cache/defined tests/data/probed; do
    [ -d "$top/$shared" ] || continue
    mkdir -p "$copy/$shared"
    mount --bind "$(realpath "$top/$shared")" "$copy/$shared"
done

# Packages of Python and npm come from where the host takes them.
# shellcheck disable=SC2016
set -- chroot "$root" sh -c 'cd /srv/checkout && exec ./dev "$@"' dev "$@"
set -- PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "VIRT_PROFILE_MIRROR=$mirror" "$@"
trusted=/etc/ssl/certs/ca-certificates.crt
if [ -e "$trusted" ]; then
    mkdir -p "$root/etc/ssl/certs"
    cp "$trusted" "$root/etc/host-certificates.crt"
    set -- PIP_CERT=/etc/host-certificates.crt NODE_EXTRA_CA_CERTS=/etc/host-certificates.crt "$@"
fi
for name in VIRT_PROFILE_SEED VIRT_PROFILE_EXAMPLES PIP_INDEX_URL PIP_PROXY http_proxy https_proxy no_proxy CI; do
    eval "value=\${$name:-}"
    [ -z "$value" ] || set -- "$name=$value" "$@"
done
# Not by exec: the shell is process 1 here and buries what libvirt started and left to it.
status=0
env -i "$@" || status=$?
exit $status
