"""Rows that are worked out when they are asked for, from those of other types that the caller sees.

They are listed, filtered, sorted and embedded like stored rows, but never written: who wants them otherwise changes what they
come from. What is asked of the source (its id, its environment, whether it is removed) is left to the store, the rest is
looked at here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from remuda.api.behaviour import Behaviour, Values
from remuda.api.context import Context
from remuda.api.errors import ApiError
from remuda.core import joins
from remuda.core.joins import SPACE, Made
from remuda.core.model import Host, Instance, Network, Record
from remuda.ports.store import ALIVE, Tx, Where, eq
from remuda.schema.fields import ResourceType
from remuda.schema.registry import TYPES

Split = Callable[[Tx, Sequence[Any]], Iterable[Made]]
"""From rows of the source to the rows that come from them."""


class Joined(Behaviour):
    """What all of them share; :meth:`rows` is each one's own."""

    def rows(self, tx: Tx, ctx: Context, where: Sequence[Where]) -> Iterable[Any]:
        """All rows that the caller sees, or fewer: those that meet what ``where`` says of their source."""
        raise NotImplementedError

    def scope(self, ctx: Context) -> list[Where]:
        return []  # sources are kept to what the caller may see

    def find(
        self, tx: Tx, ctx: Context, where: Sequence[Where], order: Sequence[str] = ("id",), limit: int | None = None,
        offset: int = 0,
    ) -> list[Any]:  # fmt: skip
        found = [row for row in self.rows(tx, ctx, where) if all(meets(row, one) for one in where)]
        for name in reversed(order):
            found.sort(key=partial(_rank, name.removeprefix("-")), reverse=name.startswith("-"))
        return found[offset:] if limit is None else found[offset : offset + limit]

    def fetch(self, tx: Tx, ctx: Context, number: int) -> Any | None:
        return next(iter(self.find(tx, ctx, [eq("id", number)])), None)

    def create(self, tx: Tx, ctx: Context, values: Values) -> Record:
        raise self._refusal()

    def update(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        raise self._refusal()

    def remove(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        raise self._refusal()

    def _refusal(self) -> ApiError:
        sentence = f"A {self.kind.id} is worked out from other rows. Change what it comes from instead."
        return ApiError(422, "InvalidState", sentence)


class Parts(Joined):
    """Rows that each come from one row of another type.

    ``owner``: the attribute that names the source; ``space``: how many rows one source may have.
    """

    def __init__(self, kind: ResourceType, source: str, owner: str, split: Split, space: int = SPACE) -> None:
        super().__init__(kind)
        self._source, self._owner, self._split, self._space = TYPES[source], owner, split, space

    def rows(self, tx: Tx, ctx: Context, where: Sequence[Where]) -> Iterable[Any]:
        source = ctx.api.behaviour(self._source)
        below = [w for one in where if (w := self._of_source(one)) is not None]
        return self._split(tx, source.find(tx, ctx, [*source.scope(ctx), *below]))

    def _of_source(self, one: Where) -> Where | None:
        if one.field in ("account_id", "removed"):
            return one
        if one.field == self._owner and one.op in ("eq", "in"):
            return Where("id", one.op, one.value)
        if one.field == "id" and one.op in ("eq", "in"):
            wanted = one.value if one.op == "in" else [one.value]
            return Where("id", "in", sorted({number // self._space for number in wanted}))
        return None


class Sums(Joined):
    """Rows that each come from many."""

    def __init__(
        self, kind: ResourceType, sources: Sequence[str], total: Callable[[list[Any]], Iterable[Made]]
    ) -> None:
        super().__init__(kind)
        self._sources, self._total = [TYPES[source] for source in sources], total

    def rows(self, tx: Tx, ctx: Context, where: Sequence[Where]) -> Iterable[Any]:
        found: list[Any] = []
        for kind in self._sources:
            source = ctx.api.behaviour(kind)
            found += source.find(tx, ctx, [*source.scope(ctx), ALIVE, *(w for w in where if w.field == "account_id")])
        return self._total(found)


class Fixed(Joined):
    """Rows that are always there."""

    def __init__(self, kind: ResourceType, names: Sequence[str]) -> None:
        super().__init__(kind)
        self._names = names

    def rows(self, tx: Tx, ctx: Context, where: Sequence[Where]) -> Iterable[Any]:
        assert self.kind.record is not None
        made = self.kind.record
        return [
            made(id=at, uuid=name, name=name, kind=self.kind.id, state="active")
            for at, name in enumerate(self._names, 1)
        ]


def _rank(name: str, row: Any) -> tuple[bool, Any]:
    value = getattr(row, name)
    return (value is not None, value)


def meets(row: Any, one: Where) -> bool:
    """Does a row meet a condition? As the store judges stored rows: what is null meets nothing but ``null``."""
    value = getattr(row, one.field)
    if one.op in ("null", "notnull"):
        return (value is None) == (one.op == "null")
    return value is not None and _JUDGES[one.op](value, one.value)


def _like(value: Any, pattern: Any) -> bool:
    wanted = ".*".join(re.escape(part) for part in str(pattern).split("%"))
    return re.fullmatch(wanted, str(value), re.DOTALL | re.IGNORECASE) is not None


_JUDGES: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda value, wanted: value == wanted,
    "ne": lambda value, wanted: value != wanted,
    "lt": lambda value, wanted: value < wanted,
    "lte": lambda value, wanted: value <= wanted,
    "gt": lambda value, wanted: value > wanted,
    "gte": lambda value, wanted: value >= wanted,
    "in": lambda value, wanted: value in wanted,
    "notin": lambda value, wanted: value not in wanted,
    "prefix": lambda value, wanted: str(value).startswith(str(wanted)),
    "like": _like,
    "notlike": lambda value, wanted: not _like(value, wanted),
}


def _each(of: Callable[[Any], Iterable[Made]]) -> Split:
    return lambda _tx, rows: (made for row in rows for made in of(row))


def _links(tx: Tx, rows: Sequence[Instance]) -> Iterable[Made]:
    linked = [row for row in rows if row.spec.instance_links]
    names = sorted({name for row in linked for name in row.spec.instance_links.values()})
    accounts = sorted({row.account_id for row in linked})
    there = tx.find(Instance, Where("name", "in", names), Where("account_id", "in", accounts), ALIVE) if names else []
    named = {(one.account_id, one.name): one.id for one in there}
    return (made for row in linked for made in joins.links(row, named))


def _nics(tx: Tx, rows: Sequence[Instance]) -> Iterable[Made]:
    accounts = sorted({row.account_id for row in rows})
    found = tx.find(Network, Where("account_id", "in", accounts), ALIVE) if accounts else []
    networks = {network.account_id: network for network in found}
    return (made for row in rows for made in joins.nics(row, networks))


def _labels(rows: list[Instance | Host]) -> Iterable[Made]:
    return joins.labels(rows)


JOINED: dict[str, Callable[[ResourceType], Behaviour]] = {
    "instanceHostMap": lambda kind: Parts(kind, "container", "instance_id", _each(joins.placed), 1),
    "serviceExposeMap": lambda kind: Parts(kind, "container", "instance_id", _each(joins.exposed), 1),
    "port": lambda kind: Parts(kind, "container", "instance_id", _each(joins.ports)),
    "instanceLink": lambda kind: Parts(kind, "container", "instance_id", _links),
    "instanceLabelMap": lambda kind: Parts(kind, "container", "instance_id", _each(joins.label_maps)),
    "hostLabelMap": lambda kind: Parts(kind, "host", "host_id", _each(joins.label_maps)),
    "label": lambda kind: Sums(kind, ("container", "host"), _labels),
    "image": lambda kind: Sums(kind, ("container",), joins.images),
    "nic": lambda kind: Parts(kind, "container", "instance_id", _nics, 1),
    "subnet": lambda kind: Parts(kind, "network", "network_id", _each(joins.subnet), 1),
    "physicalHost": lambda kind: Parts(kind, "host", "id", _each(joins.machine), 1),
    "configItemStatus": lambda kind: Parts(kind, "host", "id", _each(joins.config), 1),
    "configItem": lambda kind: Fixed(kind, joins.CONFIG_ITEMS),
    "zone": lambda kind: Fixed(kind, ("zone1",)),
}
"""Who works out the rows of each type."""
