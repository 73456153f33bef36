"""A small honest agent: keeps containers as a dictionary, obeys assignments, says what is so. Speaks core/wire.py."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from remuda.agent.surroundings import Surroundings
from remuda.core import wire
from remuda.core.model import REMOVED, RUNNING
from remuda.core.pulls import DONE, FAILED, Pull
from remuda.core.volumes import names_of


class Pipe:
    """One side of a socket in memory. ``cut`` makes it a black hole (a machine without power), ``close`` ends it."""

    def __init__(self) -> None:
        self.inbox: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self.peer: Pipe | None = None
        self.dead = False
        self.closed = False

    async def send(self, data: str | bytes) -> None:
        if self.closed:
            raise ConnectionError("the socket is closed")
        if not self.dead and self.peer is not None:
            self.peer.inbox.put_nowait(data)

    async def receive(self) -> str | bytes | None:
        if self.closed and self.inbox.empty():
            return None
        return await self.inbox.get()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        if self.closed:
            return
        self.closed = True
        self.inbox.put_nowait(None)
        if self.peer is not None and not self.dead and not self.peer.closed:
            self.peer.closed = True
            self.peer.inbox.put_nowait(None)

    def cut(self) -> None:
        for side in (self, self.peer):
            if side is not None:
                side.dead = True


def pipe_pair() -> tuple[Pipe, Pipe]:
    one, other = Pipe(), Pipe()
    one.peer, other.peer = other, one
    return one, other


@dataclass
class Box:
    """A container on a simulated machine."""

    assignment: wire.Assignment
    external_id: str
    running: bool = True
    restarts: int = 0


@dataclass
class Machine:
    """What outlives the agent's connection, and (but for running containers) the machine's power."""

    name: str
    machine: str
    boot: str = "b0"
    on: bool = True
    boxes: dict[str, Box] = field(default_factory=dict)
    known: dict[str, wire.Assignment] = field(default_factory=dict)
    applied: int = 0
    made: int = 0
    touched: list[tuple[str, str]] = field(default_factory=list)
    """(what, uuid) for every start, stop, removal: what a user would notice."""
    failing: set[str] = field(default_factory=set)
    """Images that cannot be pulled here."""
    surroundings: Surroundings = field(default_factory=Surroundings)
    scenes: list[wire.SceneUpdate] = field(default_factory=list)
    """Every update of the scene that was ever received."""
    told_keys: list[tuple[list[int], int]] = field(default_factory=list)
    """Which generations were told, and which to use."""

    images: set[str] = field(default_factory=set)
    """What orders to pull brought here."""
    pulls: bool = True
    """False: orders to pull are taken, and nothing comes of them."""
    disks: dict[str, str] = field(default_factory=dict)
    """Named volumes -> driver. They outlive the machine's power."""
    orders: dict[str, wire.VolumeOrder] = field(default_factory=dict)
    tunnels: bool = False
    """Does it say which keys its tunnels accept?"""
    link_mtu: int = 0

    def facts(self) -> wire.HostFacts:
        around = self.surroundings
        said = {"network_keys": sorted(around.keys), "network_use": around.use} if self.tunnels else {}
        return wire.HostFacts(hostname=self.name, agent_ip="10.0.0.1", labels={"zone": self.name[-1]}, docker="up",
                              link_mtu=self.link_mtu, **said)  # fmt: skip

    def apply(self, assign: wire.Assign) -> None:
        if assign.complete:
            named = {a.uuid for a in assign.items}
            for uuid in [u for u in self.boxes if u not in named]:
                del self.boxes[uuid]
                self.touched.append(("removed", uuid))
            self.known = {}
            self.orders = {}
        for item in assign.items:
            old = self.known.get(item.uuid)
            if old is not None and old.seq >= item.seq:
                continue
            self.known[item.uuid] = item
            self._carry_out(item, old)
        for order in assign.volumes:
            name = order.wish.name
            self.orders[name] = order
            if order.desired != REMOVED:
                self.disks.setdefault(name, order.wish.driver)
            elif not any(name in names_of(box.assignment.spec) for box in self.boxes.values()):
                self.disks.pop(name, None)
        self.applied = max(self.applied, assign.through)

    def _carry_out(self, item: wire.Assignment, old: wire.Assignment | None) -> None:
        box = self.boxes.get(item.uuid)
        if item.desired == REMOVED:
            if box is not None:
                del self.boxes[item.uuid]
                self.touched.append(("removed", item.uuid))
            return
        wanted = item.desired == RUNNING
        if box is None:
            if wanted and item.spec.image not in self.failing:
                self.made += 1
                for volume in item.volumes:
                    self.disks.setdefault(volume.name, volume.driver)
                for name in names_of(item.spec):
                    self.disks.setdefault(name, "local")
                self.boxes[item.uuid] = Box(item, f"{self.name}-{self.made}")
                self.touched.append(("started", item.uuid))
            return
        token = box.assignment.restart_token
        box.assignment = item
        if box.running != wanted or (wanted and item.restart_token != token):
            box.running = wanted
            self.touched.append(("started" if wanted else "stopped", item.uuid))

    def report(self, uuid: str) -> wire.ContainerReport:
        box, item = self.boxes.get(uuid), self.known.get(uuid)
        seq = item.seq if item is not None else 0
        if box is None:
            failed = item is not None and item.desired == RUNNING
            return wire.ContainerReport(
                uuid=uuid,
                observed="error" if failed else "absent",
                message="No such image" if failed else "",
                applied_seq=seq,
            )
        return wire.ContainerReport(
            uuid=uuid, external_id=box.external_id, name=box.assignment.name, observed="running" if box.running else "exited",
            exit_code=None if box.running else 0, restarts=box.restarts, applied_seq=seq,
        )  # fmt: skip

    def volumes(self) -> list[wire.VolumeReport] | None:
        """All named volumes; nothing is said where there never were any."""
        if not self.disks and not self.orders:
            return None
        return [
            wire.VolumeReport(
                name=name, uuid=order.uuid if (order := self.orders.get(name)) else "", driver=self.disks.get(name, "local"),
                seen="present" if name in self.disks else "absent", applied_seq=order.seq if order else 0,
            )
            for name in {**self.disks, **self.orders}
        ]  # fmt: skip

    def power_off(self) -> None:
        self.on = False

    def power_on(self) -> None:
        """Docker starts what should run; the agent starts with what it had written down."""
        self.on = True
        self.boot += "x"


