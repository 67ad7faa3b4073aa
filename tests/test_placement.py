# SPDX-License-Identifier: GPL-2.0-or-later
"""Placement on NUMA nodes: the algorithm on each machine, and what is not possible."""

from __future__ import annotations

from collections import Counter
from typing import Any

import placing
import pytest
import strategies
from lxml import etree
from placing import NFV, NUMA, SKETCH, Seen, add, apply, domain, machine, nic, profile
from test_invariants import leaves

import virtProfile
from virtProfile.authoring.lint import lint_text
from virtProfile.errors import CompletionError, ConflictError, MissingContextError, ProfileError
from virtProfile.format.pci import Topology
from virtProfile.format.schema import Schema
from virtProfile.format.values import prefixed
from virtProfile.host.context import Context
from virtProfile.language.parser import parse_profiles

EXPANDER = {"pc": "pci-expander-bus", "q35": "pcie-expander-bus", "virt": "pcie-expander-bus"}
FIXED = "<address type='pci' domain='0x0000' bus='0x00' slot='0x05' function='0x0'/>"


def fails(error: type[ProfileError], words: str, xml: str, *profiles: str, **options: Any) -> Any:
    with pytest.raises(error, match=words) as caught:
        apply(xml, *profiles, **options)
    assert caught.value.hint
    return caught.value


# --- what each machine needs --------------------------------------------------------


@pytest.mark.parametrize(("name", "arch"), [("pc", "x86_64"), ("q35", "x86_64"), ("virt", "aarch64")])
def test_independent_profiles_in_any_order(name: str, arch: str) -> None:
    sketch = SKETCH.replace(" arch='x86_64'", "")
    outputs = set()
    for chosen in placing.orders([machine(name, arch), NUMA, NFV]):
        result = apply(sketch, *chosen, record=False)
        outputs.add(result.xml)
    assert len(outputs) == 1
    seen = Seen(outputs.pop())
    assert seen.nodes() == [1]
    expected = [EXPANDER[name]] if name == "pc" else [EXPANDER[name], "pcie-root-port"]
    assert [seen.models()[one] for one in sorted(seen.models())] == expected
    assert seen.numbers() == {1: 254}


@pytest.mark.parametrize("name", ["pc", "q35"])
def test_void_without_cells(name: str) -> None:
    result = apply(SKETCH, machine(name), NFV, profile("other", add(nic(node=0))))
    seen = Seen(result.xml)
    assert not seen.controllers
    assert seen.nodes() == [None]
    assert not result.overridden


@pytest.mark.parametrize("name", ["pc", "q35", "pc-q35-7.2", "pc-i440fx-jammy"])
def test_several_nodes_and_devices(name: str) -> None:
    profiles = [
        profile("a", add(nic("br0", 1)), add(nic("br1", 1)), add(nic("br2", 0))),
        profile("b", add("<devices><rng model='virtio' virtuned:numa-node='0'>"
                         "<backend model='random'>/dev/urandom</backend></rng></devices>")),
    ]  # fmt: skip
    seen = Seen(apply(domain(name), *profiles).xml)
    assert seen.nodes() == [1, 1, 0]
    assert seen.nodes("rng") == [0]
    on_expanders = [
        one.find("address") for one in seen.root.find("devices") if (seen.bus(one) or 0) in seen.numbers()
    ]
    if "pcie-expander-bus" not in seen.models().values():  # its slot 0 is the bridge's
        assert sorted((one.get("bus"), one.get("slot")) for one in on_expanders) == [
            ("0x01", "0x01"), ("0x01", "0x02"), ("0x02", "0x01"), ("0x02", "0x02")]  # fmt: skip
    expanders = sorted(seen.numbers())
    assert [seen.controllers[one].findtext("target/node") for one in expanders] == ["0", "1"]
    numbers = [seen.numbers()[one] for one in expanders]
    assert numbers == ([254, 252] if "i440" in name or name == "pc" else [253, 250])
    places = [
        (seen.bus(one), one.find("address").get("slot"))
        for one in seen.root.find("devices")
        if seen.bus(one) is not None
    ]
    assert len(places) == len(set(places))
    for index, one in seen.controllers.items():
        assert (seen.bus(one) or 0) < index


def test_a_device_of_the_vm() -> None:
    xml = domain(
        devices="<interface type='bridge'><source bridge='br0'/><model type='virtio'/></interface>\n    "
    )
    result = apply(xml, NFV)
    seen = Seen(result.xml)
    assert seen.nodes() == [1]
    assert {one.origin.action for one in result.changes} == {"for interface bridge on NUMA node 1"}


