# SPDX-License-Identifier: GPL-2.0-or-later
"""The filter ``virt_profile``: profiles applied to domain XML on the controller, without libvirt."""

from __future__ import annotations

import os

from ansible.errors import AnsibleFilterError

try:
    from virtProfile.engine.flow import apply
    from virtProfile.errors import ProfileError
    from virtProfile.host.context import Context
    from virtProfile.language.search_path import search_path
    from virtProfile.language.store import ProfileStore
    from virtProfile.redaction import veil_error
except ImportError as problem:
    MISSING = str(problem)
else:
    MISSING = ""


def virt_profile(
    xml,
    profiles=(),
    capabilities=(),
    domcapabilities=(),
    osinfo=None,
    profile_dirs=(),
    override=False,
    auto=False,
    record=True,
):
    """Domain XML with profiles applied."""
    if MISSING:
        raise AnsibleFilterError(f"virt_profile: virt-profile is not installed on the controller: {MISSING}")
    try:
        result = apply(
            str(xml),
            [_wish(one) for one in _list(profiles)],
            store=ProfileStore(search_path(_list(profile_dirs), os.environ)),
            context=Context(
                capabilities=tuple(str(one) for one in _list(capabilities)),
                domcapabilities=tuple(str(one) for one in _list(domcapabilities)),
                osinfo=None if osinfo is None else str(osinfo),
            ),
            override=bool(override),
            auto=bool(auto),
            record=bool(record),
            name="virt_profile",
        )
    except ProfileError as problem:
        told = veil_error(problem)
        rest = "".join(f"; {one}" for one in told.others)
        hint = f" ({told.hint})" if told.hint else ""
        raise AnsibleFilterError(f"virt_profile: {told}{hint}{rest}") from None
    return result.xml


def _list(value):
    """One value, or several."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _wish(one):
    if not isinstance(one, dict):
        return str(one)
    wish = {str(name): value for name, value in one.items()}
    params = wish.get("params") or {}
    wish["params"] = {
        str(name): {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
        for name, value in params.items()
    }
    return wish


class FilterModule:
    """What Ansible looks for."""

    def filters(self):
        return {"virt_profile": virt_profile}
