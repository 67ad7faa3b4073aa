# SPDX-License-Identifier: GPL-2.0-or-later
"""The standing profiles of one call: files and secrets are read once, however many VMs it makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from virtProfile.host.context import Context
    from virtProfile.language.standing import Standing
    from virtProfile.language.store import Store


class StandingProfiles:
    """What a site and a user name for new VMs, joined with what the caller names.

    :param store: asked which parameters are secret
    :param warn: called with the message about a file that is left out
    """

    def __init__(
        self, environ: Mapping[str, str], store: Store, warn: Callable[[str], object] = lambda text: None
    ) -> None:
        self._environ = environ
        self._store = store
        self._warn = warn
        self._tables: list[Standing] | None = None
        self._with_secrets: set[int] = set()

    @property
    def tables(self) -> list[Standing]:
        """:raises ProfileError: a file says something wrong, or may not be used"""
        if self._tables is None:
            from virtProfile.language.standing import read_standing

            self._tables = read_standing(self._environ, self._warn)
        return self._tables

    def join(
        self, wishes: list[dict[str, Any]], text: str, name: str, context: Context
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """The wishes with the standing ones that fit a VM, and a line for each file that gave some.

        :raises ProfileError: a file says something wrong, a secret cannot be read
        """
        if not self.tables:
            return wishes, []
        from virtProfile.format.document import parse
        from virtProfile.language.standing import facts_of, with_standing
        from virtProfile.live.call_context import read_secrets

        facts = facts_of(parse(text, name=name).root, context)
        found, lines = with_standing(wishes, self.tables, facts)
        for wish in found:
            if wish.get("standing") and id(wish["params"]) not in self._with_secrets:
                read_secrets([wish], self._store)
                self._with_secrets.add(id(wish["params"]))
        return found, lines
