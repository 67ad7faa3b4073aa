# SPDX-License-Identifier: GPL-2.0-or-later
"""What a VM becomes follows from its list, and not from how the list came about."""

from __future__ import annotations

import pytest
from lxml import etree
from strategies import MemoryStore
from test_lifecycle import meaning

import virtProfile
from virtProfile.xmltree import RECORD_NS, VIRTUNED_NS

VM = """<domain type='kvm'>
  <name>vm</name>
  <memory unit='KiB'>1048576</memory>
  <os>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
  </os>
  <devices>
    <sound model='ich6'/>
  </devices>
</domain>
"""


def profile(name: str, inner: str, head: str = "") -> str:
    return f"<profile name='{name}' version='1'{head}>{inner}</profile>"


def plain(text: str) -> str:
    """A document without list and record."""
    root = etree.fromstring(text.encode())
    for metadata in root.findall("metadata"):
        for one in list(metadata):
            if isinstance(one.tag, str) and etree.QName(one).namespace in (RECORD_NS, VIRTUNED_NS):
                metadata.remove(one)
        if not len(metadata):
            root.remove(metadata)
    return etree.tostring(root, encoding="unicode")


# --- metadata of a profile -----------------------------------------------------------

INFO = profile(
    "info", "<add><metadata><a:info xmlns:a='urn:a'><a:level>1</a:level></a:info></metadata></add>"
)
RNG = profile("rng", "<add><devices><rng model='virtio'><backend model='random'/></rng></devices></add>")


@pytest.mark.parametrize("names", [["info"], ["info", "rng"]])
def test_a_profile_that_made_metadata_goes_alone(names: list[str]) -> None:
    store = MemoryStore([INFO, RNG])
    text = virtProfile.apply(VM, names, store=store).xml
    other = "<b:mine xmlns:b='urn:b' kept='yes'/>"
    text = text.replace("</metadata>", f"{other}</metadata>")
    text = virtProfile.unapply(text, "info", store=store).xml
    assert "urn:a" not in text
    assert other in text
    assert ("<rng" in text) == ("rng" in names)
    back = virtProfile.unapply(text, store=store).xml
    assert meaning(back) == meaning(VM.replace("<memory", f"<metadata>{other}</metadata><memory"))


def test_a_record_cannot_take_the_metadata_away() -> None:
    text = VM.replace(
        "<memory",
        f"<metadata><b:mine xmlns:b='urn:b'/><vr:record xmlns:vr='{RECORD_NS}'><vr:profile name='info' version='1'>"
        "<vr:add to=''><vr:metadata><c:gone xmlns:c='urn:c'/></vr:metadata></vr:add></vr:profile></vr:record></metadata><memory",
    )
    result = virtProfile.unapply(text, store=MemoryStore([INFO]))
    assert "<b:mine xmlns:b='urn:b'/>" in result.xml


# --- alike things --------------------------------------------------------------------


@pytest.mark.parametrize(
    "inner",
    [
        "<remove select=\"devices/controller[@type='pci']\"/>",
        "<remove><devices><controller type='pci'/></devices></remove>",
        "<add><os><type machine='pc'>hvm</type></os></add>",
    ],
)
def test_each_of_alike_things_comes_back(inner: str) -> None:
    ports = "<controller type='pci' model='pcie-root-port'/>\n    " * 3
    store = MemoryStore([profile("p", inner)])
    vm = VM.replace("<sound", f"<controller type='pci' model='pcie-root'/>\n    {ports}<sound")
    once = virtProfile.apply(vm, [{"name": "p", "priority": 120}], store=store).xml
    assert "pcie-root-port" not in plain(once)
    assert virtProfile.apply(once, store=store).xml == once
    assert meaning(virtProfile.unapply(once, store=store).xml) == meaning(vm)


def test_what_a_person_put_there_again_stands_for_one_of_them() -> None:
    port = "<controller type='pci' model='pcie-root-port'/>"
    store = MemoryStore([profile("p", f"<remove><devices>{port}</devices></remove>")])
    vm = VM.replace("<sound", f"{port * 2}<sound")
    once = virtProfile.apply(vm, [{"name": "p", "priority": 120}], store=store).xml
    assert port not in plain(once)
    again = once.replace("<sound", f"{port}<sound")
    assert plain(virtProfile.unapply(again, store=store).xml).count("root-port") == 2
