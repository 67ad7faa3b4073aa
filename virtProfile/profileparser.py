# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads profile files: all problems at once, each with its line and the nearest word."""

from __future__ import annotations

import re
from typing import Any

from .errors import ProfileError, ProfileSyntaxError, nearest
from .intents import NAMES, SUBJECTS
from .profile import (
    Action,
    Constraint,
    Kind,
    Match,
    Multiple,
    Param,
    ParamType,
    ParsedFile,
    Problem,
    Profile,
    Requirement,
    Snippet,
    Unknown,
)
from .provenance import MAX_PRIORITY, MIN_PRIORITY
from .records import replace
from .sources import SOURCES
from .template import is_plain, split
from .xmltree import VIRTUNED_NS, local, parse

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
RESERVED_PARAMS = frozenset({"priority", "version", "include"})
#: What expressions call otherwise: a param of the name would hide it.
BOUND = frozenset({"capabilities", "domcapabilities", "host", "qemu_version"})

#: Action elements: kind, what `multiple` they fix, and the main spelling.
ACTIONS: dict[str, tuple[Kind, Multiple | None]] = {
    "add": (Kind.ADD, None),
    "remove": (Kind.REMOVE, None),
    "default": (Kind.DEFAULT, None),
    "defaults": (Kind.DEFAULT, None),
    "append": (Kind.ADD, Multiple.YES),
    "set": (Kind.ADD, Multiple.AUTO),
    "force": (Kind.ADD, Multiple.NO),
    "replace": (Kind.ADD, Multiple.NO),
}
_PROFILE_ATTRIBUTES = ("name", "version", "autoselect", "priority", "replaced-by")
_CHILDREN = ("title", "description", "param", "requires", "conflicts", "match", *ACTIONS)
_ACTION_ATTRIBUTES = ("constraint", "type", "when", "unknown")
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
        number = int(line) if line.isdigit() else 1
        return ParsedFile((), (Problem("error", problem.message, problem.hint, file, number),))
    return _Reader(file, drop_in).whole(document.root)


