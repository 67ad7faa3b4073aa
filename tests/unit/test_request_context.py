# SPDX-License-Identifier: GPL-2.0-or-later
"""The context that a request to the service gives."""

from __future__ import annotations

import pytest

from virtProfile.errors import UsageError
from virtProfile.service.request import context
from virtProfile.wire import calls


def test_the_daemon() -> None:
    assert context({"context": {"daemon": "session"}}).daemon == "session"
    assert context({}).daemon is None
    with pytest.raises(UsageError, match="'daemon' is of the wrong type"):
        calls.CONTEXT.check({"daemon": "user"}, "context")
