# SPDX-License-Identifier: GPL-2.0-or-later
"""Who wants a value and why it won: the text of ``--explain``.

For each value that a profile wants or wanted: what it is, everybody who wants
it with priority, constraint and place, and who lost it to whom.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from virtProfile.errors import UsageError
from virtProfile.format.document import VIRTUNED_NS, Document, parse
from virtProfile.format.secret_slots import is_secret
from virtProfile.language.profile import DEFINITION_PRIORITY
from virtProfile.redaction import STARS, is_foreign, veil_result
from virtProfile.result import DEFINITION, Overridden, Owned
from virtProfile.show.terminal import one_line, table

if TYPE_CHECKING:
    from virtProfile.engine.record.model import Written
    from virtProfile.format.element import Element
    from virtProfile.format.schema import Schema
    from virtProfile.result import Result


_PATH = "an XPath 1.0 expression at /domain was expected, such as devices/disk[1]"


def explain(result: Result, xpath: str = "") -> str:
    """All values that profiles want or wanted, or those in what `xpath` selects.

    :param xpath: XPath 1.0 at ``/domain``, of the result, and of the input for
        what is gone; an element stands for all that is in it
    :raises UsageError: `xpath` is none, or selects no nodes
    """
    owned: Sequence[Owned] = veil_result(result).owned()
    if xpath:
        within = _Selection([parse(result.xml), parse(result.input)], xpath)
        owned = [value for value in owned if value.path in within]
    text = "".join(_entry(value) for value in owned)
    if not xpath:
        for idle in veil_result(result).idle:
            where = f"{idle.file}:{idle.line}"
            reason = one_line(f"{idle.action} at {where}: {idle.reason}")
            text += f"no effect: {idle.profile} {idle.version}, {reason}\n"
    return text


def explain_record(xml: str, schema: Schema, xpath: str = "") -> str:
    """What the record in a VM's metadata tells, where its profiles are not at hand.

    :raises UsageError: `xpath` is none, or selects no nodes
    """
    from virtProfile.engine.record.locate import locate
    from virtProfile.engine.record.model import read_record
    from virtProfile.format.paths import Paths

    document = parse(xml)
    known = read_record(document)
    if known is None:
        return ""
    within = _Selection([document], xpath) if xpath else None
    paths = Paths(document.root, schema)
    lines = []
    for located in locate(document.root, schema, known):
        if located.element is not None:
            path, what = paths.of(located.element), "written"
        elif located.parent is not None:
            path = f"{paths.of(located.parent)}/{located.entry.written.tag}"
            what = "removed" if located.entry.kind == "del" else "written, and gone since"
        else:
            continue
        if within is not None and path not in within:
            continue
        who = located.profile
        values = ", ".join(_hidden(path, slot, value) for slot, value in _all_slots(located.entry.written))
        lines += [path, f"  by {who.name} {who.version}  priority {who.priority}  {what}: {values}"]
    return "".join(f"{one_line(line)}\n" for line in lines)


def _all_slots(written: Written, below: str = "") -> Iterator[tuple[str, str]]:
    for name, value in written.attrs.items():
        yield f"{below}@{name}", value
    if written.text is not None:
        yield below or "text", written.text
    for child in written.children:
        yield from _all_slots(child, f"{below}{child.tag}/")


def _hidden(path: str, slot: str, value: str) -> str:
    shown = STARS if is_secret(f"{path}/{slot}") or is_foreign(path) else value
    return f"{slot.rstrip('/')} = {shown}"


def _entry(owned: Owned) -> str:
    removed = any(_action(who) == "remove" for who, _, _ in owned.claims)
    value = " = " + owned.value if owned.value is not None else " is absent" if removed else ""
    rows = [
        ("  by", _who(who), f"priority {priority}", constraint, _place(who))
        for who, priority, constraint in owned.claims
    ]
    lines = [owned.path + value, *table(rows)]
    lines += [f"  as {condition}" for condition in owned.conditions]
    lines += [f"  not {_who(loss.loser)}, {_why(loss)}" for loss in owned.losers]
    return "".join(f"{one_line(line)}\n" for line in lines)


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
        self._places: set[tuple[Element, str]] = set()
        for document in documents:
            for element in document.elements:
                self._namespaces.update({key: uri for key, uri in element.nsmap.items() if key})
        check_steps(xpath, [document.root for document in documents])
        for document in documents:
            try:
                found = document.root.xpath(xpath, namespaces=self._namespaces)
            except etree.XPathError as problem:
                raise UsageError(
                    f"--explain {xpath}: {problem}",
                    hint=_PATH,
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
                nodes: Any = document.root.xpath(path, namespaces=self._namespaces)
                if nodes:
                    return any(self._selected(*_place_of(node)) for node in nodes)
            path = _parent(path)  # not written down: where it would be
        return False

    def _selected(self, element: Element, slot: str) -> bool:
        if (element, slot) in self._places or slot == "" and (element, "text()") in self._places:
            return True
        at: Element | None = element
        while at is not None:
            if (at, "") in self._places:
                return True
            at = at.getparent()
        return False


def check_steps(xpath: str, roots: Sequence[Any]) -> None:
    """Expressions of the caller have the bound that those of profiles have.

    :raises UsageError: `xpath` is no expression, or would take too long in one of the documents
    """
    from virtProfile.language.xpath import XPathProblem, parse_xpath
    from virtProfile.language.xpath_cost import MAX_STEPS, Size, steps_of

    try:
        parsed = parse_xpath(xpath)
    except XPathProblem as problem:
        raise UsageError(f"--explain {xpath[:200]}: {problem.message}", hint=problem.hint or _PATH) from None
    if parsed.variables or any(name[:3] == "vp:" for name, _ in parsed.functions):
        raise UsageError(f"--explain {xpath[:200]}: variables and vp: functions are for profiles", hint=_PATH)
    steps = max(steps_of(parsed, Size.measured(root), Size(1, 1)) for root in roots)
    if steps > MAX_STEPS:
        raise UsageError(
            f"--explain {xpath[:200]}: would examine about {steps:.0e} nodes and characters",
            hint=f"{MAX_STEPS:.0e} are the limit: name the elements on the way",
        )


def _place_of(node: Any) -> tuple[Element, str]:
    """An element with "", or with the attribute or text of it that was selected."""
    if hasattr(node, "is_attribute"):
        return node.getparent(), f"@{node.attrname}" if node.is_attribute else "text()"
    return node, ""


def _parent(path: str) -> str:
    """The path without its last step; a slash in a predicate is no step."""
    depth, quoted = 0, False
    for position in range(len(path) - 1, -1, -1):
        letter = path[position]
        if letter == "'":
            quoted = not quoted
        elif quoted:
            continue
        elif letter == "]":
            depth += 1
        elif letter == "[":
            depth -= 1
        elif letter == "/" and depth == 0:
            return path[:position]
    return ""
