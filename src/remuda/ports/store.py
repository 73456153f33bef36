"""Where the truth is kept: records with versions, and a change log without gaps.

A *unit of work* is a plain, synchronous function of a :class:`Tx`; the store runs it in one short transaction and runs
the whole of it again when the database asks for that (deadlock, certification failure, lost connection). So a unit must
have no effect outside the transaction. Nothing foreign is ever awaited inside one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from remuda.core.model import Change, Record

R = TypeVar("R", bound=Record)
T = TypeVar("T")


class StoreError(Exception):
    """Base of what a store may raise. The message is fit for an operator's eyes."""


class Unavailable(StoreError):  # noqa: N818 - it is a state of the world, named as such
    """The database cannot be reached or refuses to write; says what to look at."""


class Conflict(StoreError):  # noqa: N818
    """The record changed since it was read (or is gone). Read it again and decide again."""


class Duplicate(StoreError):  # noqa: N818
    """A unique constraint refused the row; ``fields`` names the columns."""

    def __init__(self, message: str, fields: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.fields = fields


class Fenced(StoreError):  # noqa: N818
    """The lease this unit acts under has been granted to somebody else since: nothing was written."""


class Where(NamedTuple):
    """One condition. ``op``: eq ne lt lte gt gte in notin prefix like notlike null notnull (``like`` uses SQL's %)."""

    field: str
    op: str
    value: Any = None


def eq(field: str, value: Any) -> Where:
    """``field`` equals ``value``."""
    return Where(field, "eq", value)


ALIVE = Where("removed", "null")
"""Rows that are not removed."""


class Tx(Protocol):
    """What a unit of work can do. All calls are synchronous and belong to one transaction."""

    def get(self, kind: type[R], record_id: int) -> R | None:
        """The record with this id, or None."""

    def find(
        self, kind: type[R], *where: Where, order: Sequence[str] = ("id",), limit: int | None = None, offset: int = 0
    ) -> list[R]:
        """All records that meet every condition; ``order`` fields may start with ``-`` for descending."""

    def first(self, kind: type[R], *where: Where) -> R | None:
        """The first that :meth:`find` would give, or None."""

    def count(self, kind: type[R], *where: Where) -> int:
        """How many :meth:`find` would give without a limit."""

    def hold(self, kind: type[R], record_id: int) -> R | None:
        """The record, kept from all other units that ask to hold it until this one has ended: what is read afterwards (is a
        name free in this stack?) stays true until the commit. Logs no change. None when there is no such record."""

    def insert(self, record: R) -> R:
        """Store a new record: gives ``id``, ``version`` 1, ``uuid`` and ``created`` where empty, derives the state, logs a
        change. Raises :class:`Duplicate`."""

    def update(self, record: R, **changes: Any) -> R:
        """Write ``changes`` over ``record`` if its version is still the stored one; derives the state, logs a change.
        Raises :class:`Conflict`. Without an effective change nothing is written and ``record`` is returned."""

    def delete(self, record: Record) -> None:
        """Take the row out for good (purging). Logs no change."""

    def changes(self, after: int, limit: int = 1000) -> list[Change]:
        """The change log after number ``after``, in order."""

    def last_change(self) -> int:
        """The newest change number, 0 when there is none."""

    def oldest_change(self) -> int:
        """The oldest number still kept: a reader behind it must resynchronise."""

    def trim_changes(self, before: int) -> int:
        """Forget changes below ``before``; returns how many went."""

    def asked(self) -> frozenset[str]:
        """The tables that were read so far: a change of any other could not have led to another result."""

    def now(self) -> int:
        """Milliseconds since 1970 as this process sees it, constant within the unit. For display and retention only."""


class Grant(Protocol):
    """A lease that was won. ``fence`` grows with every grant of the same name."""

    @property
    def name(self) -> str: ...

    @property
    def fence(self) -> int: ...

    @property
    def held(self) -> bool:
        """False as soon as there is any doubt."""


class Store(Protocol):
    """Runs units of work."""

    async def read(self, unit: Callable[[Tx], T]) -> T:
        """Run a unit that only reads, from one snapshot. Raises :class:`Unavailable`."""

    async def write(self, unit: Callable[[Tx], T], *, grant: Grant | None = None) -> T:
        """Run a unit and commit it; with ``grant``, only if no newer holder of that lease has ever written.

        Raises :class:`Unavailable`, :class:`Fenced`, and what the unit raises (then nothing is written).
        """

    def on_commit(self, hook: Callable[[int], None]) -> None:
        """Call ``hook(newest change number)`` in the event loop after each commit that logged changes."""

    async def close(self) -> None:
        """Give all connections back."""
