# SPDX-License-Identifier: GPL-2.0-or-later
"""One call on one VM, as the options say: apply, take back or upgrade; for one VM and for fleets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    from .context import Context
    from .provenance import Result
    from .store import ProfileStore


def call(
    options: argparse.Namespace,
    wishes: Sequence[Mapping[str, Any]],
    text: str,
    *,
    store: ProfileStore,
    context: Context,
    name: str,
) -> Result:
    """What becomes of a domain.

    :param wishes: the profiles that the command line names
    :param name: stands in messages for the domain's file
    :raises ProfileError: as `virtProfile.apply`, `virtProfile.unapply`, `virtProfile.upgrade`
    """
    more: dict[str, Any] = {"store": store, "context": context, "name": name}
    if options.unapply:
        from .lifecycle import unapply

        return unapply(text, options.unapply, exclude=options.exclude, **more)
    if options.upgrade is not None:
        from .lifecycle import upgrade

        return upgrade(text, [options.upgrade] if options.upgrade else [], **more)
    from .engine import apply

    return apply(
        text,
        wishes,
        auto=options.auto,
        override=options.override,
        complete=options.complete,
        record=not options.no_record,
        **more,
    )
