"""The runtime socket of a load balancer's haproxy."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class BalancerError(Exception):
    """haproxy cannot be reached or refused; the message is for an operator."""


class BalancerControl(Protocol):
    """Raises :class:`BalancerError`. Every call has a deadline."""

    async def description(self, socket: Path) -> str:
        """The name that the running configuration gives itself."""

    async def servers(self, socket: Path) -> dict[str, list[tuple[str, int, bool, bool, int]]]:
        """Backend -> of each of its servers in order: address, port, in maintenance, draining, weight."""

    async def run(self, socket: Path, commands: list[str]) -> None:
        """Commands, in order."""

    async def reload(self, master: Path) -> None:
        """Let the master process take the file anew; connections are kept."""
