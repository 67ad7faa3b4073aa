# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt's own test documents: every file with a <domain> root, from its source package.

``./dev corpus`` fetches the source into ``.cache/corpus``; ``$VIRT_PROFILE_CORPUS``
names another unpacked source. Nothing of it is shipped.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def directory() -> Path | None:
    """The unpacked source of libvirt, or None where nobody fetched it."""
    given = os.environ.get("VIRT_PROFILE_CORPUS")
    if given:
        return Path(given)
    found = sorted((ROOT / ".cache" / "corpus").glob("libvirt-*/tests"))
    return found[-1].parent if found else None


@cache
def documents() -> tuple[tuple[Path, str], ...]:
    """(path, text) of every document whose root is <domain>; links and twins once."""
    source = directory()
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
    """libvirt's own naming: these, and only these, must not validate."""
    return not path.name.endswith("-invalid.xml")
