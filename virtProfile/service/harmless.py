# SPDX-License-Identifier: GPL-2.0-or-later
"""The kinds of what is guarded: all that `format.harmless` has no row for.

A guarded part has a kind, by which a policy file opens it, save what says which VM it is.
"""

from __future__ import annotations

from collections.abc import Mapping

from virtProfile.format.guarded import KINDS as _OF_HOSTS
from virtProfile.format.guarded import OF_HOST, PATHS, PATHS_OF, TEXTS

#: The words of a policy's ``may-touch``.
KINDS: Mapping[str, str] = {
    **_OF_HOSTS,
    "network": "NICs with what they are connected to, and addresses and ports at which somebody listens",
    "other": "all that is guarded and of no other kind, which VM it is apart",
}
#: Which VM it is: no policy opens that.
IDENTITY = "identity"
#: The slot of an element's text.
TEXT = "text()"

_IDENTITY = frozenset(("name/text()", "uuid/text()", "genid/text()", "hwuuid/text()", "./@type", "./@id"))
_IDENTITY_TAGS = frozenset(("name", "uuid", "genid", "hwuuid"))
_NETWORK = ("devices/interface", "devices/graphics/listen", "devices/vsock", "devices/redirfilter")
#: Attributes at which, or to which, somebody connects.
_NETWORK_SLOTS = frozenset(
    ("@listen", "@port", "@tlsPort", "@websocket", "@host", "@service", "@address", "@bridge", "@network")
)
_NETWORK_TYPES = frozenset(("tcp", "udp", "rdp"))
#: Devices that are made of files, directories or sockets of the host.
_OF_FILES = frozenset(("disk", "filesystem", "tpm", "shmem", "nvram", "pstore", "lease", "memory", "audio"))
_CHARACTER = frozenset(("serial", "parallel", "console", "channel", "redirdev", "smartcard"))


def kind_of(path: str, slot: str, value: str | None) -> str:
    """The kind of a guarded part: a word of `KINDS`, or `IDENTITY`."""
    steps = path.split("/")
    tag = steps[-1]
    full = f"{path}/{slot}"
    if full in _IDENTITY or path in _IDENTITY_TAGS or path == ".":
        return IDENTITY
    if any(step[:1] == "{" for step in steps):
        return "commandline" if steps[0][:1] == "{" else "other"
    if "seclabel" in steps:
        return "seclabel"
    if "hostdev" in steps or (slot == "@type" and OF_HOST.get(tag) == value):
        return "hostdev"
    device = len(steps) > 1 and steps[0] == "devices"
    if path.startswith(_NETWORK) or tag == "protocol" or (device and slot in _NETWORK_SLOTS):
        return "network"
    if device and slot == "@type" and value in _NETWORK_TYPES:
        return "network"
    if device and (steps[1] in _OF_FILES or (steps[1] in _CHARACTER and steps[2:3] in (["source"], ["log"]))):
        return "host-paths"
    if device and steps[1] in _CHARACTER and slot == "@type":
        return "host-paths"
    if slot[1:] in PATHS_OF.get(tag, PATHS) or tag in TEXTS:
        return "host-paths"
    return "other"
