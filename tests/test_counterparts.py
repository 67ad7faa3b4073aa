# SPDX-License-Identifier: GPL-2.0-or-later
"""Real counterparts as judges: what they write beside what profiles make. ./dev counterparts fetches them."""

from __future__ import annotations

import collections
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import test_ansible
import test_cockpit_machines
from counterparts import document
from counterparts import like_nova as nova

import virtProfile
from virtProfile import ProfileError
from virtProfile.format.schema import Schema

pytestmark = pytest.mark.slow
with_nova = pytest.mark.skipif(not nova.RESULT.exists(), reason="./dev counterparts asks Nova")


# --- OpenStack Nova -----------------------------------------------------------------------


@with_nova
def test_there_are_hundreds_of_novas_domains() -> None:
    assert len(nova.rows()) > 600
    refused = [row for row in nova.result()["combinations"] if "refused" in row]
    assert {row["flavor"] for row in refused} <= {"viommu", "dedicated-isolate"}, refused[0]


@with_nova
def test_like_nova_writes_what_nova_writes() -> None:
    """Each difference has its reason, and each reason causes one."""
    met: collections.Counter[str] = collections.Counter()
    unexplained = []
    for row in nova.rows():
        for path, ours, theirs in nova.differences(row):
            found = nova.reasons(row, path)
            if not found:
                unexplained.append(f"{row['flavor']}, {row['image']}: {path} {ours!r}, Nova {theirs!r}")
            met.update(one.why for one in found)
    assert not unexplained, "\n".join(unexplained[:20])
    assert {one.why for one in nova.REASONS} == set(met)


@with_nova
@pytest.mark.parametrize("release", [release for release in nova.releases() if release != 34])
def test_like_nova_writes_what_older_releases_write(release: int) -> None:
    rows = [row for row in nova.rows(release) if row["image"] == "plain" or row["flavor"] == "plain-2"]
    assert len(rows) > 40
    for row in rows:
        for path, ours, theirs in nova.differences(row, release):
            assert nova.reasons(row, path), (row["flavor"], row["image"], path, ours, theirs)


@with_nova
def test_what_every_domain_differs_in_is_one_of_the_first() -> None:
    """Where neither flavor nor image says anything, nothing but those without names is left."""
    (row,) = [row for row in nova.rows() if (row["flavor"], row["image"]) == ("plain-2", "plain")]
    for path, *_ in nova.differences(row):
        assert [one for one in nova.reasons(row, path) if not one.of or "*" in one.of], path


PLACED = {
    "dedicated": {"nodes": "1"},
    "dedicated-require": {"nodes": "1", "policy": "require"},
    "dedicated-numa-2": {"nodes": "2"},
}


@with_nova
@pytest.mark.parametrize("flavor", PLACED)
def test_mirror_topology_places_as_nova_does(flavor: str) -> None:
    """The same nodes and memory; each vCPU on a CPU of its own, on the node of its memory, dedicated."""
    (row,) = [row for row in nova.rows() if (row["flavor"], row["image"]) == (flavor, "plain")]
    node, siblings = nova.host()
    both = [nova.placement(row["xml"]), nova.placement(nova.mirrored(row, **PLACED[flavor]))]
    assert both[0].nodes == both[1].nodes
    assert both[0].memory == both[1].memory
    assert both[0].modes == both[1].modes == {"strict"}
    for placed in both:
        chosen = [next(iter(pin)) for pin in placed.pins if len(pin) == 1]
        assert len(set(chosen)) == len(placed.pins)
        assert set(chosen) <= nova.cpus("4-7,12-15")
        homes = [home for home, (_, count) in zip(placed.memory, placed.nodes) for _ in range(count)]
        assert [node[cpu] for cpu in chosen] == homes
        # Whole cores: with two threads a core, vCPUs in pairs.
        assert all(set(siblings[cpu]) <= set(chosen) for cpu in chosen)


@with_nova
def test_novas_domains_make_the_round_trip() -> None:
    """Untouched without a profile; applied twice is once; taken back is as before; valid stays valid."""
    schema = Schema.baseline()
    done = 0
    refused: collections.Counter[str] = collections.Counter()
    for row, profiles in nova.journeys():
        text = row["xml"]
        assert virtProfile.apply(text, store=nova.store()).xml == text
        try:
            once = virtProfile.apply(text, profiles, store=nova.store())
        except ProfileError as problem:
            refused[f"{profiles}: {problem.code}"] += 1
            continue
        assert virtProfile.apply(once.xml, store=nova.store()).xml == once.xml, (row["flavor"], row["image"])
        assert not schema.validate(virtProfile.format.document.parse(once.xml).root)
        back = virtProfile.unapply(once.xml, "all", store=nova.store())
        assert nova.plain(back.xml) == nova.plain(text), (row["flavor"], row["image"], profiles)
        done += 1
    assert done > 700
    assert not refused, refused


