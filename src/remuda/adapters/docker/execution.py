"""A command in a container, or the container's own terminal: Docker turns the HTTP connection into a raw, two-way stream, so
no HTTP client helps.

The stream is opened by hand on a connection of its own, which closes with the command.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from remuda.adapters.docker.frames import OUT, Demultiplexer
from remuda.adapters.docker.link import Link, message_of
from remuda.ports.engine import EngineDown, EngineError

_CHUNK = 32 * 1024


class DockerExec:
    """Implements :class:`remuda.ports.engine.ExecStream`. ``path`` is what runs: an exec or a container."""

    def __init__(
        self, link: Link, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, tty: bool
    ) -> None:
        self._link, self._path, self._reader, self._writer = link, path, reader, writer
        self._demultiplexer = None if tty else Demultiplexer()
        self._pieces: list[tuple[str, bytes]] = []

    async def read(self) -> tuple[str, bytes]:
        """The next piece, ``("", b"")`` at the end."""
        while not self._pieces:
            try:
                chunk = await self._reader.read(_CHUNK)
            except OSError:
                chunk = b""
            if not chunk:
                return "", b""
            self._pieces = self._demultiplexer.feed(chunk) if self._demultiplexer else [(OUT, chunk)]
        return self._pieces.pop(0)

    async def write(self, data: bytes) -> None:
        """To standard input; empty bytes close it."""
        try:
            if data:
                self._writer.write(data)
                await self._writer.drain()
            elif self._writer.can_write_eof():
                self._writer.write_eof()
        except OSError as error:
            raise EngineError(0, "The command does not read any more") from error

    async def resize(self, width: int, height: int) -> None:
        """Tell the terminal its size; a command that is already gone does not mind."""
        try:
            await self._link.call("POST", f"{self._path}/resize", params={"w": str(width), "h": str(height)})
        except EngineDown:
            raise
        except EngineError:
            return

    async def exit_code(self) -> int:
        """Ask until Docker knows: it closes the stream a moment before it records the code."""
        async with asyncio.timeout(10):
            while True:
                document: dict[str, Any] = await self._link.call("GET", f"{self._path}/json")
                if not document.get("Running") and document.get("ExitCode") is not None:
                    return int(document["ExitCode"])
                await asyncio.sleep(0.05)

    async def close(self) -> None:
        """Hang up. Docker leaves the command running; a terminal's command gets SIGHUP from its end of file."""
        self._writer.close()
        try:
            async with asyncio.timeout(1):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self._writer.transport.abort()


class DockerAttached(DockerExec):
    """A container's own terminal. It may go on without us, so there may be no code to wait for."""

    async def exit_code(self) -> int:
        """The container's, or 0 while it runs on."""
        document: dict[str, Any] = await self._link.call("GET", f"{self._path}/json")
        return int(document["State"].get("ExitCode") or 0)


class DockerRaw(DockerExec):
    """A bare connection to the engine."""

    async def resize(self, width: int, height: int) -> None:
        """It is no terminal."""

    async def exit_code(self) -> int:
        """It is no command."""
        return 0


async def run(link: Link, container: str, command: list[str], *, tty: bool, stdin: bool) -> DockerExec:
    """Create the exec, take the connection over, return the stream."""
    wish = {"AttachStdin": stdin, "AttachStdout": True, "AttachStderr": True, "Tty": tty, "Cmd": command}
    created: dict[str, Any] = await link.call("POST", f"/containers/{container}/exec", body=wish)
    path = f"/exec/{created['Id']}"
    reader, writer = await _taken_over(link, f"{path}/start", msgspec.json.encode({"Detach": False, "Tty": tty}))
    return DockerExec(link, path, reader, writer, tty=tty)


async def attach(link: Link, container: str) -> DockerExec:
    """Take over a connection to a container's own terminal."""
    path = f"/containers/{container}"
    document: dict[str, Any] = await link.call("GET", f"{path}/json")
    config: dict[str, Any] = document.get("Config") or {}
    stdin = int(bool(config.get("OpenStdin")))
    reader, writer = await _taken_over(link, f"{path}/attach?stream=1&stdout=1&stderr=1&stdin={stdin}", b"")
    return DockerAttached(link, path, reader, writer, tty=bool(config.get("Tty")))


async def dial(link: Link) -> DockerExec:
    """A connection, as it is."""
    reader, writer = await link.dial()
    return DockerRaw(link, "", reader, writer, tty=True)


async def _taken_over(link: Link, path: str, body: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    version = await link.version()
    reader, writer = await link.dial()
    head = (
        f"POST /v{version}{path} HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\n"
        f"Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    try:
        async with asyncio.timeout(20):
            writer.write(head.encode() + body)
            await writer.drain()
            status, headers = await _answer(reader)
            if status not in (101, 200):
                length = int(headers.get("content-length", 0))
                raise EngineError(status, message_of(await reader.read(length or _CHUNK), "Docker refused the stream"))
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        writer.transport.abort()
        raise EngineDown(link.why(error)) from error
    except BaseException:
        writer.transport.abort()
        raise
    return reader, writer


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    return int(head[0].split(" ")[1]), headers
