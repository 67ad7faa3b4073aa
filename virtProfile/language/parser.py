# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads profile files: all problems at once, each with its line and the nearest word."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from virtProfile.errors import ProfileError, ProfileSyntaxError, nearest
from virtProfile.format.document import VIRTUNED_NS, local, parse
from virtProfile.frozen import replace
from virtProfile.language.attributes import ACTIONS, Form, digested, digested_besides, of_element
from virtProfile.language.directives import NAMES, SUBJECTS
from virtProfile.language.generators import SOURCES
from virtProfile.language.place import LOCALS
from virtProfile.language.profile import (
    MAX_PRIORITY,
    MIN_PRIORITY,
    Action,
    Kind,
    Match,
    Param,
    ParamType,
    ParsedFile,
    Problem,
    Profile,
    Requirement,
    Snippet,
    Unknown,
)
from virtProfile.language.requests import NAME, profile_wish
from virtProfile.language.template import is_plain, split

if TYPE_CHECKING:
    from collections.abc import Callable

RESERVED_PARAMS = frozenset({"priority", "version", "include", "instance"})

_PROFILE_ATTRIBUTES = ("name", "version", "autoselect", "priority", "replaced-by", "audit")

_CHILDREN = ("title", "description", "param", "requires", "conflicts", "match", *ACTIONS)

_MATCH_ATTRIBUTES = ("not", "test", "unknown")


def read(text: str, file: str, *, drop_in: bool = False) -> ParsedFile:
    """All profiles of a file.

    :param drop_in: a file of ``NAME.d``: one ``<profile>`` with actions and params only
    :raises PolicyError: a DTD, entities, or over a limit
    """
    try:
        document = parse(text, name=file, error=ProfileSyntaxError)
    except ProfileSyntaxError as problem:
        line = problem.where.rpartition(":")[2]
        number = int(line) if line.isascii() and line.isdigit() else 1
        return ParsedFile((), (Problem("error", problem.message, problem.hint, file, number),))
    return Reader(file, drop_in).whole(document.root)


