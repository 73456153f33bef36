"""Health as a whole: observers say what they see, servers draw their conclusions, containers are made anew, or are not.

The hosts of the simulation probe as the scene tells them; whether a probe passes is the test's to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.sim.test_cluster import all_connected
from tests.sim.world import World

from remuda.adapters.crypto.keyring import FileKeyring
from remuda.core import wire
from remuda.core.health import observers
from remuda.core.model import Event, HealthObservation, Instance
from remuda.core.spec import HealthCheck, LaunchConfig
from remuda.ports.store import eq

pytestmark = pytest.mark.looptime(start=1000)
KEYRING = FileKeyring(bytes(range(32)))
CHECK = HealthCheck(port=80, initializing_timeout=None, reinitializing_timeout=None)

Passes = Callable[[str, Instance], bool | None]


class Watch:
    """Probes on all hosts of a world. ``passes(host, container)``: does it pass, seen from there? None = no probe came back."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.passes: Passes = lambda host, container: True
        self.dead: set[str] = set()
        """Hosts whose agent is dead while the machine and its containers live."""
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            rows = {i.uuid: i for i in await self.world.instances()}
            for name, agent in self.world.agents.items():
                if agent.pipe is not None and agent.machine.on and name not in self.dead:
                    await self._say(name, rows)

    async def _say(self, name: str, rows: dict[str, Instance]) -> None:
        agent, results = self.world.agents[name], []
        around = agent.machine.surroundings
        for container in around.scene.containers.values():
            if container.uuid in rows and around.host_id in observers(around.scene, container):
                passing = self.passes(name, rows[container.uuid])
                if passing is not None:
                    results.append(
                        wire.HealthResult(
                            uuid=container.uuid, start=container.started or 0, passing=passing,
                            message="HTTP/1.0 200 OK" if passing else "connection refused", latency=3,
                        )
                    )  # fmt: skip
        pipe = agent.pipe
        if pipe is not None and not pipe.closed:
            await agent._say(pipe, wire.Health(results=results, complete=True))

    def stop(self) -> None:
        self._task.cancel()


async def started(world: World, scale: int, check: HealthCheck = CHECK, **more: object) -> int:
    await world.until(lambda: all_connected(world), what="hosts connected")
    config = LaunchConfig(image_uuid="docker:nginx", health_check=check)
    return await world.service("web", scale, launch_config=config, **more)


async def healthy(world: World, number: int, scale: int) -> bool:
    rows = await world.instances(number)
    return len(rows) == scale and all(i.health_state == "healthy" for i in rows)


async def words(world: World, number: int) -> list[str]:
    return sorted(i.health_state for i in await world.instances(number))


async def test_containers_start_initializing_and_the_service_is_healthy_when_they_are() -> None:
    async with World(71, hosts=4, keyring=KEYRING).running() as world:
        watch = Watch(world)
        watch.passes = lambda host, container: None
        number = await started(world, 3)
        await world.until(lambda: _words(world, number, ["initializing"] * 3), what="initializing")
        assert (await world.get_service(number)).health_state == "initializing"
        watch.passes = lambda host, container: host == "h4"
        await world.until(lambda: healthy(world, number, 3), what="one observer is enough")
        await world.until(lambda: world.settled(number))
        assert (await world.get_service(number)).health_state == "healthy"
        watch.stop()


async def _words(world: World, number: int, expected: list[str]) -> bool:
    return await words(world, number) == expected


async def test_what_all_observers_see_fail_is_made_anew_with_its_number_and_the_reason_is_told() -> None:
    async with World(72, hosts=4, keyring=KEYRING).running() as world:
        watch = Watch(world)
        number = await started(world, 3)
        await world.until(lambda: healthy(world, number, 3))
        victim = next(i for i in await world.instances(number) if i.ordinal == 2)
        watch.passes = lambda host, container: container.uuid != victim.uuid
        await world.until(lambda: _replaced(world, number, victim), 30, "made anew and healthy")
        assert sorted(i.ordinal for i in await world.instances(number)) == [1, 2, 3]
        told = [e.description for e in await world.store.read(lambda tx: tx.find(Event))]
        assert any("is unhealthy: All 3 observers see it fail: connection refused" in text for text in told)
        left = await world.store.read(lambda tx: tx.find(HealthObservation, eq("instance_id", victim.id)))
        assert not left
        watch.stop()


async def _replaced(world: World, number: int, victim: Instance) -> bool:
    rows = await world.instances(number)
    return victim.uuid not in {i.uuid for i in rows} and await healthy(world, number, 3)


async def test_a_partitioned_observer_condemns_nobody() -> None:
    async with World(73, hosts=4, keyring=KEYRING).running() as world:
        watch = Watch(world)
        number = await started(world, 6)
        await world.until(lambda: healthy(world, number, 6))
        before = {i.uuid for i in await world.instances(number)}
        watch.passes = lambda host, container: host != "h1"
        for _ in range(60):
            await asyncio.sleep(1)
            assert await healthy(world, number, 6)
        assert {i.uuid for i in await world.instances(number)} == before
        watch.stop()


