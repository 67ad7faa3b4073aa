# SPDX-License-Identifier: GPL-2.0-or-later
"""The shipped library: each profile alone and each pair, on every sample, and what each does.

``pytest --regenerate-output`` writes the effects of new versions; a version's effect,
once written, stays: another effect is another version.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import corpus
import library
import pytest
from library import NAMES, apply, context, profiles, wish
from lxml import etree

import virtProfile
from virtProfile import ProfileError
from virtProfile.authoring.lint import lint_files
from virtProfile.language.attributes import expressions
from virtProfile.language.parser import parse_profiles
from virtProfile.language.profile import Snippet
from virtProfile.language.xpath import Node, Step, parse_xpath

EFFECTS = library.DATA / "effects.tsv"
VMS = {path.stem: path.read_text() for path in sorted((library.ROOT / "tests/data/vms").glob("*.xml"))}
DOCUMENTS = dict(library.documents())
#: What a shipped profile writes that libvirt has only since then, as libvirt.getVersion() says it.
SINCE = {
    "launchSecurity[@type='sev-snp']": 10_005_000,
    "launchSecurity[@type='tdx']": 11_006_000,
}
#: What profiles choose, and two may choose otherwise: a conflict about one of these is by design.
CHOICES = {
    "/domain/clock/@offset": "the time that the guest OS keeps in its clock",
    "/domain/cpu/@mode": "the CPU",
    "/domain/cpu/@check": "the CPU",
    "/domain/cpu/topology/@sockets": "sockets or cores",
    "/domain/cpu/topology/@cores": "sockets or cores",
    "/domain/os/type/@machine": "the machine",
    "/domain/devices/disk/target/@bus": "the bus of disks",
    "/domain/devices/disk/driver/@cache": "how disks are cached",
    "/domain/devices/disk/driver/@io": "how disks are read",
    "/domain/devices/disk/driver/@error_policy": "what follows an error",
    "/domain/devices/interface/model/@type": "the model of NICs",
    "/domain/devices/memballoon/@model": "a balloon or none",
    "/domain/devices/memballoon/stats/@period": "how often the balloon is asked",
    "/domain/devices/rng/@model": "virtio with or without legacy mode",
    "/domain/devices/video/model/@type": "the card",
    "/domain/sysinfo/system/entry": "whose VM it is",
    "/domain/devices/controller": "USB or none",
    "/domain/devices/input": "a display or none, USB or none",
    "/domain/devices/redirdev": "a display or none, USB or none",
    "/domain/devices/graphics": "a display or none",
    "/domain/devices/video": "a display or none",
    "/domain/devices/sound": "a display or none",
    "/domain/devices/audio": "a display or none",
    "/domain/devices/channel": "a display or none",
    "/domain/memoryBacking/hugepages/page/@size": "the size of huge pages",
    "/domain/devices/graphics/@port": "how the display is reached",
    "/domain/devices/graphics/@tlsPort": "how the display is reached",
    "/domain/devices/graphics/@autoport": "how the display is reached",
    "/domain/os/firmware/feature/@enabled": "secure boot or not",
}


# --- documents ---------------------------------------------------------------------


def test_the_list_of_the_library() -> None:
    wanted = """windows-hyperv windows-clock linux-clock uefi uefi-secureboot q35 pc tpm-2.0 virtio-disk
        virtio-scsi virtio-net virtio-video rng balloon no-balloon guest-agent spice-desktop vnc-desktop
        gl-desktop headless-server serial-console fast-disk safe-disk disk-multiqueue net-multiqueue
        iothreads-per-disk cpu-host-passthrough cpu-host-model cpu-baseline-v2 cpu-baseline-v3
        dedicated-cpu hugepages-2m hugepages-1g numa-2-nodes networking-nfv realtime nested-virt
        gpu-passthrough virtiofs-share sev usb3 usb-tablet watchdog pvpanic no-usb pinned-machine
        desktop no-spice no-secureboot sev-snp tdx windows-arm hyperv-host-model audio usb-device iommu virtio-mem looking-glass windows-virtio-prepare
        windows-11 windows-server linux-server linux-desktop high-performance
        like-virt-manager like-nova like-ovirt like-kubevirt"""
    assert set(wanted.split()) <= set(NAMES)


def test_lint_finds_nothing() -> None:
    assert lint_files(sorted(library.SHIPPED.glob("*.xml"))) == []


@pytest.mark.parametrize("name", sorted(profiles()))
def test_says_what_and_why(name: str) -> None:
    profile = profiles()[name]
    assert Path(profile.file).stem == name
    assert profile.version not in ("", "0")
    assert profile.title and not profile.title.endswith(".")
    assert len(profile.description.split()) >= 25, "why, and where from"
    if not profile.requires and not name.startswith("like-"):
        assert re.search(r"[Ll]ibvirt\s+\d", profile.description), "since which libvirt"
    required = {one.name for one in profile.params if one.default is None}
    assert required == set(library.REQUIRED.get(name, {}))
    assert not profile.autoselect
    for action in profile.actions:
        needs_host = re.search(
            r"vp:(supports|os-)|\$(dom)?capabilities|\$host|\$qemu_version", action.when or ""
        )
        assert not needs_host or action.unknown in ("skip", "apply"), "it applies without any context"
    for match in profile.matches:
        needs_host = re.search(
            r"vp:(supports|os-)|\$(dom)?capabilities|\$host|\$qemu_version", match.test or ""
        )
        assert not needs_host or match.unknown in ("skip", "apply")


def test_no_profile_is_long_without_a_reason() -> None:
    for path in sorted(library.SHIPPED.glob("*.xml")):
        lines = path.read_text().splitlines()
        if path.name.endswith(".test.xml") or path.name.startswith("audit-"):
            continue
        assert len(lines) <= 80 or lines[1].startswith("<!-- More than 80 lines: "), path.name


def test_no_profile_lists_devices_one_by_one() -> None:
    """No target name is spelled out, and no expression goes through three kinds of one sort of device.

    What a kind of device takes is a fact of the format: ``vp:takes``.
    """
    problems = []
    for path in sorted(library.SHIPPED.glob("*.xml")):
        if path.name.endswith(".test.xml"):
            continue
        for profile in parse_profiles(path.read_text(), str(path)).profiles:
            tests = [match.test or "" for match in profile.matches]
            branches = [branch for match in profile.matches for branch in match.branches]
            branches += [branch for action in profile.actions for branch in action.branches]
            for action in profile.actions:
                tests += [text for _, text in expressions(action)]
            for text in filter(None, tests):
                problems += [f"{profile.name}: {found}" for found in listed(text)]
            for branch in branches:
                problems += [f"{profile.name}: target {name}" for name in targets(branch)]
            types = [
                dict(below.attrs).get("type")
                for action in profile.actions
                for branch in action.branches
                for below in (branch, *branch.children)
                if below.tag == "interface"
            ]
            if len(set(filter(None, types))) > 1:
                problems.append(f"{profile.name}: a branch for each type of interface")
    assert not problems


#: What says of which kind a device is.
KINDS = ("@type", "@model", "@bus", "@device", "@dev", "@driver")
#: So many kinds in one expression are a list.
A_LIST = 3


def listed(text: str) -> list[str]:
    """The kinds of one sort of device that an expression compares with one by one, and names of targets."""
    words: dict[str, set[str]] = {}
    for path, word in compared(parse_xpath(text).root, ()):
        words.setdefault("/".join(path), set()).add(word)
    found = [
        f"{path} {', '.join(sorted(those))}"
        for path, those in words.items()
        if len(those) >= A_LIST and path.endswith(KINDS)
    ]
    names = [word for path, those in words.items() if path.endswith("@dev") for word in those]
    return found + [f"target {name}" for name in names if re.fullmatch("(vd|sd|hd|xvd)[a-z]+", name)]


def compared(node: Node, at: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """(path, word) of each comparison of a path with a word in quotes; predicates belong to their step."""
    if node.kind == "compare":
        words = [part.name[1:-1] for part in node.parts if part.kind == "value" and part.name[0] in "'\""]
        for part in node.parts:
            if part.kind == "path" and words:
                yield steps_of(part, at), words[0]
    for part in (*node.parts, *node.predicates):
        yield from compared(part, at)
    here = at if node.start == "here" else ()
    for step in node.steps:
        here = one_step(here, step)
        for predicate in step.predicates:
            yield from compared(predicate, here)


def steps_of(node: Node, at: tuple[str, ...]) -> tuple[str, ...]:
    here = at if node.start == "here" else ()
    for step in node.steps:
        here = one_step(here, step)
    return here


def one_step(at: tuple[str, ...], step: Step) -> tuple[str, ...]:
    if step.axis == "self":
        return at
    return (*at, f"@{step.name}" if step.axis == "attribute" else step.name)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("devices/interface[not(@type = 'user' or @type = 'direct' or @type = 'vdpa')]", 1),
        ("devices/interface[@type != 'user' and @type != 'direct' and @type != 'vdpa']", 1),
        ("devices/interface/@type[. = 'user' or . = 'direct' or . = 'vdpa']", 1),
        ("devices/disk[target[@bus = 'ide' or @bus = 'sata']/@bus != 'scsi']", 1),
        ("devices/interface[@type = 'user']/model[@type = 'e1000' or @type = 'pcnet']", 0),
        ("devices/hostdev[@type = 'pci' or @type = 'usb'] | devices/interface[@type = 'hostdev']", 0),
        ("os/type/@arch[. = 'x86_64' or . = 'i686' or . = 'aarch64']", 0),
        ("devices/disk/target/@dev = 'sda'", 1),
    ],
)
def test_a_list_is_found(text: str, found: int) -> None:
    assert len(listed(text)) == found


def targets(branch: Snippet) -> list[str]:
    """The target names of disks that a branch spells out."""
    own = [dict(branch.attrs).get("dev", "")] if branch.tag == "target" else []
    found = [name for name in own if re.fullmatch("(vd|sd|hd|xvd)[a-z]+", name)]
    return found + [name for below in branch.children for name in targets(below)]


@pytest.mark.parametrize("name", ["q35", "pc", "uefi", "uefi-secureboot", "no-secureboot", "pinned-machine"])
def test_an_installed_guest_stays_what_it_is(name: str) -> None:
    """Nothing that changes machine or firmware touches a VM of libvirt, not even with --override."""
    for document, xml in DOCUMENTS.items():
        if document in ("sketch", "bare") or "<uuid>" not in xml:
            continue
        result = apply(xml, [name], override=True, context=context())
        assert not result.changed, document


# --- alone -------------------------------------------------------------------------


def check(xml: str, result: virtProfile.Result) -> None:
    """Valid, the same again, and libvirt's test driver takes it."""
    complete = not any(one.code == "incomplete" for one in result.warnings)
    if library.is_valid(xml):
        assert library.is_valid(result.xml) or not complete
    again = virtProfile.apply(result.xml, store=library.store())
    assert again.xml == result.xml
    assert not again.changed
    if complete and "<type" in result.xml and library.is_valid(result.xml):
        define(result.xml)