class Reader:
    """The elements of a profile file, with all problems that were met."""

    def __init__(self, file: str, drop_in: bool) -> None:
        self.file = file
        self.drop_in = drop_in
        self.problems: list[Problem] = []

    def error(self, element: Any, message: str, hint: str = "") -> None:
        self.problems.append(Problem("error", message, hint, self.file, element.sourceline or 1))

    def warn(self, element: Any, message: str, hint: str = "") -> None:
        self.problems.append(Problem("warning", message, hint, self.file, element.sourceline or 1))

    def file_profiles(self, root: Any) -> list[Any]:
        if root.tag == "profile":
            return [root]
        if root.tag == "profiles" and not self.drop_in:
            self.attributes(root, ())
            found = []
            for element in root.iterchildren("*"):
                if element.tag == "profile":
                    found.append(element)
                elif element.tag[0] != "{":
                    self.error(
                        element,
                        f"unknown element '{element.tag}' in <profiles>",
                        "<profiles> may hold only <profile>",
                    )
            return found
        hint = "a profile file has <profile> or <profiles> as its root"
        if root.tag == "domain":
            hint = "this is a VM: --input FILE --profile NAME applies a profile to it; " + hint
        self.error(root, f"the root element is '{root.tag}'", hint)
        return []

    def whole(self, root: Any) -> ParsedFile:
        profiles: list[Profile] = []
        broken: list[str] = []
        drafts: list[Profile] = []
        for element in self.file_profiles(root):
            before = len(self.problems)
            profile = self.profile(element)
            if profile is not None and not any(
                problem.level == "error" for problem in self.problems[before:]
            ):
                profiles.append(profile)
            else:
                broken.append(element.get("name") or "")
                if profile is not None:
                    drafts.append(profile)
        return ParsedFile(tuple(profiles), tuple(self.problems), tuple(broken), tuple(drafts))

    # --- the profile ---------------------------------------------------------

    def profile(self, element: Any) -> Profile | None:
        self.attributes(element, _PROFILE_ATTRIBUTES)
        name = element.get("name")
        if name is None and not self.drop_in:
            self.error(element, "a profile has no name", "<profile name='…'>")
            name = ""
        elif name is not None and not NAME.fullmatch(name):
            self.error(
                element,
                f"invalid profile name '{name}'",
                "use letters, digits and ._+-, starting with a letter or digit, at most 64 characters",
            )
        priority = 0
        if element.get("priority") is not None and element.get("autoselect") != "yes":
            self.warn(
                element,
                f"priority='{element.get('priority')}' has no effect without autoselect='yes'",
                "who applies the profile gives it: --profile NAME,priority=N",
            )
        if element.get("priority") is not None:
            priority = self.priority(element)
        parts: dict[str, list[Any]] = {"params": [], "requires": [], "conflicts": [], "matches": []}
        actions: list[Action] = []
        texts = {"title": "", "description": ""}
        for inner in element.iterchildren("*"):
            tag = inner.tag
            if tag[0] == "{":
                continue  # somebody else's
            if self.drop_in and tag not in ACTIONS and tag != "param":
                self.error(inner, f"<{tag}> in a drop-in", "keep only actions and params in a drop-in")
            elif tag in texts:
                self.attributes(inner, ())
                texts[tag] = " ".join("".join(inner.itertext()).split())
            elif tag == "param":
                parts["params"].append(self.param(inner))
            elif tag in ("requires", "conflicts"):
                parts[tag].append(self.requirement(inner))
            elif tag == "match":
                parts["matches"].append(self.match(inner))
            elif tag in ACTIONS:
                actions.append(self.action(inner, len(actions) + 1))
            else:
                self.error(inner, f"unknown element '{tag}' in <profile>", nearest(tag, _CHILDREN))
        seen: set[str] = set()
        for param in parts["params"]:
            if param.name in seen:
                self.error(element, f"param '{param.name}' is defined twice")
            seen.add(param.name)
        made = Profile(
            name=name or "",
            version=element.get("version", "0") or "0",
            title=texts["title"],
            description=texts["description"],
            params=tuple(parts["params"]),
            requires=tuple(part for part in parts["requires"] if part),
            conflicts=tuple(part for part in parts["conflicts"] if part),
            matches=tuple(parts["matches"]),
            actions=tuple(actions),
            file=self.file,
            line=element.sourceline or 1,
            digest="",
            replaced_by=element.get("replaced-by"),
            autoselect=self.flag(element, "autoselect"),
            audit=self.flag(element, "audit"),
            priority=priority,
            namespaces=tuple(sorted((prefix, uri) for prefix, uri in element.nsmap.items() if prefix)),
        )
        return replace(made, digest=digest(made))

    def priority(self, element: Any) -> int:
        value = element.get("priority")
        try:
            number = int(value)
        except ValueError:
            number = MAX_PRIORITY + 1
        if not MIN_PRIORITY <= number <= MAX_PRIORITY:
            self.error(element, f"priority '{value}' is not an integer from -1000 to 1000")
            return 0
        return number

    def param(self, element: Any) -> Param:
        self.attributes(element, ("name", "type", "default", "secret"))
        self.empty(element)
        name = element.get("name") or ""
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9._-]*", name):
            self.error(
                element, f"invalid param name '{name}'", "use letters, digits and ._-, starting with a letter"
            )
        if name in RESERVED_PARAMS:
            self.error(
                element,
                f"reserved param name '{name}'",
                "choose another name: --profile NAME,{0}=VALUE has its own meaning",
            )
        from virtProfile.language.functions import VARIABLES

        if name in VARIABLES or name in LOCALS:
            self.error(element, f"reserved param name '{name}'", f"${name} is bound to something else")
        kind = self.word(element, "type", ParamType, ParamType.STRING)
        default = element.get("default")
        return Param(name, kind, default, self.flag(element, "secret"), element.sourceline or 1)

    def requirement(self, element: Any) -> Requirement | None:
        self.attributes(element, ("profile", "version"))
        self.empty(element)
        name = element.get("profile")
        if not name:
            self.error(element, f"<{element.tag}> names no profile", f"<{element.tag} profile='…'/>")
            return None
        return Requirement(name, element.get("version"), element.sourceline or 1)

    def match(self, element: Any) -> Match:
        self.attributes(element, _MATCH_ATTRIBUTES)
        test = element.get("test")
        branches = self.branches(element)
        if test is not None and branches:
            self.error(
                element,
                "a <match> has test= or a snippet, not both",
                "write two <match> elements: both must hold",
            )
        if test is None and not branches:
            self.error(element, "an empty <match>", "write a snippet of domain XML, or test='XPATH'")
        return Match(
            self.flag(element, "not"),
            test,
            self.word(element, "unknown", Unknown, Unknown.ERROR),
            branches,
            element.sourceline or 1,
        )

    # --- actions -------------------------------------------------------------

    def action(self, element: Any, number: int) -> Action:
        kind, fixed = ACTIONS[element.tag]
        values = self.action_attributes(element)
        if fixed is not None:
            values["multiple"] = fixed
        branches = self.branches(element)
        if kind is Kind.CHECK:
            self.check(element, values, branches)
        elif values.get("select") is not None:
            self.selection(element, values, branches)
        elif not branches:
            self.error(element, f"an empty <{element.tag}>", "write a snippet of domain XML in it")
        if values["each"] is not None and branches:
            self.each(element, branches)
        return Action(kind, branches, self.file, element.sourceline or 1, number, **values)

    def selection(self, element: Any, values: dict[str, Any], branches: tuple[Snippet, ...]) -> None:
        """What a ``select=`` may not stand beside, and not select."""
        if branches:
            self.error(element, "a <remove> has select= or a snippet, not both")
        if values["each"] is not None:
            self.error(element, "a <remove> has select= or each=, not both", "write one path in select=")
        if re.search(r"(^|/)\s*metadata\b", values["select"]):
            self.error(
                element,
                "select= may not select metadata",
                "select an element or attribute outside <metadata>",
            )

    def each(self, element: Any, branches: tuple[Snippet, ...]) -> None:
        """The one element that each selected element is described by."""
        if len(branches) > 1:
            self.error(
                element,
                f"an <{element.tag} each=…> has {len(branches)} root elements: it describes one element",
                "write one action for each kind of element",
            )
        if branches[0].tag == "domain" or branches[0].tag.startswith(f"{{{VIRTUNED_NS}}}"):
            self.error(
                element,
                f"<{local(branches[0].tag)}> in an action with each=",
                "write an element with the tag of those that each= selects",
            )

    def check(self, element: Any, values: dict[str, Any], branches: tuple[Snippet, ...]) -> None:
        """A check has a test or a snippet, and a fix that can be given to --profile."""
        if values["test"] is not None and branches:
            self.error(element, "a <check> has test= or a snippet, not both", "write two <check> elements")
        if values["test"] is None and not branches:
            self.error(element, "an empty <check>", "write a snippet of domain XML, or test='XPATH'")
        self.template(element, values["message"] or "")
        if values["fix"] is not None:
            try:
                profile_wish(values["fix"], "fix")
            except ProfileError as problem:
                self.error(element, problem.message, problem.hint or "fix='PROFILE[,PARAM=VALUE]…'")

    def action_attributes(self, element: Any) -> dict[str, Any]:
        """The fields that the attributes of an action give, by the table of attributes."""
        rows = of_element(element.tag)
        self.attributes(
            element, [name for attribute in rows for name in (attribute.name, attribute.alias) if name]
        )
        values = {}
        for attribute in rows:
            name = attribute.name
            if attribute.alias and element.get(attribute.alias) is not None:
                if element.get(name) is not None:
                    self.error(
                        element, f"{attribute.alias}= and {name}= have the same meaning", f"use {name}="
                    )
                else:
                    name = attribute.alias
            if attribute.form is Form.WORD:
                values[attribute.field] = self.word(element, name, attribute.words, attribute.default)
            elif attribute.form is Form.FLAG:
                values[attribute.field] = self.flag(element, name)
            else:
                values[attribute.field] = element.get(name)
        return values

    def branches(self, element: Any) -> tuple[Snippet, ...]:
        if (element.text or "").strip() or any((inner.tail or "").strip() for inner in element):
            self.error(element, f"text in <{element.tag}>", "write elements of domain XML there")
        found = []
        for inner in element.iterchildren("*"):
            if inner.tag == "domain" and len(element) > 1:
                self.error(inner, "<domain> beside other elements", "put all of them in <domain>")
            if inner.tag.startswith(f"{{{VIRTUNED_NS}}}"):
                self.source(inner, element)
            found.append(self.snippet(inner, False))
        if ACTIONS.get(element.tag, (None,))[0] is not Kind.ADD:
            for branch in found:
                self.no_intents(branch, element.tag)
        return tuple(found)

    def no_intents(self, snippet: Snippet, tag: str) -> None:
        for name, _ in snippet.intents:
            message = f"'{name}' on <{snippet.tag}> in <{tag}>: it asks for {SUBJECTS[name]}"
            hint = "it stands on a device of an <add>"
            self.problems.append(Problem("error", message, hint, self.file, snippet.line))
        for inner in snippet.children:
            self.no_intents(inner, tag)

    def source(self, element: Any, action: Any) -> None:
        """An element that stands for branches that are made when the action is applied."""
        known = SOURCES.get(element.tag)
        if known is None:
            names = [local(source) for source in SOURCES]
            self.error(element, f"unknown source '{local(element.tag)}'", nearest(local(element.tag), names))
            return
        if action.tag not in ACTIONS or ACTIONS[action.tag][0] is not Kind.ADD:
            self.error(element, f"<{local(element.tag)}> in <{action.tag}>", "move it into an <add>")
        self.attributes(element, known)
        self.empty(element)

    def snippet(self, element: Any, foreign: bool) -> Snippet:
        attrs: list[tuple[str, str]] = []
        intents: list[tuple[str, str]] = []
        line = element.sourceline or 1
        for name, value in element.attrib.items():
            self.template(element, value)
            if name.startswith(f"{{{VIRTUNED_NS}}}") and not foreign:
                if local(name) not in NAMES:
                    self.error(element, f"unknown intent '{local(name)}'", nearest(local(name), NAMES))
                    continue
                intents.append((local(name), value))
            else:
                attrs.append((name, value))
        foreign = foreign or element.tag == "metadata"
        chunks = [element.text or ""] + [inner.tail or "" for inner in element]
        text = "".join(chunks).strip()
        below = list(element.iterchildren("*"))
        if text and below and not foreign:
            self.error(element, f"text beside elements in '{local(element.tag)}'")
        if text:
            self.template(element, text)
        children = tuple(self.snippet(inner, foreign) for inner in below)
        return Snippet(
            element.tag,
            tuple(attrs),
            text or None,
            children,
            line,
            element.prefix,
            tuple(intents),
        )

    # --- words ---------------------------------------------------------------

    def template(self, element: Any, value: str) -> None:
        if is_plain(value):
            return
        try:
            split(value)
        except ProfileError as problem:
            self.error(element, problem.message, problem.hint)

    def attributes(self, element: Any, allowed: Any) -> None:
        for name in element.attrib:
            if name[0] != "{" and name not in allowed:
                self.error(
                    element,
                    f"unknown attribute '{name}' of <{element.tag}>",
                    nearest(name, allowed) or ("it has " + ", ".join(allowed) if allowed else "it has none"),
                )

    def empty(self, element: Any) -> None:
        if len(element) or (element.text or "").strip():
            self.error(element, f"<{element.tag}> holds nothing")

    def flag(self, element: Any, name: str) -> bool:
        value = element.get(name)
        if value not in (None, "yes", "no"):
            self.error(element, f"{name}='{value}' is not yes or no")
        return bool(value == "yes")

    def word(self, element: Any, name: str, words: Any, default: Any) -> Any:
        value = element.get(name)
        if value is None:
            return default
        try:
            return words(value)
        except ValueError:
            known = [str(word) for word in words]
            self.error(
                element,
                f"{name}='{value}' is none of {', '.join(known)}",
                nearest(value, known),
            )
            return default


