"""Galera, written through two nodes at once: worse than we ask for, and still nothing is lost, doubled or out of order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.contracts.conftest import eventually
from tests.contracts.test_store import Lease
from tests.support.galera import Galera, available, galera

from remuda.adapters.memory import SystemClock
from remuda.adapters.sql import SqlStore
from remuda.core.model import Event, Host
from remuda.ports.store import Conflict, Fenced

pytestmark = [pytest.mark.real, pytest.mark.skipif(not available(), reason="needs root, rsync and the Galera provider")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Galera]:
    with galera(2) as servers:
        yield servers


@pytest.fixture
async def stores(cluster: Galera) -> AsyncIterator[list[SqlStore]]:
    cluster.sql(0, "DROP DATABASE remuda; CREATE DATABASE remuda")
    opened = [
        await SqlStore.mysql(**cluster.arguments(node), clock=SystemClock(), deadline=20, pool=12) for node in range(2)
    ]
    await opened[0].migrate()
    async with asyncio.timeout(30):
        while not cluster.sql(1, "SHOW TABLES FROM remuda LIKE 'change_counter'"):
            await asyncio.sleep(0.1)
    yield opened
    for store in opened:
        await store.close()


async def replicated(stores: list[SqlStore]) -> None:
    """Wait until the second node has applied what the first one has."""
    last = max([await store.read(lambda tx: tx.last_change()) for store in stores])
    for store in stores:
        seen = -1
        async with asyncio.timeout(20):
            while seen < last:
                seen = await store.read(lambda tx: tx.last_change())
                await asyncio.sleep(0.02)


async def test_writers_on_two_nodes_leave_a_change_log_without_gaps(stores: list[SqlStore]) -> None:
    [host] = await stores[0].write(lambda tx: [tx.insert(Host())])
    await replicated(stores)
    counted = 0

    async def writer(store: SqlStore, name: str) -> None:
        nonlocal counted
        for n in range(10):
            await store.write(lambda tx, n=n: tx.insert(Event(name=f"{name}-{n}")))
            try:
                current = await store.read(lambda tx: tx.get(Host, host.id))
                assert current is not None
                await store.write(lambda tx, current=current: tx.update(current, applied_seq=current.applied_seq + 1))
                counted += 1
            except Conflict:
                continue

    await asyncio.gather(*[writer(stores[n % 2], f"w{n}") for n in range(4)])
    await replicated(stores)
    for store in stores:
        changes = await store.read(lambda tx: tx.changes(0))
        assert [change.seq for change in changes] == list(range(1, 1 + 1 + 40 + counted))
        found = await store.read(lambda tx: tx.get(Host, host.id))
        assert found is not None
        assert found.applied_seq == counted


async def test_an_old_holder_on_another_node_cannot_write_after_the_new_one(stores: list[SqlStore]) -> None:
    await stores[0].write(lambda tx: tx.insert(Host(name="old")), grant=Lease("shard", 5))
    await replicated(stores)

    async def old() -> None:
        while True:
            try:
                await stores[0].write(lambda tx: tx.insert(Host(name="old")), grant=Lease("shard", 5))
            except Fenced:
                return

    working = asyncio.create_task(old())
    await asyncio.sleep(0.3)
    await stores[1].write(lambda tx: tx.insert(Host(name="new")), grant=Lease("shard", 6))
    await asyncio.wait_for(working, 30)
    await replicated(stores)
    hosts = {h.id: h.name for h in await stores[0].read(lambda tx: tx.find(Host))}
    names = [hosts[c.record_id] for c in await stores[0].read(lambda tx: tx.changes(0, 1_000_000))]
    assert names.count("new") == 1
    assert names[-1] == "new"


async def test_a_node_outside_of_the_majority_is_named_and_works_again(stores: list[SqlStore], cluster: Galera) -> None:
    await stores[0].write(lambda tx: tx.insert(Event()))
    await replicated(stores)
    cluster.nodes[1].kill()
    store = await SqlStore.mysql(**cluster.arguments(0), clock=SystemClock(), deadline=1)

    async def refused() -> str:
        try:
            await store.write(lambda tx: tx.insert(Event()))
        except Exception as error:
            return str(error)
        return ""

    sentence = ""
    async with asyncio.timeout(30):
        while "Galera" not in sentence:
            sentence = await refused()
            await asyncio.sleep(0.1)
    cluster.sql(0, "SET GLOBAL wsrep_provider_options = 'pc.bootstrap=1'")
    await eventually(lambda: "Primary" in cluster.sql(0, "SHOW STATUS LIKE 'wsrep_cluster_status'"))
    assert await refused() == ""
    await store.close()
