"""Rows that a store keeps between readings: never another state than the database's, and the same value while nothing changed."""

from __future__ import annotations

import msgspec
import pytest
from tests.contracts.conftest import Opener
from tests.contracts.test_store import add
from tests.support.services import MariaDb

from remuda.adapters.memory import SystemClock
from remuda.adapters.sql import SqlStore
from remuda.adapters.sql import kept as keeping
from remuda.adapters.sql.kept import Kept
from remuda.core.model import Stack
from remuda.ports.store import Tx, Where, eq


async def stacks(store: SqlStore) -> list[Stack]:
    return await store.read(lambda tx: tx.find(Stack))


def renamed(store: SqlStore, number: int, name: str) -> object:
    def unit(tx: Tx) -> Stack:
        row = tx.get(Stack, number)
        assert row is not None
        return tx.update(row, name=name)

    return store.write(unit)


async def test_what_has_not_changed_is_the_same_value_and_what_has_is_read_again(store: SqlStore) -> None:
    await add(store, Stack(name="a"), Stack(name="b"))
    before = await stacks(store)
    await renamed(store, before[1].id, "c")  # type: ignore[misc]
    after = await stacks(store)
    assert after[0] is before[0]
    assert [row.name for row in after] == ["a", "c"]
    assert [row.version for row in after] == [1, 2]


async def test_a_change_by_another_server_is_seen_at_once(open_store: Opener) -> None:
    one, other = await open_store(), await open_store()
    [row] = await add(one, Stack(name="a"))
    for name in ("b", "c", "d"):
        await renamed(other, row.id, name)  # type: ignore[misc]
        assert [found.name for found in await stacks(one)] == [name]


async def test_what_a_reading_unit_wrote_is_not_believed_afterwards(store: SqlStore) -> None:
    [row] = await add(store, Stack(name="a"))

    def pretend(tx: Tx) -> list[str]:
        tx.update(row, name="never")
        return [found.name for found in tx.find(Stack)]

    assert await store.read(pretend) == ["never"]
    await renamed(store, row.id, "b")  # type: ignore[misc]
    assert [found.name for found in await stacks(store)] == ["b"]


async def test_what_an_undone_unit_saw_is_not_believed_afterwards(store: SqlStore) -> None:
    [row] = await add(store, Stack(name="a"))

    def fail(tx: Tx) -> None:
        tx.update(row, name="never")
        assert tx.find(Stack)[0].name == "never"
        raise ValueError

    with pytest.raises(ValueError):
        await store.write(fail)
    await renamed(store, row.id, "b")  # type: ignore[misc]
    assert [found.name for found in await stacks(store)] == ["b"]


async def test_a_row_that_got_the_id_of_a_deleted_one_is_another_row(store: SqlStore) -> None:
    [row] = await add(store, Stack(id=50, name="a", uuid="one"))
    assert [found.name for found in await stacks(store)] == ["a"]
    await store.write(lambda tx: tx.delete(row))
    assert await stacks(store) == []
    await add(store, Stack(id=50, name="b", uuid="two"))
    assert [found.name for found in await stacks(store)] == ["b"]


async def test_order_conditions_and_pages_are_the_databases(store: SqlStore) -> None:
    await add(store, *[Stack(name=f"s{number:02}", group=str(number % 3)) for number in range(30)])
    await stacks(store)
    for number in (1, 2, 3, 17, 30):
        wanted = [f"s{n:02}" for n in range(number)]
        found = await store.read(lambda tx, w=wanted: tx.find(Stack, Where("name", "in", w), order=("-name",)))
        assert [row.name for row in found] == wanted[::-1]
        rest = await store.read(lambda tx, w=wanted: tx.find(Stack, Where("name", "notin", w)))
        assert [row.name for row in rest] == [f"s{n:02}" for n in range(number, 30)]
    page = await store.read(lambda tx: tx.find(Stack, eq("group", "1"), order=("name",), limit=9, offset=4))
    assert [row.name for row in page] == [f"s{n:02}" for n in range(13, 30, 3)]
    assert await store.read(lambda tx: tx.find(Stack, Where("name", "in", []))) == []


async def test_a_unit_knows_which_tables_it_read(store: SqlStore) -> None:
    def unit(tx: Tx) -> frozenset[str]:
        tx.find(Stack)
        return tx.asked()

    assert await store.read(unit) == {"stack"}


def test_no_more_is_kept_than_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "MOST_WEIGHT", 10 * 2000)
    kept = Kept()
    rows = [Stack(id=number, version=1, uuid=str(number)) for number in range(1, 100)]
    for row in rows:
        kept.put(Stack, row, ["x" * 500])
    assert len(kept) <= 20
    assert kept.get(Stack, (99, 1, "99", 0)) is rows[-1]
    assert kept.get(Stack, (1, 1, "1", 0)) is None
    changed = msgspec.structs.replace(rows[-1], version=2)
    kept.put(Stack, changed, [])
    assert kept.get(Stack, (99, 1, "99", 0)) is None, "only the last state that was read"


@pytest.mark.real
async def test_a_new_connection_to_the_database_begins_with_nothing(database: MariaDb) -> None:
    """After a failover the new server may lack the last changes, and give their versions to others."""
    store = await SqlStore.mysql(**database.database(), clock=SystemClock())
    try:
        await store.migrate()
        await add(store, Stack(name="a"))
        first = await stacks(store)
        assert (await stacks(store))[0] is first[0]
        await store._database._reads.dispose()  # type: ignore[attr-defined]
        assert (await stacks(store))[0] is not first[0]
        assert await stacks(store) == first
    finally:
        await store.close()
