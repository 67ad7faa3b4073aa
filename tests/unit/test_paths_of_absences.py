# SPDX-License-Identifier: GPL-2.0-or-later
"""What a remove keeps out is reported with its key, as if it were there."""

from __future__ import annotations

import pytest
from strategies import MemoryStore

import virtProfile
from virtProfile.errors import ConflictError

VM = (
    "<domain type='kvm'><name>vp</name><memory>1048576</memory><iothreads>2</iothreads><vcpu>2</vcpu>"
    "<os><type arch='x86_64' machine='q35'>hvm</type></os><devices/></domain>"
)
#: What is added, and its path below the domain.
THINGS = {
    "<devices><disk type='file' device='disk'><source file='/b'/><target dev='vdb' bus='virtio'/></disk></devices>":
        "devices/disk[target/@dev='vdb']",
    "<devices><filesystem type='mount'><source dir='/a'/><target dir='share'/></filesystem></devices>":
        "devices/filesystem[target/@dir='share']",
    "<devices><interface type='user'><mac address='52:54:00:00:00:01'/></interface></devices>":
        "devices/interface[mac/@address='52:54:00:00:00:01']",
    "<cputune><vcpupin vcpu='1' cpuset='0'/></cputune>": "cputune/vcpupin[@vcpu='1']",
    "<cpu mode='host-model'><feature policy='require' name='vmx'/></cpu>": "cpu/feature[@name='vmx']",
    "<devices><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng></devices>": "devices/rng",
}  # fmt: skip


def store_of(inner: str, select: str) -> MemoryStore:
    return MemoryStore(
        [
            f"<profile name='adds' version='1'><add>{inner}</add></profile>",
            f"<profile name='removes' version='1'><remove select=\"{select}\"/></profile>",
        ]
    )


@pytest.mark.parametrize("inner, path", THINGS.items(), ids=list(THINGS.values()))
def test_a_thing_kept_out_has_its_key(inner: str, path: str) -> None:
    store = store_of(inner, path)
    wishes = [{"name": "adds", "priority": 20}, {"name": "removes", "priority": 50}]
    result = virtProfile.apply(VM, wishes, store=store)
    assert f"/domain/{path}" in [one.path for one in result.overridden]


@pytest.mark.parametrize("inner, path", THINGS.items(), ids=list(THINGS.values()))
def test_a_conflict_has_its_key(inner: str, path: str) -> None:
    wishes = [{"name": name, "priority": 20} for name in ("adds", "removes")]
    with pytest.raises(ConflictError) as caught:
        virtProfile.apply(VM, wishes, store=store_of(inner, path))
    assert f"/domain/{path}" in [one.path for one in caught.value.conflicts]
