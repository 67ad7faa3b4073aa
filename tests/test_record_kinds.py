# SPDX-License-Identifier: GPL-2.0-or-later
"""The record over two applies: secrets of the VM, its own bookkeeping, requirements that are skipped, status."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from strategies import MemoryStore
from test_define_roundtrip import add, devices, vm
from test_lifecycle import meaning

import virtProfile
from virtProfile.cli.main import runcli
from virtProfile.errors import CompletionError, ConflictError, UsageError

RNG = "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"


def store(*profiles: str) -> MemoryStore:
    return MemoryStore(list(profiles))


def one(action: str) -> MemoryStore:
    return store(f"<profile name='p' version='1'>{action}</profile>")


@pytest.mark.parametrize(
    "action",
    [
        add(devices("<graphics type='vnc' passwd='literal'/>"), "no"),
        "<remove select='devices/graphics/@passwd'/>",
    ],
)
def test_a_password_of_the_vm_stays_noted(action: str) -> None:
    """It cannot be undone; each record says so, and unapply tells."""
    text = vm("<graphics type='vnc' passwd='own'/>")
    first = virtProfile.apply(text, [{"name": "p", "priority": 120}], store=one(action))
    assert ["cannot put it back" in warning.message for warning in first.warnings] == [True]
    again = virtProfile.apply(first.xml, store=one(action))
    assert again.xml == first.xml
    assert not again.warnings
    assert "hidden='@passwd!'" in again.xml
    back = virtProfile.unapply(again.xml, store=one(action))
    assert ["is not recorded" in warning.message for warning in back.warnings] == [True]
    assert "own" not in back.xml


@pytest.mark.parametrize("condition", ["metadata/*", "metadata", "not(metadata)", "count(metadata/*) = 1"])
def test_conditions_see_no_bookkeeping(condition: str) -> None:
    """The second apply judges what the first one judged: neither list nor record shows."""
    for metadata in ("", "<metadata><x xmlns='http://example.org/x'/></metadata>"):
        text = vm(top=metadata)
        action = f"<add when='{condition}'><devices>{RNG}</devices></add>"
        first = virtProfile.apply(text, ["p"], store=one(action))
        assert bool(first.changes) is (
            {"metadata/*": bool(metadata), "metadata": bool(metadata), "not(metadata)": not metadata}.get(
                condition, bool(metadata)
            )
        )
        again = virtProfile.apply(first.xml, store=one(action))
        assert again.xml == first.xml
        assert virtProfile.unapply(again.xml, store=one(action)).xml == text


def test_what_is_required_through_a_skipped_profile_bars_nobody() -> None:
    profiles = store(
        "<profile name='base' version='1'><requires profile='extra'/>"
        "<add><devices><watchdog model='i6300esb'/></devices></add></profile>",
        "<profile name='extra' version='1'><requires profile='rng2'/><match test='false()'/></profile>",
        f"<profile name='rng2' version='1'>{add(devices(RNG))}</profile>",
    )
    first = virtProfile.apply(vm(), ["base", "rng2"], store=profiles)
    back = virtProfile.unapply(first.xml, ["rng2"], store=profiles)
    assert [row.name for row in back.applied] == ["base"]
    body = back.xml.partition("</metadata>")[2]
    assert "watchdog" in body
    assert "<rng" not in body


def test_what_is_required_through_an_applied_profile_does() -> None:
    profiles = store(
        "<profile name='base' version='1'><requires profile='extra'/></profile>",
        "<profile name='extra' version='1'><requires profile='rng2'/></profile>",
        f"<profile name='rng2' version='1'>{add(devices(RNG))}</profile>",
    )
    first = virtProfile.apply(vm(), ["base", "rng2"], store=profiles)
    with pytest.raises(UsageError, match="profile 'extra' requires 'rng2'"):
        virtProfile.unapply(first.xml, ["rng2"], store=profiles)


def test_companions_stay_noted_with_a_secret() -> None:
    profiles = one(
        "<param name='pw' secret='yes'/><add><devices><graphics type='vnc' passwd='{$pw}'/></devices></add>"
    )
    first = virtProfile.apply(vm(), [{"name": "p", "params": {"pw": "secret!"}}], store=profiles)
    implied = re.search(r"implies='([^']*)'", first.xml)
    assert implied is not None and "video" in implied[1].split()
    assert virtProfile.apply(first.xml, store=profiles).xml == first.xml


def test_an_automatic_profile_that_is_kept_out_is_reported() -> None:
    profiles = store(
        f"<profile name='a' version='1' autoselect='yes'><match test='true()'/>{add(devices(RNG))}</profile>"
    )
    listed = (
        "<metadata><virtuned:virtuned xmlns:virtuned='http://virt-manager.org/schemas/virtuned/0.1'>"
        "<virtuned:profile name='a' exclude='yes'/></virtuned:virtuned></metadata>"
    )
    result = virtProfile.apply(vm(top=listed), store=profiles, auto=True)
    assert [(row.name, row.reason) for row in result.skipped] == [("a", "excluded")]
    assert [row.name for row in virtProfile.apply(vm(), store=profiles, auto=True).applied] == ["a"]


def test_priorities_are_no_fix_for_profiles_that_exclude_each_other() -> None:
    profiles = store(
        f"<profile name='a' version='1'><conflicts profile='b'/>{add('<vcpu>3</vcpu>')}</profile>",
        f"<profile name='b' version='1'>{add('<vcpu>4</vcpu>')}</profile>",
    )
    text = vm().replace("<vcpu>2</vcpu>", "")
    with pytest.raises(ConflictError) as error:
        virtProfile.apply(text, ["a", "b"], store=profiles)
    assert not [fix for conflict in error.value.conflicts for fix in conflict.fixes]
    assert error.value.hint == "leave out 'a' or 'b'"


@pytest.mark.parametrize(
    ("action", "priority", "pending"),
    [
        (f"<match test='false()'/>{add(devices(RNG))}", 0, False),
        (add(devices(RNG)), 0, True),
        (add("<vcpu>4</vcpu>"), 0, False),
    ],
)
def test_status_and_check_agree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], action: str, priority: int, pending: bool
) -> None:
    profiles, file = tmp_path / "profiles", tmp_path / "vm.xml"
    profiles.mkdir()
    (profiles / "p.xml").write_text(f"<profile name='p' version='1'>{action}</profile>")
    entry = (
        "<metadata><virtuned:virtuned xmlns:virtuned='http://virt-manager.org/schemas/virtuned/0.1'>"
        f"<virtuned:profile name='p' priority='{priority}'/></virtuned:virtuned></metadata>"
    )
    file.write_text(vm(top=entry))
    common = ["--input", str(file), "--profile-dir", str(profiles), "--check"]
    codes = [runcli([*common, *more]) for more in ([], ["--status"])]
    assert codes == [4 * pending] * 2
    if "false()" in action:
        assert re.search("p .*does not apply to this VM", capsys.readouterr().out)


def test_status_notices_what_a_condition_sees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pending although neither list nor version changed: the VM did."""
    profiles, file = tmp_path / "profiles", tmp_path / "vm.xml"
    profiles.mkdir()
    (profiles / "p.xml").write_text(
        "<profile name='p' version='1'><add when='devices/sound'><devices>"
        + RNG
        + "</devices></add></profile>"
    )
    common = ["--profile-dir", str(profiles), "--input", str(file)]
    file.write_text(vm())
    assert runcli([*common, "--profile", "p", "--print-xml"]) == 0
    file.write_text(capsys.readouterr().out.replace("</devices>", "<sound model='ich9'/></devices>"))
    assert [runcli([*common, "--check", *more]) for more in ([], ["--status"])] == [
        4,
        4,
    ]


