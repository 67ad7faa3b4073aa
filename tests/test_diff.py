# SPDX-License-Identifier: GPL-2.0-or-later
"""The diff and the explanations on hand-made results: what a front end shows, and what it hides."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from virtProfile.errors import Conflict, ConflictError, ConflictValue, UsageError
from virtProfile.format.document import parse
from virtProfile.redaction import is_foreign, is_secret, veil_error, veil_result, veil_text
from virtProfile.result import DEFINITION, Change, Origin, Overridden, Owned, Result
from virtProfile.show import diff, explain

ONE = Origin("one", "1.0", "add", "one.xml", 3)
TWO = Origin("two", "2", "default", "two.xml", 7)
LISTS = "http://virt-manager.org/schemas/virtuned/0.1"


def change(op: str, path: str, before: str | None, after: str | None, *more: object) -> Change:
    origin, input_line, output_line = more
    return Change(op, path, before, after, origin, (origin,), input_line, output_line)


BEFORE = """\
<domain type='kvm'>
  <name>a</name>
  <metadata>
    <x:y xmlns:x='urn:x' a='hush'>hush</x:y>
  </metadata>
  <features/>
  <devices>
    <disk type='file'>
      <driver name='qemu'/>
      <target dev='vda'/>
    </disk>
    <graphics type='vnc' passwd='hush'/>
  </devices>
</domain>
"""
AFTER = f"""\
<domain type='kvm'>
  <name>a</name>
  <metadata>
    <x:y xmlns:x='urn:x' a='hush'>hush</x:y>
    <virtuned:virtuned xmlns:virtuned='{LISTS}'>
      <virtuned:profile name='one'/>
    </virtuned:virtuned>
  </metadata>
  <features>
    <acpi/>
  </features>
  <devices>
    <disk type='file'>
      <driver name='qemu' cache='none'/>
      <target dev='vda'/>
    </disk>
    <graphics type='vnc' passwd='hush'/>
    <sound model='ich9'>
      <codec type='duplex'/>
    </sound>
  </devices>