def define(xml: str) -> None:
    libvirt = pytest.importorskip("libvirt")
    connection = libvirt.open("test:///default")
    flags = libvirt.VIR_DOMAIN_DEFINE_VALIDATE
    root = etree.fromstring(xml.encode())
    if any(libvirt.getVersion() < since and root.find(path) is not None for path, since in SINCE.items()):
        with pytest.raises(libvirt.libvirtError, match="validate"):
            connection.defineXMLFlags(library.for_test_driver(xml), flags)
    else:
        connection.defineXMLFlags(library.for_test_driver(xml), flags).undefine()
    connection.close()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("override", [False, True], ids=["", "override"])
def test_alone_without_any_context(name: str, override: bool) -> None:
    for document, xml in DOCUMENTS.items():
        try:
            check(xml, apply(xml, [name], override=override))
        except Exception as problem:
            problem.add_note(f"{name} on {document}")
            raise


@pytest.mark.parametrize("osinfo", ["debian11", "win11", "centos5.0"])
def test_alone_where_everything_is_known(osinfo: str) -> None:
    for name, (document, xml) in itertools.product(NAMES, DOCUMENTS.items()):
        try:
            result = apply(xml, [name], context=context(osinfo))
            again = apply(result.xml, [name], context=context(osinfo))
            assert again.xml == result.xml
        except Exception as problem:
            problem.add_note(f"{name} on {document} for {osinfo}")
            raise


