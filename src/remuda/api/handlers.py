"""The verbs: list, read, create, change, remove, act. One implementation for all types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.responses import Response

from remuda.api import query, render
from remuda.api.audit import audit
from remuda.api.behaviour import Behaviour
from remuda.api.context import Context
from remuda.api.errors import ApiError, not_found
from remuda.core import ids
from remuda.core.model import Record
from remuda.ports.store import ALIVE, Tx, Where, eq
from remuda.schema.fields import ResourceType
from remuda.schema.registry import TYPES, find
from remuda.schema.validate import for_create, for_update

Document = dict[str, Any]
Body = dict[str, Any]


def documents(tx: Tx, ctx: Context, kind: ResourceType, records: list[Any]) -> list[Document]:
    """The documents of these rows, with what the type adds to them."""
    behaviour = ctx.api.behaviour(kind)
    extra = behaviour.extra(tx, ctx, records) if records else {}
    return [render.resource(behaviour.judged(ctx, r), kind, r, extra.get(r.id, {})) for r in records]


async def listing(ctx: Context, kind: ResourceType, path: str, extra_where: tuple[Where, ...] = ()) -> Document:
    """``GET /things``."""
    behaviour = _stored(ctx, kind)
    _offered(ctx, kind, "r", "GET")
    page = query.parse(ctx, kind)
    include = (ctx.param("include") or "").lower()

    def unit(tx: Tx) -> tuple[list[Document], bool]:
        where = [*behaviour.scope(ctx), *extra_where, *page.where]
        assert kind.record is not None
        rows = tx.find(kind.record, *where, order=page.order, limit=page.limit + 1, offset=page.offset)
        shown = documents(tx, ctx, kind, rows[: page.limit])
        _include(tx, ctx, kind, rows[: page.limit], shown, include)
        return shown, len(rows) > page.limit

    data, more = await ctx.api.read(unit)
    create = {kind.id: ctx.url(kind.plural_name.lower())} if ctx.can(kind, "c") and "POST" in kind.methods else {}
    return render.collection(
        ctx,
        kind.id,
        path,
        data,
        createTypes=create,
        pagination=query.pagination(ctx, path, page, more),
        sort=page.sort,
        filters=page.filters,
    )


def _include(tx: Tx, ctx: Context, kind: ResourceType, rows: list[Any], shown: list[Document], wanted: str) -> None:
    link = next((x for x in kind.links if x.name.lower() == wanted), None)
    if link is None or not rows or not ctx.can(TYPES[link.type], "r"):
        return
    target = TYPES[link.type]
    field = target.field(link.field)
    assert field is not None
    assert target.record is not None
    scope = ctx.api.behaviour(target).scope(ctx)
    related = tx.find(target.record, *scope, Where(field.attribute, "in", [r.id for r in rows]), ALIVE)
    by_row: dict[int, list[Document]] = {}
    for row, document in zip(related, documents(tx, ctx, target, related), strict=True):
        by_row.setdefault(getattr(row, field.attribute), []).append(document)
    for row, document in zip(rows, shown, strict=True):
        document[link.name] = by_row.get(row.id, [])


async def reading(ctx: Context, kind: ResourceType, key: str) -> Document:
    """``GET /things/1t7``."""
    _stored(ctx, kind)
    _offered(ctx, kind, "r", "GET")
    include = (ctx.param("include") or "").lower()

    def unit(tx: Tx) -> Document:
        record = _fetch(tx, ctx, kind, key)
        shown = documents(tx, ctx, kind, [record])
        _include(tx, ctx, kind, [record], shown, include)
        return shown[0]

    return await ctx.api.read(unit)


async def following(ctx: Context, kind: ResourceType, key: str, name: str) -> Document | Response:
    """``GET /things/1t7/others``."""
    behaviour = _stored(ctx, kind)
    _offered(ctx, kind, "r", "GET")
    served = behaviour.served.get(name.lower())
    if served is not None and name.lower() not in {a.name for a in kind.actions}:  # actions are asked for by POST
        record = await ctx.api.read(lambda tx: _fetch(tx, ctx, kind, key))
        return await served(ctx, record, {})
    link = next((x for x in kind.links if x.name.lower() == name.lower()), None)
    record = await ctx.api.read(lambda tx: _fetch(tx, ctx, kind, key))
    if link is None:
        return await _referred(ctx, kind, record, name)
    target = TYPES[link.type]
    field = target.field(link.field)
    if field is None or not ctx.can(target, "r"):
        raise not_found(name)
    path = f"{kind.plural_name.lower()}/{key}/{name.lower()}"
    return await listing(ctx, target, path, (eq(field.attribute, record.id),))


async def _referred(ctx: Context, kind: ResourceType, record: Record, name: str) -> Document:
    field = next((f for f in kind.fields if f.name.lower() == name.lower() + "id" and "[" in f.type), None)
    target = TYPES.get(field.type[len("reference[") : -1]) if field else None
    value = getattr(record, field.attribute, None) if field else None
    if target is None or target.record is None or not value:
        raise not_found(name)
    return await reading(ctx, target, ids.public(target.record.TABLE, value) or "")


async def creating(ctx: Context, kind: ResourceType, body: Body) -> Document:
    """``POST /things``."""
    behaviour = _stored(ctx, kind)
    _offered(ctx, kind, "c", "POST")

    def unit(tx: Tx) -> Document:
        values = for_create(kind, body, lookup(tx, ctx))
        record = behaviour.create(tx, ctx, values)
        audit(tx, ctx, f"api.{kind.id}.create", kind, record, body, 201)
        document = documents(tx, ctx, kind, [record])[0]
        document.update(behaviour.created(ctx, record, values))
        return document

    return await ctx.api.write(unit)


async def updating(ctx: Context, kind: ResourceType, key: str, body: Body) -> Document:
    """``PUT /things/1t7``."""
    behaviour = _stored(ctx, kind)
    _offered(ctx, kind, "", "PUT")

    def unit(tx: Tx) -> Document:
        record = _alive(_fetch(tx, ctx, kind, key, "u"))
        values = for_update(kind, body, lookup(tx, ctx))
        changed = behaviour.update(tx, ctx, record, values)
        if changed is not record:
            audit(tx, ctx, f"api.{kind.id}.update", kind, changed, body, 200)
        return documents(tx, ctx, kind, [changed])[0]

    return await ctx.api.write(unit)


async def removing(ctx: Context, kind: ResourceType, key: str) -> Document:
    """``DELETE /things/1t7``. Removing what is gone or going is no error."""
    behaviour = _stored(ctx, kind)
    _offered(ctx, kind, "", "DELETE")

    def unit(tx: Tx) -> Document:
        record = _fetch(tx, ctx, kind, key, "d")
        if record.removed is None and record.desired != "removed":
            record = behaviour.actions["remove"](tx, ctx, record, {})
            audit(tx, ctx, f"api.{kind.id}.remove", kind, record, {}, 200)
        return documents(tx, ctx, kind, [record])[0]

    return await ctx.api.write(unit)


async def acting(ctx: Context, kind: ResourceType, key: str, name: str, body: Body) -> tuple[int, Document | Response]:
    """``POST /things/1t7?action=x``: status and answer."""
    behaviour = _stored(ctx, kind)
    if name == "update":
        return 200, await updating(ctx, kind, key, body)
    action = next((a for a in kind.actions if a.name == name), None)
    if action is None:
        raise ApiError(422, "InvalidAction", f"A {kind.id} has no action '{name}'.")

    def accept(tx: Tx) -> tuple[Any, dict[str, Any]]:
        record = _alive(_fetch(tx, ctx, kind, key, "r" if action.reads else "a"))
        if name not in render.offered(behaviour.judged(ctx, record), kind, record):
            raise ApiError(
                422,
                "ActionNotAvailable",
                f"'{name}' cannot be asked of it now: it is '{record.state}'.",
                field="action",
            )
        values = for_create(TYPES[action.input], body, lookup(tx, ctx)) if action.input else body
        return record, values

    serve = behaviour.served.get(name)
    if serve is not None:
        record, values = await ctx.api.read(accept)
        return 200, await serve(ctx, record, values)

    def unit(tx: Tx) -> Document:
        record, values = accept(tx)
        changed = behaviour.actions[name](tx, ctx, record, values)
        audit(tx, ctx, f"api.{kind.id}.{name}", kind, changed, body, 202)
        return documents(tx, ctx, kind, [changed])[0]

    if action.reads:
        record, values = await ctx.api.read(accept)
        return 200, await ctx.api.read(lambda tx: _told(behaviour, tx, ctx, record, values, name))
    return 202, await ctx.api.write(unit)


def _told(behaviour: Behaviour, tx: Tx, ctx: Context, record: Any, values: Body, name: str) -> Document:
    teller: Callable[..., Any] = behaviour.actions[name]
    answer = teller(tx, ctx, record, values)
    assert isinstance(answer, dict)
    return answer


def lookup(tx: Tx, ctx: Context) -> Callable[[str, int], bool]:
    """Whether a referenced row exists in the caller's eyes."""

    def sees(type_id: str, number: int) -> bool:
        kind = TYPES.get(type_id)
        if kind is None or kind.record is None:
            return False
        if type_id == "account" and ctx.api.behaviour(TYPES["project"]).fetch(tx, ctx, number) is not None:
            return True  # environments are accounts too
        found = ctx.api.behaviour(kind).fetch(tx, ctx, number)
        if found is None or found.removed is not None:
            return False
        return ctx.caller.project_id in (None, found.account_id) or kind.scope != "project"

    return sees


