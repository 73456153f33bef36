"""Find a type by the names clients use, see what a role may see of it, and describe it as clients expect."""

from __future__ import annotations

from functools import cache
from typing import Any

from remuda.schema.catalogue import (
    agents,
    events,
    identity,
    installation,
    network,
    processes,
    secrets,
    services,
    storage,
    streams,
    views,
    work,
)
from remuda.schema.dialect import DIALECTS, V1, Dialect
from remuda.schema.fields import Field, ResourceType
from remuda.schema.processes import STATE, states
from remuda.schema.published import merged

_ROOMS = (installation, identity, work, services, network, secrets, storage, agents, streams, views, events, processes)
TYPES: dict[str, ResourceType] = merged({kind.id: kind for room in _ROOMS for kind in room.TYPES})

_ALIASES = {
    "stack": "environment",
    "stacks": "environment",
    "instance": "container",
    "instances": "container",
    "credential": "apiKey",
    "credentials": "apiKey",
}
"""Names of later API versions and of base types, for the same rows."""

_BY_NAME: dict[str, ResourceType] = {}
for _type in TYPES.values():
    _BY_NAME[_type.id.lower()] = _type
    _BY_NAME[_type.plural_name.lower()] = _type

OUT_OF_SCOPE = {
    "machine": "makes no machines: start one with your own tools, then add it as a host",
    "machinedriver": "makes no machines: start one with your own tools, then add it as a host",
    "hosttemplate": "makes no machines: start one with your own tools, then add it as a host",
    "virtualmachine": "runs containers only, no virtual machines",
    "kubernetesservice": "runs no Kubernetes: its services are those of compose files",
    "kubernetesstack": "runs no Kubernetes: its stacks are those of compose files",
    **dict.fromkeys(
        ("snapshot", "backup", "backuptarget"),
        "takes no snapshots of volumes, since Docker's drivers do not. Copy the data with a container that mounts the volume, or "
        "use what the storage behind the driver offers",
    ),
}
"""Types of 1.x that there will not be, and why."""

_MODIFIERS = {
    "string": ["eq", "ne", "prefix", "like", "notlike", "null", "notnull"],
    "int": ["eq", "ne", "lt", "lte", "gt", "gte", "null", "notnull"],
    "date": ["eq", "ne", "lt", "lte", "gt", "gte", "null", "notnull"],
    "boolean": ["eq", "ne", "null", "notnull"],
    "enum": ["eq", "ne", "null", "notnull"],
}


def find(name: str) -> ResourceType | None:
    """The type of this id or plural, in any case; names of later versions work too."""
    lowered = name.lower()
    return TYPES[_ALIASES[lowered]] if lowered in _ALIASES else _BY_NAME.get(lowered)


def described(name: str) -> ResourceType | None:
    """:func:`find` for those who want the description: base types have one of their own."""
    return _BY_NAME.get(name.lower()) or find(name)


def never(name: str) -> str:
    """Why there is no type of this name and will be none, in a sentence; empty for all others."""
    lowered = name.lower()
    why = OUT_OF_SCOPE.get(lowered) or OUT_OF_SCOPE.get(lowered.removesuffix("s"))
    return f"There is no '{name}' here: Remuda {why}." if why else ""


def modifiers(field: Field) -> list[str]:
    """The comparisons that a filter on this field may use; empty when it cannot be filtered."""
    if (field.computed or field.kept) and field.name not in ("id", "resourceId"):
        return []
    if field.type.startswith("reference["):
        return ["eq", "ne", "null", "notnull"]
    return _MODIFIERS.get(field.type, [])


def rights(resource: ResourceType, role: str) -> str:
    """What ``role`` may do with this type: letters of :data:`remuda.schema.fields.Rights`."""
    return resource.rights.get(role, "")


@cache
def describe(type_id: str, role: str, version: str = V1.version) -> dict[str, Any]:
    """The schema document of a type for a role in a version, without links (they depend on the request's URL)."""
    told = DIALECTS[version]
    resource = TYPES[type_id]
    allowed = rights(resource, role)

    def methods(*wanted: tuple[str, str]) -> list[str]:
        return [method for method, letter in wanted if method in resource.methods and letter in allowed]

    fields = [f for f in resource.fields if f.seen(role)]
    acts = [a for a in resource.actions if "a" in allowed or (a.reads and "r" in allowed)]
    base = resource.base or resource.id
    return {
        "id": told.type_id(resource.id),
        "type": "schema",
        "pluralName": told.plural(resource),
        "description": resource.description,
        "resourceMethods": methods(("GET", "r"), ("PUT", "u"), ("DELETE", "d")),
        "collectionMethods": methods(("GET", "l"), ("POST", "c")),
        "resourceFields": {told.field(f.name): _describe_field(resource, f, role, told) for f in fields},
        "resourceActions": {
            a.name: {"input": told.type_id(a.input) or None, "output": told.type_id(a.output or base)} for a in acts
        },
        "collectionActions": {},
        "collectionFields": {},
        "collectionFilters": {told.field(f.name): {"modifiers": m} for f in fields if (m := modifiers(f))},
        "includeableLinks": [told.link(link.name).lower() for link in resource.links],
        "actions": {},
    }


def _describe_field(kind: ResourceType, field: Field, role: str, dialect: Dialect) -> dict[str, Any]:
    told: dict[str, Any] = {
        "type": dialect.field_type(field.type),
        "create": field.settable("c", role),
        "update": field.settable("u", role),
        "nullable": field.nullable,
        "required": field.required,
        "default": field.default,
        "unique": False,
        "min": field.min,
        "max": field.max,
        "minLength": field.min_length,
        "maxLength": field.max_length,
        "options": list(field.options) or None,
        "validChars": field.valid_chars or None,
        "invalidChars": None,
        "description": field.description or None,
    }
    if field.read_on_create_only:
        told["readOnCreateOnly"] = True
    if field.name == STATE and not field.options:
        named = ("stack" if name == "environment" else name for name in (kind.id, kind.base))  # as the graph calls them
        told["options"] = list(next(filter(None, map(states, named)), ())) or None
    return told


def visible(role: str) -> list[ResourceType]:
    """The types that a role knows of."""
    return [t for t in TYPES.values() if t.rights.get(role)]
