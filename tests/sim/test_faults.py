"""What breaks, in plain words: hosts, servers, sessions, the database, the lease service. Virtual time throughout."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from tests.sim.agents import Box
from tests.sim.test_cluster import all_connected
from tests.sim.world import World

from remuda.control.agents.assignments import change_instance
from remuda.core import wire
from remuda.core.model import REMOVED, Host, Instance, Service, Stack
from remuda.core.spec import LaunchConfig
from remuda.ports.store import ALIVE, eq

pytestmark = pytest.mark.looptime(start=1000)


async def _settled_world(world: World, scale: int, **more: object) -> int:
    await world.until(lambda: all_connected(world), what="hosts connected")
    number = await world.service("web", scale, **more)
    await world.until(lambda: world.settled(number), what="service settled")
    return number


def _touches(world: World) -> list[tuple[str, str, str]]:
    return [(name, *touch) for name, agent in world.agents.items() for touch in agent.machine.touched]


async def test_a_dead_hosts_containers_move_after_the_grace_and_the_old_ones_go_when_it_returns() -> None:
    async with World(11).running() as world:
        number = await _settled_world(world, 6, on_host_lost=0)
        hosts = await world.hosts()
        victim = hosts["h2"].id
        await world.power_off("h2")
        took = await world.until(lambda: _moved(world, number, victim), 12, "replaced elsewhere")
        assert took < 8
        lost = (await world.hosts())["h2"]
        assert lost.connection == "lost"
        assert lost.state == "disconnected"
        kept = {i.uuid: i.host_id for i in await world.instances(number)}
        await world.power_on("h2")
        await world.until(
            lambda: _boxes(world, "h2", 0), 30, "surplus containers are gone from the host that came back"
        )
        await world.until(lambda: world.settled(number))
        assert {i.uuid: i.host_id for i in await world.instances(number, going=True)} == kept


async def _moved(world: World, number: int, victim: int) -> bool:
    rows = await world.instances(number)
    return all(i.host_id != victim and i.observed == "running" for i in rows) and len(rows) == 6


async def _boxes(world: World, name: str, count: int) -> bool:
    return len(world.agents[name].machine.boxes) == count


@pytest.mark.parametrize(("grace", "first", "last"), [(10, 16.0, 20.0), (30, 36.0, 40.0)])
async def test_the_grace_of_a_service_is_honoured(grace: int, first: float, last: float) -> None:
    async with World(12).running() as world:
        number = await _settled_world(world, 6, on_host_lost=grace)
        victim = (await world.hosts())["h2"].id
        await world.power_off("h2")
        took = await world.until(lambda: _moved(world, number, victim), 60, "replaced elsewhere")
        assert first <= took <= last


async def test_a_service_that_is_never_moved_stays_and_goes_on_when_the_host_returns() -> None:
    async with World(13).running() as world:
        number = await _settled_world(world, 3, on_host_lost=-1)
        before = {i.uuid for i in await world.instances(number)}
        await world.power_off("h2")
        await asyncio.sleep(120)
        assert {i.uuid for i in await world.instances(number)} == before
        assert "never moved" in (await world.get_service(number)).because
        touched = len(_touches(world))
        await world.power_on("h2")
        await world.until(lambda: world.settled(number), 30)
        assert len(_touches(world)) == touched


async def test_a_host_that_returns_within_the_grace_keeps_its_containers_untouched() -> None:
    async with World(14).running() as world:
        number = await _settled_world(world, 6)
        touched = len(_touches(world))
        await world.power_off("h2")
        await asyncio.sleep(12)
        assert (await world.hosts())["h2"].connection == "lost"
        await world.power_on("h2")
        await world.until(lambda: all_connected(world))
        await asyncio.sleep(60)
        assert len(_touches(world)) == touched
        assert await world.settled(number)


async def test_a_dead_server_costs_no_container() -> None:
    async with World(15).running() as world:
        number = await _settled_world(world, 9)
        touched = len(_touches(world))
        for name in world.names:
            await world.crash(name)
            await asyncio.sleep(1)
            await world.until(lambda: all_connected(world), 15, f"agents moved over after {name} died")
            await asyncio.sleep(20)
            world.start(name)
            await asyncio.sleep(5)
        assert len(_touches(world)) == touched
        await world.change(Service, number, scale=12)
        assert await world.until(lambda: world.settled(number)) < 3


async def test_all_servers_at_once_and_work_goes_on() -> None:
    async with World(16).running() as world:
        number = await _settled_world(world, 6)
        touched = len(_touches(world))
        for name in world.names:
            await world.crash(name)
        await asyncio.sleep(30)
        for name in world.names:
            world.start(name)
        await world.until(lambda: all_connected(world), 20)
        await asyncio.sleep(30)
        assert len(_touches(world)) == touched
        await world.change(Service, number, scale=3)
        await world.until(lambda: world.settled(number))


async def test_a_clone_is_refused_and_the_original_stays() -> None:
    async with World(17).running() as world:
        await _settled_world(world, 3)
        world.host_count = 3
        from tests.sim.agents import FakeAgent, Machine

        clone = FakeAgent(Machine("h2", "another-machine"), lambda _: world.dial("agent-h2"), world.clock.jitter)
        task = asyncio.create_task(clone.run())
        await world.until(lambda: clone.refused, 10)
        await task
        assert "clone" in clone.refused
        assert "remove the agent's state" in clone.refused
        assert await all_connected(world)
        assert world.agents["h2"].sessions == 1


async def test_a_second_connection_of_the_same_machine_takes_over() -> None:
    async with World(18).running() as world:
        number = await _settled_world(world, 3)
        pipe = world.agents["h1"].pipe
        assert pipe is not None
        pipe.dead = True  # the old socket hangs: the server hears nothing and the agent opens a new one
        world.agents["h1"].pipe.inbox.put_nowait(None)
        await world.until(lambda: world.agents["h1"].sessions == 2, 10)
        await world.until(lambda: all_connected(world), 10)
        await asyncio.sleep(30)
        assert world.agents["h1"].sessions == 2
        assert await world.settled(number)


async def test_a_removed_host_is_cleared_and_its_agent_told_for_good() -> None:
    async with World(19).running() as world:
        number = await _settled_world(world, 6)
        victim = (await world.hosts())["h3"].id
        await world.change(Host, victim, desired=REMOVED)
        await world.until(lambda: _host_gone(world, victim), 60, "host closed")
        await world.until(lambda: world.settled(number))
        rows = await world.instances(number, going=True)
        assert len(rows) == 6
        assert victim not in {i.host_id for i in rows}
        assert not world.agents["h3"].machine.boxes
        await world.until(lambda: world.agents["h3"].refused, 10)


async def _host_gone(world: World, number: int) -> bool:
    host = await world.store.read(lambda tx: tx.get(Host, number))
    return host is not None and host.removed is not None


async def test_an_unreachable_host_can_be_removed_at_once() -> None:
    async with World(20).running() as world:
        number = await _settled_world(world, 6, on_host_lost=-1)
        victim = (await world.hosts())["h3"].id
        await world.power_off("h3")
        await asyncio.sleep(20)
        await world.change(Host, victim, desired=REMOVED)
        assert await world.until(lambda: _host_gone(world, victim), 60, "host closed") < 3
        await world.until(lambda: world.settled(number))
        assert len(await world.instances(number, going=True)) == 6


async def test_ports_taken_are_explained_and_a_new_host_helps() -> None:
    async with World(21, hosts=2).running() as world:
        await world.until(lambda: all_connected(world))
        number = await world.service("web", 3, config={"ports": ["80:80"]})
        await world.until(lambda: _blocked(world, number))
        service = await world.get_service(number)
        assert service.because.startswith("No host fits: 2 of 2 hosts have port 80/tcp taken (h")
        assert service.transitioning == "error"
        assert service.current_scale in (0, 1, 2)
        await world.add_host("h3")
        await world.until(lambda: world.settled(number), 20, "third one placed")
        assert (await world.get_service(number)).because == "All 3 containers run"


async def _blocked(world: World, number: int) -> bool:
    return (await world.get_service(number)).blocked


async def test_an_image_that_cannot_be_had_is_explained_and_tried_elsewhere() -> None:
    async with World(22).running() as world:
        await world.until(lambda: all_connected(world))
        hosts = {h.id: h.name for h in (await world.hosts()).values()}
        world.agents[hosts[1]].machine.failing.add("bad")
        number = await world.service("web", 1, image="docker:bad")
        await world.until(lambda: _blocked(world, number), 10)
        because = (await world.get_service(number)).because
        assert because == "shop_web_1 failed: No such image. It is tried again after 15 seconds."
        took = await world.until(lambda: world.settled(number), 40)
        assert 14 < took < 16
        [row] = await world.instances(number)
        assert (row.name, row.host_id) == ("shop_web_1", 2)


async def test_stand_alone_containers_are_placed_once_and_never_moved() -> None:
    async with World(23).running() as world:
        await world.until(lambda: all_connected(world))
        spec = LaunchConfig(image_uuid="docker:nginx")
        fresh = Instance(account_id=world.environment, name="lone", kind="container", spec=spec)
        lone = await world.api.write(lambda tx: tx.insert(fresh))
        await world.until(lambda: _runs(world, lone.id))
        placed = await world.store.read(lambda tx: tx.get(Instance, lone.id))
        host = await world.store.read(lambda tx: tx.get(Host, placed.host_id))
        await world.power_off(host.name)
        await asyncio.sleep(60)
        again = await world.store.read(lambda tx: tx.get(Instance, lone.id))
        assert again.host_id == placed.host_id
        assert "never moved" in again.because
        await world.power_on(host.name)
        await world.until(lambda: all_connected(world))
        await world.api.write(lambda tx: change_instance(tx, tx.get(Instance, lone.id), desired=REMOVED))
        await world.until(lambda: _row_closed(world, lone.id))


async def _runs(world: World, number: int) -> bool:
    return (await world.store.read(lambda tx: tx.get(Instance, number))).state == "running"


async def _row_closed(world: World, number: int) -> bool:
    return (await world.store.read(lambda tx: tx.get(Instance, number))).removed is not None


async def test_a_service_waits_for_those_it_depends_on() -> None:
    async with World(24).running() as world:
        await world.until(lambda: all_connected(world))
        for agent in world.agents.values():
            agent.machine.failing.add("db")
        db = await world.service("db", 1, image="docker:db")
        web = await world.service("web", 1, depends_on=["db"])
        await asyncio.sleep(8)
        assert await world.instances(web) == []
        assert (await world.get_service(web)).because == "Waits until db runs (depends_on)"
        for agent in world.agents.values():
            agent.machine.failing.clear()
        await world.until(lambda: world.settled(web, db), 60)


async def test_a_removed_stack_takes_everything_with_it() -> None:
    async with World(25).running() as world:
        await _settled_world(world, 3)
        await world.service("db", 2)
        await asyncio.sleep(5)
        await world.api.write(lambda tx: tx.update(tx.get(Stack, world.stack), desired=REMOVED))
        await world.until(lambda: _stack_closed(world), 60)
        assert not await world.store.read(lambda tx: tx.find(Service, ALIVE))
        assert not await world.store.read(lambda tx: tx.find(Instance, ALIVE))
        assert not any(agent.machine.boxes for agent in world.agents.values())


async def _stack_closed(world: World) -> bool:
    return (await world.store.read(lambda tx: tx.get(Stack, world.stack))).removed is not None


async def test_one_server_that_has_nothing_to_do_makes_no_sql_at_all() -> None:
    async with World(26, servers=1).running() as world:
        number = await _settled_world(world, 3)
        await asyncio.sleep(10)
        server = world.servers["s1"]
        assert server is not None
        calls: list[str] = []
        inner = server.store._database

        class Counting:
            async def write(self, *args: object) -> object:
                calls.append("write")
                return await inner.write(*args)

            async def read(self, *args: object) -> object:
                calls.append("read")
                return await inner.read(*args)

            async def close(self) -> None:
                await inner.close()

        server.store._database = Counting()
        await asyncio.sleep(600)
        assert calls == []
        assert await world.settled(number)


async def test_a_lost_lease_stops_work_and_nothing_is_done_twice() -> None:
    async with World(27).running() as world:
        number = await _settled_world(world, 3)
        for name in world.names:
            world.cluster.cut(name, expire_after=1.0)
            await world.change(Service, number, scale=len(await world.instances(number)) + 3)
            await world.until(lambda: world.settled(number), 20)
            world.cluster.heal(name)
            await asyncio.sleep(3)
        rows = await world.instances(number, going=True)
        assert sorted(i.ordinal for i in rows) == list(range(1, 13))


async def test_the_database_goes_away_for_a_while_and_nothing_is_forgotten() -> None:
    async with World(28, servers=1).running() as world:
        number = await _settled_world(world, 3)
        server = world.servers["s1"]
        assert server is not None
        inner = server.store._database

        class Gone:
            async def write(self, *_: object) -> object:
                from remuda.ports.store import Unavailable

                raise Unavailable("The database cannot be reached")

            read = write

            async def close(self) -> None:
                await inner.close()

        server.store._database = Gone()
        uuid = next(iter(world.agents["h1"].machine.boxes))
        await world.agents["h1"].die(uuid)
        await asyncio.sleep(20)
        server.store._database = inner
        await world.until(lambda: _restarted(world, uuid), 10, "the report arrived after all")
        assert world.agents["h1"].sessions == 1
        await world.change(Service, number, scale=5)
        await world.until(lambda: world.settled(number))


async def _restarted(world: World, uuid: str) -> bool:
    row = await world.store.read(lambda tx: tx.first(Instance, eq("uuid", uuid)))
    return row is not None and row.restarts == 1


async def test_a_lost_hint_costs_seconds_and_nothing_else() -> None:
    async with World(29).running() as world:
        number = await _settled_world(world, 3)
        holder = next(s for s in world.servers.values() if s and world.environment % 4 in s.plane.loop.terms)
        other = next(s for s in world.servers.values() if s and s is not holder)
        world.hub.cut(other.bus)
        await other.store.write(lambda tx: tx.update(tx.get(Service, number), scale=6))
        await asyncio.sleep(0.01)  # the hint is sent now, and lost
        world.hub.heal(other.bus)
        took = await world.until(lambda: _scale_is(world, number, 6), 20)
        assert 0.1 < took < 6


async def _scale_is(world: World, number: int, scale: int) -> bool:
    return (await world.get_service(number)).current_scale == scale


async def test_a_container_that_nobody_knows_of_any_more_goes() -> None:
    async with World(30).running() as world:
        number = await _settled_world(world, 3)
        machine = world.agents["h1"].machine
        known = next(iter(machine.boxes.values()))
        machine.boxes["left-over"] = Box(known.assignment, "left-over")
        await world.disconnect("h1")
        await world.until(lambda: "left-over" not in machine.boxes, 10)
        assert await world.until(lambda: world.settled(number)) < 5
        assert len(machine.boxes) == 1


async def test_containers_started_by_hand_come_and_go_and_are_left_alone() -> None:
    async with World(31, hosts=1).running() as world:
        await _settled_world(world, 1)
        agent = world.agents["h1"]
        seen = wire.ContainerReport(uuid="docker:abc", external_id="abc", name="/mine", observed="running", image="redis",
                                    labels={"a": "b"}, native=True)  # fmt: skip
        await agent.say(seen)
        await world.until(lambda: _native(world, "running"))
        await agent.say(msgspec.structs.replace(seen, observed="exited", exit_code=0))
        await world.until(lambda: _native(world, "stopped"))
        [row] = [i for i in await world.instances() if i.native]
        assert (row.name, row.desired, row.assign_seq, row.spec.image) == ("mine", "stopped", 0, "redis")
        await agent.say(msgspec.structs.replace(seen, observed="absent"))
        await world.until(lambda: _native(world, ""))
        await agent.say(seen)
        await world.until(lambda: _native(world, "running"))
        await agent.say()
        await world.until(lambda: _native(world, ""))


async def _native(world: World, state: str) -> bool:
    return [i.state for i in await world.instances() if i.native] == ([state] if state else [])


async def test_a_host_that_dies_together_with_its_server_is_missed_as_well() -> None:
    async with World(32).running() as world:
        number = await _settled_world(world, 6, on_host_lost=0)
        host = (await world.hosts())["h2"]
        server = next(name for name, s in world.servers.items() if s and s.server_id == host.session_server)
        await world.power_off("h2")
        await world.crash(server)
        took = await world.until(lambda: _moved(world, number, host.id), 30, "replaced elsewhere")
        assert 8 < took < 14


async def test_a_service_removed_while_a_host_is_away_is_gone_and_so_are_its_containers_when_the_host_returns() -> None:
    async with World(33).running() as world:
        number = await _settled_world(world, 6)
        await world.power_off("h2")
        await asyncio.sleep(8)
        await world.change(Service, number, desired=REMOVED)
        assert await world.until(lambda: _service_closed(world, number), 10) < 3
        assert len(world.agents["h2"].machine.boxes) == 2
        await world.power_on("h2")
        await world.until(lambda: _boxes(world, "h2", 0), 10)
        await world.until(lambda: _nothing_left(world), 10)


async def _service_closed(world: World, number: int) -> bool:
    return (await world.get_service(number)).removed is not None


async def _nothing_left(world: World) -> bool:
    return not await world.instances(going=True)


async def test_a_change_of_leader_within_the_grace_only_makes_the_wait_longer() -> None:
    async with World(34).running() as world:
        number = await _settled_world(world, 6, on_host_lost=10)
        victim = (await world.hosts())["h2"].id
        await world.power_off("h2")
        await asyncio.sleep(12)
        holder = next(n for n, s in world.servers.items() if s and world.environment % 4 in s.plane.loop.terms)
        await world.crash(holder)
        took = await world.until(lambda: _moved(world, number, victim), 60)
        assert 10 < took < 25


async def test_a_deactivated_host_keeps_what_it_has_and_gets_nothing_new() -> None:
    async with World(35).running() as world:
        number = await _settled_world(world, 3)
        host = (await world.hosts())["h2"]
        await world.change(Host, host.id, desired="inactive")
        await world.change(Service, number, scale=7)
        await world.until(lambda: world.settled(number))
        counts = [sum(i.host_id == n for i in await world.instances(number)) for n in (1, 2, 3)]
        assert counts[host.id - 1] == 1
        assert sum(counts) == 7


async def test_a_sidekick_moves_with_its_service() -> None:
    async with World(36).running() as world:
        sidekick = LaunchConfig(name="logs", image_uuid="docker:logs", data_volumes_from_launch_configs=["web"])
        number = await _settled_world(world, 3, secondary_launch_configs=[sidekick], on_host_lost=0)
        victim = (await world.hosts())["h2"].id
        await world.power_off("h2")
        await world.until(lambda: _units_off(world, number, victim), 20)
        await world.power_on("h2")
        await world.until(lambda: _rows(world, number, 6), 20)
        assert await world.settled(number)
        rows = await world.instances(number, going=True)
        assert sorted(i.name for i in rows) == sorted(
            f"shop_web{part}_{n}" for part in ("", "_logs") for n in (1, 2, 3)
        )


async def _rows(world: World, number: int, count: int) -> bool:
    return len(await world.instances(number, going=True)) == count


async def _units_off(world: World, number: int, victim: int) -> bool:
    units: dict[str, set[int | None]] = {}
    for i in await world.instances(number):
        units.setdefault(i.unit, set()).add(i.host_id)
    return len(units) == 3 and all(len(hosts) == 1 and victim not in hosts for hosts in units.values())
