# SPDX-License-Identifier: GPL-2.0-or-later
"""The shipped profiles as the tests see them: what they need, and documents to apply them to."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

import virtProfile
from virtProfile.format.schema import Schema
from virtProfile.host.context import Context
from virtProfile.language.parser import parse_profiles
from virtProfile.language.profile import Profile
from virtProfile.language.store import ProfileStore

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "profiles"
DATA = Path(__file__).parent / "data" / "profiles"
DEFINITIONS = DATA / "definitions"
SAMPLES = Path(__file__).parent / "data" / "domains"

#: Params without a default: what they are for makes one impossible.
REQUIRED = {
    "gpu-passthrough": {"address": "0000:01:00.0"},
    "networking-nfv": {"bridge": "virbr0"},
    "usb-device": {"device": "046d:c52b"},
    "virtio-mem": {"max": "256MiB"},
    "virtiofs-share": {"path": "/srv", "tag": "share"},
}


@cache
def profiles() -> dict[str, Profile]:
    """Every shipped profile, by name."""
    found = {}
    for path in sorted(SHIPPED.glob("*.xml")):
        if path.name.endswith(".test.xml"):
            continue
        for one in parse_profiles(path.read_text(), str(path)).profiles:
            if not one.audit:
                found[one.name] = one
    return found


#: mirror-topology aside: it is nothing but the host's topology, and asks for its document
NAMES = tuple(name for name in profiles() if name != "mirror-topology")


@cache
def store() -> ProfileStore:
    return ProfileStore([SHIPPED])


def wish(name: str, **more: Any) -> dict[str, Any]:
    """A selection of the profile, with the params that it cannot do without."""
    params = {**REQUIRED.get(name, {}), **more.pop("params", {})}
    return {"name": name, "params": params, **more}


#: Of tests that need it: it is the distribution's, for the distribution's Python.
needs_virtinst = pytest.mark.skipif(
    not (importlib.util.find_spec("gi") and importlib.util.find_spec("libvirt")),
    reason="virtinst cannot be imported: this Python lacks the distribution's gi or libvirt",
)


def context(osinfo: str | None = None) -> Context:
    """A host that can do everything: KVM on Intel, libvirt 9.0.0 and QEMU 7.2."""
    host = DATA / "host"
    return Context(
        capabilities=((host / "capabilities.xml").read_text(),),
        domcapabilities=tuple((host / f"domcapabilities-{one}.xml").read_text() for one in ("q35", "pc")),
        osinfo=osinfo,
        qemu_version=7002000,
    )


def apply(xml: str, names: Sequence[str | dict[str, Any]], **options: Any) -> virtProfile.Result:
    wishes = [wish(one) if isinstance(one, str) else one for one in names]
    return virtProfile.apply(xml, wishes, store=store(), **options)


def definition(name: str) -> str:
    return (DEFINITIONS / f"{name}.xml").read_text()


def documents() -> Iterator[tuple[str, str]]:
    """(name, text) of every sample: sketches, VMs of four machines, VMs as libvirt dumps them."""
    for directory in (DEFINITIONS, SAMPLES):
        for path in sorted(directory.glob("*.xml")):
            yield path.stem, path.read_text()


def is_valid(xml: str) -> bool:
    return not Schema.baseline().validate(etree.fromstring(xml.encode()))


def for_test_driver(xml: str) -> str:
    """The same for libvirt's test driver, which lets no type but its own in."""
    xml = re.sub("""type=(['"])(kvm|qemu)\\1""", "type='test'", xml, count=1)
    if "<redirdev" in xml and not re.search("""<controller[^>]* type=['"]usb['"]""", xml):
        # QEMU's driver adds this by itself, the test driver does not.
        xml = xml.replace("</devices>", "<controller type='usb' model='qemu-xhci'/></devices>")
    return xml
