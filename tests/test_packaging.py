# SPDX-License-Identifier: GPL-2.0-or-later
"""``pip install .`` into a virtual environment on the distribution's packages, and the Debian package."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from virtProfile.version import VERSION

TOP = Path(__file__).parent.parent
PYTHON = "/usr/bin/python3"
#: What goes into a package: not the caches.
PARTS = (
    "virtProfile", "virtinst", "profiles", "examples", "man", "contrib", "virt-profile", "virt-profiled",
    "virt-install", "virt-xml", "virt-manager", "setup.py", "pyproject.toml", "README.md", "COPYING",
)  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    source.mkdir()
    for part in PARTS:
        if (TOP / part).is_dir():
            shutil.copytree(TOP / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(TOP / part, source)
    words = ["-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "--no-index", "-w"]
    made = subprocess.run([PYTHON, *words, place, "."], cwd=source, capture_output=True, text=True)
    if "No module named" in made.stderr:
        pytest.skip("apt-get install python3-pip python3-setuptools python3-wheel")
    assert made.returncode == 0, made.stderr
    (found,) = place.glob("*.whl")
    return found


def environment(place: Path, python: str, wheel: Path, *more: str) -> Path:
    """A virtual environment with the wheel in it."""
    made = subprocess.run([python, "-m", "venv", *more, place], capture_output=True)
    if made.returncode:
        pytest.skip("no virtual environments: apt-get install python3-venv")
    pip = "-m pip install -q --disable-pip-version-check"
    if more:
        pip += " --no-deps --no-index"
    done = subprocess.run([place / "bin/python", *pip.split(), wheel], capture_output=True, text=True)
    if "No matching distribution found for lxml" in done.stderr:
        pytest.skip("no package index to take lxml from")
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """On the distribution's packages, and joined with its virtinst."""
    place = tmp_path_factory.mktemp("pip") / "venv"
    environment(place, PYTHON, wheel, "--system-site-packages")
    done = run(place, "virt-profile-virtinst")
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture(scope="module")
def plain(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without the distribution's packages: neither gi nor libvirt, as on a machine without virtinst."""
    return environment(tmp_path_factory.mktemp("plain") / "venv", sys.executable, wheel)


def run(venv: Path, program: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([venv / "bin" / program, *words], capture_output=True, text=True, cwd="/")


def test_the_wheel_shadows_nothing(wheel: Path) -> None:
    """What stands where Python and shells look: names that are ours alone."""
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {
        "virtProfile",
        f"virt_profile-{VERSION}.dist-info",
        f"virt_profile-{VERSION}.data",
    }
    assert not [name for name in names if ".data/scripts/" in name]
    (entry_points,) = (name for name in names if name.endswith("entry_points.txt"))
    text = zipfile.ZipFile(wheel).read(entry_points).decode()
    programs = {line.split("=")[0].strip() for line in text.splitlines() if "=" in line}
    assert programs == {"virt-profile", "virt-profiled", "virt-profile-virtinst"}


@pytest.mark.parametrize("kind", ["plain", "installed"])
def test_the_same_commands_work(kind: str, request: pytest.FixtureRequest) -> None:
    venv: Path = request.getfixturevalue(kind)
    done = subprocess.run(["sh", TOP / "tests/smoke.sh", venv / "bin"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_service_and_client_need_no_virtinst(wheel: Path, tmp_path: Path) -> None:
    """``pip install virt-profile[service]`` where nothing of the distribution is seen."""
    venv = environment(tmp_path / "venv", sys.executable, wheel)
    words = ["-m", "pip", "install", "-q", "--disable-pip-version-check", "fastapi", "uvicorn"]
    done = subprocess.run([venv / "bin/python", *words], capture_output=True, text=True)
    if "No matching distribution" in done.stderr:
        pytest.skip("no package index")
    assert done.returncode == 0, done.stderr
    socket = tmp_path / "sock"
    shutil.copy(TOP / "examples/server.xml", tmp_path / "vm.xml")
    service = subprocess.Popen([venv / "bin/virt-profiled", "--socket", socket, "-q"], cwd="/")
    try:
        for _ in range(200):
            if socket.exists():
                break
            time.sleep(0.1)
        asked = run(
            venv, "virt-profile", "--server", f"unix://{socket}", "--input", str(tmp_path / "vm.xml"),
            "--profile", "rng", "--print-diff",
        )  # fmt: skip
        assert asked.returncode == 0 and "+    <rng" in asked.stdout, asked.stderr
    finally:
        service.terminate()
        assert service.wait(20) in (0, -15)


def test_without_virtinst_nothing_is_written(plain: Path) -> None:
    before = sorted(path.name for path in (plain / "bin").iterdir())
    done = run(plain, "virt-profile-virtinst")
    assert done.returncode == 1
    assert "virtinst" in done.stderr and "Traceback" not in done.stderr
    assert sorted(path.name for path in (plain / "bin").iterdir()) == before


def test_a_sketch_needs_virtinst_and_says_so(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "vm.xml").write_text("<domain type='kvm'><name>a</name></domain>")
    done = run(plain, "virt-profile", "--input", str(tmp_path / "vm.xml"), "--complete")
    assert done.returncode == 1 and "apt-get install virtinst" in done.stderr, done.stderr


def test_joining_overwrites_no_other_program_and_goes_again(installed: Path, tmp_path: Path) -> None:
    place = tmp_path / "bin"
    place.mkdir()
    (place / "virt-xml").write_text("#!/bin/sh\n")
    refused = run(installed, "virt-profile-virtinst", str(place))
    assert refused.returncode == 1 and "another program" in refused.stderr
    assert sorted(path.name for path in place.iterdir()) == ["virt-xml"]
    (place / "virt-xml").unlink()
    try:
        assert run(installed, "virt-profile-virtinst", str(place)).returncode == 0
        assert {path.name for path in place.iterdir()} == {"virt-install", "virt-xml"}
        (place / "virt-xml").write_text("#!/bin/sh\n")
        assert run(installed, "virt-profile-virtinst", "--remove", str(place)).returncode == 0
        assert [path.name for path in place.iterdir()] == ["virt-xml"]
        probe = [installed / "bin/python", "-c", "import virtinst"]
        assert subprocess.run(probe, capture_output=True, cwd="/").returncode == 1
    finally:
        assert run(installed, "virt-profile-virtinst").returncode == 0


def _bash(program: str, line: str) -> list[str]:
    function = f"""
. {TOP}/contrib/completion/virt-profile
COMP_LINE='virt-profile {line}'; COMP_POINT=${{#COMP_LINE}}; COMP_TYPE=9
_virt_profile {program} 2>/dev/null
printf '%s\n' "${{COMPREPLY[@]}}"
"""
    return ["bash", "-c", function]


def _zsh(program: str, line: str) -> list[str]:
    function = f"""
compadd() {{ while [[ $1 != -- ]]; do shift; done; shift; print -rl -- "$@" }}
_files() {{ print files }}
words=(virt-profile ${{(s: :):-'{line}'}}); CURRENT=$#words
path=({Path(program).parent} $path)
. {TOP}/contrib/completion/_virt-profile
"""
    return ["zsh", "-fc", function]


def _fish(program: str, line: str) -> list[str]:
    function = f"""
set -p PATH {Path(program).parent}
source {TOP}/contrib/completion/virt-profile.fish
complete -C 'virt-profile {line}'
"""
    return ["fish", "--no-config", "-c", function]


@pytest.mark.parametrize("shell", [_bash, _zsh, _fish])
def test_shells_complete(shell: Callable[[str, str], list[str]], installed: Path) -> None:
    """Options and names of profiles, as the program itself answers."""
    program = str(installed / "bin/virt-profile")
    probe = [installed / "bin/python", "-c", "import argcomplete"]
    if subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("apt-get install python3-argcomplete")
    if shutil.which(shell(program, "")[0]) is None:
        pytest.skip(f"apt-get install {shell(program, '')[0]}")

    def answers(line: str) -> set[str]:
        done = subprocess.run(shell(program, line), capture_output=True, text=True, cwd="/")
        return {answer.split("\t")[0].strip() for answer in done.stdout.splitlines()}

    assert answers("--over") == {"--override"}
    found = answers("--profile headless-")
    assert found == {
        path.stem for path in (TOP / "profiles").glob("headless-*.xml") if ".test" not in path.name
    }


def test_programs_find_the_shipped_profiles(installed: Path) -> None:
    done = run(installed, "virt-profile", "--list")
    assert done.returncode == 0, done.stderr
    assert "(in " not in done.stdout  # all are shipped ones
    told = run(installed, "virt-profile", "--info", "rng").stdout
    assert str(installed / "share" / "virt-profile" / "profiles") in told
    assert {
        one.stem
        for one in (TOP / "profiles").glob("*.xml")
        if ".test." not in one.name and not one.name.startswith("audit-")
    } <= set(done.stdout.split())


@pytest.mark.parametrize("program", ["virt-profile", "virt-profiled"])
def test_programs_are_made_by_pip(installed: Path, program: str) -> None:
    done = run(installed, program, "--version")
    assert done.returncode == 0, done.stderr
    assert VERSION in done.stdout


def test_an_installed_program_is_completed(installed: Path) -> None:
    """bash asks argcomplete whether a program wants that: the marker is in the module that it calls."""
    pytest.importorskip("argcomplete")
    ask: list[str | Path] = [installed / "bin" / "python", "-m", "argcomplete._check_console_script"]
    done = subprocess.run([*ask, installed / "bin" / "virt-profile"], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr


def test_wrappers_take_profiles(installed: Path) -> None:
    words = "--connect test:///default --name t --memory 64 --osinfo generic --import --disk none --print-xml"
    done = run(installed, "virt-install", *words.split(), "--profile", "rng")
    assert done.returncode == 0, done.stderr
    assert "<rng" in done.stdout
    edited = run(
        installed, "virt-xml", "-c", "test:///default", "test", "--edit", "--profile", "rng", "--print-diff"
    )
    assert "+    <rng" in edited.stdout, edited.stderr


def test_manual_pages(installed: Path) -> None:
    pytest.importorskip("docutils")
    pages = {one.name for one in (installed / "share" / "man").glob("man*/*")}
    assert pages == {one.stem for one in (TOP / "man").glob("*.rst")}
    text = (installed / "share" / "man" / "man1" / "virt-profile.1").read_text()
    assert "virt\\-install" in text and "System Message" not in text


def test_the_page_is_installed(installed: Path) -> None:
    (found,) = installed.glob("lib/python3*/site-packages/virtProfile/service/data/page")
    assert {one.name for one in found.iterdir()} == {
        one.name for one in (TOP / "virtProfile/service/data/page").iterdir()
    }


#: Macros of rpm, with the values that they have on Fedora.
MACROS = {
    "name": "virt-profile", "_bindir": "/usr/bin", "_datadir": "/usr/share", "_mandir": "/usr/share/man",
    "_docdir": "/usr/share/doc", "_libexecdir": "/usr/libexec", "_sysconfdir": "/etc",
    "_unitdir": "/usr/lib/systemd/system", "python3_sitelib": "/usr/lib/python3/site-packages", "buildroot": "",
}  # fmt: skip


def test_the_rpm_lists_every_file_of_the_wheel(wheel: Path) -> None:
    """rpmbuild refuses a file that is installed and in no package."""
    spec = (TOP / "contrib" / "packages" / "virt-profile.spec").read_text()
    spec = re.sub(r"%\{(\w+)\}", lambda found: MACROS.get(found[1], found[0]), spec).replace("\\\n", " ")
    listed = re.findall(
        r"^(?:%dir |%config\(noreplace\) )?(/\S+)$", spec[spec.index("%files") :], re.MULTILINE
    )
    gone = re.findall(r"(?<= )/\S+", "\n".join(re.findall(r"^(?:rm|mv) .*", spec, re.MULTILINE)))
    data = re.compile(r"[^/]+\.data/(data|scripts)/(.*)")
    files = [match for name in zipfile.ZipFile(wheel).namelist() if (match := data.fullmatch(name))]
    installed = [("/usr/" if match[1] == "data" else "/usr/bin/") + match[2] for match in files]
    pages = [name for name in installed if "/man/" in name]
    assert len(installed) > 200 and len(pages) == len(list((TOP / "man").glob("*.rst")))
    for name in installed:
        known = (fnmatch.fnmatch(name, line) or name.startswith(line + "/") for line in [*listed, *gone])
        assert any(known), f"{name} is in no package"


def test_the_debian_package_has_our_version() -> None:
    first = (TOP / "debian" / "changelog").read_text().splitlines()[0]
    assert first.startswith(f"virt-profile ({VERSION}-")


@pytest.mark.slow
def test_the_debian_package() -> None:
    """Built, clean for lintian, installed in a chroot beside virtinst, used, and taken out."""
    if os.geteuid() != 0 or shutil.which("dpkg-divert") is None:
        pytest.skip("root on Debian only")
    done = subprocess.run(["./dev", "deb", "--try"], cwd=TOP, capture_output=True, text=True)
    if "debootstrap" in done.stderr and "Failed getting release file" in done.stdout + done.stderr:
        pytest.skip("no mirror for a chroot")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "FAILED" not in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "ok: removed: virtinst is as it was"
