# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks profile files without a domain: all problems at once, each with its line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from virtProfile.authoring.cases import read_cases
from virtProfile.authoring.xpath_lint import doubts, never
from virtProfile.engine.actions.perform import Actions
from virtProfile.engine.selection.conflicts import conflicts
from virtProfile.engine.selection.render import steps
from virtProfile.engine.tree.ownership import Writer
from virtProfile.engine.tree.work_tree import WorkTree
from virtProfile.errors import ProfileError, ProfileSyntaxError
from virtProfile.format.document import parse, read_file
from virtProfile.format.paths import Paths
from virtProfile.frozen import replace
from virtProfile.host.context import Context
from virtProfile.language.attributes import expressions
from virtProfile.language.context_needs import asks, templates
from virtProfile.language.expression import compile_expression
from virtProfile.language.generators import is_source
from virtProfile.language.params import FORMS, param_value
from virtProfile.language.parser import parse_profiles
from virtProfile.language.profile import (
    Action,
    Kind,
    Match,
    Multiple,
    Problem,
    Profile,
    Snippet,
    Unknown,
)
from virtProfile.language.requests import Selected
from virtProfile.language.selection import selected_nodes
from virtProfile.language.store import TESTS
from virtProfile.language.template import expressions_in, is_plain
from virtProfile.language.wishes import WORKED_OUT, Want, compile_branches, compile_element
from virtProfile.result import Origin

if TYPE_CHECKING:
    from virtProfile.format.schema import Node, Schema
    from virtProfile.language.expression import Expression
    from virtProfile.language.xpath import Node as Part

__all__ = ["lint_files", "lint_text"]


def lint_files(files: Iterable[str | os.PathLike[str]], schema: Schema | None = None) -> list[Problem]:
    """Everything wrong or doubtful in profile files, in the order of files and lines.

    :param schema: the domain format; None is the shipped baseline
    """
    found: list[Problem] = []
    seen: dict[tuple[str, str, str], Profile] = {}
    for file in {os.path.abspath(os.fspath(given)): given for given in files}.values():
        name = os.fspath(file)
        if name.endswith(TESTS):
            found += _lint_tests(name)
            continue
        drop_in = os.path.dirname(os.path.abspath(name)).endswith(".d")
        try:
            text = read_file(name, ProfileSyntaxError)[0]
        except ProfileError as problem:
            found.append(Problem("error", problem.message, problem.hint, name, 1))
            continue
        found += lint_text(text, name, schema, drop_in=drop_in, seen=seen)
        if not drop_in:
            found += _misnamed(name, [profile for profile in seen.values() if profile.file == name])
    return found


def _misnamed(file: str, profiles: Sequence[Profile]) -> list[Problem]:
    """A file of one profile that is called otherwise."""
    stem = os.path.basename(file).removesuffix(".xml")
    if len(profiles) != 1:
        return []
    (profile,) = profiles
    names = {f"{profile.name}{sign}{profile.version}" for sign in "@-"}
    if stem == profile.name or stem in names:
        return []
    fact = f"the file is called '{stem}' and its profile '{profile.name}'"
    hint = f"--profile {profile.name} finds it by the name in the file; call the file {profile.name}.xml"
    return [Problem("warning", fact, hint, file, profile.line)]


def _lint_tests(file: str) -> list[Problem]:
    """What is wrong in a file of tests; whether they pass is not asked."""
    try:
        read_cases(file)
    except ProfileError as problem:
        return [
            _error(
                int(line) if (line := row.where.rpartition(":")[2]).isascii() and line.isdigit() else 1,
                row.message,
                row.hint,
                file,
            )
            for row in (problem, *problem.others)
        ]
    return []


def lint_text(
    text: str,
    file: str,
    schema: Schema | None = None,
    *,
    drop_in: bool = False,
    seen: dict[tuple[str, str, str], Profile] | None = None,
) -> list[Problem]:
    """Everything wrong or doubtful in one profile document.

    :param seen: profiles of files that were linted before, by directory, name, version
    """
    try:
        parsed = parse_profiles(text, file, drop_in=drop_in)
    except ProfileError as problem:
        return [Problem("error", problem.message, problem.hint, file, 1)]
    found = list(parsed.problems)
    domain_schema = Context(schema=schema).domain_schema
    for profile in parsed.profiles:
        key = (os.path.dirname(os.path.abspath(file)), profile.name, profile.version)
        if seen is not None and not drop_in:
            other = seen.setdefault(key, profile)
            if other is not profile:
                found.append(
                    _error(
                        profile.line,
                        f"profile '{profile.name}' version '{profile.version}' is defined twice:"
                        f" also at {other.file}:{other.line}",
                        "give the two different versions, or put them in different directories",
                        file,
                    )
                )
        found += _Linter(profile, domain_schema, drop_in).run()
    for profile in parsed.drafts:
        found += _Linter(profile, domain_schema, drop_in).run(draft=True)
    return sorted(dict.fromkeys(found), key=lambda finding: (finding.line, finding.column, finding.level))


