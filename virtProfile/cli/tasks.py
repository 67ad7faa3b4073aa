# SPDX-License-Identifier: GPL-2.0-or-later
"""What the program does besides applying: tells about profiles and hosts, checks, learns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from virtProfile.errors import EXIT_DONE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from virtProfile.apply_options import ApplyOptions
    from virtProfile.language.store import ProfileStore
    from virtProfile.show.terminal import Output, Talk


class HasStore(Protocol):
    """Who knows where profiles are; not every task looks at them."""

    @property
    def store(self) -> Any: ...

    @property
    def environ(self) -> Mapping[str, str]: ...

    def store_beside(self, directory: str) -> ProfileStore:
        """The profiles of a directory, then those of the search path."""


def carry_out(options: ApplyOptions, out: Output, talk: Talk, caller: HasStore) -> int:
    """The task that the options name; gives the exit status.

    :param options: of which `arguments.is_task` is true
    """
    from virtProfile.cli import profiles

    if options.lint:
        return profiles.lint(out, options)
    if options.test:
        from virtProfile.cli.proving import prove

        return prove(out, options, caller.store_beside)
    if options.print_schema is not None:
        from virtProfile.authoring.editor_schema import compact, editor_schema

        text = editor_schema()
        out.write(compact(text) if options.print_schema == "rnc" else text)
        return EXIT_DONE
    if options.learn:
        from virtProfile.cli.learn import show
        from virtProfile.live.call_context import given

        return show(out, talk, options, given(options))
    if options.merge_capabilities:
        from virtProfile.cli.hosts import merge

        return merge(out, talk, options, None if options.server is None else caller.store)
    if options.server is not None:
        if options.info is None:
            caller.store.show_list(out, options.json)
        else:
            caller.store.show_info(out, options.info, options.json)
        return EXIT_DONE
    if options.info is not None:
        return profiles.info(out, caller.store, options.info, options.json)
    return profiles.listing(out, caller.store, options.json, talk, caller.environ)
