# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a VM runs: every kind of reason, what is unknown, and the facts that decide it."""

from __future__ import annotations

import re
from pathlib import Path

import corpus
import pytest

from virtProfile.errors import CompletionError, MissingContextError, UsageError
from virtProfile.format.document import parse
from virtProfile.format.schema import Node, Schema
from virtProfile.host.files import read_hosts
from virtProfile.host.fit import Answer, HostDocuments, Verdict, _rows, judge, refused

DATA = Path(__file__).parent / "data" / "hosts"


@pytest.fixture(scope="module")
def hosts() -> dict[str, HostDocuments]:
    return {one.name: one for one in read_hosts([DATA])}


def domain(inside: str = "", kind: str = "kvm", machine: str = "pc-q35-7.2", arch: str = "x86_64") -> str:
    os = inside if "<os" in inside else f"<os><type arch='{arch}' machine='{machine}'>hvm</type></os>{inside}"
    return f"<domain type='{kind}'>{os}</domain>"


def ask(host: HostDocuments, text: str) -> Verdict:
    return judge(parse(text).root, host)


def test_yes(hosts: dict[str, HostDocuments]) -> None:
    text = domain(
        "<vcpu>4</vcpu><cputune><vcpupin vcpu='0' cpuset='1-3'/></cputune><genid/>"
        "<cpu mode='custom'><model>EPYC</model></cpu>"
        "<devices><disk device='cdrom'><target dev='sda' bus='sata'/></disk><graphics type='spice'/></devices>"
    )
    assert ask(hosts["old"], text) == Verdict("old", Answer.YES)
    assert ask(hosts["old"], text).to_dict() == {"host": "old", "answer": "yes", "reasons": []}


#: (on host, in the domain, where, why not)
NO = [
    ("small", "", "@type", "no domains of type 'kvm' for x86_64 (qemu)"),
    ("old", ("", "kvm", "pc-q35-8.2"), "os/type/@machine", "no machine type 'pc-q35-8.2'"),
    ("old", ("", "kvm", "virt", "aarch64"), "os/type/@arch", "no guests of arch 'aarch64' (x86_64)"),
    ("old", "<vcpu>260</vcpu>", "vcpu", "machine type 'pc-q35-7.2' takes 255 vCPUs, not 260"),
    ("old", "<vcpu cpuset='0-5'>1</vcpu>", "vcpu/@cpuset", "no CPUs 4-5"),
    ("old", "<cputune><vcpupin vcpu='0' cpuset='4'/></cputune>", "cputune/vcpupin/@cpuset", "no CPU 4"),
    (
        "old",
        "<numatune><memory mode='strict' nodeset='1'/></numatune>",
        "numatune/memory/@nodeset",
        "no NUMA node 1",
    ),
    (
        "old",
        "<memoryBacking><hugepages><page size='2' unit='M'/></hugepages></memoryBacking>",
        "memoryBacking/hugepages/page/@size",
        "no pages of 2048 KiB",
    ),
    (
        "old",
        "<cpu mode='custom'><model>Nehalem</model></cpu>",
        "cpu/model",
        "does not know CPU model 'Nehalem'",
    ),
    ("old", "<devices><tpm model='tpm-crb'/></devices>", "devices/tpm/@model", "unknown"),
    (
        "old",
        "<devices><graphics type='dbus'/></devices>",
        "devices/graphics/@type",
        "graphics 'dbus' (vnc, spice)",
    ),
    ("old", "<devices><disk device='lun'/></devices>", "devices/disk/@device", "disk 'lun' (disk, cdrom)"),
    (
        "old",
        "<os><type arch='x86_64' machine='q35'>hvm</type><loader>/x.fd</loader></os>",
        "os/loader",
        "loader '/x.fd' (/usr/share/OVMF/OVMF_CODE.fd)",
    ),
    ("old", "<features><gic version='3'/></features>", "features/gic/@version", "does not support gic"),
]


@pytest.mark.parametrize("row", NO, ids=lambda row: f"{row[0]}-{row[2]}")
def test_no(row, hosts: dict[str, HostDocuments]) -> None:  # type: ignore[no-untyped-def]
    host, inside, where, why = row
    text = domain(inside) if isinstance(inside, str) else domain(*inside)
    found = ask(hosts[host], text)
    if why == "unknown":
        assert found.answer == Answer.UNKNOWN
        assert where in {one.path for one in found.reasons}
        return
    assert found.answer == Answer.NO
    reasons = [(one.path, one.message) for one in found.reasons if one.answer == Answer.NO]
    assert any(path == where and why in message for path, message in reasons), reasons


def test_tcg_host(hosts: dict[str, HostDocuments]) -> None:
    text = domain("<cpu mode='custom'><model>EPYC</model></cpu>", "qemu")
    found = ask(hosts["small"], text)
    assert [one.message for one in found.reasons] == ["cannot use CPU model 'EPYC'"]
    text = domain("<cpu mode='host-passthrough'/>", "qemu")
    assert [one.path for one in ask(hosts["small"], text).reasons] == ["cpu/@mode"]
    firmware = "<os firmware='efi'><type arch='x86_64' machine='q35'>hvm</type></os>"
    assert [one.path for one in ask(hosts["small"], domain(firmware, "qemu")).reasons] == ["os/@firmware"]


