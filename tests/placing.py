# SPDX-License-Identifier: GPL-2.0-or-later
"""Domains and profiles for the tests of placement: none of the profiles mentions another."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import strategies
from lxml import etree

import virtProfile

NS = "xmlns:virtuned='http://virt-manager.org/schemas/virtuned/0.1'"


def profile(name: str, *actions: str) -> str:
    return f"<profile name='{name}' version='1' {NS}>{''.join(actions)}</profile>"


def add(text: str, attributes: str = "") -> str:
    return f"<add {attributes}>{text}</add>"


def nic(bridge: str = "br0", node: int | str | None = 1, model: str = "virtio", more: str = "") -> str:
    intent = "" if node is None else f" virtuned:numa-node='{node}'"
    return (
        f"<devices><interface type='bridge'{intent}><source bridge='{bridge}'/>"
        f"<model type='{model}'/>{more}</interface></devices>"
    )


def cells(count: int = 2) -> str:
    each = "".join(f"<cell id='{one}' cpus='{one}' memory='128' unit='MiB'/>" for one in range(count))
    return f"<memory unit='MiB'>{128 * count}</memory><vcpu>{count}</vcpu><cpu><numa>{each}</numa></cpu>"


def machine(name: str, arch: str = "x86_64") -> str:
    return profile(f"machine-{name}", add(f"<os><type arch='{arch}' machine='{name}'/></os>"))


NUMA = profile("numa", add(cells()))
NFV = profile("nfv", add(nic()))

SKETCH = """<domain type='qemu'>
  <name>vm</name>
  <os>
    <type arch='x86_64'>hvm</type>
  </os>
  <devices>
    <memballoon model='none'/>
  </devices>
</domain>
"""


def domain(machine: str = "q35", devices: str = "", numa: int = 2, arch: str = "x86_64") -> str:
    """A whole domain with `numa` cells and more devices."""
    return (
        f"<domain type='qemu'>\n  <name>vm</name>\n  {cells(numa) if numa else '<memory>262144</memory>'}\n"
        f"  <os>\n    <type arch='{arch}' machine='{machine}'>hvm</type>\n  </os>\n"
        f"  <devices>\n    {devices}<memballoon model='none'/>\n  </devices>\n</domain>\n"
    )


def apply(xml: str, *profiles: str, priorities: dict[str, int] | None = None, **options: Any) -> Any:
    """Apply all profiles, in the order given."""
    store = strategies.MemoryStore(list(profiles))
    wishes = [{"name": name, "priority": (priorities or {}).get(name, 0)} for name in store.profiles]
    return virtProfile.apply(xml, wishes, store=store, **options)


def orders(profiles: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return itertools.permutations(profiles)


class Seen:
    """The PCI buses of a document, read by nothing of what is tested."""

    def __init__(self, xml: str) -> None:
        self.root = etree.fromstring(xml.encode())
        self.controllers = {
            int(one.get("index")): one for one in self.root.findall("devices/controller[@type='pci']")
        }

    def bus(self, device: Any) -> int | None:
        address = device.find("address[@type='pci']")
        return None if address is None else int(address.get("bus", "0"), 0)

    def node(self, device: Any) -> int | None:
        """The node of the expander bus that a device hangs on, at whatever depth."""
        bus = self.bus(device)
        while bus:
            one = self.controllers[bus]
            node = one.findtext("target/node")
            if node is not None:
                return int(node)
            bus = self.bus(one)
        return None

    def nodes(self, tag: str = "interface") -> list[int | None]:
        return [self.node(one) for one in self.root.findall(f"devices/{tag}")]

    def models(self) -> dict[int, str]:
        return {index: one.get("model") for index, one in self.controllers.items()}

    def numbers(self) -> dict[int, int]:
        """busNr of each expander, by index."""
        return {
            index: int(one.find("target").get("busNr"))
            for index, one in self.controllers.items()
            if one.find("target") is not None and one.find("target").get("busNr")
        }