TABLET = "<input type='tablet' bus='usb'/>"
USB_PORTS = "<controller type='usb' index='0' model='qemu-xhci' ports='15'/>"


@pytest.mark.parametrize("more", ["", TABLET])
@pytest.mark.parametrize(
    ("wish", "removal"),
    [
        (USB_PORTS, "<controller ports='15'/>"),
        ("<controller type='pci' index='0' model='pcie-root'/>", "<controller type='pci' index='0'/>"),
        ("<controller type='pci' index='0'/>", "<controller type='pci'/>"),
        ("<controller type='pci' model='pcie-root'/>", "<controller model='pcie-root'/>"),
        ("<controller type='usb' index='0'/>", "<controller type='usb'/>"),
    ],
)
def test_a_controller_that_is_wanted_and_removed(wish: str, removal: str, more: str) -> None:
    """The weaker wish is overridden; what libvirt implies anyway is no reason for an error (I2, I7)."""
    text = vm(more)
    profiles = store(
        f"<profile name='wants' version='1'>{add(devices(wish))}</profile>",
        f"<profile name='removes' version='1'><remove>{devices(removal)}</remove></profile>",
    )
    wishes = [{"name": "wants", "priority": 50}, {"name": "removes", "priority": 120}]
    first = virtProfile.apply(text, wishes, store=profiles)
    assert {(one.loser.profile, one.winner.profile) for one in first.overridden} == {("wants", "removes")}
    assert "ports='15'" not in re.sub("(?s)<metadata>.*</metadata>", "", first.xml)
    again = virtProfile.apply(first.xml, store=profiles)
    assert again.xml == first.xml
    assert virtProfile.unapply(again.xml, store=profiles).xml == text


def test_a_controller_that_another_profiles_device_needs() -> None:
    profiles = store(
        f"<profile name='wants' version='1'>{add(devices(TABLET + USB_PORTS))}</profile>",
        "<profile name='removes' version='1'><remove><devices><controller type='usb'/></devices></remove></profile>",
    )
    wishes = [{"name": "wants", "priority": 50}, {"name": "removes", "priority": 120}]
    with pytest.raises(
        CompletionError, match="input tablet .* needs controller usb 0, which removes removes"
    ):
        virtProfile.apply(vm(), wishes, store=profiles)