@pytest.mark.skipif(not corpus.documents(), reason="./dev corpus fetches libvirt's documents")
@pytest.mark.parametrize("version", [pytest.param(one, id=f"libvirt-{one}") for one in corpus.versions()])
def test_on_libvirts_own_documents(version: str) -> None:
    """Each profile on some of libvirt's own QEMU documents, other ones for each."""
    texts = [
        (path, text)
        for path, text in corpus.documents(version)
        if corpus.is_valid(path) and re.search("<domain[^>]* type=['\"](kvm|qemu)['\"]", text)
    ]
    step = 37
    for number, name in enumerate(NAMES):
        for path, text in texts[number % step :: step]:
            try:
                result = apply(text, [name])
            except ProfileError as problem:
                if name == "virtiofs-share" and "memory is not shared" in problem.message:
                    assert problem.code == "completion"
                    assert re.search("""(memAccess|<access mode)=['"]private['"]""", text), path
                    continue  # the VM says that it is private
                problem.add_note(f"{name} on {path}")
                raise
            again = virtProfile.apply(result.xml, store=library.store())
            assert again.xml == result.xml, (name, path)
            if library.is_valid(text) and not any(one.code == "incomplete" for one in result.warnings):
                assert library.is_valid(result.xml), (name, path)


# --- in pairs ----------------------------------------------------------------------


