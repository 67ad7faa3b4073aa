# SPDX-License-Identifier: GPL-2.0-or-later
"""Plans of `topology` on sample hosts, by their invariants and by libvirt; the profile made of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import virtProfile
from virtProfile.errors import ConflictError, MissingContextError, UsageError
from virtProfile.format.document import parse
from virtProfile.format.schema import Schema
from virtProfile.format.values import format_cpuset, parse_cpuset
from virtProfile.host.context import Context
from virtProfile.host.pinning import Plan, plan, plan_texts
from virtProfile.host.topology import (
    Demand,
    GuestCell,
    Node,
    TopologyError,
    Wishes,
    read_demand,
    read_host,
    read_wishes,
)
from virtProfile.language.parser import parse_profiles
from virtProfile.language.store import ProfileStore

TOP = Path(__file__).parent.parent
DATA = Path(__file__).parent / "data" / "topology"
HOSTS = ("1n8c", "2n8c2t", "asym", "memless", "test-driver")
GIB = 1 << 20


def document(name: str) -> str:
    return (DATA / f"topo-{name}.xml").read_text()


def host(name: str) -> tuple[Node, ...]:
    return read_host(parse(document(name)).root)


@pytest.fixture(scope="module")
def store() -> ProfileStore:
    return ProfileStore([TOP / "profiles"], check_owner=False)


def domain(vcpus: int, memory: int = GIB, more: str = "", iothreads: int = 0) -> str:
    threads = f"<iothreads>{iothreads}</iothreads>" if iothreads else ""
    return (
        f"<domain type='test'>\n  <name>t{vcpus}</name>\n  <memory>{memory}</memory>\n"
        f"  <vcpu>{vcpus}</vcpu>\n  {threads}\n  <os>\n    <type arch='i686'>hvm</type>\n  </os>\n{more}</domain>\n"
    )


def check(nodes: tuple[Node, ...], demand: Demand, wishes: Wishes, made: Plan) -> None:
    """Everything that must be true of a plan."""
    home = {cpu: node.id for node in nodes for cpu in node.cpus}
    core = {cpu: at for node in nodes for at in node.cores for cpu in at}
    cpus = dict(made.pins)
    assert sorted(cpus) == list(range(demand.vcpus))
    assert len(set(cpus.values())) == demand.vcpus
    assert set(cpus.values()) <= set(home) - wishes.used
    assert made.sockets * made.cores * made.threads == demand.vcpus
    groups: dict[Any, list[int]] = {}
    for vcpu, cpu in cpus.items():
        groups.setdefault(core[cpu], []).append(vcpu)
    guest = {frozenset(range(at, at + made.threads)) for at in range(0, demand.vcpus, made.threads)}
    assert {frozenset(one) for one in groups.values()} == guest
    for cell in made.cells:
        assert {home[cpus[vcpu]] for vcpu in cell.vcpus} == {cell.node}
        node = next(one for one in nodes if one.id == cell.node)
        assert node.memory is None or node.memory >= cell.memory > 0
    assert len(set(made.nodes)) == len(made.cells)
    assert sum(cell.memory for cell in made.cells) == demand.memory
    assert set(made.emulator) <= set(home) - wishes.used
    if wishes.reserve:
        held = {core[cpu] for cpu in made.emulator}
        assert len(held) == wishes.reserve
        assert not held & {core[cpu] for cpu in cpus.values()}
    if wishes.policy == "isolate":
        assert made.threads == 1
        assert all(not wishes.used & set(core[cpu]) for cpu in cpus.values())
    if wishes.policy == "require":
        assert made.threads > 1
    for at, row in enumerate(made.distances):
        assert row[at] == 10
        assert all(11 <= value <= 254 for other, value in enumerate(row) if other != at)


WISHES = [
    Wishes(nodes, policy, reserve)
    for nodes, policy, reserve in product((None, 1, 2), ("prefer", "require", "isolate"), (0, 1))
]


@pytest.mark.parametrize("name", HOSTS)
def test_every_plan_holds(name: str) -> None:
    nodes = host(name)
    fitting = 0
    for vcpus, wishes in product(range(1, 65), WISHES):
        demand = Demand(vcpus, GIB, (1, 2))
        try:
            made = plan(nodes, demand, wishes)
        except TopologyError as problem:
            assert problem.code == "completion"
            assert "vCPUs" in problem.message or "usable" in problem.message or "divide" in problem.message
            assert problem.hint
            continue
        fitting += 1
        check(nodes, demand, wishes, made)
        assert plan(tuple(reversed(nodes)), demand, wishes) == made
    assert fitting > 10


SOME = (1, 2, 3, 4, 6, 8, 12, 14, 16, 24, 28, 32, 64)


@pytest.mark.parametrize(
    "sizes", [SOME, pytest.param(range(1, 65), marks=pytest.mark.slow)], ids=["some", "all"]
)
@pytest.mark.parametrize("name", HOSTS)
def test_every_plan_is_defined(name: str, sizes: Sequence[int], store: ProfileStore) -> None:
    """Through the profile: valid by the schema, and libvirt takes it."""
    libvirt = pytest.importorskip("libvirt")
    connection = libvirt.open("test:///default")
    context = Context(capabilities=(document(name).replace("<guest>", "<guest><!---->"),))
    nodes = host(name)
    defined = 0
    for vcpus, wishes in product(sizes, WISHES):
        params = {"nodes": str(wishes.nodes or ""), "policy": wishes.policy, "reserve": str(wishes.reserve)}
        request = {"name": "mirror-topology", "params": params}
        text = domain(vcpus, iothreads=1)
        try:
            made = plan(nodes, Demand(vcpus, GIB, (1,)), wishes)
        except TopologyError as problem:
            with pytest.raises(TopologyError, match="does not fit") as found:
                virtProfile.apply(text, [request], store=store, context=context)
            assert found.value.message == problem.message
            continue
        result = virtProfile.apply(text, [request], store=store, context=context)
        assert Schema.baseline().validate(parse(result.xml).root) == []
        again = virtProfile.apply(result.xml, store=store, context=context)
        assert again.xml == result.xml
        one = connection.defineXMLFlags(result.xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
        root = parse(one.XMLDesc(0)).root
        pins = {int(pin.get("vcpu")): int(pin.get("cpuset")) for pin in root.iterfind("cputune/vcpupin")}
        assert pins == dict(made.pins)
        assert root.find("cputune/emulatorpin").get("cpuset") == format_cpuset(made.emulator)
        assert len(root.findall("cpu/numa/cell")) == (len(made.cells) if made.numa else 0)
        one.undefine()
        defined += 1
    connection.close()
    assert defined >= 20


#: What the algorithm was worked out on: host, vCPUs, wishes, CPUs or the reason.
ROWS: list[tuple[str, int, dict[str, Any], Any]] = [
    ("1n8c", 4, {}, [1, 2, 3, 4]),
    ("1n8c", 8, {}, "reserve=0, 7 vCPUs"),
    ("1n8c", 8, {"reserve": 0}, [0, 1, 2, 3, 4, 5, 6, 7]),
    ("1n8c", 4, {"nodes": 2}, "nodes=1"),
    ("2n8c2t", 8, {"nodes": 1}, [1, 17, 2, 18, 3, 19, 4, 20]),
    ("2n8c2t", 8, {"nodes": 2}, [1, 17, 2, 18, 8, 24, 9, 25]),
    ("2n8c2t", 30, {}, "28 vCPUs"),
    ("2n8c2t", 7, {}, [1, 2, 3, 4, 5, 6, 7]),
    ("2n8c2t", 7, {"policy": "require"}, "policy=prefer, 6 vCPUs"),
    ("asym", 4, {"nodes": 1}, [1, 9, 2, 10]),
    # all wide cores are needed: the narrow one is kept for the emulator
    ("asym", 8, {}, [0, 8, 1, 9, 2, 10, 3, 11]),
    ("memless", 2, {}, [1, 5]),
    ("memless", 4, {}, "reserve=0, 2 vCPUs"),
    ("2n8c2t", 4, {"policy": "isolate", "used": frozenset({0})}, [9, 10, 11, 12]),
    # the sibling of a CPU that another VM has is no core of one's own
    ("2n8c2t", 7, {"policy": "isolate", "reserve": 0, "used": frozenset({1, 9})}, [0, 2, 3, 4, 5, 6, 7]),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_rows(row: tuple[str, int, dict[str, Any], Any]) -> None:
    name, vcpus, wishes, wanted = row
    if isinstance(wanted, str):
        with pytest.raises(TopologyError) as found:
            plan(host(name), Demand(vcpus, GIB), Wishes(**wishes))
        assert found.value.hint == f"would fit: {wanted}"
    else:
        assert [cpu for _, cpu in plan(host(name), Demand(vcpus, GIB), Wishes(**wishes)).pins] == wanted


@given(st.data())
def test_any_host(data: st.DataObject) -> None:
    """Hosts with holes, odd cores, several nodes, and CPUs that others have."""
    nodes, next_cpu = [], 0
    for number in data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True)):
        cores = []
        for width in data.draw(st.lists(st.integers(1, 4), max_size=6)):
            cores.append(tuple(range(next_cpu, next_cpu + width)))
            next_cpu += width + data.draw(st.integers(0, 1))
        memory = data.draw(st.sampled_from((None, 0, GIB // 2, 8 * GIB)))
        nodes.append(Node(number, memory, ((2048, 512),), (), tuple(cores)))
    wishes = Wishes(
        data.draw(st.sampled_from((None, 1, 2))),
        data.draw(st.sampled_from(("prefer", "require", "isolate"))),
        data.draw(st.integers(0, 2)),
        data.draw(st.sampled_from((None, None, 2048))),
        frozenset(data.draw(st.sets(st.integers(0, 30), max_size=5))),
    )
    demand = Demand(data.draw(st.integers(1, 24)), data.draw(st.sampled_from((GIB, 3 * GIB))))
    try:
        made = plan(nodes, demand, wishes)
    except TopologyError as problem:
        for word in problem.hint.removeprefix("would fit: ").split(", "):
            if word.endswith("vCPUs"):  # what is said to fit does
                smaller = virtProfile.frozen.replace(demand, vcpus=int(word.split()[0]))
                assert isinstance(plan(nodes, smaller, wishes), Plan)
        return
    check(tuple(nodes), demand, wishes, made)


def test_cells_of_the_vm_are_kept() -> None:
    cells = (GuestCell((0, 1, 2, 3), GIB), GuestCell((4, 5), 2 * GIB))
    made = plan(host("2n8c2t"), Demand(6, 3 * GIB, cells=cells))
    check(host("2n8c2t"), Demand(6, 3 * GIB, cells=cells), Wishes(), made)
    assert [one.memory for one in made.cells] == [GIB, 2 * GIB]
    assert (made.sockets, made.cores, made.threads) == (1, 3, 2)
    with pytest.raises(TopologyError, match="2 NUMA cells of its own, and 1 nodes"):
        plan(host("2n8c2t"), Demand(6, 3 * GIB, cells=cells), Wishes(nodes=1))
    torn = (GuestCell((0, 2), GIB), GuestCell((1, 3), GIB))
    made = plan(host("2n8c2t"), Demand(4, 2 * GIB, cells=torn))
    check(host("2n8c2t"), Demand(4, 2 * GIB, cells=torn), Wishes(), made)
    assert made.threads == 1  # vCPUs 0 and 1 are apart


def test_memory_and_pages() -> None:
    nodes = host("1n8c")
    with pytest.raises(TopologyError, match="node 0 has 16777216 KiB of memory, 20971520 KiB are wanted"):
        plan(nodes, Demand(2, 20 * GIB))
    with pytest.raises(TopologyError, match="8388608 KiB of pages of 2048 KiB, 9437184 KiB are wanted"):
        plan(nodes, Demand(2, 9 * GIB), Wishes(hugepages=2048))
    with pytest.raises(TopologyError, match="no multiple of the 2048 KiB page") as found:
        plan(nodes, Demand(2, GIB + 1024), Wishes(hugepages=2048))
    assert "no hugepages" in found.value.hint
    assert plan(nodes, Demand(2, 8 * GIB), Wishes(hugepages=2048)).hugepages == 2048
    # memory that only two nodes have together
    assert plan(host("2n8c2t"), Demand(4, 100 * GIB)).nodes == (0, 1)


def test_documents_that_no_libvirt_wrote() -> None:
    """Bounded in steps, however many nodes there are."""
    far = tuple((other, 20) for other in range(1000))
    nodes = [Node(at, GIB, (), far, ((2 * at, 2 * at + 1),)) for at in range(1000)]
    start = time.process_time()
    for vcpus, wishes in (
        (6, Wishes()),
        (1999, Wishes(policy="require")),
        (1000, Wishes(500)),
        (999, Wishes()),
    ):
        with pytest.raises(TopologyError) as found:
            plan(nodes, Demand(vcpus, 500 * GIB), wishes)
        assert found.value.message[-2:] != ": "
        assert found.value.hint
    assert time.process_time() - start < 20


def test_many_nodes() -> None:
    """More sets than are tried one by one: neighbours are taken."""

    def row(at: int) -> tuple[tuple[int, int], ...]:
        return tuple((other, 10 + abs(at - other)) for other in range(64))

    nodes = [Node(at, GIB, (), row(at), ((4 * at,), (4 * at + 1,))) for at in range(64)]
    demand = Demand(32, 16 * GIB)
    made = plan(nodes, demand, Wishes(16, reserve=0))
    check(tuple(nodes), demand, Wishes(16, reserve=0), made)
    assert max(made.nodes) - min(made.nodes) == 15
    # a guest may not be told that another cell is as near as its own
    close = [Node(at, GIB, (), ((1 - at, 10),), ((at,),)) for at in range(2)]
    assert plan(close, Demand(2, GIB), Wishes(2, reserve=0)).distances == ((10, 11), (11, 10))


def test_offline_cpus_are_not_pinned_to() -> None:
    text = document("1n8c").replace(
        '<cpu id="1" socket_id="0" die_id="0" core_id="1" siblings="1"/>', '<cpu id="1"/>'
    )
    nodes = read_host(parse(text).root)
    assert 1 not in nodes[0].cpus
    bare = document("1n8c")
    for number in range(8):
        bare = bare.replace(f' siblings="{number}"', "")
    assert len(read_host(parse(bare).root)[0].cores) == 8
    with pytest.raises(TopologyError, match="do not have"):
        read_host(parse("<capabilities><host/></capabilities>").root)


def test_demand() -> None:
    more = (
        "<cpu><topology sockets='1' dies='2' cores='2' threads='1'/></cpu>"
        "<devices><memory model='dimm'><target><size unit='MiB'>512</size></target></memory></devices>"
    )
    found = read_demand(parse(domain(4, GIB, more, iothreads=2)).root)
    assert found == Demand(4, GIB // 2, (1, 2), (), ("dies",))
    ids = domain(1).replace(
        "<os>", "<iothreads>3</iothreads><iothreadids><iothread id='2'/></iothreadids><os>"
    )
    assert read_demand(parse(ids).root).iothreads == (1, 2, 3)
    for bad in ("<vcpu>-1</vcpu>", "<vcpu>99999999999</vcpu>", "<vcpu>x</vcpu>"):
        with pytest.raises(virtProfile.ProfileError, match="vcpu"):
            read_demand(parse(f"<domain>{bad}</domain>").root)


def test_texts() -> None:
    made = plan_texts(document("2n8c2t"), domain(8), nodes="2", used="0")
    assert made == plan(host("2n8c2t"), Demand(8, GIB), Wishes(2, used=frozenset({0})))
    told = made.to_dict()
    assert told["nodes"] == [0, 1]
    assert told["pins"]["0"] == made.pins[0][1]
    assert told["topology"] == {"sockets": 2, "cores": 2, "threads": 2}
    with pytest.raises(UsageError, match="'domain' was given"):
        plan_texts(domain(1), domain(1))
    with pytest.raises(virtProfile.ProfileError, match="DOCTYPE"):
        plan_texts("<!DOCTYPE a><capabilities/>", domain(1))


def test_wishes_as_spelled() -> None:
    assert read_wishes() == Wishes()
    assert read_wishes("2", "isolate", "0", "1G", "0-3,^2") == Wishes(
        2, "isolate", 0, GIB, frozenset({0, 1, 3})
    )
    assert read_wishes(hugepages="2048").hugepages == read_wishes(hugepages="2MiB").hugepages == 2048
    for bad in (
        {"nodes": "0"},
        {"policy": "x"},
        {"reserve": "-1"},
        {"hugepages": "big"},
        {"used": "3-1"},
        {"used": "0-9999999"},
    ):
        with pytest.raises(UsageError):
            read_wishes(**bad)


@given(st.frozensets(st.integers(0, 300), min_size=1))
def test_cpusets(numbers: frozenset[int]) -> None:
    assert parse_cpuset(format_cpuset(numbers)) == numbers


# --- through the engine ---------------------------------------------------------


def test_definition_with_another_topology_is_a_conflict(store: ProfileStore) -> None:
    more = "<cpu><topology sockets='8' dies='1' cores='1' threads='1'/></cpu>"
    context = Context(capabilities=(document("2n8c2t"),))
    with pytest.raises(ConflictError) as found:
        virtProfile.apply(domain(8, GIB, more), ["mirror-topology"], store=store, context=context)
    paths = {one.path for one in found.value.conflicts}
    assert "/domain/cpu/topology/@threads" in paths
    fixes = {fix for one in found.value.conflicts for fix in one.fixes}
    assert fixes == {"--profile mirror-topology,priority=100"}
    result = virtProfile.apply(
        domain(8, GIB, more),
        [{"name": "mirror-topology", "priority": 100}],
        store=store,
        context=context,
    )
    topology = parse(result.xml).root.find("cpu/topology")
    assert dict(topology.attrib) == {"sockets": "1", "dies": "1", "cores": "4", "threads": "2"}
    back = virtProfile.unapply(result.xml, store=store)
    assert back.xml == domain(8, GIB, more)
    assert not back.warnings


def test_every_change_has_its_origin(store: ProfileStore) -> None:
    context = Context(capabilities=(document("2n8c2t"),))
    result = virtProfile.apply(domain(8), ["mirror-topology"], store=store, context=context)
    assert {(one.origin.profile, one.origin.action) for one in result.changes} == {("mirror-topology", "add")}
    assert any(one.path == "/domain/cputune/vcpupin[@vcpu='7']/@cpuset" for one in result.changes)


def test_without_capabilities(store: ProfileStore) -> None:
    with pytest.raises(MissingContextError, match="capabilities are not known"):
        virtProfile.apply(domain(8), ["mirror-topology"], store=store)


def test_cpus_of_the_emulator() -> None:
    nodes = host("2n8c2t")
    demand = read_demand(parse(domain(4, iothreads=2)).root)
    made = plan(nodes, demand, read_wishes(emulator="0-1,16", used="2"))
    assert made.emulator == (0, 1, 16)
    assert not {cpu for _, cpu in made.pins} & {0, 1, 16, 2}
    made = plan(nodes, demand, read_wishes(emulator="0-1,16", used="8-15,24-31"))
    assert [cpu for _, cpu in made.pins] == [2, 18, 3, 19]  # 17 has its sibling no more
    with pytest.raises(TopologyError, match="no CPU 90-91 for the emulator"):
        plan(nodes, demand, read_wishes(emulator="0,90-91"))
    with pytest.raises(UsageError, match="emulator="):
        read_wishes(emulator="x")
    everything = format_cpuset({cpu for node in nodes for cpu in node.cpus} - {0, 16})
    for used, hint in (("", ""), (everything, "the CPUs that are used")):
        with pytest.raises(TopologyError) as problem:
            plan(
                nodes,
                read_demand(parse(domain(4 if used else 64)).root),
                read_wishes(emulator="0", used=used),
            )
        assert hint in problem.value.hint and ("that are used" in problem.value.hint) == bool(hint)


@pytest.mark.parametrize("wish", [{}, {"used": "0-3"}, {"emulator": "8-9"}])
def test_dedicated_cpu_mirrors_where_it_is_asked_to(store: ProfileStore, wish: dict[str, str]) -> None:
    context = Context(capabilities=(document("2n8c2t"),))
    text = domain(4).replace("type='test'", "type='qemu'")

    def applied(params: dict[str, str], context: Context | None = None) -> Any:
        profile = {"name": "dedicated-cpu", "params": params}
        return virtProfile.apply(text, [profile], store=store, context=context)

    made = plan(host("2n8c2t"), read_demand(parse(text).root), read_wishes(**wish))
    result = applied({"mirror": "yes", **wish}, context)
    root = parse(result.xml).root
    pins = tuple((int(one.get("vcpu")), int(one.get("cpuset"))) for one in root.iterfind("cputune/vcpupin"))
    assert pins == made.pins
    assert root.find("cputune/emulatorpin").get("cpuset") == format_cpuset(made.emulator)
    assert {one.origin.profile for one in result.changes} == {"dedicated-cpu"}
    assert virtProfile.apply(result.xml, store=store, context=context).xml == result.xml
    assert virtProfile.unapply(result.xml, store=store).xml == text
    # not asked to, or told which CPUs: the host need not be known
    for params, expected in ((wish, []), ({"mirror": "yes", "cpus": "4-7"}, ["4", "5", "6", "7"])):
        pinned = parse(applied(params).xml).root.iterfind("cputune/vcpupin")
        assert [pin.get("cpuset") for pin in pinned] == expected
        assert applied(params).xml == applied(params, context).xml
    with pytest.raises(MissingContextError):
        applied({"mirror": "yes", **wish})


def test_another_profile_may_ask_for_it(tmp_path: Path) -> None:
    """With expressions, a `when`, and what another profile brings."""
    (tmp_path / "a.xml").write_text(
        "<profiles><profile name='big'><add multiple='no'><vcpu>6</vcpu></add></profile>"
        "<profile name='mine' xmlns:virtuned='http://virt-manager.org/schemas/virtuned/0.1'>"
        "<add when='vcpu &gt; 4' unknown='skip'><virtuned:mirror-topology reserve='{vcpu - 5}'/></add>"
        "</profile></profiles>"
    )
    store = ProfileStore([tmp_path], check_owner=False)
    context = Context(capabilities=(document("2n8c2t"),))
    assert "vcpupin" not in virtProfile.apply(domain(4), ["mine"], store=store, context=context).xml
    wishes = ["mine", {"name": "big", "priority": 100}]
    result = virtProfile.apply(domain(4), wishes, store=store, context=context)
    assert len(parse(result.xml).root.findall("cputune/vcpupin")) == 6
    assert "vcpupin" not in virtProfile.apply(domain(8), ["mine"], store=store).xml  # unknown='skip'


@pytest.mark.parametrize(
    "inside, told",
    [
        (
            "<remove><virtuned:mirror-topology/></remove>",
            "move it into an <add>|<mirror-topology> in <remove>",
        ),
        ("<add><virtuned:mirror-topolgy/></add>", "unknown source 'mirror-topolgy'"),
        ("<add><virtuned:mirror-topology node='1'/></add>", "unknown attribute 'node'"),
        ("<add><virtuned:mirror-topology><x/></virtuned:mirror-topology></add>", "holds nothing"),
        ("<match><virtuned:mirror-topology/></match>", "<mirror-topology> in <match>"),
    ],
)
def test_wrong_in_a_profile(inside: str, told: str) -> None:
    namespace = "xmlns:virtuned='http://virt-manager.org/schemas/virtuned/0.1'"
    found = parse_profiles(f"<profile name='x' {namespace}>{inside}</profile>", "x.xml")
    assert any(part in one.message for one in found.problems for part in told.split("|")), found.problems


def test_option(tmp_path: Path) -> None:
    from commandline import run

    shutil.copy(TOP / "profiles" / "mirror-topology.xml", tmp_path)
    (tmp_path / "vm.xml").write_text(domain(8))
    context = ["--profile-dir", str(tmp_path), "--capabilities", str(DATA / "topo-2n8c2t.xml")]
    line = ["--input", str(tmp_path / "vm.xml"), *context]
    done = run([*line, "--mirror-topology", "nodes=2,used=0,,16"])
    assert done.status == 0, done.err
    root = parse(done.text).root
    assert [pin.get("cpuset") for pin in root.iterfind("cputune/vcpupin")][:2] == ["2", "18"]
    done = run([*line, "--mirror-topology"])
    assert done.status == 0
    assert "<numa>" not in done.text
    done = run([*line, "--mirror-topology=nodes=3"])
    assert done.status == 1
    assert "would fit: nodes=1" in done.err
    assert run([*line, "--mirror-topology", "node=3"]).status == 1


#: In a process of its own: a driver that is embedded stays in it for good.
EMBEDDED = """
import json, libvirt, sys
libvirt.virEventRegisterDefaultImpl()
connection = libvirt.open(sys.argv[1])
if len(sys.argv) == 2:
    print(connection.getCapabilities())
    sys.exit()
