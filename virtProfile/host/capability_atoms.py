# SPDX-License-Identifier: GPL-2.0-or-later
"""A domain capabilities document as a set of atoms, so that what hosts share is an intersection.

An atom is (path, value): an element that is supported, a word of an enumeration, a CPU
model and how usable it is, a number that is reached. `write` goes the other way. Elements
that no rule names are taken whole: equal or not shared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from virtProfile.format.element import child, text_of
from virtProfile.format.values import decimal, to_bytes

if TYPE_CHECKING:
    from lxml import etree

Atom = tuple[str, str]

#: Elements of the document that say for what it was made; they are no capabilities.
SUBJECT = ("path", "domain", "machine", "arch")
_HOST_MODEL = "cpu/mode[host-model]"
_CUSTOM = "cpu/mode[custom]"
#: The more the better: what is shared is the least (libvirt, "formatdomaincaps").
_LEAST = frozenset(
    {"vcpu/@max", "features/sev/maxGuests", "features/sev/maxESGuests", "features/sgx/section_size"}
)
#: The less the better.
_MOST = frozenset({"features/sev/reducedPhysBits"})
#: Without it its parent is of no use.
_VITAL = {"features/sev/cbitpos": "features/sev"}
_USABLE = {"yes": 2, "unknown": 1, "no": 0}


def atoms(root: etree._Element) -> frozenset[Atom]:
    """What a document says can be done."""
    return frozenset(_walk(root, ""))


def _step(path: str, element: etree._Element) -> str:
    name = element.get("name")
    step = element.tag if name is None else f"{element.tag}[{name}]"
    return f"{path}/{step}" if path else str(step)


def _walk(parent: etree._Element, path: str) -> Iterator[Atom]:
    for element in parent.iterchildren("*"):
        if not path and element.tag in SUBJECT:
            continue
        here = _step(path, element)
        if element.get("supported", "yes") != "yes":
            continue
        if here == "vcpu":
            yield "vcpu/@max", element.get("max", "0")
        elif element.tag == "value" and element.get("name") is None:
            yield path, text_of(element) or ""
        elif path == _CUSTOM and element.tag == "model":
            yield from _model(element)
        elif here == _HOST_MODEL:
            yield here, "supported"
            yield here, _content(element)
        elif element.get("supported") is not None or element.tag in (
            "enum",
            "os",
            "cpu",
            "devices",
            "features",
        ):
            if element.get("supported") is not None:
                yield here, "supported"
            yield from _walk(element, here)
        elif here in _LEAST or here in _MOST:
            yield here, str(_number(element))
        elif path != _CUSTOM:
            yield here, _content(element)


def _number(element: etree._Element) -> int:
    """A number, sizes in KiB."""
    text, unit = text_of(element) or "0", element.get("unit")
    size = to_bytes(text, unit, "KiB")
    return 0 if size is None else size // 1024


def _model(element: etree._Element) -> Iterator[Atom]:
    name = f"{_CUSTOM}/model[{text_of(element)}]"
    yield name, "known"
    usable = _USABLE.get(element.get("usable", "unknown"), 0)
    if usable:
        yield name, "not unusable"
    if usable == 2:
        yield name, "usable"
    if element.get("deprecated") != "yes":
        yield name, "not deprecated"


def _content(element: etree._Element) -> str:
    """All that is in an element, whatever its white space."""
    attrs = " ".join(f"{name!s}={value!r}" for name, value in sorted(element.attrib.items()))
    below = [f"{part.tag} {_content(part)}".strip() for part in element.iterchildren("*")]
    inner = f"{{{'; '.join(sorted(below))}}}" if below else text_of(element) or ""
    return f"{attrs} {inner}".strip()


def thresholds(found: Collection[frozenset[Atom]]) -> list[frozenset[Atom]]:
    """Numbers as steps that are reached, so that the intersection has the least (or the most).

    :param found: the atoms of every document
    """
    values: dict[str, set[int]] = {}
    for atoms_of in found:
        for path, value in atoms_of:
            number = decimal(value) if path in _LEAST or path in _MOST else None
            if number is not None:
                values.setdefault(path, set()).add(number)
    made = []
    for rows in found:
        atoms_ = set()
        for path, value in rows:
            number = decimal(value) if path in values else None
            if number is None:
                atoms_.add((path, value))
                continue
            if path in _LEAST:
                atoms_ |= {(path, f">={step}") for step in values[path] if step <= number}
            else:
                atoms_ |= {(path, f"<={step}") for step in values[path] if step >= number}
        made.append(frozenset(atoms_))
    return made


def told(atom: Atom) -> str:
    """An atom as a person reads it."""
    path, value = atom
    if path == _HOST_MODEL and value != "supported":
        return "the same host-model CPU"
    if value == "supported":
        return path
    if path.startswith(f"{_CUSTOM}/model["):
        name = path[len(_CUSTOM) + 7 : -1]
        return f"CPU model {name}" if value == "known" else f"CPU model {name} {value}"
    if value[:2] in (">=", "<="):
        return f"{path} {value}"
    return f"{path.replace('/enum[', ' [')} {value}".replace("[", "").replace("]", "")


# --- from atoms to a document ---------------------------------------------------


def write(root: etree._Element, shared: Collection[Atom]) -> Any:
    """What is left of a document that has all the shared atoms.

    :returns: a new element; the host-model CPU is left out where it is not shared
    """
    kept = set(shared)
    for vital, owner in _VITAL.items():
        if not any(path == vital for path, _ in kept):
            kept.discard((owner, "supported"))
    copy = deepcopy(root)
    _prune(copy, "", kept)
    return copy


def _prune(parent: etree._Element, path: str, kept: set[Atom]) -> None:
    for element in list(parent.iterchildren("*")):
        if not path and element.tag in SUBJECT:
            continue
        here = _step(path, element)
        if here == "vcpu":
            element.set("max", str(_reached("vcpu/@max", kept)))
        elif element.tag == "value" and element.get("name") is None:
            if (path, text_of(element) or "") not in kept:
                parent.remove(element)
        elif path == _CUSTOM:
            _prune_custom(parent, element, kept)
        elif here == _HOST_MODEL:
            if (here, _content(element)) not in kept:
                _unsupport(element)
        elif element.get("supported") is not None:
            if element.get("supported") == "yes" and (here, "supported") in kept:
                _prune(element, here, kept)
            else:
                _unsupport(element)
        elif element.tag in ("enum", "os", "cpu", "devices", "features"):
            _prune(element, here, kept)
        elif here in _LEAST or here in _MOST:
            _limit(element, here, kept)
        elif (here, _content(element)) not in kept:
            parent.remove(element)


def _prune_custom(parent: etree._Element, element: etree._Element, kept: set[Atom]) -> None:
    """Keep a named CPU model only if it is shared, usable only if it is so everywhere."""
    if element.tag != "model":
        parent.remove(element)  # why a model cannot be used on one host
        return
    name = f"{_CUSTOM}/model[{text_of(element)}]"
    if (name, "known") not in kept:
        parent.remove(element)
        return
    usable = "yes" if (name, "usable") in kept else "unknown" if (name, "not unusable") in kept else "no"
    element.set("usable", usable)
    if (name, "not deprecated") not in kept:
        element.set("deprecated", "yes")


def _limit(element: etree._Element, path: str, kept: set[Atom]) -> None:
    element.text = str(_reached(path, kept))
    if element.get("unit") is not None:
        element.set("unit", "KiB")


def _reached(path: str, kept: set[Atom]) -> int:
    numbers = [int(value[2:]) for at, value in kept if at == path and value[:2] in (">=", "<=")]
    return (max if path in _LEAST else min)(numbers, default=0)


def _unsupport(element: etree._Element) -> None:
    element.set("supported", "no")
    element.text = None
    for inner in list(element.iterchildren()):
        element.remove(inner)


# --- the host-model CPU ---------------------------------------------------------


def host_model(root: etree._Element) -> Any:
    """The element of the host-model CPU, or None where there is none to use."""
    cpu = child(root, "cpu")
    for mode in () if cpu is None else cpu.iterchildren("mode"):
        if mode.get("name") == "host-model" and mode.get("supported") == "yes":
            return mode
    return None


def shared_model(modes: list[Any]) -> Any | None:
    """A host-model CPU that all of several can be, where model and vendor are one; else None.

    Features that every host requires stay required; one that a host has to disable
    is disabled. What only some have is left to the model itself.
    """
    names = {(mode.findtext("model"), mode.findtext("vendor")) for mode in modes}
    if len(names) != 1:
        return None
    policies = [
        {row.get("name"): row.get("policy") for row in mode.iterchildren("feature")} for mode in modes
    ]
    copy = deepcopy(modes[0])
    for inner in list(copy.iterchildren("feature")):
        if not all(row.get(inner.get("name")) == "require" for row in policies):
            copy.remove(inner)
    disabled = {name for row in policies for name, policy in row.items() if policy == "disable"}
    for name in sorted(disabled):
        feature = copy.makeelement("feature", {"policy": "disable", "name": name})
        copy.append(feature)
    return copy
