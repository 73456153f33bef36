"""What hosts know of their environment: complete, the same everywhere, cheap to keep, and still there when servers are not."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from tests.sim.test_cluster import all_connected
from tests.sim.world import World

from remuda.control.agents.scenes import read_scene
from remuda.core import wire
from remuda.core.model import Instance
from remuda.core.network.scene import Scene
from remuda.ports.store import ALIVE, eq

pytestmark = pytest.mark.looptime(start=1000)


async def truth(world: World) -> Scene:
    return await world.store.read(lambda tx: read_scene(tx, world.environment))


async def all_know_it(world: World) -> bool:
    wanted = msgspec.structs.replace(await truth(world), through=0)
    scenes = [agent.machine.surroundings.scene for agent in world.agents.values()]
    return all(msgspec.structs.replace(scene, through=0) == wanted for scene in scenes)


async def settled(world: World, scale: int = 6, name: str = "web", **more: object) -> int:
    await world.until(lambda: all_connected(world), what="hosts connected")
    number = await world.service(name, scale, **more)
    await world.until(lambda: world.settled(number), what="service settled")
    return number


async def test_every_host_learns_who_runs_where_at_which_address() -> None:
    async with World(31).running() as world:
        number = await settled(world, config={"network_mode": "managed"})
        await world.until(lambda: all_know_it(world), 5, "every host has the whole scene")
        scene = world.agents["h1"].machine.surroundings.scene
        containers = [c for c in scene.containers.values() if c.service_id == number]
        assert len({c.ip for c in containers} | {h.ip for h in scene.hosts.values()}) == 9
        assert all(c.ip.startswith("10.42.") and c.mac == "02:42:" + _hex(c.ip) for c in containers)
        assert {h.tunnel.rpartition(".")[0] for h in scene.hosts.values()} == {"169.254.64"}
        assert {c.state for c in containers} == {"running"}


def _hex(address: str) -> str:
    return ":".join(f"{int(part):02x}" for part in address.split("."))


async def test_a_change_is_told_as_a_small_update_to_all() -> None:
    async with World(32).running() as world:
        number = await settled(world)
        await world.until(lambda: all_know_it(world), 5)
        before = {name: len(agent.machine.scenes) for name, agent in world.agents.items()}
        instance = (await world.instances(number))[0]
        await world.agents["h1"].say()  # nothing new: nobody is told
        await asyncio.sleep(2)
        assert before == {name: len(agent.machine.scenes) for name, agent in world.agents.items()}
        await world.change(Instance, instance.id, health_state="unhealthy")
        await world.until(lambda: all_know_it(world), 2)
        for name, agent in world.agents.items():
            told = agent.machine.scenes[before[name] :]
            assert [list(update.scene.containers) for update in told] == [[instance.id]]
            assert not any(update.complete for update in told)


async def test_after_a_reconnect_only_what_changed_is_sent() -> None:
    async with World(33).running() as world:
        number = await settled(world)
        await world.until(lambda: all_know_it(world), 5)
        await world.power_off("h3")
        await world.change(Instance, (await world.instances(number))[0].id, health_state="unhealthy")
        before = len(world.agents["h3"].machine.scenes)
        await world.power_on("h3")
        await world.until(lambda: all_know_it(world), 30)
        told = world.agents["h3"].machine.scenes[before:]
        assert told
        assert not any(update.complete for update in told)


async def test_the_scene_survives_the_crash_of_any_server() -> None:
    async with World(34).running() as world:
        number = await settled(world)
        for name in list(world.names):
            await world.crash(name)
            await asyncio.sleep(8)
            world.start(name)
            await asyncio.sleep(3)
            await world.change(Instance, (await world.instances(number))[0].id, health_because=f"after {name}")
        other = await settled(world, 4, name="more")
        await world.until(lambda: all_know_it(world), 30)
        assert len([c for c in (await truth(world)).containers.values() if c.service_id == other]) == 4


async def test_a_host_with_a_wrong_picture_asks_for_all_of_it() -> None:
    async with World(35).running() as world:
        number = await settled(world)
        await world.until(lambda: all_know_it(world), 5)
        machine = world.agents["h2"].machine
        lost, *_ = machine.surroundings.scene.containers
        broken = {n: c for n, c in machine.surroundings.scene.containers.items() if n != lost}
        machine.surroundings = type(machine.surroundings)(
            msgspec.structs.replace(machine.surroundings.scene, containers=broken), machine.surroundings.host_id
        )
        assert not await all_know_it(world)
        await world.change(Instance, (await world.instances(number))[-1].id, health_state="healthy")
        await world.until(lambda: all_know_it(world), 5, "it is mended")
        assert machine.scenes[-1].complete


async def test_without_servers_hosts_keep_what_they_know() -> None:
    async with World(36).running() as world:
        await settled(world)
        await world.until(lambda: all_know_it(world), 5)
        for name in world.names:
            await world.crash(name)
        await asyncio.sleep(600)
        assert await all_know_it(world)


async def test_an_address_has_one_owner_and_is_used_again_late() -> None:
    async with World(37).running() as world:
        seen: list[str] = []
        for turn in range(4):
            number = await settled(world, 5, name=f"web{turn}", config={"network_mode": "managed"})
            rows = await world.instances(number)
            seen += [i.managed_ip for i in rows]
            for row in rows:
                holders = await world.store.read(
                    lambda tx, row=row: tx.find(Instance, ALIVE, eq("managed_ip", row.managed_ip))
                )
                assert len(holders) == 1
            await world.remove(number)
        assert len(set(seen)) == 20


async def test_a_place_that_keeps_its_address_has_it_after_its_host_died() -> None:
    async with World(38).running() as world:
        number = await settled(world, 3, config={"network_mode": "managed"}, retain_ip=True, on_host_lost=0)
        before = {i.ordinal: i.managed_ip for i in await world.instances(number)}
        victim = (await world.instances(number))[0]
        name = next(n for n, h in (await world.hosts()).items() if h.id == victim.host_id)
        await world.power_off(name)

        async def moved() -> bool:
            rows = await world.instances(number)
            return len(rows) == 3 and all(i.host_id != victim.host_id and i.observed == "running" for i in rows)

        await world.until(moved, 20)
        assert {i.ordinal: i.managed_ip for i in await world.instances(number)} == before
        await world.power_on(name)
        await world.until(lambda: all_know_it(world), 30)
        scene = world.agents[name].machine.surroundings.scene
        living = [c for c in scene.containers.values() if c.live]
        assert len({c.ip for c in living}) == len(living)


async def test_a_container_started_by_hand_joins_the_network_when_it_asks_for_it() -> None:
    async with World(39).running() as world:
        await world.until(lambda: all_connected(world))
        for uuid, labels in (("docker:a", {"io.rancher.container.network": "true"}), ("docker:b", {})):
            report = wire.ContainerReport(
                uuid=uuid, external_id=uuid[-1] * 64, name=uuid[-1], observed="running", native=True, labels=labels
            )
            await world.agents["h1"].say(report)

        async def known() -> bool:
            return len(await world.instances()) == 2

        await world.until(known, 5)
        addresses = {i.name: i.managed_ip for i in await world.instances()}
        assert addresses["a"].startswith("10.42.")
        assert addresses["b"] == ""
        await world.until(lambda: all_know_it(world), 5)
        networks = {c.name: c.network for c in world.agents["h2"].machine.surroundings.scene.containers.values()}
        assert networks == {"a": "managed", "b": "bridge"}
