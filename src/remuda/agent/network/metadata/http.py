"""As much of HTTP/1.1 as a service for GET and HEAD needs, on asyncio and the parser of httptools.

A framework would cost each host more memory than everything else that serves names and metadata. Requests of a connection are
answered one after the other; bodies are read over, and refused when they are long. Who is slow, or wants too much, is cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from urllib.parse import parse_qs, unquote

import httptools

log = logging.getLogger("remuda.network.metadata")

IDLE_SECONDS = 60.0
LARGEST_HEAD, LARGEST_BODY, MOST_WAITING = 16 * 1024, 64 * 1024, 16
"""``MOST_WAITING``: requests that a connection may have sent before the first is answered."""
REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class Request(NamedTuple):
    """A request, as far as it matters here. Header names are in lower case."""

    method: str
    path: tuple[str, ...]
    query: dict[str, str]
    headers: dict[str, str]
    keep: bool
    peer: str


class Reply(NamedTuple):
    """What is answered."""

    status: int
    body: bytes
    kind: str = "text/plain; charset=utf-8"
    headers: tuple[str, ...] = ()


Answer = Callable[[Request], Awaitable[Reply]]


class Connection(asyncio.Protocol):
    """One client's connection. ``connections`` holds all that are open, for whoever closes them."""

    def __init__(self, answer: Answer, connections: set[Connection], most: int, each: int) -> None:
        self._answer, self._connections, self._most, self._each = answer, connections, most, each
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._requests: list[Request] = []
        self._work: asyncio.Task[None] | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._idle: asyncio.TimerHandle | None = None
        self._size = self._body = 0
        self._url, self._headers = b"", dict[str, str]()
        self._deaf = False
        self.peer = ""

    # ---- asyncio --------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.peer = str((transport.get_extra_info("peername") or ("",))[0])
        mine = sum(other.peer == self.peer for other in self._connections)
        self._connections.add(self)
        if len(self._connections) > self._most or mine >= self._each:
            self._refuse(503, "There are too many connections; try again")
            return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._room.set()
        if self._idle is not None:
            self._idle.cancel()
        if self._work is not None:
            self._work.cancel()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._size += len(data)
        if self._size > LARGEST_HEAD + LARGEST_BODY:
            self._refuse(431, "The request is too long")
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._deaf = True  # the offer of another protocol is declined by an ordinary answer
        except httptools.HttpParserError:
            self._refuse(400, "This is no HTTP/1 request")

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    # ---- httptools --------------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._url, self._headers, self._body = b"", {}, 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        if self._body > LARGEST_BODY:
            self._refuse(413, "Requests here have no body")

    def on_message_complete(self) -> None:
        self._size = 0
        if self._deaf:
            return
        try:
            url = httptools.parse_url(self._url)
        except httptools.HttpParserError:
            self._refuse(400, "The path cannot be read")
            return
        method = self._parser.get_method().decode("latin-1")
        query = parse_qs((url.query or b"").decode("latin-1"), keep_blank_values=True)
        self._requests.append(
            Request(
                method=method,
                path=tuple(unquote(part) for part in (url.path or b"/").decode("latin-1").split("/") if part),
                query={key: values[-1] for key, values in query.items()},
                headers=self._headers,
                keep=self._parser.should_keep_alive() and not self._parser.should_upgrade(),
                peer=self.peer,
            )
        )
        if len(self._requests) > MOST_WAITING and self._transport is not None:
            self._transport.pause_reading()
        if self._idle is not None:
            self._idle.cancel()
        if self._work is None:
            self._work = asyncio.get_running_loop().create_task(self._serve())

    # ---- answers ----------------------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        """Answer what has come in, in its order."""
        while self._requests and self._transport is not None and not self._transport.is_closing():
            request = self._requests.pop(0)
            try:
                reply = await self._answer(request)
            except Exception:
                log.exception("A request could not be answered")
                reply = Reply(500, b"This is a fault of ours; the agent's log has more")
            self._transport.write(_bytes(reply, request.keep, head=request.method == "HEAD"))
            if not request.keep:
                self._transport.close()
                return
            with contextlib.suppress(RuntimeError):
                self._transport.resume_reading()
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    await self._room.wait()
            except TimeoutError:
                self._transport.abort()
        self._work = None
        self._wait()

    def _wait(self) -> None:
        """Somebody who says nothing for long is cut off."""
        if self._transport is not None:
            self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._transport.close)

    def _refuse(self, status: int, why: str) -> None:
        if self._deaf or self._transport is None:
            return
        self._deaf = True
        if self._work is None:
            self._transport.write(_bytes(Reply(status, why.encode()), keep=False, head=False))
        self._transport.close()

    def close(self) -> None:
        """The service ends."""
        if self._transport is not None:
            self._transport.abort()


def _bytes(reply: Reply, keep: bool, *, head: bool) -> bytes:
    lines = (
        f"HTTP/1.1 {reply.status} {REASONS[reply.status]}",
        f"Content-Type: {reply.kind}",
        f"Content-Length: {len(reply.body)}",
        f"Connection: {'keep-alive' if keep else 'close'}",
        *reply.headers,
    )
    return "\r\n".join((*lines, "", "")).encode("latin-1") + (b"" if head else reply.body)
