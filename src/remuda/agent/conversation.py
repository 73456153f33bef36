"""One connection between the agent and a server, from the welcome to its end, which is always an exception that says why.

Three things go on at once: frames are received (a server that is silent too long is gone), reports leave one after the other,
each when the previous one is stored, and facts leave when they changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from remuda.agent.facts import material
from remuda.agent.health.prober import Prober
from remuda.agent.runtime import Runtime
from remuda.agent.streams import Streams
from remuda.agent.surroundings import Surroundings
from remuda.core import wire
from remuda.core.pulls import Pull
from remuda.ports.engine import Engine

log = logging.getLogger("remuda.agent.session")

FACTS_SECONDS, SIGHTINGS_SECONDS, PULL_SECONDS = 30.0, 60.0, 0.5
_MERGE_SECONDS = 0.03
"""Reports wait so long for company: containers rarely change alone."""


Decode = Callable[[str | bytes], wire.FromServer]


class Final(Exception):  # noqa: N818 - a state
    """The server does not want this agent, and why; trying again is useless."""


class Ended(Exception):  # noqa: N818 - a state
    """The conversation is over; ``soon`` = try again at once."""

    def __init__(self, message: str, *, soon: bool = False) -> None:
        super().__init__(message)
        self.soon = soon


class Socket(Protocol):
    """What a conversation needs of its connection; a WebSocket of ``websockets`` is one."""

    @property
    def transport(self) -> Any:
        """What has an ``abort``."""

    async def send(self, message: str) -> None:
        """One frame."""

    async def recv(self) -> str | bytes:
        """The next frame; raises when there is none any more."""


class Outbox:
    """What is still to be told. It outlives connections; ``number`` counts the reports of this agent's life."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.filled, self.facts_due = asyncio.Event(), asyncio.Event()
        self.volumes_due = False
        self.seen: set[str] = set()
        self.sighted = asyncio.Event()
        self.number = 0
        self.pulls: dict[str, Pull] = {}
        self.pulled = asyncio.Event()

    def pull(self, task: str, pull: Pull) -> None:
        """How far an order to pull is; the server asks again if it does not hear of it."""
        self.pulls[task] = pull
        self.pulled.set()

    def report(self, keys: Iterable[str]) -> None:
        """These containers are to be reported, soon and together with others."""
        self.keys.update(keys)
        if self.keys:
            self.filled.set()

    def sighting(self, uuids: Iterable[str]) -> None:
        """Something new was seen of these observed containers."""
        self.seen.update(uuids)
        self.sighted.set()

    def volumes_changed(self) -> None:
        """The volumes are to be told again."""
        self.volumes_due = True
        self.filled.set()

    def docker_changed(self) -> None:
        """Docker came or went: facts and, once it is back, containers are due."""
        self.facts_due.set()
        self.filled.set()


