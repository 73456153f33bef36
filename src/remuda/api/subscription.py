"""One subscriber: what they asked for, the frames that wait for them, and the two ways in which those go out.

Nobody is waited for: whoever reads too slowly is told to read anew, and whoever does not read at all is left.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from remuda.api import frames
from remuda.api.context import Caller, Context
from remuda.api.errors import ApiError
from remuda.api.frames import Look
from remuda.api.guests import Guest
from remuda.api.races import first
from remuda.core.events import Wanted, wanted

PING_SECONDS = 5.0
MOST_PINGS = 8640
"""After twelve hours a subscriber has to come again."""
QUEUE = 2000
MOST_TOGETHER = 100
SEND_SECONDS = 30.0
"""So long so many frames may take to leave; then nobody is there."""
MOST_LINKS = 20
RAW = ("superadmin", "service")
"""Accounts that belong to the installation itself: they hear of all accounts' events, and may say anything."""


class Wish(msgspec.Struct, frozen=True):
    """What a subscriber asked for, checked."""

    events: Wanted
    look: Look
    resume: int | None = None


def wish_of(ctx: Context, names: Any) -> Wish:
    """What this request asks for. ``names``: the events, where a body says so; else the query does."""
    told = [value for key, value in ctx.query if key == "eventNames"] if names is None else names
    if isinstance(told, str):
        told = [told]
    if not isinstance(told, list) or not all(isinstance(name, str) for name in told):
        raise ApiError(422, "InvalidFormat", "'eventNames' is a list of names.", field="eventNames")
    events = wanted(told)
    if isinstance(events, str):
        code = "InvalidCharacters" if told else "MissingRequired"
        raise ApiError(422, code, f"{events}.", field="eventNames")
    links = [ctx.dialect.our_link(v).lower() for k, value in ctx.query if k == "include" for v in value.split(",")]
    apart = (ctx.param("_actionLinks") or "").lower() in ("true", "1")
    asked = ctx.param("resume") or ""
    resume = int(asked) if asked.isascii() and asked.isdecimal() and len(asked) <= 18 else None
    return Wish(events, Look(tuple(dict.fromkeys(links))[:MOST_LINKS], apart), resume)


class Subscriber(Guest):
    """The queue of one. ``reached`` is the change that they may resume from."""

    def __init__(self, ctx: Context, wish: Wish, through: Callable[[], int]) -> None:
        super().__init__(ctx.caller)
        self.ctx, self.wish = ctx, wish
        self._through = through
        self.reached = through() if wish.resume is None else min(wish.resume, through())
        self._queue: asyncio.Queue[tuple[int | None, str]] = asyncio.Queue()
        self._late: list[tuple[int | None, str]] | None = [] if wish.resume is not None else None
        """What happens while they are still told what they missed."""

    def refresh(self, caller: Caller) -> None:
        super().refresh(caller)
        self.ctx = msgspec.structs.replace(self.ctx, caller=caller)

    @property
    def account(self) -> int:
        """Whose events they hear."""
        return self.caller.account_id if self.caller.project_id is None else self.caller.project_id

    @property
    def raw(self) -> bool:
        """Do they hear everybody's events?"""
        return self.caller.kind in RAW

    def view(self, *, personal: bool) -> tuple[Any, ...]:
        """Subscribers with equal views get equal frames. Accounts and environments look different to each person."""
        caller = self.caller
        own = caller.account_id if personal or caller.project_id is None else 0
        return (caller.role, caller.kind, caller.project_id, own, self.ctx.root, self.ctx.prefix, self.wish.look)

    def put(self, frame: str, seq: int | None = None) -> None:
        """Queue a frame, or give up on the queue."""
        if self._late is not None and frame is not frames.RESYNC:
            if len(self._late) < QUEUE:
                self._late.append((seq, frame))
                return
            frame = frames.RESYNC
        self._now(frame, seq)

    def replay(self, missed: list[tuple[int, str]]) -> None:
        """What they missed, then what happened meanwhile."""
        late, self._late = self._late or [], None
        for seq, frame in (*missed, *late):
            self._now(frame, seq)

    def _now(self, frame: str, seq: int | None) -> None:
        if frame is frames.RESYNC or self._queue.qsize() >= QUEUE:
            while not self._queue.empty():
                self._queue.get_nowait()
            frame, seq, self._late = frames.RESYNC, None, None
        self._queue.put_nowait((seq, frame))

    async def batches(self, now: Callable[[], int]) -> AsyncGenerator[list[str], None]:
        """All that they are sent: a ping at once and every five seconds, and what is queued. Ends after :data:`MOST_PINGS`."""
        loop, queue = asyncio.get_running_loop(), self._queue
        due, pings = loop.time(), 0
        while True:
            if loop.time() >= due:
                if pings >= MOST_PINGS:
                    return
                due, pings = loop.time() + PING_SECONDS, pings + 1
                if queue.empty() and self._late is None:
                    self.reached = max(self.reached, self._through())
                yield [frames.ping(self.reached, now())]
            try:
                async with asyncio.timeout_at(due):
                    batch = [await queue.get()]
            except TimeoutError:
                continue
            while len(batch) < MOST_TOGETHER and not queue.empty():
                batch.append(queue.get_nowait())
            yield [frame for _, frame in batch]
            self.reached = max(self.reached, *(seq or 0 for seq, _ in batch))


