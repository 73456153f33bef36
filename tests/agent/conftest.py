"""An agent put together as ``run.agent`` does it, around a fake engine and a fake server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.fakeengine import FakeEngine
from tests.support.fakeserver import FakeServer

from remuda.agent.book import Book
from remuda.agent.facts import Machine, agent_address
from remuda.agent.identity import IdentityFile
from remuda.agent.runtime import Runtime
from remuda.agent.session import Session
from remuda.core.wire import HostFacts


class RunningAgent:
    """An agent with its two tasks; ``stop`` ends it as a signal would."""

    def __init__(self, folder: Path, engine: FakeEngine, url: str, machine: str, ca_fingerprint: str) -> None:
        keep = IdentityFile(folder)
        identity = keep.load()
        self.engine = engine
        self.runtime = Runtime(engine, Book(folder), agent=identity.uuid)
        source, watch = Machine({}, {"rack": "a"}), self.runtime.watch

        def collect(address: str) -> HostFacts:
            return source.facts(address, watch.info, up=watch.up, message=watch.message)

        self.session = Session(
            self.runtime,
            engine,
            keep,
            identity,
            machine=machine,
            boot="b",
            collect=collect,
            address=lambda seen, detected: agent_address({}, seen, detected),
            registration_url=url,
            ca_fingerprint=ca_fingerprint,
        )
        self.looking = asyncio.create_task(self.runtime.run())
        self.talking = asyncio.create_task(self.session.run())

    async def stop(self) -> None:
        for task in (self.talking, self.looking):
            task.cancel()
        await asyncio.gather(self.talking, self.looking, return_exceptions=True)


Start = Callable[..., Awaitable[RunningAgent]]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest_asyncio.fixture
async def server() -> AsyncIterator[FakeServer]:
    running = FakeServer()
    await running.start()
    yield running
    with contextlib.suppress(Exception):
        await running.stop()


@pytest_asyncio.fixture
async def start(tmp_path: Path, engine: FakeEngine, server: FakeServer) -> AsyncIterator[Start]:
    """``await start()`` runs an agent; again after ``stop()`` with the same folder, another machine, another URL."""
    running: list[RunningAgent] = []

    async def begin(
        folder: Path = tmp_path / "agent", machine: str = "m1", url: str | None = None, ca_fingerprint: str = ""
    ) -> RunningAgent:
        target = url if url is not None else f"http://localhost:{server.port}/v1/scripts/token-1"
        agent = RunningAgent(folder, engine, target, machine, ca_fingerprint)
        running.append(agent)
        return agent

    yield begin
    for agent in running:
        await agent.stop()
