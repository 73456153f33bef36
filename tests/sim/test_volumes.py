"""Volumes under misfortune: data stays in one place, and what is shown is what lies on the machines."""

from __future__ import annotations

import pytest
from tests.sim.test_chaos import calm, finished, misfortune
from tests.sim.test_cluster import all_connected
from tests.sim.world import World

from remuda.control.agents.assignments import Assigner
from remuda.control.volumes import order
from remuda.core.model import REMOVED, Instance, Mount, Service, Volume
from remuda.core.volumes import names_of
from remuda.ports.store import ALIVE, Tx, eq

pytestmark = [pytest.mark.looptime(start=1000), pytest.mark.timeout(170)]


async def declared(world: World, name: str) -> int:
    volume = Volume(account_id=world.environment, kind="volume", name=name, external_id=name, declared=True)
    return (await world.store.write(lambda tx: tx.insert(volume))).id


async def volumes(world: World, name: str) -> list[Volume]:
    return await world.store.read(lambda tx: tx.find(Volume, eq("external_id", name), ALIVE))


async def truthful(world: World) -> bool:
    """Do rows, mounts and machines say the same?"""

    def unit(tx: Tx) -> bool:
        rows = tx.find(Volume, ALIVE)
        mounted = {(m.instance_id, m.volume_id) for m in tx.find(Mount, ALIVE)}
        ids = {(v.external_id, v.host_id): v.id for v in rows}
        users = {(i.id, ids.get((n, i.host_id))) for i in tx.find(Instance, ALIVE) for n in names_of(i.spec)}
        lying = {(name, host.id) for host in hosts.values() for name in world.agents[host.name].machine.disks}
        there = {(v.external_id, v.host_id) for v in rows if v.seen == "present"}
        states = all(v.state == ("active" if v.users else "detached") for v in rows if v.seen == "present")
        return mounted == users and lying == there and states

    hosts = await world.hosts()
    return await world.store.read(unit)


async def test_a_volume_of_a_lost_host_keeps_its_container_waiting_and_others_move_on() -> None:
    async with World(31).running() as world:
        await world.until(lambda: all_connected(world))
        await declared(world, "data")
        bound = await world.service("db", 1, on_host_lost=0, config={"data_volumes": ["data:/x"]})
        drawn = await world.service("cache", 1, on_host_lost=0, config={"data_volumes": ["cache:/x"]})
        await world.until(lambda: world.settled(bound, drawn))
        await world.until(lambda: truthful(world), what="what is shown is so")
        hosts = await world.hosts()
        name_of = {host.id: host.name for host in hosts.values()}
        (db,), (cache,) = await world.instances(bound), await world.instances(drawn)
        for host_id in {db.host_id, cache.host_id}:
            await world.power_off(name_of[host_id or 0])

        async def moved() -> bool:
            rows = await world.instances(drawn)
            return any(i.host_id != cache.host_id and i.observed == "running" for i in rows)

        async def waits() -> bool:
            service = await world.get_service(bound)
            return (
                "does not have the volume data" in service.because or "do not have the volume data" in service.because
            )

        await world.until(moved, 60, "the container that is only drawn runs elsewhere")
        await world.until(waits, 60, "the container that is bound says what it waits for")
        assert {i.host_id for i in await world.instances(bound)} <= {db.host_id, None}
        for host_id in {db.host_id, cache.host_id}:
            await world.power_on(name_of[host_id or 0])
        await world.until(lambda: world.settled(bound, drawn), 60, "all run again")
        await world.until(lambda: truthful(world), 60, "what is shown is so")


@pytest.mark.parametrize("seed", [211, 212])
async def test_after_any_misfortune_data_is_in_one_place_and_told_as_it_is(seed: int) -> None:
    async with World(seed, hosts=4).running() as world:
        await world.until(lambda: all_connected(world))
        await declared(world, "data")
        bound = await world.service("db", 2, on_host_lost=0, config={"data_volumes": ["data:/x"]})
        drawn = await world.service("cache", 2, on_host_lost=0, config={"data_volumes": ["cache:/x"]})
        await world.until(lambda: world.settled(bound, drawn))
        for _ in range(30):
            await misfortune(world, [bound, drawn])
            rows = [i for i in await world.instances(bound) if i.host_id is not None]
            assert len({i.host_id for i in rows}) <= 1, f"seed {seed}: one volume, two hosts"
        await calm(world)
        await world.until(lambda: finished(world, [bound, drawn]), 200, "calm after the storm")
        await world.until(lambda: truthful(world), 60, "what is shown is so")
        assert sum("data" in agent.machine.disks for agent in world.agents.values()) == 1
        await world.change(Service, bound, desired=REMOVED)
        await world.until(lambda: _unused(world), 60, "nobody uses it")
        (volume,) = await volumes(world, "data")
        assert volume.state == "detached", "a service that goes leaves its data"

        def remove(tx: Tx) -> None:
            assigner = Assigner(tx)
            order(tx, volume, REMOVED, assigner.next_seq)
            assigner.close()

        await world.store.write(remove)
        await world.until(lambda: _gone(world), 60, "it is removed")
        assert not any("data" in agent.machine.disks for agent in world.agents.values())


async def _unused(world: World) -> bool:
    (volume,) = await volumes(world, "data")
    return not volume.users and await truthful(world)


async def _gone(world: World) -> bool:
    return not await volumes(world, "data")
