# SPDX-License-Identifier: GPL-2.0-or-later
"""Machine type, NUMA, network and queues as profiles that do not know each other, on real QEMU.

Each combination is composed in every order, defined, started, and QEMU's own
device tree asked where the NICs are.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import placing
import pytest
import qtree
import strategies
from placing import Seen, add, apply, machine, nic, profile

import virtProfile

BRIDGE = "vpbr0"

NUMA = profile(
    "numa-2-nodes",
    add("<cpu><numa><cell id='0' cpus='0-1' memory='128' unit='MiB'/>"
        "<cell id='1' cpus='2-3' memory='128' unit='MiB'/></numa></cpu>"),
)  # fmt: skip
#: Two NICs: of the nodes 1 and 0 where they are wanted on a node.
PLAIN = profile("network", add(nic(BRIDGE, None)), add(nic(BRIDGE, None, "e1000")))
NFV = profile("network-nfv", add(nic(BRIDGE, 1)), add(nic(BRIDGE, 0, "e1000")))
MULTIQUEUE = profile(
    "multiqueue",
    "<default><devices><interface><model type='virtio'/><driver name='qemu' queues='{vp:min(vcpu, 8)}'/>"
    "</interface></devices></default>",
)
IOTHREADS = profile(
    "iothreads",
    add("<iothreads>2</iothreads>"),
    "<default><devices><disk><driver iothread='1'/><target bus='virtio'/></disk></devices></default>",
)
TUNING = {"none": [], "multiqueue": [MULTIQUEUE], "iothreads": [IOTHREADS]}

#: No machine type, no NUMA, no network: that is what the profiles are for.
SKETCH = """<domain type='qemu'>
  <name>vp-matrix</name>
  <memory unit='KiB'>262144</memory>
  <vcpu>4</vcpu>
  <os>
    <type>hvm</type>
  </os>
  <features>
    <acpi/>
  </features>
  <devices>
    <emulator>{emulator}</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='{disk}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <memballoon model='virtio'/>
  </devices>
</domain>
"""
COMBINATIONS = list(itertools.product(("pc", "q35"), (0, 2), ("plain", "nfv"), TUNING))


def chosen(name: str, nodes: int, network: str, tuning: str, arch: str = "x86_64") -> list[str]:
    return [
        machine(name, arch),
        *([NUMA] if nodes else []),
        NFV if network == "nfv" else PLAIN,
        *TUNING[tuning],
    ]


def sketch(disk: str = "/disk.img", emulator: str = "/usr/bin/qemu-system-x86_64") -> str:
    return SKETCH.format(disk=disk, emulator=emulator)


def expected(nodes: int, network: str) -> list[int | None]:
    return [1, 0] if nodes and network == "nfv" else [None, None]


@pytest.mark.parametrize(("name", "nodes", "network", "tuning"), COMBINATIONS)
def test_any_order_is_one_result(name: str, nodes: int, network: str, tuning: str) -> None:
    profiles = chosen(name, nodes, network, tuning)
    outputs = {apply(sketch(), *order, record=False).xml for order in placing.orders(profiles)}
    assert len(outputs) == 1
    assert Seen(outputs.pop()).nodes() == expected(nodes, network)


# --- QEMU ---------------------------------------------------------------------------


class Host:
    """An embedded QEMU driver with its event loop, and a disk for its guests."""

    def __init__(self, root: Path, connection: Any, libvirt: Any) -> None:
        self.libvirt = libvirt
        self.connection = connection
        self.disk = root / "disk.img"
        with self.disk.open("wb") as stream:
            stream.truncate(1 << 20)

    def define(self, xml: str) -> Any:
        return self.connection.defineXMLFlags(xml, self.libvirt.VIR_DOMAIN_DEFINE_VALIDATE)

    def inactive(self, domain: Any) -> str:
        flags = self.libvirt.VIR_DOMAIN_XML_INACTIVE | self.libvirt.VIR_DOMAIN_XML_SECURE
        return str(domain.XMLDesc(flags))

    def tree(self, domain: Any) -> qtree.Part:
        import libvirt_qemu

        flags = libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP
        return qtree.parse(libvirt_qemu.qemuMonitorCommand(domain, "info qtree", flags))

    def get(self, domain: Any, alias: str, name: str) -> Any:
        """A property of a device."""
        import libvirt_qemu

        arguments = {"path": f"/machine/peripheral/{alias}", "property": name}
        question = json.dumps({"execute": "qom-get", "arguments": arguments})
        return json.loads(libvirt_qemu.qemuMonitorCommand(domain, question, 0))["return"]


@pytest.fixture(scope="module")
def host(embedded_root: Path, embedded_qemu: Any) -> Host:
    import libvirt

    return Host(embedded_root, embedded_qemu, libvirt)


@pytest.fixture(scope="module")
def bridge() -> Iterator[None]:
    """A bridge without anything behind it: tap devices can do several queues, user networks cannot."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("only root makes bridges")
    done = subprocess.run(["ip", "link", "add", BRIDGE, "type", "bridge"], capture_output=True, text=True)
    if done.returncode and "exists" not in done.stderr:
        pytest.skip(f"no bridge: {done.stderr.strip()}")
    yield
    subprocess.run(["ip", "link", "delete", BRIDGE], check=True)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "nodes", "network", "tuning"), COMBINATIONS)
