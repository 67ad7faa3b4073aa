# SPDX-License-Identifier: GPL-2.0-or-later
"""What is shown as ``***``: passwords, cookies, and metadata that is none of ours.

The document keeps them; whatever else a front end shows of a result or an
error passes here first. Values that a profile itself wrote into metadata are no
secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from virtProfile.format.document import (
    ATTRIBUTE,
    LIBOSINFO_NS,
    RECORD_NS,
    TOKEN,
    VIRTUNED_NS,
    local,
    namespace,
)
from virtProfile.format.element import TEXT, attributes, elements_at
from virtProfile.format.secret_slots import WORDS, SecretValues, is_secret, secret_places, without_predicates
from virtProfile.frozen import replace
from virtProfile.result import DEFINITION

if TYPE_CHECKING:
    from virtProfile.errors import Conflict, ProfileError
    from virtProfile.format.document import Document
    from virtProfile.result import Change, Overridden, Owned, Result, Storage

STARS = "***"
#: Says which OS the guest has: nothing to hide, and in nearly every VM.
OPEN_NS = frozenset((VIRTUNED_NS, RECORD_NS, LIBOSINFO_NS))
_OPEN_PREFIXES = frozenset(("virtuned", "libosinfo"))

#: A value of a document: its element and "@name" or "text()".
Place = tuple[Any, str]


# --- by path -------------------------------------------------------------------


def is_foreign(path: str, open_prefixes: Iterable[str] = _OPEN_PREFIXES) -> bool:
    """Is the path inside somebody else's metadata?"""
    if not path.startswith("/domain/metadata"):
        return False
    steps = without_predicates(path).split("/")
    if steps[1:3] != ["domain", "metadata"] or len(steps) < 4:
        return False
    return steps[3].partition(":")[0] not in open_prefixes


def _starred(value: str | None) -> str | None:
    return value if value is None else STARS


def veil_result(result: Result) -> Result:
    """The result as it may be shown; its `xml` and `input` are the real ones."""
    hide = _Secrets(result.secrets)
    veiled = type(result)(
        result.xml,
        result.input,
        result.changed,
        applied=result.applied,
        skipped=result.skipped,
        warnings=result.warnings,
        idle=result.idle,
        wishes=result.wishes,
        kept_out=result.kept_out,
        count=result.count,
        changes=lambda: [hide.change(_veil_change(change)) for change in result.changes],
        overridden=lambda: [hide.overridden(_veil_overridden(loss)) for loss in result.overridden],
        owned=lambda: [hide.owned(_veil_owned(value)) for value in result.owned()],
        storage=[hide.storage(volume) for volume in result.storage],
    )
    veiled.secrets = result.secrets
    veil_prose(veiled)
    return veiled


def veil_prose(result: Result) -> None:
    """No sentence of the result holds a secret: people print them, and programs log them, as they are."""
    hide = _Secrets(result.secrets)
    result.skipped = tuple(replace(one, detail=hide.text(one.detail)) for one in result.skipped)
    result.warnings = tuple(replace(one, message=hide.text(one.message)) for one in result.warnings)
    result.idle = tuple(replace(one, reason=hide.text(one.reason)) for one in result.idle)


def _veil_change(change: Change) -> Change:
    if is_secret(change.path):
        return replace(change, before=_starred(change.before), after=_starred(change.after))
    if change.before is not None and is_foreign(change.path):
        return replace(change, before=STARS)
    return change


def _veil_overridden(loss: Overridden) -> Overridden:
    if is_secret(loss.path):
        return replace(loss, wanted=_starred(loss.wanted), has=_starred(loss.has))
    if loss.winner == DEFINITION and is_foreign(loss.path):
        return replace(loss, has=_starred(loss.has))
    return loss


def _veil_owned(owned: Owned) -> Owned:
    losers = tuple(_veil_overridden(loser) for loser in owned.losers)
    by_profile = any(who != DEFINITION for who, _, _ in owned.claims)
    hide = is_secret(owned.path) or not by_profile and is_foreign(owned.path)
    return replace(owned, value=_starred(owned.value) if hide else owned.value, losers=losers)


