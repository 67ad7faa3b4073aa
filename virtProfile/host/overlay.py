# SPDX-License-Identifier: GPL-2.0-or-later
"""Where this project's extension of virtinst stands, and how a program comes to import it.

A checkout and the distributions' packages have it as the package ``virtinst``. A wheel has no
package of that name, which would hide another one from whoever shares its directory: there
the extension is data, and is put on the path, last, by who needs it.
"""

from __future__ import annotations

import sys

from virtProfile.files import shared


def overlay_path() -> str | None:
    """The directory to put on a path, for ``import virtinst`` to be the extension; None: it is there."""
    from importlib.util import find_spec  # few calls come here

    return None if find_spec("virtinst") else shared("overlay")


def join_overlay() -> None:
    """Make ``import virtinst`` possible in this process, where the distribution has a virtinst."""
    if "virtinst" not in sys.modules:
        found = overlay_path()
        if found is not None and found not in sys.path:
            sys.path.append(found)
