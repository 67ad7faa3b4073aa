# SPDX-License-Identifier: GPL-2.0-or-later
"""Connections to libvirt that stay open between calls of a process that lives long.

libvirt registers an embedded driver anew each time it is opened, and takes some fifteen of them in a process.
"""

from __future__ import annotations

from virtProfile.live.connection import Connection


class KeptConnections:
    """One connection for each URI, opened when it is asked for and again when it no longer answers."""

    def __init__(self) -> None:
        self._by_uri: dict[str, Connection] = {}

    def get(self, uri: str, *, read_only: bool = False) -> Connection:
        """A connection that answers; it is not to be closed.

        :param read_only: as `Connection` takes it: one that may write is given where there is one
        :raises LibvirtError: libvirt cannot be reached, or lets nobody write
        """
        kept = self._by_uri.get(uri)
        if kept is not None and not kept.answers:
            self._drop(uri)
            kept = None
        if kept is None or (kept.read_only and not read_only):
            made = Connection(uri, read_only=read_only)
            self._drop(uri)
            kept = self._by_uri[uri] = made
        return kept

    def close(self) -> None:
        """Close all of them."""
        for uri in list(self._by_uri):
            self._drop(uri)

    def _drop(self, uri: str) -> None:
        kept = self._by_uri.pop(uri, None)
        if kept is not None:
            kept.close()
