# SPDX-License-Identifier: GPL-2.0-or-later
"""`each=`, `repeat=`, `whole=` and `<check>`: what they do, to whom, and what is wrong in them."""

from __future__ import annotations

from typing import Any

import pytest
import strategies
from lxml import etree

import virtProfile
from virtProfile.authoring.lint import lint_text
from virtProfile.errors import ProfileError
from virtProfile.show.terminal import lost_line

DOMAIN = """<domain type='kvm'>
  <name>x</name>
  <memory>1048576</memory>
  <vcpu>4</vcpu>
  <iothreads>2</iothreads>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='/a'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='writeback'/>
      <source file='/b'/>
      <target dev='vdb' bus='virtio'/>
    </disk>
    <disk type='file' device='cdrom'>
      <target dev='sda' bus='sata'/>
    </disk>
    <interface type='network'>
      <source network='default'/>
      <model type='e1000'/>
    </interface>
  </devices>
</domain>
"""
#: libvirt's QEMU driver refuses the addresses of a guest on an interface of a network, that of LXC takes them.
CONTAINER = DOMAIN.replace("type='kvm'", "type='lxc'")
NEW_DISK = (
    "<add><devices><disk device='disk'><driver name='qemu' type='raw' cache='unsafe'/><source file='/c'/>"
    "<target dev='vdc' bus='virtio'/></disk></devices></add>"
)
CACHE = "<add each=\"devices/disk[@device='disk']\"><disk><driver cache='none'/></disk></add>"


def apply(*profiles: tuple[str, int], domain: str = DOMAIN, **options: Any) -> virtProfile.Result:
    texts = [f"<profile name='p{number}'>{body}</profile>" for number, (body, _) in enumerate(profiles)]
    wishes = [{"name": f"p{number}", "priority": priority} for number, (_, priority) in enumerate(profiles)]
    return virtProfile.apply(domain, wishes, store=strategies.MemoryStore(texts), **options)


def values(result: virtProfile.Result, xpath: str) -> list[str]:
    return [str(one) for one in etree.fromstring(result.xml.encode()).xpath(xpath)]


def lost(result: virtProfile.Result) -> list[tuple[str, str | None]]:
    return [(one.path.removeprefix("/domain/devices/"), one.wanted) for one in result.overridden]


def test_the_same_action_fills_at_priority_0_and_converts_above_99() -> None:
    filled, converted = apply((CACHE, 0)), apply((CACHE, 100))
    assert values(filled, "//disk/driver/@cache") == ["none", "writeback"]
    assert lost(filled) == [("disk[target/@dev='vdb']/driver/@cache", "none")]
    assert values(converted, "//disk/driver/@cache") == ["none", "none"]
    assert lost(converted) == []


def test_elements_of_a_weaker_profile_are_selected_and_its_loss_is_reported() -> None:
    result = apply((CACHE, 50), (NEW_DISK, 10))
    assert values(result, "//disk[target/@dev='vdc']/driver/@cache") == ["none"]
    assert ("disk[target/@dev='vdc']/driver/@cache", "unsafe") in lost(result)
    weaker = apply((CACHE, 10), (NEW_DISK, 50))
    assert values(weaker, "//disk[target/@dev='vdc']/driver/@cache") == ["unsafe"]


def test_equal_priority_is_a_conflict_whoever_comes_first() -> None:
    for first, second in ((CACHE, NEW_DISK), (NEW_DISK, CACHE)):
        with pytest.raises(ProfileError) as caught:
            apply((first, 50), (second, 50))
        assert caught.value.code == "conflict"
        (conflict,) = caught.value.conflicts
        assert conflict.path == "/domain/devices/disk[target/@dev='vdc']/driver/@cache"


def test_a_hard_weaker_wish_that_would_be_displaced_is_a_conflict() -> None:
    hard = NEW_DISK.replace("<add>", "<add constraint='hard'>")
    with pytest.raises(ProfileError) as caught:
        apply((CACHE, 50), (hard, 10))
    assert caught.value.code == "conflict"


def test_an_element_of_a_weaker_profile_is_removed() -> None:
    result = apply(("<remove each='devices/disk[source/@file=\"/c\"]'><disk/></remove>", 50), (NEW_DISK, 10))
    assert values(result, "//disk/target/@dev") == ["vda", "vdb", "sda"]
    assert result.overridden[0].loser.profile == "p1"
    kept = apply(("<remove each='devices/disk[source/@file=\"/c\"]'><disk/></remove>", 10), (NEW_DISK, 50))
    assert values(kept, "//disk/target/@dev") == ["vda", "vdb", "sda", "vdc"]


def test_remove_takes_leaves_or_the_element() -> None:
    body = (
        "<remove each='devices/disk'><disk><driver name='qemu'/></disk></remove>"
        "<remove each='devices/interface'><interface/></remove>"
    )
    result = apply((body, 100))
    assert values(result, "//disk/driver/@name") == []
    assert values(result, "//disk/driver/@type") == ["raw", "raw"]
    assert values(result, "//interface") == []
    store = strategies.MemoryStore([f"<profile name='p0'>{body}</profile>"])
    back = virtProfile.unapply(result.xml, store=store)
    assert etree.canonicalize(back.xml) == etree.canonicalize(DOMAIN)


