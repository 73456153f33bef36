"""``SqlStore``: runs units of work on whichever database it was made for, and tells the process what was committed.

A write is carried to its end even when the caller is cancelled in the middle: half-known outcomes are worse than late
ones, and hooks must hear of every commit. All waits end by a deadline.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa

from remuda.adapters.sql.mysql import Mysql, Target
from remuda.adapters.sql.sqlite import InlineSqlite, ThreadedSqlite
from remuda.adapters.sql.tx import SqlTx
from remuda.ports.clock import Clock
from remuda.ports.store import Grant, StoreError, Tx

T = TypeVar("T")
log = logging.getLogger(__name__)


class _Database(Protocol):
    async def write(self, clock: Clock, unit: Callable[[SqlTx], T], grant: Grant | None) -> tuple[T, int]: ...

    async def read(self, clock: Clock, unit: Callable[[SqlTx], T]) -> T: ...

    async def migrate(self, apply: Callable[[sa.Connection], None]) -> None: ...

    async def close(self) -> None: ...


class SqlStore:
    """Implements :class:`remuda.ports.store.Store`. Make it with :meth:`sqlite` or :meth:`mysql`, then :meth:`migrate`."""

    def __init__(self, database: _Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._hooks: list[Callable[[int], None]] = []
        self._writing: set[asyncio.Task[Any]] = set()
        self._inline = isinstance(database, InlineSqlite)

    @classmethod
    def sqlite(cls, path: str, *, clock: Clock, inline: bool = False) -> SqlStore:
        """A database in one file. ``inline``: no threads, and ``:memory:`` is allowed (for the simulation)."""
        return cls(InlineSqlite(path) if inline else ThreadedSqlite(path), clock)

    @classmethod
    async def mysql(
        cls,
        *,
        host: str,
        name: str,
        user: str,
        password: str,
        clock: Clock,
        port: int = 3306,
        pool: int = 20,
        deadline: float = 5.0,
        ssl: Any = None,
    ) -> SqlStore:
        """A MySQL or MariaDB server; nothing is connected yet. ``deadline``: seconds within which a unit is tried again."""
        return cls(Mysql(Target(host, port, name, user, password, ssl), pool, deadline), clock)

    def share(self, *, clock: Clock | None = None) -> SqlStore:
        """Another store on the same inline database, as a second server would have (for the simulation)."""
        if not isinstance(self._database, InlineSqlite):
            raise StoreError("Only an inline database can be shared within a process; open another store instead")
        return SqlStore(self._database.share(), clock or self._clock)

    async def migrate(self) -> None:
        """Bring the schema up to date. Any number of servers may do this at the same time."""
        from remuda.adapters.sql.migrations import upgrade_connection  # Alembic is slow to import

        await self._database.migrate(upgrade_connection)

    async def read(self, unit: Callable[[Tx], T]) -> T:
        """Run a unit that only reads, from one snapshot."""
        return await self._database.read(self._clock, unit)

    async def write(self, unit: Callable[[Tx], T], *, grant: Grant | None = None) -> T:
        """Run a unit and commit it; with ``grant``, only if no newer holder of that lease has ever written."""
        if self._inline:
            return await self._write(unit, grant)
        task = asyncio.create_task(self._write(unit, grant))
        self._writing.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._writing.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as seen: the caller may have been cancelled

    async def _write(self, unit: Callable[[Tx], T], grant: Grant | None) -> T:
        result, newest = await self._database.write(self._clock, unit, grant)
        if newest:
            for hook in self._hooks:
                try:
                    hook(newest)
                except Exception:
                    log.exception("a listener for commits failed")
        return result

    async def highest_fence(self) -> int:
        """The highest fence that any lease ever wrote with: new fences of a process without memory must be above it."""
        return await self._database.read(self._clock, lambda tx: tx.highest_fence())

    def on_commit(self, hook: Callable[[int], None]) -> None:
        """Call ``hook(newest change number)`` in the event loop after each commit that logged changes."""
        self._hooks.append(hook)

    async def close(self) -> None:
        """Finish what is being written, then give all connections back."""
        if self._writing:
            await asyncio.wait(set(self._writing), timeout=10)
        await self._database.close()