def veil_error(problem: ProfileError) -> ProfileError:
    """The error as it may be shown: values in its conflicts and, quoted, in its message."""
    hidden: list[str] = []
    conflicts = [_veil_conflict(conflict, hidden) for conflict in problem.conflicts]
    others = [veil_error(other) for other in problem.others]
    if not hidden and all(new is old for new, old in zip(others, problem.others, strict=True)):
        return problem
    message, hint = problem.message, problem.hint
    for value in hidden:
        message = message.replace(f"'{value}'", f"'{STARS}'")
        hint = hint.replace(f"'{value}'", f"'{STARS}'")
    return type(problem)(message, hint=hint, where=problem.where, conflicts=conflicts, others=others)


def _veil_conflict(conflict: Conflict, hidden: list[str]) -> Conflict:
    secret = is_secret(conflict.path)
    foreign = is_foreign(conflict.path)
    if not secret and not foreign:
        return conflict
    values = []
    for side in conflict.values:
        if side.value is not None and (secret or side.origin == DEFINITION):
            hidden.append(side.value)
            side = replace(side, value=STARS)
        values.append(side)
    return replace(conflict, values=tuple(values))


# --- by value: secrets of the document and of params, and what was made of them ---


class _Secrets(SecretValues):
    """Values of secrets, and what is shown in the place of what holds them."""

    def value(self, value: str | None) -> str | None:
        """All of a value is hidden, as the rest of it may tell the secret."""
        return STARS if self.within(value) else value

    def text(self, text: str) -> str:
        return self.cut(text, STARS)

    def change(self, change: Change) -> Change:
        if not self:
            return change
        before, after = self.value(change.before), self.value(change.after)
        return replace(change, path=self.text(change.path), before=before, after=after)

    def overridden(self, loss: Overridden) -> Overridden:
        if not self:
            return loss
        wanted, has = self.value(loss.wanted), self.value(loss.has)
        return replace(loss, path=self.text(loss.path), wanted=wanted, has=has)

    def owned(self, owned: Owned) -> Owned:
        losers = tuple(self.overridden(loser) for loser in owned.losers)
        return replace(owned, path=self.text(owned.path), value=self.value(owned.value), losers=losers)

    def storage(self, storage: Storage) -> Storage:
        source, volume = self.value(storage.source), self.value(storage.volume)
        return replace(storage, path=self.text(storage.path), source=source, volume=volume)

    def conflict(self, conflict: Conflict) -> Conflict:
        values = tuple(replace(side, value=self.value(side.value)) for side in conflict.values)
        return replace(conflict, path=self.text(conflict.path), values=values)


def without(problem: ProfileError, secrets: Iterable[str]) -> ProfileError:
    """The error without the values of secrets."""
    hide = _Secrets(secrets)
    return type(problem)(
        hide.text(problem.message),
        hint=hide.text(problem.hint),
        where=problem.where,
        conflicts=[hide.conflict(conflict) for conflict in problem.conflicts],
        others=[without(other, secrets) for other in problem.others],
    )


# --- by place in a text --------------------------------------------------------


def veil_text(document: Document, shown: Callable[[], Iterable[Place]], secrets: Iterable[str] = ()) -> str:
    """The document's text, line for line, with what is to be hidden as ``***``.

    :param shown: gives the places in foreign metadata that profiles wrote; only
        called where the document has such metadata
    :param secrets: values that are hidden wherever they stand
    """
    text = document.text
    if not secrets and "metadata" not in text and not any(word in text for word in WORDS):
        return text
    parts = []
    position = 0
    for start, end in sorted([*_hidden(document, shown), *_holding(document, _Secrets(secrets))]):
        if start < position:
            continue  # hidden already
        parts.append(text[position:start])
        parts.append("\n".join(_star_line(line) for line in text[start:end].split("\n")))
        position = end
    parts.append(text[position:])
    return "".join(parts)


def _star_line(line: str) -> str:
    bare = line.strip()
    if not bare:
        return line
    start = line.index(bare)
    return line[:start] + STARS + line[start + len(bare) :]


