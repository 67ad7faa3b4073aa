# SPDX-License-Identifier: GPL-2.0-or-later
"""Values of a domain that are secrets, whoever wrote them: ``data/secrets.tsv``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from virtProfile.format.element import TEXT, Element, text_of
from virtProfile.format.facts import rows
from virtProfile.format.patterns import compiled_later
from virtProfile.format.schema import DATA

_PREDICATE = compiled_later(r"\[(?:[^\]']|'[^']*')*\]")
#: A value that short stands in too many places that have nothing to do with a secret:
#: it is hidden only where it is the whole of a value.
SHORTEST_PART = 4

_ROWS = [tuple(row[0].split("/")) for row in rows(f"{DATA}/secrets.tsv")]
#: (element, slot) -> names of the element above
_SLOTS: dict[tuple[str, str], set[str]] = {}
for *_above, _tag, _slot in _ROWS:
    _SLOTS.setdefault((_tag, _slot), set()).add(_above[-1] if _above else "")
#: Elements of which a value is a secret.
SECRET_TAGS = frozenset(tag for tag, _ in _SLOTS)
#: How a path that ends in one may look: as spelled, or with a predicate.
_MAYBE_SECRET = tuple({f"/{slot if slot != TEXT else tag}" for tag, slot in _SLOTS} | {"]"})
#: Without one of these words a text has no secret.
WORDS = tuple(sorted({slot[1:] if slot != TEXT else f"<{tag}" for tag, slot in _SLOTS}))


def is_secret_slot(above: str, tag: str, slot: str) -> bool:
    """Is that slot (``@name`` or ``text()``) of an element a secret?

    :param above: the name of the element that it stands in
    """
    names = _SLOTS.get((tag, slot))
    return names is not None and ("" in names or above in names)


def without_predicates(path: str) -> str:
    """A path with names alone."""
    return _PREDICATE.sub("", path)


def is_secret(path: str) -> bool:
    """Is the value at this path (spelled as `Change.path`) a secret?"""
    if not path.endswith(_MAYBE_SECRET):
        return False
    steps = without_predicates(path).split("/")
    last = steps.pop()
    slot = last if last[:1] == "@" else TEXT
    tag = steps.pop() if last[:1] == "@" and steps else last
    above = _SLOTS.get((tag, slot))
    return above is not None and ("" in above or bool(steps) and steps[-1] in above)


def secret_places(root: Element) -> Iterator[tuple[Element, str, str]]:
    """(element, slot, value) of every secret of a document."""
    for element in root.iter(*SECRET_TAGS):
        parent = element.getparent()
        above = "" if parent is None else str(parent.tag)
        for tag, slot in _SLOTS:
            if tag != element.tag or not is_secret_slot(above, tag, slot):
                continue
            value = text_of(element) if slot == TEXT else element.get(slot[1:])
            if value:
                yield element, slot, value


class SecretValues:
    """Values that are hidden wherever they stand."""

    def __init__(self, values: Iterable[str]) -> None:
        # of what is written as a text no white space around it is left
        spelled = {word for value in values for word in (value, value.strip())}
        found = sorted(spelled - {""}, key=len, reverse=True)
        self._long = [value for value in found if len(value) >= SHORTEST_PART]
        self._short = frozenset(value for value in found if len(value) < SHORTEST_PART)
        #: the same as `_long`, by length
        self._by_length: dict[int, set[str]] = {}
        for value in self._long:
            self._by_length.setdefault(len(value), set()).add(value)

    def __bool__(self) -> bool:
        return bool(self._long or self._short)

    def within(self, value: str | None) -> bool:
        """Does a value hold one of them, or is it one of the short ones?"""
        if value is None:
            return False
        if value in self._short:
            return True
        if len(self._by_length) * len(value) >= len(self._long):
            return any(secret in value for secret in self._long)
        return any(
            value[start : start + length] in secrets
            for length, secrets in self._by_length.items()
            for start in range(len(value) - length + 1)
        )

    def cut(self, text: str, stars: str) -> str:
        """A text for people without them: also the short ones where they stand in quotes."""
        for secret in self._long:
            text = text.replace(secret, stars)
        for secret in self._short:
            text = text.replace(f"'{secret}'", f"'{stars}'")
        return text