def test_position_last_and_when_are_of_the_element() -> None:
    body = (
        "<add each='devices/disk' when='$position &lt; $last'>"
        "<disk><serial>{$position}-{target/@dev}-{$last}</serial></disk></add>"
    )
    assert values(apply((body, 0)), "//serial/text()") == ["1-vda-3", "2-vdb-3"]


def test_default_fills_each_gap_by_itself_and_empty_lists_whole() -> None:
    body = (
        "<default each='devices/interface'><interface><model type='virtio'/><mtu size='1400'/>"
        "<ip address='10.0.0.1' family='ipv4'/></interface></default>"
    )
    result = apply((body, 0), domain=CONTAINER)
    assert values(result, "//interface/model/@type") == ["e1000"]
    assert values(result, "//interface/mtu/@size") == ["1400"]
    assert values(result, "//interface/ip/@address") == ["10.0.0.1"]


def test_repeat_makes_different_things() -> None:
    body = "<add repeat='vcpu'><cputune><vcpupin vcpu='{$index - 1}' cpuset='{$index}'/></cputune></add>"
    result = apply((body, 0))
    assert values(result, "//vcpupin/@cpuset") == ["1", "2", "3", "4"]
    again = apply((body, 0), domain=result.xml)
    assert again.xml == result.xml
    assert "vcpupin" not in apply((body.replace("vcpu'>", "0'>"), 0)).xml


def test_repeat_for_each_element() -> None:
    body = (
        "<add each='devices/interface' repeat='2'><interface>"
        "<ip address='10.0.{$position}.{$index}' family='ipv4'/></interface></add>"
    )
    assert values(apply((body, 0), domain=CONTAINER), "//ip/@address") == ["10.0.1.1", "10.0.1.2"]
    assert values(apply((body, 0)), "//ip/@address") == []
    assert [one.hint for one in apply((body, 0)).overridden] == [
        "interface/@type is 'network', which excludes it"
    ] * 2


def test_whole_is_all_or_nothing_for_each_element() -> None:
    body = (
        "<add each=\"devices/disk[@device='disk']\" whole='yes'>"
        "<disk><driver cache='none' io='native'/></disk></add>"
    )
    result = apply((body, 0))
    assert values(result, "//disk[target/@dev='vda']/driver/@io") == ["native"]
    assert values(result, "//disk[target/@dev='vdb']/driver/@io") == []
    at = "disk[target/@dev='vdb']/driver/"
    assert sorted(lost(result)) == [(at + "@cache", "none"), (at + "@io", "native")]


def test_whole_falls_with_what_a_stronger_profile_takes_later() -> None:
    """The weaker profile makes the disk; the stronger one changes it when it comes."""
    whole = NEW_DISK.replace("<add>", "<add whole='yes'>")
    result = apply((CACHE, 50), (whole, 10))
    assert values(result, "//disk/target/@dev") == ["vda", "vdb", "sda"]
    assert {one.loser.profile for one in result.overridden} >= {"p1"}


def test_what_falls_with_another_wish_is_reported_as_that() -> None:
    """No value of the VM keeps it out, so none is named; what holds already is not listed."""
    profile = """<add multiple='no' whole='yes'><devices>
        <graphics type='vnc'><listen type='none'/></graphics>
        <video><model type='virtio' heads='2'/></video><sound model='ich9'/></devices></add>"""
    devices = "<graphics type='vnc'/><video><model type='vga'/></video><sound model='ich9'/>"
    result = virtProfile.apply(
        f"<domain type='kvm'><name>x</name><memory>1</memory><devices>{devices}</devices></domain>",
        ["p"],
        store=strategies.MemoryStore([f"<profile name='p'>{profile}</profile>"]),
    )
    assert [lost_line(loss) for loss in result.overridden] == [
        "kept by the VM definition: /domain/devices/video[1]/model/@type is 'vga', p 0 wanted 'virtio'",
        "kept out with that: /domain/devices/graphics, which p 0 wanted too, all or nothing",
    ]


def test_a_default_that_is_whole() -> None:
    body = (
        "<default each='devices/interface' whole='yes'>"
        "<interface><model type='virtio'/><mtu size='1400'/></interface></default>"
    )
    result = apply((body, 0))
    assert values(result, "//interface/mtu") == []
    assert len(result.overridden) == 2


@pytest.mark.parametrize("severity", ["warning", "info"])
def test_a_check_reports_with_its_fix(severity: str) -> None:
    body = (
        f"<check severity='{severity}' each=\"devices/disk[@device='disk']\" fix='fast-disk,io=native'"
        " message='{target/@dev} is disk {$position} of {$last}'><disk><driver cache='none'/></disk></check>"
    )
    result = apply((body, 0))
    assert result.xml != DOMAIN, "the list and the record"
    assert not result.changed
    told = [(one.code, one.message, one.profile, one.severity, one.fix) for one in result.warnings]
    assert told == [
        ("check", f"{dev} is disk {number} of 2", "p0", severity, "fast-disk,io=native")
        for number, dev in ((1, "vda"), (2, "vdb"))
    ]


