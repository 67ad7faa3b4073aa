# SPDX-License-Identifier: GPL-2.0-or-later
"""What people do with the library, from beginning to end, each without and with --override.

Golden texts in tests/data/stories: the difference to the definition, and what is told.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cases
import library
import pytest

import virtProfile
from virtProfile import ProfileError, ProfileStore
from virtProfile.authoring.lint import lint_text

Golden = Callable[[str, str], None]


def sample(name: str) -> str:
    return (library.SAMPLES / f"{name}.xml").read_text()


def told(
    xml: str,
    wishes: Sequence[Any],
    store: ProfileStore,
    directory: Path | None = None,
    **options: Any,
) -> tuple[str, str]:
    """(what a user sees, the result or "")."""
    try:
        result = virtProfile.apply(xml, wishes, store=store, **options)
    except ProfileError as error:
        text = cases._error(error, directory or library.SHIPPED)
        return _unnumbered(text), ""
    report = _unnumbered(cases._report(result))
    if directory is not None:
        report = report.replace(str(directory) + "/", "")
    after = _unrecorded(result.xml)
    return cases._difference(_unrecorded(xml), after) + report, after


def _unnumbered(text: str) -> str:
    """Lines of shipped profiles without their numbers: a comment there changes no story."""
    text = re.sub(re.escape(str(library.SHIPPED)) + r"/([a-z0-9-]+\.xml):\d+", r"\1", text)
    return re.sub(r"(?<=[a-z0-9]:)(add|default|remove|check|match):\d+", r"\1", text)


def _unrecorded(xml: str) -> str:
    """Without the record of what was done, which is tested elsewhere."""
    return re.sub(r"(?s)\n *<vr:record .*?</vr:record>", "", xml)


def both(name: str, golden: Golden, xml: str, wishes: Sequence[Any], **options: Any) -> dict[str, str]:
    """Without and with --override; the results."""
    store = options.pop("store", None) or library.store()
    results = {}
    for word in ("plain", "override"):
        text, results[word] = told(xml, wishes, store, override=word == "override", **options)
        golden(f"stories/{name}-{word}.txt", text)
    return results


def test_windows_11_on_a_vm_that_is_there(golden: Golden) -> None:
    """It was installed with BIOS on i440FX, and stays so; the switches and the clock come."""
    results = both(
        "windows-11-vm", golden, sample("win-pc"), ["windows-11"], context=library.context("win11")
    )
    for xml in results.values():
        assert "firmware=" not in xml and "machine='q35'" not in xml
        assert "<stimer" in xml


def test_windows_11_on_a_sketch(golden: Golden) -> None:
    results = both("windows-11-sketch", golden, library.definition("sketch"), ["windows-11", "spice-desktop"])
    for xml in results.values():
        assert "<os firmware='efi'>" in xml and "machine='q35'" in xml and "<tpm" in xml


def test_applied_again_after_an_edit(golden: Golden) -> None:
    """What somebody changed by hand since is the VM's own, unless it is overridden."""
    first = library.apply(library.definition("q35"), ["windows-hyperv"]).xml
    head, end, body = first.partition("</metadata>")
    body = body.replace("retries='8191'", "retries='4096'").replace("<reset state='on'/>", "")
    edited = head + end + body
    results = both("edited", golden, edited, ["windows-hyperv"])
    assert "retries='4096'" in results["plain"] and "retries='8191'" in results["override"]


def test_two_desktops(golden: Golden) -> None:
    results = both("two-desktops", golden, library.definition("sketch"), ["spice-desktop", "vnc-desktop"])
    assert set(results.values()) == {""}


def test_headless_on_a_desktop(golden: Golden) -> None:
    results = both("headless", golden, sample("linux-q35-defined"), ["headless-server"])
    assert "<graphics" in results["plain"]
    for gone in ("<graphics", "<video", "<sound", "<audio", "<redirdev", "spicevmc", "type='tablet'"):
        assert gone not in results["override"]


def test_a_fleets_default_nic(golden: Golden, tmp_path: Path) -> None:
    """The site's own default: NICs that say no model get it, all others keep theirs."""
    (tmp_path / "site.xml").write_text(
        "<profile name='site.nic' version='1'>\n<default><devices><interface><model type='virtio'/>"
        "</interface></devices></default>\n</profile>\n"
    )
    xml = library.definition("q35").replace(
        "</interface>",
        "</interface>\n    <interface type='bridge'>\n      <source bridge='br0'/>\n    </interface>",
    )
    xml = xml.replace("<model type='virtio'/>", "<model type='e1000e'/>")
    results = both("fleet-nic", golden, xml, ["site.nic"], store=ProfileStore([tmp_path]), directory=tmp_path)
    assert results["plain"].count("e1000e") == 1 and results["plain"].count("<model type='virtio'/>") == 1


def test_a_profile_gets_a_new_version(golden: Golden, tmp_path: Path) -> None:
    """The VM's list names the profile without a version: the newest counts, and fills what it fills now."""
    store = ProfileStore([tmp_path])
    (tmp_path / "one.xml").write_text(
        "<profile name='site.disk' version='1'>\n<default><devices><disk><driver cache='none'/></disk></devices>"
        "</default>\n</profile>\n"
    )
    first = virtProfile.apply(library.definition("q35"), ["site.disk"], store=store).xml
    (tmp_path / "two.xml").write_text(
        "<profile name='site.disk' version='2'>\n<default><devices><disk><driver cache='none' discard='unmap'/>"
        "</disk></devices></default>\n</profile>\n"
    )
    results = both("upgrade", golden, first, [], store=ProfileStore([tmp_path]), directory=tmp_path)
    assert "discard='unmap'" in results["plain"]


