# SPDX-License-Identifier: GPL-2.0-or-later
"""Capabilities of many hosts merged: against brute force, on libvirt's own documents, at size."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import reduce
from itertools import combinations
from pathlib import Path

import corpus
import pytest
from hypothesis import given
from hypothesis import strategies as st

import virtProfile
from virtProfile.errors import CompletionError, LibvirtError, UsageError
from virtProfile.format.document import parse
from virtProfile.host.capability_atoms import atoms, thresholds, write
from virtProfile.host.context import Context
from virtProfile.host.merge import Host, Merged, merge
from virtProfile.host.subset_search import search
from virtProfile.language.requirement import requirements
from virtProfile.language.store import ProfileStore

TOP = Path(__file__).parent.parent
DATA = Path(__file__).parent / "data" / "hosts"


def size(bits: int) -> int:
    return bits.bit_count()


def brute(hosts: list[int], least: int) -> int:
    """The weight of the largest intersection of `least` hosts."""
    return max(size(reduce(int.__and__, some)) for some in combinations(hosts, least))


@given(st.data())
def test_search_against_brute_force(data: st.DataObject) -> None:
    width = data.draw(st.integers(1, 12))
    hosts = data.draw(st.lists(st.integers(0, 2**width - 1), min_size=1, max_size=9))
    least = data.draw(st.integers(1, len(hosts)))
    found = search(hosts, least)
    assert found.proven
    assert found.bits is not None
    assert size(found.bits) == brute(hosts, least)
    assert sum(host & found.bits == found.bits for host in hosts) >= least


@given(st.data())
def test_search_with_a_condition(data: st.DataObject) -> None:
    """Also one that larger sets fail and smaller ones fulfil."""
    hosts = data.draw(st.lists(st.integers(0, 255), min_size=1, max_size=7))
    least = data.draw(st.integers(1, len(hosts)))
    good = data.draw(st.frozensets(st.integers(0, 255), max_size=128))
    counts = {bit: sum(bool(host & bit) for host in hosts) for bit in (1 << at for at in range(8))}
    common = sum(bit for bit, count in counts.items() if count >= least)
    sets = {
        reduce(int.__and__, some)
        for number in range(least, len(hosts) + 1)
        for some in combinations(hosts, number)
    }
    fitting = [size(one & common) for one in sets if one & common in good]
    found = search(hosts, least, accept=good.__contains__)
    if fitting:
        assert found.bits in good
        assert size(found.bits or 0) == max(fitting)
    else:
        assert found.bits is None


def test_the_budget_is_told() -> None:
    some = random.Random(1)
    hosts = [sum(1 << bit for bit in range(150) if some.random() < 0.8) for _ in range(40)]
    found = search(hosts, 20, budget=5_000)
    assert not found.proven
    assert found == search(hosts, 20, budget=5_000)
    assert found.bits is not None
    assert sum(host & found.bits == found.bits for host in hosts) >= 20
    assert search(hosts, 40, budget=5_000).proven


# --- documents --------------------------------------------------------------------


def documents() -> list[Host]:
    source = corpus.directory()
    if source is None:
        return []
    found = sorted((source / "tests" / "domaincapsdata").glob("*.xml"))
    return [Host(one.stem, one.read_text()) for one in found]


needs_corpus = pytest.mark.skipif(not documents(), reason="./dev corpus fetches libvirt's documents")


def shared_by(merged: Merged, hosts: list[Host]) -> None:
    """The merged document says exactly what its hosts share, the CPU of host-model aside."""
    inside = [one for one in hosts if one.name in merged.hosts]
    sets = thresholds([atoms(parse(one).root) for one in (merged.xml, *(host.text for host in inside))])
    shared = reduce(frozenset.__and__, sets[1:])
    differing = {atom for atom in sets[0] ^ shared if "host-model" not in atom[0]}
    assert not differing
    for one in hosts:
        if one.name in merged.hosts:
            continue
        excluded = next(row for row in merged.excluded if row.name == one.name)
        assert excluded.lacks or "is of" in excluded.reason


@needs_corpus
def test_every_document_of_libvirt_merges_with_itself() -> None:
    for one in documents():
        root = parse(one.text).root
        assert atoms(write(root, thresholds([atoms(root)])[0])) == atoms(root), one.name
        merged = merge([one, Host("twin", one.text)])
        assert atoms(parse(merged.xml).root) == atoms(root), one.name
        assert len(merged.hosts) == 2


@needs_corpus
def test_libvirts_documents_by_world() -> None:
    hosts = documents()
    assert len(hosts) > 50
    worlds: dict[tuple[str, ...], list[Host]] = {}
    for one in hosts:
        root = parse(one.text).root
        machine = re.sub(r"-[\d.]+$", "", root.findtext("machine") or "")
        key = (root.findtext("domain") or "", root.findtext("arch") or "", machine)
        worlds.setdefault(key, []).append(one)
    merged_worlds = 0
    for world in worlds.values():
        before = None
        for least in range(1, len(world) + 1):
            merged = merge(world, least)
            assert merged.proven
            assert len(merged.hosts) >= least
            shared_by(merged, world)
            if before is not None:
                assert merged.size <= before
            before = merged.size
            merged_worlds += 1
    assert merged_worlds > 50


@needs_corpus
def test_libvirts_documents_against_brute_force() -> None:
    hosts = [one for one in documents() if "q35" in one.name]
    steps = thresholds([atoms(parse(one.text).root) for one in hosts])
    for least in (1, 2, 3, 6, 9, len(hosts)):
        best = max(len(reduce(frozenset.__and__, some)) for some in combinations(steps, least))
        assert merge(hosts, least).size == best


@needs_corpus
def test_a_merged_document_is_one(tmp_path: Path) -> None:
    """By libvirt's schema; and profiles can ask it, for every version of the family."""
    etree = pytest.importorskip("lxml.etree")
    source = corpus.directory()
    assert source is not None
    schema = etree.RelaxNG(file=str(next(source.rglob("domaincaps.rng"))))
    hosts = [one for one in documents() if "q35" in one.name]
    for least in (1, 3, 9, len(hosts)):
        merged = merge(hosts, least)
        schema.assertValid(etree.fromstring(merged.xml))
    (tmp_path / "p.xml").write_text(
        "<profile name='p'><match test=\"vp:supports('graphics', 'type', 'spice')\"/>"
        "<add><devices><graphics type='spice'/></devices></add></profile>"
    )
    store = ProfileStore([tmp_path], check_owner=False)
    for machine in ("pc-q35-6.2", "q35", "pc-q35-rhel9.2.0"):
        domain = f"<domain type='kvm'><os><type arch='x86_64' machine='{machine}'>hvm</type></os></domain>"
        result = virtProfile.apply(domain, ["p"], store=store, context=Context(domcapabilities=(merged.xml,)))
        assert "spice" in result.xml
    domain = "<domain type='kvm'><os><type arch='x86_64' machine='pc-i440fx-6.2'>hvm</type></os></domain>"
    with pytest.raises(virtProfile.ProfileError, match="of machine 'q35'"):
        virtProfile.apply(domain, ["p"], store=store, context=Context(domcapabilities=(merged.xml,)))


