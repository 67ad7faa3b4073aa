# SPDX-License-Identifier: GPL-2.0-or-later
"""Where tests leave what a person looks at afterwards; the workflows keep it."""

from __future__ import annotations

import os
from pathlib import Path

PLACE = Path(".ci", "artifacts")  # in the checkout


def artifacts(subject: str) -> Path:
    """A directory for a subject's pictures, below ``$CI_ARTIFACTS`` where that is set."""
    place = Path(os.environ.get("CI_ARTIFACTS") or Path(__file__).parent.parent / PLACE, subject)
    place.mkdir(parents=True, exist_ok=True)
    return place
