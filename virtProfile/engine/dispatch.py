# SPDX-License-Identifier: GPL-2.0-or-later
"""One call on one VM, as the options say: apply, take back or upgrade; for programs and hooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from virtProfile.engine.record.model import Trust

if TYPE_CHECKING:
    from virtProfile.apply_options import ApplyOptions
    from virtProfile.host.context import Context
    from virtProfile.language.store import Store
    from virtProfile.result import Result


def dispatch(
    options: ApplyOptions,
    wishes: Sequence[str | Mapping[str, Any]],
    text: str,
    *,
    store: Store,
    context: Context,
    name: str,
    trust: Trust | None = None,
) -> Result:
    """What becomes of a domain.

    :param wishes: the profiles that the caller names
    :param name: stands in messages for the domain's file
    :param trust: how far the record is believed; None is by ``--yes``
    :raises ProfileError: as `virtProfile.apply`, `virtProfile.unapply`, `virtProfile.upgrade`
    """
    if trust is None:
        trust = Trust.ALL if options.yes else Trust.RECORD
    more: dict[str, Any] = {"store": store, "context": context, "name": name, "trust": trust}
    if options.unapply:
        from virtProfile.engine.lifecycle import unapply

        return unapply(text, options.unapply, **options.keywords("unapply"), wishes=wishes, **more)
    if options.upgrade is not None:
        from virtProfile.engine.lifecycle import upgrade

        return upgrade(text, [options.upgrade] if options.upgrade else [], **more)
    from virtProfile.engine.flow import apply

    return apply(text, wishes, **options.keywords("apply"), **more)
