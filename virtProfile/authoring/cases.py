# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of tests, ``*.test.xml``: what each test applies to which domain, and what it expects.

Read strictly: what cannot be understood is an error, so that no test passes by saying nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from virtProfile.errors import ProfileError, ProfileSyntaxError, UsageError, nearest, together
from virtProfile.format.document import parse, read_bytes, read_file
from virtProfile.frozen import record
from virtProfile.language.parser import Reader
from virtProfile.language.requests import Request, read_requests
from virtProfile.language.store import TESTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lxml import etree

    from virtProfile.format.document import Document
    from virtProfile.language.profile import Action

SUFFIX = TESTS

_CONTEXT = ("osinfo", "capabilities", "domcapabilities", "qemu-version", "daemon")
_FLAGS = {"auto": False, "override": False, "complete": False, "once": False, "record": True}
_TEST = ("name", "input", *_CONTEXT, *_FLAGS, "reason")
_REPORTED = {
    "warning": ("code", "profile", "message", "fix", "not"),
    "skipped": ("profile", "reason", "not"),
    "error": ("code", "path", "message", "fix"),
}
_ELEMENTS = ("domain", "profile", "holds", "unchanged", *_REPORTED, "result")


class Files(Protocol):
    """Where the files are that tests name."""

    def text(self, path: str, error: type[ProfileError]) -> str:
        """What a file holds.

        :raises ProfileError: an `error`: it cannot be read
        """

    def data(self, path: str) -> bytes | None:
        """The bytes of a file; None where it does not exist."""


class Disk:
    """The files of this machine."""

    def text(self, path: str, error: type[ProfileError]) -> str:
        return read_file(path, error)[0]

    def data(self, path: str) -> bytes | None:
        return read_bytes(path) if os.path.exists(path) else None


