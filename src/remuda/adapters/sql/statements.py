"""Questions as SQL statements, worked out once for each *shape*: which table, columns, comparisons and order.

Building and hashing a statement costs SQLAlchemy as much as running it; there are a few dozen shapes in the whole program,
and what differs between two questions of a shape is bound. Filters of clients make further shapes, so the memory of shapes
has an end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from remuda.adapters.sql.mapping import Mapper
from remuda.adapters.sql.tables import TABLES
from remuda.core.model import RECORDS, Record
from remuda.ports.store import StoreError, Where

MAPPERS: dict[type[Record], Mapper[Any]] = {kind: Mapper(kind) for kind in RECORDS}
IDENTITY = ("id", "version", "uuid", "created")
"""What tells one state of a row from every other, before and after it: a database may give a deleted row's id once more."""

MOST_SHAPES = 1000
MOST_PLACES = 4096
"""Longer lists of values are spelled out anew with each question."""
Parameters = dict[str, Any]

_ROWS = {kind: sa.select(*[table.c[name] for name in MAPPERS[kind].names]) for kind, table in TABLES.items()}
_IDENTITIES = {kind: sa.select(*[table.c[name] for name in IDENTITY]) for kind, table in TABLES.items()}
_COUNTS = {kind: sa.select(sa.func.count()).select_from(table) for kind, table in TABLES.items()}
GET = {kind: select.where(TABLES[kind].c.id == sa.bindparam("id_")) for kind, select in _ROWS.items()}
HOLD = {
    kind: sa.update(table).where(table.c.id == sa.bindparam("id_")).values(version=table.c.version + 1)
    for kind, table in TABLES.items()
}
_SHAPES: dict[tuple[object, ...], sa.Select[Any]] = {}


def rows(
    kind: type[Record], where: Sequence[Where], order: Sequence[str], limit: int | None, offset: int, *, whole: bool
) -> tuple[sa.Select[Any], Parameters]:
    """The rows that meet every condition, or (not ``whole``) what identifies their states."""
    shape = (kind, whole, *_comparisons(where), "order", *order, limit is not None, bool(offset))
    statement = _SHAPES.get(shape)
    if statement is None:
        statement = (_ROWS if whole else _IDENTITIES)[kind].where(*_conditions(kind, where))
        keys = [*order] if any(key.lstrip("-") == "id" for key in order) else [*order, "id"]
        statement = statement.order_by(*[_ordering(kind, key) for key in keys])
        if limit is not None:
            statement = statement.limit(sa.bindparam("limit_", type_=sa.Integer()))
        if offset:
            statement = statement.offset(sa.bindparam("offset_", type_=sa.Integer()))
        _remember(shape, statement)
    parameters = _values(where)
    if limit is not None:
        parameters["limit_"] = limit
    if offset:
        parameters["offset_"] = offset
    return statement, parameters


def count(kind: type[Record], where: Sequence[Where]) -> tuple[sa.Select[Any], Parameters]:
    """How many rows meet every condition."""
    shape = (kind, "count", *_comparisons(where))
    statement = _SHAPES.get(shape)
    if statement is None:
        statement = _COUNTS[kind].where(*_conditions(kind, where))
        _remember(shape, statement)
    return statement, _values(where)


def _remember(shape: tuple[object, ...], statement: sa.Select[Any]) -> None:
    if len(_SHAPES) >= MOST_SHAPES:
        _SHAPES.clear()
    _SHAPES[shape] = statement


def _comparisons(where: Sequence[Where]) -> tuple[tuple[str, str, int], ...]:
    return tuple((name, op, _places(op, value)) for name, op, value in where)


def _places(op: str, value: Any) -> int:
    """How many values a comparison has room for: lists fill up to the next power of two, so that there are few shapes."""
    if op not in ("in", "notin"):
        return 0 if value is None else 1
    count = len(value)
    return 1 << (count - 1).bit_length() if 0 < count <= MOST_PLACES else 0


def _values(where: Sequence[Where]) -> Parameters:
    found: Parameters = {}
    for number, (_, op, value) in enumerate(where):
        if op in ("in", "notin"):
            values, places = list(value), _places(op, value)
            if not places:
                found[f"w{number}"] = values
            else:  # a value that stands there twice changes nothing
                values += values[-1:] * (places - len(values))
                found.update(zip([f"w{number}_{place}" for place in range(places)], values, strict=True))
        elif op == "prefix":
            found[f"w{number}"] = _literally(value) + "%"
        elif op not in ("null", "notnull") and (value is not None or op not in _WITHOUT):
            found[f"w{number}"] = value
    return found


def _literally(text: str) -> str:
    """Text that LIKE takes as it is."""
    return text.replace("/", "//").replace("%", "/%").replace("_", "/_")


def column(kind: type[Record], name: str) -> sa.Column[Any]:
    """The column of this name."""
    found = TABLES[kind].c.get(name)
    if found is None:
        raise StoreError(f"A {kind.TABLE} has no field {name}")
    return found


def _ordering(kind: type[Record], key: str) -> sa.ColumnElement[Any]:
    found = column(kind, key.lstrip("-"))
    return found.desc() if key.startswith("-") else found.asc()


_COMPARE: dict[str, Callable[[sa.Column[Any], Any], sa.ColumnElement[bool]]] = {
    "eq": lambda column, value: column == value,
    "ne": lambda column, value: _or_null(column, column != value),
    "lt": lambda column, value: column < value,
    "lte": lambda column, value: column <= value,
    "gt": lambda column, value: column > value,
    "gte": lambda column, value: column >= value,
    "in": lambda column, value: column.in_(value),
    "notin": lambda column, value: _or_null(column, column.not_in(value)),
    "prefix": lambda column, value: column.like(value, escape="/"),
    "like": lambda column, value: column.like(value),
    "notlike": lambda column, value: _or_null(column, column.not_like(value)),
    "null": lambda column, _: column.is_(None),
    "notnull": lambda column, _: column.is_not(None),
}
"""A missing value (NULL) differs from every other, so ``ne``, ``notin`` and ``notlike`` find it."""
_WITHOUT = {"eq": "null", "ne": "notnull"}
"""What a comparison with None means."""


def _conditions(kind: type[Record], where: Sequence[Where]) -> list[sa.ColumnElement[bool]]:
    found = []
    for number, (name, op, value) in enumerate(where):
        compare = _COMPARE.get(_WITHOUT.get(op, op) if value is None else op)
        if compare is None:
            raise StoreError(f"There is no comparison {op}; there are {', '.join(_COMPARE)}")
        compared, places = column(kind, name), _places(op, value)
        several = op in ("in", "notin")
        bound: Any = sa.bindparam(f"w{number}", type_=compared.type, expanding=several)
        if several and places:
            bound = [sa.bindparam(f"w{number}_{place}", type_=compared.type) for place in range(places)]
        found.append(compare(compared, bound))
    return found


def _or_null(column: sa.Column[Any], condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return sa.or_(condition, column.is_(None)) if column.nullable else condition
