# SPDX-License-Identifier: GPL-2.0-or-later
"""Conditions of profiles and actions, judged on a (masked) tree.

A `Verdict` is what one judgement gave: whether it holds, why not, or what is
missing to say; for an action also its branches with every expression worked out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import MissingContextError, ProfileError
from .finding import holds
from .profile import Action, Match, Snippet
from .records import replace
from .selector import Selected
from .template import is_plain, split
from .wants import Want, compile_branches, compiled_action, compiled_match
from .worktree import child

if TYPE_CHECKING:
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


class Conditions:
    """Judges matches, `when` and expressions with the context of one call."""

    def __init__(self, schema: Any, context: Context, document: Any) -> None:
        self.schema = schema
        self.context = context
        self.document = document
        self.sketch = is_sketch(document.root)  # before any profile touches it
        self._environments: dict[str, Environment] = {}
        self._wants: dict[tuple[int, Any], Want] = {}

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
            return self._test(match.test, one, match.line, root)
        if any(_dynamic(branch) for branch in match.branches):
            branches = self._expand(match.branches, one, root)
            want = compile_branches(branches, self.schema, one.profile.file, checked=False)
        else:
            want = compiled_match(match, self.schema, one.profile.file)
        return holds(root, want)

    # --- actions -------------------------------------------------------------

    def is_dynamic(self, action: Action) -> bool:
        """Does what the action says depend on the document or on params?"""
        return action.when is not None or any(_dynamic(branch) for branch in action.branches)

    def action(self, one: Selected, action: Action, root: Any) -> Verdict:
        """`when`, then every ``{…}`` of an action."""
        from .expression import KeptSecret

        where = f"{action.file}:{action.line}"
        try:
            if action.when is not None:
                asked = self._environment_of(one).surroundings.lacking
                asked.clear()
                if not self._test(action.when, one, action.line, root):
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
            return Verdict(True, branches=self._expand(action.branches, one, root))
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
            key = (id(action), verdict.branches)
            want = self._wants.get(key)
            if want is None:
                want = self._wants[key] = compile_branches(
                    verdict.branches,
                    self.schema,
                    action.file,
                    singles=action.kind != "remove",
                )
            return want, None
        if action.select is not None:
            return None, self._selection(action, one)
        return compiled_action(action, self.schema), None

    def _selection(self, action: Action, one: Selected) -> Any:
        expression = self._compile(action.select or "", one, action.line)
        environment = self._environment_of(one)
        return lambda root: expression.select(root, environment)

    # --- expressions ---------------------------------------------------------

    def check_params(self, one: Selected) -> None:
        """:raises ParamError: a param is unknown, missing or mistyped."""
        if one.params or one.profile.params:
            self._environment_of(one)

    def _environment_of(self, one: Selected) -> Environment:
        found = self._environments.get(one.name)
        if found is None:
            from .expression import Environment, parse_params

            params = parse_params(one.profile, one.params, one.source == "metadata")
            found = self._environments[one.name] = Environment(params, self.context, self.sketch)
        return found

    def _compile(self, text: str, one: Selected, line: int, column: int = 0) -> Expression:
        from .expression import compile_expression

        return compile_expression(
            text,
            file=one.profile.file,
            line=line,
            column=column,
            params=[param.name for param in one.profile.params],
            namespaces=dict(one.profile.namespaces),
        )

    def _test(self, text: str, one: Selected, line: int, root: Any) -> bool:
        return self._compile(text, one, line).test(root, self._environment_of(one))

    def _expand(self, branches: tuple[Snippet, ...], one: Selected, root: Any) -> tuple[Snippet, ...]:
        return tuple(self._expand_one(branch, one, root) for branch in branches)

    def _expand_one(self, snippet: Snippet, one: Selected, root: Any) -> Snippet:
        if not _dynamic(snippet):
            return snippet

        def value(text: str) -> str:
            return text if is_plain(text) else self._text(text, one, snippet.line, root)

        return replace(
            snippet,
            attrs=tuple((name, value(text)) for name, text in snippet.attrs),
            intents=tuple((name, value(text)) for name, text in snippet.intents),
            text=None if snippet.text is None else value(snippet.text),
            children=tuple(self._expand_one(below, one, root) for below in snippet.children),
        )

    def _text(self, text: str, one: Selected, line: int, root: Any) -> str:
        """A value with its ``{…}`` worked out."""
        environment: Environment = self._environment_of(one)
        parts = []
        for part in split(text):
            if isinstance(part, str):
                parts.append(part)
            else:
                expression = self._compile(part.text, one, line, part.column)
                parts.append(expression.text(root, environment))
        return "".join(parts)


def is_sketch(domain: Any) -> bool:
    """Is this a definition that no libvirt keeps yet, so that nothing can be installed in it?

    libvirt gives every domain that it defines a UUID, and QEMU's driver a machine type
    ("virDomainDefPostParse", "qemuDomainDefPostParse"). An application that made the UUID
    itself has not said the machine type then.
    """
    if child(domain, "uuid") is None:
        return True
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
        any(not is_plain(value) for _, value in (*snippet.attrs, *snippet.intents))
        or (snippet.text is not None and not is_plain(snippet.text))
        or any([_dynamic(below) for below in snippet.children])
    )
    if len(_dynamic_known) > 65536:
        _dynamic_known.clear()
    _dynamic_known[id(snippet)] = (snippet, found)
    return found
