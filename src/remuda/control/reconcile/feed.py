"""The change feed: every change of the store, in order, to any number of listeners in this process.

Woken by local commits and by hints from other servers. While there are other servers it also looks now and then by
itself, because hints may be lost; alone it never does, so an idle single node makes no SQL at all.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager

from remuda.core.model import Change
from remuda.ports.bus import CHANGES, Bus
from remuda.ports.leases import Leases
from remuda.ports.store import Store, StoreError, Tx

log = logging.getLogger(__name__)

BATCH = 1000
BACKLOG = 10_000
POLL_SECONDS, POLL_SECONDS_UNHEALTHY = 5.0, 1.0
RETRY_SECONDS = 1.0
LAG_LOOKS, LAG_SECONDS = 5, 0.05


class Resync(Exception):  # noqa: N818 - a signal
    """The listener is too far behind: changes were dropped. Read everything anew, then listen again."""


class Listener:
    """One reader of the feed. Iterating gives lists of changes; raises :class:`Resync` once if it fell behind."""

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self._changes: deque[Change] = deque()
        self._lost = False
        self._wake = asyncio.Event()

    def put(self, changes: Sequence[Change]) -> None:
        """Called by the feed."""
        fresh = [c for c in changes if c.seq > self.seq]
        if not fresh:
            return
        self.seq = fresh[-1].seq
        if len(self._changes) + len(fresh) > BACKLOG:
            self.fall_behind()
        elif not self._lost:
            self._changes.extend(fresh)
        self._wake.set()

    def fall_behind(self) -> None:
        """Called by the feed: forget what is queued and say so."""
        self._changes.clear()
        self._lost = True
        self._wake.set()

    async def next(self) -> list[Change]:
        """The changes since the last call; waits for at least one."""
        while not self._changes and not self._lost:
            self._wake.clear()
            await self._wake.wait()
        if self._lost:
            self._lost = False
            raise Resync
        changes = list(self._changes)
        self._changes.clear()
        return changes

    async def __aiter__(self) -> AsyncIterator[list[Change]]:
        while True:
            yield await self.next()


class Feed:
    """Reads the change log once for the whole process."""

    def __init__(self, store: Store, bus: Bus, leases: Leases) -> None:
        self._store = store
        self._bus = bus
        self._leases = leases
        self._listeners: set[Listener] = set()
        self._wake = asyncio.Event()
        self._announce = asyncio.Event()
        self._target = 0
        self._ready = asyncio.Event()
        self.seq = 0
        """The newest change that was delivered."""
        self.status = "Starting"
        store.on_commit(self._committed)
        leases.on_members(lambda _members: self._wake.set())

    async def ready(self) -> None:
        """Wait until the feed knows where the log ends."""
        await self._ready.wait()

    @contextmanager
    def listen(self) -> Iterator[Listener]:
        """Within the block, a listener for all changes from now on (from :attr:`seq` + 1)."""
        listener = Listener(self.seq)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    async def since(self, seq: int) -> list[Change]:
        """The changes after ``seq`` up to now. Raises :class:`Resync` when they are no longer (all) kept."""

        def unit(tx: Tx) -> list[Change] | None:
            last = tx.last_change()
            if seq > last or seq + 1 < tx.oldest_change() or last - seq > BACKLOG:
                return None
            return tx.changes(seq, BACKLOG)

        changes = await self._store.read(unit)
        if changes is None:
            raise Resync
        return changes

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hear())
            group.create_task(self._tell())
            group.create_task(self._read())

    def _committed(self, newest: int) -> None:
        self._target = max(self._target, newest)
        self._announce.set()
        self._wake.set()

    async def _tell(self) -> None:
        """Hint other servers at what was committed here; many commits make one hint."""
        while True:
            await self._announce.wait()
            self._announce.clear()
            try:
                await self._bus.publish(CHANGES, str(self._target).encode())
            except Exception:
                log.exception("a hint could not be sent")

    async def _hear(self) -> None:
        while True:
            try:
                async with self._bus.subscribe(CHANGES) as messages:
                    async for _, payload in messages:
                        newest = int(payload) if payload.isdigit() else self.seq + 1
                        if newest > max(self._target, self.seq):
                            self._target = newest
                            self._wake.set()
            except Exception:
                log.exception("listening for hints failed; it is tried again")
            await asyncio.sleep(RETRY_SECONDS)

    def _interval(self) -> float | None:
        if len(self._leases.members()) <= 1:
            return None
        return POLL_SECONDS if self._bus.healthy else POLL_SECONDS_UNHEALTHY

    async def _read(self) -> None:
        while True:
            try:
                self.seq = await self._store.read(lambda tx: tx.last_change())
                break
            except StoreError as error:
                self.status = f"Waits for the database: {error}"
            await asyncio.sleep(RETRY_SECONDS)
        self._ready.set()
        for listener in self._listeners:
            listener.fall_behind()
        polled = False
        while True:
            try:
                if polled or self._target > self.seq:
                    await self._catch_up()
                self.status = f"Change {self.seq} delivered to {len(self._listeners)} listeners"
                polled = await self._pause()
            except Exception as error:
                self.status = f"The change log cannot be read: {error}"
                log.warning("the change log cannot be read and is tried again: %s", error)
                polled = True
                await asyncio.sleep(RETRY_SECONDS)

    async def _pause(self) -> bool:
        """Wait for a reason to read; True when it was only the time."""
        if self._target > self.seq:
            return False
        self._wake.clear()
        try:
            async with asyncio.timeout(self._interval()):
                await self._wake.wait()
        except TimeoutError:
            return True
        return False

    async def _catch_up(self) -> None:
        patience = LAG_LOOKS
        while True:
            oldest, changes = await self._store.read(self._unit(self.seq))
            if self.seq + 1 < oldest:
                for listener in self._listeners:
                    listener.fall_behind()
                self.seq = oldest - 1
            if not changes and patience > 0 and self._target > self.seq:
                # A replica may be a moment behind the hint.
                patience -= 1
                await asyncio.sleep(LAG_SECONDS)
                continue
            if not changes:
                # A hint may also name a number that this database never gave (another history): do not chase it.
                self._target = self.seq
                return
            self.seq = changes[-1].seq
            for listener in list(self._listeners):
                listener.put(changes)
            if len(changes) < BATCH and self.seq >= self._target:
                return

    @staticmethod
    def _unit(after: int) -> Callable[[Tx], tuple[int, list[Change]]]:
        def unit(tx: Tx) -> tuple[int, list[Change]]:
            changes = tx.changes(after, BATCH)
            if changes and changes[0].seq == after + 1:
                return after + 1, changes
            return tx.oldest_change(), changes

        return unit
