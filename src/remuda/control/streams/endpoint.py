"""One end of a stream: ordered bytes both ways with credits, whatever carries the frames.

Never buffers more than the window: the other side stops when it has no credit left.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from remuda.core import wire
from remuda.core.wire import Message

WINDOW = wire.STREAM_WINDOW
PIECE = 32 * 1024
WRITE_SECONDS = 30.0


class StreamFailed(Exception):  # noqa: N818 - the message is for the user
    """The stream could not be opened, or broke; the message says why."""


class Stream:
    """What logs, exec and stats are read from. ``error`` and ``exit_code`` are known once :meth:`read` came to the end."""

    def __init__(self, number: int, send: Callable[[Message], None], closed: Callable[[], None] = lambda: None) -> None:
        self.number = number
        self.error = ""
        self.exit_code: int | None = None
        self._send = send
        self._closed = closed
        self._pieces: deque[tuple[str, bytes]] = deque()
        self._ended = False
        self._owed = 0
        self._credit = WINDOW
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()

    # ---- for the user of the stream ---------------------------------------------------------------------------------------

    async def read(self) -> tuple[str, bytes]:
        """The next (``out`` | ``err``, bytes); ``("", b"")`` at the end."""
        while not self._pieces:
            if self._ended:
                return "", b""
            self._readable.clear()
            await self._readable.wait()
        channel, data = self._pieces.popleft()
        self._owed += len(data)
        if self._owed >= WINDOW // 4 and not self._ended:
            self._send(wire.StreamCredit(stream=self.number, amount=self._owed))
            self._owed = 0
        return channel, data

    async def write(self, data: bytes) -> None:
        """To the command's standard input; empty bytes close it. Waits for credit, and gives up after 30 seconds."""
        if not data:
            self._send(wire.StreamData(stream=self.number, channel="in", payload=b""))
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            try:
                async with asyncio.timeout(WRITE_SECONDS):
                    while self._credit < len(piece) and not self._ended:
                        self._writable.clear()
                        await self._writable.wait()
            except TimeoutError:
                raise StreamFailed("The command does not read its input") from None
            if self._ended:
                raise StreamFailed(self.error or "The stream has ended")
            self._credit -= len(piece)
            self._send(wire.StreamData(stream=self.number, channel="in", payload=piece))

    async def resize(self, width: int, height: int) -> None:
        """Tell the terminal its size."""
        if not self._ended:
            self._send(wire.StreamData(stream=self.number, channel="resize", payload=f"{width}x{height}".encode()))

    async def close(self) -> None:
        """Hang up. Harmless when it has ended."""
        if not self._ended:
            self._send(wire.StreamEnd(stream=self.number))
            self.finish("")
        self._closed()

    # ---- for what carries it ----------------------------------------------------------------------------------------------

    def deliver(self, message: Message) -> None:
        """A frame from the other side."""
        match message:
            case wire.StreamData():
                self._pieces.append((message.channel, message.payload))
                self._readable.set()
            case wire.StreamCredit():
                self._credit += message.amount
                self._writable.set()
            case wire.StreamEnd():
                self.exit_code = message.exit_code
                self.finish(message.error)

    def finish(self, error: str) -> None:
        """No more will come."""
        if not self._ended:
            self._ended, self.error = True, error
            self._readable.set()
            self._writable.set()
