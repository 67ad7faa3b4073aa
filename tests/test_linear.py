# SPDX-License-Identifier: GPL-2.0-or-later
"""Work that grows with the devices of a VM and not with their square, counted in calls."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import library
import pytest
from counting import calls, growth, steepness
from lxml import etree
from manydevices import KINDS, domain, letters, mixed

import virtProfile
from virtProfile.authoring.compare import gaps
from virtProfile.format.schema import Schema

STORE = library.store()


#: (profile, priority, kind of device): what acts on each of them, with and without a say over the definition
CASES = [
    ("no-usb", 0, "USB inputs"),
    ("no-usb", 100, "USB inputs"),
    ("no-usb", 100, "redirdevs"),
    ("linux-desktop", 0, "USB inputs"),
    ("spice-desktop", 0, "redirdevs"),
    ("virtio-disk", 100, "sata disks"),
    ("sata-disk", 100, "virtio disks"),
    ("virtio-scsi", 0, "scsi disks"),
    ("like-ovirt", 100, "scsi disks"),
    ("like-ovirt", 0, "controllers"),
    ("fast-disk", 0, "virtio disks"),
    ("disk-multiqueue", 0, "virtio disks"),
    ("virtio-net", 100, "NICs"),
    ("net-multiqueue", 0, "NICs"),
    ("guest-agent", 0, "channels"),
]


@pytest.mark.parametrize(("name", "priority", "kind"), CASES)
@pytest.mark.parametrize("operation", ["apply", "again", "status", "unapply"])
def test_calls_grow_with_the_devices(name: str, priority: int, kind: str, operation: str) -> None:
    wish = [{"name": name, "priority": priority}]

    def run(count: int) -> Callable[[], object]:
        text = domain(kind, count)
        if operation == "apply":
            return lambda: virtProfile.apply(text, wish, store=STORE)
        applied = virtProfile.apply(text, wish, store=STORE).xml
        if operation == "again":
            return lambda: virtProfile.apply(applied, wish, store=STORE)
        if operation == "status":
            return lambda: virtProfile.status(applied, store=STORE)
        return lambda: virtProfile.unapply(applied, [name], store=STORE)

    assert growth(run, 150) < 2.3


@pytest.mark.parametrize(
    "priority", [pytest.param(0, marks=pytest.mark.slow), pytest.param(100, id="override")]
)
@pytest.mark.parametrize("name", library.NAMES)
def test_work_grows_with_the_devices(name: str, priority: int) -> None:
    """Of every shipped profile, to apply and to take it back: loops and expressions count too."""
    wish = [library.wish(name, priority=priority)]
    context = library.context("win11")

    def run(count: int) -> Callable[[], object]:
        text = mixed(6 * count)

        def there_and_back() -> None:
            applied = virtProfile.apply(text, wish, store=STORE, context=context).xml
            virtProfile.unapply(applied, "all", store=STORE, context=context)

        return there_and_back

    assert steepness(run, 10) < 2.25


@pytest.mark.parametrize(
    ("name", "kind", "size"),
    [
        ("no-usb", "USB controllers", 100),
        ("no-spice", "SPICE channels", 100),
        # beyond the first controller's 255 targets
        pytest.param("virtio-scsi", "sata disks", 260, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("back", [False, True], ids=["apply", "unapply"])
def test_work_grows_with_what_a_profile_acts_on(name: str, kind: str, size: int, back: bool) -> None:
    """A controller that is full and another for each number of those that went: both are looked up."""
    params = {"drivers": "yes"} if name == "virtio-scsi" else {}
    wish = [library.wish(name, priority=100, params=params)]
    context = library.context("win11")

    def run(count: int) -> Callable[[], object]:
        text = domain(kind, count)
        if back:
            text = virtProfile.apply(text, wish, store=STORE, context=context).xml
            return lambda: virtProfile.unapply(text, "all", store=STORE, context=context)
        return lambda: virtProfile.apply(text, wish, store=STORE, context=context)

    assert steepness(run, size) < 2.25


@pytest.mark.parametrize("kind", ["virtio disks", "sata disks", "NICs", "USB inputs", "channels"])
def test_work_of_completing_grows_with_the_devices(kind: str) -> None:
    pytest.importorskip("libvirt")
    context = library.context("win11")

    def run(count: int) -> Callable[[], object]:
        text = domain(kind, count)
        return lambda: virtProfile.apply(text, [], store=STORE, context=context, complete=True)

    assert steepness(run, 40) < 2.25


def test_virtinst_looks_for_no_device_from_the_first_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """What libxml2 does makes no lines: no path through all devices reaches it."""
    pytest.importorskip("libvirt")
    from virtinst import xmlapi

    paths: list[str] = []
    find = xmlapi._Libxml2API._find

    def noted(self: object, path: str) -> object:
        paths.append(path)
        return find(self, path)

    monkeypatch.setattr(xmlapi._Libxml2API, "_find", noted)
    virtProfile.apply(domain("virtio disks", 30), [], store=STORE, context=library.context(), complete=True)
    assert len(paths) > 100
    assert not [path for path in paths if path.startswith("./devices/disk[")]


def test_secrets_are_others_once_for_all_devices(tmp_path: Path) -> None:
    (tmp_path / "p.xml").write_text(
        "<profile name='p'><add each='devices/disk'><disk><serial>{count(target)}{source/cookies/cookie}"
        "</serial></disk></add></profile>"
    )
    store = virtProfile.ProfileStore([tmp_path])

    def disk(number: int) -> str:
        cookies = f"<cookies><cookie name='c'>crumbs{number}of</cookie></cookies>"
        source = f"<source protocol='https' name='i'><host name='h'/>{cookies}</source>"
        return f"<disk type='network'>{source}<target dev='vd{letters(number)}' bus='virtio'/></disk>"

    def run(count: int) -> Callable[[], object]:
        disks = "".join(disk(number) for number in range(count))
        text = domain("channels", 0).replace("<devices>", f"<devices>{disks}")
        return lambda: virtProfile.apply(text, ["p"], store=store)

    assert steepness(run, 20) < 2.25
    result = run(5)()
    assert isinstance(result, virtProfile.Result)
    assert "crumbs" in result.xml
    assert "crumbs" not in str(result.to_dict()["changes"])


@pytest.mark.parametrize(
    "names", [["high-performance"], ["linux-server"], ["desktop", "no-spice"], ["windows-11"]]
)
def test_honest_vms_are_within_the_budget_of_expressions(names: list[str]) -> None:
    wishes = [library.wish(name, priority=100) for name in names]
    result = virtProfile.apply(mixed(3000), wishes, store=STORE, context=library.context("win11"))
    assert result.changed


def test_comparing_does_not_double_with_each_level() -> None:
    def nested(depth: int, end: str) -> etree._Element:
        return etree.fromstring(f"<domain>{'<metadata>' * depth}{end}{'</metadata>' * depth}</domain>")

    node = Schema.baseline().root

    def run(depth: int) -> Callable[[], object]:
        one, other = nested(depth, "<a x='1'/>"), nested(depth, "<a x='2'/>")
        return lambda: list(gaps(one, other, node))

    run(3)()
    assert calls(run(40), 1_000_000) < 1_000_000
    assert len(list(gaps(nested(20, "<a x='1'/>"), nested(20, "<a x='2'/>"), node))) >= 1


def test_equal_wishes_for_equal_devices(tmp_path: Path) -> None:
    def run(count: int) -> Callable[[], object]:
        snippet = "<redirdev bus='usb' type='spicevmc'/>" * count
        path = tmp_path / f"p{count}.xml"
        path.write_text(f"<profile name='p{count}'><add><devices>{snippet}</devices></add></profile>")
        text, store = domain("redirdevs", count + 10), virtProfile.ProfileStore([tmp_path])
        return lambda: virtProfile.apply(text, [path.stem], store=store)

    assert growth(run, 100) < 2.3


#: What a weaker profile does, and what of it a stronger one takes back.
TAKEN_BACK = {
    "repeated": (
        "<add repeat='{n}'><devices><redirdev bus='usb' type='spicevmc'/></devices></add>",
        "<remove><devices><redirdev/></devices></remove>",
    ),
    "repeated, selected": (
        "<add repeat='{n}'><devices><input type='tablet' bus='usb'/></devices></add>",
        "<remove select=\"devices/input[@bus='usb']\"/>",
    ),
    "attributes": (
        "<add each='devices/disk'><disk><driver cache='none'/></disk></add>",
        "<remove select='devices/disk/driver/@cache'/>",
    ),
    "elements": (
        "<add each='devices/disk'><disk><iotune><total_bytes_sec>30000</total_bytes_sec></iotune></disk></add>",
        "<remove select='devices/disk/iotune'/>",
    ),
    "defaults": (
        "<default><devices><disk><driver cache='none'/><iotune><total_bytes_sec>3000</total_bytes_sec></iotune>"
        "</disk></devices></default>",
        "<remove select='devices/disk/driver/@cache'/><remove select='devices/disk/iotune'/>",
    ),
    "all or nothing": (
        "<add each='devices/disk' whole='yes'><disk><driver cache='none'/><serial>x</serial></disk></add>",
        "<remove select='devices/disk/driver/@cache'/>",
    ),
}


@pytest.mark.parametrize("again", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("what", TAKEN_BACK)
def test_work_of_taking_back_grows_with_what_was_done(tmp_path: Path, what: str, again: bool) -> None:
    weak, strong = TAKEN_BACK[what]

    def run(count: int) -> Callable[[], object]:
        for name, actions in (("weak", weak), ("strong", strong)):
            text = f"<profile name='{name}{count}'>{actions.replace('{n}', str(count))}</profile>"
            (tmp_path / f"{name}{count}.xml").write_text(text)
        store = virtProfile.ProfileStore([tmp_path])
        text = domain("virtio disks", count)
        wishes = [{"name": f"weak{count}", "priority": 10}, {"name": f"strong{count}", "priority": 20}]
        if again:
            text = virtProfile.apply(text, wishes[:1], store=store).xml
        return lambda: virtProfile.apply(text, wishes, store=store)

    assert steepness(run, 20) < 2.25


@pytest.mark.parametrize("name", ["pc", "rng", "sata-disk"])
def test_expressions_of_the_facts_are_linear_too(name: str) -> None:
    """What libxml2 does makes no calls: here it is the time that counts."""
    kinds = [KINDS[kind] for kind in ("virtio disks", "NICs", "channels", "redirdevs", "USB inputs")]
    many = "".join(kinds[number % 5](number) for number in range(4000))
    text = domain("channels", 0).replace("<devices>", f"<devices>{many}")
    began = time.process_time()
    virtProfile.apply(text, [library.wish(name)], store=STORE)
    assert time.process_time() - began < 2.5  # quadratic it was 5 seconds