def _stored(ctx: Context, kind: ResourceType) -> Behaviour:
    if kind.record is None:
        raise not_found(kind.id)
    return ctx.api.behaviour(kind)


def _fetch(tx: Tx, ctx: Context, kind: ResourceType, key: str, letter: str = "r") -> Any:
    """The row if the caller sees it and may do this to it: 404 for what they do not see, 403 for what they may not."""
    behaviour = ctx.api.behaviour(kind)
    number = ids.number(key)
    record = behaviour.fetch(tx, ctx, number) if number is not None else None
    if record is None:
        raise not_found(f"{kind.id} '{key}'")
    _permit(behaviour.judged(ctx, record), kind, letter)
    return record


def _alive(record: Record) -> Any:
    if record.removed is not None:
        raise ApiError(422, "InvalidState", "It is removed.")
    return record


def _offered(ctx: Context, kind: ResourceType, letter: str, method: str) -> None:
    if method not in kind.methods:
        raise ApiError(405, "", f"{kind.id}: {method} is not offered.")
    if letter:
        _permit(ctx, kind, letter)


def _permit(ctx: Context, kind: ResourceType, letter: str) -> None:
    if not ctx.can(kind, letter):
        raise ApiError(403, "Forbidden", f"Your role '{ctx.caller.role}' may not do that to a {kind.id}.")


def type_of(ctx: Context, name: str) -> ResourceType:
    """The type of this name if the caller knows of it."""
    kind = find(name)
    if kind is None or not kind.rights.get(ctx.caller.role):
        raise not_found(f"type '{name}'")
    return kind
