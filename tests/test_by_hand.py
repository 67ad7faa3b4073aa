# SPDX-License-Identifier: GPL-2.0-or-later
"""What a person changes or takes out of what a profile wrote is the definition's (SPEC 7).

Generated: each value that a profile writes is edited and taken out, one at a time.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
from lxml import etree
from strategies import MemoryStore
from test_lifecycle import meaning

import virtProfile
from virtProfile.errors import ConflictError
from virtProfile.format.element import TEXT, same_value
from virtProfile.format.facts import rows
from virtProfile.format.schema import DATA, Schema

SCHEMA = Schema.baseline()
VM = (
    "<domain type='kvm'><name>vp</name><memory>4194304</memory>"
    "<os><type arch='x86_64' machine='q35'>hvm</type></os>"
    "<devices><disk type='file' device='disk'><source file='/vp.img'/><target dev='vda' bus='virtio'/></disk>"
    "<emulator>/usr/bin/qemu</emulator></devices></domain>"
)
#: What profiles write of which there can be only one, wholly new or in an element that is there.
SNIPPETS = [
    "<iothreads>2</iothreads>",
    "<title>a title</title>",
    "<on_crash>destroy</on_crash>",
    "<currentMemory unit='GiB'>2</currentMemory>",
    "<memtune><hard_limit unit='GiB'>8</hard_limit><soft_limit unit='GiB'>6</soft_limit></memtune>",
    "<vcpu placement='static' cpuset='0-3' current='2'>4</vcpu>",
    "<cputune><shares>2048</shares><period>100000</period><quota>50000</quota></cputune>",
    "<blkiotune><weight>500</weight></blkiotune>",
    "<memoryBacking><nosharepages/><locked/><source type='memfd'/><access mode='shared'/></memoryBacking>",
    "<cpu mode='custom' match='exact' check='none'><model fallback='forbid'>EPYC</model>"
    "<topology sockets='1' cores='2' threads='1'/></cpu>",
    "<cpu mode='host-passthrough' check='none' migratable='on'><cache mode='passthrough'/></cpu>",
    "<features><acpi/><smm state='on'><tseg unit='MiB'>48</tseg></smm><ioapic driver='kvm'/></features>",
    "<features><hyperv mode='custom'><relaxed state='on'/><spinlocks state='on' retries='8191'/></hyperv></features>",
    "<clock offset='variable' adjustment='10' basis='utc'/>",
    "<pm><suspend-to-mem enabled='no'/><suspend-to-disk enabled='no'/></pm>",
    "<os><bootmenu enable='yes' timeout='3000'/><smbios mode='host'/></os>",
    "<devices><memballoon model='virtio' autodeflate='on'><stats period='5'/></memballoon></devices>",
    "<devices><vsock model='virtio'><cid auto='no' address='5'/></vsock></devices>",
    "<devices><disk><target dev='vda'/><driver name='qemu' type='raw' cache='none' io='native'/></disk></devices>",
    "<devices><disk><target dev='vda'/><iotune><total_bytes_sec>1000</total_bytes_sec><total_iops_sec>50</total_iops_sec></iotune></disk></devices>",
]
#: Members of lists of settings: a part of their key edited makes them others.
MEMBERS = [
    "<cpu mode='custom' match='exact'><model fallback='forbid'>EPYC</model><feature policy='require' name='x2apic'/></cpu>",
    "<cputune><vcpupin vcpu='1' cpuset='2'/></cputune>",
    "<cpu><numa><cell id='0' cpus='0-1' memory='2097152' unit='KiB'/><cell id='1' cpus='2-3' memory='2097152' unit='KiB'/></numa></cpu>",
    "<iothreadids><iothread id='1'><poll max='5'/></iothread></iothreadids>",
    "<blkiotune><device><path>/dev/sda</path><weight>500</weight></device></blkiotune>",
    "<numatune><memnode cellid='0' mode='strict' nodeset='0'/></numatune>",
]
#: Where the schema does not say which other values there are.
OTHERS = {"model": "Nehalem", "title": "another title", "type": "qcow2", "cpuset": "1-2", "unit": "MiB"}


def values(root: Any) -> list[tuple[str, str, Any]]:
    """(XPath of the element, slot, node) of each value below a root."""
    found: list[tuple[str, str, Any]] = []
    tree = root.getroottree()

    def walk(element: Any, node: Any) -> None:
        for one in element:
            if one.tag == "metadata":
                continue
            inner = node.child(one.tag)
            path = tree.getpath(one)
            found.extend((path, "@" + name, inner) for name in one.attrib)
            if (one.text or "").strip():
                found.append((path, TEXT, inner))
            walk(one, inner)

    walk(root, SCHEMA.root)
    return found


def value(root: Any, path: str, slot: str) -> str | None:
    found = root.xpath(path)
    return None if not found else (found[0].text if slot == TEXT else found[0].get(slot[1:]))


def other(path: str, slot: str, node: Any, has: str) -> str | None:
    """Another value that may stand there."""
    name = path.rpartition("/")[2] if slot == TEXT else slot[1:]
    kind = node.text if slot == TEXT else node.attribute(name)
    if name in OTHERS and OTHERS[name] != has:
        return OTHERS[name]
    if has.isdigit():
        return str(int(has) + 1)
    return next((word for word in sorted(kind.values) if not same_value(node, slot, word, has)), None)


def store_of(kind: str, inner: str, newer: str = "") -> MemoryStore:
    texts = [f"<profile name='p' version='1'><{kind}>{inner}</{kind}></profile>"]
    if newer:
        texts.append(f"<profile name='p' version='2'><{kind}>{newer}</{kind}></profile>")
    return MemoryStore(texts)


def text_of(root: Any) -> str:
    return etree.tostring(root, encoding="unicode")


def written(applied: Any, inner: str) -> list[tuple[str, str, Any]]:
    """The values of the result that the profile wrote."""
    names = {
        *("@" + str(name) for one in etree.fromstring(f"<x>{inner}</x>").iter() for name in one.attrib),
        TEXT,
    }
    before = etree.fromstring(VM)
    return [
        (path, slot, node)
        for path, slot, node in values(applied)
        if value(before, path, slot) is None and slot in names
    ]


@pytest.mark.parametrize(
    "inner, kind",
    [(inner, kind) for inner in SNIPPETS for kind in ("add", "default")]
    + [(inner, "add") for inner in MEMBERS],
)
def test_a_changed_value_stays(inner: str, kind: str) -> None:
    """At the next apply, at an upgrade that wants something else or nothing, and at unapply."""
    store = store_of(kind, inner)
    upgraded = store_of(kind, inner, "<description>newer</description>")
    applied = virtProfile.apply(VM, [{"name": "p", "priority": 0}], store=store).xml
    done = 0
    for path, slot, node in written(etree.fromstring(applied), inner):
        if slot in node.key or (path.rpartition("/")[2], slot) == ("path", TEXT):
            continue
        edited = etree.fromstring(applied)
        has = value(edited, path, slot)
        assert has is not None
        new = other(path, slot, node, has)
        if new is None:
            continue
        element = edited.xpath(path)[0]
        if slot == TEXT:
            element.text = new
        else:
            element.set(slot[1:], new)
        text = text_of(edited)
        if SCHEMA.validate(copy.deepcopy(edited)):
            continue  # nothing that a person could define
        done += 1
        again = virtProfile.apply(text, store=store).xml
        assert value(etree.fromstring(again), path, slot) == new
        assert virtProfile.apply(again, store=store).xml == again
        for document in (text, again):
            back = virtProfile.unapply(document, store=store).xml
            assert value(etree.fromstring(back), path, slot) == new, (path, slot, back)
            back = virtProfile.unapply(document, store=MemoryStore([])).xml
            assert value(etree.fromstring(back), path, slot) == new
            newer = virtProfile.upgrade(document, store=upgraded).xml
            assert value(etree.fromstring(newer), path, slot) == new
            assert "newer" in newer
    assert done


@pytest.mark.parametrize("kind, priority", [("add", 0), ("add", 120), ("default", 0), ("default", 120)])
@pytest.mark.parametrize("inner", SNIPPETS)
def test_what_was_taken_out_stays_out(inner: str, kind: str, priority: int) -> None:
    """Only an `add` above the definition's priority brings it back; both for good."""
    store = store_of(kind, inner)
    applied = virtProfile.apply(VM, [{"name": "p", "priority": priority}], store=store).xml
    brought_back = kind == "add" and priority > 99
    places = written(etree.fromstring(applied), inner)
    whole = {path: node for path, _, node in places}
    cuts = [place for place in places if place[1] != TEXT] + [(path, "", whole[path]) for path in whole]
    done = 0
    for path, slot, node in cuts:
        edited = etree.fromstring(applied)
        element = edited.xpath(path)[0]
        if slot == "@unit" or slot in node.implied:
            continue  # another size; and what libvirt implies is there without being written
        if slot:
            del element.attrib[slot[1:]]
        else:
            element.getparent().remove(element)
        text = text_of(edited)
        if SCHEMA.validate(copy.deepcopy(edited)):
            continue
        done += 1

        def is_there(document: str) -> bool:
            found = etree.fromstring(document).xpath(path)  # noqa: B023
            return bool(found) and (not slot or found[0].get(slot[1:]) is not None)  # noqa: B023

        first = virtProfile.apply(text, store=store).xml
        assert is_there(first) == brought_back, (path, slot)
        assert virtProfile.apply(first, store=store).xml == first
        for document in (text, first):
            back = virtProfile.unapply(document, store=store).xml
            assert not is_there(back)
            assert virtProfile.unapply(document, store=MemoryStore([])).xml == back
    assert done