def test_defined_and_started(
    host: Host, bridge: None, name: str, nodes: int, network: str, tuning: str
) -> None:
    profiles = chosen(name, nodes, network, tuning)
    result = apply(sketch(str(host.disk)), *profiles)
    assert not result.warnings
    domain = host.define(result.xml)
    try:
        assert not apply(host.inactive(domain), *profiles).changed
        domain.createWithFlags(host.libvirt.VIR_DOMAIN_START_PAUSED)
        try:
            tree = host.tree(domain)
            thread = host.get(domain, "virtio-disk0", "iothread")
        finally:
            domain.destroy()
    finally:
        domain.undefine()
    nics = [qtree.by_id(tree, f"net{number}") for number in range(2)]
    assert [one.name for one in nics] == ["virtio-net-pci", "e1000"]
    assert [qtree.numa_node(tree, one) for one in nics] == expected(nodes, network)
    # Nothing else came to sit on a node.
    strays = {
        one.id
        for one in tree.walk()
        if one.kind == "dev" and one.id and qtree.numa_node(tree, one) is not None
    }
    assert all(one.startswith(("net", "pci.")) for one in strays), strays
    several = any(one.properties.get("mq") == "true" for one in nics[0].walk())
    assert several == (tuning == "multiqueue")
    assert thread == ("/objects/iothread1" if tuning == "iothreads" else "")


@pytest.mark.slow
@pytest.mark.parametrize("network", ["plain", "nfv"])
@pytest.mark.parametrize("nodes", [0, 2])
def test_aarch64(host: Host, bridge: None, nodes: int, network: str) -> None:
    emulator = shutil.which("qemu-system-aarch64")
    if emulator is None:
        pytest.skip("no qemu-system-aarch64")
    cpu = profile("cpu", add("<cpu mode='custom'><model>cortex-a57</model></cpu>"
                             "<features><gic version='2'/></features>"))  # fmt: skip
    profiles = [*chosen("virt", nodes, network, "none", "aarch64"), cpu]
    bare = sketch(str(host.disk), emulator).replace("<acpi/>", "")  # ACPI needs firmware there
    result = apply(bare, *profiles)
    domain = host.define(result.xml)
    try:
        assert not apply(host.inactive(domain), *profiles).changed
        domain.createWithFlags(host.libvirt.VIR_DOMAIN_START_PAUSED)
        try:
            tree = host.tree(domain)
        finally:
            domain.destroy()
    finally:
        domain.undefine()
    nics = [qtree.by_id(tree, f"net{number}") for number in range(2)]
    assert [qtree.numa_node(tree, one) for one in nics] == expected(nodes, network)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pc", "q35"])
