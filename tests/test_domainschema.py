# SPDX-License-Identifier: GPL-2.0-or-later
"""The model of the domain format: curated facts name what exists, and libvirt's tests agree."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import corpus
import pytest
from lxml import etree

from virtProfile.format.facts import rows
from virtProfile.format.grammar import Grammar
from virtProfile.format.relaxng import validator, validator_for, validator_with_messages
from virtProfile.format.schema import DATA, PathNode, Schema
from virtProfile.live.call_context import SCHEMA_DIRECTORIES

BASE = Schema.baseline()
NODES = {node.path: node for node in BASE.walk()}
HOST = next((Path(one) for one in SCHEMA_DIRECTORIES if Path(one, "domain.rng").exists()), None)


def has(node: PathNode | None, slot: str) -> bool:
    """Does a relative slot such as ``target/@dev`` exist?"""
    if slot[:1] == "{":
        return node is not None and node.child(slot) is not None
    *tags, last = slot.split("/")
    for tag in tags:
        if node is not None:
            node = node.parent if tag == ".." else node.child(tag)
    if node is None:
        return False
    if last in ("", "."):
        return True
    if last == "*":
        return bool(node.children)
    if last == "text()":
        return node.text is not None
    return last[1:] in node.attrs if last[0] == "@" else node.child(last) is not None


def test_size_of_the_model() -> None:
    assert len(NODES) >= 878  # element paths of libvirt 11.3.0, which 12.8 only grew from
    assert sum(node.many for node in NODES.values()) >= 146


@pytest.mark.parametrize("name", ["disk", "iothreads", "model", "boot", "feature"])
def test_cardinality_by_path(name: str) -> None:
    wanted = {
        "disk": ("devices/disk", True),
        "iothreads": ("iothreads", False),
        "model": ("devices/video/model", False),
        "boot": ("os/boot", True),
        "feature": ("cpu/feature", True),
    }
    path, many = wanted[name]
    assert NODES[path].many is many
    assert not NODES["devices/disk/boot"].many


def test_every_row_names_a_path_that_exists() -> None:
    for path in BASE.facts.paths():
        if "*" not in path:
            assert path in NODES, path
            continue
        head, _, tail = path.partition("*")
        assert any(one.startswith(head) and one.endswith(tail) for one in NODES), path


def test_every_row_has_a_source() -> None:
    for file in sorted(Path(DATA).glob("*.tsv")):
        widths = {len(row) for row in rows(file)}
        assert len(widths) == 1, file
        assert all(row[-1].strip() for row in rows(file)), file


def test_every_list_has_a_class() -> None:
    assert [p for p, node in NODES.items() if node.many and node.key_class not in "ENSOX"] == []


@pytest.mark.parametrize("fact", ["key", "binding", "implied", "dependents", "unit", "abi", "order"])
def test_every_slot_exists(fact: str) -> None:
    wrong = []
    for path, node in NODES.items():
        if path.endswith("/address") and path.count("/") != 2:
            continue
        for slot in getattr(node, fact):
            if not has(node, slot):
                wrong.append((path, slot))
    assert wrong == []


def test_what_falls_with_a_discriminator_exists() -> None:
    for path, node in NODES.items():
        for depends in node.dependents.values():
            assert [one for one in depends if not has(node, one)] == [], path
        for entries in node.variants.values():
            assert [part.what for part in entries if not has(node, part.path)] == [], path


def test_implied_values_are_taken_and_may_be_absent() -> None:
    for path, node in NODES.items():
        for slot, value in node.implied.items():
            kind = node.attrs[slot[1:]]
            assert not kind.required, (path, slot)
            assert kind.check(value) == "", (path, slot)


def test_exclusions_exist() -> None:
    for one, other, _ in BASE.exclusions:
        assert has(BASE.root, one) and has(BASE.root, other), (one, other)


IMPLIED = [
    ("<devices>{}</devices>", "<disk%s><source file='/a'/><target dev='vda'/></disk>", " device='disk'"),
    ("<devices>{}</devices>", "<disk%s><source file='/a'/><target dev='vda'/></disk>", " type='file'"),
    ("<features>{}</features>", "<hap%s/>", " state='on'"),
    ("<features>{}</features>", "<pmu%s/>", " state='on'"),
    ("<features>{}</features>", "<vmport%s/>", " state='on'"),
    ("<features>{}</features>", "<pvspinlock%s/>", " state='on'"),
    ("<features>{}</features>", "<hyperv%s><relaxed state='on'/></hyperv>", " mode='custom'"),
    ("{}", "<cpu%s><model>Nehalem</model></cpu>", " mode='custom'"),
    ("{}", "<cpu%s><model>Nehalem</model></cpu>", " match='exact'"),
    ("{}", "<cpu match='exact'><model%s>Nehalem</model></cpu>", " fallback='allow'"),
    (
        "<devices>{}</devices>",
        "<filesystem%s><source dir='/a'/><target dir='b'/></filesystem>",
        " type='mount'",
    ),
    (
        "<devices>{}</devices>",
        "<filesystem%s><source dir='/a'/><target dir='b'/></filesystem>",
        " accessmode='passthrough'",
    ),
    ("<devices>{}</devices>", "<console%s/>", " type='pty'"),
    ("{}", "<numatune><memory%s nodeset='0'/></numatune>", " mode='strict'"),
    (
        "<devices>{}</devices>",
        "<hostdev%s type='pci'><source><address domain='0' bus='0' slot='3' function='0'/></source></hostdev>",
        " mode='subsystem'",
    ),
    (
        "<devices>{}</devices>",
        "<hostdev%s mode='subsystem' type='usb'><source><vendor id='0x1'/><product id='0x2'/></source></hostdev>",
        " managed='no'",
    ),
]


@pytest.mark.parametrize("row", IMPLIED, ids=lambda row: row[1][1:9] + row[2].strip())
def test_libvirt_implies_it(row: tuple[str, str, str]) -> None:
    """Defined with and without the value, libvirt gives the same domain back."""
    libvirt = pytest.importorskip("libvirt")
    connection = libvirt.open("test:///default")

    def defined(text: str) -> str:
        uuid = "6f6bb0a2-9f5c-4cf2-9d5b-3a1a8bb0a001"
        xml = (
            f"<domain type='test'><name>vp</name><uuid>{uuid}</uuid><memory>1</memory>"
            "<os><type>hvm</type></os>" + row[0].replace("{}", text) + "</domain>"
        )
        domain = connection.defineXML(xml)
        try:
            return str(domain.XMLDesc(0))
        finally:
            domain.undefine()

    assert defined(row[1] % "") == defined(row[1] % row[2])


#: What only QEMU's driver takes or fills in; what stands in braces is left out or written.
ON_QEMU = (
    "<domain type='qemu'><name>vp</name><uuid>6f6bb0a2-9f5c-4cf2-9d5b-3a1a8bb0a001</uuid>"
    "<memory>65536</memory><os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/>"
    "<smm{ state='on'}/><vmcoreinfo{ state='on'}/><hap{ state='on'}/><pmu{ state='on'}/><vmport{ state='on'}/>"
    "<hyperv{ mode='custom'}><relaxed state='on'/></hyperv></features>"
    "<clock offset='variable' adjustment='0'{ basis='utc'}/><numatune><memory{ mode='strict'} nodeset='0'/></numatune>"
    "<devices><vsock{ model='virtio'}><cid auto='yes'/></vsock><interface type='user'>"
    "<mac address='52:54:00:00:00:01'/><ip{ family='ipv4'} address='10.0.0.1' prefix='24'/></interface></devices></domain>"
)


@pytest.mark.slow
def test_qemu_implies_it(embedded_qemu: Any) -> None:
    """As above on an embedded QEMU driver, all at once."""
    connection = embedded_qemu
    found = []
    for text in (re.sub(r"\{.*?\}", "", ON_QEMU), re.sub(r"[{}]", "", ON_QEMU)):
        domain = connection.defineXML(text)
        found.append(domain.XMLDesc(0))
        domain.undefine()
    assert found[0] == found[1]


# --- libvirt's own documents --------------------------------------------------


def faults(element: Any, node: PathNode, found: Counter[str]) -> None:
    """Count what the model does not know or would not have."""
    if node.anything:
        return
    for name, value in element.attrib.items():
        kind = node.attrs.get(name)
        if kind is None:
            found[f"unknown {node.path}/@{name}"] += 1
        elif kind.check(value):
            found[f"value {node.path}/@{name}='{value}'"] += 1
    for name, kind in node.attrs.items():
        if kind.required and element.get(name) is None:
            found[f"missing {node.path}/@{name}"] += 1
    counts: Counter[str] = Counter()
    for one in element.iterchildren("*"):
        below = node.child(one.tag)
        if below is None:
            found[f"unknown {node.path}/{one.tag}"] += 1
            continue
        counts[one.tag] += 1
        faults(one, below, found)
    for tag, count in counts.items():
        below = node.child(tag)
        if count > 1 and below is not None and not below.many:
            found[f"repeated {node.path}/{tag}"] += 1


def is_newer(version: str) -> bool:
    """Than the libvirt of this host?"""
    libvirt = pytest.importorskip("libvirt")
    major, minor, _ = (int(part) for part in version.split("."))
    return bool(major * 1_000_000 + minor * 1000 > libvirt.getVersion())


@pytest.mark.skipif(not corpus.documents(), reason="./dev corpus fetches libvirt's documents")
@pytest.mark.parametrize("version", corpus.versions())
@pytest.mark.parametrize("which", ["baseline", "host"])
def test_walks_the_corpus(which: str, version: str, tmp_path: Path) -> None:
    if which == "host" and HOST is None:
        pytest.skip("no schema of a host")
    if which == "host" and is_newer(version):
        pytest.skip("documents of a libvirt that is newer than the host's")
    schema = BASE if which == "baseline" else Schema.from_rng(HOST, tmp_path)
    found: Counter[str] = Counter()
    valid = 0
    for path, text in corpus.documents(version):
        root = etree.fromstring(text.encode())
        if schema.validate(root):
            assert not corpus.is_valid(path), path
            continue
        assert corpus.is_valid(path), path
        valid += 1
        faults(root, schema.root, found)
    assert found == {}
    assert valid > 2000


@pytest.mark.skipif(HOST is None, reason="no schema of a host")
def test_generated_rng_is_libvirts() -> None:
    """What is written from the compiled grammar judges as the schema that it was compiled from."""
    original = etree.RelaxNG(file=str(HOST / "domain.rng"))
    schema = Schema.from_rng(HOST)
    schema._wider = None
    documents = [text for _, text in corpus.documents()] or [
        path.read_text() for path in (Path(__file__).parent / "data" / "domains").glob("*.xml")
    ]
    for text in documents:
        root = etree.fromstring(text.encode())
        assert original.validate(root) == (not schema.validate(root))


@pytest.mark.skipif(HOST is None, reason="no schema of a host")
def test_host_schema_is_kept_and_a_damaged_one_made_anew(tmp_path: Path) -> None:
    copy = tmp_path / "schemas"
    shutil.copytree(HOST, copy)
    cache = tmp_path / "cache"
    Schema.from_rng(copy, cache)
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    kept.write_text("{")
    Schema.from_rng(copy, cache)
    assert kept.read_bytes() == whole
    (copy / "domain.rng").write_text((copy / "domain.rng").read_text() + "<!-- other -->")
    Schema.from_rng(copy, cache)
    assert len(list(cache.iterdir())) == 2


@pytest.mark.skipif(HOST is None, reason="no schema of a host")
def test_what_only_a_newer_libvirt_has() -> None:
    schema = Schema.from_rng(HOST)
    if schema.root.child("throttlegroups") is not None and not schema.root.child("throttlegroups").newer:
        pytest.skip("this host's libvirt is new")
    assert schema.root.child("throttlegroups").newer
    assert schema.root.child("no-such-thing") is None


def _unused_grammar() -> Grammar:
    """As the baseline's in a process that has judged no document."""
    grammar = BASE.grammar
    return Grammar({"start": grammar.start, "refs": grammar.refs, "elements": grammar.elements})


