# SPDX-License-Identifier: GPL-2.0-or-later
"""Types of single values of domain XML: what is allowed, and what means the same."""

from __future__ import annotations

import re
from typing import Any

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
_SIZE = re.compile(r"\s*([0-9]{1,40}(?:\.[0-9]{1,40})?)\s*([A-Za-z]*)\s*")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|[0-9]+")
#: the schema's pattern of a CPU set (basictypes, "cpuset")
_SET_PATTERN = r"([0-9]+(-[0-9]+)?|\^[0-9]+)(,([0-9]+(-[0-9]+)?|\^[0-9]+))*"
_SET_PART = re.compile(r"(\^?)([0-9]{1,5})(?:-([0-9]{1,5}))?")
#: No number of libvirt has more digits; Python refuses to read one of 4,300.
_DIGITS = 400
#: libvirt's virUUIDParse takes one with hyphens anywhere, or without; both cases
_UUID = re.compile(r"[0-9a-fA-F]{8}(-?)[0-9a-fA-F]{4}(?:\1[0-9a-fA-F]{4}){2}\1[0-9a-fA-F]{12}")
_MAC = re.compile(r"[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}")
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
    """Are two sizes the same number of bytes?"""
    if a == b and (unit_a or default) == (unit_b or default):
        return True
    size = to_bytes(a, unit_a, default)
    return size is not None and size == to_bytes(b, unit_b, default)


def cpu_set(text: str) -> frozenset[int] | None:
    """The numbers that a CPU or node set names (``0-3,^2``), or None where it is not one.

    Numbers of more than five digits are none: no libvirt takes as many CPUs.
    """
    inside: set[int] = set()
    outside: set[int] = set()
    for part in text.split(","):
        found = _SET_PART.fullmatch(part.strip())
        if found is None or (found[1] and found[3]):
            return None
        first = int(found[2])
        last = int(found[3] or first)
        if last < first:
            return None
        (outside if found[1] else inside).update(range(first, last + 1))
    return frozenset(inside - outside)


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
            for one in pattern[1:]:
                self._collect(one, words, resolve)

    def check(self, value: str) -> str:
        """What is wrong with a value, as one fact; "" where nothing is."""
        if self._free or value in self.values:
            return ""
        text = value.strip()
        if text in self.values or any(_fits(text, name, params) for name, params in self._data):
            return ""
        if self._data:
            told = " or ".join(dict.fromkeys(_tell(name, params) for name, params in self._data))
            if self.values:
                told += " or one of " + self._words()
            return f"'{value}' is not {told}"
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
        if a == b:
            return True
        if {"yes", "on"} <= self.values and {a, b} in ({"yes", "on"}, {"no", "off"}):
            return True
        if self._free and not self._data:
            return False
        if self._is_set:
            mine = cpu_set(a)
            return mine is not None and mine == cpu_set(b)
        if _UUID.fullmatch(a) and _UUID.fullmatch(b):
            return a.replace("-", "").lower() == b.replace("-", "").lower()
        if _NUMBER.fullmatch(a) and _NUMBER.fullmatch(b):
            return _number(a) == _number(b)
        return bool(_MAC.fullmatch(a)) and a.lower() == b.lower()


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
    if "pattern" in params:
        return f"of the form {params['pattern']}"
    low, high = params.get("minInclusive"), params.get("maxInclusive")
    if low is not None or high is not None:
        return f"a number from {low or '…'} to {high or '…'}"
    return {"positiveInteger": "a positive number"}.get(name, "a number" if name in _INTEGERS else name)
