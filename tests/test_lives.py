# SPDX-License-Identifier: GPL-2.0-or-later
"""Random lives: VMs of libvirt's own tests, profiles cut out of others, people's edits, defines.

A life keeps two documents: the VM as it would be without any profile, and the one that profiles
were applied to. A person's edit is made in both. At any time, taking everything back from the
second gives the first (SPEC 7).
"""

from __future__ import annotations

import copy
import functools
import os
import random
from collections import Counter
from typing import Any

import corpus
import pytest
from lxml import etree
from strategies import MemoryStore, seeds
from test_lifecycle import meaning

import virtProfile
from virtProfile.errors import ProfileError
from virtProfile.format.schema import Schema

#: Of these lives: a seed of their own.
SEED = os.environ.get("VIRT_PROFILE_LIVES_SEED", "20261129")
SCHEMA = Schema.baseline()
SAMPLE = 60
#: How many the slow part tries, and a fifth as many through libvirt; the nightly run tries 5,000.
LIVES = int(os.environ.get("VIRT_PROFILE_LIVES", "500"))
EDITS = ("text", "attribute", "no attribute", "no element", "duplicate", "reorder")
#: Parts of a domain that are no wishes of a profile.
NOT_WISHES = {"name", "uuid", "metadata", "devices", "os", "genid"}
#: Through libvirt: one is cut down to the other at define, which is tested by itself.
MEMORY = {"memory", "currentMemory", "maxMemory"}
#: What a person does not edit at random: it is what the domain is.
NOT_EDITED = {"domain", "name", "uuid", "os", "type", "metadata", "devices", "memory", "emulator"}


@functools.cache
def fragments() -> tuple[Any, ...]:
    """Top elements and devices of real documents."""
    found = []
    for _, root in seeds():
        found += [one for one in root.iterchildren("*") if one.tag not in NOT_WISHES and one.tag[:1] != "{"]
        found += list(root.iterfind("devices/*"))
    found = [one for one in found if one.tag != "controller" or one.get("type") != "pci"]  # libvirt's own
    return tuple(one for one in found if one.tag not in ("emulator", "address"))


def cut(chance: random.Random, element: Any) -> Any:
    """An element with some of its parts left out."""
    whole = copy.deepcopy(element)
    whole.tail = None
    emptied = {one.tag for one in whole.iter("*") if one.attrib or len(one)}
    for one in list(whole.iter("*")):
        if one.tag in ("address", "alias", "uuid") and one is not whole:
            one.getparent().remove(one)
        elif one is not whole and chance.random() < 0.25:
            one.getparent().remove(one)
        elif "unit" not in one.attrib:
            for name in list(one.attrib):
                if chance.random() < 0.2:
                    del one.attrib[name]
    for one in whole.iter():
        if not isinstance(one.tag, str):
            continue
        one.tail = None
        if len(one):
            one.text = None
    for one in reversed([*whole.iterdescendants("*")]):
        if not (one.attrib or len(one) or (one.text or "").strip()) and one.tag in emptied:
            one.getparent().remove(one)  # libvirt drops what says nothing
    return whole


def profile(chance: random.Random, name: str, through_libvirt: bool = False) -> str:
    """A profile of one to three fragments; through libvirt none of what it derives or drops."""
    actions = []
    for _ in range(chance.randint(1, 3)):
        element = chance.choice(fragments())
        device = element.getparent().tag == "devices"
        if through_libvirt and not device and element.tag in MEMORY:
            continue
        text = etree.tostring(cut(chance, element), encoding="unicode", with_tail=False)
        text = text.replace("{", "{{").replace("}", "}}")
        words = chance.choice(["add", "add", "add multiple='no'", "default", "remove"])
        if device:
            text = f"<devices>{text}</devices>"
        elif through_libvirt and words == "remove":
            continue  # libvirt writes its own defaults again
        bare = not (element.attrib or len(element)) or text.strip().endswith("/>") and " " not in text
        if through_libvirt and bare and not (element.text or "").strip():
            continue
        actions.append(f"<{words}>{text}</{words.split()[0]}>")
    actions = actions or ["<add><title>vp</title></add>"]
    return f"<profile name='{name}' version='1'>{''.join(actions)}</profile>"


