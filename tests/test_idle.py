# SPDX-License-Identifier: GPL-2.0-or-later
"""Nothing that a selected profile says is passed over in silence."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from pathlib import Path

import corpus
import library
import pytest
from strategies import MemoryStore

import virtProfile
from virtProfile.errors import ProfileError
from virtProfile.show.explain import explain

SEED = int(os.environ.get("VIRT_PROFILE_SEED", "1"))
DOCUMENTS = dict(library.documents())
DOMAIN = """<domain type='kvm'>
  <name>x</name>
  <memory>1048576</memory>
  <vcpu>4</vcpu>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' cache='writeback'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <graphics type='vnc' passwd='hush'/>
  </devices>
</domain>
"""


def apply(body: str, priority: int = 0) -> virtProfile.Result:
    store = MemoryStore([f"<profile name='p'>{body}</profile>"])
    return virtProfile.apply(DOMAIN, [{"name": "p", "priority": priority}], store=store)


CASES = [
    (
        "<default><devices><disk><driver cache='none'/></disk></devices></default>",
        "matches nothing: disk vda has driver cache='writeback'",
    ),
    (
        "<default><devices><sound model='ich9'><codec type='duplex'/></sound></devices></default>",
        "matches nothing: there is no 'sound'",
    ),
    (
        "<add when='devices/sound'><vcpu>2</vcpu></add>",
        "its 'when' at p1.xml:1 does not hold: there is no sound",
    ),
    (
        "<add when=\"devices/disk[target/@bus = 'scsi' and @type = 'file']\"><vcpu>2</vcpu></add>",
        "its 'when' at p1.xml:1 does not hold: there is no disk with target bus 'scsi' and type 'file'",
    ),
    (
        "<add when=\"not(devices/disk[target/@bus = 'virtio'])\"><vcpu>2</vcpu></add>",
        "its 'when' at p1.xml:1 does not hold: there is a disk with target bus 'virtio'",
    ),
    (
        "<add each='devices/disk[driver/@io]'><disk><serial>x</serial></disk></add>",
        "its each at p1.xml:1 selects nothing: the one disk does not fit: there is no driver io",
    ),
    (
        "<add each=\"devices/graphics[vp:takes(., 'gl/@enable')]\"><graphics port='1'/></add>",
        "its each at p1.xml:1 selects nothing: the one graphics does not fit: graphics takes no gl enable",
    ),
    (
        "<add each='devices/graphics[@passwd = 1]'><graphics port='1'/></add>",
        "its each at p1.xml:1 selects nothing: the one graphics does not fit: passwd is '***'",
    ),
    (
        "<add each='devices/graphics' when='@passwd &gt; 9'><graphics port='1'/></add>",
        "its 'when' at p1.xml:1 does not hold: passwd is '***'",
    ),
    (
        "<add when='$definition/vcpu = 2'><iothreads>2</iothreads></add>",
        "its 'when' at p1.xml:1 does not hold: $definition/vcpu = 2",
    ),
    (
        "<add whole='yes'><vcpu>8</vcpu><memory>1</memory><name>x</name></add>",
        "kept by the VM definition: vcpu is '4', memory is '1048576'",
    ),
    (
        "<add when='not($definition/devices/graphics)'><vcpu>2</vcpu></add>",
        "its 'when' at p1.xml:1 does not hold: the VM definition has a graphics",
    ),
    (
        "<add when=\"$definition/devices/disk[target/@bus = 'sata']\"><vcpu>2</vcpu></add>",
        "its 'when' at p1.xml:1 does not hold: the VM definition has no disk with target bus 'sata'",
    ),
    (
        "<add when='$definition/devices/disk[not(target)]'><vcpu>2</vcpu></add>",
        "its 'when' at p1.xml:1 does not hold: the VM definition has no such disk",
    ),
    (
        "<add when='devices/*[self::sound or self::video]'><vcpu>2</vcpu></add>",
        "its 'when' at p1.xml:1 does not hold: none of 2 devices fits",
    ),
    (
        "<add when=\"devices/*[@model = 'ich9']\"><vcpu>2</vcpu></add>",
        "its 'when' at p1.xml:1 does not hold: there is no device with model 'ich9'",
    ),
    (
        "<add when='not(devices/disk[target/@bus])'><vcpu>2</vcpu></add>",
        "its 'when' at p1.xml:1 does not hold: there is such a disk",
    ),
    (
        "<add when=\"devices/disk[not(vp:takes(., 'driver/@cache'))]\"><vcpu>2</vcpu></add>",
        "its 'when' at p1.xml:1 does not hold: the one disk does not fit",
    ),
    (
        "<add when='vcpu &gt; 1 and vcpu &lt; 3'><vcpu>2</vcpu></add>",
        "its 'when' at p1.xml:1 does not hold: vcpu is '4'",
    ),
    (
        "<add when=\"vcpu = 4 and devices/graphics/@passwd = 'x' and vcpu\"><vcpu>2</vcpu></add>",
        "its 'when' at p1.xml:1 does not hold: graphics passwd is '***'",
    ),
    (
        "<param name='n' default='2'/><add when='$n = 3'><vcpu>2</vcpu></add>",
        "its 'when' at p1.xml:1 does not hold: n is '2'",
    ),
    (
        "<add each='devices/sound'><sound model='ich9'/></add>",
        "its each at p1.xml:1 selects nothing: there is no sound",
    ),
    (
        "<add each='devices/disk[@device = &quot;lun&quot;]'><disk><driver cache='none'/></disk></add>",
        "its each at p1.xml:1 selects nothing: the one disk does not fit: device is 'disk'",
    ),
    (
        "<add each='devices/disk' when='@device = &quot;lun&quot;'><disk><driver cache='none'/></disk></add>",
        "its 'when' at p1.xml:1 does not hold: device is 'disk'",
    ),
    (
        "<add when='vcpu and count(//emulator) &gt; 0'><vcpu>2</vcpu></add>",
        "its 'when' at p1.xml:1 does not hold: count(//emulator) > 0",
    ),
    ("<add><vcpu>2</vcpu></add>", "kept by the VM definition: vcpu is '4'"),
    ("<remove><vcpu/></remove><add><vcpu>4</vcpu></add>", ""),
    (
        "<add each='devices/graphics'><graphics passwd='other'/></add>",
        "kept by the VM definition: graphics vnc has passwd='***'",
    ),
]


@pytest.mark.parametrize(("body", "reason"), CASES, ids=[body[:40] for body, _ in CASES])
def test_a_profile_without_effect_says_why(body: str, reason: str) -> None:
    result = apply(body)
    (applied,) = result.applied
    told = [one.message for one in result.warnings if one.code == "no-effect"]
    assert told == ([f"profile 'p' has no effect: {reason}"] if reason else [])
    assert applied.effect == ("none" if reason else "held")
    if reason:
        (idle,) = result.idle
        assert (idle.profile, idle.reason, idle.line) == ("p", reason, 1)
        assert result.to_dict()["idle"] == [idle.to_dict()]
        assert f"no effect: p 0, {idle.action} at p1.xml:1: {reason}\n" in explain(result)


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ("vp:supports('tdx')", "the host does not have tdx"),
        ("not(vp:supports('graphics', 'type', 'vnc'))", "the host has graphics type 'vnc'"),
    ],
)
def test_what_the_host_has_is_named(test: str, words: str) -> None:
    capabilities = """<domainCapabilities><path>/usr/bin/qemu-system-x86_64</path><domain>kvm</domain>
        <machine>pc-q35-7.2</machine><arch>x86_64</arch><devices><graphics supported='yes'><enum name='type'>
        <value>vnc</value></enum></graphics></devices><features><tdx supported='no'/></features>
        </domainCapabilities>"""
    store = MemoryStore([f'<profile name="p"><match test="{test}"/></profile>'])
    known = virtProfile.Context(domcapabilities=(capabilities,))
    (skipped,) = virtProfile.apply(DOMAIN, [{"name": "p"}], store=store, context=known).skipped
    assert skipped.detail.endswith(f"does not hold: {words}")


def test_the_kind_of_daemon_is_named() -> None:
    store = MemoryStore(["<profile name='p'><match test=\"$daemon != 'session'\"/></profile>"])
    result = virtProfile.apply(
        DOMAIN, [{"name": "p"}], store=store, context=virtProfile.Context(daemon="session")
    )
    (skipped,) = result.skipped
    assert skipped.detail.endswith("does not hold: the libvirt daemon is a session daemon")


def test_what_excludes_a_wish_is_named() -> None:
    nic = "<interface type='bridge'><source bridge='br0'/><model type='e1000'/></interface>"
    wish = "<add each='devices/interface'><interface><driver queues='4'/></interface></add>"
    store = MemoryStore([f"<profile name='p' version='1'>{wish}</profile>"])
    result = virtProfile.apply(DOMAIN.replace("<graphics", f"{nic}<graphics"), ["p"], store=store)
    assert [one.message for one in result.warnings] == [
        "profile 'p' has no effect: kept by the VM definition: model/@type is 'e1000', which excludes it"
    ]


def test_effects() -> None:
    assert apply("<add><title>x</title></add>").applied[0].effect == "changed"
    held = apply("<add><vcpu>4</vcpu></add><add when='false()'><title>x</title></add>")
    assert held.applied[0].effect == "held"
    assert [one.reason for one in held.idle] == ["its 'when' at p1.xml:1 does not hold: false()"]
    assert not held.warnings


@pytest.mark.parametrize("name", library.NAMES)
def test_every_action_of_the_library_has_its_effect_or_says_why_not(name: str) -> None:
    """On each sample, at both priorities: written, held, or told."""
    for xml in DOCUMENTS.values():
        for priority in (0, 100):
            try:
                result = virtProfile.apply(
                    xml,
                    [library.wish(name, priority=priority)],
                    store=library.store(),
                    context=library.context(),
                )
            except ProfileError:
                continue
            silent = {one.profile for one in result.warnings if one.code == "no-effect"}
            assert result.kept_out <= result.wishes
            for one in result.applied:
                profile = library.store().get(one.name)
                idle = [row for row in result.idle if row.profile == one.label]
                assert all(row.reason for row in idle)
                wishes = [action for action in profile.actions if action.kind != "check"]
                assert (one.label in silent) == (bool(wishes) and len(idle) == len(wishes))
                assert one.effect in ("changed", "held", "none")
                if one.effect == "none":
                    assert not wishes or one.label in silent


@pytest.mark.parametrize(
    "action, count",
    [
        ("<remove select='devices/*[self::disk or self::video]'/>", 3),
        ("<remove><devices><disk/></devices></remove>", 2),
        ("<add multiple='no'><devices><video><model heads='2' vram='1'/></video></devices></add>", 2),
        ("<remove each='devices/disk'><disk/></remove><add><vcpu>8</vcpu><iothreads>2</iothreads></add>", 4),
    ],
)
def test_no_more_is_kept_out_than_was_wished(action: str, count: int) -> None:
    """One action can lose several values, and each of them is reported by itself."""
    xml = DOMAIN.replace(
        "<graphics type='vnc' passwd='hush'/>",
        "<video><model type='qxl' vram='65536' heads='1'/></video><disk><target dev='vdb'/></disk>",
    )
    xml = xml.replace("<devices>", "<iothreads>1</iothreads><devices>")
    store = MemoryStore([f"<profile name='p'>{action}</profile>"])
    result = virtProfile.apply(xml, ["p"], store=store)
    assert (result.kept_out, result.wishes) == (count, count)


def judge(name: str, xml: str, priority: int) -> None:
    """Each wish of a profile is written, held already, lost and told, or idle and told."""
    try:
        result = virtProfile.apply(xml, [library.wish(name, priority=priority)], store=library.store())
    except ProfileError:
        return
    owners = {
        (origin.profile, origin.line)
        for row in result.owned()
        for origin, _, _ in row.claims
        if not isinstance(origin, str)
    }
    lost = {(loss.loser.profile, loss.loser.line) for loss in result.overridden}
    silent = {one.profile for one in result.warnings if one.code == "no-effect"}
    for applied in result.applied:
        profile = library.store().get(applied.name)
        idle = {row.line: row.reason for row in result.idle if row.profile == applied.label}
        assert all(idle.values())
        wishes = [action for action in profile.actions if action.kind != "check"]
        for action in wishes:
            at = (applied.label, action.line)
            if action.kind in ("remove", "default"):
                continue  # where it held already, it owns nothing that stands
            assert action.line in idle or at in owners or at in lost, (applied.label, action.line)
        assert (applied.effect == "none") == (not wishes or len(idle) == len(wishes))
        assert (applied.label in silent) == (bool(wishes) and len(idle) == len(wishes))
    for skip in result.skipped:
        assert skip.detail, skip


#: Documents for each profile in the slow part; the nightly run takes 500.
MANY = int(os.environ.get("VIRT_PROFILE_DOCUMENTS", "60"))


def some(name: str, number: int) -> Iterator[tuple[Path, str]]:
    """A sample of libvirt's documents, another one for each profile."""
    rows = [row for row in corpus.documents() if re.search("<domain[^>]* type=['\"](kvm|qemu)['\"]", row[1])]
    yield from random.Random(f"{SEED} {name}").sample(rows, min(number, len(rows)))


