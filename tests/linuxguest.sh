#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Makes a disk with a Linux guest on it, of Debian's kernel, GRUB and busybox:
#   tests/linuxguest.sh IMAGE PACKAGE...
# PACKAGE is a file: of linux-image, busybox-static, grub-pc-bin, grub-common and kmod. On the disk: an MBR, GRUB for
# BIOS, one ext4 that is found by its label, an initial ramdisk that has the modules of every machine here (what an
# administrator makes sure of before a conversion), a login on the serial console. Before the login the guest says
# what it sees of its machine ("sees: ..."). It takes no root, no loop device and no mount. Exit status 77: it
# cannot be made here.
set -eu
image=$(realpath -m "$1")
shift
PATH=$PATH:/sbin:/usr/sbin
for tool in dpkg-deb mke2fs cpio gzip qemu-img; do
    command -v "$tool" >/dev/null || {
        echo "there is no $tool" >&2
        exit 77
    }
done
work=$image.work
root=$work/root
early=$work/early
packages=$work/packages
rm -rf "$work"
mkdir -p "$root" "$early" "$packages"
for package in "$@"; do
    dpkg-deb -x "$package" "$packages"
done
ln -s "$(ls "$packages"/bin/kmod "$packages"/usr/bin/kmod 2>/dev/null | head -1)" "$work/depmod"
depmod=$work/depmod
kernel=$(basename "$(ls -d "$packages"/boot/vmlinuz-*)")
version=${kernel#vmlinuz-}
modules=$(ls -d "$packages"/lib/modules/"$version" "$packages"/usr/lib/modules/"$version" 2>/dev/null | head -1)
busybox=$(ls "$packages"/bin/busybox "$packages"/usr/bin/busybox 2>/dev/null | head -1)

# --- the initial ramdisk: drivers of disks and NICs, the file system, and whom they need -------------------
mkdir -p "$early/bin" "$early/dev" "$early/proc" "$early/sys" "$early/root" "$early/lib/modules/$version"
cp "$busybox" "$early/bin/busybox"
cp "$modules"/modules.builtin "$modules"/modules.builtin.modinfo "$modules"/modules.order "$early/lib/modules/$version/"
"$depmod" -b "$(realpath "$modules/../../..")" "$version"
for part in drivers/ata drivers/virtio drivers/block/virtio_blk drivers/scsi/sd_mod drivers/scsi/virtio_scsi \
    drivers/scsi/sym53c8xx_2 drivers/net/virtio_net drivers/net/ethernet/intel/e1000 \
    drivers/net/ethernet/intel/e1000e drivers/net/ethernet/realtek drivers/char/virtio_console fs/ext4 crypto/crc32c_generic arch/x86/crypto/crc32c-intel; do
    grep "^kernel/$part[/.]" "$modules/modules.dep" || true
done | tr -d : | tr ' ' '\n' | sort -u >"$work/modules"
(cd "$modules" && xargs cp --parents -t "$early/lib/modules/$version") <"$work/modules"
"$depmod" -b "$early" "$version"
cat >"$early/init" <<'EOT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
modprobe -a crc32c_generic sd_mod ext4
load() { modprobe -qa $(cat $(find /sys/devices -name modalias) 2>/dev/null | sort -u) 2>/dev/null; }
load
load # devices behind devices
for turn in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    disk=$(findfs LABEL=root 2>/dev/null) && break
    sleep 1
    load
done
mount -o ro "$disk" /root || exec sh
for place in dev proc sys; do mount --move /$place /root/$place; done
exec switch_root /root /bin/busybox init
EOT
chmod +x "$early/init"
mkdir -p "$root/boot"
cp "$packages/boot/$kernel" "$root/boot/vmlinuz"
(cd "$early" && find . | cpio -o -H newc --quiet --owner=0:0 | gzip -1) >"$root/boot/initrd"

# --- the system --------------------------------------------------------------------------------------------
for place in bin dev etc proc sys tmp run root; do mkdir -p "$root/$place"; done
cp "$busybox" "$root/bin/busybox"
for name in sh init getty login cat ip ping readlink basename dirname sed grep ls mount hostname sleep reboot \
    poweroff awk; do
    ln -s busybox "$root/bin/$name"
done
echo linuxguest >"$root/etc/hostname"
echo 'root::0:0:root:/root:/bin/sh' >"$root/etc/passwd"
cat >"$root/etc/inittab" <<'EOT'
::sysinit:/etc/rcS
ttyS0::respawn:/bin/getty -L ttyS0 115200 vt100
EOT
cat >"$root/etc/rcS" <<'EOT'
#!/bin/sh
# What this guest sees of its machine, one line each.
export PATH=/bin
mount -o remount,rw /
hostname -F /etc/hostname
drivers() { # of a device and those that it hangs on, PCI bridges aside
    place=$(readlink -f "$1")
    while [ "$place" != /sys/devices ] && [ "$place" != / ]; do
        driver=$(basename "$(readlink "$place/driver")")
        case $driver in '' | pcieport) ;; *) printf ' %s' "$driver" ;; esac
        place=$(dirname "$place")
    done
}
disk=$(sed -n 's,^/dev/\([a-z]*\)[0-9]* / .*,\1,p' /proc/mounts)
echo "sees: disk $disk by$(drivers /sys/block/$disk/device)"
for nic in /sys/class/net/*/device; do
    [ -e "$nic" ] || continue
    name=$(basename "$(dirname "$nic")")
    ip link set "$name" up
    ip addr add 10.0.2.15/24 dev "$name"
    answer=silence
    for turn in 1 2 3 4 5 6 7 8 9 10; do # a link takes its time
        ping -c 1 -W 1 10.0.2.2 >/dev/null 2>&1 && answer="an answer" && break
    done
    echo "sees: NIC by$(drivers "$nic") with $answer"
done
echo "sees: machine $(cat /sys/class/dmi/id/product_name)"
for device in /sys/bus/pci/devices/*; do
    case $(cat "$device/class") in
        0x03*) echo "sees: display $(cat "$device/vendor"):$(cat "$device/device")" ;;
    esac
done
for port in /sys/class/virtio-ports/*; do
    [ ! -e "$port" ] || echo "sees: port $(cat "$port/name")"
done
echo >>/started && echo 'sees: a disk that can be written'
sync
EOT
chmod +x "$root/etc/rcS"
mkdir -p "$root/boot/grub"
cat >"$root/boot/grub/grub.cfg" <<'EOT'
linux /boot/vmlinuz console=ttyS0 quiet
initrd /boot/initrd
boot
EOT

# --- the disk: GRUB as grub-install puts it, boot.img in the first sector, the core behind it ----------------
echo 'search.fs_label root root
configfile /boot/grub/grub.cfg' >"$work/grub.cfg"
grub=$packages/usr/lib/grub/i386-pc
"$packages/usr/bin/grub-mkimage" -d "$grub" -O i386-pc -o "$work/core.img" -c "$work/grub.cfg" -p /boot/grub \
    biosdisk part_msdos ext2 search_label configfile linux
[ "$(stat -c %s "$work/core.img")" -lt $((2047 * 512)) ]
mke2fs -q -t ext4 -L root -d "$root" "$work/root.ext4" 60M
size=$(stat -c %s "$work/root.ext4")
truncate -s $((size + 1048576)) "$work/disk"
copy() { dd if="$1" of="$work/disk" bs="$2" seek="$3" conv=notrunc status=none; }
octets() { for octet in "$@"; do printf "\\$(printf %03o "$octet")"; done; }
number() { octets $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) $(($1 >> 24 & 255)); }
head -c 440 "$grub/boot.img" >"$work/boot"
{ # the one partition: active, Linux, from sector 2048 to the end
    octets 128 254 255 255 131 254 255 255
    number 2048
    number $((size / 512))
} >"$work/table"
octets 85 170 >"$work/signature"
copy "$work/boot" 1 0
copy "$work/table" 1 446
copy "$work/signature" 1 510
copy "$work/core.img" 512 1
copy "$work/root.ext4" 1048576 1
qemu-img convert -O qcow2 "$work/disk" "$image.new"
mv "$image.new" "$image"
rm -rf "$work"
