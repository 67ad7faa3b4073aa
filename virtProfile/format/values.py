# SPDX-License-Identifier: GPL-2.0-or-later
"""Types of single values of domain XML: what is allowed, and what means the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from virtProfile.format.patterns import compiled_later

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable


#: Bytes of each unit that libvirt's scaled values take (formatdomain, "memory"): KB is
#: 1000, KiB and K are 1024.
UNITS = {
    "b": 1,
    "bytes": 1,
    "byte": 1,
    **{
        name: base**power
        for power, letter in enumerate("kmgtpe", 1)
        for name, base in ((letter, 1024), (letter + "b", 1000), (letter + "ib", 1024))
    },
}

_SIZE = compiled_later(r"\s*([0-9]{1,40}(?:\.[0-9]{1,40})?)\s*([A-Za-z]*)\s*")

_C_SPACE = " \t\n\v\f\r"
#: What strtoul takes and libvirt lets it (virStrToLong_uip), of as many digits as fit 64 bits.
_DECIMAL = compiled_later(r"[ \t\n\v\f\r]*\+?[0-9]{1,20}")
_PREFIXED = compiled_later(r"[ \t\n\v\f\r]*\+?(0[xX][0-9a-fA-F]{1,16}|0[0-7]{0,22}|[1-9][0-9]{0,19})")
_NUMBER = compiled_later(r"0[xX][0-9a-fA-F]+|[0-9]+")
#: the schema's pattern of a CPU set (basictypes, "cpuset")
_SET_PATTERN = r"([0-9]+(-[0-9]+)?|\^[0-9]+)(,([0-9]+(-[0-9]+)?|\^[0-9]+))*"

_SET_PART = compiled_later(r"(\^?)([0-9]{1,5})(?:\s*-\s*([0-9]{1,5}))?")
#: No number of libvirt has more digits; Python refuses to read one of 4,300.
_DIGITS = 400
#: libvirt's virUUIDParse takes one with hyphens anywhere, or without; both cases
_UUID = compiled_later(r"[0-9a-fA-F]{8}(-?)[0-9a-fA-F]{4}(?:\1[0-9a-fA-F]{4}){2}\1[0-9a-fA-F]{12}")

_MAC = compiled_later(r"[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}")

_SWITCHES = {"yes": "on", "on": "on", "no": "off", "off": "off"}

_INTEGERS = {
    "unsignedInt": (0, 2**32 - 1),
    "unsignedLong": (0, 2**64 - 1),
    "unsignedShort": (0, 2**16 - 1),
    "unsignedByte": (0, 255),
    "int": (-(2**31), 2**31 - 1),
    "integer": (None, None),
    "long": (-(2**63), 2**63 - 1),
    "short": (-(2**15), 2**15 - 1),
    "positiveInteger": (1, None),
    "nonNegativeInteger": (0, None),
}


def decimal(text: str | None) -> int | None:
    """A number as libvirt reads indices, ids and drive addresses: 010 is ten; None for anything else."""
    return int(text) if text is not None and _DECIMAL.fullmatch(text) else None


def prefixed(text: str | None) -> int | None:
    """A number as libvirt reads PCI addresses and busNr: 0x10 is 16, 010 is 8; None for anything else."""
    if text is None or not _PREFIXED.fullmatch(text):
        return None
    digits = text.lstrip(_C_SPACE + "+")
    return int(digits, 8 if digits[0] == "0" and digits.isdigit() else 0)


def to_bytes(value: str | None, unit: str | None, default: str) -> int | None:
    """A size in bytes, or None where it is not one.

    :param unit: as written, or None
    :param default: the unit where none is written
    """
    if value is None:
        return None
    scale = UNITS.get((unit or default).lower())
    text = value.strip()
    if scale is None or not text.isascii() or not text.isdigit():
        return None
    return int(text) * int(scale) if len(text) <= _DIGITS else None


def kib_of(text: str, unit: str = "") -> float | None:
    """A size in KiB, of ``4194304``, ``4 GiB`` or ``4GiB``; None where it is none.

    Rounded up to whole KiB, as libvirt does (virDomainParseMemory).
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        return None
    scale = UNITS.get((unit or found.group(2) or "KiB").lower())
    if scale is None:
        return None
    whole, _, decimals = found.group(1).partition(".")
    return float(-(-int(whole + decimals) * scale // (10 ** len(decimals) * 1024)))


def same_size(a: str, unit_a: str | None, b: str, unit_b: str | None, default: str) -> bool:
    """Do two sizes mean the same?

    Those that are in KiB where no unit is written are kept by libvirt in whole KiB, rounded
    up (virDomainParseMemory): 100 MB are 97,657 KiB. Others count in bytes.
    """
    if a == b and (unit_a or default) == (unit_b or default):
        return True
    first, other = to_bytes(a, unit_a, default), to_bytes(b, unit_b, default)
    if first is None or other is None:
        return False
    grain = 1024 if default == "KiB" else 1
    return -(-first // grain) == -(-other // grain)


#: The highest number in a CPU or node set: libvirt's bitmaps of domains have 16,384 bits
#: (VIR_DOMAIN_CPUMASK_LEN; '16384' is refused, tests/test_values.py asks libvirt).
MAX_CPU = 16_383


def parse_cpuset(text: str) -> frozenset[int]:
    """The numbers of a CPU or node set such as ``0-3,^2``, as libvirt reads it.

    Parts count in order: ``^2`` takes out what was named before it, so ``^2,0-3`` is 0-3.
    A comma may end the set; ``^`` takes one number, no range.

    :raises ValueError: libvirt would refuse it (virBitmapParse)
    """
    numbers: set[int] = set()
    parts = text.split(",")
    if len(parts) > 1 and not parts[-1].strip():
        parts.pop()
    for part in parts:
        match = _SET_PART.fullmatch(part.strip())
        if match is None or (match[1] and match[3]):
            raise ValueError(f"'{text}' is not a set of CPUs such as 0-3,8")
        first = int(match[2])
        last = int(match[3] or first)
        if last > MAX_CPU or first > MAX_CPU:
            raise ValueError(f"'{text}' names a CPU above {MAX_CPU}, the highest that libvirt takes")
        if last < first:
            raise ValueError(f"'{text}' counts backwards")
        if match[1]:
            numbers.discard(first)
        else:
            numbers.update(range(first, last + 1))
    return frozenset(numbers)


def cpu_set(text: str) -> frozenset[int] | None:
    """The numbers of a set as `parse_cpuset` reads it, None where it is not a set."""
    try:
        return parse_cpuset(text)
    except ValueError:
        return None


def format_cpuset(numbers: Iterable[int]) -> str:
    """The shortest form: ranges for runs."""
    parts: list[str] = []
    ordered = sorted(set(numbers))
    at = 0
    while at < len(ordered):
        end = at
        while end + 1 < len(ordered) and ordered[end + 1] == ordered[end] + 1:
            end += 1
        first, last = ordered[at], ordered[end]
        parts.append(str(first) if first == last else f"{first}-{last}")
        at = end + 1
    return ",".join(parts)


class ValueType:
    """The type of an attribute or text, united over all variants of its element.

    `kind` is enum, bool, int, data or free; `values` are the words of a closed
    list. `required` in every variant.
    """

    __slots__ = ("kind", "values", "required", "_data", "_free", "_is_set", "_same")

    def __init__(self, patterns: list[Any], required: bool, resolve: Any) -> None:
        words: set[str] = set()
        self._data: list[tuple[str, dict[str, str]]] = []
        self._free = False
        self.required = required
        for pattern in patterns:
            self._collect(pattern, words, resolve)
        self.values = frozenset(words)
        self._is_set = any(params.get("pattern") == _SET_PATTERN for _, params in self._data)
        self._same: dict[tuple[str, str], bool] = {}
        if words and not self._data and not self._free:
            pairs = ({"yes", "no"}, {"on", "off"})
            self.kind = "bool" if words in pairs else "enum"
        elif self._data and all(name in _INTEGERS for name, _ in self._data) and not self._free:
            self.kind = "int"
        else:
            self.kind = "data" if self._data else "free"

    def _collect(self, pattern: Any, words: set[str], resolve: Any) -> None:
        kind = pattern[0]
        if kind == "value":
            words.add(pattern[1])
        elif kind == "data":
            entry = (pattern[1], dict(pattern[2]))
            if entry not in self._data:
                self._data.append(entry)
        elif kind in ("text", "list"):
            self._free = True
        elif kind == "ref":
            self._collect(resolve(pattern[1]), words, resolve)
        elif kind in ("choice", "group", "interleave", "some", "any"):
            for part in pattern[1:]:
                self._collect(part, words, resolve)

    @property
    def is_free(self) -> bool:
        """May it be any text?"""
        return self._free

    @property
    def data(self) -> list[tuple[str, dict[str, str]]]:
        """Its datatypes by their names in XML Schema, with their params."""
        return self._data

    def check(self, value: str) -> str:
        """What is wrong with a value, as one fact; "" where nothing is."""
        if self._free or value in self.values:
            return ""
        text = value.strip()
        if text in self.values or any(_fits(text, name, params) for name, params in self._data):
            return ""
        if self._data:
            wanted = " or ".join(dict.fromkeys(_tell(name, params) for name, params in self._data))
            if self.values:
                wanted += " or one of " + self._words()
            return f"'{value}' is not {wanted}"
        if not self.values:
            return "" if not text else f"'{value}' where nothing may stand"
        return f"'{value}' is not one of {self._words()}"

    def _words(self) -> str:
        words = sorted(self.values)
        shown = ", ".join(f"'{word}'" for word in words[:12])
        return shown + (f" and {len(words) - 12} more" if len(words) > 12 else "")

    def same(self, a: str, b: str) -> bool:
        """Do two values mean the same: 0x04 = 4, yes = on where both are taken?"""
        if a == b:
            return True
        key = (a, b)
        known = self._same.get(key)
        if known is None:
            if len(self._same) > 4096:
                self._same.clear()
            known = self._same[key] = self._equal(a.strip(), b.strip())
        return known

    def _equal(self, a: str, b: str) -> bool:
        return a == b or self._canonical(a) == self._canonical(b)

    def canonical(self, value: str) -> Hashable:
        """Equal for values that mean the same (see `same`): a key for tables."""
        return self._canonical(value.strip())

    def _canonical(self, text: str) -> Hashable:
        if {"yes", "on"} <= self.values and text in _SWITCHES:
            return _SWITCHES[text]
        if self._free and not self._data:
            return text
        if self._is_set:
            numbers = cpu_set(text)
            return text if numbers is None else numbers
        if _UUID.fullmatch(text):
            return text.replace("-", "").lower()
        if _NUMBER.fullmatch(text):
            return _number(text)
        return text.lower() if _MAC.fullmatch(text) else text


def _number(text: str) -> int | str:
    if len(text) > _DIGITS:
        return text
    return int(text, 16) if text[:2] in ("0x", "0X") else int(text)


def _fits(value: str, name: str, params: dict[str, str]) -> bool:
    bounds = _INTEGERS.get(name)
    if bounds is not None:
        if not re.fullmatch(r"[+-]?[0-9]+", value) or len(value) > _DIGITS:
            return False
        number = int(value)
        low, high = bounds
        low = int(params["minInclusive"]) if "minInclusive" in params else low
        high = int(params["maxInclusive"]) if "maxInclusive" in params else high
        if (low is not None and number < low) or (high is not None and number > high):
            return False
    elif name in ("double", "float", "decimal"):
        try:
            float(value)
        except ValueError:
            return False
    pattern = params.get("pattern")
    if pattern is not None:
        try:
            return re.fullmatch(pattern, value) is not None
        except re.error:
            return True
    return True


def _tell(name: str, params: dict[str, str]) -> str:
    low, high = params.get("minInclusive"), params.get("maxInclusive")
    plain = name in _INTEGERS and params.get("pattern") in ("[0-9]+", "(+|-)?[0-9]+", "-?[0-9]+")
    if "pattern" in params and not plain:
        return f"of the form {params['pattern']}"
    if plain and name != "positiveInteger" and low is None and params["pattern"] == "[0-9]+":
        low = "0"
    if low is not None or high is not None:
        return f"a number from {low or '…'}" + (f" to {high}" if high else "" if plain else " to …")
    return {"positiveInteger": "a positive number"}.get(name, "a number" if name in _INTEGERS else name)