def test_a_check_sees_the_result_and_can_be_inverted() -> None:
    fails = "<check test='devices/rng' message='no rng' fix='rng'/>"
    with pytest.raises(ProfileError) as caught:
        apply((fails, 0))
    assert (caught.value.code, caught.value.exit_status) == ("check", 3)
    assert caught.value.hint == "--profile rng"
    rng = "<add><devices><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng></devices></add>"
    apply((fails + rng, 0))
    apply((fails, 10), (rng, 0))
    with pytest.raises(ProfileError):
        apply((fails.replace("test=", "not='yes' test=") + rng, 0))


WRONG = [
    ("<add each='devices/disk'><interface/></add>", "selects 'disk', and the snippet is of 'interface'"),
    ("<add each='devices/*'><disk/></add>", "selects 'interface', and the snippet is of 'disk'"),
    ("<add each='devices/disk/@type'><disk/></add>", "selects an attribute or text, not an element"),
    ("<add each='count(devices/disk)'><disk/></add>", "gives a value"),
    ("<add repeat='4097'><title>x</title></add>", "gives 4097"),
    ("<add repeat='name'><title>x</title></add>", "gives x"),
    ("<add repeat='-1'><title>x</title></add>", "gives -1"),
    ("<add repeat='2'><title>{$index}</title></add>", "the values '1' and '2'"),
    ("<add><title>{$index}</title></add>", "unknown variable '$index'"),
    ("<add each='devices/disk'><disk><drivr/></disk></add>", "unknown element 'drivr'"),
]


@pytest.mark.parametrize(("body", "fact"), WRONG, ids=[fact for _, fact in WRONG])
def test_what_is_wrong_is_a_syntax_error(body: str, fact: str) -> None:
    with pytest.raises(ProfileError) as caught:
        apply((body, 0))
    assert caught.value.code == "syntax"
    assert fact in caught.value.message


UNREADABLE = [
    ("<add each='devices/disk'><disk/><disk/></add>", "has 2 root elements"),
    ("<add each='devices/disk'><domain/></add>", "<domain> in an action with each="),
    ("<remove each='devices/disk' select='driver'/>", "select= or each="),
    ("<check/>", "an empty <check>"),
    ("<check test='a'><name/></check>", "test= or a snippet"),
    ("<check test='a' fix='rng,model'/>", "'model' is not of the form"),
    ("<check test='a' severity='fatal'/>", "severity='fatal' is none of"),
    ("<add each='devices/interface'><disk/></add>", "selects no 'disk'"),
    ("<add each='devices/disk'><disk><driver chache='none'/></disk></add>", "unknown attribute 'chache'"),
    ("<default repeat='2'><title>x</title></default>", "unknown attribute 'repeat'"),
    ("<check whole='yes' test='a'/>", "unknown attribute 'whole'"),
]


@pytest.mark.parametrize(("body", "fact"), UNREADABLE, ids=[fact for _, fact in UNREADABLE])
def test_lint_says_it(body: str, fact: str) -> None:
    problems = lint_text(f"<profile name='p'>{body}</profile>", "p.xml")
    assert [one for one in problems if one.level == "error" and fact in one.message], problems


def test_lint_is_silent_about_what_is_right() -> None:
    body = CACHE + (
        "<add each='devices/disk | devices/disk[1]' when='target/@bus' whole='yes'>"
        "<disk><driver iothread='{$position}' io='{vp:if($last &gt; 1, &quot;native&quot;, &quot;threads&quot;)}'/>"
        "</disk></add><check each='devices/*[driver]/driver' test='@name' message='{../target/@dev}'/>"
    )
    assert lint_text(f"<profile name='p'>{body}</profile>", "p.xml") == []


def test_unapply_gives_back_what_was_there() -> None:
    body = CACHE + "<add repeat='2'><devices><redirdev bus='usb' type='spicevmc'/></devices></add>"
    once = apply((body, 100))
    assert apply((body, 100), domain=once.xml).xml == once.xml
    back = virtProfile.unapply(once.xml, store=strategies.MemoryStore([]))
    assert back.xml == DOMAIN


def test_an_element_that_a_weaker_profile_made_before_is_reached_again() -> None:
    once = apply((CACHE, 50), (NEW_DISK, 10))
    twice = apply((CACHE, 50), (NEW_DISK, 10), domain=once.xml)
    assert twice.xml == once.xml
    assert not twice.changed
    assert lost(twice) == lost(once)
    only = apply(("<add><title>x</title></add>", 0), (NEW_DISK, 10), domain=once.xml)
    assert values(only, "//disk[target/@dev='vdc']/driver/@cache") == ["unsafe"]
