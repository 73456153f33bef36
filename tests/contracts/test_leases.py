"""What every coordination service must do: in memory, one real ZooKeeper, and one with TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from tests.contracts.conftest import eventually
from tests.support.services import ZooKeeper, zookeeper

from remuda.adapters.memory import MemoryCluster
from remuda.adapters.zookeeper import Tls, ZookeeperLeases
from remuda.ports.leases import LeaseGrant, Leases, ServerInfo

Opener = Callable[[], Awaitable[Leases]]


@pytest.fixture(scope="session")
def plain_zookeeper() -> Iterator[ZooKeeper]:
    with zookeeper(1) as server:
        yield server


@pytest.fixture(scope="session")
def tls_zookeeper() -> Iterator[ZooKeeper]:
    with zookeeper(1, tls=True) as server:
        yield server


def tls_of(server: ZooKeeper) -> Tls | None:
    return Tls(str(server.tls.ca), str(server.tls.cert), str(server.tls.key)) if server.tls else None


@pytest.fixture(
    params=[
        "memory",
        pytest.param("plain_zookeeper", marks=pytest.mark.real),
        pytest.param("tls_zookeeper", marks=pytest.mark.real),
    ]
)
async def open_leases(request: pytest.FixtureRequest) -> AsyncIterator[Opener]:
    """Opens any number of ends of one service, as several servers would."""
    opened: list[Leases] = []
    cluster = MemoryCluster()
    server: Any = None if request.param == "memory" else request.getfixturevalue(request.param)
    root = f"/test-{request.node.nodeid.__hash__() & 0xFFFFFFFF:x}"

    async def opener() -> Leases:
        leases: Leases
        if server is None:
            leases = cluster.leases(f"s{len(opened)}")
        else:
            leases = ZookeeperLeases(server.hosts, tls=tls_of(server), root=root)
        opened.append(leases)
        assert await leases.wait_quorum(15), leases.reason
        return leases

    yield opener
    for leases in opened:
        await leases.close()


async def soon(awaitable: Awaitable[LeaseGrant]) -> LeaseGrant:
    return await asyncio.wait_for(awaitable, 15)


async def test_there_is_quorum(open_leases: Opener) -> None:
    leases = await open_leases()
    assert leases.quorum
    assert leases.reason == ""
    assert await leases.wait_quorum(0.01)


async def test_a_lease_has_one_holder_and_passes_on_when_it_resigns(open_leases: Opener) -> None:
    one, two = await open_leases(), await open_leases()
    first = await soon(one.acquire("shard/1"))
    assert (first.name, first.held, first.lost.is_set()) == ("shard/1", True, False)
    waiting = asyncio.create_task(two.acquire("shard/1"))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await first.resign()
    assert not first.held
    second = await soon(waiting)
    assert second.held
    assert second.fence > first.fence


async def test_leases_of_different_names_do_not_disturb_each_other(open_leases: Opener) -> None:
    one, two = await open_leases(), await open_leases()
    a, b = await soon(one.acquire("a")), await soon(two.acquire("b"))
    assert a.held
    assert b.held


async def test_the_same_process_may_take_a_lease_again_and_its_fence_grows(open_leases: Opener) -> None:
    leases = await open_leases()
    fences = []
    for _ in range(4):
        grant = await soon(leases.acquire("again"))
        fences.append(grant.fence)
        await grant.resign()
    assert fences == sorted(set(fences))


async def test_a_candidate_that_gives_up_does_not_block_the_others(open_leases: Opener) -> None:
    one, two, three = [await open_leases() for _ in range(3)]
    first = await soon(one.acquire("x"))
    quitter = asyncio.create_task(two.acquire("x"))
    waiting = asyncio.create_task(three.acquire("x"))
    await asyncio.sleep(0.2)
    quitter.cancel()
    await asyncio.gather(quitter, return_exceptions=True)
    await first.resign()
    assert (await soon(waiting)).held


async def test_a_candidate_that_gives_up_at_once_leaves_nothing_behind(open_leases: Opener) -> None:
    one, two = await open_leases(), await open_leases()
    for _ in range(5):
        quitter = asyncio.create_task(one.acquire("y"))
        await asyncio.sleep(0)
        quitter.cancel()
        [outcome] = await asyncio.gather(quitter, return_exceptions=True)
        if not isinstance(outcome, BaseException):  # it had won already
            await outcome.resign()
    assert (await soon(two.acquire("y"))).held


async def test_closing_passes_all_leases_on(open_leases: Opener) -> None:
    one, two = await open_leases(), await open_leases()
    grant = await soon(one.acquire("z"))
    waiting = asyncio.create_task(two.acquire("z"))
    await asyncio.sleep(0.1)
    await one.close()
    assert not grant.held
    assert grant.lost.is_set()
    assert (await soon(waiting)).fence > grant.fence


async def test_many_candidates_hold_in_turn_and_never_two_at_once(open_leases: Opener) -> None:
    ends = [await open_leases() for _ in range(3)]
    holders = 0
    fences: list[int] = []

    async def work(leases: Leases) -> None:
        nonlocal holders
        for _ in range(4):
            grant = await soon(leases.acquire("turn"))
            holders += 1
            assert holders == 1
            fences.append(grant.fence)
            await asyncio.sleep(0.002)
            holders -= 1
            await grant.resign()

    await asyncio.gather(*[work(leases) for leases in ends])
    assert fences == sorted(set(fences))
    assert len(fences) == 12


async def test_members_see_each_other_come_and_go(open_leases: Opener) -> None:
    one, two = await open_leases(), await open_leases()
    heard: list[set[str]] = []
    one.on_members(lambda members: heard.append(set(members)))
    a = ServerInfo(server_id="a", node="n1", address="10.0.0.1:8080", started=5)
    b = ServerInfo(server_id="b", version="1")
    await one.join(a)
    await two.join(b)
    await eventually(lambda: one.members() == {"a": a, "b": b} == two.members())
    await two.close()
    await eventually(lambda: one.members() == {"a": a})
    await eventually(lambda: heard[-2:] == [{"a", "b"}, {"a"}])


async def test_a_member_can_change_what_it_shows(open_leases: Opener) -> None:
    one, two = await open_leases(), await open_leases()
    await one.join(ServerInfo(server_id="a"))
    await eventually(lambda: "a" in two.members())
    await one.join(ServerInfo(server_id="a", bus="x"))
    await eventually(lambda: one.members()["a"].bus == "x")
