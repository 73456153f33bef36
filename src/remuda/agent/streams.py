"""Logs, shells, statistics, ports of containers and the engine itself, on demand of the server, inside the agent's one
connection.

Every stream has a window: the agent sends no more bytes than the other side made room for, and accepts no more than it
offered. So a slow browser holds up its own stream and nothing else. All streams end with the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from remuda.agent import ports
from remuda.agent.stats import StatsFeed
from remuda.agent.watch import closing
from remuda.core import wire
from remuda.ports.engine import Engine, EngineError, ExecStream

log = logging.getLogger("remuda.agent.streams")

MOST = 128
"""Streams at once; more are refused."""
_PIECE = 32 * 1024

Send = Callable[[wire.Message], Awaitable[None]]


class Stream:
    """One stream's two windows."""

    def __init__(self, number: int, send: Send) -> None:
        self.number = number
        self._send = send
        self._room = wire.STREAM_WINDOW
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._offered = wire.STREAM_WINDOW
        self.inbox: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

    async def put(self, channel: str, data: bytes, *, whole: bool = False) -> None:
        """Send as there is room: in pieces, or ``whole`` where a piece by itself would mean nothing (a document)."""
        size = len(data) if whole else _PIECE
        for start in range(0, len(data), size or 1):
            piece = data[start : start + size]
            await self._has_room.wait()
            self._room -= len(piece)
            if self._room <= 0:
                self._has_room.clear()
            await self._send(wire.StreamData(stream=self.number, channel=channel, payload=piece))

    def credit(self, amount: int) -> None:
        """The other side made room."""
        self._room += amount
        if self._room > 0:
            self._has_room.set()

    def take(self, channel: str, data: bytes) -> bool:
        """Bytes came in; False when they exceed what was offered. A terminal's size is no data and needs no room."""
        if channel == "in":
            self._offered -= len(data)
            if self._offered < 0:
                return False
        self.inbox.put_nowait((channel, data))
        return True

    async def consumed(self, size: int) -> None:
        """Offer the room again."""
        if size:
            self._offered += size
            await self._send(wire.StreamCredit(stream=self.number, amount=size))


class Streams:
    """All streams of one connection."""

    def __init__(self, engine: Engine, send: Send) -> None:
        self._engine, self._send = engine, send
        self._streams: dict[int, tuple[Stream, asyncio.Task[None]]] = {}

    async def handle(self, message: wire.StreamOpen | wire.StreamData | wire.StreamCredit | wire.StreamEnd) -> None:
        """A frame about a stream. What concerns a stream that has ended is ignored."""
        if isinstance(message, wire.StreamOpen):
            await self._open(message)
            return
        found = self._streams.get(message.stream)
        if found is None:
            return
        stream, task = found
        if isinstance(message, wire.StreamCredit):
            stream.credit(message.amount)
        elif isinstance(message, wire.StreamEnd):
            task.cancel()
        elif not stream.take(message.channel, message.payload):
            task.cancel()
            await self._send(wire.StreamEnd(stream=message.stream, error="More bytes than the window allows"))

    async def close(self) -> None:
        """The connection is gone: end everything."""
        tasks = [task for _, task in self._streams.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _open(self, message: wire.StreamOpen) -> None:
        if message.stream in self._streams:
            return
        if len(self._streams) >= MOST:
            why = f"This host already carries {MOST} streams: close some logs or shells first"
            await self._send(wire.StreamEnd(stream=message.stream, error=why))
            return
        stream = Stream(message.stream, self._send)
        self._streams[message.stream] = (stream, asyncio.create_task(self._serve(stream, message)))

    async def _serve(self, stream: Stream, message: wire.StreamOpen) -> None:
        end = wire.StreamEnd(stream=stream.number)
        try:
            match message.kind:
                case "logs":
                    await self._logs(stream, message.args)
                case "stats":
                    await self._stats(stream, message.args)
                case "exec" | "console" | "port" | "docker":
                    running = await self._begin(message.kind, message.args)
                    reads = message.kind != "exec" or bool(message.args.get("stdin", False))
                    end = wire.StreamEnd(stream=stream.number, exit_code=await self._carry(stream, running, reads))
                case other:
                    end = wire.StreamEnd(stream=stream.number, error=f"This agent knows no stream of kind {other!r}")
        except asyncio.CancelledError:
            self._streams.pop(stream.number, None)
            raise
        except (EngineError, ports.NotReached, TimeoutError) as error:
            end = wire.StreamEnd(stream=stream.number, error=str(error) or "Docker did not answer in time")
        except Exception as error:  # one stream's failure is its own
            log.exception("Stream %s (%s) failed", stream.number, message.kind)
            end = wire.StreamEnd(stream=stream.number, error=f"The agent failed: {error!r}")
        self._streams.pop(stream.number, None)
        with contextlib.suppress(Exception):  # the connection may have gone first
            await self._send(end)

    async def _logs(self, stream: Stream, args: dict[str, Any]) -> None:
        pieces = self._engine.logs(
            str(args["container"]),
            follow=bool(args.get("follow", False)),
            lines=int(args.get("lines", 100)),
            timestamps=bool(args.get("timestamps", False)),
            since=int(args.get("since", 0) or 0),
        )
        async with closing(pieces):
            async for channel, data in pieces:
                await stream.put(channel, data)

    async def _stats(self, stream: Stream, args: dict[str, Any]) -> None:
        wanted = {str(key): str(value) for key, value in (args.get("containers") or {}).items()}
        feed = StatsFeed(self._engine, wanted)
        async with closing(feed.documents()) as documents:
            async for document in documents:
                await stream.put("out", document, whole=True)

    async def _begin(self, kind: str, args: dict[str, Any]) -> ExecStream:
        """What bytes are carried from and to."""
        if kind == "docker":
            return await self._engine.dial()
        container = str(args["container"])
        if kind == "console":
            return await self._engine.attach(container)
        if kind == "port":
            return await ports.dial(self._engine, container, int(args["port"]), tls=bool(args.get("tls", False)))
        command = [str(word) for word in args.get("command") or ["sh"]]
        tty, stdin = bool(args.get("tty", False)), bool(args.get("stdin", False))
        return await self._engine.exec(container, command, tty=tty, stdin=stdin)

    async def _carry(self, stream: Stream, running: ExecStream, reads: bool) -> int:
        feeding = asyncio.create_task(self._feed(stream, running, reads))
        try:
            while True:
                channel, data = await running.read()
                if not data:
                    return await running.exit_code()
                await stream.put(channel, data)
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            await running.close()

    async def _feed(self, stream: Stream, running: ExecStream, reads: bool) -> None:
        """What the user types, and the size of the user's terminal, to the command."""
        while True:
            channel, data = await stream.inbox.get()
            if channel == "resize":
                width, _, height = data.decode("ascii", "replace").lower().partition("x")
                if width.isdecimal() and height.isdecimal():
                    with contextlib.suppress(EngineError):
                        await running.resize(int(width), int(height))
                continue
            if reads:
                with contextlib.suppress(EngineError):
                    await running.write(data)
            await stream.consumed(len(data))
