# SPDX-License-Identifier: GPL-2.0-or-later
"""Generated over the facts: sizes with their units, and values that exclude each other."""

from __future__ import annotations

import itertools

import pytest
from lxml import etree
from strategies import MemoryStore

import virtProfile
from virtProfile.errors import ProfileError
from virtProfile.format.facts import rows
from virtProfile.format.schema import DATA
from virtProfile.format.values import UNITS as SIZE_UNITS

UNITS = [row for row in rows(f"{DATA}/units.tsv") if not row[0].startswith("*")]
EXCLUSIONS = [(one, other) for one, other, *_ in rows(f"{DATA}/exclusions.tsv")]
SCALES = sorted(SIZE_UNITS)
#: What tells repeated elements apart on the way to a value.
KEYS = {
    "cell": {"id": "0", "cpus": "0"},
    "page": {},
    "memory": {"model": "dimm"},
    "filesystem": {"type": "mount"},
    "controller": {"type": "pci", "index": "0", "model": "pci-root"},
    "shmem": {"name": "vp"},
    "pstore": {"backend": "acpi-erst"},
    "iommu": {"model": "smmuv3"},
    "cachetune": {"vcpus": "0"},
    "cachetune/cache": {"id": "0", "level": "3", "type": "both"},
    "cell/cache": {"level": "3", "associativity": "none", "policy": "none"},
    "bandwidth": {"initiator": "0", "target": "0", "type": "access"},
    "disk": {"device": "disk", "type": "file"},
}
BASE = "<domain type='kvm'><name>vp</name><memory>1048576</memory><os><type arch='x86_64' machine='q35'>hvm</type></os></domain>"


def put(root: etree._Element, path: str, slot: str, value: str) -> etree._Element:
    """Write a value at a path, making the way; gives its element."""
    element = root
    for tag in path.split("/"):
        below = element.find(tag)
        if below is None:
            below = etree.SubElement(element, tag)
            if not (tag == "memory" and element is root):
                below.attrib.update(KEYS.get(tag) or KEYS.get(f"{element.tag}/{tag}", {}))
        if tag == "disk" and below.find("target") is None:
            etree.SubElement(below, "target", dev="vda", bus="virtio")
        element = below
    if slot == "text()":
        element.text = value
    elif slot:
        element.set(slot[1:], value)
    return element


def domain(*values: tuple[str, str, str]) -> str:
    root = etree.fromstring(BASE)
    for path, slot, value in values:
        put(root, path, slot, value)
    return etree.tostring(root, encoding="unicode")


def action(kind: str, *values: tuple[str, str, str]) -> str:
    root = etree.Element(kind)
    for path, slot, value in values:
        put(root, path, slot, value)
    inner = "".join(etree.tostring(below, encoding="unicode") for below in root)
    return f"<profile name='p' version='1'><{kind}>{inner}</{kind}></profile>"


def sized(path: str, slot: str, number: str, unit: str | None) -> list[tuple[str, str, str]]:
    found = [(path, slot, number)]
    return found if unit is None else [*found, (path, "@unit", unit)]


@pytest.mark.parametrize("row", UNITS, ids=lambda row: row[0])
def test_a_number_and_its_unit_are_one_value(row: list[str]) -> None:
    """Written over, applied again and taken back, for every unit before and after."""
    path, slot = row[0], row[1]
    done = 0
    pairs = set(itertools.product((None, "KiB", "MiB", "GiB"), repeat=2))
    for unit in SCALES:
        pairs |= {(None, unit), (unit, None), (unit, unit), (unit, "MiB"), ("KiB", unit)}
    for before, after in sorted(pairs, key=str):
        vm = domain(*sized(path, slot, "4", before))
        store = MemoryStore([action("add", *sized(path, slot, "8", after))])
        try:
            applied = virtProfile.apply(vm, [{"name": "p", "priority": 120}], store=store)
        except ProfileError as problem:
            assert problem.code in ("completion", "invalid-domain"), problem
            continue
        done += 1
        assert virtProfile.apply(applied.xml, store=store).xml == applied.xml
        (status,) = virtProfile.status(applied.xml, store=store).profiles
        assert not status.drift
        assert virtProfile.unapply(applied.xml, store=store).xml == vm
        assert virtProfile.unapply(applied.xml, store=MemoryStore([])).xml == vm
    assert done or path.startswith("devices/memory")


@pytest.mark.parametrize("row", UNITS, ids=lambda row: row[0])
def test_half_a_size_is_never_taken_away(row: list[str]) -> None:
    path, slot = row[0], row[1]
    vm = domain(*sized(path, slot, "4", "GiB"))
    select = f"<profile name='p' version='1'><remove select='{path}/@unit'/></profile>"
    store = MemoryStore([select])
    result = virtProfile.apply(vm, [{"name": "p", "priority": 120}], store=store)
    element = etree.fromstring(result.xml).find(path)
    assert element is not None and element.get("unit") == "GiB"
    assert [lost.wanted for lost in result.overridden] == [None]


#: values that are not a number
SPELLED = {"@firmware": "efi", "@socket": "/run/vp.sock", "@autoport": "yes", "@port": "5901"}


@pytest.mark.parametrize("kind", ["add", "default"])
@pytest.mark.parametrize("priority", [0, 50, 99, 100, 120])
@pytest.mark.parametrize("pair", [*EXCLUSIONS, *[pair[::-1] for pair in EXCLUSIONS]], ids=" ".join)
def test_what_excludes_each_other(pair: tuple[str, str], priority: int, kind: str) -> None:
    """The stronger stays alone, told or refused; a default never takes out what the VM says."""

    def value(place: str) -> tuple[str, str, str]:
        path, _, slot = place.rpartition("/")
        if slot[:1] != "@" and slot != "text()":
            return f"{place}/iothread", "@id", "1"
        if slot in SPELLED:
            return path, slot, SPELLED[slot]
        return path, slot, "/vp.fd" if path[:3] == "os/" else "1"

    has, wants = pair
    threads = ("iothreads", "text()", "2")
    display = [("devices/graphics", "@type", "vnc")] if "graphics" in has else []
    vm = domain(threads, *display, value(has))
    store = MemoryStore([action(kind, *display, value(wants))])
    try:
        result = virtProfile.apply(vm, [{"name": "p", "priority": priority}], store=store)
    except ProfileError as problem:
        assert problem.code in ("conflict", "invalid-domain", "completion"), problem
        return
    root, before = etree.fromstring(result.xml), etree.fromstring(vm)
    stays = root.find(has.rpartition("/")[0]) is not None
    if kind == "default" or priority < 99:
        at = value(has)
        assert stays and root.find(at[0]) is not None
        assert etree.tostring(root.find(at[0])) == etree.tostring(before.find(at[0]))
    assert virtProfile.apply(result.xml, store=store).xml == result.xml
    assert virtProfile.unapply(result.xml, store=store).xml == vm
