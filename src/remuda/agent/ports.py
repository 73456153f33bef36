"""Connections to ports of containers, for people who look at them through the server.

Only ports of a container that the server names, at the address that Docker says it has now: an address may have passed to
another container since somebody was allowed to see this one.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from remuda.ports.engine import Engine, EngineError, ExecStream

CONNECT_SECONDS = 5.0
_CHUNK = 32 * 1024
_DEEPEST = 4
"""Containers that share the network of one that shares the network of one: no more than so many."""


class NotReached(Exception):  # noqa: N818 - the message is for the user
    """Nobody answers there; the message says where and why."""


class Connection:
    """One TCP connection, as a :class:`remuda.ports.engine.ExecStream`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> tuple[str, bytes]:
        """The next piece, ``("", b"")`` at the end."""
        try:
            data = await self._reader.read(_CHUNK)
        except OSError:
            data = b""
        return ("out", data) if data else ("", b"")

    async def write(self, data: bytes) -> None:
        """Empty bytes say that no more will come."""
        try:
            if data:
                self._writer.write(data)
                await self._writer.drain()
            elif self._writer.can_write_eof():
                self._writer.write_eof()
        except OSError as error:
            raise EngineError(0, "The container closed the connection") from error

    async def resize(self, width: int, height: int) -> None:
        """It is no terminal."""

    async def exit_code(self) -> int:
        """It is no command."""
        return 0

    async def close(self) -> None:
        """Hang up, whatever is still under way."""
        self._writer.transport.abort()


async def dial(engine: Engine, container: str, port: int, *, tls: bool) -> ExecStream:
    """A connection to a port of a running container; with ``tls`` whatever certificate it shows is good enough, as it is
    known by its address."""
    address = await _address(engine, container)
    context = None
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            return Connection(*await asyncio.open_connection(address, port, ssl=context))
    except TimeoutError:
        raise NotReached(f"Nobody answers at port {port} of the container ({address})") from None
    except OSError as error:
        raise NotReached(
            f"Port {port} of the container ({address}) cannot be reached: {error.strerror or error}"
        ) from None


async def _address(engine: Engine, container: str) -> str:
    """Where a container listens, as seen from its host."""
    for _ in range(_DEEPEST):
        document = await engine.inspect(container)
        if not document.get("State", {}).get("Running"):
            raise NotReached("The container does not run")
        mode = str((document.get("HostConfig") or {}).get("NetworkMode") or "")
        if mode == "host":
            return "127.0.0.1"
        if not mode.startswith("container:"):
            return _own(document)
        container = mode.partition(":")[2]
    raise NotReached("The container shares a network over too many others")


def _own(document: dict[str, Any]) -> str:
    networks: dict[str, Any] = document.get("NetworkSettings") or {}
    joined = (networks.get("Networks") or {}).values()
    found = [str(network.get("IPAddress") or "") for network in joined] + [str(networks.get("IPAddress") or "")]
    address = next((one for one in found if one), "")
    if not address:
        raise NotReached("The container has no address of its own")
    return address
