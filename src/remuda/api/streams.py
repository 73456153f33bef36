"""Live bytes for people: shells, consoles, logs, statistics, a host's Docker engine. An action hands out a ticket
(:mod:`remuda.api.access`); the socket may be opened on any server, which finds the host's session wherever it is.

Framing is that of the 1.x clients: base64 text both ways and ``:resizeTTY:<w>,<h>``; log lines carry ``00 `` (terminal),
``01 `` (stdout) or ``02 `` (stderr) in front; stats are JSON arrays, one a second. Who offers the subprotocol ``binary`` gets
bytes as they are. Neither side is sent more than it takes.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from remuda.api.access import DOCKER_SETTING, bearer_of
from remuda.api.context import Caller
from remuda.api.guests import Guest
from remuda.api.races import first
from remuda.control.streams import Stream, StreamFailed
from remuda.core import tickets

if TYPE_CHECKING:
    from remuda.api.server import Api

BINARY = "binary"
STALL_SECONDS = 600.0
"""Who pauses their pager may come back; who takes nothing for so long is gone."""
_RESIZE = re.compile(r"^:resizeTTY:(\d{1,5}),(\d{1,5})$")
_OVER = "Your right to this stream has ended."


class Visitor(Guest):
    """Somebody at a stream. What is switched off for all ends for them, too."""

    def __init__(self, api: Api, caller: Caller, path: str) -> None:
        super().__init__(caller)
        self._api, self._path = api, path

    def refresh(self, caller: Caller) -> None:
        super().refresh(caller)
        if not open_here(self._api, self._path):
            self.ended.set()


def open_here(api: Api, path: str) -> bool:
    """Does this installation serve such streams?"""
    return path != tickets.DOCKER or api.settings.get(DOCKER_SETTING) == "true"


async def admitted(api: Api, path: str, token: str) -> dict[str, Any] | None:
    """What a ticket says, if it is good and whoever asked for it still may what it is for."""
    claims = await api.tickets.read(path, token)
    if claims is None or not open_here(api, path):
        return None
    bearer = bearer_of(claims)
    now = await api.auth.again(bearer)
    return claims if now is not None and now.role == bearer.role else None


async def serve(api: Api, socket: WebSocket, path: str) -> None:
    """One stream from the host to the person, until either side ends it."""
    claims = await admitted(api, path, token_of(socket))
    if claims is None:
        await socket.close(1008, "The token is missing, expired or for something else; ask for a new one.")
        return
    kind, args = tickets.wish(path, claims)
    binary = BINARY in socket.scope.get("subprotocols", [])
    await socket.accept(BINARY if binary else None)
    try:
        stream = await api.plane.streams.open(kind, int(claims["host"]), args)
    except StreamFailed as problem:
        await socket.close(1011, _short(str(problem)))
        return
    talk = Talk(socket, stream, path, binary=binary, tty=bool((claims.get("logs") or {}).get("Tty")))
    visitor = Visitor(api, bearer_of(claims), path)
    try:
        with api.broadcaster.watching(visitor):
            await talk.run(visitor)
    finally:
        await stream.close()


def token_of(socket: WebSocket) -> str:
    """The ticket, from where clients put it."""
    scheme, _, rest = socket.headers.get("authorization", "").partition(" ")
    return socket.query_params.get("token") or (rest.strip() if scheme.lower() == "bearer" else "")


class Talk:
    """One socket and one stream, joined."""

    def __init__(self, socket: WebSocket, stream: Stream, path: str, *, binary: bool, tty: bool) -> None:
        self._socket, self._stream, self._path, self._binary = socket, stream, path, binary
        self._lines = _Lines("00 " if tty else "")

    async def run(self, visitor: Guest) -> None:
        """Until one of the two ends, or the visitor's rights."""
        done = await first(self._upward(), self._downward(), visitor.ended.wait())
        problem = next((found for task in done if (found := task.exception())), None)
        if problem and not isinstance(problem, WebSocketDisconnect | RuntimeError | OSError | StreamFailed):
            raise problem
        error = _OVER if visitor.ended.is_set() else self._stream.error or str(problem or "")
        await self._close(error)

    async def _close(self, error: str) -> None:
        socket = self._socket
        if socket.client_state is WebSocketState.CONNECTED and socket.application_state is WebSocketState.CONNECTED:
            try:
                async with asyncio.timeout(5):
                    await socket.close(1011 if error else 1000, _short(error))
            except (TimeoutError, RuntimeError):
                return  # its end is full of what it did not read

    async def _upward(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] != "websocket.receive":
                return
            if self._path not in tickets.TWO_WAY:
                continue
            text, raw = message.get("text"), message.get("bytes")
            if text is None:
                await self._stream.write(raw or b"")
            elif found := _RESIZE.match(text):
                await self._stream.resize(int(found[1]), int(found[2]))
            else:
                await self._stream.write(text.encode() if self._binary else _plain(text))

    async def _downward(self) -> None:
        async for channel, data in _read(self._stream):
            if self._path == tickets.LOGS:
                for line in self._lines.feed(channel, data):
                    await self._say(line)
            elif self._path in tickets.TWO_WAY and not self._binary:
                await self._say(base64.b64encode(data))
            else:
                await self._say(data)
        for line in self._lines.rest():
            await self._say(line)
        if self._path == tickets.EXEC and self._socket.query_params.get("exit") == "true":
            code = self._stream.exit_code
            async with asyncio.timeout(STALL_SECONDS):
                await self._socket.send_text(f":exit:{'' if code is None else code}")

    async def _say(self, data: bytes) -> None:
        async with asyncio.timeout(STALL_SECONDS):
            if self._binary:
                await self._socket.send_bytes(data)
            else:
                await self._socket.send_text(data.decode("utf-8", "replace"))


def _plain(text: str) -> bytes:
    """What somebody typed: base64, or as it is from clients that do not know better."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return text.encode()


async def _read(stream: Stream) -> AsyncIterator[tuple[str, bytes]]:
    while True:
        channel, data = await stream.read()
        if not channel:
            return
        yield channel, data


class _Lines:
    """Cuts output into lines and marks each with where it came from."""

    LONGEST = 64 * 1024

    def __init__(self, terminal: str) -> None:
        self._terminal = terminal
        self._partial: dict[str, bytes] = {}

    def feed(self, channel: str, data: bytes) -> list[bytes]:
        """The lines that are complete now."""
        *whole, partial = (self._partial.get(channel, b"") + data).split(b"\n")
        if len(partial) > self.LONGEST:
            whole, partial = [*whole, partial], b""
        self._partial[channel] = partial
        return [self._mark(channel, line) for line in whole]

    def rest(self) -> list[bytes]:
        """What is left at the end without a line end."""
        return [self._mark(channel, line) for channel, line in self._partial.items() if line]

    def _mark(self, channel: str, line: bytes) -> bytes:
        return (self._terminal or ("02 " if channel == "err" else "01 ")).encode() + line.rstrip(b"\r")


def _short(text: str) -> str:
    """Close reasons may have 123 bytes."""
    return text.encode()[:120].decode("utf-8", "ignore")
