"""What may be done with rows of a type, beyond what its declaration says.

The base class does what most types need; a type that needs more has a subclass in ``api.resources``. All methods but the
asynchronous ones run inside a unit of work, may run twice, and so have no effect outside their transaction.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import cache
from types import NoneType
from typing import Any, get_args, get_type_hints

import msgspec
from starlette.responses import Response

from remuda.api.context import Context
from remuda.api.errors import ApiError
from remuda.api.render import Extra
from remuda.core import ids
from remuda.core.model import ACTIVE, INACTIVE, Record
from remuda.core.states import PURGED
from remuda.ports.store import Tx, Where, eq
from remuda.schema.fields import ResourceType

Values = dict[str, Any]
Act = Callable[[Tx, Context, Any, Values], Record]
Serve = Callable[[Context, Any, Values], Awaitable[Response | dict[str, Any]]]


class Behaviour:
    """Rows that are what their declaration says, and nothing more."""

    def __init__(self, kind: ResourceType) -> None:
        self.kind = kind
        self.actions: dict[str, Act] = {
            "activate": self.activate, "deactivate": self.deactivate, "remove": self.remove, "purge": self.purge,
        }  # fmt: skip
        self.served: dict[str, Serve] = {}
        """Actions that are carried out outside a transaction (streams, scripts)."""

    # ---- who sees what

    def scope(self, ctx: Context) -> list[Where]:
        """Conditions that keep a list to what the caller may see (and to the type's own kinds)."""
        return [*self._kinds(), *self.ownership(ctx)]

    def ownership(self, ctx: Context) -> list[Where]:
        """Conditions on the owner."""
        caller = ctx.caller
        if self.kind.scope == "installation":
            return []
        if caller.project_id is not None:
            return [eq("account_id", caller.project_id)]
        return [] if ctx.is_admin else [eq("account_id", caller.account_id)]

    def _kinds(self) -> list[Where]:
        return [Where("kind", "in", self.kind.kinds)] if self.kind.kinds else []

    def find(
        self, tx: Tx, ctx: Context, where: Sequence[Where], order: Sequence[str] = ("id",), limit: int | None = None,
        offset: int = 0,
    ) -> list[Any]:  # fmt: skip
        """The rows that meet all conditions; those of :meth:`scope` are among them."""
        assert self.kind.record is not None
        return tx.find(self.kind.record, *where, order=order, limit=limit, offset=offset)

    def number(self, key: str) -> int | None:
        """The number of the row that a public id, or another name that it goes by, stands for."""
        return ids.number(key)

    def fetch(self, tx: Tx, ctx: Context, number: int) -> Any | None:
        """The row of this number if the caller may see it. Removed rows are found too."""
        assert self.kind.record is not None
        record = tx.get(self.kind.record, number)
        if record is None or (self.kind.kinds and record.kind not in self.kind.kinds):
            return None
        return record if self.sees(tx, ctx, record) else None

    def sees(self, tx: Tx, ctx: Context, record: Record) -> bool:
        """May the caller see this row?"""
        if self.kind.scope == "installation" or ctx.is_admin:
            return True
        owner = ctx.caller.project_id if ctx.caller.project_id is not None else ctx.caller.account_id
        return record.account_id == owner

    def judged(self, ctx: Context, record: Record) -> Context:
        """The context by which rights on this row are judged: the request's own, where rows do not bring their own roles."""
        return ctx

    # ---- what is done to rows

    def owner(self, tx: Tx, ctx: Context) -> int:
        """The account that a new row belongs to."""
        if self.kind.scope == "installation":
            return 0
        if ctx.caller.project_id is None:
            raise ApiError(
                422,
                "MissingRequired",
                "Say in which environment: use /v1/projects/<id>/... or the header X-API-Project-Id.",
                field="accountId",
            )
        return ctx.caller.project_id

    def create(self, tx: Tx, ctx: Context, values: Values) -> Record:
        """Store a new row."""
        assert self.kind.record is not None
        return tx.insert(self.kind.record(**self.fill(tx, ctx, values)))

    def fill(self, tx: Tx, ctx: Context, values: Values) -> Values:
        """The attributes of a new row from the accepted values."""
        kind = self.kind.kinds[0] if self.kind.kinds else values.get("kind") or self.kind.id
        return {**self.attributes(values), "kind": kind, "account_id": self.owner(tx, ctx)}

    def attributes(self, values: Values) -> Values:
        """Values by field name into values by record attribute; null where a row must have a value is its default."""
        assert self.kind.record is not None
        out, defaults = {}, _never_none(self.kind.record)
        for name, value in values.items():
            field = self.kind.field(name)
            if field is None or field.computed:
                continue
            fill = defaults.get(field.attribute) if value is None else None
            out[field.attribute] = fill() if fill is not None else value
        return out

    def update(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """Write a change."""
        changed: Record = tx.update(record, **self.attributes(values))
        return changed

    def purge(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """Forget a removed row. It is told as such from now on; the row itself goes with the others of its age."""
        changed: Record = tx.update(record, data={**record.data, PURGED: True})
        return changed

    def of(self, ctx: Context, record: Any) -> Behaviour:
        """Who acts for a row that was named by this type: another one, where its own type knows more."""
        return self

    def completed(self, tx: Tx, record: Any) -> Record:
        """A row that was made or changed, with all that is kept of what was said: what follows from that."""
        return record  # type: ignore[no-any-return]

    def activate(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """Want it active."""
        changed: Record = tx.update(record, desired=ACTIVE)
        return changed

    def deactivate(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """Want it inactive."""
        changed: Record = tx.update(record, desired=INACTIVE)
        return changed

    def remove(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """Remove it: at once where nothing has to happen outside the database."""
        changed: Record = tx.update(record, desired="removed", removed=tx.now())
        return changed

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        """What the documents of these rows show beyond the rows themselves."""
        return {}

    def created(self, ctx: Context, record: Any, values: Values) -> dict[str, Any]:
        """What only the answer to the creation shows."""
        return {}

    def links(self) -> Iterable[str]:
        """Names of served links (``GET /type/id/name``) beyond those declared."""
        return self.served


@cache
def _never_none(record: type[Record]) -> dict[str, Callable[[], Any]]:
    """The attributes of a record that must have a value: what each is when nobody says anything."""
    hints = get_type_hints(record)
    found: dict[str, Callable[[], Any]] = {}
    for field in msgspec.structs.fields(record):
        if NoneType in get_args(hints[field.name]):
            continue
        if field.default_factory is not msgspec.NODEFAULT:
            found[field.name] = field.default_factory
        elif field.default is not msgspec.NODEFAULT:
            found[field.name] = lambda value=field.default: value  # type: ignore[misc]
    return found