class Conversation:
    """What goes on within one connection; all of it ends with it."""

    def __init__(
        self,
        socket: Socket,
        welcome: wire.Welcome,
        runtime: Runtime,
        engine: Engine,
        outbox: Outbox,
        collect: Callable[[], wire.HostFacts],
        told: wire.HostFacts,
        surroundings: Surroundings,
        prober: Prober | None = None,
        decode: Decode = wire.decode_from_server,
    ) -> None:
        self._decode = decode
        self._socket, self._silence = socket, welcome.silence_seconds
        self._runtime, self._outbox = runtime, outbox
        self._collect, self._told = collect, told
        self._surroundings = surroundings
        self._prober = prober
        self._streams = Streams(engine, self._send)
        self._noted = asyncio.Event()
        self._awaited = 0

    async def run(self) -> None:
        """Until the connection ends, which raises."""
        tasks = [
            asyncio.create_task(work())
            for work in (self._receive, self._reports, self._facts, self._sightings, self._pulls)
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._streams.close()

    async def _send(self, message: wire.Message) -> None:
        """A peer that takes nothing for the silence period is gone, whatever TCP believes."""
        try:
            async with asyncio.timeout(self._silence):
                await self._socket.send(wire.encode(message).decode())
        except TimeoutError:
            self._abort()
            raise Ended("the server takes no more data") from None

    def _abort(self) -> None:
        with suppress(Exception):
            self._socket.transport.abort()

    async def _receive(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._silence):
                    frame = await self._socket.recv()
            except TimeoutError:
                self._abort()
                raise Ended(f"nothing was heard of the server for {self._silence:g} s") from None
            try:
                message = self._decode(frame)
            except msgspec.DecodeError as error:
                log.warning("A frame of the server was not understood (%s); is the agent older than the server?", error)
                continue
            match message:
                case wire.Ping(token=token):
                    await self._send(wire.Pong(token=token))
                case wire.Assign():
                    self._runtime.assign(message)
                case wire.SceneUpdate() | wire.NetworkKeys():
                    await self._look_around(message)
                case wire.PullOrder():
                    self._runtime.orders.take(message)
                case wire.Noted(number=number):
                    if number >= self._awaited:
                        self._noted.set()
                case wire.Refused(reason=reason, final=final):
                    raise Final(reason) if final else Ended(reason)
                case wire.StreamOpen() | wire.StreamData() | wire.StreamCredit() | wire.StreamEnd():
                    await self._streams.handle(message)

    async def _look_around(self, message: wire.SceneUpdate | wire.NetworkKeys) -> None:
        if isinstance(message, wire.NetworkKeys):
            self._surroundings.take_keys(message)
        elif not self._surroundings.take(message) and not message.complete:
            await self._send(wire.SceneWanted())

    async def _reports(self) -> None:
        """First everything, then what changes; the next report leaves when the previous one is stored."""
        while not self._runtime.ready:
            await self._outbox.filled.wait()
            self._outbox.filled.clear()
        await self._report(None)
        while True:
            await self._outbox.filled.wait()
            await asyncio.sleep(_MERGE_SECONDS)
            self._outbox.filled.clear()
            keys, self._outbox.keys = self._outbox.keys, set()
            if keys or self._outbox.volumes_due:
                await self._report(keys)

    async def _report(self, keys: set[str] | None) -> None:
        runtime, outbox = self._runtime, self._outbox
        if keys is None:
            outbox.keys.clear()
        volumes = runtime.volumes.reports() if keys is None or outbox.volumes_due else None
        outbox.volumes_due = False
        reports = runtime.reports(keys)
        removed = runtime.book.removals_done().intersection(report.uuid for report in reports)
        outbox.number += 1
        self._awaited = outbox.number
        self._noted.clear()
        await self._send(
            wire.Observed(
                number=outbox.number,
                containers=reports,
                complete=keys is None,
                applied_seq=runtime.book.applied_seq,
                volumes=volumes,
            )
        )
        await self._noted.wait()
        runtime.noted(removed)

    async def _sightings(self) -> None:
        """First all that is observed, then what changes. Not confirmed: all is said again after a break, and now and then."""
        if self._prober is None:
            await asyncio.Event().wait()
            return
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if loop.time() >= due:
                due = loop.time() + SIGHTINGS_SECONDS
                self._outbox.seen.clear()
                await self._send(wire.Health(results=self._prober.results(), complete=True))
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._outbox.sighted.wait()
            await asyncio.sleep(_MERGE_SECONDS)
            self._outbox.sighted.clear()
            seen, self._outbox.seen = self._outbox.seen, set()
            if results := self._prober.results(seen):
                await self._send(wire.Health(results=results))

    async def _pulls(self) -> None:
        """A pull talks all the time; twice a second is enough for people."""
        while True:
            await self._outbox.pulled.wait()
            self._outbox.pulled.clear()
            pulls, self._outbox.pulls = self._outbox.pulls, {}
            for task, pull in pulls.items():
                await self._send(wire.Pulled(task=task, pull=pull))
            await asyncio.sleep(PULL_SECONDS)

    async def _facts(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(FACTS_SECONDS):
                    await self._outbox.facts_due.wait()
            self._outbox.facts_due.clear()
            now = self._collect()
            if material(self._told, now):
                self._told = now
                await self._send(wire.Facts(facts=now))
