# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt profiles: named, versioned, composable pieces of domain XML."""

from __future__ import annotations

from .context import Context
from .engine import apply
from .errors import ProfileError
from .provenance import Result
from .store import ProfileStore
from .version import VERSION

__all__ = ["Context", "ProfileError", "ProfileStore", "Result", "apply"]
__version__ = VERSION
