"""What a session is to the store: who may speak for a host, what is written and what is not."""

from __future__ import annotations

import asyncio

import pytest
from tests.sim.agents import pipe_pair
from tests.sim.test_cluster import all_connected
from tests.sim.world import World

from remuda.control.agents import enrol, reports
from remuda.core import wire
from remuda.core.model import REMOVED, Agent, Host, Instance
from remuda.core.spec import LaunchConfig
from remuda.ports.store import ALIVE, Unavailable, eq

pytestmark = pytest.mark.looptime(start=1000)


async def _reported(world: World, *containers: wire.ContainerReport, complete: bool = False, applied: int = 0) -> None:
    host = (await world.hosts())["h1"]
    batch = reports.Batch(host.id, host.session_id)
    batch.add(wire.Observed(number=1, containers=list(containers), complete=complete, applied_seq=applied))
    assert await world.api.write(lambda tx: reports.store(tx, [batch])) == set()


async def test_a_native_container_of_a_machine_that_was_registered_anew_is_taken_over() -> None:
    async with World(61, hosts=2).running() as world:
        await world.until(lambda: all_connected(world))
        seen = wire.ContainerReport(uuid="docker:abc", external_id="abc", name="/mine", observed="running", native=True)
        other = (await world.hosts())["h2"].id
        old = Instance(
            uuid="docker:abc", native=True, host_id=other, account_id=world.environment, name="mine", removed=5
        )
        await world.api.write(lambda tx: tx.insert(old))
        await _reported(world, seen)
        [row] = await world.store.read(lambda tx: tx.find(Instance, ALIVE))
        assert (row.host_id, row.state, row.name) == ((await world.hosts())["h1"].id, "running", "mine")


async def test_a_stale_session_writes_nothing() -> None:
    async with World(62, hosts=1).running() as world:
        await world.until(lambda: all_connected(world))
        host = (await world.hosts())["h1"]
        batch = reports.Batch(host.id, "an-old-token")
        batch.add(
            wire.Observed(number=1, containers=[wire.ContainerReport(uuid="docker:x", observed="running", native=True)])
        )
        assert await world.api.write(lambda tx: reports.store(tx, [batch])) == {"an-old-token"}
        assert await world.instances() == []
        await world.api.write(lambda tx: enrol.finish(tx, host.id, "an-old-token", "closed", "x"))
        assert (await world.hosts())["h1"].connection == "connected"


async def test_what_a_complete_report_does_not_name_is_absent() -> None:
    async with World(63, hosts=1).running() as world:
        await world.until(lambda: all_connected(world))
        host = (await world.hosts())["h1"]
        spec = LaunchConfig(image_uuid="docker:x")
        row = Instance(uuid="u", name="c", host_id=host.id, account_id=world.environment, spec=spec, desired=REMOVED,
                       observed="running", external_id="e", assign_seq=3, applied_seq=2)  # fmt: skip
        await world.store.write(lambda tx: tx.insert(row))
        await _reported(world, complete=True, applied=2)
        after = await world.store.read(lambda tx: tx.first(Instance, eq("uuid", "u")))
        assert (after.observed, after.external_id, after.applied_seq) == ("absent", "", 2)


async def test_figures_that_move_all_the_time_are_not_written() -> None:
    async with World(64, hosts=1, servers=1).running() as world:
        await world.until(lambda: all_connected(world))
        await asyncio.sleep(5)
        agent, server = world.agents["h1"], world.servers["s1"]
        assert agent.pipe is not None
        assert server is not None
        versions = []
        for n in range(40):
            info = {"cpuInfo": {"count": 4, "loadAvg": [n]}, "memoryInfo": {"memTotal": 8000, "memFree": n}}
            facts = wire.HostFacts(hostname="h1", agent_ip="10.0.0.1", labels={"zone": "1"}, info=info)
            await agent.pipe.send(wire.encode(wire.Facts(facts=facts)))
            await asyncio.sleep(10)
            versions.append((await world.hosts())["h1"].version)
        host = (await world.hosts())["h1"]
        assert server.plane.hub.live(host.id) == info
        assert host.info["cpuInfo"]["count"] == 4
        assert versions[-1] - versions[0] == 1  # 400 seconds: once, after 300


async def test_docker_that_dies_makes_the_host_unfit_and_says_so() -> None:
    async with World(65, hosts=1).running() as world:
        await world.until(lambda: all_connected(world))
        agent = world.agents["h1"]
        assert agent.pipe is not None
        facts = wire.HostFacts(hostname="h1", docker="down", docker_message="dockerd does not answer on its socket")
        await agent.pipe.send(wire.encode(wire.Facts(facts=facts)))
        await world.until(lambda: _state(world, "error"))
        assert (await world.hosts())["h1"].transitioning_message == "dockerd does not answer on its socket"
        await agent.pipe.send(wire.encode(wire.Facts(facts=wire.HostFacts(hostname="h1"))))
        await world.until(lambda: _state(world, "active"))


