"""``/v1/container-proxy/``: what a port of a container serves over HTTP, through whichever server one can reach.

The pages come from people's containers but are shown under our own address. So nothing of ours goes to the container (no
cookie, no ticket, no key), it can leave nothing here (no cookie, no worker), and browsers are told to treat its pages as
those of a stranger (decision 0018). No caches: every request is one connection. WebSockets are :mod:`remuda.api.proxysockets`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable

import httptools
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from remuda.api.access import bearer_of
from remuda.api.errors import ApiError
from remuda.api.origin import client_of, root_of
from remuda.api.server import Api, request_id
from remuda.api.streams import Visitor, admitted
from remuda.control.streams import Stream, StreamFailed
from remuda.core import tickets

log = structlog.get_logger()

METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
PREFIX = f"/v1/{tickets.PROXY}"
ANSWER_SECONDS = 120.0
"""So long a container may think before it says anything."""
LARGEST_HEAD = 64 * 1024

HOP = {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te", b"trailer",
        b"transfer-encoding", b"upgrade", b"expect"}  # fmt: skip
OURS = {b"host", b"cookie", b"authorization", b"referer", b"origin", b"x-api-csrf", b"x-api-project-id", b"service-worker",
         b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-prefix"}  # fmt: skip
"""What is between the client and us."""
_LASTING = {b"set-cookie", b"set-cookie2", b"service-worker-allowed", b"clear-site-data", b"strict-transport-security",
            b"alt-svc", b"public-key-pins", b"content-security-policy-report-only", b"report-to", b"nel"}  # fmt: skip
"""What would stay in the browser under our address."""
SANDBOX = "sandbox allow-scripts allow-forms allow-popups allow-modals allow-downloads"


async def serve(api: Api, request: Request) -> Response:
    """One request, passed on to the container that its ticket is for."""
    try:
        return await _serve(api, request)
    except ApiError as refusal:
        return api.json(None, refusal.document(request_id()), refusal.status)


async def _serve(api: Api, request: Request) -> Response:
    shown = _bearer(request) or request.query_params.get("token", "")
    claims = await admitted(api, tickets.PROXY, shown)
    if claims is None:
        raise ApiError(401, "Unauthorized", "The token is missing, expired or for something else; ask for a new one.")
    kind, args = tickets.wish(tickets.PROXY, claims)
    try:
        stream = await api.plane.streams.open(kind, int(claims["host"]), args)
    except StreamFailed as problem:
        raise ApiError(502, "BadGateway", str(problem)) from None
    visitor = Visitor(api, bearer_of(claims), tickets.PROXY)
    exchange = Exchange(request, stream, visitor)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await exchange.ask()
    except TimeoutError:
        await exchange.close()
        raise ApiError(
            504, "GatewayTimeout", f"The container did not answer within {ANSWER_SECONDS:.0f} seconds."
        ) from None
    except (StreamFailed, httptools.HttpParserError) as problem:
        await exchange.close()
        raise ApiError(502, "BadGateway", f"The container gave no answer that is HTTP: {problem}.") from None
    except BaseException:
        await exchange.close()
        raise
    return exchange.answer(api)


def _bearer(request: Request) -> str:
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else ""


class Exchange:
    """One request and its answer, over one connection to the container. Implements what httptools calls back."""

    def __init__(self, request: Request, stream: Stream, visitor: Visitor) -> None:
        self._request, self._stream, self._visitor = request, stream, visitor
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []
        self._begun = self._whole = False
        self._asking: asyncio.Task[None] | None = None

    # ---- the parser's words

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._parser.get_status_code() < 200:
            self._headers.clear()
        else:
            self._begun = True

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        self._whole = self._begun

    # ---- the request

    async def ask(self) -> None:
        """Send the request and wait for the head of the answer."""
        self._asking = asyncio.create_task(self._send())
        seen = 0
        while not self._begun:
            data = await self._read()
            seen += len(data)
            if not data or seen > LARGEST_HEAD:
                raise StreamFailed(
                    self._stream.error or ("its head is too long" if data else "it closed the connection")
                )
            self._feed(data)
        if self._request.method == "HEAD" or self._parser.get_status_code() in (204, 304):
            self._whole = True

    async def _send(self) -> None:
        """All of the request; how far it got does not matter to a container that has answered already."""
        chunked = "content-length" not in self._request.headers and "transfer-encoding" in self._request.headers
        with contextlib.suppress(StreamFailed, ClientDisconnect):
            await self._stream.write(self._head(chunked))
            async for piece in self._request.stream():
                if piece:
                    await self._stream.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            if chunked:
                await self._stream.write(b"0\r\n\r\n")

    def _head(self, chunked: bool) -> bytes:
        scope = self._request.scope
        path = b"/" + bytes(scope["raw_path"]).partition(b"?")[0].partition(tickets.PROXY.encode())[2].lstrip(b"/")
        query: bytes = scope["query_string"]
        if not _bearer(self._request):  # then the ticket is in there
            query = b"&".join(part for part in query.split(b"&") if part and not part.startswith(b"token="))
        root = root_of(self._request)
        scheme, _, host = root.partition("://")
        lines = [
            b"%s %s HTTP/1.1" % (self._request.method.encode(), path + (b"?" + query if query else b"")),
            b"host: " + host.encode("latin-1", "replace"),
            b"connection: close",
            *(b"%s: %s" % (name, value) for name, value in scope["headers"] if name not in HOP and name not in OURS),
            b"x-forwarded-for: " + client_of(self._request).encode(),
            b"x-forwarded-proto: " + scheme.encode(),
            b"x-forwarded-prefix: " + PREFIX.encode(),
            *([b"transfer-encoding: chunked"] if chunked else []),
        ]
        return b"\r\n".join((*lines, b"", b""))

    # ---- the answer

    def answer(self, api: Api) -> Response:
        """The head as it is passed on, and the body as it comes."""
        response = StreamingResponse(self._body(api), self._parser.get_status_code())
        response.raw_headers = list(_passed_on(self._headers))
        return response

    async def _body(self, api: Api) -> AsyncIterator[bytes]:
        try:
            with api.broadcaster.watching(self._visitor):
                while True:
                    pieces, self._pieces = self._pieces, []
                    for piece in pieces:
                        yield piece
                    if self._whole:
                        return
                    data = await self._read()
                    if not data:
                        self._end()
                        return
                    self._feed(data)
        finally:
            await self.close()

    def _end(self) -> None:
        """The connection ended: that is the end of an answer without a length, and of any other a break."""
        told = {name for name, _ in self._headers}
        if self._stream.error or self._visitor.ended.is_set() or told & {b"content-length", b"transfer-encoding"}:
            raise ConnectionError(self._stream.error or "the container broke off its answer")

    async def _read(self) -> bytes:
        """The next bytes from the container; none at the end, or when the visitor's rights end."""
        reading = asyncio.ensure_future(self._stream.read())
        ended = asyncio.ensure_future(self._visitor.ended.wait())
        try:
            await asyncio.wait({reading, ended}, return_when=asyncio.FIRST_COMPLETED)
            return b"" if ended.done() else (await reading)[1]
        finally:
            for task in (reading, ended):
                task.cancel()

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise StreamFailed("it wants to speak something else than HTTP") from None

    async def close(self) -> None:
        """Hang up. Waits for nothing: whoever was cancelled by the framework may not wait any more."""
        if self._asking is not None:
            self._asking.cancel()
        await self._stream.close()


def _passed_on(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[bytes, bytes]]:
    for name, value in headers:
        if name == b"location" and value.startswith(b"/") and not value.startswith(b"//"):
            yield name, PREFIX.encode() + value
        elif name not in HOP and name not in _LASTING and name != b"referrer-policy":
            yield name, value
    yield b"content-security-policy", SANDBOX.encode()
    yield b"referrer-policy", b"no-referrer"
    yield b"cache-control", b"private"
