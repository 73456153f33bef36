"""Check what a client sends against a type: the documented codes, the field's name, and a sentence on what to do.

Looks at the body only. Whether a referenced row exists and may be seen is asked of the caller's ``lookup``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from remuda.core import ids
from remuda.core.spec import LaunchConfig
from remuda.schema.fields import Field, ResourceType

Lookup = Callable[[str, int], bool]
"""(type id, number) -> may the caller see such a row?"""

_STRUCTS: dict[str, type[msgspec.Struct]] = {"launchConfig": LaunchConfig, "secondaryLaunchConfig": LaunchConfig}


class Invalid(Exception):  # noqa: N818 - it describes the input
    """The body cannot be accepted. ``code`` is one of the documented ones, ``field`` the offender's path."""

    def __init__(self, code: str, field: str = "", message: str = "", status: int = 422) -> None:
        super().__init__(message or f"{field}: {code}")
        self.code, self.field, self.message, self.status = code, field, message or f"{field}: {code}", status


def for_create(resource: ResourceType, body: Mapping[str, Any], lookup: Lookup) -> dict[str, Any]:
    """The acceptable values of a new resource by field name: defaults filled in, unknown fields left out."""
    values: dict[str, Any] = {}
    for field in resource.fields:
        if not field.create:
            continue
        value = body.get(field.name)
        if value is None and field.default is not None:
            value = field.default
        if field.required and (value is None or value == "" or value == []):
            raise Invalid("MissingRequired", field.name, f"'{field.name}' is required.")
        if field.name in body or value is not None:
            values[field.name] = check(field, value, lookup)
    return values


def for_update(resource: ResourceType, body: Mapping[str, Any], lookup: Lookup) -> dict[str, Any]:
    """The acceptable values of a change; what may not be changed is left out silently, as 1.x clients expect."""
    return {f.name: check(f, body[f.name], lookup) for f in resource.fields if f.update and f.name in body}


def check(field: Field, value: Any, lookup: Lookup) -> Any:
    """One value, in the form that is stored."""
    if value is None:
        if not field.nullable:
            raise Invalid("NotNullable", field.name, f"'{field.name}' must have a value.")
        return None
    checker = _CHECKS.get(field.type)
    if checker is not None:
        return checker(field, value)
    if field.type.startswith("reference["):
        return _reference(field, value, lookup)
    if field.type.startswith("array["):
        return _array(field, value, lookup)
    if field.type in _STRUCTS:
        return _struct(field.name, _STRUCTS[field.type], value, lookup)
    return value


def _wrong(field: Field, expected: str, value: Any) -> Invalid:
    return Invalid("InvalidFormat", field.name, f"'{field.name}' must be {expected}, not {type(value).__name__}.")


def _string(field: Field, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _wrong(field, "a string", value)
    text = str(value)
    if field.min_length is not None and len(text) < field.min_length:
        raise Invalid(
            "MinLengthExceeded", field.name, f"'{field.name}' needs at least {field.min_length} character(s)."
        )
    if field.max_length is not None and len(text) > field.max_length:
        raise Invalid(
            "MaxLengthExceeded", field.name, f"'{field.name}' may have at most {field.max_length} characters."
        )
    if "\x00" in text:
        raise Invalid("InvalidCharacters", field.name, f"'{field.name}' may not contain a NUL character.")
    if field.valid_chars and (bad := re.sub(f"[{field.valid_chars}]", "", text)):
        shown = " ".join(sorted({"space" if c == " " else c for c in bad}))
        raise Invalid(
            "InvalidCharacters",
            field.name,
            f"'{field.name}' may only contain {field.valid_chars}; not allowed: {shown}",
        )
    return text


def _int(field: Field, value: Any) -> int:
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value.strip()):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(field, "a whole number", value)
    if field.min is not None and value < field.min:
        raise Invalid("MinLimitExceeded", field.name, f"'{field.name}' must be at least {field.min}.")
    if field.max is not None and value > field.max:
        raise Invalid("MaxLimitExceeded", field.name, f"'{field.name}' must be at most {field.max}.")
    if abs(value) >= 2**63:
        raise Invalid("MaxLimitExceeded", field.name, f"'{field.name}' is too large.")
    return value


def _bool(field: Field, value: Any) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise _wrong(field, "true or false", value)
    return value


def _enum(field: Field, value: Any) -> str:
    text = _string(field, value)
    if field.options and text not in field.options:
        raise Invalid("InvalidOption", field.name, f"'{field.name}' must be one of {', '.join(field.options)}.")
    return text


def _map(field: Field, value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _wrong(field, "an object", value)
    out = {}
    for key, item in value.items():
        if isinstance(item, dict | list):
            raise Invalid("InvalidFormat", f"{field.name}.{key}", f"'{field.name}.{key}' must be a string.")
        out[str(key)] = "" if item is None else ("true" if item is True else "false" if item is False else str(item))
    return out


def _json(field: Field, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(field, "an object", value)
    return value


def _array(field: Field, value: Any, lookup: Lookup) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(field, "a list", value)
    inner = field.type[len("array[") : -1]
    if inner == "string":
        return [_string(Field(name=f"{field.name}[{n}]"), item) for n, item in enumerate(value)]
    if inner in _STRUCTS:
        return [_struct(f"{field.name}[{n}]", _STRUCTS[inner], item, lookup) for n, item in enumerate(value)]
    return list(value)


def _reference(field: Field, value: Any, lookup: Lookup) -> int:
    target = field.type[len("reference[") : -1]
    found = ids.number(value)
    if found is None or not lookup(target, found):
        raise Invalid(
            "InvalidReference", field.name, f"'{field.name}': there is no {target} {value!r} that you can see."
        )
    return found


def _struct(path: str, struct: type[msgspec.Struct], value: Any, lookup: Lookup) -> msgspec.Struct:
    if not isinstance(value, dict):
        raise Invalid("InvalidFormat", path, f"'{path}' must be an object.")
    known = {f.encode_name for f in msgspec.structs.fields(struct)}
    cleaned = {k: v for k, v in value.items() if k in known and v is not None}
    for key in ("environment", "labels", "tmpfs", "sysctls"):
        if key in cleaned:
            cleaned[key] = _map(Field(name=f"{path}.{key}"), cleaned[key])
    for key in ("command", "entryPoint"):
        if isinstance(cleaned.get(key), str):
            cleaned[key] = [cleaned[key]]
    if cleaned.get("requestedHostId") is not None and struct is LaunchConfig:
        _reference(Field(name=f"{path}.requestedHostId", type="reference[host]"), cleaned["requestedHostId"], lookup)
    try:
        return msgspec.convert(cleaned, struct, strict=False)
    except msgspec.ValidationError as problem:
        text, _, where = str(problem).partition(" - at `$")
        place = path + where.rstrip("`")
        raise Invalid("InvalidFormat", place, f"'{place}': {text}.") from None


_CHECKS: dict[str, Callable[[Field, Any], Any]] = {
    "string": _string,
    "password": _string,
    "int": _int,
    "boolean": _bool,
    "enum": _enum,
    "map[string]": _map,
    "json": _json,
}
