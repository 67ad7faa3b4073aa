# SPDX-License-Identifier: GPL-2.0-or-later
"""Random edits of domains, as people and programs make them, valid before and after."""

from __future__ import annotations

import random
from collections import Counter
from copy import deepcopy
from typing import Any

import corpus
from lxml import etree

from virtProfile.format.schema import Schema

#: What is added somewhere in a domain, or below its devices.
NEW = (
    "<on_crash>preserve</on_crash>",
    "<title>changed</title>",
    "<iothreads>3</iothreads>",
    "<memoryBacking><nosharepages/></memoryBacking>",
    "<memtune><hard_limit unit='KiB'>9000000</hard_limit></memtune>",
    "<blkiotune><weight>700</weight></blkiotune>",
)
DEVICES = (
    "<disk type='file' device='disk'><source file='/new.img'/><target dev='vdx' bus='virtio'/></disk>",
    "<interface type='bridge'><source bridge='br9'/><model type='virtio'/></interface>",
    "<watchdog model='i6300esb' action='reset'/>",
    "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>",
    "<input type='tablet' bus='usb'/>",
    "<sound model='ich9'/>",
    "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.7'/></channel>",
    "<serial type='pty'><target port='3'/></serial>",
    "<graphics type='vnc' port='-1'/>",
    "<hostdev mode='subsystem' type='usb'><source><address bus='1' device='9'/></source></hostdev>",
)


def edited(text: str, seed: int) -> str | None:
    """The domain after one to four random edits, each valid by itself; None where none could be."""
    chance = random.Random(seed)
    schema = Schema.baseline()
    root = etree.fromstring(text.encode())
    for one in list(root.iter(etree.Comment, etree.ProcessingInstruction)):
        parent = one.getparent()
        if parent is not None:
            parent.remove(one)
    if schema.validate(root):
        return None
    wanted, done = chance.randint(1, 4), 0
    for _ in range(40):
        trial = deepcopy(root)
        if done < wanted and _edit(trial, chance) and not schema.validate(trial):
            if etree.tostring(trial) != etree.tostring(root):
                root, done = trial, done + 1
    after = etree.tostring(root, encoding="unicode")
    return after if done and flat(after) != flat(text) else None


#: Values that libvirt's documentation says are assumed, by the element's name.
ASSUMED = {
    ("memory", "unit", "KiB"),
    ("currentMemory", "unit", "KiB"),
    ("disk", "device", "disk"),
    ("disk", "type", "file"),
    ("cpu", "match", "exact"),
}


def flat(text: str) -> Counter[Any]:
    """All elements with their values: another way to compare than the one under test."""
    root = etree.fromstring(text.encode())
    return Counter(
        (
            "/".join([*(str(up.tag) for up in reversed(list(one.iterancestors()))), str(one.tag)]),
            tuple(
                sorted(
                    (name, str(int(value, 16)) if value[:2] == "0x" else value)
                    for name, value in one.attrib.items()
                    if (one.tag, name, value) not in ASSUMED
                )
            ),
            (one.text or "").strip(),
        )
        for one in root.iter("*")
        if one.tag not in ("features", "devices")
    )


def _edit(root: Any, chance: random.Random) -> bool:
    inner = [one for one in root.iter("*") if one is not root and one.tag not in ("name", "uuid", "devices")]
    inner = [one for one in inner if not any(up.tag == "metadata" for up in one.iterancestors())]
    what = chance.choice(
        ("value", "value", "text", "drop", "drop-attribute", "device", "device", "element", "gone")
    )
    if what in ("value", "drop-attribute"):
        slots = [(one, name) for one in inner for name in one.attrib]
        if not slots:
            return False
        one, name = chance.choice(slots)
        if what == "drop-attribute":
            del one.attrib[name]
        else:
            others = [each.get(name) for each in _corpus_values(one.tag, name)]
            one.set(name, chance.choice(others))
    elif what == "text":
        texts = [one for one in inner if one.text and one.text.strip() and not len(one)]
        if not texts:
            return False
        one = chance.choice(texts)
        one.text = str(int(one.text) + chance.randint(1, 9)) if one.text.isdigit() else one.text + "x"
    elif what == "drop":
        one = chance.choice(inner)
        one.getparent().remove(one)
    elif what == "element":
        new = etree.fromstring(chance.choice(NEW))
        if root.find(new.tag) is not None:
            return False
        root.append(new)
    else:
        devices = root.find("devices")
        if devices is None:
            return False
        if what == "gone":
            some = [one for one in devices.iterchildren("*") if one.tag != "emulator"]
            if not some:
                return False
            devices.remove(chance.choice(some))
        else:
            devices.append(etree.fromstring(chance.choice(DEVICES)))
    return True


_VALUES: dict[tuple[str, str], list[Any]] = {}


def _corpus_values(tag: str, name: str) -> list[Any]:
    """Elements of that tag that have that attribute, anywhere in the corpus."""
    if not _VALUES:
        for path, text in corpus.documents():
            if corpus.is_valid(path):
                for one in etree.fromstring(text.encode()).iter("*"):
                    for each in one.attrib:
                        _VALUES.setdefault((one.tag, each), []).append(one)
    return _VALUES[tag, name]


def pairs(count: int) -> list[tuple[str, str, str]]:
    """(file name, before, after) of that many corpus domains, spread over all of them."""
    found = []
    documents = [(path, text) for path, text in corpus.documents() if corpus.is_valid(path)]
    random.Random(7).shuffle(documents)
    for seed, (path, text) in enumerate(documents):
        after = edited(text, seed)
        if after is not None:
            found.append((path.name, text, after))
            if len(found) == count:
                break
    return found
