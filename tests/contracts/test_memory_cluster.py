"""The simulation's coordination service: what happens to a server that is cut off."""

from __future__ import annotations

import asyncio

from remuda.adapters.memory import LoopClock, MemoryCluster
from remuda.ports.leases import ServerInfo


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_server_that_is_cut_off_doubts_its_leases_at_once_and_they_pass_on_when_its_session_expires() -> None:
    cluster = MemoryCluster(LoopClock())
    one, two = cluster.leases("one"), cluster.leases("two")
    quorum: list[bool] = []
    one.on_quorum(quorum.append)
    await one.join(ServerInfo(server_id="1"))
    await two.join(ServerInfo(server_id="2"))
    grant = await one.acquire("x")
    waiting = asyncio.create_task(two.acquire("x"))
    await settle()

    cluster.cut("one")
    await settle()
    assert (one.quorum, grant.held, grant.lost.is_set(), waiting.done()) == (False, False, True, False)
    assert "cannot reach" in one.reason
    assert set(two.members()) == {"1", "2"}

    cluster.expire("one")
    await settle()
    successor = waiting.result()
    assert successor.held
    assert successor.fence > grant.fence
    assert set(two.members()) == {"2"}
    assert set(one.members()) == {"1", "2"}, "the last known ones while cut off"

    cluster.heal("one")
    await settle()
    assert one.quorum
    assert not grant.held
    assert set(two.members()) == {"1", "2"} == set(one.members())
    assert quorum == [False, True]


async def test_a_server_that_comes_back_in_time_holds_its_lease_again() -> None:
    cluster = MemoryCluster()
    one = cluster.leases("one")
    grant = await one.acquire("x")
    cluster.cut("one")
    assert not grant.held
    cluster.heal("one")
    assert grant.held
    assert not grant.lost.is_set()


async def test_a_lease_resigned_while_cut_off_is_free_after_healing() -> None:
    cluster = MemoryCluster()
    one, two = cluster.leases("one"), cluster.leases("two")
    grant = await one.acquire("x")
    cluster.cut("one")
    await grant.resign()
    waiting = asyncio.create_task(two.acquire("x"))
    again = asyncio.create_task(one.acquire("x"))
    await settle()
    assert not waiting.done()
    assert not again.done()
    cluster.heal("one")
    await settle()
    await waiting.result().resign()
    await settle()
    assert again.result().held


async def test_a_crashed_server_is_forgotten_and_may_come_back_under_its_name() -> None:
    cluster = MemoryCluster()
    one, two = cluster.leases("one"), cluster.leases("two")
    grant = await one.acquire("x")
    waiting = asyncio.create_task(two.acquire("x"))
    await settle()
    cluster.remove("one")
    await settle()
    assert not grant.held
    assert waiting.result().held
    assert cluster.leases("one").quorum


async def test_a_session_expires_by_itself_after_the_given_time() -> None:
    cluster = MemoryCluster()
    one, two = cluster.leases("one"), cluster.leases("two")
    await one.acquire("x")
    waiting = asyncio.create_task(two.acquire("x"))
    await settle()
    cluster.cut("one", expire_after=0.01)
    assert (await asyncio.wait_for(waiting, 5)).held


async def test_fences_grow_across_restarts_even_if_the_clock_was_set_back() -> None:
    before = await MemoryCluster(LoopClock(epoch=2_000_000)).leases().acquire("x")
    after_restart = MemoryCluster(LoopClock(epoch=3_000_000))
    assert (await after_restart.leases().acquire("x")).fence > before.fence
    set_back = MemoryCluster(LoopClock(epoch=1_000_000))
    set_back.raise_floor(before.fence)
    assert (await set_back.leases().acquire("x")).fence > before.fence
