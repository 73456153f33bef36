"""Hosts that servers play themselves: the same hub, assignments and agent code as real ones, with virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.sim.world import World

from remuda.control.agents.assignments import change_instance
from remuda.control.agents.simulated import Simulator
from remuda.core.model import REMOVED, STOPPED, Agent, Host, Instance
from remuda.core.simulated import KNOBS
from remuda.core.spec import LaunchConfig, RestartPolicy
from remuda.ports.store import ALIVE, eq
from remuda.run.simulated import Host as SimulatedHost
from remuda.run.simulated import simulator

pytestmark = pytest.mark.looptime(start=1000)
IMAGE = "sim:web"


class Stage:
    """A world without real hosts, whose servers play simulated ones."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.simulators: dict[str, Simulator] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def play(self, name: str) -> None:
        server = self.world.servers[name]
        assert server is not None
        self.simulators[name] = simulator(server.plane, server.clock.jitter)
        self._tasks[name] = asyncio.create_task(self.simulators[name].run())

    async def stop(self, name: str) -> None:
        task = self._tasks.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def close(self) -> None:
        for name in list(self._tasks):
            await self.stop(name)

    async def agent(self, name: str, **data: object) -> int:
        """Ask for a host, as the API does."""
        told = {f"io.cattle.{KNOBS}": data} if data else {}
        record = Agent(account_id=self.world.environment, uuid=name, uri=f"sim://{name}", data=told)
        return (await self.world.api.write(lambda tx: tx.insert(record))).id

    async def hosts(self, count: int) -> list[Host]:
        """Wait until so many are there."""
        names = [f"n{n}" for n in range(count)]
        for name in names:
            await self.agent(name)

        async def connected() -> bool:
            hosts = await self.world.hosts()
            return len(hosts) == count and all(h.connection == "connected" for h in hosts.values())

        await self.world.until(connected, what="the simulated hosts are connected")
        return list((await self.world.hosts()).values())

    async def container(self, name: str = "one", **spec: object) -> int:
        """Ask for a container by itself."""
        record = Instance(
            account_id=self.world.environment, name=name, kind="container", spec=LaunchConfig(image_uuid=IMAGE, **spec)
        )
        return (await self.world.api.write(lambda tx: tx.insert(record))).id

    async def instance(self, number: int) -> Instance:
        found = await self.world.store.read(lambda tx: tx.get(Instance, number))
        assert found is not None
        return found

    async def sees(self, number: int, state: str, message: str = "", seconds: float = 30.0) -> Instance:
        """Wait until a container is in this state."""

        async def there() -> bool:
            now = await self.instance(number)
            return now.state == state and message in now.transitioning_message

        await self.world.until(there, seconds, f"container {number} is {state}")
        return await self.instance(number)

    def machine(self, agent_id: int) -> SimulatedHost:
        found = next(s.machine(agent_id) for s in self.simulators.values() if s.machine(agent_id) is not None)
        assert isinstance(found, SimulatedHost)
        return found


@asynccontextmanager
async def stage(seed: int, *, servers: int = 1) -> AsyncIterator[Stage]:
    async with World(seed, servers=servers, hosts=0).running() as world:
        made = Stage(world)
        try:
            for name in world.names:
                made.play(name)
            yield made
        finally:
            await made.close()


async def test_a_simulated_host_is_a_host_like_others() -> None:
    async with stage(1) as play:
        (host,) = await play.hosts(1)
        assert (host.name, host.hostname, host.kind) == ("testhost-n0", "testhost-n0", "sim")
        assert (host.agent_ip, host.state, host.docker) == ("192.168.0.21", "active", "up")
        assert host.info["memoryInfo"]["memTotal"] == 8192


async def test_what_an_agents_data_says_of_its_machine_is_what_its_host_shows() -> None:
    async with stage(2) as play:
        await play.agent(
            "big", milliCpu=16000, memory=64 * 1024**3, localStorageMb=5000, ipAddress="10.1.2.3", externalId="m1"
        )
        await play.world.until(lambda: play.world.hosts())
        (host,) = (await play.world.hosts()).values()
        assert host.agent_ip == "10.1.2.3"
        assert host.info["cpuInfo"]["count"] == 16
        assert host.info["memoryInfo"]["memTotal"] == 65536
        assert host.info["diskInfo"]["mountPoints"]["/"]["total"] == 5000
        assert host.data["machine"] == "m1"


async def test_a_service_spreads_over_simulated_hosts_and_follows_its_scale() -> None:
    async with stage(3, servers=3) as play:
        await play.hosts(5)
        number = await play.world.service("web", 10, image=IMAGE)
        await play.world.until(lambda: play.world.settled(number), what="10 containers")
        rows = await play.world.instances(number)
        assert sorted(i.host_id or 0 for i in rows) == sorted(2 * [1, 2, 3, 4, 5])
        assert all(len(i.external_id) == 36 and i.managed_ip for i in rows)
        await play.world.remove(number)
        assert not any(play.machine(n).engine.boxes for n in range(1, 6))


async def test_a_container_can_be_stopped_started_restarted_and_removed() -> None:
    async with stage(4) as play:
        await play.hosts(1)
        number = await play.container()
        first = await play.sees(number, "running")

        async def change(**changes: object) -> None:
            def unit(tx):  # type: ignore[no-untyped-def]
                change_instance(tx, tx.get(Instance, number), **changes)

            await play.world.api.write(unit)

        await change(restart_token=1)
        await play.world.until(lambda: _restarted(play, number, first.started), what="it was restarted")
        await change(desired=STOPPED)
        stopped = await play.sees(number, "stopped")
        assert stopped.external_id == first.external_id
        await change(desired=REMOVED)
        await play.sees(number, "removed")


