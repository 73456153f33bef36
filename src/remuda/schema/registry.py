"""Find a type by the names clients use, see what a role may see of it, and describe it as clients expect."""

from __future__ import annotations

from functools import cache
from typing import Any

from remuda.schema.catalogue import installation, work
from remuda.schema.fields import Field, ResourceType

TYPES: dict[str, ResourceType] = {t.id: t for t in (*installation.TYPES, *work.TYPES)}

_ALIASES = {"stack": "environment", "stacks": "environment", "instance": "container", "instances": "container",
            "credentials": "apiKey"}  # fmt: skip
"""Names of later API versions and of base types, for the same rows."""

_BY_NAME: dict[str, ResourceType] = {}
for _type in TYPES.values():
    _BY_NAME[_type.id.lower()] = _type
    _BY_NAME[_type.plural_name.lower()] = _type
for _alias, _id in _ALIASES.items():
    _BY_NAME.setdefault(_alias, TYPES[_id])

_MODIFIERS = {
    "string": ["eq", "ne", "prefix", "like", "notlike", "null", "notnull"],
    "int": ["eq", "ne", "lt", "lte", "gt", "gte", "null", "notnull"],
    "date": ["eq", "ne", "lt", "lte", "gt", "gte", "null", "notnull"],
    "boolean": ["eq", "ne", "null", "notnull"],
    "enum": ["eq", "ne", "null", "notnull"],
}


def find(name: str) -> ResourceType | None:
    """The type of this id or plural, in any case; names of later versions work too."""
    return _BY_NAME.get(name.lower())


def modifiers(field: Field) -> list[str]:
    """The comparisons that a filter on this field may use; empty when it cannot be filtered."""
    if field.computed and field.name not in ("id", "resourceId"):
        return []
    if field.type.startswith("reference["):
        return ["eq", "ne", "null", "notnull"]
    return _MODIFIERS.get(field.type, [])


def rights(resource: ResourceType, role: str) -> str:
    """What ``role`` may do with this type: letters of :data:`remuda.schema.fields.Rights`."""
    return resource.rights.get(role, "")


@cache
def describe(type_id: str, role: str) -> dict[str, Any]:
    """The schema document of a type for a role, without links (they depend on the request's URL)."""
    resource = TYPES[type_id]
    allowed = rights(resource, role)
    collection_methods = [
        m for m, letter in (("GET", "r"), ("POST", "c")) if m in resource.methods and letter in allowed
    ]
    resource_methods = [
        m for m, letter in (("GET", "r"), ("PUT", "u"), ("DELETE", "d")) if m in resource.methods and letter in allowed
    ]
    acts = [a for a in resource.actions if "a" in allowed or (a.reads and "r" in allowed)]
    return {
        "id": resource.id,
        "type": "schema",
        "pluralName": resource.plural_name,
        "description": resource.description,
        "resourceMethods": resource_methods,
        "collectionMethods": collection_methods,
        "resourceFields": {f.name: _describe_field(f, allowed) for f in resource.fields},
        "resourceActions": {a.name: {"input": a.input or None, "output": a.output or resource.id} for a in acts},
        "collectionActions": {},
        "collectionFields": {},
        "collectionFilters": {f.name: {"modifiers": m} for f in resource.fields if (m := modifiers(f))},
        "includeableLinks": [link.name for link in resource.links],
        "actions": {},
    }


def _describe_field(field: Field, allowed: str) -> dict[str, Any]:
    told: dict[str, Any] = {
        "type": field.type,
        "create": field.create and "c" in allowed,
        "update": field.update and "u" in allowed,
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
    return told


def visible(role: str) -> list[ResourceType]:
    """The types that a role knows of."""
    return [t for t in TYPES.values() if t.rights.get(role)]