</domain>
"""
CACHE = "/domain/devices/disk[target/@dev='vda']/driver/@cache"
PASSWD = "/domain/devices/graphics[1]/@passwd"
LOST = Overridden(PASSWD, "new", "hush", ONE, DEFINITION, "--override lets the profile win")
RESULT = Result(
    AFTER,
    BEFORE,
    True,
    changes=(
        change("add", "/domain/features/acpi", None, None, ONE, None, 10),
        change("add", CACHE, None, "none", TWO, 9, 14),
        change("add", "/domain/devices/sound[1]/@model", None, "ich9", ONE, None, 18),
        change("add", "/domain/devices/sound[1]/codec[1]/@type", None, "duplex", ONE, None, 19),
    ),
    overridden=(LOST,),
    owned=lambda: [
        Owned("/domain/features/acpi", None, ((ONE, 0, "soft"),)),
        Owned(CACHE, "none", ((TWO, 0, "soft"), (ONE, -1, "hard"))),
        Owned(PASSWD, "hush", ((DEFINITION, 99, "soft"),), (LOST,)),
    ],
)


def patch(text: str, difference: str, tmp_path: Path) -> str:
    if shutil.which("patch") is None:
        pytest.skip("no patch")
    file = tmp_path / "vm.xml"
    file.write_bytes(text.encode())
    done = subprocess.run(
        ["patch", "--binary", str(file)], input=difference.encode(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return file.read_bytes().decode()


def test_patch_takes_what_is_piped(tmp_path: Path) -> None:
    text = diff.unified(RESULT, "vm.xml")
    assert patch(BEFORE, text, tmp_path) == AFTER
    assert "hush" not in text


LINES = [
    "# features: add acpi by one 1.0 (one.xml:3)",
    "# disk vda: add driver/@cache 'none' by two 2 (two.xml:7)",
    "# sound 1: add @model 'ich9', codec[1]/@type 'duplex' by one 1.0 (one.xml:3)",
]


@pytest.mark.parametrize(
    ("rows", "lines"),
    [
        (
            [("set", "/domain/@type", "qemu", "kvm", 1)],
            ["domain: set @type 'qemu' -> 'kvm' by p 1 (p.xml:1)"],
        ),
        (
            [
                ("add", "/domain/cpu", None, None, 1),
                ("add", "/domain/cpu/numa/cell[@id='0']/@id", None, "0", 1),
                ("add", "/domain/cpu/numa/cell[@id='0']/@cpus", None, "0-1", 3),
                ("remove", "/domain/cpu/feature[@name='a/b]']/@policy", "require", None, 2),
            ],
            [
                "cpu: add numa/cell[@id='0']/@cpus '0-1', remove feature[@name='a/b]']/@policy 'require'"
                " by p 1 (p.xml:1, 2, 3)"
            ],
        ),
        (
            [
                ("add", "/domain/devices/rng[2]", None, None, 4),
                ("remove", "/domain/devices/disk[target/@dev='vda']/boot/@order", "1", None, 0),
            ],
            ["rng 2: add it by p 1 (p.xml:4)", "disk vda: remove boot/@order '1' by p 1 (p.xml)"],
        ),
    ],
)
def test_a_line_for_each_device(rows: list[Any], lines: list[str]) -> None:
    changes = [
        Change(op, path, before, after, Origin("p", "1", "add", "p.xml", line), ())
        for op, path, before, after, line in rows
    ]
    assert list(diff.summaries(changes)) == lines


def test_origins_before_the_diff_and_in_hunks() -> None:
    lines = diff.unified(RESULT).splitlines()
    assert lines[:3] == LINES
    assert lines[3:5] == ["--- Original XML", "+++ Altered XML"]
    assert [line.partition(" @@ ")[2] for line in lines if line.startswith("@@")] == [
        "(list of profiles), one 1.0, two 2",
        "one 1.0",
    ]


def test_every_changed_line_has_an_origin() -> None:
    lines = [line for hunk in diff.hunks(RESULT) for line in hunk.lines if line.mark != " "]
    told = [(line.mark + line.text.strip(), line.origins) for line in lines]
    assert ("-<features/>", ("one 1.0",)) in told
    assert ("+</features>", ("one 1.0",)) in told
    assert ("+</sound>", ("one 1.0",)) in told
    assert ("-<driver name='qemu'/>", ("two 2",)) in told
    assert ("+</virtuned:virtuned>", ("(list of profiles)",)) in told
    assert all(origins for _, origins in told)


@pytest.mark.parametrize("ending", ["\n", "", "\r\n"], ids=["lf", "none", "crlf"])
def test_ends_of_lines(ending: str, tmp_path: Path) -> None:
    before, after = BEFORE.rstrip("\n"), AFTER.rstrip("\n")
    if ending == "\r\n":
        before, after = before.replace("\n", ending), after.replace("\n", ending)
    result = Result(after + ending, before + ending, True)
    assert patch(before + ending, diff.unified(result), tmp_path) == after + ending


def test_one_side_without_last_line_feed(tmp_path: Path) -> None:
    result = Result(AFTER, BEFORE.rstrip("\n"), True)
    text = diff.unified(result)
    assert "\\ No newline at end of file" in text
    assert patch(BEFORE.rstrip("\n"), text, tmp_path) == AFTER


def test_no_difference_is_nothing() -> None:
    result = Result(BEFORE, BEFORE, False)
    assert diff.unified(result) == diff.drawn(result) == ""


def test_large_documents_are_quick(tmp_path: Path) -> None:
    disk = "    <disk type='file'>\n      <target dev='vd{0}'/>\n    </disk>\n"
    many = "".join(disk.format(number) for number in range(20000))
    before = BEFORE.replace("    <graphics", many + "    <graphics")
    after = AFTER.replace("    <graphics", many + "    <graphics")
    text = diff.unified(Result(after, before, True))
    assert patch(before, text, tmp_path) == after


def test_margin_on_a_terminal() -> None:
    text = diff.drawn(RESULT, width=160)
    assert "\x1b" not in text
    lines = text.splitlines()
    driver = next(line for line in lines if line.startswith("+      <driver"))
    assert driver.endswith("  two 2")
    columns = {line.index("one 1.0") for line in lines if line.endswith("one 1.0")}
    assert len(columns) == 1
    assert "hush" not in text
    assert "passwd='***'" in text


def test_colour() -> None:
    text = diff.drawn(RESULT, width=100, colour=True)
    assert "\x1b[32m+    <acpi/>\x1b[m" in text
    assert "\x1b[31m-  <features/>\x1b[m" in text


def test_terminals_obey_no_document() -> None:
    before = BEFORE.replace("<name>a<", "<name>\x9b31m<")
    after = AFTER.replace("<name>a<", "<name>\x9b32m<")
    text = diff.drawn(Result(after, before, True))
    assert "\x9b" not in text
    assert "\\x9b32m" in text


def test_explain_everything() -> None:
    assert explain.explain(RESULT) == (
        "/domain/features/acpi\n"
        "  by  one 1.0  priority 0  soft  add at one.xml:3\n"
        f"{CACHE} = none\n"
        "  by  two 2    priority 0   soft  default at two.xml:7\n"
        "  by  one 1.0  priority -1  hard  add at one.xml:3\n"
        f"{PASSWD} = ***\n"
        "  by  the VM definition  priority 99  soft\n"
        "  not one 1.0, which wants '***' (add at one.xml:3): the VM definition has priority 99;"
        " --override lets the profile win\n"
    )


@pytest.mark.parametrize(
    ("xpath", "paths"),
    [
        ("devices/disk", [CACHE]),
        ("devices", [CACHE, PASSWD]),
        ("//@cache", [CACHE]),
        ("//@name", []),
        ("features/acpi", ["/domain/features/acpi"]),
        ("metadata/virtuned:virtuned", []),
        ("devices/sound", []),
        ("/domain", ["/domain/features/acpi", CACHE, PASSWD]),
    ],
)
def test_explain_a_part(xpath: str, paths: list[str]) -> None:
    lines = explain.explain(RESULT, xpath).splitlines()
    told = [line.partition(" = ")[0] for line in lines if not line.startswith(" ")]
    assert told == paths


@pytest.mark.parametrize("xpath", ["devices/[", "count(devices)", "'a'", "nope:x", "$x"])
def test_explain_what_is_no_xpath(xpath: str) -> None:
    with pytest.raises(UsageError) as caught:
        explain.explain(RESULT, xpath)
    assert caught.value.hint


def test_explain_what_is_gone() -> None:
    path = "/domain/devices/graphics[1]"
    taken = Origin("one", "1.0", "remove", "one.xml", 9)
    after = AFTER.replace("    <graphics type='vnc' passwd='hush'/>\n", "")
    result = Result(after, BEFORE, True, owned=lambda: [Owned(path, None, ((taken, 100, "soft"),))])
    assert explain.explain(result, "devices/graphics").splitlines() == [
        f"{path} is absent",
        "  by  one 1.0  priority 100  soft  remove at one.xml:9",
    ]
    assert explain.explain(result, "devices/disk") == ""


def test_secret_paths() -> None:
    assert is_secret("/domain/devices/graphics/@passwd")
    assert is_secret("/domain/devices/graphics[@type='v]nc'][2]/@passwd")
    assert is_secret("/domain/devices/disk[target/@dev='vda']/source/cookies/cookie[@name='a']")
    assert not is_secret("/domain/devices/graphics/@port")
    assert is_foreign("/domain/metadata/app:state/@x")
    assert is_foreign("/domain/metadata/*[local-name()='state']")
    assert not is_foreign("/domain/metadata/virtuned:virtuned/virtuned:profile")
    assert not is_foreign("/domain/devices")


def test_results_are_veiled() -> None:
    result = Result(
        AFTER,
        BEFORE,
        True,
        changes=(
            change("set", PASSWD, "hush", "new", ONE, 1, 1),
            change("set", "/domain/metadata/x:y/@a", "hush", "mine", ONE, 1, 1),
            change("set", CACHE, "none", "unsafe", ONE, 1, 1),
        ),
        overridden=(
            LOST,
            Overridden("/domain/metadata/x:y", "mine", "hush", ONE, DEFINITION),
        ),
        owned=RESULT.owned,
    )
    document = veil_result(result).to_dict()
    values = [(one["before"], one["after"]) for one in document["changes"]]
    assert values == [("***", "***"), ("***", "mine"), ("none", "unsafe")]
    assert [(one["wanted"], one["has"]) for one in document["overridden"]] == [
        ("***", "***"),
        ("mine", "***"),
    ]
    assert document["xml"] == AFTER
    assert veil_result(result).owned()[2].value == "***"


def test_errors_are_veiled() -> None:
    sides = (
        ConflictValue("new", 0, "hard", ONE.to_dict()),
        ConflictValue("hush", 99, "soft", DEFINITION),
    )
    problem = ConflictError(
        f"cannot hold together: {PASSWD}: 'new', 'hush'",
        hint="try --profile one,priority=100",
        conflicts=[Conflict(PASSWD, sides)],
    )
    shown = veil_error(problem)
    assert shown.message == f"cannot hold together: {PASSWD}: '***', '***'"
    assert [side.value for side in shown.conflicts[0].values] == ["***", "***"]
    assert shown.hint == problem.hint
    harmless = UsageError("x", others=[UsageError("y")])
    assert veil_error(harmless) is harmless


def test_texts_are_veiled() -> None:
    text = """\
