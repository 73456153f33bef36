"""Records into the documents that clients read: fields, links, actions. Getters are worked out once per type."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec

from remuda.api.context import Context
from remuda.core import ids
from remuda.core.model import Instance, Record
from remuda.schema.fields import ResourceType
from remuda.schema.registry import TYPES, rights

Getter = Callable[[Record], Any]
Extra = dict[int, dict[str, Any]]
"""Values that the rows alone do not hold, by row id and field name."""


def resource(ctx: Context, kind: ResourceType, record: Record, extra: dict[str, Any]) -> dict[str, Any]:
    """One record as its document."""
    public = extra.get("id") or public_id(kind, record)
    document: dict[str, Any] = {"id": public, "type": kind.id, "baseType": kind.base or kind.id}
    base = ctx.url(kind.plural_name.lower(), public)
    document["links"] = _links(ctx, kind, record, base)
    if "registrationUrl" in extra:
        document["links"]["registrationUrl"] = extra["registrationUrl"]
    document["actions"] = {a: f"{base}/?action={a}" for a in offered(ctx, kind, record)}
    for name, getter in _getters(kind.id):
        value = getter(record)
        document[name] = value
    for name, stamp in _dates(kind.id):
        moment = getattr(record, stamp)
        document[name] = _iso(moment)
        document[name + "TS"] = moment
    document.update(extra)
    return document


def public_id(kind: ResourceType, record: Record) -> str:
    """The id under which clients know the record."""
    if kind.id == "setting":
        return f"1as!{record.name}"
    assert kind.record is not None
    return ids.public(kind.record.TABLE, record.id) or ""


def offered(ctx: Context, kind: ResourceType, record: Record) -> Iterable[str]:
    """The actions that this caller may ask of this record now."""
    allowed = rights(kind, ctx.caller.role)
    if record.removed is not None or record.state in ("removing", "removed"):
        return
    if "PUT" in kind.methods and "u" in allowed:
        yield "update"
    for action in kind.actions:
        if not ("a" in allowed or (action.reads and "r" in allowed)):
            continue
        if not action.states or record.state in action.states:
            yield action.name


def _links(ctx: Context, kind: ResourceType, record: Record, base: str) -> dict[str, str]:
    links = {"self": base}
    for link in kind.links:
        if rights(TYPES[link.type], ctx.caller.role):
            links[link.name] = f"{base}/{link.name.lower()}"
    for name, field, plural, table in _references(kind.id):
        value = _attribute(record, field)
        if value is not None and value != 0:
            links[name] = ctx.url(plural, ids.public(table, value))
    if kind.id == "container":
        links["containerStats"] = f"{base}/containerstats"
    elif kind.id == "host":
        links["hostStats"] = f"{base}/hoststats"
    return links


def _attribute(record: Record, name: str) -> Any:
    if hasattr(record, name):
        return getattr(record, name)
    if isinstance(record, Instance):
        return getattr(record.spec, name, None)
    return None


@cache
def _getters(type_id: str) -> tuple[tuple[str, Getter], ...]:
    kind = TYPES[type_id]
    found: list[tuple[str, Getter]] = []
    for field in kind.fields:
        if field.computed or field.type == "date" or field.name in ("id", "type"):
            if field.computed and field.name != "id":
                found.append((field.name, lambda _record: None))
            continue
        found.append((field.name, _getter(field.type, field.attribute)))
    return tuple(found)


def _getter(field_type: str, attribute: str) -> Getter:
    if field_type.startswith("reference["):
        target = TYPES.get(field_type[len("reference[") : -1])
        table = target.record.TABLE if target and target.record else "agent"

        def refer(record: Record) -> Any:
            value = _attribute(record, attribute)
            return ids.public(table, value) if value else None

        return refer
    if field_type in _PLAIN:
        return lambda record: _attribute(record, attribute)
    return lambda record: msgspec.to_builtins(_attribute(record, attribute))


_PLAIN = {"string", "int", "boolean", "enum", "password", "map[string]", "array[string]"}


@cache
def _dates(type_id: str) -> tuple[tuple[str, str], ...]:
    return tuple((f.name, f.attribute) for f in TYPES[type_id].fields if f.type == "date")


@cache
def _references(type_id: str) -> tuple[tuple[str, str, str, str], ...]:
    """(link name, attribute, plural of the target, table of the target) of each reference that is a link too."""
    found = []
    for field in TYPES[type_id].fields:
        target = TYPES.get(field.type[len("reference[") : -1]) if field.type.startswith("reference[") else None
        if target and target.record and field.name.endswith("Id") and not field.computed:
            found.append((field.name[:-2], field.attribute, target.plural_name.lower(), target.record.TABLE))
    return tuple(found)


def _iso(moment: int | None) -> str | None:
    if moment is None:
        return None
    return datetime.fromtimestamp(moment / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def schema(ctx: Context, document: dict[str, Any]) -> dict[str, Any]:
    """A schema document with its links."""
    links = {"self": ctx.url("schemas", document["id"])}
    if document["collectionMethods"]:
        links["collection"] = ctx.url(str(document["pluralName"]).lower())
    return {**document, "links": links}


def collection(ctx: Context, kind_id: str, path: str, data: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A list of documents in its envelope."""
    return {
        "type": "collection",
        "resourceType": kind_id,
        "links": {"self": ctx.url(path) if path else ctx.root + ctx.prefix},
        "data": data,
        "createTypes": {},
        "createDefaults": {},
        "actions": {},
        "sortLinks": {},
        "pagination": None,
        "sort": None,
        "filters": {},
        **more,
    }
