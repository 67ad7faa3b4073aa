# SPDX-License-Identifier: GPL-2.0-or-later
"""mirror-topology, dedicated-cpu and topoext on large and odd hosts (`bighosts`)."""

from __future__ import annotations

from typing import Any

import library
import pytest
from bighosts import GIB, HOSTS
from lxml import etree
from test_topology import check

import virtProfile
from virtProfile.errors import ProfileError
from virtProfile.format.document import parse
from virtProfile.format.values import parse_cpuset
from virtProfile.host.context import Context
from virtProfile.host.pinning import Node, plan
from virtProfile.host.topology import Demand, TopologyError, Wishes, read_host

OFFLINE = {2, 10, 18, 26}
SIZES = (
    1,
    2,
    3,
    4,
    6,
    7,
    8,
    12,
    14,
    16,
    20,
    23,
    24,
    30,
    31,
    32,
    48,
    64,
    96,
    120,
    128,
    192,
    248,
    254,
    256,
    300,
)


def host(name: str) -> tuple[Node, ...]:
    return read_host(parse(HOSTS[name]).root)


def context(name: str, **more: Any) -> Context:
    return Context(capabilities=(HOSTS[name],), **more)


def domain(vcpus: int, gib: int = 1, more: str = "", kind: str = "kvm") -> str:
    return (
        f"<domain type='{kind}'>\n  <name>big{vcpus}</name>\n  <memory unit='GiB'>{gib}</memory>\n"
        f"  <vcpu>{vcpus}</vcpu>\n  <os>\n    <type arch='x86_64' machine='q35'>hvm</type>\n  </os>\n{more}</domain>\n"
    )


def mirrored(name: str, vcpus: int, gib: int = 1, more: str = "", profile: str = "", **params: str) -> Any:
    """The domain with a topology of that host; the result is applied again, and taken back."""
    wish = {"name": profile or "mirror-topology", "params": params}
    text = domain(vcpus, gib, more)
    made = virtProfile.apply(text, [wish], store=library.store(), context=context(name))
    again = virtProfile.apply(made.xml, store=library.store(), context=context(name))
    assert again.xml == made.xml
    assert virtProfile.unapply(made.xml, "all", store=library.store()).xml == text
    return etree.fromstring(made.xml.encode())


def pins_of(root: Any) -> list[int]:
    found = [(int(pin.get("vcpu")), int(pin.get("cpuset"))) for pin in root.iterfind("cputune/vcpupin")]
    assert [vcpu for vcpu, _ in found] == list(range(int(root.findtext("vcpu"))))
    assert len({cpu for _, cpu in found}) == len(found)
    return [cpu for _, cpu in found]


def whole_caches(name: str, cpus: list[int]) -> list[int]:
    """Of the caches that are used, how many CPUs of each are."""
    banks = {cache for node in host(name) for cache in node.caches}
    return sorted(len(cache & set(cpus)) for cache in banks if cache & set(cpus))


# --- every size ------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTS)
def test_every_size_fits_or_says_what_would(name: str) -> None:
    nodes = host(name)
    free = [cpu for node in nodes if node.memory != 0 for cpu in node.cpus]
    made = 0
    for vcpus in SIZES:
        for wishes in (Wishes(), Wishes(reserve=0), Wishes(policy="isolate"), Wishes(policy="require")):
            demand = Demand(vcpus, GIB * 2, (1,))
            try:
                found = plan(nodes, demand, wishes)
            except TopologyError as problem:
                assert "does not fit" in problem.message and problem.hint
                # by halves of cores it would fit: policy and reserved cores aside, only a lack of CPUs refuses
                if wishes == Wishes(reserve=0) and "epyc" in name and not vcpus % 16:
                    assert vcpus > len(free)
                continue
            made += 1
            check(nodes, demand, wishes, found)
            assert not set(dict(found.pins).values()) & (OFFLINE if name == "holes" else set())
    assert made > 10


@pytest.mark.parametrize("name", HOSTS)
def test_what_is_made_is_defined(name: str) -> None:
    libvirt = pytest.importorskip("libvirt")
    connection = libvirt.open("test:///default")
    for vcpus in (2, 8, 30, 128):
        try:
            wish = {"name": "mirror-topology"}
            xml = virtProfile.apply(
                domain(vcpus, 4, "  <iothreads>2</iothreads>\n"),
                [wish],
                store=library.store(),
                context=context(name),
            ).xml
        except ProfileError as problem:
            assert "does not fit" in problem.message
            continue
        assert library.is_valid(xml)
        connection.defineXMLFlags(library.for_test_driver(xml), libvirt.VIR_DOMAIN_DEFINE_VALIDATE).undefine()
    connection.close()