def test_single_devices_and_expressions() -> None:
    wish = profile(
        "p",
        "<param name='node' type='int' default='1'/>",
        add("<devices><memballoon model='virtio' virtuned:numa-node='{$node}'/></devices>"),
        add("<devices><disk device='disk'><target dev='vdb' bus='virtio'/></disk></devices>"),
    )
    xml = domain().replace(
        "<memballoon model='none'/>",
        "<disk type='block' device='disk'><source dev='/dev/x'/><target dev='vdb'/></disk>",
    )
    result = apply(xml, wish, profile("d", add(
        "<devices><disk virtuned:numa-node='{count(cpu/numa/cell) - 2}'><target dev='vdb'/></disk></devices>")))  # fmt: skip
    seen = Seen(result.xml)
    assert seen.nodes("memballoon") == [1]
    assert seen.nodes("disk") == [0]
    assert "for disk vdb on NUMA node 0" in {one.origin.action for one in result.changes}


# --- what is there already ----------------------------------------------------------


@pytest.mark.parametrize("name", ["pc", "q35"])
@pytest.mark.parametrize("record", [True, False])
def test_again_is_nothing(name: str, record: bool) -> None:
    profiles = [machine(name), NUMA, NFV, profile("more", add(nic("br1", 0), "multiple='no'"))]
    once = apply(SKETCH, *profiles, record=record)
    twice = apply(once.xml, *profiles, record=record)
    assert twice.xml == once.xml
    assert not twice.changed
    assert not twice.overridden
    assert not twice.warnings


@pytest.mark.parametrize(("name", "added"), [("pc", 0), ("q35", 2)])
def test_growth_keeps_what_is_there(name: str, added: int) -> None:
    once = apply(SKETCH, machine(name), NUMA, NFV).xml
    more = profile("more", add(nic("br1", 1)))
    before, after = Seen(once), Seen(apply(once, more, machine(name), NUMA, NFV).xml)
    assert after.nodes() == [1, 1]
    assert len(after.controllers) - len(before.controllers) == added
    for index, one in before.controllers.items():
        assert etree.tostring(after.controllers[index], method="c14n").split() == (
            etree.tostring(one, method="c14n").split()
        )
    assert after.numbers() == ({1: 254} if name == "pc" else {1: 254, 3: 252})


def test_a_free_port_is_used() -> None:
    once = apply(SKETCH, machine("q35"), NUMA, NFV, record=False).xml
    root = etree.fromstring(once.encode())
    devices = root.find("devices")
    devices.remove(devices.find("interface"))
    result = apply(etree.tostring(root).decode(), NFV, record=False)
    seen = Seen(result.xml)
    assert seen.nodes() == [1]
    assert len(seen.controllers) == 2


def test_an_address_stays() -> None:
    xml = domain(devices=nic(node=None, more=FIXED)[9:-10])
    result = apply(xml, NFV, record=False)
    assert result.xml == xml
    (lost,) = result.overridden
    assert lost.path == "/domain/devices/interface[1]/address"
    assert (lost.wanted, lost.has, lost.winner) == ("numa-node 1", "0000:00:05.0", "definition")
    assert "--override" not in lost.hint
    assert result.kept_out == 0
    assert apply(xml, NFV, priorities={"nfv": 100}, record=False).xml == xml
    fails(ConflictError, "numa-node 1", xml, profile("nfv", add(nic(), "constraint='hard'")))


def test_an_address_taken_away_is_no_address() -> None:
    xml = domain(devices=nic(node=None, more=FIXED)[9:-10])
    free = profile("free", "<remove select='devices/interface/address'/>")
    once = apply(xml, NFV, free, priorities={"free": 100})
    assert Seen(once.xml).nodes() == [1]
    assert apply(once.xml, NFV, free, priorities={"free": 100}).xml == once.xml


def test_addresses_of_profiles() -> None:
    other = profile("other", add(nic(node=None, more=FIXED)))
    fails(ConflictError, "numa-node 1", domain(), NFV, other)
    result = apply(domain(), NFV, other, priorities={"other": 1})
    assert Seen(result.xml).nodes() == [None]
    assert result.overridden[0].winner.profile == "other"
    result = apply(domain(), NFV, other, priorities={"nfv": 1})
    assert Seen(result.xml).nodes() == [1]
    assert [(one.has, one.loser.profile) for one in result.overridden] == [("numa-node 1", "other")]


