# SPDX-License-Identifier: GPL-2.0-or-later
"""Conditions of profiles and actions, judged on a (masked) tree.

A `Verdict` is what one judgement gave: whether it holds, why not, or what is
missing to say; for an action also its branches with every expression worked out.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeAlias

from virtProfile.engine.actions.match import holds
from virtProfile.engine.selection.taint import Taint, secret_params
from virtProfile.errors import MissingContextError, ProfileError, ProfileSyntaxError
from virtProfile.format.element import Element, child, child_node
from virtProfile.format.schema import ForeignNode
from virtProfile.frozen import record, replace
from virtProfile.language.generators import is_source
from virtProfile.language.place import At
from virtProfile.language.profile import Action, Match, Snippet
from virtProfile.language.requests import Selected
from virtProfile.language.template import Expr, is_plain, split
from virtProfile.language.wishes import Want, compiled_action, compiled_element, compiled_match

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from virtProfile.engine.actions.remove import Select
    from virtProfile.engine.actions.step import Targets
    from virtProfile.engine.record.model import Record
    from virtProfile.engine.tree.names import Name
    from virtProfile.engine.tree.work_tree import WorkTree
    from virtProfile.format.document import Document
    from virtProfile.format.schema import Node, Schema
    from virtProfile.host.context import Context
    from virtProfile.language.expression import Environment, Expression
    from virtProfile.language.xpath_budget import Budget

#: What `render.steps` carries out: (wishes, selection, the wishes for each element of an ``each=``).
Prepared: TypeAlias = "tuple[Want | None, Select | None, Targets | None]"


class Verdict:
    """One judgement."""

    __slots__ = ("holds", "reason", "error", "branches", "lacking", "targets", "cause")

    def __init__(
        self,
        holds: bool,
        reason: str = "",
        error: ProfileError | None = None,
        branches: tuple[Snippet, ...] | None = None,
        lacking: tuple[str, ...] = (),
        targets: tuple[Target, ...] | None = None,
        cause: Match | Action | None = None,
    ) -> None:
        self.holds = holds
        self.reason = reason
        self.error = error
        self.branches = branches
        #: what the domain capabilities do not have, for which it does not hold
        self.lacking = lacking
        #: of an ``each=``: the elements that it selects, and the action for each of them
        self.targets = targets
        #: the condition that did not hold
        self.cause = cause

    def key(self) -> tuple[Any, ...]:
        """Equal for judgements that lead to the same."""
        targets = [(target.name, target.branches) for target in self.targets or ()]
        return (self.holds, None if self.error is None else str(self.error), self.branches, targets)


@record
class Target:
    """One element that an ``each=`` selects: its name in all renderings, its kind, and the
    snippets that describe it, worked out."""

    name: Name
    node: Node
    branches: tuple[Snippet, ...]


#: What holds, and what there is no more to say of.
_HOLDS = Verdict(True)


def _where(action: Action) -> str:
    return f"{action.file}:{action.line}"


class Preparation:
    """Gives each action of a selection as a state of the fixpoint has it; see `render.Prepare`.

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

    def __call__(self, action: Action, chosen: Selected, number: int) -> Prepared | None:
        if (chosen.name, number) == self._without:
            return None
        return self._conditions.prepared(action, chosen, self._verdicts.get((chosen.name, number)))