# --- digests ------------------------------------------------------------------


@cache
def _sha256() -> Callable[[bytes], Any]:
    """SHA-256 without OpenSSL, whose loading is a twentieth of a process that applies one profile."""
    for name in ("_sha2", "_sha256"):  # of Python 3.12 and newer, of older ones
        try:
            return import_module(name).sha256  # type: ignore[no-any-return]
        except (ImportError, AttributeError):
            continue
    from hashlib import sha256

    return sha256


def digest(profile: Profile) -> str:
    """SHA-256 of what a profile says: not of its file, lines, comments or white space."""
    said = (
        profile.name,
        profile.version,
        profile.title,
        profile.description,
        tuple((param.name, str(param.type), param.default, param.secret) for param in profile.params),
        tuple((require.profile, require.version) for require in profile.requires),
        tuple((conflict.profile, conflict.version) for conflict in profile.conflicts),
        tuple(
            (condition.negate, condition.test, str(condition.unknown), _said(condition.branches))
            for condition in profile.matches
        ),
        tuple(
            (str(action.kind), *digested(action), _said(action.branches), *digested_besides(action))
            for action in profile.actions
        ),
        profile.replaced_by,
        profile.autoselect,
        profile.priority,
        # What the prefixes in expressions mean.
        *((profile.namespaces,) if profile.namespaces else ()),
        *(("audit",) if profile.audit else ()),
    )
    return str(_sha256()(repr(said).encode()).hexdigest())


def _said(branches: tuple[Snippet, ...]) -> tuple[Any, ...]:
    return tuple(
        (
            branch.tag,
            tuple(sorted(branch.attrs)),
            branch.text,
            tuple(sorted(branch.intents)),
            _said(branch.children),
        )
        for branch in branches
    )


def parse_profiles(text: str, file: str, *, drop_in: bool = False) -> ParsedFile:
    """Read a profile file; see `profileparser.read`."""
    from virtProfile.language.parser import read

    return read(text, file, drop_in=drop_in)