def test_zeros_are_no_address() -> None:
    for address in ("<address type='pci'/>", "<address type='pci' bus='0x00' slot='0' multifunction='on'/>"):
        xml = domain(devices=nic(node=None, more=address)[9:-10])
        seen = Seen(apply(xml, NFV).xml)
        assert seen.nodes() == [1]
        assert len(seen.root.findall("devices/interface/address")) == 1


def test_what_holds_is_wanted_too() -> None:
    once = apply(domain(), NFV, record=False).xml
    owned = {one.path: one.claims for one in apply(once, NFV, record=False).owned()}
    for path in (
        "/domain/devices/interface[1]/address/@bus",
        "/domain/devices/controller[@type='pci'][@index='1']/@model",
    ):
        assert [who if isinstance(who, str) else who.profile for who, _, _ in owned[path]] == [
            "definition",
            "nfv",
        ]


def test_a_like_device_is_not_meant() -> None:
    """What keeps its own source is not the NIC that was to be placed."""
    xml = domain(devices=nic("other", None)[9:-10])
    only = profile("only", add(nic(), "multiple='no'"))
    result = apply(xml, only, record=False)
    assert result.xml == xml
    assert {one.wanted for one in result.overridden} == {"br0", "1"}


# --- who wants what -----------------------------------------------------------------


def test_two_nodes_for_one_device() -> None:
    other = profile("other", add(nic(node=0)))
    problem = fails(ConflictError, "@virtuned:numa-node", domain(), NFV, other)
    assert problem.conflicts[0].fixes
    for winner, node in (("nfv", 1), ("other", 0)):
        result = apply(domain(), NFV, other, priorities={winner: 5})
        assert Seen(result.xml).nodes() == [node]
        (lost,) = result.overridden
        assert (lost.wanted, lost.has) == (str(1 - node), str(node))


def test_wanted_by_two() -> None:
    other = profile("other", add(nic(node="01")))
    result = apply(domain(), NFV, other)
    placed = [one for one in result.changes if one.path.startswith("/domain/devices/controller")]
    assert placed
    for one in placed:
        assert {origin.profile for origin in one.origins} == {"nfv", "other"}


def test_twins_have_places_of_their_own() -> None:
    two = profile("two", add(nic(), "multiple='yes'"), add(nic(), "multiple='yes'"))
    seen = Seen(apply(domain(), two).xml)
    assert seen.nodes() == [1, 1]
    assert seen.bus(seen.root.findall("devices/interface")[0]) != seen.bus(
        seen.root.findall("devices/interface")[1]
    )


def test_changes_add_up() -> None:
    xml = domain()
    result = apply(xml, NFV, profile("b", add(nic("br1", 0))), record=False)
    before, after = leaves(xml), leaves(result.xml)
    added = Counter(
        (one.path.rpartition("/@")[2] if "/@" in one.path else "", one.after) for one in result.changes
    )
    assert sum((after - before).values()) == sum(added.values()) == len(result.changes)
    assert all(one.op == "add" for one in result.changes)


def test_what_profile_makes_is_masked() -> None:
    """A condition does not see what its own action brought."""
    wish = profile(
        "wish",
        f"<add when='not(devices/interface) and not(devices/controller)'>{nic()}</add>",
    )
    result = apply(domain(), wish)
    assert Seen(result.xml).nodes() == [1]
    other = profile(
        "other",
        "<match><devices><controller model='pcie-expander-bus'/></devices></match>",
        add("<title>t</title>"),
    )
    assert "<title>t" in apply(domain(), NFV, other).xml


def test_defaults_reach_the_new_controllers() -> None:
    default = profile(
        "ports",
        "<default><devices><controller type='pci' model='pcie-root-port'><target hotplug='off'/>"
        "</controller></devices></default>",
    )
    result = apply(domain(), NFV, default)
    assert (
        Seen(result.xml).root.find("devices/controller[@model='pcie-root-port']/target").get("hotplug")
        == "off"
    )
    assert apply(result.xml, NFV, default).xml == result.xml


def test_a_remove_keeps_controllers_away() -> None:
    gone = profile("gone", "<remove><devices><controller model='pcie-expander-bus'/></devices></remove>")
    result = apply(domain(), NFV, gone, profile("b", add(nic("br1", 0))), priorities={"gone": 1})
    assert Seen(result.xml).nodes() == [None, None]
    assert not Seen(result.xml).controllers
    assert {one.loser.profile for one in result.overridden} == {"nfv", "b"}
    result = apply(domain(), NFV, gone, priorities={"nfv": 1})
    assert Seen(result.xml).nodes() == [1]
    assert [one.loser.profile for one in result.overridden] == ["gone"]
    fails(ConflictError, "numa-node|controller", domain(), NFV, gone)


