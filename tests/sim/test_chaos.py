"""Random misfortune from a seed, then calm: whatever happened, the installation ends up as it was asked to be.

A failure names its seed; the same seed gives the same run.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from tests.sim.test_cluster import all_connected
from tests.sim.world import World

from remuda.core.model import REMOVED, Instance, Service
from remuda.core.placement.values import public_ports
from remuda.ports.store import ALIVE

pytestmark = [pytest.mark.looptime(start=1000), pytest.mark.timeout(170)]

SEEDS = range(104, 108)


async def check(world: World) -> None:
    """What must hold at every moment."""
    rows = [i for i in await world.store.read(lambda tx: tx.find(Instance, ALIVE)) if i.desired != REMOVED]
    ordinals = Counter((i.service_id, i.launch_config, i.ordinal) for i in rows if i.service_id is not None)
    assert max(ordinals.values(), default=0) <= 1, (
        f"seed {world.seed}: an ordinal is used twice: {ordinals.most_common(2)}"
    )
    ports = Counter((i.host_id, p.public) for i in rows if i.host_id is not None for p in public_ports((i.spec,)))
    assert max(ports.values(), default=0) <= 1, f"seed {world.seed}: a port is given twice: {ports.most_common(2)}"


async def misfortune(world: World, services: list[int]) -> None:  # noqa: C901 - a list of accidents
    dice = world.random
    names = list(world.agents)
    match dice.choice(
        ["off", "on", "on", "disconnect", "crash", "start", "start", "cut", "scale", "scale", "revise", "hint", "wait"]
    ):
        case "off" if sum(a.machine.on for a in world.agents.values()) > len(names) - 2:
            await world.power_off(dice.choice(names))
        case "on":
            for name in names:
                if not world.agents[name].machine.on:
                    await world.power_on(name)
                    break
        case "disconnect":
            await world.disconnect(dice.choice(names))
        case "crash" if sum(s is not None for s in world.servers.values()) > 1:
            await world.crash(dice.choice([n for n, s in world.servers.items() if s is not None]))
        case "start":
            for name, server in world.servers.items():
                if server is None:
                    world.start(name)
                    break
        case "cut":
            name = dice.choice(world.names)
            if world.servers[name] is not None:
                world.cluster.cut(name, expire_after=dice.choice([None, 0.5, 3.0]))
                await asyncio.sleep(dice.uniform(0.1, 4))
                if world.servers[name] is not None:
                    world.cluster.heal(name)
        case "scale":
            await world.change(Service, dice.choice(services), scale=dice.randint(0, 9))
        case "revise":
            number = dice.choice(services)
            await world.change(Service, number, revision=(await world.get_service(number)).revision + 1)
        case "hint":
            server = world.servers[dice.choice(world.names)]
            if server is not None:
                world.hub.cut(server.bus)
                await asyncio.sleep(dice.uniform(0.1, 3))
                world.hub.heal(server.bus)


async def calm(world: World) -> None:
    for name, server in list(world.servers.items()):
        if server is None:
            world.start(name)
        else:
            world.cluster.heal(name)
            world.hub.heal(server.bus)
    for agent in world.agents.values():
        if not agent.machine.on:
            agent.machine.power_on()


async def finished(world: World, services: list[int]) -> bool:
    if not await all_connected(world) or not await world.settled(*services):
        return False
    rows = await world.instances(going=True)
    return all(i.desired != REMOVED for i in rows)


@pytest.mark.parametrize("seed", SEEDS)
async def test_after_any_misfortune_everything_is_as_it_was_asked_to_be(seed: int) -> None:
    async with World(seed, hosts=6).running() as world:
        await world.until(lambda: all_connected(world))
        rock = await world.service("rock", 6, on_host_lost=-1)
        await world.until(lambda: world.settled(rock))
        rocks = {i.uuid for i in await world.instances(rock)}
        moving = [
            await world.service("web", 4, on_host_lost=0, config={"ports": ["80:80"]}),
            await world.service("api", 5, on_host_lost=world.random.choice([0, 5, 10])),
            await world.service("all", 1, config={"labels": {"io.rancher.scheduler.global": "true"}}),
        ]
        for _ in range(60):
            await misfortune(world, moving[:2])
            await asyncio.sleep(world.random.expovariate(0.5))
            await check(world)
        await calm(world)
        web = await world.get_service(moving[0])
        if web.scale > 6:
            await world.change(Service, moving[0], scale=6)
        await world.until(lambda: finished(world, [rock, *moving]), 200, "calm after the storm")
        await check(world)
        for number in moving[:2]:
            service = await world.get_service(number)
            rows = await world.instances(number)
            assert sorted(i.ordinal for i in rows) == sorted({i.ordinal for i in rows})
            assert len(rows) == service.scale
            assert {i.revision for i in rows} <= {service.revision}
        assert sorted(i.host_id for i in await world.instances(moving[2])) == [1, 2, 3, 4, 5, 6]
        # What really runs on the machines is what the database says, and nothing else.
        running = sorted(
            uuid for agent in world.agents.values() for uuid, box in agent.machine.boxes.items() if box.running
        )
        assert running == sorted(i.uuid for i in await world.instances())
        # The service that nothing gave cause to touch was never touched.
        assert {i.uuid for i in await world.instances(rock)} == rocks
        touches = Counter(uuid for agent in world.agents.values() for _, uuid in agent.machine.touched if uuid in rocks)
        assert set(touches.values()) == {1}


async def test_the_same_seed_gives_the_same_run() -> None:
    async def story() -> list[tuple[str, int | None, str]]:
        async with World(7, hosts=4).running() as world:
            await world.until(lambda: all_connected(world))
            number = await world.service("web", 5, on_host_lost=0)
            for _ in range(15):
                await misfortune(world, [number])
                await asyncio.sleep(world.random.expovariate(0.5))
            rows = await world.store.read(lambda tx: tx.find(Instance))
            return [(i.name, i.host_id, i.state) for i in rows]

    first = await story()
    assert first
    assert await story() == first


async def test_a_hundred_hosts() -> None:
    async with World(99, hosts=100).running() as world:
        await world.until(lambda: all_connected(world), 30)
        number = await world.service("web", 300)
        assert await world.until(lambda: world.settled(number), 10) < 3
        counts = Counter(i.host_id for i in await world.instances(number))
        assert set(counts.values()) == {3}
        await world.crash("s1")
        await world.until(lambda: all_connected(world), 30)
        assert await world.settled(number)
