# SPDX-License-Identifier: GPL-2.0-or-later
"""The language, case by case; `pytest --regenerate-output` rewrites the golden sections."""

from __future__ import annotations

import re
from pathlib import Path

import cases
import pytest

import virtProfile

ALL = sorted(cases.DIRECTORY.glob("*.txt"))


def define(xml: str) -> None:
    """On libvirt's test driver, which takes any domain that is whole."""
    libvirt = pytest.importorskip("libvirt")
    connection = libvirt.open("test:///default")
    if "<os>" not in xml or "<memory" not in xml:
        return  # a sketch, as it was before
    if "<redirdev" in xml and "type='usb'" not in xml:
        # QEMU's driver adds this by itself, the test driver does not.
        xml = xml.replace("</devices>", "<controller type='usb' model='qemu-xhci'/></devices>")
    flags = libvirt.VIR_DOMAIN_DEFINE_VALIDATE
    domain = connection.defineXMLFlags(
        re.sub("""type=(['"])(kvm|qemu)\\1""", "type='test'", xml, count=1), flags
    )
    assert domain.name()
    domain.undefine()
    connection.close()


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_case(path: Path, tmp_path: Path, regenerate: bool) -> None:
    case = cases.load(path)
    result, golden = cases.run(case, tmp_path)
    if regenerate:
        cases.save(case, golden)
        return
    assert golden == case.golden
    assert result is None or result.count == len(result.changes)
    if result is not None and "multiple='yes'" not in "".join(case.profiles):
        store = cases.store_of(case, tmp_path)
        again = virtProfile.apply(result.xml, store=store)
        assert again.xml == result.xml
        assert not again.changed
    if result is not None and not any(one.code == "incomplete" for one in result.warnings):
        define(result.xml)


def test_there_are_cases() -> None:
    assert len(ALL) >= 30