def test_a_kubevirt_domain(golden: Golden) -> None:
    """A hook gets the domain that the application wrote, changes it, and leaves no trace of itself."""
    xml = (library.DATA / "bundles" / "like-kubevirt-linux.xml").read_text()
    results = both("kubevirt", golden, xml, ["high-performance"], record=False)
    assert "virtuned" not in results["override"] and "mode='host-passthrough'" in results["override"]


def test_a_management_tool_reads_json(golden: Golden) -> None:
    for word in ("plain", "override"):
        result = library.apply(
            library.definition("pc"), ["balloon", "guest-agent", "no-usb"], override=word == "override"
        )
        facts = result.to_dict()
        # The digest of a profile changes with each word in it, also of its description.
        digests = {entry["name"]: entry["digest"] for entry in facts["applied"]}
        assert digests == {name: library.profiles()[name].digest for name in digests}
        applied = [{**entry, "digest": "…"} for entry in facts["applied"]]
        shown = {**facts, "xml": "…", "applied": applied}
        text = json.dumps(shown, indent=1, sort_keys=True, ensure_ascii=False)
        golden(f"stories/json-{word}.json", text.replace(str(library.SHIPPED) + "/", "") + "\n")
        assert facts["changed"] and {one["name"] for one in facts["applied"]} == {
            "balloon",
            "guest-agent",
            "no-usb",
        }


def test_an_authors_typo(golden: Golden) -> None:
    text = (library.SHIPPED / "virtio-video.xml").read_text().replace("multiple=", "mutliple=")
    text = text.replace("<video>", "<vidio>").replace("</video>", "</vidio>")
    problems = [
        f"{one.file}:{one.line}: {one.level}: {one.message} ({one.hint})\n"
        for one in lint_text(text, "mine.xml")
    ]
    golden("stories/typo.txt", "".join(problems))
    assert len(problems) >= 2
    assert "multiple" in problems[0] or "multiple" in problems[1]


def test_a_database_of_32_cpus(golden: Golden) -> None:
    xml = library.definition("q35").replace(">4</vcpu>", ">32</vcpu>").replace("4194304", "134217728")
    xml = xml.replace(
        "<driver name='qemu' type='raw'/>", "<driver name='qemu' type='raw' cache='writeback'/>"
    )
    xml = xml.replace(
        "    <interface",
        "    <disk type='block' device='disk'>\n      <driver name='qemu' type='raw'/>\n"
        "      <source dev='/dev/vg/data'/>\n      <target dev='vdb' bus='virtio'/>\n    </disk>\n    <interface",
        1,
    )
    wishes = ["fast-disk", {"name": "net-multiqueue", "params": {"limit": "16"}}]
    results = both("database", golden, xml, wishes)
    assert "queues='16'" in results["plain"] and "cache='writeback'" in results["plain"]
    assert "cache='none' io='native'" in results["plain"]


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parent / "data" / "stories").glob("*")), ids=lambda p: p.name
)
def test_no_place_of_this_machine_in_a_story(path: Path) -> None:
    assert str(library.ROOT) not in path.read_text()


@pytest.mark.parametrize("word, priority", [("plain", ""), ("override", ",priority=100")])
def test_virt_install_with_explicit_options(golden: Golden, word: str, priority: str) -> None:
    """What was said on the command line is the definition; what was not yields to the profile."""
    import difflib

    from test_virtinstall import F37, PLACES, canonical, install

    common = (
        f"{F37} --import --disk size=2,bus=sata --disk size=3 --network model=e1000 --memory 512 --print-xml"
    )
    before = install(PLACES[0], common, plain=True)
    after = install(PLACES[0], f"{common} --profile linux-server{priority}")
    assert before.returncode == after.returncode == 0, after.stderr
    lines = difflib.unified_diff(
        canonical(before.stdout).splitlines(), canonical(after.stdout).splitlines(), "", "", "", "", 0, ""
    )
    shown = [line for line in lines if line[:2] not in ("@@", "--", "++")]
    assert not any("<memory" in line for line in shown)
    golden(f"stories/virt-install-{word}.txt", "\n".join(shown) + "\n")


@pytest.mark.parametrize("word, more", [("plain", ""), ("override", "--override")])
def test_a_disk_and_a_nic_to_attach(golden: Golden, tmp_path: Path, word: str, more: str) -> None:
    """What a running VM gets is completed by its profiles' defaults, on free addresses."""
    from commandline import run

    vm = tmp_path / "vm.xml"
    vm.write_text(virtProfile.apply(sample("linux-q35-defined"), ["fast-disk"], store=library.store()).xml)
    new = tmp_path / "new.xml"
    new.write_text(
        "<devices><disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/a.img'/>"
        "<target dev='vdz' bus='virtio'/></disk><interface type='network'><source network='default'/>"
        "<model type='virtio'/></interface></devices>"
    )
    profiles = f"--profile-dir {library.SHIPPED} --profile net-multiqueue {more}"
    done = run(f"--input {vm} --device {new} {profiles}".split())
    assert done.status == 0, done.err
    assert b"cache='none'" in done.out or b'cache="none"' in done.out
    golden(f"stories/attach-{word}.txt", done.out.decode())
