"""Query strings of lists into conditions, order and a page. Unknown filters are ignored, as 1.x clients expect."""

from __future__ import annotations

import calendar
import time
from functools import cache
from typing import Any
from urllib.parse import urlencode

import msgspec

from remuda.api.context import Context
from remuda.core import ids
from remuda.ports.store import ALIVE, Where
from remuda.schema.dialect import DIALECTS, Dialect
from remuda.schema.fields import Field, ResourceType
from remuda.schema.registry import TYPES, find, modifiers

DEFAULT_LIMIT, MAX_LIMIT = 100, 3000
CONTROL = {
    "limit",
    "marker",
    "sort",
    "order",
    "include",
    "_removed",
    "action",
    "projectId",
    "token",
    "_format",
    "all",
    "CSRF",
    "_role",
    "_actionLinks",
    "_plainId",
}


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What part of which rows in which order."""

    where: list[Where]
    order: tuple[str, ...] = ("id",)
    limit: int = DEFAULT_LIMIT
    offset: int = 0
    sort: dict[str, Any] | None = None
    filters: dict[str, Any]
    sortable: tuple[str, ...] = ()
    """Fields by which the list can be sorted, as the caller's version names them."""


def parse(ctx: Context, kind: ResourceType) -> Page:
    """Read the query of a list request."""
    where: list[Where] = []
    told = ctx.dialect
    filters: dict[str, Any] = dict.fromkeys(_filterable(kind.id, told.version))
    removed_asked = False
    for key, value in ctx.query:
        found = _filter(kind, key, value, told)
        if found is None:
            continue
        field, condition = found
        removed_asked = removed_asked or field.name == "removed"
        name = told.field(field.name)
        filters[name] = [*(filters[name] or []), {"modifier": condition.op, "value": value}]
        where.append(condition)
    if not removed_asked and ctx.param("_removed") is None:
        where.append(ALIVE)
    order, sort = _order(ctx, kind)
    return Page(
        where=where, order=order, sort=sort, limit=_limit(ctx), offset=_offset(ctx), filters=filters,
        sortable=_sortable(kind.id, told.version),
    )  # fmt: skip


@cache
def _sortable(type_id: str, version: str) -> tuple[str, ...]:
    kind, told = TYPES[type_id], DIALECTS[version]
    return tuple(told.field(f.name) for f in kind.fields if modifiers(f) and f.attribute in _columns(kind))


@cache
def _filterable(type_id: str, version: str) -> tuple[str, ...]:
    return tuple(DIALECTS[version].field(f.name) for f in TYPES[type_id].fields if modifiers(f))


def _filter(kind: ResourceType, key: str, value: str, told: Dialect) -> tuple[Field, Where] | None:
    if key in CONTROL:
        return None
    name, _, modifier = key.partition("_")
    field = kind.field(told.our_field(name))
    op = modifier or "eq"
    if field is None or op not in modifiers(field):
        return None
    if op in ("null", "notnull"):
        return (field, Where(field.attribute, op)) if field.attribute in _columns(kind) else None
    attribute, wanted = _value(kind, field, value)
    if attribute not in _columns(kind):
        return None
    return field, Where(attribute, op, wanted)


def _columns(kind: ResourceType) -> set[str]:
    return set(kind.record.__struct_fields__) if kind.record else set()


def _value(kind: ResourceType, field: Field, value: str) -> tuple[str, Any]:
    if field.name in ("id", "resourceId") or field.type.startswith("reference["):
        number = ids.number(value)
        attribute = "id" if field.name == "id" else field.attribute
        return attribute, -1 if number is None else number
    if field.name == "resourceType" and kind.id == "serviceLog":
        named = find(value)  # the history names tables, clients name types
        return field.attribute, named.record.TABLE if named and named.record else value
    if field.type == "int":
        return field.attribute, int(value) if value.removeprefix("-").isdecimal() and len(value) < 19 else -(2**62)
    if field.type == "boolean":
        return field.attribute, value.lower() == "true"
    if field.type == "date":
        return field.attribute, _moment(value)
    return field.attribute, value


def _moment(text: str) -> int:
    if text.isdecimal():
        return int(text[:18])
    try:
        return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")) * 1000
    except ValueError:
        return -1


def _order(ctx: Context, kind: ResourceType) -> tuple[tuple[str, ...], dict[str, Any] | None]:
    name = ctx.param("sort")
    field = kind.field(ctx.dialect.our_field(name)) if name else None
    if field is None or not modifiers(field):
        return ("id",), None
    attribute = "id" if field.name == "id" else field.attribute
    if attribute not in _columns(kind):
        return ("id",), None
    descending = (ctx.param("order") or "asc").lower() == "desc"
    sign = "-" if descending else ""
    told = {"name": ctx.dialect.field(field.name), "order": "desc" if descending else "asc", "reverse": ""}
    return (sign + attribute,) if attribute == "id" else (sign + attribute, sign + "id"), told


def _limit(ctx: Context) -> int:
    text = ctx.param("limit") or ""
    if not text.removeprefix("-").isdecimal():
        return DEFAULT_LIMIT
    asked = int(text[:12])
    return MAX_LIMIT if asked <= 0 else min(asked, MAX_LIMIT)


def _offset(ctx: Context) -> int:
    marker = (ctx.param("marker") or "").removeprefix("m")
    return int(marker) if marker.isdecimal() and len(marker) < 12 else 0


def sort_links(ctx: Context, path: str, page: Page) -> dict[str, str]:
    """The same list by each field that it can be sorted by; by the one that it is sorted by, the other way round."""
    kept = urlencode([(k, v) for k, v in ctx.query if k not in ("marker", "sort", "order")])
    base = f"{ctx.url(path)}?{kept}{'&' if kept else ''}sort="
    links = {name: base + name for name in page.sortable}
    if page.sort is not None:
        name = page.sort["name"]
        links[name] = f"{base}{name}&order={'asc' if page.sort['order'] == 'desc' else 'desc'}"
        page.sort["reverse"] = links[name]
    return links


def pagination(ctx: Context, path: str, page: Page, more: bool) -> dict[str, Any]:
    """The pagination member: links to the first, previous and next page."""

    def link(offset: int) -> str:
        kept = [(k, v) for k, v in ctx.query if k != "marker"]
        return ctx.url(path) + "?" + urlencode([*kept, ("marker", f"m{offset}")])

    return {
        "first": link(0) if page.offset else None,
        "previous": link(max(0, page.offset - page.limit)) if page.offset else None,
        "next": link(page.offset + page.limit) if more else None,
        "limit": page.limit,
        "total": None,
        "partial": more or page.offset > 0,
    }
