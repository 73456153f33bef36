"""MariaDB that misbehaves: commits whose answer is lost, deadlocks, half-open links, kill -9, read only, and no room."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.contracts.conftest import eventually
from tests.contracts.test_store import Lease
from tests.support.faultproxy import Blow, FaultProxy, Once
from tests.support.services import MariaDb, free_port, mariadb

from remuda.adapters.memory import SystemClock
from remuda.adapters.sql import SqlStore
from remuda.core.model import Event, Host, Setting
from remuda.ports.store import StoreError, Tx, Unavailable

pytestmark = pytest.mark.real
COMMIT = b"\x03COMMIT"
TABLES = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = '{name}'"


@pytest.fixture
async def proxy(database: MariaDb) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(database.port) as between:
        yield between


@pytest.fixture
async def arguments(database: MariaDb, proxy: FaultProxy) -> dict[str, Any]:
    """How to reach a new database through the proxy."""
    return {**database.database(), "port": proxy.port}


@pytest.fixture
async def store(arguments: dict[str, Any]) -> AsyncIterator[SqlStore]:
    opened = await SqlStore.mysql(**arguments, clock=SystemClock(), pool=12)
    await opened.migrate()
    yield opened
    await opened.close()


@pytest.mark.parametrize("blow", [Blow.LOSE, Blow.ANSWER_LOST, Blow.LATE])
async def test_a_unit_whose_commit_got_lost_takes_effect_exactly_once(
    store: SqlStore, proxy: FaultProxy, blow: Blow
) -> None:
    [host] = await store.write(lambda tx: [tx.insert(Host(name="counter"))])
    heard: list[int] = []
    store.on_commit(heard.append)
    proxy.strike = Once(COMMIT, blow)
    runs = 0

    def unit(tx: Tx) -> int:
        nonlocal runs
        runs += 1
        current = tx.get(Host, host.id)
        assert current is not None
        tx.insert(Event(name="once"))
        return tx.update(current, applied_seq=current.applied_seq + 1).applied_seq

    assert await store.write(unit) == 1
    assert proxy.strike.struck == 1
    assert runs == (2 if blow is Blow.LOSE else 1)
    found, events, last = await store.read(
        lambda tx: (tx.get(Host, host.id), tx.count(Event), [change.seq for change in tx.changes(0)])
    )
    assert found is not None
    assert (found.applied_seq, events, last, heard) == (1, 1, [1, 2, 3], [3])


async def test_a_commit_that_is_stuck_at_a_half_open_server_link_is_not_run_twice(
    store: SqlStore, proxy: FaultProxy
) -> None:
    await store.write(lambda tx: tx.insert(Event(name="first")))
    proxy.strike = Once(COMMIT, Blow.STUCK)
    start = time.monotonic()
    try:
        await store.write(lambda tx: tx.insert(Event(name="maybe")))
        stored = 1
    except Unavailable:
        stored = 0
    assert time.monotonic() - start < 25
    await store.write(lambda tx: tx.insert(Event(name="next")))  # the counter row is free again
    changes = await store.read(lambda tx: tx.changes(0))
    assert len(changes) == 2 + stored
    assert await store.read(lambda tx: tx.count(Event)) == 2 + stored


async def test_many_commits_lost_at_random_leave_no_gap_and_no_double(store: SqlStore, proxy: FaultProxy) -> None:
    blows = [None, None, None, Blow.LOSE, None, Blow.ANSWER_LOST, None]
    count = 0

    def strike(data: bytes) -> Blow | None:
        nonlocal count
        if COMMIT not in data or count > 120:
            return None
        count += 1
        return blows[count % len(blows)]

    proxy.strike = strike
    outcomes: dict[str, bool] = {}

    async def writer(name: str) -> None:
        for n in range(8):
            key = f"{name}-{n}"
            try:
                await store.write(lambda tx, key=key: tx.insert(Setting(name=key)))
                outcomes[key] = True
            except Unavailable:
                outcomes[key] = False

    await asyncio.gather(*[writer(f"w{n}") for n in range(5)])
    proxy.strike = None
    names = [s.name for s in await store.read(lambda tx: tx.find(Setting))]
    assert sorted(names) == sorted(key for key, stored in outcomes.items() if stored)
    assert sum(outcomes.values()) >= 35
    changes = await store.read(lambda tx: tx.changes(0))
    assert [change.seq for change in changes] == list(range(1, len(names) + 1))


async def test_a_deadlock_is_run_again(store: SqlStore) -> None:
    a, b = await store.write(lambda tx: [tx.insert(Host(name="a")), tx.insert(Host(name="b"))])
    meet = asyncio.Barrier(2)
    runs = 0

    def unit(tx: Tx, first: int, second: int) -> None:
        nonlocal runs
        runs += 1
        for host_id in (first, second):
            host = tx.get(Host, host_id)
            assert host is not None
            tx._cx.exec_driver_sql("UPDATE host SET hostname = hostname WHERE id = %s", (host_id,))  # type: ignore[attr-defined]
            tx._cx.exec_driver_sql("SELECT SLEEP(0.2)")  # type: ignore[attr-defined]
        tx.insert(Event())

    async def go(first: int, second: int) -> None:
        await meet.wait()
        await store.write(lambda tx: unit(tx, first, second))

    await asyncio.gather(go(a.id, b.id), go(b.id, a.id))
    assert runs == 3
    assert await store.read(lambda tx: tx.count(Event)) == 2


async def test_killed_connections_are_replaced_without_an_error(store: SqlStore, database: MariaDb) -> None:
    await asyncio.gather(*[store.write(lambda tx: tx.insert(Event())) for _ in range(10)])
    await asyncio.gather(*[store.read(lambda tx: tx.count(Event)) for _ in range(10)])
    ids = database.sql("SELECT id FROM information_schema.processlist WHERE user = 'remuda'").split()
    for number in ids:
        database.sql(f"KILL {number}")
    await store.write(lambda tx: tx.insert(Event()))
    assert await store.read(lambda tx: tx.count(Event)) == 11


async def test_a_half_open_link_is_given_up_by_the_deadline(store: SqlStore, proxy: FaultProxy) -> None:
    await store.write(lambda tx: tx.insert(Event()))
    proxy.freeze()
    start = time.monotonic()
    for call in (store.read(lambda tx: tx.count(Event)), store.write(lambda tx: tx.insert(Event()))):
        with pytest.raises(Unavailable, match="did not answer in time"):
            await call
    assert time.monotonic() - start < 20
    proxy.cut()
    proxy.heal()
    assert await store.read(lambda tx: tx.count(Event)) == 1


async def test_a_database_that_is_gone_is_said_within_the_deadline_and_found_again(arguments: dict[str, Any]) -> None:
    with mariadb() as server:
        own = server.database()
        store = await SqlStore.mysql(**own, clock=SystemClock(), deadline=1.0)
        await store.migrate()
        await store.write(lambda tx: tx.insert(Event()))
        server.kill()
        start = time.monotonic()
        with pytest.raises(Unavailable) as refused:
            await store.write(lambda tx: tx.insert(Event()))
        assert time.monotonic() - start < 8
        assert own["password"] not in str(refused.value)
        await asyncio.to_thread(server.restart)
        assert await store.read(lambda tx: tx.count(Event)) == 1
        server.sql("SET GLOBAL read_only = 1")
        with pytest.raises(Unavailable, match="read only"):
            await store.write(lambda tx: tx.insert(Event()))
        server.sql("SET GLOBAL read_only = 0")
        await store.write(lambda tx: tx.insert(Event()))
        await store.close()


async def test_a_short_outage_is_bridged(store: SqlStore, proxy: FaultProxy) -> None:
    await store.write(lambda tx: tx.insert(Event()))
    proxy.cut()
    asyncio.get_running_loop().call_later(1, proxy.heal)
    await store.write(lambda tx: tx.insert(Event()))
    assert await store.read(lambda tx: tx.count(Event)) == 2


async def test_refusals_are_sentences_without_the_password(
    arguments: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    cases = [
        ({"password": "wrong secret"}, "user name or the password"),
        ({"name": "nonsense"}, "may not use this database|does not exist"),
        ({"port": free_port()}, "cannot be reached"),
        ({}, "schema"),
    ]
    for change, sentence in cases:
        store = await SqlStore.mysql(**{**arguments, **change}, clock=SystemClock(), deadline=0.5)
        with pytest.raises(Unavailable, match=sentence) as refused:
            await store.read(lambda tx: tx.count(Event))
        for text in (str(refused.value), caplog.text):
            assert "secret" not in text
            assert arguments["password"] not in text
        await store.close()


async def test_a_fenced_writer_writes_nothing_even_in_the_middle_of_a_takeover(
    store: SqlStore, arguments: dict[str, Any]
) -> None:
    successor = await SqlStore.mysql(**arguments, clock=SystemClock())
    written: list[int] = []

    async def work(by: SqlStore, fence: int, count: int) -> None:
        for _ in range(count):
            try:
                await by.write(lambda tx: tx.insert(Event(resource_id=fence)), grant=Lease("shard", fence))
                written.append(fence)
            except StoreError:
                return

    old = asyncio.create_task(work(store, 7, 1000))
    await asyncio.sleep(0.3)
    await work(successor, 8, 5)
    await asyncio.wait_for(old, 10)
    fences = [event.resource_id for event in await store.read(lambda tx: tx.find(Event))]
    assert fences == sorted(fences), "the old holder wrote after the new one"
    assert fences.count(8) == 5
    assert len(fences) == len(written)
    await successor.close()


async def test_many_servers_migrate_at_once(database: MariaDb) -> None:
    own = database.database(charset="utf8")
    stores = [await SqlStore.mysql(**own, clock=SystemClock()) for _ in range(4)]
    await asyncio.gather(*[store.migrate() for store in stores])
    await asyncio.gather(*[store.write(lambda tx: tx.insert(Host(name="🐴"))) for store in stores])
    assert await stores[0].read(lambda tx: tx.last_change()) == 4
    for store in stores:
        await store.close()


MIGRATE = """
import asyncio, sys
from remuda.adapters.memory import SystemClock
from remuda.adapters.sql import SqlStore

