"""MySQL, MariaDB and Galera (one writer) through asyncmy: retries, deadlines, and commits whose answer was lost.

Writes run at READ COMMITTED: conditional updates decide, and there are no gap locks to deadlock on. Reads run at
REPEATABLE READ: one unit, one snapshot. Two pools, so that no statement is spent on switching.

**A lost COMMIT.** When the connection breaks while COMMIT is on its way, nobody knows whether it happened, and running
the unit again could do its work twice. But the transaction knew its change numbers before, and it held the lock of the
counter row. So we take that lock on another connection, *change* the row (a Galera node certifies only changes), and then
look: if the log holds our token under our number, it was committed. If not, it never will be: whoever still carried it
out would need the lock that we were given. Only then is the unit run again. A unit that logged no change (purging,
trimming) has the same effect twice as once and is simply repeated.

**A server that dies in the middle** must not hold the counter row until TCP gives up: MariaDB ends idle write
transactions after two seconds, MySQL closes the idle connection after eight.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, InterfaceError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.util import await_only

from remuda.adapters.sql import errors
from remuda.adapters.sql.errors import Verdict
from remuda.adapters.sql.kept import Kept
from remuda.adapters.sql.tables import change_counter, change_log
from remuda.adapters.sql.tx import FenceRace, SqlTx
from remuda.ports.clock import Clock
from remuda.ports.store import Grant, StoreError, Unavailable

T = TypeVar("T")
log = logging.getLogger(__name__)

MAX_POOL = 50
CONNECT_SECONDS = 3
LOCK_SECONDS = 3
IDLE_IN_WRITE_SECONDS = 2
"""A server that lost power in the middle of a commit keeps the counter locked for so long."""
IDLE_SECONDS = 8
LOOKUP_SECONDS = 10
_INIT = (
    "SET SESSION sql_mode='STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION',"
    f" SESSION innodb_lock_wait_timeout={LOCK_SECONDS}, SESSION time_zone='+00:00'"
)
_FAULTS = (SQLAlchemyError, OSError, EOFError, TimeoutError)


@dataclass
class Target:
    """Where the database is. Not a NamedTuple and without a repr: the password must not get into a log."""

    host: str
    port: int
    name: str
    user: str
    password: str
    ssl: Any = None

    def __repr__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}/{self.name}"

    def engine(self, **options: Any) -> AsyncEngine:
        """A new engine; every connection gets our session settings."""
        url = sa.URL.create(
            "mysql+asyncmy", self.user, self.password, self.host, self.port, self.name, {"charset": "utf8mb4"}
        )
        arguments: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS, "init_command": _INIT}
        if self.ssl is not None:
            arguments["ssl"] = self.ssl
        return create_async_engine(url, connect_args=arguments, hide_parameters=True, **options)

    def single(self) -> AsyncEngine:
        """An engine for dedicated connections (migration, checks)."""
        return self.engine(poolclass=NullPool, isolation_level="READ COMMITTED")


def _limit_idle(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    try:
        cursor.execute("SELECT VERSION()")
        maria = "mariadb" in str(cursor.fetchone()[0]).lower()
        cursor.execute(
            f"SET SESSION idle_write_transaction_timeout={IDLE_IN_WRITE_SECONDS}"
            if maria
            else f"SET SESSION wait_timeout={IDLE_SECONDS}"
        )
    finally:
        cursor.close()


def _leave_nothing_open(connection: Any, _record: Any, state: Any) -> None:
    """A connection goes back to its pool. Units end their transactions themselves; asking the server once more is only needed
    when one did not come to its end."""
    if not state.terminate_only and connection.driver_connection.get_transaction_status():
        connection.rollback()


@dataclass
class _Attempt(Generic[T]):
    """What is known of one run of a unit, should its commit get lost."""

    token: str
    newest: int = 0
    committing: bool = False
    result: T | None = None


class Mysql:
    """Runs units on two pools of together at most ``pool`` connections."""

    def __init__(self, target: Target, pool: int, deadline: float) -> None:
        pool = max(2, min(pool, MAX_POOL))
        writers = max(1, pool // 3)
        # Shorter than the deadline: a pool that is merely busy must not look like connections that hang.
        shared = {
            "max_overflow": 0,
            "pool_timeout": deadline * 0.6,
            "pool_use_lifo": True,
            "pool_reset_on_return": None,
        }
        self.target = target
        self.deadline = deadline
        self._writes = target.engine(pool_size=writers, isolation_level="READ COMMITTED", **shared)
        self._reads = target.engine(pool_size=pool - writers, isolation_level="REPEATABLE READ", **shared)
        sa.event.listen(self._writes.sync_engine, "connect", _limit_idle)
        sa.event.listen(self._reads.sync_engine, "connect", self._connected)
        for engine in (self._writes, self._reads):
            sa.event.listen(engine.sync_engine, "reset", _leave_nothing_open)
        self._kept = Kept()
        # One commit of a server at a time goes for the counter's lock. If the server loses power, the database finds one dead
        # owner to give up, instead of one after another from the queue.
        self._turn = asyncio.Lock()
        self._closed = False

    def _connected(self, _connection: Any, _record: Any) -> None:
        """It may be another server now, one that lost the last changes of the one before and gives their versions anew."""
        self._kept = Kept()

    # -- reading

    async def read(self, clock: Clock, unit: Callable[[SqlTx], T]) -> T:
        """Run a unit on one snapshot, again if the connection breaks."""

        def work(cx: sa.Connection) -> T:
            result = unit(SqlTx(cx, clock, self._kept))
            cx.rollback()
            return result

        retry = _Retry(self, clock)
        while True:
            try:
                async with asyncio.timeout_at(retry.end), self._reads.connect() as cx:
                    return await cx.run_sync(work)
            except _FAULTS as error:
                await retry.after(error, self._reads)

    # -- writing

    async def write(self, clock: Clock, unit: Callable[[SqlTx], T], grant: Grant | None) -> tuple[T, int]:
        """Run a unit and commit it exactly once."""
        retry = _Retry(self, clock)
        while True:
            attempt = _Attempt[T](clock.token(16))

            def work(cx: sa.Connection, attempt: _Attempt[T] = attempt) -> tuple[T, int]:
                tx = SqlTx(cx, clock)
                if grant is not None:
                    tx.fence(grant)
                attempt.result = result = unit(tx)
                await_only(self._turn.acquire())
                try:
                    attempt.newest = tx.log_changes(attempt.token)
                    attempt.committing = True
                    cx.commit()
                finally:
                    self._turn.release()
                return result, attempt.newest

            try:
                async with asyncio.timeout_at(retry.end), self._writes.connect() as cx:
                    return await cx.run_sync(work)
            except FenceRace as error:
                await retry.after(error, self._writes)
            except _FAULTS as error:
                unsure = attempt.committing and attempt.newest and errors.code_of(error) not in errors.ROLLED_BACK
                if unsure and await self._was_committed(attempt, clock):
                    return attempt.result, attempt.newest  # type: ignore[return-value]
                await retry.after(error, self._writes)

    async def _was_committed(self, attempt: _Attempt[Any], clock: Clock) -> bool:
        """Find out what became of a commit whose answer was lost (see above). Raises Unavailable if that cannot be told."""
        lookup = _Retry(self, clock, seconds=LOOKUP_SECONDS)
        while True:
            try:
                async with asyncio.timeout_at(lookup.end), self._writes.connect() as cx:
                    return await cx.run_sync(_probe, attempt.newest, attempt.token)
            except _FAULTS as error:
                try:
                    await lookup.after(error, self._writes)
                except Unavailable as cause:
                    raise Unavailable(
                        f"The database went away while it was storing a change, so it is not known whether the change was "
                        f"stored; look before repeating it. {cause}"
                    ) from None

    # -- upkeep

    async def migrate(self, apply: Callable[[sa.Connection], None]) -> None:
        """Bring the schema up to date; see :mod:`.migrations`."""
        from remuda.adapters.sql.migrations import locked_upgrade

        await locked_upgrade(self.target, apply)

    async def close(self) -> None:
        """Give all connections back."""
        self._closed = True
        for engine in (self._writes, self._reads):
            try:
                async with asyncio.timeout(2):
                    await engine.dispose()
            except _FAULTS:
                await engine.dispose(close=False)

    @property
    def closed(self) -> bool:
        """True after :meth:`close`."""
        return self._closed


def _probe(cx: sa.Connection, newest: int, token: str) -> bool:
    cx.execute(sa.update(change_counter).where(change_counter.c.id == 1).values(probes=change_counter.c.probes + 1))
    found = cx.execute(sa.select(change_log.c.token).where(change_log.c.seq == newest)).scalar_one_or_none()
    reached = cx.execute(sa.select(change_counter.c.seq).where(change_counter.c.id == 1)).scalar_one()
    cx.commit()
    if found is None and reached >= newest:
        raise Unavailable(
            "The connection to the database broke while it was storing a change, and the log of changes has been trimmed "
            "since, so it is not known whether the change was stored; look before repeating it"
        )
    return bool(found == token)


class _Retry:
    """Waits between runs of a unit, until the deadline; then says what was in the way."""

    def __init__(self, database: Mysql, clock: Clock, seconds: float | None = None) -> None:
        self._database = database
        self._clock = clock
        self._count = 0
        self.end = asyncio.get_running_loop().time() + (seconds or database.deadline)

    async def after(self, error: BaseException, engine: AsyncEngine) -> None:
        """Come back when it is time to run the unit again; raise when it is not worth it or too late."""
        target = self._database.target
        if isinstance(error, FenceRace):
            verdict, why = Verdict.RETRY, "two servers wrote under the same lease"
        else:
            verdict, why = errors.judge(error)
        if verdict is Verdict.REFUSED:
            if isinstance(error, (DBAPIError, InterfaceError)):
                log.warning("database %s: error %s: %s", target, errors.code_of(error), why)
            raise _refusal(error, target, why) from None
        if isinstance(error, TimeoutError):
            # Connections that hang hang together: give them all up, without waiting for a goodbye.
            await engine.dispose(close=False)
        delay = 0.0 if verdict is Verdict.LOST and not self._count else min(0.5, 0.01 * 2**self._count)
        delay *= 0.5 + self._clock.jitter()
        self._count += 1
        if self._database.closed or asyncio.get_running_loop().time() + delay >= self.end:
            raise Unavailable(f"The database {target.host}:{target.port} cannot be used: {why}") from None
        await asyncio.sleep(delay)


def _refusal(error: BaseException, target: Target, why: str) -> StoreError:
    if errors.code_of(error) in (1406, 1264, 1366):
        return StoreError("A value does not fit its column in the database; make it shorter")
    return Unavailable(f"The database {target.host}:{target.port} cannot be used: {why}")
