#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Makes the guest that ./dev measure starts, of Debian packages: a kernel, and all else in its initramfs.
#   guest.sh PLACE, with the packages in PLACE/apt/archives; result: PLACE/vmlinux, PLACE/initrd, and its files in PLACE/initramfs
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$1"
# Disks and NICs of every model that is measured; the rest comes with them.
drivers="virtio_pci virtio_blk virtio_scsi virtio_net virtio_balloon ahci ata_piix sd_mod e1000e"
programs="usr/bin/fio usr/bin/iperf3 usr/bin/openssl"

rm -rf root initramfs
mkdir root initramfs
for package in apt/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x -C root --keep-directory-symlink --exclude='./usr/share/*'
done
release=$(ls root/lib/modules)
# The kernel itself, which QEMU starts at its PVH entry: unpacking it is nothing that is measured.
python3 - root/boot/vmlinuz-* vmlinux <<'EOT'
import lzma
import sys

image = open(sys.argv[1], "rb").read()
open(sys.argv[2], "wb").write(lzma.LZMADecompressor().decompress(image[image.index(b"\xfd7zXZ\0") :]))
EOT

cd initramfs
mkdir -p bin dev proc sys tmp usr/bin lib64 "lib/modules/$release"
cp ../root/bin/busybox bin/
for applet in sh mount modprobe ip httpd wget sleep cat grep tr; do
    ln -s busybox "bin/$applet"
done
cp "$here/init" init
chmod +x init

# Programs with the libraries that their own loader asks for.
loader=lib64/ld-linux-x86-64.so.2
cp -L "../root/$loader" lib64/
for program in $programs; do
    cp "../root/$program" usr/bin/
    "../root/$loader" --library-path "$(find ../root/lib ../root/usr/lib -name '*.so*' -printf '%h\n' | sort -u | tr '\n' ':')" \
        --list "../root/$program" | sed -n 's,.* => \(\.\./root/[^ ]*\) .*,\1,p'
done | sort -u | while read -r library; do
    mkdir -p usr/lib/x86_64-linux-gnu
    cp -L "$library" usr/lib/x86_64-linux-gnu/
done

# Drivers with what they need, in the kernel's own places.
depmod -b ../root "$release"
for driver in $drivers; do
    modprobe -d "$PWD/../root" -S "$release" --show-depends "$driver" 2>/dev/null || true
done | sed -n 's,^insmod .*/root/,,p' | sort -u | while read -r module; do
    mkdir -p "$(dirname "$module")"
    cp "../root/$module" "$module"
done
cp "../root/lib/modules/$release/modules."order "../root/lib/modules/$release/modules."builtin* "lib/modules/$release/"
depmod -b . "$release"

find . | LC_ALL=C sort | cpio --quiet -o -H newc > ../initrd.new
cd ..
mv initrd.new initrd
rm -rf root
echo "guest: Linux $release, $(du -h initrd | cut -f1) of initramfs" >&2
