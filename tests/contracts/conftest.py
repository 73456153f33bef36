"""The real programs, started once for all contract tests that ask for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tests.support.services import MariaDb, mariadb

from remuda.adapters.memory import SystemClock
from remuda.adapters.sql import SqlStore


@pytest.fixture(scope="session")
def database() -> Iterator[MariaDb]:
    """One MariaDB server; tests make databases of their own in it."""
    with mariadb() as server:
        yield server


Opener = Callable[[], Awaitable[SqlStore]]


@pytest.fixture(
    params=["sqlite-inline", "sqlite-threads", pytest.param("mariadb", marks=pytest.mark.real)],
)
async def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opener]:
    """Opens any number of stores on one database, as several servers would."""
    opened: list[SqlStore] = []
    arguments = request.getfixturevalue("database").database() if request.param == "mariadb" else {}

    async def opener() -> SqlStore:
        if request.param == "mariadb":
            store = await SqlStore.mysql(**arguments, clock=SystemClock())
        elif request.param == "sqlite-inline" and opened:
            store = opened[0].share()
        else:
            inline = request.param == "sqlite-inline"
            path = ":memory:" if inline else str(tmp_path / "remuda.db")
            store = SqlStore.sqlite(path, clock=SystemClock(), inline=inline)
        opened.append(store)
        await store.migrate()
        return store

    yield opener
    for store in opened:
        await store.close()


@pytest.fixture
async def store(open_store: Opener) -> SqlStore:
    """An empty store."""
    return await open_store()


async def eventually(check: Callable[[], bool], seconds: float = 20, what: str = "") -> None:
    """Wait until ``check`` is true; fail when it does not become so in time."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, what or "it did not happen in time"
        await asyncio.sleep(0.02)
