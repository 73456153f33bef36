"""A whole server in the test's own loop, on a real port, over an in-memory database; and agents that speak the wire."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
import websockets
from argon2 import PasswordHasher

from remuda.adapters.crypto.keyring import FileKeyring
from remuda.adapters.git import GitCommand
from remuda.adapters.identity import LoginProviders
from remuda.adapters.memory.bus import MemoryBus, MemoryHub
from remuda.adapters.memory.clock import SystemClock
from remuda.adapters.memory.leases import MemoryCluster
from remuda.adapters.sql.store import SqlStore
from remuda.api.entry import plant
from remuda.api.routes import application
from remuda.api.server import Api
from remuda.api.values import SettingValues
from remuda.control.catalogs import Catalogs
from remuda.control.plane import ControlPlane
from remuda.core import wire
from remuda.core.model import Port
from remuda.core.pulls import Pull
from remuda.core.volumes import names_of
from remuda.ports.leases import ServerInfo
from remuda.run.cluster import HaCluster
from remuda.run.settings import Database

PASSWORD = "correct horse"


class FakeAgent:
    """An agent whose containers run as soon as they are assigned."""

    def __init__(self, base: str, token: str, key: str) -> None:
        self.base, self.token, self.key = base, token, key
        self.assigned: dict[str, wire.Assignment] = {}
        self.orders: dict[str, wire.VolumeOrder] = {}
        self.disks: dict[str, wire.VolumeWish] = {}
        """Named volumes, as its engine has them."""
        self.streams: list[wire.StreamOpen] = []
        self.unpullable: set[str] = set()
        """Images whose containers never come to be."""
        self.pulls: list[wire.PullOrder] = []
        self.pull_answers: list[Pull] = []
        """What it says to an order to pull; nothing while this is empty."""
        self._number = itertools.count(1)

    async def run(self, ready: asyncio.Event) -> None:
        async with httpx2.AsyncClient() as http:
            answer = await http.post(
                f"{self.base}/v1/register", auth=("registrationToken", self.token), json={"key": self.key}
            )
            keys = answer.json()
        url = self.base.replace("http", "ws") + "/v1/agentsession"
        auth = httpx2.BasicAuth(keys["accessKey"], keys["secretKey"])
        header = next(auth.auth_flow(httpx2.Request("GET", self.base))).headers["authorization"]
        async with websockets.connect(url, additional_headers={"Authorization": header}) as socket:
            facts = wire.HostFacts(hostname=f"host-{self.key[-1]}", agent_ip="10.0.0.1", docker="up")
            await socket.send(wire.encode(wire.Hello(machine=self.key, boot="b", facts=facts)).decode())
            async for frame in socket:
                await self._answer(socket, wire.decode_from_server(frame), ready)

    async def _answer(self, socket: Any, message: Any, ready: asyncio.Event) -> None:
        if isinstance(message, wire.Ping):
            await socket.send(wire.encode(wire.Pong(token=message.token)).decode())
        elif isinstance(message, wire.Assign):
            for item in message.items:
                self.assigned[item.uuid] = item
            reports = [self._report(a) for a in self.assigned.values()]
            observed = wire.Observed(
                number=next(self._number), containers=reports, complete=True, applied_seq=message.through,
                volumes=self._volumes(message.volumes),
            )  # fmt: skip
            await socket.send(wire.encode(observed).decode())
            ready.set()
        elif isinstance(message, wire.PullOrder):
            self.pulls.append(message)
            for answer in self.pull_answers:
                await socket.send(wire.encode(wire.Pulled(task=message.task, pull=answer)).decode())
        elif isinstance(message, wire.StreamOpen):
            self.streams.append(message)
            for text in (b"first line\nsecond", b" line\n"):
                await socket.send(wire.encode(wire.StreamData(stream=message.stream, payload=text)).decode())
            await socket.send(wire.encode(wire.StreamEnd(stream=message.stream, exit_code=3)).decode())

    def _volumes(self, orders: list[wire.VolumeOrder]) -> list[wire.VolumeReport]:
        for one in self.assigned.values():
            if one.desired == "running":
                self.disks |= {v.name: v for v in one.volumes}
                for name in names_of(one.spec):
                    self.disks.setdefault(name, wire.VolumeWish(name=name))
        for order in orders:
            self.orders[order.wish.name] = order
            if order.desired == "removed":
                self.disks.pop(order.wish.name, None)
            else:
                self.disks.setdefault(order.wish.name, order.wish)
        return [self._volume(name) for name in {*self.disks, *self.orders}]

    def _volume(self, name: str) -> wire.VolumeReport:
        there, order = self.disks.get(name), self.orders.get(name)
        return wire.VolumeReport(
            name=name, uuid=order.uuid if order else "", applied_seq=order.seq if order else 0,
            driver=there.driver if there else "local", seen="present" if there else "absent",
            mountpoint=f"/disks/{name}" if there else "",
        )  # fmt: skip

    def _report(self, item: wire.Assignment) -> wire.ContainerReport:
        if item.spec.image in self.unpullable and item.desired == "running":
            return wire.ContainerReport(uuid=item.uuid, observed="error", message="unauthorized", applied_seq=item.seq)
        state = {"running": "running", "stopped": "exited", "removed": "absent"}[item.desired]
        ports = [Port(private=80, public=8080)] if item.spec.ports and state == "running" else []
        return wire.ContainerReport(
            uuid=item.uuid, external_id="d" + item.uuid, observed=state, ports=ports, applied_seq=item.seq, address="172.17.0.2"
        )  # fmt: skip


class Installation:
    """One running server and ways to talk to it."""

    def __init__(self, api: Api, base: str, cluster: MemoryCluster) -> None:
        self.api, self.base, self.cluster = api, base, cluster
        self._tasks: list[asyncio.Task[Any]] = []
        self.jwt = ""

    def client(self, **more: Any) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=self.base + "/v1", timeout=10, **more)

    async def set_up(self) -> None:
        secret = await self.api.setup_secret()
        async with self.client() as http:
            answer = await http.post("/setup", json={"secret": secret, "username": "admin", "password": PASSWORD})
            assert answer.status_code == 201, answer.text
            self.jwt = answer.json()["jwt"]

    def admin(self, project: str | None = "1a5") -> httpx2.AsyncClient:
        headers = {"Authorization": f"Bearer {self.jwt}"}
        path = f"/projects/{project}" if project else ""
        return httpx2.AsyncClient(base_url=f"{self.base}/v1{path}", headers=headers, timeout=10)

    async def agent(self, key: str = "machine-1", kind: type[FakeAgent] = FakeAgent) -> FakeAgent:
        async with self.admin() as http:
            token = (await http.post("/registrationtokens")).json()["token"]
        agent = kind(self.base, token, key)
        ready = asyncio.Event()
        task = asyncio.create_task(agent.run(ready))
        self._tasks.append(task)
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({task, waiting}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        assert ready.is_set(), task.exception() if task.done() else "the agent got no assignments"
        return agent

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def eventually(check: Any, seconds: float = 10.0) -> Any:
    """What ``check`` gives once it is true; fails after a deadline."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        found = await check()
        if found:
            return found
        assert asyncio.get_running_loop().time() < deadline, "it did not become true in time"
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def installation(
    folder: Path, store: SqlStore | None = None, *, name: str = "one", cluster: MemoryCluster | None = None,
    hub: MemoryHub | None = None, **web: Any,
) -> AsyncIterator[Installation]:  # fmt: skip
    """``name``, ``cluster`` and ``hub`` are for those who want several servers; ``web`` goes to uvicorn."""
    clock = SystemClock()
    store = store or SqlStore.sqlite(":memory:", clock=clock, inline=True)
    await store.migrate()
    await plant(store)
    cluster = cluster or MemoryCluster(clock)
    leases, bus = cluster.leases(name), MemoryBus(hub)
    keyring = FileKeyring.load(folder / "secret.key")
    plane = ControlPlane(store, leases, bus, clock, ServerInfo(server_id=name), keyring)
    keyring._hasher = PasswordHasher(time_cost=1, memory_cost=64)  # tests log in hundreds of times
    values = SettingValues({"rancher.server.version": "v1.6.30", "remuda.version": "test"})
    catalogs = Catalogs(GitCommand(), folder / "catalogs", values.get)
    api = Api(
        store=store, plane=plane, leases=leases, keyring=keyring, cluster=HaCluster(Database(), keyring),
        settings=values, version="test", setup_file=folder / "setup-secret", providers=LoginProviders(), catalogs=catalogs,
    )  # fmt: skip
    await api.settle()
    config = uvicorn.Config(
        application(api), port=0, log_config=None, lifespan="off", ws="websockets-sansio", proxy_headers=False,
        **{"ws_ping_interval": None, **web},
    )  # fmt: skip
    server = uvicorn.Server(config)
    tasks = [asyncio.create_task(t) for t in (plane.run(), api.run(), server._serve(), catalogs.run())]
    while not server.started:
        await asyncio.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    one = Installation(api, f"http://127.0.0.1:{port}", cluster)
    try:
        yield one
    finally:
        await one.close()
        server.should_exit = True
        await asyncio.wait([tasks[2]], timeout=5)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await store.close()


@pytest.fixture
async def fresh(tmp_path: Path) -> AsyncIterator[Installation]:
    """A server that nobody has set up yet."""
    async with installation(tmp_path) as one:
        yield one


@pytest.fixture
async def server(fresh: Installation) -> Installation:
    """A server with its administrator."""
    await fresh.set_up()
    return fresh
