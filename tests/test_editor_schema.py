# SPDX-License-Identifier: GPL-2.0-or-later
"""The schema for editors: valid is what lint takes, invalid what it calls an error; by libxml2 and jing."""

from __future__ import annotations

import copy
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import library
import pytest
import strategies
from hypothesis import HealthCheck, given, settings
from lxml import etree

from virtProfile.authoring.editor_schema import NAMESPACE, compact, editor_schema
from virtProfile.authoring.lint import lint_files
from virtProfile.language.attributes import ACTIONS
from virtProfile.language.parser import parse_profiles

ROOT = Path(__file__).parent.parent
SHIPPED = sorted(path for path in library.SHIPPED.glob("*.xml") if not path.name.endswith(".test.xml"))
TEXT = editor_schema()
VALIDATOR = etree.RelaxNG(etree.fromstring(TEXT.encode()))
GENERATED = 500
MUTATED = 200


def is_valid(text: str) -> bool:
    return bool(VALIDATOR.validate(etree.fromstring(text.encode())))


def jing(files: list[Path], tmp_path: Path, syntax: str) -> set[str]:
    """The names of the files that jing finds invalid, by the schema in one of its syntaxes."""
    schema = tmp_path / f"profile.{syntax}"
    schema.write_text(TEXT if syntax == "rng" else compact(TEXT))
    words = ["jing", *(["-c"] if syntax == "rnc" else []), str(schema), *map(str, files)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    found = set(re.findall(r"([^/\n]+\.xml):\d+:\d+: (?:error|fatal)", done.stdout))
    assert bool(done.returncode) == bool(found), done.stdout + done.stderr
    return found


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_profiles_are_valid(path: Path) -> None:
    assert VALIDATOR.validate(etree.parse(str(path))), VALIDATOR.error_log


def generated(count: int) -> list[str]:
    """So many profiles of the property tests that the parser takes.

    Half of what hypothesis makes is equal to another one; how much depends on the modules that
    are loaded, out of which it takes constants.
    """
    found: list[str] = []

    @settings(
        max_examples=2 * count,
        database=None,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategies.scenes(dynamic="reads"))
    def draw(scene: strategies.Scene) -> None:
        found.extend(scene.profiles)

    draw()
    unique = dict.fromkeys(found)
    taken = [
        text
        for text in unique
        if not any(problem.level == "error" for problem in parse_profiles(text, "p.xml").problems)
    ]
    return taken[:count]


def test_generated_profiles_are_valid() -> None:
    texts = generated(GENERATED)
    assert len(texts) == GENERATED
    assert [text for text in texts if not is_valid(text)] == []


#: (what it is, a profile's content, whether lint takes it)
CASES = (
    ("an alias", "<defaults type='hard'><vcpu>2</vcpu></defaults>", True),
    ("both spellings", "<default type='hard' constraint='hard'><vcpu>2</vcpu></default>", False),
    ("the root's own attributes", "<default><domain type='kvm'/></default>", True),
    ("a domain beside others", "<add><domain type='kvm'/><vcpu>2</vcpu></add>", False),
    ("an expression", "<add><vcpu>{count(devices/disk)}</vcpu></add>", True),
    ("a word in the place of a number", "<add><vcpu>two</vcpu></add>", False),
    ("each of any depth", "<add each='cpu/numa/cell'><cell memory='1'/></add>", True),
    ("each of two", "<add each='devices/disk'><disk/><disk/></add>", False),
    ("a selection", "<remove select='devices/disk/driver/@io'/>", True),
    ("a selection and a snippet", "<remove select='vcpu'><vcpu/></remove>", False),
    ("a test", "<check test='vcpu' message='m'/>", True),
    ("a test for each", "<check each='devices/disk' test='target' message='m'/>", True),
    ("a test and a snippet", "<check test='vcpu' message='m'><vcpu/></check>", False),
    ("an empty action", "<add/>", False),
    ("an empty match", "<match/>", False),
    ("an attribute of another action", "<remove multiple='yes'><vcpu/></remove>", False),
    ("a source", "<add><v:mirror-topology nodes='1'/></add>", True),
    ("a source outside of an add", "<default><v:mirror-topology nodes='1'/></default>", False),
    ("an intent", "<add><devices><interface type='user' v:numa-node='1'/></devices></add>", True),
    ("a slot", "<add><devices><interface type='user' v:same-slot='a'/></devices></add>", True),
    ("the size of a disk", "<add><devices><disk v:size='1 GiB'/></devices></add>", True),
    ("the size of something else", "<add><devices><rng v:size='1 GiB'/></devices></add>", False),
    ("metadata", "<add><metadata><x:y xmlns:x='urn:x' z='1'>t<x:w/></x:y></metadata></add>", True),
    ("somebody's element", "<x:note xmlns:x='urn:x' y='1'>text<z/></x:note>", True),
    ("somebody's attribute", "<add x:note='1' xmlns:x='urn:x'><vcpu>1</vcpu></add>", True),
    ("an element of libvirt elsewhere", "<add><rng model='virtio'/></add>", False),
    ("text among elements", "<add><devices>text<rng model='virtio'/></devices></add>", False),
    ("a qemu: command line", "<add><q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'>"
     "<q:arg value='-s'/></q:commandline></add>", True),
    ("a reserved param", "<param name='priority'/>", False),
    ("a param in a param", "<param name='a'><param name='b'/></param>", False),
)  # fmt: skip


@pytest.mark.parametrize(("name", "content", "good"), CASES, ids=[name for name, *_ in CASES])
def test_as_lint_says(name: str, content: str, good: bool, tmp_path: Path) -> None:
    text = f"<profile xmlns:v='http://virt-manager.org/schemas/virtuned/0.1' name='a' version='1'>{content}</profile>"
    (tmp_path / "a.xml").write_text(text)
    errors = [problem for problem in lint_files([tmp_path / "a.xml"]) if problem.level == "error"]
    assert (not errors) == good, errors
    assert is_valid(text) == good, VALIDATOR.error_log


def test_a_drop_in_has_no_name(tmp_path: Path) -> None:
    assert is_valid("<profile><param name='a' default='1'/><add><vcpu>2</vcpu></add></profile>")
    assert not is_valid("<profile><title>T</title><add><vcpu>2</vcpu></add></profile>")
    assert is_valid("<profiles><profile name='a'/><profile name='b'/></profiles>")
    assert not is_valid("<domain type='kvm'/>")


# --- mistakes ---------------------------------------------------------------------------


def _mistakes(element: Any) -> list[Callable[[Any], Any]]:
    """Ways to write something that there is not: what an editor can mark."""
    language = element.tag in ("profile", "match", "param", "requires", "conflicts", *ACTIONS)
    found: list[Callable[[Any], Any]] = [
        lambda one: setattr(one, "tag", f"{one.tag}x"),
        lambda one: one.set("unheard-of", "1"),
    ]
    if len(element):
        found.append(lambda one: etree.SubElement(one, "unheard-of"))
    if language and element.tag not in ("profile", "param", "requires", "conflicts"):
        found.append(lambda one: one.set("unknown", "perhaps"))
    for name, value in element.attrib.items():
        if not language and "{" not in name + value:
            found.append(lambda one, name=name: one.set(name, "!?"))
    return found


def mutated(count: int, tmp_path: Path) -> list[Path]:
    """Shipped profiles with one mistake each that lint calls an error."""
    chance = random.Random(20261130)
    made: list[Path] = []
    while len(made) < count:
        source = chance.choice(SHIPPED)
        root = etree.parse(str(source)).getroot()
        number, element = chance.choice(
            [
                (number, one)
                for number, one in enumerate(root.iter())
                if isinstance(one.tag, str) and one.tag[0] != "{"
                and not any(above.tag in ("description", "title") for above in one.iterancestors())
            ]
        )  # fmt: skip
        other = copy.deepcopy(root)
        chance.choice(_mistakes(element))(list(other.iter())[number])
        path = tmp_path / f"m{len(made)}.xml"
        path.write_text(etree.tostring(other).decode())
        if any(problem.level == "error" for problem in lint_files([path])):
            made.append(path)
    return made


def test_mistakes_are_invalid(tmp_path: Path) -> None:
    files = mutated(MUTATED, tmp_path)
    valid = [path for path in files if VALIDATOR.validate(etree.parse(str(path)))]
    assert [next(str(one) for one in lint_files([path]) if one.level == "error") for path in valid] == []


@pytest.mark.slow
@pytest.mark.parametrize("syntax", ["rng", "rnc"])
def test_jing_judges_alike(syntax: str, tmp_path: Path) -> None:
    if shutil.which("jing") is None:
        pytest.skip("jing is not installed")
    assert jing(SHIPPED, tmp_path, syntax) == set()
    files = []
    for number, text in enumerate(generated(GENERATED)):
        files.append(tmp_path / f"g{number}.xml")
        files[-1].write_text(text)
    assert jing(files, tmp_path, syntax) == set()
    wrong = mutated(MUTATED, tmp_path)
    assert jing(wrong, tmp_path, syntax) == {path.name for path in wrong}


def test_the_catalog_and_the_rules_name_the_schema() -> None:
    catalog = etree.parse(str(ROOT / "contrib/editors/catalog.xml")).getroot()
    assert {
        (one.get("name") or one.get("systemId"), one.get("uri"))
        for one in catalog.iter("{*}uri", "{*}system")
    } == {(NAMESPACE, "profile.rng")}
    rules = etree.parse(str(ROOT / "contrib/editors/schemas.xml")).getroot()
    assert {(one.get("localName"), one.get("uri")) for one in rules.iter("{*}documentElement")} == {
        ("profile", "profile.rnc"),
        ("profiles", "profile.rnc"),
    }