def test_bytes_outside_are_kept() -> None:
    xml = domain(devices="<!-- keep  me -->\n    ")
    lines = apply(xml, NFV, record=False).xml.splitlines()
    assert [line for line in xml.splitlines() if line not in lines] == []


# --- what cannot be -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "xml", "wish"),
    [
        ("has only 0, 1$", domain(), nic(node=2)),
        ("'microvm' has no expander", domain("microvm"), nic()),
        ("'pseries' has no expander", domain("pseries", arch="ppc64"), nic()),
        ("'virt' has no expander", domain("virt", arch="riscv64"), nic()),
        ("has no expander", domain("pc").replace("'qemu'", "'xen'"), nic()),
        ("not a PCI device", domain(), "<devices><channel type='pty' virtuned:numa-node='1'>"
                                    "<target type='virtio' name='x'/></channel></devices>"),
        ("not a PCI device", domain(), "<cpu virtuned:numa-node='1' mode='host-passthrough'/>"),
        ("not a PCI device", domain(), "<devices><interface><model type='virtio' virtuned:numa-node='1'/></interface></devices>"),
        ("not a PCI device", domain(), "<devices><controller type='pci' model='pcie-root-port' virtuned:numa-node='1'/></devices>"),
        ("not a PCI device", domain(), "<devices><controller type='sata' index='0' virtuned:numa-node='1'/></devices>"),
        ("not a PCI device", domain(), "<devices><disk virtuned:numa-node='1'><target dev='sda' bus='sata'/></disk></devices>"),
    ],
)  # fmt: skip
def test_impossible(words: str, xml: str, wish: str) -> None:
    problem = fails(CompletionError, words, xml, profile("p", add(wish)))
    assert problem.code == "completion"
    assert problem.exit_status == 1
    assert problem.where == "p1.xml:1"


def test_all_that_is_impossible_at_once() -> None:
    problem = fails(CompletionError, "node 7", domain(), profile("p", add(nic(node=7)), add(nic("br1", 8))))
    assert [one.message for one in problem.others if "node 8" in one.message]


def test_machine_unknown() -> None:
    xml = domain().replace(" arch='x86_64' machine='q35'", "")
    fails(MissingContextError, "machine type", xml, NFV)
    capabilities = (
        "<capabilities><host><cpu><arch>x86_64</arch></cpu></host><guest><os_type>hvm</os_type>"
        "<arch name='x86_64'><machine canonical='pc-i440fx-9'>ubuntu</machine></arch></guest></capabilities>"
    )
    seen = Seen(apply(xml, NFV, context=Context(capabilities=(capabilities,))).xml)
    assert list(seen.models().values()) == ["pci-expander-bus"]


@pytest.mark.parametrize("text", ["one", "-1", "", "1.5", "0x1"])
def test_no_number(text: str) -> None:
    for value in (text, f"{{&apos;{text}&apos;}}"):
        fails(ProfileError, "not a number|gives nothing", domain(), profile("p", add(nic(node=value))))
    assert [one for one in lint_text(profile("p", add(nic(node=text))), "p.xml") if one.level == "error"]


@pytest.mark.parametrize("kind", ["default", "remove", "match", "defaults"])
def test_only_on_add(kind: str) -> None:
    text = profile("p", f"<{kind}>{nic()}</{kind}>")
    (problem,) = [one for one in parse_profiles(text, "p.xml").problems if one.level == "error"]
    assert "numa-node" in problem.message
    for good in ("add", "set", "append", "force"):
        assert not parse_profiles(profile("p", f"<{good}>{nic()}</{good}>"), "p.xml").problems


def test_lint() -> None:
    assert not lint_text(NFV, "p.xml")
    assert not lint_text(
        profile("p", "<param name='n' type='int' default='0'/>", add(nic(node="{$n}"))), "p.xml"
    )
    two = profile("p", add(nic(node=0)), add(nic(node=1)))
    assert any("cannot hold together" in one.message for one in lint_text(two, "p.xml"))