def places(root: Any) -> dict[str, Any]:
    """Elements that can be told apart by what they are, where and with what."""
    found: dict[str, list[Any]] = {}

    def walk(element: Any, way: str) -> None:
        if element.tag == "metadata":
            return
        way += f"/{element.tag}{sorted(element.attrib.items())}{(element.text or '').strip()}"
        found.setdefault(way, []).append(element)
        for one in element.iterchildren("*"):
            walk(one, way)

    walk(root, "")
    return {way: ones[0] for way, ones in found.items() if len(ones) == 1 and ones[0].tag not in NOT_EDITED}


def alike(element: Any, other: Any) -> bool:
    """Are two elements equal with all that is in them?"""
    return (
        element.tag == other.tag
        and dict(element.attrib) == dict(other.attrib)
        and (element.text or "").strip() == (other.text or "").strip()
        and len(element) == len(other)
        and all(map(alike, element, other))
    )


def meant(text: str) -> Any:
    """What a document says; libvirt puts controllers in an order of its own."""
    root = etree.fromstring(text.encode())
    devices = root.find("devices")
    if devices is not None:
        controllers = devices.findall("controller")
        devices.extend(sorted(controllers, key=lambda one: sorted(one.attrib.items())))
    return meaning(etree.tostring(root, encoding="unicode"))


def edit(chance: random.Random, kind: str, element: Any, other: Any) -> None:
    """The same edit of the same element in two documents."""
    number = chance.randint(1, 99)
    for one in (element, other):
        if kind == "text" and (one.text or "").strip():
            one.text = str(number) if one.text.strip().isdigit() else "vp"
        elif kind == "attribute" and one.attrib:
            name = sorted(one.attrib)[number % len(one.attrib)]
            one.set(name, str(number) if one.get(name).isdigit() else f"{one.get(name)}-vp")
        elif kind == "no attribute" and one.attrib:
            del one.attrib[sorted(one.attrib)[number % len(one.attrib)]]
        elif kind == "no element":
            one.getparent().remove(one)
        elif kind == "duplicate":
            one.addnext(copy.deepcopy(one))
        elif kind == "reorder" and one.getprevious() is not None:
            one.getparent().insert(0, one)


class Life:
    """One VM, from its birth to the last profile taken back."""

    def __init__(self, chance: random.Random, text: str, through_libvirt: bool = False) -> None:
        self.chance = chance
        self.plain = text
        self.applied = text
        self.names = [f"p{number}" for number in range(chance.randint(1, 3))]
        self.store = MemoryStore([profile(chance, name, through_libvirt) for name in self.names])
        self.outcomes: Counter[str] = Counter()

    def run(self) -> None:
        for _ in range(self.chance.randint(2, 5)):
            step = self.chance.choice([self.apply, self.apply, self.edit, self.take_one_back])
            step()
            self.check()

    def apply(self) -> None:
        chance = self.chance
        names = chance.sample(self.names, chance.randint(1, len(self.names)))
        wishes = [{"name": name, "priority": chance.choice([0, 50, 98, 100, 120])} for name in names]
        try:
            result = virtProfile.apply(self.applied, wishes, store=self.store)
        except ProfileError as problem:
            self.outcomes[problem.code] += 1
            return
        self.outcomes["applied"] += 1
        again = virtProfile.apply(result.xml, store=self.store)
        assert again.xml == result.xml, "I2"
        self.applied = result.xml

    def take_one_back(self) -> None:
        try:
            self.applied = virtProfile.unapply(
                self.applied, [self.chance.choice(self.names)], store=self.store
            ).xml
        except ProfileError as problem:
            assert problem.code in ("usage", "conflict", "completion", "invalid-domain"), problem
            self.outcomes[problem.code] += 1
            return
        self.outcomes["taken back"] += 1

    def edit(self) -> None:
        one, other = (etree.fromstring(text.encode()) for text in (self.plain, self.applied))
        here, there = places(one), places(other)
        both = sorted(set(here) & set(there))
        if not both:
            return
        way = self.chance.choice(both)
        kind = self.chance.choice(EDITS)
        if kind == "duplicate" and not alike(here[way], there[way]):
            return  # the copy would have what a profile wrote, and be a person's own from now on
        valid = not SCHEMA.validate(one)
        edit(self.chance, kind, here[way], there[way])
        if valid and SCHEMA.validate(one):
            return  # libvirt would not have taken it
        self.plain, self.applied = (etree.tostring(root, encoding="unicode") for root in (one, other))
        self.outcomes[kind] += 1

    def check(self) -> None:
        """Everything taken back is the VM without profiles."""
        back = virtProfile.unapply(self.applied, store=self.store)
        assert meant(back.xml) == meant(self.plain), "I7"


