# SPDX-License-Identifier: GPL-2.0-or-later
"""Input from outside: refused fast, in little memory, and nothing is left half written."""

from __future__ import annotations

import contextlib
import resource
import subprocess
import sys
import time
from pathlib import Path

import library
import pytest
from strategies import MemoryStore

import virtProfile
from virtProfile.errors import CompletionError, InvalidDomainError, PolicyError, ProfileError
from virtProfile.format.buses import MAX_INDEX
from virtProfile.format.document import RECORD_NS, VIRTUNED_NS, decode, parse
from virtProfile.host.context import Context
from virtProfile.host.merge import Host, merge
from virtProfile.language.store import version_key

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


#: numbers that Python does not read although they consist of digits
DIGITS = {
    "many": "9" * 5000,
    "raised": "\N{SUPERSCRIPT TWO}",
    "of another script": "\N{ARABIC-INDIC DIGIT THREE}",
}
VIRTUNED = f"xmlns:v='{VIRTUNED_NS}'"
#: (where they stand in the domain, what a profile does): %s is the number
NUMBERS = {
    "vcpu of a VM that gets a DIMM": (
        "<maxMemory slots='4'>2097152</maxMemory><vcpu>%s</vcpu>",
        "<add><devices><memory model='dimm'><target><size>1024</size></target></memory></devices></add>",
    ),
    "vcpu beside a topology": (
        "<vcpu>%s</vcpu>",
        "<add><cpu><topology sockets='1' cores='2' threads='1'/></cpu></add>",
    ),
    "threads": ("<iothreads>%s</iothreads>", "<add><iothreads>%s</iothreads></add>"),
    "listed threads": (
        "<iothreads>3</iothreads><iothreadids><iothread id='2'/></iothreadids>",
        "<add><iothreads>%s</iothreads></add>",
    ),
    "version": (
        "<description>%s.1</description>",
        "<add when=\"vp:version-at-least(description, '1')\"><title>t</title></add>",
    ),
    "node": (
        "<description>%s</description>",
        f"<add><devices {VIRTUNED}><interface type='user' v:numa-node='{{description}}'/></devices></add>",
    ),
    "machine": ("", "<add when='$qemu_version &gt; 5' unknown='skip'><title>t</title></add>"),
    "record": (
        f"<metadata><r:record xmlns:r='{RECORD_NS}'><r:profile name='p' version='0' priority='%s' out='%s'>"
        "<r:add to='devices' n='%s'><r:rng/></r:add></r:profile><r:profile name='q' out='%s'>"
        "<r:add to='devices' n='%s'><r:rng/></r:add></r:profile></r:record></metadata>",
        "<add><title>t</title></add>",
    ),
    "priority": (
        f"<metadata><v:virtuned {VIRTUNED}><v:profile name='p' priority='%s'/></v:virtuned></metadata>",
        "<add><title>t</title></add>",
    ),
}


@pytest.mark.parametrize("digits", DIGITS)
@pytest.mark.parametrize("name", NUMBERS)
def test_digits_that_are_no_number_are_no_internal_error(name: str, digits: str) -> None:
    number = DIGITS[digits]
    there, action = (text.replace("%s", number) for text in NUMBERS[name])
    machine = f"pc-q35-{number}.0" if name == "machine" else "q35"
    text = (
        f"<domain type='kvm'><name>a</name>{there}<memory>1048576</memory>"
        f"<os><type arch='x86_64' machine='{machine}'>hvm</type></os><devices/></domain>"
    )
    store = MemoryStore([f"<profile name='p'>{action}</profile>"])
    for priority in (0, 120):
        try:
            virtProfile.apply(text, [{"name": "p", "priority": priority}], store=store)
            virtProfile.unapply(text, store=store, trust="all")
        except ProfileError as problem:
            assert problem.code != "internal"


def test_versions_of_any_digits_are_sorted() -> None:
    parts = ["1", "9" * 5000, "\N{SUPERSCRIPT TWO}", "a"]
    assert sorted(parts, key=version_key)[-1] == "1"


@pytest.mark.parametrize("digits", DIGITS)
def test_capabilities_with_digits_that_are_no_number(digits: str) -> None:
    host = (
        "<domainCapabilities><path>/usr/bin/qemu-system-x86_64</path><domain>kvm</domain><machine>pc-q35-7.2</machine>"
        f"<arch>x86_64</arch><vcpu max='{DIGITS[digits]}'/></domainCapabilities>"
    )
    context = Context(domcapabilities=(host,))
    store = MemoryStore(
        ["<profile name='p'><add when='$domcapabilities/vcpu/@max &gt; 1'><title>t</title></add></profile>"]
    )
    vm = (
        f"<domain type='kvm'><name>a</name><memory>1</memory><vcpu>{DIGITS[digits]}</vcpu>"
        "<os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os></domain>"
    )
    with contextlib.suppress(ProfileError):
        virtProfile.apply(vm, ["p"], store=store, context=context)
    with contextlib.suppress(ProfileError):
        merge([Host("h", host), Host("i", host)])
