# SPDX-License-Identifier: GPL-2.0-or-later
"""Input from outside: refused fast, in little memory, and nothing is left half written."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import library
import pytest

import virtProfile
from virtProfile.errors import CompletionError, InvalidDomainError, PolicyError
from virtProfile.format.buses import MAX_INDEX
from virtProfile.format.document import decode, parse

TOP = Path(__file__).parent.parent
MIB = 1024 * 1024
BAD = {
    "dtd": ("<!DOCTYPE d [<!ENTITY a 'x'>]><domain>&a;</domain>", "policy"),
    "laughs": (
        "<!DOCTYPE l [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;'>]><domain>&b;</domain>",
        "policy",
    ),
    "external": ("<!DOCTYPE d SYSTEM 'file:///etc/passwd'><domain/>", "policy"),
    "entity": ("<domain><name>&unknown;</name></domain>", "refused"),
    "deep": ("<domain>" + "<a>" * 10_000 + "</a>" * 10_000 + "</domain>", "policy"),
    "wide": ("<domain name='" + "x" * (50 * MIB) + "'/>", "policy"),
    "attribute": ("<domain name='" + "x" * (2 * MIB) + "'/>", "policy"),
    "attributes": ("<domain " + " ".join(f"a{n}='1'" for n in range(300_000)) + "/>", "policy"),
    "namespaces": ("<domain " + " ".join(f"xmlns:a{n}='u'" for n in range(50_000)) + "/>", "policy"),
    "nodes": ("<domain>" + "<a/>" * 600_000 + "</domain>", "policy"),
    "broken": ("<domain>\n  <name>\n</domain>", "broken"),
    "other": ("<network/>", "not 'domain'"),
    "empty": ("", "broken"),
    "binary": ("\0\1\2", "broken"),
}


@pytest.mark.parametrize("name", BAD)
def test_is_refused(name: str, tmp_path: Path) -> None:
    text, _ = BAD[name]
    path = tmp_path / "in.xml"
    path.write_text(text)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(TOP / "virt-profile"), "--input", str(path), "--profile", "rng"],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (600 * MIB, 600 * MIB)),
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("ERROR    "), done.stderr
    assert "Traceback" not in done.stderr and "MemoryError" not in done.stderr
    assert done.stdout == ""
    assert time.perf_counter() - start < 10  # 1 s on a quiet machine; never a minute
    assert len(done.stderr) < 2000


def test_equal_signs_are_no_attributes() -> None:
    text = f"<domain><!-- {'=' * 5000} --><description a='{'=' * 5000}'>{'=' * 5000}</description></domain>"
    assert parse(text).root.tag == "domain"
    attributes = " ".join(f"a{number}='>'" for number in range(1001))
    with pytest.raises(PolicyError, match="more than 1,000 attributes"):
        parse(f"<domain {attributes}/>")


MALFORMED = {
    "dashes without an end": f"<domain>{'<!-- -- --' * 39_000}</domain>",
    "dashes": f"<domain>{'<!-- -- --' * 39_000}--></domain>",
    "a dash before the end": "<domain><!-- a ---></domain>",
    "no end": "<domain><!-- a",
    "behind a section": "<domain><![CDATA[<!-- -- ]]><!-- -- --></domain>",
    "a NUL": "<domain/>\0",
    "a NUL within": "<domain>\0</domain>",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_is_broken_before_libxml2_reads_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> None:
        raise AssertionError("libxml2 was asked")

    monkeypatch.setattr("virtProfile.format.document.etree.fromstring", read)
    with pytest.raises(InvalidDomainError, match="broken XML"):
        parse(MALFORMED[name])


@pytest.mark.parametrize(
    "text",
    [
        "<?a <b/> ?>",
        "<!-- a - b -->",
        "<![CDATA[<!-- -- ]]>",
        "<?a <!-- -- ?>",
        "<!----><!-- -->",
        "<a b='-- -->'/>",
    ],
)
def test_what_only_looks_like_a_comment_is_read(text: str) -> None:
    assert parse(f"<domain>{text}</domain>").root.tag == "domain"


@pytest.mark.parametrize("codec", ["undefined", "punycode", "idna", "hex", "rot13", "unknown"])
def test_codecs_that_are_no_encoding_of_a_text(codec: str) -> None:
    with pytest.raises(InvalidDomainError):
        parse(decode(f"<?xml version='1.0' encoding='{codec}'?><domain/>".encode())[0])


def _with_address(index: int) -> str:
    return (
        "<domain type='kvm'><name>x</name><memory>1024</memory><os><type machine='q35'>hvm</type></os><devices>"
        "<disk type='file'><source file='/a'/><target dev='sda' bus='scsi'/>"
        f"<address type='drive' controller='{index}' bus='0' target='0' unit='0'/></disk></devices></domain>"
    )


def test_controllers_below_an_index_are_made_up_to_a_bound() -> None:
    store = library.store()
    made = virtProfile.apply(_with_address(20), ["like-ovirt"], store=store)
    assert sum(one.op == "add" and "/controller" in one.path for one in made.changes) >= 21
    for index in (MAX_INDEX + 1, 99_999_999):
        with pytest.raises(CompletionError, match=f"index {index} would need all below it"):
            virtProfile.apply(_with_address(index), ["like-ovirt"], store=store)


def test_tags_in_an_instruction_before_the_root_are_none() -> None:
    document = parse("<?xmla <b/> ?>\n<domain/>")
    assert document.line(document.root) == 2