def test_bus_numbers_run_out() -> None:
    root = etree.fromstring(domain().encode())
    expander = "<controller type='pci' index='1' model='pcie-expander-bus'><target busNr='{}'><node>0</node></target></controller>"
    ports = "".join(f"<controller type='pci' index='{one}' model='pcie-root-port'/>" for one in range(2, 5))
    devices = root.find("devices")
    for text in (expander, ports):
        for one in etree.fromstring(f"<x>{text}</x>"):
            devices.append(one)
    xml = etree.tostring(root).decode()
    # The other buses are five: 0, 2, 3, 4, and one for the other NIC.
    xml = xml.replace("</devices>", nic("br9", None)[9:-10] + "</devices>")
    assert Seen(apply(xml.format(7), NFV).xml).numbers()[5] == 5
    fails(CompletionError, "bus numbers", xml.format(6), NFV)


def test_many_devices() -> None:
    for name, count in (("q35", 70), ("pc", 40)):
        wishes = "".join(add(nic(f"br{one}", 1)) for one in range(count))
        seen = Seen(apply(domain(name), profile("p", wishes)).xml)
        assert seen.nodes() == [1] * count
        expanders = len(seen.numbers())
        assert expanders == (3 if name == "q35" else 2)
        assert sorted(seen.numbers().values()) == ([183, 190, 223] if name == "q35" else [252, 254])


# --- facts --------------------------------------------------------------------------


def test_every_device_of_the_table_is_in_the_schema() -> None:
    from virtProfile.format.facts import rows
    from virtProfile.format.schema import DATA

    devices: Any = Schema.baseline().root.child("devices")
    for tag, conditions, *_ in rows(f"{DATA}/pcidevices.tsv"):
        node = devices.child(tag)
        assert node is not None, tag
        for one in conditions.split(" ") if conditions != "-" else ():
            slot = one.replace("!", "").replace("^", "").partition("=")[0]
            if slot == "machine":
                continue
            below, _, name = slot.rpartition("/")
            at = node.child(below) if below else node
            assert at is not None and at.attribute(name[1:]) is not None, one


@pytest.mark.parametrize(
    ("text", "value"),
    [("12", 12), ("0x0a", 10), ("010", 8), ("0", 0), ("", None), (None, None), ("x", None), ("09", None)],
)
def test_numbers_as_libvirt_reads_them(text: str | None, value: int | None) -> None:
    assert prefixed(text) == value


def test_nodes_of_buses() -> None:
    xml = domain(devices="""
    <controller type='pci' index='0' model='pcie-root'/>
    <controller type='pci' index='1' model='pcie-expander-bus'><target busNr='200'><node>1</node></target></controller>
    <controller type='pci' index='2' model='pcie-root-port'><address type='pci' bus='0x01' slot='0'/></controller>
    <controller type='pci' index='3' model='pcie-switch-upstream-port'><address type='pci' bus='2' slot='0'/></controller>
    <controller type='pci' index='4' model='pcie-switch-downstream-port'><address type='pci' bus='3' slot='0'/></controller>
    <controller type='pci' index='5' model='pcie-root-port'/>
    """)  # fmt: skip
    topology = Topology(etree.fromstring(xml.encode()))
    assert [topology.node_of(one) for one in range(7)] == [None, 1, 1, 1, 1, None, None]
    seen = Seen(apply(xml, NFV).xml)
    assert seen.nodes() == [1]
    assert seen.bus(seen.root.find("devices/interface")) == 4  # the free port behind the switch


def test_a_loop_of_buses_ends() -> None:
    xml = domain(devices="""
    <controller type='pci' index='2' model='pcie-root-port'><address type='pci' bus='0x03' slot='0'/></controller>
    <controller type='pci' index='3' model='pcie-root-port'><address type='pci' bus='0x02' slot='0'/></controller>
    """)  # fmt: skip
    assert Topology(etree.fromstring(xml.encode())).node_of(2) is None
    assert Seen(apply(xml, NFV).xml).nodes() == [1]


# --- by the record ------------------------------------------------------------------


MORE = profile("more", add(nic("br1", 1)))


def without(xml: str, *names: str) -> str:
    """The domain without entries of its list."""
    root = etree.fromstring(xml.encode())
    for one in list(root.iter("{http://virt-manager.org/schemas/virtuned/0.1}profile")):
        if one.get("name") in names:
            one.getparent().remove(one)
    return etree.tostring(root).decode()


def apply_listed(xml: str, *profiles: str) -> Any:
    """What the domain's own list asks for."""
    return virtProfile.apply(xml, store=strategies.MemoryStore(list(profiles)))