# --- Ansible's community.libvirt ------------------------------------------------------------


COMMUNITY = document.COMMUNITY
#: A template of a VM, as somebody has it beside the play of the collection's README.
TEMPLATE = """<domain type='qemu'>
  <name>web2</name>
  <uuid>4dea22b3-1d52-d8f3-2516-782e98ab3fa0</uuid>
  <memory unit='MiB'>{{ memory | default(256) }}</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices>
    <interface type='user'><mac address='52:54:00:12:34:56'/><model type='virtio'/></interface>
  </devices>
</domain>
"""


#: The play twice, on a VM that is there, and what both VMs became.
TWICE = """set -e
virsh -q define {place}/web1.xml >&2
{play} >{place}/first || true
{play} >{place}/second || true
virsh dumpxml web1
virsh dumpxml web2
"""


@pytest.mark.skipif(not COMMUNITY.exists(), reason="./dev counterparts fetches community.libvirt")
def test_the_play_of_the_readme_defines_and_stays_unchanged(
    beside_a_daemon: list[str], tmp_path: Path
) -> None:
    """As it stands in the README, with `community.libvirt.virt` beside our filter and our module."""
    yaml = pytest.importorskip("yaml")
    if not test_ansible.PLAYBOOK.exists():
        pytest.skip("ansible-core is not installed")
    readme = test_ansible.COLLECTIONS / "ansible_collections/virt/profile/README.md"
    ((book,),) = [yaml.safe_load(part) for part in re.findall(r"```yaml\n(.*?)```", readme.read_text(), re.S)]
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "vm.xml.j2").write_text(TEMPLATE)
    there = TEMPLATE.replace("web2", "web1").replace("4dea22b3", "4dea22b4").replace("34:56", "34:57")
    (tmp_path / "web1.xml").write_text(there.replace("{{ memory | default(256) }}", "256"))
    words = test_ansible.command(tmp_path, book["tasks"], {"hypervisor": {}})
    both = f"{test_ansible.COLLECTIONS}:{COMMUNITY.parents[2]}"
    done = subprocess.run(
        [*beside_a_daemon, "sh", "-c", TWICE.format(place=tmp_path, play=shlex.join(words))],
        capture_output=True,
        text=True,
        env={
            **test_ansible.environ(tmp_path),
            "ANSIBLE_COLLECTIONS_PATH": both,
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        },
    )
    assert done.returncode == 0, done.stderr
    first = test_ansible.outcome((tmp_path / "first").read_text())
    assert [(row["changed"], failed) for _, row, failed in first] == [(True, False)] * 2, first[-1][1].get(
        "msg"
    )
    assert first[1][1]["created"] == "web2"
    second = test_ansible.outcome((tmp_path / "second").read_text())
    assert [(row["changed"], failed) for _, row, failed in second] == [(False, False)] * 2, second
    web1, web2 = done.stdout.split("</domain>")[:2]
    for text in (web1, web2):
        assert "<rng model='virtio'>" in text and "virtuned:profile" in text
    assert "<vcpupin vcpu='0'" in web1 and "<vcpupin" not in web2


# --- vagrant-libvirt --------------------------------------------------------------------------