def _error(line: int, message: str, hint: str, file: str) -> Problem:
    return Problem("error", message, hint, file, line)


class _Linter:
    def __init__(self, profile: Profile, schema: Schema, drop_in: bool) -> None:
        self.profile = profile
        self.schema = schema
        self.drop_in = drop_in
        self.used: set[str] = set()
        self.tests: list[Part] = []
        #: the element at which expressions of the action at hand are evaluated, None where nobody knows
        self.here: Node | None = schema.root
        #: the variables that they have besides all others
        self.bound: tuple[str, ...] = ()
        self.problems: list[Problem] = []

    def run(self, draft: bool = False) -> list[Problem]:
        """:param draft: there are errors already, so what is missing is not reported."""
        profile = self.profile
        for match in profile.matches:
            self.match(match)
        fact = never(self.tests, self.schema.root)
        if fact:
            self.say(
                "warning",
                profile.line,
                f"the profile never applies: {fact}",
                "remove one <match>, or write two profiles: all must hold",
            )
        for action in profile.actions:
            self.action(action)
        self.head(draft)
        if not self.drop_in and not draft:
            for param in profile.params:
                if f"${param.name}" not in self.used:
                    self.say("warning", param.line, f"param '{param.name}' is not used", "")
        self.twins(profile.actions)
        if not draft and not any(problem.level == "error" for problem in self.problems):
            self.contradictions()
        return self.problems

    def head(self, draft: bool) -> None:
        """What the profile says of itself and its params."""
        profile = self.profile
        for param in profile.params:
            if param.default is not None and param_value(param, param.default) is None:
                fact = f"the default of '{param.name}', '{param.default}', is not of type {param.type}"
                self.say("error", param.line, fact, FORMS[param.type])
            elif param.secret and param.default:
                fact = f"the secret param '{param.name}' has a default that everybody can read"
                self.say("warning", param.line, fact, "leave the default out: it is given as @FILE")
        names = [reference.profile for reference in profile.requires]
        for reference in (*profile.requires, *profile.conflicts):
            if reference.profile == profile.name:
                self.say("error", reference.line, f"profile '{profile.name}' refers to itself", "")
        for reference in profile.conflicts:
            if reference.profile in names:
                fact = f"profile '{profile.name}' requires '{reference.profile}' and conflicts with it"
                self.say("error", reference.line, fact, "")
        if profile.replaced_by and (profile.actions or profile.matches):
            fact = f"nothing of this profile is used: it is replaced by '{profile.replaced_by}'"
            self.say("warning", profile.line, fact, "")
        if profile.autoselect and not draft:
            if not profile.matches:
                fact = "autoselect='yes' without a <match> selects nothing"
                self.say("warning", profile.line, fact, "a <match> says where")
            for param in profile.params:
                if param.default is None:
                    fact = f"nobody gives '{param.name}' to a profile that selects itself"
                    self.say("warning", param.line, fact, "give it a default")

    def unknown(self, owner: Match | Action, made: Sequence[Expression | None], values: bool) -> None:
        """An ``unknown=`` that nothing of the owner can come to.

        :param values: are there expressions in values that ask for context?
        """
        if owner.unknown == Unknown.ERROR:
            return
        condition = any(expression is not None and asks(expression) for expression in made)
        if condition or values and owner.unknown == Unknown.SKIP:
            return
        hint = "only an expression that asks for context can be unknown"
        if values:
            hint = "a {…} knows error and skip only"
        self.say("warning", owner.line, f"unknown='{owner.unknown}' has no effect", hint)

    def say(self, level: str, line: int, message: str, hint: str) -> None:
        self.problems.append(Problem(level, message, hint, self.profile.file, line))

    def tell(self, problem: ProfileError, line: int) -> None:
        """An error of another stage, and those that travel with it."""
        for error in (problem, *problem.others):
            number = error.where.rpartition(":")[2]
            self.say(
                "error",
                int(number) if number.isascii() and number.isdigit() else line,
                error.message,
                error.hint,
            )

    # --- expressions ---------------------------------------------------------

    def expression(self, text: str, line: int, column: int = 0) -> Expression | None:
        names = [*(param.name for param in self.profile.params), *self.bound]
        if self.drop_in:  # the params of the profile that it extends are not known here
            names += re.findall(r"\$([\w.-]+)", text)
        try:
            made = compile_expression(
                text,
                file=self.profile.file,
                line=line,
                column=column,
                params=names,
                namespaces=dict(self.profile.namespaces),
            )
        except ProfileError as problem:
            self.tell(problem, line)
            return None
        self.used |= made.uses
        for fact, hint in doubts(made.parsed.root, self.schema.root, self.here):
            self.say("warning", line, f"{fact}, in '{text}'", hint)
        if _below_qemu_version(made.parsed.root):
            self.say(
                "warning",
                line,
                f"'{text}' compares $qemu_version with '<': without a connection it is a lower bound",
                "ask what a version can do with '>='",
            )
        return made

    def condition(self, text: str, line: int, what: str) -> Expression | None:
        made = self.expression(text, line)
        if made is None:
            return None
        if not made.parsed.variables and _is_constant(made.parsed.root):
            self.say("warning", line, f"{what} is the same for every domain: '{text}'", "leave it out")
        fact = never([made.parsed.root], self.schema.root) if self.here is self.schema.root else ""
        if fact:
            self.say("warning", line, f"{what} never holds: {fact}, in '{text}'", "")
        if what == "test" and self.here is self.schema.root and not self.bound:
            self.tests.append(made.parsed.root)
        return made

    def templates(self, snippets: Sequence[Snippet]) -> bool:
        """Does an expression of a value ask for context?"""
        rows = [row for snippet in snippets for row in templates(snippet)]
        made = [self.expression(text, line, column) for text, line, column in rows]
        return any(expression is not None and asks(expression) for expression in made)

    # --- matches and actions -------------------------------------------------

    def match(self, match: Match) -> None:
        made = None if match.test is None else self.condition(match.test, match.line, "test")
        if not self.templates(match.branches):
            self.unknown(match, [made], False)
        try:
            compile_branches(self.plain(match.branches), self.schema, self.profile.file, checked=False)
        except ProfileError as problem:
            self.tell(problem, match.line)

    def plain(self, branches: tuple[Snippet, ...]) -> tuple[Snippet, ...]:
        """The branches without the values that expressions give."""
        return tuple(_plain(branch) for branch in branches if not is_source(branch))

    def action(self, action: Action) -> None:
        nodes: tuple[Node, ...] = (self.schema.root,)
        each = None
        if action.each is not None:
            each = self.expression(action.each, action.line)
            nodes = self.each(action)
        self.here = nodes[0] if len(nodes) == 1 else None
        self.bound = action.bound
        try:
            self._action(action, nodes, each)
        finally:
            self.here, self.bound = self.schema.root, ()

    def each(self, action: Action) -> tuple[Node, ...]:
        """The schema's nodes of the elements that an ``each=`` can select."""
        assert action.each is not None
        if not action.branches:
            return ()
        tag = action.branches[0].tag
        nodes = selected_nodes(action.each, tag, self.schema)
        if not nodes:
            fact = f"each='{action.each}' selects no '{tag}', which the snippet describes"
            self.say("error", action.line, fact, "write a snippet with the tag of the selected elements")
        return nodes

    def _action(self, action: Action, nodes: Sequence[Node], each: Expression | None) -> None:
        when = None if action.when is None else self.condition(action.when, action.line, "when")
        if action.select is not None:
            selection = self.expression(action.select, action.line)
            self.unknown(action, [when], selection is not None and asks(selection))
            return
        others = [
            self.expression(text, action.line)
            for row, text in expressions(action)
            if row.name in ("repeat", "test")
        ]
        values = self.templates(action.branches)
        if action.message is not None:
            made = [
                self.expression(part.text, action.line, part.column)
                for part in expressions_in(action.message)
            ]
            values = values or any(expression is not None and asks(expression) for expression in made)
        self.unknown(action, [each, when, *others], values)
        want = self.compiled(action, nodes)
        if want is None:
            return
        self.new_devices(action)
        if action.multiple == Multiple.YES and (not want.groups if action.each else want.leaves):
            leaf = want.leaves[0]
            self.say(
                "error",
                leaf.line,
                f"multiple='yes' of '{leaf.full}', of which there can be only one",
                "leave multiple out, or use multiple='no' to override",
            )
        if action.kind == Kind.DEFAULT:
            for path in _ordered(want):
                self.say(
                    "warning",
                    action.line,
                    f"a default never changes the ordered list '{path}'",
                    "use <add>",
                )

    def new_devices(self, action: Action) -> None:
        """An ``<add>`` of a device without a key or a source: it makes a new device where none fits."""
        if action.kind != Kind.ADD or action.each is not None or action.multiple != Multiple.AUTO:
            return
        groups = [branch for branch in action.branches if branch.tag == "devices"]
        for device in (below for group in groups for below in group.children):
            names = {below.tag for below in device.children}
            kind = dict(device.attrs).get("device", "disk")
            if (
                device.tag == "disk"
                and kind == "disk"
                and "source" not in names
                and not any(below.tag == "target" and "dev" in dict(below.attrs) for below in device.children)
            ):
                self.say(
                    "warning",
                    device.line,
                    "this <add> makes a new disk where no disk fits: it names no source and no target dev",
                    "<add each='devices/disk'><disk>… changes every disk that is there",
                )

    def compiled(self, action: Action, nodes: Sequence[Node]) -> Want | None:
        """The wishes of an action, for the first kind of element that has all that they name."""
        branches = self.plain(action.branches)
        if not branches or not nodes:
            return None
        problems = []
        for node in nodes:
            try:
                if action.each is not None:
                    return compile_element(
                        branches, node, action.file, checked=True, singles=action.kind != Kind.REMOVE
                    )
                return compile_branches(
                    branches,
                    self.schema,
                    action.file,
                    checked=action.kind != Kind.CHECK,
                    singles=action.kind != Kind.REMOVE,
                )
            except ProfileError as problem:
                problems.append(problem)
        self.tell(problems[0], action.line)
        return None

    def twins(self, actions: Sequence[Action]) -> None:
        """Actions that say again what another one says."""
        said: dict[Any, Action] = {}
        for action in actions:
            if action.multiple == Multiple.YES:
                continue
            written = tuple((row.name, text) for row, text in expressions(action))
            key = (action.kind, action.negate, written, _said(action.branches))
            other = said.setdefault(key, action)
            if other is not action:
                self.say(
                    "warning",
                    action.line,
                    f"this <{action.kind}> repeats line {other.line}",
                    "remove one of them",
                )

    def contradictions(self) -> None:
        """What the profile's unconditional actions want, and cannot all have."""
        tree = WorkTree(parse("<domain/>"))
        selected = Selected(self.profile, 0, "caller", {}, None)

        def prepare(action: Action, _: Selected, __: int) -> tuple[Want | None, None, None] | None:
            if next(expressions(action), None) is not None or any(
                not _all_plain(branch) for branch in action.branches
            ):
                return None
            return (
                compile_branches(
                    action.branches, self.schema, action.file, singles=action.kind != Kind.REMOVE
                ),
                None,
                None,
            )

        actions = Actions(tree, self.schema)
        for step in steps([selected], prepare):
            actions.act(step)
        for path, losses in conflicts(actions, Paths(tree.root, self.schema)).items():
            loss = losses[0]
            other = _line(loss.winners[0])
            self.say(
                "error",
                loss.loser.origin.line,
                f"{path}: {_wish(loss.wanted)} here and {_wish(loss.has)} at line {other}"
                " cannot hold together",
                "keep one of the two",
            )


