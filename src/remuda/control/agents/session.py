"""One agent's socket on this server: what goes out, in order and bounded, and when something was last heard.

Decides nothing: the hub does. A slow agent is hung up on rather than buffered for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from remuda.core import wire
from remuda.core.hosts import CLOSED, SILENCE
from remuda.core.wire import Message
from remuda.ports.clock import Clock

OUTBOX = 2000
SEND_SECONDS = 10.0


class Channel(Protocol):
    """A WebSocket, whoever implements it."""

    async def send(self, data: str | bytes) -> None:
        """Send one frame; raises when the socket is gone."""

    async def receive(self) -> str | bytes | None:
        """The next frame; None when the other side closed."""

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close; harmless if closed."""


class Session:
    """A live session. ``token`` is what the host's row says while the session is the valid one."""

    def __init__(self, channel: Channel, host_id: int, account_id: int, token: str, clock: Clock) -> None:
        self._clock = clock
        self.channel = channel
        self.host_id = host_id
        self.account_id = account_id
        self.token = token
        self.heard = clock.monotonic()
        self._sending_since: float | None = None
        self.told = 0
        """The number up to which the agent was told everything."""
        self.complete = False
        """The first, complete list was sent."""
        self.ended = asyncio.Event()
        """Asked for."""
        self.gone = asyncio.Event()
        """Carried out."""
        self.end_reason = ""
        self.end_kind = CLOSED
        self.streams: dict[int, Callable[[Message], None]] = {}
        self._next_stream = 0
        self._outbox: asyncio.Queue[Message | bytes] = asyncio.Queue(OUTBOX)

    def send(self, message: Message | bytes) -> None:
        """Queue a frame, as bytes where many sessions are sent the same. An agent that does not take its frames is hung up on."""
        try:
            self._outbox.put_nowait(message)
        except asyncio.QueueFull:
            self.end(CLOSED, "The agent does not take what it is sent fast enough")

    def end(self, kind: str, reason: str) -> None:
        """Ask for the end of the session: ``silence`` or ``closed``, and why."""
        if not self.ended.is_set():
            self.end_kind, self.end_reason = kind, reason
            self.ended.set()

    def excuse(self, stall: float) -> None:
        """For so many seconds it was us who did not listen or send: what was sent meanwhile is still to be read."""
        self.heard += stall
        if self._sending_since is not None:
            self._sending_since += stall

    def watch(self) -> None:
        """End it if the agent is silent, or takes nothing. One look at all sessions is cheaper than a timer for each frame."""
        now = self._clock.monotonic()
        if now - self.heard >= wire.SILENCE_SECONDS:
            self.end(SILENCE, f"Nothing was heard of the agent for {wire.SILENCE_SECONDS:.0f} seconds")
        elif self._sending_since is not None and now - self._sending_since >= SEND_SECONDS:
            self.end(SILENCE, f"The agent took nothing for {SEND_SECONDS:.0f} seconds")

    def open_stream(self, sink: Callable[[Message], None]) -> int:
        """Reserve a stream number; frames of it go to ``sink``."""
        self._next_stream += 1
        self.streams[self._next_stream] = sink
        return self._next_stream

    def close_streams(self, reason: str) -> None:
        """Tell all streams that the agent is gone."""
        for number, sink in list(self.streams.items()):
            sink(wire.StreamEnd(stream=number, error=reason))
        self.streams.clear()

    async def pump(self) -> None:
        """Send what is queued until cancelled or the socket fails."""
        try:
            while True:
                message = await self._outbox.get()
                self._sending_since = self._clock.monotonic()
                await self.channel.send(message if isinstance(message, bytes) else wire.encode(message))
                self._sending_since = None
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.end(CLOSED, f"The socket failed: {error}")
