# SPDX-License-Identifier: GPL-2.0-or-later
"""What lint finds in expressions and params, and what is dead; what it must not find."""

from __future__ import annotations

from pathlib import Path

import pytest

import virtProfile
from virtProfile.authoring.lint import lint_text

ADD = "<add><features><acpi/></features></add>"


def lint(body: str, head: str = "", drop_in: bool = False) -> list[str]:
    text = f"<profile name='p'{head}>\n{body}\n</profile>"
    found = lint_text(text, "p.xml", drop_in=drop_in)
    return [f"{one.line} {one.level}: {one.message} ({one.hint})" for one in found]


@pytest.mark.parametrize(
    ("test", "fact"),
    [
        ("vcpu &gt;", "a number, string or path was expected"),
        ("vp:mni(vcpu, 8) &gt; 1", "unknown function 'vp:mni'"),
        ("$heads &gt; 1", "unknown variable '$heads'"),
        ("re:test(name, 'a')", "unknown function 're:test'"),
        ("metadata/m:x", "unknown prefix 'm'"),
        ("//*[count(//*) &gt; 1]", "in a predicate inside another such step"),
    ],
)
def test_errors(test: str, fact: str) -> None:
    for place in (f'<match test="{test}"/>{ADD}', f'<add when="{test}"><title>x</title></add>'):
        (told,) = lint(place)
        assert told.startswith("2 error: ") and "at column" in told
        if "expected" not in fact:
            assert fact in told
    (told,) = lint(f"<add><title>{{{test}}}</title></add>")
    assert "2 error: " in told


@pytest.mark.parametrize(
    ("test", "fact"),
    [
        ("devices/disc", "no 'devices' has a 'disc', in 'devices/disc' (did you mean 'disk'?)"),
        ("/domain/devices/disk[targt/@bus = 'ide']", "has a 'targt'"),
        ("os/@machine = 'q35'", "no 'os' has an attribute 'machine'"),
        ("count(devices/disk[@device = 'cdrum']) &gt; 0", "'./@device' is never 'cdrum'"),
        ("@type = 'kvn'", "'@type' is never 'kvn': "),
        ("vcpu = 'many'", "'vcpu' is never 'many'"),
        ("1 &gt; 2", "is the same for every domain"),
        ("$qemu_version &lt; 7000000", "it is a lower bound"),
        ("7000000 &gt; $qemu_version", "it is a lower bound"),
        ("os/type/@arch = 'x86_64' and os/type/@arch = 'aarch64'", "never holds: 'os/type/@arch' cannot be"),
        ("vcpu &gt; 8 and vcpu &lt; 4", "never holds: 'vcpu' cannot be above 8 and below 4"),
        ("4 &gt; vcpu and vcpu &gt;= 4 and name", "cannot be above 4 and below 4"),
        ("vcpu = 2 and (vcpu = 3 and name)", "cannot be 2 and 3"),
    ],
)
def test_warnings(test: str, fact: str) -> None:
    found = lint(f'<add when="{test}"><title>x</title></add>')
    assert [one for one in found if fact in one], found
    assert all(one.startswith("2 warning: ") for one in found)


@pytest.mark.parametrize(
    "test",
    [
        "devices/disk[@device = 'cdrom'][target/@bus = 'sata']",
        "devices/disk/@device = 'cdrom' and devices/disk/@device = 'disk'",  # there are many disks
        "vcpu &gt;= 4 and vcpu &lt;= 4",
        "vcpu = 4 and vcpu = 4.0",
        "vcpu = 4 or vcpu = 5",
        "$qemu_version &gt;= 7000000",
        "7000000 &lt;= $qemu_version and vcpu &lt; 9",
        "metadata/*[local-name() = 'x']/y",
        "not(devices/*[self::disk or self::filesystem])",
        "$domcapabilities/devices/graphics/enum[@name = 'type']/value = 'spice'",
        "devices/interface/../disk/target/@bus = 'virtio'",
        "vp:supports('graphics', 'type', 'spice') or qemu:commandline/qemu:arg",
        "os/type/@machine = 'pc-q35-99.1'",
        "string(.) = 'x' or contains(name, 'y')",
    ],
)
def test_nothing_is_said_of_what_may_be(test: str) -> None:
    assert lint(f'<add when="{test}"><title>x</title></add>') == []