# --- caches, nodes, pages ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "vcpus", "filled"),
    [
        ("epyc", 8, [8]),
        ("epyc", 16, [8, 8]),
        ("epyc", 24, [8, 8, 8]),
        ("epyc", 30, [6, 8, 8, 8]),  # the emulator has the last core of the node
        ("epyc", 32, [8, 8, 8, 8]),  # on two nodes
        ("epyc, caches of eight cores", 16, [16]),  # one CCD
        ("epyc, caches of eight cores", 24, [8, 16]),
        ("epyc, caches of three cores", 24, [6, 6, 6, 6]),
        ("epyc, caches of three cores", 12, [6, 6]),
    ],
)
def test_caches_are_filled_whole(name: str, vcpus: int, filled: list[int]) -> None:
    assert whole_caches(name, pins_of(mirrored(name, vcpus))) == filled


def test_twelve_vcpus_without_threads_take_four_caches_of_three() -> None:
    root = mirrored("epyc, caches of three cores", 12, policy="isolate")
    cpus = pins_of(root)
    assert whole_caches("epyc, caches of three cores", cpus) == [3, 3, 3, 3]
    assert root.find("cpu/topology").get("threads") == "1"


def test_nodes_of_one_socket_are_nearer() -> None:
    root = mirrored("epyc", 120, 200)
    cells = root.findall("cpu/numa/cell")
    nodes = [int(one.get("nodeset")) for one in root.iterfind("numatune/memnode")]
    assert len(cells) == 4 and nodes in ([0, 1, 2, 3], [4, 5, 6, 7])
    distances = {int(one.get("value")) for one in root.iterfind("cpu/numa/cell/distances/sibling")}
    assert distances == {10, 12}
    home = {cpu: node.id for node in host("epyc") for cpu in node.cpus}
    for cell, node in zip(cells, nodes, strict=True):
        vcpus = parse_cpuset(cell.get("cpus"))
        assert {home[cpu] for at, cpu in enumerate(pins_of(root)) if at in vcpus} == {node}


def test_memory_goes_in_whole_pages() -> None:
    root = mirrored("epyc", 16, 97, nodes="2", hugepages="1G")
    sizes = [int(cell.get("memory")) for cell in root.iterfind("cpu/numa/cell")]
    assert sizes == [49 * GIB, 48 * GIB]
    assert root.find("memoryBacking/hugepages/page").get("size") == "1048576"
    # on one node there are no 97 pages: it says so, and what would fit
    with pytest.raises(ProfileError) as caught:
        mirrored("epyc", 16, 97, nodes="1", hugepages="1G")
    assert "pages of 1048576 KiB" in caught.value.message and "nodes=2" in str(caught.value.hint)


def test_a_node_without_memory_is_left_out() -> None:
    root = mirrored("memoryless", 12, 20, reserve="0")
    assert [one.get("nodeset") for one in root.iterfind("numatune/memnode")] == ["0", "2"]
    assert not set(pins_of(root)) & set(range(4, 8)) | set(range(16, 20)) & set(pins_of(root))


def test_hybrid_cores() -> None:
    """Siblings for the guest come from the large cores; small ones go to the emulator when all large are wanted."""
    root = mirrored("hybrid", 16)
    assert sorted(pins_of(root)) == list(range(16))
    assert root.find("cpu/topology").get("threads") == "2"
    assert root.find("cputune/emulatorpin").get("cpuset") == "16"
    root = mirrored("hybrid", 20)
    assert root.find("cpu/topology").get("threads") == "1"
    assert set(range(16, 32)) - set(pins_of(root)) <= parse_cpuset(
        root.find("cputune/emulatorpin").get("cpuset")
    )


def test_offline_cpus_and_holes() -> None:
    root = mirrored("holes", 4)
    assert not set(pins_of(root)) & {2, 8, 9, 10, 18, 26}
    with pytest.raises(ProfileError) as caught:
        mirrored("holes", 4, profile="dedicated-cpu", cpus="8-9,11-12")
    assert caught.value.code == "check" and "no CPU 8 " in caught.value.message

    with pytest.raises(ProfileError) as caught:
        mirrored("holes", 2, profile="dedicated-cpu", cpus="11-12", emulator="0-1,8")
    assert caught.value.code == "check" and "emulator=0-1,8" in caught.value.message
    root = mirrored("holes", 2, profile="dedicated-cpu", cpus="11-12", emulator="0-1,16")
    assert root.find("cputune/emulatorpin").get("cpuset") == "0-1,16"


