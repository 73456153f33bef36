"""Where a bus keeps what a listener has not read yet. Shared by all buses, so that a slow listener fares alike on each."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

BOUND = 10_000
"""Messages a listener may fall behind before it loses the oldest (promised by ``ports.bus``)."""


class Mailbox:
    """What one listener has not read yet: never more than :data:`BOUND` messages, the oldest go first."""

    def __init__(self, channels: Iterable[str]) -> None:
        self.channels = frozenset(channels)
        self._messages: deque[tuple[str, bytes]] = deque(maxlen=BOUND)
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False

    def put(self, channel: str, payload: bytes) -> None:
        """Deliver one message if it is for this listener."""
        if channel in self.channels and not self._closed:
            self._messages.append((channel, payload))
            self._wake()

    def close(self) -> None:
        """End the iteration once it is empty."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> Mailbox:
        return self

    async def __anext__(self) -> tuple[str, bytes]:
        while not self._messages:
            if self._closed:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._messages.popleft()
