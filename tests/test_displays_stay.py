# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a display listens is known to firewalls, proxies and viewers: no desktop profile moves one."""

from __future__ import annotations

import library
import pytest
from lxml import etree

import virtProfile

DISPLAYS = {
    "port": "<graphics type='{0}' port='5905' autoport='no'/>",
    "address": "<graphics type='{0}' port='5905'><listen type='address' address='192.0.2.1'/></graphics>",
    "socket": "<graphics type='{0}'><listen type='socket' socket='/run/vm/{0}'/></graphics>",
    "none": "<graphics type='{0}'><listen type='none'/></graphics>",
}
#: These write a whole VM as an application does, or need the display elsewhere, as their descriptions say.
MOVE = {"gl-desktop": "GL is handed on locally only"}
Q35 = (library.DEFINITIONS / "q35.xml").read_text()
NAMES = [name for name in library.NAMES if name not in MOVE and not name.startswith("like-")]


def listening(xml: str, kind: str) -> list[str]:
    return [
        "".join(sorted(f"{name}={one.get(name)} " for name in map(str, one.keys())))
        for display in etree.fromstring(xml).iterfind(f"devices/graphics[@type='{kind}']")
        for one in (display, *display.iterfind("listen"))
    ]


@pytest.mark.parametrize("kind", ["vnc", "spice"])
@pytest.mark.parametrize("name", NAMES)
def test_a_display_stays_where_it_listens(name: str, kind: str) -> None:
    for display in DISPLAYS.values():
        xml = Q35.replace("<devices>", f"<devices>{display.format(kind)}", 1)
        try:
            result = virtProfile.apply(
                xml, [library.wish(name)], store=library.store(), context=library.context(), override=True
            )
        except virtProfile.ProfileError:
            continue
        found = listening(result.xml, kind)
        assert not found or found == listening(xml, kind), display
