# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt profiles: named, versioned, composable pieces of domain XML."""

from __future__ import annotations

from virtProfile.engine.flow import apply
from virtProfile.errors import ProfileError
from virtProfile.host.context import Context
from virtProfile.language.store import ProfileStore, Store
from virtProfile.result import Result
from virtProfile.version import VERSION

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
    "lint": ("authoring.lint", "lint_files"),
    "status": ("engine.lifecycle", "status"),
    "unapply": ("engine.lifecycle", "unapply"),
    "upgrade": ("engine.lifecycle", "upgrade"),
}


def __getattr__(name: str) -> object:
    """What few calls need is imported when it is first asked for."""
    if name not in _LATER:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from importlib import import_module

    module, attribute = _LATER[name]
    return getattr(import_module(f".{module}", __name__), attribute)