def _hidden(document: Document, shown: Callable[[], Iterable[Place]]) -> Iterator[tuple[int, int]]:
    root = document.root
    for element, slot, _ in secret_places(root):
        yield from _inside(document, element, frozenset(), (slot,), below=slot == TEXT)
    foreign = [
        top
        for metadata in root.iterchildren("metadata")
        for top in metadata.iterchildren("*")
        if namespace(top.tag) not in OPEN_NS
    ]
    for record in root.iterfind(f"metadata/{{{RECORD_NS}}}record"):
        # What profiles changed in somebody else's metadata, as it was before.
        for entry in record.iterfind("*/*"):
            place = entry.get("at") or entry.get("from") or ""
            if place == "metadata" or place.startswith("metadata/"):
                for element in entry.iterchildren("*"):
                    yield from _inside(document, element, frozenset())
    if foreign:
        known = frozenset(shown())
        for element in foreign:
            yield from _inside(document, element, known)


def _holding(document: Document, secrets: _Secrets) -> Iterator[tuple[int, int]]:
    for element in document.elements:
        slots = tuple("@" + name for name, value in attributes(element).items() if secrets.within(value))
        if slots:
            yield from _inside(document, element, frozenset(), slots, below=False)
        if secrets.within(element.text) or any(secrets.within(inner.tail) for inner in element):
            yield from _inside(document, element, frozenset(), ("text()",))


def _inside(
    document: Document,
    top: Any,
    shown: frozenset[Place],
    slots: tuple[str, ...] = (),
    below: bool = True,
) -> Iterator[tuple[int, int]]:
    """Where values stand in an element: all but `shown`, or only those in `slots`."""
    span = document.span(top)
    number = document.index[top]
    open_elements: list[Any] = []
    position = span.start
    for token in TOKEN.finditer(document.text, span.start, span.end if below else span.tag_end):
        within = open_elements[-1] if open_elements else None
        text_hidden = (not slots or "text()" in slots) and (within, "text()") not in shown
        if text_hidden and position < token.start():
            yield position, token.start()
        position = token.end()
        if token.group(2) is not None:
            element = document.elements[number]
            number += 1
            for found in ATTRIBUTE.finditer(document.text, token.start(3), token.end(3)):
                name = found.group(2)
                slot = "@" + name
                if name == "xmlns" or name.startswith("xmlns:") or slots and slot not in slots:
                    continue
                if (element, "@" + local(name.replace(":", "}"))) not in shown:
                    yield found.start(3) + 1, found.end(3) - 1
            if token.group(4) != "/":
                open_elements.append(element)
        elif token.group(1) is not None:
            open_elements.pop()
        elif text_hidden:
            start, end = _content(token.group())
            yield token.start() + start, token.start() + end


def _content(markup: str) -> tuple[int, int]:
    """What a comment, CDATA section or processing instruction holds."""
    for opening, closing in (("<!--", 3), ("<![CDATA[", 3), ("<?", 2)):
        if markup.startswith(opening):
            return len(opening), len(markup) - closing
    return 0, len(markup)


def written_places(document: Document, result: Result) -> Iterator[Place]:
    """The places in the document that hold what profiles wrote into metadata, and still want."""
    wanted: dict[str, str | None] = {}
    for change in result.changes:
        if change.op != "remove":
            wanted[change.path] = change.after
    for owned in result.owned():
        if any(who != DEFINITION for who, _, _ in owned.claims):
            wanted.setdefault(owned.path, owned.value)
    prefixes = {
        prefix: uri for element in document.elements for prefix, uri in element.nsmap.items() if prefix
    }
    for path, value in wanted.items():
        if not is_foreign(path):
            continue
        element_path, _, attribute = path.rpartition("/@")
        for element in elements_at(document.root, element_path or path, prefixes):
            slot = f"@{local(attribute.replace(':', '}'))}" if element_path else "text()"
            has = element.text if slot == "text()" else _attribute(element, slot[1:])
            if (has or "").strip() == (value or "").strip():
                yield element, slot


def _attribute(element: Any, name: str) -> str | None:
    return next((value for key, value in element.items() if local(key) == name), None)