flags = libvirt.VIR_DOMAIN_START_VALIDATE | libvirt.VIR_DOMAIN_START_PAUSED
domain = connection.createXML(sys.argv[2], flags)
print(json.dumps([domain.vcpuPinInfo(), domain.emulatorPinInfo()]))
domain.destroy()
"""


@pytest.mark.slow
@pytest.mark.parametrize("vcpus, reserve", [(1, 1), (2, 0)])
def test_a_plan_for_this_machine_starts(
    vcpus: int, reserve: int, embed: Callable[[str], str], store: ProfileStore
) -> None:
    """libvirt and QEMU take the pins, and tell the same ones back."""
    uri = embed("host")

    def ask(*words: str) -> str:
        done = subprocess.run([sys.executable, "-c", EMBEDDED, uri, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    context = Context(capabilities=(ask(),))
    nodes = read_host(parse(context.capabilities[0]).root)
    if sum(len(node.cpus) for node in nodes) < vcpus + reserve:
        pytest.skip("too few CPUs")
    text = (
        f"<domain type='qemu'>\n  <name>mirrored{vcpus}</name>\n  <memory unit='MiB'>64</memory>\n"
        f"  <vcpu>{vcpus}</vcpu>\n  <iothreads>1</iothreads>\n  <os>\n"
        "    <type arch='x86_64' machine='q35'>hvm</type>\n  </os>\n</domain>\n"
    )
    request = {"name": "mirror-topology", "params": {"reserve": str(reserve)}}
    made = plan(nodes, Demand(vcpus, 65536, (1,)), Wishes(reserve=reserve))
    pins, emulator = json.loads(ask(virtProfile.apply(text, [request], store=store, context=context).xml))
    assert [[at for at, on in enumerate(row) if on] for row in pins] == [[cpu] for _, cpu in made.pins]
    assert [at for at, on in enumerate(emulator) if on] == list(made.emulator)


@pytest.mark.parametrize("name, vcpus, nodes", [("1n8c", 4, ""), ("2n8c2t", 8, "2"), ("asym", 8, "")])
def test_it_is_taken_back(name: str, vcpus: int, nodes: str, store: ProfileStore) -> None:
    context = Context(capabilities=(document(name),))
    text = domain(vcpus, iothreads=1)
    request = {"name": "mirror-topology", "params": {"nodes": nodes}}
    applied = virtProfile.apply(text, [request], store=store, context=context)
    assert "vcpupin" in applied.xml
    assert virtProfile.unapply(applied.xml, "mirror-topology", store=store).xml == text
    # the VM has fewer vCPUs now: the plan is made anew, from what the VM is without it
    before, after = f"<vcpu>{vcpus}</vcpu>", f"<vcpu>{vcpus - 2}</vcpu>"
    again = virtProfile.apply(applied.xml.replace(before, after), store=store, context=context)
    root = parse(again.xml).root
    assert len(root.findall("cputune/vcpupin")) == vcpus - 2
    assert virtProfile.unapply(again.xml, "all", store=store).xml == text.replace(before, after)
    # another host
    moved = virtProfile.apply(
        applied.xml, store=store, context=Context(capabilities=(document("test-driver"),))
    )
    pins = [pin.get("cpuset") for pin in parse(moved.xml).root.iterfind("cputune/vcpupin")]
    assert len(set(pins)) == vcpus


# --- caches, pages, and what the other VMs of the host have ------------------------------


def chiplets(caches: int, cores: int, threads: int, **more: Any) -> Node:
    """A node of so many caches, each shared by so many cores; threads numbered as Linux does on EPYC."""
    total = caches * cores
    made = [tuple(core + total * thread for thread in range(threads)) for core in range(total)]
    shared = [
        frozenset(cpu for core in made[at * cores : (at + 1) * cores] for cpu in core) for at in range(caches)
    ]
    return Node(0, 512 * GIB, (), (), tuple(made), tuple(shared), **more)


def used_caches(node: Node, made: Plan) -> dict[int, int]:
    """How many CPUs of which cache the vCPUs have."""
    found: dict[int, int] = {}
    for _, cpu in made.pins:
        at = next(at for at, cache in enumerate(node.caches) if cpu in cache)
        found[at] = found.get(at, 0) + 1
    return found


def test_caches_are_filled_whole() -> None:
    three = chiplets(8, 3, 1)
    assert used_caches(three, plan([three], Demand(12, GIB))) == {1: 3, 2: 3, 3: 3, 4: 3}
    # the emulator's core is of a cache that is broken already
    assert plan([three], Demand(12, GIB), Wishes(used=frozenset({23}))).emulator == (21,)
    eight = chiplets(2, 8, 2)
    made = plan([eight], Demand(16, GIB))
    assert used_caches(eight, made) == {1: 16}
    assert made.threads == 2
    # what is left over goes where it leaves the most whole
    six = chiplets(4, 4, 1)
    assert used_caches(six, plan([six], Demand(6, GIB), Wishes(reserve=0, used=frozenset({12, 13})))) == {
        0: 4,
        3: 2,
    }


@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 2), st.integers(1, 40), st.integers(0, 2))
def test_never_more_caches_than_needed(
    caches: int, cores: int, threads: int, vcpus: int, reserve: int
) -> None:
    node = chiplets(caches, cores, threads)
    try:
        made = plan([node], Demand(vcpus, GIB), Wishes(reserve=reserve))
    except TopologyError:
        return
    check((node,), Demand(vcpus, GIB), Wishes(reserve=reserve), made)
    needed = -(-vcpus // made.threads)
    # the reserved cores break one cache where they fit in it
    broken = -(-reserve // cores)
    assert len(used_caches(node, made)) <= -(-needed // cores) + broken


def test_the_caches_of_capabilities() -> None:
    text = document("2n8c2t").replace(
        "</topology>",
        "</topology><cache><bank id='0' level='2' cpus='0'/><bank id='1' level='3' cpus='0-3'/>"
        "<bank id='0' level='3' cpus='4-7'/></cache>",
        1,
    )
    nodes = read_host(parse(text).root)
    told = {cache for node in nodes for cache in node.caches}
    assert told and all(cache <= {0, 1, 2, 3} or cache <= {4, 5, 6, 7} for cache in told)
    assert all(cache <= node.cpus for node in nodes for cache in node.caches)


def two_nodes(pages: tuple[tuple[int, int], ...] = ()) -> list[Node]:
    cores = [tuple((cpu,) for cpu in range(at, at + 8)) for at in (0, 8)]
    return [Node(at, 128 * GIB, pages, ((1 - at, 20),), cores[at]) for at in (0, 1)]


def test_memory_is_divided_in_whole_pages() -> None:
    wishes = Wishes(nodes=2, hugepages=GIB)
    made = plan(two_nodes(((GIB, 100),)), Demand(4, 97 * GIB), wishes)
    assert sorted(cell.memory for cell in made.cells) == [48 * GIB, 49 * GIB]
    # by the page that the VM itself asks for
    domain_xml = domain(
        4, 97 * GIB, "<memoryBacking><hugepages><page size='1' unit='GiB'/></hugepages></memoryBacking>"
    )
    demand = read_demand(parse(domain_xml).root)
    made = plan(two_nodes(), demand, Wishes(nodes=2))
    assert [cell.memory for cell in made.cells] == [49 * GIB, 48 * GIB]
    # an odd number of KiB, and a page that it is no multiple of
    made = plan(two_nodes(), Demand(4, GIB + 1), Wishes(nodes=2))
    assert [cell.memory for cell in made.cells] == [GIB // 2 + 1, GIB // 2]
    with pytest.raises(TopologyError, match="no multiple of the 1048576 KiB page"):
        plan(two_nodes(((GIB, 100),)), Demand(4, 97 * GIB + 1024), wishes)


OTHERS = (
    "<domain type='kvm'><name>a</name><cputune><vcpupin vcpu='0' cpuset='0-1'/>"
    "<emulatorpin cpuset='2'/></cputune></domain>",
    "<domain type='kvm'><name>b</name><vcpu cpuset='0-7'>2</vcpu><iothreads>1</iothreads>"
    "<cputune><iothreadpin iothread='1' cpuset='4,^5'/></cputune></domain>",
)


def test_used_auto_takes_what_others_are_pinned_to(store: ProfileStore) -> None:
    wish = {"name": "mirror-topology", "params": {"used": "auto", "reserve": "0"}}
    known = Context(capabilities=(document("1n8c"),), others=OTHERS)
    result = virtProfile.apply(domain(4), [wish], store=store, context=known)
    pins = parse(result.xml).root.findall("cputune/vcpupin")
    assert [pin.get("cpuset") for pin in pins] == ["3", "5", "6", "7"]
    assert virtProfile.apply(result.xml, store=store, context=known).xml == result.xml
    with pytest.raises(MissingContextError, match="used=auto") as caught:
        virtProfile.apply(domain(4), [wish], store=store, context=Context(capabilities=(document("1n8c"),)))
    assert "-c URI" in caught.value.hint


def test_used_auto_asks_the_connection(tmp_path: Path) -> None:
    """The other VMs, and not the one itself; nobody is asked who does not say it."""
    pytest.importorskip("libvirt")
    from virtProfile.live.call_context import context
    from virtProfile.live.connection import Connection

    with Connection("test:///default") as connection:
        for text in OTHERS:
            connection.define(
                text.replace("type='kvm'", "type='test'").replace(
                    "<name>", "<memory>1024</memory><os><type arch='i686'>hvm</type></os><name>", 1
                )
            )
        own = connection.find("b").xml
        assert context(Context(), own, "b", connection, None).pinned_elsewhere == {0, 1, 2}
        fresh = context(Context(), domain(4), "t4", connection, None)
        assert fresh.pinned_elsewhere == {0, 1, 2, 4}
        given_files = Context(capabilities=(document("1n8c"),))
        with pytest.raises(MissingContextError):
            context(given_files, own, "b", connection, None).pinned_elsewhere  # noqa: B018
