"""Pull tasks over crashing servers and lost hosts: every task ends, and says what became of each host."""

from __future__ import annotations

import pytest
from tests.sim.test_cluster import all_connected
from tests.sim.world import World

from remuda.core.model import Host, PullTask
from remuda.core.pulls import DONE, FAILED, targets
from remuda.ports.store import ALIVE, Tx

pytestmark = pytest.mark.looptime(start=1000)
IMAGE = "team/app:1"


async def ask(world: World) -> int:
    """A task for all hosts; its number."""

    def unit(tx: Tx) -> int:
        hosts = targets(tx.find(Host, ALIVE), {})
        return tx.insert(PullTask(account_id=world.environment, image=IMAGE, hosts=hosts)).id

    return await world.api.write(unit)


async def task(world: World, number: int) -> PullTask:
    found = await world.store.read(lambda tx: tx.get(PullTask, number))
    assert found is not None
    return found


async def ended(world: World, number: int, seconds: float = 60) -> PullTask:
    async def over() -> bool:
        return (await task(world, number)).transitioning != "yes"

    await world.until(over, seconds, "the task ends")
    return await task(world, number)


async def test_every_host_pulls_whichever_server_holds_its_session() -> None:
    async with World(71, hosts=5).running() as world:
        await world.until(lambda: all_connected(world))
        found = await ended(world, await ask(world))
        assert (found.transitioning, found.state) == ("no", "active")
        assert {pull.state for pull in found.hosts.values()} == {DONE}
        assert len(found.hosts) == 5
        assert all(IMAGE in agent.machine.images for agent in world.agents.values())


@pytest.mark.parametrize("seed", range(5))
async def test_a_server_that_crashes_meanwhile_costs_nothing_but_time(seed: int) -> None:
    async with World(seed, hosts=4).running() as world:
        await world.until(lambda: all_connected(world))
        for agent in world.agents.values():
            agent.machine.pulls = False
        number = await ask(world)
        victim = sorted(world.servers)[seed % 3]
        await world.crash(victim)
        for agent in world.agents.values():  # whoever was asked by the dead server is asked again by another one
            agent.machine.pulls = True
            await world.disconnect(agent.machine.name)
        found = await ended(world, number)
        assert {pull.state for pull in found.hosts.values()} == {DONE}


async def test_a_host_that_is_lost_is_named_instead_of_waited_for() -> None:
    async with World(73, hosts=3).running() as world:
        await world.until(lambda: all_connected(world))
        lost = (await world.hosts())["h2"].id
        world.agents["h2"].machine.pulls = False
        world.agents["h3"].machine.failing.add(IMAGE)
        number = await ask(world)
        await world.power_off("h2")
        found = await ended(world, number)
        assert found.transitioning == "error"
        assert (found.hosts[str(lost)].state, found.hosts[str(lost)].message) == (FAILED, "The host is lost")
        assert sorted(pull.state for pull in found.hosts.values()) == [DONE, FAILED, FAILED]
        assert found.transitioning_message.startswith("2 of 3 hosts failed")
