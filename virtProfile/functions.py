# SPDX-License-Identifier: GPL-2.0-or-later
"""The ``vp:`` functions of the profile language, and the variables of the context."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from . import machines
from .errors import MissingContextError, ProfileSyntaxError, nearest
from .guestos import WORDS, GuestOS
from .valuetypes import kib_of
from .worktree import child, text_of

if TYPE_CHECKING:
    from .context import Context

NAMESPACE = "http://virt-manager.org/schemas/virtuned/functions/0.1"
VARIABLES = ("capabilities", "domcapabilities", "host", "qemu_version")


class Surroundings:
    """What an expression can ask for besides the domain: bound to one context.

    `root` is the domain that is being judged.

    :param sketch: is the definition, before any profile, a sketch (`conditions.is_sketch`)?
    """

    def __init__(self, context: Context, sketch: bool = False) -> None:
        self.context = context
        self.is_sketch = sketch
        self.root: Any = None
        #: what the domain capabilities were asked for and do not have; the judge empties it
        self.lacking: list[str] = []

    # --- variables -----------------------------------------------------------

    def variable(self, name: str) -> Any:
        """The value of a variable of the context.

        :raises MissingContextError: nobody gave what it stands for
        """
        documents = self.context.documents
        if name == "capabilities":
            return [documents.capabilities_for(self.root)]
        if name == "domcapabilities":
            return [documents.domcapabilities_for(self.root)]
        if name == "host":
            return list(documents.capabilities_for(self.root).iterchildren("host"))
        return self._qemu_version()

    def _qemu_version(self) -> float:
        if self.context.qemu_version is not None:
            return float(self.context.qemu_version)
        documents = self.context.documents
        machine = documents.machine_of(self.root)
        if machine is not None:
            bound = machines.qemu_version(documents.canonical(machine, self.root))
            if bound is not None:
                return float(bound)
        raise MissingContextError(
            "the QEMU version is not known",
            hint="--qemu-version N gives it (7002022 is 7.2.22), or a connection",
        )

    # --- functions -----------------------------------------------------------

    def min(self, _: Any, *values: Any) -> float:
        return _extreme(min, values)

    def max(self, _: Any, *values: Any) -> float:
        return _extreme(max, values)

    def choose(self, _: Any, test: Any, yes: Any, no: Any) -> Any:
        return yes if _truth(test) else no

    def kib(self, _: Any, value: Any) -> float:
        """A size in KiB; plain numbers are KiB, as libvirt reads memory sizes."""
        unit = ""
        if isinstance(value, list):
            if not value:
                return math.nan
            value = value[0]
            owner = value.getparent() if hasattr(value, "is_attribute") else value
            if owner is not None and hasattr(owner, "get"):
                unit = owner.get("unit") or ""
            value = _string(value)
        size = kib_of(f"{_string(value)}", unit)
        return math.nan if size is None else size

    def machine(self, _: Any, name: Any) -> bool:
        wanted = _string(name)
        documents = self.context.documents
        machine = documents.machine_of(self.root)
        if machine is None:
            raise MissingContextError(
                "the machine type is not known",
                hint="the domain's <type arch='…' machine='…'> says it, or --capabilities FILE",
            )
        canonical = documents.canonical(machine, self.root)
        return wanted in (machine, canonical, machines.family(machine), machines.family(canonical))

    def supports(self, _: Any, element: Any, enum: Any = None, value: Any = None) -> bool:
        root = self.context.documents.domcapabilities_for(self.root)
        asked = _string(element)
        found = _capability(root, asked)
        holds = found is not None and found.get("supported", "yes") == "yes"
        if enum is not None:
            name, wanted = _string(enum), _string(value)
            asked = f"{asked} {name} '{wanted}'"
            holds = holds and _offers(found, name, wanted)
        if not holds:
            self.lacking.append(asked)
        return holds

    def _os(self) -> GuestOS:
        found = self.context.guest_os(self.root)
        if found is None:
            raise MissingContextError(
                "the guest OS is not known",
                hint="--osinfo ID gives it, or <virtuned:guest os='ID'/> in the metadata",
            )
        return found

    def os_supports(self, _: Any, word: Any) -> bool:
        text = _string(word)
        if text not in WORDS:
            raise ProfileSyntaxError(
                f"vp:os-supports('{text}'): no such word",
                hint=nearest(text, WORDS) or "known are " + ", ".join(WORDS),
            )
        return self._os().supports(text)

    def os_family(self, _: Any) -> str:
        return self._os().family

    def os_id(self, _: Any) -> str:
        return self._os().id

    def sketch(self, _: Any) -> bool:
        return self.is_sketch

    def version_at_least(self, _: Any, one: Any, other: Any) -> bool:
        return _numbers(_string(one)) >= _numbers(_string(other))

    def extensions(self) -> dict[tuple[str, str], Any]:
        """The functions as lxml takes them."""
        named = {
            "min": self.min,
            "max": self.max,
            "if": self.choose,
            "kib": self.kib,
            "machine": self.machine,
            "supports": self.supports,
            "os-supports": self.os_supports,
            "os-family": self.os_family,
            "os-id": self.os_id,
            "sketch": self.sketch,
            "version-at-least": self.version_at_least,
        }
        return {(NAMESPACE, name): function for name, function in named.items()}


def _capability(root: Any, name: str) -> Any:
    """An element of domain capabilities: a path, or a name below one of its sections."""
    if "/" in name:
        for step in name.split("/"):
            root = child(root, step) if root is not None else None
        return root
    for section in ("devices", "features", "os", "cpu", ""):
        parent = child(root, section) if section else root
        found = None if parent is None else child(parent, name)
        if found is not None:
            return found
    return None


def _extreme(choose: Any, values: tuple[Any, ...]) -> float:
    numbers: list[float] = []
    for value in values:
        if isinstance(value, list):
            if not value:
                return math.nan  # as number() of nothing
            numbers.extend(_number(_string(one)) for one in value)
        else:
            numbers.append(_number(value))
    if not numbers or any(math.isnan(one) for one in numbers):
        return math.nan
    return float(choose(numbers))


def _number(value: Any) -> float:
    if isinstance(value, bool):
        return 1.0 if value else 0.0
    if isinstance(value, (int, float)):
        return float(value)
    try:
        return float(str(value).strip())
    except ValueError:
        return math.nan


def _truth(value: Any) -> bool:
    if isinstance(value, float):
        return value != 0 and not math.isnan(value)
    return bool(value)


def _string(value: Any) -> str:
    """XPath's string() of a value, numbers without ``.0``."""
    if isinstance(value, list):
        return _string(value[0]) if value else ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return number_text(value)
    if hasattr(value, "itertext"):
        return "".join(value.itertext())
    return str(value)


def number_text(value: float) -> str:
    """A number as XPath's string() writes it: no ``.0``, no exponent, 15 digits."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value):
        return str(int(value))
    text = f"{value:.15g}"
    if "e" not in text:
        return text
    digits, _, exponent = text.partition("e")  # below 0.0001: all others are whole numbers
    sign = "-" if value < 0 else ""
    return f"{sign}0.{'0' * (-int(exponent) - 1)}{digits.lstrip('-').replace('.', '')}"


def _numbers(version: str) -> tuple[int, ...]:
    numbers = [int(part) for part in re.findall(r"\d+", version)]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


string_of = _string


def _offers(found: Any, name: str, wanted: str) -> bool:
    """Does an element of the domain capabilities list a value, or (cpu) a mode of that name?"""
    if any(
        text_of(one) == wanted
        for words in found.iterchildren("enum")
        if words.get("name") == name
        for one in words.iterchildren("value")
    ):
        return True
    return any(  # as of cpu: <mode name='host-model' supported='yes'>
        one.get("name") == wanted and one.get("supported", "yes") == "yes"
        for one in found.iterchildren(name if name.isidentifier() else "enum")
        if one.tag != "enum"
    )
