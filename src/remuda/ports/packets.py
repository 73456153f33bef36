"""The packet filter of one host."""

from __future__ import annotations

from typing import Protocol


class PacketError(Exception):
    """The filter refused; the message is for an operator."""


class Packets(Protocol):
    """Raises :class:`PacketError`. Every call has a deadline."""

    async def replace(self, text: str) -> None:
        """Load rules (nftables text), all or nothing."""

    async def present(self, family: str, table: str) -> bool:
        """Is a table there?"""

    async def admit(self, bridge: str) -> None:
        """See to it that the engine's own filter lets packets for published ports through to this bridge."""

    async def forget(self, protocol: str, port: int, address: str = "") -> None:
        """Forget the connections that came in for this port and were led to ``address`` (empty: to the host itself)."""

    async def bridged(self) -> bool:
        """See to it that packets between containers of one bridge pass the filter; False where the kernel cannot."""

    async def hairpin(self, bridge: str, macs: frozenset[str]) -> bool:
        """Let these containers of the bridge reach themselves through a port of their own host; False while some are silent."""

    async def reach_from_loopback(self, bridge: str) -> None:
        """Let the host's own programs use published ports at 127.0.0.1."""