class FakeAgent:
    """Keeps one session at a time with one of the servers given by ``dial``; reconnects for ever."""

    def __init__(self, machine: Machine, dial, jitter) -> None:  # type: ignore[no-untyped-def]
        self.machine = machine
        self._dial = dial
        self._jitter = jitter
        self.pipe: Pipe | None = None
        self.refused = ""
        self.number = 0
        self.sessions = 0
        self.pace = 0.05
        """Seconds that carrying out a batch of assignments takes."""

    async def run(self) -> None:
        while not self.refused:
            if self.machine.on:
                self.pipe = await self._dial(self)
                if self.pipe is not None:
                    try:
                        await self._session(self.pipe)
                    except ConnectionError:
                        pass
                    finally:
                        if self.machine.on:
                            await self.pipe.close()
                        self.pipe = None
            await asyncio.sleep(0.2 + 0.8 * self._jitter())

    async def _session(self, pipe: Pipe) -> None:
        machine = self.machine
        await self._say(pipe, wire.Hello(machine=machine.machine, boot=machine.boot, applied_seq=machine.applied,
                                         scene_through=machine.surroundings.scene.through, facts=machine.facts()))  # fmt: skip
        while machine.on:
            try:
                async with asyncio.timeout(wire.SILENCE_SECONDS):
                    frame = await pipe.receive()
            except TimeoutError:
                return
            if frame is None or not machine.on:
                return
            await self._answer(pipe, wire.decode_from_server(frame))

    async def _answer(self, pipe: Pipe, message: wire.FromServer) -> None:
        match message:
            case wire.Refused():
                self.refused = message.reason if message.final else ""
            case wire.Welcome():
                self.sessions += 1
                self.machine.surroundings.welcome(message.host)
                await self._observe(pipe, list(self.machine.boxes), complete=True)
            case wire.Assign():
                await asyncio.sleep(self.pace)
                if not self.machine.on:
                    return
                self.machine.apply(message)
                await self._observe(pipe, [a.uuid for a in message.items])
            case wire.SceneUpdate() | wire.NetworkKeys():
                await self._look_around(pipe, message)
            case wire.Ping():
                await self._say(pipe, wire.Pong(token=message.token))
            case wire.PullOrder():
                await self._pull(pipe, message)
            case wire.StreamOpen():
                payload = f"{message.kind} of {self.machine.name}".encode()
                await self._say(pipe, wire.StreamData(stream=message.stream, payload=payload))
                if message.kind != "exec":
                    await self._say(pipe, wire.StreamEnd(stream=message.stream, exit_code=0))
            case wire.StreamData():
                if message.channel == "in" and not message.payload:
                    await self._say(pipe, wire.StreamEnd(stream=message.stream, exit_code=7))
                else:
                    await self._say(pipe, wire.StreamData(stream=message.stream, payload=message.payload))
                    await self._say(pipe, wire.StreamCredit(stream=message.stream, amount=len(message.payload)))

    async def _pull(self, pipe: Pipe, message: wire.PullOrder) -> None:
        if self.machine.pulls:
            failed = message.image in self.machine.failing
            self.machine.images |= set() if failed else {message.image}
            pull = Pull(state=FAILED, message="no such image") if failed else Pull(state=DONE, percent=100)
            await self._say(pipe, wire.Pulled(task=message.task, pull=pull))

    async def _look_around(self, pipe: Pipe, message: wire.SceneUpdate | wire.NetworkKeys) -> None:
        if isinstance(message, wire.NetworkKeys):
            self.machine.surroundings.take_keys(message)
            self.machine.told_keys.append((sorted(message.keys), message.use))
            if self.machine.tunnels:
                await self._say(pipe, wire.Facts(facts=self.machine.facts()))
            return
        self.machine.scenes.append(message)
        if not self.machine.surroundings.take(message) and not message.complete:
            await self._say(pipe, wire.SceneWanted())

    async def _observe(self, pipe: Pipe, uuids: list[str], *, complete: bool = False) -> None:
        self.number += 1
        await self._say(pipe, wire.Observed(number=self.number, containers=[self.machine.report(u) for u in uuids],
                                            complete=complete, applied_seq=self.machine.applied,
                                            volumes=self.machine.volumes()))  # fmt: skip

    async def _say(self, pipe: Pipe, message: wire.Message) -> None:
        if self.machine.on:
            await pipe.send(wire.encode(message))

    async def die(self, uuid: str) -> None:
        """A container comes to its end; the agent starts it again by itself and says so."""
        box = self.machine.boxes[uuid]
        box.restarts += 1
        if self.pipe is not None:
            await self._observe(self.pipe, [uuid])

    async def say(self, *reports: wire.ContainerReport) -> None:
        """Report these, or (without any) everything that is here."""
        assert self.pipe is not None
        self.number += 1
        own = [] if reports else [self.machine.report(uuid) for uuid in self.machine.boxes]
        await self._say(self.pipe, wire.Observed(number=self.number, containers=[*reports, *own], complete=not reports,
                                                 applied_seq=self.machine.applied))  # fmt: skip
