"""A host whose streams are the agent's own, over an engine in memory; and a web server that stands for one in a container."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

import websockets
from tests.support.fakeengine import FakeEngine

from remuda.agent.streams import Streams
from remuda.core import wire
from remuda.ports.engine import Document, ExecStream

from .conftest import FakeAgent, Installation, eventually


class Endless:
    """A command that never stops talking, and counts what was taken from it."""

    def __init__(self) -> None:
        self.said = 0
        self.closed = asyncio.Event()

    async def read(self) -> tuple[str, bytes]:
        await asyncio.sleep(0)
        self.said += 32 * 1024
        return "out", b"x" * (32 * 1024)

    async def write(self, data: bytes) -> None:
        pass

    async def resize(self, width: int, height: int) -> None:
        pass

    async def exit_code(self) -> int:
        return 0

    async def close(self) -> None:
        self.closed.set()


class HostEngine(FakeEngine):
    """Every container runs, and has the address of this machine."""

    def __init__(self) -> None:
        super().__init__()
        self.endless: list[Endless] = []

    def find(self, container: str) -> Document:
        networks = {"Networks": {"any": {"IPAddress": "127.0.0.1"}}}
        state = {"Status": "running", "Running": True}
        return {
            "Id": container,
            "Name": "/c",
            "State": state,
            "NetworkSettings": networks,
            "HostConfig": {},
            "Config": {},
        }

    async def exec(self, container: str, command: list[str], *, tty: bool, stdin: bool) -> ExecStream:
        if command == ["yes"]:
            self.endless.append(Endless())
            return self.endless[-1]
        return await super().exec(container, command, tty=tty, stdin=stdin)


class Host(FakeAgent):
    """An agent with the real streams."""

    def __init__(self, base: str, token: str, key: str) -> None:
        super().__init__(base, token, key)
        self.engine = HostEngine()
        self._live: Streams | None = None

    async def _answer(self, socket: websockets.ClientConnection, message: Any, ready: asyncio.Event) -> None:
        if not isinstance(message, wire.StreamOpen | wire.StreamData | wire.StreamCredit | wire.StreamEnd):
            await super()._answer(socket, message, ready)
            return
        if self._live is None:

            async def send(frame: wire.Message) -> None:
                await socket.send(wire.encode(frame).decode())

            self._live = Streams(self.engine, send)
        if isinstance(message, wire.StreamOpen):
            self.streams.append(message)
        await self._live.handle(message)


async def host_of(server: Installation) -> Host:
    """Join a host."""
    agent = await server.agent(kind=Host)
    assert isinstance(agent, Host)
    return agent


async def running(server: Installation) -> dict[str, Any]:
    """A container that runs there, as the administrator reads it."""
    async with server.admin() as http:
        made = (await http.post("/containers", json={"name": "c", "imageUuid": "docker:x"})).json()

        async def runs() -> Any:
            now = (await http.get(made["links"]["self"])).json()
            return now if now["state"] == "running" else None

        found: dict[str, Any] = await eventually(runs)
        return found


class Page:
    """A web server of few words. Keeps what it was asked."""

    def __init__(self) -> None:
        self.port = 0
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self.closed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            await self._answer(head, reader, writer)
            writer.close()
        self.closed.set()

    async def _answer(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path, lowered = head.split(" ")[1], head.lower()
        if "content-length: " in lowered:
            length = int(lowered.partition("content-length: ")[2].partition("\r")[0])
            self.bodies.append(await reader.readexactly(length))
        if path.startswith("/endless"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
            for number in itertools.count():
                writer.write(b"data: %d\n\n" % number)
                await writer.drain()
                await asyncio.sleep(0.02)
        told = {
            "/garbage": b"what?\r\n\r\n",
            "/nothing": b"",
            "/moved": b"HTTP/1.1 302 Found\r\nlocation: /there\r\ncontent-length: 0\r\n\r\n",
            "/chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            "/short": b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc",
            "/early": b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            "/upgrade": b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
            "/large": b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 3_000_000,
            "/cookies": b"HTTP/1.1 200 OK\r\nset-cookie: token=mine; path=/\r\nservice-worker-allowed: /\r\nx-mine: 1\r\n"
            b"content-security-policy: default-src 'self'\r\ncontent-length: 2\r\n\r\nok",
        }.get(path.partition("?")[0], b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-mine: 1\r\n\r\nhello")
        writer.write(told if not head.startswith("HEAD") else told.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
        await writer.drain()


@contextlib.asynccontextmanager
async def page() -> AsyncIterator[Page]:
    """Such a web server, until the block ends."""
    found = Page()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
