"""The verbs of a unit of work, on one SQLAlchemy connection: the same code for every database.

It never commits and never opens a transaction: its owner does. It keeps nothing from one unit to the next.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from remuda.adapters.sql import errors
from remuda.adapters.sql.mapping import Mapper
from remuda.adapters.sql.tables import TABLES, change_counter, change_log, lease_fence
from remuda.core.model import RECORDS, Change, Record
from remuda.core.states import settle
from remuda.ports.clock import Clock
from remuda.ports.store import Conflict, Fenced, Grant, StoreError, Where

R = TypeVar("R", bound=Record)

MAPPERS: dict[type[Record], Mapper[Any]] = {kind: Mapper(kind) for kind in RECORDS}
_SELECT = {kind: sa.select(*[table.c[name] for name in MAPPERS[kind].names]) for kind, table in TABLES.items()}
_GET = {kind: select.where(TABLES[kind].c.id == sa.bindparam("id_")) for kind, select in _SELECT.items()}
_INSERT = {kind: sa.insert(table) for kind, table in TABLES.items()}
_UPDATE: dict[tuple[type[Record], tuple[str, ...]], sa.Update] = {}
"""Statements for each set of columns that was ever changed together; few in practice, so it needs no bound."""

_BUMP = (
    sa.update(change_counter)
    .where(change_counter.c.id == 1)
    .values(seq=change_counter.c.seq + sa.bindparam("n", type_=sa.BigInteger()))
)
_BUMP_MYSQL = sa.text("UPDATE change_counter SET seq = LAST_INSERT_ID(seq + :n) WHERE id = 1")
_SEQ = sa.select(change_counter.c.seq).where(change_counter.c.id == 1)
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

    def __init__(self, connection: sa.Connection, clock: Clock) -> None:
        self._cx = connection
        self._clock = clock
        self._now: int | None = None
        self._changes: dict[tuple[str, int], tuple[int, int]] = {}
        self._mysql = connection.dialect.name != "sqlite"

    # -- reading

    def get(self, kind: type[R], record_id: int) -> R | None:
        """The record with this id, or None."""
        row = self._cx.execute(_GET[kind], {"id_": record_id}).first()
        return None if row is None else cast(R, MAPPERS[kind].record(row))

    def find(
        self, kind: type[R], *where: Where, order: Sequence[str] = ("id",), limit: int | None = None, offset: int = 0
    ) -> list[R]:
        """All records that meet every condition. Ties are broken by ``id``, so that pages do not overlap."""
        statement = _SELECT[kind].where(*[_condition(kind, item) for item in where])
        keys = [*order] if any(key.lstrip("-") == "id" for key in order) else [*order, "id"]
        statement = statement.order_by(*[_ordering(kind, key) for key in keys])
        if limit is not None:
            statement = statement.limit(limit)
        if offset:
            statement = statement.offset(offset)
        make = MAPPERS[kind].record
        return [make(row) for row in self._cx.execute(statement)]

    def first(self, kind: type[R], *where: Where) -> R | None:
        """The first that :meth:`find` would give, or None."""
        found = self.find(kind, *where, limit=1)
        return found[0] if found else None

    def count(self, kind: type[R], *where: Where) -> int:
        """How many :meth:`find` would give without a limit."""
        statement = sa.select(sa.func.count()).select_from(TABLES[kind])
        return int(self._cx.execute(statement.where(*[_condition(kind, item) for item in where])).scalar_one())

    def changes(self, after: int, limit: int = 1000) -> list[Change]:
        """The change log after number ``after``, in order."""
        statement = sa.select(*_LOG_COLUMNS).where(change_log.c.seq > after).order_by(change_log.c.seq).limit(limit)
        return [
            Change(seq=row[0], kind=row[1], record_id=row[2], account_id=row[3], version=row[4])
            for row in self._cx.execute(statement)
        ]

    def last_change(self) -> int:
        """The newest change number, 0 when there is none."""
        return int(self._cx.execute(_SEQ).scalar_one_or_none() or 0)

    def oldest_change(self) -> int:
        """The oldest number still kept; the next one to come when none is. ``after + 1 < oldest`` means resynchronise."""
        oldest = self._cx.execute(sa.select(sa.func.min(change_log.c.seq))).scalar_one_or_none()
        return int(oldest) if oldest is not None else self.last_change() + 1

    def now(self) -> int:
        """The time of this unit."""
        if self._now is None:
            self._now = self._clock.now()
        return self._now

    # -- writing

    def hold(self, kind: type[R], record_id: int) -> R | None:
        """The record, locked. By writing its version and not by FOR UPDATE: Galera certifies writes, not locks."""
        table = TABLES[kind]
        self._cx.execute(sa.update(table).where(table.c.id == record_id).values(version=table.c.version + 1))
        return self.get(kind, record_id)

    def insert(self, record: R) -> R:
        """Store a new record. An ``id`` that is set is kept (well-known rows)."""
        kind = type(record)
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
        names = tuple(columns)
        statement = _UPDATE.get((kind, names))
        if statement is None:
            statement = _prepare_update(kind, names)
        try:
            result = self._cx.execute(
                statement,
                {**{f"c_{name}": value for name, value in columns.items()}, "id_": record.id, "seen": record.version},
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
            last = int(self._cx.execute(_SEQ).scalar_one())
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
        .where(table.c.id == sa.bindparam("id_"), table.c.version == sa.bindparam("seen"))
        .values(
            version=table.c.version + 1,
            **{name: sa.bindparam(f"c_{name}", type_=table.c[name].type) for name in names},
        )
    )
    _UPDATE[kind, names] = statement
    return statement


def _column(kind: type[Record], name: str) -> sa.Column[Any]:
    column = TABLES[kind].c.get(name)
    if column is None:
        raise StoreError(f"A {kind.TABLE} has no field {name}")
    return column


def _ordering(kind: type[Record], key: str) -> sa.ColumnElement[Any]:
    column = _column(kind, key.lstrip("-"))
    return column.desc() if key.startswith("-") else column.asc()


_COMPARE: dict[str, Callable[[sa.Column[Any], Any], sa.ColumnElement[bool]]] = {
    "eq": lambda column, value: column.is_(None) if value is None else column == value,
    "ne": lambda column, value: column.is_not(None) if value is None else _or_null(column, column != value),
    "lt": lambda column, value: column < value,
    "lte": lambda column, value: column <= value,
    "gt": lambda column, value: column > value,
    "gte": lambda column, value: column >= value,
    "in": lambda column, value: column.in_(list(value)),
    "notin": lambda column, value: _or_null(column, column.not_in(list(value))),
    "prefix": lambda column, value: column.startswith(value, autoescape=True),
    "like": lambda column, value: column.like(value),
    "notlike": lambda column, value: _or_null(column, column.not_like(value)),
    "null": lambda column, _: column.is_(None),
    "notnull": lambda column, _: column.is_not(None),
}
"""A missing value (NULL) differs from every other, so ``ne``, ``notin`` and ``notlike`` find it."""


def _condition(kind: type[Record], where: Where) -> sa.ColumnElement[bool]:
    compare = _COMPARE.get(where.op)
    if compare is None:
        raise StoreError(f"There is no comparison {where.op}; there are {', '.join(_COMPARE)}")
    return compare(_column(kind, where.field), where.value)


def _or_null(column: sa.Column[Any], condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return sa.or_(condition, column.is_(None)) if column.nullable else condition