async def main():
    store = await SqlStore.mysql(host="127.0.0.1", port=int(sys.argv[1]), name=sys.argv[2], user=sys.argv[3],
                                 password=sys.argv[4], clock=SystemClock())
    await store.migrate()

asyncio.run(main())
"""


async def test_a_migration_killed_in_the_middle_is_finished_by_the_next_server(
    database: MariaDb, proxy: FaultProxy
) -> None:
    """Killed with kill -9 while it holds the lock, after some of the tables."""
    own = database.database()
    proxy.delay = 0.004
    command = [sys.executable, "-c", MIGRATE, str(proxy.port), own["name"], own["user"], own["password"]]
    process = subprocess.Popen(command)
    try:
        count = 0

        def some() -> bool:
            nonlocal count
            count = int(database.sql(TABLES.format(**own)))
            return count >= 5

        await eventually(some, 30, "the migration made no tables")
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait(10)
    left = int(database.sql(TABLES.format(**own)))
    store = await SqlStore.mysql(**own, clock=SystemClock())
    await asyncio.wait_for(store.migrate(), 30)
    assert left < int(database.sql(TABLES.format(**own))), "it was not killed in the middle"
    await store.write(lambda tx: tx.insert(Host()))
    assert await store.read(lambda tx: tx.last_change()) == 1
    await store.close()
