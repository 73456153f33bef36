"""Three servers and their agents in one event loop with virtual time: plain stories first, then chaos from seeds."""

from __future__ import annotations

import asyncio

import pytest
from tests.sim.world import World

from remuda.core.model import INACTIVE, REMOVED, Service

pytestmark = pytest.mark.looptime(start=1000)


async def all_connected(world: World) -> bool:
    hosts = await world.hosts()
    return len(hosts) == world.host_count and all(h.connection == "connected" for h in hosts.values())


async def test_a_service_is_placed_over_the_hosts_and_runs() -> None:
    async with World(1).running() as world:
        await world.until(lambda: all_connected(world), what="hosts")
        number = await world.service("web", 6)
        took = await world.until(lambda: world.settled(number), 10, "6 replicas")
        rows = await world.instances(number)
        assert sorted(i.name for i in rows) == [f"shop_web_{n}" for n in range(1, 7)]
        assert sorted(i.host_id for i in rows if i.host_id) == [1, 1, 2, 2, 3, 3]
        service = await world.get_service(number)
        assert service.because == "All 6 containers run"
        assert service.state == "active"
        assert took < 1


async def test_scaling_down_takes_the_newest_and_up_again_uses_the_same_numbers() -> None:
    async with World(2).running() as world:
        await world.until(lambda: all_connected(world))
        number = await world.service("web", 4)
        await world.until(lambda: world.settled(number))
        await world.change(Service, number, scale=2)
        await world.until(lambda: world.settled(number))
        assert sorted(i.name for i in await world.instances(number, going=True)) == ["shop_web_1", "shop_web_2"]
        await world.change(Service, number, scale=3)
        await world.until(lambda: world.settled(number))
        assert sorted(i.name for i in await world.instances(number)) == ["shop_web_1", "shop_web_2", "shop_web_3"]


async def test_an_inactive_service_keeps_its_stopped_containers() -> None:
    async with World(3).running() as world:
        await world.until(lambda: all_connected(world))
        number = await world.service("web", 3)
        await world.until(lambda: world.settled(number))
        before = {i.uuid for i in await world.instances(number)}
        await world.change(Service, number, desired=INACTIVE)
        await world.until(lambda: _observed(world, number, "exited"), what="stopped")
        assert (await world.get_service(number)).state == "inactive"
        await world.change(Service, number, desired="active")
        await world.until(lambda: _observed(world, number, "running"), what="running again")
        assert {i.uuid for i in await world.instances(number)} == before


async def test_a_removed_service_takes_its_containers_with_it() -> None:
    async with World(4).running() as world:
        await world.until(lambda: all_connected(world))
        number = await world.service("web", 3)
        await world.until(lambda: world.settled(number))
        await world.change(Service, number, desired=REMOVED)
        await world.until(lambda: _closed(world, number), what="the row closed")
        assert not await world.instances(number, going=True)
        assert not any(agent.machine.boxes for agent in world.agents.values())


async def _observed(world: World, number: int, wanted: str) -> bool:
    service = await world.get_service(number)
    rows = await world.instances(number)
    return all(i.observed == wanted for i in rows) and service.data.get("settled") is True


async def _closed(world: World, number: int) -> bool:
    return (await world.get_service(number)).removed is not None


async def test_a_new_revision_is_rolled_out_one_unit_at_a_time() -> None:
    async with World(5).running() as world:
        await world.until(lambda: all_connected(world))
        number = await world.service("web", 3)
        await world.until(lambda: world.settled(number))
        lowest = 3

        def count() -> int:
            return sum(box.running for a in world.agents.values() for box in a.machine.boxes.values())

        await world.change(Service, number, revision=2)
        for _ in range(400):
            await asyncio.sleep(0.01)
            lowest = min(lowest, count())
        await world.until(lambda: world.settled(number))
        rows = await world.instances(number)
        assert {i.revision for i in rows} == {2}
        assert sorted(i.ordinal for i in rows) == [1, 2, 3]
        assert lowest == 2