async def _state(world: World, state: str) -> bool:
    return (await world.hosts())["h1"].state == state


@pytest.mark.parametrize(
    ("hello", "reason", "final"),
    [
        (wire.Hello(protocol=99), "This server speaks protocol 1, the agent 99", True),
        (wire.Pong(), "The first frame must be a Hello", False),
    ],
)
async def test_what_is_not_a_proper_beginning_is_refused(hello: wire.Message, reason: str, final: bool) -> None:
    async with World(66, hosts=1).running() as world:
        await world.until(lambda: all_connected(world))
        server = next(s for s in world.servers.values() if s)
        agent = await world.store.read(lambda tx: tx.first(Agent))
        ours, theirs = pipe_pair()
        await theirs.send(wire.encode(hello))
        await server.plane.hub.serve(ours, agent)
        answer = wire.decode_from_server(await theirs.receive() or b"")
        assert isinstance(answer, wire.Refused)
        assert answer.reason.startswith(reason)
        assert answer.final is final


async def test_an_agent_that_says_nothing_is_hung_up_on() -> None:
    async with World(67, hosts=0).running() as world:
        server = next(s for s in world.servers.values() if s)
        ours, theirs = pipe_pair()
        async with asyncio.timeout(15):
            await server.plane.hub.serve(ours, Agent(id=1))
        assert theirs.closed


async def test_a_session_whose_beginning_was_written_but_not_heard_of_is_taken_back() -> None:
    async with World(68, hosts=1, servers=1).running() as world:
        await world.until(lambda: all_connected(world))
        await world.power_off("h1")
        await asyncio.sleep(20)
        server = world.servers["s1"]
        assert server is not None
        inner = server.store._database

        class LostAnswer:
            async def write(self, *args: object) -> object:
                await inner.write(*args)
                server.store._database = inner
                raise asyncio.CancelledError

            read = inner.read

        server.store._database = LostAnswer()
        agent = await world.store.read(lambda tx: tx.first(Agent))
        ours, theirs = pipe_pair()
        await theirs.send(wire.encode(wire.Hello(machine="fp-h1", boot="b", facts=wire.HostFacts(hostname="h1"))))
        with pytest.raises(asyncio.CancelledError):
            await server.plane.hub.serve(ours, agent)
        await world.until(lambda: _state(world, "reconnecting"), 5)
        assert (await world.hosts())["h1"].session_id == ""


async def test_without_a_database_an_agent_is_sent_away_for_now() -> None:
    async with World(69, hosts=1, servers=1).running() as world:
        await world.until(lambda: all_connected(world))
        server = world.servers["s1"]
        assert server is not None
        inner = server.store._database

        class Gone:
            async def write(self, *_: object) -> object:
                raise Unavailable("The database cannot be reached")

            read = write

        server.store._database = Gone()
        ours, theirs = pipe_pair()
        await theirs.send(wire.encode(wire.Hello(machine="fp-h1", facts=wire.HostFacts(hostname="h1"))))
        await server.plane.hub.serve(ours, Agent(id=1, host_id=1))
        server.store._database = inner
        answer = wire.decode_from_server(await theirs.receive() or b"")
        assert isinstance(answer, wire.Refused)
        assert not answer.final
        assert "cannot write to its database now" in answer.reason


async def test_a_stalled_server_does_not_blame_its_agents() -> None:
    async with World(70).running() as world:
        await world.until(lambda: all_connected(world))
        sessions = [agent.sessions for agent in world.agents.values()]
        loop = asyncio.get_running_loop()
        for server in world.servers.values():
            assert server is not None
            late = server.clock.monotonic
            server.clock.monotonic = lambda late=late: late() + (9 if loop.time() > jump else 0)  # type: ignore[method-assign]
        jump = loop.time() + 1
        await asyncio.sleep(3)
        assert [agent.sessions for agent in world.agents.values()] == sessions
        assert await all_connected(world)


async def test_an_agent_that_takes_nothing_is_hung_up_on() -> None:
    async with World(71, hosts=1, servers=1).running() as world:
        await world.until(lambda: all_connected(world))
        server = world.servers["s1"]
        assert server is not None
        session = server.plane.hub.session((await world.hosts())["h1"].id)
        assert session is not None
        for n in range(3000):
            session.send(wire.Ping(token=n))
        assert session.ended.is_set()
        assert "fast enough" in session.end_reason
        await world.until(lambda: world.agents["h1"].sessions == 2)
        assert (await world.store.read(lambda tx: tx.first(Host))).connection
