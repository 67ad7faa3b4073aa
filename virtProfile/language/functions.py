# SPDX-License-Identifier: GPL-2.0-or-later
"""The ``vp:`` functions of the profile language, and the variables of the context."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from virtProfile.errors import MissingContextError, ProfileSyntaxError, nearest
from virtProfile.format import machines
from virtProfile.format.element import child, text_of
from virtProfile.format.takes import takes
from virtProfile.format.values import cpu_set, kib_of
from virtProfile.frozen import record
from virtProfile.host.osinfo import WORDS, GuestOS

if TYPE_CHECKING:
    from lxml import etree

    from virtProfile.host.context import Context

NAMESPACE = "http://virt-manager.org/schemas/virtuned/functions/0.1"
#: Of a number in a version that count: Python refuses to read one of 4,300.
_DIGITS = 20
MANY = 99  # arguments of a function that takes any number


@record
class Function:
    """A ``vp:`` function; what checks, lists and describes it reads this.

    :ivar arguments: as they are written, ``element[, enum, value]``: what is in brackets is given
        whole or not at all, ``...`` repeats
    :ivar result: number, string, boolean or any
    :ivar needs: the part of the context that it asks for, a key of `context_needs.CONTEXT`, or ""
    :ivar call: takes the `Surroundings`, lxml's evaluation context, and the arguments; its
        docstring describes the function in the manual page
    """

    name: str
    arguments: str
    result: str
    needs: str
    call: Callable[..., Any]

    @property
    def counts(self) -> range:
        """How many arguments it takes."""
        needed, _, optional = self.arguments.partition("[")
        least = len(needed.split(",")) if needed else 0
        if self.arguments == "...":
            return range(1, MANY + 1)
        more = optional.count(",")
        return range(least, least + more + 1, more or 1)


@record
class Variable:
    """A variable that every profile has; the fields are those of `Function`."""

    name: str
    needs: str
    value: Callable[[Surroundings], Any]


#: by name, prefix and all
FUNCTIONS: dict[str, Function] = {}
VARIABLES: dict[str, Variable] = {}


def function(
    name: str, arguments: str = "", *, result: str, needs: str = ""
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a method of `Surroundings` a function of expressions; its docstring is its description."""

    def register(call: Callable[..., Any]) -> Callable[..., Any]:
        FUNCTIONS[f"vp:{name}"] = Function(f"vp:{name}", arguments, result, needs, call)
        return call

    return register