#: What libvirt 11 writes at define for the firmware that it chose: (features before, of the define, after taking back)
SMM = {
    "beside others": ("<features><acpi/></features>", "<features><acpi/><smm state='on'/></features>", None),
    "where there are no features": ("", "<features><smm state='on'/></features>", None),
    "of the VM": ("<features><smm state='on'/></features>", "<features><smm state='on'/></features>", None),
    "with a size by hand": (
        "<features><acpi/></features>",
        "<features><acpi/><smm state='on'><tseg unit='MiB'>48</tseg></smm></features>",
        "<features><acpi/><smm state='on'><tseg unit='MiB'>48</tseg></smm></features>",
    ),
    "off, by hand": (
        "",
        "<features><smm state='off'/></features>",
        "<features><smm state='off'/></features>",
    ),
}


@pytest.mark.parametrize("name", SMM)
@pytest.mark.parametrize("secure", [False, True], ids=["", "secure"])
def test_smm_of_the_firmware_that_a_profile_set(name: str, secure: bool) -> None:
    before, defined, after = SMM[name]
    loader = "<loader secure='yes'/>" if secure else ""
    text = (
        "<domain type='kvm'><name>vp</name><memory>1</memory>"
        f"<os><type arch='x86_64' machine='q35'>hvm</type></os><devices/>{before}</domain>"
    )
    known = one(f"<add><os firmware='efi'>{loader}</os></add>")
    first = virtProfile.apply(text, ["p"], store=known).xml
    written = first.replace(before, defined) if before else first.replace("</domain>", f"{defined}</domain>")
    again = virtProfile.apply(written, store=known)
    assert not again.changes
    back = virtProfile.unapply(again.xml, store=known).xml
    expected = text if after is None else text.replace(f"{before}</domain>", f"{after}</domain>")
    assert meaning(back) == meaning(expected)


def test_smm_stays_where_the_vm_has_such_a_firmware_itself() -> None:
    """Taken back is a loader's word alone: libvirt writes the same for the VM's own firmware."""
    text = (
        "<domain type='kvm'><name>vp</name><memory>1</memory>"
        "<os firmware='efi'><type arch='x86_64' machine='q35'>hvm</type></os><devices/></domain>"
    )
    known = one("<add><os><loader secure='yes'/></os></add>")
    first = virtProfile.apply(text, ["p"], store=known).xml
    assert "smm" in re.search("implies='([^']*)'", first)[1]
    written = first.replace("</domain>", "<features><smm state='on'/></features></domain>")
    back = virtProfile.unapply(written, store=known).xml
    assert "<smm state='on'/>" in back and "loader" not in back


GRAPHICS = "<add><devices><graphics type='vnc' port='-1' autoport='yes'/></devices></add>"
LISTEN = "<graphics type='vnc'><listen type='address' address='0.0.0.0'/></graphics>"


@pytest.mark.parametrize(
    "profiles",
    [
        [f"<profile name='p' version='1'>{GRAPHICS}<add><devices>{LISTEN}</devices></add></profile>"],
        [
            f"<profile name='p' version='1'>{GRAPHICS}</profile>",
            f"<profile name='q' version='1'><add><devices>{LISTEN}</devices></add></profile>",
        ],
        [
            f"<profile name='p' version='1'>{GRAPHICS}</profile>",
            "<profile name='q' version='1'><add each='devices/graphics'>"
            + LISTEN.replace(" type='vnc'", "", 1)
            + "</add></profile>",
        ],
    ],
    ids=["two-actions", "two-profiles", "each"],
)
def test_a_listen_address_of_another_action_than_its_display(profiles: list[str]) -> None:
    """libvirt writes the address on the display, too: the display alone has it then, and its child not."""
    made = virtProfile.apply(vm(), ["p", "q"][: len(profiles)], store=store(*profiles))
    assert "<listen type='address' address='0.0.0.0'/>" in made.xml
    head, end, body = made.xml.partition("</metadata>")
    defined = head + end + body.replace("autoport='yes'>", "autoport='yes' listen='0.0.0.0'>", 1)
    assert defined != made.xml
    again = virtProfile.apply(defined, store=store(*profiles))
    assert not again.changes
    assert again.xml == defined
    back = virtProfile.unapply(defined, store=store(*profiles))
    assert "<graphics" not in back.xml


@pytest.mark.parametrize("family", ["pc", "q35"])
def test_a_built_in_controller_that_the_vm_had_is_not_libvirts(family: str) -> None:
    """Its place in the PCI topology came back from the record: libvirt did not add it for the other machine."""
    other = {"pc": "q35", "q35": "pc"}[family]
    kind = {"pc": "ide", "q35": "sata"}[family]
    before = (
        "<domain type='qemu'><name>a</name><memory>4096</memory>"
        f"<os><type arch='x86_64' machine='{other}'>hvm</type></os><devices><controller type='{kind}' index='0'>"
        "<address type='pci' domain='0x0000' bus='0x00' slot='0x01' function='0x1'/></controller></devices></domain>"
    )
    profile = one(f"<add><os><type machine='{family}'>hvm</type></os></add>")
    once = virtProfile.apply(before, [{"name": "p", "priority": 120}], store=profile)
    assert "<address" not in once.xml.partition("</metadata>")[2]
    assert meaning(virtProfile.unapply(once.xml, store=profile).xml) == meaning(before)
