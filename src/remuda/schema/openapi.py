"""The API as an OpenAPI 3.1 document, derived from the declared types: what a role may do, and with which fields.

An action is a ``POST`` to the resource with ``?action=``; since OpenAPI tells operations apart by path and method only, all
actions of a type are one operation whose parameter lists them.
"""

from __future__ import annotations

from typing import Any

from remuda.schema.dialect import DIALECTS, Dialect
from remuda.schema.fields import Field, ResourceType
from remuda.schema.registry import TYPES, modifiers, rights, visible

Document = dict[str, Any]

_SIMPLE: dict[str, Document] = {
    "string": {"type": "string"},
    "password": {"type": "string", "format": "password"},
    "enum": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string", "format": "date-time"},
    "json": {"type": "object"},
    "blob": {"type": "string", "contentEncoding": "base64"},
}
ERROR: Document = {
    "type": "object",
    "required": ["type", "status", "code", "message"],
    "properties": {
        "type": {"const": "error"},
        "status": {"type": "integer"},
        "code": {
            "type": "string",
            "examples": ["MissingRequired", "InvalidReference", "NotUnique", "ActionNotAvailable"],
        },
        "message": {"type": "string"},
        "detail": {"type": ["string", "null"]},
        "fieldName": {"type": ["string", "null"], "description": "The field that is wrong"},
    },
}
_ID: Document = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
_PAGE: list[Document] = [
    {"name": "limit", "in": "query", "schema": {"type": "integer", "default": 100, "maximum": 3000}},
    {"name": "marker", "in": "query", "schema": {"type": "string"}, "description": "From pagination.next"},
    {"name": "sort", "in": "query", "schema": {"type": "string"}},
    {"name": "order", "in": "query", "schema": {"enum": ["asc", "desc"]}},
    {"name": "include", "in": "query", "schema": {"type": "string"}, "description": "A link to embed"},
]


def document(role: str, version: str, server: str) -> Document:
    """The whole document for a role. ``server``: the URL below which the paths lie."""
    told = DIALECTS[version]
    paths: Document = {}
    schemas: Document = {"error": ERROR}
    for kind in visible(role):
        schemas[told.type_id(kind.id)] = _schema(kind, role, told)
        if kind.record is not None:
            paths |= _paths(kind, role, told)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Remuda", "version": version, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "servers": [{"url": server}],
        "security": [{"basic": []}, {"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic", "description": "Access key and secret key of an API key"},
                "bearer": {"type": "http", "scheme": "bearer", "description": "The jwt of a token"},
            },
        },
    }


def _paths(kind: ResourceType, role: str, told: Dialect) -> Document:
    allowed, name, plural = rights(kind, role), told.type_id(kind.id), told.plural(kind).lower()
    many: Document = {}
    one: Document = {"parameters": [_ID]}
    shown = [field for field in kind.fields if field.seen(role)]
    if "l" in allowed and "GET" in kind.methods:
        filters = [_filter(field, told) for field in shown if modifiers(field)]
        many["get"] = _operation(kind, f"list_{name}", f"List {plural}", _listed(name), parameters=[*_PAGE, *filters])
    if "r" in allowed and "GET" in kind.methods:
        one["get"] = _operation(kind, f"get_{name}", f"Read a {name}", _named(name))
    if "c" in allowed and "POST" in kind.methods:
        many["post"] = _operation(
            kind, f"create_{name}", f"Create a {name}", _named(name), "201", _sent(kind, "c", role, told)
        )
    if "u" in allowed and "PUT" in kind.methods:
        one["put"] = _operation(
            kind, f"update_{name}", f"Change a {name}", _named(name), body=_sent(kind, "u", role, told)
        )
    if "d" in allowed and "DELETE" in kind.methods:
        one["delete"] = _operation(kind, f"delete_{name}", f"Remove a {name}", _named(name))
    asked = (a for a in kind.actions if not a.described_only)
    actions = [a for a in asked if "a" in allowed or (a.reads and "r" in allowed)]
    if actions:
        inputs = [_named(told.type_id(a.input)) for a in actions if a.input and a.input in TYPES]
        which = {"name": "action", "in": "query", "required": True, "schema": {"enum": [a.name for a in actions]}}
        about = "\n".join(f"- `{a.name}`: {a.description or 'see its states in the schema'}" for a in actions)
        one["post"] = {
            **_operation(
                kind, f"act_{name}", f"Ask something of a {name}", {"type": "object"}, "202", parameters=[which]
            ),
            "description": about,
        }
        # what only tells something is done at once
        one["post"]["responses"]["200"] = one["post"]["responses"]["202"]
        if inputs:
            one["post"]["requestBody"] = _json({"anyOf": [*inputs, {"type": "object"}]})
    found: Document = {f"/{plural}": many} if many else {}
    return {**found, f"/{plural}/{{id}}": one} if len(one) > 1 else found


