# SPDX-License-Identifier: GPL-2.0-or-later
"""Values of params at the edges of their types, and numbers that are too long for any type."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

import virtProfile
from virtProfile.language.store import ProfileStore
from virtProfile.show.terminal import Talk

DOMAIN = (
    "<domain type='kvm'>\n  <name>a</name>\n  <os>\n    <type arch='x86_64'>hvm</type>\n  </os>\n</domain>\n"
)
WRITES = {
    "int": "<metadata><x:n xmlns:x='urn:x' n='{$n}'/></metadata>",
    "size": "<metadata><x:n xmlns:x='urn:x' n='{$n}'/></metadata>",
    "string": "<description>{$n}</description>",
    "bool": "<on_crash>{vp:if($n, 'destroy', 'restart')}</on_crash>",
}


def result(directory: Path, kind: str, value: object) -> str:
    (directory / "a.xml").write_text(
        f"<profile name='a'><param name='n' type='{kind}'/><add>{WRITES[kind]}</add></profile>"
    )
    wish = {"name": "a", "params": {"n": value}}
    return virtProfile.apply(DOMAIN, [wish], store=ProfileStore([directory]), record=False).xml


@pytest.mark.parametrize(
    "kind, value, expected",
    [
        ("int", " +3 ", "n='3'"),
        ("int", -7, "n='-7'"),
        ("int", 2**53, "n='9007199254740992'"),
        ("size", "8 PiB", "n='8796093022208'"),
        ("size", 1.5, "n='2'"),
        ("bool", True, ">destroy<"),
        ("bool", False, ">restart<"),
        ("string", "a\tb\u00e4\U0001f600", ">a\tb\u00e4\U0001f600<"),
    ],
)
def test_is_taken(tmp_path: Path, kind: str, value: object, expected: str) -> None:
    assert expected in result(tmp_path, kind, value)


@pytest.mark.parametrize(
    "kind, value",
    [
        ("int", "3_0"),
        ("int", "\u0663"),
        ("int", str(2**53 + 1)),
        ("int", "9" * 400),
        ("int", "9" * 5000),
        ("size", "99999999999999 EiB"),
        ("size", "9" * 5000),
        ("size", "1." + "9" * 5000),
        ("size", "\u0663 GiB"),
        ("string", "\x00"),
        ("string", "a\x1bb"),
        ("string", "\ud800"),
        ("string", "\ufffe"),
        ("string", ["a"]),
        ("string", None),
        ("bool", 1),
    ],
)
def test_is_refused(tmp_path: Path, kind: str, value: object) -> None:
    with pytest.raises(virtProfile.ProfileError) as caught:
        result(tmp_path, kind, value)
    assert caught.value.code == "param"
    str(caught.value).encode()  # whoever writes it out can


LONG = "9" * 5000


@pytest.mark.parametrize("place", ["<vcpu>{}</vcpu>", "<memory unit='MiB'>{}</memory>"])
def test_numbers_without_end(tmp_path: Path, place: str) -> None:
    """Python refuses to read a number of 5,000 digits; the domain keeps it, a profile may not say it."""
    text = DOMAIN.replace("<os>", place.format(LONG) + "\n  <os>")
    (tmp_path / "a.xml").write_text(f"<profile name='a'><add>{place.format(3)}</add></profile>")
    (tmp_path / "b.xml").write_text(f"<profile name='b'><add>{place.format(LONG)}</add></profile>")
    store = ProfileStore([tmp_path])
    assert virtProfile.apply(text, ["a"], store=store, record=False).xml == text
    with pytest.raises(virtProfile.ProfileError) as caught:
        virtProfile.apply(text, ["b"], store=store, record=False)
    assert caught.value.code == "syntax"


def test_bus_numbers_without_end(tmp_path: Path) -> None:
    """A number that libvirt could not read either is none, in hexadecimal too."""
    address = f"<address type='pci' bus='0x{'f' * 5000}' slot='1'/>"
    text = DOMAIN.replace(
        "</domain>", f"<devices><memballoon model='virtio'>{address}</memballoon></devices></domain>"
    )
    (tmp_path / "a.xml").write_text(
        "<profile name='a'><add><cpu><numa><cell id='0' memory='1'/></numa></cpu><devices>"
        "<controller type='pci' index='1' model='pcie-expander-bus'><target busNr='128'><node>0</node></target>"
        "</controller></devices></add></profile>"
    )
    try:
        virtProfile.apply(text, ["a"], store=ProfileStore([tmp_path]), record=False)
    except virtProfile.ProfileError as problem:
        assert problem.code in ("completion", "invalid-domain")


def test_a_quoted_value_stays_on_its_line() -> None:
    stream = io.StringIO()
    Talk(stream).error(virtProfile.ProfileError("'a\nERROR    b' is wrong", hint="c\nd"))
    assert stream.getvalue() == "ERROR    'a\\nERROR    b' is wrong\n         c\\nd\n"


@pytest.mark.parametrize(
    "profiles", ["a", b"a", {"name": "a"}, 3, [3], [None], [["a"]], [{"name": "a", "include": "maybe"}]]
)
def test_wishes_that_are_none(tmp_path: Path, profiles: object) -> None:
    (tmp_path / "a.xml").write_text("<profile name='a'><add><title>x</title></add></profile>")
    with pytest.raises(virtProfile.ProfileError) as caught:
        virtProfile.apply(DOMAIN, profiles, store=ProfileStore([tmp_path]))
    assert caught.value.code == "usage"


def test_include_is_read_as_the_command_line_reads_it(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<profile name='a'><add><title>x</title></add></profile>")
    ns = "http://virt-manager.org/schemas/virtuned/0.1"
    entry = (
        f"<metadata><v:virtuned xmlns:v='{ns}'><v:profile name='a' exclude='yes'/></v:virtuned></metadata>"
    )
    text = DOMAIN.replace("<os>", f"{entry}\n  <os>")
    store = ProfileStore([tmp_path])
    assert "<title>" in virtProfile.apply(text, [{"name": "a", "include": "yes"}], store=store).xml
    with pytest.raises(virtProfile.ProfileError, match="excluded"):
        virtProfile.apply(text, [{"name": "a", "include": "no"}], store=store)


def test_a_document_that_is_no_text(tmp_path: Path) -> None:
    for document in (DOMAIN.encode(), None, 3):
        with pytest.raises(virtProfile.ProfileError) as caught:
            virtProfile.apply(document, store=ProfileStore([tmp_path]))
        assert caught.value.code == "invalid-domain"


def test_as_many_siblings_as_one_likes(tmp_path: Path) -> None:
    """Who serves whom among siblings is found without recursion, and right where all must move."""
    last = "<interface><source network='n0'/></interface>"
    for snippet, holds in (
        ("<interface/>" * 1200, True),
        ("<interface/>" * 1199 + last, True),  # the first wishes have its only element
        ("<interface/>" * 1199 + last * 2, False),
    ):
        (tmp_path / "a.xml").write_text(
            f"<profile name='a'><match><devices>{snippet}</devices></match>"
            "<add><title>x</title></add></profile>"
        )
        there = "".join(
            f"<interface type='network'><source network='n{i}'/></interface>" for i in range(1200)
        )
        text = DOMAIN.replace("</domain>", f"<devices>{there}</devices></domain>")
        done = virtProfile.apply(text, ["a"], store=ProfileStore([tmp_path]), record=False)
        assert ("<title>" in done.xml) == holds
