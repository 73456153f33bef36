"""Encrypted tunnels between hosts: the key exchange daemon of this host."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, Protocol

from remuda.core.network.tunnels import Connection, Secret, Standing


class TunnelError(Exception):
    """The daemon cannot be started or refuses; the message is for an operator and holds no key."""


class Barrier(NamedTuple):
    """What passes through tunnels only: UDP to ``port`` with this VXLAN id. ``own`` is this host's address within tunnels."""

    own: str
    port: int
    vxlan_id: int


class Tunnels(Protocol):
    """Raises :class:`TunnelError`. Every call has a deadline."""

    on_change: Callable[[], None]
    """Called when a tunnel came or went."""

    @property
    def mode(self) -> str:
        """What encrypts packets: ``kernel`` or ``user space``; empty until :meth:`barrier` or :meth:`start` found out."""

    @property
    def reasons(self) -> Mapping[str, str]:
        """Connection -> why it last came to nothing."""

    async def start(self) -> None:
        """See to it that the daemon runs."""

    async def stop(self) -> None:
        """End the daemon and its tunnels."""

    async def leave(self) -> None:
        """Let go of the daemon, which goes on with what it knows; whoever starts next takes it over."""

    async def load(self, connections: Mapping[str, Connection], secrets: Mapping[str, Secret]) -> None:
        """Know these connections and keys, and no others. A tunnel to an address that changed is made anew."""

    async def standing(self) -> Collection[Standing]:
        """The tunnels that there are."""

    async def initiate(self, name: str) -> None:
        """Begin; how it went is seen later."""

    async def terminate(self, number: str) -> None:
        """End a tunnel, by the daemon's number."""

    async def barrier(self, barrier: Barrier | None) -> None:
        """Let the overlay's packets in and out through tunnels only, also while there are none; None: let them pass."""
