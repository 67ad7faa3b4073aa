# SPDX-License-Identifier: GPL-2.0-or-later
"""Standing profiles: what a site and a user want of every new VM."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from commandline import Done, run
from library import SHIPPED
from test_overlay import PLACES
from test_virtinstall import F37, URI, XML, program, version

import virtProfile
from virtProfile.cli.standing_profiles import StandingProfiles
from virtProfile.errors import PolicyError, UsageError
from virtProfile.host.context import Context
from virtProfile.language import standing
from virtProfile.language.requests import profile_wish
from virtProfile.language.standing import read_standing, with_standing
from virtProfile.language.store import ProfileStore

HOST = Path(__file__).parent / "data" / "host"
SKETCH = b"<domain type='qemu'><name>web-1</name><memory>1048576</memory></domain>\n"
FACTS = {"os": "win11", "os-family": "windows", "arch": "x86_64", "type": "kvm", "name": "web-1"}


def config(place: Path, text: str) -> dict[str, str]:
    """An environment whose user has that file."""
    (place / "virt-profile").mkdir(parents=True, exist_ok=True)
    (place / "virt-profile" / "config.toml").write_text(text)
    return {"XDG_CONFIG_HOME": str(place)}


@pytest.fixture(autouse=True)
def no_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The site's file of the tests: there is none until a test writes it."""
    site = tmp_path / "etc" / "config.toml"
    site.parent.mkdir()
    monkeypatch.setattr(standing, "SITE", site)
    return site


