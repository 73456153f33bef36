"""ZooKeeper that dies: kill -9 of the leader, of everything, a frozen server, a lost session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.contracts.conftest import eventually
from tests.support.services import ZooKeeper, free_port, zookeeper

from remuda.adapters.zookeeper import ZookeeperLeases
from remuda.ports.leases import ServerInfo

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def ensemble() -> Iterator[ZooKeeper]:
    with zookeeper(3) as servers:
        yield servers


@pytest.fixture
async def ends(ensemble: ZooKeeper, request: pytest.FixtureRequest) -> AsyncIterator[list[ZookeeperLeases]]:
    for node, program in enumerate(ensemble.nodes):
        if not program.alive:
            await asyncio.to_thread(ensemble.restart, node)
    root = f"/{request.node.name}"
    opened = [ZookeeperLeases(ensemble.hosts, root=root) for _ in range(3)]
    for number, leases in enumerate(opened):
        assert await leases.wait_quorum(20), leases.reason
        await leases.join(ServerInfo(server_id=f"s{number}"))
    yield opened
    for leases in opened:
        await leases.close()


async def test_the_leader_is_killed_and_leases_and_members_live_on(
    ensemble: ZooKeeper, ends: list[ZookeeperLeases]
) -> None:
    grants = [await asyncio.wait_for(leases.acquire(f"l{n}"), 10) for n, leases in enumerate(ends)]
    contender = asyncio.create_task(ends[0].acquire("l1"))
    leader = ensemble.leader()
    ensemble.kill(leader)
    # An election disturbs every connection: doubt first, then trust again in the same session, and nobody else got it.
    await eventually(lambda: not all(leases.quorum for leases in ends), what="nobody noticed the dead leader")
    await eventually(lambda: all(leases.quorum for leases in ends), 30, "quorum did not come back")
    await eventually(lambda: all(len(leases.members()) == 3 for leases in ends))
    kept = [grant for grant in grants if grant.held]
    assert contender.done() != grants[1].held, "the lease l1 has two holders or none"
    for grant in kept:
        await grant.resign()
    if grants[1] in kept:
        assert (await asyncio.wait_for(contender, 10)).fence > grants[1].fence
    contender.cancel()


async def test_without_a_majority_there_is_no_quorum_and_it_comes_back_by_itself(
    ensemble: ZooKeeper, ends: list[ZookeeperLeases]
) -> None:
    heard: list[bool] = []
    ends[0].on_quorum(heard.append)
    grant = await asyncio.wait_for(ends[0].acquire("x"), 10)
    waiting = asyncio.create_task(ends[1].acquire("x"))
    leader = ensemble.leader()
    ensemble.kill(leader)
    ensemble.kill((leader + 1) % 3)
    await eventually(lambda: not any(leases.quorum for leases in ends))
    assert not grant.held
    await asyncio.wait_for(grant.lost.wait(), 10)
    assert "at least 2 of its 3 nodes" in ends[0].reason
    assert set(ends[0].members()) == {"s0", "s1", "s2"}, "the last known ones"
    assert not await ends[0].wait_quorum(1)
    await asyncio.to_thread(ensemble.restart, leader)
    await eventually(lambda: all(leases.quorum for leases in ends), 40)
    assert heard[0] is False
    assert heard[-1] is True
    await eventually(lambda: all(set(leases.members()) == {"s0", "s1", "s2"} for leases in ends), 30)
    # Whoever holds it now, it is one: the old holder whose session lasted, or the one that waited.
    await eventually(lambda: grant.held != waiting.done(), 20)
    waiting.cancel()


async def test_a_lost_session_costs_the_lease_and_membership_comes_back(
    ensemble: ZooKeeper, ends: list[ZookeeperLeases]
) -> None:
    one, two = ends[0], ends[1]
    grant = await asyncio.wait_for(one.acquire("x"), 10)
    waiting = asyncio.create_task(two.acquire("x"))
    await asyncio.sleep(0.2)
    # Another client takes the session over and ends it: the server sees its session expire.
    from kazoo.client import KazooClient

    thief = KazooClient(hosts=ensemble.hosts, client_id=one._bridge._client.client_id, timeout=4)
    await asyncio.to_thread(thief.start)
    await asyncio.to_thread(thief.stop)
    thief.close()
    successor = await asyncio.wait_for(waiting, 20)
    assert not grant.held
    assert successor.fence > grant.fence
    await eventually(lambda: one.quorum and set(one.members()) == {"s0", "s1", "s2"} == set(two.members()), 30)
    assert not grant.held, "a grant of a lost session must not come back"


async def test_a_node_that_was_taken_away_loses_the_lease(ensemble: ZooKeeper, ends: list[ZookeeperLeases]) -> None:
    grant = await asyncio.wait_for(ends[0].acquire("x"), 10)
    waiting = asyncio.create_task(ends[1].acquire("x"))
    await asyncio.sleep(0.2)
    await ends[2]._bridge.call("delete", grant.path)
    await asyncio.wait_for(grant.lost.wait(), 10)
    assert not grant.held
    assert (await asyncio.wait_for(waiting, 10)).held


async def test_a_frozen_server_process_is_noticed_within_the_session(
    ensemble: ZooKeeper, ends: list[ZookeeperLeases]
) -> None:
    for node in range(3):
        ensemble.nodes[node].pause()
    try:
        await eventually(lambda: not any(leases.quorum for leases in ends), 15, "silence was taken for health")
    finally:
        for node in range(3):
            ensemble.nodes[node].resume()
    await eventually(lambda: all(leases.quorum for leases in ends), 40)


async def test_a_server_that_finds_nobody_says_so_and_does_not_hang() -> None:
    leases = ZookeeperLeases(f"127.0.0.1:{free_port()},127.0.0.1:{free_port()},127.0.0.1:{free_port()}")
    assert not await leases.wait_quorum(0.5)
    assert not leases.quorum
    assert "does not answer" in leases.reason
    waiting = asyncio.create_task(leases.acquire("x"))
    await asyncio.sleep(0.1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.wait_for(leases.join(ServerInfo(server_id="a")), 5)
    await asyncio.wait_for(leases.close(), 30)


async def test_the_floor_is_kept_by_zookeeper_and_lifts_every_fence(ensemble: ZooKeeper) -> None:
    asked = 0

    async def floor() -> int:
        nonlocal asked
        asked += 1
        return 1_800_000_000_000_000

    for _ in range(2):
        leases = ZookeeperLeases(ensemble.hosts, root="/floors", floor=floor)
        grant = await asyncio.wait_for(leases.acquire("x"), 20)
        assert grant.fence > 1_800_000_000_000_000
        await leases.close()
    assert asked == 1