def test_matches_that_exclude_each_other() -> None:
    found = lint(f"<match test='vcpu &gt; 8'/>\n<match test='vcpu &lt; 4'/>{ADD}")
    assert found == [
        "1 warning: the profile never applies: 'vcpu' cannot be above 8 and below 4 (remove one <match>, or write two profiles: all must hold)"
    ]


@pytest.mark.parametrize(
    ("body", "head", "fact"),
    [
        (
            "<param name='n' type='int' default='x'/><add><title>{$n}</title></add>",
            "",
            "error: the default of 'n'",
        ),
        ("<param name='n' type='int' default='2'/>" + ADD, "", "warning: param 'n' is not used"),
        (
            "<param name='host'/><add><title>{$host}</title></add>",
            "",
            "error: reserved param name 'host'",
        ),
        (
            "<param name='version'/><add><title>{$version}</title></add>",
            "",
            "error: reserved param name",
        ),
        (
            "<param name='s' secret='yes' default='x'/><add><title>{$s}</title></add>",
            "",
            "everybody can read",
        ),
        ("<requires profile='p'/>", "", "error: profile 'p' refers to itself"),
        (
            "<requires profile='q'/><conflicts profile='q'/>",
            "",
            "error: profile 'p' requires 'q' and conflicts",
        ),
        (ADD, " replaced-by='q'", "warning: nothing of this profile is used"),
        (ADD, " autoselect='yes'", "warning: autoselect='yes' without a <match>"),
        ("<add unknown='skip'><title>{vcpu}</title></add>", "", "warning: unknown='skip' has no effect"),
        ("<add unknown='apply'><title>{vp:os-id()}</title></add>", "", "a {…} knows error and skip only"),
        ("<match test='vcpu' unknown='apply'/>" + ADD, "", "warning: unknown='apply' has no effect"),
        ("<match unknow='apply' test='vcpu'/>" + ADD, "", "error: unknown attribute 'unknow' of <match>"),
        ("<match unknown='aply' test='vp:os-id()'/>" + ADD, "", "did you mean 'apply'?"),
        (ADD + ADD, "", "warning: this <add> repeats line"),
    ],
)
def test_params_words_and_dead_parts(body: str, head: str, fact: str) -> None:
    found = lint(body, head)
    assert [one for one in found if fact in one], found


@pytest.mark.parametrize(
    "body",
    [
        "<add unknown='skip'><title>{vp:os-id()}</title></add>",
        "<add unknown='apply' when=\"vp:supports('tpm')\"><title>{vcpu}</title></add>",
        "<match unknown='apply'><title>{vp:os-id()}</title></match>" + ADD,
        "<remove unknown='skip' select=\"devices/tpm[vp:os-supports('usb3')]\"/>",
        "<match unknown='skip' test=\"vp:machine('q35')\"/>" + ADD,
    ],
)
def test_unknown_where_it_counts(body: str) -> None:
    assert lint(body) == []


def test_expressions_of_drop_ins_are_checked_but_for_params_elsewhere() -> None:
    assert lint("<add when='$heads &gt; 1'><title>{$other}</title></add>", drop_in=True) == []
    (told,) = lint("<add when='$heads &gt; vp:mxa(1, 2)'><title>x</title></add>", drop_in=True)
    assert "unknown function 'vp:mxa'" in told


def test_a_name_that_is_none() -> None:
    (told,) = lint_text("<profile name=''/>", "a.xml")
    assert "invalid profile name ''" in told.message


def test_a_file_that_is_not_there_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "b.xml").write_text("<profile name='b'><ad/></profile>")
    found = virtProfile.lint([tmp_path / "a.xml", tmp_path / "b.xml"])
    assert [one.message for one in found] == [
        "No such file or directory",
        "unknown element 'ad' in <profile>",
    ]


@pytest.mark.parametrize("name", sorted(virtProfile.__all__))
def test_every_name_of_the_package_is_there_whatever_was_imported(name: str) -> None:
    """A module of the same name would take a function's place as soon as it is imported."""
    for _ in range(2):
        assert callable(getattr(virtProfile, name))
