"""The verbs of a unit of work, on one SQLAlchemy connection: the same code for every database.

It never commits and never opens a transaction: its owner does. What it keeps from one unit to the next, if its owner allows
it to, are records that were read in units that wrote nothing (:mod:`.kept`).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from remuda.adapters.sql import errors, statements
from remuda.adapters.sql.kept import Kept
from remuda.adapters.sql.statements import MAPPERS
from remuda.adapters.sql.tables import TABLES, change_counter, change_log, lease_fence
from remuda.core.model import Change, Record
from remuda.core.states import settle
from remuda.ports.clock import Clock
from remuda.ports.store import Conflict, Fenced, Grant, StoreError, Where

R = TypeVar("R", bound=Record)

_INSERT = {kind: sa.insert(table) for kind, table in TABLES.items()}
_UPDATE: dict[tuple[type[Record], tuple[str, ...]], sa.Update] = {}
"""Statements for each set of columns that was ever changed together; few in practice, so it needs no bound."""

_AT_ONCE = 500
"""So many rows are asked for by their ids in one statement."""

_BUMP = (
    sa.update(change_counter)
    .where(change_counter.c.id == 1)
    .values(seq=change_counter.c.seq + sa.bindparam("n", type_=sa.BigInteger()))
)
_BUMP_MYSQL = sa.text("UPDATE change_counter SET seq = LAST_INSERT_ID(seq + :n) WHERE id = 1")
_SEQ = "SELECT seq FROM change_counter WHERE id = 1"
"""As text: asked with every list, and compiling costs more than the answer."""
_LOG = sa.insert(change_log)
_LOG_COLUMNS = (
    change_log.c.seq,
    change_log.c.kind,
    change_log.c.record_id,
    change_log.c.account_id,
    change_log.c.version,
)
_FENCE = (
    sa.update(lease_fence)
    .where(lease_fence.c.name == sa.bindparam("lease"), lease_fence.c.fence <= sa.bindparam("number"))
    .values(fence=sa.bindparam("number"), uses=lease_fence.c.uses + 1)
)
_FENCE_SEEN = sa.select(lease_fence.c.fence).where(lease_fence.c.name == sa.bindparam("lease"))


class FenceRace(Exception):  # noqa: N818 - not an error, a request to run the unit again
    """Two holders of one lease inserted its row at the same time: run the unit again."""


class SqlTx:
    """Implements :class:`remuda.ports.store.Tx`. Changes to one record within a unit are logged once, the last of them."""

    def __init__(self, connection: sa.Connection, clock: Clock, kept: Kept | None = None) -> None:
        self._cx = connection
        self._clock = clock
        self._kept = kept
        self._now: int | None = None
        self._changes: dict[tuple[str, int], tuple[int, int]] = {}
        self._asked: set[str] = set()
        self._mysql = connection.dialect.name != "sqlite"

    # -- reading

    def get(self, kind: type[R], record_id: int) -> R | None:
        """The record with this id, or None."""
        self._asked.add(kind.TABLE)
        row = self._cx.execute(statements.GET[kind], {"id_": record_id}).first()
        return None if row is None else cast(R, MAPPERS[kind].record(row))

    def find(
        self, kind: type[R], *where: Where, order: Sequence[str] = ("id",), limit: int | None = None, offset: int = 0
    ) -> list[R]:
        """All records that meet every condition. Ties are broken by ``id``, so that pages do not overlap."""
        self._asked.add(kind.TABLE)
        kept = self._kept
        if kept is None or not kept.keeps(kind, limit):
            make, asked = MAPPERS[kind].record, statements.rows(kind, where, order, limit, offset, whole=True)
            return [make(row) for row in self._cx.execute(*asked).all()]
        asked = statements.rows(kind, where, order, limit, offset, whole=False)
        return self._known(kept, kind, [(*row,) for row in self._cx.execute(*asked).all()])

    def _known(self, kept: Kept, kind: type[R], identities: list[Any]) -> list[R]:
        """The records of these states of rows; those that are not kept are read now, from the same snapshot."""
        found: list[Any] = [kept.get(kind, identity) for identity in identities]
        missing = {identity[0]: place for place, identity in enumerate(identities) if found[place] is None}
        numbers = list(missing)
        for start in range(0, len(numbers), _AT_ONCE):
            wanted = Where("id", "in", numbers[start : start + _AT_ONCE])
            for row in self._cx.execute(*statements.rows(kind, (wanted,), (), None, 0, whole=True)).all():
                values = list(row)
                record = MAPPERS[kind].record(values)
                kept.put(kind, record, values)
                found[missing[record.id]] = record
        return found

    def first(self, kind: type[R], *where: Where) -> R | None:
        """The first that :meth:`find` would give, or None."""
        found = self.find(kind, *where, limit=1)
        return found[0] if found else None

    def count(self, kind: type[R], *where: Where) -> int:
        """How many :meth:`find` would give without a limit."""
        self._asked.add(kind.TABLE)
        return int(self._cx.execute(*statements.count(kind, where)).scalar_one())

    def changes(self, after: int, limit: int = 1000) -> list[Change]:
        """The change log after number ``after``, in order."""
        statement = sa.select(*_LOG_COLUMNS).where(change_log.c.seq > after).order_by(change_log.c.seq).limit(limit)
        return [
            Change(seq=row[0], kind=row[1], record_id=row[2], account_id=row[3], version=row[4])
            for row in self._cx.execute(statement)
        ]

    def last_change(self) -> int:
        """The newest change number, 0 when there is none."""
        return int(self._cx.exec_driver_sql(_SEQ).scalar_one_or_none() or 0)

    def oldest_change(self) -> int:
        """The oldest number still kept; the next one to come when none is. ``after + 1 < oldest`` means resynchronise."""
        oldest = self._cx.execute(sa.select(sa.func.min(change_log.c.seq))).scalar_one_or_none()
        return int(oldest) if oldest is not None else self.last_change() + 1

    def asked(self) -> frozenset[str]:
        """The tables that were read so far."""
        return frozenset(self._asked)

    def now(self) -> int:
        """The time of this unit."""
        if self._now is None:
            self._now = self._clock.now()
        return self._now

    # -- writing

    def hold(self, kind: type[R], record_id: int) -> R | None:
        """The record, locked. By writing its version and not by FOR UPDATE: Galera certifies writes, not locks."""
        self._kept = None
        self._cx.execute(statements.HOLD[kind], {"id_": record_id})
        return self.get(kind, record_id)

    def insert(self, record: R) -> R:
        """Store a new record. An ``id`` that is set is kept (well-known rows)."""
        kind = type(record)
        self._kept = None
        record = msgspec.structs.replace(
            record,
            version=1,
            uuid=record.uuid or str(uuid.UUID(hex=self._clock.token(16), version=4)),
            created=record.created or self.now(),
        )
        record = settle(record)
        try:
            result = self._cx.execute(_INSERT[kind], MAPPERS[kind].row(record))
        except IntegrityError as error:
            raise errors.duplicate(error, kind.TABLE) or error from None
        if not record.id:
            record = msgspec.structs.replace(record, id=int(result.lastrowid))
        self._changes[kind.TABLE, record.id] = (record.account_id, 1)
        return record

    def update(self, record: R, **changes: Any) -> R:
        """Write ``changes`` over ``record`` if its version is still the stored one."""
        kind = type(record)
        changed = settle(msgspec.structs.replace(record, **changes))
        columns = MAPPERS[kind].changed(record, changed)
        if not columns:
            return record
        if "id" in columns or "version" in columns:
            raise StoreError("The id and the version of a record are given by the store")
        self._kept = None
        names = tuple(columns)
        statement = _UPDATE.get((kind, names))
        if statement is None:
            statement = _prepare_update(kind, names)
        try:
            result = self._cx.execute(
                statement,
                {**{f"c_{name}": value for name, value in columns.items()}, "id_": record.id, "seen_": record.version},
            )
        except IntegrityError as error:
            raise errors.duplicate(error, kind.TABLE) or error from None
        if result.rowcount == 0:
            raise Conflict(f"This {kind.TABLE} (id {record.id}) was changed meanwhile; read it again and decide again")
        changed = msgspec.structs.replace(changed, version=record.version + 1)
        self._changes[kind.TABLE, record.id] = (changed.account_id, changed.version)
        return changed

    def delete(self, record: Record) -> None:
        """Take the row out for good."""
        self._kept = None
        table = TABLES[type(record)]
        self._cx.execute(sa.delete(table).where(table.c.id == record.id))
        self._changes.pop((record.TABLE, record.id), None)

    def trim_changes(self, before: int) -> int:
        """Forget changes below ``before``; returns how many went."""
        return int(self._cx.execute(sa.delete(change_log).where(change_log.c.seq < before)).rowcount)

    # -- for the store

    def fence(self, grant: Grant) -> None:
        """First statement of a unit under a lease: refuse if a newer holder has written, else lock the fence's row."""
        if not grant.held:
            raise Fenced(f"This server is no longer sure to hold the lease {grant.name}; nothing was written")
        params = {"lease": grant.name, "number": grant.fence}
        if self._cx.execute(_FENCE, params).rowcount:
            return
        if self._cx.execute(_FENCE_SEEN, params).first() is not None:
            raise Fenced(f"The lease {grant.name} has passed to another server; nothing was written")
        try:
            self._cx.execute(sa.insert(lease_fence), {"name": grant.name, "fence": grant.fence, "uses": 0})
        except IntegrityError:
            raise FenceRace from None

    def highest_fence(self) -> int:
        """The highest fence ever used; 0 when there was none."""
        return int(self._cx.execute(sa.select(sa.func.max(lease_fence.c.fence))).scalar_one_or_none() or 0)

    def log_changes(self, token: str) -> int:
        """Last statements before the commit: number and log what changed. Returns the newest number, 0 if nothing did.

        The lock on the one counter row is held until the commit, so commits happen in the order of their numbers: a
        reader that sees number n sees all below it.
        """
        count = len(self._changes)
        if not count:
            return 0
        if self._mysql:
            last = int(self._cx.execute(_BUMP_MYSQL, {"n": count}).lastrowid)
        else:
            self._cx.execute(_BUMP, {"n": count})
            last = int(self._cx.exec_driver_sql(_SEQ).scalar_one())
        rows = [
            {"kind": kind, "record_id": number, "account_id": account, "version": version, "seq": seq, "token": token}
            for seq, ((kind, number), (account, version)) in enumerate(self._changes.items(), last - count + 1)
        ]
        self._cx.execute(_LOG, rows if count > 1 else rows[0])
        return last


def _prepare_update(kind: type[Record], names: tuple[str, ...]) -> sa.Update:
    table = TABLES[kind]
    statement = (
        sa.update(table)
        .where(table.c.id == sa.bindparam("id_"), table.c.version == sa.bindparam("seen_"))
        .values(
            version=table.c.version + 1,
            **{name: sa.bindparam(f"c_{name}", type_=table.c[name].type) for name in names},
        )
    )
    _UPDATE[kind, names] = statement
    return statement
