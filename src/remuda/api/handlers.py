"""The verbs: list, read, create, change, remove, act. One implementation for all types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from starlette.responses import Response

from remuda.api import query, render
from remuda.api.audit import audit
from remuda.api.behaviour import Behaviour
from remuda.api.context import Context
from remuda.api.documents import view_of
from remuda.api.errors import ApiError, not_found
from remuda.api.lookup import lookup
from remuda.core import ids
from remuda.core.model import Account, Record
from remuda.ports.store import ALIVE, Tx, Where, eq
from remuda.schema.fields import Field, Link, ResourceType
from remuda.schema.registry import TYPES, find, never
from remuda.schema.validate import for_create, for_update

Document = dict[str, Any]
Body = dict[str, Any]


def documents(tx: Tx, ctx: Context, kind: ResourceType, records: list[Any]) -> list[Document]:
    """The documents of these rows, with what the type adds to them."""
    behaviour = ctx.api.behaviour(kind)
    extra = behaviour.extra(tx, ctx, records) if records else {}
    return [render.resource(behaviour.judged(ctx, r), kind, r, extra.get(r.id, {})) for r in records]


def encoded(tx: Tx, ctx: Context, kind: ResourceType, records: list[Any]) -> list[msgspec.Raw]:
    """:func:`documents` as they are sent; those of rows that have not changed are there already."""
    behaviour, kept = ctx.api.behaviour(kind), ctx.api.documents
    extra = behaviour.extra(tx, ctx, records) if records else {}
    view, told = view_of(ctx, kind), []
    for record in records:
        judged, more = behaviour.judged(ctx, record), extra.get(record.id, {})
        theirs = view if judged is ctx else view_of(judged, kind)
        found = kept.get(theirs, record, more)
        if found is None:
            made = ctx.api.bytes_of(ctx, render.resource(judged, kind, record, more))
            found = kept.put(theirs, record, more, made)
        told.append(found)
    return told


async def listing(
    ctx: Context,
    kind: ResourceType,
    path: str,
    extra_where: tuple[Where, ...] = (),
    defaults: Document | None = None,
    asked: set[str] | None = None,
) -> Document:
    """``GET /things``. ``defaults``: what a row that is made by a POST to the same place has from the start. ``asked`` is told
    which tables were read."""
    if kind.record is None:
        return _nothing(ctx, kind, path)
    behaviour = ctx.api.behaviour(kind)
    _offered(ctx, kind, "l", "GET")
    page = query.parse(ctx, kind)
    include = ctx.dialect.our_link(ctx.param("include") or "").lower()

    def unit(tx: Tx) -> tuple[list[Any], bool]:
        where = [*behaviour.scope(ctx), *extra_where, *page.where]
        found = behaviour.find(tx, ctx, where, page.order, page.limit + 1, page.offset)
        rows = found[: page.limit]
        shown: list[Any]
        if include:
            shown = documents(tx, ctx, kind, rows)
            embed(tx, ctx, kind, rows, shown, include)
        else:
            shown = encoded(tx, ctx, kind, rows)
        if asked is not None:
            asked.update(tx.asked())
        return shown, len(found) > len(rows)

    data, more = await ctx.api.read(unit)
    told = ctx.dialect
    create = (
        {told.type_id(kind.id): ctx.url(told.plural(kind).lower())}
        if ctx.can(kind, "c") and "POST" in kind.methods
        else {}
    )
    return render.collection(
        ctx,
        kind.id,
        path,
        data,
        createTypes=create,
        createDefaults=defaults or {},
        sortLinks=query.sort_links(ctx, path, page),
        pagination=query.pagination(ctx, path, page, more),
        sort=page.sort,
        filters=page.filters,
    )


def _nothing(ctx: Context, kind: ResourceType, path: str) -> Document:
    """The list of a type that has no rows here."""
    _offered(ctx, kind, "l", "GET")
    page = query.parse(ctx, kind)
    links, pages = query.sort_links(ctx, path, page), query.pagination(ctx, path, page, False)
    return render.collection(
        ctx, kind.id, path, [], sortLinks=links, pagination=pages, sort=page.sort, filters=page.filters
    )


def embed(tx: Tx, ctx: Context, kind: ResourceType, rows: list[Any], shown: list[Document], wanted: str) -> None:
    """The rows behind a link, in place of the link."""
    link = next((x for x in kind.links if x.name.lower() == wanted), None)
    if link is None:
        _embed_one(tx, ctx, kind, rows, shown, wanted)
        return
    if not rows or not ctx.can(TYPES[link.type], "r"):
        return
    target = TYPES[link.type]
    field = target.field(link.field)
    assert field is not None
    there = ctx.api.behaviour(target)
    ends = [getattr(r, link.own) or -1 for r in rows]
    related = there.find(tx, ctx, [*there.scope(ctx), Where(field.attribute, "in", ends), ALIVE])
    by_row: dict[int, list[Document]] = {}
    for row, document in zip(related, documents(tx, ctx, target, related), strict=True):
        by_row.setdefault(getattr(row, field.attribute), []).append(document)
    for row, document in zip(rows, shown, strict=True):
        document[ctx.dialect.link(link.name)] = by_row.get(getattr(row, link.own), [])


def _embed_one(tx: Tx, ctx: Context, kind: ResourceType, rows: list[Any], shown: list[Document], wanted: str) -> None:
    """The row that each refers to, in place of the link to it; null where there is none."""
    field = next((f for f in kind.fields if f.type.startswith("reference[") and f.name.lower() == f"{wanted}id"), None)
    target = TYPES.get(field.type[len("reference[") : -1]) if field is not None else None
    if field is None or target is None or target.record is None or not rows or not ctx.can(target, "r"):
        return
    numbers = {getattr(row, field.attribute, None) or 0 for row in rows}
    there = ctx.api.behaviour(target)
    related = there.find(tx, ctx, [*there.scope(ctx), Where("id", "in", sorted(numbers)), ALIVE])
    found = {row.id: told for row, told in zip(related, documents(tx, ctx, target, related), strict=True)}
    for row, document in zip(rows, shown, strict=True):
        document[ctx.dialect.link(field.name[:-2])] = found.get(getattr(row, field.attribute, None) or 0)


async def reading(ctx: Context, kind: ResourceType, key: str) -> Document:
    """``GET /things/1t7``."""
    _offered(ctx, kind, "r", "GET")
    if kind.record is None:
        raise not_found(f"{kind.id} '{key}'")
    include = ctx.dialect.our_link(ctx.param("include") or "").lower()

    def unit(tx: Tx) -> Document:
        shown_as = _shown_as(tx, kind, key)
        record = _fetch(tx, ctx, shown_as, key)
        shown = documents(tx, ctx, shown_as, [record])
        embed(tx, ctx, shown_as, [record], shown, include)
        return shown[0]

    return await ctx.api.read(unit)


def _shown_as(tx: Tx, kind: ResourceType, key: str) -> ResourceType:
    """An environment is an account too, and ``accountId`` of all that it holds: read as one, it shows itself."""
    number = ids.number(key) if kind.id == "account" else None
    account = tx.get(Account, number) if number is not None else None
    return TYPES["project"] if account is not None and account.kind == "project" else kind


async def following(ctx: Context, kind: ResourceType, key: str, name: str) -> Document | Response:
    """``GET /things/1t7/others``."""
    _offered(ctx, kind, "r", "GET")
    if kind.record is None:
        raise not_found(f"{kind.id} '{key}'")
    behaviour = ctx.api.behaviour(kind)
    served = behaviour.served.get(name.lower())
    if served is not None and name.lower() not in {a.name for a in kind.actions}:  # actions are asked for by POST
        record = await ctx.api.read(lambda tx: _fetch(tx, ctx, kind, key))
        return await served(ctx, record, {})
    ours = ctx.dialect.our_link(name)
    link = next((x for x in kind.links if x.name.lower() == ours.lower()), None)
    record = await ctx.api.read(lambda tx: _fetch(tx, ctx, kind, key))
    if link is None:
        return await _referred(ctx, kind, record, ours)
    target = TYPES[link.type]
    field = target.field(link.field)
    if field is None or not ctx.can(target, "r"):
        raise not_found(name)
    path = f"{ctx.dialect.plural(kind).lower()}/{key}/{name.lower()}"
    preset = child_field(target, link)
    defaults = {ctx.dialect.field(preset.name): key} if preset is not None and ctx.can(target, "c") else {}
    return await listing(ctx, target, path, (eq(field.attribute, getattr(record, link.own) or -1),), defaults)


def child_field(target: ResourceType, link: Link) -> Field | None:
    """The field that a row gets its parent's id in when it is made below a link; None where none is made that way."""
    name = "requestedHostId" if (target.id, link.field) == ("container", "hostId") else link.field
    field = target.field(name)
    return field if field is not None and field.create else None