def test_an_equal_priority_is_a_conflict() -> None:
    store = store_of("add", SNIPPETS[0])
    text = virtProfile.apply(VM, [{"name": "p", "priority": 99}], store=store).xml
    with pytest.raises(ConflictError):
        virtProfile.apply(text.replace("<iothreads>2<", "<iothreads>6<"), store=store)


def test_a_stronger_profile_gives_the_edit_back() -> None:
    store = store_of("add", SNIPPETS[0])
    text = virtProfile.apply(VM, [{"name": "p", "priority": 120}], store=store).xml
    edited = text.replace("<iothreads>2<", "<iothreads>6<")
    again = virtProfile.apply(edited, store=store).xml
    assert "<iothreads>2<" in again
    assert virtProfile.unapply(again, store=store).xml == VM.replace("<os>", "<iothreads>6</iothreads><os>")


@pytest.mark.parametrize(
    "path", [row[0] for row in rows(f"{DATA}/units.tsv") if row[0].startswith("memtune/")]
)
def test_a_size_that_libvirt_rounds_up_is_nobodys_edit(path: str) -> None:
    """100 MB become 97,657 KiB at define."""
    tag = path.rpartition("/")[2]
    store = store_of("add", f"<memtune><{tag} unit='MB'>100</{tag}></memtune>")
    text = virtProfile.apply(VM, ["p"], store=store).xml
    defined = text.replace(f"<{tag} unit='MB'>100<", f"<{tag} unit='KiB'>97657<")
    assert defined != text
    assert virtProfile.apply(defined, store=store).xml == defined
    assert not virtProfile.status(defined, store=store).profiles[0].drift
    assert meaning(virtProfile.unapply(defined, store=store).xml) == meaning(VM)
