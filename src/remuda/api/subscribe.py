"""Tell subscribers what changed, as each of them may see it, in the 1.x frames plus a number to resume from.

The change log is read once per process; rows are rendered once per *view* (role, environment, URL), however many people
share it. A subscriber that cannot keep up is told to read anew rather than being fed a growing queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from remuda.api.context import Caller, Context
from remuda.api.guests import Guest, see_out
from remuda.api.handlers import documents
from remuda.control.reconcile.feed import Resync
from remuda.core.model import RECORDS, Change, Record
from remuda.ports.store import StoreError, Tx, Where
from remuda.schema.fields import ResourceType
from remuda.schema.registry import TYPES

if TYPE_CHECKING:
    from remuda.api.server import Api

log = structlog.get_logger()

PING_SECONDS = 5.0
GATHER_SECONDS = 0.02
"""So long changes are gathered, so that a row that changes ten times at once is rendered once."""
QUEUE = 2000
RESYNC = b'{"name":"resync"}'
LOGOUT = '{"name":"logout"}'

_CLASSES: dict[str, type[Record]] = {r.TABLE: r for r in RECORDS}
_TYPES: dict[str, list[ResourceType]] = defaultdict(list)
for _kind in TYPES.values():
    if _kind.record is not None and _kind.id not in ("auditLog", "haConfig", "setting"):
        _TYPES[_kind.record.TABLE].append(_kind)
_PERSONAL = "account"
_IDENTITY = {"account", "credential", "project_member"}


class Subscriber(Guest):
    """One socket's queue."""

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx.caller)
        self.ctx = ctx
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()

    def refresh(self, caller: Caller) -> None:
        super().refresh(caller)
        self.ctx = msgspec.structs.replace(self.ctx, caller=caller)

    def view(self, *, personal: bool) -> tuple[Any, ...]:
        """Subscribers with equal views get equal frames. Accounts and environments look different to each person."""
        caller = self.ctx.caller
        own = caller.account_id if personal or caller.project_id is None else 0
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
        self._guests: set[Guest] = set()
        self._doubt = asyncio.Event()

    def __len__(self) -> int:
        return len(self._subscribers)

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._remember())
            group.create_task(self._see_out())
            group.create_task(self._serve())

    @contextlib.contextmanager
    def watching(self, guest: Guest) -> Iterator[None]:
        """Within the block the guest is told when their rights end."""
        self._guests.add(guest)
        try:
            yield
        finally:
            self._guests.discard(guest)

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
                await asyncio.sleep(1)
            except Exception:
                log.exception("it is not known whose rights have ended; asked again")
                self._doubt.set()
                await asyncio.sleep(1)

    async def _serve(self) -> None:
        with self._api.plane.feed.listen() as listener:
            self._resync()
            while True:
                try:
                    changes = await listener.next()
                    if self._subscribers:
                        await asyncio.sleep(GATHER_SECONDS)
                        await self._deliver(changes, list(self._subscribers))
                except Resync:
                    self._resync()
                except StoreError as problem:
                    log.warning("subscribers could not be served", problem=str(problem))
                    self._resync()
                    await asyncio.sleep(1)
                except Exception:
                    log.exception("subscribers could not be served")
                    self._resync()
                    await asyncio.sleep(1)

    def _resync(self) -> None:
        for subscriber in self._subscribers:
            subscriber.put(RESYNC)

    async def _deliver(self, changes: Sequence[Change], subscribers: Sequence[Subscriber]) -> None:
        for personal in (True, False):
            newest = {
                (c.kind, c.record_id): c for c in changes if c.kind in _TYPES and (c.kind == _PERSONAL) == personal
            }
            if newest:
                await self._tell(newest, subscribers, personal=personal)

    async def _tell(
        self, newest: dict[tuple[str, int], Change], subscribers: Sequence[Subscriber], *, personal: bool
    ) -> None:
        views: dict[tuple[Any, ...], list[Subscriber]] = defaultdict(list)
        for subscriber in subscribers:
            views[subscriber.view(personal=personal)].append(subscriber)
        for group in views.values():
            ctx = group[0].ctx
            frames = await self._api.store.read(lambda tx, ctx=ctx: _frames(tx, ctx, newest))  # type: ignore[misc]
            for frame in frames:
                for subscriber in group:
                    subscriber.put(frame)

    async def serve(self, socket: WebSocket, ctx: Context) -> None:
        """One subscriber, until it hangs up."""
        if not ctx.can(TYPES["subscribe"], "r"):
            await socket.close(1008, "Log in first.")
            return
        await socket.accept()
        subscriber = Subscriber(ctx)
        self._subscribers.add(subscriber)
        jobs = (self._send(socket, subscriber), _drain(socket), self._part(socket, subscriber))
        tasks = [asyncio.create_task(job) for job in jobs]
        try:
            with self.watching(subscriber):
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._subscribers.discard(subscriber)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _part(self, socket: WebSocket, subscriber: Subscriber) -> None:
        """Wait until the subscriber's rights end; say so, and hang up. Who merely has others now may come again."""
        await subscriber.ended.wait()
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            if subscriber.gone:
                await socket.send_text(LOGOUT)
            await socket.close(
                1000 if subscriber.gone else 1012, "" if subscriber.gone else "Your rights have changed."
            )

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

    async def _replay(self, subscriber: Subscriber) -> None:
        asked = subscriber.ctx.param("resume")
        if not asked or not asked.isdecimal() or len(asked) > 18:
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