def together(one: str, other: str, xml: str) -> str:
    """'works', or the reason for which the two do not go together."""
    try:
        result = apply(xml, [one, other])
    except ProfileError as problem:
        if problem.code == "missing-context" and "networking-nfv" in (one, other):
            assert "machine" in problem.message and "<type" not in xml
            return "conflict"  # a place on a machine that nobody names
        assert problem.code == "conflict", f"{one} and {other}: {problem}"
        for conflict in problem.conflicts:
            path = re.sub(r"\[[^]]*\]", "", conflict.path)
            sides = [value.origin["profile"] for value in conflict.values]
            declared = path == "" and any(
                barrier.profile in sides for side in sides for barrier in profiles()[side].conflicts
            )
            assert declared or path in CHOICES, f"{one} and {other}: {problem}"
        return "conflict"
    other_order = apply(xml, [other, one], record=False)
    assert other_order.xml == apply(xml, [one, other], record=False).xml
    check(xml, result)
    return "works"


def pairs() -> list[tuple[str, str]]:
    return list(itertools.combinations(NAMES, 2))


@pytest.mark.parametrize("document", ["sketch", "q35"])
def test_pairs_sampled(document: str) -> None:
    """A seventh of the pairs on each; --slow takes all of them on everything."""
    outcomes = [together(*pair, DOCUMENTS[document]) for pair in pairs()[len(document) % 7 :: 7]]
    assert outcomes.count("works") > len(outcomes) // 2


@pytest.mark.slow
@pytest.mark.parametrize("document", sorted(DOCUMENTS))
def test_pairs_all(document: str) -> None:
    for pair in pairs():
        together(*pair, DOCUMENTS[document])


