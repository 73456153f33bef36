"""Tell subscribers what changed, as each of them may see it, in the 1.x frames plus a number to resume from.

The change log is read once per process; rows are rendered once per *view* (role, environment, URL), however many people
share it. A subscriber that cannot keep up is told to read anew rather than being fed a growing queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from remuda.api.context import Context
from remuda.api.handlers import documents
from remuda.control.reconcile.feed import Resync
from remuda.core.model import RECORDS, Change, Record
from remuda.ports.store import StoreError, Tx, Where
from remuda.schema.fields import ANONYMOUS, ResourceType
from remuda.schema.registry import TYPES

if TYPE_CHECKING:
    from remuda.api.server import Api

log = structlog.get_logger()

PING_SECONDS = 5.0
GATHER_SECONDS = 0.02
"""So long changes are gathered, so that a row that changes ten times at once is rendered once."""
QUEUE = 2000
RESYNC = b'{"name":"resync"}'
LOGOUT = b'{"name":"logout"}'

_CLASSES: dict[str, type[Record]] = {r.TABLE: r for r in RECORDS}
_TYPES: dict[str, list[ResourceType]] = defaultdict(list)
for _kind in TYPES.values():
    if _kind.record is not None and _kind.id not in ("auditLog", "haConfig", "setting"):
        _TYPES[_kind.record.TABLE].append(_kind)
_IDENTITY = {"account", "credential", "project_member"}


class Subscriber:
    """One socket's queue."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()

    @property
    def view(self) -> tuple[Any, ...]:
        """Subscribers with equal views get equal frames."""
        caller = self.ctx.caller
        own = caller.account_id if caller.project_id is None else 0
        return (caller.role, caller.project_id, own, self.ctx.root, self.ctx.prefix)

    def put(self, frame: bytes) -> None:
        """Queue a frame, or give up on the queue."""
        if self.queue.qsize() >= QUEUE:
            while not self.queue.empty():
                self.queue.get_nowait()
            frame = RESYNC
        self.queue.put_nowait(frame)


class Broadcaster:
    """Feeds all subscribers of this server, and drops what the API remembers when rows behind it change."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._subscribers: set[Subscriber] = set()

    async def run(self) -> None:
        """Serve until cancelled."""
        with self._api.plane.feed.listen() as listener:
            while True:
                try:
                    changes = await listener.next()
                    self._remembered(changes)
                    if self._subscribers:
                        await asyncio.sleep(GATHER_SECONDS)
                        await self._deliver(changes, list(self._subscribers))
                except Resync:
                    self._api.auth.forget()
                    await self._api.settings.load(self._api.store)
                    for subscriber in self._subscribers:
                        subscriber.put(RESYNC)
                except StoreError as problem:
                    log.warning("subscribers could not be served", problem=str(problem))
                    for subscriber in self._subscribers:
                        subscriber.put(RESYNC)
                    await asyncio.sleep(1)
                except Exception:
                    log.exception("subscribers could not be served")
                    await asyncio.sleep(1)

    def _remembered(self, changes: Sequence[Change]) -> None:
        kinds = {c.kind for c in changes}
        if kinds & _IDENTITY:
            self._api.auth.forget()
            touched = {c.record_id for c in changes if c.kind == "credential"}
            for subscriber in self._subscribers:
                if subscriber.ctx.caller.credential_id in touched:
                    subscriber.put(LOGOUT)
        if "setting" in kinds:
            self._api.settings.reload_soon()

    async def _deliver(self, changes: Sequence[Change], subscribers: Sequence[Subscriber]) -> None:
        newest = {(c.kind, c.record_id): c for c in changes if c.kind in _TYPES}
        if not newest:
            return
        views: dict[tuple[Any, ...], list[Subscriber]] = defaultdict(list)
        for subscriber in subscribers:
            views[subscriber.view].append(subscriber)
        for group in views.values():
            ctx = group[0].ctx
            frames = await self._api.store.read(lambda tx, ctx=ctx: _frames(tx, ctx, newest))  # type: ignore[misc]
            for frame in frames:
                for subscriber in group:
                    subscriber.put(frame)

    async def serve(self, socket: WebSocket, ctx: Context) -> None:
        """One subscriber, until it hangs up."""
        if ctx.caller.role == ANONYMOUS:
            await socket.close(1008, "Log in first.")
            return
        await socket.accept()
        subscriber = Subscriber(ctx)
        self._subscribers.add(subscriber)
        tasks = [asyncio.create_task(self._send(socket, subscriber)), asyncio.create_task(_drain(socket))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._subscribers.discard(subscriber)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, socket: WebSocket, subscriber: Subscriber) -> None:
        feed = self._api.plane.feed
        await socket.send_text(_ping(feed.seq))
        await self._replay(subscriber)
        while True:
            try:
                async with asyncio.timeout(PING_SECONDS):
                    frame = await subscriber.queue.get()
            except TimeoutError:
                await socket.send_text(_ping(feed.seq))
                continue
            await socket.send_text(frame.decode())
            if frame is LOGOUT:
                await socket.close(1000)
                return

    async def _replay(self, subscriber: Subscriber) -> None:
        asked = subscriber.ctx.param("resume")
        if not asked or not asked.isdigit():
            return
        try:
            changes = await self._api.plane.feed.since(int(asked))
        except (Resync, StoreError):
            subscriber.put(RESYNC)
            return
        await self._deliver(changes, [subscriber])


def _frames(tx: Tx, ctx: Context, newest: dict[tuple[str, int], Change]) -> list[bytes]:
    by_table: dict[str, list[Change]] = defaultdict(list)
    for change in newest.values():
        by_table[change.kind].append(change)
    frames = []
    for table, changes in by_table.items():
        seqs = {c.record_id: c.seq for c in changes}
        kinds = [k for k in _TYPES[table] if ctx.can(k, "r")]
        if not kinds:
            continue
        rows: list[Any] = list(tx.find(_CLASSES[table], Where("id", "in", list(seqs))))
        for kind in kinds:
            behaviour = ctx.api.behaviour(kind)
            seen = [
                r for r in rows if (not kind.kinds or r.kind in kind.kinds) and _concerns(tx, ctx, kind, behaviour, r)
            ]
            frames += [
                (seqs[r.id], _frame(kind, d, seqs[r.id]))
                for r, d in zip(seen, documents(tx, ctx, kind, seen), strict=True)
            ]
    return [frame for _, frame in sorted(frames)]


def _concerns(tx: Tx, ctx: Context, kind: ResourceType, behaviour: Any, row: Record) -> bool:
    if kind.id == "account" and row.kind == "project":
        return False
    if kind.scope == "project" and ctx.caller.project_id is not None and row.account_id != ctx.caller.project_id:
        return False
    return bool(behaviour.sees(tx, ctx, row))


def _frame(kind: ResourceType, document: dict[str, Any], seq: int) -> bytes:
    return msgspec.json.encode(
        {
            "id": str(uuid.uuid4()),
            "name": "resource.change",
            "resourceType": kind.id,
            "resourceId": document["id"],
            "data": {"resource": document},
            "seq": seq,
        }
    )


def _ping(seq: int) -> str:
    return msgspec.json.encode({"id": str(uuid.uuid4()), "name": "ping", "seq": seq}).decode()


async def _drain(socket: WebSocket) -> None:
    with contextlib.suppress(WebSocketDisconnect):
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass
