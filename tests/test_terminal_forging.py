# SPDX-License-Identifier: GPL-2.0-or-later
"""No value of a document starts a line, moves the cursor or turns the order of letters round."""

from __future__ import annotations

import io
import unicodedata
from pathlib import Path

import commandline
import pytest

import virtProfile
from virtProfile import hooks
from virtProfile.errors import LibvirtError, ProfileError
from virtProfile.language.store import ProfileStore
from virtProfile.show.terminal import Talk, one_line

_BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
FORGING = [
    letter
    for letter in map(chr, range(0x10000))
    if unicodedata.category(letter) in ("Cc", "Zl", "Zp")
    or unicodedata.bidirectional(letter) in _BIDI
    or letter in "\u061c\u200e\u200f"
]


def test_all_are_escaped_and_nothing_else() -> None:
    assert len(FORGING) > 70
    for letter in FORGING:
        assert one_line(f"a{letter}b").isascii()
        assert one_line(f"a{letter}b").isprintable()
    assert one_line("Z\u00fcrich \u05d0 \u4e2d 'x'") == "Z\u00fcrich \u05d0 \u4e2d 'x'"


@pytest.mark.parametrize("kind", ["note", "warning", "error"])
def test_talk_is_one_printable_line(kind: str) -> None:
    for letter in FORGING:
        stream = io.StringIO()
        text = f"a{letter}ERROR b"
        getattr(Talk(stream), kind)(ProfileError(text) if kind == "error" else text)
        line = stream.getvalue()
        assert line.endswith("\n")
        assert line[:-1].isprintable(), repr(letter)


#: What a document, a profile and a file's name may hold; a name even more.
FORGED = "\N{RIGHT-TO-LEFT OVERRIDE}\N{NEXT LINE}\N{LINE SEPARATOR}"
VM = (
    f"<domain type='kvm'><name>a{FORGED}b</name><title>t{FORGED}</title><description>d&#10;ERROR x</description><memory>1048576</memory>"
    "<os><type arch='x86_64' machine='q35'>hvm</type></os><devices><disk type='file' device='disk'>"
    f"<source file='/x{FORGED}'/><target dev='vda' bus='virtio'/></disk></devices></domain>"
)
PROFILE = (
    f"<profile name='p' version='1'><title>t{FORGED}&#10;ERROR x</title><description>d{FORGED}</description>"
    f"<param name='a' default='v{FORGED}&#10;ERROR x'/><add><description>x{FORGED}{{$a}}</description></add>"
    f"<add multiple='no'><devices><disk><source file='/y{FORGED}'/><target dev='vda'/></disk></devices></add>"
    "<check test='false()' severity='warning' message='m{title}{description}' fix='rng'/></profile>"
)
TESTS = (
    f"<tests><test name='n{FORGED}' input='no{FORGED}.xml'><profile name='p'/><holds test='false()'/></test>"
    f"<test name='m{FORGED}'><domain type='kvm'><name>a</name></domain><profile name='p'/>"
    f"<holds test=\"title = 'z{FORGED}'\"/></test></tests>"
)
NAMES = {
    "a new line": "n\nERROR x.xml",
    "an escape": "e\x1b[31mx.xml",
    "another order": "b\N{RIGHT-TO-LEFT OVERRIDE}x.xml",
    "a next line": "l\N{NEXT LINE}x.xml",
    "no text": "s\udcffx.xml",
    "digits": "x:\N{SUPERSCRIPT TWO}",
}
#: every way to print something for people: words, with VM, VMS (a directory), FILE of the profile and PLACE of it
PRINTED = [
    "--input VM --status", "--input VM --audit", "--input VM --profile p --explain --profile-dir PLACE",
    "--input VM --profile p,priority=120 --check --profile-dir PLACE", "--input VM --audit p --profile-dir PLACE",
    "--input VM --audit p --profile-dir PLACE --sarif OUT", "--input VM --audit p --profile-dir PLACE --junit OUT",
    "--input VM --audit --annotations", "--input DONE --explain --profile-dir PLACE", "--input DONE --status",
    "--input DONE --unapply all --explain", "--input DONE --unapply p --check --profile-dir PLACE",
    "--lint FILE", "--lint FILE --annotations", "--lint FILE --sarif OUT", "--lint FILE --junit OUT",
    "--list --profile-dir PLACE", "--info p --profile-dir PLACE", "--test PROOF --profile-dir PLACE",
    "--input VMS --status", "--input VMS --audit", "--input VMS --profile rng --report OUT", "--input VMS --check",
]  # fmt: skip


@pytest.mark.parametrize("named", NAMES)
@pytest.mark.parametrize("words", PRINTED)
def test_nothing_printed_for_people_forges(words: str, named: str, tmp_path: Path) -> None:
    name = NAMES[named]
    place, vms = tmp_path / "profiles", tmp_path / "vms"
    place.mkdir()
    vms.mkdir()
    file, vm, done, proof = place / name, vms / name, vms / f"done{name}", place / "p.test.xml"
    if not name.endswith(".xml"):
        file = place / "p.xml"
    file.write_text(PROFILE)
    vm.write_text(VM)
    proof.write_text(TESTS)
    made = virtProfile.apply(VM, [{"name": "p", "priority": 120}], store=ProfileStore([place]))
    done.write_text(made.xml)
    known = {
        "VM": vm,
        "VMS": vms,
        "FILE": file,
        "PLACE": place,
        "DONE": done,
        "PROOF": proof,
        "OUT": tmp_path / "out",
    }
    found = commandline.run([str(known.get(word, word)) for word in words.split()])
    said = found.out.decode(errors="replace") + found.err
    assert "internal error" not in said, ascii(said)
    assert not [letter for letter in FORGING if letter not in "\n\t" and letter in said], ascii(said)
    assert not [line for line in said.splitlines() if line.startswith("ERROR x")], ascii(said)


def test_a_hook_and_libvirt_forge_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    hooks._say(f"a{FORGED}\nERROR b")
    stream = io.StringIO()
    Talk(stream).error(LibvirtError("first\nERROR x"))
    Talk(stream).failure("a\nERROR x", "b\nERROR x")
    said = capsys.readouterr().err + stream.getvalue()
    assert not [line for line in said.splitlines() if line.startswith(("ERROR x", "ERROR b"))], said
