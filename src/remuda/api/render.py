"""Records into the documents that clients read: fields, links, actions. Getters are worked out once per type."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import cache
from operator import attrgetter
from typing import Any

import msgspec

from remuda.api.context import Context
from remuda.core.model import Instance, Record
from remuda.core.spec import LaunchConfig
from remuda.schema.dialect import DIALECTS, V1, Dialect
from remuda.schema.fields import INSTALLATION, Field, ResourceType
from remuda.schema.registry import TYPES, rights
from remuda.schema.validate import published

Getter = Callable[[Record], Any]
Extra = dict[int, dict[str, Any]]
"""Values that the rows alone do not hold, by row id and field name."""


def resource(ctx: Context, kind: ResourceType, record: Record, extra: dict[str, Any]) -> dict[str, Any]:
    """One record as its document."""
    told = ctx.dialect
    public = extra.get("id") or public_id(kind, record, told)
    if kind.id == "service" and record.kind != kind.id:
        kind = TYPES.get(record.kind, kind)
    document: dict[str, Any] = {
        "id": public,
        "type": told.type_id(kind.id),
        "baseType": told.type_id(kind.base or kind.id),
    }
    base = ctx.url(told.plural(kind).lower(), public)
    document["links"] = _links(ctx, kind, record, base)
    if "registrationUrl" in extra:
        document["links"]["registrationUrl"] = extra["registrationUrl"]
    document["actions"] = {a: f"{base}/?action={a}" for a in offered(ctx, kind, record)}
    as_admin = ctx.caller.role in INSTALLATION
    form = _form(kind.id, told.version, as_admin)
    document.update(form.blank)
    for name, getter in form.getters:
        document[name] = getter(record)
    if said := record.data.get("fields"):
        document.update((shown, said[name]) for name, shown in form.kept if name in said)
    for name, stamp in _dates(kind.id, as_admin):
        moment = getattr(record, stamp)
        document[name] = _iso(moment)
        document[name + "TS"] = moment
    document.update(extra)
    return document


def public_id(kind: ResourceType, record: Record, told: Dialect = V1) -> str:
    """The id under which clients know the record."""
    if kind.id == "setting":
        return f"1as!{record.name}"
    assert kind.record is not None
    if kind.view:
        return f"1{kind.view}{record.id}"
    return told.public(kind.record.TABLE, record.id) or ""


def offered(ctx: Context, kind: ResourceType, record: Record) -> Iterable[str]:
    """The actions that this caller may ask of this record now."""
    allowed = rights(kind, ctx.caller.role)
    if record.state == "removed" and "a" in allowed and _purgeable(kind.id):
        yield "purge"
    if record.removed is not None or record.state in ("removing", "removed"):
        return
    if "PUT" in kind.methods and "u" in allowed:
        yield "update"
    for action in kind.actions:
        if not ("a" in allowed or (action.reads and "r" in allowed)) or ctx.caller.role in action.not_for:
            continue
        if not (action.described_only or action.why_not) and (not action.states or record.state in action.states):
            yield action.name


@cache
def _purgeable(type_id: str) -> bool:
    """Is there something to ask of a row of this type that is removed?"""
    return any(action.name == "purge" and not action.why_not for action in TYPES[type_id].actions)


def _links(ctx: Context, kind: ResourceType, record: Record, base: str) -> dict[str, str]:
    links = {"self": base}
    for link in kind.links:
        if rights(TYPES[link.type], ctx.caller.role):
            name = ctx.dialect.link(link.name)
            links[name] = f"{base}/{name.lower()}"
    for name, read, plural, table, target in _references(kind.id, ctx.dialect.version):
        if not rights(TYPES[target], ctx.caller.role):
            continue  # it would lead nowhere
        value = read(record)
        if value is not None and value != 0:
            links[name] = ctx.url(plural, ctx.dialect.public(table, value))
    if kind.id == "container":
        links["containerStats"] = f"{base}/containerstats"
    elif kind.id == "host":
        links["hostStats"] = f"{base}/hoststats"
    return links


def _nothing(_record: Record) -> Any:
    return None


def _attribute(kind: ResourceType, name: str) -> Getter:
    """Where the rows of a type hold this, found once: in the record, or in a container's launch configuration."""
    if kind.record is not None and hasattr(kind.record, name):
        return attrgetter(name)
    if kind.record is Instance and name in LaunchConfig.__struct_fields__:
        return attrgetter(f"spec.{name}")
    return _nothing


class Form(msgspec.Struct, frozen=True):
    """How rows of a type become documents: what is the same in all, what is read from each, what clients gave to be kept."""

    blank: dict[str, Any]
    getters: tuple[tuple[str, Getter], ...]
    kept: tuple[tuple[str, str], ...]


@cache
def _form(type_id: str, version: str, as_admin: bool) -> Form:
    kind, told = TYPES[type_id], DIALECTS[version]
    blank: dict[str, Any] = {}
    getters: list[tuple[str, Getter]] = []
    kept: list[tuple[str, str]] = []
    for field in kind.fields:
        name = told.field(field.name)
        if (field.only and not as_admin) or field.name in ("id", "type"):
            continue
        if field.kept:
            blank[name] = field.default
            kept.append((field.name, name))
        elif field.computed:
            blank[name] = None
        elif field.type != "date":
            blank[name] = None
            getters.append((name, _getter(kind, field, told)))
    return Form(blank, tuple(getters), tuple(kept))


def _getter(kind: ResourceType, field: Field, told: Dialect) -> Getter:
    read = _attribute(kind, field.attribute)
    if read is _nothing:
        return _nothing
    if field.type.startswith("reference["):
        target = TYPES.get(field.type[len("reference[") : -1])
        table = target.record.TABLE if target and target.record else "agent"

        def refer(record: Record) -> Any:
            value = read(record)
            return told.public(table, value) if value else None

        return refer
    if field.type in _PLAIN:
        return read
    if field.type in _WITH_REFERENCES:
        return lambda record: published(read(record))
    return lambda record: msgspec.to_builtins(read(record))


_WITH_REFERENCES = {"lbConfig", "launchConfig", "array[secondaryLaunchConfig]"}
_PLAIN = {"string", "int", "boolean", "enum", "password", "map[string]", "array[string]"}


@cache
def _dates(type_id: str, as_admin: bool) -> tuple[tuple[str, str], ...]:
    dates = (f for f in TYPES[type_id].fields if f.type == "date" and not f.kept)
    return tuple((f.name, f.attribute) for f in dates if as_admin or not f.only)


@cache
def _references(type_id: str, version: str) -> tuple[tuple[str, Getter, str, str, str], ...]:
    """(link name, how it is read, plural of the target, its table, its type) of each reference that is a link too."""
    found, told, kind = [], DIALECTS[version], TYPES[type_id]
    for field in kind.fields:
        target = TYPES.get(field.type[len("reference[") : -1]) if field.type.startswith("reference[") else None
        if target and target.record and field.name.endswith("Id") and not (field.computed or field.kept):
            name = told.link(field.name[:-2])
            read, plural = _attribute(kind, field.attribute), told.plural(target).lower()
            found.append((name, read, plural, target.record.TABLE, target.id))
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


def collection(ctx: Context, kind_id: str, path: str, data: list[Any], **more: Any) -> dict[str, Any]:
    """A list of documents in its envelope."""
    return {
        "type": "collection",
        "resourceType": ctx.dialect.type_id(kind_id),
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
