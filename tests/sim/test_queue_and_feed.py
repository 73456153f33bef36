"""The queue of keys, the change feed and the purge, each by itself."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import pairwise

import pytest

from remuda.adapters.memory import LoopClock, MemoryBus, MemoryLeases
from remuda.adapters.sql.store import SqlStore
from remuda.control.reconcile.feed import BACKLOG, Feed, Resync
from remuda.control.reconcile.purge import HOUR, KEEP_CHANGES, purge
from remuda.control.reconcile.queue import KeyedQueue
from remuda.core.model import Account, Event, Instance, Setting

pytestmark = pytest.mark.looptime(start=1000)


async def _serve(queue: KeyedQueue[str], work, seconds: float) -> None:  # type: ignore[no-untyped-def]
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await queue.run(work)


async def test_a_key_is_never_at_work_twice_and_added_ones_are_coalesced() -> None:
    queue: KeyedQueue[str] = KeyedQueue(LoopClock(1))
    running: set[str] = set()
    done: list[str] = []

    async def work(key: str) -> None:
        assert key not in running
        running.add(key)
        if not done:
            for _ in range(3):
                queue.add("a")  # while it is at work: once more afterwards, not three times
        await asyncio.sleep(0.1)
        running.discard(key)
        done.append(key)

    for key in "aabbab":
        queue.add(key)
    await _serve(queue, work, 2)
    assert done == ["a", "b", "a"]


async def test_a_key_that_takes_long_rests_while_others_are_at_work() -> None:
    queue: KeyedQueue[str] = KeyedQueue(LoopClock(1), workers=1)
    begun: list[tuple[str, float]] = []

    async def work(key: str) -> None:
        begun.append((key, asyncio.get_running_loop().time()))
        if key == "big":
            queue.add("big")  # something changes all the time
            await asyncio.sleep(0.05)

    queue.add("big")
    queue.add("small")
    await _serve(queue, work, 2)
    looks = [when for key, when in begun if key == "big"]
    assert 9 <= len(looks) <= 11, "a quarter of the time"
    assert dict(begun)["small"] == pytest.approx(looks[0] + 0.05), "it has the place of the one that rests"


async def test_a_key_that_asks_for_another_look_at_once_gets_it_when_the_clock_has_moved() -> None:
    queue: KeyedQueue[str] = KeyedQueue(LoopClock(1))
    looks = 0

    async def work(key: str) -> float:
        nonlocal looks
        looks += 1
        return 1e-16

    queue.add("a")
    await _serve(queue, work, 1.0)
    assert 10 < looks <= 101


async def test_different_keys_are_at_work_at_the_same_time_up_to_the_limit() -> None:
    queue: KeyedQueue[int] = KeyedQueue(LoopClock(1), workers=3)
    most = running = 0

    async def work(_: int) -> None:
        nonlocal most, running
        running += 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1

    for key in range(9):
        queue.add(key)
    start = asyncio.get_running_loop().time()
    await _serve(queue, work, 3.5)  # type: ignore[arg-type]
    assert most == 3
    assert len(queue) == 0
    assert asyncio.get_running_loop().time() - start <= 3.5


async def test_a_key_that_fails_comes_back_after_growing_pauses_and_harms_nobody() -> None:
    queue: KeyedQueue[str] = KeyedQueue(LoopClock(1))
    times: dict[str, list[float]] = {"bad": [], "good": []}

    async def work(key: str) -> float | None:
        times[key].append(asyncio.get_running_loop().time())
        if key == "bad":
            raise RuntimeError("no")
        return 1.0

    queue.add("bad")
    queue.add("good")
    await _serve(queue, work, 30)
    gaps = [b - a for a, b in pairwise(times["bad"])]
    assert len(times["good"]) >= 30
    assert 5 < len(times["bad"]) < 12
    assert all(later > earlier * 0.6 for earlier, later in pairwise(gaps))


async def test_an_earlier_date_wins() -> None:
    queue: KeyedQueue[str] = KeyedQueue(LoopClock(1))
    times: list[float] = []

    async def work(_: str) -> None:
        times.append(asyncio.get_running_loop().time() - start)

    start = asyncio.get_running_loop().time()
    queue.add("a", 10)
    queue.add("a", 2)
    queue.add("a", 5)
    await _serve(queue, work, 20)
    assert times == [pytest.approx(2)]


async def _feed() -> tuple[SqlStore, Feed, asyncio.Task[None]]:
    clock = LoopClock(1)
    store = SqlStore.sqlite(":memory:", clock=clock, inline=True)
    await store.migrate()
    feed = Feed(store, MemoryBus(), MemoryLeases())
    task = asyncio.create_task(feed.run())
    await feed.ready()
    return store, feed, task


async def test_every_listener_gets_every_change_in_order() -> None:
    store, feed, task = await _feed()
    with feed.listen() as one, feed.listen() as two:
        start = feed.seq
        for n in range(5):
            await store.write(lambda tx, n=n: tx.insert(Setting(name=f"s{n}", value="x")))
        for listener in (one, two):
            seen: list[int] = []
            while len(seen) < 5:
                seen += [c.seq for c in await listener.next()]
            assert seen == list(range(start + 1, start + 6))
    task.cancel()
    await store.close()


async def test_a_listener_that_falls_behind_is_told_to_read_anew() -> None:
    store, feed, task = await _feed()
    with feed.listen() as slow:
        for _ in range(BACKLOG // 1000 + 1):

            def unit(tx) -> None:  # type: ignore[no-untyped-def]
                for _ in range(1000):
                    tx.insert(Event(description="x"))

            await store.write(unit)
            await asyncio.sleep(0.1)
        with pytest.raises(Resync):
            await slow.next()
        await store.write(lambda tx: tx.insert(Setting(name="later")))
        assert [c.kind for c in await slow.next()] == ["setting"]
    with pytest.raises(Resync):
        await feed.since(1)
    assert [c.kind for c in await feed.since(feed.seq - 1)] == ["setting"]
    with pytest.raises(Resync):
        await feed.since(feed.seq + 1000)
    task.cancel()
    await store.close()


async def test_old_rows_and_old_changes_are_forgotten_and_young_ones_kept() -> None:
    store, _, task = await _feed()
    await store.write(lambda tx: tx.insert(Instance(uuid="old", name="old", removed=tx.now() - 30 * HOUR)))
    await store.write(lambda tx: tx.insert(Instance(uuid="new", name="new", removed=tx.now() - HOUR)))
    await store.write(lambda tx: tx.insert(Event(description="old", created=tx.now() - 31 * 24 * HOUR)))
    await store.write(lambda tx: tx.insert(Account(name="kept")))
    assert await store.read(lambda tx: purge(tx, dry=True)) == 2
    assert await store.write(purge) == 2
    assert [i.name for i in await store.read(lambda tx: tx.find(Instance))] == ["new"]
    assert await store.read(lambda tx: purge(tx, dry=True)) == 0
    assert KEEP_CHANGES > BACKLOG
    task.cancel()
    await store.close()