class _Reader:
    def __init__(self, file: str, drop_in: bool) -> None:
        self.file = file
        self.drop_in = drop_in
        self.problems: list[Problem] = []

    def error(self, element: Any, message: str, hint: str = "") -> None:
        self.problems.append(Problem("error", message, hint, self.file, element.sourceline or 1))

    def file_profiles(self, root: Any) -> list[Any]:
        if root.tag == "profile":
            return [root]
        if root.tag == "profiles" and not self.drop_in:
            self.attributes(root, ())
            found = []
            for one in root.iterchildren("*"):
                if one.tag == "profile":
                    found.append(one)
                elif one.tag[0] != "{":
                    self.error(
                        one, f"unknown element '{one.tag}' in <profiles>", "only <profile> stands there"
                    )
            return found
        self.error(root, f"the root element is '{root.tag}'", "a profile file holds <profile> or <profiles>")
        return []

    def whole(self, root: Any) -> ParsedFile:
        profiles: list[Profile] = []
        broken: list[str] = []
        drafts: list[Profile] = []
        for element in self.file_profiles(root):
            before = len(self.problems)
            profile = self.profile(element)
            if profile is not None and not any(one.level == "error" for one in self.problems[before:]):
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
            self.error(element, "a profile without name", "<profile name='…'>")
            name = ""
        elif name is not None and not NAME.fullmatch(name):
            self.error(
                element,
                f"'{name}' is no name for a profile",
                "letters, digits and ._+-, a letter or digit first, at most 64",
            )
        priority = 0
        if element.get("priority") is not None:
            priority = self.priority(element)
        parts: dict[str, list[Any]] = {"params": [], "requires": [], "conflicts": [], "matches": []}
        actions: list[Action] = []
        texts = {"title": "", "description": ""}
        for one in element.iterchildren("*"):
            tag = one.tag
            if tag[0] == "{":
                continue  # somebody else's
            if self.drop_in and tag not in ACTIONS and tag != "param":
                self.error(one, f"<{tag}> in a drop-in", "a drop-in has actions and params only")
            elif tag in texts:
                self.attributes(one, ())
                texts[tag] = " ".join("".join(one.itertext()).split())
            elif tag == "param":
                parts["params"].append(self.param(one))
            elif tag in ("requires", "conflicts"):
                parts[tag].append(self.requirement(one))
            elif tag == "match":
                parts["matches"].append(self.match(one))
            elif tag in ACTIONS:
                actions.append(self.action(one, len(actions) + 1))
            else:
                self.error(one, f"unknown element '{tag}' in <profile>", nearest(tag, _CHILDREN))
        seen: set[str] = set()
        for param in parts["params"]:
            if param.name in seen:
                self.error(element, f"two params of the name '{param.name}'")
            seen.add(param.name)
        made = Profile(
            name=name or "",
            version=element.get("version", "0") or "0",
            title=texts["title"],
            description=texts["description"],
            params=tuple(parts["params"]),
            requires=tuple(one for one in parts["requires"] if one),
            conflicts=tuple(one for one in parts["conflicts"] if one),
            matches=tuple(parts["matches"]),
            actions=tuple(actions),
            file=self.file,
            line=element.sourceline or 1,
            digest="",
            replaced_by=element.get("replaced-by"),
            autoselect=self.flag(element, "autoselect"),
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
            self.error(element, f"priority '{value}' is no integer from -1000 to 1000")
            return 0
        return number

    def param(self, element: Any) -> Param:
        self.attributes(element, ("name", "type", "default", "secret"))
        self.empty(element)
        name = element.get("name") or ""
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9._-]*", name):
            self.error(
                element, f"'{name}' is no name for a param", "a letter first, then letters, digits, ._-"
            )
        if name in RESERVED_PARAMS:
            self.error(
                element, f"a param may not be called '{name}'", "the command line uses the word itself"
            )
        if name in BOUND:
            self.error(element, f"a param may not be called '{name}'", f"${name} is bound to something else")
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
                element, "a <match> has test= or a snippet, not both", "write two <match>: all must hold"
            )
        if test is None and not branches:
            self.error(element, "an empty <match>", "it holds a snippet of domain XML, or has test='XPATH'")
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
        allowed = list(_ACTION_ATTRIBUTES)
        if element.tag == "add":
            allowed.append("multiple")
        if kind is Kind.REMOVE:
            allowed.append("select")
        self.attributes(element, allowed)
        multiple = fixed or self.word(element, "multiple", Multiple, Multiple.AUTO)
        if element.get("type") is not None and element.get("constraint") is not None:
            self.error(element, "type= and constraint= say the same thing", "use constraint=")
        constraint = self.word(element, "type", Constraint, Constraint.SOFT)
        if element.get("constraint") is not None:
            constraint = self.word(element, "constraint", Constraint, Constraint.SOFT)
        branches = self.branches(element)
        select = element.get("select")
        if select is not None:
            if branches:
                self.error(element, "a <remove> has select= or a snippet, not both")
            if re.search(r"(^|/)\s*metadata\b", select):
                self.error(element, "select= may not name metadata", "an application's metadata is its own")
        elif not branches:
            self.error(element, f"an empty <{element.tag}>", "it holds a snippet of domain XML")
        return Action(
            kind,
            multiple,
            constraint,
            element.get("when"),
            select,
            self.word(element, "unknown", Unknown, Unknown.ERROR),
            branches,
            self.file,
            element.sourceline or 1,
            number,
        )

    def branches(self, element: Any) -> tuple[Snippet, ...]:
        if (element.text or "").strip() or any((one.tail or "").strip() for one in element):
            self.error(element, f"text in <{element.tag}>", "it holds elements of domain XML")
        found = []
        for one in element.iterchildren("*"):
            if one.tag == "domain" and len(element) > 1:
                self.error(one, "<domain> beside other elements", "<domain> holds them all")
            if one.tag.startswith(f"{{{VIRTUNED_NS}}}"):
                self.source(one, element)
            found.append(self.snippet(one, False))
        if ACTIONS.get(element.tag, (None,))[0] is not Kind.ADD:
            for one in found:
                self.no_intents(one, element.tag)
        return tuple(found)

    def no_intents(self, snippet: Snippet, tag: str) -> None:
        for name, _ in snippet.intents:
            message = f"'{name}' on <{snippet.tag}> in <{tag}>: it asks for {SUBJECTS[name]}"
            hint = "it stands on a device of an <add>"
            self.problems.append(Problem("error", message, hint, self.file, snippet.line))
        for one in snippet.children:
            self.no_intents(one, tag)

    def source(self, element: Any, action: Any) -> None:
        """An element that stands for branches that are made when the action is applied."""
        known = SOURCES.get(element.tag)
        if known is None:
            names = [local(one) for one in SOURCES]
            self.error(element, f"unknown source '{local(element.tag)}'", nearest(local(element.tag), names))
            return
        if action.tag not in ACTIONS or ACTIONS[action.tag][0] is not Kind.ADD:
            self.error(element, f"<{local(element.tag)}> in <{action.tag}>", "it stands in <add>")
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
        chunks = [element.text or ""] + [one.tail or "" for one in element]
        text = "".join(chunks).strip()
        below = list(element.iterchildren("*"))
        if text and below and not foreign:
            self.error(element, f"text beside elements in '{local(element.tag)}'")
        if text:
            self.template(element, text)
        children = tuple(self.snippet(one, foreign) for one in below)
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
            self.error(element, f"{name}='{value}' is neither yes nor no")
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


def digest(profile: Profile) -> str:
    """SHA-256 of what a profile says: not of its file, lines, comments or white space."""
    from hashlib import sha256

    said = (
        profile.name,
        profile.version,
        profile.title,
        profile.description,
        tuple((one.name, str(one.type), one.default, one.secret) for one in profile.params),
        tuple((one.profile, one.version) for one in profile.requires),
        tuple((one.profile, one.version) for one in profile.conflicts),
        tuple((one.negate, one.test, str(one.unknown), _said(one.branches)) for one in profile.matches),
        tuple(
            (
                str(one.kind),
                str(one.multiple),
                str(one.constraint),
                one.when,
                one.select,
                str(one.unknown),
                _said(one.branches),
            )
            for one in profile.actions
        ),
        profile.replaced_by,
        profile.autoselect,
        profile.priority,
        # What the prefixes in expressions mean.
        *((profile.namespaces,) if profile.namespaces else ()),
    )
    return sha256(repr(said).encode()).hexdigest()


def _said(branches: tuple[Snippet, ...]) -> tuple[Any, ...]:
    return tuple(
        (one.tag, tuple(sorted(one.attrs)), one.text, tuple(sorted(one.intents)), _said(one.children))
        for one in branches
    )