async def _referred(ctx: Context, kind: ResourceType, record: Record, name: str) -> Document:
    field = next((f for f in kind.fields if f.name.lower() == name.lower() + "id" and "[" in f.type), None)
    target = TYPES.get(field.type[len("reference[") : -1]) if field else None
    value = getattr(record, field.attribute, None) if field else None
    if target is None or target.record is None or not value:
        raise not_found(name)
    return await reading(ctx, target, ids.public(target.record.TABLE, value) or "")


async def creating(ctx: Context, kind: ResourceType, body: Body) -> Document:
    """``POST /things``."""
    _offered(ctx, kind, "c", "POST")
    behaviour = _stored(ctx, kind)

    def unit(tx: Tx) -> Document:
        told = for_create(kind, ctx.dialect.inward(body), lookup(tx, ctx), ctx.caller.role)
        values, kept = _apart(kind, told)
        record = behaviour.completed(tx, _keep(tx, behaviour.create(tx, ctx, values), kept))
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
        told = for_update(kind, ctx.dialect.inward(body), lookup(tx, ctx), ctx.caller.role)
        values, kept = _apart(kind, told)
        own = behaviour.of(ctx, record)
        changed = own.completed(tx, _keep(tx, own.update(tx, ctx, record, values), kept))
        if changed is not record:
            audit(tx, ctx, f"api.{kind.id}.update", kind, changed, body, 200)
        return documents(tx, ctx, kind, [changed])[0]

    return await ctx.api.write(unit)