Open = Callable[[Subscriber], contextlib.AbstractAsyncContextManager[None]]


async def over_socket(socket: WebSocket, subscriber: Subscriber, now: Callable[[], int]) -> None:
    """Send until they hang up, stop reading, or lose their rights."""
    await first(_send(socket, subscriber, now), _drain(socket), _part(socket, subscriber, now))


async def _send(socket: WebSocket, subscriber: Subscriber, now: Callable[[], int]) -> None:
    async with contextlib.aclosing(subscriber.batches(now)) as told:
        async for batch in told:
            async with asyncio.timeout(SEND_SECONDS):
                for frame in batch:
                    await socket.send_text(frame)
    await socket.close(1001, "Subscribe again.")


async def _drain(socket: WebSocket) -> None:
    with contextlib.suppress(WebSocketDisconnect):
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass


async def _part(socket: WebSocket, subscriber: Subscriber, now: Callable[[], int]) -> None:
    """Wait until the subscriber's rights end; say so, and hang up. Who merely has others now may come again."""
    await subscriber.ended.wait()
    with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
        async with asyncio.timeout(SEND_SECONDS):
            if subscriber.gone:
                await socket.send_text(frames.logout(now()))
            await socket.close(
                1000 if subscriber.gone else 1012, "" if subscriber.gone else "Your rights have changed."
            )


class LongAnswer(Response):
    """The same for those who have no WebSocket: one frame a line, in an answer that does not end."""

    def __init__(self, subscriber: Subscriber, opened: Open, now: Callable[[], int]) -> None:
        super().__init__(media_type="text/plain")
        del self.headers["content-length"]
        self.headers["X-Accel-Buffering"] = "no"
        self._subscriber, self._opened, self._now = subscriber, opened, now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve until they hang up, stop reading, or lose their rights."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with self._opened(self._subscriber):
            await first(self._send(send), self._hang_up(receive), self._subscriber.ended.wait())
        last = f"{frames.logout(self._now())}\n".encode() if self._subscriber.gone else b""
        with contextlib.suppress(OSError, TimeoutError, ClientDisconnect):
            async with asyncio.timeout(SEND_SECONDS):
                await send({"type": "http.response.body", "body": last})

    async def _send(self, send: Send) -> None:
        async with contextlib.aclosing(self._subscriber.batches(self._now)) as told:
            async for batch in told:
                body = "".join(f"{frame}\n" for frame in batch).encode()
                async with asyncio.timeout(SEND_SECONDS):
                    await send({"type": "http.response.body", "body": body, "more_body": True})

    async def _hang_up(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