def lives(count: int, first: int = 0) -> Counter[str]:
    documents = [text for text, _ in seeds() if "<domain" in text]
    outcomes: Counter[str] = Counter()
    failed = []
    for number in range(first, first + count):
        chance = random.Random(f"{SEED}-{number}")
        life = Life(chance, chance.choice(documents))
        try:
            life.run()
        except (AssertionError, ProfileError, ValueError) as problem:
            failed.append(f"life {number}: {type(problem).__name__} {str(problem)[:300]}")
        outcomes += life.outcomes
    print(f"{count} lives: {dict(outcomes)}, {len(failed)} failed")
    assert not failed, f"{len(failed)} of {count} lives:\n" + "\n".join(failed[:30])
    return outcomes


def test_random_lives_sampled() -> None:
    outcomes = lives(SAMPLE)
    assert outcomes["applied"] > SAMPLE / 4


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_random_lives(part: int) -> None:
    lives(LIVES // 10, part * LIVES // 10)


def definable(handle: Any) -> list[str]:
    """Documents of the corpus that this libvirt defines, as it writes them."""
    from test_define_roundtrip import define

    libvirt = pytest.importorskip("libvirt")
    found = []
    for path, text in corpus.documents():
        if "qemuxml2argvdata" in str(path) and corpus.is_valid(path) and "x86_64" in text:
            try:
                found.append(define(handle, define(handle, text)))
            except libvirt.libvirtError:
                continue
    return found


def through_libvirt(handle: Any, count: int, first: int) -> None:
    """Lives with defines: nothing is pending after one, and taken back is as never applied."""
    from test_define_roundtrip import define, without_bookkeeping

    libvirt = pytest.importorskip("libvirt")
    documents = definable(handle)
    if not documents:
        pytest.skip("no corpus")
    outcomes: Counter[str] = Counter()
    failed = []
    for number in range(first, first + count):
        chance = random.Random(f"{SEED}-define-{number}")
        life = Life(chance, chance.choice(documents), True)
        try:
            life.apply()
            if life.applied == life.plain:
                continue
            try:
                defined = define(handle, life.applied)
            except libvirt.libvirtError as problem:
                outcomes[f"refused: {str(problem).partition(':')[0]}"] += 1
                continue
            again = virtProfile.apply(defined, store=life.store)
            assert not again.changes, ("pending", [str(one) for one in again.changes][:2])
            back = define(handle, virtProfile.unapply(define(handle, again.xml), store=life.store).xml)
            before, after = without_bookkeeping(life.plain), without_bookkeeping(back)
            assert before == after, (list((before - after).items())[:3], list((after - before).items())[:3])
            outcomes["through libvirt and back"] += 1
        except (AssertionError, ProfileError, libvirt.libvirtError) as problem:
            failed.append(f"life {number}: {type(problem).__name__} {str(problem)[:400]}")
    print(f"{count} lives with defines: {dict(outcomes)}, {len(failed)} failed")
    place = os.environ.get("VIRT_PROFILE_FAILURES")
    if place:
        with open(place, "a") as stream:
            stream.writelines(line + "\n" for line in failed)
    assert not failed, f"{len(failed)} of {count} lives:\n" + "\n".join(failed[:30])


def test_random_lives_through_libvirt_sampled(embedded_qemu: Any) -> None:
    through_libvirt(embedded_qemu, SAMPLE // 2, 0)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(5))
def test_random_lives_through_libvirt(embedded_qemu: Any, part: int) -> None:
    through_libvirt(embedded_qemu, LIVES // 25, LIVES // 25 * part)
