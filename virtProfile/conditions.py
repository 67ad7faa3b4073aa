# SPDX-License-Identifier: GPL-2.0-or-later
"""Conditions of profiles and actions, judged on a (masked) tree.

A `Verdict` is what one judgement gave: whether it holds, why not, or what is
missing to say; for an action also its branches with every expression worked out.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from .errors import MissingContextError, ProfileError
from .finding import holds
from .profile import Action, Match, Snippet
from .records import replace
from .selector import Selected
from .sources import is_source
from .template import Expr, is_plain, split
from .wants import Want, compiled_action, compiled_match
from .worktree import child

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .context import Context
    from .expression import Environment, Expression


class Verdict:
    """One judgement."""

    __slots__ = ("holds", "reason", "error", "branches", "lacking")

    def __init__(
        self,
        holds: bool,
        reason: str = "",
        error: ProfileError | None = None,
        branches: tuple[Snippet, ...] | None = None,
        lacking: tuple[str, ...] = (),
    ) -> None:
        self.holds = holds
        self.reason = reason
        self.error = error
        self.branches = branches
        #: what the domain capabilities do not have, for which it does not hold
        self.lacking = lacking

    def key(self) -> tuple[Any, ...]:
        """Equal for judgements that lead to the same."""
        return (self.holds, None if self.error is None else str(self.error), self.branches)


class Preparation:
    """Gives each action of a selection as a state of the fixpoint has it; see `rendering.Prepare`.

    :ivar context: what is known besides the domain
    """

    def __init__(
        self,
        conditions: Conditions,
        verdicts: Mapping[tuple[str, int], Verdict],
        without: tuple[str, int] | None = None,
    ) -> None:
        """:param without: an action (its profile, its number) that is left out"""
        self.context = conditions.context
        self._conditions = conditions
        self._verdicts = verdicts
        self._without = without

    def __call__(self, action: Action, one: Selected, number: int) -> tuple[Want | None, Any] | None:
        if (one.name, number) == self._without:
            return None
        return self._conditions.prepared(action, one, self._verdicts.get((one.name, number)))


class Conditions:
    """Judges matches, `when` and expressions with the context of one call."""

    def __init__(self, schema: Any, context: Context, document: Any, before: Any = None) -> None:
        """:param before: the record that the document has, or None"""
        self.schema = schema
        self.context = context
        self.document = document
        self.sketch = is_sketch(document.root)  # before any profile touches it
        #: profiles that met a sketch: it is theirs also where libvirt has defined it since
        self._met = {one.name for one in before.profiles if one.sketch} if before is not None else set()
        self._environments: dict[str, Environment] = {}
        self._expressions: dict[tuple[str, str, str, int, int], Expression] = {}

    def is_sketch_for(self, name: str) -> bool:
        """What `vp:sketch()` is in a profile of that name."""
        return self.sketch or name in self._met

    # --- profiles ------------------------------------------------------------

    def match(self, one: Selected, root: Any) -> Verdict:
        """All `<match>` of a profile."""
        profile = one.profile
        for match in profile.matches:
            where = f"its <match> at {profile.file}:{match.line}"
            try:
                held = self._holds(match, one, root)
            except MissingContextError as problem:
                if match.unknown == "apply":
                    continue
                if match.unknown == "skip":
                    return Verdict(False, f"{where} is unknown: {problem.message}")
                return Verdict(False, f"{where} is unknown", problem)
            except ProfileError as problem:
                return Verdict(False, f"{where} is in error", problem)
            if held == match.negate:
                word = "holds" if held else "does not hold"
                return Verdict(False, f"{where} {word}")
        return Verdict(True)

    def _holds(self, match: Match, one: Selected, root: Any) -> bool:
        if match.test is not None:
            return self._test(match.test, one, one.profile.file, match.line, root)
        if any(_dynamic(branch) for branch in match.branches):
            branches = self._expand(match.branches, one, one.profile.file, root)
            want = compiled_match(match, self.schema, one.profile.file, branches)
        else:
            want = compiled_match(match, self.schema, one.profile.file)
        return holds(root, want)

    # --- actions -------------------------------------------------------------

    def is_dynamic(self, action: Action) -> bool:
        """Does what the action says depend on the document or on params?"""
        if action.when is not None:
            return True
        for branch in action.branches:
            if _dynamic(branch):
                return True
        return False

    def action(self, one: Selected, action: Action, root: Any) -> Verdict:
        """`when`, then every ``{…}`` of an action."""
        from .expression import KeptSecret

        where = f"{action.file}:{action.line}"
        try:
            if action.when is not None:
                asked = self._environment_of(one).surroundings.lacking
                asked.clear()
                if not self._test(action.when, one, action.file, action.line, root):
                    return Verdict(False, f"its when at {where} does not hold", lacking=tuple(asked))
        except KeptSecret as problem:
            return Verdict(False, f"the action at {where} is left: {problem.message}")
        except MissingContextError as problem:
            if action.unknown == "skip":
                return Verdict(False, f"its when at {where} is unknown: {problem.message}")
            if action.unknown != "apply":
                return Verdict(False, f"its when at {where} is unknown", problem)
        except ProfileError as problem:
            return Verdict(False, "", problem)
        try:
            return Verdict(True, branches=self._expand(action.branches, one, action.file, root))
        except KeptSecret as problem:
            return Verdict(False, f"the action at {where} is left: {problem.message}")
        except MissingContextError as problem:
            if action.unknown == "skip":
                return Verdict(False, f"an expression at {where} is unknown: {problem.message}")
            return Verdict(False, "", problem)
        except ProfileError as problem:
            return Verdict(False, "", problem)

    def prepared(
        self, action: Action, one: Selected, verdict: Verdict | None
    ) -> tuple[Want | None, Any] | None:
        """What `rendering.steps` carries out: (wishes, selection), or None to leave it out."""
        if self.is_dynamic(action):
            if verdict is None or not verdict.holds:
                return None
            if action.select is not None:
                return None, self._selection(action, one)
            assert verdict.branches is not None
            return compiled_action(action, self.schema, verdict.branches), None
        if action.select is not None:
            return None, self._selection(action, one)
        return compiled_action(action, self.schema), None

    def _selection(self, action: Action, one: Selected) -> Any:
        expression = self._compile(action.select or "", one, action.file, action.line)
        environment = self._environment_of(one)

        def selection(root: Any) -> list[Any]:
            try:
                return expression.select(root, environment)
            except MissingContextError:
                if action.unknown == "skip":
                    return []
                raise

        return selection

    # --- expressions ---------------------------------------------------------

    def check_params(self, one: Selected) -> None:
        """:raises ParamError: a param is unknown, missing or mistyped."""
        if one.params or one.profile.params:
            self._environment_of(one)

    def _environment_of(self, one: Selected) -> Environment:
        found = self._environments.get(one.name)
        if found is None:
            from .expression import Environment, parse_params

            params = parse_params(one.profile, one.params, one.listed)
            found = self._environments[one.name] = Environment(
                params, self.context, self.is_sketch_for(one.name)
            )
        return found

    def _compile(self, text: str, one: Selected, file: str, line: int, column: int = 0) -> Expression:
        key = (one.name, file, text, line, column)
        found = self._expressions.get(key)
        if found is None:
            from .expression import compile_expression

            found = self._expressions[key] = compile_expression(
                text,
                file=file,
                line=line,
                column=column,
                params=[param.name for param in one.profile.params],
                namespaces=dict(one.profile.namespaces),
            )
        return found

    def _test(self, text: str, one: Selected, file: str, line: int, root: Any) -> bool:
        return self._compile(text, one, file, line).test(root, self._environment_of(one))

    def _expand(
        self, branches: tuple[Snippet, ...], one: Selected, file: str, root: Any
    ) -> tuple[Snippet, ...]:
        found: list[Snippet] = []
        for branch in branches:
            made = self._expand_one(branch, one, file, root)
            if is_source(made):
                from .mirroring import branches_of

                found.extend(branches_of(made, root, self.context, f"{file}:{made.line}"))
            else:
                found.append(made)
        return tuple(found)

    def _expand_one(self, snippet: Snippet, one: Selected, file: str, root: Any) -> Snippet:
        if not _dynamic(snippet):
            return snippet

        def value(text: str | None) -> str | None:
            return text if text is None or is_plain(text) else self._text(text, one, file, snippet.line, root)

        values = tuple([value(text) for _, text in (*snippet.attrs, *snippet.intents)])
        children = tuple([self._expand_one(below, one, file, root) for below in snippet.children])
        return _filled(snippet, values, value(snippet.text), children)

    def _text(self, text: str, one: Selected, file: str, line: int, root: Any) -> str:
        """A value with its ``{…}`` worked out."""
        environment: Environment = self._environment_of(one)
        parts = []
        for part in _parts(text):
            if isinstance(part, str):
                parts.append(part)
            else:
                expression = self._compile(part.text, one, file, line, part.column)
                parts.append(expression.text(root, environment))
        return "".join(parts)


@functools.lru_cache(maxsize=4096)
def _parts(text: str) -> tuple[str | Expr, ...]:
    return split(text)


_filled_known: dict[tuple[Any, ...], tuple[Snippet, tuple[Snippet, ...], Snippet]] = {}


def _filled(
    snippet: Snippet, values: tuple[str | None, ...], text: str | None, children: tuple[Snippet, ...]
) -> Snippet:
    """A snippet with its values worked out; the same object for the same values, so that
    what is compiled from it is found again in the next round and the next call."""
    key = (id(snippet), values, text, tuple([id(one) for one in children]))
    known = _filled_known.get(key)
    same = known is not None and known[0] is snippet
    if known is None or not same or any([a is not b for a, b in zip(known[1], children, strict=True)]):
        count = len(snippet.attrs)
        names = [name for name, _ in (*snippet.attrs, *snippet.intents)]
        pairs = [(name, value or "") for name, value in zip(names, values, strict=True)]
        made = replace(
            snippet,
            attrs=tuple(pairs[:count]),
            intents=tuple(pairs[count:]),
            text=text,
            children=children,
        )
        if len(_filled_known) > 8192:
            _filled_known.clear()
        known = _filled_known[key] = (snippet, children, made)
    return known[2]


def forget() -> None:
    """Drop what was worked out for calls: values of params, secrets among them."""
    _filled_known.clear()
    _dynamic_known.clear()
    _parts.cache_clear()


_OF_A_MACHINE = (
    "*/address[@type='pci']",
    "controller[@type='pci']",
    "controller[@type='ide']",
    "disk/target[@bus='ide']",
)


def is_sketch(domain: Any) -> bool:
    """Is this a definition that no libvirt keeps yet, so that nothing can be installed in it?

    libvirt gives every domain that it defines a UUID, and QEMU's driver a machine type
    ("virDomainDefPostParse", "qemuDomainDefPostParse"). An application that made the UUID
    itself has not said the machine type then.
    """
    if child(domain, "uuid") is None:
        return True
    devices = child(domain, "devices")
    if devices is not None:
        # What is only on some machines, or was given its place on one, says which it is.
        if any(devices.find(one) is not None for one in _OF_A_MACHINE):
            return False
    os = child(domain, "os")
    kind = None if os is None else child(os, "type")
    return kind is None or kind.get("machine") is None


_dynamic_known: dict[int, tuple[Snippet, bool]] = {}


def _dynamic(snippet: Snippet) -> bool:
    """Is there an expression (or a doubled brace) anywhere in it? Remembered."""
    known = _dynamic_known.get(id(snippet))
    if known is not None and known[0] is snippet:
        return known[1]
    found = (
        is_source(snippet)
        or any(not is_plain(value) for _, value in (*snippet.attrs, *snippet.intents))
        or (snippet.text is not None and not is_plain(snippet.text))
        or any([_dynamic(below) for below in snippet.children])
    )
    if len(_dynamic_known) > 65536:
        _dynamic_known.clear()
    _dynamic_known[id(snippet)] = (snippet, found)
    return found