@pytest.mark.skipif(not corpus.documents(), reason="./dev corpus fetches libvirt's documents")
@pytest.mark.parametrize("number", [3, pytest.param(MANY, marks=pytest.mark.slow)], ids=["sampled", "many"])
@pytest.mark.parametrize("name", library.NAMES)
def test_no_wish_is_passed_over_on_libvirts_documents(name: str, number: int) -> None:
    for path, xml in some(name, number):
        for priority in (0, 120):
            try:
                judge(name, xml, priority)
            except AssertionError as problem:
                problem.add_note(f"{name} at {priority} on {path}")
                raise


def test_status_tells_what_has_no_effect() -> None:
    xml = library.definition("q35")
    applied = virtProfile.apply(xml, ["q35"], store=library.store())
    (row,) = virtProfile.status(applied.xml, store=library.store()).profiles
    assert row.effect == "none"


RNG = "<devices><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng></devices>"
#: What a profile brings or holds, and a `remove` that wants it away
TAKEN_AWAY = {
    "a device": (f"<add>{RNG}</add>", "<remove><devices><rng/></devices></remove>"),
    "a device, selected": (f"<add>{RNG}</add>", "<remove select='devices/rng'/>"),
    "a device by what it is": (
        f"<add>{RNG}</add>",
        "<remove><devices><rng model='virtio'/></devices></remove>",
    ),
    "a setting": ("<add><pm><suspend-to-mem enabled='no'/></pm></add>", "<remove><pm/></remove>"),
    "a value": (
        "<add><devices><disk><driver io='native'/></disk></devices></add>",
        "<remove select='devices/disk/driver/@io'/>",
    ),
    "a value of each": (
        "<add each='devices/disk'><disk><driver io='native'/></disk></add>",
        "<remove select='devices/disk/driver/@io'/>",
    ),
    "a default": ("<default><on_crash>preserve</on_crash></default>", "<remove><on_crash/></remove>"),
    "a default of each": (
        "<default each='devices/disk'><disk><driver io='native'/></disk></default>",
        "<remove select='devices/disk/driver/@io'/>",
    ),
    "whole": (f"<add whole='yes'>{RNG}</add>", "<remove><devices><rng/></devices></remove>"),
}


