# SPDX-License-Identifier: GPL-2.0-or-later
"""Values of options that are more than text, made of the option's name and the word given with it."""

from __future__ import annotations

from typing import Literal

from virtProfile.errors import UsageError


def number(option: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text[:6]) < 1 or len(text) > 6:
        raise UsageError(f"{option} {text}: is not a number of at least 1")
    return int(text)


def host_count(option: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise UsageError(f"{option} {text}: is not a number of hosts")
    return int(text)


def qemu_version(option: str, text: str) -> int:
    """7002022 or 7.2.22, as libvirt counts: a million per major version, a thousand per minor."""
    parts = text.split(".")
    if not all(part.isascii() and part.isdigit() for part in parts) or len(parts) > 3:
        raise UsageError(f"{option} {text}: is not a version", hint="7002022 and 7.2.22 are the same version")
    if len(parts) == 1 and len(parts[0]) > 3:
        return int(text)
    major, minor, micro = (*(int(part) for part in parts), 0, 0)[:3]
    return major * 1_000_000 + minor * 1000 + micro


def syntax(option: str, text: str) -> Literal["rng", "rnc"]:
    if text not in ("", "rng", "rnc"):
        raise UsageError(
            f"{option}={text} is not rng or rnc", hint="rnc is the compact syntax, which Emacs reads"
        )
    return "rnc" if text == "rnc" else "rng"


def resumed(option: str, text: str) -> Literal["", "failed"]:
    if text not in ("", "failed"):
        raise UsageError(f"{option}={text} is not empty or 'failed'")
    return "failed" if text else ""
