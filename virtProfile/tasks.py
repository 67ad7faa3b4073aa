# SPDX-License-Identifier: GPL-2.0-or-later
"""What the program does besides applying: tells about profiles and hosts, checks, learns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from . import catalogue
from .errors import EXIT_DONE

if TYPE_CHECKING:
    import argparse

    from .output import Output, Talk


class HasStore(Protocol):
    """Who knows where profiles are; not every task looks at them."""

    @property
    def store(self) -> Any: ...


def carry_out(options: argparse.Namespace, out: Output, talk: Talk, profiles: HasStore) -> int:
    """The task that the options name; gives the exit status.

    :param options: of which `cliargs.is_task` is true
    """
    if options.lint is not None:
        return catalogue.lint(out, profiles.store, options.lint, options.json)
    if options.learn is not None:
        from .gathering import given
        from .learncommand import show

        return show(out, talk, options, given(options))
    if options.merge_capabilities is not None:
        from .hostcommands import merge

        return merge(out, talk, options, None if options.server is None else profiles.store)
    if options.server is not None:
        if options.info is None:
            profiles.store.show_list(out, options.json)
        else:
            profiles.store.show_info(out, options.info, options.json)
        return EXIT_DONE
    if options.info is not None:
        return catalogue.info(out, profiles.store, options.info, options.json)
    return catalogue.listing(out, profiles.store, options.json, talk)