@pytest.mark.parametrize(
    ("conditions", "fits"),
    [
        ("", True),
        ("os-family = 'windows'", True),
        ("os-family = 'linux'", False),
        ("os = 'win11'\narch = 'x86_64'", True),
        ("os = 'win11'\narch = 'aarch64'", False),
        ("type = 'kvm'", True),
        ("name = 'web-*'", True),
        ("name = 'db-*'", False),
    ],
)
def test_conditions(conditions: str, fits: bool, tmp_path: Path) -> None:
    (table,) = read_standing(config(tmp_path, f"[[new]]\nprofiles = ['rng']\n{conditions}\n"))
    assert table.fits(FACTS) == fits
    assert not conditions or not table.fits({})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[new]\n", "is not TOML"),
        ("[new]\nprofiles = ['rng']\n", "write [[new]]"),
        ("[[newer]]\nprofiles = ['rng']\n", "unknown table 'newer'"),
        ("[[new]]\n", "'profiles' is not a list of texts"),
        ("[[new]]\nprofiles = 'rng'\n", "'profiles' is not a list of texts"),
        ("[[new]]\nprofiles = [1]\n", "'profiles' is not a list of texts"),
        ("[[new]]\nprofiles = ['rng']\nosfamily = 'linux'\n", "did you mean 'os-family'"),
        ("[[new]]\nprofiles = ['rng']\nos = 11\n", "os is not a text"),
        ("[[new]]\nprofiles = ['rng,']\n[[new]]\nprofiles = ['rng,x']\n", "is not of the form PARAM=VALUE"),
    ],
)
def test_a_broken_file_is_an_error(text: str, said: str, tmp_path: Path) -> None:
    environ = config(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read_standing(environ)
    assert said in f"{caught.value.message}; {caught.value.hint}"
    assert caught.value.where == f"{tmp_path}/virt-profile/config.toml"
    done = run(["--complete"], SKETCH, **environ)
    assert done.status and "config.toml" in done.err


def test_the_command_line_goes_before_the_user_before_the_site(tmp_path: Path, no_site: Path) -> None:
    no_site.write_text("[[new]]\nprofiles = ['rng,priority=1', 'a,x=1', 'b']\n")
    found = read_standing(config(tmp_path, "[[new]]\nprofiles = ['a,x=2', 'c,instance=i']\n"))
    wishes, lines = with_standing([profile_wish("b,priority=5")], found, FACTS)
    assert [(wish["name"], wish["params"], wish.get("priority")) for wish in wishes] == [
        ("rng", {}, "1"),
        ("a", {"x": "2"}, None),
        ("c", {}, None),
        ("b", {}, "5"),
    ]
    assert [wish.get("standing", False) for wish in wishes] == [True, True, True, False]
    assert lines == [
        f"profiles from {no_site}: rng",
        f"profiles from {tmp_path}/virt-profile/config.toml: a, c#i",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is careful")
def test_root_uses_no_file_that_others_may_write(tmp_path: Path, no_site: Path) -> None:
    environ = config(tmp_path, "[[new]]\nprofiles = ['rng']\n")
    (tmp_path / "virt-profile" / "config.toml").chmod(0o666)
    said: list[str] = []
    assert read_standing(environ, said.append) == []
    assert "may be written by others" in said[0]
    no_site.write_text("[[new]]\nprofiles = ['rng']\n")
    no_site.chmod(0o666)
    with pytest.raises(PolicyError, match="may be written by others"):
        read_standing({})


def complete(environ: dict[str, str], *words: str) -> Done:
    files = [
        "--capabilities",
        f"{HOST}/capabilities.xml",
        "--domcapabilities",
        f"{HOST}/domcapabilities-q35.xml",
    ]
    return run(["--complete", *files, "--profile-dir", str(SHIPPED), *words], SKETCH, **environ)


def sources(done: Done) -> dict[str, str]:
    return {row["name"]: row["source"] for row in json.loads(done.text)["applied"]}


def test_completing_a_sketch(tmp_path: Path) -> None:
    text = "[[new]]\nprofiles = ['guest-agent']\n[[new]]\nos-family = 'linux'\nprofiles = ['linux-clock']\n"
    environ = config(tmp_path, text)
    line = f"profiles from {tmp_path}/virt-profile/config.toml: guest-agent"
    done = complete(environ, "--json")
    assert sources(done) == {"guest-agent": "config"}
    assert done.err.splitlines().count(line) == 1
    linux = complete(environ, "--json", "--osinfo", "fedora37", "--profile", "pvpanic")
    assert sources(linux) == {"guest-agent": "config", "linux-clock": "config", "pvpanic": "caller"}
    assert "guest-agent, linux-clock" in linux.err
    without = complete(environ, "--profile", "none")
    assert "config.toml" not in without.err
    assert without.text == complete({}).text != complete(environ).text
    # an existing VM is nobody's new one
    assert run([], SKETCH, **environ).out == SKETCH


def test_a_fleet(tmp_path: Path) -> None:
    """Each VM gets what its tables say; what is said of it is said once, and is part of the call."""
    text = (
        "[[new]]\nprofiles = ['guest-agent']\n[[new]]\nname = 'web-*'\nprofiles = ['pvpanic', 'watchdog']\n"
    )
    environ = config(tmp_path, text)
    place = tmp_path / "vms"
    place.mkdir()
    for name in ("db-1", "db-2", "web-1"):
        (place / f"{name}.xml").write_bytes(SKETCH.replace(b"web-1", name.encode()))
    words = ["--input", str(place), "--complete", "--profile-dir", str(SHIPPED), "--jobs", "1"]
    words += ["--capabilities", f"{HOST}/capabilities.xml", "--profile", "watchdog,action=poweroff"]
    files = f"profiles from {tmp_path}/virt-profile/config.toml"
    done = run([*words, "--json"], **environ)
    assert done.status == 0, done.err
    rows = {Path(row["vm"]).stem: row for row in map(json.loads, done.text.splitlines())}
    assert rows["db-1"]["standing"] == rows["db-2"]["standing"] == [f"{files}: guest-agent"]
    assert rows["web-1"]["standing"] == [f"{files}: guest-agent, pvpanic"]
    assert {row["name"]: row["source"] for row in rows["web-1"]["result"]["applied"]} == {
        "guest-agent": "config",
        "pvpanic": "config",
        "watchdog": "caller",
    }
    assert [line for line in done.err.splitlines() if "config.toml" in line] == [
        f"{files}: guest-agent",
        f"{files}: guest-agent, pvpanic",
    ]
    report = str(tmp_path / "report")
    assert run([*words, "--report", report], **environ).status == 0
    config(tmp_path, "[[new]]\nprofiles = ['rng']\n")
    assert "other options" in run([*words, "--report", report, "--resume"], **environ).err
    without = run([*words, "--profile", "none", "--json"], **environ)
    assert without.status == 0 and '"standing"' not in without.text and "config.toml" not in without.err
    assert (
        '"standing"' not in run([word for word in [*words, "--json"] if word != "--complete"], **environ).text
    )


def test_secrets_are_read_once(tmp_path: Path) -> None:
    """Also where an engine is asked several times about a VM."""
    (tmp_path / "p.xml").write_text(
        "<profile name='password' version='1'><param name='word' secret='yes'/>"
        "<add><devices><graphics type='vnc' passwd='{$word}'/></devices></add></profile>"
    )
    (tmp_path / "secret").write_text("hushhush\n")
    environ = config(tmp_path, f"[[new]]\nprofiles = ['password,word=@{tmp_path}/secret']\n")
    store: Any = ProfileStore([tmp_path])
    asked = StandingProfiles(environ, store)
    for _ in range(2):
        wishes, lines = asked.join([], SKETCH.decode(), "a", Context())
        assert [wish["params"] for wish in wishes] == [{"word": "hushhush"}]
        assert lines == [f"profiles from {tmp_path}/virt-profile/config.toml: password"]


def test_a_vm_that_keeps_a_profile_out() -> None:
    store: Any = ProfileStore([SHIPPED])
    xml = (
        "<domain type='kvm'><name>a</name><metadata><v:virtuned xmlns:v='http://virt-manager.org/schemas/virtuned/0.1'>"
        "<v:profile name='rng' exclude='yes'/></v:virtuned></metadata><memory>1</memory></domain>"
    )
    wishes: list[dict[str, Any]] = [{**profile_wish("rng"), "standing": True}]
    assert virtProfile.apply(xml, wishes, store=store).applied == ()
    with pytest.raises(UsageError):
        virtProfile.apply(xml, [profile_wish("rng")], store=store)


def test_the_list_shows_them(tmp_path: Path) -> None:
    environ = config(tmp_path, "[[new]]\nos = 'win11'\nprofiles = ['rng', 'virtio-net,drivers=yes']\n")
    done = run(["--list", "--profile-dir", "profiles"], **environ)
    assert done.text.endswith(
        f"\nFor all new VMs ({tmp_path}/virt-profile/config.toml):\n"
        "  rng, virtio-net,drivers=yes (where os win11)\n"
    )


@pytest.mark.parametrize("place", PLACES, ids=version)
def test_virt_install(place: Path, tmp_path: Path) -> None:
    text = "[[new]]\nprofiles = ['pvpanic', 'guest-agent,priority=3']\n[[new]]\nos-family = 'windows'\nprofiles = ['no-usb']\n"
    environ = config(tmp_path, text)

    def install(words: str, **more: str) -> Any:
        line = f"{F37} --import --disk none {XML} {words}"
        done = program("virt-install", place, "--connect", URI, "--name", "t", *line.split(), **more)
        assert done.returncode == 0, done.stderr
        return done

    done = install("", **environ)
    assert '<virtuned:profile name="pvpanic"/>' in done.stdout and "no-usb" not in done.stdout
    assert '<virtuned:profile name="guest-agent" priority="3"/>' in done.stdout
    assert f"profiles from {tmp_path}/virt-profile/config.toml: pvpanic, guest-agent\n" in done.stderr
    assert "profiles from" not in install("--quiet", **environ).stderr
    named = install("--profile guest-agent,priority=7", **environ)
    assert '<virtuned:profile name="guest-agent" priority="7"/>' in named.stdout
    none = install("--profile none", **environ)
    assert none.stdout == install("").stdout and "profiles from" not in none.stderr
    other = config(tmp_path / "other", "[[new]]\nos-family = 'windows'\nprofiles = ['no-usb']\n")
    assert install("", **other).stdout == none.stdout
