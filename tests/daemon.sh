#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Runs a command beside a libvirtd that nobody else sees, with our hook:
#   unshare -m sh tests/daemon.sh CAPABILITIES-CACHE COMMAND...
# In a mount namespace of its own; all that the daemon writes is in memory and gone afterwards.
set -e
cache=$1
shift
top=$(cd "$(dirname "$0")/.." && pwd)
keep=$(mktemp -d)
mount --bind "$cache" "$keep"
mkdir -p /run/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt /etc/libvirt
for place in /run/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt /etc/libvirt; do
    mount -t tmpfs tmpfs "$place"
done
mkdir -p /var/cache/libvirt/qemu /etc/libvirt/hooks/qemu.d
cp -a "$keep/qemu/capabilities" /var/cache/libvirt/qemu/
umount "$keep"
rmdir "$keep"
cat > /etc/libvirt/qemu.conf <<EOT
stdio_handler = "file"
user = "root"
group = "root"
security_driver = "none"
remember_owner = 0
namespaces = []
swtpm_user = "root"
swtpm_group = "root"
EOT
cat > /etc/libvirt/hooks/qemu.d/virt-profile <<EOT
#!/bin/sh
export PYTHONPATH=$top
exec $top/contrib/libvirt/qemu.d/virt-profile "\$@"
EOT
chmod +x /etc/libvirt/hooks/qemu.d/virt-profile
libvirtd --pid-file /run/libvirt/ours.pid 2>/run/libvirt/ours.log &
daemon=$!
for _ in $(seq 100); do
    [ ! -S /run/libvirt/libvirt-sock ] || break
    sleep 0.1
done
status=0
"$@" || status=$?
kill "$daemon" || true
wait "$daemon" || true
exit "$status"
