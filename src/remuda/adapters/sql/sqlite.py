"""SQLite for the single node: one writer thread and a few readers, or everything in the event loop.

Threads are the product (a slow disk must not stop the event loop); ``inline`` is for the simulation, where every step
must happen in one order. WAL lets readers go on beside the writer; ``synchronous=FULL`` because an answer 201 promises
that the row survives a power cut.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, StaticPool

from remuda.adapters.sql import errors
from remuda.adapters.sql.kept import Kept
from remuda.adapters.sql.tx import SqlTx
from remuda.ports.clock import Clock
from remuda.ports.store import Grant, StoreError, Unavailable

T = TypeVar("T")
READERS = 4
BUSY_SECONDS = 5
_CLOSED = "The database was closed because the server is stopping"
TOGETHER_SECONDS = 0.02
"""So long units that wait already are taken into one transaction. Nobody waits for others to come."""


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
            outcome = _carry_out(cx, clock, unit, grant)
            transaction.commit()
            return outcome
    except DBAPIError as error:
        raise errors.sqlite_error(error) from None


def _carry_out(cx: sa.Connection, clock: Clock, unit: Callable[[SqlTx], T], grant: Grant | None) -> tuple[T, int]:
    tx = SqlTx(cx, clock)
    if grant is not None:
        tx.fence(grant)
    result = unit(tx)
    return result, tx.log_changes("")


def run_together(cx: sa.Connection, take: Callable[[], Job | None]) -> None:
    """Run the units that wait, one after the other, and commit them with one write to the disk.

    Each has a savepoint to go back to, so that those that fail leave nothing; none is told of its success before the commit.
    Raises nothing: whatever happens is told to those who wait.
    """
    outcomes: list[tuple[Job, Any]] = []
    try:
        with _Transaction(cx, "BEGIN IMMEDIATE") as transaction:
            end = time.monotonic() + TOGETHER_SECONDS
            while time.monotonic() < end and (job := take()) is not None:
                outcomes.append((job, None))
                outcomes[-1] = (job, _attempt(cx, job))
            transaction.commit()
    except Exception as error:
        if not outcomes and (job := take()) is not None:  # nothing could begin: whoever waits first is told so
            outcomes = [(job, None)]
        failure = errors.sqlite_error(error) if isinstance(error, DBAPIError) else error
        outcomes = [(job, failure) for job, _ in outcomes]
    for job, outcome in outcomes:
        if isinstance(outcome, Exception):
            job.done.set_exception(outcome)
        else:
            job.done.set_result(outcome)


def _attempt(cx: sa.Connection, job: Job) -> Any:
    """What the unit gave, or why it left nothing. When the database itself has given up the transaction, all of it ends."""
    driver: Any = cx.connection.driver_connection
    driver.execute("SAVEPOINT unit")
    try:
        outcome: Any = _carry_out(cx, job.clock, job.unit, job.grant)
    except Exception as error:
        if not driver.in_transaction:
            raise
        driver.execute("ROLLBACK TO unit")
        outcome = errors.sqlite_error(error) if isinstance(error, DBAPIError) else error
    driver.execute("RELEASE unit")
    return outcome


def run_read(cx: sa.Connection, clock: Clock, unit: Callable[[SqlTx], T], kept: Kept) -> T:
    """Run a unit on one snapshot and keep nothing of what it wrote."""
    try:
        with _Transaction(cx, "BEGIN"):
            return unit(SqlTx(cx, clock, kept))
    except DBAPIError as error:
        raise errors.sqlite_error(error) from None


class Job(NamedTuple):
    """A unit that waits for the writer, and who waits for it."""

    clock: Clock
    unit: Callable[[SqlTx], Any]
    grant: Grant | None
    done: Future[tuple[Any, int]]


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
        self._kept = Kept()
        self._users = 1

    def share(self) -> InlineSqlite:
        """One more store uses this database."""
        self._users += 1
        return self

    async def write(self, clock: Clock, unit: Callable[[SqlTx], T], grant: Grant | None) -> tuple[T, int]:
        return run_write(self._cx, clock, unit, grant)

    async def read(self, clock: Clock, unit: Callable[[SqlTx], T]) -> T:
        return run_read(self._cx, clock, unit, self._kept)

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
        self._kept = Kept()
        self._local = threading.local()
        self._open: list[sa.Connection] = []
        self._waiting: deque[Job] = deque()
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
            raise Unavailable(_CLOSED)
        return await asyncio.get_running_loop().run_in_executor(executor, work)

    async def write(self, clock: Clock, unit: Callable[[SqlTx], T], grant: Grant | None) -> tuple[T, int]:
        if self._closed:
            raise Unavailable(_CLOSED)
        job = Job(clock, unit, grant, Future())
        self._waiting.append(job)
        self._writer.submit(self._write_waiting)
        return await asyncio.shield(asyncio.wrap_future(job.done))

    def _write_waiting(self) -> None:
        """Each unit brings a call of this; the calls of units that were taken along find nothing to do."""
        if not self._waiting:
            return
        try:
            cx = self._connection()
        except StoreError as problem:
            self._waiting.popleft().done.set_exception(problem)
        else:
            run_together(cx, self._next)

    def _next(self) -> Job | None:
        return self._waiting.popleft() if self._waiting else None

    async def read(self, clock: Clock, unit: Callable[[SqlTx], T]) -> T:
        return await self._run(self._readers, lambda: run_read(self._connection(), clock, unit, self._kept))

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