<domain>
  <metadata>
    <virtuned:virtuned xmlns:virtuned='http://virt-manager.org/schemas/virtuned/0.1'>\
<virtuned:profile name='a'/></virtuned:virtuned>
    <o:libosinfo xmlns:o='http://libosinfo.org/xmlns/libvirt/domain/1.0'><o:os id='x'/></o:libosinfo>
    <x:y xmlns:x='urn:x' a='hush' x:b="shown">hush <!-- hush --><x:z><![CDATA[hush]]> hush
    hush</x:z><?hush hush?></x:y>
    <z xmlns='urn:z'>hush</z>
  </metadata>
  <devices><graphics type='vnc' passwd='hush' port='1'><listen type='none'/></graphics>
    <disk><source><cookies><cookie name='a'>hush</cookie></cookies></source></disk>
  </devices>
</domain>
"""
    document = parse(text)
    foreign = document.root[0][2]
    shown = veil_text(document, lambda: [(foreign, "@b")])
    assert "hush" not in shown
    assert shown.count("\n") == text.count("\n")
    assert 'x:b="shown"' in shown
    assert "xmlns:x='urn:x' a='***'" in shown
    assert "<o:os id='x'/>" in shown
    assert "<virtuned:profile name='a'/>" in shown
    assert "<graphics type='vnc' passwd='***' port='1'>" in shown
    assert "<cookie name='a'>***</cookie>" in shown
    parse(shown.replace("<?***?>", ""))
