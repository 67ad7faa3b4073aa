# SPDX-License-Identifier: GPL-2.0-or-later
"""A pytest plugin for virtinst's own tests: virt-install and virt-xml get ``--profile`` before they run."""

from __future__ import annotations

import os
from typing import Any

#: How often a program with our hooks read its command line.
calls = 0


def pytest_sessionstart(session: Any) -> None:
    import virtinst
    from virtinst import cli, profilecli, virtinstall, virtxml

    assert virtinst.distribution == os.path.realpath(os.environ["VIRT_PROFILE_VIRTINST"])
    real: Any = profilecli._with_options

    def counted(original: Any, options: Any) -> Any:
        global calls
        calls += 1
        return real(original, options)

    profilecli._with_options = counted
    programs: tuple[Any, ...] = (virtinstall, virtxml)
    for program in programs:
        profilecli.enable(program)
    assert cli.check_option_introspection.is_profile_hook


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.write_line(f"hooked calls: {calls}")
