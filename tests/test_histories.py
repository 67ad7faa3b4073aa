# SPDX-License-Identifier: GPL-2.0-or-later
"""What a VM becomes follows from its list, and not from how the list came about."""

from __future__ import annotations

import pytest
from lxml import etree
from strategies import MemoryStore
from test_lifecycle import meaning

import virtProfile
from virtProfile.errors import InvalidDomainError
from virtProfile.format.document import RECORD_NS, VIRTUNED_NS

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
    assert "<vr:metadata" not in text  # what is hidden is told from where the entry stands
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


# --- profiles that selected themselves ------------------------------------------------------


def test_what_selected_itself_stays_when_another_profile_goes_or_is_upgraded() -> None:
    auto = profile(
        "self",
        "<match><devices><sound/></devices></match><add><description>has sound</description></add>",
        " autoselect='yes'",
    )
    more = profile(
        "more",
        "<match><devices><rng/></devices></match><add><title>has rng</title></add>",
        " autoselect='yes'",
    )
    other = profile("other", "<add><iothreads>2</iothreads></add>")
    store = MemoryStore([auto, more, other, RNG])
    text = virtProfile.apply(VM, ["other", "rng"], store=store, auto=True).xml
    assert "has sound" in text and "has rng" in text
    left = virtProfile.unapply(text, "other", store=store)
    assert {one.origin.profile for one in left.changes} == {"other"}
    for names in ([], ["other"], ["self"]):
        assert virtProfile.upgrade(text, names, store=store).xml == text
    gone = virtProfile.unapply(text, "rng", store=store).xml
    assert "has sound" in gone and "has rng" not in gone
    assert "has sound" not in virtProfile.unapply(text, "self", store=store).xml
    assert meaning(virtProfile.unapply(text, store=store).xml) == meaning(VM)
    assert "has sound" not in virtProfile.apply(text, store=store).xml  # only where the caller asks


# --- records that nobody wrote so, and metadata of other namespaces --------------------------


def recorded(inner: str, store: MemoryStore, name: str) -> str:
    """A VM with a record of a profile that says `inner`."""
    digest = store.profiles[name].digest[:16]
    return VM.replace(
        "<memory",
        f"<metadata><vr:record xmlns:vr='{RECORD_NS}'><vr:profile name='{name}' version='1' digest='{digest}'>"
        f"{inner}</vr:profile></vr:record></metadata><memory",
        1,
    )


@pytest.mark.parametrize(
    "inner",
    [
        "<vr:on at=''><vr:domain type='kvm'/><vr:was type='kvm'>text</vr:was></vr:on>",
        "<vr:on at='devices'><vr:devices/><vr:was>text</vr:was></vr:on>",
        "<vr:del from='devices'><vr:sound>text<vr:codec type='micro'/></vr:sound></vr:del>",
    ],
)
def test_no_text_comes_where_a_domain_has_none(inner: str) -> None:
    store = MemoryStore(
        [
            profile(
                "it",
                "<add><domain type='kvm'/></add><remove><devices><sound model='es1370'/></devices></remove>",
            )
        ]
    )
    result = virtProfile.unapply(recorded(inner, store, "it"), store=store)
    assert meaning(plain(result.xml)) == meaning(VM)
    assert [one.code for one in result.warnings] == ["record"]


def test_a_second_record_says_nothing_and_goes() -> None:
    store = MemoryStore([RNG])
    text = virtProfile.apply(VM, ["rng"], store=store).xml
    begin, end = text.index("<vr:record"), text.index("</vr:record>") + len("</vr:record>")
    twice = text.replace("</metadata>", f"{text[begin:end]}</metadata>")
    result = virtProfile.apply(twice, store=store)
    assert result.xml.count("<vr:record") == 1 and not result.changed
    assert [one.code for one in result.warnings] == ["record"]
    assert virtProfile.apply(result.xml, store=store).xml == result.xml
    assert meaning(virtProfile.unapply(twice, store=store).xml) == meaning(VM)


SPELLED = (
    "<metadata><a:info xmlns:a='urn:a' xmlns:b='urn:b' b:level='1' a:more='2' xml:lang='de'>"
    "<b:x a:q='1'/></a:info></metadata>"
)


def test_attributes_of_other_namespaces_are_written_with_their_prefixes() -> None:
    for action in ("add", "add multiple='no'"):
        store = MemoryStore([profile("it", f"<{action}>{SPELLED}</{action.split()[0]}>")])
        for base in (
            VM,
            VM.replace("<memory", "<metadata><a:info xmlns:a='urn:a' own='1'/></metadata><memory"),
        ):
            once = virtProfile.apply(base, ["it"], store=store).xml
            info = etree.fromstring(once.encode()).find("metadata/{urn:a}info")
            assert info is not None
            assert info.get("{urn:b}level") == "1" and info.get("{urn:a}more") == "2"
            assert info.get("{http://www.w3.org/XML/1998/namespace}lang") == "de"
            assert [(one.tag, dict(one.attrib)) for one in info] == [("{urn:b}x", {"{urn:a}q": "1"})]
            assert virtProfile.apply(once, store=store).xml == once
            assert meaning(virtProfile.unapply(once, store=store).xml) == meaning(base)


def test_metadata_that_a_remove_emptied_comes_back() -> None:
    base = VM.replace("<memory", f"{SPELLED}<memory")
    store = MemoryStore([profile("it", f"<remove>{SPELLED}</remove>")])
    once = virtProfile.apply(base, [{"name": "it", "priority": 120}], store=store).xml
    assert "urn:a" not in plain(once) and "<vr:metadata" not in once
    result = virtProfile.unapply(once, store=store)
    assert meaning(result.xml) == meaning(base)
    assert not result.warnings


def test_a_record_whose_taking_back_breaks_the_domain_is_told_as_such() -> None:
    store = MemoryStore([RNG])
    text = recorded("<vr:on at=''><vr:domain type='kvm'/></vr:on>", store, "rng")
    with pytest.raises(InvalidDomainError) as caught:
        virtProfile.unapply(text, store=store)
    assert "the record of profiles" in caught.value.message
    assert "record" in caught.value.hint


# --- a machine type for a definition that has none --------------------------------------------


def test_own_addresses_stay_where_libvirt_has_not_assigned_any() -> None:
    """An alias of a machine type that libvirt has not written out: it has not seen the document."""
    vm = VM.replace("type='kvm'", "type='bhyve'").replace(" arch='x86_64' machine='pc-q35-7.2'", "")
    address = "<address type='pci' domain='0x0000' bus='0x00' slot='0x05' function='0x0'/>"
    vm = vm.replace("<sound model='ich6'/>", f"<sound model='ich6'>\n      {address}\n    </sound>")
    store = MemoryStore([profile("it", "<add><os><type machine='s390-ccw-virtio'>hvm</type></os></add>")])
    once = virtProfile.apply(vm, ["it"], store=store).xml
    assert "machine='s390-ccw-virtio'" in once
    assert virtProfile.unapply(once, store=store).xml == vm
