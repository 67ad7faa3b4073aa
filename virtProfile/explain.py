# SPDX-License-Identifier: GPL-2.0-or-later
"""Who wants a value and why it won: the text of ``--explain``.

For each value that a profile wants or wanted: what it is, everybody who wants
it with priority, constraint and place, and who lost it to whom.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .errors import UsageError
from .provenance import DEFINITION, DEFINITION_PRIORITY, Overridden, Owned
from .secrecy import STARS, is_foreign, is_secret, veil_result
from .xmltree import VIRTUNED_NS, Document, parse

if TYPE_CHECKING:
    from .provenance import Result


def explain(result: Result, xpath: str = "") -> str:
    """All values that profiles want or wanted, or those in what `xpath` selects.

    :param xpath: XPath 1.0 at ``/domain``, of the result, and of the input for
        what is gone; an element stands for all that is in it
    :raises UsageError: `xpath` is none, or selects no nodes
    """
    owned: Sequence[Owned] = veil_result(result).owned()
    if xpath:
        within = _Selection([parse(result.xml), parse(result.input)], xpath)
        owned = [one for one in owned if one.path in within]
    return "".join(_entry(one) for one in owned)


def explain_record(xml: str, schema: Any, xpath: str = "") -> str:
    """What the record in a VM's metadata tells, where its profiles are not at hand.

    :raises UsageError: `xpath` is none, or selects no nodes
    """
    from .locating import locate
    from .paths import Paths
    from .record import read_record

    document = parse(xml)
    known = read_record(document)
    if known is None:
        return ""
    within = _Selection([document], xpath) if xpath else None
    paths = Paths(document.root, schema)
    lines = []
    for one in locate(document.root, schema, known):
        if one.element is not None:
            path, what = paths.of(one.element), "written"
        elif one.parent is not None:
            path = f"{paths.of(one.parent)}/{one.entry.written.tag}"
            what = "removed" if one.entry.kind == "del" else "written, and gone since"
        else:
            continue
        if within is not None and path not in within:
            continue
        who = one.profile
        values = ", ".join(_hidden(path, slot, value) for slot, value in _all_slots(one.entry.written))
        lines.append(f"{path}\n  by {who.name} {who.version}  priority {who.priority}  {what}: {values}\n")
    return "".join(lines)


def _all_slots(written: Any, below: str = "") -> Iterator[tuple[str, str]]:
    for name, value in written.attrs.items():
        yield f"{below}@{name}", value
    if written.text is not None:
        yield below or "text", written.text
    for one in written.children:
        yield from _all_slots(one, f"{below}{one.tag}/")


def _hidden(path: str, slot: str, value: str) -> str:
    shown = STARS if is_secret(f"{path}/{slot}") or is_foreign(path) else value
    return f"{slot.rstrip('/')} = {shown}"


def _entry(one: Owned) -> str:
    from .output import table

    removed = any(_action(who) == "remove" for who, _, _ in one.claims)
    value = " = " + one.value if one.value is not None else " is absent" if removed else ""
    rows = [
        ("  by", _who(who), f"priority {priority}", constraint, _place(who))
        for who, priority, constraint in one.claims
    ]
    lines = [one.path + value, *table(rows)]
    lines += [f"  as {condition}" for condition in one.conditions]
    lines += [f"  not {_who(loss.loser)}, {_why(loss)}" for loss in one.losers]
    return "\n".join(lines) + "\n"


def _action(who: Any) -> str:
    return getattr(who, "action", "")


def _who(who: Any) -> str:
    if isinstance(who, str):
        return "the VM definition" if who == DEFINITION else who
    return f"{who.profile} {who.version}"


def _place(who: Any) -> str:
    return "" if isinstance(who, str) else f"{who.action} at {who.file}:{who.line}"


def _why(loss: Overridden) -> str:
    if loss.loser.action == "remove":
        wanted = "which removes it"
    elif loss.wanted is None:
        wanted = "which wants it"
    else:
        wanted = f"which wants '{loss.wanted}'"
    place = f"({loss.loser.action} at {loss.loser.file}:{loss.loser.line})"
    if loss.loser.action == "default":
        cause = "a default yields to what is there"
    elif loss.winner == DEFINITION:
        cause = f"the VM definition has priority {DEFINITION_PRIORITY}"
    else:
        cause = f"{_who(loss.winner)} has the higher priority"
    hint = f"; {loss.hint}" if loss.hint else ""
    return f"{wanted} {place}: {cause}{hint}"


class _Selection:
    """What an XPath selects in documents, asked for paths of them.

    The first document that has a path decides.
    """

    def __init__(self, documents: Sequence[Document], xpath: str) -> None:
        from lxml import etree

        self._documents = documents
        self._namespaces = {"virtuned": VIRTUNED_NS}
        self._places: set[tuple[Any, str]] = set()
        for document in documents:
            for element in document.elements:
                self._namespaces.update({key: uri for key, uri in element.nsmap.items() if key})
        for document in documents:
            try:
                found = document.root.xpath(xpath, namespaces=self._namespaces)
            except etree.XPathError as problem:
                raise UsageError(
                    f"--explain {xpath}: {problem}",
                    hint="an XPath 1.0 expression at /domain was expected, such as devices/disk[1]",
                ) from None
            if not isinstance(found, list):
                raise UsageError(
                    f"--explain {xpath}: gives a value, not a part of the document",
                    hint="an XPath that selects elements or attributes was expected",
                )
            self._places.update(_place_of(node) for node in found)

    def __contains__(self, path: str) -> bool:
        while path:
            for document in self._documents:
                nodes = document.root.xpath(path, namespaces=self._namespaces)
                if nodes:
                    return any(self._selected(*_place_of(node)) for node in nodes)
            path = _parent(path)  # not written down: where it would be
        return False

    def _selected(self, element: Any, slot: str) -> bool:
        if (element, slot) in self._places or slot == "" and (element, "text()") in self._places:
            return True
        while element is not None:
            if (element, "") in self._places:
                return True
            element = element.getparent()
        return False


def _place_of(node: Any) -> tuple[Any, str]:
    """An element with "", or with the attribute or text of it that was selected."""
    if hasattr(node, "is_attribute"):
        return node.getparent(), f"@{node.attrname}" if node.is_attribute else "text()"
    return node, ""


def _parent(path: str) -> str:
    """The path without its last step; a slash in a predicate is no step."""
    depth, quoted = 0, False
    for position in range(len(path) - 1, -1, -1):
        one = path[position]
        if one == "'":
            quoted = not quoted
        elif quoted:
            continue
        elif one == "]":
            depth += 1
        elif one == "[":
            depth -= 1
        elif one == "/" and depth == 0:
            return path[:position]
    return ""
