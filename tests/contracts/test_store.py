"""What every store must do, on SQLite (in the loop, and with threads) and on a real MariaDB."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from tests.contracts.conftest import Opener

from remuda.adapters.sql import SqlStore
from remuda.core.model import (
    RECORDS,
    Account,
    ClusterNode,
    Credential,
    Event,
    Host,
    Instance,
    Port,
    Record,
    Service,
    ServiceLink,
    Setting,
    Stack,
)
from remuda.core.spec import HealthCheck, LaunchConfig
from remuda.ports.store import ALIVE, Conflict, Duplicate, Fenced, StoreError, Tx, Where, eq


class Lease:
    """A grant as a test wants it."""

    def __init__(self, name: str, fence: int, held: bool = True) -> None:
        self.name, self.fence, self.held = name, fence, held


async def add(store: SqlStore, *records: Record) -> list[Any]:
    return await store.write(lambda tx: [tx.insert(record) for record in records])


async def test_a_record_comes_back_as_it_was_stored(store: SqlStore) -> None:
    config = LaunchConfig(
        image_uuid="docker:nginx", environment={"Ä": "ö 🐴"}, health_check=HealthCheck(port=80), memory=2**40
    )
    service = Service(
        account_id=5,
        name="web",
        description="x" * 100_000,
        launch_config=config,
        secondary_launch_configs=[config, LaunchConfig(name="side")],
        links=[ServiceLink(7, "db")],
        metadata={"a": [1, None, {"b": True}], "c": 1.5},
        on_host_lost=-1,
        blocked=True,
        because="no host 🐴",
    )
    instance = Instance(account_id=5, spec=config, bound=[Port(80, 8080)], engine={"x": {}}, exit_code=0, native=True)
    for record in await add(store, service, instance, Service()):
        found = await store.read(lambda tx, record=record: tx.get(type(record), record.id))
        assert found == record
        assert found.version == 1
        assert found.uuid
        assert found.created > 1_600_000_000_000


async def test_every_kind_of_record_can_be_stored_and_found(store: SqlStore) -> None:
    for kind in RECORDS:
        [record] = await add(store, kind())
        assert await store.read(lambda tx, kind=kind: tx.find(kind)) == [record]
        assert await store.read(lambda tx, kind=kind: tx.count(kind)) == 1


async def test_what_is_not_there_is_none(store: SqlStore) -> None:
    assert await store.read(lambda tx: tx.get(Host, 77)) is None
    assert await store.read(lambda tx: tx.first(Host, eq("name", "x"))) is None


async def test_a_given_id_is_kept_and_the_next_one_is_above_it(store: SqlStore) -> None:
    default, other = await add(store, Account(id=5, name="Default"), Account(name="other"))
    assert default.id == 5
    assert other.id > 5


async def test_conditions(store: SqlStore) -> None:
    await add(
        store,
        Instance(name="a1", service_id=1, ordinal=1),
        Instance(name="a_2", service_id=2, ordinal=2),
        Instance(name="b%3", ordinal=3, removed=99),
        Instance(name="B4", service_id=2, ordinal=4, native=True),
    )

    async def names(*where: Where, **options: Any) -> list[str]:
        return [i.name for i in await store.read(lambda tx: tx.find(Instance, *where, **options))]

    assert await names(eq("name", "b4")) == []
    assert await names(eq("service_id", 2), ALIVE) == ["a_2", "B4"]
    assert await names(eq("service_id", None)) == ["b%3"]
    assert await names(Where("service_id", "ne", None), Where("ordinal", "lt", 3)) == ["a1", "a_2"]
    assert await names(Where("service_id", "ne", 2)) == ["a1", "b%3"]
    assert await names(Where("service_id", "notin", [2])) == ["a1", "b%3"]
    assert await names(Where("service_id", "in", [1, 2]), Where("ordinal", "gte", 2)) == ["a_2", "B4"]
    assert await names(Where("service_id", "in", [])) == []
    assert await names(Where("ordinal", "gt", 3)) == ["B4"]
    assert await names(Where("ordinal", "lte", 1)) == ["a1"]
    assert await names(Where("name", "prefix", "a_")) == ["a_2"]
    assert await names(Where("name", "prefix", "b%")) == ["b%3"]
    assert await names(Where("name", "like", "%_2")) == ["a_2"]
    assert await names(Where("name", "like", "b%")) == ["b%3"]
    assert await names(Where("name", "notlike", "a%")) == ["b%3", "B4"]
    assert await names(Where("removed", "notnull")) == ["b%3"]
    assert await names(eq("native", True)) == ["B4"]
    assert await names(order=["-ordinal"], limit=2) == ["B4", "b%3"]
    assert await names(order=["-service_id", "name"], limit=2, offset=1) == ["a_2", "a1"]
    assert await names(offset=3) == ["B4"]
    assert await store.read(lambda tx: tx.count(Instance, eq("service_id", 2))) == 2


async def test_a_condition_on_a_field_that_is_not_there_is_refused(store: SqlStore) -> None:
    for where in (eq("nonsense", 1), Where("name", "about", 1)):
        with pytest.raises(StoreError):
            await store.read(lambda tx, where=where: tx.find(Host, where))


async def test_an_update_raises_the_version_and_derives_the_state(store: SqlStore) -> None:
    [host] = await add(store, Host(name="h"))
    assert host.state == "reconnecting"
    changed = await store.write(lambda tx: tx.update(host, connection="connected", docker="up", labels={"a": "b"}))
    assert (changed.version, changed.state, changed.transitioning) == (2, "active", "no")
    assert await store.read(lambda tx: tx.get(Host, host.id)) == changed


async def test_an_update_of_an_old_version_is_a_conflict_and_the_unit_writes_nothing(store: SqlStore) -> None:
    [host] = await add(store, Host(name="h"))
    await store.write(lambda tx: tx.update(host, name="first"))

    def late(tx: Tx) -> None:
        tx.insert(Setting(name="side effect"))
        tx.update(host, name="second")

    with pytest.raises(Conflict):
        await store.write(late)
    assert await store.read(lambda tx: tx.count(Setting)) == 0
    assert await store.read(lambda tx: tx.last_change()) == 2


async def test_an_update_without_effect_writes_nothing(store: SqlStore) -> None:
    [stack] = await add(store, Stack(name="s", environment={"a": "b"}))
    same = await store.write(lambda tx: tx.update(stack, name="s", environment={"a": "b"}))
    assert same == stack
    assert await store.read(lambda tx: tx.last_change()) == 1


async def test_a_duplicate_names_its_fields(store: SqlStore) -> None:
    one, two = await add(store, ClusterNode(slot=1), ClusterNode(slot=2))
    with pytest.raises(Duplicate) as refused:
        await add(store, ClusterNode(uuid=one.uuid))
    assert refused.value.fields == ("uuid",)
    with pytest.raises(Duplicate) as refused:
        await store.write(lambda tx: tx.update(two, slot=1))
    assert refused.value.fields == ("slot",)
    with pytest.raises(Duplicate) as refused:
        await add(store, Account(id=5), Account(id=5))
    assert refused.value.fields == ("id",)
    await add(store, ClusterNode(), ClusterNode())  # any number of spares


async def test_a_unit_may_go_on_after_a_duplicate(store: SqlStore) -> None:
    await add(store, Credential(public_value="x"))

    def unit(tx: Tx) -> Credential:
        try:
            return tx.insert(Credential(public_value="x"))
        except Duplicate:
            return tx.insert(Credential(public_value="y"))

    assert (await store.write(unit)).public_value == "y"
    assert [change.seq for change in await store.read(lambda tx: tx.changes(0))] == [1, 2]


async def test_names_are_unique_exactly(store: SqlStore) -> None:
    await add(store, Setting(name="a"), Setting(name="A"), Setting(name="ä"))


async def test_a_name_that_is_too_long_is_refused_everywhere(store: SqlStore) -> None:
    with pytest.raises(StoreError, match="255"):
        await add(store, Host(name="x" * 256))
    await add(store, Host(name="🐴" * 255))


async def test_the_change_log_tells_what_changed_in_order(store: SqlStore) -> None:
    heard: list[int] = []
    store.on_commit(heard.append)
    host, stack = await add(store, Host(account_id=5), Stack(account_id=6))
    await store.write(lambda tx: tx.update(tx.update(host, name="a"), name="b"))
    await store.write(lambda tx: tx.delete(stack))
    await store.write(lambda tx: tx.last_change())
    changes = await store.read(lambda tx: tx.changes(0))
    assert [(c.seq, c.kind, c.record_id, c.account_id, c.version) for c in changes] == [
        (1, "host", host.id, 5, 1),
        (2, "stack", stack.id, 6, 1),
        (3, "host", host.id, 5, 3),
    ]
    assert heard == [2, 3]
    assert await store.read(lambda tx: tx.get(Stack, stack.id)) is None
    assert [c.seq for c in await store.read(lambda tx: tx.changes(1, limit=1))] == [2]


async def test_trimming_the_change_log(store: SqlStore) -> None:
    assert await store.read(lambda tx: (tx.last_change(), tx.oldest_change())) == (0, 1)
    await add(store, *[Event(name=str(n)) for n in range(5)])
    assert await store.write(lambda tx: tx.trim_changes(4)) == 3
    assert await store.read(lambda tx: (tx.oldest_change(), tx.last_change())) == (4, 5)
    await store.write(lambda tx: tx.trim_changes(100))
    assert await store.read(lambda tx: (tx.oldest_change(), tx.last_change())) == (6, 5)
    await add(store, Event())
    assert [c.seq for c in await store.read(lambda tx: tx.changes(0))] == [6]


async def test_an_exception_in_a_unit_undoes_it(store: SqlStore) -> None:
    heard: list[int] = []
    store.on_commit(heard.append)

    def unit(tx: Tx) -> None:
        tx.insert(Host())
        raise KeyError("mine")

    with pytest.raises(KeyError):
        await store.write(unit)
    assert await store.read(lambda tx: tx.count(Host)) == 0
    assert heard == []


async def test_a_read_keeps_nothing_that_it_wrote(store: SqlStore) -> None:
    await store.read(lambda tx: tx.insert(Host()))
    assert await store.read(lambda tx: tx.count(Host)) == 0
    assert await store.read(lambda tx: tx.last_change()) == 0


async def test_a_unit_reads_what_it_wrote(store: SqlStore) -> None:
    def unit(tx: Tx) -> int:
        tx.insert(Host(name="mine"))
        return tx.count(Host, eq("name", "mine"))

    assert await store.write(unit) == 1


async def test_time_stands_still_within_a_unit(store: SqlStore) -> None:
    assert await store.write(lambda tx: {tx.now() for _ in range(10_000)}) is not None
    assert len(await store.write(lambda tx: {tx.now() for _ in range(10_000)})) == 1


async def test_a_listener_that_fails_disturbs_nobody(store: SqlStore) -> None:
    heard: list[int] = []

    def broken(_: int) -> None:
        raise ValueError("listener")

    store.on_commit(broken)
    store.on_commit(heard.append)
    await add(store, Host())
    assert heard == [1]


async def test_two_servers_see_the_same_database(open_store: Opener) -> None:
    one, two = await open_store(), await open_store()
    [host] = await add(one, Host(name="h"))
    assert await two.read(lambda tx: tx.get(Host, host.id)) == host


async def test_of_two_servers_that_change_a_record_one_gets_a_conflict(open_store: Opener) -> None:
    one, two = await open_store(), await open_store()
    [host] = await add(one, Host(name="h"))
    outcomes = await asyncio.gather(
        *[s.write(lambda tx, n=n: tx.update(host, name=f"n{n}")) for n, s in enumerate((one, two))],
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 1


async def test_the_numbers_of_many_writers_have_no_gaps_and_no_reader_misses_one(open_store: Opener) -> None:
    stores = [await open_store() for _ in range(3)]
    [host] = await add(stores[0], Host(name="contended"))
    seen: list[int] = []
    done = asyncio.Event()

    def unit(tx: Tx, n: int) -> None:
        tx.insert(Event(name=f"e{n}"))
        if n % 3 == 0:
            current = tx.get(Host, host.id)
            assert current is not None
            tx.update(current, applied_seq=current.applied_seq + 1)
        if n % 7 == 0:
            raise KeyError

    async def writer(store: SqlStore, start: int) -> None:
        for n in range(start, start + 25):
            with contextlib.suppress(KeyError, Conflict):
                await store.write(lambda tx, n=n: unit(tx, n))

    async def reader() -> None:
        after = 1
        while True:
            last_round = done.is_set()
            for change in await stores[1].read(lambda tx, after=after: tx.changes(after)):
                assert change.seq == after + 1, "a reader saw a gap"
                after = change.seq
                seen.append(after)
            if last_round:
                return
            await asyncio.sleep(0)

    watching = asyncio.create_task(reader())
    await asyncio.gather(*[writer(stores[n % 3], n * 100) for n in range(9)])
    done.set()
    await watching
    last = await stores[2].read(lambda tx: tx.last_change())
    assert seen == list(range(2, last + 1))
    assert await stores[0].read(lambda tx: tx.count(Event)) <= last


async def test_a_read_sees_one_moment(open_store: Opener) -> None:
    store = await open_store()
    a, b = await add(store, Host(name="0"), Host(name="0"))
    stop = asyncio.Event()

    async def writer() -> None:
        pair, n = (a, b), 0

        def unit(tx: Tx) -> tuple[Host, Host]:
            return tx.update(pair[0], name=str(n)), tx.update(pair[1], name=str(n))

        while not stop.is_set():
            n += 1
            pair = await store.write(unit)
            await asyncio.sleep(0)

    writing = asyncio.create_task(writer())
    for _ in range(60):
        first, second = await store.read(lambda tx: (tx.get(Host, a.id), tx.get(Host, b.id)))
        assert first.name == second.name
    stop.set()
    await writing


async def test_a_newer_fence_shuts_out_an_older_one(open_store: Opener) -> None:
    old, new = await open_store(), await open_store()
    await old.write(lambda tx: tx.insert(Host(name="a")), grant=Lease("shard-1", 10))
    await old.write(lambda tx: tx.insert(Host(name="b")), grant=Lease("shard-1", 10))
    await new.write(lambda tx: tx.insert(Host(name="c")), grant=Lease("shard-1", 11))
    with pytest.raises(Fenced):
        await old.write(lambda tx: tx.insert(Host(name="stale")), grant=Lease("shard-1", 10))
    await old.write(lambda tx: tx.insert(Host(name="d")), grant=Lease("shard-2", 10))
    assert [h.name for h in await old.read(lambda tx: tx.find(Host))] == ["a", "b", "c", "d"]
    assert await old.read(lambda tx: tx.last_change()) == 4


async def test_a_doubtful_grant_writes_nothing(store: SqlStore) -> None:
    with pytest.raises(Fenced):
        await store.write(lambda tx: tx.insert(Host()), grant=Lease("shard-1", 10, held=False))
    assert await store.read(lambda tx: tx.count(Host)) == 0


async def test_the_first_units_under_a_new_lease_may_come_at_the_same_time(open_store: Opener) -> None:
    stores = [await open_store() for _ in range(2)]
    await asyncio.gather(
        *[stores[n % 2].write(lambda tx: tx.insert(Host()), grant=Lease("fresh", 3)) for n in range(8)]
    )
    assert await stores[0].read(lambda tx: tx.count(Host)) == 8
    assert await stores[0].highest_fence() == 3


async def test_a_write_is_carried_to_its_end_when_its_caller_is_cancelled(store: SqlStore) -> None:
    heard: list[int] = []
    store.on_commit(heard.append)
    task = asyncio.create_task(store.write(lambda tx: tx.insert(Host(name="kept"))))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await store.write(lambda tx: tx.insert(Host(name="next")))
    names = [h.name for h in await store.read(lambda tx: tx.find(Host))]
    assert sorted(names) == ["kept", "next"]
    assert len(heard) == 2


async def test_migrating_again_changes_nothing(open_store: Opener) -> None:
    store = await open_store()
    await add(store, Host())
    await store.migrate()
    assert await store.read(lambda tx: (tx.count(Host), tx.last_change())) == (1, 1)


async def test_of_units_that_are_written_together_one_that_fails_leaves_the_others(store: SqlStore) -> None:
    def good(tx: Tx, number: int) -> int:
        tx.insert(Stack(name=f"good-{number}"))
        return number

    def bad(tx: Tx) -> None:
        tx.insert(Stack(name="bad"))
        raise ValueError

    def twice(tx: Tx) -> None:
        tx.insert(Stack(name="twice"))
        tx.insert(Setting(name="one"))

    await add(store, Setting(name="one"))
    units = [lambda tx, n=n: good(tx, n) for n in range(20)]
    mixed: list[Any] = [*units[:5], bad, *units[5:10], twice, *units[10:]]
    told = await asyncio.gather(*[store.write(unit) for unit in mixed], return_exceptions=True)
    assert [one for one in told if isinstance(one, int)] == list(range(20))
    assert isinstance(told[5], ValueError)
    assert isinstance(told[11], Duplicate)
    names = {row.name for row in await store.read(lambda tx: tx.find(Stack))}
    assert names == {f"good-{n}" for n in range(20)}
    seen = await store.read(lambda tx: tx.changes(0))
    assert [change.seq for change in seen] == list(range(1, len(seen) + 1))
