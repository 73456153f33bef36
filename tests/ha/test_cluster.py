"""The cluster's rows: whoever comes first wins, and nobody takes from the living."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from remuda.adapters.memory.clock import SystemClock
from remuda.adapters.sql.store import SqlStore
from remuda.core.membership import Claim, Ensemble, Voter
from remuda.ha import cluster
from remuda.ha.cluster import Member
from remuda.ports.store import Conflict, Duplicate


def member(uuid: str, address: str = "") -> Member:
    return Member(uuid=uuid, slot=None, address=address or f"10.0.0.{uuid[1:]}", beat=0, hostname=f"host-{uuid}")


@pytest.fixture
async def store() -> AsyncIterator[SqlStore]:
    made = SqlStore.sqlite(":memory:", clock=SystemClock(), inline=True)
    await made.migrate()
    yield made
    await made.close()


async def claim(store: SqlStore, uuid: str, slot: int, evict: str | None = None, beat: int | None = None) -> bool:
    try:
        return bool(await store.write(cluster.claim(uuid, Claim(slot, evict, ""), beat)))
    except (Conflict, Duplicate):
        return False


async def test_a_node_enters_itself_and_beats(store: SqlStore) -> None:
    await store.write(cluster.beat(member("n1")))
    view = await store.write(cluster.beat(member("n1", "10.0.0.77")))
    assert [(m.uuid, m.address, m.beat) for m in view.members] == [("n1", "10.0.0.77", 2)]
    assert view.beat_before == 1


async def test_two_nodes_cannot_hold_one_place(store: SqlStore) -> None:
    for uuid in ("n1", "n2"):
        await store.write(cluster.beat(member(uuid)))
    assert await claim(store, "n1", 1)
    assert not await claim(store, "n2", 1)
    assert not await claim(store, "n1", 2), "a holder does not collect places"


async def test_a_lost_node_is_replaced_only_if_it_has_not_moved_since(store: SqlStore) -> None:
    for uuid in ("n1", "n2"):
        await store.write(cluster.beat(member(uuid)))
    assert await claim(store, "n1", 1)
    await store.write(cluster.beat(member("n1")))
    assert not await claim(store, "n2", 1, "n1", beat=1), "it beat meanwhile"
    assert await claim(store, "n2", 1, "n1", beat=2)
    view = await store.read(cluster.read)
    assert {m.uuid: m.slot for m in view.members} == {"n1": None, "n2": 1}


async def test_there_is_one_first_ensemble(store: SqlStore) -> None:
    first = Ensemble((Voter(1, "n1", "10.0.0.1"),), None, 2)
    await store.write(cluster.found(first))
    with pytest.raises(Duplicate):
        await store.write(cluster.found(Ensemble((Voter(1, "n9", "10.0.0.9"),), None, 2)))
    second = Ensemble(first.voters, Voter(2, "n2", "10.0.0.2"), 3)
    assert await store.write(cluster.rewrite(first, second))
    assert not await store.write(cluster.rewrite(first, Ensemble(first.voters, None, 9))), (
        "it was decided on an old view"
    )
    assert (await store.read(cluster.read)).ensemble == second


async def test_a_node_is_given_up_once(store: SqlStore) -> None:
    for uuid in ("n1", "n2"):
        await store.write(cluster.beat(member(uuid)))
    assert await claim(store, "n1", 1)
    assert await store.write(cluster.give_up("n1"))
    assert not await store.write(cluster.give_up("nobody"))
    assert (await store.read(cluster.read)).given_up == ["n1"]
    assert await claim(store, "n2", 1, "n1", beat=1)
    assert (await store.read(cluster.read)).given_up == []


async def test_a_node_without_a_place_is_forgotten_unless_it_lives(store: SqlStore) -> None:
    await store.write(cluster.beat(member("n1")))
    await store.write(cluster.forget("n1", 0))
    assert len((await store.read(cluster.read)).members) == 1
    await store.write(cluster.forget("n1", 1))
    assert (await store.read(cluster.read)).members == []
