"""Plays hosts: the real agent around an engine in memory, over a pipe to the hub. All decisions are the agent's own.

What it does without, because nothing of it could be seen: a network, probes, load balancers, a file for its assignments, and the
picture of its environment (a thousand hosts would keep a thousand copies).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from functools import lru_cache

import msgspec

from remuda import __version__
from remuda.adapters.memory.simulated import SimulatedEngine
from remuda.agent.book import Book
from remuda.agent.conversation import Conversation, Ended, Final, Outbox
from remuda.agent.identity import boot_token
from remuda.agent.runtime import Runtime
from remuda.agent.surroundings import Surroundings
from remuda.control.agents.pipe import Pipe
from remuda.control.agents.simulated import Line, Simulator
from remuda.control.plane import ControlPlane
from remuda.core import wire
from remuda.core.model import Agent
from remuda.core.network.scene import Scene
from remuda.core.simulated import Knobs, facts, knobs

log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.5
OPEN_SECONDS = 10.0
SILENCE_SECONDS = 60.0
"""A server in the same process is not gone because it is slow: that would make a busy one busier."""
_decode = lru_cache(maxsize=8)(wire.decode_from_server)
"""What a thousand hosts are told at once is read once: messages are frozen."""


def simulator(plane: ControlPlane, chance: Callable[[], float] = random.random) -> Simulator:
    """What plays the simulated hosts of this server."""
    for name in ("remuda.agent", "remuda.agent.runtime", "remuda.agent.watch"):
        logging.getLogger(name).setLevel(logging.ERROR)  # what a thousand agents have to say is no news of this server
    return Simulator(plane.store, plane.feed, plane.leases, plane.hub, lambda agent, line: Host(agent, line, chance))


class Onlooker(Surroundings):
    """Remembers how far it was told of its environment, and nothing of what."""

    def take(self, update: wire.SceneUpdate) -> bool:
        """Note the number; there is nobody here to whom it would matter."""
        self.scene = Scene(through=update.scene.through)
        return True


class Host:
    """One simulated machine with its agent."""

    def __init__(self, agent: Agent, line: Line, chance: Callable[[], float] = random.random) -> None:
        self._uuid, self._line, self._chance = agent.uuid, line, chance
        self._knobs = _knobs(agent)
        self._boot = boot_token()
        self.engine = SimulatedEngine(f"testhost-{agent.uuid}", line.unplug)
        self._runtime = Runtime(self.engine, Book(None), agent=agent.uuid)
        self._outbox = Outbox()
        self._runtime.on_report = self._outbox.report
        self._runtime.on_docker = self._docker_changed
        self._around = Onlooker()
        self._plugged, self._up = asyncio.Event(), asyncio.Event()
        self._pipe: Pipe | None = None

    def plug(self, on: bool) -> None:
        """Let it be reached; or fall silent, as when its cable is pulled. Its containers do not notice."""
        if on:
            self._plugged.set()
            return
        self._plugged.clear()
        if self._pipe is not None:
            self._pipe.cut()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._runtime.run())
            group.create_task(self._talk())

    def _docker_changed(self) -> None:
        self._up.set()
        self._outbox.docker_changed()

    async def _talk(self) -> None:
        await self._up.wait()
        while True:
            await self._plugged.wait()
            try:
                await self._converse()
            except Final as error:
                log.info("simulated host %s is not wanted: %s", self._uuid, error)
                return  # its agent is being removed, and whoever plays us will hear of it
            except (Ended, ConnectionError, TimeoutError, msgspec.DecodeError) as error:
                log.debug("simulated host %s is not connected: %s", self._uuid, error)
            await asyncio.sleep(PAUSE_SECONDS * (0.5 + self._chance()))

    async def _converse(self) -> None:
        async with self._line.gate:
            if not self._plugged.is_set():
                return
            pipe = self._pipe = self._line.open()
            try:
                welcome = await self._welcomed(pipe)
            except BaseException:
                pipe.abort()
                raise
        try:
            await Conversation(
                pipe,
                welcome,
                self._runtime,
                self.engine,
                self._outbox,
                self._facts,
                self._facts(),
                self._around,
                decode=_decode,
            ).run()
        finally:
            pipe.abort()
            self._pipe = None

    async def _welcomed(self, pipe: Pipe) -> wire.Welcome:
        hello = wire.Hello(
            agent_version=__version__,
            machine=self._knobs.external_id or self._uuid,
            boot=self._boot,
            applied_seq=self._runtime.book.applied_seq,
            scene_through=self._around.scene.through,
            facts=self._facts(),
        )
        await pipe.send(wire.encode(hello))
        async with asyncio.timeout(OPEN_SECONDS):
            first = wire.decode_from_server(await pipe.recv())
        if isinstance(first, wire.Refused):
            raise Final(first.reason) if first.final else Ended(first.reason)
        if not isinstance(first, wire.Welcome):
            raise Ended(f"the server began with {type(first).__name__} instead of a welcome")
        self._around.welcome(first.host)
        return msgspec.structs.replace(first, silence_seconds=SILENCE_SECONDS)

    def _facts(self) -> wire.HostFacts:
        watch = self._runtime.watch
        told = facts(self._uuid, self._knobs)
        return msgspec.structs.replace(told, docker="up" if watch.up else "down", docker_message=watch.message)


def _knobs(agent: Agent) -> Knobs:
    try:
        return knobs(agent.data)
    except ValueError as error:  # refused where agents are made; a row that came otherwise is an ordinary machine
        log.warning("simulated host %s: %s", agent.uuid, error)
        return Knobs()