def _apart(kind: ResourceType, values: Body) -> tuple[Body, Body]:
    """What has a meaning here, and what is only kept. (Never a secret: a row's notes are not sealed.)"""
    kept = {f.name: values[f.name] for f in kind.fields if f.kept and f.name in values and f.type != "password"}
    known = {f.name for f in kind.fields if not f.kept}
    return {name: value for name, value in values.items() if name in known}, kept


def _keep(tx: Tx, record: Any, kept: Body) -> Any:
    fields = record.data.get("fields", {})
    return (
        record
        if not kept or {**fields, **kept} == fields
        else tx.update(record, data={**record.data, "fields": {**fields, **kept}})
    )


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
        await ctx.api.read(lambda tx: _fetch(tx, ctx, kind, key))  # what is not there has no actions
        raise ApiError(422, "InvalidAction", f"A {kind.id} has no action '{name}'.")

    def accept(tx: Tx) -> tuple[Any, dict[str, Any]]:
        found = _fetch(tx, ctx, kind, key, "r" if action.reads else "a")
        record = found if name == "purge" else _alive(found)
        if action.why_not:
            raise ApiError(422, "ActionNotAvailable", action.why_not, field="action")
        if ctx.caller.role in action.not_for:
            raise ApiError(403, "Forbidden", f"Your role '{ctx.caller.role}' may not ask for '{name}'.")
        if name not in render.offered(behaviour.judged(ctx, record), kind, record):
            raise ApiError(
                422,
                "ActionNotAvailable",
                f"'{name}' cannot be asked of it now: it is '{record.state}'.",
                field="action",
            )
        values = for_create(TYPES[action.input], ctx.dialect.inward(body), lookup(tx, ctx)) if action.input else body
        return record, values

    serve = behaviour.served.get(name)
    if serve is not None:
        record, values = await ctx.api.read(accept)
        return 200, await serve(ctx, record, values)

    def unit(tx: Tx) -> Document:
        record, values = accept(tx)
        changed = behaviour.of(ctx, record).actions[name](tx, ctx, record, values)
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


def _stored(ctx: Context, kind: ResourceType) -> Behaviour:
    if kind.record is None:
        raise ApiError(405, "", never(kind.id) or f"A {kind.id} is described here, but nothing can be done with one.")
    return ctx.api.behaviour(kind)


def _fetch(tx: Tx, ctx: Context, kind: ResourceType, key: str, letter: str = "r") -> Any:
    """The row if the caller sees it and may do this to it: 404 for what they do not see, 403 for what they may not."""
    behaviour = ctx.api.behaviour(kind)
    number = behaviour.number(key)
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
        raise ApiError(405, "", never(kind.id) or f"{kind.id}: {method} is not offered.")
    if letter:
        _permit(ctx, kind, letter)


def _permit(ctx: Context, kind: ResourceType, letter: str) -> None:
    if not ctx.can(kind, letter):
        raise ApiError(403, "Forbidden", f"Your role '{ctx.caller.role}' may not do that to a {kind.id}.")


def type_of(ctx: Context, name: str) -> ResourceType:
    """The type of this name if the caller knows of it."""
    kind = find(name)
    if kind is None and never(name):
        raise ApiError(404, "", never(name))
    if kind is None or not kind.rights.get(ctx.caller.role):
        raise not_found(f"type '{name}'")
    return kind
