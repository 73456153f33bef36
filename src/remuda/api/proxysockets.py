"""WebSockets to a port of a container, below the same address and with the same ticket as its pages (:mod:`remuda.api.proxy`).

The client's messages and the container's are passed on one by one: each side waits until the other has taken what was sent.
Nothing of ours goes to the container; a ping is answered where it arrives.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidURI, WebSocketException
from websockets.frames import Frame, Opcode
from websockets.http11 import Response as Answer
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from remuda.api.access import bearer_of
from remuda.api.errors import ApiError
from remuda.api.proxy import ANSWER_SECONDS, HOP, LARGEST_HEAD, OURS, PREFIX
from remuda.api.server import Api, request_id
from remuda.api.streams import Visitor, admitted
from remuda.control.streams import Stream, StreamFailed
from remuda.core import tickets

LARGEST_MESSAGE = 16 * 1024 * 1024
_CLOSE_SECONDS = 5.0


async def serve(api: Api, socket: WebSocket) -> None:
    """One WebSocket, joined to one that the container answers."""
    shown = _bearer(socket) or socket.query_params.get("token", "")
    claims = await admitted(api, tickets.PROXY, shown)
    if claims is None:
        return await _deny(
            api, socket, ApiError(401, "Unauthorized", "The token is missing, expired or for something else.")
        )
    kind, args = tickets.wish(tickets.PROXY, claims)
    try:
        stream = await api.plane.streams.open(kind, int(claims["host"]), args)
    except StreamFailed as problem:
        return await _deny(api, socket, ApiError(502, "BadGateway", str(problem)))
    visitor = Visitor(api, bearer_of(claims), tickets.PROXY)
    try:
        link = Link(socket, stream)
        async with asyncio.timeout(ANSWER_SECONDS):
            await link.greet()
        with api.broadcaster.watching(visitor):
            await link.pass_on(visitor)
    except (StreamFailed, WebSocketException, TimeoutError, InvalidURI) as problem:
        said = str(problem) or f"no answer within {ANSWER_SECONDS:.0f} seconds"
        await _deny(api, socket, ApiError(502, "BadGateway", f"The container opened no WebSocket: {said}."))
    finally:
        await stream.close()


def _bearer(socket: WebSocket) -> str:
    scheme, _, rest = socket.headers.get("authorization", "").partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else ""


async def _deny(api: Api, socket: WebSocket, refusal: ApiError) -> None:
    """Before it was accepted a refusal is an answer; afterwards it is the reason for closing."""
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        if socket.application_state == WebSocketState.CONNECTING:
            answer: Response = api.json(None, refusal.document(request_id()), refusal.status)
            await socket.send_denial_response(answer)
        elif socket.application_state == WebSocketState.CONNECTED:
            await socket.close(1011, refusal.message.encode()[:120].decode("utf-8", "ignore"))


class Link:
    """Between a client that speaks to us and a container that we speak to."""

    def __init__(self, socket: WebSocket, stream: Stream) -> None:
        self._socket, self._stream = socket, stream
        wanted = socket.headers.get("sec-websocket-protocol", "")
        self._ours = ClientProtocol(
            parse_uri(f"ws://{socket.headers.get('host', 'container')}{_path(socket)}"),
            subprotocols=[Subprotocol(one.strip()) for one in wanted.split(",") if one.strip()] or None,
            max_size=LARGEST_MESSAGE,
        )
        self._message = bytearray()
        self._text = False

    async def greet(self) -> None:
        """Ask the container, and accept the client when it agrees."""
        request = self._ours.connect()
        for name, value in self._socket.headers.raw:
            if name not in HOP and name not in OURS and not name.startswith(b"sec-websocket-"):
                request.headers[name.decode("latin-1")] = value.decode("latin-1")
        request.headers["X-Forwarded-Prefix"] = PREFIX
        self._ours.send_request(request)
        await self._flush()
        seen, answered = 0, False
        while not answered:
            _kind, data = await self._stream.read()
            seen += len(data)
            if not data or seen > LARGEST_HEAD:
                raise StreamFailed(self._stream.error or "it closed the connection")
            self._ours.receive_data(data)
            answered = any(isinstance(event, Answer) for event in self._ours.events_received())
        if self._ours.handshake_exc is not None:
            raise self._ours.handshake_exc
        await self._socket.accept(subprotocol=self._ours.subprotocol)

    async def pass_on(self, visitor: Visitor) -> None:
        """Both ways, until one side ends or the visitor's rights do."""
        tasks = [
            asyncio.create_task(one) for one in (self._from_client(), self._from_container(), visitor.ended.wait())
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(StreamFailed, TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._flush()
        if self._socket.application_state == WebSocketState.CONNECTED:
            said = self._ours.close_rcvd or self._ours.close_sent
            code = said.code if said is not None and said.code not in (1005, 1006) else 1001
            with contextlib.suppress(RuntimeError):
                await self._socket.close(code, said.reason if said is not None else "")

    async def _from_client(self) -> None:
        while True:
            message: dict[str, Any] = dict(await self._socket.receive())
            if message["type"] == "websocket.disconnect":
                code = int(message.get("code") or 1001)
                with contextlib.suppress(WebSocketException):
                    self._ours.send_close(code if code not in (1005, 1006) else 1001)
                return
            if message.get("text") is not None:
                self._ours.send_text(message["text"].encode())
            else:
                self._ours.send_binary(message["bytes"])
            await self._flush()

    async def _from_container(self) -> None:
        while True:
            for event in self._ours.events_received():
                if isinstance(event, Frame) and not await self._frame(event):
                    return
            await self._flush()  # pongs
            _kind, data = await self._stream.read()
            if not data:
                self._ours.receive_eof()
                return
            self._ours.receive_data(data)

    async def _frame(self, frame: Frame) -> bool:
        """Pass on what makes a whole message; False at the end."""
        if frame.opcode is Opcode.CLOSE:
            return False
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return True
        if frame.opcode is not Opcode.CONT:
            self._text = frame.opcode is Opcode.TEXT
        self._message += frame.data
        if len(self._message) > LARGEST_MESSAGE:
            self._ours.fail(1009, "message too big")
            return False
        if frame.fin:
            whole, self._message = bytes(self._message), bytearray()
            if self._text:
                await self._socket.send_text(whole.decode("utf-8", "replace"))
            else:
                await self._socket.send_bytes(whole)
        return True

    async def _flush(self) -> None:
        for data in self._ours.data_to_send():
            if data:
                await self._stream.write(data)


def _path(socket: WebSocket) -> str:
    """What the container is asked for: without our own part of the path, and without the ticket."""
    raw = bytes(socket.scope.get("raw_path") or socket.scope["path"].encode())
    path = b"/" + raw.partition(b"?")[0].partition(tickets.PROXY.encode())[2].lstrip(b"/")
    query: bytes = socket.scope["query_string"]
    if not _bearer(socket):
        query = b"&".join(part for part in query.split(b"&") if part and not part.startswith(b"token="))
    return (path + (b"?" + query if query else b"")).decode("latin-1")
