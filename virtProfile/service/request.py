# SPDX-License-Identifier: GPL-2.0-or-later
"""What handlers make of the words of a checked request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from virtProfile.host.context import Context


def context(body: Mapping[str, Any]) -> Context:
    """The context that a request gives.

    `sources` names documents for messages: the file of each of `capabilities`, then of
    each of `domcapabilities`.
    """
    given = body.get("context", {})
    capabilities = tuple(given.get("capabilities", ()))
    domcapabilities = tuple(given.get("domcapabilities", ()))
    return Context(
        capabilities=capabilities,
        domcapabilities=domcapabilities,
        osinfo=given.get("osinfo"),
        qemu_version=given.get("qemu_version"),
        daemon=given.get("daemon"),
        sources=dict(zip((*capabilities, *domcapabilities), given.get("sources", ()))),
    )


def chosen(body: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The options that a request gives; the others have the engine's defaults."""
    return {name: body[name] for name in names if name in body}
