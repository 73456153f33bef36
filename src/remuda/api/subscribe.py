"""Tell subscribers what changed, as each of them may see it, in the 1.x frames plus a number to resume from.

The change log is read once per process; rows are rendered once per *view* (role, environment, URL), however many people
share it. A subscriber that cannot keep up is told to read anew rather than being fed a growing queue.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import structlog
from starlette.responses import Response
from starlette.websockets import WebSocket

from remuda.api import frames
from remuda.api.context import Context
from remuda.api.errors import ApiError
from remuda.api.guests import Guest, see_out
from remuda.api.publish import Events
from remuda.api.subscription import LongAnswer, Subscriber, over_socket, wish_of
from remuda.control.reconcile.feed import Listener, Resync
from remuda.core.events import Pace
from remuda.core.model import Change
from remuda.ports.store import StoreError
from remuda.schema.fields import ANONYMOUS
from remuda.schema.registry import TYPES

if TYPE_CHECKING:
    from remuda.api.server import Api

log = structlog.get_logger()

ROUND_SECONDS = 0.02
"""From one round of frames to the next: what many transactions change at once is rendered together."""
MOST_AT_ONCE = 100
"""Rows rendered in one go; between two of them others get their turn."""
RETRY_SECONDS = 1.0
_IDENTITY = {"account", "credential", "project_member"}


class Broadcaster:
    """Feeds all subscribers of this server, and drops what the API remembers when rows behind it change."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._subscribers: set[Subscriber] = set()
        self._guests: set[Guest] = set()
        self._doubt = asyncio.Event()
        self._pace = Pace(0)
        self._through = 0
        """Up to this change everybody's queue has everything. (The pace is ahead of it while rows are rendered.)"""
        self.events = Events(api, self._subscribers)

    def __len__(self) -> int:
        return len(self._subscribers)

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._remember())
            group.create_task(self._see_out())
            group.create_task(self._serve())
            group.create_task(self.events.run())

    @contextlib.contextmanager
    def watching(self, guest: Guest) -> Iterator[None]:
        """Within the block the guest is told when their rights end."""
        self._guests.add(guest)
        try:
            yield
        finally:
            self._guests.discard(guest)

    # ---- what the API remembers -------------------------------------------------------------------------------------------

    async def _remember(self) -> None:
        """Forget what is remembered of rows that changed. Apart from serving, so that nothing slow delays it."""
        with self._api.plane.feed.listen() as listener:
            self._forget({*_IDENTITY, "setting"})
            while True:
                try:
                    self._forget({c.kind for c in await listener.next()})
                except Resync:
                    self._forget({*_IDENTITY, "setting"})

    def _forget(self, kinds: set[str]) -> None:
        if kinds & _IDENTITY or "setting" in kinds:
            self._api.auth.forget()
            self._doubt.set()
        if "setting" in kinds:
            self._api.settings.reload_soon(self._doubt.set)

    async def _see_out(self) -> None:
        while True:
            await self._doubt.wait()
            self._doubt.clear()
            try:
                await see_out(self._api.auth, list(self._guests))
            except StoreError as problem:
                log.warning("it is not known whose rights have ended; asked again", problem=str(problem))
                self._doubt.set()
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                log.exception("it is not known whose rights have ended; asked again")
                self._doubt.set()
                await asyncio.sleep(RETRY_SECONDS)

    # ---- what subscribers are told ----------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        with self._api.plane.feed.listen() as listener:
            self._resync(listener)
            while True:
                try:
                    changes = await self._next(listener)
                    await self._round(changes, loop.time())
                    await asyncio.sleep(ROUND_SECONDS)
                except Resync:
                    self._resync(listener)
                except StoreError as problem:
                    log.warning("subscribers could not be served", problem=str(problem))
                    self._resync(listener)
                    await asyncio.sleep(RETRY_SECONDS)
                except Exception:
                    log.exception("subscribers could not be served")
                    self._resync(listener)
                    await asyncio.sleep(RETRY_SECONDS)

    async def _next(self, listener: Listener) -> list[Change]:
        """What changed; nothing when a row that was held back is due."""
        try:
            async with asyncio.timeout(self._pace.wait(asyncio.get_running_loop().time())):
                return await listener.next()
        except TimeoutError:
            return []

    async def _round(self, changes: Sequence[Change], now: float) -> None:
        listening = [s for s in self._subscribers if s.wish.events.rows]
        if not listening:
            self._pace.skip(changes[-1].seq if changes else 0)
            self._through = self._pace.floor
            return
        self._pace.take(changes, now)
        due = [c for c in self._pace.due(now) if frames.told_of(c.kind)]
        floor = self._pace.floor
        for start in range(0, len(due), MOST_AT_ONCE):
            for subscriber, told in await self._rendered(due[start : start + MOST_AT_ONCE], listening, floor):
                for seq, frame in told:
                    subscriber.put(frame, min(seq, floor))
        self._through = floor

    def _resync(self, listener: Listener) -> None:
        self._pace.skip(listener.seq)
        self._through = self._pace.floor
        for subscriber in self._subscribers:
            subscriber.put(frames.RESYNC)

    async def _rendered(
        self, changes: Sequence[Change], subscribers: Sequence[Subscriber], floor: int | None
    ) -> list[tuple[Subscriber, list[tuple[int, str]]]]:
        """What each is to be told of these changes, in their order."""
        told: dict[Subscriber, list[tuple[int, str]]] = {subscriber: [] for subscriber in subscribers}
        for personal in (True, False):
            part = [c for c in changes if (c.kind == frames.PERSONAL) == personal]
            if not part:
                continue
            views: dict[tuple[Any, ...], list[Subscriber]] = defaultdict(list)
            for subscriber in subscribers:
                views[subscriber.view(personal=personal)].append(subscriber)
            for group in views.values():
                ctx, look, now = group[0].ctx, group[0].wish.look, self._api.plane.clock.now()
                found = await self._api.store.read(
                    lambda tx, ctx=ctx, look=look, part=part, now=now: frames.rows(tx, ctx, part, look, floor, now)  # type: ignore[misc]
                )
                for subscriber in group:
                    told[subscriber] += found
        return [(subscriber, sorted(found, key=lambda one: one[0])) for subscriber, found in told.items()]

    # ---- one subscriber ---------------------------------------------------------------------------------------------------

    async def serve(self, socket: WebSocket, ctx: Context) -> None:
        """One subscriber, until it hangs up."""
        if not ctx.can(TYPES["subscribe"], "r"):
            await socket.close(1008, "Log in first.")
            return
        subscriber = Subscriber(ctx, wish_of(ctx, None), lambda: self._through)
        await socket.accept()
        async with self._open(subscriber):
            await over_socket(socket, subscriber, self._api.plane.clock.now)

    def answer(self, ctx: Context, names: Any) -> Response:
        """The same as an answer to a POST."""
        if not ctx.can(TYPES["subscribe"], "c"):
            anonymous = ctx.caller.role == ANONYMOUS
            raise ApiError(401 if anonymous else 403, "", "Log in, as somebody who may subscribe.")
        subscriber = Subscriber(ctx, wish_of(ctx, names), lambda: self._through)
        return LongAnswer(subscriber, self._open, self._api.plane.clock.now)

    @contextlib.asynccontextmanager
    async def _open(self, subscriber: Subscriber) -> AsyncIterator[None]:
        self._subscribers.add(subscriber)
        missed = asyncio.create_task(self._replay(subscriber))
        try:
            with self.watching(subscriber):
                yield
        finally:
            self._subscribers.discard(subscriber)
            missed.cancel()
            await asyncio.gather(missed, return_exceptions=True)

    async def _replay(self, subscriber: Subscriber) -> None:
        """Tell them what happened after the change that they resume from, or that they have to read anew."""
        if subscriber.wish.resume is None:
            return
        try:
            changes = await self._api.plane.feed.since(subscriber.wish.resume)
            newest = {(c.kind, c.record_id): c for c in changes if frames.told_of(c.kind)}
            ordered = sorted(newest.values(), key=lambda change: change.seq)
            missed = []
            for start in range(0, len(ordered), MOST_AT_ONCE):
                for _, told in await self._rendered(ordered[start : start + MOST_AT_ONCE], [subscriber], None):
                    missed += told
        except (Resync, StoreError):
            subscriber.put(frames.RESYNC)
        else:
            subscriber.replay(missed if subscriber.wish.events.rows else [])
