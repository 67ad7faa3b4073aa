#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Converts VMs of other hypervisors by Debian's virt-v2v, in a chroot that has it; as root:
#   tests/counterparts/v2v.sh PLACE MIRROR
# PLACE/root is the chroot, PLACE/out has what virt-v2v wrote. A guest is a Debian without much in it; virt-v2v
# looks into its disk by an appliance of libguestfs, which needs no KVM.
set -eu
place=$(realpath -m "$1")
mirror=$2
suite=bookworm
if [ "${INSIDE:-}" != yes ]; then # the mounts go with the process
    INSIDE=yes exec unshare --mount sh "$0" "$place" "$mirror"
fi
root=$place/root
guest=$root/srv/guest
mkdir -p "$place"
inside() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
    LIBGUESTFS_BACKEND=direct LIBGUESTFS_BACKEND_SETTINGS=force_tcg chroot "$root" "$@"; }
if [ ! -e "$root/.whole" ]; then
    rm -rf "$root"
    debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" "$mirror"
    inside apt-get -o APT::Sandbox::User=root -qq -y --no-install-recommends install \
        virt-v2v linux-image-amd64 qemu-system-x86 qemu-utils e2fsprogs fdisk debootstrap >/dev/null
    inside apt-get clean
    touch "$root/.whole"
fi
if [ ! -e "$guest/.whole" ]; then
    rm -rf "$guest"
    debootstrap --variant=minbase --include=linux-image-cloud-amd64,grub2-common,systemd-sysv "$suite" "$guest" "$mirror"
    rm -rf "$guest"/var/cache/apt/archives/*.deb "$guest"/var/lib/apt/lists/* "$guest"/usr/share/doc "$guest"/usr/share/locale
    echo "/dev/sda1 / ext4 defaults 0 1" >"$guest/etc/fstab"
    kernel=$(cd "$guest/boot" && ls vmlinuz-*)
    mkdir -p "$guest/boot/grub"
    cat >"$guest/boot/grub/grub.cfg" <<EOC
set default=0
menuentry 'Debian' --class debian {
    linux /boot/$kernel root=/dev/sda1 ro
    initrd /boot/initrd.img-${kernel#vmlinuz-}
}
EOC
    touch "$guest/.whole"
fi
out=$place/out
rm -rf "$out" "$root/srv/out" "$root/srv/disk"
mkdir -p "$out" "$root/srv/out" "$root/srv/disk"
disk=$root/srv/disk/guest.raw
truncate -s 2G "$disk"
echo "2048,,83,*" | inside sfdisk -q /srv/disk/guest.raw
inside mkfs.ext4 -q -F -d /srv/guest -E offset=1048576 /srv/disk/guest.raw 2031M
inside qemu-img convert -O vmdk /srv/disk/guest.raw /srv/disk/guest.vmdk
rm "$disk"
cp "$(dirname "$0")"/v2v/*.vmx "$root/srv/disk/"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
for file in "$root"/srv/disk/*.vmx; do
    name=$(basename "$file" .vmx)
    mkdir "$root/srv/out/$name"
    inside virt-v2v -i vmx "/srv/disk/$name.vmx" -o local -os "/srv/out/$name" -of qcow2
    cp "$root/srv/out/$name"/*.xml "$out/"
done