PLUGIN = nova.TOP / "contrib" / "vagrant" / "virt_profile.rb"
with_vagrant = pytest.mark.skipif(
    shutil.which("ruby") is None or not list(document.GEMS.glob("vagrant-libvirt-*")),
    reason="./dev counterparts installs vagrant-libvirt",
)
#: What Vagrantfiles say of a provider: options, and calls with their words.
VAGRANTFILES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "q35": {"options": {"machine_type": "q35", "cpus": 4, "memory": 4096}},
    "arch": {"options": {"machine_arch": "x86_64", "machine_type": "pc"}},
    "passthrough": {"options": {"cpu_mode": "host-passthrough", "nested": True}},
    "model": {"options": {"cpu_mode": "custom", "cpu_model": "Haswell"}},
    "spice": {"options": {"graphics_type": "spice", "video_type": "qxl", "video_vram": 65536}},
    "no-display": {"options": {"graphics_type": "none", "video_type": "none"}},
    "sata": {"options": {"disk_bus": "sata"}},
    "scsi": {"options": {"disk_bus": "scsi", "disk_controller_model": "virtio-scsi"}},
    "uefi": {"options": {"loader": "/usr/share/OVMF/OVMF_CODE.fd", "machine_type": "q35"}},
    "tpm": {"options": {"tpm_model": "tpm-crb", "tpm_type": "emulator", "tpm_version": "2.0"}},
    "hidden": {"options": {"kvm_hidden": True}},
    "sound": {"options": {"sound_type": "ich9"}},
    "balloon": {"options": {"memballoon_enabled": True, "memballoon_model": "virtio"}},
    "no-balloon": {"options": {"memballoon_enabled": False}},
    "boot": {"options": {"boot_order": ["hd"]}},
    "features": {"calls": [["hyperv_feature", {"name": "relaxed", "state": "on"}]]},
    "timers": {"calls": [["clock_timer", {"name": "hpet", "present": "no"}]]},
    "rng": {"calls": [["random", {"model": "random"}]]},
    "usb": {"calls": [["usb_controller", {"model": "qemu-xhci"}], ["redirdev", {"type": "spicevmc"}]]},
    "channel": {
        "calls": [
            ["channel", {"type": "unix", "target_name": "org.qemu.guest_agent.0", "target_type": "virtio"}]
        ]
    },
    "watchdog": {"calls": [["watchdog", {"model": "i6300esb", "action": "reset"}]]},
    "cdrom": {"calls": [["storage", "file", {"device": "cdrom", "path": "/a.iso"}]]},
    "numa": {"options": {"cpus": 2, "memory": 1024, "numa_nodes": [{"cpus": "0-1", "memory": 1024}]}},
    "args": {"calls": [["qemuargs", {"value": "-no-user-config"}]]},
}


def vagrant(**given: Any) -> subprocess.CompletedProcess[str]:
    """The domain that vagrant-libvirt gives to libvirt."""
    driver = nova.TOP / "tests" / "counterparts" / "vagrant_domain.rb"
    path = f"{Path(sys.executable).parent}:{nova.TOP}:/usr/bin:/bin"
    return subprocess.run(
        ["ruby", "-W0", driver, json.dumps(given)],
        capture_output=True,
        text=True,
        env={
            "PATH": path,
            "HOME": "/nonexistent",
            "LC_ALL": "C.UTF-8",
            "VIRT_PROFILE_PATH": str(nova.TOP / "profiles"),
        },
    )


def written(name: str) -> str:
    done = vagrant(**VAGRANTFILES[name])
    assert done.returncode == 0, done.stderr
    return done.stdout


@with_vagrant
@pytest.mark.parametrize("name", VAGRANTFILES)
def test_vagrants_domains_make_the_round_trip(name: str) -> None:
    text = written(name)
    assert virtProfile.apply(text, store=nova.store()).xml == text
    for profiles in (["rng"], ["fast-disk", "guest-agent"], ["headless-server"], ["usb3"]):
        once = virtProfile.apply(text, profiles, store=nova.store())
        assert virtProfile.apply(once.xml, store=nova.store()).xml == once.xml
        back = virtProfile.unapply(once.xml, "all", store=nova.store())
        assert nova.plain(back.xml) == nova.plain(text)


@with_vagrant
def test_the_plugin_gives_libvirt_what_virt_profile_makes() -> None:
    words = ["rng", "fast-disk,priority=100"]
    done = vagrant(**{"with": str(PLUGIN), "options": {"profiles": words}})
    assert done.returncode == 0, done.stderr
    wishes = ["rng", {"name": "fast-disk", "priority": 100}]
    assert done.stdout == virtProfile.apply(written("nothing"), wishes, store=nova.store()).xml
    assert "Profiles:          rng fast-disk,priority=100" in done.stderr
    # No profile, no difference.
    assert vagrant(**{"with": str(PLUGIN)}).stdout == written("nothing")


@with_vagrant
def test_profiles_of_several_vagrantfiles_add_up() -> None:
    given = {"with": str(PLUGIN), "options": {"profiles": ["rng", "fast-disk"]}}
    done = vagrant(**given, later={"profiles": ["fast-disk,priority=100", "watchdog"]})
    assert "Profiles:          rng fast-disk,priority=100 watchdog\n" in done.stderr
    assert "<watchdog" in done.stdout


@with_vagrant
def test_a_profile_that_cannot_be_applied_stops_vagrant() -> None:
    done = vagrant(**{"with": str(PLUGIN), "options": {"profiles": ["rgn"]}})
    assert done.returncode == 1 and not done.stdout
    assert "no profile 'rgn'" in done.stderr


# --- the document -----------------------------------------------------------------------------


@with_nova
@with_vagrant
@pytest.mark.skipif(not COMMUNITY.exists(), reason="./dev counterparts fetches community.libvirt")
@test_cockpit_machines.of_that_version
def test_the_document_says_what_ran() -> None:
    pytest.importorskip("ansible")
    assert document.DOCUMENT.read_text() == document.text(), "./dev counterparts writes it"