@pytest.mark.parametrize(("priority", "stronger"), [(0, 50), (0, 120), (110, 120)])
@pytest.mark.parametrize("name", TAKEN_AWAY)
def test_what_another_profile_removes_at_once_has_no_effect(name: str, priority: int, stronger: int) -> None:
    brings, removes = TAKEN_AWAY[name]
    store = MemoryStore([f"<profile name='p'>{brings}</profile>", f"<profile name='r'>{removes}</profile>"])
    wishes = [{"name": "p", "priority": priority}, {"name": "r", "priority": stronger}]
    for order in (wishes, wishes[::-1]):
        result = virtProfile.apply(DOMAIN, order, store=store)
        assert {row.name: row.effect for row in result.applied} == {"p": "none", "r": "held"}
        (warning,) = [one for one in result.warnings if one.code == "no-effect"]
        assert warning.message.startswith("profile 'p' has no effect: overridden by 'r'"), warning
        assert [row.profile for row in result.idle] == ["p"]


def test_what_stays_of_a_profile_is_an_effect() -> None:
    """Of two wishes one is removed at once; a default that another value holds has its effect."""
    both = f"<add>{RNG}</add><add><title>vp</title></add>"
    one = f"<add><title>vp</title>{RNG}</add>"
    for body, effect in (
        (both, "changed"),
        (one, "changed"),
        ("<default><vcpu>4</vcpu><pm/></default>", "held"),
    ):
        store = MemoryStore(
            [
                f"<profile name='p'>{body}</profile>",
                "<profile name='r'><remove><devices><rng/></devices></remove><remove><pm/></remove></profile>",
            ]
        )
        wishes = [{"name": "p"}, {"name": "r", "priority": 50}]
        result = virtProfile.apply(DOMAIN, wishes, store=store)
        assert next(row.effect for row in result.applied if row.name == "p") == effect
        assert not [one for one in result.warnings if one.code == "no-effect"]
