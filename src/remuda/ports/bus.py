"""Wake-ups and live bytes between servers. Everything here may be lost: the truth is in the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

CHANGES = "changes"
"""Channel of hints: the payload is the newest change number in ASCII."""


class Bus(Protocol):
    """Publish and subscribe, at most once, unordered between publishers, in order per publisher."""

    async def publish(self, channel: str, payload: bytes) -> None:
        """Send to whoever listens on ``channel`` on any server. Never raises for a broken link, never blocks longer than 1 s."""

    def subscribe(self, *channels: str) -> AbstractAsyncContextManager[AsyncIterator[tuple[str, bytes]]]:
        """Within the block, iterate over (channel, payload) of what is published from now on.

        A listener that falls more than 10,000 messages behind loses the oldest.
        """

    @property
    def healthy(self) -> bool:
        """False while at least one peer's bus is out of reach (then readers poll more often)."""

    async def close(self) -> None:
        """Drop all links."""