async def test_the_death_of_agents_condemns_no_container() -> None:
    async with World(74, hosts=4, keyring=KEYRING).running() as world:
        watch = Watch(world)
        number = await started(world, 6, on_host_lost=-1)
        await world.until(lambda: healthy(world, number, 6))
        before = {i.uuid for i in await world.instances(number)}
        for dead in ("h1", "h2", "h3"):
            # the agent is gone, the containers of its host go on: the observers that are left see them pass
            await world.power_off(dead)
            for _ in range(20):
                await asyncio.sleep(1)
                assert await words(world, number) == ["healthy"] * 6
        await world.power_off("h4")  # nobody is left to see anything
        await asyncio.sleep(60)
        assert await words(world, number) == ["healthy"] * 6
        for name in world.agents:
            await world.power_on(name)
        await world.until(lambda: all_connected(world), 30)
        await asyncio.sleep(10)
        assert {i.uuid for i in await world.instances(number)} == before
        watch.stop()


async def test_a_host_that_is_lost_and_comes_back_is_given_time_until_its_containers_are_reached_again() -> None:
    async with World(79, hosts=4, keyring=KEYRING).running() as world:
        watch = Watch(world)
        number = await started(world, 4, on_host_lost=-1)
        await world.until(lambda: healthy(world, number, 4))
        await asyncio.sleep(15)
        before = {i.uuid for i in await world.instances(number)}
        away = (await world.hosts())["h2"].id
        await world.power_off("h2")
        await world.until(lambda: _lost(world, "h2"), 20)
        watch.passes = lambda host, container: container.host_id != away
        await asyncio.sleep(60)
        await world.power_on("h2")
        await world.until(lambda: all_connected(world), 20)
        await asyncio.sleep(5)
        watch.passes = lambda host, container: True
        await asyncio.sleep(20)
        assert await healthy(world, number, 4)
        assert {i.uuid for i in await world.instances(number)} == before
        watch.stop()


async def _lost(world: World, name: str) -> bool:
    return (await world.hosts())[name].connection == "lost"


async def test_what_an_observer_that_is_lost_saw_counts_no_more_and_others_take_over() -> None:
    async with World(75, hosts=5, keyring=KEYRING).running() as world:
        watch = Watch(world)
        number = await started(world, 1)
        await world.until(lambda: healthy(world, number, 1))
        container = (await world.instances(number))[0]
        hosts = {h.id: name for name, h in (await world.hosts()).items()}
        watched = {hosts[o.host_id] for o in await _seen(world, container)}
        assert len(watched) == 3
        alone = min(watched)
        watch.passes = lambda host, one: one.uuid != container.uuid or host == alone
        await asyncio.sleep(10)
        assert await healthy(world, number, 1)
        await world.power_off(alone)  # the only one that passed is gone: what is left sees it fail
        await world.until(lambda: _gone(world, container), 40)
        watch.stop()


async def _seen(world: World, container: Instance) -> list[HealthObservation]:
    return await world.store.read(lambda tx: tx.find(HealthObservation, eq("instance_id", container.id)))


async def _gone(world: World, container: Instance) -> bool:
    return container.uuid not in {i.uuid for i in await world.instances(container.service_id)}


async def test_when_everything_fails_at_once_nothing_is_made_anew_and_it_goes_on_when_that_passes() -> None:
    async with World(76, hosts=4, keyring=KEYRING).running() as world:
        watch = Watch(world)
        number = await started(world, 8)
        await world.until(lambda: healthy(world, number, 8))
        before = {i.uuid for i in await world.instances(number)}
        watch.passes = lambda host, container: False  # the network between the hosts is cut
        await world.until(lambda: _words(world, number, ["unhealthy"] * 8), what="all fail")
        await asyncio.sleep(60)
        assert {i.uuid for i in await world.instances(number)} == before
        assert "8 of 8 checked containers of the environment fail at once" in (await world.get_service(number)).because
        watch.passes = lambda host, container: True
        await world.until(lambda: healthy(world, number, 8))
        assert {i.uuid for i in await world.instances(number)} == before
        watch.stop()


async def test_one_that_never_becomes_healthy_is_made_anew_after_its_time_and_then_less_and_less_often() -> None:
    async with World(77, hosts=3, keyring=KEYRING).running() as world:
        watch = Watch(world)
        watch.passes = lambda host, container: False
        number = await started(world, 1, HealthCheck(port=80, initializing_timeout=5000))
        seen: list[str] = []
        for _ in range(300):
            await asyncio.sleep(1)
            seen += [i.uuid for i in await world.instances(number) if i.uuid not in seen]
        # 5 s each to prove itself, then 2, 15, 30, 60, 120 ... seconds of patience
        assert 4 <= len(seen) <= 7
        assert "unhealthy again" in (await world.get_service(number)).because
        watch.stop()


async def test_what_was_said_in_an_older_session_or_by_strangers_is_not_stored() -> None:
    async with World(78, hosts=3, keyring=KEYRING).running() as world:
        watch = Watch(world)
        number = await started(world, 1)
        await world.until(lambda: healthy(world, number, 1))
        watch.stop()
        container = (await world.instances(number))[0]
        hosts = await world.hosts()
        own = next(name for name, host in hosts.items() if host.id == container.host_id)
        agent = world.agents[own]
        assert agent.pipe is not None
        # its own host is no observer while there are others: what it says is not listened to
        lie = wire.HealthResult(uuid=container.uuid, start=container.started or 0, passing=False, message="lie")
        await agent._say(agent.pipe, wire.Health(results=[lie]))
        await asyncio.sleep(5)
        assert await healthy(world, number, 1)
        assert all(row.message != "lie" for row in await _seen(world, container))
