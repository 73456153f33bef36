"""Who may act, and who is there. Leases come with fencing numbers; membership is ephemeral."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from remuda.ports.store import Grant


class LeaseGrant(Grant, Protocol):
    """A won lease."""

    lost: asyncio.Event
    """Set as soon as holding it is in doubt; stop acting at once."""

    async def resign(self) -> None:
        """Give it back so that the next candidate gets it without waiting."""


class ServerInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a server shows itself to its peers. ``server_id`` is new at every start of the process; ``node`` persists."""

    server_id: str
    node: str = ""
    address: str = ""
    bus: str = ""
    version: str = ""
    started: int = 0


class Leases(Protocol):
    """Leases and membership."""

    async def acquire(self, name: str) -> LeaseGrant:
        """Wait until this process holds the lease ``name``. Cancelling gives up the candidacy."""

    async def join(self, info: ServerInfo) -> None:
        """Be a member from now on, through any number of lost and won sessions, until :meth:`close`."""

    def members(self) -> dict[str, ServerInfo]:
        """The servers that live, by ``server_id``; the last known ones while there is no quorum."""

    def on_members(self, hook: Callable[[dict[str, ServerInfo]], None]) -> None:
        """Call ``hook`` in the event loop at every change of membership."""

    async def holder(self, name: str) -> str:
        """The ``server_id`` of who holds a lease; empty when nobody does or it cannot be found out now. Display only."""

    @property
    def quorum(self) -> bool:
        """True while the coordination service answers this process."""

    @property
    def reason(self) -> str:
        """One sentence on why there is no quorum; empty while there is."""

    async def wait_quorum(self, timeout: float) -> bool:
        """True as soon as there is quorum, False after ``timeout`` seconds without."""

    def on_quorum(self, hook: Callable[[bool], None]) -> None:
        """Call ``hook`` when quorum is lost or won."""

    async def close(self) -> None:
        """Leave, resign everything."""
