# SPDX-License-Identifier: GPL-2.0-or-later
"""virt-manager's virtinst, extended: the distribution's package with profiles beside it.

The modules of this directory and those of the distribution's virtinst are one
package: its directory is appended to this package's ``__path__`` (what
``pkgutil.extend_path`` does for directories on ``sys.path``), then its own
``__init__`` runs in this module. Nothing of it is copied, none of its modules is
shadowed, and importing this changes nothing of what it does.

``$VIRT_PROFILE_VIRTINST`` names another virtinst directory.
"""

import os as _os
import sys as _sys
from importlib import util as _util
from typing import TYPE_CHECKING as _TYPE_CHECKING

if _TYPE_CHECKING:  # the names of the distribution's part, which no checker can follow

    def __getattr__(name: str): ...


def _is_virtinst(directory):
    return _os.path.isfile(_os.path.join(directory, "guest.py"))


def _find_distribution():
    """The directory of the distribution's virtinst.

    :raises ImportError: there is none, or the environment names a wrong one
    """
    given = _os.environ.get("VIRT_PROFILE_VIRTINST")
    if given:
        if not _is_virtinst(given):
            raise ImportError("VIRT_PROFILE_VIRTINST='%s' is not a virtinst: no guest.py" % given)
        return _os.path.realpath(given)
    ours = _os.path.realpath(_os.path.dirname(__file__))
    places = ["/usr/share/virt-manager", "/usr/local/share/virt-manager", *_sys.path]
    for place in places:
        directory = _os.path.realpath(_os.path.join(place or ".", "virtinst"))
        if directory != ours and _is_virtinst(directory):
            return directory
    raise ImportError(
        "the distribution's virtinst is not installed (looked in %s);"
        " on Debian: apt-get install virtinst" % ", ".join(places[:2])
    )


def _join():
    directory = _find_distribution()
    if directory not in __path__:
        __path__.append(directory)
    spec = _util.spec_from_file_location(__name__, _os.path.join(directory, "__init__.py"))
    before = set(_sys.modules)
    assert spec is not None and spec.loader is not None
    try:
        spec.loader.exec_module(_sys.modules[__name__])
    except ImportError as problem:
        for name in set(_sys.modules) - before:
            if name.startswith("virtinst."):
                del _sys.modules[name]
        if problem.name in ("gi", "libvirt", "libxml2", "requests"):
            problem.msg = (
                "%s: virtinst needs the distribution's Python packages: use /usr/bin/python3,"
                " or a virtual environment with --system-site-packages" % problem.msg
            )
        raise
    return directory


#: Where the distribution's part of this package stands.
distribution = _join()


def apply_profiles(guest, profiles, **more):
    """Apply libvirt profiles to a Guest in place: see `virtinst.profileguest.apply_profiles`."""
    from .profileguest import apply_profiles as apply

    return apply(guest, profiles, **more)