def _operation(
    kind: ResourceType, name: str, summary: str, answer: Document, status: str = "200", body: Document | None = None,
    parameters: list[Document] | None = None,
) -> Document:  # fmt: skip
    told: Document = {
        "operationId": name,
        "summary": summary,
        "tags": [kind.id],
        "responses": {
            status: {"description": "Done", **_json(answer)},
            "default": {"description": "Refused", **_json(_named("error"))},
        },
    }
    if parameters:
        told["parameters"] = parameters
    if body is not None:
        told["requestBody"] = _json(body)
    return told


def _json(schema: Document) -> Document:
    return {"content": {"application/json": {"schema": schema}}}


def _named(name: str) -> Document:
    return {"$ref": f"#/components/schemas/{name}"}


def _listed(name: str) -> Document:
    data = {"type": "array", "items": _named(name)}
    return {
        "type": "object",
        "properties": {"type": {"const": "collection"}, "data": data, "pagination": {"type": ["object", "null"]}},
    }


def _filter(field: Field, told: Dialect) -> Document:
    words = ", ".join(f"{told.field(field.name)}_{word}" for word in modifiers(field) if word != "eq")
    return {
        "name": told.field(field.name),
        "in": "query",
        "schema": {"type": "string"},
        "description": f"Also: {words}",
    }


def _sent(kind: ResourceType, when: str, role: str, told: Dialect) -> Document:
    fields = [field for field in kind.fields if field.settable(when, role)]
    needed = [told.field(field.name) for field in fields if field.required and when == "c"]
    shape: Document = {"type": "object", "properties": {told.field(f.name): _field(f, told, sent=True) for f in fields}}
    return {**shape, "required": needed} if needed else shape


def _schema(kind: ResourceType, role: str, told: Dialect) -> Document:
    fields = [field for field in kind.fields if field.seen(role)]
    shape: Document = {"type": "object", "properties": {told.field(f.name): _field(f, told) for f in fields}}
    return {**shape, "description": kind.description} if kind.description else shape


def _field(field: Field, told: Dialect, *, sent: bool = False) -> Document:
    """A field as it is answered, or as it may be sent: only then its limits matter."""
    shape = dict(_type(field.type, told))
    limits: Document = {"description": field.description or None} if not sent else {
        "minimum": field.min, "maximum": field.max, "minLength": field.min_length, "maxLength": field.max_length,
        "default": field.default, "description": field.description or None, "enum": list(field.options) or None,
    }  # fmt: skip
    shape |= {name: value for name, value in limits.items() if value is not None}
    if not (field.create or field.update):
        shape["readOnly"] = True
    nullable = field.nullable or field.kept  # what nobody has said yet is null
    if nullable and "type" in shape and "enum" not in shape:
        shape["type"] = [shape["type"], "null"]
    elif nullable and "$ref" in shape:
        shape["anyOf"] = [{"$ref": shape.pop("$ref")}, {"type": "null"}]
    return shape


def _type(name: str, told: Dialect) -> Document:
    if name in _SIMPLE:
        return _SIMPLE[name]
    outer, _, rest = name.partition("[")
    inner = rest.removesuffix("]")
    if outer == "array":
        return {"type": "array", "items": _type(inner, told)}
    if outer == "map":
        return {"type": "object", "additionalProperties": _type(inner, told)}
    if outer == "reference":
        return {"type": "string", "description": f"The id of a {told.type_id(inner)}"}
    return _named(told.type_id(name)) if name in TYPES else {"type": "object"}