class Conditions:
    """Judges matches, `when` and expressions with the context of one call."""

    def __init__(
        self,
        schema: Schema,
        context: Context,
        document: Document,
        before: Record | None = None,
        expressions: dict[tuple[Any, ...], Expression] | None = None,
    ) -> None:
        """
        :param before: the record that the document has, or None
        :param expressions: those that were compiled for other documents, by where they stand; gets more
        """
        self.schema = schema
        self.context = context
        self.document = document
        self.sketch = is_sketch(document.root)  # before any profile touches it
        #: profiles that met a sketch: it is theirs also where libvirt has defined it since
        self._met = (
            {profile.name for profile in before.profiles if profile.sketch} if before is not None else set()
        )
        self._taint = Taint(document.text)
        self._definition: Callable[[], Element] | None = None
        self._budget: Budget | None = None
        self._environments: dict[str, Environment] = {}
        self._expressions = {} if expressions is None else expressions
        #: of a document that never changes, what conditions without variables gave, or the message, hint
        #: and place of what they lack; None: it may
        self._tested: dict[tuple[Any, ...], bool | tuple[str, str, str]] | None = None

    def stays(self) -> None:
        """The document never changes: equal conditions of several profiles are judged once."""
        self._tested = {}

    def use_definition(self, definition: Callable[[], Element]) -> None:
        """What gives `$definition`, asked for at most once in a call."""
        self._definition = functools.cache(definition)

    @property
    def tainted(self) -> Iterable[str]:
        """What expressions made of secrets."""
        return self._taint.values

    def is_sketch_for(self, name: str) -> bool:
        """What `vp:sketch()` is in a profile of that name."""
        return self.sketch or name in self._met

    def rendered(self) -> None:
        """The tree is another one since."""
        if self._budget is not None:
            self._budget.changed()

    # --- profiles ------------------------------------------------------------

    def match(self, chosen: Selected, root: Element) -> Verdict:
        """All `<match>` of a profile."""
        profile = chosen.profile
        for match in profile.matches:
            where = f"its <match> at {profile.file}:{match.line}"
            try:
                held = self._holds(match, chosen, root)
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
                return Verdict(False, f"{where} {word}", cause=match)
        return Verdict(True)

    def why(self, chosen: Selected, verdict: Verdict, root: Element) -> str:
        """The reason of a verdict, with what the condition that did not hold met.

        :param root: the domain as the last rendering has it
        """
        from virtProfile.engine.selection.reasons import why

        cause = verdict.cause
        if cause is None:
            return verdict.reason
        file = chosen.profile.file if isinstance(cause, Match) else cause.file
        bound = () if isinstance(cause, Match) else cause.bound

        def held(part: str, element: Element | None) -> bool | None:
            try:
                return self._test(part, chosen, file, cause.line, At(root, element), bound)
            except ProfileError:
                return None

        elements: Sequence[Element] = ()
        if isinstance(cause, Action) and cause.each is not None:
            elements = self._elements(chosen, cause, root)[1]
        words = why(cause, root, elements, self._spoken_params(chosen), held)
        return f"{verdict.reason}: {words}" if words else verdict.reason

    def _spoken_params(self, chosen: Selected) -> dict[str, str]:
        """Values of the parameters that are no secrets."""
        found = {}
        for param in chosen.profile.params:
            value = chosen.params.get(param.name, param.default)
            if not param.secret and value is not None:
                found[param.name] = str(value)
        return found

    def _holds(self, match: Match, chosen: Selected, root: Element) -> bool:
        if match.test is not None:
            return self._test(match.test, chosen, chosen.profile.file, match.line, At(root))
        if any(_dynamic(branch) for branch in match.branches):
            branches = self._expand(match.branches, chosen, chosen.profile.file, At(root))
            want = compiled_match(match, self.schema, chosen.profile.file, branches)
        else:
            want = compiled_match(match, self.schema, chosen.profile.file)
        return holds(root, want)

    # --- actions -------------------------------------------------------------

    def is_dynamic(self, action: Action) -> bool:
        """Does what the action says depend on the document or on params?"""
        if action.when is not None or action.each is not None or action.repeat is not None:
            return True
        for branch in action.branches:
            if _dynamic(branch):
                return True
        return False

    def action(self, chosen: Selected, action: Action, tree: WorkTree) -> Verdict:
        """`each`, `when`, `repeat`, then every ``{…}`` of an action, on the tree as it stands."""
        with self._taint.steady():
            return self._action(chosen, action, tree)

    def _action(self, chosen: Selected, action: Action, tree: WorkTree) -> Verdict:
        from virtProfile.engine.tree.names import Names

        if action.each is None:
            return self._branches(chosen, action, At(tree.root))
        stops, elements = self._elements(chosen, action, tree.root)
        if stops is not None:
            return stops
        names = Names(tree)
        targets: list[Target] = []
        lacking: list[str] = []
        reason = ""
        cause: Match | Action | None = None if elements else action
        for position, element in enumerate(elements, 1):
            at = At(tree.root, element, position, len(elements))
            verdict = self._branches(chosen, action, at)
            if verdict.error is not None:
                return verdict
            lacking += verdict.lacking
            if verdict.holds and verdict.branches:
                node = self._node(element)
                targets.append(Target(names.of(element), node, verdict.branches))
            else:
                reason, cause = (reason, cause) if reason else (verdict.reason, verdict.cause)
        if not elements:
            reason = f"its each at {_where(action)} selects nothing"
        return Verdict(
            bool(targets),
            reason,
            lacking=tuple(dict.fromkeys(lacking)),
            targets=tuple(targets),
            cause=cause,
        )

    def _elements(
        self, chosen: Selected, action: Action, root: Element
    ) -> tuple[Verdict | None, Sequence[Element]]:
        """The elements that an ``each=`` selects, or what is judged without them."""
        from virtProfile.language.expression import KeptSecret

        where = f"its each at {_where(action)}"
        tag = action.branches[0].tag if action.branches else ""
        from virtProfile.engine.selection.kept_order import as_kept  # only each= needs it

        try:
            expression = self._compile(action.each or "", chosen, action.file, action.line)
            return None, as_kept(expression.elements(At(root), self._environment_of(chosen), tag))
        except KeptSecret as problem:
            return Verdict(False, f"{where} is skipped: {problem.message}"), ()
        except MissingContextError as problem:
            if action.unknown != "error":
                return Verdict(False, f"{where} is unknown: {problem.message}"), ()
            return Verdict(False, f"{where} is unknown", problem), ()
        except ProfileError as problem:
            return Verdict(False, "", problem), ()

    def _node(self, element: Element) -> Node:
        """The schema's node of an element of the domain; one that takes anything where it has none."""
        node: Node = self.schema.root
        for level in [*reversed([*element.iterancestors()][:-1]), element]:
            below = child_node(node, level.tag)
            node = (
                ForeignNode(f"{node.path}/{level.tag}".lstrip("/"), level.tag, node, True)
                if below is None
                else below
            )
        return node

    def _when(self, chosen: Selected, action: Action, at: At) -> Verdict:
        """The `when` of an action; what it holds without one."""
        if action.when is None:
            return _HOLDS
        from virtProfile.language.expression import KeptSecret

        try:
            lacking = self._environment_of(chosen).surroundings.lacking
            lacking.clear()
            if not self._test(action.when, chosen, action.file, action.line, at, action.bound):
                fact = f"its 'when' at {_where(action)} does not hold"
                return Verdict(False, fact, lacking=tuple(lacking), cause=action)
        except KeptSecret as problem:
            return Verdict(False, f"the action at {_where(action)} is skipped: {problem.message}")
        except MissingContextError as problem:
            if action.unknown == "skip":
                return Verdict(False, f"its 'when' at {_where(action)} is unknown: {problem.message}")
            if action.unknown != "apply":
                return Verdict(False, f"its 'when' at {_where(action)} is unknown", problem)
        except ProfileError as problem:
            return Verdict(False, "", problem)
        return _HOLDS

    def _branches(self, chosen: Selected, action: Action, at: At) -> Verdict:
        """`when`, `repeat` and every ``{…}`` at one place."""
        from virtProfile.language.expression import KeptSecret

        where = _where(action)
        when = self._when(chosen, action, at)
        if not when.holds:
            return when
        try:
            if action.repeat is None:
                return Verdict(
                    True, branches=self._expand(action.branches, chosen, action.file, at, action.bound)
                )
            expression = self._compile(action.repeat, chosen, action.file, action.line, 0, action.bound[:-1])
            count = expression.count(at, self._environment_of(chosen))
            made: list[Snippet] = []
            for index in range(1, count + 1):
                here = At(at.root, at.element, at.position, at.last, index)
                made += self._expand(action.branches, chosen, action.file, here, action.bound)
            return Verdict(count > 0, f"its repeat at {where} is 0", branches=tuple(made))
        except KeptSecret as problem:
            return Verdict(False, f"the action at {where} is skipped: {problem.message}")
        except MissingContextError as problem:
            if action.unknown == "skip":
                return Verdict(False, f"an expression at {where} is unknown: {problem.message}")
            return Verdict(False, "", problem)
        except ProfileError as problem:
            return Verdict(False, "", problem)

    def prepared(self, action: Action, chosen: Selected, verdict: Verdict | None) -> Prepared | None:
        """What `render.steps` carries out, or None to leave it out."""
        if self.is_dynamic(action):
            if verdict is None or not verdict.holds:
                return None
            if action.each is not None:
                try:
                    return None, None, self._targets(action, verdict)
                except ProfileSyntaxError as problem:
                    raise _with_params(problem, action, chosen) from None
            if action.select is not None:
                return None, self._selection(action, chosen), None
            assert verdict.branches is not None
            try:
                return compiled_action(action, self.schema, verdict.branches), None, None
            except ProfileSyntaxError as problem:
                raise _with_params(problem, action, chosen) from None
        if action.select is not None:
            return None, self._selection(action, chosen), None
        return compiled_action(action, self.schema), None, None

    def _targets(self, action: Action, verdict: Verdict) -> Targets:
        return [
            (target.name, compiled_element(action, self.schema, target.node, target.branches))
            for target in verdict.targets or ()
        ]

    def _selection(self, action: Action, chosen: Selected) -> Select:
        expression = self._compile(action.select or "", chosen, action.file, action.line)
        environment = self._environment_of(chosen)

        def selection(root: Element) -> list[Any]:
            try:
                return expression.select(At(root), environment)
            except MissingContextError:
                if action.unknown == "skip":
                    return []
                raise

        return selection

    # --- checks ----------------------------------------------------------------

    def findings(self, chosen: Selected, action: Action, tree: WorkTree) -> list[str]:
        """The messages of a `<check>`, one for each place of the document that does not pass it.

        :raises ProfileError: it cannot be judged
        """
        places = [At(tree.root)]
        if action.each is not None:
            stops, elements = self._elements(chosen, action, tree.root)
            if stops is not None and stops.error is not None:
                raise stops.error
            last = len(elements)
            places = [At(tree.root, element, number, last) for number, element in enumerate(elements, 1)]
            if not places:
                return []
        with self._taint.steady():
            return list(self._failed(chosen, action, places))

    def _failed(self, chosen: Selected, action: Action, places: Iterable[At]) -> Iterator[str]:
        """The messages of the places that do not pass."""
        for at in places:
            verdict = self._passes(chosen, action, at)
            if verdict.error is not None:
                raise verdict.error
            if not verdict.holds:
                yield self._message(chosen, action, at)

    def _passes(self, chosen: Selected, action: Action, at: At) -> Verdict:
        """Does a check hold at a place? Where its `when` does not, it asks for nothing."""
        from virtProfile.language.expression import KeptSecret

        when = self._when(chosen, action, at)
        if not when.holds:
            return Verdict(when.error is None, error=when.error)
        try:
            if action.test is not None:
                held = self._test(action.test, chosen, action.file, action.line, at, action.bound)
            else:
                branches = self._expand(action.branches, chosen, action.file, at, action.bound)
                if at.element is None:
                    held = holds(at.root, compiled_match(action, self.schema, action.file, branches))
                else:
                    node = self._node(at.element)
                    held = holds(at.element, compiled_element(action, self.schema, node, branches))
        except KeptSecret:
            return Verdict(True)
        except MissingContextError as problem:
            return Verdict(action.unknown != "error", error=problem if action.unknown == "error" else None)
        except ProfileError as problem:
            return Verdict(False, error=problem)
        return Verdict(held != action.negate)

    def _message(self, chosen: Selected, action: Action, at: At) -> str:
        if action.message is None:
            what = "the snippet" if action.test is None else f"'{action.test}'"
            word = "holds" if action.negate else "does not hold"
            return f"the check at {_where(action)} fails: {what} {word}"
        return self._text(action.message, chosen, action.file, action.line, at, action.bound)

    # --- expressions ---------------------------------------------------------

    def check_params(self, chosen: Selected) -> None:
        """:raises ParamError: a param is unknown, missing or mistyped."""
        if chosen.params or chosen.profile.params:
            self._environment_of(chosen)

    def _environment_of(self, chosen: Selected) -> Environment:
        same = self._tested is not None and not (chosen.params or chosen.profile.params)
        name = "" if same else chosen.name  # what has no params is judged with the same
        found = self._environments.get(name)
        if found is None:
            from virtProfile.language.expression import Environment
            from virtProfile.language.params import parse_params
            from virtProfile.language.xpath_budget import Budget

            params = parse_params(chosen.profile, chosen.params, chosen.listed)
            found = self._environments[name] = Environment(
                params, self.context, self.is_sketch_for(chosen.name), self._definition
            )
            if self._budget is None:
                self._budget = Budget(len(self.document.elements), len(self.document.text))
            found.budget = self._budget
        return found

    def _compile(
        self,
        text: str,
        chosen: Selected,
        file: str,
        line: int,
        column: int = 0,
        bound: tuple[str, ...] = (),
    ) -> Expression:
        """:param bound: the variables that the place has besides all others"""
        key = (chosen.name, chosen.profile.version, file, text, line, column, bound)
        found = self._expressions.get(key)
        if found is None:
            from virtProfile.language.expression import compile_expression

            found = self._expressions[key] = compile_expression(
                text,
                file=file,
                line=line,
                column=column,
                params=[*(param.name for param in chosen.profile.params), *bound],
                namespaces=dict(chosen.profile.namespaces),
            )
        return found

    def _test(
        self, text: str, chosen: Selected, file: str, line: int, at: At, bound: tuple[str, ...] = ()
    ) -> bool:
        tested = self._tested
        if tested is None:
            expression = self._compile(text, chosen, file, line, 0, bound)
            return expression.test(at, self._environment_of(chosen))
        key = (text, chosen.profile.namespaces, at.element is None)
        place = (file, line, *key)  # an error names it
        known = tested.get(key, tested.get(place))
        if known is not None:
            if isinstance(known, bool):
                return known
            message, hint, named = known
            raise MissingContextError(message, hint=hint, where=named)
        expression = self._compile(text, chosen, file, line, 0, bound)
        stays = not expression.parsed.variables and (at.element is None or expression.is_same_anywhere)
        try:
            held = expression.test(at, self._environment_of(chosen))
        except MissingContextError as problem:
            if stays:
                # not the error: its traceback would keep the document in a cycle
                tested[place] = problem.message, problem.hint, problem.where
            raise
        if stays:
            tested[key] = held
        return held

    def _expand(
        self, branches: tuple[Snippet, ...], chosen: Selected, file: str, at: At, bound: tuple[str, ...] = ()
    ) -> tuple[Snippet, ...]:
        found: list[Snippet] = []
        for branch in branches:
            made = self._expand_one(branch, chosen, file, at, bound)
            if is_source(made):
                from virtProfile.language.mirror_topology import branches_of

                found.extend(branches_of(made, at.root, self.context, f"{file}:{made.line}"))
            else:
                found.append(made)
        return tuple(found)

    def _expand_one(
        self, snippet: Snippet, chosen: Selected, file: str, at: At, bound: tuple[str, ...]
    ) -> Snippet:
        if not _dynamic(snippet):
            return snippet

        def value(text: str | None) -> str | None:
            if text is None or is_plain(text):
                return text
            return self._text(text, chosen, file, snippet.line, at, bound)

        values = tuple([value(text) for _, text in (*snippet.attrs, *snippet.intents)])
        children = tuple([self._expand_one(below, chosen, file, at, bound) for below in snippet.children])
        return _filled(snippet, values, value(snippet.text), children)

    def _text(
        self, text: str, chosen: Selected, file: str, line: int, at: At, bound: tuple[str, ...] = ()
    ) -> str:
        """A value with its ``{…}`` worked out."""
        environment: Environment = self._environment_of(chosen)
        parts = []
        doubts = []
        for part in _parts(text):
            if isinstance(part, str):
                parts.append(part)
            else:
                expression = self._compile(part.text, chosen, file, line, part.column, bound)
                doubt = self._taint.text(expression, at, environment, secret_params(chosen.profile))
                parts.append(doubt.value)
                doubts.append(doubt)
        made = "".join(parts)
        self._taint.made(made, doubts)
        return made


