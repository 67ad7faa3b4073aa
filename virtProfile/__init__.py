# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt profiles: named, versioned, composable pieces of domain XML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtProfile.version import VERSION

if TYPE_CHECKING:
    from virtProfile.authoring.lint import lint_files as lint
    from virtProfile.engine.flow import apply
    from virtProfile.engine.lifecycle import status, unapply, upgrade
    from virtProfile.errors import ProfileError
    from virtProfile.host.context import Context
    from virtProfile.language.store import ProfileStore, Store
    from virtProfile.result import Result

__all__ = [
    "Context",
    "ProfileError",
    "ProfileStore",
    "Result",
    "Store",
    "apply",
    "lint",
    "status",
    "unapply",
    "upgrade",
]
__version__ = VERSION

#: name: module and what it is called there; no module may have one of these names itself
_LATER = {
    "Context": ("host.context", "Context"),
    "ProfileError": ("errors", "ProfileError"),
    "ProfileStore": ("language.store", "ProfileStore"),
    "Result": ("result", "Result"),
    "Store": ("language.store", "Store"),
    "apply": ("engine.flow", "apply"),
    "lint": ("authoring.lint", "lint_files"),
    "status": ("engine.lifecycle", "status"),
    "unapply": ("engine.lifecycle", "unapply"),
    "upgrade": ("engine.lifecycle", "upgrade"),
}


def __getattr__(name: str) -> object:
    """What is asked for is imported then: a program that prints its version needs no engine.

    And the programs import it while nothing looks for cycles, which would take a thirtieth of their time.
    """
    if name not in _LATER:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from importlib import import_module

    module, attribute = _LATER[name]
    return getattr(import_module(f".{module}", __name__), attribute)
