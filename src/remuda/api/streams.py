"""Live bytes for people: exec, logs, stats. An action hands out a short-lived signed token; the socket may be opened on
any server, which finds the host's session wherever it is.

Framing is that of the 1.x clients: exec is base64 text both ways and ``:resizeTTY:<w>,<h>``; log lines carry ``00 ``
(terminal), ``01 `` (stdout) or ``02 `` (stderr) in front; stats are JSON arrays, one a second.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from remuda.api.context import Caller, Context
from remuda.api.guests import Guest
from remuda.control.streams import StreamFailed

if TYPE_CHECKING:
    from remuda.api.server import Api

TOKEN_SECONDS = 300
_RESIZE = re.compile(r"^:resizeTTY:(\d{1,5}),(\d{1,5})$")
_TYPES = {"logs": "logs", "exec": "exec", "containerstats": "stats", "hoststats": "stats", "stats": "stats"}


def access(ctx: Context, path: str, host: int, args: dict[str, Any], *, kind: str = "hostAccess") -> dict[str, Any]:
    """Where to dial, and the token that says what for."""
    caller = ctx.caller
    by = {"key": caller.key, "project": caller.project_id, "role": caller.role}
    claims = {"use": "stream", "path": path, "host": host, "args": args, "by": by}
    token = ctx.api.keyring.sign(claims, TOKEN_SECONDS)
    url = re.sub("^http", "ws", ctx.root) + f"/v1/{path}/"
    return {"type": kind, "links": {}, "actions": {}, "url": url, "token": token}


async def serve(api: Api, socket: WebSocket, path: str) -> None:
    """One stream from the agent to the person, until either side ends it."""
    claims = api.keyring.verify(socket.query_params.get("token", "")) or {}
    by = claims.get("by") or {}
    # whoever the token was made for: it ends with their rights, also while the stream is open
    caller = Caller(key=by.get("key", ""), role=by.get("role", ""), project_id=by.get("project"))
    right = claims.get("use") == "stream" and claims.get("path") == path
    now = await api.auth.again(caller) if right else None
    if now is None or now.role != caller.role:
        await socket.close(1008, "The token is missing, expired or for something else; ask for a new one.")
        return
    await socket.accept()
    try:
        stream = await api.plane.streams.open(_TYPES[path], int(claims["host"]), claims["args"])
    except StreamFailed as problem:
        await socket.close(1011, _short(str(problem)))
        return
    wants_exit = socket.query_params.get("exit") == "true"
    guest = Guest(caller)
    try:
        with api.broadcaster.watching(guest):
            await _pump(path, socket, stream, claims["args"], wants_exit, guest)
    finally:
        await stream.close()


async def _pump(
    path: str, socket: WebSocket, stream: Any, args: dict[str, Any], wants_exit: bool, guest: Guest
) -> None:
    upward = asyncio.create_task(_upward(path, socket, stream))
    downward = asyncio.create_task(_downward(path, socket, stream, args, wants_exit))
    ended = asyncio.create_task(guest.ended.wait())
    done, waiting = await asyncio.wait({upward, downward, ended}, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    for task in done:
        if (problem := task.exception()) and not isinstance(problem, WebSocketDisconnect | RuntimeError | OSError):
            raise problem
    if socket.client_state is WebSocketState.CONNECTED and socket.application_state is WebSocketState.CONNECTED:
        error = "Your right to this stream has ended." if guest.ended.is_set() else getattr(stream, "error", "")
        await socket.close(1011 if error else 1000, _short(error))


async def _upward(path: str, socket: WebSocket, stream: Any) -> None:
    while True:
        message = await socket.receive()
        if message["type"] != "websocket.receive":
            return
        if path != "exec":
            continue
        text, raw = message.get("text"), message.get("bytes")
        if text is None:
            await stream.write(raw or b"")
        elif found := _RESIZE.match(text):
            await stream.resize(int(found[1]), int(found[2]))
        else:
            try:
                await stream.write(base64.b64decode(text, validate=True))
            except binascii.Error:
                await stream.write(text.encode())


async def _downward(path: str, socket: WebSocket, stream: Any, args: dict[str, Any], wants_exit: bool) -> None:
    lines = _Lines("00 " if args.get("tty") else "")
    async for channel, data in _read(stream):
        if path == "exec":
            await socket.send_text(base64.b64encode(data).decode())
        elif path == "logs":
            for line in lines.feed(channel, data):
                await socket.send_text(line)
        else:
            await socket.send_text(data.decode("utf-8", "replace"))
    if path == "logs":
        for line in lines.rest():
            await socket.send_text(line)
    if path == "exec" and wants_exit:
        code = getattr(stream, "exit_code", None)
        await socket.send_text(f":exit:{'' if code is None else code}")


async def _read(stream: Any) -> AsyncIterator[tuple[str, bytes]]:
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

    def feed(self, channel: str, data: bytes) -> list[str]:
        """The lines that are complete now."""
        *whole, partial = (self._partial.get(channel, b"") + data).split(b"\n")
        if len(partial) > self.LONGEST:
            whole, partial = [*whole, partial], b""
        self._partial[channel] = partial
        return [self._mark(channel, line) for line in whole]

    def rest(self) -> list[str]:
        """What is left at the end without a line end."""
        return [self._mark(channel, line) for channel, line in self._partial.items() if line]

    def _mark(self, channel: str, line: bytes) -> str:
        return (self._terminal or ("02 " if channel == "err" else "01 ")) + line.decode("utf-8", "replace").rstrip("\r")


def _short(text: str) -> str:
    """Close reasons may have 123 bytes."""
    return text.encode()[:120].decode("utf-8", "ignore")
