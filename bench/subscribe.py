"""How long a change takes to a subscriber, at a steady number of changes a second: from the host that saw it (through the agent's
session and the database), and from the moment in which that host was told that it is stored (the change log and rendering).
Beside it, the round trip of a bare WebSocket on the same machine."""

from __future__ import annotations

import argparse
import asyncio
import base64
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import websockets
from testbed.client import Client

from bench.api import cpu, process, set_up
from bench.figures import figure, heading
from remuda.core import wire

PORT, BARE_PORT = 18931, 18933
HOSTS, SECONDS = 10, 20
BASE = f"http://127.0.0.1:{PORT}"


class Row(msgspec.Struct):
    """What is looked at of a container."""

    restarts: int | None = None
    uuid: str = ""


class Data(msgspec.Struct):
    resource: Row


class Frame(msgspec.Struct):
    """One frame."""

    name: str
    data: Data | None = None
    resourceType: str | None = None  # noqa: N815 - as it is on the wire


_frame = msgspec.json.Decoder(Frame).decode


class Watch:
    """When each change was seen by its host, was stored, and arrived."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, int], float] = {}
        self.stored: dict[tuple[str, int], float] = {}
        self.arrived: dict[tuple[str, int], float] = {}

    async def subscribe(self, key: dict[str, str], counts: bool) -> None:
        """One subscriber of the environment; the first one measures."""
        url = f"{BASE.replace('http', 'ws')}/v1/projects/1a5/subscribe?eventNames=resource.change"
        async with websockets.connect(url, additional_headers=key, compression=None, max_queue=None) as socket:
            async for text in socket:
                if not counts:
                    continue
                frame = _frame(text)
                if frame.resourceType != "container" or frame.data is None:
                    continue
                row = frame.data.resource
                self.arrived.setdefault((row.uuid, row.restarts or 0), time.perf_counter())

    def since(self, begun: dict[tuple[str, int], float]) -> list[float]:
        """How long after ``begun`` each change arrived."""
        return [max(0.0, end - begun[key]) for key, end in self.arrived.items() if key in begun and key in self.seen]


class Host:
    """A host of so many containers, of which some change now and then."""

    def __init__(self, number: int, containers: int, token: str) -> None:
        self._number, self._token = number, token
        self.uuids = [f"docker:{number:02d}{n:062d}" for n in range(containers)]
        self._restarts = dict.fromkeys(self.uuids, 0)
        self._reports = 0
        self._untold: dict[int, list[tuple[str, int]]] = {}
        self._noted = asyncio.Event()
        self.ready = asyncio.Event()

    def report(self, uuids: list[str], watch: Watch | None) -> bytes:
        """What changed. The number of restarts tells one change from the next."""
        containers = []
        for uuid in uuids:
            self._restarts[uuid] += 1
            name = uuid[-8:]
            containers.append(
                wire.ContainerReport(
                    uuid=uuid, external_id=uuid[7:], name=f"n{self._number}-{name}", observed="running", native=True,
                    restarts=self._restarts[uuid], image="nginx", labels={"team": "a", "role": "web"}, address="172.17.0.2",
                )
            )  # fmt: skip
            if watch is not None:
                watch.seen[uuid, self._restarts[uuid]] = time.perf_counter()
        self._reports += 1
        self._untold[self._reports] = [(uuid, self._restarts[uuid]) for uuid in uuids]
        return wire.encode(wire.Observed(number=self._reports, containers=containers, complete=watch is None))

    async def run(self, rate: float, watch: Watch, begin: asyncio.Event) -> None:
        """Join, tell of all containers, and then of ``rate`` changes a second."""
        api = Client(BASE, ("registrationToken", self._token))
        keys = await asyncio.to_thread(api.post, "/v1/register", {"key": f"bench-host-{self._number}"})
        header = {"Authorization": basic(keys["accessKey"], keys["secretKey"])}
        async with websockets.connect(
            f"{BASE.replace('http', 'ws')}/v1/agentsession", additional_headers=header, compression=None
        ) as socket:
            facts = wire.HostFacts(hostname=f"bench{self._number}", agent_ip=f"10.9.0.{self._number + 1}", docker="up")
            await socket.send(wire.encode(wire.Hello(machine=f"m{self._number}", boot="b", facts=facts)).decode())
            reader = asyncio.create_task(self._read(socket, watch))
            try:
                await self._say(socket, rate, watch, begin)
            finally:
                reader.cancel()

    async def _say(self, socket: websockets.ClientConnection, rate: float, watch: Watch, begin: asyncio.Event) -> None:
        await socket.send(self.report(self.uuids, None).decode())
        await self._noted.wait()
        self.ready.set()
        await begin.wait()
        batch = max(1, round(rate / 10))
        due = time.perf_counter() + self._number / HOSTS / 10
        at = 0
        for _ in range(SECONDS * 10):
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            due += batch / rate
            chosen = [self.uuids[(at + n) % len(self.uuids)] for n in range(batch)]
            at += batch
            await socket.send(self.report(chosen, watch).decode())

    async def _read(self, socket: websockets.ClientConnection, watch: Watch) -> None:
        async for text in socket:
            message = wire.decode_from_server(text)
            if isinstance(message, wire.Ping):
                await socket.send(wire.encode(wire.Pong(token=message.token)).decode())
            elif isinstance(message, wire.Noted):
                now = time.perf_counter()
                for number in [n for n in self._untold if n <= message.number]:
                    watch.stored.update(dict.fromkeys(self._untold.pop(number), now))
                self._noted.set()


def basic(user: str, secret: str) -> str:
    """A header of HTTP."""
    return "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()


async def bare(count: int) -> list[float]:
    """Round trips of a frame of 4 kB over a WebSocket that does nothing."""
    took: list[float] = []

    async def echo(socket: websockets.ServerConnection) -> None:
        async for text in socket:
            await socket.send(text)

    async with (
        websockets.serve(echo, "127.0.0.1", BARE_PORT, compression=None),
        websockets.connect(f"ws://127.0.0.1:{BARE_PORT}", compression=None) as socket,
    ):
        for _ in range(count):
            began = time.perf_counter()
            await socket.send("x" * 4000)
            await socket.recv()
            took.append(time.perf_counter() - began)
    return sorted(took)


def at(values: list[float], share: float) -> float:
    """A quantile, in milliseconds."""
    ordered = sorted(values)
    return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def measure(pid: int, key: dict[str, str], token: str, rate: int, listeners: int) -> None:
    """One round at this rate."""
    watch, begin = Watch(), asyncio.Event()
    hosts = [Host(number, 2 * rate // HOSTS, token) for number in range(HOSTS)]
    tasks: asyncio.Future[Any] = asyncio.gather(*[host.run(rate / HOSTS, watch, begin) for host in hosts])
    joined: asyncio.Future[Any] = asyncio.gather(*[host.ready.wait() for host in hosts])
    await asyncio.wait({tasks, joined}, timeout=120, return_when=asyncio.FIRST_COMPLETED)
    if tasks.done():
        tasks.result()
    assert joined.done(), "the hosts did not join in time"
    others = [asyncio.create_task(watch.subscribe(key, number == 0)) for number in range(listeners)]
    await asyncio.sleep(3)
    what = f"{rate} changes a second of {2 * rate} containers on {HOSTS} hosts, {listeners} subscribers, {SECONDS} s"
    await asyncio.to_thread(heading, what)
    before, began = cpu(pid), time.perf_counter()
    begin.set()
    await tasks
    spent = time.perf_counter() - began
    used = cpu(pid) - before
    await asyncio.sleep(2)
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    took, later = watch.since(watch.seen), watch.since(watch.stored)
    figure("changes that arrived", len(took), f"of {len(watch.seen)}")
    figure("changes a second", len(watch.seen) / spent, "")
    figure("change stored -> frame, p50", at(later, 0.5), "ms")
    figure("the same, p99", at(later, 0.99), "ms", 100)
    figure("change seen by its host -> frame, p50", at(took, 0.5), "ms")
    figure("the same, p99", at(took, 0.99), "ms", 100)
    figure("the same, worst", at(took, 1), "ms")
    figure("CPU of the server meanwhile", 100 * used / spent, "% of a core")
    figure("round trip of a bare WebSocket, p99", at(await bare(2000), 0.99), "ms")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--listeners", type=int, default=5)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="remuda-bench-") as text:
        data = Path(text) / "data"
        command = (sys.executable, "-m", "remuda.run.server", "--data", data, "--host", "127.0.0.1", "--port", PORT)
        with process(*command) as pid:
            api, headers = set_up(data)
            api.cookie = headers["Authorization"].partition(" ")[2]
            token = api.post("/v1/projects/1a5/registrationtokens")["token"]
            asyncio.run(measure(pid, headers, token, told.rate, told.listeners))


if __name__ == "__main__":
    main()