def test_hostile_words(hosts: dict[str, HostDocuments]) -> None:
    quoted = domain('<cpu mode="custom"><model>a\'b"]</model></cpu>').replace("x86_64", "x&apos;86")
    assert ask(hosts["old"], quoted).answer == Answer.NO
    lacking = (
        hosts["new"]
        .domcapabilities[0]
        .replace(
            "<model usable='yes'>EPYC</model>",
            "<model usable='no'>EPYC</model><blockers model='EPYC'><feature name='svm'/></blockers>",
        )
    )
    host = HostDocuments("new", hosts["new"].capabilities, (lacking,))
    text = domain("<cpu mode='custom'><model>EPYC</model></cpu>", machine="pc-q35-8.2")
    assert [one.message for one in ask(host, text).reasons] == ["cannot use CPU model 'EPYC' (lacks svm)"]


def test_what_the_documents_do_not_tell_is_unknown(hosts: dict[str, HostDocuments]) -> None:
    new = hosts["new"]
    found = judge(parse(domain()).root, HostDocuments("half", new.capabilities))
    assert (found.answer, found.reasons[0].message) == (Answer.UNKNOWN, "domain capabilities are not known")
    found = judge(parse(domain()).root, HostDocuments("half", (), new.domcapabilities))
    assert found.reasons[0].message == "the host's capabilities are not known"
    found = ask(hosts["old"], domain("<devices><crypto model='virtio'/></devices>"))
    assert [str(one.answer) for one in found.reasons] == ["unknown"]
    found = ask(new, domain())
    assert "of machine 'pc-q35-8.2', not 'pc-q35-7.2'" in found.reasons[0].message
    # libvirt lists no mdev, and takes it
    assert ask(hosts["old"], domain("<devices><hostdev type='mdev'/></devices>")).answer == Answer.YES


def test_one_no_decides(hosts: dict[str, HostDocuments]) -> None:
    text = domain("<devices><crypto model='virtio'/><graphics type='dbus'/></devices>")
    assert ask(hosts["old"], text).answer == Answer.NO
    assert ask(hosts["new"], text).answer == Answer.UNKNOWN


def test_refused(hosts: dict[str, HostDocuments]) -> None:
    root = parse(domain()).root
    assert refused(root, hosts["new"], MissingContextError("x")).answer == Answer.UNKNOWN
    assert refused(root, hosts["new"], CompletionError("x")).answer == Answer.NO
    assert refused(root, hosts["small"], MissingContextError("x")).answer == Answer.NO
    both = CompletionError("x", others=[CompletionError("y")])
    assert [one.message for one in refused(root, hosts["new"], both).reasons] == ["x", "y"]


def test_which_file_is_whose(tmp_path: Path) -> None:
    caps = (DATA / "new.capabilities.xml").read_text()
    domcaps = (DATA / "new.domcaps.xml").read_text()
    for name in ("a.capabilities.xml", "b.1.xml"):
        (tmp_path / name).write_text(caps)
    for name in ("a.domcaps.xml", "a.domcaps-tcg.xml"):
        (tmp_path / name).write_text(domcaps)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "any.xml").write_text(caps)
    (tmp_path / ".hidden.xml").write_text("no XML")
    found = read_hosts([tmp_path])
    assert [(one.name, len(one.capabilities), len(one.domcapabilities)) for one in found] == [
        ("a", 1, 2),
        ("b.1", 1, 0),
        ("c", 1, 0),
    ]
    assert read_hosts([tmp_path / "a.capabilities.xml", tmp_path / "a.domcaps.xml"])[0].domcapabilities
    (tmp_path / "d.xml").write_text("<network/>")
    with pytest.raises(UsageError, match="'network' was given"):
        read_hosts([tmp_path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no documents"):
        read_hosts([tmp_path / "empty"])


def test_every_fact_is_of_a_domain() -> None:
    schema = Schema.baseline()
    for path, slot, where, enum, words in _rows():
        node: Node | None = schema.root
        for step in path.split("/"):
            assert node is not None
            node = node.child(step)
        assert node is not None, path
        if slot[0] == "@":
            assert slot[1:] in node.attrs, f"{path} {slot}"
        assert where and enum and isinstance(words, frozenset)


@pytest.mark.skipif(corpus.directory() is None, reason="./dev corpus fetches libvirt's documents")
def test_every_fact_is_told_by_some_libvirt() -> None:
    """In libvirt's documents, or since later: those have to be named here."""
    source = corpus.directory()
    assert source is not None
    told = set()
    for file in (source / "tests" / "domaincapsdata").glob("*.xml"):
        root = parse(file.read_text()).root
        for _, _, where, enum, _ in _rows():
            element = root.find(where)
            if element is not None and (enum in ".-" or element.find(f"enum[@name='{enum}']") is not None):
                told.add((where, enum))
    missing = {(where, enum) for _, _, where, enum, _ in _rows()} - told
    later = {"devices/crypto", "devices/panic", "devices/interface", "features/hyperv"}
    assert {where for where, _ in missing} <= later, missing


@pytest.mark.skipif(corpus.directory() is None, reason="./dev corpus fetches libvirt's documents")
def test_every_domain_of_libvirt_is_judged(hosts: dict[str, HostDocuments]) -> None:
    answers = dict.fromkeys(Answer, 0)
    for _, text in corpus.documents():
        try:
            root = parse(text).root
        except Exception:
            continue
        for host in hosts.values():
            found = judge(root, host)
            answers[found.answer] += 1
            assert all(re.match(r"[@\w]|$", one.path) for one in found.reasons)
    assert answers[Answer.NO] > 1000
    assert answers[Answer.YES] > 10
