"""``http://rancher-metadata/``: GET and HEAD, text or JSON, each caller seeing itself by its address; waits for news on request.

Who the caller is says its address alone. A header that claims another one is believed only if ``forwarded`` says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import msgspec

from remuda.agent.network.metadata.http import Connection, Reply, Request
from remuda.core.network.metadata import VERSIONS, Listing, Metadata, Missing, as_text, described, look_up

LONGEST_WAIT, DEFAULT_WAIT = 600.0, 60.0
MOST, EACH = 512, 64
"""Connections at once: of all, and of one address."""
LARGE = 500
"""A document of more containers is written by a thread, so that names are answered meanwhile."""
JSON, YAML, TEXT = "application/json", "application/yaml", "text/plain; charset=utf-8"


class Server:
    """Serves the metadata until closed."""

    def __init__(self, metadata: Metadata, *, forwarded: bool = False) -> None:
        self._metadata, self._forwarded = metadata, forwarded
        self._news = asyncio.Event()
        self._listener: asyncio.Server | None = None
        self._connections: set[Connection] = set()

    def use(self, metadata: Metadata) -> None:
        """Answer from this from now on, and wake those who wait for news."""
        self._metadata = metadata
        self._news.set()
        self._news = asyncio.Event()

    async def open(self, address: str, port: int) -> int:
        """Bind; returns the port (0 = any). Raises OSError."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            self._listener = await asyncio.get_running_loop().create_server(
                lambda: Connection(self._reply, self._connections, MOST, EACH), sock=listener
            )
        except BaseException:
            listener.close()
            raise
        return int(listener.getsockname()[1])

    async def close(self) -> None:
        """Let go of the socket."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for connection in list(self._connections):
            connection.close()

    async def _reply(self, request: Request) -> Reply:
        if request.method not in ("GET", "HEAD"):
            return Reply(405, b"Only GET and HEAD are answered here", headers=("Allow: GET, HEAD",))
        kind = _kind(request.headers.get("accept", ""))
        if not request.path:
            names = "\n".join(f"{version}/" for version in VERSIONS)
            return Reply(200, names.encode() if kind == TEXT else msgspec.json.encode(VERSIONS), kind)
        caller = self._caller(request)
        if request.query.get("wait", "").lower() == "true":
            await self._wait(request, caller)
        try:
            value = self._find(request, caller)
        except Missing as missing:
            return Reply(404, str(missing.args[0]).encode())
        if kind == TEXT:
            return Reply(200, as_text(value).encode(), kind)
        # JSON is YAML, too
        return Reply(200, await self._written(value), kind)

    def _caller(self, request: Request) -> str:
        claimed = request.headers.get("x-forwarded-for", "") if self._forwarded else ""
        return claimed.split(",")[0].strip() or request.peer

    async def _wait(self, request: Request, caller: str) -> None:
        """Until the value is another than the caller knows, or the time is over."""
        known = request.query.get("value", "")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_seconds(request.query.get("maxWait", ""))):
                while True:
                    news = self._news
                    try:
                        if as_text(self._find(request, caller)) != known:
                            return
                    except Missing:
                        return
                    await news.wait()

    def _find(self, request: Request, caller: str) -> Any:
        tree = self._metadata.tree(request.path[0], caller)
        if tree is None:
            raise Missing(f"Not found: there is no version {request.path[0]}; there are {', '.join(VERSIONS)}")
        try:
            return look_up(tree, request.path[1:])
        except Missing:
            raise Missing("Not found") from None

    async def _written(self, value: Any) -> bytes:
        if self._metadata.size > LARGE and isinstance(value, dict | Listing):
            return await asyncio.to_thread(msgspec.json.encode, value, enc_hook=described)
        return msgspec.json.encode(value, enc_hook=described)


def _kind(accept: str) -> str:
    """The first of the kinds that we have among those that are accepted."""
    for part in accept.lower().split(","):
        name = part.partition(";")[0].strip()
        if name == JSON:
            return JSON
        if name in (YAML, "application/x-yaml", "text/yaml", "text/x-yaml"):
            return YAML
        if name in ("text/plain", "text/*"):
            return TEXT
    return TEXT


def _seconds(text: str) -> float:
    """How long to wait for news; the usual time for what is no number."""
    try:
        return max(0.0, min(float(text), LONGEST_WAIT))
    except ValueError:
        return DEFAULT_WAIT
