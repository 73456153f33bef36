"""Several servers, one database, many agents, one event loop with virtual time, and a seed for everything that is chance."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from tests.sim.agents import FakeAgent, Machine, Pipe, pipe_pair

from remuda.adapters.memory import LoopClock, MemoryBus, MemoryCluster, MemoryHub, MemoryLeases
from remuda.adapters.sql.store import SqlStore
from remuda.control.plane import ControlPlane
from remuda.core.model import REMOVED, Account, Agent, Host, Instance, Service, Stack
from remuda.core.spec import LaunchConfig
from remuda.ports.keyring import Keyring
from remuda.ports.leases import ServerInfo
from remuda.ports.store import ALIVE, eq

EXPIRY = 2.0


class Server:
    """A server process: a control plane and the sockets it holds."""

    def __init__(self, world: World, name: str, generation: int) -> None:
        self.name = name
        self.server_id = f"{name}.{generation}"
        self.clock = LoopClock(f"{world.seed}/{self.server_id}")
        self.store = world.store.share(clock=self.clock)
        self.leases: MemoryLeases = world.cluster.leases(name)
        self.bus: MemoryBus = world.hub.bus()
        self.plane = ControlPlane(
            self.store,
            self.leases,
            self.bus,
            self.clock,
            ServerInfo(server_id=self.server_id, node=name),
            world.keyring,
        )
        self.pipes: list[Pipe] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.main = asyncio.create_task(self.plane.run())

    async def accept(self, agent: Agent) -> Pipe:
        ours, theirs = pipe_pair()
        self.pipes.append(ours)
        task = asyncio.create_task(self.plane.hub.serve(ours, agent))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return theirs

    async def crash(self) -> None:
        """kill -9: nothing is written any more, sockets break, the lease service notices after a while."""
        self.store._database = _Dead()
        for pipe in self.pipes:
            await pipe.close()
        for task in [self.main, *self.tasks]:
            task.cancel()
        with suppress(BaseException):
            await asyncio.gather(self.main, *self.tasks, return_exceptions=True)
        await self.bus.close()


class _Dead:
    """The database as a dead process sees it."""

    async def write(self, *_: object) -> object:
        raise asyncio.CancelledError

    read = write

    async def close(self) -> None:
        return None


class World:
    """The whole installation."""

    def __init__(self, seed: int, *, servers: int = 3, hosts: int = 3, keyring: Keyring | None = None) -> None:
        self.seed = seed
        self.keyring = keyring
        self.random = random.Random(seed)
        self.clock = LoopClock(f"{seed}/world")
        self.cluster = MemoryCluster(self.clock)
        self.hub = MemoryHub()
        self.servers: dict[str, Server | None] = {}
        self.generation = 0
        self.names = [f"s{n}" for n in range(1, servers + 1)]
        self.host_count = hosts
        self.agents: dict[str, FakeAgent] = {}
        self.store: SqlStore
        self.environment = 0
        self.stack = 0
        self._tasks: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[World]:
        self.store = SqlStore.sqlite(":memory:", clock=self.clock, inline=True)
        await self.store.migrate()
        account, stack = await self.store.write(self._found)
        self.environment, self.stack = account.id, stack.id
        try:
            for name in self.names:
                self.start(name)
            for n in range(1, self.host_count + 1):
                await self.add_host(f"h{n}")
            yield self
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for server in self.servers.values():
                if server is not None:
                    await server.crash()
            await self.store.close()

    @staticmethod
    def _found(tx):  # type: ignore[no-untyped-def]
        account = tx.insert(Account(name="Default", kind="project"))
        return account, tx.insert(Stack(account_id=account.id, name="shop"))

    # ---- things that happen -------------------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        self.generation += 1
        self.servers[name] = Server(self, name, self.generation)

    async def crash(self, name: str) -> None:
        server = self.servers[name]
        if server is None:
            return
        self.servers[name] = None
        await server.crash()
        leases = server.leases
        leases.set_linked(False)

        async def later() -> None:
            await asyncio.sleep(EXPIRY)
            if self.servers.get(name) is None:
                self.cluster.remove(name)

        self._tasks.append(asyncio.create_task(later()))

    async def add_host(self, name: str, machine: str = "") -> FakeAgent:
        uuid = f"agent-{name}"
        await self.store.write(lambda tx: tx.insert(Agent(account_id=self.environment, uuid=uuid, name=name)))
        agent = FakeAgent(Machine(name, machine or f"fp-{name}"), lambda a: self.dial(uuid), self.clock.jitter)
        self.agents[name] = agent
        self._tasks.append(asyncio.create_task(agent.run()))
        return agent

    async def dial(self, uuid: str) -> Pipe | None:
        up = [s for _, s in sorted(self.servers.items()) if s is not None]
        if not up:
            return None
        server = self.random.choice(up)
        record = await self.store.read(lambda tx: tx.first(Agent, eq("uuid", uuid)))
        if record is None:
            return None
        return await server.accept(record)

    async def power_off(self, name: str) -> None:
        agent = self.agents[name]
        agent.machine.power_off()
        if agent.pipe is not None:
            agent.pipe.cut()
            agent.pipe.inbox.put_nowait(None)

    async def power_on(self, name: str) -> None:
        self.agents[name].machine.power_on()

    async def disconnect(self, name: str) -> None:
        pipe = self.agents[name].pipe
        if pipe is not None:
            await pipe.close()

    @property
    def api(self) -> SqlStore:
        """The store of a server that lives: what goes through its API wakes its own feed."""
        return next((s.store for _, s in sorted(self.servers.items()) if s is not None), self.store)

    # ---- wishes -------------------------------------------------------------------------------------------------------

    async def service(self, name: str, scale: int = 1, *, image: str = "docker:nginx", **more) -> int:  # type: ignore[no-untyped-def]
        config = more.pop("launch_config", None) or LaunchConfig(image_uuid=image, **more.pop("config", {}))
        record = Service(
            account_id=self.environment, stack_id=self.stack, name=name, scale=scale, launch_config=config, **more
        )
        return (await self.api.write(lambda tx: tx.insert(record))).id

    async def change(self, kind, number: int, **changes) -> None:  # type: ignore[no-untyped-def]
        """As the API does: a service that is to change has not settled any more."""

        def unit(tx):  # type: ignore[no-untyped-def]
            record = tx.get(kind, number)
            more = {"data": {**record.data, "settled": False}} if kind is Service else {}
            tx.update(record, **changes, **more)

        await self.api.write(unit)

    async def remove(self, service: int) -> None:
        """Remove a service and wait until nothing is left of it."""
        await self.change(Service, service, desired=REMOVED)

        async def gone() -> bool:
            return not await self.instances(service, going=True)

        await self.until(gone, what="the service is gone")

    # ---- looking ------------------------------------------------------------------------------------------------------

    async def get_service(self, number: int) -> Service:
        return await self.store.read(lambda tx: tx.get(Service, number))  # type: ignore[return-value]

    async def instances(self, service: int | None = None, *, going: bool = False) -> list[Instance]:
        where = [] if service is None else [eq("service_id", service)]
        rows = await self.store.read(lambda tx: tx.find(Instance, ALIVE, *where))
        return rows if going else [i for i in rows if i.desired != REMOVED]

    async def hosts(self) -> dict[str, Host]:
        return {h.name: h for h in await self.store.read(lambda tx: tx.find(Host, ALIVE))}

    async def settled(self, *services: int) -> bool:
        rows = [await self.get_service(n) for n in services]
        return all(r.data.get("settled") is True for r in rows)

    async def until(self, condition: Callable[[], object], seconds: float = 60.0, what: str = "") -> float:
        """Wait (virtual time) until the condition holds; how long it took."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        while True:
            answer = condition()
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                return loop.time() - start
            if loop.time() - start > seconds:
                raise AssertionError(f"seed {self.seed}: not within {seconds} s: {what}\n{await self.picture()}")
            await asyncio.sleep(0.05)

    async def picture(self) -> str:
        services = await self.store.read(lambda tx: tx.find(Service, ALIVE))
        lines = [
            f"{s.name}: scale {s.scale} current {s.current_scale} {s.desired} {s.data} | {s.because}" for s in services
        ]
        lines += [
            f"{h.name}: {h.connection} {h.session_server} {h.desired} {h.assign_seq}/{h.applied_seq}"
            for h in (await self.hosts()).values()
        ]
        lines += [
            f"{i.name} on {i.host_id} {i.desired}/{i.observed} {i.assign_seq}/{i.applied_seq} rev {i.revision} | {i.because}"
            for i in await self.instances(going=True)
        ]
        for name, server in self.servers.items():
            lines.append(f"{name}: {server.plane.status() if server else 'down'}")
        return "\n".join(lines)
