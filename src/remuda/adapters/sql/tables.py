"""The tables, derived from the record classes: one each, plus the change log and the fences.

Derived, so that a field added to a record cannot be forgotten here; the migrations are written out by hand all the same
(a migration must not change when the model does), and a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from remuda.adapters.sql.mapping import SHORT_LIMIT, Field, fields_of
from remuda.core.model import RECORDS, Record

MYSQL_OPTIONS: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mysql_row_format": "DYNAMIC",
}
"""``_bin``: names are compared exactly, as on SQLite. ``DYNAMIC``: an index may hold 255 characters of four bytes."""

metadata = sa.MetaData()


def number() -> sa.types.TypeEngine[int]:
    """64 bits everywhere; SQLite counts ids up by itself only for INTEGER."""
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def short() -> sa.types.TypeEngine[str]:
    """The name of something."""
    return sa.String(SHORT_LIMIT)


def text() -> sa.types.TypeEngine[str]:
    """Text of any length."""
    return sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")


def flag() -> sa.types.TypeEngine[bool]:
    """Yes or no."""
    return sa.Boolean(create_constraint=False)


_TYPES: dict[str, Callable[[], sa.types.TypeEngine[Any]]] = {
    "short": short,
    "text": text,
    "number": number,
    "flag": flag,
    "json": text,
}


def _column(field: Field) -> sa.Column[Any]:
    if field.name == "id":
        return sa.Column("id", number(), primary_key=True, autoincrement=True)
    return sa.Column(field.name, _TYPES[field.type](), nullable=field.nullable)


def unique_name(table: str, columns: tuple[str, ...]) -> str:
    """The name of a unique constraint; :mod:`.errors` reads the columns back from it."""
    return f"uq_{table}__{'__'.join(columns)}"


def index_name(table: str, columns: tuple[str, ...]) -> str:
    """The name of an index."""
    return f"ix_{table}__{'__'.join(columns)}"


def _table(kind: type[Record]) -> sa.Table:
    table = sa.Table(
        kind.TABLE,
        metadata,
        *[_column(field) for field in fields_of(kind)],
        *[sa.UniqueConstraint(*columns, name=unique_name(kind.TABLE, columns)) for columns in kind.UNIQUE],
        implicit_returning=False,
        **MYSQL_OPTIONS,
    )
    for columns in kind.INDEXED:
        sa.Index(index_name(kind.TABLE, columns), *[table.c[name] for name in columns])
    return table


TABLES: dict[type[Record], sa.Table] = {kind: _table(kind) for kind in RECORDS}

change_log = sa.Table(
    "change_log",
    metadata,
    sa.Column("seq", number(), primary_key=True, autoincrement=False),
    sa.Column("kind", short(), nullable=False),
    sa.Column("record_id", number(), nullable=False),
    sa.Column("account_id", number(), nullable=False),
    sa.Column("version", number(), nullable=False),
    sa.Column("token", short(), nullable=False),
    implicit_returning=False,
    **MYSQL_OPTIONS,
)
"""``token`` names the transaction that wrote the row, so that a commit whose answer was lost can be looked up."""

change_counter = sa.Table(
    "change_counter",
    metadata,
    sa.Column("id", number(), primary_key=True, autoincrement=False),
    sa.Column("seq", number(), nullable=False),
    sa.Column("probes", number(), nullable=False),
    implicit_returning=False,
    **MYSQL_OPTIONS,
)
"""One row. Its lock orders commits; ``probes`` is raised by whoever looks up a lost commit (see :mod:`.mysql`)."""

lease_fence = sa.Table(
    "lease_fence",
    metadata,
    sa.Column("name", short(), primary_key=True),
    sa.Column("fence", number(), nullable=False),
    sa.Column("uses", number(), nullable=False),
    implicit_returning=False,
    **MYSQL_OPTIONS,
)
"""``uses`` changes with every use: an UPDATE that changes nothing is not part of what Galera certifies."""
