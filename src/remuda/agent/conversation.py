"""One connection between the agent and a server, from the welcome to its end, which is always an exception that says why.

Three things go on at once: frames are received (a server that is silent too long is gone), reports leave one after the other,
each when the previous one is stored, and facts leave when they changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress

import msgspec
from websockets.asyncio.client import ClientConnection

from remuda.agent.facts import material
from remuda.agent.runtime import Runtime
from remuda.agent.streams import Streams
from remuda.core import wire
from remuda.ports.engine import Engine

log = logging.getLogger("remuda.agent.session")

FACTS_SECONDS = 30.0
_MERGE_SECONDS = 0.03
"""Reports wait so long for company: containers rarely change alone."""


class Final(Exception):  # noqa: N818 - a state
    """The server does not want this agent, and why; trying again is useless."""


class Ended(Exception):  # noqa: N818 - a state
    """The conversation is over; ``soon`` = try again at once."""

    def __init__(self, message: str, *, soon: bool = False) -> None:
        super().__init__(message)
        self.soon = soon


class Outbox:
    """What is still to be told. It outlives connections; ``number`` counts the reports of this agent's life."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.filled, self.facts_due = asyncio.Event(), asyncio.Event()
        self.number = 0

    def report(self, keys: Iterable[str]) -> None:
        """These containers are to be reported, soon and together with others."""
        self.keys.update(keys)
        if self.keys:
            self.filled.set()

    def docker_changed(self) -> None:
        """Docker came or went: facts and, once it is back, containers are due."""
        self.facts_due.set()
        self.filled.set()


class Conversation:
    """What goes on within one connection; all of it ends with it."""

    def __init__(
        self,
        socket: ClientConnection,
        welcome: wire.Welcome,
        runtime: Runtime,
        engine: Engine,
        outbox: Outbox,
        collect: Callable[[], wire.HostFacts],
        told: wire.HostFacts,
    ) -> None:
        self._socket, self._silence = socket, welcome.silence_seconds
        self._runtime, self._outbox = runtime, outbox
        self._collect, self._told = collect, told
        self._streams = Streams(engine, self._send)
        self._noted = asyncio.Event()
        self._awaited = 0

    async def run(self) -> None:
        """Until the connection ends, which raises."""
        tasks = [asyncio.create_task(work()) for work in (self._receive, self._reports, self._facts)]
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
                message = wire.decode_from_server(frame)
            except msgspec.DecodeError as error:
                log.warning("A frame of the server was not understood (%s); is the agent older than the server?", error)
                continue
            match message:
                case wire.Ping(token=token):
                    await self._send(wire.Pong(token=token))
                case wire.Assign():
                    self._runtime.assign(message)
                case wire.Noted(number=number):
                    if number >= self._awaited:
                        self._noted.set()
                case wire.Refused(reason=reason, final=final):
                    raise Final(reason) if final else Ended(reason)
                case wire.StreamOpen() | wire.StreamData() | wire.StreamCredit() | wire.StreamEnd():
                    await self._streams.handle(message)

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
            if keys:
                await self._report(keys)

    async def _report(self, keys: set[str] | None) -> None:
        runtime, outbox = self._runtime, self._outbox
        if keys is None:
            outbox.keys.clear()
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
            )
        )
        await self._noted.wait()
        runtime.noted(removed)

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