class GivenFiles:
    """Texts by name: no file is read."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def text(self, path: str, error: type[ProfileError]) -> str:
        found = self._texts.get(path)
        if found is None:
            names = ", ".join(f"'{name}'" for name in sorted(self._texts))
            raise error(f"'{path}' is not among the files that were given: {names}")
        return found

    def data(self, path: str) -> bytes | None:
        found = self._texts.get(path)
        return None if found is None else found.encode()


@record
class Reported:
    """A warning, a skipped profile or an error that is expected, or with `negate` is not to come.

    :ivar fields: what it has to be: code, profile, path, fix as they are, message and reason in part
    """

    kind: str
    fields: tuple[tuple[str, str], ...]
    negate: bool
    line: int

    def __str__(self) -> str:
        return f"<{self.kind} " + " ".join(f"{name}='{value}'" for name, value in self.fields) + "/>"


@record
class Unchanged:
    """Nodes that the profiles leave as they are; without `select` the whole document."""

    select: str | None
    line: int


@record
class Case:
    """One test.

    :ivar xml: the domain; `input` the file that it is from, "" where it is in the test
    :ivar context: what is given of osinfo, capabilities, domcapabilities, qemu-version, daemon
    :ivar once: it is not repeated, reversed and taken back
    :ivar record: the result is compared with what was done in its metadata
    :ivar result: the file that holds the whole output
    """

    name: str
    file: str
    line: int
    xml: str
    input: str
    context: tuple[tuple[str, str], ...]
    auto: bool
    override: bool
    complete: bool
    once: bool
    record: bool
    requests: tuple[Request, ...]
    holds: tuple[Action, ...]
    unchanged: tuple[Unchanged, ...]
    reported: tuple[Reported, ...]
    result: str | None
    namespaces: tuple[tuple[str, str], ...]

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def expects(self) -> bool:
        """Is there anything that the result has to be? If not, it is only repeated and taken back."""
        return bool(self.holds or self.unchanged or self.reported or self.result is not None)

    @property
    def errors(self) -> tuple[Reported, ...]:
        """The errors that it expects."""
        return tuple(row for row in self.reported if row.kind == "error")


def test_files(places: Iterable[str]) -> list[str]:
    """The files of tests that are named, and all below the directories.

    :raises UsageError: a name is neither, or a directory has none
    """
    found: dict[str, None] = {}
    for place in places:
        if os.path.isdir(place):
            inside = [
                os.path.join(directory, name)
                for directory, _, names in os.walk(place)
                for name in names
                if name.endswith(SUFFIX) and name[0] != "."
            ]
            if not inside:
                raise UsageError(f"no test in directory '{place}'", hint=f"tests are in files NAME{SUFFIX}")
            found.update(dict.fromkeys(sorted(inside)))
        elif os.path.exists(place):
            found[place] = None
        else:
            raise UsageError(f"'{place}' does not exist", hint=f"give a file NAME{SUFFIX}, or a directory")
    return list(found)


def read_cases(file: str, files: Files | None = None) -> list[Case]:
    """The tests of a file.

    :param files: where it is, and what it names; None is the disk
    :raises ProfileSyntaxError: all that is wrong in it
    :raises PolicyError: a DTD, entities, or over a limit
    """
    files = files or Disk()
    text = files.text(file, ProfileSyntaxError)
    document = parse(text, name=file, error=ProfileSyntaxError)
    reader = _Cases(file, document, files)
    cases = reader.cases(document.root)
    if reader.problems:
        raise together(
            [
                ProfileSyntaxError(row.message, hint=row.hint, where=f"{row.file}:{row.line}")
                for row in reader.problems
            ]
        )
    return cases


def without_expectation(
    xml: str, requests: tuple[Request, ...], name: str, *, auto: bool, override: bool, complete: bool
) -> Case:
    """Profiles applied to a domain, a second time, in reverse order and taken back; no more is expected."""
    return Case(
        name, "", 1, xml, "", (),
        auto=auto, override=override, complete=complete, once=False, record=True,
        requests=requests, holds=(), unchanged=(), reported=(), result=None, namespaces=(),
    )  # fmt: skip


def _line(element: etree._Element) -> int:
    line: object = element.sourceline
    return line if isinstance(line, int) else 1


class _Cases(Reader):
    """Reads tests with the parser of profiles: ``<holds>`` is a check."""

    def __init__(self, file: str, document: Document, files: Files) -> None:
        super().__init__(file, False)
        self.document = document
        self.files = files
        self.directory = os.path.dirname(file)

    def error(self, element: etree._Element, message: str, hint: str = "") -> None:
        super().error(element, message.replace("<check>", "<holds>"), hint.replace("<check>", "<holds>"))

    def cases(self, root: etree._Element) -> list[Case]:
        if root.tag != "tests":
            self.error(root, f"the root element is '{root.tag}'", "a file of tests has <tests> as its root")
            return []
        self.attributes(root, ())
        found: list[Case] = []
        names: set[str] = set()
        for element in root.iterchildren("*"):
            if element.tag != "test":
                hint = nearest(str(element.tag), ("test",)) or "<tests> holds only <test>"
                self.error(element, f"unknown element '{element.tag}' in <tests>", hint)
                continue
            case = self.case(element)
            if case is None:
                continue
            if case.name in names:
                self.error(element, f"two tests are called '{case.name}'", "give each a name of its own")
            names.add(case.name)
            found.append(case)
        if not found and not self.problems:
            self.error(root, "there is no <test>", "<test name='…' input='FILE'> with <profile> and <holds>")
        return found

    def case(self, element: etree._Element) -> Case | None:
        before = len(self.problems)
        self.attributes(element, _TEST)
        name = element.get("name", "")
        if not name:
            self.error(element, "a test has no name", "<test name='…'>")
        flags = {flag: self.flag(element, flag) if element.get(flag) else of for flag, of in _FLAGS.items()}
        if flags["once"] and not element.get("reason"):
            self.error(element, "once='yes' without a reason", "once='yes' reason='…' says why")
        if element.get("reason") and not flags["once"]:
            self.error(element, "reason= without once='yes'", "leave it out")
        parts: dict[str, list[etree._Element]] = {tag: [] for tag in _ELEMENTS}
        for inner in element.iterchildren("*"):
            if inner.tag in parts:
                parts[str(inner.tag)].append(inner)
            else:
                hint = nearest(str(inner.tag), _ELEMENTS) or "it may hold " + ", ".join(_ELEMENTS)
                self.error(inner, f"unknown element '{inner.tag}' in <test>", hint)
        xml, source = self.domain(element, parts["domain"])
        requests = self.requests(parts["profile"])
        if not requests and not flags["auto"] and "virtuned" not in xml:
            self.error(element, "the test applies no profile", "<profile name='…'/> names the profiles")
        holds = tuple(self.holds(inner, number) for number, inner in enumerate(parts["holds"], 1))
        unchanged = tuple(self.unchanged(inner) for inner in parts["unchanged"])
        reported = tuple(self.reported(inner) for tag in _REPORTED for inner in parts[tag])
        result = self.result(parts["result"])
        expected = bool(holds or unchanged or result)
        if any(row.kind == "error" for row in reported):
            if expected or any(row.kind != "error" for row in reported):
                self.error(element, "the test expects an error and a result", "write two tests")
        elif not expected and not reported:
            self.error(element, "the test expects nothing", "<holds>, <unchanged>, <warning>, … say what")
        if len(self.problems) > before:
            return None
        context = [(word, value) for word in _CONTEXT if (value := element.get(word)) is not None]
        namespaces = sorted((prefix, uri) for prefix, uri in element.nsmap.items() if prefix)
        return Case(
            name, self.file, _line(element), xml, source, tuple(context),
            requests=requests, holds=holds, unchanged=unchanged, reported=reported, result=result,
            namespaces=tuple(namespaces), **flags,
        )  # fmt: skip

    def domain(self, element: etree._Element, inline: list[etree._Element]) -> tuple[str, str]:
        """The XML of the test's domain, and the file that it is from."""
        file = element.get("input")
        if (file is None) == (not inline) or len(inline) > 1:
            self.error(element, "a test has input= or one <domain>", "input='FILE', or the domain in it")
            return "", ""
        if file is None:
            span = self.document.span(inline[0])
            return self.document.text[span.start : span.end], ""
        path = os.path.join(self.directory, file)
        try:
            return self.files.text(path, ProfileSyntaxError), path
        except ProfileError as problem:
            self.error(element, problem.message, "input= is relative to the file of the test")
        return "", path

    def requests(self, elements: list[etree._Element]) -> tuple[Request, ...]:
        wishes: list[Mapping[str, object]] = []
        for element in elements:
            self.attributes(element, ("name", "instance", "priority", "version", "include"))
            params: dict[str, str] = {}
            for inner in element.iterchildren("*"):
                if inner.tag != "param":
                    self.error(inner, f"unknown element '{inner.tag}' in <profile>", "it may hold <param>")
                    continue
                self.attributes(inner, ("name",))
                if not inner.get("name") or inner.get("name") in params:
                    self.error(inner, "a <param> has no name of its own", "<param name='…'>VALUE</param>")
                params[inner.get("name", "")] = (inner.text or "").strip()
            wish = {str(name): str(value) for name, value in element.attrib.items()}
            wishes.append({**wish, "params": params})
        try:
            return tuple(read_requests(wishes))
        except ProfileError as problem:
            self.error(elements[0], problem.message, problem.hint)
            return ()

    def holds(self, element: etree._Element, number: int) -> Action:
        element.tag = "check"  # it is none of the document any more
        return self.action(element, number)

    def unchanged(self, element: etree._Element) -> Unchanged:
        self.attributes(element, ("select",))
        self.empty(element)
        return Unchanged(element.get("select"), _line(element))

    def reported(self, element: etree._Element) -> Reported:
        kind = str(element.tag)
        self.attributes(element, _REPORTED[kind])
        self.empty(element)
        fields = tuple((str(name), str(value)) for name, value in element.attrib.items() if name != "not")
        needed = "profile" if kind == "skipped" else "code"
        if element.get(needed) is None:
            self.error(element, f"<{kind}> without {needed}=", f"<{kind} {needed}='…'/>")
        return Reported(kind, fields, self.flag(element, "not"), _line(element))

    def result(self, elements: list[etree._Element]) -> str | None:
        if not elements:
            return None
        self.attributes(elements[0], ("file",))
        self.empty(elements[0])
        file = elements[0].get("file")
        if file is None or len(elements) > 1:
            self.error(elements[-1], "a test has one <result file='…'/>", "name the file")
            return None
        return os.path.join(self.directory, file)


__all__ = [
    "SUFFIX", "Case", "Disk", "Files", "GivenFiles", "Reported", "Unchanged", "read_cases", "test_files",
    "without_expectation",
]  # fmt: skip