@pytest.mark.parametrize("name", ["pc", "q35"])
def test_unapplied_is_gone(name: str) -> None:
    xml = domain(
        name,
        devices="<interface type='bridge'><source bridge='br0'/><model type='virtio'/></interface>\n    ",
    )
    once = apply(xml, NFV, MORE)
    assert Seen(once.xml).nodes() == [1, 1]
    back = virtProfile.unapply(once.xml, store=strategies.MemoryStore([NFV, MORE]))
    assert leaves(back.xml) == leaves(xml)
    assert "controller" not in back.xml


@pytest.mark.parametrize("name", ["pc", "q35"])
def test_who_stays_keeps_its_place(name: str) -> None:
    both = apply(domain(name), NFV, MORE)
    seen = Seen(both.xml)
    for gone, kept in (("nfv", "br1"), ("more", "br0")):
        left = apply_listed(without(both.xml, gone), NFV, MORE)
        after = Seen(left.xml)
        assert after.nodes() == [1]
        (device,) = after.root.findall("devices/interface")
        assert device.find("source").get("bridge") == kept
        was = next(
            one for one in seen.root.findall("devices/interface") if one.find("source").get("bridge") == kept
        )
        assert device.find("address").attrib == was.find("address").attrib
        assert after.numbers() == seen.numbers()
        assert len(after.controllers) == (1 if name == "pc" else 2)
        again = apply_listed(left.xml, NFV, MORE)
        assert again.xml == left.xml


@pytest.mark.parametrize("name", ["pc", "q35"])
def test_growth_by_the_record(name: str) -> None:
    once = apply(domain(name), NFV)
    both = apply(once.xml, NFV, MORE)
    before, after = Seen(once.xml), Seen(both.xml)
    assert after.nodes() == [1, 1]
    assert set(before.numbers().items()) <= set(after.numbers().items())
    assert after.bus(after.root.find("devices/interface")) == before.bus(
        before.root.find("devices/interface")
    )
    assert all(one.op == "add" and one.origin.profile == "more" for one in both.changes)
    assert apply(both.xml, NFV, MORE).xml == both.xml


def test_another_node_by_a_newer_version() -> None:
    once = apply(domain(), NFV)
    newer = NFV.replace("version='1'", "version='2'").replace("numa-node='1'", "numa-node='0'")
    moved = apply(once.xml, newer)
    seen = Seen(moved.xml)
    assert seen.nodes() == [0]
    assert [
        one.findtext("target/node") for one in seen.controllers.values() if one.find("target") is not None
    ] == ["0"]
    assert apply(moved.xml, newer).xml == moved.xml


def test_another_machine() -> None:
    once = apply(SKETCH, machine("q35"), NUMA, NFV)
    pc = apply_listed(without(once.xml, "machine-q35"), machine("q35"), NUMA, NFV, machine("pc"))
    assert pc.xml  # the machine is gone, the default of x86 is pc
    seen = Seen(pc.xml)
    assert seen.nodes() == [1]
    assert list(seen.models().values()) == ["pci-expander-bus"]


def test_what_libvirt_put_there_stays() -> None:
    once = apply(domain(), NFV).xml
    head, _, tail = once.rpartition("<interface type='bridge'>")
    defined = f"{head}<interface type='bridge'>\n      <mac address='52:54:00:00:00:07'/>{tail}"
    head, _, tail = defined.rpartition("<target busNr='254'>")
    defined = f"{head}<model name='pxb-pcie'/>\n      <target busNr='254'>{tail}".replace(
        "<memballoon", "<controller type='pci' index='0' model='pcie-root'/>\n    <memballoon"
    )
    again = apply(defined, NFV)
    assert again.xml == defined
    assert not again.changed


@pytest.mark.parametrize("devices", ["", nic(node=None)[9:-10] + "\n    "])
def test_moved_by_hand(devices: str) -> None:
    once = apply(domain(devices=devices), NFV).xml
    head, _, tail = once.rpartition("bus='0x02'")
    moved = f"{head}bus='0x00'{tail}"
    head, _, tail = moved.rpartition("slot='0x00'")
    moved = f"{head}slot='0x09'{tail}"
    result = apply(moved, NFV)
    seen = Seen(result.xml)
    device = seen.root.find("devices/interface/address")
    assert (device.get("bus"), device.get("slot")) == ("0x00", "0x09")
    assert [one.winner for one in result.overridden] == ["definition"]
    assert apply(result.xml, NFV).xml == result.xml
