"""A work queue of keys: each key at most once in the queue and at most once at work, however often it is added.

Carries no payload: who takes a key reads the world anew. A key that fails comes back after a growing, jittered pause; one that
took long rests before it is looked at again, so that a thousand changes of one big thing do not mean a thousand long looks.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from remuda.ports.clock import Clock

log = logging.getLogger(__name__)
K = TypeVar("K", bound=Hashable)

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
SOONEST = 0.01
"""A key that asks for another look gets it after so long at least: what is left of a wait may be less than a clock can tell."""
REST, LONGEST_REST = 3.0, 0.25
"""A key rests so many times as long as its work took, and at most so many seconds."""


class KeyedQueue(Generic[K]):
    """``work(key)`` returns None, or the seconds after which the key is to be looked at again."""

    def __init__(self, clock: Clock, *, workers: int = 8) -> None:
        self._clock = clock
        self._workers = workers
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._count = 0
        self._busy: set[K] = set()
        """At work, or at rest after it."""
        self._resting = 0
        self._again: dict[K, float] = {}
        self._failures: dict[K, int] = {}
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._due) + len(self._busy)

    @property
    def idle(self) -> bool:
        """Nothing is due now and nothing is at work."""
        return not self._busy and all(due > self._clock.monotonic() for due in self._due.values())

    def add(self, key: K, delay: float = 0.0) -> None:
        """Look at ``key`` in ``delay`` seconds, or earlier if it was due earlier."""
        due = self._clock.monotonic() + max(delay, 0.0)
        if key in self._busy:
            self._again[key] = min(due, self._again.get(key, due))
            return
        if key in self._due and self._due[key] <= due:
            return
        self._due[key] = due
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, key))
        self._wake.set()

    async def run(self, work: Callable[[K], Awaitable[float | None]]) -> None:
        """Serve until cancelled. An exception of ``work`` delays its key and harms nobody else."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                pause = self._start_due(group, work)
                try:
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
                except TimeoutError:
                    pass

    def _start_due(self, group: asyncio.TaskGroup, work: Callable[[K], Awaitable[float | None]]) -> float | None:
        """Start what is due, up to the number of workers; the seconds until the next is due (None: woken by others)."""
        now = self._clock.monotonic()
        while self._heap:
            due, _, key = self._heap[0]
            if self._due.get(key) != due:
                heapq.heappop(self._heap)
            elif due > now:
                return due - now
            elif len(self._busy) - self._resting >= self._workers:
                return None
            else:
                heapq.heappop(self._heap)
                del self._due[key]
                self._busy.add(key)
                group.create_task(self._serve(key, work))
        return None

    async def _serve(self, key: K, work: Callable[[K], Awaitable[float | None]]) -> None:
        again: float | None = None
        begun = self._clock.monotonic()
        try:
            try:
                again = await work(key)
                again = None if again is None else max(again, SOONEST)
                self._failures.pop(key, None)
            except Exception as error:
                again = self._pause(key)
                log.warning("%s failed and is tried again in %.1f s: %s: %s", key, again, type(error).__name__, error)
            await self._rest(min(REST * (self._clock.monotonic() - begun), LONGEST_REST))
        finally:
            self._busy.discard(key)
            earlier = self._again.pop(key, None)
            if earlier is not None:
                self.add(key, earlier - self._clock.monotonic())
            if again is not None:
                self.add(key, again)
            self._wake.set()

    async def _rest(self, seconds: float) -> None:
        self._resting += 1
        self._wake.set()  # its place is another's
        try:
            await asyncio.sleep(seconds)
        finally:
            self._resting -= 1

    def _pause(self, key: K) -> float:
        count = self._failures[key] = self._failures.get(key, 0) + 1
        return float(min(FIRST_PAUSE * 2 ** min(count - 1, 12), LONGEST_PAUSE) * (0.5 + self._clock.jitter()))
