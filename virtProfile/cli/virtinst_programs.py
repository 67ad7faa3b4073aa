# SPDX-License-Identifier: GPL-2.0-or-later
"""The program ``virt-profile-virtinst``: joins an installation by pip with the distribution's virtinst.

A wheel cannot know where it will be installed, so it has neither ``virt-install`` nor ``virt-xml``
nor a package ``virtinst``: where the distribution's virtinst cannot be used they would hide
programs that work behind some that do not. This program looks whether it can be used from
this Python, and only then writes them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from virtProfile.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE
from virtProfile.host.overlay import overlay_path
from virtProfile.version import VERSION

PROGRAM = "virt-profile-virtinst"
PROGRAMS = ("virt-install", "virt-xml")
#: Stands in each program that is written, so that no other is overwritten or removed.
_OURS = "# Written by virt-profile-virtinst, which also removes it"
_LINK = "virt-profile-virtinst.pth"


class _Refused(Exception):
    """What cannot be done, and a hint."""


def _text(program: str, python: str) -> str:
    function = program.replace("-", "_")
    return f"""#!{python}
# SPDX-License-Identifier: GPL-2.0-or-later
{_OURS}
# PYTHON_ARGCOMPLETE_OK
from virtinst import profilecli

profilecli.{function}()
"""


def _why_not(directory: str) -> str:
    """Why this Python cannot use the distribution's virtinst, "" where it can."""
    code = "import sys; sys.path.append(sys.argv[1]); from virtinst import profilecli"
    done = subprocess.run(
        [sys.executable, "-c", code, directory], capture_output=True, text=True, cwd="/", check=False
    )
    if done.returncode == 0:
        return ""
    lines = done.stderr.strip().splitlines() or ["it ended without a word"]
    return lines[-1].removeprefix("ImportError: ").removeprefix("ModuleNotFoundError: ")


def _is_ours(path: Path) -> bool:
    try:
        return _OURS in path.read_text(errors="replace").splitlines()[:4]
    except OSError:
        return False


def _write(directory: Path, link: Path) -> None:
    if link.is_file():
        overlay = link.read_text().strip()
    else:
        overlay = overlay_path() or ""
    if not overlay:
        raise _Refused("nothing to do: 'import virtinst' works already, or no extension is installed")
    reason = _why_not(overlay)
    if reason:
        raise _Refused(reason)
    taken = [path for path in (directory / name for name in PROGRAMS) if path.exists() and not _is_ours(path)]
    if taken:
        raise _Refused(f"'{taken[0]}' exists already and is another program; name another directory")
    directory.mkdir(parents=True, exist_ok=True)
    link.write_text(overlay + "\n")
    print(f"{link}: 'import virtinst' is the distribution's package with profiles")
    for name in PROGRAMS:
        path = directory / name
        path.write_text(_text(name, sys.executable))
        path.chmod(0o755)
        print(f"{path}: the distribution's program, with --profile")


def _remove(directory: Path, link: Path) -> None:
    for path in (link, *(directory / name for name in PROGRAMS)):
        if path == link and path.is_file() or _is_ours(path):
            path.unlink()
            print(f"{path}: removed")


_USAGE = f"""usage: {PROGRAM} [--remove] [DIR]

Write virt-install and virt-xml with --profile, where this Python can use the distribution's
virtinst. Packages of a distribution have them already.

  DIR         where the programs go; by default where the environment has its programs
  --remove    remove what was written
  --version   print the version, and end
  -h, --help  print this help, and end
"""


def runcli(argv: Sequence[str] | None = None) -> int:
    """Run a command line; gives the exit status: 0 done, 1 failed, 2 wrong usage."""
    words = list(sys.argv[1:] if argv is None else argv)
    known = {"--remove", "--version", "-h", "--help"}
    flags = [word for word in words if word.startswith("-")]
    directories = [word for word in words if not word.startswith("-")]
    if {"-h", "--help"} & set(flags):
        print(_USAGE, end="")
        return EXIT_DONE
    if "--version" in flags:
        print(VERSION)
        return EXIT_DONE
    if not known.issuperset(flags) or len(directories) > 1:
        print(_USAGE, end="", file=sys.stderr)
        return EXIT_USAGE
    directory = Path(os.path.abspath(*directories or [sysconfig.get_path("scripts")]))
    link = Path(sysconfig.get_path("purelib"), _LINK)
    try:
        (_remove if "--remove" in flags else _write)(directory, link)
    except (_Refused, OSError) as problem:
        print(f"{PROGRAM}: error: {problem}", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_DONE
