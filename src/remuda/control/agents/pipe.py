"""Both ends of a connection within this process: what simulated hosts have instead of a WebSocket.

One end is the hub's channel, the other what an agent's conversation talks over. Frames cross as they would on a wire, encoded.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Pipe:
    """One end. ``cut`` ends it without a word to the other, as a machine does that loses its power; ``close`` tells it."""

    def __init__(self) -> None:
        self._peer: Pipe | None = None
        self._inbox: deque[str | bytes] = deque()
        self._wake = asyncio.Event()
        self._closed = self._cut = False

    @classmethod
    def pair(cls) -> tuple[Pipe, Pipe]:
        """Two ends of one connection."""
        one, other = cls(), cls()
        one._peer, other._peer = other, one
        return one, other

    @property
    def transport(self) -> Pipe:
        """What an agent hangs up by."""
        return self

    async def send(self, message: str | bytes) -> None:
        """Hand a frame over. Raises ConnectionError when the other side has closed."""
        if self._closed:
            raise ConnectionError("the connection is closed")
        if not self._cut and self._peer is not None:
            self._peer._put(message)

    async def receive(self) -> str | bytes | None:
        """The next frame; None at the end."""
        while not self._inbox:
            if self._closed:
                return None
            self._wake.clear()
            await self._wake.wait()
        return self._inbox.popleft()

    async def recv(self) -> str | bytes:
        """The next frame; raises ConnectionError at the end."""
        frame = await self.receive()
        if frame is None:
            raise ConnectionError("the server closed the connection")
        return frame

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Hang up."""
        self.abort()

    def abort(self) -> None:
        """Hang up at once."""
        self._end()
        if self._peer is not None and not self._cut:
            self._peer._end()

    def cut(self) -> None:
        """Nothing arrives on the other side any more, and it is not told; this one is over."""
        self._cut = True
        if self._peer is not None:
            self._peer._cut = True
        self._end()

    def _put(self, message: str | bytes) -> None:
        self._inbox.append(message)
        self._wake.set()

    def _end(self) -> None:
        self._closed = True
        self._wake.set()
