# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt's own test documents: every file with a <domain> root, from its source packages.

``./dev corpus`` fetches the sources of Debian 12 and 13 into ``.cache/corpus``, whichever runs
here, so that a test does not depend on its host; ``$VIRT_PROFILE_CORPUS`` names another
unpacked source. Nothing of it is shipped.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from lxml import etree

ROOT = Path(__file__).resolve().parents[1]


#: Of the source that most tests use: named documents and numbers in them are of this version.
VERSION = "9.0.0"


def versions() -> list[str]:
    """The versions of libvirt of which the source was fetched, oldest first."""
    found = (ROOT / ".cache" / "corpus").glob("libvirt-*/tests")
    names = [path.parent.name.removeprefix("libvirt-") for path in found]
    return sorted(names, key=lambda name: [int(part) for part in name.split(".")])


def directory(version: str = VERSION) -> Path | None:
    """The unpacked source of libvirt, or None where nobody fetched it."""
    given = os.environ.get("VIRT_PROFILE_CORPUS")
    if given:
        return Path(given)
    found = ROOT / ".cache" / "corpus" / f"libvirt-{version}"
    return found if (found / "tests").is_dir() else None


@cache
def documents(version: str = VERSION) -> tuple[tuple[Path, str], ...]:
    """(path, text) of every document whose root is <domain>; links and twins once."""
    source = directory(version)
    if source is None:
        return ()
    found = []
    for path in sorted(source.rglob("*.xml")):
        if path.is_symlink() or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        if _root_is_domain(text):
            found.append((path, text))
    return tuple(found)


def _root_is_domain(text: str) -> bool:
    at = 0
    while True:
        at = text.find("<", at)
        if at < 0:
            return False
        if text.startswith("<!--", at):
            at = text.find("-->", at)
            if at < 0:
                return False
        elif text.startswith("<?", at):
            at += 2
        else:
            return text.startswith("<domain", at) and text[at + 7 : at + 8] in " >\n\t"


def is_valid(path: Path) -> bool:
    """libvirt's own naming: these, and only these, must not validate.

    What libvirt made of such a document (``x-invalid.x86_64-latest.xml``) may be valid again:
    the schema of its source says.
    """
    if path.name.endswith("-invalid.xml"):
        return False
    if "-invalid." not in path.name:
        return True
    source = next(above for above in path.parents if above.name.startswith("libvirt-"))
    return bool(_own_schema(source).validate(etree.parse(path)))


@cache
def _own_schema(source: Path) -> etree.RelaxNG:
    return etree.RelaxNG(etree.parse(source / "src" / "conf" / "schemas" / "domain.rng"))
