# SPDX-License-Identifier: GPL-2.0-or-later
"""What a condition looked at: the paths of an expression, with their values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from virtProfile.format.document import local
from virtProfile.format.element import Element, text_of
from virtProfile.format.secret_slots import is_secret
from virtProfile.frozen import replace
from virtProfile.language.xpath import Node, Step, XPathProblem, parse_xpath, written
from virtProfile.redaction import STARS, is_foreign

#: Of a path that leads to many values, so many are shown.
MAX_VALUES = 4
#: So much of an expression is quoted.
MAX_QUOTED = 80
_WORDS = re.compile(r"(\s+)")


def facts(expression: str, root: Element) -> list[str]:
    """``path = value`` of each plain path in an expression, ``path: nothing`` where it leads nowhere.

    :param root: the domain, rendered
    """
    try:
        found = dict.fromkeys(_plain(parse_xpath(expression).root))
    except XPathProblem:
        return []
    return [_told(path, _values(root, path)) for path in found]


def _plain(node: Node) -> Iterator[str]:
    """Paths of child elements and attributes alone, without predicates."""
    if node.kind == "path" and node.start in ("", "here", "root") and not node.parts:
        words = []
        for step in node.steps:
            name = step.name
            if step.predicates or ":" in name or "(" in name or step.axis not in ("child", "attribute"):
                break
            words.append(f"@{name}" if step.axis == "attribute" else name)
        else:
            if node.start == "root" and words[:1] == ["domain"]:
                words = words[1:]
            if words:
                yield "/".join(words)
            return
    for part in (*node.parts, *node.predicates):
        yield from _plain(part)


def _values(root: Element, path: str) -> list[str]:
    values = []
    selected: list[Any] = root.xpath(path)  # type: ignore[assignment]
    for found in selected:
        if isinstance(found, str):
            values.append(found)
        else:
            values.append(text_of(found) or "there")
    return values


def _told(path: str, values: list[str]) -> str:
    if not values:
        return f"{path}: nothing"
    more = f" and {len(values) - MAX_VALUES} more" if len(values) > MAX_VALUES else ""
    return f"{path} = {', '.join(values[:MAX_VALUES])}{more}"


#: Does a part of the expression hold? None where nobody knows.
Held: TypeAlias = "Callable[[str], bool | None]"


def met(expression: str, root: Element, params: Mapping[str, str], held: Held) -> str:
    """What an expression that does not hold met, in words: ``vcpu is '1', convert is 'no'``.

    :param root: the element at which it was judged
    :param params: the values of the profile's parameters, those of secrets left out
    """
    try:
        found = dict.fromkeys(_met(parse_xpath(expression).root, root, params, held))
    except XPathProblem:
        return ""
    return _few(found)


def _few(facts_: Iterable[str]) -> str:
    return ", ".join(list(filter(None, facts_))[:MAX_VALUES])


def _met(node: Node, root: Element, params: Mapping[str, str], held: Held) -> Iterator[str]:
    if node.kind == "path" and node.start in ("", "here", "root") and not node.parts:
        yield _words(node, root, held)
        return
    if node.kind == "path" and node.start == "variable" and not node.steps:
        if node.name in params:
            yield f"{node.name} is '{params[node.name]}'"
        elif node.name == "daemon":
            kinds = [kind for kind in ("system", "session") if held(f"$daemon = '{kind}'")]
            yield from (f"the libvirt daemon is a {kind} daemon" for kind in kinds)
        return
    if node.kind == "path" and node.parts and _is_definition(node.parts[0]):
        yield _in_definition(node, held)
        return
    if node.kind == "path" and node.parts and node.steps and _is_of_host(node.parts[0]):
        yield _on_host(node, held)
        return
    if node.kind == "call" and node.name == "vp:sketch":
        yield "the VM is installed already"
    elif node.kind == "call" and node.name == "vp:supports":
        supports = held(written(node))
        if supports is not None and all(part.kind == "value" for part in node.parts):
            what = [part.name[1:-1] for part in node.parts[:2]] + [part.name for part in node.parts[2:]]
            yield f"the host {'has' if supports else 'does not have'} {' '.join(what)}"
    elif node.kind == "call" and node.name == "vp:machine":
        for machine in _values(root, "/domain/os/type/@machine"):
            yield f"the machine is '{machine}'"
    elif node.kind == "call" and node.name == "vp:takes":
        words = [part.name[1:-1] for part in node.parts[1:] if part.kind == "value"]
        if len(words) == len(node.parts) - 1 and words and held(written(node)) is False:
            value = "".join(f" '{word}'" for word in words[1:])
            yield f"{local(root.tag)} takes no {' '.join(words[0].replace('@', '').split('/'))}{value}"
    for part in node.parts:
        yield from _met(part, root, params, held)


def _is_definition(node: Node) -> bool:
    return node.kind == "path" and node.start == "variable" and node.name == "definition" and not node.steps


def _is_of_host(node: Node) -> bool:
    return node.kind == "path" and node.start == "variable" and node.name in ("host", "capabilities")


def _on_host(node: Node, held: Held) -> str:
    """That the host has none of the elements that a path of its capabilities leads to; nothing of values."""
    names = [step.name for step in node.steps]
    if any(step.axis != "child" or ":" in step.name or "(" in step.name for step in node.steps):
        return ""
    like = _like(node)
    such = "" if like or not any(step.predicates for step in node.steps) else "such "
    if held(f"boolean({written(node)})") is False:
        return f"the host has no {such}{names[-1]}{like}"
    if held(f"{written(node)} != 0") is False and held(f"{written(node)} = 0"):
        return f"the host has 0 {such}{_several(names[-1])}{like}"
    return ""


def _in_definition(node: Node, held: Held) -> str:
    """What the definition has of the elements that a path of it leads to; nothing of values."""
    names = [step.name for step in node.steps]
    if any(step.axis != "child" or ":" in step.name or "(" in step.name for step in node.steps) or not names:
        return ""
    name = _name(names)
    fits = held(f"boolean({written(node)})")
    if fits is None or not name:
        return ""
    like = _like(node)
    path = written(node)
    if fits and not like and held(f"normalize-space({path}) != ''") and not held(f"boolean({path}/*)"):
        return ""  # a value, and which one is not known here
    if any(step.predicates for step in node.steps) and not like:
        return f"the VM definition has such {_one(name)}" if fits else f"the VM definition has no such {name}"
    return f"the VM definition has {_one(name) if fits else f'no {name}'}{like}"


def _name(steps: list[str]) -> str:
    """What people call the things that a path leads to."""
    return " ".join(
        "device" if step == "*" else step.removeprefix("@")
        for step in steps
        if step not in ("domain", "devices")
    )


def _words(node: Node, root: Element, held: Held | None = None) -> str:
    """A path, and what it leads to; of values and numbers whatever its predicates say."""
    steps = []
    for step in node.steps:
        if ":" in step.name or "(" in step.name or step.axis not in ("child", "attribute"):
            break
        steps.append(f"@{step.name}" if step.axis == "attribute" else step.name)
    if not steps or steps == ["*"] or not _name(steps):
        return ""
    path = "/".join(steps)
    if node.start == "root":
        path = f"/{path}"
    selected: list[Any] = root.xpath(path)  # type: ignore[assignment]
    name = _name(steps)
    if not selected:
        return f"there is no {name}"
    of_elements = all(not isinstance(thing, str) and text_of(thing) is None for thing in selected)
    if of_elements or node.steps[-1].axis == "child" and node.steps[-1].predicates:
        return _things(node, name, len(selected), held)
    values = list(
        dict.fromkeys(thing if isinstance(thing, str) else text_of(thing) or "" for thing in selected)
    )
    place = "" if node.start == "root" else _place(root)
    whole = f"/domain/{place}{path.removeprefix('/domain/')}"
    if is_secret(whole) or is_foreign(whole):
        values = [STARS]
    more = f" and {len(values) - MAX_VALUES} more" if len(values) > MAX_VALUES else ""
    return f"{name} is {', '.join(repr(value) for value in values[:MAX_VALUES])}{more}"


def _place(element: Element) -> str:
    """The path of an element below the domain, as `is_secret` reads it: "" of the domain."""
    above = [*element.iterancestors()][:-1]
    return "".join(f"{local(level.tag)}/" for level in (*reversed(above), element)) if above else ""


def _things(node: Node, name: str, number: int, held: Held | None) -> str:
    """What there is of the elements that a path leads to, by its predicates where they can be judged."""
    if not any(step.predicates for step in node.steps):
        return f"there is {_one(name)}" if number == 1 else f"there are {number} {_several(name)}"
    fits = held(f"boolean({written(node)})") if held is not None else None
    if fits is None:
        return ""
    like = _like(node)
    if fits:
        return f"there is {_one(name)}{like}" if like else f"there is such {_one(name)}"
    if like:
        return f"there is no {name}{like}"
    return none_fits(name, number)


def none_fits(name: str, number: int, several: str = "") -> str:
    """That there are some, and all of them others: ``none of 2 disks fits``."""
    if number == 1:
        return f"the one {name} does not fit"
    return f"none of {number} {several or _several(name)} fits"


def _one(name: str) -> str:
    return f"{'an' if name[0] in 'aeio' else 'a'} {name}"


def _several(name: str) -> str:
    return name if name.endswith(("s", "x")) else f"{name}s"


def _like(path: Node) -> str:
    """What the end of a path asks for, if only words: `` with type 'usb' and model 'none'``."""
    *before, last = path.steps
    if any(step.predicates for step in before) or not last.predicates:
        return ""
    asked: list[str] = []
    waiting = list(last.predicates)
    while waiting:
        node = waiting.pop(0)
        if node.kind == "combine" and node.name == "and":
            waiting[:0] = node.parts
            continue
        if node.kind != "compare" or node.name != "=":
            return ""
        value, word = node.parts
        if value.kind != "path" or value.start != "here" or word.kind != "value":
            return ""
        if any(step.predicates or step.axis not in ("child", "attribute") for step in value.steps):
            return ""
        asked.append(f"{' '.join(step.name for step in value.steps)} {word.name}")
    return f" with {' and '.join(asked)}"


def quoted(expression: str) -> str:
    """An expression on one line, a long one cut."""
    line = " ".join(expression.split())
    return line if len(line) <= MAX_QUOTED else f"{line[: MAX_QUOTED - 1].rstrip()}…"


def passed_over(
    expression: str, root: Element, params: Mapping[str, str], held: Callable[[str, Element], bool | None]
) -> str:
    """What there is of the elements of which an ``each=`` selects none, and what keeps the first ones out:
    ``none of 2 disks fits: target bus is 'ide'``.

    :param held: does a part of the expression hold at an element?
    """
    try:
        path = parse_xpath(expression).root
    except XPathProblem:
        return ""
    if path.kind != "path" or path.start not in ("", "here", "root") or not path.steps:
        return ""
    plain = replace(path, steps=tuple(Step(step.axis, step.name, ()) for step in path.steps))
    words = _words(plain, root)
    number = re.fullmatch(r"there (is an?|are (\d+)) (.*)", words)
    if number is None:
        return words
    if number[2] is None:
        words = none_fits(number[3], 1)
    else:
        words = none_fits(number[3], int(number[2]), several=number[3])
    selected: list[Any] = root.xpath("/".join(step.name for step in path.steps))  # type: ignore[assignment]
    found = [_kept_out(path, element, params, held) for element in selected[:MAX_VALUES]]
    reasons = _few(dict.fromkeys(found))
    return f"{words}: {reasons}" if reasons else words


def _kept_out(
    path: Node, element: Element, params: Mapping[str, str], held: Callable[[str, Element], bool | None]
) -> str:
    """What the first predicate of a path met that does not hold at an element."""
    for predicate in path.steps[-1].predicates:
        for part in _joined_parts(predicate):
            if held(written(part), element) is False:
                met_ = _met(part, element, params, lambda text: held(text, element))
                return next(filter(None, met_), "")
    return ""


def _joined_parts(node: Node) -> Iterator[Node]:
    """The parts that ``and`` joins."""
    if node.kind == "combine" and node.name == "and":
        for part in node.parts:
            yield from _joined_parts(part)
    else:
        yield node


def conjuncts(expression: str) -> list[str]:
    """The parts of an expression that ``and`` joins at its top; the whole where an ``or`` is there too."""
    parts = [""]
    depth = 0
    quote = ""
    words = _WORDS.split(expression)
    for word in words:
        for character in word:
            if quote:
                quote = "" if character == quote else quote
            elif character in "'\"":
                quote = character
            else:
                depth += (character in "([") - (character in ")]")
        if depth == 0 and not quote and word == "or":
            return [expression]
        if depth == 0 and not quote and word == "and":
            parts.append("")
        else:
            parts[-1] += word
    return [part.strip() for part in parts]
