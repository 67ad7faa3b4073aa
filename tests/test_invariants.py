# SPDX-License-Identifier: GPL-2.0-or-later
"""The invariants of the language over generated profiles and domains."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
import strategies
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from lxml import etree

import virtProfile
from virtProfile.errors import ProfileError
from virtProfile.format.document import RECORD_NS, VIRTUNED_NS
from virtProfile.format.schema import Schema

EXAMPLES = int(os.environ.get("VIRT_PROFILE_EXAMPLES", "250"))
several = settings(max_examples=EXAMPLES, deadline=None)

Leaves = Counter[tuple[str, str, str]]


def leaves(text: str, book: bool = False) -> Leaves:
    """Every attribute, text and bare element with its path of tags; the list of profiles aside."""
    found: Leaves = Counter()

    def walk(element: Any, path: str) -> None:
        if not book and etree.QName(element).namespace in (VIRTUNED_NS, RECORD_NS):
            return
        bare = True
        for name, value in element.attrib.items():
            found[(path, "@" + name, value)] += 1
            bare = False
        own = (element.text or "") + "".join(
            one.tail or "" for one in element if not isinstance(one.tag, str)
        )
        if own.strip():
            found[(path, "", own.strip())] += 1
            bare = False
        if bare:
            found[(path, "", "")] += 1
        for one in element.iterchildren("*"):
            walk(one, f"{path}/{one.tag}")

    walk(etree.fromstring(text.encode()), "")
    return found


def apply(scene: strategies.Scene, **options: Any) -> virtProfile.Result | None:
    """The result, or None where the profiles cannot hold together."""
    options.setdefault("context", scene.context)
    try:
        result = virtProfile.apply(scene.domain, scene.wishes(), store=scene.store, **options)
    except ProfileError as error:
        event(f"error {error.code}")
        return None
    event("changed" if result.changed else "unchanged")
    return result


@several
@given(strategies.domains())
def test_i1_no_profile_no_change(domain: str) -> None:
    result = virtProfile.apply(domain, store=strategies.MemoryStore([]))
    assert result.xml == domain
    assert not result.changed


def blind(scene: strategies.Scene, record: bool) -> bool:
    """Without the record a second run cannot know what the first one did: a list that two
    profiles append to, or replace, looks like the definition's own
    (docs/decisions/0040-idempotence-comes-from-the-record.md)."""
    text = "".join(scene.profiles)
    return (
        not record
        and len(scene.profiles) > 1
        and bool(re.search(r"multiple='no'|<boot\b|<initarg|:arg\b|oemStrings|<rule\b", text))
    )


@several
@given(strategies.scenes(), st.booleans())
def test_i2_idempotent(scene: strategies.Scene, record: bool) -> None:
    assume(not blind(scene, record))
    once = apply(scene, record=record)
    if once is None:
        return
    twice = virtProfile.apply(once.xml, scene.wishes(), store=scene.store, record=record)
    assert twice.xml == once.xml
    assert not twice.changed
    assert not twice.storage


@several
@given(strategies.scenes(dynamic="fixed"), st.booleans())
def test_i2_idempotent_with_conditions(scene: strategies.Scene, record: bool) -> None:
    assume(not blind(scene, record))
    once = apply(scene, record=record)
    if once is None:
        return
    for one in once.applied:
        event(f"applied by {one.source}")
    for skipped in once.skipped:
        event(f"skipped for {skipped.reason}")
    twice = virtProfile.apply(
        once.xml, scene.wishes(), store=scene.store, record=record, context=scene.context
    )
    assert twice.xml == once.xml
    assert not twice.changed
    assert not twice.storage


@several
@given(strategies.scenes(multiple_yes=True, dynamic="reads"))
def test_i2_idempotent_by_the_record(scene: strategies.Scene) -> None:
    """Also where conditions and values depend on what the profiles themselves change."""
    once = apply(scene)
    if once is None:
        return
    twice = virtProfile.apply(once.xml, scene.wishes(), store=scene.store, context=scene.context)
    assert twice.xml == once.xml
    assert not twice.changed
    assert not twice.storage


@several
@given(strategies.scenes(multiple_yes=True, dynamic="reads"))
def test_i7_taken_back_with_conditions(scene: strategies.Scene) -> None:
    once = apply(scene)
    if once is None:
        return
    back = virtProfile.unapply(once.xml, store=scene.store, context=scene.context)
    assert leaves(back.xml, book=True) == leaves(scene.domain, book=True)


@several
@given(
    st.one_of(strategies.scenes(multiple_yes=True), strategies.scenes(multiple_yes=True, dynamic="reads")),
    st.randoms(use_true_random=False),
    st.booleans(),
)
def test_i3_order_never_matters(scene: strategies.Scene, random: Any, record: bool) -> None:
    wishes = scene.wishes()
    other = list(wishes)
    random.shuffle(other)
    outcomes = []
    for listed in (wishes, other):
        try:
            result = virtProfile.apply(
                scene.domain, listed, store=scene.store, record=record, context=scene.context
            )
            event("changed" if result.changed else "unchanged")
            outcomes.append((result.xml, result.to_dict()))
        except ProfileError as error:
            event(f"error {error.code}")
            outcomes.append((error.code, error.to_dict()))
    assert outcomes[0] == outcomes[1]


NEW_DISKS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["vdy", "vdz"]),
        st.sampled_from(["", " v:size='1 GiB'", " v:size='1048576'", " v:size='2 GiB'"]),
        st.sampled_from(["", "<source file='/a'/>"]),
        st.sampled_from(["", " multiple='no'", " constraint='hard'"]),
    ),
    min_size=1,
    max_size=4,
)


@several
@given(strategies.scenes(), NEW_DISKS, st.randoms(use_true_random=False))
def test_sizes_of_new_disks(scene: strategies.Scene, disks: list[tuple[Any, ...]], random: Any) -> None:
    """What storage is wanted is no matter of order, and is wanted once (I2, I3)."""
    texts = list(scene.profiles)
    for number, name, size, source, words in disks:
        number %= len(texts)
        device = f"<disk xmlns:v='{VIRTUNED_NS}'{size}>{source}<target dev='{name}' bus='virtio'/></disk>"
        action = f"<add{words}><devices>{device}</devices></add>"
        texts[number] = texts[number].replace("</profile>", f"{action}</profile>")
    scene = strategies.Scene(scene.domain, tuple(texts), scene.requests, scene.context)
    once = apply(scene)
    wishes = scene.wishes()
    random.shuffle(wishes)
    try:
        other = virtProfile.apply(scene.domain, wishes, store=scene.store)
    except ProfileError:
        assert once is None
        return
    assert once is not None
    event(f"storage of {len(once.storage)}")
    assert other.to_dict() == once.to_dict()
    twice = virtProfile.apply(once.xml, scene.wishes(), store=scene.store)
    assert twice.xml == once.xml
    assert not twice.storage


@several
@given(
    st.one_of(
        strategies.scenes(multiple_yes=True, top=98),
        strategies.scenes(multiple_yes=True, top=98, dynamic="reads"),
    )
)
def test_i4_the_definition_stays(scene: strategies.Scene) -> None:
    low = [wish | {"priority": min(wish["priority"] or 0, 98)} for wish in scene.wishes()]
    try:
        result = virtProfile.apply(scene.domain, low, store=scene.store, context=scene.context)
    except ProfileError:
        return
    before, after = leaves(scene.domain), leaves(result.xml)
    # An element that was bare and got a value is not bare any more.
    lost = {leaf: n for leaf, n in (before - after).items() if leaf[1:] != ("", "")}
    assert not lost


@several
@given(st.one_of(strategies.scenes(multiple_yes=True), strategies.scenes(multiple_yes=True, dynamic="reads")))
def test_i5_valid_stays_valid(scene: strategies.Scene) -> None:
    schema = Schema.baseline()
    if schema.validate(etree.fromstring(scene.domain.encode())):
        return
    result = apply(scene)
    if result is None:
        return
    problems = schema.validate(etree.fromstring(result.xml.encode()))
    assert not problems or any(one.code == "incomplete" for one in result.warnings)


@several
@given(st.one_of(strategies.scenes(multiple_yes=True), strategies.scenes(multiple_yes=True, dynamic="reads")))
def test_i6_changes_add_up(scene: strategies.Scene) -> None:
    result = apply(scene)
    if result is None:
        return
    before, after = leaves(scene.domain), leaves(result.xml)
    told = Counter(before)
    input_tree = etree.fromstring(scene.domain.encode())
    output_tree = etree.fromstring(result.xml.encode())
    for change in result.changes:
        tree = input_tree if change.op == "remove" else output_tree
        path, slot = _place(tree, change.path, change)
        if change.before is not None or change.op == "remove":
            told[(path, slot, change.before or "")] -= 1
        if change.after is not None or change.op == "add":
            told[(path, slot, change.after or "")] += 1
        assert change.origins and change.origin == change.origins[0]
        assert change.origin.profile.partition("#")[0] in scene.store.profiles
    difference = {
        leaf: (n, after[leaf]) for leaf, n in told.items() if n != after[leaf] and leaf[1:] != ("", "")
    }
    missing = {leaf: n for leaf, n in after.items() if leaf not in told and leaf[1:] != ("", "")}
    assert not difference and not missing
    assert result.changed == bool(result.changes)


def _place(tree: Any, path: str, change: Any) -> tuple[str, str]:
    """The tags and slot that an absolute XPath leads to; it must lead to exactly one place."""
    namespaces = {key: uri for one in tree.iter("*") for key, uri in one.nsmap.items() if key}
    element_path, at, name = path.rpartition("/@")
    if not at or "]" in name:
        element_path, name = path, ""
    found = tree.getroottree().xpath(element_path, namespaces=namespaces)
    assert len(found) == 1, (path, len(found))
    tags = []
    one = found[0]
    while one.getparent() is not None:
        tags.append(one.tag)
        one = one.getparent()
    if name and ":" in name:
        prefix, _, local = name.partition(":")
        name = f"{{{namespaces[prefix]}}}{local}"
    return "".join(f"/{tag}" for tag in reversed(tags)), f"@{name}" if name else ""


@several
@given(strategies.scenes(multiple_yes=True))
def test_i8_nothing_else_is_disturbed(scene: strategies.Scene) -> None:
    result = apply(scene, record=False)
    if result is None:
        return
    touched = set()
    for change in result.changes:
        touched.add(change.input_line)
    lines = scene.domain.splitlines(keepends=True)
    if len(lines) < 3:
        return
    # Lines on which no changed element of the input stands are in the output, in order.
    output = iter(result.xml.splitlines(keepends=True))
    parents = _lines_of_parents(scene.domain, result)
    for number, line in enumerate(lines, 1):
        if number in touched or number in parents or not line.strip():
            continue
        assert any(line == other for other in output), (number, line)


def _lines_of_parents(domain: str, result: virtProfile.Result) -> set[int]:
    """Lines of tags that may change with a child: of the parents of what came or went."""
    root = etree.fromstring(domain.encode())
    lines: set[int] = set()
    for change in result.changes:
        for op_tree in (root,):
            steps = change.path.split("/")
            while len(steps) > 1:
                try:
                    namespaces = {k: v for one in root.iter("*") for k, v in one.nsmap.items() if k}
                    found = op_tree.getroottree().xpath("/".join(steps), namespaces=namespaces)
                except etree.XPathError:
                    found = []
                for one in found if isinstance(found, list) else []:
                    element = one if hasattr(one, "sourceline") else one.getparent()
                    lines.add(int(element.sourceline))
                    if op_tree is root and (change.op == "remove" or not len(element)):
                        lines.update(_closing_lines(element))
                steps.pop()
    return lines


def _closing_lines(element: Any) -> set[int]:
    last = max((one.sourceline or 0 for one in element.iter()), default=element.sourceline)
    return set(range(element.sourceline, last + 3))


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_i9_same_bytes_in_another_process(seed: str) -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "import strategies, virtProfile, json\n"
        "text = strategies.seeds()[0][0]\n"
        "profiles = [f\"<profile name='p{n}'>\" + ''.join(f'<add multiple=\"yes\"><devices>"
        '<redirdev bus="usb" type="spicevmc"/></devices></add>\' for _ in range(3))'
        " + f'<add><iothreads>2</iothreads></add></profile>' for n in range(8)]\n"
        "store = strategies.MemoryStore(profiles)\n"
        "r = virtProfile.apply(text, [f'p{n}' for n in range(8)], store=store)\n"
        "print(json.dumps(r.to_dict()))\n"
    )
    env = dict(os.environ, PYTHONHASHSEED=seed)
    one = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    env["PYTHONHASHSEED"] = "99"
    other = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert one.stdout == other.stdout
