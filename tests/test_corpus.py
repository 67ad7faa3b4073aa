# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt's own documents: nothing is disturbed, applying twice is applying once, valid stays valid."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import corpus
import pytest
from lxml import etree

import virtProfile
from virtProfile import ProfileError, ProfileStore
from virtProfile.format.schema import Schema

pytestmark = pytest.mark.skipif(not corpus.documents(), reason="./dev corpus fetches libvirt's documents")
SHIPPED = Path(__file__).parent.parent / "profiles"
#: Varied profiles: each kind of action, on each kind of element.
PROFILES = {
    "qxl": "<add><devices><video><model type='qxl'/></video></devices></add>",
    "one-card": "<add multiple='no'><devices><video><model type='virtio'/></video></devices></add>",
    "iothreads": "<add><iothreads>2</iothreads></add>",
    "cdrom": "<add><devices><disk type='file' device='cdrom'><target dev='sdz' bus='sata'/></disk></devices></add>",
    "nic": "<default><devices><interface><model type='virtio'/></interface></devices></default>",
    "no-sound": "<remove><devices><sound/></devices></remove>",
    "no-cache": "<remove select='devices/disk/driver/@cache'/>",
    "tpm": "<add><devices><tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm></devices></add>",
    "features": "<add><features><acpi/><hyperv mode='custom'><relaxed state='on'/></hyperv></features></add>",
    "timer": "<add><clock><timer name='hpet' present='no'/></clock></add>",
    "boot": "<add><os><boot dev='network'/></os></add>",
    "vcpupin": "<add><cputune><vcpupin vcpu='0' cpuset='0-3'/></cputune></add>",
    "hugepages": "<add><memoryBacking><hugepages><page size='2' unit='MiB'/></hugepages></memoryBacking></add>",
    "arg": "<add><qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
    "<qemu:arg value='-no-user-config'/></qemu:commandline></add>",
    "app": "<add><metadata><a:app xmlns:a='http://example.org/vp'><a:tag>x</a:tag></a:app></metadata></add>",
    "title": "<default><title>{name}</title></default>",
    "when": "<add when='vcpu &gt; 1'><devices><rng model='virtio'>"
    "<backend model='random'>/dev/urandom</backend></rng></devices></add>",
}


@cache
def store(directory: Path) -> ProfileStore:
    for name, text in PROFILES.items():
        (directory / f"{name}.xml").write_text(f"<profile name='{name}'>{text}</profile>")
    return ProfileStore([directory, SHIPPED])


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> ProfileStore:
    return store(tmp_path_factory.mktemp("profiles"))


def test_there_are_at_least_fifteen() -> None:
    assert len(PROFILES) >= 15


def test_no_profile_is_byte_for_byte(profiles: ProfileStore) -> None:
    for path, text in corpus.documents():
        if corpus.is_valid(path):
            assert virtProfile.apply(text, store=profiles).xml == text, path


@pytest.mark.parametrize("together", [False, True], ids=["each", "together"])
def test_idempotent_and_valid(profiles: ProfileStore, together: bool) -> None:
    """Every document with every profile alone (a third of the documents each), and with all."""
    schema = Schema.baseline()
    done = refused = lacking = 0
    for number, (path, text) in enumerate(corpus.documents()):
        if not corpus.is_valid(path):
            continue
        names = list(PROFILES)
        choices = [names] if together else [[name] for name in names[number % 3 :: 3]]
        for wishes in choices:
            try:
                result = virtProfile.apply(text, wishes, store=profiles, record=False)
            except ProfileError as problem:
                # Only where the document's own variant has no room for it (an LXC
                # guest, a board without that device), told by the schema's verdict or the bus's.
                assert problem.code in ("invalid-domain", "syntax", "completion"), (path, str(problem))
                refused += 1
                continue
            done += 1
            if schema.validate(etree.fromstring(result.xml.encode())):
                # Not wrong, only not enough yet: a <clock> that was not there has no offset.
                assert [one.code for one in result.warnings if one.code == "incomplete"], path
                lacking += 1
            again = virtProfile.apply(result.xml, wishes, store=profiles, record=False)
            assert again.xml == result.xml, path
            assert not again.changed
    print(f"{done} applied, {refused} refused, {lacking} incomplete")
    # Together they meet what other architectures do not have: SATA, Hyper-V, ACPI without UEFI.
    assert done > (3 if together else 9) * refused
    assert together or done > 50 * lacking