@needs_corpus
def test_a_thousand_hosts() -> None:
    """Of ten types: what they share at 10, 50 and 90 percent, each in less than a second."""
    types = [one.text for one in documents() if "x86_64" in one.name and "q35" in one.name][:10]
    assert len(types) == 10
    hosts = [Host(f"host{number:04}", types[number * 7 % 10]) for number in range(1000)]
    for least in (100, 500, 900, 1000):
        start = time.process_time()
        merged = merge(hosts, least)
        assert time.process_time() - start < 1
        assert merged.proven
        assert len(merged.hosts) >= least
        assert (
            merged.size == merge([Host(str(at), one) for at, one in enumerate(types)], -(-least // 100)).size
        )


# --- rules ------------------------------------------------------------------------


def caps(inner: str, kind: str = "kvm", machine: str = "pc-q35-7.2") -> str:
    return (
        f"<domainCapabilities><path>/usr/bin/qemu</path><domain>{kind}</domain>"
        f"<machine>{machine}</machine><arch>x86_64</arch>{inner}</domainCapabilities>"
    )


def merged_of(*inner: str) -> str:
    hosts = [Host(str(at), caps(one)) for at, one in enumerate(inner)]
    return re.sub(r">\s+<", "><", merge(hosts).xml).partition("</arch>")[2].partition("</domainCap")[0]


#: What two hosts say, and what they say together.
RULES = [
    ("<vcpu max='255'/>", "<vcpu max='288'/>", '<vcpu max="255"/>'),
    ("<a supported='yes'/>", "<a supported='no'/>", '<a supported="no"/>'),
    ("<a supported='yes'/>", "", '<a supported="no"/>'),
    (
        "<devices><d supported='yes'><enum name='e'><value>1</value><value>2</value></enum></d></devices>",
        "<devices><d supported='yes'><enum name='e'><value>2</value><value>3</value></enum></d></devices>",
        '<devices><d supported="yes"><enum name="e"><value>2</value></enum></d></devices>',
    ),
    (
        "<cpu><mode name='custom' supported='yes'><model usable='yes'>a</model>"
        "<model usable='unknown' deprecated='yes'>b</model><model usable='yes'>c</model></mode></cpu>",
        "<cpu><mode name='custom' supported='yes'><model usable='no'>a</model>"
        "<blockers model='a'><feature name='x'/></blockers><model usable='yes'>b</model></mode></cpu>",
        '<cpu><mode name="custom" supported="yes"><model usable="no">a</model>'
        '<model usable="unknown" deprecated="yes">b</model></mode></cpu>',
    ),
    (
        "<features><sev supported='yes'><cbitpos>47</cbitpos><reducedPhysBits>1</reducedPhysBits>"
        "<maxGuests>15</maxGuests></sev></features>",
        "<features><sev supported='yes'><cbitpos>47</cbitpos><reducedPhysBits>2</reducedPhysBits>"
        "<maxGuests>99</maxGuests></sev></features>",
        '<features><sev supported="yes"><cbitpos>47</cbitpos><reducedPhysBits>2</reducedPhysBits>'
        "<maxGuests>15</maxGuests></sev></features>",
    ),
    (
        "<features><sev supported='yes'><cbitpos>47</cbitpos></sev></features>",
        "<features><sev supported='yes'><cbitpos>51</cbitpos></sev></features>",
        '<features><sev supported="no"/></features>',
    ),
    (
        "<cpu><mode name='host-model' supported='yes'><model>m</model><vendor>v</vendor>"
        "<feature policy='require' name='a'/><feature policy='require' name='b'/></mode></cpu>",
        "<cpu><mode name='host-model' supported='yes'><model>m</model><vendor>v</vendor>"
        "<feature policy='require' name='b'/><feature policy='disable' name='c'/></mode></cpu>",
        '<cpu><mode name="host-model" supported="yes"><model>m</model><vendor>v</vendor>'
        '<feature policy="require" name="b"/><feature policy="disable" name="c"/></mode></cpu>',
    ),
]


@pytest.mark.parametrize("row", RULES, ids=lambda row: row[2][:30])
def test_rules(row: tuple[str, str, str]) -> None:
    one, other, wanted = row
    assert merged_of(one, other) == wanted
    if other:
        assert atoms(parse(caps(merged_of(other, one))).root) == atoms(parse(caps(wanted)).root)


def test_baseline() -> None:
    mode = "<cpu><mode name='host-model' supported='yes'><model>{}</model></mode></cpu>"
    hosts = [Host(name, caps(mode.format(name))) for name in ("EPYC", "Skylake")]
    merged = merge(hosts)
    assert 'name="host-model" supported="no"' in merged.xml
    assert "differ (EPYC, Skylake)" in merged.notes[0]
    asked = []

    def baseline(emulator, arch, machine, kind, cpus):  # type: ignore[no-untyped-def]
        asked.append((emulator, arch, machine, kind, list(cpus)))
        return (
            "<cpu mode='custom' match='exact'><model>qemu64</model><feature policy='require' name='x'/></cpu>"
        )

    merged = merge(hosts, baseline=baseline)
    root = parse(merged.xml).root
    assert root.findtext("cpu/mode/model") == "qemu64"
    assert root.find("cpu/mode/feature").get("name") == "x"
    assert asked[0][:4] == ("/usr/bin/qemu", "x86_64", "pc-q35-7.2", "kvm")
    assert len(asked[0][4]) == 2

    def refuses(*_):  # type: ignore[no-untyped-def]
        raise LibvirtError("libvirt: CPU vendors do not match")

    assert "CPU vendors do not match" in merge(hosts, baseline=refuses).notes[0]


@pytest.mark.slow
@needs_corpus
def test_baseline_of_libvirt(embed: Callable[[str], str], tmp_path: Path) -> None:
    """By QEMU's driver itself, in a process of its own."""
    one = next(host.text for host in documents() if host.name == "qemu_7.2.0-q35.x86_64")
    root = parse(one).root
    model = root.findtext("cpu/mode/model")
    (tmp_path / "new.xml").write_text(one)
    (tmp_path / "old.xml").write_text(
        one.replace(f"<model fallback='forbid'>{model}<", "<model fallback='forbid'>EPYC<")
    )
    line = [sys.executable, str(TOP / "virt-profile"), "--merge-capabilities", str(tmp_path), "--json"]
    done = subprocess.run([*line, "-c", embed("host")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    merged = parse(told["xml"]).root.find("cpu/mode[@name='host-model']")
    assert told["notes"] == []
    assert merged.get("supported") == "yes"
    assert merged.findtext("vendor") == "AMD"
    assert merged.findtext("model") and merged.find("feature") is not None
    without = json.loads(subprocess.run(line, capture_output=True, text=True).stdout)
    assert "differ (EPYC, EPYC-Rome)" in without["notes"][0]


def test_who_lacks_what() -> None:
    hosts = [Host(one, (DATA / f"{one}.domcaps.xml").read_text()) for one in ("new", "old", "small")]
    merged = merge(hosts, 1)
    assert merged.hosts == ("new",)
    lacks = next(one for one in merged.excluded if one.name == "old").lacks
    assert "devices/tpm" in lacks
    assert not any("tpm-crb" in one for one in lacks)  # with the whole device its words are missing
    assert "devices/graphics type dbus" in lacks
    assert "vcpu/@max >=288" in lacks
    assert merged.to_dict()["excluded"][1]["reason"] == "is of qemu x86_64 q35, not kvm x86_64 q35"


def test_order_of_hosts_does_not_matter() -> None:
    hosts = documents()[:12] or [
        Host(one, (DATA / f"{one}.domcaps.xml").read_text()) for one in ("new", "old")
    ]
    assert merge(hosts, 2).to_dict() == merge(hosts[::-1], 2).to_dict()


def test_require() -> None:
    hosts = [Host(one, (DATA / f"{one}.domcaps.xml").read_text()) for one in ("new", "old", "small")]
    merged = merge(hosts, 1, require=requirements(["devices/tpm/@supported = 'yes'"]))
    assert merged.hosts == ("new",)
    assert {one.name for one in merged.excluded if "does not hold" in one.reason} == {"old", "small"}
    # each host has one of two, no two have the same
    inner = "<devices><d supported='yes'><enum name='e'><value>{}</value></enum></d></devices>"
    two = [Host(str(at), caps(inner.format(at))) for at in range(2)]
    assert merge(two, 2).hosts == ("0", "1")
    with pytest.raises(CompletionError, match="no 2 hosts share what is required"):
        merge(two, 2, require=requirements(["devices/d/enum/value"]))


def test_wrong_input() -> None:
    with pytest.raises(UsageError, match="no domain capabilities"):
        merge([])
    with pytest.raises(UsageError, match="'domain' was given"):
        merge([Host("a", "<domain/>")])
    with pytest.raises(UsageError, match="named 'a'"):
        merge([Host("a", caps("")), Host("a", caps(""))])
    with pytest.raises(UsageError, match="3 hosts are required, and only 1 are given"):
        merge([Host("a", caps(""))], 3)
    with pytest.raises(virtProfile.ProfileError):
        merge([Host("a", "<!DOCTYPE a><domainCapabilities/>")])