def variable(name: str, needs: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a method of `Surroundings` a variable of expressions; its docstring is its description."""

    def register(value: Callable[..., Any]) -> Callable[..., Any]:
        VARIABLES[name] = Variable(name, needs, value)
        return value

    return register


class Surroundings:
    """What an expression can ask for besides the domain: bound to one context.

    `root` is the domain that is being judged.

    :param sketch: is the definition, before any profile, a sketch (`conditions.is_sketch`)?
    :param definition: gives the root of the definition without any profile; None where there is none
    """

    def __init__(
        self,
        context: Context,
        sketch: bool = False,
        definition: Callable[[], etree._Element] | None = None,
    ) -> None:
        self.context = context
        self.is_sketch = sketch
        self.root: Any = None
        self._definition = definition
        #: what the domain capabilities were asked for and do not have; the judge empties it
        self.lacking: list[str] = []

    # --- variables -----------------------------------------------------------

    def value_of(self, name: str) -> Any:
        """The value of a variable of the context.

        :raises MissingContextError: nobody gave what it stands for
        """
        return VARIABLES[name].value(self)

    @variable("capabilities", needs="capabilities")
    def _capabilities(self) -> Any:
        """libvirt's capabilities of the host; of several, those that fit the domain's type, arch,
        machine and emulator"""
        return [self.context.documents.capabilities_for(self.root)]

    @variable("domcapabilities", needs="domcapabilities")
    def _domcapabilities(self) -> Any:
        """libvirt's domain capabilities; of several, those that fit the domain likewise"""
        return [self.context.documents.domcapabilities_for(self.root)]

    @variable("host", needs="capabilities")
    def _host(self) -> Any:
        """``$capabilities/host``"""
        return list(self.context.documents.capabilities_for(self.root).iterchildren("host"))

    @variable("definition", needs="")
    def _definition_root(self) -> Any:
        """the domain as it is without any profile: what profiles did to it before is taken back"""
        if self._definition is None:
            raise MissingContextError("there is no VM definition here")
        return [self._definition()]

    @variable("daemon", needs="daemon")
    def _daemon(self) -> Any:
        """the kind of libvirt daemon, ``system`` or ``session``, of the connection or ``--daemon``"""
        if self.context.daemon is None:
            raise MissingContextError(
                "the kind of libvirt daemon is not known",
                hint="--daemon system or --daemon session gives it, or a connection",
            )
        return self.context.daemon

    @variable("qemu_version", needs="qemu-version")
    def _qemu_version(self) -> Any:
        """QEMU's version as a number, 7002022; without a connection and ``--qemu-version`` that of
        the machine type, than which QEMU is not older: ask with ``>=``"""
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

    @function("min", "...", result="number")
    def min(self, _: object, *values: object) -> float:
        """the least of numbers and nodes; of nothing it is not a number"""
        return _extreme(min, values)

    @function("max", "...", result="number")
    def max(self, _: object, *values: object) -> float:
        """the greatest of numbers and nodes; of nothing it is not a number"""
        return _extreme(max, values)

    @function("if", "test, a, b", result="any")
    def choose(self, _: object, test: object, yes: object, no: object) -> object:
        """*a* where the test holds, else *b*"""
        return yes if _truth(test) else no

    @function("kib", "node", result="number")
    def kib(self, _: object, value: Any) -> float:
        """a size with its unit, in KiB, rounded up as libvirt does; without a unit it is in KiB"""
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

    @function("machine", "name", result="boolean", needs="machine")
    def machine(self, _: object, name: object) -> bool:
        """is that the machine type, in any version, as an alias or by default?"""
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

    @function("supports", "element[, enum, value]", result="boolean", needs="domcapabilities")
    def supports(self, _: object, element: etree._Element, enum: object = None, value: object = None) -> bool:
        """do the domain capabilities say so? ``vp:supports('graphics', 'type', 'spice')``,
        ``vp:supports('cpu', 'mode', 'maximum')``"""
        root = self.context.documents.domcapabilities_for(self.root)
        feature = _string(element)
        found = _capability(root, feature)
        holds = found is not None and found.get("supported", "yes") == "yes"
        if enum is not None:
            name, wanted = _string(enum), _string(value)
            feature = f"{feature} {name} '{wanted}'"
            holds = holds and _offers(found, name, wanted)
        if not holds:
            self.lacking.append(feature)
        return holds

    def _os(self) -> GuestOS:
        found = self.context.guest_os(self.root)
        if found is None:
            raise MissingContextError(
                "the guest OS is not known",
                hint="--osinfo ID gives it, or <virtuned:guest os='ID'/> in the metadata",
            )
        return found

    @function("os-supports", "word", result="boolean", needs="os")
    def os_supports(self, _: object, word: object) -> bool:
        """does libosinfo know that the guest's OS drives such a device: ``virtio-disk``, ``usb3``?"""
        text = _string(word)
        if text not in WORDS:
            raise ProfileSyntaxError(
                f"vp:os-supports('{text}'): no such word",
                hint=nearest(text, WORDS) or "known are " + ", ".join(WORDS),
            )
        return self._os().supports(text)

    @function("os-family", result="string", needs="os")
    def os_family(self, _: object) -> str:
        """libosinfo's family of the guest's OS, ``windows``, ``linux`` or another one"""
        return self._os().family

    @function("os-id", result="string", needs="os")
    def os_id(self, _: object) -> str:
        """libosinfo's short id of the guest's OS, such as ``fedora38``"""
        return self._os().id

    @function("version-at-least", "a, b", result="boolean")
    def version_at_least(self, _: object, version: object, least: object) -> bool:
        """is the dotted version *a* not lower than *b*?"""
        return _numbers(_string(version)) >= _numbers(_string(least))

    @function("item", "list, n", result="string")
    def item(self, _: object, members: object, number: object) -> str:
        """the *n*-th member, from 1, of a CPU or node set, in ascending order (``0-3,8`` has five),
        else of words separated by commas or spaces; an *n* beyond the end is an error"""
        text = _string(members)
        found = _members(text)
        wanted = _number(_string(number))
        if not wanted.is_integer() or not 1 <= wanted <= len(found):
            raise ProfileSyntaxError(
                f"vp:item('{text}', {_string(number)}): the list has {len(found)} members",
                hint="members are counted from 1; vp:count(list) is their number",
            )
        return found[int(wanted) - 1]

    @function("count", "list", result="number")
    def count(self, _: object, members: object) -> float:
        """the number of members of such a list"""
        return float(len(_members(_string(members))))

    @function("takes", "device, part[, value]", result="boolean")
    def takes(self, _: object, device: Any, part: object, value: object = None) -> bool:
        """can the device, being what it is, be given the part, with that value or with any?
        ``devices/interface[vp:takes(., 'driver/@queues')]`` are NICs of types that have queues,
        ``devices/disk[vp:takes(., 'target/@bus', 'sata')]`` disks that any bus carries; no such
        device is false"""
        if not isinstance(device, list):
            raise ProfileSyntaxError("vp:takes(device, part): the device is not an element of the domain")
        if not device:
            return False
        path = _string(part)
        wanted = None if value is None else _string(value)
        found = None
        if hasattr(device[0], "tag"):
            found = takes(self.context.domain_schema, device[0], path, wanted)
        if found is None:
            raise ProfileSyntaxError(
                f"vp:takes(device, '{path}'): libvirt's format has no such part of {_named(device[0])}",
                hint="the part is a path from the device, such as driver/@queues",
            )
        return found

    @function("sketch", result="boolean")
    def sketch(self, _: object) -> bool:
        """is the definition, before any profile, one that no libvirt keeps yet: without a UUID, or
        without a machine type? Nothing can be installed in it, so its firmware and machine may be
        chosen."""
        return self.is_sketch


def _named(node: Any) -> str:
    return f"<{node.tag}>" if hasattr(node, "tag") else f"'{node}'"


@lru_cache(4)  # vp:item asks for one list again for each vCPU
def _members(text: str) -> tuple[str, ...]:
    """The members of a CPU or node set in ascending order, else the words of a list."""
    numbers = cpu_set(text)
    if numbers is not None:
        return tuple(str(number) for number in sorted(numbers))
    return tuple(word for word in re.split(r"[,\s]+", text) if word)


def _capability(root: etree._Element, name: str) -> Any:
    """An element of domain capabilities: a path, or a name below one of its sections."""
    if "/" in name:
        element: etree._Element | None = root
        for step in name.split("/"):
            element = None if element is None else child(element, step)
        return element
    for section in ("devices", "features", "os", "cpu", ""):
        parent = child(root, section) if section else root
        found = None if parent is None else child(parent, name)
        if found is not None:
            return found
    return None


def _extreme(choose: Any, values: tuple[object, ...]) -> float:
    numbers: list[float] = []
    for value in values:
        if isinstance(value, list):
            if not value:
                return math.nan  # as number() of nothing
            numbers.extend(_number(_string(node)) for node in value)
        else:
            numbers.append(_number(value))
    if not numbers or any(math.isnan(number) for number in numbers):
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


def _truth(value: object) -> bool:
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
    numbers = [int(part[:_DIGITS]) for part in re.findall(r"[0-9]+", version)]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


string_of = _string


def _offers(found: Any, name: str, wanted: str) -> bool:
    """Does an element of the domain capabilities list a value, or (cpu) a mode of that name?"""
    if any(
        text_of(value) == wanted
        for words in found.iterchildren("enum")
        if words.get("name") == name
        for value in words.iterchildren("value")
    ):
        return True
    return any(  # as of cpu: <mode name='host-model' supported='yes'>
        element.get("name") == wanted and element.get("supported", "yes") == "yes"
        for element in found.iterchildren(name if name.isidentifier() else "enum")
        if element.tag != "enum"
    )
