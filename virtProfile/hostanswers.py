# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a VM runs after its profiles: each host's answer, for the command line and the service."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from .errors import NotFoundError, ParamError, PolicyError, ProfileError, UsageError, VersionError
from .hosts import HostDocuments, Verdict, judge, refused
from .records import replace
from .secrecy import veil_error
from .xmltree import parse

if TYPE_CHECKING:
    from .context import Context
    from .provenance import Result

#: What is wrong with the call itself, on whatever host.
_EVERYWHERE = (UsageError, PolicyError, NotFoundError, VersionError, ParamError)


def verdicts(
    text: str, hosts: Iterable[HostDocuments], given: Context, apply: Callable[[Context], Result]
) -> list[Verdict]:
    """Hold the resulting VM against each host's documents, which are also what its profiles ask.

    :param text: the domain before any profile
    :param given: what the caller says of the context; it goes before the hosts' documents
    :param apply: applies the profiles in a context
    :raises ProfileError: what is wrong on whatever host: a profile that is not there, ...
    """
    domain = parse(text).root
    found = []
    for host in hosts:
        context = replace(
            given,
            capabilities=given.capabilities or host.capabilities,
            domcapabilities=given.domcapabilities or host.domcapabilities,
        )
        try:
            result = apply(context)
        except _EVERYWHERE:
            raise
        except ProfileError as problem:
            found.append(refused(domain, host, veil_error(problem)))
        else:
            found.append(judge(parse(result.xml).root, host))
    return found