def _line(writer: Writer) -> int:
    origin: Origin = writer.origin
    return origin.line


def _wish(value: str | None) -> str:
    return "an absence" if value is None else f"'{value}'"


def _ordered(want: Want) -> Iterator[str]:
    for group in want.groups:
        if group.node.key_class == "O":
            yield group.node.path
        for inner in group.wants:
            yield from _ordered(inner)


def _below_qemu_version(node: Any) -> bool:
    """Does it ask whether the version is below something?"""
    if node.kind == "compare" and len(node.parts) == 2:
        smaller = {"<": 0, "<=": 0, ">": 1, ">=": 1}.get(node.name)
        if smaller is not None:
            side = node.parts[smaller]
            if side.kind == "path" and side.start == "variable" and side.name == "qemu_version":
                return True
    return any(_below_qemu_version(part) for part in node.parts)


def _is_constant(node: Any) -> bool:
    if node.kind == "path":
        return False
    if node.kind == "call" and node.name.startswith("vp:") and node.name not in ("vp:min", "vp:max"):
        return False
    return all(_is_constant(part) for part in node.parts)


def _all_plain(snippet: Snippet) -> bool:
    values = [value for _, value in (*snippet.attrs, *snippet.intents)]
    return not is_source(snippet) and (
        all(is_plain(value) for value in values)
        and (snippet.text is None or is_plain(snippet.text))
        and all(_all_plain(child) for child in snippet.children)
    )


def _plain(snippet: Snippet) -> Snippet:
    """A snippet without the values that are worked out later: their names are still checked."""

    return replace(
        snippet,
        attrs=tuple((name, value if is_plain(value) else WORKED_OUT) for name, value in snippet.attrs),
        intents=tuple((name, value if is_plain(value) else WORKED_OUT) for name, value in snippet.intents),
        text=snippet.text if snippet.text is None or is_plain(snippet.text) else WORKED_OUT,
        children=tuple(_plain(child) for child in snippet.children),
    )


def _said(branches: tuple[Snippet, ...]) -> tuple[object, ...]:
    return tuple(
        (branch.tag, frozenset(branch.attrs), branch.text, branch.intents, _said(branch.children))
        for branch in branches
    )