@functools.lru_cache(maxsize=4096)
def _parts(text: str) -> tuple[str | Expr, ...]:
    return split(text)


_filled_known: dict[tuple[Any, ...], tuple[Snippet, tuple[Snippet, ...], Snippet]] = {}


def _filled(
    snippet: Snippet, values: tuple[str | None, ...], text: str | None, children: tuple[Snippet, ...]
) -> Snippet:
    """A snippet with its values worked out; the same object for the same values, so that
    what is compiled from it is found again in the next round and the next call."""
    key = (id(snippet), values, text, tuple([id(branch) for branch in children]))
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


def is_sketch(domain: Element) -> bool:
    """Is this a definition that no libvirt keeps yet, so that nothing can be installed in it?

    libvirt gives every domain that it defines a UUID, and QEMU's driver a machine type
    ("virDomainDefPostParse", "qemuDomainDefPostParse"). An application that made the UUID
    itself has not said the machine type then.
    """
    if child(domain, "uuid") is None:
        return True
    os = child(domain, "os")
    kind = None if os is None else child(os, "type")
    if kind is not None and kind.get("machine") is not None:
        return False
    devices = child(domain, "devices")
    # What is only on some machines, or was given its place on one, says which it is.
    return devices is None or all(devices.find(path) is None for path in _OF_A_MACHINE)


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


def _with_params(problem: ProfileSyntaxError, action: Action, chosen: Selected) -> ProfileSyntaxError:
    from virtProfile.engine.selection.param_hints import with_params  # only errors need it

    return with_params(problem, action, chosen)