@pytest.mark.parametrize("number", [60, pytest.param(2000, marks=pytest.mark.slow)], ids=["sampled", "all"])
def test_triples(number: int) -> None:
    """Three profiles on an existing VM with --override: it holds in any order, or is explained."""
    chance = random.Random(int(os.environ.get("VIRT_PROFILE_SEED", "1")))
    vms = sorted(VMS)
    outcomes: Counter[str] = Counter()
    for _ in range(number):
        three, vm = chance.sample(NAMES, 3), chance.choice(vms)
        try:
            result = apply(VMS[vm], three, override=True)
            again = virtProfile.apply(result.xml, store=library.store())
            back = virtProfile.unapply(result.xml, store=library.store())
            other = apply(VMS[vm], three[::-1], override=True, record=False)
            assert other.xml == apply(VMS[vm], three, override=True, record=False).xml
            assert again.xml == result.xml
            assert library.is_valid(back.xml) and library.is_valid(result.xml)
            outcomes["works"] += 1
        except ProfileError as problem:
            assert problem.code in ("conflict", "completion", "check"), f"{three} on {vm}: {problem}"
            assert problem.message and (problem.code != "conflict" or problem.conflicts)
            outcomes[problem.code] += 1
        except AssertionError as problem:
            problem.add_note(f"{three} on {vm}")
            raise
    assert outcomes["works"] > number // 2, outcomes


def test_desktops_conflict() -> None:
    for one, other in itertools.combinations(("spice-desktop", "vnc-desktop", "gl-desktop"), 2):
        with pytest.raises(ProfileError) as caught:
            apply(DOCUMENTS["sketch"], [one, other])
        assert caught.value.code == "conflict"


# --- effects -----------------------------------------------------------------------


def effect(name: str) -> str:
    """A digest of what the profile itself changes, of all documents and contexts."""
    lines = []
    for document, xml in DOCUMENTS.items():
        for osinfo in (None, "debian11", "win11"):
            known = context(osinfo) if osinfo else virtProfile.Context()
            try:
                result = apply(xml, [wish(name)], context=known, override=True, record=False)
            except ProfileError as problem:
                lines.append(f"{document} {osinfo} {problem.code}")
                continue
            for change in result.changes:
                kinds = [one.action for one in change.origins if one.profile == name]
                if any(one in ("add", "remove", "default") for one in kinds):  # completion aside
                    lines.append(
                        f"{document} {osinfo} {change.op} {change.path} {change.before} {change.after}"
                    )
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]


def known_effects() -> dict[tuple[str, str], str]:
    rows = {}
    for line in EFFECTS.read_text().splitlines() if EFFECTS.exists() else []:
        if line and not line.startswith("#"):
            name, version, digest = line.split("\t")
            rows[(name, version)] = digest
    return rows


def test_another_effect_is_another_version(regenerate: bool) -> None:
    known = known_effects()
    problems = []
    for name in NAMES:
        digest = effect(name)
        at = (name, profiles()[name].version)
        if regenerate:
            known.setdefault(at, digest)
        if known.get(at) != digest:
            problems.append(f"{name} {at[1]}: {known.get(at)} became {digest}")
    if regenerate:
        rows = [f"{name}\t{version}\t{digest}\n" for (name, version), digest in sorted(known.items())]
        EFFECTS.write_text(
            "# SPDX-License-Identifier: GPL-2.0-or-later\n"
            "# What each version of a shipped profile does: name, version, digest of its changes to the\n"
            "# samples. Only new versions are written: give a profile a new version when it does something else.\n"
            + "".join(rows)
        )
    assert not problems, "raise the version, then --regenerate-output: " + "; ".join(problems)


def test_a_sketch_stays_what_it_became() -> None:
    """libvirt defines the sketch, which is none any more: firmware and machine are not withdrawn."""
    made = apply(DOCUMENTS["sketch"], ["windows-11"]).xml
    assert "<os firmware='efi'>" in made
    defined = made.replace("</name>", "</name>\n  <uuid>0aa96c53-0000-4000-8000-0000000000aa</uuid>", 1)
    head, end, body = defined.rpartition("</metadata>")
    defined = head + end + body.replace("machine='q35'", "machine='pc-q35-7.2'")
    again = virtProfile.apply(defined, store=library.store())
    assert "<os firmware='efi'>" in again.xml and "<smm state='on'/>" in again.xml
    assert not [one for one in again.changes if one.op == "remove"]


def test_the_record_of_an_installed_guest_makes_no_sketch_of_it() -> None:
    xml = DOCUMENTS["q35"]
    once = apply(xml, ["windows-11"]).xml
    again = apply(once, ["windows-11"], override=True)
    assert "firmware=" not in once and "firmware=" not in again.xml
