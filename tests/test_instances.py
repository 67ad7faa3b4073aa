# SPDX-License-Identifier: GPL-2.0-or-later
"""One profile several times on one VM: instances in selection, list, record, status and reports."""

from __future__ import annotations

import re
from typing import Any

import pytest
import strategies
from lxml import etree
from strategies import MemoryStore

import virtProfile
from virtProfile.errors import ProfileError
from virtProfile.language.requests import profile_wish

DOMAIN = "<domain type='kvm'>\n  <name>x</name>\n  <memory>1048576</memory>\n  <devices/>\n</domain>\n"
SHARE = """<profile name='share' version='1'><param name='path'/><param name='tag' default='t'/>
<add><devices><filesystem type='mount'><source dir='{$path}'/><target dir='{$tag}'/></filesystem></devices></add>
</profile>"""
STORE = strategies.MemoryStore(
    [
        SHARE,
        "<profile name='alone'><conflicts profile='share'/><add><title>x</title></add></profile>",
        "<profile name='needs'><requires profile='share'/><add><title>x</title></add></profile>",
    ]
)
PLAIN = {"name": "share", "params": {"path": "/a"}}
SECOND = {"name": "share", "instance": "b", "params": {"path": "/b", "tag": "u"}}


def apply(*wishes: Any, domain: str = DOMAIN) -> virtProfile.Result:
    return virtProfile.apply(domain, wishes, store=STORE)


def sources(text: str) -> list[str]:
    return [str(one) for one in etree.fromstring(text.encode()).xpath("devices/filesystem/source/@dir")]


def test_both_apply_and_stay_two() -> None:
    once = apply(PLAIN, SECOND)
    assert sources(once.xml) == ["/a", "/b"]
    assert [(one.name, one.instance, one.label) for one in once.applied] == [
        ("share", None, "share"),
        ("share", "b", "share#b"),
    ]
    assert {one.origin.profile for one in once.changes} == {"share", "share#b"}
    assert apply(domain=once.xml).xml == once.xml
    assert [one.name for one in virtProfile.status(once.xml, store=STORE).profiles] == ["share", "share#b"]
    root = etree.fromstring(once.xml.encode())
    entries = root.xpath("metadata/*[local-name()='virtuned']/*")
    assert [(one.get("name"), one.get("instance")) for one in entries] == [("share", None), ("share", "b")]


def test_order_never_matters() -> None:
    assert apply(PLAIN, SECOND).to_dict() == apply(SECOND, PLAIN).to_dict()


@pytest.mark.parametrize(("name", "left"), [("share", ["/b"]), ("share#b", ["/a"])])
def test_one_is_taken_back(name: str, left: list[str]) -> None:
    once = apply(PLAIN, SECOND)
    back = virtProfile.unapply(once.xml, [name], store=STORE)
    assert sources(back.xml) == left
    assert virtProfile.unapply(back.xml, store=STORE).xml == DOMAIN


def test_new_params_replace_the_old_ones() -> None:
    once = apply(PLAIN, SECOND)
    other = apply({**SECOND, "params": {"path": "/c"}}, domain=once.xml)
    assert sources(other.xml) == ["/a", "/c"]


def test_conflicts_and_exclude_mean_all_instances() -> None:
    once = apply(PLAIN, SECOND)
    with pytest.raises(ProfileError) as caught:
        apply("alone", domain=once.xml)
    assert len(caught.value.conflicts) == 2
    out = virtProfile.unapply(once.xml, ["share"], store=STORE, exclude=True)
    assert sources(out.xml) == []
    only = DOMAIN.replace(
        "<devices/>",
        "<metadata><v:virtuned xmlns:v='http://virt-manager.org/schemas/virtuned/0.1'>"
        "<v:profile name='share' exclude='yes'/></v:virtuned></metadata><devices/>",
    )
    with pytest.raises(ProfileError) as caught:
        apply(SECOND, domain=only)
    assert caught.value.hint.startswith("--profile share,instance=b,include=yes")
    back = apply({**SECOND, "include": True}, domain=only)
    assert sources(back.xml) == ["/b"]
    assert apply(domain=back.xml).xml == back.xml


def test_a_requirement_is_met_by_an_instance() -> None:
    assert sources(apply("needs", SECOND).xml) == ["/b"]
    with pytest.raises(ProfileError) as caught:
        apply("needs")
    assert caught.value.code == "param"


def test_fixes_name_the_instance() -> None:
    with pytest.raises(ProfileError) as caught:
        apply(
            {**PLAIN, "params": {"path": "/b", "tag": "v"}}, {**SECOND, "params": {"path": "/c", "tag": "v"}}
        )
    fixes = [fix for one in caught.value.conflicts for fix in one.fixes]
    assert any(fix.startswith("--profile share,instance=b,priority=") for fix in fixes)


@pytest.mark.parametrize(
    ("wish", "fact"),
    [
        ({"name": "share", "instance": "-b"}, "invalid instance name '-b'"),
        ({"name": "share#a", "instance": "b"}, "instance='b' names another instance"),
        ("share#", "invalid instance name ''"),
    ],
)
def test_names_of_instances_follow_the_rule_of_profiles(wish: Any, fact: str) -> None:
    with pytest.raises(ProfileError) as caught:
        apply(wish)
    assert (caught.value.code, fact in caught.value.message) == ("usage", True)


def test_the_command_line_says_it_in_two_ways() -> None:
    assert profile_wish("share,instance=b,path=/b") == profile_wish("share#b,path=/b")
    assert profile_wish("share#b") == {"name": "share", "instance": "b", "params": {}}


@pytest.mark.parametrize(("first", "second"), [(120, 110), (110, 120), (130, 100)])
@pytest.mark.parametrize("tag", ["hostdev", "input", "sound"])
def test_each_removes_the_first_one_that_the_other_left(tag: str, first: int, second: int) -> None:
    """Whoever removed which: they come back in their order, and the next call removes the same."""
    devices = {
        "hostdev": "<hostdev mode='subsystem' type='usb'><source><vendor id='0x{0}'/><product id='0x1'/></source></hostdev>",
        "input": "<input type='passthrough' bus='virtio'><source evdev='/dev/input/event{0}'/></input>",
        "sound": "<sound model='ich9'><codec type='duplex'/><alias name='ua-{0}'/></sound>",
    }
    there = "".join(devices[tag].format(number) for number in range(1, 5))
    text = (
        "<domain type='kvm'><name>a</name><memory>1048576</memory><os><type arch='x86_64' machine='q35'>hvm</type></os>"
        f"<devices>{there}<memballoon model='virtio'/></devices></domain>"
    )
    store = MemoryStore([f"<profile name='p'><remove each='devices/{tag}[1]'><{tag}/></remove></profile>"])
    wishes = [
        {"name": "p", "instance": "a", "priority": first},
        {"name": "p", "instance": "b", "priority": second},
    ]
    once = virtProfile.apply(text, wishes, store=store)
    assert once.xml.partition("</metadata>")[2].count(f"<{tag} ") == 2
    assert virtProfile.apply(once.xml, store=store).xml == once.xml
    back = virtProfile.unapply(once.xml, store=store).xml
    order = re.compile(r"id='0x(\d)'/><product|event(\d)|ua-(\d)")
    assert order.findall(back) == order.findall(text)
