"""The steps of a migration. Each looks whether it is already applied, so that a killed migration can be run again.

Independent of the model and of :mod:`..tables` on purpose: an old migration must stay what it was.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

_OPTIONS = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mysql_row_format": "DYNAMIC",
}


def number(name: str, *, null: bool = False) -> sa.Column[Any]:
    """A 64-bit integer."""
    return sa.Column(name, _big(), nullable=null)


def short(name: str, *, null: bool = False) -> sa.Column[Any]:
    """Text of up to 255 characters."""
    return sa.Column(name, sa.String(255), nullable=null)


def text(name: str) -> sa.Column[Any]:
    """Text of any length, also JSON."""
    return sa.Column(name, sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb"), nullable=False)


def flag(name: str) -> sa.Column[Any]:
    """Yes or no."""
    return sa.Column(name, sa.Boolean(create_constraint=False), nullable=False)


def key(column: sa.Column[Any], *, counted: bool = False) -> sa.Column[Any]:
    """Make a column the primary key; ``counted``: the database gives the numbers."""
    return sa.Column(column.name, column.type, primary_key=True, autoincrement=counted)


def _big() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _inspector() -> sa.Inspector:
    return sa.inspect(op.get_bind())


def table(
    name: str,
    *columns: sa.Column[Any],
    unique: tuple[tuple[str, ...], ...] = (),
    index: tuple[tuple[str, ...], ...] = (),
) -> None:
    """Create a table with its indices unless it is there."""
    if not _inspector().has_table(name):
        constraints = [sa.UniqueConstraint(*names, name=f"uq_{name}__{'__'.join(names)}") for names in unique]
        op.create_table(name, *columns, *constraints, **_OPTIONS)  # type: ignore[arg-type]
    for names in index:
        create_index(name, names)


def record_table(
    name: str,
    *columns: sa.Column[Any],
    unique: tuple[tuple[str, ...], ...] = (),
    index: tuple[tuple[str, ...], ...] = (),
) -> None:
    """Create the table of a record: what all records share, then its own columns."""
    shared: list[sa.Column[Any]] = [
        key(number("id"), counted=True),
        number("version"),
        short("uuid"),
        number("account_id"),
        short("name"),
        text("description"),
        short("kind"),
        short("desired"),
        short("state"),
        short("transitioning"),
        text("transitioning_message"),
        number("created"),
        number("removed", null=True),
        text("data"),
    ]
    table(name, *shared, *columns, unique=unique, index=index)


def create_index(table_name: str, names: tuple[str, ...]) -> None:
    """Create an index unless it is there."""
    name = f"ix_{table_name}__{'__'.join(names)}"
    if name not in {index["name"] for index in _inspector().get_indexes(table_name)}:
        op.create_index(name, table_name, list(names))


def add_column(table_name: str, column: sa.Column[Any]) -> None:
    """Add a column unless it is there. Give it a ``server_default`` when rows may exist and it is not nullable."""
    if column.name not in {found["name"] for found in _inspector().get_columns(table_name)}:
        op.add_column(table_name, column)


def add_field(table_name: str, column: sa.Column[Any], default: str | int | bool) -> None:
    """Add a column that may not be null, with a value for the rows that exist.

    MySQL gives text no default and fills it with nothing: such rows are mended afterwards, again if we die in between.
    """
    name = column.name
    bind = op.get_bind()
    plain_text = isinstance(column.type, sa.Text)
    if not (plain_text and bind.dialect.name != "sqlite"):
        column = sa.Column(name, column.type, nullable=False, server_default=_literal(default))
    add_column(table_name, column)
    if plain_text and default != "":
        there = sa.table(table_name, sa.column(name))
        bind.execute(sa.update(there).where(there.c[name] == "").values({name: default}))


def _literal(default: str | int | bool) -> Any:
    if isinstance(default, str):
        return default
    return sa.text(str(int(default)))


def insert_once(table_name: str, key_name: str, row: dict[str, object]) -> None:
    """Insert a row unless one with this key is there."""
    there = sa.table(table_name, *[sa.column(name) for name in row])
    bind = op.get_bind()
    if bind.execute(sa.select(there.c[key_name]).where(there.c[key_name] == row[key_name])).first() is None:
        bind.execute(sa.insert(there).values(row))