def test_pruned_grammar_gives_the_same_verdict() -> None:
    full = validator(BASE.grammar)
    documents = [
        text
        for number, (path, text) in enumerate(corpus.documents())
        if number % 10 == 0 or not corpus.is_valid(path)
    ]
    documents += [path.read_text() for path in (Path(__file__).parent / "data/domains").glob("*.xml")]
    for text in documents:
        root = etree.fromstring(text.encode())
        verdict = full.validate(root)
        first, names_what_may_stand = validator_for(_unused_grammar(), root)
        assert not names_what_may_stand
        assert first.validate(root) == verdict
        assert validator_with_messages(BASE.grammar, root).validate(root) == verdict


@pytest.mark.parametrize(
    ("devices", "valid"),
    [
        ("<disk><target dev='vda' bus='\n virtio\t'/></disk>", True),  # a token, without the space around it
        ("<disk><target dev='vda' bus='virtio '/><serial>a<!-- -->b</serial></disk>", True),
        ("<controller type='pci' model='pcie-root-port'/>", True),
        ("<controller type='pci' model='pcie-root-'/>", False),
        ("<interface type='nonsense'/>", False),
        ("<interface/>", False),
        ("<disk><target bus='virtio'/></disk>", False),
    ],
)
def test_first_document_of_a_process(devices: str, valid: bool) -> None:
    """Its validator knows only what occurs in it; what is wrong is told as of any other document."""
    text = f"<domain type='kvm'><name>a<!-- -->b</name><memory>1</memory><os><type>hvm</type></os><devices>{devices}</devices></domain>"
    root = etree.fromstring(text)
    first = Schema(_unused_grammar(), BASE.facts)
    told = first.validate(root)
    assert (not told) is valid
    other = validator_with_messages(BASE.grammar, root)
    for _ in range(2):
        assert other.validate(root) is valid
    assert told == [str(entry.message) for entry in other.error_log]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("0-0", "0", True),
        ("0,1,2,3", "0-3", True),
        ("3,0-1", "0-1,3", True),
        ("0-3,^2", "0-1,3", True),
        ("^2,0-3", "0-3", True),  # parts count in order
        ("^2,0-3", "0,1,3", False),
        ("0-3", "0-2", False),
        ("1-0", "0-1", False),
        ("0-99999999", "0-99999998", False),
    ],
)
def test_cpu_sets_by_what_they_mean(one: str, other: str, same: bool) -> None:
    kind = NODES["cputune/vcpupin"].attribute("cpuset")
    assert kind is not None
    assert kind.same(one, other) is same
    assert kind.same(other, one) is same
