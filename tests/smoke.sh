#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The same few commands wherever virt-profile was installed, by whatever means:
#   tests/smoke.sh [BIN]      BIN: a directory that is looked in first
set -eu
[ $# -eq 0 ] || PATH=$1:$PATH
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place" # never in a checkout, whose files would be found
fail() { echo "FAILED: $*" >&2; exit 1; }

number=$(virt-profile --list -q | wc -l)
[ "$number" -gt 50 ] || fail "virt-profile --list: $number lines"
echo "ok: $number profiles are listed"

cat >vm.xml <<'EOX'
<domain type='kvm'>
  <name>smoke</name>
  <uuid>6695eb01-f6a4-8304-79aa-97f2502e193f</uuid>
  <memory unit='MiB'>64</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/a.img'/><target dev='vda' bus='virtio'/></disk>
  </devices>
</domain>
EOX
virt-profile --input vm.xml --profile rng --profile fast-disk >applied.xml || fail "virt-profile --profile"
grep -q "<rng model='virtio'" applied.xml && grep -q "cache='none'" applied.xml || fail "rng or fast-disk had no effect"
echo "ok: profiles are applied to a file"

virt-profile --input applied.xml --unapply all >back.xml || fail "virt-profile --unapply"
cmp vm.xml back.xml || fail "taking back left something"
echo "ok: and taken back, byte for byte"
