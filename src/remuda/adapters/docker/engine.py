"""One Docker engine behind :class:`remuda.ports.engine.Engine`. It translates calls, never decides anything.

Every call has a deadline; the longest are those in which Docker itself works (start, remove) or waits (stop, pull).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import quote

import msgspec

from remuda.adapters.docker import execution
from remuda.adapters.docker.frames import OUT, Demultiplexer
from remuda.adapters.docker.link import Link
from remuda.adapters.docker.pulling import PullProgress, reference
from remuda.ports.engine import Document, EngineError, ExecStream

_QUICK, _WORK = 10.0, 90.0
_PULL_SILENCE = 300.0
_CONTAINER_EVENTS = '{"type":["container"]}'


class DockerEngine:
    """Implements :class:`remuda.ports.engine.Engine`; ``url`` as in ``DOCKER_HOST``."""

    def __init__(self, url: str = "") -> None:
        self._link = Link(url)

    @property
    def url(self) -> str:
        """Where the engine is."""
        return self._link.url

    async def ping(self) -> None:
        """Is the engine there? Cheap enough for every other second."""
        await self._link.call("GET", "/_ping", versioned=False, timeout=3.5)

    async def info(self) -> Document:
        """``GET /info`` with ``GET /version`` under ``_version``."""
        document: Document = await self._link.call("GET", "/info")
        document["_version"] = await self._link.call("GET", "/version")
        return document

    async def containers(self) -> list[Document]:
        """``GET /containers/json?all=1``."""
        listed: list[Document] = await self._link.call("GET", "/containers/json", params={"all": "1"})
        return listed

    async def inspect(self, container: str) -> Document:
        """``GET /containers/<id>/json``."""
        document: Document = await self._link.call("GET", f"/containers/{quote(container)}/json")
        return document

    async def create(self, name: str, config: Document) -> str:
        """Create and return Docker's id."""
        params = {"name": name} if name else {}
        made = await self._link.call("POST", "/containers/create", params=params, body=config, timeout=_WORK)
        return str(made["Id"])

    async def start(self, container: str) -> None:
        """Start; a container that already runs is fine."""
        await self._link.call("POST", f"/containers/{quote(container)}/start", timeout=_WORK)

    async def stop(self, container: str, timeout: int) -> None:
        """Stop: the container's signal, ``timeout`` seconds of grace, then SIGKILL."""
        params = {"t": str(timeout)}
        await self._link.call("POST", f"/containers/{quote(container)}/stop", params=params, timeout=timeout + _WORK)

    async def kill(self, container: str, signal: str = "SIGKILL") -> None:
        """Send a signal."""
        await self._link.call("POST", f"/containers/{quote(container)}/kill", params={"signal": signal})

    async def remove(self, container: str, *, force: bool = False, volumes: bool = True) -> None:
        """Remove, with its nameless volumes unless told otherwise; one that is gone already is fine."""
        params = {"force": str(int(force)), "v": str(int(volumes))}
        try:
            await self._link.call("DELETE", f"/containers/{quote(container)}", params=params, timeout=_WORK)
        except EngineError as error:
            if error.status != 404:
                raise

    async def has_image(self, image: str) -> bool:
        """Is the image on this engine?"""
        try:
            await self._link.call("GET", f"/images/{quote(image)}/json")
        except EngineError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def pull(self, image: str, auth: str, progress: Callable[[int, str], None]) -> None:
        """Pull; ends with an error when Docker reports one or is silent for five minutes."""
        state = PullProgress(image)
        headers = {"X-Registry-Auth": auth} if auth else {}
        async with self._link.open(
            "POST", "/images/create", params=reference(image), headers=headers, timeout=None, idle=_PULL_SILENCE
        ) as response:
            async for document in _documents(response.content.iter_any()):
                if state.feed(document) and not state.error:
                    progress(state.percent, state.sentence)
        if state.error:
            raise EngineError(404, state.error)

    async def logs(
        self, container: str, *, follow: bool, lines: int, timestamps: bool, since: int = 0
    ) -> AsyncIterator[tuple[str, bytes]]:
        """Pieces of (``out`` | ``err``, bytes); ``lines`` below 0 = all of them."""
        document = await self.inspect(container)
        demultiplexer = None if document.get("Config", {}).get("Tty") else Demultiplexer()
        params = {
            "stdout": "1",
            "stderr": "1",
            "follow": str(int(follow)),
            "tail": "all" if lines < 0 else str(lines),
            "timestamps": str(int(timestamps)),
            "since": str(since),
        }
        path = f"/containers/{quote(container)}/logs"
        async with self._link.open("GET", path, params=params, timeout=None) as response:
            async for chunk in response.content.iter_any():
                if demultiplexer is None:
                    yield OUT, chunk
                    continue
                for piece in demultiplexer.feed(chunk):
                    yield piece

    async def exec(self, container: str, command: list[str], *, tty: bool, stdin: bool) -> ExecStream:
        """Run a command in a running container."""
        return await execution.run(self._link, quote(container), command, tty=tty, stdin=stdin)

    async def attach(self, container: str) -> ExecStream:
        """The container's own terminal."""
        return await execution.attach(self._link, quote(container))

    async def dial(self) -> ExecStream:
        """A bare connection to the engine."""
        return await execution.dial(self._link)

    async def stats(self, container: str) -> AsyncIterator[Document]:
        """One document a second, until the container stops."""
        path = f"/containers/{quote(container)}/stats"
        async with self._link.open("GET", path, params={"stream": "1"}, timeout=None, idle=30) as response:
            async for document in _documents(response.content.iter_any()):
                yield document

    async def events(self) -> AsyncIterator[Document]:
        """An empty document once Docker listens to us, then container events."""
        async with self._link.open("GET", "/events", params={"filters": _CONTAINER_EVENTS}, timeout=None) as response:
            yield {}
            async for document in _documents(response.content.iter_any()):
                yield document

    async def network(self, name: str) -> Document | None:
        """``GET /networks/NAME``; None when there is none."""
        try:
            found: Document = await self._link.call("GET", f"/networks/{quote(name)}")
        except EngineError as error:
            if error.status == 404:
                return None
            raise
        return found

    async def create_network(self, document: Document) -> None:
        """Create a network."""
        await self._link.call("POST", "/networks/create", body=document, timeout=_WORK)

    async def remove_network(self, name: str) -> None:
        """Remove a network; Docker refuses while containers use it."""
        await self._link.call("DELETE", f"/networks/{quote(name)}", timeout=_WORK)

    async def connect_network(self, name: str, container: str, address: str) -> None:
        """Attach a container to a network under this address."""
        wish = {"Container": container, "EndpointConfig": {"IPAMConfig": {"IPv4Address": address}}}
        await self._link.call("POST", f"/networks/{quote(name)}/connect", body=wish, timeout=_WORK)

    async def disconnect_network(self, name: str, container: str) -> None:
        """Take a container off a network."""
        wish = {"Container": container, "Force": False}
        await self._link.call("POST", f"/networks/{quote(name)}/disconnect", body=wish, timeout=_WORK)

    async def volumes(self) -> list[Document]:
        """``GET /volumes``."""
        told = await self._link.call("GET", "/volumes", timeout=_WORK)
        listed: list[Document] = told.get("Volumes") or []
        return listed

    async def create_volume(self, name: str, driver: str, options: dict[str, str]) -> None:
        """Make a volume; one of this name and driver that is there is fine."""
        wish = {"Name": name, "Driver": driver or "local", "DriverOpts": options}
        await self._link.call("POST", "/volumes/create", body=wish, timeout=_WORK)

    async def remove_volume(self, name: str) -> None:
        """Remove a volume with its data; one that is gone already is fine."""
        try:
            await self._link.call("DELETE", f"/volumes/{quote(name)}", timeout=_WORK)
        except EngineError as error:
            if error.status != 404:
                raise

    async def close(self) -> None:
        """Drop all connections."""
        await self._link.close()


async def _documents(chunks: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    """JSON documents, one a line, out of chunks of any size."""
    pending = b""
    async for chunk in chunks:
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield msgspec.json.decode(line)
    if pending.strip():
        yield msgspec.json.decode(pending)
