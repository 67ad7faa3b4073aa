# SPDX-License-Identifier: GPL-2.0-or-later
"""Values of the domain format, each judged by libvirt itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from virtProfile.format.values import MAX_CPU, cpu_set, decimal, parse_cpuset, prefixed

libvirt = pytest.importorskip("libvirt")

PARTS = ["0-3", "^2", "2", "1", "5-4", "^0-1", "", " 4 ", "0 - 1", "0x2", "16383", "16384", "6;7", "+1", "٣"]
SETS = sorted({",".join(parts) for size in (1, 2, 3) for parts in product(PARTS, repeat=size)})


@pytest.fixture(scope="module")
def connection() -> Iterator[Any]:
    libvirt.registerErrorHandler(lambda *_: None, None)
    connection = libvirt.open("test:///default")
    yield connection
    connection.close()


def libvirt_reads(connection: Any, text: str) -> str | None:
    """How libvirt prints the CPU set, None where it refuses it."""
    xml = (
        "<domain type='test'><name>vp-cpuset</name><memory>1024</memory>"
        f"<vcpu cpuset='{text}'>1</vcpu><os><type>hvm</type></os></domain>"
    )
    try:
        domain = connection.defineXML(xml)
    except libvirt.libvirtError as problem:
        if "Invalid value of 'cpuset'" in str(problem):
            return ""  # it is a set, and empty
        return None
    printed = re.search(r"cpuset='([^']*)'", domain.XMLDesc())
    domain.undefine()
    assert printed is not None
    return printed[1]


def test_cpu_sets_as_libvirt_reads_them(connection: Any) -> None:
    """All sets of up to three parts: refused by both, or the same numbers."""
    assert len(SETS) > 2_000
    for text in SETS:
        printed = libvirt_reads(connection, text)
        ours = cpu_set(text)
        if printed is None:
            assert ours is None, text
        elif printed == "":
            assert ours == frozenset(), text
        else:
            assert ours == parse_cpuset(printed), text


def test_the_order_of_parts_counts() -> None:
    assert parse_cpuset("^2,0-3") == {0, 1, 2, 3}
    assert parse_cpuset("0-3,^2") == {0, 1, 3}
    assert parse_cpuset(f"{MAX_CPU}") == {MAX_CPU}
    for text in ("", "0,,3", "3-1", f"{MAX_CPU + 1}"):
        with pytest.raises(ValueError):
            parse_cpuset(text)


NUMBERS = [
    "0",
    "7",
    "07",
    "010",
    "09",
    "00",
    "0x10",
    "0X1f",
    " 7",
    "+7",
    "7 ",
    "-1",
    "",
    "x",
    "1_0",
    "٣",
    "1.0",
    "0x",
]


def defined(connection: Any, devices: str) -> str | None:
    try:
        domain = connection.defineXML(
            "<domain type='test'><name>vp-number</name><memory>1024</memory><os><type>hvm</type></os>"
            f"<devices>{devices}</devices></domain>"
        )
    except libvirt.libvirtError:
        return None
    text = domain.XMLDesc()
    domain.undefine()
    return text


@pytest.mark.parametrize("text", NUMBERS)
def test_decimal_numbers_as_libvirt_reads_them(connection: Any, text: str) -> None:
    printed = defined(
        connection,
        "<controller type='scsi' index='0'/><disk type='file' device='disk'><source file='/a'/>"
        "<target dev='sda' bus='scsi'/>"
        f"<address type='drive' controller='0' bus='0' target='0' unit='{text}'/></disk>",
    )
    found = None if printed is None else re.search(r"target='0' unit='(\d+)'", printed)
    assert decimal(text) == (None if found is None else int(found[1])), text


@pytest.mark.parametrize("text", NUMBERS)
def test_prefixed_numbers_as_libvirt_reads_them(connection: Any, text: str) -> None:
    printed = defined(
        connection,
        f"<sound model='ich6'><address type='pci' domain='{text}' bus='1' slot='1' function='0'/></sound>",
    )
    found = None if printed is None else re.search(r"domain='0x([0-9a-f]+)' bus='0x01'", printed)
    assert prefixed(text) == (None if found is None else int(found[1], 16)), text
