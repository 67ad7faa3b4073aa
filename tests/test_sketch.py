# SPDX-License-Identifier: GPL-2.0-or-later
"""``--complete``: from a sketch to a VM, against no profile; and what it needs to know."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cases
import pytest
from commandline import run
from completing import apply, capabilities, domain
from lxml import etree

import virtProfile
from virtProfile.errors import MissingContextError
from virtProfile.format.schema import Schema
from virtProfile.frozen import replace

SKETCH = "<domain type='qemu'>\n  <name>sketch</name>\n  <memory unit='MiB'>64</memory>\n</domain>\n"


def devices(result: Any, tag: str) -> list[Any]:
    return list(etree.fromstring(result.xml.encode()).iterfind(f"devices/{tag}"))


def complete(vm: str, *profiles: str) -> Any:
    return apply(vm, *profiles, complete=True, context=capabilities())


def test_a_sketch_becomes_a_vm() -> None:
    result = complete(SKETCH)
    assert not Schema.baseline().validate(etree.fromstring(result.xml.encode()))
    assert not result.warnings
    assert [one.get("type") for one in devices(result, "graphics")] == ["spice"]
    assert "<uuid>" not in result.xml
    assert "<mac" not in complete(domain("<interface type='user'/>\n")).xml
    assert {one.origin.action for one in result.changes} == {"complete"}
    assert complete(SKETCH).xml == result.xml
    assert complete(result.xml).xml == result.xml


def test_without_it_a_sketch_is_incomplete() -> None:
    result = apply(SKETCH, "<add><iothreads>1</iothreads></add>")
    assert [one.code for one in result.warnings] == ["incomplete"]
    assert "--complete" in result.warnings[0].message


def test_what_stands_stays() -> None:
    own = "    <graphics type='vnc' port='5901'/>\n    <sound model='es1370'/>\n"
    result = complete(domain(own, "pc"), "<add><devices><video><model type='bochs'/></video></devices></add>")
    assert [dict(one.attrib) for one in devices(result, "graphics")] == [
        {"type": "vnc", "port": "5901"} | dict(devices(result, "graphics")[0].attrib)
    ]
    assert [one.get("model") for one in devices(result, "sound")] == ["es1370"]
    assert [one.find("model").get("type") for one in devices(result, "video")] == ["bochs"]
    assert re.search("machine='pc'", result.xml)
    assert "spice" not in result.xml


def test_nothing_comes_back_that_a_profile_removes() -> None:
    gone = complete(SKETCH, "<remove><devices><graphics/></devices></remove>")
    assert not devices(gone, "graphics")
    assert "spice" not in gone.xml  # no channel, no redirdev: libvirt would refuse them
    assert not devices(gone, "redirdev") and not devices(gone, "video")
    assert not devices(gone, "channel")
    for path, snippet in (
        ("features/apic", "<features><apic/></features>"),
        ("devices/video", "<devices><video/></devices>"),
        ("clock/timer[@name='hpet']", "<clock><timer name='hpet'/></clock>"),
    ):
        assert etree.fromstring(complete(SKETCH).xml.encode()).find(path) is not None
        result = complete(SKETCH, f"<remove>{snippet}</remove>")
        assert etree.fromstring(result.xml.encode()).find(path) is None, path


def test_it_asks_libosinfo_where_somebody_names_the_os() -> None:
    centos = replace(capabilities(), osinfo="centos7.0")
    result = apply(SKETCH, complete=True, context=centos)
    assert "machine='q35'" in result.xml
    assert "org.qemu.guest_agent.0" in result.xml
    assert [one.get("model") for one in devices(result, "rng")] == ["virtio"]


def test_spice_removed_and_vnc_wanted() -> None:
    vnc = "<add><devices><graphics type='vnc'/></devices></add>"
    result = complete(SKETCH, vnc, "<remove><devices><graphics type='spice'/></devices></remove>")
    assert [one.get("type") for one in devices(result, "graphics")] == ["vnc"]
    assert "spice" not in result.xml


def test_defaults_of_profiles_go_before_virtinsts() -> None:
    machine = "<default><os><type machine='pc'>hvm</type></os></default>"
    assert re.search("machine='pc'", complete(SKETCH, machine).xml)


def test_defaults_of_profiles_reach_the_devices_that_virtinst_adds() -> None:
    wanted = (
        "<video><model type='bochs'/></video><sound model='ac97'/>"
        "<controller type='usb' model='piix3-uhci'/><graphics type='vnc' port='5901'/>"
    )
    result = complete(SKETCH, f"<default><devices>{wanted}</devices></default>")
    assert [one.find("model").get("type") for one in devices(result, "video")] == ["bochs"]
    assert [one.get("model") for one in devices(result, "sound")] == ["ac97"]
    assert [one.get("type") for one in devices(result, "graphics")] == ["spice"]  # what it is stays
    usb = [one.get("model") for one in devices(result, "controller") if one.get("type") == "usb"]
    assert usb == ["ich9-ehci1", "ich9-uhci1", "ich9-uhci2", "ich9-uhci3"]  # one thing of four


def test_a_default_that_its_own_condition_sees_of_virtinst_too() -> None:
    nic = "<default when=\"devices/interface/model/@type = 'e1000'\"><devices>{}</devices></default>"
    wish = nic.format("<interface><model type='e1000'/><driver queues='2'/></interface>")
    result = complete(
        SKETCH.replace("</domain>", "<devices><interface type='user'/></devices></domain>"), wish
    )
    assert [one.find("driver").get("queues") for one in devices(result, "interface")] == ["2"]


def test_a_list_that_is_not_begun_is_filled() -> None:
    clock = SKETCH.replace("</domain>", "  <clock offset='localtime'/>\n</domain>")
    made = etree.fromstring(complete(clock).xml.encode()).find("clock")
    usual = etree.fromstring(complete(SKETCH).xml.encode()).find("clock")
    assert made.get("offset") == "localtime"
    assert [one.get("name") for one in made] == [one.get("name") for one in usual] and len(made) > 1


def test_drives_get_slots() -> None:
    sketch = SKETCH.replace(
        "</domain>", "<devices><disk><source file='/nowhere/a.img'/></disk></devices></domain>"
    )
    cdrom = "<add><devices><disk device='cdrom'/></devices></add>"
    result = complete(sketch, cdrom)
    assert [one.find("target").get("bus") for one in devices(result, "disk")] == ["ide", "ide"]
    assert [one.find("address").get("unit") for one in devices(result, "disk")] == ["1", "0"]


def test_it_needs_capabilities() -> None:
    with pytest.raises(MissingContextError, match="--complete") as caught:
        apply(SKETCH, complete=True)
    assert "--capabilities" in caught.value.hint


def test_the_option(tmp_path: Path) -> None:
    context = capabilities()
    words = ["--print-xml", "--complete"]
    for name, texts in (("capabilities", context.capabilities), ("domcapabilities", context.domcapabilities)):
        for number, text in enumerate(texts):
            path = tmp_path / f"{name}{number}.xml"
            path.write_text(text)
            words += [f"--{name}", str(path)]
    done = run(words, SKETCH.encode())
    assert done.status == 0, done.err
    assert done.out.decode() == complete(SKETCH).xml
    done = run(["--complete", "--json"], SKETCH.encode())
    assert done.status == 1
    assert json.loads(done.out)["error"]["code"] == "missing-context"


def test_the_designs_full_example(tmp_path: Path) -> None:
    case = cases.load(cases.DIRECTORY / "design-full.txt")
    store = cases.store_of(case, tmp_path)
    result = virtProfile.apply(case.domain, case.call, store=store, complete=True, context=capabilities())
    assert not [one for one in result.warnings if one.code == "incomplete"]
    assert not Schema.baseline().validate(etree.fromstring(result.xml.encode()))
