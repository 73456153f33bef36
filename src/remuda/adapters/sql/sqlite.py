"""SQLite for the single node: one writer thread and a few readers, or everything in the event loop.

Threads are the product (a slow disk must not stop the event loop); ``inline`` is for the simulation, where every step
must happen in one order. WAL lets readers go on beside the writer; ``synchronous=FULL`` because an answer 201 promises
that the row survives a power cut.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, StaticPool

from remuda.adapters.sql import errors
from remuda.adapters.sql.tx import SqlTx
from remuda.ports.clock import Clock
from remuda.ports.store import Grant, StoreError, Unavailable

T = TypeVar("T")
READERS = 4
BUSY_SECONDS = 5


def make_engine(path: str) -> sa.Engine:
    """An engine whose connections begin no transaction by themselves."""
    memory = path == ":memory:"
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=path),
        poolclass=StaticPool if memory else NullPool,
        connect_args={"check_same_thread": False, "isolation_level": None, "timeout": BUSY_SECONDS},
    )

    def prepare(connection: Any, _record: Any) -> None:
        durable = "OFF" if memory else "FULL"
        for pragma in ("journal_mode=WAL", f"synchronous={durable}", "foreign_keys=ON", "case_sensitive_like=ON"):
            connection.execute(f"PRAGMA {pragma}").fetchall()

    sa.event.listen(engine, "connect", prepare)
    return engine


def run_write(cx: sa.Connection, clock: Clock, unit: Callable[[SqlTx], T], grant: Grant | None) -> tuple[T, int]:
    """Run a unit and commit it."""
    try:
        with _Transaction(cx, "BEGIN IMMEDIATE") as transaction:
            tx = SqlTx(cx, clock)
            if grant is not None:
                tx.fence(grant)
            result = unit(tx)
            newest = tx.log_changes("")
            transaction.commit()
            return result, newest
    except DBAPIError as error:
        raise errors.sqlite_error(error) from None


def run_read(cx: sa.Connection, clock: Clock, unit: Callable[[SqlTx], T]) -> T:
    """Run a unit on one snapshot and keep nothing of what it wrote."""
    try:
        with _Transaction(cx, "BEGIN"):
            return unit(SqlTx(cx, clock))
    except DBAPIError as error:
        raise errors.sqlite_error(error) from None


class _Transaction:
    """BEGIN of the right kind straight at the driver; whatever is not committed is rolled back."""

    def __init__(self, cx: sa.Connection, begin: str) -> None:
        self._cx = cx
        self._begin = begin
        self._driver: Any = cx.connection.driver_connection

    def __enter__(self) -> _Transaction:
        try:
            self._driver.execute(self._begin)
        except Exception as error:
            raise errors.sqlite_error(DBAPIError(self._begin, None, error)) from None
        return self

    def commit(self) -> None:
        self._cx.commit()
        if self._driver.in_transaction:  # the unit made no statement through SQLAlchemy
            self._driver.commit()

    def __exit__(self, *_: object) -> None:
        self._cx.rollback()
        if self._driver.in_transaction:
            self._driver.rollback()


class InlineSqlite:
    """Everything in the event loop on one connection. Several stores may share it, as servers share a database."""

    def __init__(self, path: str) -> None:
        self._engine = make_engine(path)
        self._cx = self._engine.connect()
        self._users = 1

    def share(self) -> InlineSqlite:
        """One more store uses this database."""
        self._users += 1
        return self

    async def write(self, clock: Clock, unit: Callable[[SqlTx], T], grant: Grant | None) -> tuple[T, int]:
        return run_write(self._cx, clock, unit, grant)

    async def read(self, clock: Clock, unit: Callable[[SqlTx], T]) -> T:
        return run_read(self._cx, clock, unit)

    async def migrate(self, apply: Callable[[sa.Connection], None]) -> None:
        with self._transaction():
            apply(self._cx)

    def _transaction(self) -> _Migration:
        return _Migration(self._cx)

    async def close(self) -> None:
        self._users -= 1
        if not self._users:
            self._cx.close()
            self._engine.dispose()


class _Migration:
    """A schema change under SQLite's exclusive lock: a second process waits, and then finds nothing left to do."""

    def __init__(self, cx: sa.Connection) -> None:
        self._transaction = _Transaction(cx, "BEGIN EXCLUSIVE")

    def __enter__(self) -> None:
        self._transaction.__enter__()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._transaction.commit()
        self._transaction.__exit__()


class ThreadedSqlite:
    """One writer thread, four readers, one connection each."""

    def __init__(self, path: str) -> None:
        if path == ":memory:":
            raise StoreError("A database in memory belongs to one thread; use inline=True, or give a file")
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._engine = make_engine(path)
        self._local = threading.local()
        self._open: list[sa.Connection] = []
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="sql-write")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="sql-read")
        self._closed = False

    def _connection(self) -> sa.Connection:
        cx: sa.Connection | None = getattr(self._local, "cx", None)
        if cx is None:
            try:
                cx = self._local.cx = self._engine.connect()
            except DBAPIError as error:
                raise errors.sqlite_error(error) from None
            self._open.append(cx)
        return cx

    async def _run(self, executor: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        if self._closed:
            raise Unavailable("The database was closed because the server is stopping")
        return await asyncio.get_running_loop().run_in_executor(executor, work)

    async def write(self, clock: Clock, unit: Callable[[SqlTx], T], grant: Grant | None) -> tuple[T, int]:
        return await self._run(self._writer, lambda: run_write(self._connection(), clock, unit, grant))

    async def read(self, clock: Clock, unit: Callable[[SqlTx], T]) -> T:
        return await self._run(self._readers, lambda: run_read(self._connection(), clock, unit))

    async def migrate(self, apply: Callable[[sa.Connection], None]) -> None:
        def work() -> None:
            cx = self._connection()
            with _Migration(cx):
                apply(cx)

        await self._run(self._writer, work)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        loop = asyncio.get_running_loop()
        for executor in (self._readers, self._writer):
            await loop.run_in_executor(None, executor.shutdown)
        for cx in self._open:
            cx.close()
        self._engine.dispose()