async def _restarted(play: Stage, number: int, before: int | None) -> bool:
    now = await play.instance(number)
    return now.state == "running" and now.started != before


@pytest.mark.parametrize("event", ["storage.image.activate", "compute.instance.activate"])
async def test_a_container_that_orders_a_failure_gets_it_with_its_name(event: str) -> None:
    async with stage(5) as play:
        await play.hosts(1)
        number = await play.container(environment={f"{event}::fail": "yes"})
        shown = await play.sees(number, "error", f"Failing [{event}]")
        assert shown.transitioning == "error"


async def test_a_container_that_does_not_let_itself_be_stopped_says_why() -> None:
    async with stage(6) as play:
        await play.hosts(1)
        number = await play.container(labels={"what": "compute.instance.deactivate::fail"})
        await play.sees(number, "running")
        await play.world.api.write(lambda tx: change_instance(tx, tx.get(Instance, number), desired=STOPPED))
        await play.sees(number, "stopping", "Failing [compute.instance.deactivate]")


async def test_a_container_ends_by_itself_after_the_seconds_that_it_orders() -> None:
    async with stage(7) as play:
        await play.hosts(1)
        never = RestartPolicy(name="no")
        number = await play.container(environment={"X": "simShutdownAfter:20"}, restart_policy=never)
        await play.sees(number, "running")
        begun = asyncio.get_running_loop().time()
        ended = await play.sees(number, "stopped")
        assert 19 <= asyncio.get_running_loop().time() - begun <= 22
        assert (ended.observed, ended.exit_code) == ("exited", 0)


async def test_a_container_that_its_host_forgets_is_made_again() -> None:
    async with stage(8) as play:
        await play.hosts(1)
        number = await play.container(labels={"order": "simForgetImmediately"})
        again = await play.sees(number, "running")
        assert list(play.machine(1).engine.boxes) == [again.external_id]


async def test_a_container_that_nobody_asked_for_is_shown_as_native() -> None:
    async with stage(9) as play:
        await play.hosts(1)
        await play.container("simCreateAnother_ext-17")

        async def found() -> Instance | None:
            return await play.world.store.read(lambda tx: tx.first(Instance, eq("external_id", "ext-17"), ALIVE))

        await play.world.until(found, what="the other container is shown")
        other = await found()
        assert other is not None
        assert (other.native, other.state) == (True, "running")


async def test_a_host_that_falls_silent_is_lost_and_returns_when_it_is_reconnected() -> None:
    async with stage(10) as play:
        await play.hosts(1)
        number = await play.container(environment={"order": "simDisconnectAgent"})

        async def connection() -> str:
            return next(iter((await play.world.hosts()).values())).connection

        async def lost() -> bool:
            return await connection() == "lost"

        await play.world.until(lost, 15, "the host is lost")
        await asyncio.sleep(120)
        assert await connection() == "lost", "nobody reconnected it"
        agent = await play.world.store.read(lambda tx: tx.get(Agent, 1))
        assert agent is not None
        assert agent.data == {"disconnected": True}
        await play.world.change(Agent, 1, data={})
        await play.sees(number, "running")
        assert await connection() == "connected"


async def test_the_hosts_of_a_server_that_dies_are_played_by_another_and_get_their_containers_back() -> None:
    async with stage(11, servers=2) as play:
        await play.hosts(3)
        number = await play.world.service("web", 6, image=IMAGE)
        await play.world.until(lambda: play.world.settled(number))
        first = next(name for name, s in play.simulators.items() if len(s) == 3)
        before = {i.id: i.external_id for i in await play.world.instances(number)}
        await play.world.crash(first)
        await play.stop(first)
        other = next(s for name, s in play.simulators.items() if name != first)

        async def back() -> bool:
            rows = await play.world.instances(number)
            return len(rows) == 6 and all(i.state == "running" and i.external_id not in before.values() for i in rows)

        await play.world.until(lambda: len(other) == 3, what="the other server plays")
        await play.world.until(back, 60, "all containers run again")


async def test_a_host_whose_agent_was_removed_is_not_played_any_more() -> None:
    async with stage(12) as play:
        await play.hosts(2)
        await play.world.change(Host, 1, desired=REMOVED)
        await play.world.until(lambda: len(play.simulators["s1"]) == 1, what="one host is left")
        assert play.simulators["s1"].machine(1) is None


async def test_a_real_image_stays_off_simulated_hosts_as_long_as_there_is_a_real_one() -> None:
    async with stage(13) as play:
        await play.hosts(1)
        await play.world.add_host("real")
        await play.world.until(lambda: _two(play), what="the real host")
        real = await play.world.service("real", 3)
        simulated = await play.world.service("sim", 3, image=IMAGE)
        await play.world.until(lambda: play.world.settled(real, simulated))
        hosts = {h.id: h.kind for h in (await play.world.hosts()).values()}
        assert {hosts[i.host_id or 0] for i in await play.world.instances(real)} == {"docker"}
        assert {hosts[i.host_id or 0] for i in await play.world.instances(simulated)} == {"sim"}


async def _two(play: Stage) -> bool:
    return sum(h.connection == "connected" for h in (await play.world.hosts()).values()) == 2