def test_libvirts_own_form_grows(host: Host, name: str) -> None:
    """A defined VM gets more NICs: what it has keeps its place."""
    profiles = chosen(name, 2, "nfv", "none")
    before = host.define(apply(sketch(str(host.disk)), *profiles).xml)
    try:
        xml = host.inactive(before)
        more = profile("more", add(nic("br1", 0)), add(nic("br1", 1, "e1000e")))
        domain = host.define(apply(xml, *profiles, more).xml)
        seen, old = Seen(host.inactive(domain)), Seen(xml)
        assert seen.nodes() == [1, 0, 0, 1]
        for index, one in old.controllers.items():
            now = seen.controllers[index]
            assert (now.get("model"), seen.bus(now)) == (one.get("model"), old.bus(one))
        assert set(old.numbers().items()) <= set(seen.numbers().items())
        store = strategies.MemoryStore([*profiles, more])
        left = virtProfile.unapply(host.inactive(domain), ["more"], store=store)
        seen = Seen(host.inactive(host.define(left.xml)))
        assert seen.nodes() == [1, 0]
        assert old.numbers() == seen.numbers()
        nics = zip(old.root.findall("devices/interface"), seen.root.findall("devices/interface"), strict=True)
        for was, now in nics:
            assert was.find("mac").attrib == now.find("mac").attrib
            assert was.find("address").attrib == now.find("address").attrib
    finally:
        before.undefine()


#: One device of each row of the table of PCI devices, as far as libvirt 9.0 knows it.
KINDS = {
    "disk": "<disk type='file' device='disk' {}><driver name='qemu' type='raw'/><source file='/x'/><target dev='vdb' bus='virtio'/></disk>",
    "disk-vd": "<disk type='file' device='disk' {}><driver name='qemu' type='raw'/><source file='/x'/><target dev='vdb'/></disk>",
    "scsi": "<controller type='scsi' index='0' model='virtio-scsi' {}/>",
    "lsi": "<controller type='scsi' index='0' model='lsilogic' {}/>",
    "sata": "<controller type='sata' index='1' {}/>",
    "xhci": "<controller type='usb' index='1' model='qemu-xhci' {}/>",
    "ohci": "<controller type='usb' index='1' model='pci-ohci' {}/>",
    "ehci": "<controller type='usb' index='1' model='ehci' {}/>",
    "serial-bus": "<controller type='virtio-serial' index='0' {}/>",
    "hostdev": "<hostdev mode='subsystem' type='pci' managed='yes' {}><source>"
               "<address domain='0x0000' bus='0x06' slot='0x02' function='0x0'/></source></hostdev>",
    "mdev": "<hostdev mode='subsystem' type='mdev' model='vfio-pci' {}><source>"
            "<address uuid='c2177883-f1bb-47f0-914d-32a22e3a8804'/></source></hostdev>",
    "vhost-scsi": "<hostdev mode='subsystem' type='scsi_host' {}><source protocol='vhost' wwpn='naa.5123456789abcde0'/></hostdev>",
    "sound": "<sound model='ich6' {}/>",
    "ac97": "<sound model='ac97' {}/>",
    "rng": "<rng model='virtio' {}><backend model='random'>/dev/urandom</backend></rng>",
    "9p": "<filesystem type='mount' accessmode='passthrough' {}><source dir='/tmp'/><target dir='x'/></filesystem>",
    "vsock": "<vsock model='virtio' {}><cid auto='yes'/></vsock>",
    "shmem": "<shmem name='s' {}><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>",
    "input": "<input type='tablet' bus='virtio' {}/>",
    "watchdog": "<watchdog model='i6300esb' {}/>",
    "pci-serial": "<serial type='pty' {}><target type='pci-serial'/></serial>",
    "e1000e": "<interface type='user' {}><model type='e1000e'/></interface>",
    "rtl8139": "<interface type='user' {}><model type='rtl8139'/></interface>",
    "no-model": "<interface type='user' {}/>",
    "second-video": "<video {}><model type='qxl'/></video>",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pc", "q35"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_device(host: Host, name: str, kind: str) -> None:
    """libvirt takes each of them on the bus of a node."""
    device = KINDS[kind].format("virtuned:numa-node='1'")
    more = "<video><model type='vga'/></video>" if "video" in kind else ""
    wish = profile("wish", add(f"<devices>{more}{device}</devices>", "multiple='yes'" if more else ""))
    xml = sketch(str(host.disk)).replace("<memballoon model='virtio'/>", "<memballoon model='none'/>")
    domain = host.define(apply(xml, machine(name), NUMA, wish).xml)
    try:
        seen = Seen(host.inactive(domain))
    finally:
        domain.undefine()
    tag = device[1:].split()[0]
    assert 1 in seen.nodes(tag)
