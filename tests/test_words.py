# SPDX-License-Identifier: GPL-2.0-or-later
"""Where people go wrong: what they write, and the words of the answer that lead on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from commandline import DATA, run

from virtProfile import ProfileStore
from virtProfile.apply_options import GROUPS as OPTION_GROUPS
from virtProfile.apply_options import OPTIONS as ROWS
from virtProfile.authoring.lint import lint_files
from virtProfile.cli.advice import OPTIONS, VERBS
from virtProfile.cli.arguments import EXAMPLES
from virtProfile.errors import UsageError
from virtProfile.language.search_path import shipped
from virtProfile.show.groups import GROUPS
from virtProfile.show.profile_words import in_words

DRIVER = f"test://{DATA / 'driver.xml'}"
RNG = "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"

#: (command line, what its hint says)
LINES = (
    (["list", "-c", DRIVER], "virt-profile --list"),
    (["-c", DRIVER, "list"], "virt-profile --list"),
    (["lint", "-c", DRIVER], "virt-profile --lint FILE"),
    (["apply", "vm", "cache"], "virt-profile DOMAIN --profile NAME"),
    (["unapply", "vm", "cache"], "virt-profile DOMAIN --unapply NAME"),
    (["vm.xml", "-c", DRIVER], "--input vm.xml"),
    (["vm", "--dry-run"], "--print-diff shows what would change"),
    (["vm", "--remove", "cache"], "--unapply NAME takes a profile back"),
    (["vm", "--force"], "--override"),
    (["vm", "--diff=x"], "--print-diff"),
    (["--input", "vm.xml", "--profile", "./profiles/cache.xml"], "--profile-dir ./profiles --profile cache"),
    (["--input", "vm.xml", "--profile", "nope/cache.xml"], "--profile-dir nope --profile NAME"),
    (["--lint", "--json", "profiles/cache.xml"], "--lint FILE"),
    (["--test", "--json", "suite"], "--test FILE"),
    (["--audit", "vm"], "write the domain before it"),
    (["nope", "-c", DRIVER], f"virsh -c {DRIVER} list --all"),
    (
        ["--input", "vm.xml", "--profile", "cache,version=7", "--profile-dir", "profiles"],
        "searched: profiles, ",
    ),
    (
        [
            "--input",
            "vm.xml",
            "--profile-dir",
            "../../../profiles",
            "--profile",
            "gpu-passthrough,address=10de:1b80",
        ],
        "made of address='10de:1b80'; 'virt-profile --info gpu-passthrough' tells",
    ),
    (
        [
            "--input",
            "vm.xml",
            "--profile-dir",
            "../../../profiles",
            "--profile",
            "gpu-passthrough,address=pci_0000_01_00_0",
        ],
        "made of address='pci_0000_01_00_0'",
    ),
    (
        [
            "--input",
            "vm.xml",
            "--profile-dir",
            "../../../profiles",
            "--profile",
            "iothreads-per-disk,limit=-3",
        ],
        "made of limit='-3'",
    ),
    (
        ["--input", "vm.xml", "--profile-dir", "../../../profiles", "--profile", "disk-multiqueue,limit=-3"],
        "made of limit='-3'",
    ),
)


@pytest.mark.parametrize(
    ("words", "hint"), LINES, ids=lambda part: " ".join(part) if isinstance(part, list) else ""
)
def test_command_lines(words: list[str], hint: str) -> None:
    done = run(words)
    assert done.status
    assert hint in done.err


#: (name of the file, its text, a part of what lint says)
FILES = (
    ("a.xml", f"<profile name='a' version='1'><add>{RNG}</add></profile>", "it belongs into <devices>"),
    ("a.xml", "", "<profile name='…'> was expected"),
    ("a.xml", "<domain type='kvm'><name>a</name></domain>", "--input FILE --profile NAME"),
    ("b.xml", "<profile name='a' version='1'><add><vcpu>2</vcpu></add></profile>", "call the file a.xml"),
    (
        "a.xml",
        "<profile name='a' version='1' priority='100'><add><vcpu>2</vcpu></add></profile>",
        "has no effect without autoselect='yes'",
    ),
    (
        "a.xml",
        "<profile name='a' version='1'><add><devices><disk><driver cache='none'/></disk></devices></add></profile>",
        "makes a new disk where no disk fits",
    ),
)


@pytest.mark.parametrize(("name", "text", "said"), FILES)
def test_profiles(name: str, text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    problems = lint_files([tmp_path / name])
    assert any(said in f"{problem.message} {problem.hint}" for problem in problems), problems


def test_nothing_is_wrong_with_the_right_form(tmp_path: Path) -> None:
    for name in ("a.xml", "a@1.xml", "a-1.xml"):
        (tmp_path / name).write_text(
            "<profile name='a' version='1'><add each='devices/disk'><disk><driver cache='none'/></disk></add></profile>"
        )
        assert lint_files([tmp_path / name]) == []
    done = run(["--lint", str(tmp_path / "a.xml")])
    assert done.text == "OK: 1 profile\n" and not done.status
    assert run(["--lint", str(tmp_path / "a.xml"), "-q"]).text == ""


def test_a_single_directory_is_no_list() -> None:
    for one in ("/etc", Path("/etc")):
        with pytest.raises(UsageError, match="takes a list of directories"):
            ProfileStore(one)


@pytest.mark.parametrize("address", ["01:00", "01:00.0", "0000:01:00", "0000:01:00.0", "1:0"])
def test_forms_of_a_pci_address(address: str) -> None:
    words = ["--input", "vm.xml", "--profile-dir", "../../../profiles", "--no-record", "--profile"]
    done = run([*words, f"gpu-passthrough,address={address}"])
    assert re.search("<address domain='0x0000' bus='0x0?1' slot='0x0?0' function='0x0'/>", done.text), (
        done.err
    )


def test_a_secret_param_is_not_in_the_hint(tmp_path: Path) -> None:
    (tmp_path / "s.xml").write_text(
        "<profile name='s' version='1'><param name='p' secret='yes'/><param name='n'/>"
        "<add><vcpu>{concat($p, $n)}</vcpu></add></profile>"
    )
    (tmp_path / "secret").write_text("hush")
    words = ["--input", "vm.xml", "--profile-dir", str(tmp_path), "--override", "--profile"]
    done = run([*words, f"s,p=@{tmp_path}/secret,n=zz"])
    assert done.status == 1 and "made of n='zz';" in done.err and "hush" not in done.err


#: (actions of a profile, the words that --info begins with)
CHANGES = (
    ("<add><devices><rng model='virtio'/></devices></add>", "adds a random number generator: model virtio"),
    (
        "<add each='devices/disk' when='vcpu'><disk><driver cache='none' io='native'/></disk></add>",
        "each disk: driver cache none io native, on a condition",
    ),
    ("<remove><devices><input type='tablet'/></devices></remove>", "removes every input: type tablet"),
    ("<remove select='devices/disk/driver/@io'/>", "removes devices/disk/driver/@io"),
    ("<default><cpu mode='host-model'/></default>", "where nothing is said, CPU: mode host-model"),
    ("<add multiple='no'><vcpu>{$n}</vcpu></add>", "sets number of CPUs: $n"),
    ("<add><vcpu>{$n + 1}</vcpu></add>", "sets number of CPUs: …"),
    ("<add><features><hidden state='on'/><acpi/></features></add>", "sets the feature hidden: on"),
    ("<check test='vcpu' message='{vcpu} CPUs'/>", "checks: … CPUs"),
    ("<requires profile='a'/><requires profile='b'/>", "applies also a, b"),
    (
        "<add repeat='2' multiple='yes'><devices><redirdev bus='usb'/></devices></add>",
        "adds USB redirection, as often as asked for: bus usb",
    ),
)


@pytest.mark.parametrize(("actions", "line"), CHANGES, ids=lambda text: text[:40])
def test_info_begins_with_what_is_changed(actions: str, line: str, tmp_path: Path) -> None:
    text = f"<profile name='a' version='1'><title>T</title><param name='n' default='1'/>{actions}</profile>"
    (tmp_path / "a.xml").write_text(text)
    shown = run(["--info", "a", "--profile-dir", str(tmp_path)]).text.splitlines()
    assert shown[0] == "changes:" and f"  {line}" in shown[1 : shown.index("name:      a")]


def test_every_shipped_profile_says_what_it_changes() -> None:
    for row in ProfileStore([shipped()]).listing():
        lines = in_words(row.profile)
        assert lines, row.profile.name
        assert all(len(line) < 600 and "{" not in line for line in lines), lines


def test_the_list_is_in_groups(tmp_path: Path) -> None:
    (tmp_path / "mine.xml").write_text(
        "<profile name='mine' version='1'><title>T</title><add><vcpu>2</vcpu></add></profile>"
    )
    lines = run(["--list", "--profile-dir", str(tmp_path), "--profile-dir", shipped()]).text.splitlines()
    titles = [line for line in lines if line[:1].strip()]
    assert titles == [f"{title}:" for title in GROUPS]
    names = {line.split()[0]: line for line in lines if line.startswith("  ")}
    assert names["mine"].endswith(f"  1    T (in {tmp_path})")
    below = lines[lines.index("Disks:") : lines.index("Network:")]
    assert any(line.startswith("  fast-disk ") for line in below)


def test_help_begins_with_everyday_options() -> None:
    text = run(["--help"]).text
    first = text.split("\n\n")[2]
    for option in (
        "DOMAIN",
        "--profile",
        "--print-diff",
        "--confirm",
        "--status",
        "--unapply",
        "--list",
        "--info",
    ):
        assert f"\n  {option}" in first, option
    assert "--mirror-topology" not in first
    titles = [part.splitlines()[0] for part in text.split("\n\n")[2:]]
    assert titles[: len(OPTION_GROUPS)] == [f"{title}:" for title in OPTION_GROUPS]


def test_hints_name_options_that_exist() -> None:
    known = {flag for row in ROWS for flag in row.flags}
    for text in (*VERBS.values(), *OPTIONS.values()):
        named = {word.strip(":;,…") for word in text.split() if word.startswith("--")}
        assert named - {"--edit"} <= known, text
    assert not OPTIONS.keys() & known


def test_examples_of_help_name_profiles_that_exist() -> None:
    words = EXAMPLES.replace(",", " ").split()
    names = [
        after for word, after in zip(words, words[1:], strict=False) if word in ("--profile", "--unapply")
    ]
    assert names
    for name in names:
        assert Path(shipped(), f"{name}.xml").exists(), name


def test_the_record_is_one_line_of_a_diff() -> None:
    words = ["--input", "vm.xml", "--profile", "cache", "--print-diff", "--profile-dir", "profiles"]
    whole = run([*words, "--with-record"], terminal=True, COLUMNS="200").text
    shown = run(words, terminal=True, COLUMNS="200").text
    counted = sum(1 for line in whole.splitlines() if line[:1] in "+-" and line[:3] not in ("---", "+++"))
    left = sum(1 for line in shown.splitlines() if line[:1] in "+-" and line[:3] not in ("---", "+++"))
    assert "virtuned:profile" in whole and "virtuned" not in shown
    assert (
        shown.splitlines()[-1]
        == f"({counted - left} lines of record in <metadata>; --with-record shows them)"
    )
    assert left and "lines of record" not in whole
    assert "virtuned:profile" in run(words).text  # into a file: patch needs all of it


def test_origins_are_above_the_hunk_where_the_margin_has_no_room() -> None:
    words = ["--input", "vm.xml", "--profile", "cache", "--print-diff", "--profile-dir", "profiles"]
    narrow = run(words, terminal=True, COLUMNS="60").text
    assert all(len(line) <= 80 for line in narrow.splitlines() if line[:1] not in "+- ")
    header = next(line for line in narrow.splitlines() if line.startswith("@@"))
    assert header.endswith("@@ cache 1.0")
    wide = run(words, terminal=True, COLUMNS="200").text
    assert next(line for line in wide.splitlines() if line.startswith("@@")).endswith(" @@")


def test_what_unapply_does_is_shown_before(tmp_path: Path) -> None:
    """As with apply: the difference, then the question; and what stays, as somebody changed it."""
    text = (DATA / "applied.xml").read_text().replace("type='kvm'", "type='test'", 1)
    text = text.replace("</name>", "</name><uuid>6695eb01-f6a4-8304-79aa-97f2502e193f</uuid>", 1)
    driver = tmp_path / "driver.xml"
    driver.write_text(f"<node>{text}</node>")
    words = ["-c", f"test://{driver}", "vm", "--unapply", "all"]
    done = run([*words, "--confirm"], b"n\n")
    assert "-    <sound model='ac97'" in done.text and "discard='unmap'/>" in done.text
    kept, _, asked = done.err.partition("Define 'vm' with the changed XML? (y/n): ")
    assert "@cache stays 'unsafe': it was changed since 'cache' wrote 'none'" in kept
    assert asked == "not defined\n"
    shown = run([*words, "--print-diff"])
    assert shown.text == done.text
    plain = run(["--input", "applied.xml", "--unapply", "sound"])
    assert "stays" not in plain.err  # of the profiles that go, not of others


def test_a_secret_that_stays_is_not_shown(tmp_path: Path) -> None:
    text = (DATA / "applied.xml").read_text()
    entry = "<vr:on at='devices/graphics[@type=vnc]'><vr:graphics passwd='mine'/></vr:on>"
    (tmp_path / "vm.xml").write_text(
        text.replace(
            "<vr:on at='devices/disk[target/@dev=vda]", entry + "<vr:on at='devices/disk[target/@dev=vda]"
        )
    )
    done = run(["--input", str(tmp_path / "vm.xml"), "--unapply", "all"])
    assert "@passwd stays '***': it was changed since 'cache' wrote '***'" in done.err
    assert "hush" not in done.err and "mine" not in done.err


def test_a_version_that_is_gone_is_named_with_where_it_was_looked_for(tmp_path: Path) -> None:
    """Taking back what reaches into the host needs the profile of the record."""
    text = (DATA / "applied.xml").read_text()
    entry = "<vr:on at='devices/disk[target/@dev=vda]/source'><vr:source file='/var/lib/libvirt/images/vm.qcow2'/><vr:was file='/a'/></vr:on>"
    text = text.replace(
        "<vr:on at='devices/disk[target/@dev=vda]", entry + "<vr:on at='devices/disk[target/@dev=vda]", 1
    )
    (tmp_path / "vm.xml").write_text(text.replace("name='cache' version='1.0'", "name='cache' version='7.7'"))
    done = run(["--input", str(tmp_path / "vm.xml"), "--unapply", "all", "--profile-dir", "profiles"])
    assert done.status and "profile 'cache' version '7.7' was not found" in done.err
    assert "searched: profiles, " in done.err