# --- topoext, dedicated CPUs ---------------------------------------------------------------


@pytest.mark.parametrize("profile", ["mirror-topology", "dedicated-cpu"])
@pytest.mark.parametrize(
    ("name", "mode", "params", "expected"),
    [
        ("epyc", "<cpu mode='host-passthrough'/>", {}, True),
        ("epyc", "<cpu mode='host-model'/>", {}, True),
        ("epyc", "<cpu mode='custom'><model>EPYC-Milan</model></cpu>", {}, True),
        ("epyc", "<cpu mode='custom'><model>qemu64</model></cpu>", {}, False),
        ("hybrid", "<cpu mode='host-passthrough'/>", {}, False),
        ("epyc", "<cpu mode='host-passthrough'/>", {"policy": "isolate"}, False),
    ],
)
def test_topoext_where_an_amd_guest_has_threads(
    profile: str, name: str, mode: str, params: dict[str, str], expected: bool
) -> None:
    if profile == "dedicated-cpu":
        if params:
            pytest.skip("it has no policy")
        params = {"mirror": "yes"}
    root = mirrored(name, 8, more=f"  {mode}\n", profile=profile, **params)
    assert (root.find("cpu/feature[@name='topoext'][@policy='require']") is not None) == expected
    assert (root.find("cpu/topology").get("threads") == "2") == (params.get("policy") != "isolate")


def test_dedicated_cpus_of_a_large_host() -> None:
    root = mirrored(
        "epyc", 16, 8, "  <iothreads>2</iothreads>\n", "dedicated-cpu", mirror="yes", used="0-31,128-159"
    )
    cpus = pins_of(root)
    assert not set(cpus) & {*range(32), *range(128, 160)}
    assert whole_caches("epyc", cpus) == [8, 8]
    emulator = root.find("cputune/emulatorpin").get("cpuset")
    assert not parse_cpuset(emulator) & set(cpus)
    threads = [(one.get("iothread"), one.get("cpuset")) for one in root.iterfind("cputune/iothreadpin")]
    assert threads == [("1", emulator), ("2", emulator)]
    assert root.find("features/kvm/hint-dedicated") is not None


def test_used_auto_on_a_large_host() -> None:
    others = tuple(
        f"<domain type='kvm'><name>o{at}</name><cputune><vcpupin vcpu='0' cpuset='{at * 16}-{at * 16 + 15},"
        f"{at * 16 + 128}-{at * 16 + 143}'/></cputune></domain>"
        for at in range(7)
    )
    wish = {"name": "dedicated-cpu", "params": {"mirror": "yes", "used": "auto"}}
    known = context("epyc", others=others)
    made = virtProfile.apply(domain(16), [wish], store=library.store(), context=known)
    assert set(pins_of(etree.fromstring(made.xml.encode()))) <= {*range(112, 128), *range(240, 256)}
    with pytest.raises(ProfileError) as caught:
        virtProfile.apply(domain(64), [wish], store=library.store(), context=known)
    assert "without the CPUs that are used" in str(caught.value.hint) or "vCPUs" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("own", "override", "hint"),
    [
        ("", False, True),
        ("<vcpupin vcpu='9' cpuset='0'/>", False, True),  # there is no such vCPU
        ("<vcpupin vcpu='0' cpuset='0-7'/>", False, False),  # it keeps the pin: the CPU is not its own
        ("<vcpupin vcpu='0' cpuset='0-7'/>", True, True),
        ("<vcpupin vcpu='0' cpuset='5'/>", False, False),  # two on one
        ("<vcpupin vcpu='0' cpuset='4'/>", False, True),
    ],
)
def test_the_hint_is_only_given_where_it_is_true(own: str, override: bool, hint: bool) -> None:
    text = domain(4, more=f"  <cputune>{own}</cputune>\n" if own else "")
    wish = {"name": "dedicated-cpu", "params": {"cpus": "4-7"}}
    made = virtProfile.apply(text, [wish], store=library.store(), override=override)
    assert ("hint-dedicated" in made.xml.rpartition("</metadata>")[2]) == hint
    assert virtProfile.apply(made.xml, store=library.store()).xml == made.xml
    assert bool(made.overridden) == (not hint)
